//! `flush`, `sync`, the `fsync` policies, and deferred mode.

use std::time::{Duration, Instant};

use everyline::{Appender, Commit, Fsync};

use crate::support::{Dir, assert_exactly, exit_now, fork, odd_len, patch, record, until, word_of};

/// How far the log is known to be on disk, as the journal says: `epoch:20 | offset:44`.
fn synced(dir: &Dir) -> (u64, u64) {
    let word = word_of(&dir.inner("control"), 896);
    (word >> 44, word & ((1 << 44) - 1))
}

fn threads_named_everyline() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let comm = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.unwrap().path().join("comm"));
    tasks.filter(|_| true).map(comm).filter(|name| name.as_deref().unwrap_or("").trim() == "everyline").count()
}

#[test]
fn under_every_fsync_policy_records_are_in_the_file_after_flush_and_on_disk_after_sync() {
    let interval = Fsync::Interval(Duration::from_millis(5));
    for fsync in [Fsync::Never, Fsync::OnRotation, Fsync::AtLevel(30), interval, Fsync::Always] {
        for commit in [Commit::WriteThrough, Commit::Deferred] {
            let dir = Dir::new();
            let log = dir.builder().fsync(fsync).commit(commit).max_bytes(2000).keep(Some(100)).open().unwrap();
            for seq in 0..60 {
                log.append_at(10 * (seq % 5) as u8, &record(1, seq, odd_len(seq, 200))).unwrap();
            }
            log.flush().unwrap();
            assert_exactly(&dir.all(), [(1, 60)]);
            log.sync().unwrap();
            let status = log.status().unwrap();
            assert_eq!(synced(&dir), (status.epoch, status.file_bytes), "{fsync:?} {commit:?}");
            assert_eq!(status.errors, 0);
        }
    }
}

#[test]
fn never_syncs_nothing_and_always_syncs_every_record() {
    let dir = Dir::new();
    let log = dir.open();
    log.append_at(50, b"urgent, but never synced\n").unwrap();
    assert_eq!(synced(&dir), (0, 0));
    drop(log);
    let log = dir.builder().fsync(Fsync::Always).open().unwrap();
    for seq in 0..5 {
        log.append(&record(1, seq, 100)).unwrap();
        assert_eq!(synced(&dir).1, dir.text().len() as u64);
    }
}

#[test]
fn at_level_syncs_at_that_level_and_not_below_it() {
    let dir = Dir::new();
    let log = dir.builder().fsync(Fsync::AtLevel(30)).open().unwrap();
    log.append_at(29, b"below\n").unwrap();
    assert_eq!(synced(&dir), (0, 0));
    log.append_at(30, b"at\n").unwrap();
    assert_eq!(synced(&dir).1, 9);
}

#[test]
fn interval_syncs_at_the_next_commit_or_by_itself_in_deferred_mode() {
    let dir = Dir::new();
    let log = dir.builder().fsync(Fsync::Interval(Duration::from_millis(50))).open().unwrap();
    until("a sync by a later record", || {
        log.append(b"record\n").unwrap();
        synced(&dir).1 > 0
    });
    drop(log);
    let dir = Dir::new();
    let fsync = Fsync::Interval(Duration::from_millis(50));
    let log = dir.builder().fsync(fsync).commit(Commit::Deferred).open().unwrap();
    log.append(b"the only one\n").unwrap();
    until("a sync without another record", || synced(&dir).1 == 13);
}

#[test]
fn callers_that_sync_at_the_same_time_all_find_their_records_on_disk() {
    let dir = Dir::new();
    let log = dir.builder().fsync(Fsync::Always).open().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let log = &log;
            scope.spawn(move || (0..25).for_each(|seq| log.append(&record(writer, seq, 80)).unwrap()));
        }
    });
    assert_eq!(synced(&dir).1, 4 * 25 * 80);
    assert_exactly(&dir.all(), (0..4).map(|w| (w, 25)));
}

