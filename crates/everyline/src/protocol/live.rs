//! The live file and the settings, as the control file knows them and as they are.
//!
//! Promise: before a batch is noted, the file this process has open is the one in the control file; a file that somebody
//! else renamed, deleted or replaced is noticed within a few milliseconds of activity, and whatever stands at the path
//! then is taken up (or made anew). Runs under the lease only, with the note idle.

use std::io;
use std::sync::atomic::Ordering;

use super::batch::Policy;
use super::commit::{Committer, Open, load_id};
use super::env::{Env, FileId, Meta, Settings};
use super::orphan::{forget_orphan, is_orphan, note_orphan};
use super::step::Step;
use super::trouble::{Failure, Operation, record_failure};
use crate::journal::layout::Control;

/// The path of the log is looked at this often while records flow.
pub(super) const PATH_CHECK_MS: u64 = 10;
/// A log that was moved away is not made anew for this long.
const GRACE_MS: u64 = 50;
/// A file that processes of two journals have open is not rotated for this long.
const CONTESTED_MS: u64 = 400;
/// Between two looks at whether they still do.
const CONTESTED_LOOK_MS: u64 = 20;
/// Back-off after a failed rotation.
const ROTATE_RETRY_MS: u64 = 1000;

impl<E: Env> Committer<E> {
    /// Opens the live file as the control file knows it, and notices when somebody else has moved it.
    pub(super) fn check_file(&mut self, env: &E) -> Result<(), Failure> {
        self.check_file_at(env, env.coarse_ms())
    }

    pub(super) fn check_file_at(&mut self, env: &E, now: u64) -> Result<(), Failure> {
        let control = env.control();
        let known = load_id(&control.file.id);
        if let Some(open) = &self.open {
            let fresh = self.descriptor_checked_ms == now || env.is_still(&open.file, open.id);
            self.descriptor_checked_ms = now;
            if open.id == known
                && fresh
                && now.wrapping_sub(control.trouble.path_seen_ms.load(Ordering::Relaxed)) < PATH_CHECK_MS
            {
                return Ok(());
            }
            if !fresh {
                self.open = None;
            }
        }
        env.watch();
        let looked = self.look_at_path(env, known);
        self.wants_new_file = false;
        looked?;
        // Last: after a death in it, the successor looks for itself.
        control.trouble.path_seen_ms.store(now, Ordering::Relaxed);
        Ok(())
    }

    fn look_at_path(&mut self, env: &E, known: FileId) -> Result<(), Failure> {
        let control = env.control();
        let live = env.lookup(env.log()).map_err(Failure::new(Operation::Open))?;
        match live {
            Some(meta) if meta.id == known => {
                // Others may have appended, or emptied the file.
                store_end(control, meta.size);
                control.file.verified_end.store(meta.size, Ordering::Relaxed);
                if self.open.as_ref().is_some_and(|o| o.id == known) {
                    return Ok(());
                }
                let old = self.open.take();
                self.open_live(env, known)?;
                old.map_or(Ok(()), |old| self.rescue(env, &old))
            }
            None if self.waits_for_a_new_file(env, known) => Ok(()),
            live => self.adopt(env, live, known),
        }
    }

    /// Whoever has moved the file away may be about to make the new one himself (logrotate's `create`), and must not find
    /// ours there. Until he has had the time for it the old file, which has another name now, is written on. Not if a
    /// process asked for a look at the path, nor when the file must be cut, nor if it may be ours who moved it.
    fn waits_for_a_new_file(&mut self, env: &E, known: FileId) -> bool {
        let now = env.coarse_ms();
        let stepped = env.control().file.stepping.load(Ordering::Relaxed) != 0;
        if self.wants_new_file
            || stepped
            || self.open.as_ref().is_none_or(|open| open.id != known)
            || by_any_name(env, known).is_none()
        {
            return false;
        }
        if self.gone.0 != known {
            self.gone = (known, now);
        }
        now.wrapping_sub(self.gone.1) < GRACE_MS
    }

    fn open_live(&mut self, env: &E, id: FileId) -> Result<(), Failure> {
        let failed = Failure::new(Operation::Open);
        let file = env.open(env.log()).map_err(&failed)?;
        let meta = env.meta(&file).map_err(&failed)?;
        if meta.id != id {
            // Moved between the two looks; the next check sees what is there now.
            return Err(Failure { operation: Operation::Open, errno: libc::ESTALE });
        }
        self.open = Some(Open { file, id });
        Ok(())
    }

    fn open_meta(&self, env: &E, id: FileId) -> Option<Meta> {
        let open = self.open.as_ref().filter(|open| open.id == id && env.is_still(&open.file, id))?;
        env.meta(&open.file).ok()
    }

