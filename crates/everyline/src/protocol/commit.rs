//! LOOK, ACQUIRE, LOOP, RELEASE: how a process becomes the writer, what it does as such, and how it stops.
//!
//! Promise: `look` never waits for another process. When it returns [`Looked::Clean`], everything that was published
//! before the call is in the file; otherwise it says why not. One [`Committer`] exists per process and log, used under
//! the process's commit mutex.

use std::sync::atomic::{Ordering, fence};

use super::batch::{Batch, Gatherer};
use super::chores::Chore;
use super::dirty::Slots;
use super::env::{Env, FileId, Settings};
use super::lease::{State, Word};
use super::live::InForce;
use super::step::Step;
use super::trouble::{Failure, Operation, record_failure};
use crate::journal::layout::{Note, Phase};
use crate::journal::slot::Slot;

/// A holder without progress for this long may be dead: ask the kernel.
pub const BEAT_MS: u64 = 8;
/// A dead holder is probed for at most this often by one process.
const PROBE_MS: u64 = 5;
/// One call works this long for others. Then it makes room for them to do it themselves.
const SPELL_MS: u64 = 12;
/// Back-off after a failed write: from, to.
const RETRY_MS: (u64, u64) = (10, 1000);

/// How far `look` may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// One batch, and what is left is left to others: for who comes back in a moment to see whether they do it.
    Visit,
    /// One batch, then on only if nobody else takes over: the price of one log call.
    Call,
    /// Until nothing is left.
    Drain,
    /// As `Drain`; a back-off after an error is not waited for, and a holder that seems to work is probed, too.
    Force,
}

impl Effort {
    /// One batch at a time.
    fn is_brief(self) -> bool {
        matches!(self, Self::Visit | Self::Call)
    }
}

/// What `look` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Everything published before the call is in the file.
    Clean,
    /// Another process is writing, and makes progress.
    Busy,
    /// Another process holds the lease, lives, and makes no progress.
    Stuck(u16),
    /// Writing failed; a later call tries again. errno.
    Failed(i32),
}

/// The log as this process has it open.
#[derive(Debug)]
pub struct Open<F> {
    /// The file.
    pub file: F,
    /// Which.
    pub id: FileId,
}

/// The writing side of one process on one log.
#[derive(Debug)]
pub struct Committer<E: Env> {
    pub(super) open: Option<Open<E::File>>,
    pub(super) settings: Settings,
    pub(super) settings_version: u64,
    pub(super) pending: Slots,
    gatherer: Gatherer,
    batch: Batch,
    probed_ms: u64,
    /// Until when this process does not try again after a failure that is its own, how long that was, and its errno.
    own_trouble: (u64, u64, i32),
    /// Until when this process does not try to rotate, which it may not, and the errno it was told so with.
    pub(super) denied: (u64, i32),
    /// The live file that this process found moved away, and when.
    pub(super) gone: (FileId, u64),
    /// The next look at the path makes a new file at once, if there is none.
    pub(super) wants_new_file: bool,
    pub(super) descriptor_checked_ms: u64,
    /// To be done under the lease at the next look; then what came of it is in `chore_done`.
    pub chore: Option<Chore>,
    /// See `chore`.
    pub chore_done: Option<std::io::Result<bool>>,
    /// This committer has changed the live file.
    pub(super) rotated: bool,
    /// Records and bytes committed by this committer, for `recover`.
    pub committed: (u64, u64),
    /// Slots found with bytes that are no frames.
    pub corrupt_slots: u64,
}

impl<E: Env> Committer<E> {
    /// A committer that has done nothing yet.
    pub fn new(env: &E) -> Self {
        Self {
            open: None,
            settings: env.known_settings(),
            // Of no version: read before the first batch.
            settings_version: env.control().wishes.settings_version.load(Ordering::Acquire).wrapping_sub(1),
            pending: Slots::default(),
            gatherer: Gatherer::default(),
            batch: Batch::default(),
            probed_ms: 0,
            own_trouble: (0, 0, 0),
            denied: (0, 0),
            gone: (FileId::NONE, 0),
            wants_new_file: false,
            descriptor_checked_ms: 0,
            chore: None,
            chore_done: None,
            rotated: false,
            committed: (0, 0),
            corrupt_slots: 0,
        }
    }

