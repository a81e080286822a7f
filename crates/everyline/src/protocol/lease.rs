//! The writer lease: one 64-bit word that says who may touch the log.
//!
//! Promise: whoever moves the word from `seen` to `HELD(me)` is the only holder until it stores the word again or is
//! proven dead. The owner is a slot, never a pid. The generation grows with every acquisition; 48 bits last 8 years at
//! a million acquisitions a second, so an old word can never come back (invariant I1).

use crate::sync::{AtomicU64, Ordering, fence_after_rmw};

use super::dirty::Dirty;

const HELD: u64 = 1;
const PEND: u64 = 2;
const SLOT_SHIFT: u32 = 2;
const SLOT_BITS: u32 = 14;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const GENERATION_SHIFT: u32 = SLOT_SHIFT + SLOT_BITS;

/// Who holds the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody.
    Free,
    /// This slot is writing, or died writing.
    Held(u16),
    /// Nobody, but the note of this slot has to be finished by whoever comes next (an I/O error stopped it).
    Pending(u16),
}

/// One value of the lease word: `generation:48 | slot:14 | PEND | HELD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u64);

impl Word {
    /// Generation: how often the lease was taken.
    pub fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    /// The slot named last, also when the lease is free.
    pub fn slot(self) -> u16 {
        ((self.0 >> SLOT_SHIFT) & SLOT_MASK) as u16
    }

    /// Decodes the word. HELD wins over PEND: both set is not written by us and is treated as held.
    pub fn state(self) -> State {
        if self.0 & HELD != 0 {
            State::Held(self.slot())
        } else if self.0 & PEND != 0 {
            State::Pending(self.slot())
        } else {
            State::Free
        }
    }

    fn next(self, slot: u16, flags: u64) -> Self {
        let generation = self.generation() + 1;
        Self((generation << GENERATION_SHIFT) | (u64::from(slot) << SLOT_SHIFT) | flags)
    }

    fn with_flags(self, flags: u64) -> Self {
        Self((self.0 & !(HELD | PEND)) | flags)
    }
}

/// The lease in shared memory. Changed by read-modify-write only.
#[repr(transparent)]
#[derive(Debug)]
pub struct Lease(AtomicU64);

impl Lease {
    /// A free lease that names slot 0, as in a fresh (zeroed) control page.
    #[cfg(any(test, loom))]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The word now.
    pub fn load(&self) -> Word {
        // Acquire pairs with the release half of `give_back`: what the last holder stored is visible.
        Word(self.0.load(Ordering::Acquire))
    }

    /// Takes the lease if the word still is `seen`. The new word on success.
    pub fn take(&self, seen: Word, me: u16) -> Option<Word> {
        let new = seen.next(me, HELD);
        // AcqRel pairs with `give_back` of the last holder (acquire) and of this one (release), so that file state and
        // notes, which are stored relaxed by the holder, pass from holder to holder.
        self.0.compare_exchange(seen.0, new.0, Ordering::AcqRel, Ordering::Relaxed).ok().map(|_| new)
    }

    /// Gives the lease back and says whether anything was published meanwhile. The caller must look again if so: a
    /// producer that saw `HELD` has left in the belief that this check comes after its mark.
    pub fn release(&self, held: Word, dirty: &Dirty) -> bool {
        self.give_back(held.with_flags(0));
        dirty.any()
    }

    /// Gives the lease back with the note still open: the next holder finishes it.
    pub fn release_pending(&self, held: Word) {
        self.give_back(held.with_flags(PEND));
    }

    fn give_back(&self, word: Word) {
        // A read-modify-write, not a store: it keeps the release sequence. The fence orders it before the look at the
        // dirty bits; pairs with the fence in `Dirty::mark` (one of the two sides sees the other, invariant I2).
        self.0.swap(word.0, Ordering::AcqRel);
        fence_after_rmw();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_slot_generation_and_state_apart() {
        let w = Word(0).next(16_383, HELD);
        assert_eq!((w.generation(), w.slot(), w.state()), (1, 16_383, State::Held(16_383)));
        let w = w.with_flags(PEND);
        assert_eq!((w.generation(), w.state()), (1, State::Pending(16_383)));
        assert_eq!(w.with_flags(0).state(), State::Free);
    }

    #[test]
    fn a_stale_word_never_takes_the_lease() {
        let lease = Lease::new();
        let seen = lease.load();
        let held = lease.take(seen, 3).unwrap();
        assert!(lease.take(seen, 4).is_none());
        lease.give_back(held.with_flags(0));
        assert!(lease.take(seen, 4).is_none(), "same state, newer generation");
    }
}
