//! One process on one log: publishing records, making room, waiting.
//!
//! Promise: when [`Engine::append`] returns `Ok`, the record survives the death of every process (it stands in the ring
//! or overflow file, published), and in write-through mode somebody is responsible for it this very moment. It never
//! waits for another process or for space beyond the user's bound, once per incident. Threads of the process share one
//! ring under a short lock in which nothing waits, allocates or enters the kernel (overflow excepted).

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::attach::Leaving;
use crate::deferred::Thread;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::ForkCell;
use crate::journal::layout::BUF_BYTES;
use crate::journal::slot::{FRAME_HEADER, Frame, span};
use crate::options::{Commit, Fsync, Full, Options};
use crate::os;
use crate::protocol::commit::{Committer, Effort, Looked};
use crate::protocol::env::Env;
use crate::protocol::lease::State;
use crate::protocol::step::Step;
use crate::protocol::trouble::{Failure, Operation, record_failure};
use crate::real::Real;
use crate::sync::fence_after_rmw;

/// A full ring is waited for this long before the overflow file is used. Longer than a holder waits for a processor
/// where many compete for few (measured: 64 processes on two, with others at work, 20 ms sent every record there).
const RING_PATIENCE: Duration = Duration::from_millis(100);
/// Longest single sleep: a dead holder wakes nobody.
const SLICE_MS: u64 = 2;

/// Positions up to which a caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    head: u64,
    over_len: u64,
}

/// The producer's private state, under the ring lock.
#[derive(Debug, Default)]
struct Ring {
    /// Since when records go to the overflow file: until ring and overflow are drained.
    overflowing: Option<Instant>,
    /// Where the holder stood when a wait ran into its bound: until it moves, nobody waits again.
    gave_up: Option<(u64, u64)>,
}

impl Ring {
    /// True while it is better to wait for the overflow file to be drained than to lengthen it, which costs ten times
    /// what the ring costs and goes on for as long as records come in: at its beginning, and for a moment each second.
    fn may_drain(&self) -> bool {
        self.overflowing.is_none_or(|since| since.elapsed().subsec_millis() < RING_PATIENCE.as_millis() as u32)
    }
}

/// Where an attempt to publish ended.
enum Attempt {
    Done(Mark),
    /// No room in the ring.
    RingFull,
    /// No room in the overflow file, or it cannot be written.
    OverflowFull,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    pub(crate) env: Real,
    pub(crate) options: Options,
    ring: ForkCell<Ring>,
    committer: ForkCell<Option<Committer<Real>>>,
    pub(crate) thread: Thread,
    /// Epoch of the live file at the last sync.
    sync_epoch: ForkCell<Option<u64>>,
    synced_at_ms: AtomicU64,
    wants_sync: AtomicBool,
    /// Calls that had to wait for room.
    pub(crate) waited: AtomicU64,
    /// Of the last overflow write that failed, for the message of a drop.
    overflow_errno: AtomicU32,
    /// Last: dropped after everything else.
    pub(crate) leaving: Leaving,
}

impl Engine {
    /// An engine over an attached journal.
    pub fn new(env: Real, options: Options) -> Self {
        Self {
            env,
            options,
            ring: ForkCell::new(),
            committer: ForkCell::new(),
            thread: Thread::default(),
            sync_epoch: ForkCell::new(),
            synced_at_ms: AtomicU64::new(0),
            wants_sync: AtomicBool::new(false),
            waited: AtomicU64::new(0),
            overflow_errno: AtomicU32::new(0),
            leaving: Leaving::default(),
        }
    }

    /// After [`publish`](Self::publish): sees to it that the record is committed, and waits where the options say so. The
    /// record is accepted, whatever comes out.
    ///
    /// # Errors
    /// From a sync that the fsync policy asks for.
    pub fn settle(&self, level: u8, mark: Mark) -> Result<()> {
        let urgent = level >= self.options.urgent_level;
        if self.options.commit == Commit::Deferred && !urgent {
            self.thread.notify(self);
        } else {
            self.commit(Effort::Call);
        }
        if self.options.fsync.is_due_at(level) {
            return self.sync_at_once(mark);
        }
        if let Fsync::Interval(every) = self.options.fsync {
            self.sync_if_due(every);
        }
        if urgent {
            self.wait_urgent(mark);
        }
        Ok(())
    }

