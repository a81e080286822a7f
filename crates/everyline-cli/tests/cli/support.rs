//! A directory for each test, the command under test, and waiting for a condition instead of for a time.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with room for one log, removed at the end.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: TempDir::new().expect("a temporary directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn log(&self) -> PathBuf {
        self.path("app.log")
    }

    /// The names in the directory, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).expect("list the directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The log and its numbered archives, oldest first, each with its bytes.
    pub fn files(&self) -> Vec<Vec<u8>> {
        let mut numbers: Vec<u32> =
            self.names().iter().filter_map(|name| name.strip_prefix("app.log.")?.parse().ok()).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let archives = numbers.into_iter().map(|n| self.path(&format!("app.log.{n}")));
        archives.chain([self.log()]).map(|path| fs::read(path).expect("read a log")).collect()
    }
}

/// The command under test.
pub fn everyline(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everyline"));
    command.args(args);
    command
}

/// `everyline pipe OPTIONS FILE`, with standard input and standard error piped to the test.
pub fn pipe(options: &[&str], file: &Path) -> Command {
    let mut command = everyline(&["pipe"]);
    command.args(options).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().expect("run the command")
}

/// Runs a pipe with `input` to its end.
pub fn feed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.spawn().expect("start the pipe");
    let mut stdin = child.stdin.take().expect("its standard input is piped");
    // A pipe that ends early closes its end; its exit code tells.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("wait for the pipe")
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(pid(child), signal).expect("send a signal");
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Waits until `condition` holds; `what` is for the message if it never does.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the file at `path` has exactly these bytes.
pub fn until_file_is(path: &Path, bytes: &[u8]) {
    until(&format!("{} to hold {} bytes", path.display(), bytes.len()), || {
        fs::read(path).is_ok_and(|content| content == bytes)
    });
}

#[track_caller]
pub fn assert_exit(output: &Output, code: i32) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{}\nstdout: {out}\nstderr: {err}", output.status);
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
