//! Children however made: `fork`, raw `clone`, `exec`; while other threads log; with and without a record of the parent.

use std::sync::atomic::{AtomicBool, Ordering};

use everyline::Commit;

use crate::support::{Dir, How, assert_exactly, child, exit_now, fork, odd_len, record};

fn children_log_through_the_inherited_appender(how: How, commit: Commit) {
    let dir = Dir::new();
    // In a child of its own: a raw clone of a process with other threads could inherit locks of theirs.
    fork(|| {
        let log = dir.builder().commit(commit).max_bytes(20_000).keep(Some(1000)).open().unwrap();
        log.append(&record(0, 0, 60)).unwrap();
        let children: Vec<_> = (1..5)
            .map(|writer| {
                let log = &log;
                child(how, move || {
                    (0..200).for_each(|seq| log.append(&record(writer, seq, odd_len(seq, 300))).unwrap());
                    log.flush().unwrap();
                })
            })
            .collect();
        (1..200).for_each(|seq| log.append(&record(0, seq, odd_len(seq, 300))).unwrap());
        children.into_iter().for_each(|c| c.join());
        log.close().unwrap();
        assert_exactly(&dir.all(), (0..5).map(|w| (w, 200)));
    })
    .join();
}

#[test]
fn forked_children_log_without_any_hook_of_theirs() {
    children_log_through_the_inherited_appender(How::Fork, Commit::WriteThrough);
    children_log_through_the_inherited_appender(How::Fork, Commit::Deferred);
}

#[test]
fn children_of_a_raw_clone_are_noticed_and_log() {
    children_log_through_the_inherited_appender(How::RawClone, Commit::WriteThrough);
    children_log_through_the_inherited_appender(How::RawClone, Commit::Deferred);
}

#[test]
fn grandchildren_log_and_a_parent_that_is_gone_does_not_matter() {
    let dir = Dir::new();
    let log = dir.open();
    fork(|| {
        log.append(&record(1, 0, 60)).unwrap();
        let grandchild = fork(|| {
            fork(|| (0..100).for_each(|seq| log.append(&record(3, seq, 60)).unwrap())).join();
            (0..100).for_each(|seq| log.append(&record(2, seq, 60)).unwrap());
        });
        log.append(&record(1, 1, 60)).unwrap();
        grandchild.join();
    })
    .join();
    log.flush().unwrap();
    assert_exactly(&dir.all(), [(1, 2), (2, 100), (3, 100)]);
}

#[test]
fn a_child_that_never_logs_and_exits_by_exit_now_disturbs_nobody() {
    let dir = Dir::new();
    let log = dir.open();
    for seq in 0..50 {
        log.append(&record(1, seq, 60)).unwrap();
        fork(|| exit_now(0)).join();
    }
    assert_eq!(dir.status().processes.len(), 1);
    log.close().unwrap();
    assert_exactly(&dir.all(), [(1, 50)]);
    assert!(!dir.journal().exists());
}

#[test]
fn a_child_may_drop_the_appender_it_inherited() {
    let dir = Dir::new();
    let log = dir.open();
    log.append(&record(1, 0, 60)).unwrap();
    let mut slot = Some(log);
    fork(|| drop(slot.take())).join();
    let log = slot.unwrap();
    log.append(&record(1, 1, 60)).unwrap();
    assert_eq!(dir.status().processes.len(), 1);
    assert_exactly(&dir.all(), [(1, 2)]);
}

#[test]
fn a_program_started_by_exec_inherits_no_descriptor_of_ours() {
    let dir = Dir::new();
    let log = dir.open();
    log.append(&record(1, 0, 60)).unwrap();
    let count = |path: &str| {
        std::fs::read_dir(path)
            .unwrap()
            .flatten()
            .filter_map(|e| e.path().read_link().ok())
            .fold(0, |n, target| n + u32::from(target.starts_with(dir.path())))
    };
    assert!(count("/proc/self/fd") > 0, "the test looks at the right thing");
    let list = std::process::Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let text = String::from_utf8(list.stdout).unwrap();
    assert!(!text.contains(dir.path().to_str().unwrap()), "{text}");
    log.append(&record(1, 1, 60)).unwrap();
    assert_exactly(&dir.all(), [(1, 2)]);
}

#[test]
fn exec_in_a_child_that_has_logged_leaves_its_records_and_a_free_slot() {
    let dir = Dir::new();
    let log = dir.open();
    for writer in 0..5 {
        let mut child = fork(|| {
            log.append(&record(writer, 0, 60)).unwrap();
            let path = c"/bin/true";
            // SAFETY: a path and an argument list that ends with null; returns only on failure.
            unsafe { libc::execv(path.as_ptr(), [path.as_ptr(), std::ptr::null()].as_ptr()) };
            exit_now(9);
        });
        assert_eq!(child.wait(), 0);
    }
    log.flush().unwrap();
    assert!(dir.inner_names("slot-").len() <= 3);
    assert_exactly(&dir.all(), (0..5).map(|w| (w, 1)));
}

#[test]
fn a_fork_while_other_threads_log_loses_nothing_on_either_side() {
    let dir = Dir::new();
    fork(|| {
        for commit in [Commit::WriteThrough, Commit::Deferred] {
            let base = if commit == Commit::Deferred { 100 } else { 0 };
            let log = dir.builder().commit(commit).ring_bytes(16 << 10).open().unwrap();
            let stop = AtomicBool::new(false);
            let counts: Vec<u64> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..3)
                    .map(|writer| {
                        let (log, stop) = (&log, &stop);
                        scope.spawn(move || {
                            let mut seq = 0;
                            while !stop.load(Ordering::Relaxed) {
                                log.append(&record(base + writer, seq, odd_len(seq, 200))).unwrap();
                                seq += 1;
                            }
                            seq
                        })
                    })
                    .collect();
                for writer in 3..33 {
                    fork(|| (0..20).for_each(|seq| log.append(&record(base + writer, seq, 60)).unwrap())).join();
                }
                stop.store(true, Ordering::Relaxed);
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            });
            log.close().unwrap();
            let parents = counts.into_iter().zip(base..).map(|(count, writer)| (writer, count));
            assert_exactly(&dir.all(), parents.chain((3..33).map(|w| (base + w, 20))));
            std::fs::remove_file(dir.log()).unwrap();
        }
    })
    .join();
}
