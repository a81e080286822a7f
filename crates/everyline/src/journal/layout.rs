//! The bytes of the journal, as every process sees them.
//!
//! Promise: sizes and offsets here are the format (checked at compile time below, and against a golden image in the
//! tests); changing one means a new [`LAYOUT_VERSION`]. Every field is an atomic, so any bytes are valid and any process
//! may change them at any time: whoever reads a value copies it and checks the copy before use.
//! Which process may write a word is said beside it; "holder" is the process that holds the lease.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::protocol::dirty::{Dirty, WORDS};
use crate::protocol::lease::Lease;

/// First eight bytes of `control` and of every slot file.
pub const MAGIC: u64 = u64::from_le_bytes(*b"evryline");
/// Version of everything below.
pub const LAYOUT_VERSION: u64 = 2;
/// Written in native order: another architecture reads another number.
pub const BYTE_ORDER: u64 = 0x0102_0304_0506_0708;
/// Stored last when a journal has been built.
pub const READY: u64 = u64::from_le_bytes(*b"READY!!\n");

/// Most processes on one log.
pub const SLOTS: usize = WORDS * 64;
/// Size of the control file.
pub const CONTROL_BYTES: usize = 4096;
/// Bytes that one commit can carry.
pub const BUF_BYTES: usize = 64 << 10;
/// Slots that one commit can take from.
pub const NOTE_ENTRIES: usize = 256;
/// Records that one commit can carry.
pub const NOTE_STARTS: usize = 4096;
/// Longest file name, and so the room for one in a note.
pub const NAME_BYTES: usize = 256;

/// Where things stand in a slot file.
pub const NOTE_OFFSET: usize = 4096;
/// See [`NOTE_OFFSET`].
pub const BUF_OFFSET: usize = NOTE_OFFSET + 20 * 1024;
/// See [`NOTE_OFFSET`].
pub const RING_OFFSET: usize = BUF_OFFSET + BUF_BYTES;

/// Keeps words with different writers on different cache lines (128: adjacent-line prefetch).
#[repr(C, align(128))]
#[derive(Debug)]
pub struct Line<T>(pub T);

impl<T> std::ops::Deref for Line<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Who a journal is. Written once by its builder under the exclusive lock, `ready` last; its place is frozen for all
/// future layouts.
#[repr(C)]
#[derive(Debug)]
pub struct Identity {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`LAYOUT_VERSION`].
    pub version: AtomicU64,
    /// [`BYTE_ORDER`].
    pub byte_order: AtomicU64,
    /// Features that an older program may ignore; none yet.
    pub compatible: AtomicU64,
    /// Features that an older program must refuse; none yet.
    pub incompatible: AtomicU64,
    /// The control file's own device, inode and birth time: a copy cannot have them.
    pub own: [AtomicU64; 3],
    /// Random.
    pub uuid: [AtomicU64; 2],
    /// The kernel's boot id: after a restart nothing in memory was released by anybody.
    pub boot: [AtomicU64; 2],
    /// Device and inode of the directory of the log.
    pub log_directory: [AtomicU64; 2],
    /// Ring size of every slot.
    pub ring_bytes: AtomicU64,
    /// [`SLOTS`] of the builder.
    pub slots: AtomicU64,
    /// When it was built, Unix time in ns.
    pub built_ns: AtomicU64,
    /// [`READY`], stored last.
    pub ready: AtomicU64,
}

/// The live file as the holders know it. Holder only; `epoch` is stored last.
#[repr(C)]
#[derive(Debug)]
pub struct FileState {
    /// Grows with every change of the live file.
    pub epoch: AtomicU64,
    /// Device, inode, birth time in ns.
    pub id: [AtomicU64; 3],
    /// End of file as tracked: a lower bound while others append.
    pub end: AtomicU64,
    /// Unix time in s of the next rotation by time; 0: not set.
    pub rollover_at: AtomicU64,
    /// `settings_version` for which `rollover_at` was computed.
    pub rollover_for: AtomicU64,
    /// Where the file ended when it was last seen under its name.
    pub verified_end: AtomicU64,
    /// Coarse ms until which this file is not rotated, because processes of another journal may write to it; 0: not set.
    pub contested_until_ms: AtomicU64,
    /// Not 0: a step of the application's is under way, or its process died in it: the file may have been rotated by it.
    pub stepping: AtomicU64,
}

/// Back-off and news. Holder only, unless said otherwise.
#[repr(C)]
#[derive(Debug)]
pub struct Trouble {
    /// Coarse ms before which a failed write is not tried again; 0: none failed.
    pub retry_at_ms: AtomicU64,
    /// The wait that led to it, doubled each time.
    pub retry_wait_ms: AtomicU64,
    /// errno and operation (see `protocol::trouble`) of the last failure; kept for `status`.
    pub last_error: AtomicU64,
    /// Failures so far.
    pub errors: AtomicU64,
    /// Coarse ms before which a failed rotation is not tried again.
    pub rotate_retry_at_ms: AtomicU64,
    /// Rotations done.
    pub rotations: AtomicU64,
    /// Rotations that failed.
    pub rotations_failed: AtomicU64,
    /// Coarse ms when the path of the log was last looked at.
    pub path_seen_ms: AtomicU64,
}

