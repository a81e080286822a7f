//! A journal of another boot: the kernel that kept its pages coherent is gone, so what is on disk is judged first.
//!
//! Promise: after an orderly reboot everything accepted is still delivered once. After a power cut only frames whose
//! CRC32C is right are delivered, the longest run of each ring; a record may then be missing or doubled (P8).
//! Runs under the exclusive lock on `control`: nobody is attached.

use std::io;
use std::sync::atomic::Ordering;

use super::claim::{map_slot, overflow_name};
use super::control::load2;
use super::layout::{Control, NOTE_ENTRIES, Phase, SLOTS};
use super::place::Place;
use super::slot::{FRAME_HEADER, Frame, Slot};
use crate::os;
use crate::protocol::lease::State;

/// Judges every ring, and the note that the lease names.
pub fn settle(place: &Place, control: &Control) -> io::Result<()> {
    let uuid = load2(&control.identity.uuid);
    let ring_bytes = control.identity.ring_bytes.load(Ordering::Relaxed);
    let high = (control.wishes.high_water.load(Ordering::Relaxed) as usize).min(SLOTS) as u16;
    let slots: Vec<Option<Slot>> = (0..high).map(|i| map_slot(place, uuid, ring_bytes, i, true).ok()).collect();
    for (index, slot) in slots.iter().enumerate() {
        if let Some(slot) = slot {
            cut_ring(slot);
            cut_overflow(place, index as u16, slot);
        }
    }
    if let State::Held(named) | State::Pending(named) = control.lease.load().state()
        && let Some(Some(slot)) = slots.get(usize::from(named))
        && slot.note().phase() == Phase::Write
        && !note_is_whole(slot, &slots)
    {
        slot.note().set_phase(Phase::Idle);
    }
    for word in
        [&control.trouble.retry_at_ms, &control.trouble.rotate_retry_at_ms, &control.beat, &control.wishes.moved]
    {
        word.store(0, Ordering::Relaxed);
    }
    Ok(())
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

fn cut_overflow(place: &Place, index: u16, slot: &Slot) {
    let words = slot.header();
    let end = words.producer.over_len.load(Ordering::Relaxed);
    let mut at = words.consumer.over_tail.load(Ordering::Relaxed);
    let file = os::open_at(place.shared.fd(), &overflow_name(index), rustix::fs::OFlags::RDONLY, 0);
    if let Ok(file) = file.map(std::fs::File::from) {
        use std::os::unix::fs::FileExt;
        while at < end {
            let mut head = [0; FRAME_HEADER as usize];
            let Some(frame) = file.read_exact_at(&mut head, at).ok().and_then(|()| Frame::decode(&head, end - at))
            else {
                break;
            };
            let mut bytes = vec![0; frame.len as usize];
            if file.read_exact_at(&mut bytes, at + FRAME_HEADER).is_err() || crc32c::crc32c(&bytes) != frame.crc {
                break;
            }
            at += frame.span();
        }
    }
    words.producer.over_len.store(at, Ordering::Relaxed);
}

/// A batch is believed if the rings still hold all records it was made of: then its tails had not moved on disk, and
/// the worst that dropping it could do is to write them again.
fn note_is_whole(holder: &Slot, slots: &[Option<Slot>]) -> bool {
    let note = holder.note();
    let entries = (note.entries.load(Ordering::Relaxed) as usize).min(NOTE_ENTRIES);
    let len = note.len.load(Ordering::Relaxed);
    let mut sum = 0;
    for entry in &note.entry[..entries] {
        let Some(Some(slot)) = slots.get(entry.slot.load(Ordering::Relaxed) as usize) else { return false };
        let end = entry.tail.load(Ordering::Relaxed);
        let mut at = slot.header().consumer.tail.load(Ordering::Relaxed);
        while at < end {
            let Some(frame) = slot.frame(at, end - at) else { return false };
            sum += u64::from(frame.len);
            at += frame.span();
        }
    }
    note.source.load(Ordering::Relaxed) != 0 || sum == len
}
