//! Marks on the log file that say who works on it.
//!
//! Every process holds shared open-file-description locks on two bytes, far behind any content. The place of the first is
//! derived from directory and name of the log (one name, one journal): a lock on another byte of that range is the mark of
//! another engine, which must not be. The second is derived from the journal: a lock on another byte there is that of a
//! process which has not noticed yet that its journal was replaced.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// First byte of the range for places. Locks may lie beyond the end of a file.
const PLACES: i64 = 1 << 60;
/// First byte of the range for journals.
const JOURNALS: i64 = PLACES + WIDTH;
/// Bytes of each range.
const WIDTH: i64 = 1 << 20;

/// Sets the mark of the journal at a place. False: another engine's mark is there, and none was set.
pub fn set(fd: BorrowedFd<'_>, place: u64) -> io::Result<bool> {
    let own = byte(PLACES, place);
    if !lock(fd, libc::F_OFD_SETLK, libc::F_RDLCK, own, 1)? {
        return Ok(false);
    }
    // Looked for after the own mark is set: of two that come at once at least one sees the other.
    if is_alone(fd, PLACES, own)? {
        return Ok(true);
    }
    lock(fd, libc::F_OFD_SETLK, libc::F_UNLCK, own, 1)?;
    Ok(false)
}

/// Sets the mark of a journal, by a number of its own.
pub fn set_journal(fd: BorrowedFd<'_>, journal: u64) -> io::Result<bool> {
    lock(fd, libc::F_OFD_SETLK, libc::F_RDLCK, byte(JOURNALS, journal), 1)
}

/// True if no process of another journal has the file open.
pub fn is_only_journal(fd: BorrowedFd<'_>, journal: u64) -> io::Result<bool> {
    is_alone(fd, JOURNALS, byte(JOURNALS, journal))
}

fn byte(range: i64, key: u64) -> i64 {
    range + (key % WIDTH as u64) as i64
}

/// True if nobody has a lock on a byte of the range but `own`.
fn is_alone(fd: BorrowedFd<'_>, range: i64, own: i64) -> io::Result<bool> {
    let end = range + WIDTH;
    let below = own == range || lock(fd, libc::F_OFD_GETLK, libc::F_WRLCK, range, own - range)?;
    Ok(below && (own + 1 == end || lock(fd, libc::F_OFD_GETLK, libc::F_WRLCK, own + 1, end - own - 1)?))
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

    #[test]
    fn a_process_of_a_journal_that_was_replaced_is_seen() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || std::fs::File::options().read(true).write(true).open(file.path()).unwrap();
        let (old, new) = (open(), open());
        for journal in [0, 7, WIDTH as u64 - 1] {
            assert!(set(old.as_fd(), 1).unwrap() && set_journal(old.as_fd(), 5).unwrap());
            assert!(set(new.as_fd(), 1).unwrap() && set_journal(new.as_fd(), journal).unwrap());
            assert!(!is_only_journal(new.as_fd(), journal).unwrap());
        }
        drop(old);
        let next = open();
        assert!(!is_only_journal(next.as_fd(), 7).unwrap(), "its own marks of before");
        drop(new);
        assert!(is_only_journal(next.as_fd(), 7).unwrap());
    }
}
