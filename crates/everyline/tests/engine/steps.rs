//! Steps that go wrong, or ask for what a step cannot have: nobody waits for himself, and nobody is left with a lease
//! that no one gives back. Also the right to treat archives, and forks while somebody waits.
//!
//! What could hang runs in a child with a deadline.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use everyline::{Appender, Commit, ErrorKind, Fsync, Full};

use crate::support::{Dir, Shared, child, exit_now, fork, until};

/// Runs a step as soon as the lease is to be had.
fn step<R>(log: &Appender, mut act: impl FnMut() -> R) -> R {
    let mut result = None;
    until("the lease to be free", || {
        result = log.try_exclusive(&mut act).unwrap();
        result.is_some()
    });
    result.unwrap()
}

/// A process in a step of its own on `dir`'s log, until word 0 of `shared` is 2.
fn holder(dir: &Dir, shared: &Shared) -> crate::support::Child {
    let holder = fork(|| {
        let log = dir.open();
        step(&log, || {
            shared.set(0, 1);
            until("the end of the step", || shared.get(0) == 2);
        });
        drop(log);
        exit_now(0);
    });
    until("the lease to be held", || shared.get(0) == 1);
    holder
}

/// `body` must come to its end.
fn must_end(body: impl FnOnce()) {
    fork(|| {
        body();
        exit_now(0);
    })
    .join();
}

#[test]
fn a_rotation_or_a_reopen_asked_for_in_a_step_is_refused_at_once() {
    let dir = Dir::new();
    must_end(|| {
        let log = dir.builder().wait(Duration::from_secs(3600)).open().unwrap();
        log.append(b"before\n").unwrap();
        let (rotate, reopen) = step(&log, || (log.rotate().unwrap_err(), log.reopen().unwrap_err()));
        assert_eq!(rotate.kind(), ErrorKind::NotRotatable);
        assert!(rotate.to_string().contains("inside a step"), "{rotate}");
        assert_eq!(reopen.kind(), ErrorKind::TimedOut);
        assert!(reopen.to_string().contains("inside a step"), "{reopen}");
        assert_eq!(dir.names(), ["app.log"], "refused, and not done later either");
        log.rotate().unwrap();
        assert_eq!(dir.names(), ["app.log", "app.log.1"]);
    });
}

