//! Root parents whose children give root up, and users who share a log.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use everyline::{Appender, ErrorKind, Fsync};

use crate::support::{Dir, Shared, assert_exactly, fork, is_root, odd_len, record, skip, until, word_of};

const NOBODY: u32 = 65_534;

/// Gives root up for good.
fn become_user(user: u32) {
    become_member(user, user);
}

fn become_member(user: u32, group: u32) {
    // The system calls themselves: the functions of libc would look for other threads to change with this one.
    // SAFETY: system calls that change the credentials of this child, which has one thread.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()), 0);
        assert_eq!(libc::syscall(libc::SYS_setgid, group), 0);
        assert_eq!(libc::syscall(libc::SYS_setuid, user), 0);
    }
}

fn set_mode(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory that everybody may enter and root owns.
fn root_dir() -> Option<Dir> {
    if !is_root() {
        skip("needs root to drop it");
        return None;
    }
    let dir = Dir::new();
    set_mode(dir.path(), 0o755);
    Some(dir)
}

#[test]
fn a_child_that_gave_root_up_logs_through_what_it_inherited() {
    let Some(dir) = root_dir() else { return };
    let log = dir.open();
    log.append(&record(0, 0, 60)).unwrap();
    fork(|| {
        become_user(NOBODY);
        assert!(Appender::builder(dir.file("other.log")).open().is_err(), "it may make nothing here");
        (0..200).for_each(|seq| log.append(&record(1, seq, odd_len(seq, 300))).unwrap());
        log.flush().unwrap();
        assert_exactly(&dir.all(), [(0, 1), (1, 200)]);
        log.close().unwrap();
    })
    .join();
    log.append(&record(0, 1, 60)).unwrap();
    assert_exactly(&dir.all(), [(0, 2), (1, 200)]);
    log.close().unwrap();
    assert!(!dir.journal().exists());
}

#[test]
fn such_a_child_syncs_what_it_logs() {
    let Some(dir) = root_dir() else { return };
    let log = dir.builder().fsync(Fsync::Always).open().unwrap();
    log.append(&record(0, 0, 60)).unwrap();
    fork(|| {
        become_user(NOBODY);
        (0..20).for_each(|seq| log.append(&record(1, seq, 60)).unwrap());
        log.sync().unwrap();
    })
    .join();
    assert_exactly(&dir.all(), [(0, 1), (1, 20)]);
}

#[test]
fn such_a_child_attaches_again_after_close() {
    let Some(dir) = root_dir() else { return };
    let log = dir.open();
    log.append(&record(0, 0, 60)).unwrap();
    fork(|| {
        become_user(NOBODY);
        for seq in 0..5 {
            log.append(&record(1, seq, 60)).unwrap();
            log.close().unwrap();
        }
    })
    .join();
    assert_exactly(&dir.all(), [(0, 1), (1, 5)]);
}

#[test]
fn a_parent_that_has_not_logged_yet_hands_the_log_down_too() {
    let Some(dir) = root_dir() else { return };
    let log = dir.open();
    fork(|| {
        become_user(NOBODY);
        (0..20).for_each(|seq| log.append(&record(1, seq, 60)).unwrap());
        log.flush().unwrap();
    })
    .join();
    assert_exactly(&dir.all(), [(1, 20)]);
}

#[test]
fn records_of_such_a_child_arrive_after_root_has_rotated_the_log() {
    let Some(dir) = root_dir() else { return };
    let log = dir.builder().keep(Some(100)).open().unwrap();
    log.append(&record(0, 0, 60)).unwrap();
    let shared = Shared::new();
    let child = fork(|| {
        become_user(NOBODY);
        for seq in 0..60 {
            if seq % 20 == 0 {
                until("a rotation", || shared.get(0) >= seq / 20);
            }
            log.append(&record(1, seq, 60)).unwrap();
            shared.set(1, seq + 1);
        }
    });
    for round in 1..3 {
        until("records of the child", || shared.get(1) >= round * 20);
        log.rotate().unwrap();
        shared.set(0, round);
        // Root goes on logging now and then; that is who writes for the child.
        let mut seq = 0;
        until("the child's records", || {
            log.append(&record(10 + round as u32, seq, 60)).unwrap();
            seq += 1;
            crate::support::seen(&dir.all()).writers.get(&1).map_or(0, Vec::len) as u64 == (round + 1) * 20
        });
    }
    child.join();
    let seen = crate::support::seen(&dir.all());
    assert_eq!(seen.writers[&1], (0..60).collect::<Vec<_>>());
}

#[test]
fn a_rotation_that_one_process_may_not_do_is_done_by_another_that_may() {
    let Some(dir) = root_dir() else { return };
    let log = dir.builder().max_bytes(3000).keep(Some(500)).open().unwrap();
    log.append(&record(0, 0, 60)).unwrap();
    // Anybody may write this file and those that follow it; only root may rename in the directory.
    std::fs::set_permissions(dir.log(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let shared = Shared::new();
    let child = fork(|| {
        become_user(NOBODY);
        let mut seq = 0;
        while shared.get(1) == 0 {
            log.append(&record(1, seq, 60)).unwrap();
            seq += 1;
            shared.set(0, seq);
            std::thread::sleep(Duration::from_micros(300));
        }
    });
    until("the child to try", || log.status().unwrap().rotations_failed > 0);
    // From here on root logs, too. The pause that the child makes after its failure is none of root's.
    let (before, mut seq) = (log.status().unwrap().rotations, 1);
    let started = std::time::Instant::now();
    until("root's rotations", || {
        // While the child is the one who writes, nothing is cut.
        (0..50).for_each(|n| log.append(&record(0, seq + n, 60)).unwrap());
        seq += 50;
        log.status().unwrap().rotations > before + 4
    });
    assert!(started.elapsed() < Duration::from_secs(4), "one in each pause of a second would be five seconds");
    shared.set(1, 1);
    child.join();
    // What it left in its ring.
    everyline::recover(&dir.log()).unwrap();
    assert_exactly(&dir.all(), [(0, seq), (1, shared.get(0))]);
}

#[test]
fn root_does_not_rotate_away_what_its_children_could_not_open_again() {
    let Some(dir) = root_dir() else { return };
    let log = dir.builder().max_bytes(3000).keep(Some(500)).open().unwrap();
    log.append(&record(0, 0, 60)).unwrap();
    let shared = Shared::new();
    let child = fork(|| {
        become_user(NOBODY);
        for seq in 0..200 {
            log.append(&record(1, seq, 60)).unwrap();
        }
        shared.set(0, 1);
        until("root to log", || shared.get(0) == 2);
        (200..220).for_each(|seq| log.append(&record(1, seq, 60)).unwrap());
        log.flush().expect("written by itself");
    });
    until("the child to log", || shared.get(0) == 1);
    assert!(log.status().unwrap().rotations_failed > 0);
    (1..20).for_each(|seq| log.append(&record(0, seq, 60)).unwrap());
    shared.set(0, 2);
    child.join();
    assert_exactly(&dir.all(), [(0, 20), (1, 220)]);
}

#[test]
fn a_process_that_may_not_rotate_says_so_when_it_is_asked_to() {
    let Some(dir) = root_dir() else { return };
    let log = dir.open();
    log.append(&record(0, 0, 60)).unwrap();
    fork(|| {
        become_user(NOBODY);
        log.append(&record(1, 0, 60)).unwrap();
        let error = log.rotate().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EACCES), "{error}");
    })
    .join();
    assert_exactly(&dir.all(), [(0, 1), (1, 1)]);
}

#[test]
fn such_a_child_that_can_no_longer_write_does_not_hold_up_those_who_can() {
    let Some(dir) = root_dir() else { return };
    let log = dir.open();
    log.append(&record(0, 0, 60)).unwrap();
    let shared = Shared::new();
    let child = fork(|| {
        become_user(NOBODY);
        let mut seq = 0;
        while shared.get(0) == 0 {
            log.append(&record(1, seq, 60)).unwrap();
            seq += 1;
            shared.set(1, seq);
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    until("the child to log", || shared.get(1) > 0);
    log.rotate().unwrap();
    let first = shared.get(1);
    let mut slowest = Duration::ZERO;
    for seq in 1..100 {
        let started = Instant::now();
        log.append(&record(0, seq, 60)).unwrap();
        log.flush().unwrap();
        slowest = slowest.max(started.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(shared.get(1) > first, "the child logged all the time");
    shared.set(0, 1);
    child.join();
    assert!(slowest < Duration::from_millis(300), "root waited {slowest:?} for a child that may not open the log");
    log.close().unwrap();
    assert_exactly(&dir.all(), [(0, 100), (1, shared.get(1))]);
}

#[test]
fn users_who_may_write_the_log_share_one_journal() {
    let Some(dir) = root_dir() else { return };
    set_mode(dir.path(), 0o777);
    std::fs::write(dir.log(), "").unwrap();
    set_mode(&dir.log(), 0o666);
    let builder = dir.builder().max_bytes(3000).keep(Some(1000));
    let log = builder.clone().open().unwrap();
    let children: Vec<_> = (1..4)
        .map(|writer| {
            let builder = &builder;
            fork(move || {
                become_user(NOBODY - writer);
                let log = builder.clone().open().unwrap();
                (0..200).for_each(|seq| log.append(&record(writer, seq, 60)).unwrap());
            })
        })
        .collect();
    (0..200).for_each(|seq| log.append(&record(0, seq, 60)).unwrap());
    children.into_iter().for_each(|c| c.join());
    log.close().unwrap();
    assert_exactly(&dir.all(), (0..4).map(|w| (w, 200)));
}

#[test]
fn the_journal_is_open_to_those_who_may_write_the_log_and_to_nobody_else() {
    let Some(dir) = root_dir() else { return };
    for (mode, journal) in [(0o644, 0o700), (0o664, 0o770), (0o666, 0o777), (0o600, 0o700)] {
        std::fs::write(dir.log(), "").unwrap();
        set_mode(&dir.log(), mode);
        let log = dir.open();
        let is = std::fs::metadata(dir.journal()).unwrap().permissions().mode() & 0o777;
        assert_eq!(is, journal, "log {mode:o}: journal {is:o}");
        log.close().unwrap();
        std::fs::remove_file(dir.log()).unwrap();
    }
}

#[test]
fn a_process_that_may_not_enter_the_journal_hears_so_and_may_degrade() {
    let Some(dir) = root_dir() else { return };
    std::fs::write(dir.log(), "").unwrap();
    let shared = Shared::new();
    // A process that is no relative: nothing of it is inherited.
    let root = fork(|| {
        let log = dir.open();
        shared.set(0, 1);
        until("the end", || shared.get(1) == 1);
        log.append(&record(0, 0, 60)).unwrap();
    });
    until("root to attach", || shared.get(0) == 1);
    set_mode(&dir.log(), 0o666);
    fork(|| {
        become_user(NOBODY);
        let path = dir.log();
        let e = Appender::builder(&path).open().unwrap_err();
        assert_eq!((e.kind(), e.raw_os_error()), (ErrorKind::Os, Some(libc::EACCES)));
        assert!(e.to_string().contains(".app.log.everyline") && e.to_string().contains("journal_dir"), "{e}");
        let degraded = Appender::builder(&path).open_degraded().unwrap();
        (0..20).for_each(|seq| degraded.append(&record(1, seq, 60)).unwrap());
        assert_eq!(degraded.counters().degraded, 20);
    })
    .join();
    shared.set(1, 1);
    root.join();
    assert_exactly(&dir.all(), [(0, 1), (1, 20)]);
}

#[test]
fn a_journal_of_a_stranger_is_refused_with_a_way_out() {
    let Some(dir) = root_dir() else { return };
    set_mode(dir.path(), 0o777);
    std::fs::create_dir_all(dir.inner("")).unwrap();
    std::os::unix::fs::chown(dir.journal(), Some(NOBODY - 1), None).unwrap();
    set_mode(&dir.journal(), 0o777);
    fork(|| {
        become_user(NOBODY);
        let e = Appender::builder(dir.log()).open().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::ForeignJournal);
        let text = e.to_string();
        assert!(text.contains(".app.log.everyline") && text.contains("65533") && text.contains("remove it"), "{text}");
    })
    .join();
    dir.open().append(&record(0, 0, 60)).unwrap();
    assert_exactly(&dir.all(), [(0, 1)]);
}

#[test]
fn a_process_that_may_no_longer_look_into_the_directory_disturbs_nobody() {
    let Some(dir) = root_dir() else { return };
    std::fs::write(dir.log(), "").unwrap();
    let builder = dir.builder().max_bytes(5000).keep(Some(10_000));
    let log = builder.clone().open().unwrap();
    log.append(&record(0, 0, 60)).unwrap();
    let control = dir.inner("control");
    let before = (word_of(&control, 64), word_of(&control, 72));
    let shared = Shared::new();
    let child = fork(|| {
        // Attached as root, by itself; then it may not look at a single name any more.
        let log = builder.clone().open().unwrap();
        log.append(&record(1, 0, 60)).unwrap();
        set_mode(dir.path(), 0o700);
        become_user(NOBODY);
        let mut seq = 1;
        while shared.get(0) == 0 {
            log.append(&record(1, seq, odd_len(seq, 300))).unwrap();
            seq += 1;
            shared.set(1, seq);
            std::thread::sleep(Duration::from_micros(300));
        }
    });
    until("the child to log", || shared.get(1) > 1);
    let (started, mut seq) = (Instant::now(), 1);
    while started.elapsed() < Duration::from_millis(1500) || shared.get(1) < 500 {
        log.append(&record(0, seq, odd_len(seq, 300))).unwrap();
        seq += 1;
        assert_eq!(word_of(&control, 768), 0, "the journal was said to be moved");
        std::thread::sleep(Duration::from_micros(300));
    }
    shared.set(0, 1);
    child.join();
    assert_eq!((word_of(&control, 64), word_of(&control, 72)), before, "the same journal all the time");
    log.close().unwrap();
    assert_exactly(&dir.all(), [(0, seq), (1, shared.get(1))]);
    let longest = dir.names().iter().map(|name| std::fs::metadata(dir.file(name)).unwrap().len()).max();
    assert!(longest <= Some(5000), "the limit holds: {longest:?}");
}

#[test]
fn a_new_log_of_a_group_gets_a_journal_for_the_group() {
    let Some(dir) = root_dir() else { return };
    const GROUP: u32 = 61_234;
    std::os::unix::fs::chown(dir.path(), None, Some(GROUP)).unwrap();
    set_mode(dir.path(), 0o2770);
    let shared = Shared::new();
    let (first, second) = (NOBODY - 2, NOBODY - 3);
    let child = fork(|| {
        // SAFETY: changes the mask of this child only.
        unsafe { libc::umask(0o002) };
        // Another group of its own: the directory decides.
        become_user(first);
        shared.set(0, u64::from(dir.builder().open().is_ok()));
    });
    child.join();
    assert_eq!(shared.get(0), 0, "not a member");
    let child = fork(|| {
        // SAFETY: as above.
        unsafe { libc::umask(0o002) };
        become_member(first, GROUP);
        let log = dir.open();
        log.append(&record(1, 0, 60)).unwrap();
        shared.set(0, 1);
        until("the other one", || shared.get(0) == 2);
        log.append(&record(1, 1, 60)).unwrap();
    });
    until("the first one", || shared.get(0) == 1);
    fork(|| {
        become_member(second, GROUP);
        let log = dir.open();
        log.append(&record(2, 0, 60)).unwrap();
        assert_eq!(log.status().unwrap().processes.len(), 2, "one journal");
    })
    .join();
    shared.set(0, 2);
    child.join();
    assert_exactly(&dir.all(), [(1, 2), (2, 1)]);
    assert_eq!(std::fs::metadata(dir.log()).unwrap().permissions().mode() & 0o777, 0o664);
}

#[test]
fn a_process_that_cannot_read_the_settings_any_more_goes_on_with_those_it_knew() {
    let Some(dir) = root_dir() else { return };
    set_mode(dir.path(), 0o777);
    std::fs::write(dir.log(), "").unwrap();
    set_mode(&dir.log(), 0o666);
    let shared = Shared::new();
    let child = fork(|| {
        become_user(NOBODY);
        let log = dir.builder().max_bytes(3000).keep(Some(10_000)).open().unwrap();
        log.append(&record(1, 0, 60)).unwrap();
        shared.set(0, 1);
        until("other settings", || shared.get(0) == 2);
        (1..300).for_each(|seq| log.append(&record(1, seq, odd_len(seq, 300))).unwrap());
        log.close().unwrap();
    });
    until("the child to log", || shared.get(0) == 1);
    let log = dir.builder().max_bytes(2000).keep(Some(10_000)).open().unwrap();
    set_mode(&dir.inner("settings"), 0o600);
    shared.set(0, 2);
    child.join();
    log.close().unwrap();
    assert_exactly(&dir.all(), [(1, 300)]);
    let longest = dir.names().iter().map(|name| std::fs::metadata(dir.file(name)).unwrap().len()).max();
    assert!(longest <= Some(3000), "it went on to rotate: {longest:?}");
}
