//! `everyline pipe`: what goes in comes out, whatever the lines look like and however many write.

use std::collections::HashMap;
use std::fs;

use crate::support::{Place, assert_exit, everyline, feed, pipe, run, stderr, stdout, until};

#[test]
fn lines_come_out_as_they_went_in() {
    let place = Place::new();
    let input = b"one\n\ntwo\r\n\0\xff\xfe not UTF-8\n";
    let output = feed(pipe(&[], &place.log()), input);
    assert_exit(&output, 0);
    assert_eq!(fs::read(place.log()).unwrap(), input);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_last_line_without_a_newline_gets_one() {
    let place = Place::new();
    assert_exit(&feed(pipe(&[], &place.log()), b"one\ntwo"), 0);
    assert_exit(&feed(pipe(&[], &place.log()), b"three"), 0);
    assert_eq!(fs::read(place.log()).unwrap(), b"one\ntwo\nthree\n");
}

#[test]
fn no_input_makes_an_empty_log_and_leaves_nothing_else() {
    let place = Place::new();
    assert_exit(&feed(pipe(&[], &place.log()), b""), 0);
    assert_eq!(fs::read(place.log()).unwrap(), b"");
    assert_eq!(place.names(), ["app.log"]);
}

#[test]
fn the_last_one_out_removes_the_journal() {
    let place = Place::new();
    assert_exit(&feed(pipe(&["--max-bytes", "1K"], &place.log()), b"one\n"), 0);
    assert_eq!(place.names(), ["app.log"]);
}

#[test]
fn a_line_of_16_mib_is_one_record() {
    let place = Place::new();
    let mut input = b"before\n".to_vec();
    input.extend((0..16u32 << 20).map(|i| b'a' + (i % 23) as u8));
    input.extend(b"\nafter\n");
    let output = feed(pipe(&[], &place.log()), &input);
    assert_exit(&output, 0);
    assert!(fs::read(place.log()).unwrap() == input, "the bytes differ");
}

#[test]
fn a_line_over_the_limit_is_left_out_whole_and_reported() {
    let place = Place::new();
    let mut input = b"before\n".to_vec();
    input.extend(vec![b'x'; 3 << 20]);
    input.extend(b"\nafter\n");
    let output = feed(pipe(&["--overflow", "1M"], &place.log()), &input);
    assert_exit(&output, 1);
    assert_eq!(fs::read(place.log()).unwrap(), b"before\nafter\n");
    let message = stderr(&output);
    assert!(message.contains("1 line was not written") && message.contains("3145729 bytes"), "{message}");
    assert!(message.contains("--overflow"), "{message}");
}

#[test]
fn a_flood_of_losses_is_not_a_flood_of_messages() {
    let place = Place::new();
    let mut input = Vec::new();
    for _ in 0..1000 {
        input.extend(vec![b'x'; 5000]);
        input.push(b'\n');
    }
    let output = feed(pipe(&["--ring", "4K", "--overflow", "4K"], &place.log()), &input);
    assert_exit(&output, 1);
    let message = stderr(&output);
    assert!(message.contains("1000 lines were not written"), "{message}");
    assert!(message.lines().count() < 30, "{message}");
}

/// Every line of every pipe is there once, whole, in the order of its pipe, and no file is over the limit.
#[test]
fn three_pipes_share_a_rotating_file() {
    for options in [&[][..], &["--deferred"][..]] {
        let place = Place::new();
        let options = [&["--max-bytes", "20K", "--keep", "1000"], options].concat();
        let outputs: Vec<_> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let command = pipe(&options, &place.log());
                    scope.spawn(move || feed(command, numbered_lines(writer, 5000).as_bytes()))
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        for output in &outputs {
            assert_exit(output, 0);
            assert_eq!(stderr(output), "");
        }
        let files = place.files();
        assert!(files.len() > 10, "{} files", files.len());
        assert!(files.iter().all(|file| file.len() <= 20 << 10));
        assert_in_order(&files.concat(), 3, 5000);
        let left: Vec<String> = place.names().into_iter().filter(|name| !name.starts_with("app.log")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// `writer number padding`, of odd lengths.
fn numbered_lines(writer: usize, count: usize) -> String {
    (0..count).map(|n| format!("{writer} {n} {}\n", "x".repeat(n * 7 % 101))).collect()
}

fn assert_in_order(all: &[u8], writers: usize, count: usize) {
    let text = std::str::from_utf8(all).expect("no torn bytes");
    let mut next: HashMap<usize, usize> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("torn: {line:?}"));
        let (writer, n): (usize, usize) = (number(), number());
        let expected = next.entry(writer).or_default();
        assert_eq!(n, *expected, "writer {writer}: {line:?}");
        assert_eq!(line.len(), format!("{writer} {n} ").len() + n * 7 % 101, "torn: {line:?}");
        *expected += 1;
    }
    assert_eq!(next.len(), writers);
    assert!(next.values().all(|n| *n == count), "{next:?}");
}

#[test]
fn every_fsync_setting_and_level_writes() {
    let place = Place::new();
    for fsync in ["never", "rotation", "always", "level:40", "50ms"] {
        for level in ["0", "40"] {
            let output = feed(pipe(&["--fsync", fsync, "--level", level, "--full", "block"], &place.log()), b"line\n");
            assert_exit(&output, 0);
        }
    }
    assert_eq!(fs::read(place.log()).unwrap(), b"line\n".repeat(10));
}

#[test]
fn dated_names_and_mode() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let options = ["--max-bytes", "100", "--naming", "dated", "--keep", "all", "--mode", "600"];
    let input: String = (0..100).map(|n| format!("line {n:03}\n")).collect();
    assert_exit(&feed(pipe(&options, &place.log()), input.as_bytes()), 0);
    let names = place.names();
    assert_eq!(names.len(), 10, "{names:?}");
    assert!(names[1..].iter().all(|name| name.starts_with("app.log.2")), "{names:?}");
    for name in &names {
        let mode = fs::metadata(place.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let lines: usize = names.iter().map(|name| fs::read_to_string(place.path(name)).unwrap().lines().count()).sum();
    assert_eq!(lines, 100);
}

#[test]
fn a_journal_elsewhere() {
    let place = Place::new();
    let elsewhere = place.path("journals");
    fs::create_dir(&elsewhere).unwrap();
    let options = ["--journal-dir", elsewhere.to_str().unwrap()];
    assert_exit(&feed(pipe(&options, &place.log()), b"one\n"), 0);
    assert_eq!(fs::read(place.log()).unwrap(), b"one\n");
}

#[test]
fn a_failing_input_is_an_error_and_what_was_read_is_written() {
    let place = Place::new();
    let mut command = pipe(&[], &place.log());
    command.stdin(fs::File::open(place.path(".")).unwrap());
    let output = command.output().unwrap();
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("standard input"), "{}", stderr(&output));
}

#[test]
fn a_closed_standard_error_does_no_harm() {
    let place = Place::new();
    let script =
        format!("printf 'xxxxxxxxx\\nok\\n' | {} pipe {} 2>&-", env!("CARGO_BIN_EXE_everyline"), place.log().display());
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]);
    assert_exit(&run(command), 0);
    assert_eq!(fs::read(place.log()).unwrap(), b"xxxxxxxxx\nok\n");
    assert_exit(&run(everyline(&["--version"])), 0);
}

