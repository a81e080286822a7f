//! Where the journal of a log is, who may use it, and how a journal that is not ours is set aside.
//!
//! `.<log>.everyline/` stands beside the log; with `journal_dir` a regular file of that name says where instead. Inside
//! is one directory, `shared`, that holds the files. The outer directory decides who gets in: whoever may write the log.
//! The inner one and its files are open to all that got in, so that a worker that gave up root and kept the descriptor
//! of the inner directory can still attach (the descriptor is the permission).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, Uid};

use super::anchor::{Beside, look_beside, write_anchor};
use crate::error::{Error, ErrorKind, Result};
use crate::os::{self, Handle};
use crate::protocol::env::Meta;

/// Why a journal is set aside: the middle of its new name, which ends in sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// Its bytes are no journal.
    Corrupt,
    /// It was made for another log, or at another place.
    Copied,
    /// Nobody needs it; it is being removed.
    Gone,
}

impl Aside {
    const ALL: [Self; 3] = [Self::Corrupt, Self::Copied, Self::Gone];

    fn word(self) -> &'static str {
        match self {
            Self::Corrupt => "corrupt",
            Self::Copied => "copied",
            Self::Gone => "gone",
        }
    }

    /// Why, if `name` is what a journal called `journal` was renamed to when it was set aside.
    fn of_name(journal: &str, name: &str) -> Option<Self> {
        let (why, digits) = name.strip_prefix(journal)?.strip_prefix('.')?.split_once('-')?;
        let ours = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        Self::ALL.into_iter().find(|aside| ours && aside.word() == why)
    }
}

/// Name of the inner directory.
const SHARED: &str = "shared";

/// A log, found: its directory and its name in it.
#[derive(Debug)]
pub struct Log {
    /// The directory.
    pub directory: Handle,
    /// Base name.
    pub name: String,
    /// For messages only; the directory may have been renamed since.
    pub path: PathBuf,
}

/// The two directories of a journal.
#[derive(Debug)]
pub struct Place {
    /// What the outer directory is in.
    pub parent: Handle,
    /// Name of the outer directory there.
    pub outer_name: String,
    /// Device and inode of the outer directory.
    pub outer_id: (u64, u64),
    /// The inner directory.
    pub shared: Handle,
    /// For messages.
    pub path: PathBuf,
    /// Device and inode of the file beside the log that led here, if the journal stands elsewhere.
    anchor: Option<(u64, u64)>,
}

/// Journals of that name in a directory that were set aside.
pub fn asides(parent: &Handle, journal: &str) -> io::Result<Vec<(String, Aside)>> {
    // A descriptor of its own: the position in the directory belongs to the open file.
    let listing = os::open_directory(parent.fd(), ".")?;
    let names = os::names(listing.as_fd(), &format!("{journal}."))?;
    Ok(names.into_iter().filter_map(|name| Aside::of_name(journal, &name).map(|why| (name, why))).collect())
}

/// True if one of them was set aside for people to look at.
pub(super) fn keeps_asides(parent: &Handle, journal: &str) -> io::Result<bool> {
    Ok(asides(parent, journal)?.iter().any(|(_, why)| *why != Aside::Gone))
}

/// File systems on which `flock` and shared mappings are known to work between processes.
const SUPPORTED: &[(u64, &str)] = &[
    (0xEF53, "ext"),
    (0x5846_5342, "xfs"),
    (0x9123_683E, "btrfs"),
    (0xF2F5_2010, "f2fs"),
    (0x0102_1994, "tmpfs"),
    (0x794C_7630, "overlayfs"),
    (0x2FC1_2FC1, "zfs"),
    (0xCA45_1A4E, "bcachefs"),
];

impl Log {
    /// Finds the directory of a log. The last component is followed if it is a symbolic link: rotation and journal
    /// belong to the target, so that two names of one log meet.
    ///
    /// # Errors
    /// No such directory, or a name that cannot be a log.
    pub fn find(path: &Path) -> Result<Self> {
        if path.as_os_str().as_bytes().ends_with(b"/") {
            let hint = "a trailing slash names a directory; give the name of a file";
            return Err(Error::new(ErrorKind::InvalidTarget, "open log", path, hint));
        }
        let path = resolve(path)?;
        let bad = |hint: &str| Error::new(ErrorKind::InvalidTarget, "open log", &path, hint);
        let name = path.file_name().ok_or_else(|| bad("this is not the name of a file"))?;
        let name = name.to_str().ok_or_else(|| bad("the name must be valid UTF-8"))?.to_owned();
        let parent = path.parent().ok_or_else(|| bad("this is not the name of a file"))?;
        let directory = rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| {
            Error::os("open directory", parent, e).with_hint("the directory must exist and be readable")
        })?;
        let directory = Handle::new(directory).map_err(|e| Error::os("stat", parent, e))?;
        Ok(Self { directory, name, path })
    }

    /// Name of the outer directory, or of the anchor file.
    pub fn journal_name(&self) -> String {
        format!(".{}.everyline", crate::rotation::stem(&self.name))
    }
}

