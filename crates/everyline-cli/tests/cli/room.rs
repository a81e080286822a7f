//! No room for the file: a limit on its size stands for the full disk, since everybody may set one. Over it a write fails
//! and SIGXFSZ comes, which kills a process that does not ignore it.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Place, assert_exit, everyline, feed, run, signal, stderr, stdout, until};

/// The command, in a shell that limits every file to 1 MiB. `ulimit -f` counts blocks of 512 bytes.
fn limited(args: &[&str], place: &Place) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 2048; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_everyline")]).args(args);
    command.arg(place.log()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn lines(count: usize) -> Vec<u8> {
    (0..count).map(|n| format!("line {n:08}\n")).collect::<String>().into_bytes()
}

#[test]
fn what_does_not_fit_is_kept_and_written_when_there_is_room() {
    let place = Place::new();
    let input = lines(90_000); // 1.2 MiB
    let output = feed(limited(&["pipe", "--wait", "100ms"], &place), &input);
    assert_exit(&output, 1);
    let message = stderr(&output);
    assert!(message.contains("os error 27") && message.contains("everyline recover"), "{message}");
    assert!(!message.contains("dropped"), "{message}");
    assert!(fs::metadata(place.log()).unwrap().len() <= 1 << 20);

    let mut command = everyline(&["status"]);
    command.arg(place.log());
    assert!(stdout(&run(command)).contains("os error 27"));

    assert_exit(&run(limited(&["clean"], &place)), 1);

    let mut command = everyline(&["recover"]);
    command.arg(place.log());
    assert_exit(&run(command), 0);
    assert!(fs::read(place.log()).unwrap() == input, "the bytes differ");
    assert_eq!(place.names(), ["app.log"]);
}

#[test]
fn what_is_dropped_is_counted_and_announced() {
    let place = Place::new();
    let options = ["pipe", "--wait", "10ms", "--ring", "64K", "--overflow", "64K"];
    let output = feed(limited(&options, &place), &lines(120_000));
    assert_exit(&output, 1);
    let mut command = everyline(&["recover"]);
    command.arg(place.log());
    assert_exit(&run(command), 0);
    let log = fs::read_to_string(place.log()).unwrap();
    let (announced, lines): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| !line.starts_with("line "));
    let mut dropped = 0;
    for announcement in &announced {
        let count = announcement.split(' ').find_map(|word| word.parse::<usize>().ok());
        dropped += count.unwrap_or_else(|| panic!("no count in {announcement:?}"));
    }
    assert_eq!(lines.len() + dropped, 120_000, "{announced:?}");
    assert!(lines.is_sorted() && lines.iter().all(|line| line.len() == 13));
    let message = stderr(&output);
    assert!(message.contains(&format!("{dropped} lines were not written as asked")), "{dropped}: {message}");
}

#[test]
fn a_third_signal_ends_a_pipe_that_is_blocked() {
    let place = Place::new();
    let options = ["pipe", "--full", "block", "--wait", "10ms", "--ring", "64K", "--overflow", "64K"];
    let mut child = limited(&options, &place).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        // It stops taking in when it is blocked, and is gone before it has taken all.
        let _ = stdin.write_all(&lines(1_000_000));
    });
    until("the file to be full", || fs::metadata(place.log()).is_ok_and(|meta| meta.len() == 1 << 20));
    let mut status = None;
    until("the end of the pipe", || {
        signal(&child, Signal::TERM);
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().signal(), Some(Signal::TERM.as_raw()));
    feeder.join().unwrap();
    let mut command = everyline(&["recover"]);
    command.arg(place.log());
    assert_exit(&run(command), 0);
    let log = fs::read(place.log()).unwrap();
    assert!(log.len() > 1 << 20 && lines(1_000_000).starts_with(&log), "{} bytes", log.len());
}
