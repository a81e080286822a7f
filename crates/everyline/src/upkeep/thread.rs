//! The thread of the upkeep: when it starts, sleeps and ends.
//!
//! Promise: after [`Upkeep::after_commit`] what is due is done, unless the process ends first; no notice is lost between
//! a thread that ends and one that is started. [`Upkeep::stop`] returns when the thread is gone, within what it takes to
//! compress a quarter of a megabyte, or to put what was compressed on disk.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::futex;

use super::errand::Errand;
use super::pass::{Next, Pass, in_force, is_owed};
use crate::engine::Engine;
use crate::fork::ForkCell;
use crate::interrupt;
use crate::os;

/// Longest sleep in one piece: a clock that is set while it lasts is noticed after this.
const SLEEP_MOST: Duration = Duration::from_secs(3600);

/// Handle of the thread.
#[derive(Debug, Default)]
pub struct Upkeep {
    state: Arc<State>,
    join: ForkCell<Option<JoinHandle<()>>>,
    engine: OnceLock<Weak<Engine>>,
    /// What it wants done under the lease.
    pub errand: Errand,
}

#[derive(Debug, Default)]
struct State {
    /// Grows when the sleeper is to look again. Futex.
    bell: AtomicU32,
    /// There is a thread, or there will be in a moment.
    alive: AtomicBool,
    /// Something may be due since the thread last looked.
    again: AtomicBool,
    stop: Arc<AtomicBool>,
    /// The thread was ended with work left: the next record brings it back.
    owed: AtomicBool,
}

impl Upkeep {
    /// Says which engine to work for; once, when the engine has found its place.
    pub fn bind(&self, engine: &Arc<Engine>) {
        let _ = self.engine.set(Arc::downgrade(engine));
    }

    /// True if a thread was ended with work left.
    #[inline]
    pub fn is_owed(&self) -> bool {
        self.state.owed.load(Ordering::Relaxed)
    }

    /// This process has deleted something under the lease, which is free now; or it has rotated, and the archives need
    /// looking after; or a thread was ended with work left.
    #[cold]
    pub fn after_commit(&self, engine: &Engine, is_due: bool) {
        if self.state.owed.swap(false, Ordering::Relaxed) || is_due {
            self.notify();
        }
        if !self.state.alive.load(Ordering::Relaxed) {
            // No thread for this alone: this call pays for giving the space back, and no other.
            drop(engine.env.deleted());
        } else if !self.state.again.swap(true, Ordering::SeqCst) {
            self.state.ring();
        }
    }

    /// This process has attached.
    pub fn after_attach(&self, engine: &Engine) {
        let settings = in_force(engine);
        if settings.has_upkeep() && is_owed(engine, &settings) {
            self.notify();
        }
    }

    fn notify(&self) {
        // SeqCst, both: either this sees the thread alive, and rings; or the thread, which says that it is not and then
        // looks at `again`, sees it set.
        self.state.again.store(true, Ordering::SeqCst);
        if self.state.alive.load(Ordering::SeqCst) {
            self.state.ring();
        } else {
            self.start();
        }
    }

    fn start(&self) {
        let Some(engine) = self.engine.get().cloned() else { return };
        let mut join = self.join.lock();
        if self.state.alive.swap(true, Ordering::SeqCst) {
            return self.state.ring();
        }
        self.state.stop.store(false, Ordering::Relaxed);
        let state = Arc::clone(&self.state);
        match std::thread::Builder::new().name("everyline-upkeep".into()).spawn(move || run(&state, &engine)) {
            Ok(handle) => *join = Some(handle),
            // No thread to be had: the next rotation tries again.
            Err(_) => self.state.alive.store(false, Ordering::SeqCst),
        }
    }

    /// Ends the thread. It comes back with the next record, if it left something.
    pub fn stop(&self) {
        let mut join = self.join.lock();
        let Some(handle) = join.take() else { return };
        if handle.thread().id() == std::thread::current().id() {
            return;
        }
        self.state.stop.store(true, Ordering::Release);
        self.state.ring();
        let _ = handle.join();
        self.state.alive.store(false, Ordering::SeqCst);
    }
}

impl State {
    fn ring(&self) {
        self.bell.fetch_add(1, Ordering::Release);
        let _ = futex::wake(&self.bell, futex::Flags::PRIVATE, 1);
    }

    /// Sleeps until the bell has rung since `heard`, at most `most`.
    fn sleep(&self, heard: u32, most: Duration) {
        let most = most.min(SLEEP_MOST);
        let time = futex::Timespec { tv_sec: most.as_secs() as i64, tv_nsec: i64::from(most.subsec_nanos()) };
        let _ = futex::wait(&self.bell, futex::Flags::PRIVATE, heard, Some(&time));
    }
}

fn run(state: &State, engine: &Weak<Engine>) {
    interrupt::is_engine_thread(&state.stop);
    loop {
        let left = work(state, engine);
        if state.stop.load(Ordering::Acquire) {
            state.owed.store(left, Ordering::Relaxed);
            return;
        }
        state.alive.store(false, Ordering::SeqCst);
        // Notified meanwhile by somebody who still saw us; or somebody else has started a new thread already.
        if !state.again.load(Ordering::SeqCst) || state.alive.swap(true, Ordering::SeqCst) {
            return;
        }
    }
}

/// Until nothing is due and nothing will be. True: ended before that.
fn work(state: &State, engine: &Weak<Engine>) -> bool {
    let mut pass = Pass::default();
    loop {
        let heard = state.bell.load(Ordering::Acquire);
        state.again.store(false, Ordering::SeqCst);
        let Some(engine) = engine.upgrade() else { return false };
        if state.stop.load(Ordering::Acquire) || engine.env.is_lost() {
            return true;
        }
        let next = pass.run(&engine, &state.stop);
        drop(engine.env.deleted());
        drop(engine);
        match next {
            Next::Nothing => return false,
            Next::Stopped => return true,
            Next::At(due_ns) => {
                // A notice that came since the look is heard here: `again` is set before the bell is rung.
                state.sleep(heard, Duration::from_nanos(due_ns.saturating_sub(os::wall_ns())));
            }
        }
    }
}
