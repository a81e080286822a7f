//! Step H2: gathers what was published into one batch, ordered by time, up to the next rotation.
//!
//! Promise: the batch holds whole records; those of one slot in their order, those of different slots ordered by
//! (stamp, slot); it ends before the first record that belongs into the next file. Nothing shared is changed but this
//! process's own commit buffer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::atomic::Ordering;

use super::dirty::Slots;
use super::env::Env;
use super::locate::Source;
use crate::journal::layout::{BUF_BYTES, NOTE_ENTRIES, NOTE_STARTS};
use crate::journal::slot::{FRAME_HEADER, Frame, Slot};

/// What the rotation policy says to one more record.
pub trait Policy {
    /// True if a record of `len` bytes and this stamp must go into the next file, when the file is `end` bytes long.
    fn cuts(&self, end: u64, len: u64, stamp: u64) -> bool;
}

/// Positions of one slot after the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The slot.
    pub slot: u16,
    /// New ring tail.
    pub tail: u64,
    /// New overflow tail.
    pub over_tail: u64,
    /// Drops announced up to here.
    pub announced: u64,
}

/// One record too large for the buffer, in a slot's overflow file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Large {
    /// The slot.
    pub slot: u16,
    /// Offset of the payload in its overflow file.
    pub at: u64,
    /// Its length.
    pub len: u64,
}

/// A gathered batch. The bytes stand in the commit buffer of the holder's slot, or are `large`.
#[derive(Debug, Default)]
pub struct Batch {
    /// Bytes in the buffer.
    pub len: usize,
    /// Start of each record.
    pub starts: Vec<u16>,
    /// What it takes from whom.
    pub entries: Vec<Entry>,
    /// Instead of the buffer.
    pub large: Option<Large>,
    /// Stamp of the record before which the file must be cut, if that ended the batch.
    pub cut: Option<u64>,
    /// Slots out of order: a ring that holds no frames of ours. They are set aside, and reported.
    pub corrupt: Vec<u16>,
}

impl Batch {
    /// Bytes that go into the file.
    pub fn bytes(&self) -> u64 {
        self.large.map_or(self.len as u64, |l| l.len)
    }

    /// True if there is nothing to write and no position to move.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn clear(&mut self) {
        self.len = 0;
        self.starts.clear();
        self.entries.clear();
        self.large = None;
        self.cut = None;
        self.corrupt.clear();
    }
}

/// Reads one slot's records in order: its ring, or, when that is empty, its overflow file.
#[derive(Debug)]
struct Cursor {
    entry: Entry,
    /// Published ring or overflow bytes end here.
    end: u64,
    overflow: bool,
    /// The slot has overflow bytes that come after what this cursor reads.
    more: bool,
    /// A piece of the overflow file, and where it begins.
    piece: Vec<u8>,
    piece_at: u64,
    taken: bool,
}

/// Largest piece of an overflow file that is read at once: two of the largest records that fit the buffer.
const PIECE: usize = 2 * (BUF_BYTES + FRAME_HEADER as usize);

enum Next {
    Frame(Frame),
    End,
    Corrupt,
}

impl Cursor {
    fn open(slot: u16, view: &Slot) -> Self {
        let header = view.header();
        // over_len before head: if the ring is empty as of a later look, then nothing in the ring is older than the
        // overflow bytes seen here. Both pair with the release stores of the producer (I3).
        let over_len = header.producer.over_len.load(Ordering::Acquire);
        let head = header.producer.head.load(Ordering::Acquire);
        let entry = Entry {
            slot,
            tail: header.consumer.tail.load(Ordering::Relaxed),
            over_tail: header.consumer.over_tail.load(Ordering::Relaxed),
            announced: header.consumer.announced.load(Ordering::Relaxed),
        };
        let overflow = entry.tail == head;
        let end = if overflow { over_len } else { head };
        let more = !overflow && entry.over_tail != over_len;
        Self { entry, end, overflow, more, piece: Vec::new(), piece_at: 0, taken: false }
    }

    fn at(&self) -> u64 {
        if self.overflow { self.entry.over_tail } else { self.entry.tail }
    }

    fn next<E: Env>(&mut self, env: &E, view: &Slot) -> io::Result<Next> {
        let at = self.at();
        if at == self.end {
            return Ok(Next::End);
        }
        let room = self.end.wrapping_sub(at);
        if !self.overflow {
            // A record over the buffer's size goes to the overflow file; in a ring it is not ours.
            let frame = view.frame(at, room).filter(|f| f.len as usize <= BUF_BYTES);
            return Ok(frame.map_or(Next::Corrupt, Next::Frame));
        }
        let mut head = [0; FRAME_HEADER as usize];
        if self.fill(env, at, head.len())? {
            let from = (at - self.piece_at) as usize;
            head.copy_from_slice(&self.piece[from..from + FRAME_HEADER as usize]);
            // A file that ends within a record is damaged: to wait for the rest would stop everybody's log.
            if let Some(frame) = Frame::decode(&head, room)
                && self.is_whole(env, at, &frame)?
            {
                return Ok(Next::Frame(frame));
            }
        }
        Ok(Next::Corrupt)
    }

