//! Another program at the live file: it appends lines, renames the file away (logrotate), deletes it, or copies and
//! empties it. The processes stand still while a copy is taken, because a copy that misses what is written meanwhile is
//! the other program's loss, not ours.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Arena, Case};
use crate::files;
use crate::oracle::Expect;
use crate::plan::Sizes;
use crate::producer::wall_ns;
use crate::record::{Head, compose};
use crate::round::Round;

pub const CASE: Case = Case { name: "foreign", shares: [4, 3], run };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Append,
    /// Appends, and kills: a fragment for each kill may stand beside its whole record.
    AppendAndKill,
    Rename,
    Delete,
    CopyTruncate,
}

const HARMS: &[Harm] = &[Harm::Append, Harm::Rename, Harm::Delete, Harm::CopyTruncate, Harm::AppendAndKill];

fn run(arena: &mut Arena) -> io::Result<()> {
    let mut turn = 0;
    while turn < HARMS.len() || arena.has_time() {
        let harm = HARMS[turn % HARMS.len()];
        let mut plan = arena.plan();
        plan.rate = 2000;
        let disorder = harm == Harm::Delete;
        if disorder {
            // Full records only: the short ones rely on the order.
            plan.sizes = Sizes::Plain;
        }
        plan.max_bytes = (turn % 2 == 0).then_some(60_000);
        let mut round = arena.round(plan)?.unwatched();
        round.spawn_all(arena.processes)?;
        round.wait_for(Duration::from_secs(2), |round| round.ledger.progress().0 > 10);
        let lines = disturb(arena, &mut round, harm)?;
        round.stop();
        round.recover()?;
        let fragments = if harm == Harm::AppendAndKill { round.kills } else { 0 };
        arena.close(round, Expect { foreign: lines, fragments, disorder, ..Expect::default() })?;
        turn += 1;
    }
    Ok(())
}

/// The other program, for a while. Lines it has appended.
fn disturb(arena: &mut Arena, round: &mut Round, harm: Harm) -> io::Result<u64> {
    let log = round.plan.log.clone();
    let until = Instant::now() + Duration::from_millis(700);
    let (mut lines, mut harms) = (0, 0);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_micros(arena.rng.range(100, 3000)));
        lines += u64::from(append(round, lines)?);
        if arena.rng.one_in(40) && log.exists() {
            harms += 1;
            match harm {
                Harm::Append => {}
                Harm::AppendAndKill => {
                    let victim = arena.rng.range(0, round.children.len() as u64) as usize;
                    round.kill(victim);
                    round.spawn(|_| {}, None)?;
                }
                // Rotated under our hands in this very moment: then there is nothing to rename.
                Harm::Rename => drop(fs::rename(&log, beside(&log, &format!("old-{harms:04}")))),
                Harm::Delete | Harm::CopyTruncate => {
                    standing_still(round, || take_away(&log, harms, harm == Harm::Delete))?;
                }
            }
        }
    }
    Ok(lines)
}

fn beside(log: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", log.display()))
}

/// One line, if there is a file.
fn append(round: &Round, number: u64) -> io::Result<bool> {
    let mut file = match OpenOptions::new().append(true).open(&round.plan.log) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let mut line = Vec::new();
    compose(&mut line, Head { run: round.plan.run, who: 0, seq: number, stamp: wall_ns(), foreign: true }, 71, false);
    file.write_all(&line)?;
    Ok(true)
}

fn standing_still(round: &mut Round, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    (0..round.children.len()).for_each(|i| round.signal(i, Signal::STOP));
    // A stop takes effect at the next return to user mode: a write under way is finished first.
    if !round.wait_for(Duration::from_secs(5), |round| (0..round.children.len()).all(|i| round.has_stopped(i))) {
        return Err(io::Error::other("the producers do not stop"));
    }
    let result = act();
    (0..round.children.len()).for_each(|i| round.signal(i, Signal::CONT));
    result
}

fn take_away(log: &Path, number: u64, delete: bool) -> io::Result<()> {
    // Gone while a rotation stands still.
    let Ok(birth) = files::birth(log) else { return Ok(()) };
    fs::copy(log, beside(log, &format!("copy-{birth}-{number:04}")))?;
    if delete { fs::remove_file(log) } else { File::options().write(true).open(log)?.set_len(0) }
}
