//! What others do to the live file: rename, delete, truncate, append.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use everyline::Appender;

use crate::support::{Dir, Shared, assert_exactly, fork, odd_len, record, seen, until};

#[test]
fn reopen_follows_a_foreign_rename_at_once() {
    let dir = Dir::new();
    let log = dir.open();
    log.append(b"before\n").unwrap();
    std::fs::rename(dir.log(), dir.file("app.log.moved")).unwrap();
    log.reopen().unwrap();
    log.append(b"after\n").unwrap();
    assert_eq!(std::fs::read_to_string(dir.file("app.log.moved")).unwrap(), "before\n");
    assert_eq!(dir.text(), "after\n");
}

#[test]
fn reopen_from_outside_reaches_the_processes_that_log() {
    let dir = Dir::new();
    let log = dir.open();
    log.append(b"before\n").unwrap();
    std::fs::rename(dir.log(), dir.file("app.log.moved")).unwrap();
    fork(|| everyline::reopen(&dir.log()).unwrap()).join();
    log.append(b"after\n").unwrap();
    assert_eq!(dir.text(), "after\n");
}

#[test]
fn a_foreign_rename_is_noticed_and_no_record_is_lost() {
    let dir = Dir::new();
    let log = dir.open();
    let mut seq = 0;
    for round in 0..5 {
        let moved = dir.file(&format!("moved.{round}"));
        std::fs::rename(dir.log(), &moved).or_else(|e| if round == 0 { Err(e) } else { Ok(()) }).unwrap();
        until("a new live file", || {
            log.append(&record(1, seq, odd_len(seq, 300))).unwrap();
            seq += 1;
            dir.log().exists()
        });
    }
    log.flush().unwrap();
    let mut bytes: Vec<u8> = (0..5).flat_map(|r| std::fs::read(dir.file(&format!("moved.{r}"))).unwrap()).collect();
    bytes.extend(std::fs::read(dir.log()).unwrap());
    assert_exactly(&bytes, [(1, seq)]);
}

#[test]
fn after_a_foreign_rename_the_new_file_is_readable_by_those_who_could_read_the_old_one() {
    let dir = Dir::new();
    std::fs::write(dir.log(), "").unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(dir.log(), std::fs::Permissions::from_mode(0o640)).unwrap();
    let log = dir.open();
    log.append(b"before\n").unwrap();
    std::fs::rename(dir.log(), dir.file("app.log.moved")).unwrap();
    log.reopen().unwrap();
    log.append(b"after\n").unwrap();
    assert_eq!(mode(&dir.log()), 0o640);
    // Also if it is made by a process that never had the old one open.
    std::fs::rename(dir.log(), dir.file("app.log.again")).unwrap();
    fork(|| everyline::reopen(&dir.log()).unwrap()).join();
    assert_eq!(mode(&dir.log()), 0o640);
}

#[test]
fn who_moves_the_log_away_has_time_to_make_the_new_one_himself() {
    for _ in 0..5 {
        let dir = Dir::new();
        let log = dir.open();
        log.append(&record(1, 0, 60)).unwrap();
        // Looked at now, so the next look comes at a time that this test chooses.
        log.reopen().unwrap();
        std::fs::rename(dir.log(), dir.file("app.log.moved")).unwrap();
        std::thread::sleep(Duration::from_millis(12));
        log.append(&record(1, 1, 60)).unwrap();
        let theirs = std::fs::File::options().write(true).create_new(true).open(dir.log());
        assert!(theirs.is_ok(), "{theirs:?}");
        let mut seq = 2;
        until("records in the new file", || {
            log.append(&record(1, seq, 60)).unwrap();
            seq += 1;
            std::fs::metadata(dir.log()).unwrap().len() > 0
        });
        let bytes = [std::fs::read(dir.file("app.log.moved")).unwrap(), std::fs::read(dir.log()).unwrap()].concat();
        assert_exactly(&bytes, [(1, seq)]);
    }
}

#[test]
fn a_foreign_delete_loses_only_what_was_in_the_file() {
    let dir = Dir::new();
    let log = dir.open();
    (0..100).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
    std::fs::remove_file(dir.log()).unwrap();
    let mut seq = 100;
    until("a new live file", || {
        log.append(&record(1, seq, 100)).unwrap();
        seq += 1;
        dir.log().exists()
    });
    log.flush().unwrap();
    let numbers = seen(&dir.all()).writers.remove(&1).unwrap();
    assert!(numbers.first().unwrap() <= &100, "from 100 on nothing is missing: {:?}", numbers.first());
    assert!(numbers.windows(2).all(|w| w[0] + 1 == w[1]) && numbers.last() == Some(&(seq - 1)), "{numbers:?}");
}

#[test]
fn what_was_written_to_a_deleted_file_just_before_the_end_is_not_lost() {
    let dir = Dir::new();
    for round in 0..20 {
        let log = dir.open();
        // Looked at now, so not again before the next two records are written.
        log.reopen().unwrap();
        log.append(&record(1, round * 2, 100)).unwrap();
        std::fs::remove_file(dir.log()).unwrap();
        log.append(&record(1, round * 2 + 1, 100)).unwrap();
        log.close().unwrap();
        let numbers = seen(&dir.all()).writers.remove(&1).unwrap_or_default();
        assert!(numbers.contains(&(round * 2 + 1)), "round {round}: {numbers:?}");
    }
}

