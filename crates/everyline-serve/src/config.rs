//! The configuration: one TOML file, read and checked before anything is opened.
//!
//! An error names the file, the key and what was expected. Unknown keys are errors: a misspelt limit is no limit.

mod raw;
mod values;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use everyline::{Naming, Options, Schedule, When};

use crate::decode::{Limits, syslog};
use crate::format::{Format, Percent, Style};
use crate::record::level_number;

/// What the server is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bounds on what peers may do.
    pub bounds: Bounds,
    /// Where clients that are acknowledged are remembered, if there may be any.
    pub acked: Option<Acked>,
    /// Where counters and health are served over HTTP, if they are.
    pub metrics: Option<SocketAddr>,
    /// Where it listens.
    pub listen: Vec<Listen>,
    /// Where records go, by name.
    pub logs: BTreeMap<String, LogConfig>,
    /// Which record goes where; the first that fits counts, the last fits all.
    pub routes: Vec<Route>,
}

/// Where clients that are acknowledged are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acked {
    /// A directory.
    pub dir: PathBuf,
    /// Acknowledge when a record is on disk, not when it is in the file.
    pub fsync: bool,
}

/// Bounds on what peers may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at a time, on all listeners.
    pub connections: usize,
    /// What one record may be.
    pub limits: Limits,
    /// A record must arrive whole within this time.
    pub record_timeout: Duration,
    /// A connection on which nothing comes is closed after this time, if set.
    pub idle_timeout: Option<Duration>,
    /// A stop waits so long for what is under way.
    pub drain: Duration,
}

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Permission bits of a Unix socket.
    pub mode: u32,
    /// Who may use a Unix socket; `None`: whoever its permission bits let in.
    pub allow_uids: Option<Vec<u32>>,
}

/// Where a socket is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A stream.
    Tcp(SocketAddr),
    /// Datagrams.
    Udp(SocketAddr),
    /// A stream in the file system.
    Unix(PathBuf),
    /// Datagrams in the file system.
    UnixDatagram(PathBuf),
}

/// What is spoken on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Python's `SocketHandler` and `DatagramHandler`.
    Python,
    /// Syslog.
    Syslog,
    /// One JSON object a line, or a datagram.
    Json,
    /// The acknowledged one.
    Everyline,
}

/// One log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Its file.
    pub path: PathBuf,
    /// How records are written.
    pub format: Format,
    /// The engine's options.
    pub options: Options,
}

/// Which records go to a log.
#[derive(Clone, Debug)]
pub struct Route {
    /// A logger, and those below it.
    pub logger: Option<String>,
    /// A facility of syslog.
    pub facility: Option<String>,
    /// At or above this level.
    pub level: Option<i128>,
    /// Fields with exactly this text.
    pub fields: Vec<(String, String)>,
    /// The name of the log.
    pub log: String,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// One line for people, beginning with the path.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Checks the text of a file.
    ///
    /// # Errors
    /// One line for people: the key, and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let raw: raw::Config = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
        let logs = raw.log.into_iter().map(|(name, log)| Ok((name.clone(), log_config(&name, log)?)));
        let config = Self {
            acked: acked(&raw.server)?,
            metrics: metrics(&raw.server)?,
            bounds: bounds(raw.server)?,
            listen: raw
                .listen
                .into_iter()
                .enumerate()
                .map(|(at, raw)| listen(at + 1, raw))
                .collect::<Result<_, _>>()?,
            logs: logs.collect::<Result<_, String>>()?,
            routes: raw.route.into_iter().enumerate().map(|(at, raw)| route(at + 1, raw)).collect::<Result<_, _>>()?,
        };
        config.check()?;
        Ok(config)
    }

    /// What concerns several parts.
    fn check(&self) -> Result<(), String> {
        if self.listen.is_empty() {
            return Err("[[listen]]: expected at least one, such as address = \"tcp://127.0.0.1:9020\"".into());
        }
        for (at, listen) in self.listen.iter().enumerate().filter(|(_, listen)| listen.protocol == Protocol::Everyline)
        {
            let key = format!("[[listen]] number {}: protocol", at + 1);
            if self.acked.is_none() {
                return Err(format!("{key}: everyline needs a state_dir in [server], to remember its clients"));
            }
            if matches!(listen.address, Address::Udp(_) | Address::UnixDatagram(_)) {
                return Err(format!("{key}: everyline needs a stream: tcp:// or unix://"));
            }
        }
        let mut addresses = HashSet::new();
        if let Some((at, _)) = self.listen.iter().enumerate().find(|(_, listen)| !addresses.insert(&listen.address)) {
            return Err(format!("[[listen]] number {}: address: this address stands there twice", at + 1));
        }
        let mut paths = HashSet::new();
        if let Some((name, _)) = self.logs.iter().find(|(_, log)| !paths.insert(&log.path)) {
            return Err(format!("[log.{name}]: path: two logs have this path; give one of them another"));
        }
        for (at, route) in self.routes.iter().enumerate() {
            if !self.logs.contains_key(&route.log) {
                return Err(format!("[[route]] number {}: log: there is no [log.{}]", at + 1, route.log));
            }
            if route.fits_all() && at + 1 < self.routes.len() {
                return Err(format!(
                    "[[route]] number {}: it fits every record, so those behind it get none: make it the last",
                    at + 1
                ));
            }
        }
        match self.routes.last() {
            Some(last) if last.fits_all() => Ok(()),
            _ => Err("[[route]]: the last one must have nothing but log, so that every record has a place".into()),
        }
    }
}

