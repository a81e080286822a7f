//! The world as it is: [`Env`] over the mapped journal, the log's directory, and the kernel's clocks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, FallocateFlags, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::thread::futex;

use crate::fork::ForkCell;
use crate::heirloom::{self, Item};
use crate::journal::claim::{Claim, map_slot, overflow_name, prove_dead};
use crate::journal::control::ControlFile;
use crate::journal::layout::{Control, SLOTS};
use crate::journal::place::{Log, Place};
use crate::journal::slot::Slot;
use crate::mark;
use crate::os::{self, Handle, Transient};
use crate::protocol::env::{Env, FileId, Meta, Settings};
use crate::protocol::trouble::{Failure, Operation, record_failure};

/// One process's access to one log.
#[derive(Debug)]
pub struct Real {
    /// The log.
    pub log: Log,
    /// Its journal.
    pub place: Place,
    /// The control file.
    pub control: ControlFile,
    me: u16,
    /// Mapped on first use and kept: slot files neither shrink nor go away.
    slots: Box<[OnceLock<Slot>]>,
    /// Holds the slot's lock where the mapping does not.
    lock: Option<Transient>,
    /// The settings as this process last read them; at first those it came with.
    settings: ForkCell<Option<Settings>>,
    own_settings: Settings,
    /// Key of the log: in the table of inherited descriptors, and for the mark on the file.
    pub key: u64,
    /// The overflow file of this process, once there is one. Kept open: it may be deleted with the journal.
    overflow: ForkCell<Option<Arc<Handle>>>,
    /// Archives that were deleted under the lease. Giving their space back takes milliseconds for each 100 MB, so they are
    /// kept open until the lease is free.
    deleted: ForkCell<Vec<Handle>>,
    holds_deleted: AtomicBool,
    /// Somebody has closed our descriptors: everything is to be opened anew.
    lost: AtomicBool,
    watched_ms: AtomicU64,
}

/// No file system allocates larger blocks than this.
const BLOCK_MOST: u64 = 1 << 20;
/// How often the journal is looked for at its path.
const WATCH_MS: u64 = 100;
/// Deleted files that are kept open at a time; more give their space back at once.
const DELETED: usize = 64;

impl Real {
    /// Puts the parts together.
    pub fn new(log: Log, place: Place, control: ControlFile, claim: Claim, key: u64, own_settings: Settings) -> Self {
        let slots: Box<[OnceLock<Slot>]> = (0..SLOTS).map(|_| OnceLock::new()).collect();
        let _ = slots[usize::from(claim.index)].set(claim.slot);
        Self {
            log,
            place,
            control,
            me: claim.index,
            slots,
            lock: claim.lock,
            settings: ForkCell::new(),
            own_settings,
            key,
            overflow: ForkCell::new(),
            deleted: ForkCell::new(),
            holds_deleted: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            watched_ms: AtomicU64::new(0),
        }
    }

