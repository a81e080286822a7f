//! A way out of a wait: signals that a host language handles itself, such as Ctrl-C in Python.
//!
//! Promise: the hook is called on the thread that waits, about every 50 ms, and nothing is held meanwhile: no lock, no
//! lease. It may run any code, also code that logs. It is never called on a thread of the engine's own: whoever forks
//! waits for those, perhaps with a lock that the hook wants (Python's GIL). What ends their waits is being told to stop.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Between two calls of the hook.
const PERIOD: Duration = Duration::from_millis(50);

static HOOK: OnceLock<fn() -> bool> = OnceLock::new();

thread_local! {
    /// On a thread of the engine's: that it is to end.
    static STOP: OnceCell<Arc<AtomicBool>> = const { OnceCell::new() };
}

/// Says that this thread is one of the engine's, and what tells it to end.
pub fn is_engine_thread(stop: &Arc<AtomicBool>) {
    // Set already: a thread is started for one engine, once.
    let _ = STOP.with(|cell| cell.set(Arc::clone(stop)));
}

/// True on a thread of the engine's that is to end. `None` on any other thread.
fn is_told_to_stop() -> Option<bool> {
    STOP.try_with(|cell| cell.get().map(|stop| stop.load(Ordering::Acquire))).unwrap_or(Some(true))
}

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

    /// True if the hook says so; on the engine's own threads, if they are to end.
    pub fn is_interrupted(&mut self) -> bool {
        if let Some(stop) = is_told_to_stop() {
            return stop;
        }
        let now = Instant::now();
        if now.duration_since(self.asked) < PERIOD {
            return false;
        }
        self.asked = now;
        HOOK.get().is_some_and(|hook| hook())
    }
}
