//! The background committer of deferred mode.
//!
//! Promise: after [`Thread::notify`] the record is committed within a few milliseconds without the caller entering the
//! kernel, except to wake a thread that has been idle. The thread is stopped and joined before a fork (a native thread
//! makes Python warn, and would not exist in the child) and comes back with the next record. It waits for no other
//! process, so that whoever stops it does not either.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::thread::futex;

use crate::engine::Engine;
use crate::fork::ForkCell;
use crate::interrupt;
use crate::protocol::commit::{Effort, Looked};
use crate::protocol::env::Env;

/// Pause between two looks while records flow: long enough to gather a batch, short against the ring at full speed.
const NAP: Duration = Duration::from_micros(500);
/// Pause where others do the work: with many processes most looks find nothing, and each costs a context switch.
const NAP_MOST: Duration = Duration::from_millis(4);
/// Looks that found nothing before the thread sleeps for good.
const IDLE_NAPS: u32 = 20;
/// Sleeps after the last record, after which it looks by itself, for what a dead process left. Then it sleeps until it is
/// woken: an idle process makes no wake-ups.
const SLEEPS: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4)];

/// The thread works, or naps where waking it would be no use.
const AWAKE: u32 = 0;
/// It sleeps for good: the next record wakes it.
const ASLEEP: u32 = 1;
/// It gathers records: a ring that is half full wakes it, so that a burst does not have to wait for room.
const NAPPING: u32 = 2;

/// Handle of the thread, and the word it sleeps on.
#[derive(Debug, Default)]
pub struct Thread {
    state: Arc<State>,
    running: ForkCell<Running>,
    engine: std::sync::OnceLock<Weak<Engine>>,
}

#[derive(Debug, Default)]
struct Running {
    join: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// The word the thread sleeps on: [`AWAKE`], [`NAPPING`] or [`ASLEEP`].
    asleep: AtomicU32,
    started: AtomicBool,
    stop: Arc<AtomicBool>,
}

impl Thread {
    /// Says which engine to work for; once, when the engine has found its place.
    pub fn bind(&self, engine: &Arc<Engine>) {
        let _ = self.engine.set(Arc::downgrade(engine));
    }

    /// A record was published.
    #[inline]
    pub fn notify(&self, engine: &Engine) {
        if !self.state.started.load(Ordering::Relaxed) {
            self.start(engine);
        }
        // `Dirty::mark` has fenced: either this sees the thread asleep, or the thread's last look sees the mark.
        match self.state.asleep.load(Ordering::Relaxed) {
            AWAKE => {}
            NAPPING if !engine.ring_is_half_full() => {}
            _ => self.wake(),
        }
    }

    /// True if [`notify`](Self::notify) would have nothing to do, so need not be called for a record just published.
    #[inline]
    pub fn is_at_work(&self, engine: &Engine) -> bool {
        self.state.started.load(Ordering::Relaxed)
            && match self.state.asleep.load(Ordering::Relaxed) {
                AWAKE => true,
                NAPPING => !engine.ring_is_half_full(),
                _ => false,
            }
    }

    #[cold]
    fn wake(&self) {
        if self.state.asleep.swap(AWAKE, Ordering::AcqRel) != AWAKE {
            let _ = futex::wake(&self.state.asleep, futex::Flags::PRIVATE, 1);
        }
    }

    #[cold]
    fn start(&self, engine: &Engine) {
        let Some(weak) = self.engine.get().cloned() else { return };
        let mut running = self.running.lock();
        if self.state.started.load(Ordering::Relaxed) {
            return;
        }
        self.state.stop.store(false, Ordering::Relaxed);
        let state = Arc::clone(&self.state);
        let spawned = std::thread::Builder::new().name("everyline".into()).spawn(move || run(&state, &weak));
        match spawned {
            Ok(join) => {
                running.join = Some(join);
                self.state.started.store(true, Ordering::Relaxed);
            }
            // No thread to be had: the caller does the work, as in write-through mode.
            Err(_) => {
                engine.commit(Effort::Call);
            }
        }
    }

    #[cfg(test)]
    pub fn is_started(&self) -> bool {
        self.state.started.load(Ordering::Relaxed)
    }

    /// Ends the thread; it comes back with the next record. What it has not committed the caller commits: there may be
    /// no next record for a long time.
    pub fn stop(&self, engine: &Engine) {
        let mut running = self.running.lock();
        let Some(join) = running.join.take() else { return };
        if join.thread().id() == std::thread::current().id() {
            return;
        }
        self.state.stop.store(true, Ordering::Release);
        self.wake();
        let _ = join.join();
        self.state.started.store(false, Ordering::Relaxed);
        // After the store, and a fence in `commit`: a record published meanwhile either finds no thread, or is seen here.
        engine.commit(Effort::Drain);
    }
}

fn run(state: &State, engine: &Weak<Engine>) {
    interrupt::is_engine_thread(&state.stop);
    let (mut idle, mut slept, mut nap) = (0, 0, NAP);
    while !state.stop.load(Ordering::Acquire) {
        let Some(engine) = engine.upgrade() else { return };
        let before = engine.mark();
        let found = engine.env.control().dirty.any();
        nap = if found { NAP } else { NAP_MOST.min(nap * 2) };
        let looked = engine.commit(Effort::Drain);
        if let Some(every) = engine.owes_sync() {
            engine.sync_owed(every);
        }
        let busy = found || engine.mark() != before || engine.env.control().dirty.any() || engine.owes_sync().is_some();
        (idle, slept) = if busy { (0, 0) } else { (idle + 1, slept) };
        if idle <= IDLE_NAPS {
            drop(engine);
            if looked == Looked::Clean {
                sleep(state, NAPPING, Some(nap));
            } else {
                // Another process is at it, or writing fails: nothing a full ring could hurry.
                std::thread::sleep(nap);
            }
            continue;
        }
        state.asleep.store(ASLEEP, Ordering::Relaxed);
        // Orders the announcement before the last look; pairs with the fence in `Dirty::mark` of a producer.
        fence(Ordering::SeqCst);
        if engine.env.control().dirty.any() || state.stop.load(Ordering::Acquire) {
            state.asleep.store(AWAKE, Ordering::Relaxed);
            idle = 0;
            continue;
        }
        // Taken by a holder who may have died with it: then nobody else comes for it.
        let settled = engine.reached(engine.mark());
        drop(engine);
        sleep(state, ASLEEP, if settled { SLEEPS.get(slept).copied() } else { Some(SLEEPS[0]) });
        slept += usize::from(settled);
    }
}

/// Sleeps until woken, at most `most`.
fn sleep(state: &State, how: u32, most: Option<Duration>) {
    // Where the caller has announced it before its last look, a wake that came since must not be undone.
    if how == NAPPING {
        state.asleep.store(how, Ordering::Relaxed);
    }
    let time =
        most.map(|most| futex::Timespec { tv_sec: most.as_secs() as i64, tv_nsec: i64::from(most.subsec_nanos()) });
    let _ = futex::wait(&state.asleep, futex::Flags::PRIVATE, how, time.as_ref());
    state.asleep.store(AWAKE, Ordering::Relaxed);
}
