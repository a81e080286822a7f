//! The journal as a whole: is it the right one, and is it one?

use std::path::Path;

use everyline::{Appender, ErrorKind, Naming};

use crate::support::{
    Dir, Shared, assert_exactly, assert_left_over_delivered, copy_tree, exit_now, fork, is_root, leave_undelivered,
    mount, odd_len, patch, record, seen, until, with_own_mounts, word_of,
};

const READY: u64 = 136;

#[test]
fn the_journal_may_be_deleted_under_way_and_nothing_is_lost() {
    let dir = Dir::new();
    let shared = Shared::new();
    let children: Vec<_> = (0..3)
        .map(|writer| {
            let (dir, shared) = (&dir, &shared);
            fork(move || {
                let log = dir
                    .builder()
                    .ring_bytes(8 << 10)
                    .max_bytes(50_000)
                    .naming(Naming::Dated)
                    .keep(None)
                    .open()
                    .unwrap();
                let mut seq = 0;
                while shared.get(9) == 0 {
                    log.append(&record(writer, seq, odd_len(seq, 300))).unwrap();
                    seq += 1;
                    shared.set(writer as usize, seq);
                }
                log.close().unwrap();
            })
        })
        .collect();
    until("everybody to log", || (0..3).all(|w| shared.get(w) > 10));
    for _ in 0..3 {
        std::fs::rename(dir.journal(), dir.file(".away")).unwrap();
        std::fs::remove_dir_all(dir.file(".away")).unwrap();
        until("a new journal with everybody in it", || {
            everyline::status(&dir.log()).is_ok_and(|s| s.processes.iter().filter(|p| p.records > 0).count() == 3)
        });
    }
    shared.set(9, 1);
    children.into_iter().for_each(|c| c.join());
    assert_exactly(&dir.all(), (0..3).map(|w| (w as u32, shared.get(w))));
    assert!(!dir.journal().exists(), "the last one out removes the last journal");
}

#[test]
fn a_full_ring_in_a_deleted_journal_is_no_reason_to_drop() {
    let dir = Dir::new();
    let shared = Shared::new();
    let mut holder = fork(|| {
        let log = dir.open();
        for seq in 0.. {
            log.append(&record(0, seq, 3000)).unwrap();
            shared.set(0, seq + 1);
        }
    });
    until("the holder to log", || shared.get(0) > 5);
    // Nobody writes any more, so nobody looks at the journal but whoever waits for room.
    holder.stop_as_holder(&dir.log());
    let log = dir.builder().ring_bytes(8 << 10).wait(std::time::Duration::from_millis(50)).open().unwrap();
    (0..20).for_each(|seq| log.append(&record(1, seq, 900)).unwrap());
    std::fs::rename(dir.journal(), dir.file(".away")).unwrap();
    std::fs::remove_dir_all(dir.file(".away")).unwrap();
    let large = vec![b'x'; 1 << 20];
    (0..40).for_each(|_| log.append(&large).expect("room in the new journal"));
    log.flush().unwrap();
    assert!(std::fs::metadata(dir.log()).unwrap().len() > 40 << 20);
    holder.kill();
}

/// What `cp --remove-destination` does to a file: another one with the same bytes.
fn replace_by_copy(file: &Path) {
    let copy = file.with_extension("copy");
    std::fs::copy(file, &copy).unwrap();
    std::fs::rename(copy, file).unwrap();
}

#[test]
fn the_copy_of_a_slot_proves_nothing_about_the_process_in_it() {
    let dir = Dir::new();
    let shared = Shared::new();
    let mut holder = fork(|| {
        let log = dir.open();
        for seq in 0.. {
            log.append(&record(0, seq, 3000)).unwrap();
            shared.set(0, seq + 1);
            if shared.get(1) == 1 {
                break;
            }
        }
    });
    until("the holder to log", || shared.get(0) > 5);
    holder.stop_as_holder(&dir.log());
    replace_by_copy(&dir.inner("slot-0000"));
    let log = dir.builder().wait(std::time::Duration::from_millis(100)).open().unwrap();
    (0..20).for_each(|seq| log.append_at(40, &record(1, seq, 90)).unwrap());
    assert_eq!(log.flush().unwrap_err().kind(), ErrorKind::TimedOut, "the holder lives");
    shared.set(1, 1);
    holder.go_on();
    holder.wait();
    log.flush().unwrap();
    assert_exactly(&dir.all(), [(0, shared.get(0)), (1, 20)]);
}

