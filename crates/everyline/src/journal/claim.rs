//! Slots: claiming one for this process, mapping those of others, and asking whether a process is dead.
//!
//! Promise (I8): a slot belongs to the process whose memory holds the lock on its file. The lock is taken on a
//! descriptor, the file is mapped through that descriptor, and the descriptor is closed: from then on the lock lives
//! exactly as long as the address space, whatever is done to descriptors, and a forked child (which does not get the
//! mapping) does not hold it. Where the kernel does not keep the lock with the mapping (overlayfs) the descriptor stays.
//! Slot files are never removed while the journal is in use, so a lock always means the same file.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use rustix::fs::OFlags;

use super::control::{ControlFile, begin_file, finish_file, load2, make_file, store2, write_zeros};
use super::layout::{LAYOUT_VERSION, MAGIC, NOTE_OFFSET, READY, SLOTS, SlotHeader};
use super::map::Map;
use super::place::Place;
use super::slot::Slot;
use crate::error::{Error, ErrorKind, Result};
use crate::os::{self, Transient};

/// Claimed slots that an attaching process probes for a dead owner before it takes a fresh one: keeps the number of
/// slot files near the number of processes, at a few microseconds each.
const PROBES: usize = 8;

/// A slot that is ours.
#[derive(Debug)]
pub struct Claim {
    /// Its number.
    pub index: u16,
    /// Its memory.
    pub slot: Slot,
    /// Holds the lock where the mapping does not.
    pub lock: Option<Transient>,
}

/// Name of a slot file.
pub fn slot_name(index: u16) -> String {
    format!("slot-{index:04}")
}

/// Name of an overflow file.
pub fn overflow_name(index: u16) -> String {
    format!("over-{index:04}")
}

/// Takes a free slot: one of a dead process if one is found quickly, else the lowest that nobody claims.
///
/// `pinned`: the mapping keeps the lock (see [`mapping_keeps_lock`]).
///
/// # Errors
/// `NoFreeSlot`, or what the system says (a full disk, no descriptors).
pub fn claim(place: &Place, control: &ControlFile, pinned: bool) -> Result<Claim> {
    let words = control.words();
    let claimed = |slot: usize| is_claimed(control, slot);
    let high = (words.wishes.high_water.load(Ordering::Relaxed) as usize).min(SLOTS);
    let cursor = words.wishes.reap_cursor.fetch_add(PROBES as u64, Ordering::Relaxed) as usize;
    let quick = (0..PROBES.min(high)).map(|i| cursor.wrapping_add(i) % high).filter(|slot| claimed(*slot));
    let free = (0..SLOTS).filter(|slot| !claimed(*slot));
    let rest = (0..SLOTS).filter(|slot| claimed(*slot));
    for index in quick.chain(free).chain(rest) {
        if let Some(claim) = try_claim(place, control, pinned, index as u16)? {
            words.claimed[index / 64].fetch_or(1 << (index % 64), Ordering::Relaxed);
            words.wishes.high_water.fetch_max(index as u64 + 1, Ordering::AcqRel);
            return Ok(claim);
        }
    }
    let hint = format!("{SLOTS} processes are attached to this log already");
    Err(Error::new(ErrorKind::NoFreeSlot, "attach to journal", &place.path, hint))
}

fn is_claimed(control: &ControlFile, slot: usize) -> bool {
    control.words().claimed[slot / 64].load(Ordering::Relaxed) >> (slot % 64) & 1 == 1
}

fn try_claim(place: &Place, control: &ControlFile, pinned: bool, index: u16) -> Result<Option<Claim>> {
    let name = slot_name(index);
    let fail = |operation: &'static str| {
        let path = place.path.join(&name);
        move |e: io::Error| Error::os(operation, path, e)
    };
    let len = Slot::file_bytes(control.ring_bytes);
    let found = match os::open_at(place.shared.fd(), &name, OFlags::RDWR, 0) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        other => Some(other.and_then(Transient::new).map_err(fail("open slot"))?),
    };
    if let Some(fd) = &found
        && !(os::try_flock(fd.fd(), true).map_err(fail("lock slot"))?
            && is_at_path(place, &name, fd).map_err(fail("stat slot"))?)
    {
        return Ok(None);
    }
    let fd = match found {
        Some(fd) if is_ours(fd.fd(), control, index, len) => fd,
        // Its process may live, in the file that this one was put in the place of.
        Some(_) if is_claimed(control, usize::from(index)) => return Ok(None),
        // Somebody's copy, or damaged: replaced, and never written to, since whoever makes it may not be done.
        other => match make_slot(place, control, index, other.is_some()).map_err(fail("make slot"))? {
            Some(fd) => fd,
            None => return Ok(None),
        },
    };
    let map = Map::shared(fd.fd(), len, true).map_err(fail("map slot"))?;
    map.populate();
    let slot = Slot::new(map, control.ring_bytes);
    let identity = &slot.header().identity;
    identity.pid.store(u64::from(std::process::id()), Ordering::Relaxed);
    identity.attached_ns.store(os::wall_ns(), Ordering::Relaxed);
    // A process that died while it waited for room is waited for no more.
    slot.header().waiters.count.store(0, Ordering::Relaxed);
    Ok(Some(Claim { index, slot, lock: (!pinned).then_some(fd) }))
}