    /// An urgent record is waited for, once per incident: while the holder takes nothing since the last wait ran out,
    /// nobody waits again. Not an error: the record is safe in the journal.
    fn wait_urgent(&self, mark: Mark) {
        if self.reached(mark) || self.has_given_up() {
            return;
        }
        if self.wait_for(mark).is_err() {
            self.waited.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// For a record that the policy wants on disk: waits for a holder without progress once per incident, too.
    fn sync_at_once(&self, mark: Mark) -> Result<()> {
        if !self.reached(mark) && self.has_given_up() {
            return Err(self.timed_out(self.commit(Effort::Drain)));
        }
        self.sync_from(mark)
    }

    /// True while the holder takes nothing since a wait ran into its bound.
    fn has_given_up(&self) -> bool {
        self.ring.lock().gave_up == Some(self.taken())
    }

    /// Puts one record into the ring or the overflow file: from then on it is accepted.
    ///
    /// # Errors
    /// `Dropped` by policy; `RecordTooLarge`; `NotAttached` if the journal went away meanwhile.
    pub fn publish(&self, level: u8, record: &[u8]) -> Result<Mark> {
        if span(record.len() as u64) > self.options.overflow_bytes || u32::try_from(record.len()).is_err() {
            let hint = format!("{} bytes; overflow_bytes is {}", record.len(), self.options.overflow_bytes);
            return Err(Error::new(ErrorKind::RecordTooLarge, "append to", &self.env.log.path, hint));
        }
        let frame = Frame { len: record.len() as u32, level, stamp: 0, crc: crc32c::crc32c(record) };
        let mut ring = self.ring.lock();
        if let Attempt::Done(mark) = self.try_ring(&mut ring, frame, record) {
            return Ok(mark);
        }
        drop(ring);
        self.publish_slowly(frame, record)
    }

    /// [`publish`](Self::publish) for callers that hold a lock which is not ours: no wait and no system call. `None`:
    /// nothing was done, the ring is full or busy.
    pub fn publish_at_once(&self, level: u8, record: &[u8]) -> Option<Mark> {
        if record.len() > BUF_BYTES {
            return None;
        }
        let frame = Frame { len: record.len() as u32, level, stamp: 0, crc: crc32c::crc32c(record) };
        match self.try_ring(&mut *self.ring.try_lock()?, frame, record) {
            Attempt::Done(mark) => Some(mark),
            _ => None,
        }
    }

    /// True if [`settle`](Self::settle) would do nothing for a record just published.
    #[inline]
    pub fn is_settled(&self, level: u8) -> bool {
        self.options.commit == Commit::Deferred
            && level < self.options.urgent_level
            && matches!(self.options.fsync, Fsync::Never | Fsync::OnRotation)
            && !self.env.is_lost()
            && self.thread.is_at_work(self)
    }

    /// P1 to P4 into the ring.
    #[inline]
    fn try_ring(&self, ring: &mut Ring, frame: Frame, record: &[u8]) -> Attempt {
        let slot = self.env.own();
        let words = slot.header();
        let head = words.producer.head.load(Ordering::Relaxed);
        // Acquire pairs with the release store of the holder: what it copied is no longer needed.
        let tail = words.consumer.tail.load(Ordering::Acquire);
        if ring.overflowing.is_some() {
            let over_len = words.producer.over_len.load(Ordering::Relaxed);
            if tail != head || words.consumer.over_tail.load(Ordering::Acquire) != over_len {
                return Attempt::RingFull;
            }
            ring.overflowing = None;
        }
        let free = slot.ring_bytes() - head.wrapping_sub(tail).min(slot.ring_bytes());
        if record.len() > BUF_BYTES || frame.span() > free {
            return Attempt::RingFull;
        }
        let frame = self.stamped(frame);
        slot.ring_write(head, &frame.encode());
        slot.ring_write(head + FRAME_HEADER, record);
        self.env.step(Step::PublishCopied);
        // Release: the frame before the position that gives it away (I3).
        words.producer.head.store(head + frame.span(), Ordering::Release);
        self.env.step(Step::PublishHead);
        self.published(record.len());
        Attempt::Done(Mark { head: head + frame.span(), over_len: words.producer.over_len.load(Ordering::Relaxed) })
    }

    /// P1 for a full ring, or a record larger than it.
    fn try_overflow(&self, ring: &mut Ring, frame: Frame, record: &[u8]) -> Attempt {
        let words = self.env.own().header();
        let at = words.producer.over_len.load(Ordering::Relaxed);
        let used = at - words.consumer.over_tail.load(Ordering::Acquire).min(at);
        let head = words.producer.head.load(Ordering::Relaxed);
        if used + frame.span() > self.options.overflow_bytes {
            return Attempt::OverflowFull;
        }
        let frame = self.stamped(frame);
        let mut bytes = Vec::with_capacity(frame.span() as usize);
        bytes.extend_from_slice(&frame.encode());
        bytes.extend_from_slice(record);
        bytes.resize(frame.span() as usize, 0);
        if let Err(e) = self.overflow_write(&bytes, at) {
            self.overflow_errno.store(e.raw_os_error().unwrap_or(libc::EIO) as u32, Ordering::Relaxed);
            return Attempt::OverflowFull;
        }
        ring.overflowing.get_or_insert_with(Instant::now);
        self.env.step(Step::OverflowWritten);
        words.producer.over_len.store(at + frame.span(), Ordering::Release);
        self.published(record.len());
        Attempt::Done(Mark { head, over_len: at + frame.span() })
    }

    fn overflow_write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let handle = self.env.own_overflow(true)?;
        let file = std::fs::File::from(rustix::io::fcntl_dupfd_cloexec(handle.fd(), 0)?);
        file.write_all_at(bytes, at)
    }

    /// Stamps never go back, also when the clock does (P4).
    #[inline]
    fn stamped(&self, frame: Frame) -> Frame {
        let last = &self.env.own().header().producer.last_stamp;
        let stamp = os::wall_ns().max(last.load(Ordering::Relaxed).min(os::MAX_STAMP));
        last.store(stamp, Ordering::Relaxed);
        Frame { stamp, ..frame }
    }

    #[inline]
    fn published(&self, len: usize) {
        let producer = &self.env.own().header().producer;
        // One writer (ring lock), so no read-modify-write.
        producer.records.store(producer.records.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        producer.bytes.store(producer.bytes.load(Ordering::Relaxed) + len as u64, Ordering::Relaxed);
        self.env.control().dirty.mark(self.env.me());
    }

    /// No room at once: make some, wait, overflow, or apply the policy.
    #[cold]
    fn publish_slowly(&self, frame: Frame, record: &[u8]) -> Result<Mark> {
        self.waited.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let never_fits = record.len() > BUF_BYTES || span(record.len() as u64) > self.env.own().ring_bytes();
        let mut stuck = false;
        loop {
            let mut ring = self.ring.lock();
            if let Attempt::Done(mark) = self.try_ring(&mut ring, frame, record) {
                return Ok(mark);
            }
            let overflow =
                never_fits || stuck || started.elapsed() >= RING_PATIENCE.min(self.options.wait) || !ring.may_drain();
            if overflow && let Attempt::Done(mark) = self.try_overflow(&mut ring, frame, record) {
                return Ok(mark);
            }
            let gave_up = overflow && ring.gave_up == Some(self.taken());
            let overflowing = ring.overflowing.is_some();
            drop(ring);
            let looked = self.commit(Effort::Drain);
            if looked == Looked::Clean && !overflow {
                continue;
            }
            // A holder without progress mostly waits for a processor, on a busy machine for more than `BEAT_MS`.
            stuck |= matches!(looked, Looked::Failed(_)) || overflowing && matches!(looked, Looked::Stuck(_));
            if stuck && !overflow {
                continue;
            }
            let waited_out = gave_up || started.elapsed() >= self.options.wait;
            let drops = overflow && waited_out && self.options.full == Full::Drop;
            // Where nobody gets to write, nobody looks at the journal: there may be room in the one at its path.
            if drops {
                self.env.journal_is_current();
            } else {
                self.env.watch();
            }
            if self.env.is_lost() {
                return Err(lost(&self.env));
            }
            if drops {
                return Err(self.drop_record());
            }
            let before = self.taken();
            self.env.wait_turn(|| self.taken() != before, SLICE_MS);
        }
    }

    /// How far the holder has taken our records.
    fn taken(&self) -> (u64, u64) {
        let words = &self.env.own().header().consumer;
        (words.tail.load(Ordering::Acquire), words.over_tail.load(Ordering::Acquire))
    }

    fn drop_record(&self) -> Error {
        let mut ring = self.ring.lock();
        ring.gave_up = Some(self.taken());
        let dropped = &self.env.own().header().producer.dropped;
        dropped.store(dropped.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // So that the holder comes by and announces it.
        self.env.control().dirty.mark(self.env.me());
        let errno = self.overflow_errno.swap(0, Ordering::Relaxed) as i32;
        let why = match errno {
            0 => "ring and overflow are full".to_owned(),
            errno => format!("ring full, overflow not writable: {}", io::Error::from_raw_os_error(errno)),
        };
        let hint = format!("{why}; dropped and counted after waiting {:?} (policy `drop`)", self.options.wait);
        Error::new(ErrorKind::Dropped, "append to", &self.env.log.path, hint)
    }

    /// LOOK, by whichever thread of this process comes first. A thread that finds another one at it leaves: the other
    /// looks once more after it has let go (the same argument as for the lease, I2).
    pub fn commit(&self, effort: Effort) -> Looked {
        loop {
            // Orders this thread's mark (a read-modify-write, or a load that found it set) before its look at the lock.
            // Pairs with the fence below.
            fence_after_rmw();
            let Some(mut committer) = self.committer.try_lock() else { return Looked::Busy };
            let looked = committer.get_or_insert_with(|| Committer::new(&self.env)).look(&self.env, effort);
            drop(committer);
            // Orders the unlock (a read-modify-write) before the look at the marks of threads that found it locked.
            fence_after_rmw();
            match looked {
                Looked::Failed(_) => return looked,
                _ if self.env.control().dirty.any() && self.env.control().lease.load().state() == State::Free => {}
                _ => return looked,
            }
        }
    }

    /// Time to wake the background thread before its nap is over.
    pub(crate) fn ring_is_half_full(&self) -> bool {
        let words = self.env.own().header();
        let used =
            words.producer.head.load(Ordering::Relaxed).wrapping_sub(words.consumer.tail.load(Ordering::Relaxed));
        used > self.env.own().ring_bytes() / 2
    }

    /// What has been published by this process so far.
    pub fn mark(&self) -> Mark {
        let producer = &self.env.own().header().producer;
        Mark { head: producer.head.load(Ordering::Acquire), over_len: producer.over_len.load(Ordering::Acquire) }
    }

    pub(crate) fn reached(&self, mark: Mark) -> bool {
        let (tail, over_tail) = self.taken();
        tail >= mark.head && over_tail >= mark.over_len
    }

    /// Waits until everything up to `mark` is in the file.
    pub fn wait_for(&self, mark: Mark) -> Result<()> {
        self.wait_until(|| self.reached(mark))
    }

    /// Waits until something is in the file, committing meanwhile.
    pub(crate) fn wait_until(&self, done: impl Fn() -> bool) -> Result<()> {
        let started = Instant::now();
        while !done() {
            let looked = self.commit(Effort::Drain);
            if done() {
                break;
            }
            if self.env.is_lost() {
                return Err(lost(&self.env));
            }
            if started.elapsed() >= self.options.wait {
                self.ring.lock().gave_up = Some(self.taken());
                return Err(self.timed_out(looked));
            }
            self.env.wait_turn(&done, SLICE_MS);
        }
        Ok(())
    }

    fn timed_out(&self, looked: Looked) -> Error {
        let why = match looked {
            Looked::Failed(errno) => format!("writing fails: {}", io::Error::from_raw_os_error(errno)),
            Looked::Stuck(slot) => {
                let pid = self.env.slot(slot).map_or(0, |s| s.header().identity.pid.load(Ordering::Relaxed));
                format!("process {pid} holds the writer lease and makes no progress; is it stopped?")
            }
            _ => "others are still writing".to_owned(),
        };
        let hint = format!("not in the file after {:?}: {why}; the records are safe in the journal", self.options.wait);
        Error::new(ErrorKind::TimedOut, "flush", &self.env.log.path, hint)
    }

    /// Waits until this process's records are in the file.
    pub fn flush(&self) -> Result<()> {
        self.wait_for(self.mark())
    }

    /// Waits until this process's records are on disk.
    pub fn sync(&self) -> Result<()> {
        self.sync_from(self.mark())
    }

    /// Group commit: whoever comes while a sync runs is covered by the next one, and finds it done.
    fn sync_from(&self, mark: Mark) -> Result<()> {
        self.wait_for(mark)?;
        let words = self.env.control();
        let target = position(words.file.epoch.load(Ordering::Acquire), words.file.end.load(Ordering::Relaxed));
        let mut file = self.sync_epoch.lock();
        if covers(words.synced.upto.load(Ordering::Acquire), target) {
            return Ok(());
        }
        let fail = |e: io::Error| Error::os("fsync", &self.env.log.path, e);
        let epoch = words.file.epoch.load(Ordering::Acquire);
        let end = words.file.end.load(Ordering::Relaxed);
        let live = self.env.open(&self.env.log.name).map_err(fail)?;
        // Another live file since the last sync: unless rotation itself syncs, records of ours may stand in a file that
        // has another name now.
        let before = file.replace(epoch);
        let moved_on = before != Some(epoch);
        let result = match self.options.fsync {
            Fsync::Never if moved_on => rustix::fs::syncfs(live.fd()).map_err(io::Error::from),
            _ => self.env.sync(&live).and_then(|()| if moved_on { self.env.sync_directory() } else { Ok(()) }),
        };
        if let Err(e) = result {
            // The kernel reports it once and forgets: never tried again on this file. The next holder cuts a new one.
            words.synced.failed.store(1, Ordering::Release);
            record_failure(
                words,
                &Failure { operation: Operation::Sync, errno: e.raw_os_error().unwrap_or(libc::EIO) },
            );
            return Err(fail(e).with_hint("records of the last moments may not be on disk; a new file is started"));
        }
        // Stored by the holder that cut the file, before the new epoch was: a record of ours may have stood in it.
        if before.is_some_and(|before| before < words.synced.lost_upto.load(Ordering::Acquire)) {
            let hint =
                "the file that was rotated away could not be synced: records of the last moments may not be on disk";
            return Err(fail(io::Error::from_raw_os_error(libc::EIO)).with_hint(hint));
        }
        words.synced.upto.store(position(epoch, end), Ordering::Release);
        self.synced_at_ms.store(self.env.coarse_ms(), Ordering::Relaxed);
        self.wants_sync.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// `Fsync::Interval`: at the first commit after it has passed, or by the background thread.
    pub(crate) fn sync_if_due(&self, every: Duration) {
        let now = self.env.coarse_ms();
        if self.options.commit == Commit::Deferred && !self.thread.is_current() {
            self.wants_sync.store(true, Ordering::Relaxed);
        } else if now.wrapping_sub(self.synced_at_ms.load(Ordering::Relaxed)) >= every.as_millis() as u64 {
            self.synced_at_ms.store(now, Ordering::Relaxed);
            // Reported through `synced.failed` and `status`; the record itself is in the file.
            let _ = self.sync();
        }
    }

    /// At attach: nothing of ours can be in an older file.
    pub(crate) fn starts_here(&self) {
        *self.sync_epoch.lock() = Some(self.env.control().file.epoch.load(Ordering::Acquire));
    }

    /// Background thread: true if a sync is owed.
    pub(crate) fn owes_sync(&self) -> bool {
        self.wants_sync.load(Ordering::Relaxed)
    }

    /// Asks for a look at the path, or for a rotation, and carries it out unless another process is at it.
    pub fn wish(&self, rotate: bool) -> Result<()> {
        let wishes = &self.env.control().wishes;
        let (wish, done) =
            if rotate { (&wishes.rotate, &wishes.rotate_done) } else { (&wishes.reopen, &wishes.reopen_done) };
        let (file, trouble) = (&self.env.control().file, &self.env.control().trouble);
        let before = (file.epoch.load(Ordering::Acquire), trouble.rotations_failed.load(Ordering::Relaxed));
        let mine = wish.fetch_add(1, Ordering::AcqRel) + 1;
        self.env.control().dirty.mark(self.env.me());
        let started = Instant::now();
        while done.load(Ordering::Acquire) < mine {
            let looked = self.commit(Effort::Drain);
            if done.load(Ordering::Acquire) >= mine {
                break;
            }
            if started.elapsed() >= self.options.wait {
                return Err(self.timed_out(looked));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let after = (file.epoch.load(Ordering::Acquire), trouble.rotations_failed.load(Ordering::Relaxed));
        if rotate && before.0 == after.0 && before.1 != after.1 {
            return Err(self.not_rotated(trouble.last_error.load(Ordering::Relaxed) as u32 as i32));
        }
        Ok(())
    }

    fn not_rotated(&self, errno: i32) -> Error {
        let path = &self.env.log.path;
        if errno == libc::EBUSY {
            let hint = "it is a mount of its own (a bind-mounted file), which cannot be renamed; mount the directory";
            return Error::new(ErrorKind::NotRotatable, "rotate", path, hint);
        }
        Error::os("rotate", path, io::Error::from_raw_os_error(errno)).with_hint("the log goes on in the old file")
    }

    /// Records and bytes this process has committed, its own and others', and slots found damaged.
    pub fn committed(&self) -> ((u64, u64), u64) {
        self.committer.lock().as_ref().map_or(((0, 0), 0), |c| (c.committed, c.corrupt_slots))
    }

    /// Out of a journal that was moved or deleted, with everything of this process: nobody comes back for it. Others may
    /// not be able to map our slot any more, so its mark is set anew for our own turn.
    fn leave_moved(&self) -> Result<()> {
        let (mark, started) = (self.mark(), Instant::now());
        while !self.reached(mark) {
            self.env.control().dirty.mark(self.env.me());
            let looked = self.commit(Effort::Force);
            if !self.reached(mark) && started.elapsed() >= self.options.wait {
                return Err(self.timed_out(looked));
            }
            self.env.wait_turn(|| self.reached(mark), SLICE_MS);
        }
        Ok(())
    }

    /// Somebody deleted the live file, and what was written to it since stands in a file without a name, which is gone
    /// with the last process that has it open. The path is looked at every few milliseconds only, so a process that
    /// leaves looks once more, if its own descriptor says that there is a reason.
    fn rescue_before_leaving(&self) {
        let owes = || self.committer.lock().as_ref().is_some_and(|c| c.owes_rescue(&self.env));
        if !owes() {
            return;
        }
        let started = Instant::now();
        // Whoever notices may not be the one who has the old file: then it is this one's turn.
        let _ = self.wish(false);
        while owes() && started.elapsed() < self.options.wait {
            self.commit(Effort::Force);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Before detaching: everything of this process into the file, bounded by the user's wait.
    pub fn drain(&self) -> Result<()> {
        self.thread.stop(self);
        // A wait that ran out just now is not paid a second time.
        let gave_up = self.has_given_up();
        let result = match gave_up {
            true => Ok(()),
            false if self.env.is_moved() => self.leave_moved(),
            false => self.flush(),
        };
        self.rescue_before_leaving();
        // What dead processes left, and what others have not yet taken up: a last one out leaves nothing behind.
        self.commit(Effort::Force);
        result
    }
}

/// The engine has to be built anew; the appender does it and tries again.
fn lost(env: &Real) -> Error {
    Error::new(ErrorKind::NotAttached, "append to", &env.log.path, "the journal was moved or its descriptors closed")
}

/// `epoch:20 | offset:44`.
fn position(epoch: u64, end: u64) -> u64 {
    epoch << 44 | (end & ((1 << 44) - 1))
}

fn covers(synced: u64, target: u64) -> bool {
    synced >> 44 == target >> 44 && synced >= target
}
