//! RESUME: the only code that writes the log. First try, short write, full disk, panic and takeover all come here.
//!
//! Promise (I4): whatever part of a noted batch is in the file, and whoever else has written beside it, afterwards the
//! batch is in the file whole and once; only then do tails move (I5). Running it twice, or from any point again, gives
//! the same file. Among our writers this is exact; a foreign append in the very moment of a kill can leave one torn
//! fragment beside the whole record.

use std::io;
use std::sync::atomic::Ordering;

use super::batch::NoteSource;
use super::commit::{Committer, Open, load_id, own, pack_at, store_id, unpack_at};
use super::env::{Env, FileId, Meta};
use super::live::{mark_unsynced, store_end, store_file};
use super::locate::{Source, locate};
use super::orphan::{ORPHAN, copied};
use super::step::Step;
use super::trouble::{Failure, Operation};
use crate::journal::layout::{BUF_BYTES, NOTE_ENTRIES, NOTE_STARTS, Note, Phase};

/// Rounds of compare-and-append before a batch is given back: each needs another writer, or another short write.
const ROUNDS: u32 = 1000;
/// Bytes of a large record that are copied at a time.
const PIECE: usize = 256 << 10;

/// Where a noted batch is to go.
enum Target<F> {
    /// The descriptor that is open anyway.
    Own,
    /// A file found by another way.
    Other(F),
}

impl<E: Env> Committer<E> {
    /// Finishes whatever this slot's note says. `fresh`: the note was filled just now, nothing of it is written.
    pub(super) fn resume(&mut self, env: &E, fresh: bool) -> Result<(), Failure> {
        let mut fresh = fresh;
        loop {
            let note = own(env).note();
            match note.phase() {
                Phase::Idle => return Ok(()),
                Phase::Write => self.write_batch(env, fresh)?,
                Phase::Written => finish_batch(env),
                Phase::Cut => self.finish_cut(env)?,
            }
            fresh = false;
        }
    }

    fn write_batch(&mut self, env: &E, fresh: bool) -> Result<(), Failure> {
        let note = own(env).note();
        if !valid(note) {
            // Copied from a damaged slot. The rings still hold the records, and their tails have not moved.
            note.set_phase(Phase::Idle);
            return Ok(());
        }
        let len = note.len.load(Ordering::Relaxed);
        let large = match note.source.load(Ordering::Relaxed) {
            0 => None,
            slot => Some(((slot - 1) as u16, note.source_at.load(Ordering::Relaxed))),
        };
        if let Some((slot, at)) = large
            && len > 0
            && matches!(env.overflow_read(slot, at.wrapping_add(len - 1), &mut [0]), Ok(0))
        {
            // The overflow file ends before the record does: damaged, and gathering sets it aside.
            note.set_phase(Phase::Idle);
            return Ok(());
        }
        let source = NoteSource { env, slot: own(env), large, len };
        let end = if fresh && large.is_none() && len > 0 { self.first_try(env, len)? } else { None };
        let end = match end {
            Some(end) => end,
            None => {
                let target = self.find_target(env)?;
                let file = match &target {
                    Target::Own => &self.open.as_ref().expect("found open").file,
                    Target::Other(file) => file,
                };
                let end = compare_and_append(env, file, &source)?;
                if let Target::Other(file) = target {
                    self.keep_open(env, file);
                }
                end
            }
        };
        if load_id(&note.id) == load_id(&env.control().file.id) {
            store_end(env.control(), end);
        }
        clear_trouble(env);
        env.step(Step::BatchWritten);
        note.set_phase(Phase::Written);
        env.step(Step::NoteWritten);
        Ok(())
    }

    /// One `write`. `None`: it was short, or interrupted, and the file has to be looked at.
    fn first_try(&mut self, env: &E, len: u64) -> Result<Option<u64>, Failure> {
        let me = own(env);
        let Some(open) = &self.open else { return Ok(None) };
        match env.append(&open.file, me.buf(0, len as usize)) {
            Ok(n) if n as u64 == len => Ok(Some(unpack_at(me.note().at.load(Ordering::Relaxed)).0 + len)),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(None),
            // Closed by a daemonizer: the file is found by its path.
            Err(e) if e.raw_os_error() == Some(libc::EBADF) => Ok(None),
            Err(e) => Err(Failure::new(Operation::Write)(e)),
        }
    }

    /// The live file that a batch was written to through another way stays open: if somebody deletes it now, this
    /// process has what it wrote.
    fn keep_open(&mut self, env: &E, file: E::File) {
        let id = load_id(&own(env).note().id);
        if id == load_id(&env.control().file.id) && !self.keeps_orphan(env) {
            self.open = Some(Open { file, id });
        }
    }

