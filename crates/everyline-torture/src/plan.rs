//! What the producers of a round are told: settings of the log, sizes and rate of records, and what is done to them.
//! Handed over on the command line, so that a single producer can be started by hand, in a debugger too.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use everyline::{Appender, Builder, Commit, Compress, Full, Naming, Schedule, When};

use crate::rng::Rng;

/// Name of the link to the newest archive.
pub const LINK: &str = "newest";

/// How long records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sizes {
    /// 200 bytes each.
    Plain,
    /// 7 to 5,000 bytes.
    Mixed,
    /// As mixed, some over 64 KiB, a few over the ring.
    Large,
    /// 3,000 to 9,000 bytes: most writes cross a page, where a kill tears them.
    Pages,
}

/// How archives are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Names {
    Numbered,
    Dated,
    Sequence,
}

/// What a producer does besides logging.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Act {
    /// Nothing.
    Log,
    /// One thread ends the process with `_exit` while others log.
    Exit,
    /// One thread replaces the process's image while others log.
    Exec,
    /// Forks while threads log; the children log, too.
    Fork,
    /// As `Fork`, by the bare system call, from a process with one thread.
    Clone,
    /// Closes all descriptors over 2, opens files of its own, and goes on.
    Close,
    /// No engine: plain appends to an open file. For `faults`.
    Bare,
    /// As `Bare`, and each process rotates for itself, as Python's handlers do. For `faults`.
    BareRotate,
}

/// The plan.
#[derive(Clone, Debug, Args)]
pub struct Plan {
    #[arg(long)]
    pub log: PathBuf,
    #[arg(long)]
    pub ledger: PathBuf,
    /// Private directory of the round.
    #[arg(long)]
    pub private: PathBuf,
    #[arg(long)]
    pub run: u32,
    #[arg(long)]
    pub seed: u64,
    #[arg(long, value_enum)]
    pub names: Names,
    #[arg(long)]
    pub keep: Option<u32>,
    #[arg(long)]
    pub max_bytes: Option<u64>,
    /// Period of rotation by time, s.
    #[arg(long)]
    pub period: Option<u32>,
    /// Archives are compressed, as soon as may be.
    #[arg(long)]
    pub compress: bool,
    /// Archives are deleted while they are larger than this together.
    #[arg(long)]
    pub keep_total_bytes: Option<u64>,
    /// A link leads to the newest archive.
    #[arg(long)]
    pub link: bool,
    #[arg(long)]
    pub deferred: bool,
    #[arg(long)]
    pub ring_bytes: u64,
    #[arg(long)]
    pub overflow_bytes: u64,
    #[arg(long)]
    pub wait_ms: u64,
    #[arg(long)]
    pub journal_dir: Option<PathBuf>,
    #[arg(long, value_enum)]
    pub sizes: Sizes,
    /// Records per second and thread; 0: as many as go.
    #[arg(long)]
    pub rate: u64,
    #[arg(long)]
    pub threads: u32,
    #[arg(long, value_enum)]
    pub act: Act,
    /// Largest file this process may write: writes beyond it fail.
    #[arg(long)]
    pub file_limit: Option<u64>,
}

impl Plan {
    /// Small rings and files, everything in order.
    pub fn new(run: u32, seed: u64) -> Self {
        Self {
            log: PathBuf::new(),
            ledger: PathBuf::new(),
            private: PathBuf::new(),
            run,
            seed,
            names: Names::Dated,
            keep: None,
            max_bytes: Some(200_000),
            period: None,
            compress: false,
            keep_total_bytes: None,
            link: false,
            deferred: false,
            ring_bytes: 16 << 10,
            overflow_bytes: 64 << 20,
            wait_ms: 1000,
            journal_dir: None,
            sizes: Sizes::Mixed,
            rate: 0,
            threads: 1,
            act: Act::Log,
            file_limit: None,
        }
    }

    /// As arguments of the hidden subcommand.
    pub fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["producer".into()];
        let mut put = |name: &str, value: OsString| args.extend([OsString::from(format!("--{name}")), value]);
        let word = |value: &dyn ToString| OsString::from(value.to_string());
        put("log", self.log.clone().into());
        put("ledger", self.ledger.clone().into());
        put("private", self.private.clone().into());
        put("run", word(&self.run));
        put("seed", word(&self.seed));
        put("names", value(self.names));
        put("ring-bytes", word(&self.ring_bytes));
        put("overflow-bytes", word(&self.overflow_bytes));
        put("wait-ms", word(&self.wait_ms));
        put("sizes", value(self.sizes));
        put("rate", word(&self.rate));
        put("threads", word(&self.threads));
        put("act", value(self.act));
        self.keep.iter().for_each(|v| put("keep", word(v)));
        self.max_bytes.iter().for_each(|v| put("max-bytes", word(v)));
        self.period.iter().for_each(|v| put("period", word(v)));
        self.file_limit.iter().for_each(|v| put("file-limit", word(v)));
        self.journal_dir.iter().for_each(|v| put("journal-dir", v.clone().into()));
        self.keep_total_bytes.iter().for_each(|v| put("keep-total-bytes", word(v)));
        for (flag, is_set) in [("--deferred", self.deferred), ("--compress", self.compress), ("--link", self.link)] {
            args.extend(is_set.then(|| flag.into()));
        }
        args
    }

    /// The engine's settings.
    pub fn builder(&self) -> everyline::Result<Builder> {
        let mut builder = Appender::builder(&self.log)
            .naming(match self.names {
                Names::Numbered => Naming::Numbered,
                Names::Dated => Naming::Dated,
                Names::Sequence => Naming::Sequence,
            })
            .keep(self.keep)
            .commit(if self.deferred { Commit::Deferred } else { Commit::WriteThrough })
            .ring_bytes(self.ring_bytes)
            .overflow_bytes(self.overflow_bytes)
            .full(Full::Drop)
            .wait(Duration::from_millis(self.wait_ms));
        if let Some(max_bytes) = self.max_bytes {
            builder = builder.max_bytes(max_bytes);
        }
        if self.compress {
            builder = builder.compress(Compress::Gzip { level: 1 }).compress_after(Duration::ZERO);
        }
        if let Some(keep_total_bytes) = self.keep_total_bytes {
            builder = builder.keep_total_bytes(keep_total_bytes);
        }
        if self.link {
            builder = builder.link(LINK.into());
        }
        if let Some(period) = self.period {
            builder = builder.schedule(Schedule::new(When::Second, period)?.utc(true));
        }
        if let Some(journal_dir) = &self.journal_dir {
            builder = builder.journal_dir(journal_dir.clone());
        }
        Ok(builder)
    }

    /// Length of the next record.
    pub fn size(&self, rng: &mut Rng) -> usize {
        let size = match (self.sizes, rng.range(0, 1000)) {
            (Sizes::Plain, _) => 200,
            (Sizes::Pages, _) => rng.range(3000, 9000),
            (Sizes::Large, 0..2) => self.ring_bytes + rng.range(1, 100_000),
            (Sizes::Large, 2..7) => rng.range(65_537, 120_000),
            (_, 0..350) => rng.range(7, 33),
            (_, 350..750) => rng.range(33, 300),
            (_, 750..900) => rng.range(300, 1500),
            _ => rng.range(1500, 5001),
        };
        // Sizes that divide a page hide tears.
        (size | 1) as usize
    }
}

fn value(of: impl ValueEnum) -> OsString {
    of.to_possible_value().expect("no variant is skipped").get_name().into()
}
