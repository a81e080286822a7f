//! A world to prove the protocol in: shared memory on the heap, a simulated directory, a clock moved by hand.
//!
//! Promise: the same script gives the same run, so every fault has a number. A *point* is a place where a process can
//! die: each step, before and after each operation that changes something, and at each page of the file within a write
//! (a kill is noticed there, see `docs/design.md`). An *operation* is a call to the disk; it can be made to fail, and
//! somebody else can act just before it. Whatever the protocol does that nobody may do is kept in `violations`.

pub mod disk;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use disk::{Disk, Foreign, Gone};

use super::chores::{self, Chore};
use super::env::{Env, FileId, Meta, Settings};
use super::step::Step;
use crate::journal::layout::{BUF_BYTES, CONTROL_BYTES, Control, SlotHeader};
use crate::journal::map::Map;
use crate::journal::slot::{FRAME_HEADER, Frame, Slot};
use crate::rotation::{self, Form, Naming};

/// Base name of the log.
pub const LOG: &str = "app.log";
/// Slots in a world.
pub const SLOTS: u16 = 4;
/// Ring of each.
pub const RING_BYTES: u64 = 4096;
/// The clock at the beginning, Unix ms.
const START_MS: u64 = 1_700_000_000_000;
/// Calls to the world in one run; more means that somebody goes round in circles.
const CALLS_MAX: u64 = 3_000_000;

/// What a process dies of.
pub struct Crash;

/// A rule of the protocol that is broken on purpose, to see that the oracle notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Whoever takes over finds the dead holder's note idle.
    ForgetNote,
    /// Attaching resets the note also of the slot that the lease names.
    AttachResetsNote,
    /// Whoever takes over looks only at slots whose bit is set.
    TrustDirtyBits,
    /// Attaching does not mark the ring that it found.
    AttachDoesNotMark,
    /// Whoever takes over believes that a batch which was begun is in the file.
    BelieveWritten,
    /// Whoever takes over writes the batch again instead of comparing.
    WriteAgain,
    /// Whoever takes over gathers from the rings although tails are moving.
    ForgetWritten,
    /// Renames replace what is there.
    RenameReplaces,
    /// The file system has no birth times, and nobody notices.
    NoBirthTime,
    /// A producer does not mark its slot.
    NoMark,
    /// A producer goes back to the ring while its overflow is not taken.
    RingBeforeOverflow,
    /// The ring's bytes are written after `head`.
    HeadFirst,
    /// Whoever takes over finds no note of a chore.
    ForgetChore,
}

/// Operations that fail.
#[derive(Clone, Copy, Debug)]
pub struct ErrorPlan {
    /// First operation that fails.
    pub from: u64,
    /// How many fail in a row.
    pub count: u64,
    /// What the system says.
    pub errno: i32,
    /// An append writes half of it before it fails.
    pub short: bool,
}

/// What goes wrong in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// The acting process dies at this point.
    pub crash_at: Option<u64>,
    /// These operations fail.
    pub error: Option<ErrorPlan>,
    /// Somebody else acts before this operation.
    pub foreign: Option<(u64, Foreign)>,
    /// The process in this slot publishes a record before this operation, and leaves.
    pub publish: Option<(u64, u16)>,
}

/// What the producers have done, by slot and number.
#[derive(Debug)]
pub struct Record {
    /// The record.
    pub bytes: Vec<u8>,
    /// Its time.
    pub stamp: u64,
    /// `head` or `over_len` was stored.
    pub published: bool,
    /// The call has returned.
    pub acknowledged: bool,
}

/// Everything that processes share, and what is known about them from outside.
pub struct World {
    control: Map,
    slots: Vec<Slot>,
    /// The directory.
    pub disk: RefCell<Disk>,
    /// Overflow files.
    pub overflow: RefCell<Vec<Vec<u8>>>,
    /// Slots whose process is dead, or that never had one.
    pub dead: RefCell<Vec<bool>>,
    /// ms.
    pub clock_ms: Cell<u64>,
    /// In force.
    pub settings: Settings,
    /// What goes wrong.
    pub plan: Cell<Plan>,
    /// Points passed.
    pub points: Cell<u64>,
    /// Operations done.
    pub operations: Cell<u64>,
    calls: Cell<u64>,
    /// What the protocol must never do.
    pub violations: RefCell<Vec<String>>,
    /// What was done, for people who look for a bug: `EVERYLINE_SIM_TRACE`.
    pub trace: Option<RefCell<Vec<String>>>,
    /// What was logged.
    pub ledger: RefCell<Vec<Vec<Record>>>,
    /// A rule that is broken.
    pub mutation: Option<Mutation>,
}