/// Words by which processes tell each other something. Anybody, read-modify-write.
#[repr(C)]
#[derive(Debug)]
pub struct Wishes {
    /// Not 0: this journal is no longer the one at its path; drain it and attach again.
    pub moved: AtomicU64,
    /// Grows when the `settings` file was replaced.
    pub settings_version: AtomicU64,
    /// Grows with each wish to look at the log's path before the next write.
    pub reopen: AtomicU64,
    /// Grows with each wish for a rotation now.
    pub rotate: AtomicU64,
    /// The wishes the holders have fulfilled. Holder only.
    pub reopen_done: AtomicU64,
    /// See `reopen_done`.
    pub rotate_done: AtomicU64,
    /// Slots that were ever used are below this.
    pub high_water: AtomicU64,
    /// Where the next attaching process looks for a dead slot.
    pub reap_cursor: AtomicU64,
}

/// Live files that lost their names to somebody else may wait for whoever has them open, so many at a time.
pub const ORPHANS: usize = 4;

/// A live file that lost its name, until what was written to it afterwards is rescued. Holder only.
#[repr(C)]
#[derive(Debug)]
pub struct Orphan {
    /// Device, inode, birth time in ns; zeros: none.
    pub id: [AtomicU64; 3],
    /// Where that begins.
    pub from: AtomicU64,
}

/// How far the log is known to be on disk. Anybody, after a successful sync.
#[repr(C)]
#[derive(Debug)]
pub struct Synced {
    /// `epoch:20 | offset:44`: everything before it is on disk.
    pub upto: AtomicU64,
    /// Not 0: a sync failed with EIO; the next holder starts a new file.
    pub failed: AtomicU64,
    /// Files of epochs before this one could not be synced, and are not written any more.
    pub lost_upto: AtomicU64,
    /// Files of epochs before this one were left without a sync. Holder only.
    pub unsynced_upto: AtomicU64,
}

/// The note of a chore (see `protocol::chores`), and what is remembered of archives. Holder only, `form` stored last.
#[repr(C)]
#[derive(Debug)]
pub struct Chores {
    /// 0: nothing pends. 1, 2: `zip` is the gzip, the zstd form of `source` and takes its place.
    pub form: AtomicU64,
    /// The archive: device, inode, birth time.
    pub source: [AtomicU64; 3],
    /// Its compressed form.
    pub zip: [AtomicU64; 3],
    /// Highest number that a sequence name was given.
    pub sequence: AtomicU64,
    /// Archives compressed.
    pub compressed: AtomicU64,
    /// Archives deleted for their age or their size.
    pub retired: AtomicU64,
}

/// The control file.
#[repr(C)]
#[derive(Debug)]
pub struct Control {
    /// Frozen prefix.
    pub identity: Line<Identity>,
    /// The writer lease.
    pub lease: Line<Lease>,
    /// Coarse monotonic ms of the holder's last progress. Holder only.
    pub beat: Line<AtomicU64>,
    /// The live file.
    pub file: Line<FileState>,
    /// Failures and counters.
    pub trouble: Line<Trouble>,
    /// Requests.
    pub wishes: Line<Wishes>,
    /// Durability.
    pub synced: Line<Synced>,
    /// What was published.
    pub dirty: Line<Dirty>,
    /// Slots that a process has claimed: a hint that spares probing, never an authority.
    pub claimed: Line<[AtomicU64; WORDS]>,
    /// Archives.
    pub chores: Line<Chores>,
    /// Files that lost their names.
    pub orphans: Line<[Orphan; ORPHANS]>,
}

/// First page of a slot file.
#[repr(C)]
#[derive(Debug)]
pub struct SlotHeader {
    /// Whose it is.
    pub identity: Line<SlotIdentity>,
    /// Words of the producer.
    pub producer: Line<Producer>,
    /// Words of the holder.
    pub consumer: Line<Consumer>,
    /// Who waits for the holder to take something.
    pub waiters: Line<Waiters>,
}

/// Written when the slot file is made; the rest by each process that attaches to it.
#[repr(C)]
#[derive(Debug)]
pub struct SlotIdentity {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`LAYOUT_VERSION`].
    pub version: AtomicU64,
    /// The journal's uuid.
    pub uuid: [AtomicU64; 2],
    /// Its own number.
    pub index: AtomicU64,
    /// For people only: pid as the process sees itself.
    pub pid: AtomicU64,
    /// For people only: when it attached, Unix time in ns.
    pub attached_ns: AtomicU64,
    /// [`READY`], stored last when the file is made.
    pub ready: AtomicU64,
    /// The slot file's own inode and birth time: a copy cannot have them.
    pub own: [AtomicU64; 2],
}

