//! Daemonizers: every descriptor is closed under a live process, and the numbers go to other files.

use std::os::fd::AsRawFd;

use everyline::{Commit, Fsync};

use crate::support::{Dir, assert_exactly, fork, odd_len, record, until};

fn close_all_from_3() {
    // SAFETY: this child has no descriptors of its own above 2, except the engine's: that is the test.
    assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) }, 0);
}

#[test]
fn all_descriptors_closed_under_a_live_process_and_it_logs_on() {
    for commit in [Commit::WriteThrough, Commit::Deferred] {
        let dir = Dir::new();
        fork(|| {
            let log = dir.builder().commit(commit).max_bytes(5000).keep(Some(100)).open().unwrap();
            let mut seq = 0;
            for _ in 0..5 {
                for _ in 0..50 {
                    log.append(&record(1, seq, odd_len(seq, 300))).unwrap();
                    seq += 1;
                }
                if commit == Commit::Deferred {
                    // The background thread uses no descriptor while there is nothing to write. In the middle of its
                    // work, closing its descriptors is closing those of whoever gets the numbers next.
                    log.flush().unwrap();
                }
                close_all_from_3();
            }
            log.append(&record(1, seq, 60)).unwrap();
            log.close().unwrap();
            assert_exactly(&dir.all(), [(1, seq + 1)]);
        })
        .join();
        assert!(!dir.journal().exists(), "{commit:?}: nothing is left behind");
    }
}

#[test]
fn the_first_record_after_the_descriptors_were_closed_is_in_the_file_without_another_call() {
    let dir = Dir::new();
    fork(|| {
        let log = dir.open();
        log.append(&record(1, 0, 60)).unwrap();
        close_all_from_3();
        log.append(&record(1, 1, 60)).unwrap();
        until("the record", || dir.all().len() == 120);
        assert_exactly(&dir.all(), [(1, 2)]);
    })
    .join();
}

#[test]
fn a_record_that_must_be_synced_over_closed_descriptors_is_written_once() {
    for fsync in [Fsync::Always, Fsync::AtLevel(20)] {
        let dir = Dir::new();
        fork(|| {
            let log = dir.builder().fsync(fsync).open().unwrap();
            for seq in 0..20 {
                log.append_at(30, &record(1, seq, odd_len(seq, 300))).unwrap();
                close_all_from_3();
            }
            log.append_at(30, &record(1, 20, 60)).unwrap();
            assert_exactly(&dir.all(), [(1, 21)]);
        })
        .join();
    }
}

#[test]
fn files_that_took_over_our_numbers_are_neither_written_nor_closed() {
    let dir = Dir::new();
    fork(|| {
        let log = dir.open();
        log.append(&record(1, 0, 60)).unwrap();
        let numbers: Vec<i32> = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok())
            .filter(|n| *n >= 3)
            .collect();
        close_all_from_3();
        // Opened where ours were, for writing.
        let theirs = std::fs::File::create(dir.file("theirs")).unwrap();
        for number in numbers.iter().filter(|n| **n != theirs.as_raw_fd()) {
            // SAFETY: numbers that were just closed; nobody owns them.
            assert_eq!(unsafe { libc::dup2(theirs.as_raw_fd(), *number) }, *number);
        }
        // The log's descriptor is looked at once in a tick of the coarse clock. Its number is above 512, and no program
        // gets there within that time by opening files.
        std::thread::sleep(std::time::Duration::from_millis(20));
        (1..50).for_each(|seq| log.append(&record(1, seq, odd_len(seq, 300))).unwrap());
        log.close().unwrap();
        assert_exactly(&dir.all(), [(1, 50)]);
        assert_eq!(std::fs::metadata(dir.file("theirs")).unwrap().len(), 0, "not a byte of ours");
        for number in numbers {
            // SAFETY: only asks for flags.
            assert!(unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0, "{number} was closed");
        }
    })
    .join();
}

#[test]
fn a_process_with_closed_descriptors_is_not_taken_for_dead() {
    let dir = Dir::new();
    let shared = crate::support::Shared::new();
    let mut child = fork(|| {
        let log = dir.open();
        log.append(&record(1, 0, 60)).unwrap();
        close_all_from_3();
        shared.set(0, 1);
        loop {
            std::thread::park();
        }
    });
    until("the child", || shared.get(0) == 1);
    child.stop();
    let status = dir.status();
    assert!(status.processes.iter().all(|p| p.alive), "{:?}", status.processes);
    let log = dir.open();
    assert_eq!(log.status().unwrap().processes.len(), 2, "its slot is not given away");
    child.kill();
    assert_eq!(dir.status().processes.iter().filter(|p| !p.alive).count(), 1);
}