    /// The overflow file of this process; made if `create` says so.
    pub fn own_overflow(&self, create: bool) -> io::Result<Arc<Handle>> {
        let mut open = self.overflow.lock();
        if let Some(handle) = open.as_ref().filter(|handle| handle.is_intact()) {
            return Ok(Arc::clone(handle));
        }
        let flags = if create { OFlags::RDWR | OFlags::CREATE } else { OFlags::RDWR };
        let fd = os::open_at(self.shared()?, &overflow_name(self.me), flags, 0o666)?;
        let _ = rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o666));
        let handle = Handle::new(fd)?;
        let (own, words) = (self.own().header(), &self.own().header().producer);
        if words.over_inode.load(Ordering::Relaxed) != handle.id().1 {
            // Another file in its place: what was published is not in it. Good enough for what comes, if nothing was.
            if own.consumer.over_tail.load(Ordering::Acquire) != words.over_len.load(Ordering::Relaxed) {
                return Err(io::Error::from_raw_os_error(libc::ESTALE));
            }
            words.over_inode.store(handle.id().1, Ordering::Relaxed);
        }
        Ok(Arc::clone(open.insert(Arc::new(handle))))
    }

    /// The overflow file of another process, if it is the one that process wrote.
    fn overflow_of(&self, slot: u16) -> io::Result<OwnedFd> {
        let fd = os::open_at(self.shared()?, &overflow_name(slot), OFlags::RDONLY, 0)?;
        let inode = self.map(slot)?.header().producer.over_inode.load(Ordering::Relaxed);
        if os::device_and_inode(&fd)?.1 == inode { Ok(fd) } else { Err(io::Error::from_raw_os_error(libc::ESTALE)) }
    }

    /// True if something was deleted and still takes up space.
    #[inline]
    pub fn has_deleted(&self) -> bool {
        self.holds_deleted.load(Ordering::Relaxed)
    }

    /// What was deleted and still takes up space. Dropping it gives the space back.
    pub fn deleted(&self) -> Vec<Handle> {
        let mut deleted = self.deleted.lock();
        self.holds_deleted.store(false, Ordering::Relaxed);
        std::mem::take(&mut *deleted)
    }

    /// True if a mapping keeps the lock of the descriptor it was made through.
    pub fn mapping_keeps_lock(&self) -> bool {
        self.lock.is_none()
    }

    /// This process's slot.
    pub fn own(&self) -> &Slot {
        self.slots[usize::from(self.me)].get().expect("mapped at attach")
    }

    /// Sleeps until the holder takes something from our slot, at most `ms`. A dead holder wakes nobody, so every wait
    /// is short and the caller looks for itself.
    pub fn wait_turn(&self, done: impl Fn() -> bool, ms: u64) {
        let waiters = &self.own().header().waiters;
        waiters.count.fetch_add(1, Ordering::SeqCst);
        let turn = waiters.turn.load(Ordering::Acquire);
        if !done() {
            let time = futex::Timespec { tv_sec: 0, tv_nsec: (ms * 1_000_000) as i64 };
            let _ = futex::wait(&waiters.turn, futex::Flags::empty(), turn, Some(&time));
        }
        waiters.count.fetch_sub(1, Ordering::SeqCst);
    }

    /// True if this process has to attach anew: the journal at the path is another one, or descriptors were closed.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed) || self.control.words().wishes.moved.load(Ordering::Relaxed) != 0
    }

    /// True if the journal at the path is another one. What is still in this one only those can deliver who are in it.
    pub fn is_moved(&self) -> bool {
        !self.lost.load(Ordering::Relaxed) && self.control.words().wishes.moved.load(Ordering::Relaxed) != 0
    }

    /// True if the directory of the log was removed: nothing can be made in it any more, for nobody. (One that has another
    /// name is as good as before.)
    pub fn directory_is_removed(&self) -> bool {
        self.directory().and_then(|directory| os::meta(directory, "")).is_ok_and(|(meta, _)| meta.links == 0)
    }

    /// False: where the mapping does not keep our locks, somebody has closed the descriptors that do. To everybody else
    /// this process is dead; its slot may be another's by now. Asked before anything is published or written.
    #[inline]
    pub fn holds_its_slot(&self) -> bool {
        self.lock.is_none() || self.still_locked()
    }

    /// True where the mapping keeps our locks, so that [`holds_its_slot`](Self::holds_its_slot) asks nobody.
    #[inline]
    pub fn is_pinned(&self) -> bool {
        self.lock.is_none()
    }

    #[cold]
    fn still_locked(&self) -> bool {
        let intact = [&self.lock, &self.control.lock].into_iter().flatten().all(Transient::is_intact);
        if !intact {
            self.lost.store(true, Ordering::Relaxed);
        }
        intact
    }

    /// The descriptor, if it still is the directory it was opened for.
    fn intact<'a>(&self, handle: &'a Handle) -> io::Result<BorrowedFd<'a>> {
        if handle.is_intact() {
            return Ok(handle.fd());
        }
        self.lost.store(true, Ordering::Relaxed);
        Err(io::Error::from_raw_os_error(libc::EBADF))
    }

    fn directory(&self) -> io::Result<BorrowedFd<'_>> {
        self.intact(&self.log.directory)
    }

    fn shared(&self) -> io::Result<BorrowedFd<'_>> {
        self.intact(&self.place.shared)
    }

    /// A slot, mapped on first use.
    fn map(&self, slot: u16) -> io::Result<&Slot> {
        let cell = self.slots.get(usize::from(slot)).ok_or(io::ErrorKind::NotFound)?;
        if let Some(slot) = cell.get() {
            return Ok(slot);
        }
        let mapped = map_slot(&self.place, self.control.uuid, self.control.ring_bytes, slot, true)?;
        Ok(cell.get_or_init(|| mapped))
    }

    /// The live file, opened: it bears the marks of this journal, and a child may inherit it.
    fn live(&self, file: Handle) -> Handle {
        let _ = mark::set(file.fd(), self.key);
        let _ = mark::set_journal(file.fd(), self.control.uuid[0]);
        heirloom::keep(self.key, Item::Log, &file);
        file
    }

    /// The live file as a parent with more rights had it open, if it still is the live file.
    fn inherited_log(&self) -> io::Result<Handle> {
        let denied = || io::Error::from_raw_os_error(libc::EACCES);
        heirloom::copy(self.key, Item::Log).ok_or_else(denied)
    }
}