    /// True once after a rotation by this committer; and whether the archives need looking after.
    pub fn take_rotated(&mut self) -> Option<bool> {
        std::mem::take(&mut self.rotated).then(|| self.settings.has_upkeep())
    }

    /// Step 1 of ATTACH: called once, with the slot's lock held, before the first record. If the lease does not name
    /// this slot, the note of its last owner means nothing any more.
    pub fn attached(env: &E) {
        let control = env.control();
        let named = match control.lease.load().state() {
            State::Free => None,
            State::Held(slot) | State::Pending(slot) => Some(slot),
        };
        if named != Some(env.me()) {
            own(env).note().set_phase(Phase::Idle);
        }
        // A predecessor may have died between its head store and its mark.
        control.dirty.mark(env.me());
    }

    /// LOOK: commits what is published, if nobody else does.
    pub fn look(&mut self, env: &E, effort: Effort) -> Looked {
        let since_ms = env.coarse_ms();
        loop {
            let (seen, held, now) = match self.take(env, effort) {
                Ok(taken) => taken,
                Err(looked) => return looked,
            };
            if let Some(end) = self.run(env, seen, held, effort, (since_ms, now)) {
                return end;
            }
            if effort == Effort::Visit {
                return Looked::Busy;
            }
        }
    }

    /// LOOK up to the lease: the word before, the word now, and the time. `Err`: whoever has it, or why it is not taken.
    pub(super) fn take(&mut self, env: &E, effort: Effort) -> Result<(Word, Word, u64), Looked> {
        let control = env.control();
        loop {
            let seen = control.lease.load();
            let now = env.coarse_ms();
            let retry = control.trouble.retry_at_ms.load(Ordering::Relaxed);
            let waits = effort != Effort::Force && now < retry && retry - now <= RETRY_MS.1;
            let proof = match seen.state() {
                State::Held(slot) if slot != env.me() => {
                    // A beat may be newer than `now`, which was read before it.
                    // Who attaches or recovers may be the last to come for a long time: `Force` asks the kernel at once.
                    let beats = now.abs_diff(control.beat.load(Ordering::Relaxed)) < BEAT_MS;
                    if beats && effort != Effort::Force {
                        return Err(Looked::Busy);
                    }
                    if now.wrapping_sub(self.probed_ms) < PROBE_MS && effort != Effort::Force {
                        return Err(Looked::Stuck(slot));
                    }
                    self.probed_ms = now;
                    let Some(dead) = env.prove_dead(slot) else {
                        return Err(if beats { Looked::Busy } else { Looked::Stuck(slot) });
                    };
                    Some(dead)
                }
                State::Free | State::Pending(_) if effort != Effort::Force && now < self.own_trouble.0 => {
                    return Err(Looked::Failed(self.own_trouble.2));
                }
                State::Free | State::Pending(_) if waits => {
                    return Err(Looked::Failed(control.trouble.last_error.load(Ordering::Relaxed) as u32 as i32));
                }
                // Free, or pending, or held by this very slot: by a thread of ours that panicked, or by the process
                // that had the slot before us. The commit mutex and the slot lock say that it is not at work.
                _ => None,
            };
            // Without the note of the one before, its batch could be torn: leave it to somebody who can read it.
            if let State::Held(slot) | State::Pending(slot) = seen.state()
                && !env.can_reach(slot)
            {
                return Err(Looked::Stuck(slot));
            }
            let Some(held) = self.acquire(env, seen) else { continue };
            drop(proof);
            env.step(Step::Acquired);
            return Ok((seen, held, now));
        }
    }

    /// A1 and A2. `None`: somebody else was faster.
    fn acquire(&mut self, env: &E, seen: Word) -> Option<Word> {
        let (control, me) = (env.control(), own(env));
        match seen.state() {
            State::Free => me.note().set_phase(Phase::Idle),
            State::Held(slot) | State::Pending(slot) if slot == env.me() => {}
            State::Held(slot) | State::Pending(slot) => {
                match env.slot(slot) {
                    Some(theirs) => me.copy_note(theirs),
                    // A slot number that cannot be: the word is damaged. The rings still hold everything.
                    None => me.note().set_phase(Phase::Idle),
                }
                env.step(Step::NoteCopied);
            }
        }
        let held = control.lease.take(seen, env.me());
        if held.is_none() {
            let named = match control.lease.load().state() {
                State::Free => false,
                State::Held(slot) | State::Pending(slot) => slot == env.me(),
            };
            if !named {
                me.note().set_phase(Phase::Idle);
            }
        }
        held
    }