impl World {
    /// A directory without files and a fresh journal.
    pub fn new(settings: Settings, mutation: Option<Mutation>) -> Rc<Self> {
        let slots = u64::from(SLOTS);
        Rc::new(Self {
            control: Map::heap(CONTROL_BYTES),
            slots: (0..slots).map(|_| Slot::new(Map::heap(Slot::file_bytes(RING_BYTES)), RING_BYTES)).collect(),
            disk: RefCell::default(),
            overflow: RefCell::new(vec![Vec::new(); usize::from(SLOTS)]),
            dead: RefCell::new(vec![true; usize::from(SLOTS)]),
            clock_ms: Cell::new(START_MS),
            settings,
            plan: Cell::default(),
            points: Cell::new(0),
            operations: Cell::new(0),
            calls: Cell::new(0),
            violations: RefCell::default(),
            trace: std::env::var_os("EVERYLINE_SIM_TRACE").map(|_| RefCell::default()),
            ledger: RefCell::new((0..slots).map(|_| Vec::new()).collect()),
            mutation,
        })
    }

    /// The control words.
    pub fn control(&self) -> &Control {
        // SAFETY: Control consists of atomics only.
        unsafe { self.control.at(0) }
    }

    /// A slot that exists.
    pub fn slot(&self, slot: u16) -> &Slot {
        &self.slots[usize::from(slot)]
    }

    /// True if this rule is broken in this run.
    pub fn breaks(&self, rule: Mutation) -> bool {
        self.mutation == Some(rule)
    }

    /// Keeps what must not happen.
    pub fn violation(&self, text: String) {
        self.violations.borrow_mut().push(text);
    }

    /// Unix time in s.
    pub fn now_s(&self) -> i64 {
        (self.clock_ms.get() / 1000) as i64
    }

