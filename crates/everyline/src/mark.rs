//! A mark on the log file that says by which name it is worked on: one name, one journal.
//!
//! Every process holds a shared open-file-description lock on one byte, far behind any content, whose place is derived
//! from directory and name of the log. A lock on another byte of that range is the mark of another engine.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// First byte of the range. Locks may lie beyond the end of a file.
const BASE: i64 = 1 << 60;
/// Bytes of the range.
const WIDTH: i64 = 1 << 20;

/// Sets the mark. False: another engine's mark is there, and none was set.
pub fn set(fd: BorrowedFd<'_>, journal: u64) -> io::Result<bool> {
    let own = (journal % WIDTH as u64) as i64;
    if !lock(fd, libc::F_OFD_SETLK, libc::F_RDLCK, BASE + own, 1)? {
        return Ok(false);
    }
    // Looked for after the own mark is set: of two that come at once at least one sees the other.
    let below = own == 0 || lock(fd, libc::F_OFD_GETLK, libc::F_WRLCK, BASE, own)?;
    let above = own + 1 == WIDTH || lock(fd, libc::F_OFD_GETLK, libc::F_WRLCK, BASE + own + 1, WIDTH - own - 1)?;
    if below && above {
        return Ok(true);
    }
    lock(fd, libc::F_OFD_SETLK, libc::F_UNLCK, BASE + own, 1)?;
    Ok(false)
}

/// One lock operation. True: got it, or (GETLK) nobody would stand in the way.
fn lock(fd: BorrowedFd<'_>, command: i32, kind: i32, start: i64, len: i64) -> io::Result<bool> {
    // SAFETY: flock is a plain C struct for which all zeros are valid.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = kind as i16;
    request.l_whence = libc::SEEK_SET as i16;
    request.l_start = start;
    request.l_len = len;
    // SAFETY: the descriptor is open, and the kernel reads and writes one flock, which `request` is.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw mut request) };
    if result == 0 {
        return Ok(command == libc::F_OFD_SETLK || request.l_type == libc::F_UNLCK as i16);
    }
    match io::Error::last_os_error() {
        e if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        e => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn one_engine_may_mark_a_file_often_and_another_not_at_all() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || std::fs::File::options().read(true).write(true).open(file.path()).unwrap();
        let (a, b, c) = (open(), open(), open());
        assert!(set(a.as_fd(), 1).unwrap());
        assert!(set(b.as_fd(), 1).unwrap(), "the same journal");
        assert!(!set(c.as_fd(), 2).unwrap(), "another journal");
        drop((a, b));
        assert!(set(c.as_fd(), 2).unwrap(), "the marks went with their descriptors");
    }
}
