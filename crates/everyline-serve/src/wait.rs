//! Waiting for a socket or for the end, whichever comes first; and how the end is told to all threads at once.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// Told once, known for ever, by any number of threads.
pub struct Stop {
    /// Readable once it was told; never read.
    wake: OwnedFd,
    /// When those who drain must have ended.
    deadline: OnceLock<Instant>,
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// The socket can be read, or has failed: reading says which.
    Readable,
    /// It is to end.
    Stopped,
    /// Nothing came in time.
    Late,
}

impl Stop {
    /// Not told.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?, deadline: OnceLock::new() })
    }

    /// Tells it. What is under way may take until the deadline; only the first one counts.
    pub fn tell(&self, deadline: Instant) {
        let _ = self.deadline.set(deadline);
        // Fails only if it was told 2^64 times.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// When those who drain must have ended, if it was told.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get().copied()
    }

    /// Waits for the socket or the end, for at most `timeout`. The socket goes first.
    ///
    /// # Errors
    /// What `poll` says.
    pub fn wait(&self, socket: impl AsFd, timeout: Option<Duration>) -> io::Result<Ready> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => return Ok(Ready::Late),
                Ok(_) if !fds[0].revents().is_empty() => return Ok(Ready::Readable),
                Ok(_) => return Ok(Ready::Stopped),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
