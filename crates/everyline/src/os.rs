//! Thin helpers over the operating system: descriptors that survive daemonizers, identity of files, clocks.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::time::ClockId;

use crate::protocol::env::{FileId, Meta};

/// Descriptors that stay open are moved above the range that programs use and close by number: to no fixed place, so
/// that a program which closes all and opens its own files does not get the number of the log within the few
/// milliseconds in which that would go unnoticed.
const HIGH: RawFd = 512;
const HIGH_SPREAD: RawFd = 384;

/// A number from which the next descriptor is looked for.
fn somewhere_high() -> RawFd {
    HIGH + (wall_ns() as RawFd & RawFd::MAX) % HIGH_SPREAD
}

/// Who took each number over last. A number that was closed under one handle may be given to the next one, for the same
/// file: then only the next one may close it.
static OWNERS: [AtomicU64; 4096] = [const { AtomicU64::new(0) }; 4096];
/// Handles so far.
static HANDLES: AtomicU64 = AtomicU64::new(0);

/// A descriptor that others may close under us: daemonizers close every number they do not know. It is closed on drop
/// only if it still is the file it was, and was not taken over anew meanwhile.
#[derive(Debug)]
pub struct Handle {
    raw: RawFd,
    id: (u64, u64),
    serial: u64,
}

impl Handle {
    /// Takes a descriptor over and moves it up.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let id = device_and_inode(&fd)?;
        // Fails where the limit of descriptors is low: then the number stays as it is.
        let fd = rustix::io::fcntl_dupfd_cloexec(&fd, somewhere_high()).unwrap_or(fd);
        let (raw, serial) = (fd.into_raw_fd(), HANDLES.fetch_add(1, Ordering::Relaxed) + 1);
        if let Some(owner) = OWNERS.get(raw as usize) {
            owner.store(serial, Ordering::Relaxed);
        }
        Ok(Self { raw, id, serial })
    }

    /// The descriptor as it was taken over, checked or not. Its number may mean another file by now: use
    /// [`is_intact`](Self::is_intact) first where that would do harm.
    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: not -1. If somebody else closed it, the kernel answers EBADF, or acts on another file; whoever calls
        // checks `is_intact` where that matters. No memory depends on it.
        unsafe { BorrowedFd::borrow_raw(self.raw) }
    }

    /// True if the number still means the file it was taken for.
    pub fn is_intact(&self) -> bool {
        device_and_inode(self.fd()).is_ok_and(|id| id == self.id)
    }

    /// The number, for a child to find.
    pub fn raw(&self) -> RawFd {
        self.raw
    }

    /// True if the number means that file now, whoever opened it.
    pub fn is_the_file(raw: RawFd, id: (u64, u64)) -> bool {
        raw >= 0 && std::mem::ManuallyDrop::new(Self { raw, id, serial: 0 }).is_intact()
    }

    /// A copy of a descriptor that a parent process had open, if it is a file of that identity.
    pub fn copy_of(raw: RawFd, id: (u64, u64)) -> Option<Self> {
        // Not ours to close, whatever it is by now.
        let theirs = std::mem::ManuallyDrop::new(Self { raw, id, serial: 0 });
        if raw < 0 || !theirs.is_intact() {
            return None;
        }
        Self::new(rustix::io::fcntl_dupfd_cloexec(theirs.fd(), 0).ok()?).ok()
    }

    /// Device and inode it was taken for.
    pub fn id(&self) -> (u64, u64) {
        self.id
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let is_owner = OWNERS.get(self.raw as usize).is_none_or(|o| o.load(Ordering::Relaxed) == self.serial);
        if is_owner && self.is_intact() {
            // SAFETY: the number is the file we opened, and this is the only owner.
            drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(self.raw) });
        }
    }
}

/// Descriptors that hold a lock for a moment. A child forked in that moment inherits them, and with them the lock: the
/// fork hook closes them there (see `hooks`).
static TRANSIENT: [AtomicI32; 64] = [const { AtomicI32::new(-1) }; 64];

/// A descriptor that holds a lock which a child must not inherit.
#[derive(Debug)]
pub struct Transient {
    handle: Handle,
    place: Option<usize>,
}

impl Transient {
    /// Enters a descriptor into the table.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let handle = Handle::new(fd)?;
        let free = |p: &AtomicI32| p.compare_exchange(-1, handle.raw(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
        let place = TRANSIENT.iter().position(free);
        Ok(Self { handle, place })
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.handle.fd()
    }

    /// Device and inode.
    pub fn id(&self) -> (u64, u64) {
        self.handle.id()
    }

    /// True if the number still means the file it was taken for: then the lock is held, too.
    pub fn is_intact(&self) -> bool {
        self.handle.is_intact()
    }
}

impl Drop for Transient {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            TRANSIENT[place].store(-1, Ordering::Relaxed);
        }
    }
}

