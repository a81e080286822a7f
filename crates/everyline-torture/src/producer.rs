//! A process that logs: runs until the ledger says stop, or until somebody kills it. Every call and its result go into the
//! ledger before anything else happens.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use everyline::{Appender, ErrorKind};

use crate::acts;
use crate::bare::Bare;
use crate::ledger::Ledger;
use crate::plan::{Act, Plan, Sizes};
use crate::record::{Head, compose};
use crate::rng::Rng;
use crate::sys;

/// Exit code of a producer that could not log at all; the reason is on standard error.
pub const EXIT_FAILED: i32 = 3;

/// Where records go.
#[derive(Debug)]
pub enum Sink {
    Engine(Box<Appender>),
    /// For `faults`: what everybody does without an engine.
    Bare(Bare),
}

/// What all threads of a producer share.
#[derive(Debug)]
pub struct Producer {
    pub plan: Plan,
    pub ledger: Ledger,
    pub sink: Sink,
}

/// The hidden subcommand.
pub fn run(plan: Plan) -> io::Result<()> {
    // Never outlives the runner, whatever happens to that.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let ledger = Ledger::open(&plan.ledger)?;
    let sink = match plan.act {
        Act::Bare | Act::BareRotate => Sink::Bare(Bare::open(&plan)?),
        _ => Sink::Engine(Box::new(plan.builder().and_then(|b| b.open()).map_err(io::Error::other)?)),
    };
    if let Some(limit) = plan.file_limit {
        // After attaching: the journal's own files are larger.
        sys::ignore_file_size_signal();
        let limit = rustix::process::Rlimit { current: Some(limit), maximum: None };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit)?;
    }
    let producer = Arc::new(Producer { plan, ledger, sink });
    let threads: Vec<_> = (1..producer.plan.threads)
        .map(|_| {
            let producer = Arc::clone(&producer);
            std::thread::spawn(move || producer.log(u64::MAX))
        })
        .collect();
    acts::perform(&producer)?;
    for thread in threads {
        let _ = thread.join();
    }
    // Half of them leave in order; the others as processes do that run no exit hooks.
    if producer.plan.seed.is_multiple_of(2) {
        sys::exit_now(0);
    }
    Ok(())
}

impl Producer {
    /// Logs as one writer, at most `records`, until the round is over.
    pub fn log(&self, records: u64) {
        let who = self.ledger.new_writer();
        let entry = self.ledger.entry(who);
        let mut rng = Rng::new(self.plan.seed ^ u64::from(who) << 32);
        let mut buffer = Vec::new();
        let started = Instant::now();
        let (mut seq, mut calls) = (0, 0);
        while seq < records && !self.ledger.stopped() {
            let size = self.plan.size(&mut rng);
            let lines = rng.one_in(4);
            let level = if rng.one_in(300) { 40 } else { 20 };
            entry.begin(seq);
            let head = Head { run: self.plan.run, who, seq, stamp: wall_ns(), foreign: false };
            compose(&mut buffer, head, size, lines);
            let called = Instant::now();
            let result = self.append(level, &buffer);
            entry.took(called.elapsed().as_nanos() as u64);
            match result {
                Ok(()) => {
                    entry.ack(seq, buffer.len() as u64);
                    seq += 1;
                }
                Err(Refused::Dropped) => entry.dropped(),
                Err(Refused::Failed(text)) => {
                    entry.failed();
                    eprintln!("writer {who}, record {seq}: {text}");
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            // Plain records are for measuring how long others are kept waiting.
            if self.plan.sizes != Sizes::Plain && rng.one_in(400) && self.flush() {
                entry.flushed(seq);
            }
            calls += 1;
            self.keep_pace(started, calls);
        }
    }

    fn append(&self, level: u8, record: &[u8]) -> Result<(), Refused> {
        match &self.sink {
            Sink::Bare(bare) => bare.append(record).map_err(|e| Refused::Failed(e.to_string())),
            Sink::Engine(log) => log.append_at(level, record).map_err(|e| match e.kind() {
                ErrorKind::Dropped => Refused::Dropped,
                _ => Refused::Failed(e.to_string()),
            }),
        }
    }

    /// True if everything logged so far is in the file.
    fn flush(&self) -> bool {
        match &self.sink {
            Sink::Engine(log) => log.flush().is_ok(),
            Sink::Bare(_) => true,
        }
    }

    fn keep_pace(&self, started: Instant, calls: u64) {
        if let Some(due) = (calls * 1_000_000_000).checked_div(self.plan.rate) {
            std::thread::sleep(Duration::from_nanos(due).saturating_sub(started.elapsed()));
        }
    }

    /// A file of this process's own, outside the log's directory.
    pub fn private_file(&self, name: &str) -> PathBuf {
        self.plan.private.join(format!("{name}-{}-{}", std::process::id(), wall_ns()))
    }
}

/// Why a record was not accepted.
enum Refused {
    Dropped,
    Failed(String),
}

/// The wall clock, as the engine reads it.
pub fn wall_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}