#[test]
fn a_file_that_somebody_else_is_writing_in_the_journal_is_not_built_in() {
    use std::os::unix::fs::FileExt;
    for name in ["control", "slot-0000"] {
        let dir = Dir::new();
        let known = leave_undelivered(&dir, &dir.builder(), 7, 50);
        let file = dir.inner(name);
        let image = std::fs::read(&file).unwrap();
        let keeps = name == "slot-0000";
        if keeps {
            everyline::recover(&dir.log()).unwrap();
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        }
        let _ = std::fs::remove_file(&file);
        // Begun by somebody: `cp`, a backup program.
        let theirs = std::fs::File::create(&file).unwrap();
        let log = dir.open();
        log.append(&record(8, 0, 60)).unwrap();
        theirs.write_all_at(&image, 0).unwrap();
        for seq in 1..50 {
            log.append(&record(8, seq, 60)).unwrap();
        }
        log.close().unwrap();
        let mut seen = seen(&dir.all());
        assert_eq!(seen.writers.remove(&8).unwrap(), (0..50).collect::<Vec<_>>(), "{name}");
        assert!(known > 0);
    }
}

#[test]
fn an_overflow_file_that_was_replaced_is_given_up_and_stops_nobody() {
    let dir = Dir::new();
    let shared = Shared::new();
    let mut holder = fork(|| {
        let log = dir.builder().ring_bytes(8 << 10).open().unwrap();
        for seq in 0.. {
            log.append(&record(0, seq, 3000)).unwrap();
            shared.set(0, seq + 1);
        }
    });
    until("the holder to log", || shared.get(0) > 5);
    holder.stop_as_holder(&dir.log());
    let spiller = fork(|| {
        let log = dir.builder().wait(std::time::Duration::from_millis(20)).open().unwrap();
        (0..60).for_each(|seq| log.append(&record(1, seq, 900)).unwrap());
        exit_now(0);
    });
    spiller.join();
    let spilled = dir.inner_names("over-");
    assert_eq!(spilled.len(), 1, "{spilled:?}");
    replace_by_copy(&dir.inner(&spilled[0]));
    holder.kill();
    let log = dir.open();
    (0..20).for_each(|seq| log.append(&record(2, seq, 90)).unwrap());
    log.flush().unwrap();
    let seen = seen(&dir.all());
    assert_eq!(seen.writers[&2], (0..20).collect::<Vec<_>>());
    let kept = &seen.writers[&1];
    assert_eq!(*kept, (0..kept.len() as u64).collect::<Vec<_>>(), "what stood in the ring, and no copy of anything");
}

#[test]
fn a_control_file_replaced_by_its_copy_is_noticed_and_nothing_is_lost_or_doubled() {
    let dir = Dir::new();
    let log = dir.open();
    (0..50).for_each(|seq| log.append(&record(1, seq, 60)).unwrap());
    let old = word_of(&dir.inner("control"), 64);
    copy_tree(&dir.inner("control"), &dir.inner("copy"));
    std::fs::rename(dir.inner("copy"), dir.inner("control")).unwrap();
    let mut seq = 50;
    until("a new journal", || {
        log.append(&record(1, seq, 60)).unwrap();
        seq += 1;
        std::fs::metadata(dir.inner("control")).is_ok() && word_of(&dir.inner("control"), 64) != old
    });
    log.flush().unwrap();
    assert_exactly(&dir.all(), [(1, seq)]);
}

#[test]
fn a_copied_tree_does_not_deliver_the_old_journal_into_the_new_log() {
    let (dir, copy) = (Dir::new(), Dir::new());
    let known = leave_undelivered(&dir, &dir.builder(), 7, 100);
    copy_tree(dir.path(), &copy.file("tree"));
    let there = copy.file("tree/app.log");
    let before = std::fs::read(&there).unwrap();
    let log = Appender::builder(&there).open().unwrap();
    log.append(b"new\n").unwrap();
    let after = std::fs::read(&there).unwrap();
    assert_eq!(after[..before.len()], before[..]);
    assert_eq!(after[before.len()..], *b"new\n", "of the old journal nothing");
    let aside = |e: std::fs::DirEntry| e.file_name().to_str().unwrap().starts_with(".app.log.everyline.copied-");
    assert_eq!(
        std::fs::read_dir(copy.file("tree")).unwrap().flatten().filter(|_| true).map(aside).filter(|a| *a).count(),
        1
    );
    log.close().unwrap();
    everyline::recover(&dir.log()).unwrap();
    assert_left_over_delivered(&dir.all(), known, 7, 100);
}

