//! Archives: names, the link, owners, compression and retention, and the thread that sees to them.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use everyline::{Appender, Builder, Compress, ErrorKind, Naming};

use crate::support::{Dir, Shared, assert_exactly, fork, is_root, odd_len, record, skip, until};

const GZIP: Compress = Compress::Gzip { level: 6 };
/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3600);

/// gzip without a grace period.
fn eager(dir: &Dir) -> Builder {
    dir.builder().max_bytes(2000).keep(Some(100)).compress(GZIP).compress_after(Duration::ZERO)
}

fn unpacked(dir: &Dir, name: &str) -> Vec<u8> {
    let bytes = std::fs::read(dir.file(name)).unwrap();
    if !name.ends_with(".gz") {
        return bytes;
    }
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
    text
}

/// Everything, oldest first: numbered names.
fn all_numbered(dir: &Dir) -> Vec<u8> {
    let number = |name: &String| name.trim_end_matches(".gz").strip_prefix("app.log.")?.parse::<u32>().ok();
    let mut archives: Vec<_> = dir.names().into_iter().filter_map(|name| Some((number(&name)?, name))).collect();
    archives.sort();
    archives.reverse();
    let mut all: Vec<u8> = archives.iter().flat_map(|(_, name)| unpacked(dir, name)).collect();
    all.extend(std::fs::read(dir.log()).unwrap());
    all
}

fn archives(dir: &Dir) -> Vec<String> {
    dir.names().into_iter().filter(|name| name.starts_with("app.log.")).collect()
}

fn is_plain(name: impl AsRef<str>) -> bool {
    !name.as_ref().ends_with(".gz")
}

fn temporary(dir: &Dir) -> std::path::PathBuf {
    dir.file(".app.log.everyline-zip")
}

/// In a process of its own: a fork ends the threads of all logs of its process, and other tests fork all the time.
#[track_caller]
fn alone(body: impl FnOnce()) {
    fork(body).join();
}

/// Threads of this process that do the upkeep.
fn threads() -> usize {
    let name = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
    std::fs::read_dir("/proc/self/task").unwrap().filter_map(name).filter(|n| n.starts_with("everyline-")).count()
}

#[test]
fn archives_are_compressed_and_hold_every_line_under_the_next_number_too() {
    alone(|| {
        let dir = Dir::new();
        let log = eager(&dir).open().unwrap();
        for seq in 0..200 {
            log.append(&record(1, seq, odd_len(seq, 400))).unwrap();
            if seq % 40 == 39 {
                until("all archives to be compressed", || !archives(&dir).iter().any(is_plain));
            }
        }
        assert!(archives(&dir).len() > 10);
        assert_exactly(&all_numbered(&dir), [(1, 200)]);
        assert!(!temporary(&dir).exists());
        assert_eq!(log.status().unwrap().errors, 0);
    });
}

#[test]
fn a_compressed_archive_has_mode_owner_and_time_of_the_one_it_was_made_from() {
    alone(|| {
        let dir = Dir::new();
        std::fs::write(dir.log(), record(1, 0, 500)).unwrap();
        std::fs::set_permissions(dir.log(), std::fs::Permissions::from_mode(0o604)).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(100_000);
        std::fs::File::options().append(true).open(dir.log()).unwrap().set_modified(long_ago).unwrap();
        if is_root() {
            std::os::unix::fs::chown(dir.log(), Some(65_534), Some(65_533)).unwrap();
        }
        let before = std::fs::metadata(dir.log()).unwrap();
        let log = eager(&dir).open().unwrap();
        log.rotate().unwrap();
        until("the archive to be compressed", || archives(&dir) == ["app.log.1.gz"]);
        let after = std::fs::metadata(dir.file("app.log.1.gz")).unwrap();
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
        assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
        assert_eq!(unpacked(&dir, "app.log.1.gz"), record(1, 0, 500));
    });
}

