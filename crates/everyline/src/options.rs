//! Options of a log: what the user may set, checked before anything is touched.
//!
//! The part that all processes of one log must agree on (rotation, names, retention) is also written to the journal as
//! plain `key=value` lines, so that any process, and the command line, can commit and rotate for the others.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::rotation::{Naming, Schedule, is_base_name};

/// Default of `compress_after`: twice the longest pause after which a usual log shipper looks for new names (60 s).
const COMPRESS_AFTER: Duration = Duration::from_secs(120);
/// Longest age and grace: a hundred years, so that no sum overflows.
const AGE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Smallest and largest ring, in bytes. A ring is a power of two.
pub const RING_BYTES_MIN: u64 = 4 << 10;
/// See [`RING_BYTES_MIN`].
pub const RING_BYTES_MAX: u64 = 64 << 20;

/// When records go to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Commit {
    /// In the call that logs, by whoever is free. The default.
    #[default]
    WriteThrough,
    /// By a background thread; the call returns after a copy.
    Deferred,
}

/// When the file is forced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Never: the kernel decides. The default, and what Python's handlers do.
    #[default]
    Never,
    /// A file is synced when it is rotated away.
    OnRotation,
    /// Records at or above this level (Python's numbers: ERROR is 40) are synced before the call returns.
    AtLevel(u8),
    /// At most this long after a record (deferred mode), or at the next commit after it (write-through).
    Interval(Duration),
    /// Every record, before the call returns. Callers that wait at the same time share one sync.
    Always,
}

impl Fsync {
    /// True if a record of this level is to be on disk when its call returns.
    pub(crate) fn is_due_at(self, level: u8) -> bool {
        match self {
            Self::Always => true,
            Self::AtLevel(at) => level >= at,
            Self::Never | Self::OnRotation | Self::Interval(_) => false,
        }
    }
}

/// What to do with a record when ring and overflow are full and the wait has reached its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Full {
    /// Drop it, count it, and announce the count in the log. The default.
    #[default]
    Drop,
    /// Wait on, without a bound. Not in a step under the lease (`Appender::try_exclusive`), which would wait for itself:
    /// there it is dropped as under `Drop`.
    Block,
}

/// What becomes of archives when they have been there for `compress_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compress {
    /// They stay as they are. The default.
    #[default]
    None,
    /// gzip, level 0 (none) to 9 (smallest).
    Gzip {
        /// 6 is the usual one.
        level: u32,
    },
    /// Zstandard, level 1 to 19. Needs the feature `zstd`.
    Zstd {
        /// 3 is the usual one.
        level: u32,
    },
}

impl Compress {
    /// True if this build can do it.
    pub fn is_built_in(self) -> bool {
        cfg!(feature = "zstd") || !matches!(self, Self::Zstd { .. })
    }
}

/// Everything that can be set. Built by [`Builder`](crate::Builder).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// No file grows over this many bytes (a single larger record excepted). `None`: no rotation by size.
    pub max_bytes: Option<u64>,
    /// Rotation by civil time.
    pub schedule: Option<Schedule>,
    /// How rotated files are named.
    pub naming: Naming,
    /// How many rotated files are kept. `None`: all of them (not with numbered names).
    pub keep: Option<u32>,
    /// An archive that was last written longer ago is deleted.
    pub keep_age: Option<Duration>,
    /// Archives are deleted, oldest first, while they are larger than this together.
    pub keep_total_bytes: Option<u64>,
    /// What becomes of archives.
    pub compress: Compress,
    /// How long an archive is left alone before it is compressed: those who follow the log read it to its end meanwhile.
    pub compress_after: Duration,
    /// A symbolic link beside the log that leads to the newest archive.
    pub link: Option<String>,
    /// When records go to the file.
    pub commit: Commit,
    /// When the file is forced to disk.
    pub fsync: Fsync,
    /// Size of one process's ring; a power of two. The first process of a log decides for all.
    pub ring_bytes: u64,
    /// Bound of one process's overflow file.
    pub overflow_bytes: u64,
    /// Policy when there is no room.
    pub full: Full,
    /// Longest wait for room, and for `flush`; once per incident.
    pub wait: Duration,
    /// Records at or above this level return only when they are in the file (40 is Python's ERROR).
    pub urgent_level: u8,
    /// Where the journal is kept; `None`: beside the log.
    pub journal_dir: Option<PathBuf>,
    /// Permission bits of a newly created log file, less the umask.
    pub mode: u32,
    /// User and group of a newly created log file; `None`: those of the process.
    pub owner: Option<(u32, u32)>,
    /// Empty the log at start, if this is the first process on it.
    pub truncate: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_bytes: None,
            schedule: None,
            naming: Naming::Numbered,
            keep: Some(5),
            keep_age: None,
            keep_total_bytes: None,
            compress: Compress::None,
            compress_after: COMPRESS_AFTER,
            link: None,
            commit: Commit::WriteThrough,
            fsync: Fsync::Never,
            ring_bytes: 256 << 10,
            overflow_bytes: 64 << 20,
            full: Full::Drop,
            wait: Duration::from_secs(1),
            urgent_level: 40,
            journal_dir: None,
            mode: 0o666,
            owner: None,
            truncate: false,
        }
    }
}

