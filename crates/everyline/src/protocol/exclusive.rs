//! A step of the application's own under the writer lease: it may rename, remove and make files as it likes.
//!
//! Promise: while the step runs, nobody writes to the log or changes a name, and everything that this process had
//! published before is in the file. What stands at the path afterwards is the live file; nothing there: a new one is
//! made. It never waits: if the lease is not to be had now, or processes of a replaced journal may still write to the
//! file, it says so. A step that panics ends like any other, on the way out. A death inside the step leaves an idle note
//! and a control file that makes the successor look at the path first. If the step forks, the child must touch nothing
//! of the engine it came from: it is told so, and returns.

use std::sync::atomic::Ordering;

use super::commit::{Committer, Effort, Looked, load_id};
use super::env::Env;
use super::lease::Word;
use super::live::PATH_CHECK_MS;
use super::trouble::{Failure, Operation};
use crate::protocol::dirty::Slots;

/// What is published by others is written for at most so many batches' spells before the step goes on without more.
const SPELLS: u32 = 4;

/// How a step ended.
#[derive(Debug)]
pub enum Exclusive<R> {
    /// It ran.
    Ran(R),
    /// It ran, and this is a child that it forked: nothing of the engine exists here.
    Forked(R),
    /// It did not run.
    Not(Looked),
}

impl<E: Env> Committer<E> {
    /// Runs `act` under the lease, if the lease can be had at once. `is_child` is asked after it.
    pub fn exclusive<R>(&mut self, env: &E, act: impl FnOnce() -> R, is_child: impl Fn() -> bool) -> Exclusive<R> {
        let (seen, held, now) = match self.take(env, Effort::Drain) {
            Ok(taken) => taken,
            Err(looked) => return Exclusive::Not(looked),
        };
        self.enter(env, seen, now);
        match self.settle(env) {
            Err(failure) => return Exclusive::Not(self.give_up(env, held, &failure)),
            Ok(false) => {
                self.let_go(env, held);
                return Exclusive::Not(Looked::Busy);
            }
            Ok(true) => {}
        }
        let after = After { committer: self, env, held, is_child: &is_child };
        let result = act();
        drop(after);
        if is_child() { Exclusive::Forked(result) } else { Exclusive::Ran(result) }
    }

    /// Everything into the file, and nothing known of the path that a successor could rely on. False: not now.
    fn settle(&mut self, env: &E) -> Result<bool, Failure> {
        // Names are not to be changed under a journal that others use no more.
        if !env.journal_is_current() {
            return Err(Failure { operation: Operation::Open, errno: libc::ESTALE });
        }
        for _ in 0..SPELLS {
            if self.work(env, Effort::Drain)? {
                break;
            }
        }
        // A look at the file now: what is in it has been seen at its path, so if the step deletes it nobody rescues it.
        look_at_path_next(env);
        self.check_file(env)?;
        look_at_path_next(env);
        // As for a rotation: what they write would go into a file that the step has done with.
        if self.is_contested(env) {
            return Ok(false);
        }
        env.control().file.stepping.store(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Takes up whatever the step left at the path, and gives the lease back.
    fn look_anew(&mut self, env: &E, held: Word) {
        let control = env.control();
        let before = load_id(&control.file.id);
        look_at_path_next(env);
        self.wants_new_file = true;
        if let Err(failure) = self.check_file(env) {
            // Nothing is written by anybody before a look at the path has succeeded.
            look_at_path_next(env);
            self.open = None;
            self.give_up(env, held, &failure);
            return;
        }
        control.file.stepping.store(0, Ordering::Relaxed);
        if load_id(&control.file.id) != before {
            control.trouble.rotations.fetch_add(1, Ordering::Relaxed);
        }
        self.let_go(env, held);
    }

    /// Gives the lease back. Whoever published meanwhile has left in the belief that this process looks again (I2): the
    /// caller does.
    fn let_go(&mut self, env: &E, held: Word) {
        let control = env.control();
        control.dirty.put_back(&self.pending);
        self.pending = Slots::default();
        control.lease.release(held, &control.dirty);
    }
}

/// What follows a step, however it is left: by its end or by a panic. Nothing, in a child that it forked.
struct After<'a, E: Env, C: Fn() -> bool> {
    committer: &'a mut Committer<E>,
    env: &'a E,
    held: Word,
    is_child: &'a C,
}

impl<E: Env, C: Fn() -> bool> Drop for After<'_, E, C> {
    fn drop(&mut self) {
        if !(self.is_child)() {
            self.committer.look_anew(self.env, self.held);
        }
    }
}

/// Whoever is the next to write looks at the path first.
fn look_at_path_next<E: Env>(env: &E) {
    let long_ago = env.coarse_ms().wrapping_sub(PATH_CHECK_MS);
    env.control().trouble.path_seen_ms.store(long_ago, Ordering::Relaxed);
}
