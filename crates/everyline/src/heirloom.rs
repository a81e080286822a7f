//! What a forked child may keep of its parent's descriptors: the inner directory of a journal, and the log.
//!
//! A root parent opens a log, its workers give root up and may open neither. The descriptors they inherit still work:
//! through the inner directory a worker attaches like any other, and the live file it can write until it is rotated.
//! The table lives in plain static memory, which a child has a copy of.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::fork;
use crate::os::Handle;

/// Which descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// Inner directory of the journal.
    Shared = 0,
    /// The live file.
    Log = 1,
}

/// Logs that one process may have open and hand down; more are simply not handed down.
const LOGS: usize = 32;
/// In place of a key: an entry goes from one log to another. Also no key is 0.
const BETWEEN: u64 = u64::MAX;

/// One descriptor: key of the log, generation, number, device, inode.
struct Entry([AtomicU64; 5]);

static TABLE: [[Entry; 2]; LOGS] = [const { [const { Entry([const { AtomicU64::new(0) }; 5]) }; 2] }; LOGS];

/// Key of a log: its directory and its name.
pub fn key(directory: (u64, u64), name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (directory, name).hash(&mut hasher);
    hasher.finish().clamp(1, BETWEEN - 1)
}

/// Remembers a descriptor, unless one of the same file is there and open: that may be an inherited one, which stays
/// whatever this process closes. Called by one thread of a log at a time (attach, or the holder).
pub fn keep(key: u64, item: Item, handle: &Handle) {
    let slot = |entry: &&[Entry; 2]| {
        let seen = entry[0].0[0].load(Relaxed);
        seen == key || (seen == 0 && entry[0].0[0].compare_exchange(0, key, Relaxed, Relaxed).is_ok())
    };
    let Some(entries) = TABLE.iter().find(slot).or_else(|| TABLE.iter().find(|e| take_over(e, key))) else { return };
    let [_, generation, raw, device, inode] = std::array::from_fn(|i| entries[item as usize].0[i].load(Relaxed));
    if generation != 0 && (device, inode) == handle.id() && Handle::is_the_file(raw as i32, handle.id()) {
        return;
    }
    let values = [key, u64::from(fork::generation()), handle.raw() as u64, handle.id().0, handle.id().1];
    entries[item as usize].0.iter().zip(values).for_each(|(word, value)| word.store(value, Relaxed));
}

/// An entry whose descriptors are closed is of no use to any child: another log may have it.
fn take_over(entries: &[Entry; 2], key: u64) -> bool {
    let owner = &entries[0].0[0];
    let seen = owner.load(Relaxed);
    let closed = entries.iter().all(|entry| {
        let [_, generation, raw, device, inode] = std::array::from_fn(|i| entry.0[i].load(Relaxed));
        generation == 0 || !Handle::is_the_file(raw as i32, (device, inode))
    });
    // Nobody's until nothing of the other log stands in it.
    if seen == BETWEEN || !closed || owner.compare_exchange(seen, BETWEEN, Relaxed, Relaxed).is_err() {
        return false;
    }
    entries.iter().for_each(|entry| entry.0[1].store(0, Relaxed));
    owner.store(key, std::sync::atomic::Ordering::Release);
    true
}

/// In a child: true if the parent had such a descriptor.
pub fn has(key: u64, item: Item) -> bool {
    TABLE.iter().find(|entries| entries[0].0[0].load(Relaxed) == key).is_some_and(|entries| {
        let generation = entries[item as usize].0[1].load(Relaxed);
        generation != 0 && generation != u64::from(fork::generation())
    })
}

/// In a child: a copy of a descriptor of the parent's, if it still is what it was. The original stays for the next time
/// that the log has to be opened.
pub fn copy(key: u64, item: Item) -> Option<Handle> {
    let entries = TABLE.iter().find(|entries| entries[0].0[0].load(Relaxed) == key)?;
    let [_, generation, raw, device, inode] = std::array::from_fn(|i| entries[item as usize].0[i].load(Relaxed));
    if generation == 0 || generation == u64::from(fork::generation()) {
        return None;
    }
    Handle::copy_of(i32::try_from(raw).ok()?, (device, inode))
}
