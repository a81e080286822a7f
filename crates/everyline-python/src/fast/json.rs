//! `everyline.JsonFormatter`, compiled.
//!
//! Promise: the line that `JsonFormatter.format` makes with the module `json`. Everything out of the ordinary is refused
//! before any code of the application has run, and left to it: exceptions and stacks, names that are taken, values of types
//! that `json` does not know, numbers without end, keys that are no text.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFrozenSet, PyFrozenSetMethods, PyList, PyString, PyTuple, PyType};

use super::formatter::Failure;
use super::handler::with_message;
use super::raw;
use super::text::{Refused, Text, Value};
use super::watch::get;

/// Of a member: deeper values are left to Python, which makes text of them.
const DEPTH: usize = 7;
/// The year 10000.
const END_OF_TIME: f64 = 253_402_300_800.0;
/// The names that are taken.
const OURS: [&str; 8] = ["time", "level", "logger", "message", "pid", "thread", "exception", "stack"];

/// One `JsonFormatter`.
pub struct Plan {
    /// `static`, which may be changed in place.
    members: Py<PyDict>,
    /// Attributes that every record has.
    usual: Py<PyFrozenSet>,
}

impl Plan {
    /// None: not one of ours, changed, or with options that are left to Python.
    pub fn of(formatter: &Bound<'_, PyAny>) -> Option<Self> {
        let py = formatter.py();
        let class = formatter.get_type();
        let module = py.import("everyline.json_lines").ok()?;
        let ours = module.getattr("JsonFormatter").ok()?.cast_into::<PyType>().ok()?;
        let dict = raw::instance_dict(formatter)?;
        let own = |name: &str| {
            let Ok(found) = class.getattr(name) else { return false };
            let text = |of: &str| found.getattr(of).and_then(|text| text.extract::<String>()).unwrap_or_default();
            text("__module__") == "everyline.json_lines" && text("__qualname__") == format!("JsonFormatter.{name}")
        };
        let replaced = |name: &&str| dict.contains(*name).unwrap_or(true) || !own(name);
        if !class.is(&ours) || ["format", "formatTime"].iter().any(replaced) {
            return None;
        }
        let flag = |name: &Bound<'_, PyString>, wanted: bool| {
            get(&dict, name).is_some_and(|flag| flag.cast_exact::<PyBool>().is_ok_and(|flag| flag.is_true() == wanted))
        };
        if !flag(intern!(py, "utc"), true) || !flag(intern!(py, "ensure_ascii"), false) {
            return None;
        }
        let members = get(&dict, intern!(py, "static"))?.cast_into_exact::<PyDict>().ok()?.unbind();
        let usual = module.getattr("_USUAL").ok()?.cast_into::<PyFrozenSet>().ok()?.unbind();
        Some(Self { members, usual })
    }

    pub fn write(&self, dict: &Bound<'_, PyDict>, out: &mut Text) -> Result<(), Failure> {
        let py = dict.py();
        let of = |name| attribute(dict, name);
        for name in [intern!(py, "exc_info"), intern!(py, "exc_text"), intern!(py, "stack_info")] {
            if !of(name)?.is_none() {
                return Err(Failure::Refused);
            }
        }
        let created = of(intern!(py, "created"))?;
        if get(dict, intern!(py, "getMessage")).is_some() || !raw::is_exact_float(&created) {
            return Err(Failure::Refused);
        }
        begin_line(created.extract()?, out)?;
        write_key(b"level", out);
        write_value(&of(intern!(py, "levelname"))?, DEPTH, out)?;
        write_key(b"logger", out);
        write_value(&of(intern!(py, "name"))?, DEPTH, out)?;
        write_key(b"message", out);
        with_message(|message| -> Result<(), Refused> {
            write_plain_message(&of(intern!(py, "msg"))?, &of(intern!(py, "args"))?, message)?;
            if message.odd {
                return Err(Refused);
            }
            write_bytes(&message.bytes, out);
            Ok(())
        })?;
        write_key(b"pid", out);
        write_value(&of(intern!(py, "process"))?, DEPTH, out)?;
        write_key(b"thread", out);
        write_value(&of(intern!(py, "threadName"))?, DEPTH, out)?;
        self.write_members(py, out)?;
        self.write_extra(dict, out)?;
        out.bytes.push(b'}');
        Ok(())
    }

    /// `static`.
    pub fn write_members(&self, py: Python<'_>, out: &mut Text) -> Result<(), Refused> {
        for (name, value) in self.members.bind(py).iter() {
            write_member(&name, &value, out)?;
        }
        Ok(())
    }

    fn write_extra(&self, dict: &Bound<'_, PyDict>, out: &mut Text) -> Result<(), Refused> {
        let (usual, members) = (self.usual.bind(dict.py()), self.members.bind(dict.py()));
        for (name, value) in dict.iter() {
            if !raw::is_exact_str(&name) {
                return Err(Refused);
            }
            if usual.contains(&name).map_err(|_| Refused)? {
                continue;
            }
            if !members.is_empty() && members.contains(&name).map_err(|_| Refused)? {
                return Err(Refused);
            }
            write_member(&name, &value, out)?;
        }
        Ok(())
    }
}

fn attribute<'py>(dict: &Bound<'py, PyDict>, name: &Bound<'py, PyString>) -> Result<Bound<'py, PyAny>, Refused> {
    get(dict, name).ok_or(Refused)
}