/// Makes the path absolute and follows symbolic links of the last component, also dangling ones.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let mut path = std::path::absolute(path).map_err(|e| Error::os("resolve", path, e))?;
    for _ in 0..40 {
        match std::fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            // Not a link, or not there.
            Err(_) => return Ok(path),
        }
    }
    Err(Error::os("resolve", &path, io::Error::from_raw_os_error(libc::ELOOP)))
}

impl Place {
    /// Opens the journal's directories as they stand.
    ///
    /// # Errors
    /// `NotAttached` if there are none; otherwise what stands in the way.
    pub fn find(log: &Log) -> Result<Self> {
        Self::open(log, None, None)
    }

    /// Opens the journal's directories; makes what is missing. `mode`: of a log that is not there yet, less the umask.
    ///
    /// # Errors
    /// `ENOENT` also if the last process that left removed the journal between two of our steps: try again.
    pub fn find_or_make(log: &Log, journal_dir: Option<&Path>, mode: u32) -> Result<Self> {
        Self::open(log, journal_dir, Some(mode))
    }

    /// One look at the name beside the log decides: an anchor, the journal itself, or nothing. Only over nothing is one of
    /// the two made, and neither replaces the other.
    fn open(log: &Log, journal_dir: Option<&Path>, create: Option<u32>) -> Result<Self> {
        let name = log.journal_name();
        let (parent, parent_path, anchor, create_here) = match look_beside(log, &name, create.is_some())? {
            Beside::Anchor(anchor) => (anchor.parent, anchor.path, Some(anchor.id), create),
            Beside::Other => (clone(&log.directory, &log.path)?, parent_of(&log.path), None, None),
            Beside::Nothing => {
                if let Some(elsewhere) = journal_dir.filter(|_| create.is_some()) {
                    write_anchor(log, &name, elsewhere)?;
                    return Err(again(log, &name));
                }
                (clone(&log.directory, &log.path)?, parent_of(&log.path), None, create)
            }
        };
        let path = parent_path.join(&name);
        match Self::open_in(log, parent, &name, &path, create.is_some(), create_here) {
            Ok(place) => Ok(Self { anchor, ..place }),
            // It was there a moment ago.
            Err(e) if create.is_some() && e.kind() == ErrorKind::NotAttached => Err(again(log, &name)),
            Err(e) => Err(e),
        }
    }

    /// `make`: the outer directory, if it is missing; `make_inner`: what belongs into it.
    fn open_in(
        log: &Log,
        parent: Handle,
        name: &str,
        path: &Path,
        make_inner: bool,
        make: Option<u32>,
    ) -> Result<Self> {
        let fail = |operation: &'static str| move |e: io::Error| Error::os(operation, path, e);
        let outer = match os::open_directory(parent.fd(), name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && make.is_some() => {
                check_file_system(parent.fd(), path)?;
                make_outer(log, parent.fd(), name, make.unwrap_or(0)).map_err(fail("make journal"))?;
                // By now the name may be another's, or an anchor's.
                return Err(again(log, name));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::new(
                    ErrorKind::NotAttached,
                    "open journal",
                    path,
                    "no process is attached to this log",
                ));
            }
            // An anchor that came while we looked: it was not there, or was no file, a moment ago.
            Err(_)
                if make_inner
                    && parent.id() == log.directory.id()
                    && os::meta(parent.fd(), name).is_ok_and(|(_, kind)| kind.is_file()) =>
            {
                return Err(again(log, name));
            }
            Err(e) if matches!(e.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => {
                let hint = "something else stands where the journal belongs; remove it";
                return Err(Error::os("open journal", path, e).with_hint(hint));
            }
            Err(e) => {
                let hint = "whoever writes the log must be able to use its journal; or set journal_dir";
                return Err(Error::os("open journal", path, e).with_hint(hint));
            }
            Ok(outer) => outer,
        };
        check_owner(log, &outer, path)?;
        let outer_id = os::device_and_inode(&outer).map_err(fail("stat journal"))?;
        let shared = open_shared(&outer, make_inner).map_err(fail("open journal"))?;
        check_file_system(shared.as_fd(), path)?;
        let shared = Handle::new(shared).map_err(fail("open journal"))?;
        Ok(Self { parent, outer_name: name.to_owned(), outer_id, shared, path: path.to_path_buf(), anchor: None })
    }

