//! A journal of another life: of another boot, or of a file system that was mounted anew. What kept its pages coherent is
//! gone, so what is on disk is judged first.
//!
//! Promise: after an orderly reboot everything accepted is still delivered once. After a power cut only frames whose
//! CRC32C is right are delivered, the longest run of each ring and overflow file; a record may then be missing or doubled
//! (P8). Files are found again whose device has another number now.
//! Runs under the exclusive lock on `control`: nobody is attached.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::claim::{map_slot, overflow_name};
use super::control::load2;
use super::layout::{BUF_BYTES, Control, NOTE_ENTRIES, NOTE_STARTS, Note, NoteEntry, Phase, SLOTS};
use super::place::{Log, Place};
use super::slot::{FRAME_HEADER, Frame, Slot};
use crate::os;
use crate::protocol::batch::announcement;
use crate::protocol::chores::temporary;
use crate::protocol::lease::State;

/// Judges every ring, and the note that the lease names.
pub fn settle(log: &Log, place: &Place, control: &Control) -> io::Result<()> {
    let uuid = load2(&control.identity.uuid);
    let ring_bytes = control.identity.ring_bytes.load(Ordering::Relaxed);
    let high = (control.wishes.high_water.load(Ordering::Relaxed) as usize).min(SLOTS) as u16;
    let mut sources = Vec::new();
    for index in 0..high {
        sources.push(match map_slot(place, uuid, ring_bytes, index, true) {
            Ok(slot) => {
                let flags = rustix::fs::OFlags::RDONLY;
                let overflow = os::open_at(place.shared.fd(), &overflow_name(index), flags, 0).ok().map(File::from);
                cut_ring(&slot);
                cut_overflow(overflow.as_ref(), &slot);
                Some((slot, overflow))
            }
            // No slot, or none of ours. One that cannot be seen now must not be judged: somebody else will.
            Err(e) if is_none(&e) => None,
            Err(e) => return Err(e),
        });
    }
    let births = births(log)?;
    restamp(&control.file.id, &births);
    for id in control.orphans.iter().map(|orphan| &orphan.id).chain([&control.chores.source, &control.chores.zip]) {
        restamp(id, &births);
    }
    if let State::Held(named) | State::Pending(named) = control.lease.load().state()
        && let Some(Some((slot, _))) = sources.get(usize::from(named))
    {
        let note = slot.note();
        let found = restamp(&note.id, &births);
        match (note.phase(), matches!(note.phase(), Phase::Write | Phase::Written) && is_whole(slot, &sources)) {
            // The file itself says whether the batch is in it: what came to disk of the note may be newer.
            (Phase::Written, true) if found => note.set_phase(Phase::Write),
            (Phase::Write, false) => note.set_phase(Phase::Idle),
            _ => {}
        }
    }
    for word in
        [&control.trouble.retry_at_ms, &control.trouble.rotate_retry_at_ms, &control.beat, &control.wishes.moved]
    {
        word.store(0, Ordering::Relaxed);
    }
    Ok(())
}

