//! A view of one slot: ring, note and commit buffer of one process, over mapped (or simulated) memory.
//!
//! Promise: no position, length or offset read from the slot is used before it was checked against what this process
//! knows (the ring size it verified when it mapped the file). Bytes are copied out and judged as copies.
//!
//! Ring: one producer process, consumed by the lease holder. `head` and `tail` count bytes since the slot exists and
//! never go back, also when another process takes the slot over (a dead ring is just another ring). A frame is
//! `length:32 mark:16 level:16 | stamp:64 | crc:32 zero:32 | bytes`, padded to 8.

use std::sync::atomic::Ordering;

use super::layout::{
    BUF_BYTES, BUF_OFFSET, NAME_BYTES, NOTE_ENTRIES, NOTE_OFFSET, NOTE_STARTS, Note, Phase, RING_OFFSET, SlotHeader,
};
use super::map::Map;

/// Bytes of a frame before its payload.
pub const FRAME_HEADER: u64 = 24;
const FRAME_MARK: u64 = 0xE7E1;

/// Head of a frame, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Payload bytes.
    pub len: u32,
    /// Level the record was logged at.
    pub level: u8,
    /// Wall clock in ns.
    pub stamp: u64,
    /// CRC32C of the payload; checked only after a reboot.
    pub crc: u32,
}

impl Frame {
    /// Bytes that frame and payload take up.
    pub fn span(&self) -> u64 {
        span(u64::from(self.len))
    }

    /// The head as it stands in ring and overflow.
    pub fn encode(&self) -> [u8; FRAME_HEADER as usize] {
        let mut bytes = [0; FRAME_HEADER as usize];
        let first = u64::from(self.len) | FRAME_MARK << 32 | u64::from(self.level) << 48;
        bytes[..8].copy_from_slice(&first.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.stamp.to_ne_bytes());
        bytes[16..].copy_from_slice(&u64::from(self.crc).to_ne_bytes());
        bytes
    }

    /// Decodes a head. `None` if it cannot be one of `room` published bytes.
    pub fn decode(bytes: &[u8; FRAME_HEADER as usize], room: u64) -> Option<Self> {
        let word = |i: usize| u64::from_ne_bytes(bytes[i * 8..i * 8 + 8].try_into().expect("eight bytes"));
        let first = word(0);
        let frame =
            Self { len: first as u32, level: (first >> 48) as u8, stamp: word(1), crc: u32::try_from(word(2)).ok()? };
        (first >> 32 & 0xFFFF == FRAME_MARK && frame.span() <= room).then_some(frame)
    }
}

/// Bytes that a payload of `len` takes up in a ring.
pub fn span(len: u64) -> u64 {
    (FRAME_HEADER + len).next_multiple_of(8)
}

/// One slot.
#[derive(Debug)]
pub struct Slot {
    map: Map,
    ring_bytes: u64,
}

impl Slot {
    /// Length of a slot file with rings of `ring_bytes`.
    pub fn file_bytes(ring_bytes: u64) -> usize {
        RING_OFFSET + ring_bytes as usize
    }

    /// A view of mapped memory.
    ///
    /// # Panics
    /// If the map is shorter than the ring size says, or the size is no power of two: the caller checked both.
    pub fn new(map: Map, ring_bytes: u64) -> Self {
        assert!(ring_bytes.is_power_of_two() && map.len() >= Self::file_bytes(ring_bytes));
        Self { map, ring_bytes }
    }

    /// The words of producer and holder.
    pub fn header(&self) -> &SlotHeader {
        // SAFETY: SlotHeader consists of atomics only.
        unsafe { self.map.at(0) }
    }

    /// The note.
    pub fn note(&self) -> &Note {
        // SAFETY: Note consists of atomics only.
        unsafe { self.map.at(NOTE_OFFSET) }
    }

    /// Ring size.
    pub fn ring_bytes(&self) -> u64 {
        self.ring_bytes
    }