    /// A3 and A4, then LOOP, then RELEASE or YIELD. `None`: look again.
    fn run(
        &mut self,
        env: &E,
        seen: Word,
        held: Word,
        effort: Effort,
        (since_ms, now_ms): (u64, u64),
    ) -> Option<Looked> {
        let control = env.control();
        self.enter(env, seen, now_ms);
        match self.work(env, effort) {
            Ok(finished) => {
                self.own_trouble = (0, 0, 0);
                env.step(Step::BeforeRelease);
                control.dirty.put_back(&self.pending);
                let left = std::mem::take(&mut self.pending);
                let more = control.lease.release(held, &control.dirty);
                if !more && left.is_empty() {
                    debug_assert!(finished);
                    return Some(Looked::Clean);
                }
                if effort.is_brief() || !finished { self.leave_or_go_on(env, since_ms) } else { None }
            }
            Err(failure) => Some(self.give_up(env, held, &failure)),
        }
    }

    /// A3: what is due before anything else is done under the lease.
    pub(super) fn enter(&mut self, env: &E, seen: Word, now_ms: u64) {
        let control = env.control();
        control.beat.store(now_ms, Ordering::Relaxed);
        if seen.state() != State::Free {
            // The dead or failed holder may have taken bits and done nothing about them.
            self.pending.fill(control.wishes.high_water.load(Ordering::Acquire) as usize);
        }
    }

    /// The budget rule: after one batch, whoever else wants to may go on. Nobody within 2 us: this process goes on, so
    /// that work is never left without somebody in a log call.
    /// After a spell of it the wait is long enough for others to wake and take over, or else to publish nothing new: so
    /// nobody is kept at work for ever by those who log faster than one process can write.
    fn leave_or_go_on(&self, env: &E, since_ms: u64) -> Option<Looked> {
        let control = env.control();
        if env.coarse_ms().wrapping_sub(since_ms) >= SPELL_MS {
            env.make_room();
        }
        for _ in 0..40 {
            std::hint::spin_loop();
            if control.lease.load().state() != State::Free {
                return Some(Looked::Busy);
            }
        }
        if control.dirty.any() {
            return None;
        }
        // Bits that somebody took are not records that somebody has written. Pairs with the swap in `Dirty::take`: who
        // sees its zero sees the lease of whoever swapped, or a later one.
        fence(Ordering::Acquire);
        Some(if control.lease.load().state() == State::Free { Looked::Clean } else { Looked::Busy })
    }

    /// LOOP. True: everything seen is in the file. False: the budget is spent.
    pub(super) fn work(&mut self, env: &E, effort: Effort) -> Result<bool, Failure> {
        self.resume(env, false)?;
        self.refresh_settings(env)?;
        self.chores(env);
        let control = env.control();
        let mut batches = 0;
        let started = env.coarse_ms();
        loop {
            control.dirty.take(&mut self.pending);
            env.step(Step::Swept);
            self.wishes(env)?;
            if self.pending.is_empty() {
                // Whoever still has a deleted file open looks after it even with nothing of its own to write: once.
                if self.keeps_orphan(env) {
                    self.check_file(env)?;
                }
                return Ok(true);
            }
            // One look at the clock for all that a batch asks of it.
            let now = env.coarse_ms();
            control.beat.store(now, Ordering::Relaxed);
            self.check_file_at(env, now)?;
            if batches > 0 && (effort.is_brief() || now.wrapping_sub(started) >= SPELL_MS) {
                return Ok(false);
            }
            batches += self.commit_one(env, now)?;
        }
    }

    /// H2 to H4 once. The number of batches written: 0 or 1.
    fn commit_one(&mut self, env: &E, now_ms: u64) -> Result<u32, Failure> {
        let control = env.control();
        let end = control.file.end.load(Ordering::Relaxed);
        let policy = InForce::now(&self.settings, control, now_ms, self.is_denied(now_ms));
        let mut batch = std::mem::take(&mut self.batch);
        let gathered = self.gatherer.gather(env, &mut self.pending, end, &policy, &mut batch);
        self.corrupt_slots += batch.corrupt.len() as u64;
        let result = gathered.map_err(Failure::new(Operation::Overflow)).and_then(|()| {
            if batch.is_empty() {
                if let Some(stamp) = batch.cut {
                    self.rotate(env, Some(stamp))?;
                    self.check_file(env)?;
                }
                return Ok(0);
            }
            self.fill_note(env, &batch, end);
            self.resume(env, true)?;
            self.committed.0 += batch.starts.len() as u64 + u64::from(batch.large.is_some());
            self.committed.1 += batch.bytes();
            Ok(1)
        });
        self.batch = batch;
        result
    }

