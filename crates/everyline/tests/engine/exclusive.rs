//! Steps of the application's own under the lease: `Appender::try_exclusive`.

use std::fs;

use everyline::{Appender, ErrorKind, Naming};

use crate::support::Dir;

fn step<R>(log: &Appender, mut act: impl FnMut() -> R) -> R {
    let started = std::time::Instant::now();
    loop {
        if let Some(result) = log.try_exclusive(&mut act).unwrap() {
            return result;
        }
        assert!(started.elapsed().as_secs() < 20, "the lease is never free");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn what_was_appended_before_is_in_the_file_and_what_comes_after_in_the_new_one() {
    let dir = Dir::new();
    let log = dir.builder().open().unwrap();
    log.append(b"before\n").unwrap();
    let seen = step(&log, || {
        let seen = fs::read(dir.log()).unwrap();
        fs::rename(dir.log(), dir.file("mine")).unwrap();
        log.append_at(50, b"inside\n").unwrap();
        log.flush().unwrap();
        seen
    });
    assert_eq!(seen, b"before\n");
    log.append(b"after\n").unwrap();
    assert_eq!(fs::read(dir.file("mine")).unwrap(), b"before\n");
    assert_eq!(fs::read(dir.log()).unwrap(), b"inside\nafter\n");
    assert_eq!(log.glance().unwrap().rotations, 1);
}

#[test]
fn a_file_that_the_step_has_made_is_taken_up_and_a_deleted_one_is_not_rescued() {
    let dir = Dir::new();
    let log = dir.builder().open().unwrap();
    let other = dir.builder().open().unwrap();
    for n in 0..50 {
        log.append(format!("old {n}\n").as_bytes()).unwrap();
        step(&log, || {
            fs::remove_file(dir.log()).unwrap();
            fs::write(dir.log(), format!("header {n}\n")).unwrap();
        });
        other.append(b"new\n").unwrap();
        assert_eq!(fs::read_to_string(dir.log()).unwrap(), format!("header {n}\nnew\n"));
    }
}

#[test]
fn a_step_that_is_killed_leaves_a_log_that_goes_on_at_its_path() {
    for wait_ms in [0, 3, 30] {
        let dir = Dir::new();
        let log = dir.builder().open().unwrap();
        log.append(b"before\n").unwrap();
        // SAFETY: the child runs the engine, which is made for forks, and ends by a signal.
        let child = unsafe { libc::fork() };
        if child == 0 {
            step(&log, || {
                let _ = fs::rename(dir.log(), dir.file("mine"));
                std::thread::sleep(std::time::Duration::from_millis(wait_ms));
                // SAFETY: ends this process.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            });
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert!(libc::WIFSIGNALED(status));
        log.append(b"after\n").unwrap();
        log.flush().unwrap();
        assert_eq!(fs::read(dir.file("mine")).unwrap(), b"before\n");
        assert_eq!(fs::read(dir.log()).unwrap(), b"after\n");
    }
}

#[test]
fn a_step_may_fork_and_both_go_on() {
    let dir = Dir::new();
    let log = dir.builder().open().unwrap();
    log.append(b"before\n").unwrap();
    // SAFETY: the child appends and ends by `_exit`.
    let child = step(&log, || unsafe { libc::fork() });
    if child == 0 {
        let ok = log.append(b"child\n").is_ok() && log.flush().is_ok();
        // SAFETY: ends the child without running anything of the test harness.
        unsafe { libc::_exit(i32::from(!ok)) };
    }
    log.append(b"parent\n").unwrap();
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
    log.flush().unwrap();
    let text = fs::read_to_string(dir.log()).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["before", "child", "parent"]);
}

#[test]
fn other_threads_publish_while_a_step_runs_and_lose_nothing() {
    let dir = Dir::new();
    let log = dir.builder().open().unwrap();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|t| {
                let log = &log;
                scope.spawn(move || (0..2000).for_each(|n| log.append(format!("{t} {n}\n").as_bytes()).unwrap()))
            })
            .collect();
        let mut cuts = 0;
        while threads.iter().any(|t| !t.is_finished()) {
            step(&log, || fs::rename(dir.log(), dir.file(&format!("cut-{cuts:03}"))).unwrap());
            cuts += 1;
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(cuts > 0);
    });
    log.flush().unwrap();
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|p| p.file_name().unwrap().to_str().unwrap().starts_with("cut-"));
    names.sort();
    names.push(dir.log());
    let text: String = names.iter().map(|p| fs::read_to_string(p).unwrap()).collect();
    for t in 0..3 {
        let found: Vec<usize> =
            text.lines().filter_map(|line| line.strip_prefix(&format!("{t} ")).map(|n| n.parse().unwrap())).collect();
        assert_eq!(found, (0..2000).collect::<Vec<_>>(), "thread {t}");
    }
}

#[test]
fn without_a_journal_there_are_no_steps() {
    let log = Appender::builder("/dev/null").open().unwrap();
    let error = log.try_exclusive(|| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotRotatable);
    assert_eq!(log.glance(), None);
}

#[test]
fn a_cut_may_be_staged_under_a_hidden_name() {
    let dir = Dir::new();
    let log = dir.builder().max_bytes(10).naming(Naming::Staged).keep(None).open().unwrap();
    for n in 0..4 {
        log.append(format!("record {n}\n").as_bytes()).unwrap();
    }
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.contains(".staged-"));
    names.sort();
    let texts: Vec<_> = names.iter().map(|name| fs::read_to_string(dir.file(name)).unwrap()).collect();
    assert_eq!(texts, ["record 0\n", "record 1\n", "record 2\n"], "{names:?}");
    assert_eq!(log.glance().unwrap().rotations, 3);
}

#[test]
fn the_right_to_treat_archives_is_one_processs_and_no_childs() {
    let dir = Dir::new();
    let (log, other) = (dir.builder().open().unwrap(), dir.builder().open().unwrap());
    assert!(log.begin_maintenance().unwrap());
    assert!(!other.begin_maintenance().unwrap(), "another appender of this process");
    // SAFETY: the child asks once and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let got = log.begin_maintenance().unwrap_or(true);
        // SAFETY: ends the child without running anything of the test harness.
        unsafe { libc::_exit(i32::from(got)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "a child got what its parent has");
    log.end_maintenance();
    assert!(other.begin_maintenance().unwrap());
}
