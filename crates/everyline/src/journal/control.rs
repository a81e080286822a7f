//! The control file: opened, built, judged. One journal, one engine.
//!
//! Promise: a [`Control`] in hand is the one at its path, ready, of this layout, and locked (shared) for as long as its
//! mapping lives. Building, judging a dead journal and removing it happen under the exclusive lock, so nobody meets a
//! half-built or half-removed one. A journal that is a copy, or was restored, is set aside, never replayed (I7).
//!
//! What makes a journal a copy is another inode or birth time of `control`, or another inode of the log's directory. The
//! device number is not asked: it changes when a file system is mounted anew, or the machine is started. A changed one
//! only means that the journal's memory may be of another life, as after a reboot (see `boot`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, OFlags, RenameFlags};

use super::boot;
use super::claim::map_slot;
use super::layout::{BYTE_ORDER, CONTROL_BYTES, Control, Identity, LAYOUT_VERSION, MAGIC, READY, SLOTS};
use super::map::Map;
use super::place::{Aside, Log, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::options::{RING_BYTES_MAX, RING_BYTES_MIN};
use crate::os::{self, Transient};
use crate::protocol::lease::State;

/// Name of the control file.
pub const NAME: &str = "control";
/// The control file, mapped and locked.
#[derive(Debug)]
pub struct ControlFile {
    map: Map,
    /// Device and inode.
    pub id: (u64, u64),
    /// Verified ring size of every slot.
    pub ring_bytes: u64,
    /// The journal's uuid.
    pub uuid: [u64; 2],
    /// The descriptor that holds the shared lock, until it is known that the mapping does.
    pub lock: Option<Transient>,
}

/// What is wrong with a journal.
enum Verdict {
    Good,
    /// Bytes that are no journal, or a journal that stood elsewhere: out of the way with it.
    Aside(Aside),
    /// One that somebody may still need.
    Refuse(String),
}

impl ControlFile {
    /// Opens the control file of `place`, or builds it. `None`: it went away meanwhile, try again.
    ///
    /// `first`: done before anybody else can attach, if the journal is a new one.
    ///
    /// # Errors
    /// A journal of another version or architecture; what the system says; a time-out if somebody sits on the lock:
    /// building or removing takes milliseconds, so he is stopped in the middle of it.
    pub fn attach(
        log: &Log,
        place: &Place,
        ring_bytes: u64,
        until: Instant,
        first: impl Fn() -> Result<()>,
    ) -> Result<Option<Self>> {
        let path = place.path.join(NAME);
        let fail = |operation: &'static str| {
            let path = path.clone();
            move |e: io::Error| Error::os(operation, &path, e)
        };
        loop {
            let Some(fd) = open_or_build(log, place, ring_bytes).map_err(fail("build journal"))? else {
                if Instant::now() >= until {
                    let hint = "another process is building this journal all the time; is it stopped?";
                    return Err(Error::new(ErrorKind::TimedOut, "build journal", &path, hint));
                }
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            let alone = os::try_flock(fd.fd(), true).map_err(fail("lock journal"))?;
            if !alone && !os::try_flock(fd.fd(), false).map_err(fail("lock journal"))? {
                if Instant::now() >= until {
                    let hint = "another process is building or removing this journal all the time; is it stopped?";
                    return Err(Error::new(ErrorKind::TimedOut, "lock journal", &path, hint));
                }
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            if !is_at_path(log, place, fd.fd()).map_err(fail("stat journal"))? {
                return Ok(None);
            }
            if alone {
                match Self::take_first(log, place, fd.fd(), &first)? {
                    Verdict::Good => {}
                    Verdict::Aside(_) => return Ok(None),
                    Verdict::Refuse(hint) => {
                        return Err(Error::new(ErrorKind::ForeignJournal, "open journal", &path, hint));
                    }
                }
                // Not atomic: somebody may take it exclusively in between, and remove what nobody uses.
                if !os::try_flock(fd.fd(), false).map_err(fail("lock journal"))?
                    || !is_at_path(log, place, fd.fd()).map_err(fail("stat journal"))?
                {
                    return Ok(None);
                }
            }
            let map = Map::shared(fd.fd(), CONTROL_BYTES, true).map_err(fail("map journal"))?;
            let id = fd.id();
            let control = view(&map);
            match judge(&control.identity, fd.fd(), log).map_err(fail("stat journal"))? {
                Verdict::Good => {}
                Verdict::Aside(why) => {
                    place.set_aside(why).map_err(fail("set aside journal"))?;
                    return Ok(None);
                }
                Verdict::Refuse(hint) => {
                    return Err(Error::new(ErrorKind::ForeignJournal, "open journal", &path, hint));
                }
            }
            let ring_bytes = control.identity.ring_bytes.load(Ordering::Relaxed);
            let uuid = load2(&control.identity.uuid);
            return Ok(Some(Self { map, id, ring_bytes, uuid, lock: Some(fd) }));
        }
    }

    /// Under the exclusive lock: judges what nobody uses, and finishes it after a reboot.
    fn take_first(log: &Log, place: &Place, fd: BorrowedFd<'_>, first: &impl Fn() -> Result<()>) -> Result<Verdict> {
        let path = place.path.join(NAME);
        let fail = |e: io::Error| Error::os("build journal", &path, e);
        let size = rustix::fs::fstat(fd).map_err(|e| fail(e.into()))?.st_size;
        if size as usize != CONTROL_BYTES {
            place.set_aside(Aside::Corrupt).map_err(fail)?;
            return Ok(Verdict::Aside(Aside::Corrupt));
        }
        let map = Map::shared(fd, CONTROL_BYTES, true).map_err(fail)?;
        let control = view(&map);
        let verdict = judge(&control.identity, fd, log).map_err(fail)?;
        match verdict {
            Verdict::Good => {
                let (boot, device) = (os::boot_id(), own_id(fd).map_err(fail)?[0]);
                let identity = &control.identity;
                if load2(&identity.boot) != boot || identity.own[0].load(Ordering::Relaxed) != device {
                    boot::settle(log, place, control).map_err(fail)?;
                    store2(&identity.log_directory, log.directory.id().into());
                    identity.own[0].store(device, Ordering::Relaxed);
                    store2(&identity.boot, boot);
                }
                free_lease_of_nobody(place, control);
                // Nobody was ever in it: its builder died, or made room for us.
                if control.wishes.high_water.load(Ordering::Relaxed) == 0
                    && control.file.epoch.load(Ordering::Relaxed) == 0
                {
                    first()?;
                }
            }
            Verdict::Aside(why) => {
                place.set_aside(why).map_err(fail)?;
            }
            Verdict::Refuse(_) => {}
        }
        Ok(verdict)
    }

    /// The words.
    pub fn words(&self) -> &Control {
        view(&self.map)
    }

    /// True if the path still leads to this file.
    ///
    /// # Errors
    /// This process cannot tell.
    pub fn is_current(&self, log: &Log, place: &Place) -> io::Result<bool> {
        let here = os::lookup(place.shared.fd(), NAME)?;
        Ok(here.is_some_and(|m| (m.id.0[0], m.id.0[1]) == self.id) && place.is_current(log)?)
    }
}

/// The control words of a mapped control file.
pub fn view(map: &Map) -> &Control {
    // SAFETY: Control consists of atomics only.
    unsafe { map.at(0) }
}

/// A lease that names a slot which is not there (a damaged word, a slot file removed by hand) could never be taken over:
/// there is no lock to prove its holder dead with. Under the exclusive lock nobody is attached, so nobody holds it.
fn free_lease_of_nobody(place: &Place, control: &Control) {
    let seen = control.lease.load();
    let (State::Held(slot) | State::Pending(slot)) = seen.state() else { return };
    let (uuid, ring_bytes) = (load2(&control.identity.uuid), control.identity.ring_bytes.load(Ordering::Relaxed));
    if map_slot(place, uuid, ring_bytes, slot, false).is_err()
        && let Some(held) = control.lease.take(seen, 0)
    {
        // Its note is lost, and with it what it had taken: all rings are looked at by whoever comes next.
        let _ = control.lease.release(held, &control.dirty);
    }
}

/// The control file, locked or not. `None`: somebody else is building it.
///
/// What stands under its name is whole, always: it is built under another name. So an empty or unfinished file of that
/// name is none of ours (a copy being made by somebody, say), and is never written to.
fn open_or_build(log: &Log, place: &Place, ring_bytes: u64) -> io::Result<Option<Transient>> {
    match os::open_at(place.shared.fd(), NAME, OFlags::RDWR, 0) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => return Transient::new(other?).map(Some),
    }
    let Some(fd) = begin_file(place, NAME)? else { return Ok(None) };
    build(log, fd.fd(), ring_bytes)?;
    Ok(finish_file(place, NAME, false)?.then_some(fd))
}

/// Makes a journal file, or opens the one that another process has just made. Open to whoever got into the directory, and
/// that from the moment when it has its name: a process of another user may come at any time.
pub fn make_file(place: &Place, name: &str) -> io::Result<OwnedFd> {
    let shared = place.shared.fd();
    let temporary = format!("new-{}-{:x}-{name}", std::process::id(), os::wall_ns());
    let fd = os::open_at(shared, &temporary, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, 0o666)?;
    // The umask does not count here; the outer directory is the door.
    let named = rustix::fs::fchmod(&fd, rustix::fs::Mode::from_raw_mode(0o666))
        .map_err(io::Error::from)
        .and_then(|()| name_it(place, &temporary, name));
    let _ = rustix::fs::unlinkat(shared, temporary.as_str(), AtFlags::empty());
    if named? { Ok(fd) } else { os::open_at(shared, name, OFlags::RDWR, 0) }
}

/// Renames a new file, unless somebody was faster.
fn name_it(place: &Place, from: &str, to: &str) -> io::Result<bool> {
    let shared = place.shared.fd();
    let renamed = match rustix::fs::renameat_with(shared, from, shared, to, RenameFlags::NOREPLACE) {
        // A file system without RENAME_NOREPLACE.
        Err(rustix::io::Errno::INVAL) => rustix::fs::linkat(shared, from, shared, to, AtFlags::empty())
            .and_then(|()| rustix::fs::unlinkat(shared, from, AtFlags::empty())),
        other => other,
    };
    match renamed {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn unfinished(name: &str) -> String {
    format!("{name}.new")
}

/// Begins a file that is to appear under `name` when it is whole: locked exclusively, and with the lock on it it will
/// appear. A dead maker's beginning is used again. `None`: somebody else is at it.
pub fn begin_file(place: &Place, name: &str) -> io::Result<Option<Transient>> {
    let (shared, name) = (place.shared.fd(), unfinished(name));
    let fd = match os::open_at(shared, &name, OFlags::RDWR, 0) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => make_file(place, &name),
        other => other,
    }?;
    let fd = Transient::new(fd)?;
    // Under the lock: whoever had it before may have finished it, and then the name is gone, or another's.
    let is_mine =
        os::try_flock(fd.fd(), true)? && os::lookup(shared, &name)?.is_some_and(|m| (m.id.0[0], m.id.0[1]) == fd.id());
    Ok(is_mine.then_some(fd))
}

/// Gives it its name. `replace`: what stands there is not ours, and locked by this process. False: somebody was faster.
pub fn finish_file(place: &Place, name: &str, replace: bool) -> io::Result<bool> {
    if !replace {
        return name_it(place, &unfinished(name), name);
    }
    let shared = place.shared.fd();
    rustix::fs::renameat(shared, unfinished(name).as_str(), shared, name)?;
    Ok(true)
}

fn is_at_path(log: &Log, place: &Place, fd: BorrowedFd<'_>) -> io::Result<bool> {
    let own = os::device_and_inode(fd)?;
    let here = os::lookup(place.shared.fd(), NAME)?;
    Ok(here.is_some_and(|m| (m.id.0[0], m.id.0[1]) == own) && place.is_current(log)?)
}

/// Writes the whole file, so that its space is really there, then the identity, `ready` last.
fn build(log: &Log, fd: BorrowedFd<'_>, ring_bytes: u64) -> io::Result<()> {
    write_zeros(fd, CONTROL_BYTES)?;
    let map = Map::shared(fd, CONTROL_BYTES, true)?;
    let identity = &view(&map).identity;
    let set = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
    set(&identity.magic, MAGIC);
    set(&identity.version, LAYOUT_VERSION);
    set(&identity.byte_order, BYTE_ORDER);
    for (word, value) in identity.own.iter().zip(own_id(fd)?) {
        set(word, value);
    }
    store2(&identity.uuid, os::random_id()?);
    store2(&identity.boot, os::boot_id());
    store2(&identity.log_directory, log.directory.id().into());
    set(&identity.ring_bytes, ring_bytes);
    set(&identity.slots, SLOTS as u64);
    set(&identity.built_ns, os::wall_ns());
    // Release: whoever sees it sees the rest.
    identity.ready.store(READY, Ordering::Release);
    Ok(())
}

/// Writes zeros over the first `len` bytes: the blocks are allocated now, not when a page is first stored to, where a
/// full disk would be a SIGBUS.
pub fn write_zeros(fd: impl AsFd, len: usize) -> io::Result<()> {
    let zeros = vec![0; len.min(1 << 20)];
    let mut done = 0;
    while done < len {
        let n = zeros.len().min(len - done);
        done += rustix::io::pwrite(&fd, &zeros[..n], done as u64)?;
    }
    Ok(())
}

fn own_id(fd: BorrowedFd<'_>) -> io::Result<[u64; 3]> {
    Ok(os::meta(fd, "")?.0.id.0)
}

fn judge(identity: &Identity, fd: BorrowedFd<'_>, log: &Log) -> io::Result<Verdict> {
    let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let magic = load(&identity.magic);
    let elsewhere = "it was made on a machine of another architecture; remove it there, or delete it here";
    if magic == MAGIC.swap_bytes() {
        return Ok(Verdict::Refuse(elsewhere.to_owned()));
    }
    if identity.ready.load(Ordering::Acquire) != READY {
        return Ok(Verdict::Aside(Aside::Corrupt));
    }
    if magic != MAGIC {
        return Ok(Verdict::Aside(Aside::Corrupt));
    }
    if load(&identity.byte_order) != BYTE_ORDER {
        return Ok(Verdict::Refuse(elsewhere.to_owned()));
    }
    let version = load(&identity.version);
    if version != LAYOUT_VERSION || load(&identity.incompatible) != 0 {
        return Ok(Verdict::Refuse(format!(
            "it has layout version {version} and this program knows {LAYOUT_VERSION}; stop the processes that use it, \
             run `everyline recover` of their version, then start again"
        )));
    }
    let (own, directory) = (own_id(fd)?, log.directory.id());
    let is_here = identity.own.iter().map(load).skip(1).eq(own.into_iter().skip(1))
        && load(&identity.log_directory[1]) == directory.1
        // Without birth times the device is all there is beside numbers that two file systems may well share.
        && (own[2] != 0 || load(&identity.own[0]) == own[0] && load(&identity.log_directory[0]) == directory.0);
    if !is_here {
        return Ok(Verdict::Aside(Aside::Copied));
    }
    let ring = load(&identity.ring_bytes);
    if !ring.is_power_of_two()
        || !(RING_BYTES_MIN..=RING_BYTES_MAX).contains(&ring)
        || load(&identity.slots) != SLOTS as u64
    {
        return Ok(Verdict::Aside(Aside::Corrupt));
    }
    Ok(Verdict::Good)
}

/// Two words.
pub fn load2(words: &[AtomicU64; 2]) -> [u64; 2] {
    std::array::from_fn(|i| words[i].load(Ordering::Relaxed))
}

/// Two words.
pub fn store2(words: &[AtomicU64; 2], values: [u64; 2]) {
    words.iter().zip(values).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
}
