//! Failures under the lease: what was tried, what the system said, and whose problem it is.
//!
//! A failure never loses a record: the batch stays noted, or stays in the rings, and is tried again after a back-off. The
//! last one stands in the control file for `status`.

use std::io;
use std::sync::atomic::Ordering;

use crate::journal::layout::Control;

/// An operation that failed under the lease; its number stands in the control file for `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// Opening the log.
    Open = 1,
    /// Writing.
    Write = 2,
    /// Comparing file and batch.
    Read = 3,
    /// Renaming, creating, listing at a rotation.
    Rotate = 4,
    /// fsync.
    Sync = 5,
    /// Reading an overflow file.
    Overflow = 6,
    /// Compressing an archive.
    Compress = 7,
    /// Deleting an archive.
    Retire = 8,
    /// The link to the newest archive.
    Link = 9,
    /// Giving a new log file to the user and group that were asked for.
    Own = 10,
}

impl Operation {
    /// For people.
    pub fn name(code: u8) -> &'static str {
        match code {
            1 => "open log",
            2 => "write log",
            3 => "read log back",
            4 => "rotate",
            5 => "fsync",
            6 => "read overflow file",
            7 => "compress archive",
            8 => "delete archive",
            9 => "link to the newest archive",
            10 => "change owner of log",
            _ => "none",
        }
    }
}

/// A failure with what was tried.
#[derive(Debug)]
pub struct Failure {
    /// What was tried.
    pub operation: Operation,
    /// What the system said.
    pub errno: i32,
}

impl Failure {
    /// True for what stands in the way of this process and of no other: rights it gave up, descriptors it ran out of.
    /// Others must not wait for it.
    pub(super) fn is_own(&self) -> bool {
        let own = [libc::EACCES, libc::EPERM, libc::ESTALE, libc::EBADF, libc::EMFILE, libc::ENFILE, libc::ENOMEM];
        self.operation == Operation::Open && own.contains(&self.errno)
    }

    pub(super) fn new(operation: Operation) -> impl Fn(io::Error) -> Self {
        move |e| Self { operation, errno: e.raw_os_error().unwrap_or(libc::EIO) }
    }
}

/// Keeps the failure for `status`.
pub(crate) fn record_failure(control: &Control, failure: &Failure) {
    let code = (failure.operation as u64) << 32 | u64::from(failure.errno as u32);
    control.trouble.last_error.store(code, Ordering::Relaxed);
    control.trouble.errors.fetch_add(1, Ordering::Relaxed);
}
