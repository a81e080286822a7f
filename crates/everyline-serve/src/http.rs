//! Counters for Prometheus, and whether it serves, over HTTP: `GET /metrics` and `GET /health`, nothing else.
//!
//! One request at a time, with a bound on its size and its time: whoever reaches this port can disturb only this.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::Reason;
use crate::server::Shared;
use crate::wait::{Ready, Stop};

/// No request of this kind is longer.
const REQUEST_BYTES: usize = 8 << 10;
/// From the first byte of a request to the last of its answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers until the server stops.
pub fn serve(listener: &TcpListener, stop: &Stop, shared: &Shared) {
    while let Ok(Ready::Readable) = stop.wait(listener, None) {
        if stop.deadline().is_some() {
            return;
        }
        // What cannot be accepted or answered concerns nobody but its peer.
        if let Ok((stream, _)) = listener.accept() {
            let _ = answer(stream, shared);
        }
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let until = Instant::now() + PATIENCE;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || request.len() > REQUEST_BYTES {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
    let target = request.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let (status, body) = match (request.starts_with(b"GET "), target) {
        (true, b"/metrics") => ("200 OK", metrics(shared)),
        (true, b"/health") => ("200 OK", "serving\n".to_owned()),
        (true, _) => ("404 Not Found", "there are /metrics and /health\n".to_owned()),
        (false, _) => ("405 Method Not Allowed", "only GET\n".to_owned()),
    };
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = body.len();
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())
}

fn metrics(shared: &Shared) -> String {
    let stats = &shared.stats;
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
        text += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        samples.iter().for_each(|(labels, value)| text += &format!("{name}{labels} {value}\n"));
    };
    let one = |value| [(String::new(), value)];
    family(
        "everyline_serve_records_total",
        "counter",
        "Records that logs took.",
        &one(stats.records.load(Ordering::Relaxed)),
    );
    family(
        "everyline_serve_connections_total",
        "counter",
        "Connections that were let in.",
        &one(stats.connections.load(Ordering::Relaxed)),
    );
    family("everyline_serve_connections", "gauge", "Connections now.", &one(shared.connections_now()));
    let refused: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| (format!("{{reason=\"{}\"}}", reason.name()), stats.refused(*reason)))
        .collect();
    family("everyline_serve_refused_total", "counter", "What was refused, by reason.", &refused);
    text
}
