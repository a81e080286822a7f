//! `everyline pipe`: standard input to the log, one line one record.
//!
//! Guarantees: every line that was read is handed to the engine, whole, in order, or is counted as missing and
//! reported. After SIGTERM or SIGINT the line under way is finished and nothing beyond it is read, so that the next
//! process on the same input goes on where this one ended. Reading never stops because of an error of the log: what
//! feeds the pipe should not be stopped by it.

use std::io::{self, Stdin};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use everyline::{Appender, Error, ErrorKind};
use rustix::io::Errno;

use crate::lines::{Line, Lines};
use crate::report::{Troubles, say};
use crate::settings::Settings;
use crate::signals::Signals;
use crate::{Exit, Result};

/// How reading came to its end.
enum End {
    /// End of the input, or a signal.
    Quiet,
    /// The log is our standard output, and its reader has gone.
    NoReader,
    /// The input failed.
    Failed(io::Error),
}

/// Runs until the input ends or a signal comes.
pub fn run(settings: Settings) -> Result<Exit> {
    let signals = Signals::install()?;
    let limit = usize::try_from(settings.options.overflow_bytes).unwrap_or(usize::MAX);
    let to_stdout = is_stdout(&settings.file);
    let log = Appender::builder(settings.file).options(settings.options).open()?;
    let mut pipe = Pipe {
        input: io::stdin(),
        lines: Lines::new(limit),
        sink: Sink { log, level: settings.level, troubles: Troubles::default(), to_stdout, no_reader: false },
        signals,
    };
    let end = pipe.copy();
    Ok(pipe.finish(end))
}

struct Pipe {
    input: Stdin,
    lines: Lines,
    sink: Sink,
    signals: Signals,
}

impl Pipe {
    /// Reads and writes, in large pieces, until the end.
    fn copy(&mut self) -> End {
        loop {
            if self.signals.take_reopen() {
                self.sink.reopen();
            }
            self.sink.troubles.report();
            let ready = match self.signals.wait(self.input.as_fd(), self.sink.troubles.next_report()) {
                Ok(ready) => ready,
                Err(error) => return End::Failed(error),
            };
            // After the wait, not before it: see the guarantee of `signals`.
            if self.signals.stop() {
                return self.finish_line();
            }
            if !ready {
                continue;
            }
            match read(self.input.as_fd(), self.lines.room()) {
                Ok(Some(0)) => return self.last_line(),
                Ok(Some(count)) => self.lines.take(count, |line| self.sink.put(line)),
                Ok(None) => {}
                Err(error) => return End::Failed(error),
            }
            if self.sink.no_reader {
                return End::NoReader;
            }
        }
    }

    /// After a signal: reads up to the end of the line under way, byte by byte so as to take nothing beyond it.
    fn finish_line(&mut self) -> End {
        while self.lines.in_line() && !self.signals.stop_now() {
            match self.signals.wait(self.input.as_fd(), None) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => return End::Failed(error),
            }
            match read(self.input.as_fd(), &mut self.lines.room()[..1]) {
                Ok(Some(0)) => break,
                Ok(Some(count)) => self.lines.take(count, |line| self.sink.put(line)),
                Ok(None) => {}
                Err(error) => return End::Failed(error),
            }
        }
        self.last_line()
    }

    /// What is there of a line gets its newline.
    fn last_line(&mut self) -> End {
        self.lines.finish(|line| self.sink.put(line));
        if self.sink.no_reader { End::NoReader } else { End::Quiet }
    }

    /// Waits until all is in the file, lets go of the log, and says how it went.
    fn finish(mut self, end: End) -> Exit {
        if matches!(end, End::Failed(_)) {
            self.last_line();
        }
        let written = self.sink.close();
        self.sink.troubles.report_now();
        match end {
            End::Failed(error) => {
                say(format_args!("read standard input: {error}"));
                Exit::Failed
            }
            End::NoReader => Exit::Done,
            End::Quiet if written && !self.sink.troubles.is_incomplete() => Exit::Done,
            End::Quiet => Exit::Incomplete,
        }
    }
}

/// Where the lines go.
struct Sink {
    log: Appender,
    level: u8,
    troubles: Troubles,
    to_stdout: bool,
    no_reader: bool,
}

impl Sink {
    fn put(&mut self, line: Line<'_>) {
        match line {
            Line::TooLong(bytes) => self.troubles.too_long(bytes),
            Line::Whole(record) => {
                if let Err(error) = self.log.append_at(self.level, record) {
                    self.failed(&error);
                }
            }
        }
        // A piece of input may hold thousands of lines, and each may wait for room.
        self.troubles.report();
    }

    fn failed(&mut self, error: &Error) {
        if self.to_stdout && error.raw_os_error() == Some(Errno::PIPE.raw_os_error()) {
            self.no_reader = true;
        } else {
            self.troubles.failed(error);
        }
    }

    /// SIGHUP. That not all is in the old file yet is no reason to go on with it: the engine holds the rest.
    fn reopen(&self) {
        if let Err(error) = self.log.flush().and_then(|()| self.log.reopen()) {
            say(format_args!("{error}"));
        }
    }

    /// True if all that was accepted is in the file.
    fn close(&self) -> bool {
        if self.no_reader {
            return false;
        }
        // Both: `flush` moves to a new journal if the old one was taken away, and `close` gives the slot back. After a
        // failure it is the end of the process that gives it back, without a further wait.
        let result = self.log.flush().and_then(|()| self.log.close());
        let Err(error) = result else { return true };
        say(format_args!("{error}"));
        if error.kind() == ErrorKind::TimedOut {
            let log = self.log.path().display();
            say(format_args!("the next process on {log} writes the rest, or `everyline recover` does"));
        }
        false
    }
}

/// Reads what is there. `None`: nothing yet (a nonblocking input, or a signal).
fn read(input: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<Option<usize>> {
    match rustix::io::read(input, room) {
        Ok(count) => Ok(Some(count)),
        Err(Errno::INTR | Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// True if `file` is what our standard output is, so that a reader who goes away is no error.
fn is_stdout(file: &Path) -> bool {
    let Ok(out) = rustix::fs::fstat(io::stdout()) else { return false };
    rustix::fs::stat(file).is_ok_and(|target| (target.st_dev, target.st_ino) == (out.st_dev, out.st_ino))
}