#[test]
fn an_archive_is_left_alone_for_the_grace_period_also_when_it_was_last_written_long_before() {
    alone(|| {
        let dir = Dir::new();
        std::fs::write(dir.log(), "old\n").unwrap();
        let long_ago = SystemTime::now() - HOUR;
        std::fs::File::options().append(true).open(dir.log()).unwrap().set_modified(long_ago).unwrap();
        let grace = Duration::from_millis(1500);
        let log = eager(&dir).compress_after(grace).open().unwrap();
        log.rotate().unwrap();
        let cut = std::fs::metadata(dir.log()).unwrap().created().unwrap();
        let alone = || archives(&dir) == ["app.log.1"];
        assert!(alone());
        until("the archive to be compressed", || !alone());
        // The clock of the file system lags a few ms behind.
        let waited = SystemTime::now().duration_since(cut).unwrap();
        assert!(waited + Duration::from_millis(20) >= grace, "{waited:?}");
    });
}

#[test]
fn a_shift_does_not_begin_the_grace_period_anew() {
    alone(|| {
        let dir = Dir::new();
        let log = eager(&dir).max_bytes(100).compress_after(Duration::from_millis(300)).open().unwrap();
        let mut seq = 0;
        until("an archive that is shifted all the time to be compressed", || {
            log.append(&record(1, seq, 99)).unwrap();
            seq += 1;
            std::thread::sleep(Duration::from_millis(20));
            archives(&dir).iter().any(|name| name.ends_with(".gz"))
        });
    });
}

#[test]
fn there_is_no_thread_without_upkeep_nor_when_it_is_done() {
    alone(|| {
        let dir = Dir::new();
        let log = dir.builder().max_bytes(1000).open().unwrap();
        (0..100).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
        assert_eq!(threads(), 0, "nothing to look after");
        drop(log);
        let log = eager(&dir).open().unwrap();
        until("the thread to be gone", || archives(&dir).iter().all(|n| n.ends_with(".gz")) && threads() == 0);
        assert_eq!(archives(&dir).len(), 5, "picked up at attach");
        log.rotate().unwrap();
        until("the thread to be gone", || !archives(&dir).iter().any(is_plain) && threads() == 0);
    });
}

#[test]
fn a_process_does_not_wait_for_its_upkeep_and_another_one_takes_it_over() {
    alone(|| {
        let dir = Dir::new();
        fork(|| {
            let log = eager(&dir).compress_after(HOUR).open().unwrap();
            log.append(b"x\n").unwrap();
            log.rotate().unwrap();
            until("the thread to sleep", || threads() == 1);
            // Drop, not `_exit`.
            drop(log);
            assert_eq!(threads(), 0);
        })
        .join();
        assert_eq!(archives(&dir), ["app.log.1"]);
        let _log = eager(&dir).open().unwrap();
        until("the archive to be compressed", || archives(&dir) == ["app.log.1.gz"]);
    });
}

#[test]
fn the_turn_of_a_killed_process_goes_to_whoever_rotates_next() {
    alone(|| {
        let dir = Dir::new();
        let shared = Shared::new();
        let builder = eager(&dir).compress_after(Duration::from_millis(1));
        let other = fork(|| {
            let log = builder.clone().compress_after(HOUR).open().unwrap();
            log.append(b"x\n").unwrap();
            log.rotate().unwrap();
            let is_taken = |turn: std::fs::File| turn.try_lock().is_err();
            until("the turn to be taken", || std::fs::File::open(dir.inner("upkeep")).is_ok_and(is_taken));
            // The settings are read just after that.
            std::thread::sleep(Duration::from_millis(50));
            shared.set(0, 1);
            loop {
                std::thread::park();
            }
        });
        until("the other to have the turn", || shared.get(0) == 1);
        let log = builder.open().unwrap();
        log.append(b"y\n").unwrap();
        log.rotate().unwrap();
        // The other sleeps for an hour, as its settings were when it looked.
        std::thread::sleep(Duration::from_millis(100));
        assert!(archives(&dir).iter().all(is_plain), "one process at a time");
        other.kill();
        log.rotate().unwrap();
        until("all to be compressed", || !archives(&dir).iter().any(is_plain));
        assert_eq!(archives(&dir).len(), 3);
    });
}

