//! Every operation fails, once, a few times, or from then on, with every error that a disk has; then the disk heals.
//!
//! Promise: everything that was accepted is in the file, once and in order, and nothing was appended to a rotated file.
//! Limits are only asked for where no rotation failed.

use std::sync::atomic::Ordering;

use super::super::sim::{ErrorPlan, Plan};
use super::harness::{Act, LONG, Recovery, Run, SHORT, dated, numbered, stride};
use super::oracle::{Rules, audit};
use crate::protocol::env::Settings;
use crate::protocol::trouble::Operation;

const FOR_EVER: u64 = u64::MAX;

fn operations(settings: &Settings, script: &[Act]) -> u64 {
    let mut run = Run::new(settings.clone(), Plan::default(), Recovery::Other, None);
    run.script(script);
    run.world.operations.get()
}

fn judge(run: &Run) -> Result<(), String> {
    let limits = run.world.control().trouble.rotations_failed.load(Ordering::Relaxed) == 0;
    audit(&run.world, Rules { limits, ..Rules::default() })
}

fn every_error(name: &str, settings: &Settings) {
    let operations = operations(settings, LONG);
    let mut runs = 0;
    for errno in [libc::ENOSPC, libc::EIO, libc::EDQUOT, libc::EROFS, libc::EINTR, libc::EMFILE] {
        // A signal that never ends is no error of a disk.
        let counts = if errno == libc::EINTR { [1, 2, 5] } else { [1, 3, FOR_EVER] };
        // One path of the protocol serves all errors; the rarer ones are tried at some operations each.
        let step = if matches!(errno, libc::ENOSPC | libc::EIO | libc::EINTR) { 1 } else { stride() as usize };
        for count in counts {
            for short in [false, true] {
                for from in (0..operations).step_by(step) {
                    let plan = Plan { error: Some(ErrorPlan { from, count, errno, short }), ..Plan::default() };
                    let mut run = Run::new(settings.clone(), plan, Recovery::Other, None);
                    run.script(LONG);
                    assert_eq!(judge(&run), Ok(()), "{name}: {plan:?}");
                    runs += 1;
                }
            }
        }
    }
    println!("{name}: {operations} operations, {runs} runs with errors");
}

#[test]
fn every_error_at_every_operation_numbered() {
    every_error("numbered", &numbered());
}

#[test]
fn every_error_at_every_operation_dated() {
    every_error("dated", &dated());
}

/// The kernel tells of a failed sync once. The holder who hears of it at a rotation keeps it for whoever asks later
/// whether his records are on disk, and the log rotates all the same.
#[test]
fn a_sync_that_fails_at_a_rotation_is_kept_for_those_who_ask() {
    let settings = dated();
    let mut heard = 0;
    for from in 0..operations(&settings, LONG) {
        let error = ErrorPlan { from, count: 1, errno: libc::EIO, short: false };
        let plan = Plan { error: Some(error), ..Plan::default() };
        let mut run = Run::new(settings.clone(), plan, Recovery::Other, None);
        run.script(LONG);
        let control = run.world.control();
        let failed = control.trouble.last_error.load(Ordering::Relaxed) >> 32;
        let lost_upto = control.synced.lost_upto.load(Ordering::Relaxed);
        assert_eq!(lost_upto != 0, failed == Operation::Sync as u64, "operation {from}");
        assert!(lost_upto <= control.file.epoch.load(Ordering::Relaxed), "the file it speaks of was left");
        heard += u64::from(lost_upto != 0);
    }
    assert!(heard > 0, "some operation is a sync");
}

/// The disk is full from some operation on, and then the holder dies, too; the disk heals before or after the recovery.
#[test]
fn a_full_disk_and_a_death() {
    for settings in [numbered(), dated()] {
        let operations = operations(&settings, SHORT);
        let mut runs = 0;
        for from in 0..operations {
            for heals in [false, true] {
                for point in 0.. {
                    let error = ErrorPlan { from, count: FOR_EVER, errno: libc::ENOSPC, short: true };
                    let plan = Plan { error: Some(error), crash_at: Some(point), ..Plan::default() };
                    let mut run = Run::new(settings.clone(), plan, Recovery::Other, None);
                    run.check_recovery = false;
                    run.after_death = heals.then_some(|world| world.plan.set(Plan::default()));
                    run.script(SHORT);
                    assert_eq!(judge(&run), Ok(()), "{plan:?}, heals: {heals}");
                    if run.deaths == 0 {
                        break;
                    }
                    runs += 1;
                }
            }
        }
        println!("{operations} operations, {runs} runs with a full disk and a death");
    }
}