    /// Notes what is done.
    pub fn traced(&self, text: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let place = format!("point {} operation {}: ", self.points.get(), self.operations.get());
            trace.borrow_mut().push(place + &text());
        }
    }

    fn called(&self) {
        self.calls.set(self.calls.get() + 1);
        assert!(self.calls.get() < CALLS_MAX, "the protocol goes round in circles");
    }

    fn point(&self) {
        self.called();
        let point = self.points.replace(self.points.get() + 1);
        let mut plan = self.plan.get();
        if plan.crash_at == Some(point) {
            plan.crash_at = None;
            self.traced(|| "DEATH".into());
            self.plan.set(plan);
            std::panic::resume_unwind(Box::new(Crash));
        }
    }

    /// An operation on the disk begins.
    fn operation(&self, what: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.called();
        self.traced(|| what.to_string());
        let number = self.operations.replace(self.operations.get() + 1);
        let plan = self.plan.get();
        if let Some((_, act)) = plan.foreign.filter(|(at, _)| *at == number) {
            self.traced(|| format!("foreign {act:?}"));
            self.disk.borrow_mut().foreign(act, self.now_s());
        }
        if let Some((_, slot)) = plan.publish.filter(|(at, _)| *at == number) {
            // Its own process: our faults are not its.
            self.plan.set(Plan::default());
            self.publish(slot, 61);
            self.plan.set(plan);
        }
        match self.failing(number) {
            Some(error) => Err(io::Error::from_raw_os_error(error.errno)),
            None => Ok(()),
        }
    }

    fn failing(&self, number: u64) -> Option<ErrorPlan> {
        self.plan.get().error.filter(|e| number >= e.from && number - e.from < e.count)
    }

    fn header(&self, slot: u16) -> &SlotHeader {
        self.slot(slot).header()
    }

    /// PUBLISH: P1 to P4 as the engine does it. Looking is the caller's.
    pub fn publish(&self, slot: u16, len: usize) {
        let number = self.ledger.borrow()[usize::from(slot)].len();
        self.publish_bytes(slot, record(slot, number, len));
    }

    /// PUBLISH of any bytes.
    pub fn publish_bytes(&self, slot: u16, bytes: Vec<u8>) {
        let (number, len) = (self.ledger.borrow()[usize::from(slot)].len(), bytes.len());
        self.traced(|| format!("publish {slot}.{number} of {len}"));
        let words = self.header(slot);
        let stamp = (self.clock_ms.get() * 1_000_000).max(words.producer.last_stamp.load(Ordering::Relaxed));
        words.producer.last_stamp.store(stamp, Ordering::Relaxed);
        let frame = Frame { len: bytes.len() as u32, level: 20, stamp, crc: 0 };
        let record = Record { bytes: bytes.clone(), stamp, published: false, acknowledged: false };
        self.ledger.borrow_mut()[usize::from(slot)].push(record);

        let head = words.producer.head.load(Ordering::Relaxed);
        let used = head - words.consumer.tail.load(Ordering::Acquire);
        let over_len = words.producer.over_len.load(Ordering::Relaxed);
        let spilled = over_len != words.consumer.over_tail.load(Ordering::Acquire)
            && !(self.breaks(Mutation::RingBeforeOverflow));
        if !spilled && frame.span() <= RING_BYTES - used && bytes.len() <= BUF_BYTES {
            let copy = || {
                self.slot(slot).ring_write(head, &frame.encode());
                self.slot(slot).ring_write(head + FRAME_HEADER, &bytes);
            };
            let store = || {
                words.producer.head.store(head + frame.span(), Ordering::Release);
                self.ledger.borrow_mut()[usize::from(slot)][number].published = true;
            };
            if self.breaks(Mutation::HeadFirst) {
                store();
                self.point();
                copy();
            } else {
                copy();
                self.point();
                store();
            }
        } else {
            self.spill(slot, over_len, &frame, &bytes);
            self.point();
            words.producer.over_len.store(over_len + frame.span(), Ordering::Release);
            self.ledger.borrow_mut()[usize::from(slot)][number].published = true;
        }
        self.point();
        if !self.breaks(Mutation::NoMark) {
            self.control().dirty.mark(slot);
        }
        words.producer.records.fetch_add(1, Ordering::Relaxed);
    }

    /// `pwrite` of a frame into the overflow file.
    fn spill(&self, slot: u16, at: u64, frame: &Frame, bytes: &[u8]) {
        let mut files = self.overflow.borrow_mut();
        let file = &mut files[usize::from(slot)];
        let end = (at + frame.span()) as usize;
        if file.len() < end {
            file.resize(end, 0);
        }
        let body = at as usize + FRAME_HEADER as usize;
        file[at as usize..body].copy_from_slice(&frame.encode());
        file[body..body + bytes.len()].copy_from_slice(bytes);
    }

    /// Compresses the newest archive that is not, into the temporary file, and says what is to be done with it.
    pub fn zip(&self) -> Option<Chore> {
        let mut disk = self.disk.borrow_mut();
        let temporary = chores::temporary(LOG);
        if disk.names.contains_key(&temporary) {
            disk.unlink(&temporary, Gone::Foreign).expect("it is there");
        }
        let plain = |n: &&String| archive_rank(self.settings.naming, n).is_some() && !n.ends_with(".gz");
        let name = disk.names.keys().filter(plain).max_by_key(|n| disk.at(n).and_then(|i| i.lives))?.clone();
        let source = disk.names[&name];
        let zip = disk.create(&temporary, 0o640, self.now_s()).expect("no file of that name");
        disk.inodes[zip].zip_of = Some(source);
        let (meta, made) = (disk.meta(source, self.mutation), disk.meta(zip, self.mutation));
        Some(Chore::Replace { name, source: (meta.id, meta.size), zip: made.id, form: Form::Gzip })
    }

    /// Says that the oldest archive is to go.
    pub fn retire(&self) -> Option<Chore> {
        let disk = self.disk.borrow();
        let rank = |n: &&String| archive_rank(self.settings.naming, n).is_some();
        let lives = |n: &&String| disk.at(n).and_then(|i| i.zip_of.map_or(i.lives, |of| disk.inodes[of].lives));
        let name = disk.names.keys().filter(rank).min_by_key(lives)?;
        Some(Chore::Remove(vec![disk.meta(disk.names[name], self.mutation).id]))
    }

    /// The log call has returned.
    pub fn acknowledge(&self, slot: u16) {
        if let Some(record) = self.ledger.borrow_mut()[usize::from(slot)].last_mut() {
            record.acknowledged = true;
        }
    }
}

/// Record `number` of a slot: 7 bytes at least, no two alike.
pub fn record(slot: u16, number: usize, len: usize) -> Vec<u8> {
    let mut bytes = format!("{slot}.{number:03};").into_bytes();
    let first = usize::from(slot) * 7 + number;
    bytes.extend((bytes.len() + 1..len).map(|i| b'a' + ((first + i) % 23) as u8));
    bytes.push(b'\n');
    bytes
}