#[test]
fn many_processes_that_rotate_leave_nothing_uncompressed() {
    alone(|| {
        let dir = Dir::new();
        let builder = eager(&dir).max_bytes(5000).keep(Some(9999)).ring_bytes(16 << 10);
        let first = builder.clone().open().unwrap();
        let children: Vec<_> = (0..4)
            .map(|writer| {
                fork(|| {
                    let log = builder.clone().open().unwrap();
                    (0..600).for_each(|seq| log.append(&record(writer, seq, odd_len(seq, 900))).unwrap());
                })
            })
            .collect();
        children.into_iter().for_each(|c| c.join());
        // Those that ended with work left have left it to the next attach or rotation.
        first.rotate().unwrap();
        until("all to be compressed", || !archives(&dir).iter().any(is_plain));
        assert_exactly(&all_numbered(&dir), (0..4).map(|w| (w, 600)));
    });
}

#[test]
fn the_thread_ends_before_a_fork_and_comes_back_with_the_next_record() {
    alone(|| {
        let dir = Dir::new();
        let log = eager(&dir).compress_after(Duration::from_millis(700)).open().unwrap();
        log.append(b"x\n").unwrap();
        log.rotate().unwrap();
        until("the thread to sleep", || threads() == 1);
        let shared = Shared::new();
        fork(|| {
            // The child inherits neither the thread nor the turn.
            shared.set(0, threads() as u64 + 1);
        })
        .join();
        assert_eq!(shared.get(0), 1);
        assert_eq!((threads(), archives(&dir).len()), (0, 1));
        log.append(b"y\n").unwrap();
        until("the archive to be compressed", || archives(&dir) == ["app.log.1.gz"]);
        assert_eq!(unpacked(&dir, "app.log.1.gz"), b"x\n");
    });
}

#[test]
fn recover_compresses_what_is_due() {
    let dir = Dir::new();
    let child = fork(|| {
        let log = eager(&dir).open().unwrap();
        (0..30).for_each(|seq| log.append(&record(1, seq, 300)).unwrap());
        // Without a word: the journal stays.
        crate::support::exit_now(0);
    });
    child.join();
    everyline::recover(&dir.log()).unwrap();
    assert!(!archives(&dir).iter().any(is_plain) && !archives(&dir).is_empty());
    assert_exactly(&all_numbered(&dir), [(1, 30)]);
}

#[test]
fn a_pair_that_nobody_remembers_is_settled_by_its_contents() {
    alone(|| {
        let dir = Dir::new();
        let gzip = |name: &str, text: &[u8]| {
            let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut zip, text).unwrap();
            std::fs::write(dir.file(name), zip.finish().unwrap()).unwrap();
        };
        for (name, text) in [("app.log.1", "one\n"), ("app.log.2", "two\n"), ("app.log.3", "three\n")] {
            std::fs::write(dir.file(name), text).unwrap();
        }
        gzip("app.log.1.gz", b"one\n");
        gzip("app.log.2.gz", b"two and more\n");
        std::fs::write(dir.file("app.log.3.gz"), "no gzip").unwrap();
        let log = eager(&dir).open().unwrap();
        until("the twin to be gone", || !dir.file("app.log.1").exists());
        let rest = ["app.log.1.gz", "app.log.2", "app.log.2.gz", "app.log.3", "app.log.3.gz"];
        until("the others to be looked at", || log.status().unwrap().errors >= 2);
        assert_eq!(archives(&dir), rest, "what differs is somebody else's");
        assert_eq!(log.status().unwrap().last_error.unwrap().1, "compress archive");
        // One number each, also for a shift.
        log.append(b"four\n").unwrap();
        log.rotate().unwrap();
        until("the new one to be compressed", || dir.file("app.log.1.gz").exists() && !dir.file("app.log.1").exists());
        let shifted = ["app.log.1.gz", "app.log.2.gz", "app.log.3", "app.log.3.gz", "app.log.4", "app.log.4.gz"];
        assert_eq!(archives(&dir), shifted);
    });
}

