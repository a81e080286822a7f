//! `everyline status`: who is attached to a log, who writes, what is waiting; as a table or as one JSON object.
//!
//! Reads the journal and attaches to nothing. What it shows is a moment: counters of different processes are read one
//! after the other. Names of JSON fields are promised; fields may be added.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use everyline::{ErrorKind, LeaseState, LeaseStatus, ProcessStatus, Status};
use serde_json::{Value, json};

use crate::report::say;
use crate::{Exit, Result};

/// A lease that did not move for this long is worth a word. A busy holder shows progress far more often.
const IDLE_SHOWN_MS: u64 = 100;

/// Prints the status of `log`.
pub fn run(log: &Path, as_json: bool) -> Result<Exit> {
    let status = match everyline::status(log) {
        Ok(status) => status,
        Err(error) if error.kind() == ErrorKind::NotAttached => {
            say(format_args!("{error}"));
            return Ok(Exit::NotAttached);
        }
        Err(error) => return Err(error.into()),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = if as_json { format!("{:#}\n", to_json(&status)) } else { to_table(&status, now) };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

fn to_json(status: &Status) -> Value {
    let lease = &status.lease;
    let state = match lease.state {
        LeaseState::Free => "free",
        LeaseState::Held => "held",
        LeaseState::Pending => "pending",
    };
    let settings: serde_json::Map<String, Value> =
        status.settings.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    json!({
        "log": status.log.to_string_lossy(),
        "journal": status.journal.to_string_lossy(),
        "file_bytes": status.file_bytes,
        "rotations": status.rotations,
        "rotations_failed": status.rotations_failed,
        "epoch": status.epoch,
        "rollover_at": status.rollover_at,
        "errors": status.errors,
        "last_error": status.last_error.map(|(errno, operation)| json!({
            "errno": errno, "text": errno_text(errno), "operation": operation,
        })),
        "lease": {
            "state": state, "slot": lease.slot, "pid": lease.pid,
            "generation": lease.generation, "idle_ms": lease.idle_ms,
        },
        "settings": settings,
        "processes": status.processes.iter().map(process_to_json).collect::<Vec<_>>(),
    })
}

fn process_to_json(process: &ProcessStatus) -> Value {
    json!({
        "slot": process.slot,
        "pid": process.pid,
        "alive": process.alive,
        // Milliseconds: nanoseconds would be over 2^53, where many readers of JSON lose the last digits.
        "started_unix_ms": process.started_unix_ns / 1_000_000,
        "backlog_bytes": process.backlog_bytes,
        "overflow_bytes": process.overflow_bytes,
        "records": process.records,
        "bytes": process.bytes,
        "dropped": process.dropped,
        "ring_bytes": process.ring_bytes,
    })
}

/// The table; `now` is the time since 1970.
fn to_table(status: &Status, now: Duration) -> String {
    let mut head = vec![
        ("log", format!("{}, {} bytes", status.log.display(), status.file_bytes)),
        ("journal", status.journal.display().to_string()),
        ("lease", lease_text(&status.lease)),
        ("rotations", rotations_text(status, now)),
    ];
    if let Some((errno, operation)) = status.last_error {
        let last = format!("{}, the last: {operation}: {} (os error {errno})", status.errors, errno_text(errno));
        head.push(("errors", last));
    }
    let settings = status.settings.iter().map(|(key, value)| ("", format!("{key}={value}")));
    head.extend(settings);
    if let Some(first) = head.iter_mut().find(|(name, _)| name.is_empty()) {
        first.0 = "settings";
    }
    let mut text = String::new();
    for (name, value) in head {
        let _ = writeln!(text, "{name:<10}  {value}");
    }
    if status.processes.is_empty() {
        text.push_str("\nno process is attached\n");
    } else {
        text.push('\n');
        text.push_str(&processes_table(&status.processes, now));
    }
    text
}

fn lease_text(lease: &LeaseStatus) -> String {
    match lease.state {
        LeaseState::Free => "free".to_string(),
        LeaseState::Pending => "free; a write failed, and the next process that logs finishes it".to_string(),
        LeaseState::Held if lease.idle_ms < IDLE_SHOWN_MS => format!("held by pid {}", lease.pid),
        LeaseState::Held => {
            let idle = Duration::from_millis(lease.idle_ms);
            format!("held by pid {}, no progress for {:.1} s", lease.pid, idle.as_secs_f64())
        }
    }
}

fn rotations_text(status: &Status, now: Duration) -> String {
    let due = status.rollover_at.map(|at_s| match u64::try_from(at_s).unwrap_or(0).checked_sub(now.as_secs()) {
        Some(left_s) => format!(", the next by time in {}", span_text(left_s)),
        None => ", the next by time with the next record".to_string(),
    });
    let failed =
        if status.rotations_failed > 0 { format!(", {} failed", status.rotations_failed) } else { String::new() };
    format!("{}{failed}{}", status.rotations, due.unwrap_or_default())
}

/// One row for each process, numbers to the right.
fn processes_table(processes: &[ProcessStatus], now: Duration) -> String {
    let titles = ["SLOT", "PID", "STATE", "UP", "BACKLOG", "OVERFLOW", "RECORDS", "BYTES", "DROPPED"];
    let mut rows = vec![titles.map(String::from)];
    for process in processes {
        let up_s = now.saturating_sub(Duration::from_nanos(process.started_unix_ns)).as_secs();
        rows.push([
            process.slot.to_string(),
            process.pid.to_string(),
            if process.alive { "alive" } else { "dead" }.to_string(),
            if process.alive { span_text(up_s) } else { "-".to_string() },
            process.backlog_bytes.to_string(),
            process.overflow_bytes.to_string(),
            process.records.to_string(),
            process.bytes.to_string(),
            process.dropped.to_string(),
        ]);
    }
    let mut widths = [0; 9];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        text.push_str(&cells.join("  "));
        text.push('\n');
    }
    text
}

/// A span of time in its two largest units: `3d04h`, `2h05m`, `1m30s`, `7s`.
fn span_text(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days}d{:02}h", hours % 24),
        () if hours > 0 => format!("{hours}h{:02}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m{:02}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

/// The words for an errno, without the number that the standard library adds.
fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let end = text.rfind(" (os error").unwrap_or(text.len());
    text[..end].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Status {
        let process = |slot, pid, alive| ProcessStatus {
            slot,
            pid,
            alive,
            started_unix_ns: 1_000_000_000_000,
            backlog_bytes: 120,
            overflow_bytes: 0,
            records: 1_000_000,
            bytes: 120_000_000,
            dropped: 3,
            ring_bytes: 262_144,
        };
        Status {
            journal: "/var/log/.app.log.everyline".into(),
            log: "/var/log/app.log".into(),
            settings: vec![("max_bytes".into(), "10485760".into()), ("keep".into(), "5".into())],
            lease: LeaseStatus { state: LeaseState::Held, slot: 0, pid: 123, generation: 7, idle_ms: 4230 },
            rotations: 12,
            rotations_failed: 2,
            epoch: 1,
            file_bytes: 4096,
            rollover_at: Some(1000 + 3600 + 5 * 60),
            errors: 3,
            last_error: Some((28, "append")),
            processes: vec![process(0, 123, true), process(11, 45678, false)],
        }
    }

    #[test]
    fn the_table() {
        let expected = "\
log         /var/log/app.log, 4096 bytes
journal     /var/log/.app.log.everyline
lease       held by pid 123, no progress for 4.2 s
rotations   12, 2 failed, the next by time in 1h05m
errors      3, the last: append: No space left on device (os error 28)
settings    max_bytes=10485760
            keep=5

SLOT    PID  STATE  UP  BACKLOG  OVERFLOW  RECORDS      BYTES  DROPPED
   0    123  alive  0s      120         0  1000000  120000000        3
  11  45678   dead   -      120         0  1000000  120000000        3
";
        assert_eq!(to_table(&example(), Duration::from_secs(1000)), expected);
    }

    #[test]
    fn the_json() {
        let json = to_json(&example());
        assert_eq!(json["lease"]["state"], "held");
        assert_eq!(json["last_error"]["text"], "No space left on device");
        assert_eq!(json["settings"]["keep"], "5");
        assert_eq!(json["processes"][1]["started_unix_ms"], 1_000_000);
        assert_eq!(json["processes"][1]["alive"], false);
    }

    #[test]
    fn spans() {
        assert_eq!([7, 90, 7500, 273_600].map(span_text), ["7s", "1m30s", "2h05m", "3d04h"]);
    }
}