#[test]
fn after_a_foreign_truncate_records_are_synced_as_before() {
    let dir = Dir::new();
    let log = dir.builder().fsync(Fsync::Always).open().unwrap();
    (0..50).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
    std::fs::File::options().write(true).open(dir.log()).unwrap().set_len(0).unwrap();
    log.reopen().unwrap();
    for seq in 50..60 {
        log.append(&record(1, seq, 100)).unwrap();
        let status = log.status().unwrap();
        assert_eq!(synced(&dir), (status.epoch, status.file_bytes));
        assert_eq!(status.file_bytes, dir.text().len() as u64);
    }
}

/// Offset of `synced.lost_upto` in control.
const LOST_UPTO: u64 = 896 + 16;

#[test]
fn a_file_that_could_not_be_synced_when_it_was_rotated_is_reported_to_whoever_syncs_next() {
    let dir = Dir::new();
    let log = dir.builder().fsync(Fsync::OnRotation).open().unwrap();
    log.append(b"in the file that is rotated\n").unwrap();
    let epoch = log.status().unwrap().epoch;
    // As the holder leaves it that heard EIO from the sync of that file.
    patch(&dir.inner("control"), LOST_UPTO, epoch + 1);
    log.rotate().unwrap();
    let error = log.sync().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert!(error.to_string().contains("rotated away could not be synced"), "{error}");
    log.append(b"in the new file\n").unwrap();
    log.sync().unwrap();
}

#[test]
fn a_record_is_on_disk_also_while_others_move_the_log_away() {
    for creates in [false, true] {
        let dir = Dir::new();
        let log = dir.builder().fsync(Fsync::Always).open().unwrap();
        log.append(b"before\n").unwrap();
        // Looked at now, so not again before the next record.
        log.reopen().unwrap();
        std::fs::rename(dir.log(), dir.file("app.log.moved")).unwrap();
        if creates {
            std::fs::write(dir.log(), "").unwrap();
        }
        // It goes to the file that was moved, or to a new one; either way it is written, and that is no error.
        log.append(b"accepted\n").unwrap();
        assert_eq!(String::from_utf8(dir.all()).unwrap().matches("accepted").count(), 1);
    }
}

/// Offset of `synced.failed` in control.
const FAILED: u64 = 896 + 8;

#[test]
fn after_a_sync_that_failed_the_log_goes_on_in_a_new_file_under_any_setting() {
    for fsync in [Fsync::Never, Fsync::OnRotation, Fsync::Always] {
        let dir = Dir::new();
        let log = dir.builder().fsync(fsync).open().unwrap();
        log.append(b"before\n").unwrap();
        patch(&dir.inner("control"), FAILED, 1);
        log.append(b"after\n").unwrap();
        log.flush().unwrap();
        assert_eq!(dir.text(), "after\n", "{fsync:?}");
        log.sync().unwrap();
    }
}

#[test]
fn as_long_as_a_file_whose_sync_failed_cannot_be_replaced_no_sync_succeeds() {
    let dir = Dir::new();
    let log = dir.builder().fsync(Fsync::OnRotation).keep(Some(1)).open().unwrap();
    log.append(b"before\n").unwrap();
    // Nothing can be renamed to this name, nor can it be unlinked.
    std::fs::create_dir(dir.file("app.log.1")).unwrap();
    std::fs::write(dir.file("app.log.1/in-it"), "").unwrap();
    patch(&dir.inner("control"), FAILED, 1);
    for _ in 0..2 {
        log.append(b"after\n").unwrap();
        let error = log.sync().unwrap_err();
        assert!(error.to_string().contains("an earlier sync of this file failed"), "{error}");
    }
    assert_eq!(dir.text(), "before\nafter\nafter\n");
}

#[test]
fn an_urgent_record_is_in_the_file_when_the_call_returns_also_in_deferred_mode() {
    let dir = Dir::new();
    let log = dir.builder().commit(Commit::Deferred).open().unwrap();
    for seq in 0..50 {
        log.append_at(20, &record(1, 2 * seq, 70)).unwrap();
        log.append_at(40, &record(1, 2 * seq + 1, 70)).unwrap();
        assert_exactly(&dir.all(), [(1, 2 * seq + 2)]);
    }
}