#[test]
fn a_temporary_file_that_a_dead_process_left_is_removed() {
    alone(|| {
        let dir = Dir::new();
        std::fs::write(temporary(&dir), "half").unwrap();
        let log = eager(&dir).open().unwrap();
        until("it to be removed", || !temporary(&dir).exists());
        drop(log);
        std::fs::write(temporary(&dir), "half").unwrap();
        let cleaned = everyline::clean(&dir.log()).unwrap();
        assert_eq!(cleaned.removed, [temporary(&dir)], "or by `clean`, when nobody comes");
        assert!(!temporary(&dir).exists());
    });
}

#[test]
fn an_archive_that_cannot_be_compressed_is_counted_and_the_others_are() {
    alone(|| {
        let dir = Dir::new();
        for name in ["app.log.1", "app.log.2"] {
            std::fs::write(dir.file(name), "x\n").unwrap();
        }
        // Not ours to look at: a directory in the place of a compressed file.
        std::fs::create_dir(dir.file("app.log.2.gz")).unwrap();
        let log = eager(&dir).open().unwrap();
        until("the other one to be compressed", || dir.file("app.log.1.gz").exists());
        until("the failure to be counted", || log.status().unwrap().errors > 0);
        assert!(dir.file("app.log.2").exists() && !temporary(&dir).exists());
        log.append(b"the log goes on\n").unwrap();
    });
}

#[test]
fn something_appended_to_an_archive_is_not_lost_with_it() {
    alone(|| {
        let dir = Dir::new();
        let log = eager(&dir).compress_after(Duration::from_millis(400)).open().unwrap();
        log.append(b"ours\n").unwrap();
        log.rotate().unwrap();
        let mut archive = std::fs::File::options().append(true).open(dir.file("app.log.1")).unwrap();
        std::io::Write::write_all(&mut archive, b"theirs\n").unwrap();
        until("the archive to be compressed", || archives(&dir) == ["app.log.1.gz"]);
        assert_eq!(unpacked(&dir, "app.log.1.gz"), b"ours\ntheirs\n");
    });
}

#[test]
fn archives_beyond_the_total_go_oldest_first_and_the_newest_stays() {
    alone(|| {
        for naming in [Naming::Numbered, Naming::Dated, Naming::Sequence] {
            let dir = Dir::new();
            let log = dir
                .builder()
                .max_bytes(1000)
                .naming(naming)
                .keep((naming == Naming::Numbered).then_some(1000))
                .keep_total_bytes(3500)
                .open()
                .unwrap();
            (0..100).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
            // The thread may have been at it: then it was the one to write.
            log.flush().unwrap();
            until("the oldest to be gone", || archives(&dir).len() == 3);
            let all = dir.all();
            let first = 100 - all.len() as u64 / 100;
            let kept: Vec<u8> = (first..100).flat_map(|seq| record(1, seq, 100)).collect();
            assert!(all == kept, "{naming:?}: the last {} records", all.len() / 100);
        }
    });
}

/// Every rotation renames all numbered archives, so what the upkeep looked at is never where it was; and a writer that
/// does not pause must neither keep the lease from the upkeep nor leave all the writing to it.
#[test]
fn a_log_that_rotates_all_the_time_is_kept_within_the_total() {
    alone(|| {
        for pause_us in [200, 0] {
            let dir = Dir::new();
            let log = dir.builder().max_bytes(500).keep(Some(90_000)).keep_total_bytes(5000).open().unwrap();
            let end = Instant::now() + Duration::from_secs(60);
            let (mut seq, mut most) = (0, 0);
            // At times the upkeep is behind, but not for ever.
            while seq < 10_000 || archives(&dir).len() > 20 {
                (0..50).for_each(|part| log.append(&record(1, seq + part, 100)).unwrap());
                seq += 50;
                std::thread::sleep(Duration::from_micros(pause_us));
                most = most.max(archives(&dir).len());
                assert!(Instant::now() < end, "up to {most} archives of 500 bytes, of 5000 in all");
            }
        }
    });
}

