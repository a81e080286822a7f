//! Live files that somebody deleted while a process still wrote to them, and the way of those records to the new file.
//!
//! Promise: what was written to the live file after it lost its last name is copied to the new one by whoever has the old
//! one open and looks next, or leaves. How far it is copied travels in the note, as tails do, so a death in between copies
//! nothing twice. A file that still has a name, or was not written to since it lost it, is left as it is. Several may wait at
//! a time; of more than that the oldest is forgotten.

use std::sync::atomic::Ordering;

use super::commit::{Committer, Open, load_id, own, pack_at, store_id};
use super::env::{Env, FileId};
use super::locate::read_full;
use super::trouble::{Failure, Operation};
use crate::journal::layout::{BUF_BYTES, Control, NoteEntry, ORPHANS, Orphan, Phase};

/// In place of a slot in a note: the batch was copied from an orphan, `over_tail` says which and `tail` how far.
pub(super) const ORPHAN: u64 = u64::MAX;

impl<E: Env> Committer<E> {
    /// True if the file this process has open waits for it to look.
    pub(super) fn keeps_orphan(&self, env: &E) -> bool {
        let control = env.control();
        let waits = |id: FileId| id != load_id(&control.file.id) && find(control, id).is_some();
        self.open.as_ref().is_some_and(|open| waits(open.id))
    }

    /// True if the file this process has open was deleted, and written to afterwards.
    pub fn owes_rescue(&self, env: &E) -> bool {
        let lost = |open: &Open<E::File>| {
            env.is_still(&open.file, open.id)
                && env.meta(&open.file).is_ok_and(|m| m.links == 0 && !m.changed_after_write && m.size > 0)
        };
        self.open.as_ref().is_some_and(lost)
    }

    /// Copies what was written to a live file after somebody deleted it, from the descriptor that still has it.
    pub(super) fn rescue(&mut self, env: &E, old: &Open<E::File>) -> Result<(), Failure> {
        let Some((index, orphan)) = find(env.control(), old.id) else { return Ok(()) };
        if !env.is_still(&old.file, old.id) {
            return Ok(());
        }
        let read = Failure::new(Operation::Read);
        let meta = env.meta(&old.file).map_err(&read)?;
        let mut piece = vec![0; BUF_BYTES];
        loop {
            let from = orphan.from.load(Ordering::Relaxed);
            let n = read_full(env, &old.file, from, &mut piece).map_err(&read)?;
            // Deleted after the last write: what it held was meant to go.
            if meta.links > 0 || meta.changed_after_write || n == 0 {
                break;
            }
            self.note_copy(env, index, from, &piece[..n]);
            self.resume(env, true)?;
        }
        clear(orphan);
        Ok(())
    }

    fn note_copy(&self, env: &E, index: usize, from: u64, bytes: &[u8]) {
        let (me, state) = (own(env), &env.control().file);
        let note = me.note();
        me.buf_put(0, bytes);
        store_id(note, load_id(&state.id));
        note.at.store(pack_at(state.end.load(Ordering::Relaxed), 0), Ordering::Relaxed);
        note.len.store(bytes.len() as u64, Ordering::Relaxed);
        note.source.store(0, Ordering::Relaxed);
        note.entries.store(1, Ordering::Relaxed);
        note.entry[0].slot.store(ORPHAN, Ordering::Relaxed);
        note.entry[0].tail.store(from + bytes.len() as u64, Ordering::Relaxed);
        note.entry[0].over_tail.store(index as u64, Ordering::Relaxed);
        note.starts.store(0, Ordering::Relaxed);
        note.set_phase(Phase::Write);
    }
}

/// The live file is gone from the directory: from here on, what is written to it has to be copied.
pub(super) fn note_orphan(control: &Control, id: FileId) {
    let is_free = |orphan: &&Orphan| load_id(&orphan.id) == FileId::NONE;
    let oldest = control.file.epoch.load(Ordering::Relaxed) as usize % ORPHANS;
    let orphan = control.orphans.iter().find(is_free).unwrap_or(&control.orphans[oldest]);
    orphan.from.store(control.file.verified_end.load(Ordering::Relaxed), Ordering::Relaxed);
    orphan.id.iter().zip(id.0).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
}

/// True if a file waits to be looked after.
pub(super) fn is_orphan(control: &Control, id: FileId) -> bool {
    find(control, id).is_some()
}

/// A file that has its name again waits for nobody.
pub(super) fn forget_orphan(control: &Control, id: FileId) {
    if let Some((_, orphan)) = find(control, id) {
        clear(orphan);
    }
}

/// A piece was copied: forward only, and of an orphan that is there.
pub(super) fn copied<E: Env>(env: &E, entry: &NoteEntry) {
    let index = entry.over_tail.load(Ordering::Relaxed);
    if let Some(orphan) = usize::try_from(index).ok().and_then(|index| env.control().orphans.get(index)) {
        orphan.from.fetch_max(entry.tail.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

fn find(control: &Control, id: FileId) -> Option<(usize, &Orphan)> {
    let is_it = |orphan: &Orphan| id != FileId::NONE && load_id(&orphan.id) == id;
    control.orphans.iter().enumerate().find(|(_, orphan)| is_it(orphan))
}

fn clear(orphan: &Orphan) {
    orphan.id.iter().for_each(|word| word.store(0, Ordering::Relaxed));
}
