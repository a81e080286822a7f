//! `recover`, `reopen` and `clean`: one call of the engine each, and what its answer means to a script.
//!
//! Where there is no journal there is nothing to do, and that is a success: logrotate's `postrotate` must not fail
//! because nobody logs at the moment.

use std::io::{self, Write};
use std::path::Path;

use everyline::{Error, ErrorKind};

use crate::report::say;
use crate::{Exit, Result};

/// Writes what dead processes left, and says how much it was. Incomplete if something is still there.
pub fn recover(log: &Path) -> Result<Exit> {
    let done = match everyline::recover(log) {
        Ok(done) => done,
        Err(error) => return unless_not_attached(log, error, "nothing to recover"),
    };
    writeln!(io::stdout(), "recovered {} records, {} bytes, of {} processes", done.records, done.bytes, done.slots)?;
    let left = left_by_the_dead(log)?;
    if left > 0 {
        say(format_args!("{left} bytes of dead processes are still in the journal: see `everyline status`"));
    }
    let corrupt = done.corrupt_slots;
    if corrupt > 0 {
        say(format_args!("what {corrupt} processes left was damaged and is lost"));
    }
    Ok(if left > 0 || corrupt > 0 { Exit::Incomplete } else { Exit::Done })
}

/// Tells all who are attached to look at the path again.
pub fn reopen(log: &Path) -> Result<Exit> {
    match everyline::reopen(log) {
        Ok(()) => Ok(Exit::Done),
        Err(error) => unless_not_attached(log, error, "nobody to tell"),
    }
}

/// Removes what is of no use to anybody, and lists it. Incomplete if the journal stays.
pub fn clean(log: &Path) -> Result<Exit> {
    let done = match everyline::clean(log) {
        Ok(done) => done,
        Err(error) => return unless_not_attached(log, error, "nothing to clean"),
    };
    let mut out = io::stdout().lock();
    for path in &done.removed {
        writeln!(out, "{}", path.display())?;
    }
    if done.in_use {
        say(format_args!(
            "the journal of {} stays: processes are attached, or something in it is unwritten",
            log.display()
        ));
        return Ok(Exit::Incomplete);
    }
    Ok(Exit::Done)
}

/// Bytes that wait in the journal and whose process is dead.
fn left_by_the_dead(log: &Path) -> Result<u64> {
    match everyline::status(log) {
        Ok(status) => {
            Ok(status.processes.iter().filter(|p| !p.alive).map(|p| p.backlog_bytes + p.overflow_bytes).sum())
        }
        Err(error) if error.kind() == ErrorKind::NotAttached => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// No journal is a success here; a wait that reached its bound is a job half done; all else is an error.
fn unless_not_attached(log: &Path, error: Error, so: &str) -> Result<Exit> {
    match error.kind() {
        ErrorKind::NotAttached => {
            say(format_args!("{}: there is no journal, {so}", log.display()));
            Ok(Exit::Done)
        }
        ErrorKind::TimedOut => {
            say(format_args!("{error}"));
            Ok(Exit::Incomplete)
        }
        _ => Err(error.into()),
    }
}
