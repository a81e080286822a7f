//! Runs the cases on each file system and says what came out: one line for each case, a summary, and on failure what is
//! needed to look at it and to repeat it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Run;
use crate::cases::{self, Arena, Case};
use crate::oracle::Damage;
use crate::producer::wall_ns;
use crate::rng::Rng;

/// Failures of one case that are printed.
const SHOWN: usize = 12;

/// A place to run in.
struct Ground {
    label: &'static str,
    directory: PathBuf,
    /// Which share of a case's time counts here.
    share: usize,
}

/// Runs everything. True: all is well.
pub fn run(run: &Run) -> io::Result<bool> {
    let seed = run.seed.unwrap_or_else(|| wall_ns() % 1_000_000);
    let grounds = grounds(run, seed)?;
    let chosen: Vec<&Case> =
        cases::ALL.iter().filter(|c| run.only.is_empty() || run.only.iter().any(|o| o == c.name)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = cases::ALL.iter().map(|c| c.name).collect();
        return Err(io::Error::other(format!("no such case; there are {}", names.join(", "))));
    }
    let shares: u32 = grounds.iter().flat_map(|g| chosen.iter().map(|c| c.shares[g.share])).sum();
    println!("everyline-torture run --seed {seed} --seconds {} --processes {}", run.seconds, run.processes);
    let (mut passed, mut failures) = (0, Vec::new());
    for ground in &grounds {
        for case in chosen.iter().filter(|c| c.shares[ground.share] > 0) {
            let time = Duration::from_secs(run.seconds) * case.shares[ground.share] / shares.max(1);
            match play(run, seed, ground, case, time)? {
                None => passed += 1,
                Some(failure) => failures.push(failure),
            }
        }
    }
    println!("{passed} passed, {} failed", failures.len());
    // Once more in the end: the end is what a long output is read from.
    failures.iter().for_each(|failure| println!("{failure}"));
    for ground in &grounds {
        // Left alone if a failed case keeps its files there.
        let _ = fs::remove_dir(&ground.directory);
    }
    Ok(failures.is_empty())
}

fn grounds(run: &Run, seed: u64) -> io::Result<Vec<Ground>> {
    let own = format!("everyline-torture-{seed}-{}", std::process::id());
    let mut grounds = Vec::new();
    match &run.directory {
        Some(directory) => grounds.push(Ground { label: "given", directory: directory.join(own), share: 0 }),
        None => {
            let disk = std::env::current_dir()?.join("target").join("torture").join(&own);
            grounds.push(Ground { label: "disk", directory: disk, share: 0 });
            if Path::new("/dev/shm").is_dir() {
                grounds.push(Ground { label: "tmpfs", directory: Path::new("/dev/shm").join(own), share: 1 });
            }
        }
    }
    for ground in &grounds {
        fs::create_dir_all(&ground.directory)?;
    }
    Ok(grounds)
}

/// Plays one case. What is said of a failure, if it is one.
fn play(run: &Run, seed: u64, ground: &Ground, case: &Case, time: Duration) -> io::Result<Option<String>> {
    let directory = ground.directory.join(case.name);
    fs::create_dir(&directory)?;
    let rng = Rng::new(seed).part(case.name).part(ground.label);
    let started = Instant::now();
    let mut arena = Arena::new(directory.clone(), rng, run, time, ground.share == 1);
    (case.run)(&mut arena)?;
    let total = arena.total;
    let good = total.damage.is_empty();
    println!(
        "{} {:<12} {:<6} {:>5.1} s  rounds {:>3}  processes {:>5}  kills {:>5}  archives {:>6}  records {:>8}  bytes {:>10}{}",
        if good { "ok  " } else { "FAIL" },
        case.name,
        ground.label,
        started.elapsed().as_secs_f64(),
        total.rounds,
        total.processes,
        total.kills,
        total.archives,
        total.records,
        total.bytes,
        if total.dropped > 0 { format!("  dropped {}", total.dropped) } else { String::new() },
    );
    for note in &total.notes {
        println!("     {note}");
    }
    if good {
        if !run.keep {
            fs::remove_dir_all(&directory)?;
        }
        return Ok(None);
    }
    let failure = failure(run, seed, ground, case, &total.damage);
    println!("{failure}");
    Ok(Some(failure))
}

/// What was found, and how to see it again.
fn failure(run: &Run, seed: u64, ground: &Ground, case: &Case, damage: &[(PathBuf, Damage)]) -> String {
    let mut lines = vec![format!("     {} on {}:", case.name, ground.label)];
    lines.extend(damage.iter().take(SHOWN).map(|(round, damage)| format!("     {}: {damage}", round.display())));
    if damage.len() > SHOWN {
        lines.push(format!("     and {} more", damage.len() - SHOWN));
    }
    let at = run.directory.as_ref().map_or(String::new(), |d| format!(" --directory {}", d.display()));
    lines.push(format!(
        "     again: everyline-torture run --seed {seed} --seconds {} --processes {} --only {}{at}",
        run.seconds, run.processes, case.name
    ));
    lines.join("\n")
}