impl Env for Real {
    type File = Handle;
    /// Nothing has to be held for a slot that cannot exist.
    type Dead = Option<Transient>;

    fn control(&self) -> &Control {
        self.control.words()
    }

    fn me(&self) -> u16 {
        self.me
    }

    fn slot(&self, slot: u16) -> Option<&Slot> {
        self.map(slot).ok()
    }

    fn can_reach(&self, slot: u16) -> bool {
        match self.map(slot) {
            Ok(_) => true,
            // No such slot, or its bytes are not those of a slot of this journal.
            Err(e) => {
                matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
            }
        }
    }

    fn prove_dead(&self, slot: u16) -> Option<Option<Transient>> {
        if usize::from(slot) >= SLOTS {
            return Some(None);
        }
        if slot == self.me { None } else { prove_dead(&self.place, self.control.uuid, slot).map(Some) }
    }

    fn settings(&self) -> io::Result<Settings> {
        let read = self.shared().and_then(|_| Settings::read(&self.place));
        if let Ok(settings) = &read {
            *self.settings.lock() = Some(settings.clone());
        }
        read
    }

    fn known_settings(&self) -> Settings {
        self.settings.lock().clone().unwrap_or_else(|| self.own_settings.clone())
    }

    fn journal_is_current(&self) -> bool {
        if self.intact(&self.place.parent).and_then(|_| self.shared()).and_then(|_| self.directory()).is_err() {
            return false;
        }
        // "Cannot tell" (a process that gave up the right to look) is not "moved", which would send everybody away: those
        // who can tell will say so.
        let moved = matches!(self.control.is_current(&self.log, &self.place), Ok(false));
        let said = &self.control.words().wishes.moved;
        if moved {
            said.store(1, Ordering::Release);
        }
        !moved && said.load(Ordering::Relaxed) == 0
    }

    fn watch(&self) {
        let now = self.coarse_ms();
        if now.wrapping_sub(self.watched_ms.load(Ordering::Relaxed)) >= WATCH_MS {
            self.watched_ms.store(now, Ordering::Relaxed);
            self.journal_is_current();
        }
    }

    fn is_only_journal(&self, file: &Handle) -> bool {
        // File systems without open-file-description locks: no marks, nothing to see.
        mark::is_only_journal(file.fd(), self.control.uuid[0]).unwrap_or(true)
    }

    fn wake(&self, slot: &Slot) {
        let waiters = &slot.header().waiters;
        if waiters.count.load(Ordering::SeqCst) != 0 {
            waiters.turn.fetch_add(1, Ordering::Release);
            let _ = futex::wake(&waiters.turn, futex::Flags::empty(), i32::MAX as u32);
        }
    }

    fn now_ns(&self) -> u64 {
        os::wall_ns()
    }

    fn coarse_ms(&self) -> u64 {
        os::coarse_ms()
    }

