//! Rotation: limits in bytes, civil time, names, retention, foreign files, and rotations that fail.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use everyline::{ErrorKind, Naming, Schedule, When};

use crate::support::{Dir, assert_exactly, fork, is_root, mount, odd_len, record, skip, until, with_own_mounts};

fn size(dir: &Dir, name: &str) -> u64 {
    std::fs::metadata(dir.file(name)).unwrap().len()
}

#[test]
fn files_are_filled_up_to_max_bytes_and_never_beyond() {
    for (len, full) in
        [(100, 1000), (99, 990), (101, 909), (1000, 1000), (501, 501), (143, 858), (77, 924), (1001, 1001)]
    {
        let dir = Dir::new();
        let log = dir.builder().max_bytes(1000).keep(Some(100)).open().unwrap();
        (0..35).for_each(|seq| log.append(&record(1, seq, len)).unwrap());
        for name in dir.names().iter().filter(|name| *name != "app.log") {
            assert_eq!(size(&dir, name), full, "{name}, records of {len} bytes");
        }
        assert!(size(&dir, "app.log") <= full);
        assert_exactly(&dir.all(), [(1, 35)]);
    }
}

#[test]
fn the_limit_counts_what_is_in_the_file_whoever_put_it_there_or_took_it_away() {
    let dir = Dir::new();
    let log = dir.builder().max_bytes(1000).keep(Some(100)).open().unwrap();
    let tick = || std::thread::sleep(Duration::from_millis(20)); // the path is looked at every 10 ms
    (0..8).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
    std::fs::File::options().write(true).open(dir.log()).unwrap().set_len(0).unwrap();
    tick();
    (8..16).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
    assert_eq!((size(&dir, "app.log"), dir.names().len()), (800, 1), "emptied by somebody: room for ten again");
    std::io::Write::write_all(&mut std::fs::File::options().append(true).open(dir.log()).unwrap(), &[b'\n'; 150])
        .unwrap();
    tick();
    log.append(&record(1, 16, 100)).unwrap();
    assert_eq!((size(&dir, "app.log.1"), size(&dir, "app.log")), (950, 100), "filled up by somebody");
}

#[test]
fn a_record_larger_than_the_limit_has_a_file_of_its_own() {
    let dir = Dir::new();
    let log = dir.builder().max_bytes(1000).keep(Some(100)).open().unwrap();
    for (seq, len) in [300, 300, 5000, 70_000, 300].into_iter().enumerate() {
        log.append(&record(1, seq as u64, len)).unwrap();
    }
    log.flush().unwrap();
    let sizes: Vec<u64> = ["app.log.3", "app.log.2", "app.log.1", "app.log"].map(|name| size(&dir, name)).into();
    assert_eq!(sizes, [600, 5000, 70_000, 300]);
    assert_exactly(&dir.all(), [(1, 5)]);
}

#[test]
fn several_processes_stay_within_the_limit_and_lose_nothing() {
    let dir = Dir::new();
    let children: Vec<_> = (0..4)
        .map(|writer| {
            fork(|| {
                let log =
                    dir.builder().max_bytes(5000).naming(Naming::Dated).keep(None).ring_bytes(16 << 10).open().unwrap();
                (0..400).for_each(|seq| log.append(&record(writer, seq, odd_len(seq, 900))).unwrap());
            })
        })
        .collect();
    children.into_iter().for_each(|c| c.join());
    everyline::recover(&dir.log()).ok();
    assert!(dir.names().iter().all(|name| size(&dir, name) <= 5000));
    assert_exactly(&dir.all(), (0..4).map(|w| (w, 400)));
}

#[test]
fn numbered_names_keep_n_files_and_drop_only_the_oldest() {
    let dir = Dir::new();
    let log = dir.builder().max_bytes(100).keep(Some(3)).open().unwrap();
    (0..10).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
    assert_eq!(dir.names(), ["app.log", "app.log.1", "app.log.2", "app.log.3"]);
    for (name, seq) in [("app.log.3", 6), ("app.log.2", 7), ("app.log.1", 8), ("app.log", 9)] {
        assert_eq!(std::fs::read(dir.file(name)).unwrap(), record(1, seq, 100), "{name}");
    }
}

#[test]
fn a_gap_in_the_numbers_is_filled_and_nothing_behind_it_moves_or_goes() {
    let dir = Dir::new();
    for n in [1, 2, 4, 5] {
        std::fs::write(dir.file(&format!("app.log.{n}")), format!("archive {n}\n")).unwrap();
    }
    let log = dir.builder().keep(Some(5)).open().unwrap();
    log.append(b"live\n").unwrap();
    log.rotate().unwrap();
    let text = |name: &str| std::fs::read_to_string(dir.file(name)).unwrap();
    assert_eq!(text("app.log.1"), "live\n");
    let texts = ["app.log.2", "app.log.3", "app.log.4", "app.log.5"].map(text);
    assert_eq!(texts, ["archive 1\n", "archive 2\n", "archive 4\n", "archive 5\n"]);
}