/// Producer only (its process, under its ring mutex).
#[repr(C)]
#[derive(Debug)]
pub struct Producer {
    /// Ring bytes published since the slot exists; never goes back.
    pub head: AtomicU64,
    /// Overflow bytes published since the slot exists.
    pub over_len: AtomicU64,
    /// Stamp of the last record, so that stamps never go back.
    pub last_stamp: AtomicU64,
    /// Records published.
    pub records: AtomicU64,
    /// Payload bytes published.
    pub bytes: AtomicU64,
    /// Records dropped by policy.
    pub dropped: AtomicU64,
    /// Inode of the overflow file.
    pub over_inode: AtomicU64,
}

/// Holder only.
#[repr(C)]
#[derive(Debug)]
pub struct Consumer {
    /// Ring bytes taken.
    pub tail: AtomicU64,
    /// Overflow bytes taken.
    pub over_tail: AtomicU64,
    /// Dropped records that have been announced in the log.
    pub announced: AtomicU64,
}

/// Bounded sleeps of the producer.
#[repr(C)]
#[derive(Debug)]
pub struct Waiters {
    /// Threads of the slot's process that sleep on `turn`. Producer.
    pub count: AtomicU32,
    /// Futex word; grows when the holder has taken something. Holder.
    pub turn: AtomicU32,
}

/// One slot of a batch: what its words become when the batch is in the file.
#[repr(C)]
#[derive(Debug)]
pub struct NoteEntry {
    /// The slot.
    pub slot: AtomicU64,
    /// Its new tail.
    pub tail: AtomicU64,
    /// Its new overflow tail.
    pub over_tail: AtomicU64,
    /// Its new count of announced drops.
    pub announced: AtomicU64,
}

/// What the holder is about to do: enough for any other process to finish it. Its process only, as holder or before it
/// takes the lease over.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct Note {
    /// [`Phase`], stored last.
    pub phase: AtomicU64,
    /// The file: device, inode, birth time.
    pub id: [AtomicU64; 3],
    /// `off:48 | skip:16`: bytes `skip..` of the batch belong at `off` of the file. One word, so one store changes both.
    pub at: AtomicU64,
    /// Length of the batch in bytes.
    pub len: AtomicU64,
    /// 0: the batch stands in the buffer. Otherwise slot + 1 of the overflow file it stands in.
    pub source: AtomicU64,
    /// Where in the overflow file.
    pub source_at: AtomicU64,
    /// Entries in use.
    pub entries: AtomicU64,
    /// Record starts in use.
    pub starts: AtomicU64,
    /// CUT: `rollover_at` after it.
    pub next_rollover_at: AtomicU64,
    /// CUT: length of the name.
    pub name_len: AtomicU64,
    /// CUT: base name of the archive.
    pub name: [AtomicU64; NAME_BYTES / 8],
    /// WRITE: the slots of the batch.
    pub entry: [NoteEntry; NOTE_ENTRIES],
    /// WRITE: offset of each record in the buffer, four to a word.
    pub start: [AtomicU64; NOTE_STARTS / 4],
}

/// Phase of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Phase {
    /// Nothing pends.
    Idle = 0,
    /// A batch is being written.
    Write = 1,
    /// A batch is in the file; tails are being moved.
    Written = 2,
    /// The live file is being renamed and made anew.
    Cut = 3,
}

impl Note {
    /// The phase. Anything unknown counts as idle: the rings still hold what matters.
    pub fn phase(&self) -> Phase {
        // Acquire pairs with `set_phase`.
        match self.phase.load(Ordering::Acquire) {
            1 => Phase::Write,
            2 => Phase::Written,
            3 => Phase::Cut,
            _ => Phase::Idle,
        }
    }

    /// Stores the phase after everything that belongs to it.
    pub fn set_phase(&self, phase: Phase) {
        // Release pairs with the acquire in `phase` of a successor.
        self.phase.store(phase as u64, Ordering::Release);
    }
}

const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Control>() <= CONTROL_BYTES);
    assert!(size_of::<SlotHeader>() <= NOTE_OFFSET);
    assert!(size_of::<Note>() <= BUF_OFFSET - NOTE_OFFSET);
    assert!(RING_OFFSET.is_multiple_of(4096) && BUF_OFFSET.is_multiple_of(4096));
    assert!(BUF_BYTES <= 1 << 16, "a start fits 16 bits");
    assert!(size_of::<Identity>() == 18 * 8 && offset_of!(Identity, ready) == 17 * 8);
    assert!(offset_of!(Control, lease) == 256 && offset_of!(Control, beat) == 384);
    assert!(offset_of!(Control, file) == 512 && offset_of!(Control, trouble) == 640);
    assert!(offset_of!(Control, wishes) == 768 && offset_of!(Control, synced) == 896);
    assert!(offset_of!(Control, dirty) == 1024 && offset_of!(Control, claimed) == 1152);
    assert!(offset_of!(Control, chores) == 1280 && offset_of!(Control, orphans) == 1408);
    assert!(offset_of!(SlotHeader, producer) == 128 && offset_of!(SlotHeader, consumer) == 256);
    assert!(offset_of!(SlotHeader, waiters) == 384);
    assert!(offset_of!(Note, at) == 32 && offset_of!(Note, name) == 96 && offset_of!(Note, entry) == 352);
    assert!(offset_of!(Note, start) == 352 + NOTE_ENTRIES * 32);
};
