//! Appending without a journal: to what is not a regular file, and to a log whose journal cannot be had.
//!
//! Promise: each record is one `write` (completed if it was short); there is no rotation. A log file is looked for at
//! its path before each record, so that a rotation by others is followed. FIFOs and terminals do not keep records
//! whole beyond what the kernel does for them.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags};

use crate::error::{Error, ErrorKind, Result};
use crate::os::Handle;

/// A file that is appended to, and nothing else.
#[derive(Debug)]
pub struct Plain {
    path: PathBuf,
    mode: u32,
    wait: Duration,
    /// Not a regular file: opened once, never looked for again.
    device: bool,
    file: Option<Handle>,
    /// A wait for a reader ran into its bound; until something is taken nobody waits again.
    gave_up: bool,
}

impl Plain {
    /// True for a path that is there and is neither a regular file nor a directory, and for one that names a descriptor
    /// of this process, whatever that leads to: it belongs to whoever started the process.
    pub fn wants(path: &Path) -> bool {
        descriptor(path).is_some() || std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir())
    }

    /// Opens on first use.
    pub fn new(path: &Path, mode: u32, wait: Duration) -> Self {
        Self { path: path.to_path_buf(), mode, wait, device: Self::wants(path), file: None, gave_up: false }
    }

    /// Takes over a descriptor that a parent with more rights had open.
    pub fn with_inherited(mut self, file: Option<Handle>) -> Self {
        self.file = file;
        self
    }

    /// Opens the target now, to hear of errors at the start.
    pub fn check(&mut self) -> Result<()> {
        self.open().map_err(|e| Error::os("open", &self.path, e))
    }

    /// Writes one record.
    pub fn append(&mut self, record: &[u8]) -> Result<()> {
        self.open().map_err(|e| Error::os("open", &self.path, e))?;
        let file = self.file.as_ref().expect("opened");
        let started = Instant::now();
        let mut rest = record;
        while !rest.is_empty() {
            match rustix::io::write(file.fd(), rest) {
                Ok(n) => {
                    rest = &rest[n..];
                    self.gave_up = false;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) if !self.gave_up && started.elapsed() < self.wait => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(rustix::io::Errno::AGAIN) => {
                    self.gave_up = true;
                    let hint = format!("its reader took nothing for {:?}; dropped and counted", self.wait);
                    return Err(Error::new(ErrorKind::Dropped, "write", &self.path, hint));
                }
                Err(e) => {
                    let error = Error::os("write", &self.path, e);
                    self.file = None;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Forces what was written to disk; means nothing for devices.
    pub fn sync(&mut self) -> Result<()> {
        match &self.file {
            Some(file) if !self.device => {
                rustix::fs::fdatasync(file.fd()).map_err(|e| Error::os("fsync", &self.path, e))
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file
            && file.is_intact()
            && (self.device || self.is_at_path(file))
        {
            return Ok(());
        }
        match self.open_path() {
            Ok(fd) => self.file = Some(Handle::new(fd)?),
            // A worker that may not open the log goes on in what its parent had open.
            Err(e)
                if e.kind() == io::ErrorKind::PermissionDenied && self.file.as_ref().is_some_and(Handle::is_intact) => {
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn is_at_path(&self, file: &Handle) -> bool {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == file.id())
    }

    fn open_path(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
        if !self.device {
            let mode = Mode::from_raw_mode(self.mode);
            return Ok(rustix::fs::open(&self.path, flags | OFlags::WRONLY | OFlags::CREATE, mode)?);
        }
        // Duplicated, not opened: a socket cannot be opened, and a file is written where the others who share it are.
        if let Some(number) = descriptor(&self.path) {
            // SAFETY: only for the call; a number that is not open is an error of the system's.
            let theirs = unsafe { BorrowedFd::borrow_raw(number) };
            return Ok(rustix::io::fcntl_dupfd_cloexec(theirs, 3)?);
        }
        let kind = rustix::fs::stat(&self.path).map(|s| FileType::from_raw_mode(s.st_mode))?;
        // Read-write, so that a FIFO without a reader neither blocks here nor kills with SIGPIPE; non-blocking, so that
        // one with a stopped reader does not hold the application up.
        let access = if kind.is_fifo() { OFlags::RDWR | OFlags::NONBLOCK } else { OFlags::WRONLY };
        Ok(rustix::fs::open(&self.path, flags | access, Mode::empty())?)
    }
}

/// The number in a path that names a descriptor of this process.
fn descriptor(path: &Path) -> Option<i32> {
    match path.to_str()? {
        "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        text => {
            let rest = text.strip_prefix("/dev/fd/").or_else(|| text.strip_prefix("/proc/self/fd/"))?;
            rest.parse().ok().filter(|number| *number >= 0)
        }
    }
}

/// True for errors at attach under which plain appends are still the right thing to do for an application.
pub fn is_degradable(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Os => !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG)),
        ErrorKind::UnsupportedFileSystem
        | ErrorKind::ForeignJournal
        | ErrorKind::NoFreeSlot
        | ErrorKind::TimedOut
        | ErrorKind::JournalUnsettled => true,
        _ => false,
    }
}