    /// Copies `bytes` into the ring at position `at`, around its end if need be. Producer only, into free space.
    pub fn ring_write(&self, at: u64, bytes: &[u8]) {
        assert!(bytes.len() as u64 <= self.ring_bytes);
        let start = (at & (self.ring_bytes - 1)) as usize;
        let first = bytes.len().min(self.ring_bytes as usize - start);
        let rest = bytes.len() - first;
        // SAFETY: both parts lie inside the ring: `start` is below its size, and the parts together are no longer than
        // it. The holder reads this range only after the release store of `head` that follows (I3), and this process
        // is the only writer (ring mutex).
        unsafe {
            let ring = self.map.base().as_ptr().add(RING_OFFSET);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), ring.add(start), first);
            if rest != 0 {
                std::ptr::copy_nonoverlapping(bytes.as_ptr().add(first), ring, rest);
            }
        }
    }

    /// Copies ring bytes from position `at` to `out`.
    ///
    /// # Safety
    /// `out` must be valid for `len` bytes and must not overlap the ring.
    unsafe fn ring_copy(&self, at: u64, out: *mut u8, len: usize) {
        assert!(len as u64 <= self.ring_bytes);
        let start = (at & (self.ring_bytes - 1)) as usize;
        let first = len.min(self.ring_bytes as usize - start);
        // SAFETY: inside the ring as in `ring_write`; `out` by the caller. A hostile process may write the same bytes
        // at the same time; the copy is then nonsense, but it is a copy of plain bytes that nobody trusts.
        unsafe {
            let ring = self.map.base().as_ptr().add(RING_OFFSET);
            std::ptr::copy_nonoverlapping(ring.add(start), out, first);
            if first != len {
                std::ptr::copy_nonoverlapping(ring, out.add(first), len - first);
            }
        }
    }

    /// Ring bytes from position `at`.
    pub fn ring_read(&self, at: u64, out: &mut [u8]) {
        // SAFETY: `out` is valid for its length and, being private memory, apart from the ring.
        unsafe { self.ring_copy(at, out.as_mut_ptr(), out.len()) }
    }

    /// The frame at `at`, of which `room` bytes are published. `None`: no frame of ours.
    pub fn frame(&self, at: u64, room: u64) -> Option<Frame> {
        if room < FRAME_HEADER || room > self.ring_bytes {
            return None;
        }
        let mut head = [0; FRAME_HEADER as usize];
        self.ring_read(at, &mut head);
        Frame::decode(&head, room)
    }

    /// Copies the payload of `frame` at `at` of `from`'s ring into this slot's commit buffer.
    pub fn buf_take(&self, buf_at: usize, from: &Slot, at: u64, frame: &Frame) {
        let len = frame.len as usize;
        assert!(buf_at + len <= BUF_BYTES);
        // SAFETY: the range is inside the buffer by the assertion, and buffer and ring are different parts of a file.
        unsafe {
            let out = self.map.base().as_ptr().add(BUF_OFFSET + buf_at);
            from.ring_copy(at + FRAME_HEADER, out, len);
        }
    }

    /// Puts private bytes into the commit buffer.
    pub fn buf_put(&self, buf_at: usize, bytes: &[u8]) {
        assert!(buf_at + bytes.len() <= BUF_BYTES);
        // SAFETY: inside the buffer; private memory does not overlap it.
        unsafe {
            let out = self.map.base().as_ptr().add(BUF_OFFSET + buf_at);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), out, bytes.len());
        }
    }

    /// The commit buffer, for `write`.
    pub fn buf(&self, from: usize, to: usize) -> &[u8] {
        assert!(from <= to && to <= BUF_BYTES);
        // SAFETY: in bounds. Only the holder writes a commit buffer, and the holder is this thread (commit mutex), so
        // the bytes do not change while the reference lives; a hostile process could change them, which at worst
        // writes its own bytes into the log it may write anyway.
        unsafe { std::slice::from_raw_parts(self.map.base().as_ptr().add(BUF_OFFSET + from), to - from) }
    }

    /// Copies note and buffer of `from` into this slot, the phase last. Step A1: before the takeover.
    pub fn copy_note(&self, from: &Slot) {
        let (to, source) = (self.note(), from.note());
        to.set_phase(Phase::Idle);
        let phase = source.phase();
        let copy = |to: &std::sync::atomic::AtomicU64, from: &std::sync::atomic::AtomicU64| {
            let value = from.load(Ordering::Relaxed);
            to.store(value, Ordering::Relaxed);
            value
        };
        for (to, from) in to.id.iter().zip(&source.id) {
            copy(to, from);
        }
        copy(&to.at, &source.at);
        let len = copy(&to.len, &source.len).min(BUF_BYTES as u64) as usize;
        let in_buf = copy(&to.source, &source.source) == 0;
        copy(&to.source_at, &source.source_at);
        let entries = copy(&to.entries, &source.entries).min(NOTE_ENTRIES as u64) as usize;
        let starts = copy(&to.starts, &source.starts).min(NOTE_STARTS as u64) as usize;
        copy(&to.next_rollover_at, &source.next_rollover_at);
        copy(&to.name_len, &source.name_len);
        for (to, from) in to.name.iter().zip(&source.name) {
            copy(to, from);
        }
        for (to, from) in to.entry.iter().zip(&source.entry).take(entries) {
            copy(&to.slot, &from.slot);
            copy(&to.tail, &from.tail);
            copy(&to.over_tail, &from.over_tail);
            copy(&to.announced, &from.announced);
        }
        for (to, from) in to.start.iter().zip(&source.start).take(starts.div_ceil(4)) {
            copy(to, from);
        }
        if in_buf {
            // SAFETY: `len` is at most the buffer's size; two slots are two mappings.
            unsafe {
                let out = self.map.base().as_ptr().add(BUF_OFFSET);
                std::ptr::copy_nonoverlapping(from.map.base().as_ptr().add(BUF_OFFSET), out, len);
            }
        }
        to.set_phase(phase);
    }
}

