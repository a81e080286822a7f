//! ROTATE and its recovery: the live file gets an archive name, and a new one takes its place.
//!
//! Promise (I6): names change only under the lease; no file is ever replaced or deleted but the oldest archives that the
//! user's count drops. Every step can be repeated: the shift of numbered archives goes only up to the first gap, which is
//! where a crash left it; the cut itself is noted, and decided by the identity of the files, never by their names. A
//! rotation that fails leaves the log writable under its old name.

use std::io;
use std::sync::atomic::Ordering;

use super::commit::{Committer, Open, load_id, own, store_id};
use super::env::{Env, FileId};
use super::live::{mark_unsynced, store_file};
use super::step::Step;
use super::trouble::{Failure, Operation, record_failure};
use crate::journal::layout::Phase;
use crate::journal::slot::{load_name, store_name};
use crate::options::Fsync;
use crate::rotation::{self, Key, Naming};

/// Tries at a free archive name while others make files with ours.
const NAME_TRIES: u32 = 100;

impl<E: Env> Committer<E> {
    /// Cuts the live file. `stamp`: of the record that may not go into it any more; `None`: somebody asked for it.
    /// A rotation that cannot be done is counted and kept for `status`; only what stops all writing is an error.
    pub(super) fn rotate(&mut self, env: &E, stamp: Option<u64>) -> Result<(), Failure> {
        let failed = Failure::new(Operation::Rotate);
        if !env.journal_is_current() {
            // Fails if it is this process's own descriptors that are gone (see `rotation_failed`).
            env.lookup(env.log()).map_err(&failed)?;
            return self.rotation_failed(env, &Failure { operation: Operation::Rotate, errno: libc::ESTALE });
        }
        let known = load_id(&env.control().file.id);
        let live = match env.lookup(env.log()) {
            Ok(Some(meta)) if meta.id == known => meta,
            // Not ours any more: the next look at the path takes up whatever is there.
            Ok(_) => {
                env.control().trouble.path_seen_ms.store(0, Ordering::Relaxed);
                self.wants_new_file = true;
                return self.check_file(env);
            }
            Err(e) => {
                // A process that may not even look leaves it to the others, without a pause for them.
                let failure = Failure::new(Operation::Open)(e);
                return if failure.is_own() { Err(failure) } else { self.rotation_failed(env, &failure) };
            }
        };
        if live.mount_root {
            return self.rotation_failed(env, &Failure { operation: Operation::Rotate, errno: libc::EBUSY });
        }
        if stamp.is_some() && self.is_contested(env) {
            return Ok(());
        }
        self.sync_before_cut(env);
        for _ in 0..NAME_TRIES {
            let name = match self.archive_name(env, stamp) {
                Ok(name) => name,
                Err(e) => {
                    return self.rotation_failed(env, &failed(e));
                }
            };
            if !rotation::is_base_name(&name) {
                // Of a name that no file system takes; a note could not hold it.
                return self.rotation_failed(env, &Failure { operation: Operation::Rotate, errno: libc::ENAMETOOLONG });
            }
            self.note_cut(env, known, &name, stamp);
            self.resume(env, false)?;
            if load_id(&env.control().file.id) != known {
                self.expire(env, &name);
                return Ok(());
            }
            if self.rotation_is_suspended(env) {
                return Ok(());
            }
        }
        self.rotation_failed(env, &Failure { operation: Operation::Rotate, errno: libc::EEXIST })
    }

    pub(super) fn rotation_is_suspended(&self, env: &E) -> bool {
        let now = env.coarse_ms();
        self.is_denied(now) || env.control().trouble.rotate_retry_at_ms.load(Ordering::Relaxed) > now
    }

    /// A file that is rotated away is never written again, so this is the last chance to make it durable. A failure
    /// does not stop the rotation: the new file is where things can get better. The kernel tells of it once, so it is
    /// kept for those whose records stand in that file and who have not synced them yet.
    fn sync_before_cut(&self, env: &E) {
        if self.settings.fsync == Fsync::Never {
            mark_unsynced(env.control());
            return;
        }
        if let Some(open) = &self.open
            && let Err(e) = env.sync(&open.file)
        {
            let control = env.control();
            record_failure(control, &Failure::new(Operation::Sync)(e));
            // Release, and before the new epoch: whoever sees that one sees this.
            let next = control.file.epoch.load(Ordering::Relaxed).wrapping_add(1);
            control.synced.lost_upto.store(next, Ordering::Release);
        }
    }

