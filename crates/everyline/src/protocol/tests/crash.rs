//! A process dies at every point of a script, and whoever recovers it dies at every point of the recovery.

use super::super::sim::Plan;
use super::harness::{Act, LONG, Recovery, Run, SHORT, STEPS, UPKEEP, by_steps, dated, numbered, sequence, stride};
use super::oracle::{Rules, audit};
use crate::protocol::env::Settings;

/// Points of a script without faults. Also the proof that the script itself is in order.
fn points(settings: &Settings, script: &[Act]) -> u64 {
    let mut run = Run::new(settings.clone(), Plan::default(), Recovery::Other, None);
    run.script(script);
    audit(&run.world, Rules::default()).expect("a run without faults");
    run.world.points.get()
}

fn every_point(name: &str, settings: &Settings, script: &[Act]) {
    let points = points(settings, script);
    for recovery in [Recovery::Other, Recovery::Same] {
        for point in 0..points {
            let plan = Plan { crash_at: Some(point), ..Plan::default() };
            let mut run = Run::new(settings.clone(), plan, recovery, None);
            run.script(script);
            let result = audit(&run.world, Rules::default());
            assert_eq!(result, Ok(()), "{name}: death at point {point} of {points}, recovery by {recovery:?}");
        }
    }
    println!("{name}: {points} points, two ways of recovery");
}

#[test]
fn death_at_every_point_numbered() {
    every_point("numbered", &numbered(), LONG);
}

#[test]
fn death_at_every_point_dated() {
    every_point("dated", &dated(), LONG);
}

#[test]
fn death_at_every_point_sequence() {
    every_point("sequence", &sequence(), LONG);
}

#[test]
fn death_at_every_point_while_archives_are_compressed() {
    every_point("numbered", &numbered(), UPKEEP);
    every_point("dated", &dated(), UPKEEP);
    every_point("sequence", &sequence(), UPKEEP);
}

#[test]
fn death_at_every_point_while_archives_are_deleted_for_their_size() {
    let mut script = UPKEEP.to_vec();
    script.extend([Act::Retire(1), Act::Log(0, 5003), Act::Retire(2), Act::Log(1, 2003), Act::Zip(1), Act::Retire(0)]);
    every_point("sequence", &sequence(), &script);
}

#[test]
fn death_at_every_point_of_steps_of_the_applications() {
    every_point("steps", &by_steps(), STEPS);
}

/// The process lives on and still has the lease, but for a step, which gives it back: its next look finishes what it had
/// begun, as a successor would.
#[test]
fn a_panic_at_every_point_is_made_good_by_the_next_look_of_the_same_process() {
    for (name, settings, script) in [("dated", dated(), LONG), ("steps", by_steps(), STEPS)] {
        let mut panics = 0;
        for point in 0..points(&settings, script) {
            let plan = Plan { crash_at: Some(point), ..Plan::default() };
            let mut run = Run::new(settings.clone(), plan, Recovery::Same, None);
            run.survives = true;
            run.script(script);
            assert_eq!(audit(&run.world, Rules::default()), Ok(()), "{name}: panic at point {point}");
            panics += run.deaths;
        }
        assert!(panics > 0);
    }
}

/// Somebody who has the old file open comes before the few ms are over in which nobody looks at the path.
#[test]
fn a_successor_within_the_same_instant_looks_at_the_path() {
    for point in 0..points(&by_steps(), STEPS) {
        let plan = Plan { crash_at: Some(point), ..Plan::default() };
        let mut run = Run::new(by_steps(), plan, Recovery::Other, None);
        for act in STEPS {
            let (slot, done) = run.act_without_recovery(*act);
            if !done {
                run.act(Act::Log((slot + 1) % 3, 5));
                assert!(run.look((slot + 1) % 3, true));
            }
        }
        run.finish();
        assert_eq!(audit(&run.world, Rules::default()), Ok(()), "death at point {point}");
    }
}

/// Pairs of points; the first one shifted by the way of recovery.
fn every_pair(name: &str, settings: &Settings, script: &[Act]) {
    let stride = stride();
    let points = points(settings, script);
    let ways = [
        (Recovery::Other, Recovery::Other),
        (Recovery::Other, Recovery::Same),
        (Recovery::Same, Recovery::Other),
        (Recovery::Same, Recovery::Same),
    ];
    let mut pairs = 0;
    for (i, (first, second)) in ways.into_iter().enumerate() {
        for point in (i as u64 % stride..points).step_by(stride as usize) {
            for after in 0.. {
                let plan = Plan { crash_at: Some(point), ..Plan::default() };
                let mut run = Run::new(settings.clone(), plan, first, None);
                run.second = Some((after, second));
                run.script(script);
                let result = audit(&run.world, Rules::default());
                assert_eq!(result, Ok(()), "{name}: deaths at {point} and {after} after, {first:?}, {second:?}");
                if run.deaths < 2 {
                    break;
                }
                pairs += 1;
            }
        }
    }
    println!("{name}: {points} points, {pairs} pairs of deaths");
}

#[test]
fn two_deaths_in_a_row_numbered() {
    every_pair("numbered", &numbered(), SHORT);
}

#[test]
fn two_deaths_in_a_row_dated() {
    every_pair("dated", &dated(), SHORT);
}

#[test]
fn two_deaths_in_a_row_while_archives_are_compressed() {
    every_pair("numbered", &numbered(), &UPKEEP[..8]);
}
