//! `everyline.JsonFormatter`, compiled.
//!
//! Promise: the line that `JsonFormatter.format` makes with the module `json`. Values of types that `json` does not know,
//! or that need care (numbers without end, keys that are no text), are left to it.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFrozenSet, PyList, PyString, PyTuple, PyType};

use super::clock::{Clock, Zone};
use super::formatter::{Failure, message_of};
use super::raw;
use super::text::{Refused, Text, Value};
use super::watch::get;

/// Deeper values are left to Python.
const DEPTH: usize = 16;

/// One `JsonFormatter`.
pub struct Plan {
    formatter: Py<PyAny>,
    /// The key as it stands in the line, with its colon, and the attribute of the record.
    pub fields: Vec<(Vec<u8>, Py<PyString>)>,
    /// Further members, as they stand in the line.
    pub constants: Vec<u8>,
    /// Attributes that are no extra, and keys that are taken; None: no extra is wanted.
    taken: Option<Py<PyFrozenSet>>,
    uses_time: bool,
    pub clock: Clock,
}

impl Plan {
    /// None: not one of ours, or changed.
    pub fn of(formatter: &Bound<'_, PyAny>) -> Option<Self> {
        let py = formatter.py();
        let class = formatter.get_type();
        let ours = py.import("everyline._json").ok()?.getattr("JsonFormatter").ok()?.cast_into::<PyType>().ok()?;
        let dict = raw::instance_dict(formatter)?;
        let methods = ["format", "formatMessage", "formatTime", "usesTime"];
        let own = |name: &str| {
            let Ok(found) = class.getattr(name) else { return false };
            let text = |of: &str| found.getattr(of).and_then(|text| text.extract::<String>()).unwrap_or_default();
            text("__module__") == "everyline._json" && text("__qualname__") == format!("JsonFormatter.{name}")
        };
        if !class.is(&ours) || methods.iter().any(|name| dict.contains(name).unwrap_or(true) || !own(name)) {
            return None;
        }
        Self::read(formatter).ok().flatten()
    }

    fn read(formatter: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = formatter.py();
        // (fields, constants as JSON without braces, taken or None, utc)
        let plan = formatter.getattr("_plan")?.cast_into::<PyTuple>()?;
        let mut fields = Vec::new();
        let mut uses_time = false;
        for pair in plan.get_item(0)?.try_iter()? {
            let (key, attribute): (Bound<'_, PyString>, Bound<'_, PyString>) = pair?.extract()?;
            let mut text = Text::default();
            if write_text(&key, &mut text).is_err() {
                return Ok(None);
            }
            text.bytes.push(b':');
            let attribute: String = attribute.extract()?;
            uses_time |= attribute == "asctime";
            fields.push((text.bytes, PyString::intern(py, &attribute).unbind()));
        }
        let constants: String = plan.get_item(1)?.extract()?;
        let taken = plan.get_item(2)?.extract::<Option<Bound<'_, PyFrozenSet>>>()?.map(Bound::unbind);
        let zone = if plan.get_item(3)?.is_truthy()? { Zone::Utc } else { Zone::Local };
        let datefmt = formatter.getattr("datefmt")?;
        let (format, fraction) = (formatter.getattr("default_time_format")?, formatter.getattr("default_msec_format")?);
        let Some(clock) = Clock::new(zone, &datefmt, &format, &fraction) else { return Ok(None) };
        let formatter = formatter.clone().unbind();
        Ok(Some(Self { formatter, fields, constants: constants.into_bytes(), taken, uses_time, clock }))
    }

    pub fn write(&self, record: &Bound<'_, PyAny>, dict: &Bound<'_, PyDict>, out: &mut Text) -> Result<(), Failure> {
        let py = record.py();
        let formatter = self.formatter.bind(py);
        dict.set_item(intern!(py, "message"), message_of(dict)?)?;
        if self.uses_time {
            let created = get(dict, intern!(py, "created")).filter(raw::is_exact_float);
            let asctime = match (created, get(dict, intern!(py, "msecs"))) {
                (Some(created), Some(msecs)) => {
                    self.clock.write(py, created.extract()?, &Value::Object(msecs), out)?;
                    let asctime = out.to_python(py)?;
                    out.clear();
                    asctime
                }
                _ => formatter
                    .call_method1(intern!(py, "formatTime"), (record, formatter.getattr(intern!(py, "datefmt"))?))?,
            };
            dict.set_item(intern!(py, "asctime"), asctime)?;
        }
        let exc_info = get(dict, intern!(py, "exc_info")).ok_or(Failure::Refused)?;
        if exc_info.is_truthy()? && !get(dict, intern!(py, "exc_text")).ok_or(Failure::Refused)?.is_truthy()? {
            let text = formatter.call_method1(intern!(py, "formatException"), (exc_info,))?;
            dict.set_item(intern!(py, "exc_text"), text)?;
        }
        if self.write_members(py, dict, out).is_err() {
            out.clear();
            let text = formatter.call_method1(intern!(py, "formatMessage"), (record,))?;
            out.push_str(text.cast::<PyString>().map_err(|_| Failure::Refused)?)?;
        }
        Ok(())
    }

