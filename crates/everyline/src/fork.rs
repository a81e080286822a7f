//! Knowing that one is a forked child, and locks that a child finds free.
//!
//! Promise: [`generation`] changes in a child before anything inherited is used, however the child was made: `fork`
//! from any language, or a raw `clone`. The word lives in a page that the kernel wipes in the child
//! (`MADV_WIPEONFORK`), so no hook has to run. Mappings of the journal do not exist in the child, and what else was
//! inherited may have been half changed by another thread; therefore a [`ForkCell`] forgets its content, without
//! dropping it, when it is first locked in a new generation. No lock is held over a fork, and none can be found taken.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::thread::futex;

/// The wiped page, once it exists.
static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());
/// The last generation given out; inherited by a child, which goes on from there.
static LAST: AtomicU32 = AtomicU32::new(0);

/// Which life of this process this is: 1 at first, one more in each forked child.
#[inline]
pub fn generation() -> u32 {
    let page = PAGE.load(Ordering::Acquire);
    if !page.is_null() {
        // SAFETY: set once to a page that is never unmapped, and that consists of an atomic.
        let generation = unsafe { &*page }.load(Ordering::Relaxed);
        if generation != 0 {
            return generation;
        }
    }
    new_generation()
}

#[cold]
fn new_generation() -> u32 {
    let mut page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        let fresh = wiped_page();
        match PAGE.compare_exchange(page, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => page = fresh,
            // Another thread was faster; a page of address space is lost, once.
            Err(theirs) => page = theirs,
        }
    }
    let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    // SAFETY: as in `generation`.
    match unsafe { &*page }.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => next,
        Err(theirs) => theirs,
    }
}

/// This process. The system is asked once in each life of it.
pub fn process_id() -> u32 {
    /// `generation << 32 | pid`.
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    let known = KNOWN.load(Ordering::Relaxed);
    let generation = generation();
    if known >> 32 == u64::from(generation) {
        return known as u32;
    }
    let pid = std::process::id();
    KNOWN.store(u64::from(generation) << 32 | u64::from(pid), Ordering::Relaxed);
    pid
}

fn wiped_page() -> *mut AtomicU32 {
    let flags = MapFlags::PRIVATE;
    // SAFETY: a new private mapping touches nothing that exists; the advice is for that mapping.
    unsafe {
        let page = rustix::mm::mmap_anonymous(std::ptr::null_mut(), 4096, ProtFlags::READ | ProtFlags::WRITE, flags)
            .expect("one page of memory");
        rustix::mm::madvise(page, 4096, Advice::LinuxWipeOnFork).expect("Linux 4.14 or newer (MADV_WIPEONFORK)");
        page.cast()
    }
}

const LOCKED: u32 = 1;
const CONTENDED: u32 = 2;
const GENERATION_SHIFT: u32 = 2;
/// Looks at a taken lock before sleeping: the sections under it are short.
const SPINS: u32 = 100;

/// A mutex whose content a forked child forgets. Small sections only; it is not fair, and a panic does not poison it.
pub struct ForkCell<T> {
    /// `generation:30 | contended | locked`. A word of another generation means: content is not of this life.
    word: AtomicU32,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is reached only through the lock, by one thread at a time.
unsafe impl<T: Send> Send for ForkCell<T> {}
// SAFETY: as for Send.
unsafe impl<T: Send> Sync for ForkCell<T> {}

impl<T: Default> ForkCell<T> {
    /// A cell that holds `T::default()` when it is first locked.
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let base = generation() << GENERATION_SHIFT;
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let ours = seen & !(LOCKED | CONTENDED) == base;
            if ours && seen & LOCKED != 0 {
                return None;
            }
            let locked = base | LOCKED | if ours { seen & CONTENDED } else { 0 };
            match self.word.compare_exchange_weak(seen, locked, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => {
                    if !ours {
                        // SAFETY: the lock is ours. What stood there is of another life (or was never there) and is
                        // forgotten: its memory may be half changed, its mappings do not exist.
                        unsafe { (*self.value.get()).write(T::default()) };
                    }
                    return Some(Guard { cell: self });
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Takes the lock, sleeping if need be.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        self.try_lock().unwrap_or_else(|| self.lock_slow())
    }

    #[cold]
    fn lock_slow(&self) -> Guard<'_, T> {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if let Some(guard) = self.try_lock() {
                return guard;
            }
        }
        loop {
            let seen = self.word.load(Ordering::Relaxed);
            if seen & LOCKED != 0 {
                let marked = seen | CONTENDED;
                if seen == marked
                    || self.word.compare_exchange(seen, marked, Ordering::Relaxed, Ordering::Relaxed).is_ok()
                {
                    let _ = futex::wait(&self.word, futex::Flags::PRIVATE, marked, None);
                }
            }
            if let Some(guard) = self.try_lock() {
                // Others may sleep still: whoever unlocks after us wakes them.
                self.word.fetch_or(CONTENDED, Ordering::Relaxed);
                return guard;
            }
        }
    }
}

impl<T: Default> Default for ForkCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for ForkCell<T> {
    fn drop(&mut self) {
        if *self.word.get_mut() & !(LOCKED | CONTENDED) == generation() << GENERATION_SHIFT {
            // SAFETY: the word is of this generation, so the value was written in it, and nobody holds the lock.
            unsafe { self.value.get_mut().assume_init_drop() };
        }
    }
}

impl<T> std::fmt::Debug for ForkCell<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ForkCell")
    }
}

/// The lock, taken.
pub struct Guard<'a, T> {
    cell: &'a ForkCell<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a guard exists only while the lock is held, and the value was written when it was first taken.
        unsafe { (*self.cell.value.get()).assume_init_ref() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the guard is borrowed mutably.
        unsafe { (*self.cell.value.get()).assume_init_mut() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let word = &self.cell.word;
        let seen = word.fetch_and(!(LOCKED | CONTENDED), Ordering::Release);
        if seen & CONTENDED != 0 {
            let _ = futex::wake(word, futex::Flags::PRIVATE, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn threads_take_turns() {
        let cell = Arc::new(ForkCell::<u64>::new());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let cell = Arc::clone(&cell);
                std::thread::spawn(move || (0..20_000).for_each(|_| *cell.lock() += 1))
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(*cell.lock(), 80_000);
    }

    #[test]
    fn a_child_finds_the_lock_free_and_the_content_gone() {
        let cell = ForkCell::<Vec<u8>>::new();
        let mut guard = cell.lock();
        guard.extend_from_slice(b"the parent's");
        let before = generation();
        assert_eq!(process_id(), std::process::id());
        // SAFETY: the child only touches the cell and calls _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let ok = generation() != before
                && cell.try_lock().is_some_and(|g| g.is_empty())
                && process_id() == std::process::id();
            // SAFETY: ends the child without running anything of the test harness.
            unsafe { libc::_exit(i32::from(!ok)) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
        assert_eq!((generation(), &guard[..]), (before, &b"the parent's"[..]));
    }
}