#[test]
fn archives_that_are_too_old_go_and_other_files_of_that_age_stay() {
    alone(|| {
        let dir = Dir::new();
        let old = SystemTime::now() - Duration::from_secs(5000);
        for name in ["app.log.4.gz", "app.log.3", "app.log.bak", "app.log.2"] {
            std::fs::write(dir.file(name), "x\n").unwrap();
            let file = std::fs::File::options().append(true).open(dir.file(name)).unwrap();
            file.set_modified(if name == "app.log.2" { SystemTime::now() } else { old }).unwrap();
        }
        let log = dir.builder().keep(Some(100)).keep_age(Duration::from_secs(4000)).open().unwrap();
        until("the old ones to be gone", || archives(&dir) == ["app.log.2", "app.log.bak"]);
        // The newest stays, however old: here the only one.
        let file = std::fs::File::options().append(true).open(dir.file("app.log.2")).unwrap();
        file.set_modified(old).unwrap();
        drop(log);
        let log = dir.builder().keep(Some(100)).keep_age(Duration::from_secs(4000)).open().unwrap();
        log.append(b"x\n").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(dir.file("app.log.2").exists());
        log.rotate().unwrap();
        until("it to be gone, now that there is a newer one", || archives(&dir) == ["app.log.1", "app.log.bak"]);
    });
}

#[test]
fn sequence_names_are_unique_sort_by_time_and_never_come_back() {
    let dir = Dir::new();
    let log = dir.builder().max_bytes(100).naming(Naming::Sequence).keep(Some(4)).open().unwrap();
    let mut seen = Vec::new();
    for seq in 0..12 {
        log.append(&record(1, seq, 100)).unwrap();
        seen.extend(archives(&dir));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 11);
    let number = |name: &String| name.rsplit_once('-').unwrap().1.parse::<u32>().unwrap();
    assert_eq!(seen.iter().map(number).collect::<Vec<_>>(), (1..12).collect::<Vec<_>>());
    for (name, seq) in archives(&dir).iter().zip(7..) {
        assert_eq!(std::fs::read(dir.file(name)).unwrap(), record(1, seq, 100), "{name}");
    }
    // All of them moved away: the counter goes on.
    archives(&dir).iter().for_each(|name| std::fs::remove_file(dir.file(name)).unwrap());
    log.rotate().unwrap();
    assert_eq!(archives(&dir).iter().map(number).collect::<Vec<_>>(), [12]);
}

#[test]
fn the_link_leads_to_the_newest_archive_compressed_or_not() {
    alone(|| {
        for naming in [Naming::Numbered, Naming::Sequence] {
            let dir = Dir::new();
            let log =
                eager(&dir).naming(naming).compress_after(Duration::from_millis(300)).link("newest".into()).open();
            let log = log.unwrap();
            let link = dir.file("newest");
            for text in ["one\n", "two\n"] {
                log.append(text.as_bytes()).unwrap();
                log.rotate().unwrap();
                assert_eq!(std::fs::read_to_string(&link).unwrap(), text, "{naming:?}");
                assert!(link.symlink_metadata().unwrap().is_symlink());
            }
            until("all to be compressed", || !archives(&dir).iter().any(is_plain));
            let target = std::fs::read_link(&link).unwrap();
            assert_eq!(unpacked(&dir, target.to_str().unwrap()), b"two\n", "{naming:?}");
        }
    });
}

#[test]
fn a_link_never_takes_the_place_of_a_file() {
    let dir = Dir::new();
    std::fs::write(dir.file("precious"), "x").unwrap();
    for bad in ["precious", "app.log", "app.log.3", "app.log.7.gz", ".app.log.everyline", "a/b", "..", "-"] {
        let e = dir.builder().link(bad.into()).open().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidOption, "{bad}: {e}");
    }
    let log = dir.builder().link("newest".into()).open().unwrap();
    std::fs::write(dir.file("newest"), "made since").unwrap();
    log.rotate().unwrap();
    assert_eq!(std::fs::read_to_string(dir.file("newest")).unwrap(), "made since");
    assert_eq!(log.status().unwrap().last_error, Some((libc::EEXIST, "link to the newest archive")));
    assert_eq!(archives(&dir), ["app.log.1"], "rotated all the same");
}

