//! Datagrams: each holds whole records, and nobody is told of those that are not.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::Reason;
use crate::config::Protocol;
use crate::connection::{Sink, Take};
use crate::server::Shared;
use crate::wait::{Ready, Stop};

/// The longest datagram that there is, over any kind of socket that is worth it.
const DATAGRAM_BYTES: usize = 256 << 10;

/// Reads a socket until the server stops and it is empty.
pub fn serve(socket: &OwnedFd, protocol: impl Fn() -> Protocol, whom: &str, stop: &Stop, shared: &Shared) {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let mut line = String::new();
    loop {
        match stop.wait(socket, None) {
            Ok(Ready::Readable) if stop.deadline().is_none_or(|deadline| std::time::Instant::now() <= deadline) => {}
            Ok(_) => return,
            Err(error) => return shared.stats.refuse(Reason::Socket, whom, &error.to_string()),
        }
        match rustix::net::recv(socket, &mut buffer[..], RecvFlags::TRUNC) {
            Ok((_, length)) => {
                let limits = shared.logs().bounds.limits;
                let mut sink = Sink { protocol: protocol(), whom, shared, limits, line };
                let result = match buffer.get(..length) {
                    Some(bytes) => datagram(bytes, &mut sink),
                    None => Err(Reason::TooLarge),
                };
                line = sink.line;
                if let Err(reason) = result {
                    shared.stats.refuse(reason, whom, "");
                }
            }
            Err(Errno::INTR | Errno::AGAIN | Errno::CONNREFUSED) => {}
            Err(error) => return shared.stats.refuse(Reason::Socket, whom, &error.to_string()),
        }
    }
}

fn datagram(bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Reason> {
    match sink.protocol {
        Protocol::Python => {
            let (length, pickle) = bytes.split_first_chunk::<4>().ok_or(Reason::Malformed)?;
            if u32::from_be_bytes(*length) as usize != pickle.len() {
                return Err(Reason::Malformed);
            }
            sink.frame(pickle)
        }
        Protocol::Syslog | Protocol::Everyline => sink.frame(bytes),
        Protocol::Json => {
            bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).try_for_each(|line| sink.frame(line))
        }
    }
}