#[test]
fn deferred_records_arrive_within_a_second_without_any_other_call() {
    let dir = Dir::new();
    let log = dir.builder().commit(Commit::Deferred).open().unwrap();
    for round in 0..3 {
        let started = Instant::now();
        (0..100).for_each(|i| log.append(&record(1, round * 100 + i, 90)).unwrap());
        until("deferred records", || std::fs::metadata(dir.log()).is_ok_and(|m| m.len() == (round + 1) * 9000));
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        // The thread goes to sleep in the meantime, and has to be woken by the next record.
        std::thread::sleep(Duration::from_millis(60));
    }
    assert_exactly(&dir.all(), [(1, 300)]);
}

#[test]
fn an_idle_deferred_process_makes_no_wake_ups() {
    let dir = Dir::new();
    // In a process of its own: its background thread is the only one of that name.
    fork(|| {
        let log = dir.builder().commit(Commit::Deferred).open().unwrap();
        log.append(&record(1, 0, 90)).unwrap();
        log.flush().unwrap();
        // The looks that it takes after the last record are over by then.
        std::thread::sleep(Duration::from_millis(6500));
        let wakes = || -> u64 {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
            let thread =
                tasks.into_iter().find(|t| std::fs::read_to_string(t.join("comm")).unwrap().trim() == "everyline");
            let status = std::fs::read_to_string(thread.expect("it sleeps").join("status")).unwrap();
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
            line.split_whitespace().last().unwrap().parse().unwrap()
        };
        let before = wakes();
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(wakes(), before);
        // And it still hears of the next record.
        log.append(&record(1, 1, 90)).unwrap();
        until("the next record", || dir.all().len() == 180);
    })
    .join();
}

#[test]
fn close_in_deferred_mode_leaves_nothing_behind() {
    for _ in 0..20 {
        let dir = Dir::new();
        let log = dir.builder().commit(Commit::Deferred).open().unwrap();
        (0..10).for_each(|seq| log.append(&record(1, seq, 90)).unwrap());
        log.close().unwrap();
        assert_exactly(&dir.all(), [(1, 10)]);
        // Not at once: a test that forks in another thread may hold the engine for the moment of its fork hook.
        until("the journal to go", || !dir.journal().exists());
    }
}

#[test]
fn what_a_deferred_process_published_before_exit_now_is_delivered_by_the_next_attach() {
    let dir = Dir::new();
    let deferred = || dir.builder().commit(Commit::Deferred).open().unwrap();
    for writer in 0..20 {
        fork(|| {
            let log = deferred();
            (0..50).for_each(|seq| log.append(&record(writer, seq, 90)).unwrap());
            exit_now(0);
        })
        .join();
    }
    drop(dir.open());
    assert_exactly(&dir.all(), (0..20).map(|w| (w, 50)));
    assert!(!dir.journal().exists());
}

/// In a child of one thread, so that counting threads means something.
fn in_a_child(body: impl FnOnce(Appender, &Dir)) {
    let dir = Dir::new();
    fork(|| body(dir.builder().commit(Commit::Deferred).open().unwrap(), &dir)).join();
}

#[test]
fn the_background_thread_ends_before_a_fork_and_both_sides_go_on() {
    in_a_child(|log, dir| {
        log.append(&record(1, 0, 90)).unwrap();
        until("the thread", || threads_named_everyline() == 1);
        let child = fork(|| {
            assert_eq!(std::fs::read_dir("/proc/self/task").unwrap().count(), 1);
            (0..100).for_each(|seq| log.append(&record(2, seq, 90)).unwrap());
            log.flush().unwrap();
            until("its own thread", || threads_named_everyline() == 1);
        });
        (1..100).for_each(|seq| log.append(&record(1, seq, 90)).unwrap());
        child.join();
        log.flush().unwrap();
        assert_exactly(&dir.all(), [(1, 100), (2, 100)]);
    });
}

#[test]
fn a_record_logged_just_before_a_fork_arrives_without_another_call() {
    in_a_child(|log, dir| {
        for seq in 0..20 {
            log.append(&record(1, seq, 90)).unwrap();
            fork(|| {}).join();
            until("a record logged before a fork", || {
                std::fs::metadata(dir.log()).is_ok_and(|m| m.len() == (seq + 1) * 90)
            });
        }
    });
}
