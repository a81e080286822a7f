//! Signals, as flags that `pipe` looks at between reads, and one descriptor that wakes its `poll`.
//!
//! Guarantee: a signal that was sent before some bytes arrived is seen before those bytes are read. Handlers run
//! before `poll` returns to the caller, and the caller looks at the flags after every `poll`.
//!
//! The only unsafe code of the command. Handlers do no more than store to atomics, `signal` and `write`, all of which
//! are async-signal-safe.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use libc::c_int;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// Ignores the signals that would end a process in the middle of a write: the write then fails with an error, which the
/// engine handles. SIGXFSZ is for a file over the limit of `ulimit -f`, SIGPIPE for a reader that went away.
pub fn ignore_on_write() -> io::Result<()> {
    set_action(libc::SIGXFSZ, libc::SIG_IGN)?;
    set_action(libc::SIGPIPE, libc::SIG_IGN)
}

/// How many of SIGTERM and SIGINT have come.
static STOPS: AtomicU32 = AtomicU32::new(0);
/// A SIGHUP has come and was not yet taken.
static REOPEN: AtomicBool = AtomicBool::new(false);
/// Becomes readable with each signal. Never closed: a handler may run at any time.
static WAKE: OnceLock<OwnedFd> = OnceLock::new();

/// The handlers are in place.
#[derive(Debug)]
pub struct Signals(());

impl Signals {
    /// Installs the handlers, for the rest of the process's life.
    pub fn install() -> io::Result<Self> {
        if WAKE.get().is_none() {
            let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            // Set before the first handler is installed, and by no other thread: none runs yet.
            let _ = WAKE.set(wake);
        }
        handle(libc::SIGTERM)?;
        handle(libc::SIGHUP)?;
        // A shell starts background jobs with SIGINT ignored, so that Ctrl-C is for the foreground alone.
        if !is_ignored(libc::SIGINT)? {
            handle(libc::SIGINT)?;
        }
        Ok(Self(()))
    }

    /// True after the first SIGTERM or SIGINT: finish the line and end.
    pub fn stop(&self) -> bool {
        STOPS.load(Ordering::SeqCst) >= 1
    }

    /// True after the second one: do not wait for the end of the line.
    pub fn stop_now(&self) -> bool {
        STOPS.load(Ordering::SeqCst) >= 2
    }

    /// True once for the SIGHUPs since the last call.
    pub fn take_reopen(&self) -> bool {
        REOPEN.swap(false, Ordering::SeqCst)
    }

    /// Waits until `input` can be read, a signal has come, or the time is over. True: `input` can be read.
    pub fn wait(&self, input: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
        let wake = WAKE.get().expect("set by `install`");
        // A duration that no Timespec holds is as good as for ever.
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        let mut fds = [PollFd::new(&input, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if !fds[1].revents().is_empty() {
            // Nonblocking: at worst it was emptied already.
            let _ = rustix::io::read(wake, &mut [0; 8]);
        }
        // End of file and errors count as readable, too: `read` says which it is.
        Ok(!fds[0].revents().is_empty())
    }
}

extern "C" fn on_signal(signal: c_int) {
    // SAFETY: the address of this thread's errno is always valid.
    let errno = unsafe { *libc::__errno_location() };
    if signal == libc::SIGHUP {
        REOPEN.store(true, Ordering::SeqCst);
    } else if STOPS.fetch_add(1, Ordering::SeqCst) >= 1 {
        // From the third one on they end the process, wherever it hangs (`--full block` on a full disk).
        // SAFETY: SIG_DFL is a valid disposition, and `signal` is async-signal-safe.
        unsafe {
            libc::signal(libc::SIGTERM, libc::SIG_DFL);
            libc::signal(libc::SIGINT, libc::SIG_DFL);
        }
    }
    if let Some(wake) = WAKE.get() {
        // SAFETY: the pointer is valid for 8 bytes and the descriptor is never closed. A failure means that the
        // counter is full, so it is readable anyway.
        unsafe { libc::write(wake.as_raw_fd(), (&raw const WAKE_COUNT).cast(), size_of_val(&WAKE_COUNT)) };
    }
    // SAFETY: as above. The code that was interrupted may be about to read its errno.
    unsafe { *libc::__errno_location() = errno };
}

/// What an eventfd takes in one write.
static WAKE_COUNT: u64 = 1;

fn handle(signal: c_int) -> io::Result<()> {
    let handler: extern "C" fn(c_int) = on_signal;
    // No SA_RESTART: should a read block after all, because somebody else took the bytes, a signal ends it.
    set_action(signal, handler as libc::sighandler_t)
}

fn set_action(signal: c_int, handler: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: all zeroes are a valid sigaction: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    // SAFETY: the pointers are valid, and without SA_SIGINFO the handler takes one argument.
    match unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn is_ignored(signal: c_int) -> io::Result<bool> {
    // SAFETY: all zeroes are a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null action asks without setting; the other pointer is valid.
    match unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } {
        0 => Ok(action.sa_sigaction == libc::SIG_IGN),
        _ => Err(io::Error::last_os_error()),
    }
}