/// Where an archive's name puts it, lowest first; `None`: no archive. On purpose not the code that is tested.
pub fn archive_rank(naming: Naming, name: &str) -> Option<(String, u32)> {
    let rest = name.strip_prefix(LOG)?.strip_prefix('.')?;
    let rest = rest.strip_suffix(".gz").unwrap_or(rest);
    match naming {
        Naming::Staged => None,
        Naming::Numbered => Some((String::new(), rest.parse().ok()?)),
        Naming::Sequence => {
            let (stamp, number) = rest.split_once("Z-")?;
            Some((stamp.to_owned(), number.parse().ok()?))
        }
        Naming::Dated if !rest.starts_with("20") => None,
        Naming::Dated => {
            let (stamp, clash) = rest.split_once('.').unwrap_or((rest, "0"));
            Some((stamp.to_owned(), clash.parse().ok()?))
        }
    }
}

/// An open file: keeps its inode alive.
#[derive(Clone, Debug)]
pub struct File {
    inode: usize,
    _open: Rc<()>,
}

/// One process, as the protocol sees the world.
#[derive(Clone)]
pub struct Process {
    /// Shared with all others.
    pub world: Rc<World>,
    /// Its slot.
    pub me: u16,
}

impl Process {
    fn opened(&self, inode: usize) -> File {
        File { inode, _open: Rc::clone(&self.world.disk.borrow().inodes[inode].open) }
    }

    /// Appends `bytes`, with a point to die at wherever a page of the file ends.
    fn write(&self, inode: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = self.world.disk.borrow().inodes[inode].bytes.len();
            let page = (4096 - size % 4096).min(rest.len());
            self.world.disk.borrow_mut().inodes[inode].bytes.extend(&rest[..page]);
            rest = &rest[page..];
            self.world.point();
        }
    }

    fn check_append(&self, inode: usize) {
        let disk = self.world.disk.borrow();
        if disk.inodes[inode].rotated {
            self.world.violation(format!("slot {} appends to a file that we rotated", self.me));
        }
    }

    fn check_unlink(&self, name: &str) {
        let (disk, settings) = (self.world.disk.borrow(), &self.world.settings);
        let keep = settings.keep.unwrap_or(u32::MAX);
        let any_form = |name: &str| disk.names.contains_key(name) || disk.names.contains_key(&format!("{name}.gz"));
        let mut archives: Vec<_> =
            disk.names.keys().filter_map(|n| Some((archive_rank(settings.naming, n)?, n.as_str()))).collect();
        archives.sort();
        let ours = match settings.naming {
            Naming::Numbered => {
                (1..=keep).all(|n| any_form(&rotation::numbered(LOG, n)))
                    && name.strip_suffix(".gz").unwrap_or(name) == rotation::numbered(LOG, keep)
            }
            Naming::Dated | Naming::Sequence => {
                archives.len() > keep as usize && archives.first().is_some_and(|(_, oldest)| *oldest == name)
            }
            // The application's to delete.
            Naming::Staged => false,
        };
        if settings.naming == Naming::Numbered {
            archives.reverse();
        }
        // Its compressed form is there. Or it is too old, or too large, and not the newest.
        let replaced = disk.at(&format!("{name}.gz")).is_some_and(|zip| zip.zip_of == disk.names.get(name).copied());
        let retired = settings.keep_total_bytes.is_some()
            && archives.len() > 1
            && archives.first().is_some_and(|(_, oldest)| *oldest == name);
        if !ours && !replaced && !retired {
            self.world.violation(format!("slot {} deletes {name}, which is not the oldest archive", self.me));
        }
    }
}

impl Env for Process {
    type File = File;
    type Dead = ();

    fn control(&self) -> &Control {
        self.world.called();
        self.world.control()
    }

    fn me(&self) -> u16 {
        self.me
    }

    fn slot(&self, slot: u16) -> Option<&Slot> {
        self.world.called();
        self.world.slots.get(usize::from(slot))
    }

    fn prove_dead(&self, slot: u16) -> Option<()> {
        // A slot that does not exist has nobody in it.
        self.world.dead.borrow().get(usize::from(slot)).copied().unwrap_or(true).then_some(())
    }

    fn settings(&self) -> io::Result<Settings> {
        Ok(self.world.settings.clone())
    }

    fn known_settings(&self) -> Settings {
        self.world.settings.clone()
    }

    fn journal_is_current(&self) -> bool {
        true
    }

    fn wake(&self, _: &Slot) {}