    /// The file at the path is not the one in the control file: the first look ever, or a foreign rename or delete.
    fn adopt(&mut self, env: &E, live: Option<Meta>, known: FileId) -> Result<(), Failure> {
        let failed = Failure::new(Operation::Open);
        let file = match live {
            Some(_) => env.open(env.log()),
            None => {
                // As the one before, wherever that is now: a log that only some may read stays so.
                let like = self.open_meta(env, known).or_else(|| by_any_name(env, known));
                env.create(env.log(), like.as_ref()).or_else(|e| match e.kind() {
                    io::ErrorKind::AlreadyExists => env.open(env.log()),
                    _ => Err(e),
                })
            }
        }
        .map_err(&failed)?;
        let meta = env.meta(&file).map_err(&failed)?;
        let control = env.control();
        // Not twice: after a death in `store_file`, `verified_end` may be the new file's already.
        if known != FileId::NONE && !is_orphan(control, known) && by_any_name(env, known).is_none() {
            // Whoever still has the old file open copies what was written after it lost its name, if it was deleted.
            note_orphan(control, known);
        }
        forget_orphan(control, meta.id);
        mark_unsynced(control);
        let old = self.open.take();
        store_file(env, &meta, env.control().file.rollover_at.load(Ordering::Relaxed));
        self.open = Some(Open { file, id: meta.id });
        self.start_schedule(env, Some(&meta));
        old.map_or(Ok(()), |old| self.rescue(env, &old))
    }

    /// Settings replaced by another process; also sets up the first rotation by time.
    pub(super) fn refresh_settings(&mut self, env: &E) -> Result<(), Failure> {
        let control = env.control();
        let version = control.wishes.settings_version.load(Ordering::Acquire);
        if version != self.settings_version {
            // Not readable now, for this process: it keeps what it knows, and tries again with the next batch.
            let Ok(settings) = env.settings() else {
                if self.settings.schedule.is_some() && control.file.rollover_at.load(Ordering::Relaxed) == 0 {
                    let live = env.lookup(env.log()).map_err(Failure::new(Operation::Open))?;
                    self.start_schedule(env, live.as_ref());
                }
                return Ok(());
            };
            self.settings = settings;
            self.settings_version = version;
        }
        if control.file.rollover_for.load(Ordering::Relaxed) != version.wrapping_add(1) {
            let live = env.lookup(env.log()).map_err(Failure::new(Operation::Open))?;
            control.file.rollover_at.store(0, Ordering::Relaxed);
            self.start_schedule(env, live.as_ref());
            control.file.rollover_for.store(version.wrapping_add(1), Ordering::Relaxed);
        }
        Ok(())
    }

    /// First rotation by time: one period after the last write to the file that is there (stdlib 3.13), or from now.
    fn start_schedule(&mut self, env: &E, live: Option<&Meta>) {
        let file = &env.control().file;
        if let Some(schedule) = self.settings.schedule
            && file.rollover_at.load(Ordering::Relaxed) == 0
        {
            let now = (env.now_ns() / 1_000_000_000) as i64;
            let base = live.map_or(now, |m| m.modified_s.min(now));
            file.rollover_at.store(schedule.next_rollover(base).max(0) as u64, Ordering::Relaxed);
        }
    }

