//! The cases: each does one kind of harm, in rounds, until its share of the time is over.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Run;
use crate::oracle::{Damage, Expect};
use crate::plan::Plan;
use crate::rng::Rng;
use crate::round::{Outcome, Round};

pub mod descriptors;
pub mod disk;
pub mod exit;
pub mod foreign;
pub mod journal;
pub mod kills;
pub mod overlay;
pub mod steps;
pub mod stopped;

/// A case.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    /// Share of the time on ext4 and on tmpfs, in parts of all shares together.
    pub shares: [u32; 2],
    pub run: fn(&mut Arena) -> io::Result<()>,
}

/// All cases.
pub const ALL: &[Case] = &[
    kills::CASE,
    steps::CASE,
    exit::CASE,
    descriptors::CASE,
    stopped::CASE,
    journal::CASE,
    overlay::CASE,
    foreign::CASE,
    disk::CASE,
];

/// Where a case runs, and what it has found.
#[derive(Debug)]
pub struct Arena {
    pub directory: PathBuf,
    pub rng: Rng,
    pub processes: u32,
    pub stop: Duration,
    /// The only step to die at, if any.
    pub step: Option<String>,
    pub until: Instant,
    /// Mounts are possible, and private.
    pub mounts: bool,
    /// Not the first file system of this run.
    pub second_ground: bool,
    pub total: Total,
    keep: bool,
    next: u32,
}

/// Sums over the rounds of a case.
#[derive(Debug, Default)]
pub struct Total {
    pub rounds: u64,
    pub processes: u64,
    pub kills: u64,
    pub archives: u64,
    pub records: u64,
    pub bytes: u64,
    pub dropped: u64,
    pub slowest: Duration,
    pub notes: Vec<String>,
    pub damage: Vec<(PathBuf, Damage)>,
}

impl Arena {
    pub fn new(directory: PathBuf, rng: Rng, run: &Run, time: Duration, second_ground: bool) -> Self {
        let (until, stop) = (Instant::now() + time, Duration::from_secs(run.stop_seconds));
        let (processes, mounts) = (run.processes.max(2), run.mounts);
        Self {
            directory,
            rng,
            processes,
            stop,
            step: run.step.clone(),
            until,
            mounts,
            second_ground,
            total: Total::default(),
            keep: run.keep,
            next: 0,
        }
    }

    /// True while there is time for another round. The first one always takes place.
    pub fn has_time(&self) -> bool {
        (self.total.rounds == 0 || Instant::now() < self.until) && self.total.damage.len() < 50
    }

    /// A plan with a fresh seed.
    pub fn plan(&mut self) -> Plan {
        let seed = self.rng.next();
        Plan::new(seed as u32, seed)
    }

    pub fn round(&mut self, plan: Plan) -> io::Result<Round> {
        self.next += 1;
        Round::new(self.directory.join(format!("round-{:03}", self.next)), plan)
    }

    /// A round whose log is on a file system of its own.
    pub fn round_on(&mut self, logs: &Path, plan: Plan) -> io::Result<Round> {
        self.next += 1;
        Round::with_logs(self.directory.join(format!("round-{:03}", self.next)), logs, plan)
    }

    /// Judges a round, adds it up, and removes its files if nothing is wrong with them.
    pub fn close(&mut self, round: Round, expect: Expect) -> io::Result<()> {
        let directory = round.dir.clone();
        let outcome = round.finish(expect)?;
        if outcome.found.damage.is_empty() && !self.keep {
            fs::remove_dir_all(&directory)?;
        }
        self.add(directory, outcome);
        Ok(())
    }

    fn add(&mut self, directory: PathBuf, outcome: Outcome) {
        let total = &mut self.total;
        total.rounds += 1;
        total.processes += outcome.processes;
        total.kills += outcome.kills;
        total.archives += outcome.archives;
        total.records += outcome.found.records;
        total.bytes += outcome.found.bytes;
        total.dropped += outcome.dropped;
        total.slowest = total.slowest.max(outcome.slowest);
        total.damage.extend(outcome.found.damage.into_iter().map(|damage| (directory.clone(), damage)));
    }

    /// Something for people to know that is no failure.
    pub fn note(&mut self, text: impl Into<String>) {
        self.total.notes.push(text.into());
    }
}