#[test]
fn a_log_that_was_deleted_is_not_made_again_by_a_process_that_only_leaves() {
    let dir = Dir::new();
    let log = dir.open();
    log.append(&record(1, 0, 100)).unwrap();
    // Later than the write, also by the coarse clock of the file system.
    std::thread::sleep(std::time::Duration::from_millis(20));
    std::fs::remove_file(dir.log()).unwrap();
    log.close().unwrap();
    assert!(!dir.log().exists());
}

#[test]
fn a_foreign_truncate_leaves_no_hole() {
    let dir = Dir::new();
    let log = dir.open();
    (0..100).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
    std::fs::File::options().write(true).open(dir.log()).unwrap().set_len(0).unwrap();
    (100..150).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
    let numbers = seen(&dir.all()).writers.remove(&1).unwrap();
    assert_eq!(numbers, (100..150).collect::<Vec<_>>());
}

#[test]
fn foreign_appends_stay_and_tear_nothing() {
    let dir = Dir::new();
    let shared = Shared::new();
    let stranger = fork(|| {
        let mut file = std::fs::File::options().append(true).create(true).open(dir.log()).unwrap();
        while shared.get(0) == 0 {
            file.write_all(b"a stranger's line\n").unwrap();
            shared.word(1).fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let log = dir.builder().ring_bytes(8 << 10).open().unwrap();
    until("the stranger", || shared.get(1) > 0);
    (0..2000).for_each(|seq| log.append(&record(1, seq, odd_len(seq, 900))).unwrap());
    log.flush().unwrap();
    shared.set(0, 1);
    stranger.join();
    let seen = seen(&dir.all());
    assert_eq!(seen.writers[&1], (0..2000).collect::<Vec<_>>());
    assert!(seen.others.iter().all(|line| line == "a stranger's line\n"));
    assert_eq!(seen.others.len() as u64, shared.get(1));
}

/// A process that has the live file open, and is idle until told.
fn idle(dir: &Dir, shared: &Shared, name: &'static [u8]) -> crate::support::Child {
    let child = fork(|| {
        let log = dir.open();
        log.append(name).unwrap();
        shared.set(0, 1);
        until("the end", || shared.get(0) == 2);
        log.close().unwrap();
    });
    until("the idle process", || shared.get(0) == 1);
    child
}

#[test]
fn a_live_file_that_is_moved_away_and_back_stops_nobody() {
    let (dir, shared) = (Dir::new(), Shared::new());
    let idle = idle(&dir, &shared, b"idle\n");
    // Out of sight: no name that begins with the log's.
    std::fs::rename(dir.log(), dir.file("saved.log")).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    fork(|| dir.open().append(b"a\n").unwrap()).join();
    std::fs::rename(dir.log(), dir.file("app.log.other")).unwrap();
    std::fs::rename(dir.file("saved.log"), dir.log()).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    let next = fork(|| {
        dir.open().append(b"b\n").unwrap();
        shared.set(1, 1);
    });
    until("the next process", || shared.get(1) == 1);
    next.join();
    shared.set(0, 2);
    idle.join();
    assert_eq!(dir.text(), "idle\nb\n");
}

#[test]
fn of_two_files_that_were_deleted_one_after_the_other_both_are_rescued() {
    let (dir, shared) = (Dir::new(), Shared::new());
    let first = fork(|| {
        let log = dir.open();
        log.append(b"first\n").unwrap();
        log.reopen().unwrap();
        std::fs::remove_file(dir.log()).unwrap();
        log.append(b"accepted\n").unwrap();
        shared.set(0, 1);
        until("the second deletion", || shared.get(0) == 2);
        log.append(b"later\n").unwrap();
        log.close().unwrap();
    });
    until("the first deletion", || shared.get(0) == 1);
    std::thread::sleep(Duration::from_millis(30));
    let log = dir.open();
    log.append(b"a\n").unwrap();
    std::thread::sleep(Duration::from_millis(30));
    std::fs::remove_file(dir.log()).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    log.append(b"b\n").unwrap();
    shared.set(0, 2);
    first.join();
    log.append(b"c\n").unwrap();
    assert_eq!(dir.text().matches("accepted").count(), 1, "{:?}", dir.text());
}

#[test]
fn a_directory_that_is_removed_and_made_anew_holds_no_call_up_and_costs_it_no_record() {
    let top = Dir::new();
    let folder = top.file("logs");
    let path = folder.join("app.log");
    std::fs::create_dir(&folder).unwrap();
    let log = Appender::builder(&path).wait(Duration::from_secs(40)).open().unwrap();
    log.append(b"before\n").unwrap();
    let started = Instant::now();
    for round in 0..3 {
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        // Noticed within 100 ms of activity; what is written until then goes with the old directory.
        let mut number = 0;
        while !path.exists() {
            number += 1;
            log.append(format!("round {round} number {number}\n").as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        log.append(b"after\n").unwrap();
        // The record of the call that has noticed is the first in the new file.
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("round {round} number {number}\nafter\n"));
    }
    // Only a hang: nothing is waited for in a directory in which nothing can be made any more.
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert_eq!(log.counters().failed, 0);
}