#[test]
fn a_backup_of_the_journal_restored_over_a_finished_log_delivers_nothing_twice() {
    let dir = Dir::new();
    let known = leave_undelivered(&dir, &dir.builder(), 7, 100);
    copy_tree(&dir.journal(), &dir.file(".backup"));
    everyline::recover(&dir.log()).unwrap();
    std::fs::rename(dir.file(".backup"), dir.journal()).unwrap();
    dir.open().append(&record(8, 0, 60)).unwrap();
    let mut seen = seen(&dir.all());
    seen.writers.remove(&8);
    assert_eq!(seen.writers[&7], (0..100).collect::<Vec<_>>());
    assert!((known..=known + 1).contains(&(seen.writers[&0].len() as u64)));
}

/// Opens a journal that somebody has spoilt: the log works, and what was there is out of the way or finished.
fn spoilt(what: &str, aside: bool, spoil: impl FnOnce(&Dir)) {
    let dir = Dir::new();
    // Killed, so that the journal stays.
    let shared = Shared::new();
    let child = fork(|| {
        let log = dir.open();
        log.append(&record(1, 0, 60)).unwrap();
        shared.set(0, 1);
        loop {
            std::thread::park();
        }
    });
    until("a record", || shared.get(0) == 1);
    child.kill();
    spoil(&dir);
    let log = dir.open();
    log.append(&record(1, 1, 60)).unwrap();
    log.close().unwrap();
    assert_exactly(&dir.all(), [(1, 2)]);
    let names = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.starts_with(".app")).collect();
    assert_eq!(left.len(), usize::from(aside), "{what}: {left:?}");
    let cleaned = everyline::clean(&dir.log()).unwrap();
    assert_eq!((cleaned.removed.len(), cleaned.in_use), (left.len(), false));
}

#[test]
fn half_built_and_damaged_journals_are_built_anew() {
    let cut =
        |dir: &Dir, len| std::fs::File::options().write(true).open(dir.inner("control")).unwrap().set_len(len).unwrap();
    spoilt("empty control", true, |dir| cut(dir, 0));
    spoilt("truncated control", true, |dir| cut(dir, 100));
    spoilt("no control", false, |dir| std::fs::remove_file(dir.inner("control")).unwrap());
    spoilt("no READY", true, |dir| patch(&dir.inner("control"), READY, 0));
    spoilt("all zeros", true, |dir| std::fs::write(dir.inner("control"), [0; 4096]).unwrap());
    spoilt("wrong magic", true, |dir| patch(&dir.inner("control"), 0, 0x1234));
    spoilt("noise", true, |dir| std::fs::write(dir.inner("control"), [0xA5; 4096]).unwrap());
    spoilt("impossible ring", true, |dir| patch(&dir.inner("control"), 112, 12_345));
    spoilt("no inner directory", false, |dir| std::fs::remove_dir_all(dir.inner("")).unwrap());
    spoilt("slots gone", false, |dir| std::fs::remove_file(dir.inner("slot-0000")).unwrap());
    spoilt("slot truncated", false, |dir| std::fs::write(dir.inner("slot-0000"), "x").unwrap());
    spoilt("slot of noise", false, |dir| {
        std::fs::write(dir.inner("slot-0000"), vec![0xA5; 90_112 + (256 << 10)]).unwrap()
    });
    spoilt("hostile lease", false, |dir| patch(&dir.inner("control"), 256, u64::MAX));
    spoilt("lease held by a slot that never was", false, |dir| patch(&dir.inner("control"), 256, 900 << 2 | 1));
    spoilt("impossible high water", false, |dir| patch(&dir.inner("control"), 816, u64::MAX));
    spoilt("settings of noise", false, |dir| std::fs::write(dir.inner("settings"), [0xA5; 999]).unwrap());
    spoilt("head before tail", false, |dir| patch(&dir.inner("slot-0000"), 128, 8));
}