    /// True if all of an overflow record can be read.
    fn is_whole<E: Env>(&mut self, env: &E, at: u64, frame: &Frame) -> io::Result<bool> {
        if frame.len as usize <= BUF_BYTES {
            return self.fill(env, at, FRAME_HEADER as usize + frame.len as usize);
        }
        let last = at.wrapping_add(FRAME_HEADER + u64::from(frame.len) - 1);
        Ok(env.overflow_read(self.entry.slot, last, &mut [0])? == 1)
    }

    /// Makes `len` overflow bytes at `at` available in `piece`.
    fn fill<E: Env>(&mut self, env: &E, at: u64, len: usize) -> io::Result<bool> {
        let from = at.wrapping_sub(self.piece_at);
        if from <= self.piece.len() as u64 && len as u64 <= self.piece.len() as u64 - from {
            return Ok(true);
        }
        let want = usize::try_from(self.end.wrapping_sub(at)).unwrap_or(PIECE).min(PIECE);
        self.piece.resize(want, 0);
        self.piece_at = at;
        let mut done = 0;
        while done < want {
            match env.overflow_read(self.entry.slot, at.wrapping_add(done as u64), &mut self.piece[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.piece.truncate(done);
        Ok(len <= done)
    }

    fn advance(&mut self, frame: &Frame) {
        if self.overflow {
            self.entry.over_tail = self.entry.over_tail.wrapping_add(frame.span());
        } else {
            self.entry.tail = self.entry.tail.wrapping_add(frame.span());
        }
        self.taken = true;
    }
}

/// Gathers batches; keeps its memory between them.
#[derive(Debug, Default)]
pub struct Gatherer {
    cursors: Vec<Cursor>,
    heap: BinaryHeap<Reverse<(u64, u16, u32)>>,
    /// The frame each cursor stands on.
    frames: Vec<Frame>,
    clock: Clock,
}

/// Stamps from shared memory, no later than a second from now: one bad word must not cut the file into the far future.
/// The clock is asked only when a stamp is beyond what an earlier look allows: once a second instead of once a batch.
#[derive(Debug, Default)]
struct Clock {
    seen: u64,
}

impl Clock {
    const SLACK: u64 = 1_000_000_000;

    #[inline]
    fn stamp<E: Env>(&mut self, env: &E, frame: &Frame) -> u64 {
        if frame.stamp > self.seen + Self::SLACK {
            self.seen = env.now_ns();
        }
        frame.stamp.min(self.seen + Self::SLACK)
    }
}

impl Gatherer {
    /// Fills `batch` from the slots in `pending`; takes out of `pending` those that have nothing more.
    ///
    /// # Errors
    /// What reading an overflow file says.
    pub fn gather<E: Env>(
        &mut self,
        env: &E,
        pending: &mut Slots,
        end: u64,
        policy: &impl Policy,
        batch: &mut Batch,
    ) -> io::Result<()> {
        batch.clear();
        self.cursors.clear();
        self.heap.clear();
        self.frames.clear();
        for slot in pending.clone().iter().take(NOTE_ENTRIES) {
            if !env.can_reach(slot) {
                return Err(io::Error::from_raw_os_error(libc::EMFILE));
            }
            let Some(view) = env.slot(slot) else {
                pending.remove(slot);
                continue;
            };
            let mut cursor = Cursor::open(slot, view);
            if !announce(env, view, &mut cursor, end, policy, batch) {
                batch.cut = Some(env.now_ns());
                break;
            }
            match cursor.next(env, view)? {
                Next::Frame(frame) => {
                    let time = self.clock.stamp(env, &frame);
                    self.heap.push(Reverse((time, slot, self.cursors.len() as u32)));
                    self.frames.push(frame);
                    self.cursors.push(cursor);
                }
                Next::End if cursor.taken => {
                    pending.remove(slot);
                    self.frames.push(Frame { len: 0, level: 0, stamp: 0, crc: 0 });
                    self.cursors.push(cursor);
                }
                Next::End => pending.remove(slot),
                Next::Corrupt => self.set_aside(cursor, batch),
            }
        }
        if batch.cut.is_none() {
            self.merge(env, pending, end, policy, batch)?;
        }
        for cursor in &self.cursors {
            if cursor.taken {
                batch.entries.push(cursor.entry);
            }
        }
        Ok(())
    }

    fn merge<E: Env>(
        &mut self,
        env: &E,
        pending: &mut Slots,
        end: u64,
        policy: &impl Policy,
        batch: &mut Batch,
    ) -> io::Result<()> {
        let mine = env.slot(env.me()).expect("own slot is mapped");
        while let Some(Reverse((mut time, slot, index))) = self.heap.pop() {
            let cursor = &mut self.cursors[index as usize];
            let frame = &mut self.frames[index as usize];
            let view = env.slot(slot).expect("mapped when the cursor was opened");
            // A run: as long as this slot has the oldest record, nobody else needs to be asked.
            let limit = self.heap.peek().map(|Reverse((time, slot, _))| (*time, *slot));
            loop {
                if policy.cuts(end + batch.bytes(), u64::from(frame.len), time) {
                    batch.cut = Some(time);
                    return Ok(());
                }
                // A full buffer takes no empty record either: its start would not fit 16 bits.
                let full = batch.len == BUF_BYTES || batch.starts.len() == NOTE_STARTS;
                if full || batch.len + frame.len as usize > BUF_BYTES {
                    if frame.len as usize > BUF_BYTES && batch.len == 0 && cursor.overflow {
                        let at = cursor.entry.over_tail.wrapping_add(FRAME_HEADER);
                        batch.large = Some(Large { slot, at, len: u64::from(frame.len) });
                        cursor.advance(frame);
                    }
                    return Ok(());
                }
                batch.starts.push(batch.len as u16);
                if cursor.overflow {
                    if !cursor.fill(env, cursor.at(), FRAME_HEADER as usize + frame.len as usize)? {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the overflow file is cut short"));
                    }
                    let from = (cursor.at() - cursor.piece_at) as usize + FRAME_HEADER as usize;
                    mine.buf_put(batch.len, &cursor.piece[from..from + frame.len as usize]);
                } else {
                    mine.buf_take(batch.len, view, cursor.entry.tail, frame);
                }
                batch.len += frame.len as usize;
                cursor.advance(frame);
                match cursor.next(env, view)? {
                    Next::Frame(next) => *frame = next,
                    Next::End => {
                        // Whatever is published from here on sets the bit anew: it was swapped before `head` was read.
                        if !cursor.more {
                            pending.remove(slot);
                        }
                        break;
                    }
                    Next::Corrupt => {
                        batch.corrupt.push(slot);
                        break;
                    }
                }
                time = self.clock.stamp(env, frame).max(time);
                if limit.is_some_and(|limit| (time, slot) > limit) {
                    self.heap.push(Reverse((time, slot, index)));
                    break;
                }
            }
        }
        Ok(())
    }

    /// A slot whose bytes are no frames: skip all it has published, and say so. Nothing of it can be read.
    fn set_aside(&mut self, mut cursor: Cursor, batch: &mut Batch) {
        batch.corrupt.push(cursor.entry.slot);
        if cursor.overflow {
            cursor.entry.over_tail = cursor.end;
        } else {
            cursor.entry.tail = cursor.end;
        }
        cursor.taken = true;
        self.frames.push(Frame { len: 0, level: 0, stamp: 0, crc: 0 });
        self.cursors.push(cursor);
    }
}

/// The line that says how many records a process had to drop.
pub fn announcement(count: u64, pid: u64) -> String {
    format!("everyline: {count} records of process {pid} were dropped: no room in ring and overflow\n")
}

/// Puts a line into the batch that says how many records a process had to drop. The count travels in the note, so a
/// crash neither repeats nor loses it. False if the line belongs into the next file.
fn announce<E: Env>(
    env: &E,
    view: &Slot,
    cursor: &mut Cursor,
    end: u64,
    policy: &impl Policy,
    batch: &mut Batch,
) -> bool {
    let dropped = view.header().producer.dropped.load(Ordering::Relaxed);
    let count = dropped.wrapping_sub(cursor.entry.announced);
    if count == 0 {
        return true;
    }
    let pid = view.header().identity.pid.load(Ordering::Relaxed);
    let line = announcement(count, pid);
    if policy.cuts(end + batch.bytes(), line.len() as u64, 0) {
        return false;
    }
    // At most NOTE_ENTRIES short lines, so buffer and starts have room.
    env.slot(env.me()).expect("own slot is mapped").buf_put(batch.len, line.as_bytes());
    batch.starts.push(batch.len as u16);
    batch.len += line.len();
    cursor.entry.announced = dropped;
    cursor.taken = true;
    true
}

/// A batch as recovery reads it: from the note, wherever it stands.
pub struct NoteSource<'a, E: Env> {
    /// The world.
    pub env: &'a E,
    /// The slot with note and buffer.
    pub slot: &'a Slot,
    /// Overflow slot and offset, if the batch is one large record.
    pub large: Option<(u16, u64)>,
    /// Length.
    pub len: u64,
}

impl<E: Env> Source for NoteSource<'_, E> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let Some((slot, offset)) = self.large else {
            let from = at as usize;
            out.copy_from_slice(self.slot.buf(from, from + out.len()));
            return Ok(());
        };
        let mut done = 0;
        while done < out.len() {
            match self.env.overflow_read(slot, offset.wrapping_add(at + done as u64), &mut out[done..]) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the overflow file is cut short")),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