    /// A free archive name. Numbered: after shifting the archives up to the first gap.
    fn archive_name(&mut self, env: &E, stamp: Option<u64>) -> io::Result<String> {
        let log = env.log();
        let names = env.list()?;
        let archives = self.settings.family(log).sorted(&names);
        let now = (env.now_ns() / 1_000_000_000) as i64;
        match self.settings.naming {
            Naming::Numbered => {
                // No count: only by `rotate()` on a log that does not rotate by itself. Then none is dropped.
                let keep = self.settings.keep.unwrap_or(99_999);
                let gap = match rotation::first_gap(&archives, keep) {
                    Some(gap) => gap,
                    None => {
                        for oldest in archives.iter().filter(|archive| archive.number() == keep) {
                            env.unlink(oldest.name)?;
                            env.step(Step::OldestRemoved);
                        }
                        keep
                    }
                };
                // An archive and what it was compressed to are one number.
                for archive in archives.iter().filter(|archive| archive.number() < gap) {
                    let to = rotation::numbered(log, archive.number() + 1) + archive.form.extension();
                    env.rename(archive.name, &to)?;
                    env.step(Step::Shifted);
                }
                Ok(rotation::numbered(log, 1))
            }
            Naming::Staged => {
                Ok(rotation::staged(log, env.now_ns(), env.control().file.rollover_at.load(Ordering::Relaxed)))
            }
            Naming::Dated => {
                let rollover = env.control().file.rollover_at.load(Ordering::Relaxed) as i64;
                let when = stamp.map_or(now, |ns| (ns / 1_000_000_000) as i64);
                let text = match self.settings.schedule {
                    Some(schedule) => schedule.period_start_stamp(rollover, when),
                    None => rotation::cut_stamp(now, false),
                };
                Ok(rotation::dated(log, &text, rotation::next_clash(&archives, &text)))
            }
            Naming::Sequence => {
                let newest = archives.last().map(|archive| archive.key);
                let (after, highest) = match newest {
                    Some(Key::Stamp(stamp, number)) => (Some(stamp), number),
                    _ => (None, 0),
                };
                // The counter remembers numbers of archives that are gone. A number once given is never given again,
                // also if what comes next fails.
                let counter = &env.control().chores.sequence;
                let number = counter.load(Ordering::Relaxed).max(highest).saturating_add(1);
                counter.store(number, Ordering::Relaxed);
                Ok(rotation::sequence(log, now, after, number))
            }
        }
    }

    /// C1.
    fn note_cut(&self, env: &E, known: FileId, name: &str, stamp: Option<u64>) {
        let note = own(env).note();
        let rollover = env.control().file.rollover_at.load(Ordering::Relaxed);
        let next = match self.settings.schedule {
            None => 0,
            Some(schedule) => {
                let now = (env.now_ns() / 1_000_000_000) as i64;
                let by_time = stamp.is_none_or(|ns| ns / 1_000_000_000 >= rollover);
                let base = stamp.map_or(now, |ns| (ns / 1_000_000_000) as i64);
                if by_time { schedule.next_rollover(base).max(0) as u64 } else { rollover }
            }
        };
        store_id(note, known);
        store_name(note, name.as_bytes());
        note.next_rollover_at.store(next, Ordering::Relaxed);
        note.set_phase(Phase::Cut);
        env.step(Step::NoteCut);
    }

    /// C2 to C5, from wherever they stopped.
    pub(super) fn finish_cut(&mut self, env: &E) -> Result<(), Failure> {
        let failed = Failure::new(Operation::Rotate);
        let note = own(env).note();
        let source = load_id(&note.id);
        let Some(archive) = load_name(note) else {
            note.set_phase(Phase::Idle);
            return Ok(());
        };
        let mut old = None;
        match env.lookup(env.log()).map_err(&failed)? {
            Some(live) if live.id == source => {
                if let Err(e) = env.rename(env.log(), &archive) {
                    note.set_phase(Phase::Idle);
                    if e.kind() != io::ErrorKind::AlreadyExists {
                        return self.rotation_failed(env, &failed(e));
                    }
                    return Ok(());
                }
                env.step(Step::LiveRenamed);
                old = Some(live);
            }
            Some(_) => return self.take_up(env),
            None => {}
        }
        if old.is_none() {
            old = env.lookup(&archive).map_err(&failed)?.filter(|m| m.id == source);
        }
        match env.create(env.log(), old.as_ref()) {
            Ok(_) => {
                env.step(Step::LiveCreated);
                self.take_up(env)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.take_up(env),
            Err(e) => self.undo_rename(env, &archive, source, failed(e)),
        }
    }

    /// C3 failed: the old file gets its name back, and is written on.
    fn undo_rename(&mut self, env: &E, archive: &str, source: FileId, failure: Failure) -> Result<(), Failure> {
        let here = env.lookup(archive).map_err(Failure::new(Operation::Rotate))?;
        if here.is_some_and(|m| m.id == source) && env.rename(archive, env.log()).is_ok() {
            own(env).note().set_phase(Phase::Idle);
            return self.rotation_failed(env, &failure);
        }
        Err(failure)
    }

    /// C4 and C5. The file is opened first and then asked who it is: the name may have moved on since it was looked up.
    fn take_up(&mut self, env: &E) -> Result<(), Failure> {
        let note = own(env).note();
        let failed = Failure::new(Operation::Open);
        let file = env.open(env.log()).map_err(&failed)?;
        let live = env.meta(&file).map_err(&failed)?;
        store_file(env, &live, note.next_rollover_at.load(Ordering::Relaxed));
        let old = self.open.replace(Open { file, id: live.id });
        env.control().trouble.rotations.fetch_add(1, Ordering::Relaxed);
        self.rotated = true;
        // While the note says what is newest: a death here is made good by whoever resumes it.
        self.link_newest(env, load_name(note).as_deref());
        note.set_phase(Phase::Idle);
        if self.settings.fsync != Fsync::Never {
            let _ = env.sync_directory();
        }
        // A takeover may come here with a file open that somebody deleted before the cut.
        old.map_or(Ok(()), |old| self.rescue(env, &old))
    }

    /// Retention by count; the numbered scheme drops its oldest when it shifts. `newest` is never a victim.
    fn expire(&self, env: &E, newest: &str) {
        let Some(keep) = self.settings.keep.filter(|_| self.settings.naming != Naming::Numbered) else { return };
        let Ok(names) = env.list() else { return };
        for archive in rotation::expired(&self.settings.family(env.log()).sorted(&names), keep) {
            // Best effort: what cannot be deleted now is in the list again next time.
            if archive.name != newest && env.unlink(archive.name).is_ok() {
                env.step(Step::Expired);
            }
        }
    }
}
