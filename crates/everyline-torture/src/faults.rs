//! Does the oracle see what it should? Each planted fault breaks one rule of the protocol, on purpose, in a log that is
//! otherwise written as always; the run fails if the oracle finds nothing.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::bare;
use crate::oracle::{Damage, Expect};
use crate::plan::{Act, Names, Plan, Sizes};
use crate::producer::wall_ns;
use crate::rng::Rng;
use crate::round::{Round, journal_of};

/// Offsets in a slot file (`docs/design.md`): the producer's head, the consumer's tail, the phase of the note.
const HEAD: u64 = 128;
const TAIL: u64 = 256;
const PHASE: u64 = 4096;
/// Rounds that a fault which needs luck may take.
const TRIES: u64 = 40;

/// A fault.
struct Fault {
    name: &'static str,
    /// What is broken.
    what: &'static str,
    /// Words one of which the oracle must use.
    caught_as: &'static [&'static str],
    plant: fn(&mut Round) -> io::Result<()>,
    plan: fn(&mut Plan),
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "none",
        what: "nothing: the same kills, with the recovery as it should be",
        caught_as: &[],
        plant: |round| died_at(round, "batch-written:40"),
        plan: |_| {},
    },
    Fault {
        name: "skipped recovery: the note",
        what: "a process dies after it wrote a batch; its note is wiped before anybody takes over",
        caught_as: &["doubled"],
        plant: |round| {
            died_at(round, "batch-written:40")?;
            edit_slots(round, |file| file.write_all_at(&[0; 8], PHASE))
        },
        plan: |_| {},
    },
    Fault {
        name: "skipped recovery: the ring",
        what: "a process dies with records in its ring; they are taken for delivered",
        caught_as: &["lost"],
        plant: |round| {
            died_at(round, "note-filled:9")?;
            edit_slots(round, |file| {
                let mut head = [0; 8];
                file.read_exact_at(&mut head, HEAD)?;
                file.write_all_at(&head, TAIL)
            })
        },
        plan: |plan| plan.deferred = true,
    },
    Fault {
        name: "write without the note",
        what: "processes append to the file themselves, and are killed in the middle of it",
        caught_as: &["torn"],
        plant: bare_kills,
        plan: |plan| {
            (plan.act, plan.sizes, plan.max_bytes) = (Act::Bare, Sizes::Pages, None);
        },
    },
    Fault {
        name: "rotation without the lease",
        what: "another program rotates as Python's handlers do, while the engine logs and rotates",
        caught_as: &["wrong file", "lost"],
        plant: foreign_rotation,
        plan: |plan| (plan.names, plan.keep, plan.rate) = (Names::Numbered, Some(90_000), 3000),
    },
    Fault {
        name: "every process rotates",
        what: "no engine: four processes append and rotate for themselves",
        caught_as: &["wrong file", "lost", "oversize", "order"],
        plant: |round| {
            round.spawn_all(4)?;
            std::thread::sleep(Duration::from_millis(400));
            round.stop();
            Ok(())
        },
        plan: |plan| {
            (plan.act, plan.names, plan.max_bytes) = (Act::BareRotate, Names::Numbered, Some(20_000));
            plan.rate = 1500;
        },
    },
];

/// Plants all faults. True: each was found, and nothing where none was planted.
pub fn run(seed: Option<u64>, directory: Option<PathBuf>) -> io::Result<bool> {
    let seed = seed.unwrap_or_else(|| wall_ns() % 1_000_000);
    let base = match directory {
        Some(directory) => directory,
        None => std::env::current_dir()?.join("target").join("torture"),
    };
    let base = base.join(format!("everyline-faults-{seed}-{}", std::process::id()));
    println!("everyline-torture faults --seed {seed}");
    let mut missed = 0;
    for (number, fault) in FAULTS.iter().enumerate() {
        let found = plant(fault, &base.join(number.to_string()), seed)?;
        let caught = |d: &Damage| fault.caught_as.iter().any(|word| d.to_string().starts_with(word));
        let good = if fault.caught_as.is_empty() { found.is_empty() } else { found.iter().any(caught) };
        missed += u32::from(!good);
        println!("{}  {}", if good { "ok    " } else { "MISSED" }, fault.name);
        println!("        planted: {}", fault.what);
        match found.iter().find(|d| caught(d)).or(found.first()) {
            Some(damage) => println!("        found:   {damage}{}", more(found.len())),
            None => println!("        found:   nothing"),
        }
    }
    println!("{} of {} as expected", FAULTS.len() - missed as usize, FAULTS.len());
    fs::remove_dir_all(&base)?;
    Ok(missed == 0)
}

fn more(found: usize) -> String {
    if found > 1 { format!(" (and {} more)", found - 1) } else { String::new() }
}

/// Plays it until something is found.
fn plant(fault: &Fault, directory: &std::path::Path, seed: u64) -> io::Result<Vec<Damage>> {
    let mut rng = Rng::new(seed).part(fault.name);
    let tries = if fault.caught_as.is_empty() { 3 } else { TRIES };
    for number in 0..tries {
        let seed = rng.next();
        let mut plan = Plan::new(seed as u32, seed);
        (fault.plan)(&mut plan);
        let expect = Expect { max_bytes: plan.max_bytes, ..Expect::default() };
        let mut round = Round::new(directory.join(number.to_string()), plan)?;
        (fault.plant)(&mut round)?;
        round.kill_all();
        round.recover()?;
        let found = round.finish(expect)?.found.damage;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// A lone process logs and dies at a step.
fn died_at(round: &mut Round, crash: &str) -> io::Result<()> {
    round.spawn(|_| {}, Some(crash))?;
    if !round.wait_for(Duration::from_secs(5), Round::reap) {
        round.conduct("the armed process did not die");
    }
    Ok(())
}

fn edit_slots(round: &Round, edit: impl Fn(&fs::File) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(journal_of(&round.plan.log).join("shared"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("slot-") {
            edit(&OpenOptions::new().read(true).write(true).open(entry.path())?)?;
        }
    }
    Ok(())
}

/// Killed in the middle of `write`, at random.
fn bare_kills(round: &mut Round) -> io::Result<()> {
    let mut rng = Rng::new(round.plan.seed);
    for _ in 0..30 {
        while round.children.len() < 3 {
            round.spawn(|_| {}, None)?;
        }
        std::thread::sleep(Duration::from_micros(rng.range(1000, 9000)));
        round.kill(rng.range(0, 3) as usize);
    }
    Ok(())
}

fn foreign_rotation(round: &mut Round) -> io::Result<()> {
    let mut rng = Rng::new(round.plan.seed);
    round.spawn_all(3)?;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_micros(rng.range(500, 9000)));
        bare::rotate(&round.plan.log)?;
    }
    round.stop();
    Ok(())
}
