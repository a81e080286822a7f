//! A chore on its way from the upkeep to whichever thread of the process has the lease next.
//!
//! Promise: a thread that writes or rotates without a pause, and so leaves the lease free for an instant at a time, does
//! not keep the upkeep from its work: it does the chore itself, a few system calls. A chore is done once or not at all.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fork::ForkCell;
use crate::protocol::chores::Chore;

/// Holds one chore.
#[derive(Debug, Default)]
pub struct Errand {
    /// A hint, so that a commit looks at one word.
    waits: AtomicBool,
    state: ForkCell<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    Waiting(Chore),
    /// Somebody has gone for the lease with it.
    Taken,
    Done(io::Result<bool>),
}

impl Errand {
    /// The upkeep leaves a chore.
    pub fn leave(&self, chore: Chore) {
        *self.state.lock() = State::Waiting(chore);
        self.waits.store(true, Ordering::Relaxed);
    }

    /// What came of it, once. The upkeep's.
    pub fn outcome(&self) -> Option<io::Result<bool>> {
        let mut state = self.state.lock();
        match std::mem::take(&mut *state) {
            State::Done(done) => Some(done),
            other => {
                *state = other;
                None
            }
        }
    }

    /// The upkeep does not wait any longer.
    pub fn withdraw(&self) {
        self.waits.store(false, Ordering::Relaxed);
        *self.state.lock() = State::None;
    }

    /// For whoever is about to look for the lease.
    #[inline]
    pub fn take(&self) -> Option<Chore> {
        if self.waits.load(Ordering::Relaxed) { self.take_waiting() } else { None }
    }

    #[cold]
    fn take_waiting(&self) -> Option<Chore> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Waiting(chore) => Some(chore),
            other => {
                // Withdrawn, or left in the parent of this process. With the lock: whoever leaves the next one says so
                // after it.
                self.waits.store(false, Ordering::Relaxed);
                *state = other;
                None
            }
        }
    }

    /// After a look with it: `done`, or the chore as it was, for the next look.
    #[cold]
    pub fn give_back(&self, chore: Option<Chore>, done: Option<io::Result<bool>>) {
        let mut state = self.state.lock();
        // Withdrawn meanwhile: nobody asks any more.
        if matches!(*state, State::Taken) {
            *state = match (done, chore) {
                (Some(done), _) => {
                    self.waits.store(false, Ordering::Relaxed);
                    State::Done(done)
                }
                (None, Some(chore)) => State::Waiting(chore),
                // The look ended in between: as if it could not be done.
                (None, None) => State::Done(Ok(false)),
            };
        }
    }
}
