//! JSON: one object, one record. Names of other loggers are brought to those of Python's.

use super::{Limits, record_from};
use crate::{Reason, Record, Value};

/// Names that others use, and Python's for them.
const OTHER_NAMES: [(&str, &str); 9] = [
    ("logger", "name"),
    ("level", "levelname"),
    ("severity", "levelname"),
    ("time", "created"),
    ("timestamp", "created"),
    ("exception", "exc_text"),
    ("stack", "stack_info"),
    ("pid", "process"),
    ("thread", "threadName"),
];

/// The record in one JSON object.
///
/// # Errors
/// Whatever is no JSON object within the limits.
pub fn record(bytes: &[u8], limits: &Limits) -> Result<Record, Reason> {
    if bytes.len() > limits.record_bytes {
        return Err(Reason::TooLarge);
    }
    // Text of others may have a bad byte in it; the rest of the line is as good as ever.
    let text = String::from_utf8_lossy(bytes);
    // serde_json refuses what is nested deeper than 128 before it is built.
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|_| Reason::Malformed)?;
    let mut values = limits.values;
    let mut record = record_from(from_json(json, limits.depth, &mut values)?)?;
    for (theirs, pythons) in OTHER_NAMES {
        if record.get(pythons).is_none() {
            record.rename(theirs, pythons);
        }
    }
    numbers_and_times(&mut record);
    Ok(record)
}

/// A level may be a number in either field, a time may be text.
fn numbers_and_times(record: &mut Record) {
    if let Some(number) = record.get("levelname").and_then(Value::as_int) {
        record.remove("levelname");
        record.set_default("levelno", || Value::Int(number));
    }
    if let Some(text) = record.get("created").and_then(Value::as_str) {
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => record.set("created", Value::Float(time.as_duration().as_secs_f64())),
            Err(_) => record.rename("created", "time"),
        }
    }
}

fn from_json(json: serde_json::Value, depth: usize, values: &mut usize) -> Result<Value, Reason> {
    use serde_json::Value as Json;
    *values = values.checked_sub(1).ok_or(Reason::TooMany)?;
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(flag) => Value::Bool(flag),
        Json::String(text) => Value::Str(text),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(i128::from(number)),
            (None, Some(number)) => Value::Int(i128::from(number)),
            (None, None) => Value::Float(number.as_f64().ok_or(Reason::Malformed)?),
        },
        Json::Array(items) => {
            let depth = depth.checked_sub(1).ok_or(Reason::TooDeep)?;
            Value::List(items.into_iter().map(|item| from_json(item, depth, values)).collect::<Result<_, _>>()?)
        }
        Json::Object(items) => {
            let depth = depth.checked_sub(1).ok_or(Reason::TooDeep)?;
            let pair = |(name, item)| Ok((Value::Str(name), from_json(item, depth, values)?));
            Value::Dict(items.into_iter().map(pair).collect::<Result<_, Reason>>()?)
        }
    })
}