#[test]
fn files_with_similar_names_are_never_touched() {
    let names = [
        "app.log.0",
        "app.log.01",
        "app.log.1~",
        "app.log.1.gz.tmp",
        "app.log.bak",
        "app.log.99",
        "app.log.txt",
        "app.logs.1",
        "app.log1",
        "xapp.log.1",
        "app.log.-1",
        "app.log.2020-01-01.bak",
        "app.log.2020-13-45",
        "app.log.2020-01-01",
    ];
    for naming in [Naming::Numbered, Naming::Dated] {
        let dir = Dir::new();
        for name in names {
            std::fs::write(dir.file(name), name).unwrap();
        }
        let log = dir.builder().max_bytes(100).keep(Some(2)).naming(naming).open().unwrap();
        (0..12).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
        for name in names {
            assert_eq!(std::fs::read_to_string(dir.file(name)).unwrap(), name, "{naming:?}");
        }
        assert_eq!(dir.names().len(), names.len() + 3, "{naming:?}: {:?}", dir.names());
    }
}

#[test]
fn dated_names_of_one_second_get_counters_and_only_the_oldest_go() {
    let dir = Dir::new();
    let log = dir.builder().max_bytes(100).naming(Naming::Dated).keep(Some(6)).open().unwrap();
    (0..20).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
    // By stamp and counter; a name without a counter is the oldest of its stamp.
    let archives: BTreeMap<(String, u32), String> = dir
        .names()
        .into_iter()
        .filter_map(|name| {
            let mut parts = name.strip_prefix("app.log.")?.split('.');
            let stamp = parts.next()?.to_owned();
            Some(((stamp, parts.next().map_or(0, |n| n.parse().unwrap())), name))
        })
        .collect();
    assert_eq!(archives.len(), 6);
    for (name, seq) in archives.values().zip(13..) {
        assert_eq!(std::fs::read(dir.file(name)).unwrap(), record(1, seq, 100), "{name}");
    }
    assert_eq!(std::fs::read(dir.log()).unwrap(), record(1, 19, 100));
}

#[test]
fn an_archive_of_that_name_is_never_overwritten() {
    // Every name that a rotation of the next minute could choose is taken by somebody else.
    let dir = Dir::new();
    let schedule = Schedule::new(When::Day, 1).unwrap().utc(true);
    let log = dir.builder().schedule(schedule).naming(Naming::Dated).keep(None).open().unwrap();
    log.append(b"first\n").unwrap();
    log.rotate().unwrap();
    let taken = dir.names().into_iter().find(|name| name != "app.log").unwrap();
    log.append(b"second\n").unwrap();
    log.rotate().unwrap();
    let text = |name: &str| std::fs::read_to_string(dir.file(name)).unwrap();
    assert_eq!((text(&taken), text(&format!("{taken}.1"))), ("first\n".to_owned(), "second\n".to_owned()));
}

