//! One peer: its bytes to records, its records to logs, within its bounds.
//!
//! Each connection has a thread of its own and memory for one record, so a slow or hostile one costs the others
//! nothing but its place. Reading goes on whatever the log does: Python's `SocketHandler` drops silently once its
//! socket has been full for a second.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use crate::acked::Client;
use crate::config::Protocol;
use crate::decode::frame::{Frames, Framing};
use crate::decode::{Limits, json, pickle, syslog};
use crate::server::Shared;
use crate::wait::{Ready, Stop};
use crate::{Reason, Record};

/// Taken from the socket at a time.
const READ_BYTES: usize = 64 << 10;

/// What is done with the records of a peer.
pub trait Take {
    /// One record as it came.
    ///
    /// # Errors
    /// Why the connection is ended.
    fn frame(&mut self, frame: &[u8]) -> Result<(), Reason>;

    /// All that has come was given.
    ///
    /// # Errors
    /// Why the connection is ended.
    fn pause(&mut self) -> Result<(), Reason> {
        Ok(())
    }
}

/// Seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64())
}

/// Reads a peer to its end, or until it does what it may not, or until the server stops and has drained it.
///
/// # Errors
/// Why the connection was not brought to its end.
pub fn serve(socket: &OwnedFd, protocol: Protocol, whom: &str, shared: &Shared) -> Result<(), Reason> {
    let framing = match protocol {
        Protocol::Python | Protocol::Everyline => Framing::Length,
        Protocol::Syslog => Framing::Syslog,
        Protocol::Json => Framing::Lines,
    };
    let bounds = shared.logs().bounds;
    let mut peer = Peer {
        frames: Frames::new(framing, bounds.limits.record_bytes),
        sink: match protocol {
            Protocol::Everyline => Box::new(Client::new(socket, whom, shared)),
            _ => Box::new(Sink { protocol, whom, shared, limits: bounds.limits, line: String::new() }),
        },
        heard: Instant::now(),
        // A client must say who it is in the time of a record.
        record_since: (protocol == Protocol::Everyline).then(Instant::now),
    };
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let timeout = peer.timeout(bounds.record_timeout, bounds.idle_timeout);
        match wait(&shared.stop, socket, timeout)? {
            Ready::Readable => {}
            Ready::Stopped => return peer.finish(),
            Ready::Late if peer.record_since.is_some() => return Err(Reason::Slow),
            Ready::Late => return Err(Reason::Idle),
        }
        match rustix::io::read(socket, &mut buffer) {
            Ok(0) => return peer.finish(),
            Ok(count) => peer.take(&buffer[..count])?,
            Err(Errno::INTR | Errno::AGAIN) => {}
            // What was whole was taken; a reset is how a killed peer ends.
            Err(Errno::CONNRESET | Errno::PIPE) => return peer.finish(),
            Err(_) => return Err(Reason::Socket),
        }
        // A single byte at a time keeps `poll` happy, and must not keep the record's time from running out.
        if peer.record_since.is_some_and(|since| since.elapsed() > bounds.record_timeout) {
            return Err(Reason::Slow);
        }
    }
}

/// As [`Stop::wait`]; after the stop only what is there already counts, and not beyond the deadline.
fn wait(stop: &Stop, socket: &OwnedFd, timeout: Option<Duration>) -> Result<Ready, Reason> {
    let ready = stop.wait(socket, timeout).map_err(|_| Reason::Socket)?;
    match stop.deadline() {
        Some(deadline) if Instant::now() > deadline => Ok(Ready::Stopped),
        _ => Ok(ready),
    }
}

struct Peer<'a> {
    frames: Frames,
    sink: Box<dyn Take + 'a>,
    /// When something came last.
    heard: Instant,
    /// When the first byte of a record came that is not yet whole.
    record_since: Option<Instant>,
}

impl Peer<'_> {
    /// How long may be waited for more.
    fn timeout(&self, record: Duration, idle: Option<Duration>) -> Option<Duration> {
        match self.record_since {
            Some(since) => Some(record.saturating_sub(since.elapsed())),
            None => idle.map(|idle| idle.saturating_sub(self.heard.elapsed())),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        self.heard = Instant::now();
        self.frames.push(bytes);
        while let Some(frame) = self.frames.next_frame()? {
            self.record_since = None;
            self.sink.frame(frame)?;
        }
        // It may have waited for a disk: that is not the peer's time.
        self.sink.pause()?;
        self.heard = Instant::now();
        if !self.frames.is_inside() {
            // The first message was not yet whole if the time runs on: then there is something inside.
            self.record_since = None;
        } else if self.record_since.is_none() {
            self.record_since = Some(self.heard);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Reason> {
        match self.frames.last_frame()? {
            Some(frame) => self.sink.frame(frame).and_then(|()| self.sink.pause()),
            None => Ok(()),
        }
    }
}

/// From one frame to the log.
pub struct Sink<'a> {
    /// What is spoken.
    pub protocol: Protocol,
    /// The peer, for people.
    pub whom: &'a str,
    /// The server.
    pub shared: &'a Shared,
    /// What one record may be.
    pub limits: Limits,
    /// Kept between records.
    pub line: String,
}

impl Take for Sink<'_> {
    /// Brings a record to its log. What the log does not take is counted.
    ///
    /// # Errors
    /// A record that ends the connection. A bad line of JSON does not: where it ends is known all the same.
    fn frame(&mut self, frame: &[u8]) -> Result<(), Reason> {
        match (self.decode(frame), self.protocol) {
            (Ok(record), _) => self.put(record),
            (Err(reason), Protocol::Python | Protocol::Everyline) => return Err(reason),
            (Err(reason), Protocol::Json | Protocol::Syslog) => self.shared.stats.refuse(reason, self.whom, ""),
        }
        Ok(())
    }
}

impl Sink<'_> {
    fn decode(&self, frame: &[u8]) -> Result<Record, Reason> {
        match self.protocol {
            Protocol::Python => pickle::record(frame, &self.limits),
            Protocol::Syslog => syslog::record(frame, &self.limits),
            Protocol::Json | Protocol::Everyline => json::record(frame, &self.limits),
        }
    }

    fn put(&mut self, mut record: Record) {
        use std::sync::atomic::Ordering::Relaxed;
        record.complete(now());
        match self.shared.logs().put(&record, &mut self.line) {
            Ok(()) => drop(self.shared.stats.records.fetch_add(1, Relaxed)),
            Err(error) => self.shared.stats.refuse(Reason::Log, self.whom, &error.to_string()),
        }
        if self.line.capacity() > READ_BYTES {
            self.line = String::new();
        }
    }
}