/// Stores a base name in a note.
pub fn store_name(note: &Note, name: &[u8]) {
    assert!(name.len() < NAME_BYTES);
    let mut padded = [0u8; NAME_BYTES];
    padded[..name.len()].copy_from_slice(name);
    for (word, bytes) in note.name.iter().zip(padded.chunks_exact(8)) {
        word.store(u64::from_ne_bytes(bytes.try_into().expect("eight bytes")), Ordering::Relaxed);
    }
    note.name_len.store(name.len() as u64, Ordering::Relaxed);
}

/// A base name from a note; `None` if it is not one. A name from shared memory may never lead out of the log's directory.
pub fn load_name(note: &Note) -> Option<String> {
    let len = usize::try_from(note.name_len.load(Ordering::Relaxed)).ok().filter(|len| *len < NAME_BYTES)?;
    let bytes: Vec<u8> = note.name.iter().flat_map(|w| w.load(Ordering::Relaxed).to_ne_bytes()).take(len).collect();
    let name = String::from_utf8(bytes).ok()?;
    crate::rotation::is_base_name(&name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot::new(Map::heap(Slot::file_bytes(4096)), 4096)
    }

    fn frame(len: u32) -> Frame {
        Frame { len, level: 20, stamp: 99, crc: 7 }
    }

    #[test]
    fn a_frame_survives_the_end_of_the_ring() {
        let (ring, holder) = (slot(), slot());
        let payload = b"seventeen bytes..";
        let at = 4096 * 5 - 32;
        ring.ring_write(at, &frame(17).encode());
        ring.ring_write(at + FRAME_HEADER, payload);
        let read = ring.frame(at, span(17)).unwrap();
        assert_eq!(read, frame(17));
        holder.buf_take(3, &ring, at, &read);
        assert_eq!(holder.buf(3, 20), payload);
    }

    #[test]
    fn nonsense_is_not_a_frame() {
        let ring = slot();
        assert_eq!(ring.frame(0, 64), None, "zeros");
        ring.ring_write(0, &frame(41).encode());
        assert_eq!(ring.frame(0, 64), None, "longer than what is published");
        assert!(ring.frame(0, 72).is_some());
        assert_eq!(ring.frame(0, 1 << 40), None, "head far beyond the ring");
    }

    #[test]
    fn a_hostile_name_is_refused() {
        let slot = slot();
        for bad in ["", ".", "..", "a/b", "../x"] {
            store_name(slot.note(), bad.as_bytes());
            assert_eq!(load_name(slot.note()), None, "{bad:?}");
        }
        store_name(slot.note(), b"app.log.1");
        assert_eq!(load_name(slot.note()).as_deref(), Some("app.log.1"));
        slot.note().name_len.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(load_name(slot.note()), None);
    }
}