impl Options {
    /// Checks every value.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption), naming the option, what was given and what is expected.
    pub fn check(&self) -> Result<()> {
        if self.max_bytes == Some(0) {
            return Err(Error::option(
                "max_bytes",
                "0 bytes hold no record; give a size, or leave it out for no rotation by size",
            ));
        }
        if !self.ring_bytes.is_power_of_two() || !(RING_BYTES_MIN..=RING_BYTES_MAX).contains(&self.ring_bytes) {
            return Err(Error::option(
                "ring_bytes",
                format!("{} is not a power of two from {RING_BYTES_MIN} to {RING_BYTES_MAX}", self.ring_bytes),
            ));
        }
        if self.overflow_bytes < self.ring_bytes {
            return Err(Error::option(
                "overflow_bytes",
                format!(
                    "{} is less than the ring ({} bytes); the default is 64 MiB",
                    self.overflow_bytes, self.ring_bytes
                ),
            ));
        }
        if self.naming == Naming::Numbered && self.rotates() && !matches!(self.keep, Some(1..=99_999)) {
            return Err(Error::option(
                "keep",
                "numbered names need a count from 1 to 99999; use dated or sequence names to keep every file",
            ));
        }
        if self.keep == Some(0) {
            return Err(Error::option(
                "keep",
                "0 would delete every rotated file; give 1 or more, or leave it out to keep all",
            ));
        }
        self.check_archives()?;
        if self.wait > Duration::from_secs(24 * 3600) {
            return Err(Error::option("wait", "the bound must be at most one day; use the policy `Block` to wait on"));
        }
        if matches!(self.fsync, Fsync::Interval(d) if d.is_zero()) {
            return Err(Error::option("fsync", "an interval of zero is `Always`; say so"));
        }
        if self.mode & !0o777 != 0 {
            return Err(Error::option("mode", format!("{:o} has bits beyond rwxrwxrwx", self.mode)));
        }
        Ok(())
    }

    /// What concerns archives only.
    fn check_archives(&self) -> Result<()> {
        if self.keep_age.is_some_and(|age| age < Duration::from_secs(1) || age > AGE_MAX) {
            return Err(Error::option("keep_age", "expected 1 s to 100 years; leave it out to keep files of any age"));
        }
        if self.keep_total_bytes == Some(0) {
            return Err(Error::option(
                "keep_total_bytes",
                "0 would delete every rotated file; give 1 or more, or leave it out to keep all",
            ));
        }
        if self.compress_after > AGE_MAX {
            return Err(Error::option("compress_after", "expected at most 100 years; say `Compress::None` for never"));
        }
        match self.compress {
            Compress::Gzip { level: 10.. } => {
                return Err(Error::option("compress", "gzip has the levels 0 to 9"));
            }
            Compress::Zstd { level: 0 | 20.. } => {
                return Err(Error::option("compress", "zstd has the levels 1 to 19"));
            }
            Compress::Zstd { .. } if !self.compress.is_built_in() => {
                return Err(Error::option(
                    "compress",
                    "zstd is not built in (the cargo feature `zstd`); take gzip, or a build that has it",
                ));
            }
            _ => {}
        }
        match &self.link {
            // "-" and line breaks mean something else in the settings file.
            Some(name) if !is_base_name(name) || name == "-" || name.contains(char::is_control) => {
                let hint =
                    format!("{name:?} is not a name for a link in the log's directory; give one without a slash");
                Err(Error::option("link", hint))
            }
            _ => Ok(()),
        }
    }

    /// True if any policy can cut the file.
    pub fn rotates(&self) -> bool {
        self.max_bytes.is_some() || self.schedule.is_some()
    }
}
