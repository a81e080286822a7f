//! Python's `%`-style: `%(asctime)s %(levelname)-8s %(message)s`.
//!
//! The format is read once, when it is configured, and what cannot be is refused then. A field that a record does not
//! have is written as `-`: a stranger's record must not be lost because it lacks one.

use super::{local, push_text};
use crate::{Record, Value, escape};

/// A format that was read.
#[derive(Clone, Debug)]
pub struct Percent {
    parts: Vec<Part>,
    datefmt: Option<String>,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    Field { name: String, left: bool, zero: bool, width: usize, precision: Option<usize>, kind: char },
}

/// No line needs a wider field; a precision as long says nothing.
const WIDTH_MAX: usize = 1024;

impl Percent {
    /// Reads a format, and the `strftime` format of its `asctime`.
    ///
    /// # Errors
    /// What is wrong with it, and what was expected.
    pub fn new(format: &str, datefmt: Option<&str>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = format;
        while let Some((literal, after)) = rest.split_once('%') {
            push_literal(&mut parts, literal);
            if let Some(after) = after.strip_prefix('%') {
                push_literal(&mut parts, "%");
                rest = after;
                continue;
            }
            let (part, after) = field(after).ok_or_else(|| {
                let near: String = after.chars().take(20).collect();
                format!("expected %(name)s, with s, r, d, i or f behind the name (and %% for a percent sign), at \"%{near}\"")
            })?;
            parts.push(part);
            rest = after;
        }
        push_literal(&mut parts, rest);
        if let Some(format) = datefmt {
            jiff::fmt::strtime::format(format, &jiff::Zoned::now())
                .map_err(|e| format!("expected a format of strftime: {e}"))?;
        }
        Ok(Self { parts, datefmt: datefmt.map(str::to_owned) })
    }

    /// Writes the record; then, as Python does, its traceback and its stack.
    pub fn write(&self, record: &Record, escape: bool, out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Field { .. } => self.write_field(part, record, escape, out),
            }
        }
        for name in ["exc_text", "stack_info"] {
            if let Some(Value::Str(text)) = record.get(name)
                && !text.is_empty()
            {
                escape::push(out, "\n", escape);
                escape::push(out, text, escape);
            }
        }
    }

    fn write_field(&self, part: &Part, record: &Record, escape: bool, out: &mut String) {
        let Part::Field { name, left, zero, width, precision, kind } = part else { return };
        let mut text = String::new();
        match (record.get(name), name.as_str()) {
            (_, "asctime") => text = self.asctime(record),
            (None, "msecs") => push_number(&mut text, (record.created().fract() * 1e3).trunc(), *kind, *precision),
            (None, _) => text.push('-'),
            (Some(value), _) => match (kind, value.as_f64()) {
                ('f' | 'd' | 'i', Some(_)) if *kind != 'f' && value.as_int().is_some() => {
                    push_text(&mut text, value, escape)
                }
                ('f' | 'd' | 'i', Some(number)) => push_number(&mut text, number, *kind, *precision),
                _ => {
                    push_text(&mut text, value, escape);
                    if let Some((end, _)) = precision.and_then(|most| text.char_indices().nth(most)) {
                        text.truncate(end);
                    }
                }
            },
        }
        let pad = width.saturating_sub(text.chars().count());
        let is_number = *zero && !left && matches!(kind, 'd' | 'i' | 'f');
        if is_number {
            let sign = usize::from(text.starts_with('-'));
            text.insert_str(sign, &"0".repeat(pad));
        } else if !left {
            out.extend(std::iter::repeat_n(' ', pad));
        }
        out.push_str(&text);
        if *left {
            out.extend(std::iter::repeat_n(' ', pad));
        }
    }

    /// Python's: `2026-01-31 10:15:00,123`, local time.
    fn asctime(&self, record: &Record) -> String {
        let Some(time) = local(record) else { return record.created().to_string() };
        match &self.datefmt {
            Some(format) => time.strftime(format).to_string(),
            None => format!("{},{:03}", time.strftime("%Y-%m-%d %H:%M:%S"), time.millisecond()),
        }
    }
}

fn push_number(text: &mut String, number: f64, kind: char, precision: Option<usize>) {
    use std::fmt::Write;
    // Writing to a String cannot fail.
    let _ = match kind {
        'f' => write!(text, "{number:.*}", precision.unwrap_or(6)),
        _ => write!(text, "{:.0}", number.trunc()),
    };
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Literal(before)) => before.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

/// `(name)-08.3f`, behind the percent sign.
fn field(text: &str) -> Option<(Part, &str)> {
    let (name, rest) = text.strip_prefix('(')?.split_once(')')?;
    let flags = rest.trim_start_matches(['-', '0', '+', ' ', '#']);
    let (flags, rest) = (&rest[..rest.len() - flags.len()], flags);
    let (width, rest) = number(rest)?;
    let (precision, rest) = match rest.strip_prefix('.') {
        Some(after) => number(after).map(|(precision, rest)| (Some(precision), rest))?,
        None => (None, rest),
    };
    let kind = rest.chars().next().filter(|kind| "srdif".contains(*kind))?;
    let (left, zero) = (flags.contains('-'), flags.contains('0'));
    Some((Part::Field { name: name.to_owned(), left, zero, width, precision, kind }, &rest[1..]))
}

fn number(text: &str) -> Option<(usize, &str)> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &text[..text.len() - rest.len()];
    let number = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    (number <= WIDTH_MAX).then_some((number, rest))
}