    /// A journal through an inherited descriptor of its inner directory: for a process that may not open the outer one.
    ///
    /// # Errors
    /// If the name of the journal leads to another one by now.
    pub fn inherited(log: &Log, shared: Handle) -> Result<Self> {
        let name = log.journal_name();
        let path = parent_of(&log.path).join(&name);
        let fail = |e: io::Error| Error::os("open inherited journal", &path, e);
        let (outer, _) = os::meta(shared.fd(), "..").map_err(fail)?;
        let (parent, anchor) = match look_beside(log, &name, false)? {
            Beside::Anchor(anchor) => (anchor.parent, Some(anchor.id)),
            _ => (clone(&log.directory, &log.path)?, None),
        };
        let outer_id = (outer.id.0[0], outer.id.0[1]);
        let place = Self { parent, outer_name: name, outer_id, shared, path: path.clone(), anchor };
        match place.is_current(log) {
            Ok(true) => Ok(place),
            Ok(false) => Err(fail(io::Error::from_raw_os_error(libc::ESTALE))),
            Err(e) => Err(fail(e)),
        }
    }

    /// True if the name of the journal still leads to these directories, and an anchor beside the log to the name.
    ///
    /// # Errors
    /// This process cannot tell (it gave up the right to look): that says nothing about the journal.
    pub fn is_current(&self, log: &Log) -> io::Result<bool> {
        let is = |m: Option<Meta>, id| m.is_some_and(|m| (m.id.0[0], m.id.0[1]) == id);
        if let Some(anchor) = self.anchor
            && !is(os::lookup(log.directory.fd(), &self.outer_name)?, anchor)
        {
            return Ok(false);
        }
        Ok(is(os::lookup(self.parent.fd(), &self.outer_name)?, self.outer_id))
    }

    /// Before the journal is removed, under the exclusive lock: removes the file beside the log that says where it is.
    /// In this order whoever builds a new one at the same place finds that its anchor is gone (`is_current`). It stays
    /// while journals that were set aside stand there: nothing else would lead to them.
    pub fn remove_anchor(&self, log: &Log) -> io::Result<()> {
        if self.anchor.is_some() && !keeps_asides(&self.parent, &self.outer_name)? {
            rustix::fs::unlinkat(log.directory.fd(), self.outer_name.as_str(), AtFlags::empty())?;
        }
        Ok(())
    }

    /// Afterwards: the directory made for this log in `journal_dir`, if nothing else is in it.
    pub fn remove_own_parent(&self) {
        if self.anchor.is_some() {
            let _ = self.path.parent().map(std::fs::remove_dir);
        }
    }

    /// Renames the journal away, so that a new one can be built. What it holds is kept for people to look at.
    pub fn set_aside(&self, why: Aside) -> io::Result<String> {
        let aside = format!("{}.{}-{:016x}", self.outer_name, why.word(), os::wall_ns());
        let parent = self.parent.fd();
        rustix::fs::renameat_with(parent, self.outer_name.as_str(), parent, aside.as_str(), RenameFlags::NOREPLACE)?;
        Ok(aside)
    }
}

pub(super) fn parent_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_path_buf()
}

fn clone(handle: &Handle, path: &Path) -> Result<Handle> {
    let fd = rustix::io::fcntl_dupfd_cloexec(handle.fd(), 0).map_err(|e| Error::os("open directory", path, e))?;
    Handle::new(fd).map_err(|e| Error::os("open directory", path, e))
}

/// The journal was made, moved or removed between two steps: begin again.
fn again(log: &Log, name: &str) -> Error {
    Error::os("open journal", parent_of(&log.path).join(name), io::Error::from_raw_os_error(libc::ENOENT))
}

/// The log file as it is, if it exists: the journal follows its owner and mode.
fn log_meta(log: &Log) -> io::Result<Option<Meta>> {
    os::lookup(log.directory.fd(), &log.name)
}