/// `getMessage`, where it runs no code of the application.
fn write_plain_message(
    message: &Bound<'_, PyAny>,
    arguments: &Bound<'_, PyAny>,
    out: &mut Text,
) -> Result<(), Refused> {
    if !raw::is_exact_str(message) {
        return Err(Refused);
    }
    let text = raw::utf8(message.cast::<PyString>().map_err(|_| Refused)?).ok_or(Refused)?;
    let arguments = match arguments.cast_exact::<PyTuple>() {
        Ok(arguments) if !arguments.is_empty() => arguments,
        Err(_) if !arguments.is_none() => return Err(Refused),
        _ => {
            out.bytes.extend_from_slice(text);
            return Ok(());
        }
    };
    out.write_message(text, arguments.iter_borrowed())
}

/// The brace, and the time in UTC.
pub fn begin_line(created: f64, out: &mut Text) -> Result<(), Refused> {
    out.bytes.extend_from_slice(b"{\"time\": \"");
    write_utc(created, out)?;
    out.bytes.push(b'"');
    Ok(())
}

/// `datetime.fromtimestamp(created, timezone.utc).isoformat(timespec="milliseconds")`, with Z: microseconds are rounded,
/// half to even, and what is below a millisecond is cut off.
fn write_utc(created: f64, out: &mut Text) -> Result<(), Refused> {
    if !(0.0..END_OF_TIME).contains(&created) {
        return Err(Refused);
    }
    let mut second = created.trunc() as i64;
    let mut micros = ((created - created.trunc()) * 1e6).round_ties_even() as i64;
    if micros >= 1_000_000 {
        micros -= 1_000_000;
        second += 1;
    }
    let (days, second) = (second / 86_400, second % 86_400);
    // From days since 1970 to a date: eras of 400 years, years that begin in March.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    if year > 9_999 {
        return Err(Refused);
    }
    let parts = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3_600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
        (micros / 1_000, 3, b'Z'),
    ];
    for (number, width, end) in parts {
        out.write_whole(number, width, true);
        out.bytes.push(end);
    }
    Ok(())
}

/// The comma before a member, and its name.
pub fn write_key(name: &[u8], out: &mut Text) {
    out.bytes.extend_from_slice(b", \"");
    out.bytes.extend_from_slice(name);
    out.bytes.extend_from_slice(b"\": ");
}

fn write_member(name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>, out: &mut Text) -> Result<(), Refused> {
    if !raw::is_exact_str(name) {
        return Err(Refused);
    }
    let name = raw::utf8(name.cast::<PyString>().map_err(|_| Refused)?).ok_or(Refused)?;
    if OURS.iter().any(|ours| ours.as_bytes() == name) {
        return Err(Refused);
    }
    out.bytes.extend_from_slice(b", ");
    write_bytes(name, out);
    out.bytes.extend_from_slice(b": ");
    write_value(value, DEPTH, out)
}

/// A JSON string.
pub fn write_bytes(text: &[u8], out: &mut Text) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let out = &mut out.bytes;
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            byte => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// A value that may be no object yet.
pub fn write(value: &Value<'_, '_>, out: &mut Text) -> Result<(), Refused> {
    match value {
        Value::Bytes(bytes) => write_bytes(bytes, out),
        Value::Int(number) => out.write_whole(*number, 0, false),
        Value::Float(_) => return Err(Refused),
        Value::None => out.bytes.extend_from_slice(b"null"),
        Value::Object(object) => return write_value(object, DEPTH, out),
    }
    Ok(())
}

fn write_value(value: &Bound<'_, PyAny>, depth: usize, out: &mut Text) -> Result<(), Refused> {
    if raw::is_exact_str(value) {
        let text = value.cast::<PyString>().map_err(|_| Refused)?;
        write_bytes(raw::utf8(text).ok_or(Refused)?, out);
    } else if raw::is_exact_int(value) {
        out.write_whole(raw::small_int(value).ok_or(Refused)?, 0, false);
    } else if raw::is_exact_float(value) {
        let number: f64 = value.extract().map_err(|_| Refused)?;
        if !number.is_finite() {
            return Err(Refused);
        }
        out.write_float(number, b'r', 0)?;
    } else if value.is_none() {
        out.bytes.extend_from_slice(b"null");
    } else if let Ok(value) = value.cast_exact::<PyBool>() {
        out.bytes.extend_from_slice(if value.is_true() { b"true" } else { b"false" });
    } else {
        return write_container(value, depth, out);
    }
    Ok(())
}

fn write_container(value: &Bound<'_, PyAny>, depth: usize, out: &mut Text) -> Result<(), Refused> {
    let deeper = depth.checked_sub(1).ok_or(Refused)?;
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        out.bytes.push(b'{');
        for (at, (name, value)) in dict.iter().enumerate() {
            if !raw::is_exact_str(&name) {
                return Err(Refused);
            }
            if at > 0 {
                out.bytes.extend_from_slice(b", ");
            }
            write_value(&name, 0, out)?;
            out.bytes.extend_from_slice(b": ");
            write_value(&value, deeper, out)?;
        }
        out.bytes.push(b'}');
        Ok(())
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        write_items(list.iter(), deeper, out)
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        write_items(tuple.iter(), deeper, out)
    } else {
        Err(Refused)
    }
}

fn write_items<'py>(
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    depth: usize,
    out: &mut Text,
) -> Result<(), Refused> {
    out.bytes.push(b'[');
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.bytes.extend_from_slice(b", ");
        }
        write_value(&item, depth, out)?;
    }
    out.bytes.push(b']');
    Ok(())
}