#[test]
fn rotation_by_time_puts_no_record_into_an_earlier_file_than_its_stamp_says() {
    let dir = Dir::new();
    let schedule = Schedule::new(When::Second, 1).unwrap().utc(true);
    let builder = dir.builder().schedule(schedule).naming(Naming::Dated).keep(None);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = now() + Duration::from_millis(2600);
    let children: Vec<_> = (0..2)
        .map(|_| {
            fork(|| {
                let log = builder.clone().open().unwrap();
                while now() < end {
                    log.append(format!("{}\n", now().as_nanos()).as_bytes()).unwrap();
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
        })
        .collect();
    children.into_iter().for_each(|c| c.join());
    let mut files = dir.names();
    files.rotate_left(1); // the live file last; the others sort by their stamps
    assert!(files.len() >= 3, "{files:?}");
    let ends = files[1..].iter().map(|name| std::fs::metadata(dir.file(name)).unwrap());
    // A file is born at the cut before its first record: nothing in the file before it may be from after that second.
    // (Birth times come from a coarse clock that lags a few ms behind.)
    let lag = 10_000_000;
    let second = |ns: u128| ns / 1_000_000_000;
    let cuts: Vec<u128> =
        ends.map(|m| m.created().unwrap().duration_since(UNIX_EPOCH).unwrap().as_nanos() + lag).collect();
    for (name, cut) in files.iter().zip(&cuts) {
        let text = std::fs::read_to_string(dir.file(name)).unwrap();
        let last = text.lines().map(|l| l.parse::<u128>().unwrap()).max().unwrap();
        assert!(second(last) < second(*cut), "{name}: {last} is not before {cut}");
        let first: u128 = text.lines().next().unwrap().parse().unwrap();
        assert!(last - first < 1_200_000_000, "{name} holds more than its second");
    }
}

#[test]
fn size_and_time_rotate_the_same_log() {
    let dir = Dir::new();
    let schedule = Schedule::new(When::Second, 1).unwrap();
    let log = dir.builder().schedule(schedule).max_bytes(1000).keep(Some(1000)).open().unwrap();
    let mut seq = 0;
    let mut log_one = || {
        log.append(&record(1, seq, 100)).unwrap();
        seq += 1;
    };
    (0..25).for_each(|_| log_one());
    let by_size = log.status().unwrap().rotations;
    assert!(by_size >= 2);
    log_one();
    let before = log.status().unwrap();
    assert!(before.file_bytes < 900, "a rotation for the size is not what comes next");
    let due = UNIX_EPOCH + Duration::from_secs(before.rollover_at.unwrap() as u64);
    until("the second to be over", || SystemTime::now() >= due);
    log_one();
    assert_eq!(log.status().unwrap().rotations, before.rotations + 1, "by time");
    assert_eq!(size(&dir, "app.log"), 100);
    assert_exactly(&dir.all(), [(1, seq)]);
}

#[test]
fn the_new_live_file_has_mode_and_owner_of_the_old_one() {
    let dir = Dir::new();
    std::fs::write(dir.log(), "old\n").unwrap();
    std::fs::set_permissions(dir.log(), std::fs::Permissions::from_mode(0o666)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(dir.log(), Some(65_534), Some(65_533)).unwrap();
    } else {
        skip("only root gives files away: owner not looked at");
    }
    let before = std::fs::metadata(dir.log()).unwrap();
    let log = dir.open();
    log.rotate().unwrap();
    let after = std::fs::metadata(dir.log()).unwrap();
    assert_ne!(before.ino(), after.ino());
    assert_eq!((after.mode() & 0o7777, after.uid(), after.gid()), (0o666, before.uid(), before.gid()));
}

#[test]
fn a_log_that_was_not_there_gets_the_mode_asked_for_less_the_umask() {
    let dir = Dir::new();
    let child = fork(|| {
        // SAFETY: the umask of this child only.
        unsafe { libc::umask(0o027) };
        dir.builder().mode(0o664).open().unwrap().append(b"x\n").unwrap();
    });
    child.join();
    assert_eq!(std::fs::metadata(dir.log()).unwrap().mode() & 0o777, 0o640);
}

#[test]
fn the_live_file_is_there_again_at_once() {
    let dir = Dir::new();
    let log = dir.builder().max_bytes(1000).open().unwrap();
    for seq in 0..100 {
        log.append(&record(1, seq, 100)).unwrap();
        assert!(dir.log().exists());
    }
    for _ in 0..5 {
        log.rotate().unwrap();
        assert_eq!(size(&dir, "app.log"), 0, "rotated on request, also when empty");
    }
    assert_eq!(log.status().unwrap().rotations, 9 + 5);
}

#[test]
fn settings_of_the_newest_process_are_in_force_for_all() {
    let dir = Dir::new();
    let old = dir.builder().max_bytes(10_000).open().unwrap();
    old.append(&record(1, 0, 100)).unwrap();
    fork(|| drop(dir.builder().max_bytes(100).keep(Some(9)).open().unwrap())).join();
    (1..6).for_each(|seq| old.append(&record(1, seq, 100)).unwrap());
    assert_eq!(dir.names().len(), 6);
    let settings = old.status().unwrap().settings;
    assert!(settings.contains(&("max_bytes".into(), "100".into())) && settings.contains(&("keep".into(), "9".into())));
}

#[test]
fn a_rotation_that_cannot_be_done_is_counted_and_every_record_is_written() {
    let dir = Dir::new();
    // The oldest archive cannot be dropped: it is a directory.
    std::fs::create_dir(dir.file("app.log.1")).unwrap();
    let log = dir.builder().max_bytes(300).keep(Some(1)).open().unwrap();
    (0..20).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
    let status = log.status().unwrap();
    assert_eq!((status.rotations, status.rotations_failed), (0, 1), "one attempt a second");
    assert_eq!(status.last_error, Some((libc::EISDIR, "rotate")));
    assert_exactly(&std::fs::read(dir.log()).unwrap(), [(1, 20)]);
    let e = log.rotate().unwrap_err();
    assert!(e.to_string().contains("Is a directory"), "{e}");
    std::fs::remove_dir(dir.file("app.log.1")).unwrap();
    log.rotate().unwrap();
    assert_eq!((size(&dir, "app.log"), size(&dir, "app.log.1")), (0, 2000));
}

#[test]
fn a_bind_mounted_log_is_written_to_and_its_rotation_is_refused_with_the_reason() {
    let dir = Dir::new();
    with_own_mounts(|| {
        std::fs::write(dir.file("on-the-host.log"), "").unwrap();
        std::fs::write(dir.log(), "").unwrap();
        mount(dir.file("on-the-host.log").to_str().unwrap(), &dir.log(), "", libc::MS_BIND, "");
        let log = dir.builder().max_bytes(300).open().unwrap();
        (0..20).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
        let status = log.status().unwrap();
        assert_eq!((status.rotations, status.rotations_failed), (0, 1));
        assert_eq!(status.last_error, Some((libc::EBUSY, "rotate")));
        let e = log.rotate().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::NotRotatable);
        assert!(e.to_string().contains("mount the directory"), "{e}");
        assert_exactly(&std::fs::read(dir.file("on-the-host.log")).unwrap(), [(1, 20)]);
    });
}
