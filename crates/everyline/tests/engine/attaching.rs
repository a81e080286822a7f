//! Attaching and leaving: at the same time as others, without what it needs, and from one journal into the next.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use everyline::{Builder, Full};

use crate::support::{
    Child, Dir, Shared, assert_exactly, fork, leave_undelivered, odd_len, patch, record, seen, until, word_of,
};

/// Offset of the lease in `control`.
const LEASE: u64 = 256;
/// Offset of the word that says: this journal is no longer the one at its path.
const MOVED: u64 = 768;

/// Sets a limit of this process.
fn limit(what: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: a limit of this child only.
    assert_eq!(unsafe { libc::setrlimit(what, &raw const limit) }, 0);
}

#[test]
fn a_process_short_of_memory_or_descriptors_does_not_remove_a_journal_it_cannot_look_into() {
    let dir = Dir::new();
    let builder = dir.builder().ring_bytes(8 << 20);
    leave_undelivered(&dir, &builder, 7, 100);
    // Nobody writes: all that keeps the journal is what stands in the slots.
    patch(&dir.inner("control"), LEASE, word_of(&dir.inner("control"), LEASE) & !3);
    let mut tried = 0;
    let mut attach_with = |limits: &dyn Fn()| {
        let shared = Shared::new();
        fork(|| {
            // SAFETY: what this child inherited of other tests; it uses nothing of it.
            assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) }, 0);
            limits();
            shared.set(0, u64::from(builder.clone().open().is_ok()));
        })
        .join();
        assert!(shared.get(0) == 1 || dir.journal().exists(), "removed, with what stood in it");
        tried += 1;
        shared.get(0) == 1
    };
    // Room for everything but a slot.
    for room in [1 << 20, 3 << 20, 6 << 20] {
        let size = |text: String| text.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096;
        let with = || limit(libc::RLIMIT_AS, size(std::fs::read_to_string("/proc/self/statm").unwrap()) + room);
        assert!(!attach_with(&with), "{room} bytes are enough");
    }
    let enough = (4..100).find(|most| attach_with(&|| limit(libc::RLIMIT_NOFILE, *most)));
    assert!(enough.is_some() && tried > 5, "{tried}");
    assert_eq!(seen(&dir.all()).writers[&7], (0..100).collect::<Vec<_>>());
}

#[test]
fn of_many_that_start_at_once_with_truncate_nobody_loses_a_record() {
    for _ in 0..40 {
        let dir = Dir::new();
        std::fs::write(dir.log(), "old\n").unwrap();
        let shared = Shared::new();
        let all = |word: usize| until("everybody", || shared.get(word) == 4);
        let children: Vec<Child> = (0..4)
            .map(|writer| {
                let (dir, shared, all) = (&dir, &shared, &all);
                fork(move || {
                    shared.word(0).fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    all(0);
                    let log = dir.builder().truncate(true).open().unwrap();
                    log.append(&record(writer, 0, 60)).unwrap();
                    // Whoever comes after the last one has left is a first one again.
                    shared.word(1).fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    all(1);
                })
            })
            .collect();
        children.into_iter().for_each(Child::join);
        assert_exactly(&dir.all(), (0..4).map(|writer| (writer, 1)));
    }
}

/// Holds the exclusive lock on a journal, as a process does that is stopped while it builds or removes it.
fn sit_on_journal(dir: &Dir) -> std::fs::File {
    std::fs::create_dir_all(dir.inner("")).unwrap();
    let control = std::fs::File::create(dir.inner("control")).unwrap();
    // SAFETY: an open descriptor.
    assert_eq!(unsafe { libc::flock(control.as_raw_fd(), libc::LOCK_EX) }, 0);
    control
}

#[test]
fn whoever_sits_on_the_journal_holds_up_the_start_within_wait_and_no_log_call_after_it() {
    let (dir, other) = (Dir::new(), Dir::new());
    let (control, _others) = (sit_on_journal(&dir), sit_on_journal(&other));
    let wait = Duration::from_secs(2);
    let started = Instant::now();
    let log = dir.builder().wait(wait).open_degraded().unwrap();
    assert!(started.elapsed() >= wait && started.elapsed() < 2 * wait, "{:?}", started.elapsed());
    // Another thread of this process starts on another log, and waits, too.
    let starter = std::thread::spawn(move || drop(other.builder().wait(Duration::from_millis(2500)).open_degraded()));
    let (started, mut slowest, mut seq) = (Instant::now(), Duration::ZERO, 0);
    while started.elapsed() < Duration::from_secs(3) {
        let call = Instant::now();
        log.append(&record(1, seq, 60)).unwrap();
        slowest = slowest.max(call.elapsed());
        seq += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(slowest < wait / 2, "a log call waited {slowest:?}");
    assert!(log.counters().is_degraded);
    starter.join().unwrap();
    drop(control);
    until("the journal", || {
        log.append(&record(1, seq, 60)).unwrap();
        seq += 1;
        !log.counters().is_degraded
    });
    log.close().unwrap();
    assert_exactly(&dir.all(), [(1, seq)]);
}

/// Many short lives on one log: most of them are the first one there, or the last one out, or both.
fn short_lives(dir: &Dir, builders: &[Builder]) {
    const CHILDREN: u32 = 24;
    const LIVES: u64 = 25;
    let shared = Shared::new();
    let children: Vec<Child> = (0..CHILDREN)
        .map(|writer| {
            let shared = &shared;
            fork(move || {
                until("the start", || shared.get(0) == 1);
                for seq in 0..LIVES {
                    let log = builders[writer as usize % builders.len()].clone().open().unwrap();
                    log.append(&record(writer, seq, odd_len(seq, 300))).unwrap();
                    log.close().unwrap();
                }
            })
        })
        .collect();
    shared.set(0, 1);
    children.into_iter().for_each(Child::join);
    assert_exactly(&dir.all(), (0..CHILDREN).map(|writer| (writer, LIVES)));
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["app.log"], "nothing is left behind");
}

