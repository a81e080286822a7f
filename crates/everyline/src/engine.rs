//! One process on one log: publishing records, making room, waiting.
//!
//! Promise: when [`Engine::append`] returns `Ok`, the record survives the death of every process (it stands in the ring
//! or overflow file, published), and in write-through mode somebody is responsible for it this very moment. It never
//! waits for another process or for space beyond the user's bound, once per incident. Threads of the process share one
//! ring under a short lock in which nothing waits, allocates or enters the kernel (overflow excepted).
//!
//! Appenders of one process share the engine of a log, not their options: each call brings those of its appender along
//! (`by`). What no appender calls for, the background thread and the way out, goes by those it was attached with.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::apart::Apart;
use crate::attach::Leaving;
use crate::deferred::Thread;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::{self, ForkCell, Guard};
use crate::interrupt::Waiting;
use crate::journal::layout::BUF_BYTES;
use crate::journal::slot::{FRAME_HEADER, Frame, span};
use crate::options::{Commit, Fsync, Full, Options};
use crate::os;
use crate::protocol::chores::Chore;
use crate::protocol::commit::{Committer, Effort, Looked};
use crate::protocol::env::Env;
use crate::protocol::exclusive::Exclusive;
use crate::protocol::lease::State;
use crate::protocol::step::Step;
use crate::real::Real;
use crate::sync::fence_after_rmw;
use crate::upkeep::Upkeep;

/// A full ring is waited for this long before the overflow file is used. Longer than a holder waits for a processor
/// where many compete for few (measured: 64 processes on two, with others at work, 20 ms sent every record there).
const RING_PATIENCE: Duration = Duration::from_millis(100);
/// Longest single sleep: a dead holder wakes nobody.
const SLICE_MS: u64 = 2;
/// The upkeep waits this long for the lease; then it leaves the chore to a later turn.
const CHORE_PATIENCE: Duration = Duration::from_secs(10);

/// Why a step is not told that a record is on disk.
pub(crate) const ON_DISK_LATER: &str =
    "the record is accepted, and goes to the file when the step has ended; sync then";

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
    /// Of the appender that attached.
    pub(crate) options: Options,
    /// How long the last appender that left may wait on the way out, ms.
    leaver_waits_ms: AtomicU64,
    ring: ForkCell<Ring>,
    committer: ForkCell<Option<Committer<Real>>>,
    pub(crate) thread: Thread,
    pub(crate) upkeep: Upkeep,
    /// Epoch of the live file at the last sync.
    pub(crate) sync_epoch: ForkCell<Option<u64>>,
    pub(crate) synced_at_ms: AtomicU64,
    /// A sync is owed to a record, this many ms after it at the latest; 0: none is.
    pub(crate) owes_sync_ms: AtomicU64,
    /// Calls that had to wait for room.
    pub(crate) waited: AtomicU64,
    /// Of the last overflow write that failed, for the message of a drop.
    overflow_errno: AtomicU32,
    /// The thread that runs a step under the lease; 0: none.
    stepper: AtomicU32,
    /// Settings: what this process put in force last, and whose it replaced; the maintenance lock.
    pub(crate) apart: Apart,
    /// Last: dropped after everything else.
    pub(crate) leaving: Leaving,
}

impl Engine {
    /// An engine over an attached journal.
    pub fn new(env: Real, options: Options, apart: Apart) -> Self {
        Self {
            env,
            leaver_waits_ms: AtomicU64::new(options.wait.as_millis() as u64),
            options,
            ring: ForkCell::new(),
            committer: ForkCell::new(),
            thread: Thread::default(),
            upkeep: Upkeep::default(),
            sync_epoch: ForkCell::new(),
            synced_at_ms: AtomicU64::new(0),
            owes_sync_ms: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            overflow_errno: AtomicU32::new(0),
            stepper: AtomicU32::new(0),
            apart,
            leaving: Leaving::default(),
        }
    }

