//! When is a record on disk? `sync`, the fsync policies, and what a failed sync means.
//!
//! Promise: when [`Engine::sync`] returns `Ok`, every record that this process had accepted before is on disk, whatever
//! files they stand in by then and whoever rotated, renamed or replaced them meanwhile. An error of the disk is reported to
//! every process whose records may be concerned, once, and nothing more is written to that file.

use std::io;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use crate::engine::{Engine, Mark, ON_DISK_LATER};
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Commit, Options};
use crate::protocol::commit::{Effort, load_id};
use crate::protocol::env::{Env, FileId};
use crate::protocol::trouble::{Failure, Operation, record_failure};

impl Engine {
    /// Waits until this process's records are on disk.
    pub fn sync(&self, by: &Options) -> Result<()> {
        self.refuse_in_step(ErrorKind::TimedOut, "fsync", ON_DISK_LATER)?;
        self.sync_from(self.mark(), by)
    }

    /// Group commit: whoever comes while a sync runs is covered by the next one, and finds it done.
    pub(crate) fn sync_from(&self, mark: Mark, by: &Options) -> Result<()> {
        self.wait_for(mark, by)?;
        let words = self.env.control();
        let target = position(words.file.epoch.load(Ordering::Acquire), words.file.end.load(Ordering::Relaxed));
        let mut synced_epoch = self.sync_epoch.lock();
        if covers(words.synced.upto.load(Ordering::Acquire), target) {
            return Ok(());
        }
        if words.synced.failed.load(Ordering::Acquire) != 0 {
            // Of an earlier sync. Nothing said about this file can be believed, until there is a new one.
            self.commit(Effort::Force);
            if words.synced.failed.load(Ordering::Acquire) != 0 {
                let hint = "an earlier sync of this file failed, and it could not be rotated away since";
                return Err(self.not_synced(io::Error::from_raw_os_error(libc::EIO)).with_hint(hint));
            }
        }
        let (epoch, id, end) = self.live_now();
        let before = synced_epoch.replace(epoch);
        if let Err(e) = self.sync_files(id, before, before != Some(epoch)) {
            // The kernel reports it once and forgets: never tried again on this file. The next holder cuts a new one, and
            // others whose records stand in this one hear of it, too.
            *synced_epoch = Some(epoch.wrapping_add(1));
            words.synced.lost_upto.fetch_max(epoch.wrapping_add(1), Ordering::AcqRel);
            words.synced.failed.store(1, Ordering::Release);
            record_failure(
                words,
                &Failure { operation: Operation::Sync, errno: e.raw_os_error().unwrap_or(libc::EIO) },
            );
            let hint = "records of the last moments may not be on disk; a new file is started";
            return Err(self.not_synced(e).with_hint(hint));
        }
        // Stored before the new epoch was, by whoever heard of it: a record of ours may have stood in that file.
        if before.is_some_and(|before| before < words.synced.lost_upto.load(Ordering::Acquire)) {
            let hint =
                "the file that was rotated away could not be synced: records of the last moments may not be on disk";
            return Err(self.not_synced(io::Error::from_raw_os_error(libc::EIO)).with_hint(hint));
        }
        words.synced.upto.store(position(epoch, end), Ordering::Release);
        self.synced_at_ms.store(self.env.coarse_ms(), Ordering::Relaxed);
        self.owes_sync_ms.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn not_synced(&self, error: io::Error) -> Error {
        Error::os("fsync", &self.env.log.path, error)
    }

    /// The live file and how far it was written, of one moment.
    fn live_now(&self) -> (u64, FileId, u64) {
        let file = &self.env.control().file;
        loop {
            // Acquire pairs with the release in `store_file`: what is read next is of this epoch, or of a later one.
            let epoch = file.epoch.load(Ordering::Acquire);
            let (id, end) = (load_id(&file.id), file.end.load(Ordering::Acquire));
            fence(Ordering::Acquire);
            if file.epoch.load(Ordering::Relaxed) == epoch {
                return (epoch, id, end);
            }
        }
    }

    /// Everything of ours up to now on disk. One file, mostly; all of the file system if records of ours may stand in a
    /// file that has another name now, or in one that was left without a sync.
    fn sync_files(&self, id: FileId, before: Option<u64>, moved_on: bool) -> io::Result<()> {
        let unsynced_upto = self.env.control().synced.unsynced_upto.load(Ordering::Acquire);
        let left_unsynced = moved_on && before.is_none_or(|before| before < unsynced_upto);
        let live = self.env.open(&self.env.log.name);
        if let Ok(live) = &live
            && live.id() == (id.0[0], id.0[1])
            && !left_unsynced
        {
            self.env.sync(live)?;
            return if moved_on { self.env.sync_directory() } else { Ok(()) };
        }
        if !self.env.log.directory.is_intact() {
            return Err(live.err().unwrap_or_else(|| io::Error::from_raw_os_error(libc::EBADF)));
        }
        Ok(rustix::fs::syncfs(self.env.log.directory.fd())?)
    }

    /// `Fsync::Interval`: at the first commit after it has passed, or by the background thread.
    pub(crate) fn sync_if_due(&self, every: Duration, by: &Options) {
        if by.commit == Commit::Deferred {
            let (owed, every) = (self.owes_sync_ms.load(Ordering::Relaxed), (every.as_millis() as u64).max(1));
            if owed == 0 || every < owed {
                self.owes_sync_ms.store(every, Ordering::Relaxed);
            }
        } else if self.is_sync_due(every) && !self.is_stepping() {
            self.sync_now(self.mark(), by);
        }
    }

    /// Background thread: the sync that is owed, if it is time and nobody has to be waited for. Else with its next round.
    pub(crate) fn sync_owed(&self, every: Duration) {
        let mark = self.mark();
        if self.is_sync_due(every) && self.reached(mark) {
            self.sync_now(mark, &self.options);
        }
    }

    fn is_sync_due(&self, every: Duration) -> bool {
        self.env.coarse_ms().wrapping_sub(self.synced_at_ms.load(Ordering::Relaxed)) >= every.as_millis() as u64
    }

    fn sync_now(&self, mark: Mark, by: &Options) {
        self.synced_at_ms.store(self.env.coarse_ms(), Ordering::Relaxed);
        // Reported through `synced.failed` and `status`; the record itself is in the file.
        let _ = self.sync_from(mark, by);
    }

    /// At attach: nothing of ours can be in an older file.
    pub(crate) fn starts_here(&self) {
        *self.sync_epoch.lock() = Some(self.env.control().file.epoch.load(Ordering::Acquire));
    }

    /// Background thread: how long after a record a sync is owed, if one is.
    pub(crate) fn owes_sync(&self) -> Option<Duration> {
        let owed = self.owes_sync_ms.load(Ordering::Relaxed);
        (owed != 0).then(|| Duration::from_millis(owed))
    }
}

/// `epoch:20 | offset:44`.
fn position(epoch: u64, end: u64) -> u64 {
    epoch << 44 | (end & ((1 << 44) - 1))
}

fn covers(synced: u64, target: u64) -> bool {
    synced >> 44 == target >> 44 && synced >= target
}
