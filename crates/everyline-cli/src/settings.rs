//! Stage 2: what was typed, in the engine's terms. Decides what options mean together; opens nothing.

use std::path::{Path, PathBuf};

use everyline::{Commit, Full, Naming, Options, Schedule, When};

use crate::Result;
use crate::args::{FullArg, Keep, NamingArg, PipeArgs};

/// All that `pipe` needs to know.
#[derive(Debug)]
pub struct Settings {
    pub file: PathBuf,
    pub options: Options,
    /// Given to every line.
    pub level: u8,
}

/// Reads the arguments of `pipe`.
///
/// # Errors
/// If options contradict each other, with the names that were typed.
pub fn from_args(typed: &PipeArgs) -> Result<Settings> {
    check_file(&typed.file)?;
    let default = Options::default();
    let options = Options {
        max_bytes: typed.max_bytes,
        schedule: schedule(typed)?,
        naming: match typed.naming {
            Some(NamingArg::Dated) => Naming::Dated,
            Some(NamingArg::Sequence) => Naming::Sequence,
            Some(NamingArg::Numbered) => Naming::Numbered,
            None => default.naming,
        },
        keep: match typed.keep {
            Some(Keep::All) => None,
            Some(Keep::Newest(count)) => Some(count),
            None => default.keep,
        },
        keep_age: typed.keep_age,
        keep_total_bytes: typed.keep_bytes,
        compress: typed.compress.unwrap_or(default.compress),
        compress_after: typed.compress_after.unwrap_or(default.compress_after),
        link: typed.link.clone(),
        commit: if typed.deferred { Commit::Deferred } else { default.commit },
        fsync: typed.fsync.unwrap_or(default.fsync),
        ring_bytes: typed.ring.unwrap_or(default.ring_bytes),
        overflow_bytes: typed.overflow.unwrap_or(default.overflow_bytes),
        full: match typed.full {
            Some(FullArg::Block) => Full::Block,
            Some(FullArg::Drop) => Full::Drop,
            None => default.full,
        },
        wait: typed.wait.unwrap_or(default.wait),
        journal_dir: typed.journal_dir.clone(),
        mode: typed.mode.unwrap_or(default.mode),
        owner: typed.owner,
        ..default
    };
    check(&options)?;
    Ok(Settings { file: typed.file.clone(), options, level: typed.level.unwrap_or(0) })
}

/// Paths that are no mistake to the engine, and surely one when typed.
fn check_file(file: &Path) -> Result<()> {
    match file.as_os_str().as_encoded_bytes() {
        b"-" => Err("FILE is '-': expected a path; for standard output say /dev/stdout".into()),
        [.., b'/'] => {
            Err(format!("FILE is '{}', a directory: expected the name of a file in it", file.display()).into())
        }
        _ => Ok(()),
    }
}

/// The contradictions that a user of the command can type, in the command's words. The engine checks again, in its own.
fn check(options: &Options) -> Result<()> {
    if options.naming == Naming::Numbered && options.rotates() && options.keep.is_none() {
        return Err("--keep all: numbered names need a count; use --naming dated or sequence to keep every file".into());
    }
    if options.overflow_bytes < options.ring_bytes {
        let (overflow, ring) = (options.overflow_bytes, options.ring_bytes);
        return Err(format!("--overflow {overflow}: expected at least the size of the ring, {ring}").into());
    }
    Ok(options.check()?)
}

fn schedule(typed: &PipeArgs) -> Result<Option<Schedule>> {
    let Some(when) = typed.when else { return Ok(None) };
    let interval = typed.interval.unwrap_or(1);
    let Ok(mut schedule) = Schedule::new(when, interval) else {
        return Err(format!("--interval {interval}: --when {when} takes at most a million days in all").into());
    };
    if let Some(second_of_day) = typed.at {
        // The engine, like Python, would silently not look at it.
        if !matches!(when, When::Midnight | When::Weekday(_)) {
            return Err(format!("--at: --when {when} has no time of day; use --when midnight or W0 to W6").into());
        }
        schedule = schedule.at_time(second_of_day)?;
    }
    Ok(Some(schedule.utc(typed.utc)))
}
