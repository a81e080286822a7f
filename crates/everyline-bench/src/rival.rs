//! The rivals: ways for many processes to append lines to one file.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use everyline::{Appender, Commit};

/// Bytes of a record, with its line break.
pub const RECORD_BYTES: usize = 120;
/// Limit of a file where it rotates.
pub const ROTATE_BYTES: u64 = 10 << 20;

/// A way to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rival {
    /// `write` on an `O_APPEND` descriptor. Not safe against a kill, and it cannot rotate: the floor.
    Bare,
    /// `flock`, `write`, unlock: what a lock around each record costs at the least.
    Flock,
    /// everyline, default settings, no rotation.
    WriteThrough,
    /// everyline, deferred commit, no rotation.
    Deferred,
    /// everyline, write-through, rotating at 10 MiB.
    RotatingWriteThrough,
    /// everyline, deferred, rotating at 10 MiB.
    RotatingDeferred,
}

impl Rival {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 6] = [
        Self::Bare,
        Self::Flock,
        Self::WriteThrough,
        Self::Deferred,
        Self::RotatingWriteThrough,
        Self::RotatingDeferred,
    ];

    /// Those whose calls are clocked: a rotation falls into one call of a hundred thousand.
    pub const CLOCKED: [Self; 4] = [Self::Bare, Self::Flock, Self::WriteThrough, Self::Deferred];

    /// Name in tables, raw data and worker arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare-write",
            Self::Flock => "flock-write",
            Self::WriteThrough => "write-through",
            Self::Deferred => "deferred",
            Self::RotatingWriteThrough => "write-through-rotating",
            Self::RotatingDeferred => "deferred-rotating",
        }
    }

    /// Opens the log.
    ///
    /// # Errors
    /// What the system or the engine says.
    pub fn open(self, path: &Path, ring_bytes: Option<u64>) -> Result<Log, String> {
        if matches!(self, Self::Bare | Self::Flock) {
            let file = File::options().append(true).create(true).open(path).map_err(|e| e.to_string())?;
            return Ok(if self == Self::Bare { Log::Bare(file) } else { Log::Flock(file) });
        }
        // Waits rather than drops: every record is counted in the file at the end.
        let mut builder = Appender::builder(path).wait(Duration::from_secs(60)).keep(Some(10_000));
        if let Some(bytes) = ring_bytes {
            builder = builder.ring_bytes(bytes);
        }
        if matches!(self, Self::Deferred | Self::RotatingDeferred) {
            builder = builder.commit(Commit::Deferred);
        }
        if matches!(self, Self::RotatingWriteThrough | Self::RotatingDeferred) {
            builder = builder.max_bytes(ROTATE_BYTES);
        }
        builder.open().map(|log| Log::Everyline(Box::new(log))).map_err(|e| e.to_string())
    }
}

/// A rival by its name.
///
/// # Errors
/// A list of the names there are.
pub fn parse(name: &str) -> Result<Rival, String> {
    let names = || Rival::ALL.map(Rival::name).join(", ");
    Rival::ALL.into_iter().find(|r| r.name() == name).ok_or_else(|| format!("not one of {}", names()))
}

/// A log, opened.
pub enum Log {
    /// See [`Rival::Bare`].
    Bare(File),
    /// See [`Rival::Flock`].
    Flock(File),
    /// everyline.
    Everyline(Box<Appender>),
}

impl Log {
    /// Logs one record.
    ///
    /// # Panics
    /// If it cannot: a benchmark that loses records measures nothing.
    #[inline]
    pub fn append(&self, record: &[u8]) {
        match self {
            Self::Bare(file) => append_whole(file, record),
            Self::Flock(file) => {
                file.lock().expect("flock");
                append_whole(file, record);
                file.unlock().expect("unlock");
            }
            Self::Everyline(log) => log.append(record).expect("append"),
        }
    }

    /// Waits until this process's records are in the file.
    ///
    /// # Panics
    /// If they cannot be brought there.
    pub fn flush(&self) {
        if let Self::Everyline(log) = self {
            Appender::flush(log).expect("flush");
        }
    }

    /// Calls that had to wait for room.
    pub fn waited(&self) -> u64 {
        if let Self::Everyline(log) = self { log.counters().waited } else { 0 }
    }
}

#[inline]
fn append_whole(mut file: &File, record: &[u8]) {
    assert_eq!(file.write(record).expect("write"), record.len());
}
