//! What each writer knows to be accepted, in a file that all processes of a round map: it survives their SIGKILL, so the
//! set of acknowledged records is exact. One entry for each *writer*: a thread in one life of a process.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys;

/// Most writers in one round.
pub const WRITERS: usize = 16_000;
const WORDS: usize = 8;

/// The mapped file.
#[derive(Clone, Copy, Debug)]
pub struct Ledger {
    words: &'static [AtomicU64],
}

/// One writer's words. Written by it alone.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    words: &'static [AtomicU64],
}

/// What one writer has done, copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Records that were begun: those from `acked` on may be in the log or not.
    pub begun: u64,
    /// Records that were accepted.
    pub acked: u64,
    /// Calls that were refused: dropped by policy.
    pub dropped: u64,
    /// Calls that failed otherwise.
    pub failed: u64,
    /// Longest call, ns.
    pub slowest_ns: u64,
    /// Bytes accepted.
    pub bytes: u64,
    /// Records that a `flush` has said to be in the file.
    pub flushed: u64,
}

impl Ledger {
    /// Makes the file.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::create_new(path)?;
        file.set_len((WORDS * (WRITERS + 1) * 8) as u64)?;
        Self::open(path)
    }

    /// Maps the file of a round.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { words: sys::map_words(&file, WORDS * (WRITERS + 1))? })
    }

    /// A number for a new writer.
    pub fn new_writer(&self) -> u32 {
        let who = self.words[0].fetch_add(1, Ordering::Relaxed);
        assert!((who as usize) < WRITERS, "too many writers in one round");
        who as u32
    }

    /// Writers so far.
    pub fn writers(&self) -> u32 {
        self.words[0].load(Ordering::Relaxed) as u32
    }

    /// Asks all writers to end.
    pub fn stop(&self) {
        self.words[1].store(1, Ordering::Release);
    }

    /// True if they were asked.
    pub fn stopped(&self) -> bool {
        self.words[1].load(Ordering::Acquire) != 0
    }

    /// Forgets the wish, for a second generation of writers.
    pub fn go_on(&self) {
        self.words[1].store(0, Ordering::Release);
    }

    pub fn entry(&self, who: u32) -> Entry {
        let from = WORDS * (who as usize + 1);
        Entry { words: &self.words[from..from + WORDS] }
    }

    /// All writers.
    pub fn accounts(&self) -> Vec<Account> {
        (0..self.writers()).map(|who| self.entry(who).read()).collect()
    }

    /// Records and bytes accepted so far.
    pub fn progress(&self) -> (u64, u64) {
        self.accounts().iter().fold((0, 0), |sum, a| (sum.0 + a.acked, sum.1 + a.bytes))
    }
}

impl Entry {
    pub fn begin(&self, seq: u64) {
        self.words[0].store(seq + 1, Ordering::Release);
    }

    /// The call returned: from here on the record must not be lost.
    pub fn ack(&self, seq: u64, bytes: u64) {
        self.words[1].store(seq + 1, Ordering::Release);
        self.words[5].fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn dropped(&self) {
        self.words[2].fetch_add(1, Ordering::Relaxed);
    }

    pub fn failed(&self) {
        self.words[3].fetch_add(1, Ordering::Relaxed);
    }

    pub fn took(&self, ns: u64) {
        self.words[4].fetch_max(ns, Ordering::Relaxed);
    }

    /// Forgets the longest call so far.
    pub fn forget_slowest(&self) {
        self.words[4].store(0, Ordering::Relaxed);
    }

    pub fn flushed(&self, seq: u64) {
        self.words[6].store(seq, Ordering::Release);
    }

    pub fn read(&self) -> Account {
        let get = |i: usize| self.words[i].load(Ordering::Acquire);
        // `acked` before `begun`: a running writer never seems to have acknowledged what it has not begun.
        let acked = get(1);
        Account {
            begun: get(0),
            acked,
            dropped: get(2),
            failed: get(3),
            slowest_ns: get(4),
            bytes: get(5),
            flushed: get(6),
        }
    }
}