#[test]
fn archives_have_unique_names_are_linked_to_compressed_and_limited() {
    let place = Place::new();
    let lines: String = (0..400).map(|n| format!("line {n} {}\n", "x".repeat(n % 37))).collect();
    let mut options = vec!["--max-bytes", "1K", "--naming", "sequence", "--keep", "8", "--link", "newest"];
    assert_exit(&feed(pipe(&options, &place.log()), lines.as_bytes()), 0);
    let archives = || -> Vec<String> { place.names().into_iter().filter(|n| n.starts_with("app.log.")).collect() };
    assert_eq!(archives().len(), 8);
    let target = fs::read_link(place.path("newest")).unwrap();
    assert_eq!(target.to_str().unwrap(), archives().last().unwrap());
    // A pipe that ends does not wait for compression; one that goes on does what the other left.
    options.extend(["--compress", "gzip:1", "--compress-after", "0ms"]);
    let mut child = pipe(&options, &place.log()).spawn().unwrap();
    until("all to be compressed", || archives().iter().all(|name| name.ends_with(".gz")));
    let status = stdout(&run(everyline(&["status", "--json", place.log().to_str().unwrap()])));
    for setting in ["\"compress\":\"gzip:1\"", "\"naming\":\"sequence\"", "\"link\":\"newest\""] {
        assert!(status.replace(": ", ":").contains(setting), "{setting}: {status}");
    }
    drop(child.stdin.take());
    assert_exit(&child.wait_with_output().unwrap(), 0);
    assert_eq!(archives().len(), 8);
    let target = fs::read_link(place.path("newest")).unwrap();
    assert_eq!(target.to_str().unwrap(), archives().last().unwrap(), "the link follows the compressed file");
}