#[test]
fn a_new_log_belongs_to_the_owner_asked_for_and_so_does_its_journal() {
    alone(|| {
        let dir = Dir::new();
        if !is_root() {
            let e = dir.builder().owner((0, 0)).open().unwrap_err();
            assert!(e.to_string().contains("owner"), "{e}");
            assert_eq!(dir.names(), [""; 0], "nothing is left behind");
            return skip("only root gives files away: the good case is not looked at");
        }
        let log = dir.builder().owner((65_534, 65_533)).mode(0o640).open().unwrap();
        log.append(b"x\n").unwrap();
        log.rotate().unwrap();
        let owner = |name: &str| {
            let meta = std::fs::metadata(dir.file(name)).unwrap();
            (meta.uid(), meta.gid())
        };
        for name in ["app.log", "app.log.1", ".app.log.everyline"] {
            assert_eq!(owner(name), (65_534, 65_533), "{name}");
        }
        // Deleted: there is no predecessor to take it from.
        std::fs::remove_file(dir.log()).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        log.append(b"y\n").unwrap();
        until("the log to be made anew", || dir.log().exists());
        assert_eq!(owner("app.log"), (65_534, 65_533));
        assert_eq!(std::fs::metadata(dir.log()).unwrap().mode() & 0o777, 0o640);
    });
}

#[test]
fn values_that_cannot_be_are_refused_by_name() {
    let dir = Dir::new();
    let refused = |builder: Builder| builder.open().map(drop).unwrap_err().to_string();
    for (builder, option) in [
        (dir.builder().keep_age(Duration::from_millis(999)), "keep_age"),
        (dir.builder().keep_total_bytes(0), "keep_total_bytes"),
        (dir.builder().compress(Compress::Gzip { level: 10 }), "compress"),
        (dir.builder().compress(Compress::Zstd { level: 0 }), "compress"),
        (dir.builder().compress_after(Duration::MAX), "compress_after"),
    ] {
        assert!(refused(builder).starts_with(option), "{option}");
    }
    let zstd = dir.builder().compress(Compress::Zstd { level: 3 });
    assert_eq!(zstd.open().is_ok(), cfg!(feature = "zstd"));
    assert!(Appender::builder(dir.log()).compress_after(Duration::ZERO).open().is_ok());
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_works_as_gzip_does() {
    alone(|| {
        let dir = Dir::new();
        let log = eager(&dir).compress(Compress::Zstd { level: 3 }).open().unwrap();
        log.append(&record(1, 0, 1000)).unwrap();
        log.rotate().unwrap();
        until("the archive to be compressed", || archives(&dir) == ["app.log.1.zst"]);
        let bytes = std::fs::read(dir.file("app.log.1.zst")).unwrap();
        assert_eq!(zstd::decode_all(&bytes[..]).unwrap(), record(1, 0, 1000));
        log.append(&record(1, 1, 1000)).unwrap();
        log.rotate().unwrap();
        until("both to be compressed", || archives(&dir) == ["app.log.1.zst", "app.log.2.zst"]);
    });
}

/// The space of a large archive is given back after the lease is, and the call that rotates does not keep it.
#[test]
fn a_deleted_archive_is_open_nowhere_for_long() {
    alone(|| {
        let dir = Dir::new();
        let deleted = || {
            let open = std::fs::read_dir("/proc/self/fd").unwrap();
            let target = |fd: std::io::Result<std::fs::DirEntry>| std::fs::read_link(fd.ok()?.path()).ok();
            open.filter_map(target).filter(|t| t.to_string_lossy().ends_with(" (deleted)")).count()
        };
        let log = dir.builder().max_bytes(1000).keep(Some(2)).open().unwrap();
        (0..60).for_each(|seq| log.append(&record(1, seq, 300)).unwrap());
        assert_eq!(deleted(), 0);
        drop(log);
        let log = eager(&dir).keep(Some(2)).open().unwrap();
        (60..120).for_each(|seq| log.append(&record(1, seq, 300)).unwrap());
        until("all to be closed", || deleted() == 0 && threads() == 0);
        let shared = Shared::new();
        shared.word(0).fetch_add(archives(&dir).len() as u64, Ordering::SeqCst);
        assert_eq!(shared.get(0), 2);
    });
}
