//! The logs that are open, and which record goes to which. Replaced whole when the configuration is read anew.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use everyline::Appender;

use crate::Record;
use crate::acked::Gate;
use crate::config::{Bounds, Config, LogConfig, Route};
use crate::format::Format;

/// One log that is open.
pub struct Log {
    /// Its engine.
    pub appender: Arc<Appender>,
    /// How records are written.
    pub format: Format,
    /// Who may append.
    pub gate: Arc<Gate>,
    /// As it was configured.
    path: PathBuf,
}

/// Everything that decides about a record.
pub struct Logs {
    logs: BTreeMap<String, Log>,
    routes: Vec<Route>,
    /// What peers may do.
    pub bounds: Bounds,
}

impl Logs {
    /// Opens what the configuration names. A log that is open already under the same options stays so.
    ///
    /// # Errors
    /// The first log that cannot be opened; nothing is changed then.
    pub fn open(config: &Config, before: Option<&Self>) -> Result<Self, String> {
        let open = |name: &str, log: &LogConfig| -> Result<Log, String> {
            let same_file = before.and_then(|logs| logs.logs.values().find(|known| known.path == log.path));
            let known = same_file.filter(|known| known.appender.options() == &log.options);
            let gate = same_file.map(|known| Arc::clone(&known.gate)).unwrap_or_default();
            let appender = match known {
                Some(known) => Arc::clone(&known.appender),
                None => Arc::new(
                    Appender::builder(&log.path)
                        .options(log.options.clone())
                        .open()
                        .map_err(|e| format!("[log.{name}]: {e}"))?,
                ),
            };
            Ok(Log { appender, format: log.format.clone(), gate, path: log.path.clone() })
        };
        let logs = config.logs.iter().map(|(name, log)| Ok((name.clone(), open(name, log)?)));
        Ok(Self { logs: logs.collect::<Result<_, String>>()?, routes: config.routes.clone(), bounds: config.bounds })
    }

    /// Appends a record to the log that is its place.
    ///
    /// # Errors
    /// What the engine says: it was dropped by policy, or is too large.
    pub fn put(&self, record: &Record, line: &mut String) -> everyline::Result<()> {
        let Some(log) = self.place(record) else { return Ok(()) };
        line.clear();
        log.format.line(record, line);
        let _alone = log.gate.append();
        log.appender.append_at(record.level_byte(), line.as_bytes())
    }

    /// The log that is the place of a record. There is always one: the last route fits all, and its log is there; the
    /// configuration was checked.
    pub fn place(&self, record: &Record) -> Option<&Log> {
        let route = self.routes.iter().find(|route| route.fits(record))?;
        self.logs.get(&route.log)
    }

    /// Looks at all paths again; what is not yet in the old files stays safe in the journals.
    pub fn reopen(&self) -> Vec<String> {
        self.for_all(|appender| appender.flush().and_then(|()| appender.reopen()))
    }

    /// Brings everything into the files. What cannot be is said, and safe in the journals.
    pub fn flush(&self) -> Vec<String> {
        self.for_all(Appender::flush)
    }

    fn for_all(&self, what: impl Fn(&Appender) -> everyline::Result<()>) -> Vec<String> {
        self.logs.values().filter_map(|log| what(&log.appender).err()).map(|e| e.to_string()).collect()
    }
}
