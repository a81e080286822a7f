//! `recover`, `reopen`, `clean`: what they do after a kill, while the log is in use, and when there is nothing to do.

use std::fs;
use std::io::Write;

use rustix::process::Signal;

use crate::support::{Place, assert_exit, everyline, feed, pipe, run, signal, stderr, stdout, until, until_file_is};

fn upkeep(verb: &str, place: &Place) -> std::process::Output {
    let mut command = everyline(&[verb]);
    command.arg(place.log());
    run(command)
}

/// Kills pipes in the middle of their work. After `recover` the file holds whole lines in order, none twice, and the
/// journal is gone.
#[test]
fn recover_after_a_kill() {
    for round in 0..10 {
        let place = Place::new();
        let mut child = pipe(if round % 2 == 0 { &["--deferred"] } else { &[] }, &place.log()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feeder = std::thread::spawn(move || {
            for n in 0u64.. {
                if writeln!(stdin, "line {n} {}", "x".repeat((n * 7 % 101) as usize)).is_err() {
                    return;
                }
            }
        });
        until("lines in the file", || fs::metadata(place.log()).is_ok_and(|meta| meta.len() > 100_000));
        signal(&child, Signal::KILL);
        child.wait().unwrap();
        feeder.join().unwrap();
        let output = upkeep("recover", &place);
        assert_exit(&output, 0);
        assert!(stdout(&output).starts_with("recovered "), "{}", stdout(&output));
        let text = fs::read_to_string(place.log()).unwrap();
        assert!(text.ends_with('\n'));
        for (n, line) in text.lines().enumerate() {
            assert_eq!(line, format!("line {n} {}", "x".repeat(n * 7 % 101)), "round {round}");
        }
        assert_eq!(place.names(), ["app.log"], "round {round}");
        let again = upkeep("recover", &place);
        assert_exit(&again, 0);
    }
}

#[test]
fn with_nothing_to_do_there_is_no_error_and_no_trace() {
    let place = Place::new();
    for verb in ["recover", "reopen", "clean"] {
        let output = upkeep(verb, &place);
        assert_exit(&output, 0);
        assert!(output.stdout.is_empty(), "{verb}: {}", stdout(&output));
        assert!(place.names().is_empty(), "{verb} made {:?}", place.names());
    }
}

#[test]
fn clean_leaves_a_journal_in_use() {
    let place = Place::new();
    let mut child = pipe(&[], &place.log()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    until_file_is(&place.log(), b"one\n");
    let output = upkeep("clean", &place);
    assert_exit(&output, 1);
    assert!(stderr(&output).contains("app.log"), "{}", stderr(&output));
    stdin.write_all(b"two\n").unwrap();
    drop(stdin);
    assert_exit(&child.wait_with_output().unwrap(), 0);
    assert_eq!(fs::read(place.log()).unwrap(), b"one\ntwo\n");
}

#[test]
fn clean_removes_an_empty_journal_of_a_killed_process() {
    let place = Place::new();
    let mut child = pipe(&[], &place.log()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"one\n").unwrap();
    until_file_is(&place.log(), b"one\n");
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    let output = upkeep("clean", &place);
    assert_exit(&output, 0);
    assert!(stdout(&output).contains(".app.log.everyline"), "{}", stdout(&output));
    assert_eq!(place.names(), ["app.log"]);
    assert_eq!(fs::read(place.log()).unwrap(), b"one\n");
}

#[test]
fn reopen_makes_the_file_anew_after_a_rename() {
    let place = Place::new();
    let mut child = pipe(&[], &place.log()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"old\n").unwrap();
    until_file_is(&place.log(), b"old\n");
    fs::rename(place.log(), place.path("app.log.moved")).unwrap();
    assert_exit(&upkeep("reopen", &place), 0);
    stdin.write_all(b"new\n").unwrap();
    until_file_is(&place.log(), b"new\n");
    drop(stdin);
    assert_exit(&child.wait_with_output().unwrap(), 0);
    assert_eq!(fs::read(place.path("app.log.moved")).unwrap(), b"old\n");
}

/// A process that is stopped while it holds nothing keeps no other from writing.
#[test]
fn a_stopped_pipe_stops_nobody() {
    let place = Place::new();
    let mut stopped = pipe(&[], &place.log()).spawn().unwrap();
    stopped.stdin.as_mut().unwrap().write_all(b"one\n").unwrap();
    until_file_is(&place.log(), b"one\n");
    signal(&stopped, Signal::STOP);
    assert_exit(&feed(pipe(&[], &place.log()), b"two\n"), 0);
    assert_eq!(fs::read(place.log()).unwrap(), b"one\ntwo\n");
    signal(&stopped, Signal::CONT);
    stopped.stdin.as_mut().unwrap().write_all(b"three\n").unwrap();
    drop(stopped.stdin.take());
    assert_exit(&stopped.wait_with_output().unwrap(), 0);
    assert_eq!(fs::read(place.log()).unwrap(), b"one\ntwo\nthree\n");
}
