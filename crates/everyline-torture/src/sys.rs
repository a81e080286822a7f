//! What needs `unsafe`: shared memory, raw process creation, closing descriptors. Nothing else in this crate does.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU64;

/// Maps the first `words` words of a file, for the rest of this process's life and for its forked children.
pub fn map_words(file: &File, words: usize) -> io::Result<&'static [AtomicU64]> {
    let len = words * 8;
    if file.metadata()?.len() < len as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is shorter than the mapping"));
    }
    // SAFETY: a new mapping touches nothing that exists; its arguments are checked by the kernel.
    let base = unsafe {
        libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is page aligned, `words` long, backed by a file that nobody shortens, and never unmapped. Any
    // bytes are valid atomics.
    Ok(unsafe { std::slice::from_raw_parts(base.cast(), words) })
}

/// Who one is after a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// The parent, with the child's pid.
    Parent(i32),
    /// The child.
    Child,
}

/// `fork` of the C library, with its handlers.
pub fn fork() -> io::Result<Forked> {
    // SAFETY: the child only logs through the engine (which must bear exactly this) and ends with `exit_now`; glibc keeps
    // its allocator usable in the child of a process with several threads.
    forked(unsafe { libc::fork() }.into())
}

/// The bare system call: no handler runs. Only for processes with one thread, because the allocator may be locked by
/// another one.
pub fn raw_clone() -> io::Result<Forked> {
    // SAFETY: without CLONE_VM this is a fork; the caller has one thread, so no lock is held by anybody.
    forked(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) })
}

fn forked(result: i64) -> io::Result<Forked> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as i32)),
    }
}

/// Ends the process without running anything of its own.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from `first` on, as daemonizers do.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: this is the injury under test. Descriptors of this crate's own that it hits are never used or dropped again
    // by the caller.
    match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// From now on a write over the limit set with `RLIMIT_FSIZE` is an error, not the end.
pub fn ignore_file_size_signal() {
    // SAFETY: SIG_IGN runs no code.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Gives this process, and those it starts, mounts of their own: what is mounted here is gone when they are. Must be
/// called before the first thread is started.
pub fn own_mounts() -> io::Result<()> {
    // SAFETY: changes nothing in memory.
    match unsafe { libc::unshare(libc::CLONE_NEWNS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