fn refused(spoil: impl FnOnce(&Path), way_out: &[&str]) {
    let dir = Dir::new();
    let known = leave_undelivered(&dir, &dir.builder(), 7, 50);
    let control = dir.inner("control");
    let image = std::fs::read(&control).unwrap();
    spoil(&control);
    let e = dir.builder().open().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ForeignJournal);
    let text = e.to_string();
    assert!(text.contains(".app.log.everyline"), "{text}");
    way_out.iter().for_each(|part| assert!(text.contains(part), "{part:?} in {text}"));
    let degraded = dir.builder().open_degraded().unwrap();
    degraded.append(&record(8, 0, 60)).unwrap();
    drop(degraded);
    // It was left alone: its own program still finds everything.
    use std::os::unix::fs::FileExt;
    std::fs::File::options().write(true).open(&control).unwrap().write_all_at(&image, 0).unwrap();
    everyline::recover(&dir.log()).unwrap();
    let mut seen = seen(&dir.all());
    assert_eq!((seen.writers.remove(&7).unwrap(), seen.writers.remove(&8).unwrap()), ((0..50).collect(), vec![0]));
    assert!(seen.writers[&0].len() as u64 >= known);
}

#[test]
fn a_journal_of_another_layout_version_is_refused_and_kept() {
    refused(|control| patch(control, 8, 99), &["version 99", "knows 2", "everyline recover"]);
    refused(|control| patch(control, 32, 1), &["layout version"]);
}

#[test]
fn a_journal_of_another_architecture_is_refused_and_kept() {
    let swap = |control: &Path| {
        let mut bytes = std::fs::read(control).unwrap();
        bytes.chunks_exact_mut(8).for_each(<[u8]>::reverse);
        use std::os::unix::fs::FileExt;
        std::fs::File::options().write(true).open(control).unwrap().write_all_at(&bytes, 0).unwrap();
    };
    refused(swap, &["another architecture"]);
    refused(|control| patch(control, 16, 0x0807_0605_0403_0201), &["another architecture"]);
}

#[test]
fn after_a_reboot_frames_with_a_right_checksum_are_delivered_and_nothing_behind_a_wrong_one() {
    for wrong in [None, Some(60)] {
        let dir = Dir::new();
        let known = leave_undelivered(&dir, &dir.builder(), 7, 100);
        let control = dir.inner("control");
        patch(&control, 80, 0x1111);
        patch(&control, 88, 0x2222);
        let slot = (0..4).map(|n| dir.inner(&format!("slot-{n:04}"))).find(|s| s.exists() && word_of(s, 152) == 100);
        let slot = slot.expect("the slot of writer 7");
        if let Some(wrong) = wrong {
            // One payload byte of record 60 is another one than its checksum was made of.
            let span = |seq: u64| (24 + odd_len(seq, 300) as u64).next_multiple_of(8);
            let at = 90_112 + word_of(&slot, 256) + (0..wrong).map(span).sum::<u64>();
            assert_eq!(word_of(&slot, at) as u32 as usize, odd_len(wrong, 300), "a frame begins here");
            patch(&slot, at + 24 + 16, !word_of(&slot, at + 24 + 16));
        }
        drop(dir.open());
        assert_left_over_delivered(&dir.all(), known, 7, wrong.unwrap_or(100));
    }
}

#[test]
fn a_journal_dir_is_found_by_a_process_that_does_not_name_it_and_leaves_nothing() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let log = dir.builder().journal_dir(elsewhere.path().into()).open().unwrap();
    log.append(&record(1, 0, 60)).unwrap();
    assert!(std::fs::metadata(dir.journal()).unwrap().is_file(), "an anchor beside the log");
    fork(|| {
        let log = dir.open();
        log.append(&record(2, 0, 60)).unwrap();
        assert_eq!(log.status().unwrap().processes.len(), 2);
        assert!(log.status().unwrap().journal.starts_with(elsewhere.path()));
    })
    .join();
    log.append(&record(1, 1, 60)).unwrap();
    log.close().unwrap();
    assert_exactly(&dir.all(), [(1, 2), (2, 1)]);
    assert!(!dir.journal().exists(), "the anchor is gone");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn two_logs_of_one_name_share_a_journal_dir() {
    let (a, b, elsewhere) = (Dir::new(), Dir::new(), Dir::new());
    let open = |dir: &Dir| dir.builder().journal_dir(elsewhere.path().into()).open().unwrap();
    let (log_a, log_b) = (open(&a), open(&b));
    for seq in 0..50 {
        log_a.append(&record(1, seq, 60)).unwrap();
        log_b.append(&record(2, seq, 60)).unwrap();
    }
    assert_exactly(&a.all(), [(1, 50)]);
    assert_exactly(&b.all(), [(2, 50)]);
}

