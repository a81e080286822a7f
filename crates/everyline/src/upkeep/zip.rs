//! Compressing one archive into a temporary file, and comparing an archive with a compressed one.
//!
//! Promise: when [`make`] returns, the temporary file holds all of the archive, with its mode, owner and last write, and is
//! on disk: whatever replaces the archive with it loses nothing, also by a power failure. The work runs at the lowest
//! priority, so that on a busy machine the processes that log go first; it looks at `stop` every quarter of a megabyte.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timestamps, Uid};

use crate::options::Compress;
use crate::os::{self, Handle};
use crate::protocol::env::{Env, FileId};
use crate::protocol::step::Step;
use crate::real::Real;
use crate::rotation::Form;

/// Bytes between two looks at `stop`.
const CHUNK: usize = 256 << 10;
/// Lowest priority.
const NICE: i32 = 19;

/// What to compress.
#[derive(Clone, Copy, Debug)]
pub struct Zip<'a> {
    /// Where the files are.
    pub directory: BorrowedFd<'a>,
    /// Name of the archive.
    pub source: &'a str,
    /// Which file that must be.
    pub id: FileId,
    /// Name of the file to be made.
    pub temporary: &'a str,
    /// How.
    pub how: Compress,
}

/// A compressed archive under its temporary name.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// The temporary file.
    pub id: FileId,
    /// Length of the archive that it holds.
    pub source_bytes: u64,
}

/// What `stat` says of an archive.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Which file.
    pub id: FileId,
    /// Length.
    pub bytes: u64,
    /// Last write, Unix ns.
    pub modified_ns: u64,
    /// Last change of anything, a rename included, Unix ns.
    pub changed_ns: u64,
}

/// Looks at a regular file. `None`: there is none of that name.
pub fn stat(directory: BorrowedFd<'_>, name: &str) -> io::Result<Option<Stat>> {
    let (meta, kind) = match os::meta(directory, name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if !kind.is_file() {
        return Ok(None);
    }
    let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        other => other?,
    };
    let ns = |s: i64, ns: u64| (s.max(0) as u64).saturating_mul(1_000_000_000).saturating_add(ns);
    let (modified_ns, changed_ns) =
        (ns(stat.st_mtime, stat.st_mtime_nsec as u64), ns(stat.st_ctime, stat.st_ctime_nsec as u64));
    Ok(Some(Stat { id: meta.id, bytes: meta.size, modified_ns, changed_ns }))
}

/// Compresses. `None`: the archive is not there any more, or `stop` says so; the temporary file is gone then, as after an
/// error.
pub fn make(job: &Zip<'_>, env: &Real, stop: &AtomicBool) -> io::Result<Option<Made>> {
    let made = in_background(|| write(job, env, stop));
    if !matches!(made, Ok(Some(_))) {
        let _ = rustix::fs::unlinkat(job.directory, job.temporary, AtFlags::empty());
    }
    made
}

fn write(job: &Zip<'_>, env: &Real, stop: &AtomicBool) -> io::Result<Option<Made>> {
    let Some(mut source) = open_source(job.directory, job.source)? else { return Ok(None) };
    let (before, _) = os::meta(source.fd()?, "")?;
    if before.id != job.id {
        return Ok(None);
    }
    // Nobody but us may read it until it has the owner of the archive.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut encoder = Encoder::new(Held::new(os::open_at(job.directory, job.temporary, flags, 0o600)?)?, job.how)?;
    let mut chunk = vec![0; CHUNK];
    let mut source_bytes = 0;
    loop {
        if stop.load(Ordering::Acquire) {
            return Ok(None);
        }
        let n = read_some(&mut source, &mut chunk)?;
        if n == 0 {
            break;
        }
        encoder.write_all(&chunk[..n])?;
        source_bytes += n as u64;
        // Archives that rotations have dropped meanwhile: their space is not to wait for this one.
        drop(env.deleted());
        env.step(Step::ZipHalf);
    }
    let file = encoder.finish()?;
    dress(file.fd()?, source.fd()?)?;
    rustix::fs::fdatasync(file.fd()?)?;
    env.step(Step::ZipWritten);
    let (zip, _) = os::meta(file.fd()?, "")?;
    Ok(Some(Made { id: zip.id, source_bytes }))
}

