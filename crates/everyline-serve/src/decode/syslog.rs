//! Syslog messages, of RFC 5424 and RFC 3164, and what is merely sent in their name.
//!
//! Nothing with text in it is refused: RFC 3164 describes what was found in the wild, and a message that cannot be taken
//! apart is a message still. `name` is the program, `facility`, `severity` and `host` are fields of their own.

use super::Limits;
use crate::record::level_name;
use crate::{Reason, Record, Value};

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Of a message that does not say: user.notice (RFC 3164, 4.3.3).
const PRIORITY: usize = 13;

/// True for a name of a facility.
pub fn is_facility(name: &str) -> bool {
    FACILITIES.contains(&name)
}

/// The record in one message, without its framing.
///
/// # Errors
/// `TooLarge` only.
pub fn record(bytes: &[u8], limits: &Limits) -> Result<Record, Reason> {
    if bytes.len() > limits.record_bytes {
        return Err(Reason::TooLarge);
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\0', '\n', '\r']);
    let (priority, rest) = priority(text).unwrap_or((PRIORITY, text));
    let mut record = Record::default();
    match rfc5424(rest) {
        Some(fields) => fields.into_iter().for_each(|(name, value)| record.set(name, value)),
        None => rfc3164(rest, &mut record),
    }
    let severity = priority % 8;
    let level = [50, 50, 50, 40, 30, 20, 20, 10][severity];
    record.set("levelno", Value::Int(level));
    record.set("levelname", text_value(level_name(level).unwrap_or("INFO")));
    record.set("facility", text_value(FACILITIES[priority / 8]));
    record.set("severity", text_value(SEVERITIES[severity]));
    Ok(record)
}

fn text_value(text: &str) -> Value {
    Value::Str(text.to_owned())
}

/// `<13>`: at most three digits, at most 191.
fn priority(text: &str) -> Option<(usize, &str)> {
    let (digits, rest) = text.strip_prefix('<')?.split_once('>')?;
    let is_number = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number = digits.parse().ok().filter(|number| is_number && *number < 8 * FACILITIES.len())?;
    Some((number, rest))
}

/// `1 TIMESTAMP HOST APP PROCID MSGID SD MSG`, each of them `-` for nothing.
fn rfc5424(text: &str) -> Option<Vec<(String, Value)>> {
    let mut rest = text.strip_prefix("1 ")?;
    let mut header = [""; 5];
    for field in &mut header {
        (*field, rest) = rest.split_once(' ')?;
    }
    let [time, host, app, process, id] = header;
    let mut fields = Vec::new();
    if time != "-" {
        let time: jiff::Timestamp = time.parse().ok()?;
        fields.push(("created".to_owned(), Value::Float(time.as_duration().as_secs_f64())));
    }
    let data = if let Some(after) = rest.strip_prefix('-') {
        rest = after;
        Vec::new()
    } else {
        let (data, after) = structured_data(rest)?;
        rest = after;
        data
    };
    for (name, text) in [("host", host), ("name", app), ("msgid", id)] {
        if text != "-" {
            fields.push((name.to_owned(), text_value(text)));
        }
    }
    if process != "-" {
        fields.push(("process".to_owned(), process_id(process)));
    }
    fields.extend(data);
    let message = rest.strip_prefix(' ').unwrap_or(rest);
    fields.push(("message".to_owned(), text_value(message.strip_prefix('\u{feff}').unwrap_or(message))));
    Some(fields)
}

fn process_id(text: &str) -> Value {
    text.parse().map_or_else(|_| text_value(text), Value::Int)
}

/// `[id name="value" ...][...]`, as fields `id.name`. `None`: it is not that, so the message is no RFC 5424.
fn structured_data(mut text: &str) -> Option<(Vec<(String, Value)>, &str)> {
    let mut fields = Vec::new();
    while let Some(element) = text.strip_prefix('[') {
        let end = element.find([' ', ']'])?;
        let id = &element[..end];
        text = &element[end..];
        while let Some(parameter) = text.strip_prefix(' ') {
            let (name, after) = parameter.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            if fields.len() < 128 {
                fields.push((format!("{id}.{name}"), Value::Str(value)));
            }
            text = after;
        }
        text = text.strip_prefix(']')?;
    }
    (text.is_empty() || text.starts_with(' ')).then_some((fields, text))
}

/// Up to the closing quote; `\"`, `\\` and `\]` are escapes, any other backslash is one.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                escaped @ ('"' | '\\' | ']') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            _ => value.push(c),
        }
    }
    None
}

/// `Mmm dd hh:mm:ss [HOST] TAG[PID]: message`. Without a time there is no telling a tag from a message: Python's
/// `SysLogHandler` sends neither.
fn rfc3164(text: &str, record: &mut Record) {
    let Some((stamp, rest)) = bsd_time(text) else {
        return record.set("message", text_value(text));
    };
    // It has no year and no zone: the time of arrival says more.
    record.set("stamp", text_value(stamp));
    let (host, rest) = match rest.split_once(' ') {
        // logger(1) and syslog(3) leave the host out on a local socket.
        Some((word, after)) if !word.ends_with(':') && !word.contains('[') && tag(after).is_some() => {
            (Some(word), after)
        }
        _ => (None, rest),
    };
    if let Some(host) = host {
        record.set("host", text_value(host));
    }
    let Some((program, process, message)) = tag(rest) else {
        return record.set("message", text_value(rest));
    };
    record.set("name", text_value(program));
    if let Some(process) = process {
        record.set("process", process_id(process));
    }
    record.set("message", text_value(message));
}

/// A time as `Jan  2 03:04:05`, and what follows its space.
fn bsd_time(text: &str) -> Option<(&str, &str)> {
    let stamp = text.get(..15)?;
    let bytes = stamp.as_bytes();
    let shape = |at: usize, byte: u8| bytes[at] == byte;
    let digits = [8, 10, 11, 13, 14].iter().all(|at| bytes[*at].is_ascii_digit());
    (stamp.is_ascii()
        && MONTHS.contains(&&stamp[..3])
        && shape(3, b' ')
        && shape(6, b' ')
        && shape(9, b':')
        && shape(12, b':')
        && digits)
        .then_some(())?;
    Some((stamp, text[15..].strip_prefix(' ')?))
}

/// `program: message` or `program[123]: message`.
fn tag(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (word, message) = match text.split_once(": ") {
        Some(parts) => parts,
        None => (text.strip_suffix(':')?, ""),
    };
    if word.is_empty() || word.contains(char::is_whitespace) {
        return None;
    }
    match word.split_once('[') {
        Some((program, process)) => Some((program, Some(process.strip_suffix(']')?), message)),
        None => Some((word, None, message)),
    }
}
