//! The logs that are open, and which record goes to which. Replaced whole when the configuration is read anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use everyline::Appender;

use crate::Record;
use crate::config::{Bounds, Config, LogConfig, Route};
use crate::format::Format;

/// One log that is open.
struct Log {
    appender: Arc<Appender>,
    format: Format,
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
            let known = before.and_then(|logs| logs.logs.values().find(|known| known.is(log)));
            let appender = match known {
                Some(known) => Arc::clone(&known.appender),
                None => Arc::new(
                    Appender::builder(&log.path)
                        .options(log.options.clone())
                        .open()
                        .map_err(|e| format!("[log.{name}]: {e}"))?,
                ),
            };
            Ok(Log { appender, format: log.format.clone() })
        };
        let logs = config.logs.iter().map(|(name, log)| Ok((name.clone(), open(name, log)?)));
        Ok(Self { logs: logs.collect::<Result<_, String>>()?, routes: config.routes.clone(), bounds: config.bounds })
    }

    /// Appends a record to the log that is its place.
    ///
    /// # Errors
    /// What the engine says: it was dropped by policy, or is too large.
    pub fn put(&self, record: &Record, line: &mut String) -> everyline::Result<()> {
        // The last route fits all: the configuration was checked.
        let route = self.routes.iter().find(|route| route.fits(record)).or(self.routes.last());
        let Some(log) = route.and_then(|route| self.logs.get(&route.log)) else { return Ok(()) };
        line.clear();
        log.format.line(record, line);
        let level = u8::try_from(record.level().clamp(0, 255)).unwrap_or(0);
        log.appender.append_at(level, line.as_bytes())
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

impl Log {
    fn is(&self, config: &LogConfig) -> bool {
        self.appender.options() == &config.options && self.appender.path() == config.path
    }
}
