//! Others append to the live file, rename it, delete it, empty it, put another one in its place: at every operation.
//!
//! Promise: nothing accepted is lost but what stood in a file that somebody deleted or emptied, and nothing is doubled or
//! torn. Only where a process dies in the middle of a write and somebody else touches the file before it is finished,
//! pieces may stand beside the whole record.

use super::super::sim::disk::Foreign;
use super::super::sim::{Plan, World};
use super::harness::{Act, BYSTANDER, LONG, Recovery, Run, SHORT, dated, numbered, stride};
use super::oracle::{Rules, audit};
use crate::protocol::env::Settings;

const ACTS: &[Foreign] = &[
    Foreign::Append,
    Foreign::Rename("app.log.old"),
    Foreign::Rename("elsewhere"),
    Foreign::RenameCreate("app.log.old"),
    Foreign::RenameCreate("elsewhere"),
    Foreign::RenameCreate("app.log.1"),
    Foreign::Delete,
    Foreign::DeleteCreate,
    Foreign::Truncate,
    Foreign::MakeArchive("app.log.1"),
    Foreign::MakeArchive("app.log.2"),
];

fn every_operation(settings: &Settings, script: &[Act]) {
    let mut run = Run::new(settings.clone(), Plan::default(), Recovery::Other, None);
    run.script(script);
    let operations = run.world.operations.get();
    for act in ACTS {
        for operation in 0..operations {
            let plan = Plan { foreign: Some((operation, *act)), ..Plan::default() };
            let mut run = Run::new(settings.clone(), plan, Recovery::Other, None);
            script.iter().for_each(|act| run.act(*act));
            run.farewell();
            run.finish();
            // What went into a deleted file is copied by whoever still has it open, which may be after newer records.
            let ordered = !matches!(act, Foreign::Delete | Foreign::DeleteCreate);
            let rules = Rules { limits: false, ordered, ..Rules::default() };
            assert_eq!(audit(&run.world, rules), Ok(()), "{act:?} at operation {operation} of {operations}");
        }
        println!("{act:?}: {operations} operations");
    }
}

#[test]
fn others_at_every_operation_numbered() {
    every_operation(&numbered(), LONG);
}

#[test]
fn others_at_every_operation_dated() {
    every_operation(&dated(), LONG);
}

/// A process dies at every point, and before anybody recovers it, somebody else touches the file.
fn between_death_and_recovery(name: &str, rules: Rules, happens: fn(&World)) {
    for (settings, recovery) in [(numbered(), Recovery::Other), (dated(), Recovery::Same)] {
        for point in 0.. {
            let plan = Plan { crash_at: Some(point), ..Plan::default() };
            let mut run = Run::new(settings.clone(), plan, recovery, None);
            run.check_recovery = false;
            run.after_death = Some(happens);
            LONG.iter().for_each(|act| run.act(*act));
            run.farewell();
            run.finish();
            assert_eq!(audit(&run.world, rules), Ok(()), "{name} after death at {point}, {recovery:?}");
            if run.deaths == 0 {
                break;
            }
        }
    }
}

/// With `EVERYLINE_SIM_TRACE`: how it came to that.
fn show(run: &Run, result: &Result<(), String>) {
    if let (Err(_), Some(trace)) = (result, &run.world.trace) {
        println!("{}", trace.borrow().join("\n"));
    }
}

const UNORDERED: Rules = Rules { ordered: false, ..STRICT };
const STRICT: Rules = Rules { all_published: true, limits: false, ordered: true, once: true, torn: 0 };

fn foreign(world: &World, act: Foreign) {
    world.disk.borrow_mut().foreign(act, world.now_s());
}

#[test]
fn an_append_between_death_and_recovery() {
    between_death_and_recovery("append", Rules { torn: 1, ..STRICT }, |w| foreign(w, Foreign::Append));
}

#[test]
fn a_rename_between_death_and_recovery() {
    between_death_and_recovery("rename", STRICT, |w| foreign(w, Foreign::Rename("app.log.old")));
    between_death_and_recovery("rename elsewhere", STRICT, |w| foreign(w, Foreign::Rename("elsewhere")));
    between_death_and_recovery("rename and create", STRICT, |w| foreign(w, Foreign::RenameCreate("elsewhere")));
}

#[test]
fn a_deletion_between_death_and_recovery() {
    between_death_and_recovery("delete", UNORDERED, |w| foreign(w, Foreign::Delete));
    between_death_and_recovery("delete and create", UNORDERED, |w| foreign(w, Foreign::DeleteCreate));
}

#[test]
fn a_truncation_between_death_and_recovery() {
    between_death_and_recovery("truncate", STRICT, |w| foreign(w, Foreign::Truncate));
    between_death_and_recovery("truncate and append", Rules { torn: 1, ..STRICT }, |w| {
        foreign(w, Foreign::Truncate);
        foreign(w, Foreign::Append);
    });
}

/// A process publishes and leaves, at every operation of the one that is at work.
#[test]
fn others_publish_at_every_operation() {
    for operation in 0.. {
        let plan = Plan { publish: Some((operation, BYSTANDER)), ..Plan::default() };
        let mut run = Run::new(numbered(), plan, Recovery::Other, None);
        LONG.iter().for_each(|act| run.act(*act));
        // Not `finish`: whoever was at work must have seen it.
        let happened = run.world.operations.get() > operation;
        run.world.acknowledge(BYSTANDER);
        assert_eq!(audit(&run.world, Rules::default()), Ok(()), "publish at operation {operation}");
        if !happened {
            break;
        }
    }
}

/// Somebody else touches the file at every operation, and a process dies at every point.
fn others_and_a_death(act: Foreign, rules: Rules) {
    let (mut runs, stride) = (0, stride());
    for (settings, recovery) in [(numbered(), Recovery::Other), (dated(), Recovery::Same)] {
        for operation in 0.. {
            let mut happened = false;
            for point in (operation % stride..).step_by(stride as usize) {
                let plan = Plan { foreign: Some((operation, act)), crash_at: Some(point), ..Plan::default() };
                let mut run = Run::new(settings.clone(), plan, recovery, None);
                run.check_recovery = false;
                SHORT.iter().for_each(|act| run.act(*act));
                happened = run.world.operations.get() > operation;
                run.world.plan.set(Plan::default());
                run.farewell();
                run.finish();
                let result = audit(&run.world, rules);
                show(&run, &result);
                assert_eq!(result, Ok(()), "{act:?} at {operation}, death at {point}, {recovery:?}");
                runs += 1;
                if run.deaths == 0 {
                    break;
                }
            }
            if !happened {
                break;
            }
        }
    }
    println!("{act:?} and a death: {runs} runs");
}

#[test]
fn an_append_and_a_death() {
    others_and_a_death(Foreign::Append, Rules { torn: 2, ..UNORDERED });
}

#[test]
fn a_rename_and_a_death() {
    others_and_a_death(Foreign::Rename("elsewhere"), STRICT);
    others_and_a_death(Foreign::RenameCreate("app.log.1"), STRICT);
}

#[test]
fn a_deletion_and_a_death() {
    others_and_a_death(Foreign::Delete, UNORDERED);
    others_and_a_death(Foreign::DeleteCreate, UNORDERED);
}

#[test]
fn a_truncation_and_a_death() {
    // Emptied between two writes of the recovery: what follows the record that was cut may stand there twice.
    others_and_a_death(Foreign::Truncate, Rules { torn: 2, once: false, ..UNORDERED });
}