    /// The file of the note: what is open, what stands at the path, or wherever it was moved to in the directory. If it
    /// is nowhere, the batch goes to the live file.
    fn find_target(&mut self, env: &E) -> Result<Target<E::File>, Failure> {
        let failed = Failure::new(Operation::Open);
        let note = own(env).note();
        let id = load_id(&note.id);
        if let Some(open) = &self.open
            && open.id == id
            && env.is_still(&open.file, id)
            && env.meta(&open.file).is_ok_and(|m| m.links > 0)
        {
            return Ok(Target::Own);
        }
        if let Some(file) = open_as(env, env.log(), id).map_err(&failed)? {
            return Ok(Target::Other(file));
        }
        for name in env.list().map_err(&failed)? {
            // Any name: whoever moves a log away calls it what he likes.
            if let Some(file) = open_as(env, &name, id).map_err(&failed)? {
                return Ok(Target::Other(file));
            }
        }
        let (file, meta) = match env.open(env.log()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => env.create(env.log(), None),
            other => other,
        }
        .and_then(|file| env.meta(&file).map(|meta| (file, meta)))
        .map_err(&failed)?;
        let (_, skip) = unpack_at(note.at.load(Ordering::Relaxed));
        note.at.store(pack_at(meta.size, skip), Ordering::Relaxed);
        store_id(note, meta.id);
        mark_unsynced(env.control());
        store_file(env, &meta, env.control().file.rollover_at.load(Ordering::Relaxed));
        Ok(Target::Other(file))
    }
}

/// Compares the file with the batch and appends what is missing, until all of it is there. Where the batch ends.
fn compare_and_append<E: Env>(env: &E, file: &E::File, source: &NoteSource<'_, E>) -> Result<u64, Failure> {
    let (read, write) = (Failure::new(Operation::Read), Failure::new(Operation::Write));
    let note = own(env).note();
    for _ in 0..ROUNDS {
        let (mut off, skip) = unpack_at(note.at.load(Ordering::Relaxed));
        let want = source.len - skip;
        let size = env.meta(file).map_err(&read)?.size;
        if size < off {
            // Emptied by somebody else. If our bytes went in afterwards, they stand at the end. Kept in the note: once
            // the file has grown again, nothing else tells where they begin.
            off = size.saturating_sub(want);
            note.at.store(pack_at(off, skip), Ordering::Relaxed);
        }
        let mut found = locate(env, file, size, off, source, skip).map_err(&read)?;
        let last = size.saturating_sub(want);
        if found.matched == 0 && size > off && last < off {
            // Nothing of ours, but bytes of somebody: or the file was emptied, and what was written of ours
            // afterwards has grown past `off`. Then it ends with the file.
            let early = locate(env, file, size, last, source, skip).map_err(&read)?;
            if early.matched > 0 && early.at + early.matched == size {
                found = early;
                note.at.store(pack_at(early.at, skip), Ordering::Relaxed);
            }
        }
        let end = found.at + found.matched;
        if found.matched == want {
            return Ok(end.max(size));
        }
        if end == size {
            append(env, file, source, skip + found.matched).map_err(&write)?;
            continue;
        }
        // Somebody else's bytes stand behind a part of ours, or in front of nothing. What is whole stays; the
        // record that was cut is written again, on a line of its own.
        let (again, next) = record_around(note, skip + found.matched, source.len);
        let cut = Part { source, len: next };
        let rest = skip + found.matched;
        if found.matched > 0 && locate(env, file, size, end, source, rest).map_err(&read)?.matched == source.len - rest
        {
            // They came between two of our writes, and the second is there whole, too. To write all again would
            // double what follows the record that was cut.
            if locate(env, file, size, end, &cut, again).map_err(&read)?.matched == next - again {
                return Ok(size);
            }
            new_line(env, file, size)?;
            if append(env, file, &cut, again).map_err(&write)? {
                return Ok(env.meta(file).map_err(&read)?.size);
            }
            continue;
        }
        note.at.store(pack_at(size, again.max(skip)), Ordering::Relaxed);
        new_line(env, file, size)?;
    }
    Err(Failure { operation: Operation::Write, errno: libc::EAGAIN })
}

