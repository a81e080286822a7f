//! Bad options: each is an error with exit code 2 that names the option, the value and what is expected, and leaves
//! no trace. Help and version are data.

use crate::support::{Place, assert_exit, everyline, feed, pipe, run, stderr, stdout};

#[test]
fn a_bad_value_is_named_with_its_option_and_what_is_expected() {
    for (option, value, expected) in [
        ("--max-bytes", "0", "at least 1"),
        ("--max-bytes", "-5", "such as 10M"),
        ("--max-bytes", "10X", "such as 10M"),
        ("--max-bytes", "10MB", "M"),
        ("--max-bytes", "99999999999999999999", "too large"),
        ("--when", "fortnight", "midnight"),
        ("--when", "W7", "W6"),
        ("--naming", "random", "dated"),
        ("--keep", "0", "from 1"),
        ("--keep", "-1", "from 1"),
        ("--keep", "some", "all"),
        ("--keep-age", "30", "such as 30d"),
        ("--keep-age", "500ms", "1s"),
        ("--keep-bytes", "0", "at least 1"),
        ("--compress", "zip", "gzip"),
        ("--compress", "gzip:10", "gzip:9"),
        ("--link", "a/b", "without a slash"),
        ("--owner", "root", "two numbers"),
        ("--fsync", "sometimes", "level:N"),
        ("--fsync", "level:300", "255"),
        ("--fsync", "0ms", "always"),
        ("--ring", "0", "power of two"),
        ("--ring", "100K", "power of two"),
        ("--overflow", "0", "at least 1"),
        ("--full", "panic", "block"),
        ("--wait", "1", "500ms"),
        ("--wait", "-1s", "500ms"),
        ("--wait", "48h", "24h"),
        ("--mode", "rw", "octal"),
        ("--mode", "7777", "777"),
        ("--level", "256", "255"),
    ] {
        let place = Place::new();
        let output = feed(pipe(&[option, value], &place.log()), b"line\n");
        assert_exit(&output, 2);
        let message = stderr(&output);
        assert!(
            message.contains(option) && message.contains(value) && message.contains(expected),
            "{option} {value}: {message}"
        );
        assert!(place.names().is_empty(), "{:?}", place.names());
    }
}

#[test]
fn options_that_contradict_each_other() {
    for (options, expected) in [
        (&["--at", "12:00"][..], "--when"),
        (&["--interval", "2"], "--when"),
        (&["--compress-after", "1s"], "--compress"),
        (&["--utc"], "--when"),
        (&["--when", "H", "--at", "12:00"], "--at"),
        (&["--when", "H", "--interval", "0"], "--interval"),
        (&["--when", "W0", "--interval", "4000000000"], "--interval"),
        (&["--when", "midnight", "--at", "25:00"], "--at"),
        (&["--max-bytes", "1M", "--keep", "all"], "--keep"),
        (&["--ring", "1M", "--overflow", "64K"], "--overflow"),
        (&["--deferred", "--deferred"], "--deferred"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        let place = Place::new();
        let output = feed(pipe(options, &place.log()), b"line\n");
        assert_exit(&output, 2);
        let message = stderr(&output);
        assert!(message.contains(expected), "{options:?}: {message}");
        assert!(place.names().is_empty(), "{options:?}: {:?}", place.names());
    }
}

#[test]
fn every_option_at_once() {
    let place = Place::new();
    let options = [
        "--max-bytes=1_000",
        "--when=midnight",
        "--interval=1",
        "--at=13:45",
        "--utc",
        "--naming=dated",
        "--keep=all",
        "--keep-age=30d",
        "--keep-bytes=1G",
        "--compress=gzip:9",
        "--compress-after=90s",
        "--link=newest",
        "--deferred",
        "--fsync=rotation",
        "--level=20",
        "--ring=64KiB",
        "--overflow=1M",
        "--full=block",
        "--wait=500ms",
        "--mode=640",
    ];
    assert_exit(&feed(pipe(&options, &place.log()), b"line\n"), 0);
    assert_eq!(std::fs::read(place.log()).unwrap(), b"line\n");
}

#[test]
fn usage_errors_help_and_version() {
    for args in [&[][..], &["pipe"], &["status"], &["no-such-command"], &["status", "a", "b"]] {
        let output = run(everyline(args));
        assert_exit(&output, 2);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
    let output = run(everyline(&["--version"]));
    assert_exit(&output, 0);
    assert_eq!(stdout(&output), format!("everyline {}\n", env!("CARGO_PKG_VERSION")));
    for args in [&["--help"][..], &["pipe", "--help"], &["help", "clean"]] {
        let output = run(everyline(args));
        assert_exit(&output, 0);
        assert!(output.stderr.is_empty() && stdout(&output).contains("Usage:"), "{args:?}");
    }
    assert!(stdout(&run(everyline(&["--help"]))).contains("Exit codes:"));
}
