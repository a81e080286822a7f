//! Many appenders, threads and processes on one log: one engine a process, slots that are used again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use everyline::{Appender, Commit, ErrorKind, Full};

use crate::support::{Dir, Shared, assert_exactly, fork, odd_len, record, seen, until};

/// `path`, as seen from the working directory.
fn relative(path: &std::path::Path) -> PathBuf {
    let up: PathBuf = std::env::current_dir().unwrap().components().skip(1).map(|_| "..").collect();
    up.join(path.strip_prefix("/").unwrap())
}

#[test]
fn appenders_of_one_process_on_one_file_by_any_path_share_one_engine() {
    let dir = Dir::new();
    std::fs::create_dir(dir.file("logs")).unwrap();
    let target = dir.file("logs/app.log");
    std::os::unix::fs::symlink("logs/app.log", dir.file("link.log")).unwrap();
    std::os::unix::fs::symlink(dir.file("logs"), dir.file("logs-link")).unwrap();
    let paths = [target.clone(), relative(&target), dir.file("link.log"), dir.file("logs-link/app.log")];
    let logs: Vec<Appender> = paths.iter().map(|p| Appender::builder(p).open().unwrap()).collect();
    for seq in 0..200 {
        logs[seq as usize % logs.len()].append(&record(1, seq, odd_len(seq, 200))).unwrap();
    }
    for log in &logs {
        let status = log.status().unwrap();
        assert_eq!(status.processes.len(), 1, "one process, one slot, by {}", log.path().display());
        assert_eq!(status.processes[0].records, 200);
    }
    assert_exactly(&std::fs::read(target).unwrap(), [(1, 200)]);
    assert!(std::fs::symlink_metadata(dir.file("link.log")).unwrap().is_symlink(), "the link is still one");
}

#[test]
fn a_dangling_link_leads_to_the_file_it_names() {
    let dir = Dir::new();
    std::os::unix::fs::symlink("target.log", dir.log()).unwrap();
    let log = dir.open();
    log.append(b"through the link\n").unwrap();
    assert_eq!(std::fs::read_to_string(dir.file("target.log")).unwrap(), "through the link\n");
}

#[test]
fn an_engine_lives_until_its_last_appender_is_gone_and_then_leaves_nothing() {
    let dir = Dir::new();
    let (one, two) = (dir.open(), dir.open());
    one.append(&record(1, 0, 50)).unwrap();
    drop(one);
    assert_eq!(dir.status().processes.len(), 1);
    two.append(&record(1, 1, 50)).unwrap();
    drop(two);
    assert!(!dir.journal().exists(), "the last clean detach removes the journal");
    assert_exactly(&dir.all(), [(1, 2)]);
}

#[test]
fn threads_of_a_process_lose_nothing_and_each_keeps_its_order() {
    let dir = Dir::new();
    let log = dir.builder().ring_bytes(8 << 10).max_bytes(100_000).keep(Some(1000)).open().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let log = &log;
            scope.spawn(move || {
                (0..400).for_each(|seq| log.append(&record(writer, seq, odd_len(seq, 400))).unwrap());
            });
        }
    });
    log.flush().unwrap();
    assert_exactly(&dir.all(), (0..8).map(|w| (w, 400)));
}

#[test]
fn processes_that_never_met_lose_nothing_and_each_keeps_its_order() {
    let dir = Dir::new();
    let children: Vec<_> = (0..6)
        .map(|writer| {
            fork(|| {
                let log = dir.builder().max_bytes(50_000).keep(Some(1000)).open().unwrap();
                (0..500).for_each(|seq| log.append(&record(writer, seq, odd_len(seq, 500))).unwrap());
                log.close().unwrap();
            })
        })
        .collect();
    children.into_iter().for_each(|c| c.join());
    assert_exactly(&dir.all(), (0..6).map(|w| (w, 500)));
    assert!(!dir.journal().exists(), "the last clean detach removes the journal");
}

#[test]
fn two_logs_of_one_process_do_not_mix() {
    let dir = Dir::new();
    let (a, b) = (dir.open(), Appender::builder(dir.file("b.log")).open().unwrap());
    for seq in 0..100 {
        a.append(&record(1, seq, 100)).unwrap();
        b.append(&record(2, seq, 100)).unwrap();
    }
    assert_exactly(&std::fs::read(dir.log()).unwrap(), [(1, 100)]);
    assert_exactly(&std::fs::read(dir.file("b.log")).unwrap(), [(2, 100)]);
}