    /// After [`publish`](Self::publish): sees to it that the record is committed, and waits where the options say so. The
    /// record is accepted, whatever comes out.
    ///
    /// # Errors
    /// From a sync that the fsync policy asks for.
    pub fn settle(&self, level: u8, mark: Mark, by: &Options) -> Result<()> {
        let urgent = level >= by.urgent_level;
        if by.commit == Commit::Deferred && !urgent {
            self.thread.notify(self);
        } else {
            self.commit(Effort::Call);
        }
        if by.fsync.is_due_at(level) {
            self.refuse_in_step(ErrorKind::TimedOut, "fsync", ON_DISK_LATER)?;
            return self.sync_at_once(mark, by);
        }
        if let Fsync::Interval(every) = by.fsync {
            self.sync_if_due(every, by);
        }
        if urgent {
            self.wait_urgent(mark, by);
        }
        Ok(())
    }

    /// An urgent record is waited for, once per incident: while the holder takes nothing since the last wait ran out,
    /// nobody waits again. Not an error: the record is safe in the journal.
    fn wait_urgent(&self, mark: Mark, by: &Options) {
        if self.reached(mark) || self.has_given_up() {
            return;
        }
        if self.wait_for(mark, by).is_err() {
            self.waited.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// For a record that the policy wants on disk: waits for a holder without progress once per incident, too.
    fn sync_at_once(&self, mark: Mark, by: &Options) -> Result<()> {
        if !self.reached(mark) && self.has_given_up() {
            return Err(self.timed_out(self.commit(Effort::Drain), by));
        }
        self.sync_from(mark, by)
    }

    /// True while the holder takes nothing since a wait ran into its bound.
    fn has_given_up(&self) -> bool {
        self.ring.lock().gave_up == Some(self.taken())
    }

    /// Puts one record into the ring or the overflow file: from then on it is accepted.
    ///
    /// # Errors
    /// `Dropped` by policy; `RecordTooLarge`; `NotAttached` if the journal went away meanwhile.
    pub fn publish(&self, level: u8, record: &[u8], by: &Options) -> Result<Mark> {
        if !self.env.holds_its_slot() {
            return Err(lost(&self.env));
        }
        if span(record.len() as u64) > by.overflow_bytes || u32::try_from(record.len()).is_err() {
            return Err(self.too_large(record.len(), by));
        }
        let frame = Frame { len: record.len() as u32, level, stamp: 0, crc: crc32c::crc32c(record) };
        let mut ring = self.ring.lock();
        if let Attempt::Done(mark) = self.try_ring(&mut ring, frame, record) {
            return Ok(mark);
        }
        drop(ring);
        self.publish_slowly(frame, record, by)
    }

    /// [`publish`](Self::publish) for callers that hold a lock which is not ours: no wait and no system call. `None`:
    /// nothing was done, the ring is full or busy.
    pub fn publish_at_once(&self, level: u8, record: &[u8]) -> Option<Mark> {
        if record.len() > BUF_BYTES || !self.env.is_pinned() {
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
    pub fn is_settled(&self, level: u8, by: &Options) -> bool {
        by.commit == Commit::Deferred
            && level < by.urgent_level
            && matches!(by.fsync, Fsync::Never | Fsync::OnRotation)
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
    fn try_overflow(&self, ring: &mut Ring, frame: Frame, record: &[u8], by: &Options) -> Attempt {
        let words = self.env.own().header();
        let at = words.producer.over_len.load(Ordering::Relaxed);
        let used = at - words.consumer.over_tail.load(Ordering::Acquire).min(at);
        let head = words.producer.head.load(Ordering::Relaxed);
        if used + frame.span() > by.overflow_bytes {
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
    fn publish_slowly(&self, frame: Frame, record: &[u8], by: &Options) -> Result<Mark> {
        self.waited.fetch_add(1, Ordering::Relaxed);
        let mut waiting = Waiting::begin();
        let started = waiting.started;
        let never_fits = record.len() > BUF_BYTES || span(record.len() as u64) > self.env.own().ring_bytes();
        let stepping = self.is_stepping();
        let mut stuck = stepping;
        loop {
            let mut ring = self.ring.lock();
            if let Attempt::Done(mark) = self.try_ring(&mut ring, frame, record) {
                return Ok(mark);
            }
            let overflow = never_fits || stuck || started.elapsed() >= RING_PATIENCE.min(by.wait) || !ring.may_drain();
            if overflow && let Attempt::Done(mark) = self.try_overflow(&mut ring, frame, record, by) {
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
            // Room that this very thread keeps others from making: neither policy can wait for it.
            if stepping {
                return Err(
                    self.drop_record("at once: called inside a step under the lease, in which nobody makes room")
                );
            }
            let waited_out = gave_up || started.elapsed() >= by.wait;
            let drops = overflow && waited_out && by.full == Full::Drop;
            // Where nobody gets to write, nobody looks at the journal: there may be room in the one at its path.
            if drops {
                self.env.journal_is_current();
            } else {
                self.env.watch();
            }
            if self.env.is_lost() || !self.env.holds_its_slot() {
                return Err(lost(&self.env));
            }
            let waited = || format!("after waiting {:?} (policy `drop`)", by.wait);
            if drops {
                return Err(self.drop_record(&waited()));
            }
            if waiting.is_interrupted() {
                return Err(self.interrupted("append to", self.drop_record(&waited())));
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

    /// `state`: how things stood.
    fn interrupted(&self, operation: &'static str, state: Error) -> Error {
        Error::new(ErrorKind::Interrupted, operation, &self.env.log.path, format!("the wait was ended; {state}"))
    }

    /// It would never fit: dropped whatever the policy, counted and announced.
    #[cold]
    fn too_large(&self, bytes: usize, by: &Options) -> Error {
        self.count_drop(&self.ring.lock());
        self.commit(Effort::Call);
        let hint = format!(
            "a record of {bytes} bytes; overflow_bytes, which bounds one record, too, is {}; dropped and counted",
            by.overflow_bytes
        );
        Error::new(ErrorKind::RecordTooLarge, "append to", &self.env.log.path, hint)
    }

    /// The ring lock makes this thread the only one that counts.
    fn count_drop(&self, _locked: &Guard<'_, Ring>) {
        let dropped = &self.env.own().header().producer.dropped;
        dropped.store(dropped.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // So that the holder comes by and announces it.
        self.env.control().dirty.mark(self.env.me());
    }

    /// `when`: after what, for the message.
    fn drop_record(&self, when: &str) -> Error {
        let mut ring = self.ring.lock();
        ring.gave_up = Some(self.taken());
        self.count_drop(&ring);
        let errno = self.overflow_errno.swap(0, Ordering::Relaxed) as i32;
        let why = match errno {
            0 => "ring and overflow are full".to_owned(),
            errno => format!("ring full, overflow not writable: {}", io::Error::from_raw_os_error(errno)),
        };
        let hint = format!("{why}; dropped and counted {when}");
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
            if !self.env.holds_its_slot() {
                return Looked::Failed(libc::EBADF);
            }
            let committer_here = committer.get_or_insert_with(|| Committer::new(&self.env));
            committer_here.chore = self.upkeep.errand.take();
            let with_chore = committer_here.chore.is_some();
            let looked = committer_here.look(&self.env, effort);
            if with_chore {
                self.upkeep.errand.give_back(committer_here.chore.take(), committer_here.chore_done.take());
            }
            let rotated = committer_here.take_rotated();
            drop(committer);
            // Orders the unlock (a read-modify-write) before the look at the marks of threads that found it locked.
            fence_after_rmw();
            // A visit is the upkeep's own.
            let upkeep = effort != Effort::Visit && (self.upkeep.is_owed() || self.env.has_deleted());
            if rotated.is_some() || upkeep {
                self.upkeep.after_commit(self, rotated == Some(true));
            }
            match looked {
                Looked::Failed(_) => return looked,
                _ if effort == Effort::Visit => return looked,
                _ if self.env.control().dirty.any() && self.env.control().lease.load().state() == State::Free => {}
                _ => return looked,
            }
        }
    }

    /// Has a chore done under the lease. `None`: it could not be had, or `stop` says to end.
    pub(crate) fn chore(&self, chore: Chore, stop: &AtomicBool) -> Option<io::Result<bool>> {
        let started = Instant::now();
        let errand = &self.upkeep.errand;
        let is_over = || stop.load(Ordering::Acquire) || self.env.is_lost() || started.elapsed() >= CHORE_PATIENCE;
        errand.leave(chore);
        let mut done = None;
        while done.is_none() && !is_over() {
            // By us, or by a thread that is at it: it takes the chore along at its next look.
            self.visit();
            done = errand.outcome();
            if done.is_none() {
                // Another process is writing, or writing fails.
                std::thread::sleep(Duration::from_millis(SLICE_MS));
            }
        }
        errand.withdraw();
        // For threads that found us at it and left, as in `commit`. But they go first: a thread that writes without a
        // pause would make this one its writer, for ever.
        while !is_over() && self.is_owed() {
            std::thread::sleep(Duration::from_micros(100));
            if self.is_owed() {
                self.visit();
            }
        }
        if self.is_owed() {
            self.commit(Effort::Call);
        }
        done
    }

    /// A short look, for the upkeep, which comes back.
    fn visit(&self) {
        self.commit(Effort::Visit);
        // Here, with the lease free, and in no log call.
        drop(self.env.deleted());
    }

    /// True if something is published and nobody is writing it.
    fn is_owed(&self) -> bool {
        self.env.control().dirty.any() && self.env.control().lease.load().state() == State::Free
    }

    /// Ends the threads of this engine. They come back when there is something to do.
    pub(crate) fn stop_threads(&self) {
        self.upkeep.stop();
        self.thread.stop(self);
    }

    /// One attempt at a step of the application's own under the lease; `None` if somebody else has it. Publishing goes
    /// on meanwhile: other threads find the commit mutex taken and leave.
    pub(crate) fn try_exclusive<R>(&self, act: impl FnOnce() -> R) -> std::result::Result<R, Looked> {
        let life = fork::generation();
        let committer = self.committer.try_lock().ok_or(Looked::Busy)?;
        let mut stepping = Stepping { engine: self, life, committer: Some(committer), afterwards: Effort::Call };
        let act = || {
            self.stepper.store(thread_number(), Ordering::Relaxed);
            act()
        };
        let committer = stepping.committer.as_mut().expect("taken above");
        let outcome = committer
            .get_or_insert_with(|| Committer::new(&self.env))
            .exclusive(&self.env, act, || fork::generation() != life);
        match outcome {
            Exclusive::Forked(result) => Ok(result),
            Exclusive::Ran(result) => {
                stepping.afterwards = Effort::Drain;
                Ok(result)
            }
            Exclusive::Not(looked) => Err(looked),
        }
    }

    /// True in a step under the lease: whoever waits there waits for itself.
    pub(crate) fn is_stepping(&self) -> bool {
        let stepper = self.stepper.load(Ordering::Relaxed);
        stepper != 0 && stepper == thread_number()
    }

    /// True in a step of this engine's: also a journal that was replaced is left after it, not in it. (With its
    /// descriptors closed there is no step any more that anybody would respect.)
    pub(crate) fn must_stay(&self) -> bool {
        self.is_stepping() && self.env.holds_its_slot()
    }

    /// What can only be had by waiting is refused to a step, which would wait for itself.
    pub(crate) fn refuse_in_step(&self, kind: ErrorKind, operation: &'static str, hint: &str) -> Result<()> {
        if !self.is_stepping() {
            return Ok(());
        }
        Err(Error::new(kind, operation, &self.env.log.path, format!("called inside a step under the lease: {hint}")))
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
    pub fn wait_for(&self, mark: Mark, by: &Options) -> Result<()> {
        self.wait_until(|| self.reached(mark), by)
    }

    /// Waits until something is in the file, committing meanwhile.
    pub(crate) fn wait_until(&self, done: impl Fn() -> bool, by: &Options) -> Result<()> {
        let mut waiting = Waiting::begin();
        while !done() && !self.is_stepping() {
            let looked = self.commit(Effort::Drain);
            if done() {
                break;
            }
            if self.env.is_lost() {
                return Err(lost(&self.env));
            }
            if waiting.started.elapsed() >= by.wait {
                self.ring.lock().gave_up = Some(self.taken());
                return Err(self.timed_out(looked, by));
            }
            if waiting.is_interrupted() {
                return Err(self.interrupted("flush", self.timed_out(looked, by)));
            }
            self.env.wait_turn(&done, SLICE_MS);
        }
        Ok(())
    }

    fn timed_out(&self, looked: Looked, by: &Options) -> Error {
        let why = match looked {
            Looked::Failed(errno) => format!("writing fails: {}", io::Error::from_raw_os_error(errno)),
            Looked::Stuck(slot) => {
                let pid = self.env.slot(slot).map_or(0, |s| s.header().identity.pid.load(Ordering::Relaxed));
                format!("process {pid} holds the writer lease and makes no progress; is it stopped?")
            }
            _ => "others are still writing".to_owned(),
        };
        let hint = format!("not in the file after {:?}: {why}; the records are safe in the journal", by.wait);
        Error::new(ErrorKind::TimedOut, "flush", &self.env.log.path, hint)
    }

    /// Waits until this process's records are in the file.
    pub fn flush(&self, by: &Options) -> Result<()> {
        self.wait_for(self.mark(), by)
    }

    /// Called by an appender that leaves: if it is the last one, this is how it leaves.
    pub(crate) fn leaver_waits(&self, by: &Options) {
        self.leaver_waits_ms.store(by.wait.as_millis() as u64, Ordering::Relaxed);
    }

    /// Options for the way out.
    pub(crate) fn way_out(&self) -> Options {
        Options { wait: Duration::from_millis(self.leaver_waits_ms.load(Ordering::Relaxed)), ..self.options.clone() }
    }

    /// Asks for a look at the path, or for a rotation, and carries it out unless another process is at it.
    pub fn wish(&self, rotate: bool, by: &Options) -> Result<()> {
        if rotate {
            self.refuse_in_step(
                ErrorKind::NotRotatable,
                "rotate",
                "rename the file yourself, or rotate after the step",
            )?;
        } else {
            self.refuse_in_step(ErrorKind::TimedOut, "reopen", "the path is looked at when the step has ended")?;
        }
        let wishes = &self.env.control().wishes;
        let (wish, done) =
            if rotate { (&wishes.rotate, &wishes.rotate_done) } else { (&wishes.reopen, &wishes.reopen_done) };
        let (file, trouble) = (&self.env.control().file, &self.env.control().trouble);
        let before = (file.epoch.load(Ordering::Acquire), trouble.rotations_failed.load(Ordering::Relaxed));
        let mine = wish.fetch_add(1, Ordering::AcqRel) + 1;
        self.env.control().dirty.mark(self.env.me());
        let mut waiting = Waiting::begin();
        while done.load(Ordering::Acquire) < mine {
            let looked = self.commit(Effort::Drain);
            if done.load(Ordering::Acquire) >= mine {
                break;
            }
            if waiting.started.elapsed() >= by.wait {
                // Not by waiting for it: another thread may have it for as long as a step takes.
                let committer = self.committer.try_lock();
                let denied = committer.and_then(|c| c.as_ref()?.denied(self.env.coarse_ms()));
                return Err(denied.filter(|_| rotate).map_or_else(
                    || self.timed_out(looked, by),
                    // Nor did anybody come who may.
                    |errno| self.not_rotated(errno),
                ));
            }
            if waiting.is_interrupted() {
                return Err(self.interrupted("rotate or reopen", self.timed_out(looked, by)));
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
        if self.is_stepping() {
            return ((0, 0), 0);
        }
        self.committer.lock().as_ref().map_or(((0, 0), 0), |c| (c.committed, c.corrupt_slots))
    }

    /// Out of a journal that was moved or deleted, with everything of this process: nobody comes back for it. Others may
    /// not be able to map our slot any more, so its mark is set anew for our own turn.
    fn leave_moved(&self, by: &Options) -> Result<()> {
        let (mark, started) = (self.mark(), Instant::now());
        while !self.reached(mark) && !self.is_stepping() {
            self.env.control().dirty.mark(self.env.me());
            let looked = self.commit(Effort::Force);
            if !self.reached(mark) && started.elapsed() >= by.wait {
                self.ring.lock().gave_up = Some(self.taken());
                return Err(self.timed_out(looked, by));
            }
            self.env.wait_turn(|| self.reached(mark), SLICE_MS);
        }
        Ok(())
    }

    /// Somebody deleted the live file, and what was written to it since stands in a file without a name, which is gone
    /// with the last process that has it open. The path is looked at every few milliseconds only, so a process that
    /// leaves looks once more, if its own descriptor says that there is a reason.
    fn rescue_before_leaving(&self, by: &Options) {
        // Another thread is at it, for as long as a step takes perhaps: it is waited for like another process.
        let started = Instant::now();
        let owes = || loop {
            match self.committer.try_lock() {
                Some(committer) => return committer.as_ref().is_some_and(|c| c.owes_rescue(&self.env)),
                None if started.elapsed() >= by.wait => return false,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        if self.is_stepping() || !owes() {
            return;
        }
        // Whoever notices may not be the one who has the old file: then it is this one's turn.
        let _ = self.wish(false, by);
        while owes() && started.elapsed() < by.wait {
            self.commit(Effort::Force);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Before detaching: everything of this process into the file, bounded by the user's wait.
    pub fn drain(&self, by: &Options) -> Result<()> {
        self.stop_threads();
        let started = Instant::now();
        // A wait that ran out just now is not paid a second time.
        let gave_up = self.has_given_up();
        if self.env.directory_is_removed() {
            // What it holds went with it; to wait for a file in it would be to wait for ever.
            return Ok(());
        }
        let result = match gave_up {
            true => Ok(()),
            false if self.env.is_moved() => self.leave_moved(by),
            false => self.flush(by),
        };
        // One wait for all that is to be waited for.
        let rest = Options { wait: by.wait.saturating_sub(started.elapsed()), ..by.clone() };
        self.rescue_before_leaving(&rest);
        // What dead processes left, and what others have not yet taken up: a last one out leaves nothing behind.
        self.commit(Effort::Force);
        result
    }
}

/// A step, or an attempt at one. Dropped when it ends, also by a panic: this thread is in no step any more, and whoever
/// found the commit lock taken is looked after.
struct Stepping<'a> {
    engine: &'a Engine,
    life: u32,
    committer: Option<Guard<'a, Option<Committer<Real>>>>,
    afterwards: Effort,
}

impl Drop for Stepping<'_> {
    fn drop(&mut self) {
        self.engine.stepper.store(0, Ordering::Relaxed);
        let committer = self.committer.take();
        if fork::generation() != self.life {
            // The lock and what it guards are of another life.
            std::mem::forget(committer);
            return;
        }
        drop(committer);
        self.engine.commit(self.afterwards);
    }
}

/// Of this thread, never 0.
fn thread_number() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

/// The engine has to be built anew; the appender does it and tries again.
fn lost(env: &Real) -> Error {
    Error::new(ErrorKind::NotAttached, "append to", &env.log.path, "the journal was moved or its descriptors closed")
}
