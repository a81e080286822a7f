//! From a record to a line: Python's `%`-style, or one JSON object. A line never holds what a stranger could pass off as
//! another line, unless escaping is switched off.

mod json;
mod percent;

pub use percent::Percent;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::{Record, Value, escape};

/// How records of one log are written.
#[derive(Clone, Debug)]
pub struct Format {
    /// What is written.
    pub style: Style,
    /// Controls and line breaks in what came are escaped.
    pub escape: bool,
}

/// What is written.
#[derive(Clone, Debug)]
pub enum Style {
    /// Text, as Python's `logging.Formatter` with `style="%"`.
    Percent(Percent),
    /// One object, with the names of `everyline.JsonFormatter`.
    Json,
}

impl Format {
    /// Writes the record and its line break.
    pub fn line(&self, record: &Record, out: &mut String) {
        match &self.style {
            Style::Percent(format) => format.write(record, self.escape, out),
            Style::Json => json::write(record, self.escape, out),
        }
        out.push('\n');
    }
}

/// A time in seconds since 1970; `None` if no calendar has it.
fn timestamp(seconds: f64) -> Option<Timestamp> {
    // Microseconds: with more, the digits that a float does not have would be made up.
    let micros = (seconds * 1e6).round();
    (micros.abs() < 9e18).then(|| Timestamp::from_microsecond(micros as i64).ok()).flatten()
}

/// Appends a value as Python's `str` would print it, near enough to be read.
fn push_text(out: &mut String, value: &Value, escape: bool) {
    use std::fmt::Write;
    match value {
        Value::Str(text) => escape::push(out, text, escape),
        Value::None => out.push_str("None"),
        Value::Bool(flag) => out.push_str(if *flag { "True" } else { "False" }),
        Value::Int(number) => drop(write!(out, "{number}")),
        Value::Float(number) => drop(write!(out, "{number:?}")),
        Value::Bytes(bytes) => escape::push(out, &String::from_utf8_lossy(bytes), escape),
        Value::List(_) | Value::Dict(_) => json::push_value(out, value, escape),
    }
}

/// The time of a record in the time zone of the machine.
fn local(record: &Record) -> Option<jiff::Zoned> {
    Some(timestamp(record.created())?.to_zoned(TimeZone::system()))
}