#[test]
fn short_lives_that_start_and_stop_at_once_neither_fail_nor_lose_a_record() {
    let dir = Dir::new();
    short_lives(&dir, &[dir.builder().wait(Duration::from_secs(15))]);
}

#[test]
fn short_lives_with_their_journal_elsewhere_neither_fail_nor_lose_a_record() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    short_lives(&dir, &[dir.builder().wait(Duration::from_secs(15)).journal_dir(elsewhere.path().into())]);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn short_lives_of_which_some_name_a_journal_dir_neither_fail_nor_lose_a_record() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let beside = dir.builder().wait(Duration::from_secs(15));
    short_lives(&dir, &[beside.clone(), beside.journal_dir(elsewhere.path().into())]);
}

#[test]
fn what_a_process_logged_before_its_journal_was_moved_comes_before_what_it_logs_afterwards() {
    let dir = Dir::new();
    let shared = Shared::new();
    let builder = dir.builder().wait(Duration::from_secs(15)).full(Full::Block);
    let mut holder = fork(|| {
        let log = dir.open();
        for seq in 0.. {
            log.append(&record(0, seq, 3000)).unwrap();
            shared.set(0, seq + 1);
        }
    });
    until("the holder to log", || shared.get(0) > 5);
    holder.stop_as_holder(&dir.log());
    let mover = fork(|| {
        // Two appenders: the engine of the old journal does not end when one of them leaves it.
        let (log, other) = (builder.clone().open().unwrap(), builder.clone().open().unwrap());
        (0..10).for_each(|seq| log.append(&record(1, seq, 60)).unwrap());
        std::fs::rename(dir.journal(), dir.file(".away")).unwrap();
        patch(&dir.file(".away/shared/control"), MOVED, 1);
        shared.set(1, 1);
        (10..20).for_each(|seq| log.append(&record(1, seq, 60)).unwrap());
        shared.set(1, 2);
        log.close().unwrap();
        other.close().unwrap();
    });
    until("the journal to be moved", || shared.get(1) == 1);
    // Time enough to go on in the new journal, for one who does not wait for the old one.
    let started = Instant::now();
    while shared.get(1) == 1 && started.elapsed() < Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(1));
    }
    holder.kill();
    mover.join();
    let seen = seen(&dir.all());
    assert_eq!(seen.writers[&1], (0..20).collect::<Vec<_>>());
}

#[test]
fn clean_removes_what_was_set_aside_and_nothing_of_other_logs() {
    let dir = Dir::new();
    let other = dir.file("app.log.everyline.x");
    let log = everyline::Appender::builder(&other).open().unwrap();
    log.append(&record(1, 0, 60)).unwrap();
    let names = |dir: &std::path::Path| {
        let mut names: Vec<String> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    for name in [
        ".app.log.everyline.corrupt-18a0b1c2d3e4f506",
        ".app.log.everyline.copied-18a0b1c2d3e4f507",
        ".app.log.everyline.gone-18a0b1c2d3e4f508",
        ".app.log.everyline.corrupt-of-my-own",
        ".app.log.everyline.gone-18a0b1c2d3e4f5",
        ".app.log.everyline.kept-18a0b1c2d3e4f506",
    ] {
        std::fs::create_dir(dir.file(name)).unwrap();
    }
    let cleaned = everyline::clean(&dir.log()).unwrap();
    assert_eq!(cleaned.removed.len(), 3, "{cleaned:?}");
    let left = [
        ".app.log.everyline.corrupt-of-my-own",
        ".app.log.everyline.gone-18a0b1c2d3e4f5",
        ".app.log.everyline.kept-18a0b1c2d3e4f506",
        ".app.log.everyline.x.everyline",
        "app.log.everyline.x",
    ];
    assert_eq!(names(dir.path()), left);
    log.append(&record(1, 1, 60)).unwrap();
    log.close().unwrap();
    assert_exactly(&std::fs::read(other).unwrap(), [(1, 2)]);
}

#[test]
fn clean_finds_what_was_set_aside_in_a_journal_dir() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let builder = dir.builder().journal_dir(elsewhere.path().into());
    leave_undelivered(&dir, &builder, 7, 10);
    let journal = everyline::status(&dir.log()).unwrap().journal;
    patch(&journal.join("shared/control"), 0, 0x1234);
    let log = builder.open().unwrap();
    log.append(&record(1, 0, 60)).unwrap();
    log.close().unwrap();
    let cleaned = everyline::clean(&dir.log()).unwrap();
    assert_eq!((cleaned.removed.len(), cleaned.in_use), (1, false), "{cleaned:?}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert!(!dir.journal().exists(), "the anchor that led there is gone");
}