    fn now_ns(&self) -> u64 {
        self.world.clock_ms.get() * 1_000_000
    }

    fn coarse_ms(&self) -> u64 {
        self.world.called();
        self.world.clock_ms.get() - START_MS + 1_000_000
    }

    fn log(&self) -> &str {
        LOG
    }

    fn open(&self, name: &str) -> io::Result<File> {
        self.world.operation(format_args!("open {name}"))?;
        let inode = self.world.disk.borrow().names.get(name).copied();
        inode.map(|i| self.opened(i)).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    fn create(&self, name: &str, like: Option<&Meta>) -> io::Result<File> {
        self.world.point();
        self.world.operation(format_args!("create {name}"))?;
        let mode = like.map_or(self.world.settings.mode, |m| m.mode);
        let inode = self.world.disk.borrow_mut().create(name, mode, self.world.now_s())?;
        self.world.point();
        Ok(self.opened(inode))
    }

    fn append(&self, file: &File, bytes: &[u8]) -> io::Result<usize> {
        self.world.point();
        let number = self.world.operations.get();
        let done = self.world.operation(format_args!("append {} to {}", bytes.len(), file.inode));
        self.check_append(file.inode);
        let short = self.world.failing(number).filter(|e| e.short && number == e.from && bytes.len() > 1);
        let take = match (done, short) {
            (_, Some(_)) => bytes.len() / 2,
            (Err(e), None) => return Err(e),
            (Ok(()), None) => bytes.len(),
        };
        {
            let mut disk = self.world.disk.borrow_mut();
            let inode = &mut disk.inodes[file.inode];
            inode.modified_s = self.world.now_s();
            inode.rollover_s = self.world.control().file.rollover_at.load(Ordering::Relaxed);
        }
        self.write(file.inode, &bytes[..take]);
        Ok(take)
    }

    fn read_at(&self, file: &File, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.world.operation(format_args!("read {} of {} at {offset}", out.len(), file.inode))?;
        let disk = self.world.disk.borrow();
        Ok(read(&disk.inodes[file.inode].bytes, offset, out))
    }

    fn meta(&self, file: &File) -> io::Result<Meta> {
        self.world.operation(format_args!("meta of {}", file.inode))?;
        Ok(self.world.disk.borrow().meta(file.inode, self.world.mutation))
    }

    fn is_still(&self, file: &File, id: FileId) -> bool {
        self.world.called();
        self.world.disk.borrow().meta(file.inode, self.world.mutation).id == id
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        self.world.operation(format_args!("sync"))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.world.operation(format_args!("sync directory"))
    }

    fn lookup(&self, name: &str) -> io::Result<Option<Meta>> {
        self.world.operation(format_args!("lookup {name}"))?;
        let disk = self.world.disk.borrow();
        Ok(disk.names.get(name).map(|i| disk.meta(*i, self.world.mutation)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.world.operation(format_args!("list"))?;
        Ok(self.world.disk.borrow().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.world.point();
        self.world.operation(format_args!("rename {from} {to}"))?;
        self.world.disk.borrow_mut().rename(from, to, self.world.breaks(Mutation::RenameReplaces))?;
        {
            let mut disk = self.world.disk.borrow_mut();
            let index = disk.names[to];
            disk.inodes[index].rotated = to != LOG;
        }
        self.world.point();
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.world.point();
        self.world.operation(format_args!("unlink {name}"))?;
        self.check_unlink(name);
        self.world.disk.borrow_mut().unlink(name, Gone::Retention)?;
        self.world.point();
        Ok(())
    }

    fn overflow_read(&self, slot: u16, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.world.operation(format_args!("read overflow {slot} at {offset}"))?;
        let files = self.world.overflow.borrow();
        files.get(usize::from(slot)).map_or(Ok(0), |file| Ok(read(file, offset, out)))
    }

    fn overflow_free(&self, slot: u16, from: u64, upto: u64) {
        // As a hole reads. Whoever reads freed bytes finds no frame.
        let mut files = self.world.overflow.borrow_mut();
        if let Some(bytes) = files.get_mut(usize::from(slot)).and_then(|f| f.get_mut(from as usize..upto as usize)) {
            bytes.fill(0);
        }
    }

    fn step(&self, step: Step) {
        self.world.traced(|| format!("{step:?}"));
        self.world.point();
    }
}

fn read(bytes: &[u8], offset: u64, out: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or(&[]);
    let n = rest.len().min(out.len());
    out[..n].copy_from_slice(&rest[..n]);
    n
}
