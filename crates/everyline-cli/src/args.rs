//! Stage 1: what was typed. Values are checked one by one here, by `values`; what they mean together, and to the
//! engine, is decided in `settings`.
//!
//! The text of `--help` is written here and nowhere else.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use everyline::{Compress, Fsync, When};

use crate::values;

const EXAMPLES: &str = "\
Exit codes:
  0  done
  1  done, but incomplete, and standard error says what is missing:
     pipe      lines were dropped, too long, or are not yet in the file
     recover   something of dead processes is left
     reopen    a process holds the log and does not answer
     serve     peers were still sending when the time to drain was over
     clean     the journal is in use, or not empty
  2  not done: bad usage, bad input, or the operating system refused
  3  status: there is no journal, so no process is attached

Examples:
  app 2>&1 | everyline pipe --max-bytes 10M --keep 10 app.log
  app 2>&1 | everyline pipe --when midnight --naming dated --keep all app.log
  everyline status --json app.log";

const PIPE_NOTES: &str = "\
Sizes:
  a whole number of bytes, with K, M, G or KiB, MiB, GiB for powers of 1024;
  digits may be grouped: 1_000_000
Durations:
  a whole number with ms, s, m or h

Signals:
  TERM, INT  finish the line that is being read, write, and exit; the rest of
             standard input stays unread. A second one: do not wait for the
             end of that line. A third one ends the process at once
  HUP        write what is there and open FILE anew

FILE may be /dev/stdout, a FIFO or a device: written to and never rotated.";

const SERVE_NOTES: &str = "\
Signals:
  TERM, INT  accept nothing more, write what has arrived, and exit. A third one
             ends the process at once
  HUP        read CONFIG anew, closing no connection, and open the logs anew. If
             CONFIG is not right, go on under the old one";

/// Many processes, one rotating log file, every line.
#[derive(Parser, Debug)]
#[command(name = "everyline", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Write standard input to a rotating log, one line one record
    Pipe(Box<PipeArgs>),
    /// Take records from sockets (Python's SocketHandler, syslog, JSON lines) to rotating logs
    #[command(after_help = SERVE_NOTES)]
    Serve {
        /// Check the configuration, say what is wrong with it, and exit
        #[arg(long)]
        check: bool,
        /// The configuration, a TOML file; docs/serve.md describes it
        config: PathBuf,
    },
    /// Show who is attached to a log, who writes, and what is waiting
    Status {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
        /// The log
        file: PathBuf,
    },
    /// Write what dead processes left in the journal
    Recover {
        /// The log
        file: PathBuf,
    },
    /// Tell all who are attached to look at the path again (after a rename by logrotate)
    Reopen {
        /// The log
        file: PathBuf,
    },
    /// Remove the journal, if nobody is attached and nothing in it is unwritten
    Clean {
        /// The log
        file: PathBuf,
    },
}

/// What can be typed after `everyline pipe`. `None`: not typed, so the engine's default applies.
#[derive(clap::Args, Debug)]
#[command(after_help = PIPE_NOTES)]
pub struct PipeArgs {
    /// Rotate before the file grows over this size [default: not by size]
    #[arg(long, value_name = "SIZE", value_parser = values::size_nonzero, allow_hyphen_values = true)]
    pub max_bytes: Option<u64>,

    /// Rotate by time: S, M, H, D, midnight, or W0 (Monday) to W6 [default: not by time]
    #[arg(long, value_name = "UNIT", value_parser = values::when, allow_hyphen_values = true)]
    pub when: Option<When>,

    /// Rotate every N units of --when [default: 1]
    #[arg(long, value_name = "N", value_parser = values::interval, allow_hyphen_values = true, requires = "when")]
    pub interval: Option<u32>,

    /// Time of day of the rotation, for --when midnight and W0 to W6
    #[arg(long, value_name = "HH:MM[:SS]", value_parser = values::time_of_day, allow_hyphen_values = true, requires = "when")]
    pub at: Option<u32>,

    /// Reckon --when in UTC, not in local time
    #[arg(long, requires = "when")]
    pub utc: bool,

