//! Nonsense and misfortune at `open`: an error that names the path or the option, and the way out.

use std::path::Path;
use std::time::Duration;

use everyline::{Appender, Builder, Error, ErrorKind, Fsync, Options, Schedule, When};

use crate::support::{Dir, assert_exactly, mount, record, with_own_mounts};

fn refused(builder: Builder) -> Error {
    builder.open().expect_err("an error")
}

#[track_caller]
fn says(e: &Error, kind: ErrorKind, parts: &[&str]) {
    assert_eq!(e.kind(), kind, "{e}");
    let text = e.to_string();
    parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in {text:?}"));
}

#[test]
fn a_missing_directory_is_named() {
    let dir = Dir::new();
    let path = dir.file("nowhere/app.log");
    for e in [refused(Appender::builder(&path)), Appender::builder(&path).open_degraded().unwrap_err()] {
        says(&e, ErrorKind::Os, &["nowhere", "No such file or directory (os error 2)", "directory must exist"]);
        assert_eq!(e.raw_os_error(), Some(libc::ENOENT));
        assert_eq!(e.path(), Some(dir.file("nowhere").as_path()));
    }
    assert!(!dir.file("nowhere").exists());
}

#[test]
fn a_directory_is_no_log() {
    let dir = Dir::new();
    for path in [dir.path(), Path::new("/"), Path::new("/tmp/..")] {
        for e in [refused(Appender::builder(path)), Appender::builder(path).open_degraded().unwrap_err()] {
            assert_eq!(e.kind(), ErrorKind::InvalidTarget, "{e}");
        }
    }
    says(
        &refused(Appender::builder(dir.path())),
        ErrorKind::InvalidTarget,
        &[dir.path().to_str().unwrap(), "directory", "give the name of a file in it"],
    );
}

#[test]
fn a_file_in_place_of_the_directory_is_named() {
    let dir = Dir::new();
    std::fs::write(dir.file("plain"), "").unwrap();
    let e = refused(Appender::builder(dir.file("plain/app.log")));
    says(&e, ErrorKind::Os, &["plain", "Not a directory", "directory must exist"]);
    assert!(Appender::builder(dir.file("plain/app.log")).open_degraded().is_err());
}

#[test]
fn names_that_no_log_can_have_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let dir = Dir::new();
    let e = refused(Appender::builder(dir.file(&"x".repeat(256))));
    says(&e, ErrorKind::Os, &["xxx", "File name too long"]);
    assert!(Appender::builder(dir.file(&"x".repeat(256))).open_degraded().is_err());
    let not_text = dir.path().join(std::ffi::OsStr::from_bytes(b"app\xff.log"));
    says(&refused(Appender::builder(not_text)), ErrorKind::InvalidTarget, &["UTF-8"]);
    assert!(Appender::builder("").open().is_err());
    assert!(Appender::builder("\0").open().is_err());
    std::os::unix::fs::symlink("loop", dir.file("loop")).unwrap();
    let e = refused(Appender::builder(dir.file("loop")));
    says(&e, ErrorKind::Os, &["loop"]);
    assert_eq!(e.raw_os_error(), Some(libc::ELOOP));
}

