//! Death at every named step of commit, rotation and recovery. The list is the engine's own: a new step is tested from
//! the day it exists, and one that no process here ever passes is a failure.

use std::io;
use std::time::{Duration, Instant};

use super::{Arena, Case};
use crate::oracle::Expect;
use crate::plan::{Names, Plan, Sizes};
use crate::rng::Rng;
use crate::round::Round;

pub const CASE: Case = Case { name: "steps", shares: [12, 8], run };

/// Armed processes that may miss their step before the case gives up on it.
const TRIES: u32 = 5;
/// An armed process passes its step within this, or never; each try waits twice as long, for slow disks.
const PATIENCE: Duration = Duration::from_secs(3);
/// Records of the survivors after a death.
const AFTER: Duration = Duration::from_millis(15);

/// A step, and the surroundings in which it is passed.
struct Scene {
    step: &'static str,
    names: Names,
    keep: Option<u32>,
    sizes: Sizes,
    /// The step is rare: high counts are never reached.
    rare: bool,
    /// The step belongs to a takeover: other processes have to die first.
    heirs: bool,
    /// The step belongs to a failed write.
    refused: bool,
    /// The step belongs to the upkeep of archives, which is one process's: the armed one's, at first.
    upkeep: bool,
    /// Archives go for their size.
    keep_total_bytes: Option<u64>,
}

fn scene(step: &'static str, rng: &mut Rng) -> Scene {
    let mut scene = Scene {
        step,
        names: rng.pick(&[Names::Numbered, Names::Dated, Names::Sequence]),
        keep: None,
        sizes: Sizes::Mixed,
        rare: false,
        heirs: false,
        refused: false,
        upkeep: false,
        keep_total_bytes: None,
    };
    match step {
        "shifted" => scene.names = Names::Numbered,
        "oldest-removed" => (scene.names, scene.keep, scene.rare) = (Names::Numbered, Some(4), true),
        "expired" => {
            (scene.names, scene.keep, scene.rare) = (rng.pick(&[Names::Dated, Names::Sequence]), Some(4), true);
        }
        "zip-half" | "zip-written" | "chore-noted" | "zip-named" | "zip-source-gone" => {
            (scene.upkeep, scene.rare) = (true, true);
        }
        "retired" => (scene.upkeep, scene.rare, scene.keep_total_bytes) = (true, true, Some(30_000)),
        "overflow-written" => (scene.sizes, scene.rare) = (Sizes::Large, true),
        // Dated: a shift of many archives would take longer than the death of a holder.
        "note-copied" => (scene.heirs, scene.rare, scene.names) = (true, true, Names::Dated),
        "yielded" => (scene.refused, scene.rare) = (true, true),
        _ => {}
    }
    scene
}

fn run(arena: &mut Arena) -> io::Result<()> {
    let mut turn = 0;
    // Every step at least once, whatever the time; then again with other counts.
    while turn == 0 || arena.has_time() {
        let only = arena.step.clone();
        for step in everyline::step_names().filter(|step| only.as_deref().is_none_or(|only| only == *step)) {
            if turn > 0 && !arena.has_time() {
                break;
            }
            let scene = scene(step, &mut arena.rng);
            let (mut passed, mut tries) = (false, 0);
            while !passed && tries < TRIES {
                passed = play(arena, &scene, turn, 1 << tries)?;
                tries += 1;
            }
            if passed && tries > 2 {
                arena.note(format!("{step} was passed at the {tries}. try of {TRIES}"));
            }
            if !passed {
                let mut round = arena.round(Plan::new(0, 0))?;
                round.conduct(format!("a step without a test: {step} is never passed"));
                arena.close(round, Expect::default())?;
            }
        }
        turn += 1;
    }
    Ok(())
}

/// One armed process, with or without others. True if it died at its step. `slow`: how much longer than usual to wait.
fn play(arena: &mut Arena, scene: &Scene, turn: u64, slow: u32) -> io::Result<bool> {
    let mut plan = arena.plan();
    let rng = &mut arena.rng;
    plan.names = scene.names;
    plan.keep = scene.keep.or((scene.names == Names::Numbered).then_some(90_000));
    plan.sizes = scene.sizes;
    plan.max_bytes = Some(if scene.refused { 200_000 } else { rng.range(4_000, 12_000) });
    plan.deferred = rng.one_in(4);
    plan.compress = scene.upkeep || rng.one_in(3);
    plan.link = scene.step == "linked" || rng.one_in(3);
    plan.keep_total_bytes = scene.keep_total_bytes;
    plan.ring_bytes = rng.pick(&[4 << 10, 16 << 10]);
    let count = match (scene.rare, turn) {
        (_, 0) => rng.range(1, 3),
        (true, _) => rng.range(1, 5),
        (false, _) => rng.range(1, 120),
    };
    let others = if rng.one_in(4) { 0 } else { 2 };
    let recover = rng.one_in(2);
    let expires = scene.keep.is_some() || scene.keep_total_bytes.is_some();
    let expect = Expect { max_bytes: plan.max_bytes, expires, ..Expect::default() };
    let mut round = arena.round(plan)?;
    for _ in 0..if scene.heirs || scene.upkeep { 0 } else { others } {
        round.spawn(|plan| plan.rate = 1500, None)?;
    }
    let crash = format!("{}:{count}", scene.step);
    round.spawn(|plan| plan.file_limit = scene.refused.then_some(50_000), Some(&crash))?;
    let passed =
        if scene.heirs { die_in_turn(arena, &mut round, slow)? } else { round.wait_for(PATIENCE * slow, Round::reap) };
    if others > 0 {
        // Somebody goes on, or comes anew into the dead one's slot.
        round.spawn(|plan| plan.rate = 1500, None)?;
        std::thread::sleep(AFTER);
        if recover { round.kill_all() } else { round.stop() }
    } else {
        round.kill_all();
    }
    round.recover()?;
    arena.close(round, expect)?;
    Ok(passed)
}

/// Holders die until the armed process takes over from one of them.
fn die_in_turn(arena: &mut Arena, round: &mut Round, slow: u32) -> io::Result<bool> {
    let heir = round.pid(0);
    let until = Instant::now() + PATIENCE * slow;
    while Instant::now() < until {
        let step = arena.rng.pick(&["note-write", "batch-written", "tail-moved", "live-renamed", "note-written"]);
        let crash = format!("{step}:{}", arena.rng.range(1, 8));
        round.spawn(|_| {}, Some(&crash))?;
        round.wait_for(Duration::from_millis(500) * slow, Round::reap);
        // Who does not get to its step must not stay and compete with the heir.
        while let Some(index) = (0..round.children.len()).find(|i| round.pid(*i) != heir) {
            round.kill(index);
        }
        // A newcomer in the dead one's slot would be its successor; the heir needs a moment to find out.
        round.wait_for(Duration::from_millis(40) * slow, |round| round.reap() || round.children.is_empty());
        if !(0..round.children.len()).any(|i| round.pid(i) == heir) {
            return Ok(true);
        }
    }
    Ok(false)
}
