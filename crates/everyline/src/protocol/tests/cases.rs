//! Single scenarios, each for one rule.

use std::sync::atomic::Ordering;

use super::super::commit::{Committer, Effort, Looked};
use super::super::sim::disk::Foreign;
use super::super::sim::{LOG, Plan, Process, World, archive_rank, record};
use super::harness::{Act, LONG, Recovery, Run, dated, numbered};
use super::oracle::{Rules, audit};
use crate::journal::layout::BUF_BYTES;
use crate::protocol::env::Settings;

fn calm(settings: Settings) -> Run {
    Run::new(settings, Plan::default(), Recovery::Other, None)
}

fn live(world: &World) -> Vec<u8> {
    world.disk.borrow().at(LOG).expect("a live file").bytes.clone()
}

#[test]
fn a_beat_newer_than_the_clock_is_progress_too() {
    let run = calm(numbered());
    let (world, control) = (&run.world, run.world.control());
    let seen = control.lease.load();
    control.lease.take(seen, 1).expect("free");
    let env = Process { world: world.clone(), me: 0 };
    let now = super::super::env::Env::coarse_ms(&env);
    control.beat.store(now + 1, Ordering::Relaxed);
    let mut committer = Committer::new(&env);
    assert_eq!(committer.look(&env, Effort::Drain), Looked::Busy);
    control.beat.store(now - 100, Ordering::Relaxed);
    assert_eq!(committer.look(&env, Effort::Drain), Looked::Stuck(1), "alive, but without progress");
    control.beat.store(u64::MAX / 2, Ordering::Relaxed);
    assert_eq!(committer.look(&env, Effort::Drain), Looked::Stuck(1), "a damaged beat is no progress");
}

#[test]
fn records_of_several_processes_are_ordered_by_time() {
    let mut run = calm(Settings { max_bytes: None, ..numbered() });
    for i in 0..12 {
        run.act(Act::Publish([2, 0, 1, 1][i % 4], 20));
        run.act(Act::Tick(1));
    }
    run.look(0, true);
    let bytes = live(&run.world);
    let slots: Vec<u8> = bytes.split_inclusive(|b| *b == b'\n').map(|line| line[0] - b'0').collect();
    assert_eq!(slots, [2, 0, 1, 1, 2, 0, 1, 1, 2, 0, 1, 1]);
}

#[test]
fn mode_and_owner_follow_the_file_also_when_a_death_splits_the_cut() {
    for point in 0.. {
        let mut run = calm(numbered());
        run.act(Act::Log(0, 5000));
        run.world.disk.borrow_mut().inodes[0].mode = 0o604;
        let points = run.world.points.get();
        run.world.plan.set(Plan { crash_at: Some(points + point), ..Plan::default() });
        run.act(Act::Log(1, 2000));
        run.finish();
        assert_eq!(run.world.disk.borrow().at(LOG).expect("live").mode, 0o604, "death at {point}");
        if run.deaths == 0 {
            break;
        }
    }
}

#[test]
fn retention_keeps_as_many_archives_as_asked_for() {
    for settings in [numbered(), dated()] {
        let mut run = calm(settings.clone());
        for _ in 0..4 {
            LONG.iter().for_each(|act| run.act(*act));
        }
        run.finish();
        assert_eq!(audit(&run.world, Rules::default()), Ok(()));
        let disk = run.world.disk.borrow();
        let archives = disk.names.keys().filter(|n| archive_rank(settings.naming, n).is_some()).count();
        assert_eq!(archives, 2);
        assert!(run.world.control().trouble.rotations.load(Ordering::Relaxed) > 6);
    }
}

/// Two processes have a deleted file open; one wrote to it after the deletion. It is copied once, whoever dies.
#[test]
fn what_went_into_a_deleted_file_is_copied_once_by_whoever_has_it() {
    for recovery in [Recovery::Other, Recovery::Same] {
        for point in 0.. {
            let mut run = Run::new(numbered(), Plan::default(), recovery, None);
            run.check_recovery = false;
            run.act(Act::Log(0, 70));
            run.act(Act::Log(1, 71));
            let world = run.world.clone();
            world.disk.borrow_mut().foreign(Foreign::Delete, world.now_s());
            run.act(Act::Log(0, 2903));
            run.act(Act::Tick(20));
            let points = run.world.points.get();
            run.world.plan.set(Plan { crash_at: Some(points + point), ..Plan::default() });
            run.act(Act::Log(1, 73));
            run.world.plan.set(Plan::default());
            run.act(Act::Log(0, 74));
            run.finish();
            let rules = Rules { ordered: false, ..Rules::default() };
            assert_eq!(audit(&run.world, rules), Ok(()), "death at {point}, {recovery:?}");
            if run.deaths == 0 {
                break;
            }
        }
    }
}

/// An empty record behind a full buffer: its start would not fit the 16 bits that a note has for it.
#[test]
fn an_empty_record_behind_a_full_buffer() {
    for point in 0.. {
        let mut run = calm(Settings { max_bytes: None, ..numbered() });
        run.check_recovery = false;
        let world = run.world.clone();
        run.act(Act::Log(0, 7));
        // Larger than the ring: they go through the overflow file, and so does what follows.
        world.publish(0, 5000);
        world.publish(0, BUF_BYTES - 5000);
        world.publish_bytes(0, Vec::new());
        world.plan.set(Plan { crash_at: Some(world.points.get() + point), ..Plan::default() });
        run.after_death = Some(|w| w.disk.borrow_mut().foreign(Foreign::Append, w.now_s()));
        run.act(Act::Log(1, 11));
        run.finish();
        let bytes = live(&world);
        for (number, len) in [7, 5000, BUF_BYTES - 5000].into_iter().enumerate() {
            let count = memchr::memmem::find_iter(&bytes, &record(0, number, len)).count();
            assert_eq!(count, 1, "record {number}, death at {point}");
        }
        if run.deaths == 0 {
            break;
        }
    }
}
