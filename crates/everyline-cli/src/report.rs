//! Talk on standard error: one line each, with the name of the command in front. Never fails and never panics: when
//! standard error is gone there is nobody to tell.
//!
//! [`Troubles`] counts the lines of a pipe that were not written as asked, and speaks of them at most once a second: a
//! full disk must not make a second flood.

use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

use everyline::{Error, ErrorKind};

/// Least time between two reports of losses.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Prints one line on standard error.
pub fn say(message: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "everyline: {message}");
}

/// Lines that were not written as asked, by reason.
#[derive(Debug, Default)]
pub struct Troubles {
    too_long: u64,
    dropped: u64,
    failed: u64,
    /// Accepted, but not in the file or on disk when the wait for it was over. No line is missing.
    late: u64,
    /// The last one, in words.
    last: Option<String>,
    reported: u64,
    reported_at: Option<Instant>,
}

impl Troubles {
    /// Counts a line of `bytes` that is longer than the limit.
    pub fn too_long(&mut self, bytes: u64) {
        self.too_long += 1;
        self.last = Some(format!("a line of {bytes} bytes is longer than --overflow allows"));
    }

    /// Counts a line with which the engine had trouble.
    pub fn failed(&mut self, error: &Error) {
        match error.kind() {
            ErrorKind::Dropped => self.dropped += 1,
            ErrorKind::RecordTooLarge => self.too_long += 1,
            ErrorKind::TimedOut => self.late += 1,
            _ => self.failed += 1,
        }
        self.last = Some(error.to_string());
    }

    /// True if lines may be missing from the log, or from the disk if that was asked for.
    pub fn is_incomplete(&self) -> bool {
        self.count() > self.late
    }

    fn count(&self) -> u64 {
        self.too_long + self.dropped + self.failed + self.late
    }

    /// Reports what is new, if the last report is long enough ago.
    pub fn report(&mut self) {
        if self.next_report().is_some_and(|wait| wait.is_zero()) {
            self.report_now();
        }
    }

    /// Reports what is new.
    pub fn report_now(&mut self) {
        if self.count() == self.reported {
            return;
        }
        say(format_args!("{self}"));
        self.reported = self.count();
        self.reported_at = Some(Instant::now());
    }

    /// How long until there is something to report; `None`: nothing new.
    pub fn next_report(&self) -> Option<Duration> {
        if self.count() == self.reported {
            return None;
        }
        let elapsed = self.reported_at.map_or(REPORT_EVERY, |at| at.elapsed());
        Some(REPORT_EVERY.saturating_sub(elapsed))
    }
}

impl fmt::Display for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = if self.count() == 1 { "line was" } else { "lines were" };
        write!(f, "{} {lines} not written as asked so far", self.count())?;
        let reasons =
            [(self.dropped, "dropped"), (self.too_long, "too long"), (self.failed, "failed"), (self.late, "late")];
        let mut between = " (";
        for (count, reason) in reasons.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{between}{count} {reason}")?;
            between = ", ";
        }
        f.write_str(")")?;
        match &self.last {
            Some(last) => write!(f, "; the last: {last}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_at_least_a_second_apart_and_name_the_reasons() {
        let mut troubles = Troubles::default();
        assert_eq!(troubles.next_report(), None);
        troubles.too_long(11);
        assert_eq!(troubles.next_report(), Some(Duration::ZERO));
        troubles.report();
        assert_eq!(troubles.next_report(), None);
        troubles.too_long(12);
        assert!(troubles.next_report().is_some_and(|wait| wait > REPORT_EVERY / 2));
        assert!(troubles.is_incomplete());
        assert_eq!(
            troubles.to_string(),
            "2 lines were not written as asked so far (2 too long); \
             the last: a line of 12 bytes is longer than --overflow allows"
        );
    }
}