    fn make_room(&self) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }

    fn log(&self) -> &str {
        &self.log.name
    }

    fn open(&self, name: &str) -> io::Result<Handle> {
        let flags = OFlags::RDWR | OFlags::APPEND;
        match os::open_at(self.directory()?, name, flags, 0) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && name == self.log.name => self.inherited_log(),
            fd if name == self.log.name => Ok(self.live(Handle::new(fd?)?)),
            fd => Handle::new(fd?),
        }
    }

    fn may_open_log(&self) -> bool {
        let flags = OFlags::RDWR | OFlags::APPEND;
        self.directory().and_then(|directory| os::open_at(directory, &self.log.name, flags, 0)).is_ok()
    }

    fn create(&self, name: &str, like: Option<&Meta>) -> io::Result<Handle> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL;
        let settings = like.is_none().then(|| self.known_settings());
        let mode = like.map_or_else(|| settings.as_ref().map_or(0o666, |s| s.mode), |meta| meta.mode & 0o777);
        let fd = os::open_at(self.directory()?, name, flags, mode)?;
        if let Some((user, group)) = settings.and_then(|s| s.owner)
            && let Err(e) = rustix::fs::fchown(&fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
        {
            // The file exists and can be written, which matters more.
            record_failure(self.control(), &Failure { operation: Operation::Own, errno: e.raw_os_error() });
        }
        if let Some(meta) = like {
            // As far as the rights of this process go: the file exists and can be written, which matters more.
            let (user, group) = (Uid::from_raw(meta.owner.0), Gid::from_raw(meta.owner.1));
            let _ = rustix::fs::fchown(&fd, Some(user), Some(group));
            let _ = rustix::fs::fchmod(&fd, Mode::from_raw_mode(meta.mode));
        }
        Ok(self.live(Handle::new(fd)?))
    }

    fn append(&self, file: &Handle, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(file.fd(), bytes)?)
    }

    fn read_at(&self, file: &Handle, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::pread(file.fd(), out, offset)?)
    }

    fn meta(&self, file: &Handle) -> io::Result<Meta> {
        Ok(os::meta(file.fd(), "")?.0)
    }

    fn is_still(&self, file: &Handle, id: FileId) -> bool {
        file.id() == (id.0[0], id.0[1]) && file.is_intact()
    }

    fn sync(&self, file: &Handle) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(file.fd())?)
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.directory()?)?)
    }

    fn lookup(&self, name: &str) -> io::Result<Option<Meta>> {
        os::lookup(self.directory()?, name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        // A descriptor of its own: the position in the directory belongs to the open file.
        let directory = os::open_directory(self.directory()?, ".")?;
        os::names(directory.as_fd(), &self.log.name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let directory = self.directory()?;
        match rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
            // A file system without RENAME_NOREPLACE: names change only under the lease, so looking first will do.
            Err(rustix::io::Errno::INVAL) => {
                if self.lookup(to)?.is_some() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                Ok(rustix::fs::renameat(directory, from, directory, to)?)
            }
            other => Ok(other?),
        }
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let directory = self.directory()?;
        // Without a right to read it, and without waiting for anything.
        let open = os::open_at(directory, name, OFlags::PATH, 0).and_then(Handle::new);
        rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
        if let Ok(open) = open {
            let mut deleted = self.deleted.lock();
            if deleted.len() < DELETED {
                deleted.push(open);
                self.holds_deleted.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn link(&self, name: &str, target: &str) -> io::Result<()> {
        let directory = self.directory()?;
        match os::meta(directory, name) {
            Ok((_, kind)) if !kind.is_symlink() => return Err(io::Error::from_raw_os_error(libc::EEXIST)),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let temporary = format!(".{}.everyline-link", crate::rotation::stem(&self.log.name));
        // Left by a holder who died here.
        let _ = rustix::fs::unlinkat(directory, temporary.as_str(), AtFlags::empty());
        rustix::fs::symlinkat(target, directory, temporary.as_str())?;
        Ok(rustix::fs::renameat(directory, temporary.as_str(), directory, name)?)
    }

    fn link_target(&self, name: &str) -> Option<String> {
        rustix::fs::readlinkat(self.directory().ok()?, name, Vec::new()).ok()?.into_string().ok()
    }

    fn overflow_read(&self, slot: u16, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let is_foreign = |e: &io::Error| matches!(e.raw_os_error(), Some(libc::ESTALE | libc::ENOENT));
        let read = if slot == self.me {
            self.own_overflow(false).and_then(|handle| Ok(rustix::io::pread(handle.fd(), &mut *out, offset)?))
        } else {
            self.overflow_of(slot).and_then(|fd| Ok(rustix::io::pread(&fd, &mut *out, offset)?))
        };
        match read {
            // Gone, or replaced. With the whole journal: its process has it open still, and writes what is in it. Alone:
            // damaged, and to wait for it would stop everybody's log.
            Err(e) if is_foreign(&e) && self.journal_is_current() => Ok(0),
            other => other,
        }
    }

    fn overflow_free(&self, slot: u16, from: u64, upto: u64) {
        let Ok(shared) = self.shared() else { return };
        if let Ok(fd) = os::open_at(shared, &overflow_name(slot), OFlags::RDWR, 0) {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Only whole blocks are given back. What stands before `from` was taken, too: with it goes the block that it
            // shares with `from`, which neither of the two would free alone.
            let from = from / BLOCK_MOST * BLOCK_MOST;
            let _ = rustix::fs::fallocate(&fd, flags, from, upto - from);
        }
    }
}