    /// `reopen` and `rotate`, asked for by any process.
    pub(super) fn wishes(&mut self, env: &E) -> Result<(), Failure> {
        let control = env.control();
        let wishes = &control.wishes;
        let reopen = wishes.reopen.load(Ordering::Acquire);
        if wishes.reopen_done.load(Ordering::Relaxed) != reopen {
            control.trouble.path_seen_ms.store(0, Ordering::Relaxed);
            self.wants_new_file = true;
            self.check_file(env)?;
            wishes.reopen_done.store(reopen, Ordering::Release);
        }
        let rotate = wishes.rotate.load(Ordering::Acquire);
        if wishes.rotate_done.load(Ordering::Relaxed) != rotate {
            self.check_file(env)?;
            // Whoever asked asks again; and what this process may not do, another may.
            if !self.is_contested(env) && !self.is_denied(env.coarse_ms()) {
                self.rotate(env, None)?;
                if !self.is_denied(env.coarse_ms()) {
                    wishes.rotate_done.store(rotate, Ordering::Release);
                }
            }
        }
        if control.synced.failed.load(Ordering::Relaxed) != 0 && !self.rotation_is_suspended(env) {
            // After EIO the kernel has forgotten which pages are not on disk: nothing more goes into this file.
            self.check_file(env)?;
            let before = load_id(&control.file.id);
            if !self.is_contested(env) {
                self.rotate(env, None)?;
            }
            if load_id(&control.file.id) != before {
                control.synced.failed.store(0, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// True while a rotation must wait: processes of a journal that was replaced write to the same file, and do not know
    /// that it is not theirs to write any more. They notice within 100 ms of activity; then whoever was idle looks at the
    /// path before it writes. So the wait has a bound.
    pub(super) fn is_contested(&self, env: &E) -> bool {
        let alone = self.open.as_ref().is_none_or(|open| env.is_only_journal(&open.file));
        if alone {
            return false;
        }
        let (control, now) = (env.control(), env.coarse_ms());
        let mut until = control.file.contested_until_ms.load(Ordering::Relaxed);
        if until == 0 {
            until = now + CONTESTED_MS;
            control.file.contested_until_ms.store(until, Ordering::Relaxed);
        }
        let waits = now < until && until - now <= CONTESTED_MS;
        if waits {
            control.trouble.rotate_retry_at_ms.store(now + CONTESTED_LOOK_MS, Ordering::Relaxed);
        }
        waits
    }

    /// True while this process does not rotate, because it may not.
    pub(super) fn is_denied(&self, now_ms: u64) -> bool {
        now_ms < self.denied.0
    }

    /// The errno of a rotation that this process was not allowed.
    pub fn denied(&self, now_ms: u64) -> Option<i32> {
        self.is_denied(now_ms).then_some(self.denied.1)
    }

    /// A rotation that did not happen: the record goes into the old file, and it is tried again later. Unless the
    /// descriptors of this process were closed: then it gives up, attaches anew, and others rotate.
    /// A process that lacks the rights (a worker that gave root up) keeps it to itself: those who have them rotate. Unless
    /// it could not open the new file either, and writes through what it has open: then a rotation would silence it.
    pub(super) fn rotation_failed(&mut self, env: &E, failure: &Failure) -> Result<(), Failure> {
        if failure.errno == libc::EBADF {
            return Err(Failure { operation: failure.operation, errno: failure.errno });
        }
        let (control, until) = (env.control(), env.coarse_ms() + ROTATE_RETRY_MS);
        if matches!(failure.errno, libc::EACCES | libc::EPERM) {
            self.denied = (until, failure.errno);
        }
        if !self.is_denied(env.coarse_ms()) || !env.may_open_log() {
            control.trouble.rotate_retry_at_ms.store(until, Ordering::Relaxed);
        }
        control.trouble.rotations_failed.fetch_add(1, Ordering::Relaxed);
        record_failure(control, failure);
        Ok(())
    }
}

/// A file that still stands in the log's directory, under the log's name or one that begins with it.
fn by_any_name<E: Env>(env: &E, id: FileId) -> Option<Meta> {
    let look = |name: &String| env.lookup(name).ok().flatten().filter(|meta| meta.id == id);
    env.list().ok()?.iter().find_map(look)
}

/// The live file is left without a sync: whoever wants his records on disk has to see to more than the next one.
pub(super) fn mark_unsynced(control: &Control) {
    // Release, and before the new epoch: whoever sees that one sees this.
    let next = control.file.epoch.load(Ordering::Relaxed).wrapping_add(1);
    control.synced.unsynced_upto.store(next, Ordering::Release);
}

/// Where the live file ends now. A file that has become shorter (emptied by somebody else) counts as another one, as far
/// as syncing goes: what was on disk of it says nothing about the bytes that stand there now.
pub(super) fn store_end(control: &Control, end: u64) {
    let file = &control.file;
    if end < file.end.load(Ordering::Relaxed) {
        // Release: as in `store_file`.
        file.epoch.fetch_add(1, Ordering::Release);
    }
    file.end.store(end, Ordering::Relaxed);
}

/// C4: the control file learns of a new live file; the epoch last.
pub(super) fn store_file<E: Env>(env: &E, meta: &Meta, rollover_at: u64) {
    let file = &env.control().file;
    file.rollover_at.store(rollover_at, Ordering::Relaxed);
    file.end.store(meta.size, Ordering::Relaxed);
    file.verified_end.store(meta.size, Ordering::Relaxed);
    file.contested_until_ms.store(0, Ordering::Relaxed);
    file.stepping.store(0, Ordering::Relaxed);
    env.step(Step::FileStateHalf);
    for (word, value) in file.id.iter().zip(meta.id.0) {
        word.store(value, Ordering::Relaxed);
    }
    // Release: whoever sees the new epoch (`sync`, `status`) sees the file it belongs to.
    file.epoch.fetch_add(1, Ordering::Release);
    env.step(Step::FileStateStored);
}

/// The rotation policy in force, asked per record.
pub(super) struct InForce {
    max_bytes: u64,
    rollover_ns: u64,
}

impl InForce {
    pub(super) fn now(settings: &Settings, control: &Control, now_ms: u64, denied: bool) -> Self {
        let retry = control.trouble.rotate_retry_at_ms.load(Ordering::Relaxed);
        let suspended = denied || now_ms < retry && retry - now_ms <= ROTATE_RETRY_MS;
        let rollover = control.file.rollover_at.load(Ordering::Relaxed);
        Self {
            max_bytes: settings.max_bytes.filter(|_| !suspended).unwrap_or(u64::MAX),
            rollover_ns: match settings.schedule {
                Some(_) if !suspended && rollover != 0 => rollover.saturating_mul(1_000_000_000),
                _ => u64::MAX,
            },
        }
    }
}

impl Policy for InForce {
    fn cuts(&self, end: u64, len: u64, stamp: u64) -> bool {
        // An empty file is never cut for its size: a record larger than the limit has to stand somewhere.
        stamp >= self.rollover_ns || (end > 0 && end.saturating_add(len) > self.max_bytes)
    }
}
