//! The journal is deleted, moved away, or replaced by an old copy, under live processes: they notice, deliver what they
//! have, and go on with a new one. If all processes die with it, what a `flush` has confirmed is still in the file.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Arena, Case};
use crate::oracle::Expect;
use crate::round::{Round, journal_of};

pub const CASE: Case = Case { name: "journal", shares: [4, 4], run };

#[derive(Clone, Copy, Debug)]
enum Harm {
    /// `rm -rf`.
    Removed,
    /// `mv` out of the directory.
    Moved,
    /// `rm -rf`, and an old copy put in its place at once, whole.
    Restored,
    /// An old copy's files put over the journal's, one by one.
    CopiedOver,
    /// Deleted after all processes were killed.
    Orphaned,
}

/// The journal of a round is injured so often.
const TIMES: u32 = 3;

const HARMS: &[Harm] = &[Harm::Removed, Harm::Moved, Harm::Restored, Harm::CopiedOver, Harm::Orphaned];

fn run(arena: &mut Arena) -> io::Result<()> {
    let mut turn = 0;
    while turn < HARMS.len() || arena.has_time() {
        let harm = HARMS[turn % HARMS.len()];
        let mut plan = arena.plan();
        plan.deferred = arena.rng.one_in(3);
        plan.rate = 3000;
        plan.max_bytes = Some(50_000);
        let orphaned = matches!(harm, Harm::Orphaned);
        // Until the last process has noticed, two journals are in use: their writers do not know of each other's sizes.
        // A batch that was being written when all were killed, and whose note is gone, ends in the middle.
        let fragments = if orphaned { TIMES.into() } else { 0 };
        let expect = Expect { flushed_only: orphaned, fragments, ..Expect::default() };
        let mut round = arena.round(plan)?;
        round.spawn_all(arena.processes)?;
        let saved = round.dir.join("saved");
        for time in 0..TIMES {
            std::thread::sleep(Duration::from_millis(arena.rng.range(60, 250)));
            injure(&mut round, harm, &saved, time)?;
        }
        std::thread::sleep(Duration::from_millis(150));
        if !orphaned {
            round.stop();
            round.recover()?;
        }
        arena.close(round, expect)?;
        turn += 1;
    }
    Ok(())
}

fn injure(round: &mut Round, harm: Harm, saved: &Path, time: u32) -> io::Result<()> {
    let journal = journal_of(&round.plan.log);
    match harm {
        Harm::Removed => remove(&journal)?,
        Harm::Moved => fs::rename(&journal, round.dir.join(format!("moved-{time}")))?,
        Harm::Restored | Harm::CopiedOver if time == 0 => shell("cp -a \"$0\" \"$1\"", &journal, saved)?,
        Harm::Restored => {
            // By renaming: `cp` into a directory where a new journal is being built would cut its files to nothing.
            let copy = round.dir.join(format!("restored-{time}"));
            shell("cp -a \"$1\" \"$0\"", &copy, saved)?;
            loop {
                remove(&journal)?;
                match fs::rename(&copy, &journal) {
                    // There was none yet when it was to be saved.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                    // Somebody was faster, with a new one.
                    Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {}
                    other => break other?,
                }
            }
        }
        // Not into the files that are there: `cp` would cut them to nothing first, which is SIGBUS for whoever has them
        // mapped, and no program on Linux survives that.
        Harm::CopiedOver => shell("cp -a --remove-destination \"$1\"/. \"$0\"", &journal, saved)?,
        Harm::Orphaned => {
            round.kill_all();
            remove(&journal)?;
            round.spawn_all(2)?;
        }
    }
    Ok(())
}

/// A process may put files into it while it is being deleted.
fn remove(journal: &Path) -> io::Result<()> {
    for _ in 0..100 {
        match fs::remove_dir_all(journal) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {}
            _ => return Ok(()),
        }
    }
    fs::remove_dir_all(journal)
}

fn shell(script: &str, journal: &Path, saved: &Path) -> io::Result<()> {
    // Files that come and go meanwhile make `cp` complain; what it could copy is what a backup would have.
    Command::new("sh").arg("-c").arg(format!("{script} 2>/dev/null")).arg(journal).arg(saved).status().map(drop)
}
