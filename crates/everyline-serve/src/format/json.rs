//! One JSON object a line, with the names and the order of `everyline.JsonFormatter`: `time`, `level`, `logger`,
//! `message`, `pid`, `thread`, then what else came, then `exception` and `stack`.

use super::timestamp;
use crate::escape::push_json;
use crate::{Record, Value};

/// What Python puts into every record; it stands in the object under names of its own, or not at all.
const USUAL: [&str; 24] = [
    "name",
    "msg",
    "args",
    "levelname",
    "levelno",
    "pathname",
    "filename",
    "module",
    "exc_info",
    "exc_text",
    "stack_info",
    "lineno",
    "funcName",
    "created",
    "msecs",
    "relativeCreated",
    "thread",
    "threadName",
    "processName",
    "process",
    "message",
    "asctime",
    "taskName",
    "",
];
/// Names of ours. Another field of that name gets an underscore behind it.
const OURS: [&str; 8] = ["time", "level", "logger", "message", "pid", "thread", "exception", "stack"];

/// Writes the object.
pub fn write(record: &Record, escape: bool, out: &mut String) {
    out.push_str("{\"time\":");
    match timestamp(record.created()) {
        Some(time) => push_json(out, &format!("{time:.3}"), escape),
        None => push_value(out, &Value::Float(record.created()), escape),
    }
    for (name, field) in [
        ("level", "levelname"),
        ("logger", "name"),
        ("message", "message"),
        ("pid", "process"),
        ("thread", "threadName"),
    ] {
        if let Some(value) = record.get(field) {
            push_field(out, name, value, escape);
        }
    }
    for (name, value) in record.fields() {
        if !USUAL.contains(&name.as_str()) {
            let name = if OURS.contains(&name.as_str()) { &format!("{name}_") } else { name };
            push_field(out, name, value, escape);
        }
    }
    for (name, field) in [("exception", "exc_text"), ("stack", "stack_info")] {
        if let Some(value @ Value::Str(_)) = record.get(field) {
            push_field(out, name, value, escape);
        }
    }
    out.push('}');
}

fn push_field(out: &mut String, name: &str, value: &Value, escape: bool) {
    out.push(',');
    push_json(out, name, escape);
    out.push(':');
    push_value(out, value, escape);
}

/// Appends any value as JSON. What JSON has no form for is text.
pub fn push_value(out: &mut String, value: &Value, escape: bool) {
    use std::fmt::Write;
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(flag) => drop(write!(out, "{flag}")),
        Value::Int(number) => drop(write!(out, "{number}")),
        Value::Float(number) if number.is_finite() => drop(write!(out, "{number:?}")),
        Value::Float(number) => push_json(out, &number.to_string(), escape),
        Value::Str(text) => push_json(out, text, escape),
        Value::Bytes(bytes) => push_json(out, &String::from_utf8_lossy(bytes), escape),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                push_value(out, item, escape);
            }
            out.push(']');
        }
        Value::Dict(items) => {
            out.push('{');
            for (index, (key, item)) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                match key {
                    Value::Str(text) => push_json(out, text, escape),
                    other => {
                        let mut text = String::new();
                        super::push_text(&mut text, other, false);
                        push_json(out, &text, escape);
                    }
                }
                out.push(':');
                push_value(out, item, escape);
            }
            out.push('}');
        }
    }
}
