//! Targets that are no regular files: written to, never rotated.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use everyline::{Appender, ErrorKind};

use crate::support::{Dir, assert_exactly, c_path, exit_now, fork, record, until};

fn fifo(dir: &Dir) -> std::path::PathBuf {
    let path = dir.file("fifo");
    // SAFETY: a path that lives through the call.
    assert_eq!(unsafe { libc::mkfifo(c_path(&path).as_ptr(), 0o600) }, 0);
    path
}

#[test]
fn dev_null_takes_everything_and_cannot_be_rotated() {
    let log = Appender::builder("/dev/null").max_bytes(100).open().unwrap();
    (0..100).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
    log.flush().unwrap();
    log.sync().unwrap();
    assert_eq!(log.counters().records, 100);
    assert!(!log.counters().is_degraded && log.counters().degraded == 0, "nothing is wrong here");
    let e = log.rotate().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotRotatable);
    assert!(e.to_string().contains("/dev/null"), "{e}");
    assert!(!std::path::Path::new("/dev/null.1").exists() && !std::path::Path::new("/dev/.null.everyline").exists());
    log.close().unwrap();
    log.append(b"after close\n").unwrap();
}

#[test]
fn dev_full_is_an_error_of_each_record_with_its_errno() {
    let log = Appender::builder("/dev/full").open().unwrap();
    for _ in 0..3 {
        let e = log.append(b"x\n").unwrap_err();
        assert_eq!((e.kind(), e.raw_os_error()), (ErrorKind::Os, Some(libc::ENOSPC)));
        assert!(e.to_string().contains("/dev/full"), "{e}");
    }
    assert_eq!((log.counters().records, log.counters().failed), (0, 3));
}

#[test]
fn a_fifo_with_a_reader_gets_every_record() {
    let dir = Dir::new();
    let path = fifo(&dir);
    let mut reader = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let log = Appender::builder(&path).max_bytes(100).open().unwrap();
    (0..50).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
    let mut bytes = vec![0; 5000];
    reader.read_exact(&mut bytes).unwrap();
    assert_exactly(&bytes, [(1, 50)]);
    assert_eq!(dir.names(), ["fifo"]);
}

#[test]
fn a_fifo_without_a_reader_keeps_what_it_can_hold_then_drops_after_one_wait_and_comes_back() {
    let dir = Dir::new();
    let path = fifo(&dir);
    let wait = Duration::from_millis(200);
    let log = Appender::builder(&path).wait(wait).open().unwrap();
    let mut accepted = 0;
    while log.append(&record(1, accepted, 100)).is_ok() {
        accepted += 1;
    }
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(log.append(&record(1, accepted, 100)).unwrap_err().kind(), ErrorKind::Dropped);
    }
    assert!(started.elapsed() < 2 * wait, "once per incident: {:?}", started.elapsed());
    assert_eq!(log.counters().dropped, 21);
    let mut reader = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let mut bytes = vec![0; accepted as usize * 100];
    reader.read_exact(&mut bytes).unwrap();
    assert_exactly(&bytes, [(1, accepted)]);
    log.append(&record(2, 0, 100)).unwrap();
    let mut bytes = vec![0; 100];
    reader.read_exact(&mut bytes).unwrap();
    assert_exactly(&bytes, [(2, 1)]);
}

/// Runs a child whose standard output is `fd`, and logs to `name` there.
fn log_to_stdout(fd: i32, name: &str, count: u64) {
    let mut child = fork(|| {
        // SAFETY: numbers of this child only.
        unsafe { libc::dup2(fd, 1) };
        let log = Appender::builder(name).max_bytes(150).open().unwrap();
        (0..count).for_each(|seq| log.append(&record(1, seq, 100)).unwrap());
        log.flush().unwrap();
        assert_eq!(log.rotate().unwrap_err().kind(), ErrorKind::NotRotatable);
        drop(log);
        // SAFETY: only asks for flags.
        assert!(unsafe { libc::fcntl(1, libc::F_GETFD) } >= 0, "standard output is still open");
        exit_now(0);
    });
    assert_eq!(child.wait(), 0);
}

const NAMES: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

#[test]
fn standard_output_that_is_a_pipe_is_written_to() {
    for name in NAMES {
        let (mut reader, writer) = std::io::pipe().unwrap();
        log_to_stdout(std::os::fd::AsRawFd::as_raw_fd(&writer), name, 20);
        drop(writer);
        let mut bytes = vec![0; 2000];
        reader.read_exact(&mut bytes).unwrap();
        assert_exactly(&bytes, [(1, 20)]);
    }
}

#[test]
fn standard_output_that_is_a_socket_is_written_to() {
    let (mut reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    log_to_stdout(std::os::fd::AsRawFd::as_raw_fd(&writer), "/dev/stdout", 20);
    let mut bytes = vec![0; 2000];
    reader.read_exact(&mut bytes).unwrap();
    assert_exactly(&bytes, [(1, 20)]);
}

#[test]
fn standard_output_that_is_a_file_is_written_to_where_the_shell_left_off_and_never_rotated() {
    use std::io::Write;
    for name in NAMES {
        let dir = Dir::new();
        let mut file = std::fs::File::create(dir.file("out")).unwrap();
        file.write_all(&record(2, 0, 100)).unwrap();
        log_to_stdout(std::os::fd::AsRawFd::as_raw_fd(&file), name, 20);
        file.write_all(&record(2, 1, 100)).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no archive, no journal");
        assert_exactly(&std::fs::read(dir.file("out")).unwrap(), [(1, 20), (2, 2)]);
    }
}

#[test]
fn a_fifo_is_written_by_children_too() {
    let dir = Dir::new();
    let path = fifo(&dir);
    let mut reader = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let log = Appender::builder(&path).open().unwrap();
    log.append(&record(0, 0, 100)).unwrap();
    for writer in 1..4 {
        fork(|| log.append(&record(writer, 0, 100)).unwrap()).join();
    }
    let mut bytes = Vec::new();
    until("four records", || {
        let mut piece = [0; 400];
        let n = reader.read(&mut piece).unwrap_or(0);
        bytes.extend_from_slice(&piece[..n]);
        bytes.len() == 400
    });
    assert_exactly(&bytes, (0..4).map(|w| (w, 1)));
}
