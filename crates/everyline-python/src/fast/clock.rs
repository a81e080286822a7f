//! `Formatter.formatTime`, with the text of the last second kept.
//!
//! Promise: the same text as `time.strftime(format, converter(created))`. A kept text is used again only for a second
//! that the system breaks down into the very same fields, zone and offset included, so a change of `TZ` is seen; and
//! only for formats that do not depend on the locale.

use std::ffi::CStr;
use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::raw;
use super::text::{Text, Value};

/// What `converter` is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Zone {
    Local,
    Utc,
}

/// The settings of one formatter, and what was made with them last.
pub struct Clock {
    zone: Zone,
    /// `datefmt`, or `default_time_format`.
    format: Py<PyAny>,
    /// `default_msec_format`, if it is used.
    fraction: Option<Fraction>,
    is_kept: bool,
    last: Mutex<Option<Last>>,
}

enum Fraction {
    /// `%s,%03d`.
    Comma,
    Other(Py<PyAny>),
}

struct Last {
    second: i64,
    fields: Fields,
    text: Vec<u8>,
}

/// Directives that mean the same in every locale.
const PLAIN: &[u8] = b"YmdHMSjyIwuUWVGCDFTRnteZz%";

impl Clock {
    /// None: not formats of a kind known here.
    pub fn new(
        zone: Zone,
        datefmt: &Bound<'_, PyAny>,
        default_format: &Bound<'_, PyAny>,
        fraction: &Bound<'_, PyAny>,
    ) -> Option<Self> {
        let uses_default = !datefmt.is_truthy().ok()?;
        let format = if uses_default { default_format } else { datefmt };
        if !raw::is_exact_str(format) {
            return None;
        }
        let bytes = raw::utf8(format.cast::<PyString>().ok()?)?.to_vec();
        let fraction = match uses_default && fraction.is_truthy().ok()? {
            false => None,
            true if !raw::is_exact_str(fraction) => return None,
            true if fraction.eq("%s,%03d").ok()? => Some(Fraction::Comma),
            true => Some(Fraction::Other(fraction.clone().unbind())),
        };
        let is_kept = is_plain(&bytes);
        Some(Self { zone, format: format.clone().unbind(), fraction, is_kept, last: Mutex::new(None) })
    }

    /// Writes the time. An error is Python's own.
    pub fn write(&self, py: Python<'_>, created: f64, msecs: &Value<'_, '_>, out: &mut Text) -> PyResult<()> {
        let start = out.bytes.len();
        if !self.write_kept(created, out) {
            self.write_fresh(py, created, out)?;
        }
        match (&self.fraction, whole(msecs)) {
            (None, _) => Ok(()),
            (Some(Fraction::Comma), Some(millis)) => {
                out.bytes.push(b',');
                out.write_whole(millis, 3, true);
                Ok(())
            }
            (Some(fraction), _) => {
                let seconds = raw::text_of(py, &out.bytes[start..])?;
                let msecs = match msecs {
                    Value::Object(object) => object.clone(),
                    Value::Float(number) => number.into_pyobject(py)?.into_any(),
                    _ => py.None().into_bound(py),
                };
                let format = match fraction {
                    Fraction::Comma => PyString::intern(py, "%s,%03d").into_any(),
                    Fraction::Other(format) => format.bind(py).clone(),
                };
                let whole = raw::percent(&format, PyTuple::new(py, [seconds, msecs])?.as_any())?;
                out.bytes.truncate(start);
                out.push_str(whole.cast::<PyString>()?)
            }
        }
    }

    fn write_kept(&self, created: f64, out: &mut Text) -> bool {
        if !self.is_kept {
            return false;
        }
        let (Some(second), Ok(last)) = (second_of(created), self.last.try_lock()) else { return false };
        let Some(last) = last.as_ref().filter(|last| last.second == second) else { return false };
        if self.zone == Zone::Local && Fields::local(second).is_none_or(|fields| fields != last.fields) {
            return false;
        }
        out.bytes.extend_from_slice(&last.text);
        true
    }

    fn write_fresh(&self, py: Python<'_>, created: f64, out: &mut Text) -> PyResult<()> {
        let time = py.import("time")?;
        let converter = if self.zone == Zone::Local { "localtime" } else { "gmtime" };
        let before = second_of(created).and_then(Fields::local);
        let fields = time.call_method1(converter, (created,))?;
        let text = time.call_method1("strftime", (&self.format, fields))?;
        let text = text.cast::<PyString>()?;
        out.push_str(text)?;
        // Kept if the zone was the same before and after.
        if let (true, Some(second), Some(fields), Some(bytes)) =
            (self.is_kept, second_of(created), before, raw::utf8(text))
            && Fields::local(second).as_ref() == Some(&fields)
            && let Ok(mut last) = self.last.try_lock()
        {
            *last = Some(Last { second, fields, text: bytes.to_vec() });
        }
        Ok(())
    }
}

fn is_plain(format: &[u8]) -> bool {
    let mut bytes = format.iter();
    while let Some(byte) = bytes.next() {
        if !byte.is_ascii() || *byte == 0 {
            return false;
        }
        if *byte == b'%' && !bytes.next().is_some_and(|directive| PLAIN.contains(directive)) {
            return false;
        }
    }
    true
}

fn second_of(created: f64) -> Option<i64> {
    let second = created.floor();
    // Far within what `localtime` takes.
    (second.abs() < 1e11).then_some(second as i64)
}

fn whole(msecs: &Value<'_, '_>) -> Option<i64> {
    let number = match msecs {
        Value::Float(number) => *number,
        Value::Object(object) if raw::is_exact_float(object) => object.extract().ok()?,
        Value::Object(object) if raw::is_exact_int(object) => return raw::small_int(object),
        _ => return None,
    };
    (number.abs() < 9e15).then_some(number as i64)
}

#[derive(PartialEq, Eq)]
struct Fields {
    numbers: [i32; 9],
    offset: i64,
    zone: [u8; 16],
}

impl Fields {
    fn local(second: i64) -> Option<Self> {
        // SAFETY: all zeros is a valid value of this structure of numbers and a pointer.
        let mut tm: libc::tm = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live values; the function takes the C library's lock itself.
        if unsafe { libc::localtime_r(&raw const second, &raw mut tm) }.is_null() {
            return None;
        }
        let mut zone = [0; 16];
        if !tm.tm_zone.is_null() {
            // SAFETY: the name of the zone belongs to the C library and is not freed while it is in force; a `tzset` of
            // another thread cannot come in between, as Python calls it with the GIL held.
            let name = unsafe { CStr::from_ptr(tm.tm_zone) }.to_bytes();
            zone.get_mut(..name.len())?.copy_from_slice(name);
        }
        let numbers =
            [tm.tm_sec, tm.tm_min, tm.tm_hour, tm.tm_mday, tm.tm_mon, tm.tm_year, tm.tm_wday, tm.tm_yday, tm.tm_isdst];
        Some(Self { numbers, offset: tm.tm_gmtoff, zone })
    }
}
