//! Slots: claiming one for this process, mapping those of others, and asking whether a process is dead.
//!
//! Promise (I8): a slot belongs to the process whose memory holds the lock on its file. The lock is taken on a
//! descriptor, the file is mapped through that descriptor, and the descriptor is closed: from then on the lock lives
//! exactly as long as the address space, whatever is done to descriptors, and a forked child (which does not get the
//! mapping) does not hold it. Where the kernel does not keep the lock with the mapping (overlayfs) the descriptor stays.
//! Slot files are never removed while the journal is in use, so a lock always means the same file.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use rustix::fs::OFlags;

use super::control::{ControlFile, load2, make_file, store2, write_zeros};
use super::layout::{LAYOUT_VERSION, MAGIC, READY, SLOTS, SlotHeader};
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
    let claimed = |slot: usize| words.claimed[slot / 64].load(Ordering::Relaxed) >> (slot % 64) & 1 == 1;
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

fn try_claim(place: &Place, control: &ControlFile, pinned: bool, index: u16) -> Result<Option<Claim>> {
    let name = slot_name(index);
    let fail = |operation: &'static str| {
        let path = place.path.join(&name);
        move |e: io::Error| Error::os(operation, path, e)
    };
    let fd = match os::open_at(place.shared.fd(), &name, OFlags::RDWR, 0) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => make_file(place, &name).map_err(fail("make slot"))?,
        other => other.map_err(fail("open slot"))?,
    };
    let fd = Transient::new(fd).map_err(fail("open slot"))?;
    if !os::try_flock(fd.fd(), true).map_err(fail("lock slot"))? {
        return Ok(None);
    }
    let len = Slot::file_bytes(control.ring_bytes);
    if !is_ours(fd.fd(), control, index, len) {
        write_zeros(fd.fd(), len).map_err(fail("allocate slot"))?;
        let map = Map::shared(fd.fd(), len, true).map_err(fail("map slot"))?;
        sign(&Slot::new(map, control.ring_bytes), control, index);
    }
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
    let Ok(map) = Map::shared(fd, len, false) else { return false };
    // SAFETY: SlotHeader consists of atomics only.
    let header: &SlotHeader = unsafe { map.at(0) };
    belongs(header, control.uuid, index)
}

/// True if a slot's first page says that it is slot `index` of that journal.
pub fn belongs(header: &SlotHeader, uuid: [u64; 2], index: u16) -> bool {
    let identity = &header.identity;
    identity.ready.load(Ordering::Acquire) == READY
        && identity.magic.load(Ordering::Relaxed) == MAGIC
        && identity.version.load(Ordering::Relaxed) == LAYOUT_VERSION
        && load2(&identity.uuid) == uuid
        && identity.index.load(Ordering::Relaxed) == u64::from(index)
}

fn sign(slot: &Slot, control: &ControlFile, index: u16) {
    let identity = &slot.header().identity;
    identity.magic.store(MAGIC, Ordering::Relaxed);
    identity.version.store(LAYOUT_VERSION, Ordering::Relaxed);
    store2(&identity.uuid, control.uuid);
    identity.index.store(u64::from(index), Ordering::Relaxed);
    identity.ready.store(READY, Ordering::Release);
}

/// Maps another process's slot. The descriptor carries no lock, so closing it changes nothing.
pub fn map_slot(place: &Place, uuid: [u64; 2], ring_bytes: u64, index: u16, write: bool) -> io::Result<Slot> {
    let flags = if write { OFlags::RDWR } else { OFlags::RDONLY };
    let fd = os::open_at(place.shared.fd(), &slot_name(index), flags, 0)?;
    let map = Map::shared(&fd, Slot::file_bytes(ring_bytes), write)?;
    let slot = Slot::new(map, ring_bytes);
    if belongs(slot.header(), uuid, index) {
        return Ok(slot);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the slot belongs to another journal"))
}

/// Takes the lock of a slot whose process is gone. `None`: the process lives, or nobody can tell.
pub fn prove_dead(place: &Place, index: u16) -> Option<Transient> {
    let fd = os::open_at(place.shared.fd(), &slot_name(index), OFlags::RDWR, 0).ok()?;
    let fd = Transient::new(fd).ok()?;
    os::try_flock(fd.fd(), true).ok()?.then_some(fd)
}