impl Route {
    fn fits_all(&self) -> bool {
        self.logger.is_none() && self.facility.is_none() && self.level.is_none() && self.fields.is_empty()
    }

    /// True if a record goes here.
    pub fn fits(&self, record: &crate::Record) -> bool {
        let text = |name: &str| record.get(name).and_then(crate::Value::as_str);
        let below = |logger: &str| {
            record.logger().strip_prefix(logger).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.logger.as_deref().is_none_or(below)
            && self.facility.as_deref().is_none_or(|facility| text("facility") == Some(facility))
            && self.level.is_none_or(|level| record.level() >= level)
            && self.fields.iter().all(|(name, value)| text(name) == Some(value))
    }
}

fn acked(raw: &raw::Server) -> Result<Option<Acked>, String> {
    let Some(dir) = &raw.state_dir else {
        return if raw.ack.is_some() { Err("[server]: ack: it needs a state_dir".into()) } else { Ok(None) };
    };
    if !dir.is_absolute() {
        return Err("[server]: state_dir: expected an absolute path".into());
    }
    Ok(Some(Acked { dir: dir.clone(), fsync: raw.ack == Some(raw::Ack::Fsync) }))
}

fn metrics(raw: &raw::Server) -> Result<Option<SocketAddr>, String> {
    raw.metrics.as_deref().map(values::metrics).transpose().map_err(|e| format!("[server]: metrics: {e}"))
}

fn bounds(raw: raw::Server) -> Result<Bounds, String> {
    let key = |key: &'static str| move |e: String| format!("[server]: {key}: {e}");
    let record_bytes = values::size(raw.max_record_bytes, 1 << 20).map_err(key("max_record_bytes"))?;
    if !(1 << 10..=8 << 20).contains(&record_bytes) {
        return Err(format!("[server]: max_record_bytes: {record_bytes} is not from 1K to 8M"));
    }
    let connections = raw.max_connections.unwrap_or(512);
    if !(1..=4096).contains(&connections) {
        return Err(format!("[server]: max_connections: {connections} is not from 1 to 4096"));
    }
    Ok(Bounds {
        connections,
        limits: Limits::for_record_bytes(record_bytes as usize),
        record_timeout: values::wait(raw.record_timeout, Duration::from_secs(30)).map_err(key("record_timeout"))?,
        idle_timeout: match raw.idle_timeout {
            Some(text) => Some(values::wait(Some(text), Duration::ZERO).map_err(key("idle_timeout"))?),
            None => None,
        },
        drain: values::wait(raw.drain, Duration::from_secs(5)).map_err(key("drain"))?,
    })
}

fn listen(number: usize, raw: raw::Listen) -> Result<Listen, String> {
    let key = |key: &str, what: &str| format!("[[listen]] number {number}: {key}: {what}");
    let address = values::address(&raw.address).map_err(|e| key("address", &e))?;
    let is_unix = matches!(address, Address::Unix(_) | Address::UnixDatagram(_));
    if !is_unix && (raw.mode.is_some() || raw.allow_uids.is_some()) {
        return Err(key("mode, allow_uids", "only a Unix socket has them"));
    }
    if matches!(address, Address::UnixDatagram(_)) && raw.allow_uids.is_some() {
        return Err(key("allow_uids", "a datagram does not say who sent it; use mode"));
    }
    let mode = match raw.mode {
        Some(text) => values::mode(&text).map_err(|e| key("mode", &e))?,
        None => 0o600,
    };
    Ok(Listen { address, protocol: raw.protocol, mode, allow_uids: raw.allow_uids })
}

fn log_config(name: &str, raw: raw::Log) -> Result<LogConfig, String> {
    let key = |key: &'static str| move |e: String| format!("[log.{name}]: {key}: {e}");
    let style = match raw.format.as_deref() {
        Some("json") => Style::Json,
        format => {
            let format = format.unwrap_or("%(asctime)s %(levelname)s %(name)s %(message)s");
            Style::Percent(Percent::new(format, raw.datefmt.as_deref()).map_err(key("format, datefmt"))?)
        }
    };
    let default = Options::default();
    let naming = match raw.naming {
        None => default.naming,
        Some(raw::Naming::Numbered) => Naming::Numbered,
        Some(raw::Naming::Dated) => Naming::Dated,
        Some(raw::Naming::Sequence) => Naming::Sequence,
    };
    let options = Options {
        max_bytes: raw.max_bytes.map(|size| values::size(Some(size), 0)).transpose().map_err(key("max_bytes"))?,
        schedule: schedule(&raw.when, raw.interval, raw.utc).map_err(key("when, interval, utc"))?,
        naming,
        keep: if naming == Naming::Numbered { raw.keep.or(default.keep) } else { raw.keep },
        keep_age: raw.keep_age.map(|age| values::duration(&age)).transpose().map_err(key("keep_age"))?,
        keep_total_bytes: raw.keep_bytes.map(|s| values::size(Some(s), 0)).transpose().map_err(key("keep_bytes"))?,
        compress: raw
            .compress
            .map(|how| values::compress(&how))
            .transpose()
            .map_err(key("compress"))?
            .unwrap_or_default(),
        fsync: raw.fsync.map(|when| values::fsync(&when)).transpose().map_err(key("fsync"))?.unwrap_or_default(),
        mode: raw.mode.map(|mode| values::mode(&mode)).transpose().map_err(key("mode"))?.unwrap_or(0o640),
        ..default
    };
    options.check().map_err(|e| format!("[log.{name}]: {e}"))?;
    if !raw.path.is_absolute() {
        return Err(key("path")("expected an absolute path".into()));
    }
    Ok(LogConfig { path: raw.path, format: Format { style, escape: raw.escape.unwrap_or(true) }, options })
}

fn schedule(when: &Option<String>, interval: Option<u32>, utc: bool) -> Result<Option<Schedule>, String> {
    let Some(when) = when else {
        return if interval.is_some() || utc { Err("interval and utc need a when".into()) } else { Ok(None) };
    };
    let when = When::parse(when).map_err(|_| "expected S, M, H, D, midnight, or W0 (Monday) to W6".to_owned())?;
    Ok(Some(Schedule::new(when, interval.unwrap_or(1)).map_err(|e| e.to_string())?.utc(utc)))
}

fn route(number: usize, raw: raw::Route) -> Result<Route, String> {
    let key = |key: &str, what: &str| format!("[[route]] number {number}: {key}: {what}");
    if raw.facility.as_deref().is_some_and(|name| !syslog::is_facility(name)) {
        return Err(key("facility", "expected a facility of syslog, such as auth or local0"));
    }
    let level = match raw.level {
        None => None,
        Some(name) => Some(level_number(&name).ok_or_else(|| key("level", "expected a level, such as WARNING"))?),
    };
    Ok(Route {
        logger: raw.logger,
        facility: raw.facility,
        level,
        fields: raw.field.into_iter().collect(),
        log: raw.log,
    })
}
