//! Memory shared between processes: the only place that maps files.
//!
//! Promise: a [`Map`] stays valid and of the same length until it is dropped; nobody shrinks a journal file while it is
//! in use (journal files are replaced by rename, never truncated). A fork child does not have the mapping at all
//! (`MADV_DONTFORK`), so it must forget every `Map` it inherited, never use or drop it; `fork` sees to that.

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// A piece of memory, page aligned.
#[derive(Debug)]
pub struct Map {
    base: NonNull<u8>,
    len: usize,
    heap: bool,
}

// SAFETY: a Map is plain memory; everything that reads or writes it goes through atomics or through copies whose ranges
// are handed over by acquire/release pairs (see `ring`). It has no thread affinity.
unsafe impl Send for Map {}
// SAFETY: as for Send.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `len` bytes of `fd`, shared. The descriptor may be closed afterwards; a `flock` taken through it
    /// then lives exactly as long as this mapping.
    ///
    /// # Errors
    /// What `mmap` says. A file shorter than `len` is refused here, because touching it would raise SIGBUS.
    pub fn shared(fd: impl AsFd, len: usize, write: bool) -> io::Result<Self> {
        let size = rustix::fs::fstat(fd.as_fd())?.st_size;
        if u64::try_from(size).unwrap_or(0) < len as u64 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file has {size} bytes where {len} are needed"),
            ));
        }
        let prot = if write { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a new mapping at an address the kernel chooses touches nothing that exists.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, fd.as_fd(), 0) }?;
        let map = Self { base: NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?, len, heap: false };
        // SAFETY: the range is the mapping made above.
        unsafe { rustix::mm::madvise(base, len, Advice::LinuxDontFork) }?;
        Ok(map)
    }

    /// Touches every page now, so that no log call pays for the first faults.
    pub fn populate(&self) {
        // Best effort: an old kernel does not know the advice, and then the faults come one by one.
        // SAFETY: the range is this mapping.
        let _ = unsafe { rustix::mm::madvise(self.base.as_ptr().cast(), self.len, Advice::LinuxPopulateWrite) };
    }

    /// Zeroed private memory in place of a file, for the simulated journal.
    #[cfg(test)]
    pub fn heap(len: usize) -> Self {
        let layout = Self::heap_layout(len);
        // SAFETY: the layout has a size above zero.
        let base = unsafe { std::alloc::alloc_zeroed(layout) };
        Self { base: NonNull::new(base).expect("memory"), len, heap: true }
    }

    fn heap_layout(len: usize) -> std::alloc::Layout {
        std::alloc::Layout::from_size_align(len, 4096).expect("a page aligned size")
    }

    /// First byte.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// A shared structure at `offset`.
    ///
    /// # Safety
    /// `T` must consist of atomics only, so that any bytes are a valid value and any process may change them.
    ///
    /// # Panics
    /// If `T` does not fit, or is not aligned, at `offset`.
    pub unsafe fn at<T>(&self, offset: usize) -> &T {
        assert!(offset + size_of::<T>() <= self.len && offset.is_multiple_of(align_of::<T>()));
        // SAFETY: in bounds and aligned by the assertion (the base is page aligned); valid for any bytes by the
        // caller's promise; lives as long as `self`.
        unsafe { &*self.base.as_ptr().add(offset).cast::<T>() }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        if self.heap {
            // SAFETY: allocated in `heap` with this layout.
            unsafe { std::alloc::dealloc(self.base.as_ptr(), Self::heap_layout(self.len)) };
        } else {
            // SAFETY: the range is this mapping, and no reference outlives `self`.
            let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        }
    }
}