/// An open file that a program which closes descriptors by number cannot turn into another one: above the usual range,
/// and looked at before each use.
struct Held(Handle);

impl Held {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(Handle::new(fd)?))
    }

    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        if self.0.is_intact() { Ok(self.0.fd()) } else { Err(io::Error::from_raw_os_error(libc::EBADF)) }
    }
}

impl Read for Held {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.fd()?, into)?)
    }
}

impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.fd()?, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opened so that nothing is waited for: an archive's name may have been given to a pipe.
fn open_source(directory: BorrowedFd<'_>, name: &str) -> io::Result<Option<Held>> {
    match os::open_at(directory, name, OFlags::RDONLY | OFlags::NONBLOCK, 0) {
        Ok(fd) if os::meta(fd.as_fd(), "")?.1.is_file() => Held::new(fd).map(Some),
        Ok(_) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Owner, mode and last write of the archive.
fn dress(file: BorrowedFd<'_>, archive: BorrowedFd<'_>) -> io::Result<()> {
    let stat = rustix::fs::fstat(archive)?;
    // As far as the rights of this process go. Owner first: changing it takes bits of the mode away.
    let _ = rustix::fs::fchown(file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    rustix::fs::fchmod(file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let modified = rustix::fs::Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Ok(rustix::fs::futimens(file, &Timestamps { last_access: modified, last_modification: modified })?)
}

fn read_some(file: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(into) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn read_full(file: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match read_some(file, &mut into[done..])? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// True if a compressed file holds exactly what an archive holds. False also if it cannot be decompressed, or on `stop`.
pub fn is_same(
    directory: BorrowedFd<'_>,
    archive: &str,
    compressed: &str,
    form: Form,
    stop: &AtomicBool,
) -> io::Result<bool> {
    let (Some(mut plain), Some(zip)) = (open_source(directory, archive)?, open_source(directory, compressed)?) else {
        return Ok(false);
    };
    in_background(|| {
        let mut unpacked: Box<dyn Read> = match form {
            #[cfg(feature = "zstd")]
            Form::Zstd => Box::new(zstd::stream::read::Decoder::new(zip)?),
            #[cfg(not(feature = "zstd"))]
            Form::Zstd => return Err(io::Error::from(io::ErrorKind::Unsupported)),
            Form::Gzip | Form::Plain => Box::new(MultiGzDecoder::new(zip)),
        };
        let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
        while !stop.load(Ordering::Acquire) {
            let n = read_full(&mut plain, &mut ours)?;
            // What is no gzip differs.
            let Ok(m) = read_full(&mut unpacked, &mut theirs) else { return Ok(false) };
            if ours[..n] != theirs[..m] {
                return Ok(false);
            }
            if n == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

/// One of the two, over a file.
enum Encoder {
    Gzip(GzEncoder<Held>),
    #[cfg(feature = "zstd")]
    Zstd(zstd::stream::write::Encoder<'static, Held>),
}

impl Encoder {
    fn new(file: Held, how: Compress) -> io::Result<Self> {
        match how {
            Compress::Gzip { level } => Ok(Self::Gzip(GzEncoder::new(file, flate2::Compression::new(level.min(9))))),
            #[cfg(feature = "zstd")]
            Compress::Zstd { level } => {
                let mut encoder = zstd::stream::write::Encoder::new(file, level as i32)?;
                // Whoever unpacks it finds out if a byte is wrong, as with gzip.
                encoder.include_checksum(true)?;
                Ok(Self::Zstd(encoder))
            }
            #[cfg(not(feature = "zstd"))]
            Compress::Zstd { .. } => Err(io::ErrorKind::Unsupported.into()),
            Compress::None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(bytes),
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<Held> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            #[cfg(feature = "zstd")]
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// Runs on a thread of the lowest priority: a thread that has once given its priority up may not take it back, and the
/// one that calls will hold the lease later, where it must not be kept waiting for a processor.
fn in_background<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let nice = || {
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
            work()
        };
        let thread = std::thread::Builder::new().name("everyline-zip".into()).spawn_scoped(scope, nice)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the compressor panicked")))
    })
}