    fn fill_note(&mut self, env: &E, batch: &Batch, end: u64) {
        let note = own(env).note();
        let id = self.open.as_ref().map_or(FileId::NONE, |o| o.id);
        store_id(note, id);
        note.at.store(pack_at(end, 0), Ordering::Relaxed);
        note.len.store(batch.bytes(), Ordering::Relaxed);
        note.source.store(batch.large.map_or(0, |l| u64::from(l.slot) + 1), Ordering::Relaxed);
        note.source_at.store(batch.large.map_or(0, |l| l.at), Ordering::Relaxed);
        note.entries.store(batch.entries.len() as u64, Ordering::Relaxed);
        for (to, from) in note.entry.iter().zip(&batch.entries) {
            to.slot.store(u64::from(from.slot), Ordering::Relaxed);
            to.tail.store(from.tail, Ordering::Relaxed);
            to.over_tail.store(from.over_tail, Ordering::Relaxed);
            to.announced.store(from.announced, Ordering::Relaxed);
        }
        note.starts.store(batch.starts.len() as u64, Ordering::Relaxed);
        for (word, starts) in note.start.iter().zip(batch.starts.chunks(4)) {
            let packed = starts.iter().rev().fold(0, |word, start| word << 16 | u64::from(*start));
            word.store(packed, Ordering::Relaxed);
        }
        env.step(Step::NoteFilled);
        note.set_phase(Phase::Write);
        env.step(Step::NoteWrite);
    }

    /// YIELD: the note stays as it is while the lease names this slot; whoever comes next finishes it.
    pub(super) fn give_up(&mut self, env: &E, held: Word, failure: &Failure) -> Looked {
        let control = env.control();
        let trouble = &control.trouble;
        let longer = |wait: u64| wait.saturating_mul(2).clamp(RETRY_MS.0, RETRY_MS.1);
        if failure.is_own() {
            let wait = longer(self.own_trouble.1);
            self.own_trouble = (env.coarse_ms() + wait, wait, failure.errno);
        } else {
            let wait = longer(trouble.retry_wait_ms.load(Ordering::Relaxed));
            trouble.retry_wait_ms.store(wait, Ordering::Relaxed);
            trouble.retry_at_ms.store(env.coarse_ms() + wait, Ordering::Relaxed);
        }
        record_failure(control, failure);
        // What was taken but not written may stand in any ring.
        self.pending.fill(control.wishes.high_water.load(Ordering::Acquire) as usize);
        control.dirty.put_back(&self.pending);
        self.pending = Slots::default();
        env.step(Step::Yielded);
        if own(env).note().phase() == Phase::Idle {
            control.lease.release(held, &control.dirty);
        } else {
            control.lease.release_pending(held);
        }
        Looked::Failed(failure.errno)
    }
}

/// This process's slot.
pub(super) fn own<E: Env>(env: &E) -> &Slot {
    env.slot(env.me()).expect("own slot is mapped")
}

/// `off:48 | skip:16`.
pub(super) fn pack_at(off: u64, skip: u64) -> u64 {
    debug_assert!(off < 1 << 48 && skip < 1 << 16);
    off << 16 | skip
}

/// Inverse of [`pack_at`].
pub(super) fn unpack_at(word: u64) -> (u64, u64) {
    (word >> 16, word & 0xFFFF)
}

/// A file id from shared memory.
pub(crate) fn load_id(words: &[std::sync::atomic::AtomicU64; 3]) -> FileId {
    FileId(std::array::from_fn(|i| words[i].load(Ordering::Relaxed)))
}

/// Puts a file id into a note.
pub(super) fn store_id(note: &Note, id: FileId) {
    for (word, value) in note.id.iter().zip(id.0) {
        word.store(value, Ordering::Relaxed);
    }
}