/// In a forked child: closes what its parent held for a moment. Async-signal-safe.
pub fn close_transient() {
    for place in &TRANSIENT {
        let raw = place.swap(-1, Ordering::Relaxed);
        if raw >= 0 {
            // SAFETY: the child has its own table of descriptors, nothing in it uses this one.
            unsafe { libc::close(raw) };
        }
    }
}

/// Tries to lock a file. `Ok(false)`: somebody else has it.
pub fn try_flock(fd: impl AsFd, exclusive: bool) -> io::Result<bool> {
    let operation =
        if exclusive { FlockOperation::NonBlockingLockExclusive } else { FlockOperation::NonBlockingLockShared };
    match rustix::fs::flock(fd, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn statx(fd: BorrowedFd<'_>, name: &str, mask: StatxFlags) -> io::Result<rustix::fs::Statx> {
    let flags = if name.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
    Ok(rustix::fs::statx(fd, name, flags, mask)?)
}

/// Identity of an open file, without asking for times: that would make the next write take a fine-grained time stamp,
/// which doubles its cost (measured: `fstat` + append 2.15 times an append, this 1.2).
pub fn device_and_inode(fd: impl AsFd) -> io::Result<(u64, u64)> {
    let s = statx(fd.as_fd(), "", StatxFlags::INO)?;
    Ok((device(&s), s.stx_ino))
}

fn device(s: &rustix::fs::Statx) -> u64 {
    rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor)
}

/// What the kernel says of a file: of `name` in `directory`, or of `directory` itself if the name is empty.
pub fn meta(directory: BorrowedFd<'_>, name: &str) -> io::Result<(Meta, rustix::fs::FileType)> {
    let s = statx(directory, name, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
    let birth = s.stx_btime.tv_sec as u64 * 1_000_000_000 + u64::from(s.stx_btime.tv_nsec);
    let meta = Meta {
        id: FileId([device(&s), s.stx_ino, birth]),
        size: s.stx_size,
        links: s.stx_nlink,
        mode: u32::from(s.stx_mode) & 0o7777,
        owner: (s.stx_uid, s.stx_gid),
        modified_s: s.stx_mtime.tv_sec,
        changed_after_write: (s.stx_ctime.tv_sec, s.stx_ctime.tv_nsec) > (s.stx_mtime.tv_sec, s.stx_mtime.tv_nsec),
        mount_root: s.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
    };
    Ok((meta, rustix::fs::FileType::from_raw_mode(u32::from(s.stx_mode))))
}

/// `meta`, with `None` for a name that does not exist.
pub fn lookup(directory: BorrowedFd<'_>, name: &str) -> io::Result<Option<Meta>> {
    match meta(directory, name) {
        Ok((meta, _)) => Ok(Some(meta)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Opens a name in a directory; never follows a symbolic link, never leaks over exec.
pub fn open_at(directory: BorrowedFd<'_>, name: &str, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
    Ok(rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(mode))?)
}

/// Opens a directory in a directory.
pub fn open_directory(directory: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    open_at(directory, name, OFlags::RDONLY | OFlags::DIRECTORY, 0)
}

/// Reads a small text file.
pub fn read_text(directory: BorrowedFd<'_>, name: &str) -> io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::from(open_at(directory, name, OFlags::RDONLY, 0)?).take(1 << 16).read_to_string(&mut text)?;
    Ok(text)
}

/// The names in a directory that begin with `prefix`. Names that are not UTF-8 are not ours.
pub fn names(directory: BorrowedFd<'_>, prefix: &str) -> io::Result<Vec<String>> {
    use std::os::unix::ffi::OsStrExt;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        if let Some(name) = OsStr::from_bytes(entry.file_name().to_bytes()).to_str()
            && name.starts_with(prefix)
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Wall clock, ns since 1970.
#[inline]
pub fn wall_ns() -> u64 {
    let t = rustix::time::clock_gettime(ClockId::Realtime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// No stamp of ours is later (year 2200): a damaged word must not carry a slot into the far future for ever.
pub const MAX_STAMP: u64 = 7_258_118_400_000_000_000;

/// Monotonic clock in ms, of a few ms resolution: a quarter of the price of the exact one.
#[inline]
pub fn coarse_ms() -> u64 {
    let t = rustix::time::clock_gettime(ClockId::MonotonicCoarse);
    t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000
}

/// The kernel's boot id; zeros if there is none to read, so that all lives look like one.
pub fn boot_id() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    parse_uuid(&text)
}

/// A random number of 128 bits.
pub fn random_id() -> io::Result<[u64; 2]> {
    Ok(parse_uuid(&std::fs::read_to_string("/proc/sys/kernel/random/uuid")?))
}

fn parse_uuid(text: &str) -> [u64; 2] {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let half =
        |range: std::ops::Range<usize>| digits.get(range).and_then(|d| u64::from_str_radix(d, 16).ok()).unwrap_or(0);
    [half(0..16), half(16..32)]
}