/// A slot file is whole when it gets its name, and locked by its maker.
fn make_slot(place: &Place, control: &ControlFile, index: u16, replace: bool) -> io::Result<Option<Transient>> {
    let (name, len) = (slot_name(index), Slot::file_bytes(control.ring_bytes));
    let Some(fd) = begin_file(place, &name)? else { return Ok(None) };
    // Longer: begun by a dead process for a journal with larger rings.
    rustix::fs::ftruncate(fd.fd(), 0)?;
    write_zeros(fd.fd(), len)?;
    let map = Map::shared(fd.fd(), len, true)?;
    sign(&Slot::new(map, control.ring_bytes), control, index, own_id(fd.fd())?);
    Ok(finish_file(place, &name, replace)?.then_some(fd))
}

fn is_at_path(place: &Place, name: &str, fd: &Transient) -> io::Result<bool> {
    Ok(os::lookup(place.shared.fd(), name)?.is_some_and(|m| (m.id.0[0], m.id.0[1]) == fd.id()))
}

/// Inode and birth time.
fn own_id(fd: BorrowedFd<'_>) -> io::Result<[u64; 2]> {
    let [_, inode, birth] = os::meta(fd, "")?.0.id.0;
    Ok([inode, birth])
}

/// Asks the file system whether a mapping keeps the lock of the descriptor it was made through. Tested on a file that
/// nobody else knows, because on a slot the test itself could let somebody else in.
pub fn mapping_keeps_lock(place: &Place) -> Result<bool> {
    let name = format!("probe-{}-{:x}", std::process::id(), os::wall_ns());
    let test = || -> io::Result<bool> {
        let fd = Transient::new(make_file(place, &name)?)?;
        write_zeros(fd.fd(), 4096)?;
        os::try_flock(fd.fd(), true)?;
        let _map = Map::shared(fd.fd(), 4096, true)?;
        drop(fd);
        let second = os::open_at(place.shared.fd(), &name, OFlags::RDWR, 0)?;
        Ok(!os::try_flock(&second, true)?)
    };
    let result = test();
    let _ = rustix::fs::unlinkat(place.shared.fd(), name.as_str(), rustix::fs::AtFlags::empty());
    result.map_err(|e| Error::os("test locks in journal", &place.path, e))
}

fn is_ours(fd: BorrowedFd<'_>, control: &ControlFile, index: u16, len: usize) -> bool {
    Map::shared(fd, len, false).is_ok_and(|map| is_slot(&map, fd, control.uuid, index))
}

/// True if a mapped file says that it is slot `index` of that journal, and is not a copy of it.
fn is_slot(map: &Map, fd: BorrowedFd<'_>, uuid: [u64; 2], index: u16) -> bool {
    // SAFETY: SlotHeader consists of atomics only.
    let header: &SlotHeader = unsafe { map.at(0) };
    let identity = &header.identity;
    identity.ready.load(Ordering::Acquire) == READY
        && identity.magic.load(Ordering::Relaxed) == MAGIC
        && identity.version.load(Ordering::Relaxed) == LAYOUT_VERSION
        && load2(&identity.uuid) == uuid
        && identity.index.load(Ordering::Relaxed) == u64::from(index)
        && own_id(fd).is_ok_and(|own| load2(&identity.own) == own)
}

fn sign(slot: &Slot, control: &ControlFile, index: u16, own: [u64; 2]) {
    let identity = &slot.header().identity;
    identity.magic.store(MAGIC, Ordering::Relaxed);
    identity.version.store(LAYOUT_VERSION, Ordering::Relaxed);
    store2(&identity.uuid, control.uuid);
    identity.index.store(u64::from(index), Ordering::Relaxed);
    store2(&identity.own, own);
    identity.ready.store(READY, Ordering::Release);
}

/// Maps another process's slot. The descriptor carries no lock, so closing it changes nothing.
pub fn map_slot(place: &Place, uuid: [u64; 2], ring_bytes: u64, index: u16, write: bool) -> io::Result<Slot> {
    let flags = if write { OFlags::RDWR } else { OFlags::RDONLY };
    let fd = os::open_at(place.shared.fd(), &slot_name(index), flags, 0)?;
    let map = Map::shared(&fd, Slot::file_bytes(ring_bytes), write)?;
    if is_slot(&map, fd.as_fd(), uuid, index) {
        return Ok(Slot::new(map, ring_bytes));
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the slot belongs to another journal"))
}

/// Takes the lock of a slot whose process is gone. `None`: the process lives, or nobody can tell: the lock of a file that
/// somebody put in the place of the slot proves nothing.
pub fn prove_dead(place: &Place, uuid: [u64; 2], index: u16) -> Option<Transient> {
    let fd = os::open_at(place.shared.fd(), &slot_name(index), OFlags::RDWR, 0).ok()?;
    let fd = Transient::new(fd).ok()?;
    let is_dead = os::try_flock(fd.fd(), true).ok()?
        && Map::shared(fd.fd(), NOTE_OFFSET, false).is_ok_and(|map| is_slot(&map, fd.fd(), uuid, index));
    is_dead.then_some(fd)
}
