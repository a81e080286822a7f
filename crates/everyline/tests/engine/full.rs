//! No room: a holder that does not run, an overflow that is full, a disk that is full.

use std::time::{Duration, Instant};

use everyline::{Appender, Builder, ErrorKind, Full};

use crate::support::{Child, Dir, Shared, assert_exactly, fork, mount, odd_len, record, seen, until, with_own_mounts};

const WAIT: Duration = Duration::from_millis(200);

/// A child that logs until word 1 is set, stopped at a moment when it holds the lease.
fn stopped_holder(dir: &Dir, builder: &Builder, shared: &Shared) -> Child {
    let mut holder = fork(|| {
        let log = builder.clone().open().unwrap();
        let mut seq = 0;
        while shared.get(1) == 0 {
            log.append(&record(0, seq, 900)).unwrap();
            seq += 1;
            shared.set(0, seq);
        }
        log.close().unwrap();
    });
    until("the holder to log", || shared.get(0) > 5);
    holder.stop_as_holder(&dir.log());
    holder
}

/// Numbers of dropped records that the log itself announces for this process.
fn announced(bytes: &[u8]) -> u64 {
    let pid = std::process::id().to_string();
    seen(bytes)
        .others
        .iter()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(words[0] == "everyline:" && words[2] == "records" && words[5] == pid, "{line}");
            words[1].parse::<u64>().unwrap()
        })
        .sum()
}

fn small(dir: &Dir) -> Builder {
    dir.builder().ring_bytes(4 << 10).overflow_bytes(8 << 10).wait(WAIT)
}

#[test]
fn policy_drop_waits_once_counts_and_announces_exactly_what_it_dropped() {
    let dir = Dir::new();
    let shared = Shared::new();
    let mut holder = stopped_holder(&dir, &small(&dir), &shared);
    let log = small(&dir).open().unwrap();
    let mut accepted = 0;
    let e = loop {
        match log.append(&record(1, accepted, 100)) {
            Ok(()) => accepted += 1,
            Err(e) => break e,
        }
        assert!(accepted < 1000, "there is a bound");
    };
    assert_eq!(e.kind(), ErrorKind::Dropped);
    assert!(e.to_string().contains("app.log") && e.to_string().contains("policy `drop`"), "{e}");
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(log.append(&record(1, accepted, 100)).unwrap_err().kind(), ErrorKind::Dropped);
    }
    assert!(started.elapsed() < 2 * WAIT, "the wait is paid once, not by each call: {:?}", started.elapsed());
    assert_eq!(log.counters().dropped, 101);
    assert_eq!(log.status().unwrap().processes.iter().map(|p| p.dropped).sum::<u64>(), 101);
    holder.go_on();
    shared.set(1, 1);
    holder.wait();
    log.flush().unwrap();
    for _ in 0..50 {
        log.append(&record(1, accepted, 100)).unwrap();
        accepted += 1;
    }
    log.close().unwrap();
    let bytes = dir.all();
    assert_eq!(announced(&bytes), 101, "the log says how many are missing");
    let seen = seen(&bytes);
    assert_eq!(seen.writers[&1], (0..accepted).collect::<Vec<_>>());
    assert_eq!(seen.writers[&0].len() as u64, shared.get(0));
}

#[test]
fn the_next_incident_waits_again() {
    let dir = Dir::new();
    let log = small(&dir).open().unwrap();
    let (mut seq, mut dropped) = (0, 0);
    for _ in 0..2 {
        let shared = Shared::new();
        let mut holder = stopped_holder(&dir, &small(&dir), &shared);
        let started = Instant::now();
        while log.append(&record(1, seq, 100)).is_ok() {
            seq += 1;
        }
        dropped += 1;
        assert!(started.elapsed() >= WAIT, "{:?}", started.elapsed());
        holder.go_on();
        shared.set(1, 1);
        holder.wait();
        log.flush().unwrap();
    }
    log.append(&record(1, seq, 100)).unwrap();
    assert_eq!(announced(&dir.all()), dropped);
    assert_eq!(seen(&dir.all()).writers[&1], (0..=seq).collect::<Vec<_>>());
}

