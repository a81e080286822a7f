//! What FILE may be, and what it may not.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::support::{Place, assert_exit, everyline, feed, pipe, run, stderr, stdout};

/// With every policy on: what cannot be rotated is written to all the same.
const ROTATING: [&str; 4] = ["--max-bytes", "10", "--keep", "3"];

#[test]
fn dev_null_is_written_to_and_leaves_no_trace() {
    let output = feed(pipe(&ROTATING, Path::new("/dev/null")), &b"a line of text\n".repeat(1000));
    assert_exit(&output, 0);
    assert_eq!(stderr(&output), "");
    let traces = fs::read_dir("/dev")
        .unwrap()
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(".null")));
    assert_eq!(traces.count(), 0);
}

#[test]
fn a_device_that_is_full() {
    let output = feed(pipe(&ROTATING, Path::new("/dev/full")), b"one\ntwo\n");
    assert_exit(&output, 1);
    let message = stderr(&output);
    assert!(message.contains("2 lines were not written") && message.contains("/dev/full"), "{message}");
}

#[test]
fn dev_stdout_is_the_standard_output() {
    let input = b"a line of text\n".repeat(1000);
    let output = feed(pipe(&ROTATING, Path::new("/dev/stdout")), &input);
    assert_exit(&output, 0);
    assert_eq!(output.stdout, input);
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_reader_of_dev_stdout_that_goes_away_is_no_error() {
    let mut child = pipe(&[], Path::new("/dev/stdout")).spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    // More than any pipe holds: only the missing reader can end it before its input ends.
    let taken = std::io::Write::write_all(&mut stdin, &b"line\n".repeat(1 << 20));
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    let output = child.wait_with_output().unwrap();
    assert_exit(&output, 0);
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_fifo() {
    let place = Place::new();
    let fifo = place.path("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    // Open before the pipe starts: it does not wait for a reader.
    let reader = rustix::fs::open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    assert_exit(&feed(pipe(&ROTATING, &fifo), b"one\ntwo two two two\n"), 0);
    let mut text = String::new();
    fs::File::from(reader).read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\ntwo two two two\n");
    assert_eq!(place.names(), ["fifo"]);
}

#[test]
fn what_cannot_be_a_log_is_named() {
    let place = Place::new();
    fs::create_dir(place.path("directory")).unwrap();
    fs::write(place.path("file"), b"").unwrap();
    symlink("loop", place.path("loop")).unwrap();
    for name in ["directory", "directory/", "missing/app.log", "file/app.log", "loop", "new/"] {
        let output = feed(pipe(&[], &place.path(name)), b"line\n");
        assert_exit(&output, 2);
        let name = name.split('/').next().unwrap();
        assert!(stderr(&output).contains(name), "{name}: {}", stderr(&output));
    }
    assert_eq!(place.names(), ["directory", "file", "loop"]);
    let output = feed(pipe(&[], Path::new("-")), b"line\n");
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("/dev/stdout"), "{}", stderr(&output));
    assert_exit(&feed(pipe(&[], Path::new("")), b"line\n"), 2);
}

#[test]
fn a_read_only_file_system() {
    // Permissions do not stop root; /proc stops everybody.
    let output = feed(pipe(&[], Path::new("/proc/app.log")), b"line\n");
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("/proc"), "{}", stderr(&output));
}

#[test]
fn an_unwritable_directory() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() {
        return; // nothing is unwritable for root
    }
    let place = Place::new();
    let directory = place.path("closed");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o500)).unwrap();
    let output = feed(pipe(&[], &directory.join("app.log")), b"line\n");
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("closed"), "{}", stderr(&output));
}

#[test]
fn a_log_behind_a_symbolic_link_is_one_log() {
    let place = Place::new();
    symlink("app.log", place.path("link.log")).unwrap();
    assert_exit(&feed(pipe(&[], &place.log()), b"one\n"), 0);
    assert_exit(&feed(pipe(&[], &place.path("link.log")), b"two\n"), 0);
    assert_eq!(fs::read(place.log()).unwrap(), b"one\ntwo\n");
    assert!(fs::symlink_metadata(place.path("link.log")).unwrap().is_symlink());
}

#[test]
fn the_other_verbs_make_nothing_and_print_nothing_where_there_is_no_log() {
    let place = Place::new();
    fs::create_dir(place.path("directory")).unwrap();
    for verb in ["status", "recover", "reopen", "clean"] {
        for (name, code) in [("missing/app.log", 2), ("directory", if verb == "status" { 3 } else { 0 })] {
            let mut command = everyline(&[verb]);
            command.arg(place.path(name));
            let output = run(command);
            assert_exit(&output, code);
            assert!(output.stdout.is_empty(), "{verb} {name}: {}", stdout(&output));
            assert!(code == 0 || stderr(&output).contains(name.split('/').next().unwrap()), "{}", stderr(&output));
        }
    }
    assert_eq!(place.names(), ["directory"]);
}