#[test]
fn a_wish_that_runs_out_beside_a_step_of_another_thread_does_not_wait_for_its_end() {
    let dir = Dir::new();
    must_end(|| {
        let log = dir.builder().wait(Duration::from_millis(50)).open().unwrap();
        let refused =
            std::thread::scope(|scope| step(&log, || scope.spawn(|| log.rotate().unwrap_err()).join().unwrap()));
        assert_eq!(refused.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_record_without_room_in_a_step_is_dropped_and_counted_whatever_the_policy() {
    for full in [Full::Block, Full::Drop] {
        let dir = Dir::new();
        must_end(|| {
            let sizes = dir.builder().ring_bytes(8 << 10).overflow_bytes(64 << 10);
            let log = sizes.full(full).wait(Duration::from_secs(3600)).open().unwrap();
            let kinds = step(&log, || {
                let results = (0..2000).map(|_| log.append(&[b'x'; 100]).map_err(|e| (e.kind(), e.to_string())));
                results.filter_map(Result::err).collect::<Vec<_>>()
            });
            assert!(!kinds.is_empty());
            assert!(kinds.iter().all(|(kind, text)| *kind == ErrorKind::Dropped && text.contains("inside a step")));
            assert_eq!(log.counters().dropped, kinds.len() as u64);
            log.append(b"after\n").unwrap();
            log.flush().unwrap();
            let text = dir.text();
            assert_eq!(text.matches(&"x".repeat(100)).count(), 2000 - kinds.len());
            assert!(text.contains(&format!("{} ", kinds.len())), "announced: {text:?}");
        });
    }
}

#[test]
fn a_journal_that_goes_away_in_a_step_is_left_after_it() {
    let dir = Dir::new();
    let shared = Shared::new();
    let other = fork(|| {
        let log = dir.open();
        log.append(b"other\n").unwrap();
        shared.set(0, 1);
        until("the journal to be gone", || shared.get(0) == 2);
        // Goes on until it has noticed, and so has told everybody.
        until("the end", || {
            let _ = log.append(&[b'b'; 8000]);
            shared.get(0) == 3
        });
        exit_now(0);
    });
    until("the other to be there", || shared.get(0) == 1);
    must_end(|| {
        let log = dir.builder().wait(Duration::from_millis(100)).open().unwrap();
        step(&log, || {
            fs::remove_dir_all(dir.journal()).unwrap();
            shared.set(0, 2);
            until("a new journal", || dir.journal().exists());
            log.append(b"inside\n").unwrap();
            // The names are the step's until it ends: this process makes no journal of its own meanwhile.
            log.flush().unwrap();
        });
        log.append(b"after\n").unwrap();
        log.flush().unwrap();
        let text = dir.text();
        let lines: Vec<_> = text.lines().map(|line| line.trim_start_matches('b')).collect();
        assert_eq!(lines.iter().filter(|line| **line == "inside").count(), 1, "{lines:?}");
        assert_eq!(lines.iter().filter(|line| **line == "after").count(), 1, "{lines:?}");
    });
    shared.set(0, 3);
    other.join();
}

#[test]
fn nothing_that_was_logged_in_a_step_is_said_to_be_on_disk() {
    let dir = Dir::new();
    must_end(|| {
        let log = dir.builder().fsync(Fsync::Always).wait(Duration::from_secs(3600)).open().unwrap();
        log.append(b"before\n").unwrap();
        let (append, sync) = step(&log, || {
            fs::rename(dir.log(), dir.file("mine")).unwrap();
            (log.append(b"inside\n").unwrap_err(), log.sync().unwrap_err())
        });
        assert_eq!((append.kind(), sync.kind()), (ErrorKind::TimedOut, ErrorKind::TimedOut));
        assert!(append.to_string().contains("inside a step"), "{append}");
        assert_eq!(log.counters().records, 2, "it was accepted");
        log.append(b"after\n").unwrap();
        log.sync().unwrap();
        assert_eq!(dir.text(), "inside\nafter\n");
    });
}

#[test]
fn a_step_that_panics_gives_the_lease_back() {
    let dir = Dir::new();
    must_end(|| {
        let log = dir.builder().wait(Duration::from_secs(3600)).open().unwrap();
        log.append(b"before\n").unwrap();
        let act = || {
            fs::rename(dir.log(), dir.file("mine")).unwrap();
            log.append(b"inside\n").unwrap();
            panic!("the application's own");
        };
        let panicked = catch_unwind(AssertUnwindSafe(|| while log.try_exclusive(act).unwrap().is_none() {})).is_err();
        assert!(panicked);
        assert_eq!(dir.text(), "inside\n", "the path was looked at, and what was published meanwhile is written");
        let lease = dir.status().lease;
        assert_eq!(lease.state, everyline::LeaseState::Free, "{lease:?}");
        // This thread is in no step any more: it waits, and a rotation is carried out.
        let shared = Shared::new();
        let holder = holder(&dir, &shared);
        log.append(b"waited for\n").unwrap();
        std::thread::scope(|scope| {
            let flushed = scope.spawn(|| log.flush());
            shared.set(0, 2);
            flushed.join().unwrap().unwrap();
        });
        assert_eq!(dir.text(), "inside\nwaited for\n");
        holder.join();
        log.rotate().unwrap();
    });
}

#[test]
fn a_child_that_a_step_forked_may_panic_out_of_it() {
    let dir = Dir::new();
    must_end(|| {
        let log = dir.open();
        log.append(b"before\n").unwrap();
        let act = || {
            // SAFETY: the child logs and ends by `_exit`.
            let pid = unsafe { libc::fork() };
            assert_ne!(pid, 0, "the child's way out of the step");
            // The lease is the parent's: nobody writes before the step ends.
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(dir.text(), "before\n");
            pid
        };
        let mut forked = None;
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            until("the lease", || {
                forked = log.try_exclusive(act).unwrap();
                forked.is_some()
            });
        }));
        if unwound.is_err() {
            let ok = forked.is_none() && log.append(b"child\n").is_ok() && log.flush().is_ok();
            exit_now(i32::from(!ok));
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        unsafe { libc::waitpid(forked.unwrap(), &raw mut status, 0) };
        assert_eq!(status, 0);
        log.append(b"parent\n").unwrap();
        assert_eq!(dir.text(), "before\nchild\nparent\n");
    });
}

#[test]
fn a_step_does_not_run_while_a_replaced_journals_processes_may_write() {
    let dir = Dir::new();
    let shared = Shared::new();
    let earlier = fork(|| {
        let log = dir.open();
        log.append(b"earlier\n").unwrap();
        shared.set(0, 1);
        until("the end", || shared.get(0) == 2);
        exit_now(0);
    });
    until("the other to be there", || shared.get(0) == 1);
    fs::remove_dir_all(dir.journal()).unwrap();
    let log = dir.open();
    log.append(b"x\n").unwrap();
    assert_eq!(log.try_exclusive(|| ()).unwrap(), None, "the other has not noticed yet");
    assert_eq!(dir.status().errors, 0, "waiting is no trouble");
    shared.set(0, 2);
    earlier.join();
    step(&log, || ());
}

#[test]
fn the_right_to_treat_archives_is_ended_by_whoever_has_it_alone() {
    let dir = Dir::new();
    let (a, b) = (dir.open(), dir.open());
    assert!(a.begin_maintenance().unwrap());
    b.end_maintenance();
    assert!(!b.begin_maintenance().unwrap(), "the right is a's");
    assert!(!a.begin_maintenance().unwrap(), "it has it already");
    a.end_maintenance();
    assert!(b.begin_maintenance().unwrap());
    // It goes with its appender.
    drop(b);
    assert!(a.begin_maintenance().unwrap());
    let child = fork(|| exit_now(i32::from(dir.open().begin_maintenance().unwrap())));
    child.join();
}

#[test]
fn another_engine_of_the_process_on_the_same_journal_neither_gets_the_right_nor_ends_it() {
    let dir = Dir::new();
    let shared = Shared::new();
    // Keeps the journal.
    let other = fork(|| {
        let log = dir.open();
        shared.set(0, 1);
        until("the word", || shared.get(0) == 2);
        shared.set(1, 1 + u64::from(log.begin_maintenance().unwrap()));
        until("the word", || shared.get(0) == 3);
        shared.set(2, 1 + u64::from(log.begin_maintenance().unwrap()));
        exit_now(0);
    });
    until("the other to be there", || shared.get(0) == 1);
    let a = dir.open();
    assert!(a.begin_maintenance().unwrap());
    a.close().unwrap();
    let b = dir.open();
    assert!(!b.begin_maintenance().unwrap(), "a has it");
    drop(b);
    shared.set(0, 2);
    until("the other's answer", || shared.get(1) != 0);
    assert_eq!(shared.get(1), 1, "a has had it all the time");
    a.end_maintenance();
    shared.set(0, 3);
    other.join();
    assert_eq!(shared.get(2), 2, "nobody has it");
}

#[test]
fn a_fork_does_not_wait_for_a_background_thread_that_waits_for_a_stopped_process() {
    let dir = Dir::new();
    let shared = Shared::new();
    let holder = holder(&dir, &shared);
    let interval = Fsync::Interval(Duration::from_millis(10));
    // No patience that a test could have is longer: told from "not hung" by the fork alone.
    let wait = Duration::from_secs(3600);
    let log = dir.builder().commit(Commit::Deferred).fsync(interval).wait(wait).open().unwrap();
    log.append(b"x\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    fork(|| exit_now(0)).join();
    child(crate::support::How::Fork, || exit_now(0)).join();
    assert!(started.elapsed() < Duration::from_secs(10), "the fork waited");
    shared.set(0, 2);
    holder.join();
    log.append(b"y\n").unwrap();
    until("both to be in the file", || dir.text() == "x\ny\n");
    drop(log);
}

#[test]
fn the_hook_of_a_wait_is_not_called_on_the_engines_threads() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static ELSEWHERE: AtomicU32 = AtomicU32::new(0);
    static HERE: AtomicU32 = AtomicU32::new(0);
    let dir = Dir::new();
    must_end(|| {
        everyline::on_wait(|| {
            let is_ours = std::thread::current().name().is_some_and(|name| name.starts_with("everyline"));
            if is_ours { &ELSEWHERE } else { &HERE }.fetch_add(1, Ordering::SeqCst);
            false
        });
        let shared = Shared::new();
        let holder = holder(&dir, &shared);
        let interval = Fsync::Interval(Duration::from_millis(10));
        let builder = dir.builder().commit(Commit::Deferred).fsync(interval).wait(Duration::from_millis(500));
        let log = builder.open().unwrap();
        log.append(b"x\n").unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(log.flush().unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(HERE.load(Ordering::SeqCst) > 0, "a hook that nobody calls proves nothing");
        assert_eq!(ELSEWHERE.load(Ordering::SeqCst), 0);
        shared.set(0, 2);
        holder.join();
    });
}
