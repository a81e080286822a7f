//! The dirty bitmap: which slots have published something that the holder has not yet taken up.
//!
//! Promise (I2, the handoff): if a producer publishes and finds its bit set or the lease held, then a holder that looks
//! *after* releasing sees the bit. No published record is left with nobody responsible for it.
//! One bit for each slot keeps the holder's look at 1,024 slots at 16 words, however many are idle.

use crate::sync::{AtomicU64, Ordering, fence, fence_after_rmw};

/// Words of the bitmap: 1,024 slots.
#[cfg(not(loom))]
pub const WORDS: usize = 16;
/// The model needs no more than one word, and each costs states.
#[cfg(loom)]
pub const WORDS: usize = 1;

/// A private set of slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots(pub [u64; WORDS]);

impl Slots {
    /// Adds a slot.
    pub fn insert(&mut self, slot: u16) {
        self.0[usize::from(slot) / 64] |= 1 << (slot % 64);
    }

    /// Removes a slot.
    pub fn remove(&mut self, slot: u16) {
        self.0[usize::from(slot) / 64] &= !(1 << (slot % 64));
    }

    /// True if no slot is in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|w| *w == 0)
    }

    /// Every slot below `count`.
    pub fn fill(&mut self, count: usize) {
        for slot in 0..count.min(WORDS * 64) {
            self.insert(slot as u16);
        }
    }

    /// The slots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().enumerate().flat_map(|(i, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros();
                    rest &= rest - 1;
                    (i * 64) as u16 + bit as u16
                })
            })
        })
    }
}

/// The bitmap in shared memory.
#[repr(C)]
#[derive(Debug)]
pub struct Dirty([AtomicU64; WORDS]);

impl Dirty {
    /// All clean.
    #[cfg(any(test, loom))]
    pub fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Steps P3 and P4: called after the release store of `head` (or `over_len`). The caller then loads the lease.
    #[inline]
    pub fn mark(&self, slot: u16) {
        let (word, bit) = (&self.0[usize::from(slot) / 64], 1u64 << (slot % 64));
        // Tested first: while a holder is busy the bit mostly is set already, and a load keeps the line shared.
        if word.load(Ordering::Relaxed) & bit != 0 {
            // Orders the store of `head` before the look at the bit that counts. Pairs with the fence in `take`: if the
            // bit is seen set now, the holder's swap is still to come and its look at `head` sees the record.
            fence(Ordering::SeqCst);
            if word.load(Ordering::Relaxed) & bit != 0 {
                return;
            }
        }
        // Release carries `head` to the holder whose swap finds the bit, so this way needs no fence before it.
        word.fetch_or(bit, Ordering::AcqRel);
        // Orders the mark before the caller's look at the lease. Pairs with the fence in `Lease::give_back`.
        fence_after_rmw();
    }

    /// Gives slots back that were taken but not emptied. Only the holder calls it, before it releases.
    pub fn put_back(&self, slots: &Slots) {
        for (word, bits) in self.0.iter().zip(slots.0) {
            if bits != 0 {
                word.fetch_or(bits, Ordering::AcqRel);
            }
        }
    }

    /// Step H1: moves all bits into `into`. True if there were any.
    pub fn take(&self, into: &mut Slots) -> bool {
        let mut found = 0;
        // Whole words, idle ones by a plain load: a thousand idle slots cost 16 loads of two cache lines.
        for (word, bits) in self.0.iter().zip(&mut into.0) {
            if word.load(Ordering::Relaxed) != 0 {
                let taken = word.swap(0, Ordering::AcqRel);
                *bits |= taken;
                found |= taken;
            }
        }
        if found != 0 {
            // Orders the swaps before the looks at `head`. Pairs with the first fence in `mark`.
            fence_after_rmw();
        }
        found != 0
    }

    /// True if any bit is set. The caller has issued the fence that orders it after its release of the lease.
    pub fn any(&self) -> bool {
        self.0.iter().any(|w| w.load(Ordering::Relaxed) != 0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn bits_move_from_the_map_to_the_holder_once() {
        let dirty = Dirty::new();
        for slot in [0, 63, 64, 1023] {
            dirty.mark(slot);
        }
        let mut mine = Slots::default();
        assert!(dirty.take(&mut mine));
        assert_eq!(mine.iter().collect::<Vec<_>>(), [0, 63, 64, 1023]);
        assert!(!dirty.any() && !dirty.take(&mut mine));
        mine.remove(63);
        dirty.put_back(&mine);
        let mut again = Slots::default();
        dirty.take(&mut again);
        assert_eq!(again, mine);
    }
}