/// Who may write the log may enter the journal, and nobody else: it holds log text. A log that is not there is made first:
/// umask, group of the directory and access lists then decide about both.
fn make_outer(log: &Log, parent: BorrowedFd<'_>, name: &str, log_mode: u32) -> io::Result<()> {
    let meta = match log_meta(log)? {
        Some(meta) => Some(meta),
        None => {
            // Best effort: whoever writes hears of it if it cannot be made.
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let _ = os::open_at(log.directory.fd(), &log.name, flags, log_mode);
            log_meta(log)?
        }
    };
    // Under another name until it has its mode: whoever meets it may enter it.
    let temporary = format!("{name}-new-{}-{:x}", std::process::id(), os::wall_ns());
    rustix::fs::mkdirat(parent, temporary.as_str(), Mode::from_raw_mode(0o700))?;
    let made = make_shared(parent, &temporary).and_then(|()| open_to_writers(parent, &temporary, meta.as_ref()));
    let made = made.and_then(|()| {
        match rustix::fs::renameat_with(parent, temporary.as_str(), parent, name, RenameFlags::NOREPLACE) {
            // A file system without RENAME_NOREPLACE: without it only an empty directory is replaced.
            Err(rustix::io::Errno::INVAL) => rustix::fs::renameat(parent, temporary.as_str(), parent, name),
            other => other,
        }
    });
    if made.is_err() {
        let _ = rustix::fs::unlinkat(parent, format!("{temporary}/{SHARED}").as_str(), AtFlags::REMOVEDIR);
        let _ = rustix::fs::unlinkat(parent, temporary.as_str(), AtFlags::REMOVEDIR);
    }
    match made {
        Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY) => Ok(()),
        other => Ok(other?),
    }
}

/// The inner directory of a journal that has no name yet.
fn make_shared(parent: BorrowedFd<'_>, outer: &str) -> rustix::io::Result<()> {
    let path = format!("{outer}/{SHARED}");
    rustix::fs::mkdirat(parent, path.as_str(), Mode::from_raw_mode(0o777))?;
    // The umask does not count here; the outer directory is the door.
    rustix::fs::chmodat(parent, path.as_str(), Mode::from_raw_mode(0o777), AtFlags::empty())
}

fn open_to_writers(parent: BorrowedFd<'_>, name: &str, log: Option<&Meta>) -> rustix::io::Result<()> {
    let Some(log) = log else { return Ok(()) };
    let open_to = |write: u32, all: u32| if log.mode & write != 0 { all } else { 0 };
    let mode = 0o700 | open_to(0o020, 0o070) | open_to(0o002, 0o007);
    rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
    let (user, group) = (Uid::from_raw(log.owner.0), Gid::from_raw(log.owner.1));
    // Only root may give files away, and only a member may give them to a group; without it the mode decides alone.
    let _ = rustix::fs::chownat(parent, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW);
    Ok(())
}

fn open_shared(outer: &OwnedFd, create: bool) -> io::Result<OwnedFd> {
    match os::open_directory(outer.as_fd(), SHARED) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && create => {}
        other => return other,
    }
    match rustix::fs::mkdirat(outer, SHARED, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let shared = os::open_directory(outer.as_fd(), SHARED)?;
    // The umask does not count here; the outer directory is the door.
    rustix::fs::fchmod(&shared, Mode::from_raw_mode(0o777))?;
    Ok(shared)
}

fn check_owner(log: &Log, outer: &OwnedFd, path: &Path) -> Result<()> {
    let (meta, _) = os::meta(outer.as_fd(), "").map_err(|e| Error::os("stat journal", path, e))?;
    let me = rustix::process::geteuid().as_raw();
    let log_owner = log_meta(log).ok().flatten().map(|m| m.owner.0);
    if [0, me].contains(&meta.owner.0) || log_owner == Some(meta.owner.0) || me == 0 {
        return Ok(());
    }
    let hint = format!("it belongs to user {}, who neither owns the log nor is this process; remove it", meta.owner.0);
    Err(Error::new(ErrorKind::ForeignJournal, "open journal", path, hint))
}

pub(super) fn check_file_system(directory: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let kind = rustix::fs::fstatfs(directory).map_err(|e| Error::os("statfs", path, e))?.f_type as u64;
    if SUPPORTED.iter().any(|(magic, _)| *magic == kind) {
        return Ok(());
    }
    let names: Vec<_> = SUPPORTED.iter().map(|(_, name)| *name).collect();
    let hint = format!(
        "file system type {kind:#x} is not known to keep locks and shared memory coherent between processes; \
         set journal_dir to a directory on one of {}",
        names.join(", ")
    );
    Err(Error::new(ErrorKind::UnsupportedFileSystem, "open journal", path, hint))
}