#[test]
fn options_that_cannot_be_are_named_with_what_is_expected() {
    let dir = Dir::new();
    let day = Duration::from_secs(24 * 3600);
    let cases: &[(&str, Builder, &str)] = &[
        ("max_bytes", dir.builder().max_bytes(0), "rotation by size"),
        ("ring_bytes", dir.builder().ring_bytes(0), "power of two from 4096"),
        ("ring_bytes", dir.builder().ring_bytes(5000), "power of two from 4096"),
        ("ring_bytes", dir.builder().ring_bytes(2048), "power of two from 4096"),
        ("ring_bytes", dir.builder().ring_bytes(1 << 40), "to 67108864"),
        ("overflow_bytes", dir.builder().overflow_bytes(1000), "default is 64 MiB"),
        ("keep", dir.builder().keep(Some(0)), "1 or more"),
        ("keep", dir.builder().max_bytes(10).keep(Some(0)), "from 1 to 99999"),
        ("keep", dir.builder().max_bytes(10).keep(None), "dated or sequence names"),
        ("keep", dir.builder().max_bytes(10).keep(Some(100_000)), "from 1 to 99999"),
        ("wait", dir.builder().wait(day + Duration::from_nanos(1)), "one day"),
        ("wait", dir.builder().wait(Duration::MAX), "`Block`"),
        ("fsync", dir.builder().fsync(Fsync::Interval(Duration::ZERO)), "`Always`"),
        ("mode", dir.builder().mode(0o1666), "rwxrwxrwx"),
    ];
    for (option, builder, way_out) in cases {
        says(&refused(builder.clone()), ErrorKind::InvalidOption, &[option, way_out]);
        says(&builder.clone().open_degraded().unwrap_err(), ErrorKind::InvalidOption, &[option, way_out]);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was touched");
    for good in [dir.builder().wait(day), dir.builder().wait(Duration::ZERO), dir.builder().ring_bytes(4096)] {
        good.open().unwrap();
    }
    assert_eq!(
        dir.builder().options(Options { max_bytes: Some(0), ..Options::default() }).open().unwrap_err().kind(),
        ErrorKind::InvalidOption
    );
}

#[test]
fn an_unknown_when_lists_the_known_ones() {
    for text in ["", "X", "sec", "W", "W7", "W00", "midnigh", "M5", "ß"] {
        says(&When::parse(text).unwrap_err(), ErrorKind::InvalidOption, &["when", "W0 (Monday)"]);
    }
    for (text, when) in [("s", When::Second), ("midnight", When::Midnight), ("w6", When::Weekday(6))] {
        assert_eq!(When::parse(text).unwrap(), when);
    }
    assert_eq!(Schedule::new(When::Second, 0).unwrap_err().kind(), ErrorKind::InvalidOption);
    assert_eq!(Schedule::new(When::Weekday(7), 1).unwrap_err().kind(), ErrorKind::InvalidOption);
    assert_eq!(Schedule::new(When::Weekday(0), u32::MAX).unwrap_err().kind(), ErrorKind::InvalidOption);
}

#[test]
fn a_journal_dir_that_cannot_be_used_is_named_and_leaves_no_anchor() {
    let dir = Dir::new();
    std::fs::write(dir.file("plain"), "").unwrap();
    for bad in ["/proc", "/sys", "/nowhere/at/all", "/dev/null", dir.file("plain").to_str().unwrap()] {
        let e = refused(dir.builder().journal_dir(bad.into()));
        says(&e, e.kind(), &[bad, "journal_dir"]);
        assert!(matches!(e.kind(), ErrorKind::Os | ErrorKind::UnsupportedFileSystem), "{e}");
        assert!(!dir.journal().exists(), "{bad}: no anchor, so that the next try is free to do better");
    }
    dir.open().append(&record(1, 0, 60)).unwrap();
}

#[test]
fn an_unsupported_file_system_is_named_with_the_supported_ones_and_left_clean() {
    let dir = Dir::new();
    with_own_mounts(|| {
        std::fs::create_dir(dir.file("ram")).unwrap();
        mount("ramfs", &dir.file("ram"), "ramfs", 0, "");
        let path = dir.file("ram/app.log");
        let e = refused(Appender::builder(&path));
        says(&e, ErrorKind::UnsupportedFileSystem, &["ram", "0x858458f6", "journal_dir", "ext", "tmpfs"]);
        assert_eq!(std::fs::read_dir(dir.file("ram")).unwrap().count(), 0, "nothing is left there");
        let e = refused(dir.builder().journal_dir(dir.file("ram")));
        says(&e, ErrorKind::UnsupportedFileSystem, &["ram", "journal_dir"]);
        assert!(!dir.journal().exists(), "no anchor to a place that does not work");
        // The way out that the message names.
        let log = Appender::builder(&path).journal_dir(dir.path().into()).open().unwrap();
        log.append(&record(1, 0, 60)).unwrap();
        log.close().unwrap();
        let log = Appender::builder(&path).open_degraded().unwrap();
        log.append(&record(1, 1, 60)).unwrap();
        assert!(log.counters().is_degraded);
        assert_exactly(&std::fs::read(path).unwrap(), [(1, 2)]);
    });
}

#[test]
fn a_read_only_file_system_is_an_error_that_says_so() {
    let dir = Dir::new();
    with_own_mounts(|| {
        mount("tmpfs", dir.path(), "tmpfs", 0, "");
        std::fs::write(dir.file("there.log"), "").unwrap();
        mount("tmpfs", dir.path(), "tmpfs", libc::MS_REMOUNT | libc::MS_RDONLY, "");
        for name in ["there.log", "new.log"] {
            let e = refused(Appender::builder(dir.file(name)));
            says(&e, ErrorKind::Os, &[name, "Read-only file system"]);
            let log = Appender::builder(dir.file(name)).open_degraded().unwrap();
            let e = log.append(b"x\n").unwrap_err();
            says(&e, ErrorKind::Os, &[name, "Read-only file system"]);
            assert_eq!(log.counters().failed, 1);
        }
    });
}

#[test]
fn something_else_in_the_place_of_the_journal_is_named() {
    let dir = Dir::new();
    std::fs::write(dir.journal(), "not an anchor").unwrap();
    says(&refused(dir.builder()), ErrorKind::ForeignJournal, &[".app.log.everyline", "remove it"]);
    std::fs::remove_file(dir.journal()).unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.journal()).unwrap();
    says(&refused(dir.builder()), ErrorKind::Os, &[".app.log.everyline", "remove it"]);
    std::fs::remove_file(dir.journal()).unwrap();
    std::fs::create_dir_all(dir.inner("control")).unwrap();
    says(&refused(dir.builder()), ErrorKind::Os, &[".app.log.everyline", "control"]);
}

#[test]
fn asking_about_a_log_without_a_journal_says_that_nobody_is_attached() {
    let dir = Dir::new();
    std::fs::write(dir.log(), "text\n").unwrap();
    let errors = [
        everyline::status(&dir.log()).unwrap_err(),
        everyline::recover(&dir.log()).unwrap_err(),
        everyline::reopen(&dir.log()).unwrap_err(),
    ];
    for e in errors {
        says(&e, ErrorKind::NotAttached, &["app.log", "no process is attached"]);
    }
    let cleaned = everyline::clean(&dir.log()).unwrap();
    assert!(cleaned.removed.is_empty() && !cleaned.in_use);
    assert_eq!(dir.text(), "text\n");
    assert_eq!(dir.names(), ["app.log"]);
}