#[test]
fn drops_of_a_process_that_died_are_announced_all_the_same() {
    let dir = Dir::new();
    let shared = Shared::new();
    let mut holder = stopped_holder(&dir, &small(&dir), &shared);
    let dropper = fork(|| {
        let log = small(&dir).open().unwrap();
        for seq in 0..300 {
            if log.append(&record(1, seq, 100)).is_err() {
                shared.word(2).fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        }
        shared.set(3, 1);
        loop {
            std::thread::park();
        }
    });
    until("drops", || shared.get(3) == 1);
    let pid = dropper.pid;
    dropper.kill();
    holder.go_on();
    shared.set(1, 1);
    holder.wait();
    everyline::recover(&dir.log()).ok();
    let others = seen(&dir.all()).others;
    let expected =
        format!("everyline: {} records of process {pid} were dropped: no room in ring and overflow\n", shared.get(2));
    assert_eq!(others, [expected]);
}

#[test]
fn policy_block_waits_until_there_is_room_and_loses_nothing() {
    let dir = Dir::new();
    let shared = Shared::new();
    let builder = small(&dir).full(Full::Block);
    let mut holder = stopped_holder(&dir, &builder, &shared);
    let progress = Shared::new();
    std::thread::scope(|scope| {
        let (builder, progress) = (&builder, &progress);
        scope.spawn(move || {
            let log = builder.clone().open().unwrap();
            for seq in 0..400 {
                log.append(&record(1, seq, 100)).unwrap();
                progress.set(0, seq + 1);
            }
            log.close().unwrap();
        });
        until("records", || progress.get(0) > 50);
        let mut last = (0, Instant::now());
        until("the thread to block", || {
            if progress.get(0) != last.0 {
                last = (progress.get(0), Instant::now());
            }
            last.1.elapsed() > 3 * WAIT
        });
        assert!(last.0 < 400);
        holder.go_on();
        shared.set(1, 1);
        holder.wait();
    });
    assert_exactly(&dir.all(), [(0, shared.get(0)), (1, 400)]);
}

/// Fills the file system; gives back what it took when it is dropped.
struct Filler(std::path::PathBuf);

impl Filler {
    fn new(path: std::path::PathBuf) -> Self {
        use std::io::Write;
        let mut file = std::fs::File::create(&path).unwrap();
        while file.write_all(&[b'x'; 4096]).is_ok() {}
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn on_a_full_disk_whatever_was_accepted_is_in_the_file_in_order_when_there_is_space_again() {
    for full in [Full::Drop, Full::Block] {
        let dir = Dir::new();
        with_own_mounts(|| {
            mount("tmpfs", dir.path(), "tmpfs", 0, "size=2m");
            let log = dir
                .builder()
                .ring_bytes(16 << 10)
                .wait(WAIT)
                .full(full)
                .max_bytes(50_000)
                .keep(Some(100))
                .open()
                .unwrap();
            let mut seq = 0;
            for round in 0..3 {
                for _ in 0..20 {
                    log.append(&record(1, seq, odd_len(seq, 700))).unwrap();
                    seq += 1;
                }
                let filler = Filler::new(dir.file("filler"));
                let started = Instant::now();
                if full == Full::Block {
                    // As much as the ring holds; more would wait, as it should.
                    for _ in 0..20 {
                        log.append(&record(1, seq, 400)).unwrap();
                        seq += 1;
                    }
                } else {
                    let mut failed = 0;
                    while failed < 50 {
                        match log.append(&record(1, seq, odd_len(seq, 700))) {
                            Ok(()) => seq += 1,
                            Err(e) => {
                                failed += 1;
                                assert_eq!(e.kind(), ErrorKind::Dropped);
                                assert!(e.to_string().contains("No space left"), "{e}");
                            }
                        }
                    }
                }
                assert!(started.elapsed() < 10 * WAIT, "round {round}: {:?}", started.elapsed());
                let e = log.flush().unwrap_err();
                assert!(e.kind() == ErrorKind::TimedOut && e.to_string().contains("No space left"), "{e}");
                assert_eq!(log.status().unwrap().last_error, Some((libc::ENOSPC, "write log")));
                drop(filler);
                until("the log to catch up", || log.flush().is_ok());
            }
            log.close().unwrap();
            let bytes = dir.all();
            assert_eq!(seen(&bytes).writers[&1], (0..seq).collect::<Vec<_>>());
            assert_eq!(announced(&bytes), log.counters().dropped);
        });
    }
}

#[test]
fn a_full_disk_at_attach_is_an_error_that_says_so_and_a_degraded_appender_attaches_later() {
    let dir = Dir::new();
    with_own_mounts(|| {
        mount("tmpfs", dir.path(), "tmpfs", 0, "size=1m");
        std::fs::write(dir.log(), "").unwrap();
        let filler = Filler::new(dir.file("filler"));
        let e = dir.builder().open().unwrap_err();
        assert_eq!((e.kind(), e.raw_os_error()), (ErrorKind::Os, Some(libc::ENOSPC)));
        assert!(e.to_string().contains(dir.path().to_str().unwrap()), "{e}");
        let log: Appender = dir.builder().open_degraded().unwrap();
        assert!(log.append(b"no room\n").is_err());
        drop(filler);
        until("the journal", || {
            log.append(b"x\n").unwrap();
            !log.counters().is_degraded
        });
    });
}

#[test]
fn an_overflow_file_that_is_emptied_all_the_time_does_not_grow_on_disk() {
    use std::os::unix::fs::MetadataExt;
    let dir = Dir::new();
    let log = dir.open();
    // Over 64 KiB: through the overflow file, each taken before the next one comes. Lengths that share no block.
    (0..200).for_each(|seq| log.append(&record(1, seq, 70_001)).unwrap());
    log.flush().unwrap();
    let name = dir.inner_names("over-").pop().expect("an overflow file");
    let file = std::fs::metadata(dir.inner(&name)).unwrap();
    assert!(file.len() > 200 * 70_001);
    assert!(file.blocks() * 512 <= 64 << 10, "{} bytes on disk, of nothing", file.blocks() * 512);
    log.close().unwrap();
    assert_exactly(&dir.all(), [(1, 200)]);
}
