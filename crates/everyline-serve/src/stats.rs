//! What the server counts, and what it says about it: each reason at once, then at most every ten seconds with a count,
//! so that a flood of bad peers is no flood of messages.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Reason;

/// A reason is spoken of again after this time.
const SILENCE: Duration = Duration::from_secs(10);

/// Where messages for people go; it is given whole lines without their ends.
pub type Report = Box<dyn Fn(&str) + Send + Sync>;

/// Counters of a server, and its voice.
pub struct Stats {
    /// Records that logs took.
    pub records: AtomicU64,
    /// Connections since the start.
    pub connections: AtomicU64,
    refused: Vec<AtomicU64>,
    spoken: Mutex<Vec<Spoken>>,
    report: Report,
}

#[derive(Clone, Default)]
struct Spoken {
    last: Option<Instant>,
    since: u64,
}

impl Stats {
    /// All at zero.
    pub fn new(report: Report) -> Self {
        Self {
            records: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            refused: Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            spoken: Mutex::new(vec![Spoken::default(); Reason::ALL.len()]),
            report,
        }
    }

    /// How often something was refused for this reason.
    pub fn refused(&self, reason: Reason) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }

    /// Counts a refusal, and says so.
    pub fn refuse(&self, reason: Reason, whom: &str, detail: &str) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
        // A poisoned lock holds counters that are as good as ever.
        let mut spoken = self.spoken.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let state = &mut spoken[reason as usize];
        if state.last.is_some_and(|last| last.elapsed() < SILENCE) {
            state.since += 1;
            return;
        }
        let before = match state.since {
            0 => String::new(),
            count => format!(" (and {count} times more since the last message)"),
        };
        *state = Spoken { last: Some(Instant::now()), since: 0 };
        drop(spoken);
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        self.say(&format!("{whom}: {reason}{detail}{before}"));
    }

    /// A message for people.
    pub fn say(&self, message: &str) {
        (self.report)(message);
    }
}