/// Opens a name if it is that file.
fn open_as<E: Env>(env: &E, name: &str, id: FileId) -> io::Result<Option<E::File>> {
    let here = |m: &Meta| m.id == id;
    match env.lookup(name) {
        Ok(Some(meta)) if here(&meta) => {}
        Ok(_) => return Ok(None),
        Err(e) => return Err(e),
    }
    match env.open(name) {
        Ok(file) => Ok(env.meta(&file)?).map(|m| here(&m).then_some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Appends `from..` of the batch: a piece at a time, until all is written or the system refuses.
/// False if a signal came in between.
fn append<E: Env>(env: &E, file: &E::File, source: &impl Source, from: u64) -> io::Result<bool> {
    let mut at = from;
    let mut piece = vec![0; PIECE.min((source.len() - from) as usize)];
    while at < source.len() {
        let n = piece.len().min((source.len() - at) as usize);
        source.read(at, &mut piece[..n])?;
        match env.append(file, &piece[..n]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => at += n as u64,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// The record that is written next begins on a line of its own.
fn new_line<E: Env>(env: &E, file: &E::File, size: u64) -> Result<(), Failure> {
    if !ends_line(env, file, size).map_err(Failure::new(Operation::Read))? {
        env.append(file, b"\n").map_err(Failure::new(Operation::Write))?;
    }
    Ok(())
}

/// The beginning of a batch.
struct Part<'a, S> {
    source: &'a S,
    len: u64,
}

impl<S: Source> Source for Part<'_, S> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.source.read(at, out)
    }
}

fn ends_line<E: Env>(env: &E, file: &E::File, size: u64) -> io::Result<bool> {
    let mut last = [0];
    // Nothing to read: emptied in this moment, and an empty file needs no line end either.
    Ok(size == 0 || env.read_at(file, size - 1, &mut last)? == 0 || last[0] == b'\n')
}

/// Start and end of the record in which byte `at` of the batch stands; the batch is `len` bytes long.
fn record_around(note: &Note, at: u64, len: u64) -> (u64, u64) {
    let count = (note.starts.load(Ordering::Relaxed) as usize).min(NOTE_STARTS);
    let starts = (0..count).map(|i| note.start[i / 4].load(Ordering::Relaxed) >> (i % 4 * 16) & 0xFFFF);
    let (mut from, mut upto) = (0, len);
    for start in starts.filter(|start| *start < len) {
        if start > at {
            upto = start;
            break;
        }
        from = start;
    }
    (from, upto)
}

/// Lengths and counts of a copied note: it may come from a process that meant harm.
fn valid(note: &Note) -> bool {
    let len = note.len.load(Ordering::Relaxed);
    let large = note.source.load(Ordering::Relaxed) != 0;
    let (_, skip) = unpack_at(note.at.load(Ordering::Relaxed));
    skip <= len
        && (large && len < 1 << 40 || len <= BUF_BYTES as u64)
        && note.entries.load(Ordering::Relaxed) <= NOTE_ENTRIES as u64
        && note.starts.load(Ordering::Relaxed) <= NOTE_STARTS as u64
}

/// WRITTEN: positions move, forward only, so that doing it again changes nothing (I5).
fn finish_batch<E: Env>(env: &E) {
    let note = own(env).note();
    let entries = (note.entries.load(Ordering::Relaxed) as usize).min(NOTE_ENTRIES);
    for entry in &note.entry[..entries] {
        let number = entry.slot.load(Ordering::Relaxed);
        if number == ORPHAN {
            copied(env, entry);
            env.step(Step::TailMoved);
            continue;
        }
        let number = number as u16;
        let Some(slot) = env.slot(number) else { continue };
        let words = slot.header();
        let (tail, over_tail) = (entry.tail.load(Ordering::Relaxed), entry.over_tail.load(Ordering::Relaxed));
        let (old, old_over) =
            (words.consumer.tail.load(Ordering::Relaxed), words.consumer.over_tail.load(Ordering::Relaxed));
        // Acquire: never beyond what its process has published.
        let most = words.producer.head.load(Ordering::Acquire).wrapping_sub(old);
        let most_over = words.producer.over_len.load(Ordering::Acquire).wrapping_sub(old_over);
        if tail.wrapping_sub(old) <= most {
            // Release pairs with the acquire of the producer that looks for room: the bytes were copied before.
            words.consumer.tail.store(tail, Ordering::Release);
        }
        if over_tail != old_over && over_tail.wrapping_sub(old_over) <= most_over {
            words.consumer.over_tail.store(over_tail, Ordering::Release);
            env.overflow_free(number, old_over, over_tail);
        }
        words.consumer.announced.store(entry.announced.load(Ordering::Relaxed), Ordering::Relaxed);
        env.step(Step::TailMoved);
        // Not for every few bytes: of 64 full rings a batch takes seven records each, and waking all of their processes
        // after each batch costs more than the batch. Whoever waits looks for himself every 2 ms.
        if most.wrapping_sub(tail.wrapping_sub(old)) <= slot.ring_bytes() / 2 {
            env.wake(slot);
        }
    }
    env.step(Step::TailsMoved);
    note.set_phase(Phase::Idle);
}

/// A write went through: the next failure starts with a short back-off again.
fn clear_trouble<E: Env>(env: &E) {
    let trouble = &env.control().trouble;
    if trouble.retry_wait_ms.load(Ordering::Relaxed) != 0 {
        trouble.retry_wait_ms.store(0, Ordering::Relaxed);
        trouble.retry_at_ms.store(0, Ordering::Relaxed);
    }
}
