//! The small file beside a log that says where its journal is, when that is not beside the log (`journal_dir`).
//!
//! Promise: whoever meets an anchor meets a whole one, owned by root or by himself. It goes when the journal goes. Two logs
//! of one name in different directories never meet in one `journal_dir`.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};

use super::place::{Log, check_file_system, keeps_asides, parent_of};
use crate::error::{Error, ErrorKind, Result};
use crate::os::{self, Handle};

/// First line of an anchor file.
const ANCHOR: &str = "everyline journal at";
/// What stands beside the log under the journal's name.
pub enum Beside {
    /// Nothing.
    Nothing,
    /// A file that says where the journal is.
    Anchor(Anchor),
    /// The journal, or what cannot be looked at, or is something else: opening it tells.
    Other,
}

/// Where an anchor file leads to.
pub struct Anchor {
    /// The directory that holds the journal.
    pub parent: Handle,
    /// Its path.
    pub path: PathBuf,
    /// Device and inode of the file itself.
    pub(super) id: (u64, u64),
}

/// Follows an anchor file, if one stands beside the log. `create`: where it leads to is made if it is missing.
pub fn look_beside(log: &Log, name: &str, create: bool) -> Result<Beside> {
    let path = parent_of(&log.path).join(name);
    let fail = |e: io::Error| Error::os("read anchor of journal", &path, e);
    let meta = match os::meta(log.directory.fd(), name) {
        Ok((meta, kind)) if kind.is_file() => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Beside::Nothing),
        _ => return Ok(Beside::Other),
    };
    let me = rustix::process::geteuid().as_raw();
    if ![0, me].contains(&meta.owner.0) {
        let hint = format!("it belongs to user {}, and would lead this process elsewhere; remove it", meta.owner.0);
        return Err(Error::new(ErrorKind::ForeignJournal, "read anchor of journal", &path, hint));
    }
    let text = os::read_text(log.directory.fd(), name).map_err(fail)?;
    let target = text.strip_prefix(ANCHOR).and_then(|rest| rest.lines().next()).map(|t| PathBuf::from(t.trim()));
    let Some(target) = target.filter(|t| t.is_absolute()) else {
        let hint = "this file should name the directory of the journal and does not; remove it";
        return Err(Error::new(ErrorKind::ForeignJournal, "read anchor of journal", &path, hint));
    };
    let parent = match open_parent(&target) {
        // The last process that left took it away after another one had found it there and written an anchor to it. Only
        // itself is made anew: if `journal_dir` is gone, that is an error.
        Err(e) if create && e.raw_os_error() == Some(libc::ENOENT) => {
            let _ = std::fs::create_dir(&target);
            open_parent(&target)?
        }
        other => other?,
    };
    Ok(Beside::Anchor(Anchor { parent, path: target, id: (meta.id.0[0], meta.id.0[1]) }))
}

/// Removes an anchor that leads to no journal, neither one in use nor one that was set aside. If somebody builds one there
/// at this moment, he notices as if it had been moved.
pub fn remove_idle_anchor(log: &Log) -> Result<()> {
    let name = log.journal_name();
    let Beside::Anchor(anchor) = look_beside(log, &name, true)? else { return Ok(()) };
    let fail = |e: io::Error| Error::os("remove anchor of journal", &log.path, e);
    let idle = os::lookup(anchor.parent.fd(), &name).map_err(fail)?.is_none()
        && !keeps_asides(&anchor.parent, &name).map_err(fail)?;
    if idle {
        let gone = rustix::fs::unlinkat(log.directory.fd(), name.as_str(), AtFlags::empty());
        gone.or_else(|e| if e == rustix::io::Errno::NOENT { Ok(()) } else { Err(e) }).map_err(|e| fail(e.into()))?;
        let _ = std::fs::remove_dir(&anchor.path);
    }
    Ok(())
}

fn open_parent(path: &Path) -> Result<Handle> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(io::Error::from)
        .and_then(Handle::new)
        .map_err(|e| Error::os("open journal_dir", path, e).with_hint("the directory must exist and be writable"))
}

/// Two logs of one name in different directories may share a `journal_dir`: each gets a directory of its own, named
/// after the directory of the log.
pub(super) fn write_anchor(log: &Log, name: &str, journal_dir: &Path) -> Result<()> {
    let elsewhere = std::path::absolute(journal_dir).map_err(|e| Error::os("resolve", journal_dir, e))?;
    // Before the anchor is written: once it is there, it is what counts.
    check_file_system(open_parent(&elsewhere)?.fd(), &elsewhere)?;
    let own = elsewhere.join(format!("everyline-{:x}-{:x}", log.directory.id().0, log.directory.id().1));
    if own.as_os_str().as_bytes().contains(&b'\n') {
        return Err(Error::option("journal_dir", "a path with a line break cannot be written down"));
    }
    std::fs::DirBuilder::new()
        .recursive(false)
        .create(&own)
        .or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) })
        .map_err(|e| Error::os("make journal_dir", &own, e).with_hint("journal_dir must exist and be writable"))?;
    let path = parent_of(&log.path).join(name);
    let fail = |e: io::Error| Error::os("write anchor of journal", &path, e);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    // Written under another name first: whoever meets an anchor, also after a kill in between, meets a whole one.
    let directory = log.directory.fd();
    let temporary = format!("{name}-new-{}-{:x}", std::process::id(), os::wall_ns());
    let fd = os::open_at(directory, &temporary, flags, 0o644).map_err(fail)?;
    let text = format!("{ANCHOR} {}\n", own.display());
    let result = io::Write::write_all(&mut std::fs::File::from(fd), text.as_bytes()).and_then(|()| {
        match rustix::fs::renameat_with(directory, temporary.as_str(), directory, name, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(e) => Err(e.into()),
        }
    });
    if !matches!(result, Ok(true)) {
        let _ = rustix::fs::unlinkat(directory, temporary.as_str(), AtFlags::empty());
    }
    result.map(drop).map_err(fail)
}
