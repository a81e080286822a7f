//! One client of the acknowledged protocol.
//!
//! ```text
//! every frame: 4 bytes of length (big-endian), then
//! client  {"everyline": 1, "client": "name"}         name: 1 to 64 of A-Z a-z 0-9 _ -
//! server  {"everyline": 1, "last": 41}                the last number that is in a log
//! client  8 bytes of number (big-endian), a record as a JSON object       numbers grow, from 1 on
//! server  8 bytes of number: this record, and all before it, are in a log
//! ```
//!
//! A record that is refused is counted and acknowledged: sent again, it would be no better.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Deserialize;

use super::state::State;
use super::{Batch, commit, lock};
use crate::connection::Take;
use crate::decode::{Limits, json};
use crate::server::Shared;
use crate::{Reason, Record};

/// The first message.
#[derive(Deserialize)]
struct Hello {
    everyline: u32,
    client: String,
}

/// One connection.
pub struct Client<'a> {
    /// Where acknowledgements go.
    socket: &'a OwnedFd,
    whom: &'a str,
    shared: &'a Shared,
    limits: Limits,
    patience: Duration,
    state: Option<Arc<Mutex<State>>>,
    /// The last number that came through this connection.
    heard: u64,
    records: Vec<(u64, Option<Record>)>,
}

impl<'a> Client<'a> {
    /// Before its first message.
    pub fn new(socket: &'a OwnedFd, whom: &'a str, shared: &'a Shared) -> Self {
        let bounds = shared.logs().bounds;
        let (limits, patience) = (bounds.limits, bounds.record_timeout);
        Self { socket, whom, shared, limits, patience, state: None, heard: 0, records: Vec::new() }
    }

    fn hello(&mut self, frame: &[u8]) -> Result<(), Reason> {
        let hello: Hello = serde_json::from_slice(frame).map_err(|_| Reason::Hello)?;
        let is_name = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
        let well_named = (1..=64).contains(&hello.client.len()) && hello.client.bytes().all(is_name);
        if hello.everyline != 1 || !well_named {
            return Err(Reason::Hello);
        }
        let clients = self.shared.clients().ok_or(Reason::Hello)?;
        let state = clients.client(&hello.client).map_err(|error| {
            self.shared.stats.say(&format!("{}: {error}", self.whom));
            Reason::Hello
        })?;
        let last = lock(&state).done();
        self.state = Some(state);
        self.send(format!("{{\"everyline\":1,\"last\":{last}}}").as_bytes())
    }

    /// Writes a frame; a client that does not read it in time is given up.
    fn send(&self, body: &[u8]) -> Result<(), Reason> {
        let length = u32::try_from(body.len()).map_err(|_| Reason::TooLarge)?;
        let frame = [&length.to_be_bytes()[..], body].concat();
        let mut rest = &frame[..];
        let until = Instant::now() + self.patience;
        while !rest.is_empty() {
            match rustix::net::send(self.socket, rest, rustix::net::SendFlags::NOSIGNAL) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Reason::Slow);
                    }
                    let left = Timespec::try_from(left).ok();
                    let _ = poll(&mut [PollFd::new(self.socket, PollFlags::OUT)], left.as_ref());
                }
                Err(_) => return Err(Reason::Socket),
            }
        }
        Ok(())
    }

    /// Commits what has come, in order, log by log.
    fn commit(&mut self, state: &mut State) -> Result<(), Reason> {
        let clients = self.shared.clients().ok_or(Reason::Hello)?;
        let logs = self.shared.logs();
        let mut records = std::mem::take(&mut self.records).into_iter().peekable();
        // Sent again, also through another connection of this client: it is in a log already.
        while records.next_if(|(number, _)| *number <= state.done()).is_some() {}
        while let Some((first, record)) = records.next() {
            let mut batch = Batch { records: Vec::new(), levels: Vec::new(), last: first };
            let Some(record) = record else {
                state.set_done(first).map_err(|_| Reason::Log)?;
                continue;
            };
            let Some(log) = logs.place(&record) else { return Err(Reason::Log) };
            let mut add = |number: u64, record: &Record| {
                let mut line = String::new();
                log.format.line(record, &mut line);
                batch.last = number;
                if line.len() as u64 > log.appender.options().overflow_bytes {
                    // The engine takes no such record, now or ever.
                    return self.shared.stats.refuse(Reason::TooLarge, self.whom, "once it is formatted");
                }
                batch.records.push((number, line));
                batch.levels.push(record.level_byte());
            };
            add(first, &record);
            while let Some((number, record)) = records.next_if(|(_, record)| {
                record.as_ref().is_some_and(|record| logs.place(record).is_some_and(|place| std::ptr::eq(place, log)))
            }) {
                record.iter().for_each(|record| add(number, record));
            }
            if batch.records.is_empty() {
                state.set_done(batch.last).map_err(|_| Reason::Log)?;
                continue;
            }
            let count = batch.records.len() as u64;
            commit(&log.appender, &log.gate, state, batch, clients.fsync, &self.shared.stop)?;
            self.shared.stats.records.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Take for Client<'_> {
    fn frame(&mut self, frame: &[u8]) -> Result<(), Reason> {
        if self.state.is_none() {
            return self.hello(frame);
        }
        let (number, body) = frame.split_first_chunk::<8>().ok_or(Reason::Malformed)?;
        let number = u64::from_be_bytes(*number);
        if number <= self.heard {
            return Err(Reason::Sequence);
        }
        self.heard = number;
        let record = json::record(body, &self.limits).map(|mut record| {
            record.complete(crate::connection::now());
            record
        });
        if let Err(reason) = &record {
            self.shared.stats.refuse(*reason, self.whom, "");
        }
        self.records.push((number, record.ok()));
        Ok(())
    }

    fn pause(&mut self) -> Result<(), Reason> {
        let Some(state) = self.state.clone().filter(|_| !self.records.is_empty()) else { return Ok(()) };
        let mut state = lock(&state);
        self.commit(&mut state)?;
        let done = state.done();
        drop(state);
        self.send(&done.to_be_bytes())
    }
}