#[test]
fn one_file_by_two_names_is_refused_with_the_reason_and_leaves_nothing() {
    let (dir, other) = (Dir::new(), Dir::new());
    let log = dir.open();
    log.append(&record(1, 0, 60)).unwrap();
    std::fs::hard_link(dir.log(), other.log()).unwrap();
    let e = other.builder().open().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ForeignJournal);
    assert!(e.to_string().contains(other.log().to_str().unwrap()) && e.to_string().contains("use one name"), "{e}");
    assert!(!other.journal().exists(), "no journal of a log that could not be opened");
    log.append(&record(1, 1, 60)).unwrap();
    assert_exactly(&dir.all(), [(1, 2)]);
    log.close().unwrap();
    drop(log);
    // Children of other tests may have inherited the mark for a moment.
    until("the other name to be free", || other.builder().open().is_ok());
}

#[test]
fn a_journal_dir_that_went_away_is_an_error_that_names_it() {
    let dir = Dir::new();
    let gone = dir.file("gone");
    std::fs::create_dir(&gone).unwrap();
    let known = leave_undelivered(&dir, &dir.builder().journal_dir(gone.clone()), 7, 10);
    std::fs::rename(&gone, dir.file("moved")).unwrap();
    let e = dir.builder().open().unwrap_err();
    assert!(e.to_string().contains(gone.to_str().unwrap()), "{e}");
    std::fs::rename(dir.file("moved"), &gone).unwrap();
    drop(dir.open());
    assert_left_over_delivered(&dir.all(), known, 7, 10);
}

#[test]
fn on_overlayfs_the_engine_works_and_a_killed_process_is_recovered() {
    let dir = Dir::new();
    with_own_mounts(|| {
        assert!(is_root());
        for name in ["base", "merged"] {
            std::fs::create_dir(dir.file(name)).unwrap();
        }
        mount("tmpfs", &dir.file("base"), "tmpfs", 0, "");
        for name in ["base/lower", "base/upper", "base/work"] {
            std::fs::create_dir(dir.file(name)).unwrap();
        }
        let at = |name: &str| dir.file(name).to_str().unwrap().to_owned();
        let data = format!("lowerdir={},upperdir={},workdir={}", at("base/lower"), at("base/upper"), at("base/work"));
        mount("overlay", &dir.file("merged"), "overlay", 0, &data);
        let path = dir.file("merged/app.log");
        let shared = Shared::new();
        let builder = Appender::builder(&path).max_bytes(10_000).keep(Some(100));
        let child = fork(|| {
            let log = builder.clone().open().unwrap();
            for seq in 0.. {
                log.append(&record(1, seq, 100)).unwrap();
                shared.set(0, seq + 1);
            }
        });
        until("records", || shared.get(0) > 50);
        let log = builder.open().unwrap();
        assert!(log.status().unwrap().processes.iter().all(|p| p.alive));
        child.kill();
        log.append(&record(2, 0, 100)).unwrap();
        log.flush().unwrap();
        let dead = log.status().unwrap().processes.iter().filter(|p| !p.alive).count();
        assert_eq!(dead, 1);
        let mut bytes = Vec::new();
        for n in (1..100).rev() {
            bytes.extend(std::fs::read(dir.file(&format!("merged/app.log.{n}"))).unwrap_or_default());
        }
        bytes.extend(std::fs::read(&path).unwrap());
        let known = shared.get(0);
        let have = seen(&bytes).writers[&1].len() as u64;
        // Ninety-nine archives of 10,000 bytes hold what one child can write here in the meantime, or the oldest went.
        assert!(have >= known.min(900), "{have} of {known}");
        assert_eq!(seen(&bytes).writers[&2], [0]);
    });
}