    fn write_members(&self, py: Python<'_>, dict: &Bound<'_, PyDict>, out: &mut Text) -> Result<(), Refused> {
        out.bytes.push(b'{');
        for (key, attribute) in &self.fields {
            begin(out);
            out.bytes.extend_from_slice(key);
            match get(dict, attribute.bind(py)) {
                Some(value) => write_value(&value, DEPTH, out)?,
                None => out.bytes.extend_from_slice(b"null"),
            }
        }
        self.write_constants(out);
        if let Some(taken) = &self.taken {
            let taken = taken.bind(py);
            for (key, value) in dict.iter() {
                if !raw::is_exact_str(&key) {
                    return Err(Refused);
                }
                use pyo3::types::PyFrozenSetMethods;
                if !taken.contains(&key).map_err(|_| Refused)? {
                    begin(out);
                    write_text(key.cast::<PyString>().map_err(|_| Refused)?, out)?;
                    out.bytes.push(b':');
                    write_value(&value, DEPTH, out)?;
                }
            }
        }
        let ends: [(&[u8], &Bound<'_, PyString>); 2] =
            [(b"\"exception\":", intern!(py, "exc_text")), (b"\"stack\":", intern!(py, "stack_info"))];
        for (key, name) in ends {
            let value = get(dict, name).ok_or(Refused)?;
            if value.is_truthy().map_err(|_| Refused)? {
                begin(out);
                out.bytes.extend_from_slice(key);
                write_value(&value, DEPTH, out)?;
            }
        }
        out.bytes.push(b'}');
        Ok(())
    }

    pub fn write_constants(&self, out: &mut Text) {
        if !self.constants.is_empty() {
            begin(out);
            out.bytes.extend_from_slice(&self.constants);
        }
    }
}

/// A comma, but for the first member.
pub fn begin(out: &mut Text) {
    if out.bytes.last() != Some(&b'{') {
        out.bytes.push(b',');
    }
}

fn write_text(text: &Bound<'_, PyString>, out: &mut Text) -> Result<(), Refused> {
    write_bytes(raw::utf8(text).ok_or(Refused)?, out);
    Ok(())
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

/// A value that is no object yet.
pub fn write(value: &Value<'_, '_>, out: &mut Text) -> Result<(), Refused> {
    match value {
        Value::Bytes(bytes) => write_bytes(bytes, out),
        Value::Int(number) => out.write_whole(*number, 0, false),
        Value::Float(number) if number.is_finite() => return out.write_float(*number, b'r', 0),
        Value::Float(_) => return Err(Refused),
        Value::None => out.bytes.extend_from_slice(b"null"),
        Value::Object(object) => return write_value(object, DEPTH, out),
    }
    Ok(())
}

fn write_value(value: &Bound<'_, PyAny>, depth: usize, out: &mut Text) -> Result<(), Refused> {
    let deeper = depth.checked_sub(1).ok_or(Refused)?;
    if raw::is_exact_str(value) {
        return write_text(value.cast::<PyString>().map_err(|_| Refused)?, out);
    }
    if raw::is_exact_int(value) {
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
    } else if let Ok(dict) = value.cast_exact::<PyDict>() {
        out.bytes.push(b'{');
        for (key, value) in dict.iter() {
            begin(out);
            if !raw::is_exact_str(&key) {
                return Err(Refused);
            }
            write_text(key.cast::<PyString>().map_err(|_| Refused)?, out)?;
            out.bytes.push(b':');
            write_value(&value, deeper, out)?;
        }
        out.bytes.push(b'}');
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        write_items(list.iter(), deeper, out)?;
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        write_items(tuple.iter(), deeper, out)?;
    } else {
        return Err(Refused);
    }
    Ok(())
}

fn write_items<'py>(
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    depth: usize,
    out: &mut Text,
) -> Result<(), Refused> {
    out.bytes.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.bytes.push(b',');
        }
        write_value(&item, depth, out)?;
    }
    out.bytes.push(b']');
    Ok(())
}
