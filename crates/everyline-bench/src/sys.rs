//! What needs `unsafe`: the memory that parent and workers share, CPU time, and the time stamp counter.
//!
//! Promise: every word of the shared memory is an atomic, so no process can break another one's types; the mapping
//! lives as long as the `Shared` that made it. Nothing else in this crate contains `unsafe`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::thread::futex;

use crate::histogram::BUCKETS;

/// Words by which the parent lets all workers go at once, and learns when they are done.
#[repr(C)]
pub struct Gate {
    /// Workers that are ready to start.
    pub ready: AtomicU32,
    /// 1: start.
    pub go: AtomicU32,
    /// Workers that have finished their records.
    pub ended: AtomicU32,
    /// 1: report and exit.
    pub stop: AtomicU32,
}

/// What one worker reports. Times in ns, the histogram in ticks.
#[repr(C)]
pub struct Report {
    /// How long it took to open the log.
    pub attach_ns: AtomicU64,
    /// When its last record was in the file.
    pub ended_ns: AtomicU64,
    /// CPU time in user mode from the gate to the stop.
    pub user_ns: AtomicU64,
    /// CPU time in the kernel from the gate to the stop.
    pub system_ns: AtomicU64,
    /// Calls that had to wait for room in the ring.
    pub waited: AtomicU64,
    /// Memory that attaching and logging added to the process, in KiB: private, proportional, resident.
    pub memory_kib: [AtomicU64; 3],
    /// Longest call in ticks.
    pub longest: AtomicU64,
    /// How many calls took how long.
    pub calls: [AtomicU64; BUCKETS],
}

const REPORTS_AT: usize = 4096;
const REPORT_BYTES: usize = size_of::<Report>().next_multiple_of(128);
const _: () = assert!(size_of::<Gate>() <= REPORTS_AT && align_of::<Report>() <= 128);

/// Memory shared by a parent and its workers.
pub struct Shared {
    file: File,
    base: NonNull<u8>,
    workers: usize,
}

impl Shared {
    /// New memory, zeroed. The descriptor is inherited by workers.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(workers: usize) -> io::Result<Self> {
        // Without CLOEXEC: workers find it by its number.
        let file = File::from(rustix::fs::memfd_create("everyline-bench", MemfdFlags::empty())?);
        file.set_len(Self::bytes(workers) as u64)?;
        Self::map(file, workers)
    }

    /// The memory of the parent, in a worker.
    ///
    /// # Errors
    /// What the system says.
    pub fn inherited(fd: RawFd, workers: usize) -> io::Result<Self> {
        // SAFETY: the parent left this descriptor open for this process, which uses it here and nowhere else.
        Self::map(File::from(unsafe { OwnedFd::from_raw_fd(fd) }), workers)
    }

    fn bytes(workers: usize) -> usize {
        REPORTS_AT + workers * REPORT_BYTES
    }

    fn map(file: File, workers: usize) -> io::Result<Self> {
        let len = Self::bytes(workers);
        if file.metadata()?.len() < len as u64 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the shared memory is too short"));
        }
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists; the file is as long.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, &file, 0)? };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { file, base, workers })
    }

    /// Number of the descriptor, for workers.
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The gate.
    pub fn gate(&self) -> &Gate {
        // SAFETY: at the start of the mapping, which is page aligned and longer; atomics only.
        unsafe { self.base.cast().as_ref() }
    }

    /// One worker's report.
    pub fn report(&self, worker: usize) -> &Report {
        assert!(worker < self.workers);
        // SAFETY: inside the mapping by the assertion, aligned by the stride; atomics only.
        unsafe { self.base.add(REPORTS_AT + worker * REPORT_BYTES).cast().as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map`, and no reference outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), Self::bytes(self.workers)) };
    }
}

/// Sleeps until `word` is at least `value`. True: it is; false: `timeout_ms` went by.
pub fn wait_until(word: &AtomicU32, value: u32, timeout_ms: u64) -> bool {
    let end = monotonic_ns() + timeout_ms * 1_000_000;
    loop {
        let seen = word.load(Ordering::Acquire);
        if seen >= value {
            return true;
        }
        let now = monotonic_ns();
        if now >= end {
            return false;
        }
        let left = end - now;
        let time = futex::Timespec { tv_sec: (left / 1_000_000_000) as i64, tv_nsec: (left % 1_000_000_000) as i64 };
        let _ = futex::wait(word, futex::Flags::empty(), seen, Some(&time));
    }
}

/// Adds one to `word` and wakes whoever waits for it.
pub fn signal(word: &AtomicU32) {
    word.fetch_add(1, Ordering::AcqRel);
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}

/// Monotonic clock, the same in all processes.
pub fn monotonic_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// CPU time of this process with all its threads: (user, system).
pub fn cpu_ns() -> (u64, u64) {
    // SAFETY: rusage is a plain C struct for which all zeros are valid; the kernel fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let ns = |t: libc::timeval| t.tv_sec as u64 * 1_000_000_000 + t.tv_usec as u64 * 1000;
    (ns(usage.ru_utime), ns(usage.ru_stime))
}

/// The finest clock there is: the time stamp counter, after all that came before. See [`ticks_per_ns`].
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut processor = 0;
        // SAFETY: every x86-64 processor of the last fifteen years has RDTSCP; the pointer is to a local.
        unsafe { std::arch::x86_64::__rdtscp(&raw mut processor) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    monotonic_ns()
}

/// How many ticks one ns has, measured.
pub fn ticks_per_ns() -> f64 {
    let (ns, t) = (monotonic_ns(), ticks());
    std::thread::sleep(std::time::Duration::from_millis(100));
    let (ns_after, t_after) = (monotonic_ns(), ticks());
    (t_after - t) as f64 / (ns_after - ns) as f64
}