fn is_none(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// The device of every file that may be the live one, by inode and birth time.
fn births(log: &Log) -> io::Result<HashMap<[u64; 2], u64>> {
    let listing = os::open_directory(log.directory.fd(), ".")?;
    let mut births = HashMap::new();
    for name in os::names(listing.as_fd(), &log.name)?.into_iter().chain([temporary(&log.name)]) {
        if let Some(meta) = os::lookup(log.directory.fd(), &name)? {
            births.insert([meta.id.0[1], meta.id.0[2]], meta.id.0[0]);
        }
    }
    Ok(births)
}

/// Devices are numbered anew at each boot and each mount; inode and birth time stay. False: the file is not here.
fn restamp(id: &[AtomicU64; 3], births: &HashMap<[u64; 2], u64>) -> bool {
    let [_, inode, birth] = std::array::from_fn(|i| id[i].load(Ordering::Relaxed));
    let device = births.get(&[inode, birth]);
    if let Some(device) = device {
        id[0].store(*device, Ordering::Relaxed);
    }
    device.is_some()
}

/// Moves `head` back to the end of the longest run of right frames.
fn cut_ring(slot: &Slot) {
    let words = slot.header();
    let head = words.producer.head.load(Ordering::Relaxed);
    let mut at = words.consumer.tail.load(Ordering::Relaxed);
    if head.wrapping_sub(at) > slot.ring_bytes() {
        words.consumer.tail.store(head, Ordering::Relaxed);
        return;
    }
    while at != head && ring_frame_is_right(slot, at, head.wrapping_sub(at)) {
        at += slot.frame(at, head.wrapping_sub(at)).map_or(0, |f| f.span());
    }
    words.producer.head.store(at, Ordering::Relaxed);
}

fn ring_frame_is_right(slot: &Slot, at: u64, room: u64) -> bool {
    slot.frame(at, room).is_some_and(|frame| {
        let mut bytes = vec![0; frame.len as usize];
        slot.ring_read(at + FRAME_HEADER, &mut bytes);
        crc32c::crc32c(&bytes) == frame.crc
    })
}

/// The same for the overflow file.
fn cut_overflow(file: Option<&File>, slot: &Slot) {
    let words = slot.header();
    let end = words.producer.over_len.load(Ordering::Relaxed);
    let mut at = words.consumer.over_tail.load(Ordering::Relaxed);
    while let Some(frame) = file.filter(|_| at < end).and_then(|file| right_overflow_frame(file, at, end)) {
        at += frame.span();
    }
    words.producer.over_len.store(at, Ordering::Relaxed);
}

/// The frame at `at` of an overflow file that ends at `end`, if its bytes are those that were published.
fn right_overflow_frame(file: &File, at: u64, end: u64) -> Option<Frame> {
    let mut head = [0; FRAME_HEADER as usize];
    file.read_exact_at(&mut head, at).ok()?;
    let frame = Frame::decode(&head, end - at)?;
    // Its length may be anything: read in pieces.
    let (mut crc, mut done, len) = (0, 0, u64::from(frame.len));
    let mut piece = vec![0; BUF_BYTES.min(frame.len as usize)];
    while done < len {
        let n = piece.len().min((len - done) as usize);
        file.read_exact_at(&mut piece[..n], at + FRAME_HEADER + done).ok()?;
        crc = crc32c::crc32c_append(crc, &piece[..n]);
        done += n as u64;
    }
    (crc == frame.crc).then_some(frame)
}

/// Length and CRC32C of a record.
type Fingerprint = (u32, u32);

/// A batch is believed if rings and overflow files still hold all records it was made of, and it holds nothing else: then
/// no tail had moved on disk, and comparing it with the file makes it whole, once.
fn is_whole(holder: &Slot, sources: &[Option<(Slot, Option<File>)>]) -> bool {
    let note = holder.note();
    let entries = (note.entries.load(Ordering::Relaxed) as usize).min(NOTE_ENTRIES);
    let mut taken = Vec::new();
    let in_place = note.entry[..entries].iter().all(|entry| {
        let source = sources.get(entry.slot.load(Ordering::Relaxed) as usize).and_then(Option::as_ref);
        source.is_some_and(|(slot, overflow)| taken_from(slot, overflow.as_ref(), entry, &mut taken).is_some())
    });
    let noted = match note.source.load(Ordering::Relaxed) {
        0 => in_buffer(holder),
        slot => large(note, slot - 1, sources).map(|record| vec![record]),
    };
    taken.sort_unstable();
    in_place
        && noted.is_some_and(|mut noted| {
            noted.sort_unstable();
            noted == taken
        })
}

/// Adds the records that the batch takes from one slot. `None`: they are not all there any more.
fn taken_from(slot: &Slot, overflow: Option<&File>, entry: &NoteEntry, taken: &mut Vec<Fingerprint>) -> Option<()> {
    let (producer, consumer) = (&slot.header().producer, &slot.header().consumer);
    let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let count = load(&entry.announced).wrapping_sub(load(&consumer.announced));
    if count != 0 {
        let line = announcement(count, load(&slot.header().identity.pid));
        taken.push((line.len() as u32, crc32c::crc32c(line.as_bytes())));
    }
    let (mut at, end) = (load(&consumer.tail), load(&entry.tail));
    // The heads were cut to what is right: so everything below them is.
    if end.wrapping_sub(at) > load(&producer.head).wrapping_sub(at) {
        return None;
    }
    while at != end {
        let frame = slot.frame(at, end.wrapping_sub(at))?;
        taken.push((frame.len, frame.crc));
        at = at.wrapping_add(frame.span());
    }
    let (mut at, end) = (load(&consumer.over_tail), load(&entry.over_tail));
    if end.wrapping_sub(at) > load(&producer.over_len).wrapping_sub(at) {
        return None;
    }
    while at != end {
        let mut head = [0; FRAME_HEADER as usize];
        overflow?.read_exact_at(&mut head, at).ok()?;
        let frame = Frame::decode(&head, end.wrapping_sub(at))?;
        taken.push((frame.len, frame.crc));
        at = at.wrapping_add(frame.span());
    }
    Some(())
}

/// The records in the commit buffer.
fn in_buffer(holder: &Slot) -> Option<Vec<Fingerprint>> {
    let note = holder.note();
    let len = usize::try_from(note.len.load(Ordering::Relaxed)).ok().filter(|len| *len <= BUF_BYTES)?;
    let count = usize::try_from(note.starts.load(Ordering::Relaxed)).ok().filter(|n| *n <= NOTE_STARTS)?;
    let start = |i: usize| (note.start[i / 4].load(Ordering::Relaxed) >> (i % 4 * 16) & 0xFFFF) as usize;
    let ends = (1..count).map(start).chain([len]);
    let record = |(from, to): (usize, usize)| {
        (from <= to && to <= len).then(|| ((to - from) as u32, crc32c::crc32c(holder.buf(from, to))))
    };
    if count == 0 {
        return (len == 0).then(Vec::new);
    }
    (start(0) == 0).then(|| (0..count).map(start).zip(ends).map(record).collect())?
}

/// The one record too large for the buffer, in the overflow file of `slot`.
fn large(note: &Note, slot: u64, sources: &[Option<(Slot, Option<File>)>]) -> Option<Fingerprint> {
    let (_, overflow) = sources.get(usize::try_from(slot).ok()?)?.as_ref()?;
    let at = note.source_at.load(Ordering::Relaxed).checked_sub(FRAME_HEADER)?;
    let mut head = [0; FRAME_HEADER as usize];
    overflow.as_ref()?.read_exact_at(&mut head, at).ok()?;
    let frame = Frame::decode(&head, u64::MAX)?;
    (u64::from(frame.len) == note.len.load(Ordering::Relaxed)).then_some((frame.len, frame.crc))
}

#[cfg(test)]
mod tests;
