//! A way out of a wait: signals that a host language handles itself, such as Ctrl-C in Python.
//!
//! Promise: the hook is called on the thread that waits, about every 50 ms, and nothing is held meanwhile: no lock, no
//! lease. It may run any code, also code that logs.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Between two calls of the hook.
const PERIOD: Duration = Duration::from_millis(50);

static HOOK: OnceLock<fn() -> bool> = OnceLock::new();

/// Sets what is asked while a call of this process waits, for room, for a flush or for a sync. True ends the wait with
/// [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted). Once for a process; a second hook is not taken.
pub fn on_wait(hook: fn() -> bool) -> bool {
    HOOK.set(hook).is_ok()
}

/// One wait.
#[derive(Debug)]
pub struct Waiting {
    pub started: Instant,
    asked: Instant,
}

impl Waiting {
    pub fn begin() -> Self {
        let now = Instant::now();
        Self { started: now, asked: now }
    }

    /// True if the hook says so.
    pub fn is_interrupted(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.asked) < PERIOD {
            return false;
        }
        self.asked = now;
        HOOK.get().is_some_and(|hook| hook())
    }
}
