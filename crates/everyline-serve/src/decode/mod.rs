//! Decoders: pure functions from bytes to records. None executes, blocks, or allocates more than its limits allow.

pub mod frame;
pub mod json;
pub mod pickle;
pub mod syslog;

use crate::{Reason, Record, Value};

/// What one record may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one record on the wire.
    pub record_bytes: usize,
    /// Values in one record, once unfolded.
    pub values: usize,
    /// Bytes of all text in one record, once unfolded.
    pub text_bytes: usize,
    /// Nesting of values.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::for_record_bytes(1 << 20)
    }
}

impl Limits {
    /// The limits that go with a size on the wire.
    pub fn for_record_bytes(record_bytes: usize) -> Self {
        Self { record_bytes, values: 10_000, text_bytes: record_bytes.saturating_mul(2), depth: 16 }
    }
}

/// A record from a decoded dictionary.
pub(crate) fn record_from(value: Value) -> Result<Record, Reason> {
    let Value::Dict(items) = value else { return Err(Reason::NotARecord) };
    let mut record = Record::default();
    for (name, value) in items {
        let Value::Str(name) = name else { return Err(Reason::NotARecord) };
        record.set(name, value);
        if record.fields().len() > FIELDS_MAX {
            return Err(Reason::TooMany);
        }
    }
    Ok(record)
}

/// Fields of one record: they are looked up one by one.
const FIELDS_MAX: usize = 256;
