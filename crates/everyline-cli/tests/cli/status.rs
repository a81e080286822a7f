//! `everyline status`: a table for people, JSON for programs, and an exit code when nobody is attached.

use std::fs;
use std::io::Write;

use serde_json::Value;

use crate::support::{Place, assert_exit, everyline, feed, pipe, run, stderr, stdout, until_file_is};

fn status(place: &Place, json: bool) -> std::process::Output {
    let mut command = everyline(&["status"]);
    if json {
        command.arg("--json");
    }
    command.arg(place.log());
    run(command)
}

#[test]
fn without_a_journal_the_exit_code_is_3() {
    let place = Place::new();
    for _ in 0..2 {
        let output = status(&place, false);
        assert_exit(&output, 3);
        assert!(output.stdout.is_empty());
        assert!(stderr(&output).contains("app.log"), "{}", stderr(&output));
        assert_exit(&status(&place, true), 3);
        // The second time there is a log, and still no journal.
        assert_exit(&feed(pipe(&[], &place.log()), b"one\n"), 0);
    }
    assert_eq!(place.names(), ["app.log"]);
}

#[test]
fn json_and_table_show_two_pipes_and_the_settings() {
    let place = Place::new();
    let mut children: Vec<_> = (0..2)
        .map(|_| pipe(&["--max-bytes", "10K", "--keep", "7", "--ring", "64K"], &place.log()).spawn().unwrap())
        .collect();
    let mut expected = Vec::new();
    for child in &mut children {
        child.stdin.as_mut().unwrap().write_all(b"one\ntwo\n").unwrap();
        expected.extend(b"one\ntwo\n");
        until_file_is(&place.log(), &expected);
    }
    let output = status(&place, true);
    assert_exit(&output, 0);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["log"], place.log().canonicalize().unwrap().to_str().unwrap());
    assert_eq!(json["file_bytes"], 16);
    assert_eq!(json["rotations"], 0);
    assert!(json["last_error"].is_null(), "{json:#}");
    assert!(["free", "held", "pending"].contains(&json["lease"]["state"].as_str().unwrap()));
    assert_eq!(json["settings"]["max_bytes"], "10240", "{json:#}");
    let processes = json["processes"].as_array().unwrap();
    let mut pids: Vec<u64> = processes.iter().map(|process| process["pid"].as_u64().unwrap()).collect();
    pids.sort_unstable();
    let mut started: Vec<u64> = children.iter().map(|child| u64::from(child.id())).collect();
    started.sort_unstable();
    assert_eq!(pids, started);
    for process in processes {
        assert_eq!(process["alive"], true);
        assert_eq!(process["records"], 2);
        assert_eq!(process["bytes"], 8);
        assert_eq!(process["dropped"], 0);
        assert_eq!(process["backlog_bytes"], 0);
        assert_eq!(process["ring_bytes"], 65_536);
        assert!(process["started_unix_ms"].as_u64().unwrap() > 1_700_000_000_000);
    }
    let table = stdout(&status(&place, false));
    for pid in started {
        assert!(table.contains(&pid.to_string()), "{table}");
    }
    assert!(table.contains("SLOT") && table.contains("max_bytes=10240"), "{table}");
    for mut child in children {
        drop(child.stdin.take());
        assert_exit(&child.wait_with_output().unwrap(), 0);
    }
    assert_exit(&status(&place, false), 3);
    assert_eq!(fs::read(place.log()).unwrap(), expected);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let mut child = pipe(&[], &place.log()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"one\n").unwrap();
    until_file_is(&place.log(), b"one\n");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = everyline(&["status"]).arg(place.log()).stdout(writer).output().unwrap();
    assert_exit(&output, 0);
    assert_eq!(stderr(&output), "");
    drop(child.stdin.take());
    assert_exit(&child.wait_with_output().unwrap(), 0);
}