    /// Names of rotated files: app.log.1, app.log.2 ...; app.log.<date>; or app.log.<time>-<number> [default: numbered]
    #[arg(long, value_enum, value_name = "SCHEME")]
    pub naming: Option<NamingArg>,

    /// How many rotated files to keep, or `all` (not with numbered names) [default: 5]
    #[arg(long, value_name = "N|all", value_parser = values::keep, allow_hyphen_values = true)]
    pub keep: Option<Keep>,

    /// Delete rotated files that were last written longer ago: a duration, also in days (d) [default: not by age]
    #[arg(long, value_name = "DURATION", value_parser = values::keep_age, allow_hyphen_values = true)]
    pub keep_age: Option<Duration>,

    /// Delete rotated files, oldest first, while they are larger than this together [default: not by size]
    #[arg(long, value_name = "SIZE", value_parser = values::size_nonzero, allow_hyphen_values = true)]
    pub keep_bytes: Option<u64>,

    /// Compress rotated files: none, gzip, zstd (where built in), or with a level: gzip:9 [default: none]
    #[arg(long, value_name = "HOW", value_parser = values::compress, allow_hyphen_values = true)]
    pub compress: Option<Compress>,

    /// Leave a rotated file alone for so long before it is compressed, for those who follow the log [default: 2m]
    #[arg(long, value_name = "DURATION", value_parser = values::age, allow_hyphen_values = true, requires = "compress")]
    pub compress_after: Option<Duration>,

    /// Name of a symbolic link, beside FILE, to the newest rotated file [default: none]
    #[arg(long, value_name = "NAME", value_parser = values::link, allow_hyphen_values = true)]
    pub link: Option<String>,

    /// Write from a background thread, in larger batches
    #[arg(long)]
    pub deferred: bool,

    /// When to force the file to disk: never, rotation, always, level:N (with --level), or a duration [default: never]
    #[arg(long, value_name = "WHEN", value_parser = values::fsync, allow_hyphen_values = true)]
    pub fsync: Option<Fsync>,

    /// Level of every line, in Python's numbers (20 INFO, 40 ERROR). From 40 on, each line is in the file before the
    /// next is read [default: 0]
    #[arg(long, value_name = "N", value_parser = values::level, allow_hyphen_values = true)]
    pub level: Option<u8>,

    /// Size of the ring in shared memory: a power of two [default: 256K]
    #[arg(long, value_name = "SIZE", value_parser = values::ring, allow_hyphen_values = true)]
    pub ring: Option<u64>,

    /// Bound of what may wait beside the ring, and of one line: a longer one is left out whole [default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = values::size_nonzero, allow_hyphen_values = true)]
    pub overflow: Option<u64>,

    /// When there is no room after --wait: drop the line and count it, or block [default: drop]
    #[arg(long, value_enum, value_name = "POLICY")]
    pub full: Option<FullArg>,

    /// Longest wait for room, and for the last lines to be written at the end [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = values::wait, allow_hyphen_values = true)]
    pub wait: Option<Duration>,

    /// Keep the journal in this directory [default: beside FILE]
    #[arg(long, value_name = "DIR")]
    pub journal_dir: Option<PathBuf>,

    /// Permission bits of a new file, octal, less the umask [default: 666]
    #[arg(long, value_name = "OCTAL", value_parser = values::mode, allow_hyphen_values = true)]
    pub mode: Option<u32>,

    /// User and group of a new file, as numbers [default: those of the process]
    #[arg(long, value_name = "UID:GID", value_parser = values::owner, allow_hyphen_values = true)]
    pub owner: Option<(u32, u32)>,

    /// The log
    pub file: PathBuf,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamingArg {
    /// app.log.1 is the newest
    Numbered,
    /// app.log.2026-01-31
    Dated,
    /// app.log.20260131T101500Z-000123
    Sequence,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullArg {
    /// Drop the line, count it, and say so in the log
    Drop,
    /// Wait on
    Block,
}

/// How many rotated files stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    All,
    Newest(u32),
}