#[test]
fn slots_of_a_thousand_killed_children_are_used_again() {
    let dir = Dir::new();
    let log = dir.builder().ring_bytes(4 << 10).open().unwrap();
    let shared = Shared::new();
    for round in 0..100u64 {
        let children: Vec<_> = (0..10u64)
            .map(|child| {
                let (log, shared, seq) = (&log, &shared, round * 10 + child);
                fork(move || {
                    log.append(&record(seq as u32, 0, 60)).unwrap();
                    shared.word(0).fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    loop {
                        std::thread::park();
                    }
                })
            })
            .collect();
        until("ten children to log", || shared.get(0) == (round + 1) * 10);
        children.into_iter().for_each(|c| c.kill());
    }
    let slots = dir.inner_names("slot-").len();
    assert!(slots <= 32, "{slots} slot files for at most 11 processes at a time");
    log.flush().unwrap();
    assert_exactly(&dir.all(), (0..1000).map(|w| (w, 1)));
}

#[test]
fn the_1025th_process_gets_no_slot_degrades_and_attaches_when_one_is_free() {
    let dir = Dir::new();
    let builder = dir.builder().ring_bytes(4 << 10);
    let shared = Shared::new();
    let mut children: Vec<_> = (0..1024)
        .map(|_| {
            fork(|| {
                let log = builder.clone().open().unwrap();
                shared.word(0).fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                loop {
                    std::thread::park_timeout(Duration::from_secs(60));
                    std::hint::black_box(&log);
                }
            })
        })
        .collect();
    until("1,024 processes to attach", || shared.get(0) == 1024);
    let e = builder.clone().open().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NoFreeSlot);
    assert!(e.to_string().contains("1024 processes"), "{e}");
    let log = builder.open_degraded().unwrap();
    log.append(&record(1, 0, 60)).unwrap();
    assert!(log.counters().is_degraded && log.counters().degraded == 1);
    assert_exactly(&dir.all(), [(1, 1)]);
    children.pop().unwrap().kill();
    let mut seq = 1;
    until("a free slot to be found", || {
        log.append(&record(1, seq, 60)).unwrap();
        seq += 1;
        !log.counters().is_degraded
    });
    assert_exactly(&dir.all(), [(1, seq)]);
}

/// True if this process has a background committer.
fn has_thread() -> bool {
    std::fs::read_dir("/proc/self/task").unwrap().any(|task| {
        std::fs::read_to_string(task.unwrap().path().join("comm")).is_ok_and(|name| name.trim() == "everyline")
    })
}

#[test]
fn two_appenders_of_one_process_have_each_its_own_size_of_overflow_and_way_of_committing() {
    let dir = Dir::new();
    fork(|| {
        let (first, second) =
            (dir.open(), dir.builder().overflow_bytes(256 << 10).commit(Commit::Deferred).open().unwrap());
        first.append(&record(1, 0, 300_000)).unwrap();
        assert_eq!(second.append(&record(2, 0, 300_000)).unwrap_err().kind(), ErrorKind::RecordTooLarge);
        assert!(!has_thread(), "only a record of the deferred one needs the thread");
        second.append(&record(2, 0, 60)).unwrap();
        until("the thread", has_thread);
        first.append(&record(1, 1, 60)).unwrap();
        second.close().unwrap();
        first.close().unwrap();
        let all = String::from_utf8(dir.all()).unwrap();
        let (ours, records): (Vec<&str>, Vec<&str>) =
            all.split_inclusive('\n').partition(|line| line.starts_with("everyline: "));
        assert_eq!(ours.len(), 1, "the one that was too large is announced");
        assert_exactly(records.concat().as_bytes(), [(1, 2), (2, 1)]);
    })
    .join();
}

#[test]
fn two_appenders_of_one_process_wait_each_as_long_as_it_was_told() {
    let dir = Dir::new();
    let shared = Shared::new();
    let small = dir.builder().ring_bytes(4 << 10).overflow_bytes(8 << 10);
    let mut holder = fork(|| {
        let log = small.clone().open().unwrap();
        for seq in 0.. {
            log.append(&record(0, seq, 900)).unwrap();
            shared.set(0, seq + 1);
        }
    });
    until("the holder to log", || shared.get(0) > 5);
    holder.stop_as_holder(&dir.log());
    let patient = small.clone().wait(Duration::from_secs(12)).full(Full::Block).open().unwrap();
    let hasty = small.wait(Duration::from_millis(100)).open().unwrap();
    patient.append(&record(1, 0, 60)).unwrap();
    let started = Instant::now();
    assert_eq!(hasty.flush().unwrap_err().kind(), ErrorKind::TimedOut);
    let mut seq = 0;
    let e = loop {
        match hasty.append(&record(2, seq, 100)) {
            Ok(()) => seq += 1,
            Err(e) => break e,
        }
        assert!(seq < 1000);
    };
    assert_eq!(e.kind(), ErrorKind::Dropped, "the policy of the one that called");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    holder.kill();
    patient.append(&record(1, 1, 60)).unwrap();
    patient.flush().unwrap();
    let seen = seen(&dir.all());
    assert_eq!((&seen.writers[&1], &seen.writers[&2]), (&vec![0, 1], &(0..seq).collect()));
}
