//! The line that is being made: bytes, and what Python's `%` and `format` would write there.
//!
//! Promise: nothing here runs code of the application. A value that could, or a case not known here, is refused, and
//! the caller lets Python do the whole step. What is written is byte for byte what Python writes.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::raw;

/// UTF-8, but for lone surrogates, which stand as the error handler `surrogatepass` writes them.
#[derive(Default)]
pub struct Text {
    pub bytes: Vec<u8>,
    /// There may be such surrogates: the codec has the last word.
    pub odd: bool,
}

impl Text {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.odd = false;
    }

    pub fn push_str(&mut self, text: &Bound<'_, PyString>) -> PyResult<()> {
        match raw::utf8(text) {
            Some(bytes) => self.bytes.extend_from_slice(bytes),
            None => {
                let bytes = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
                self.bytes.extend_from_slice(bytes.extract::<&[u8]>()?);
                self.odd = true;
            }
        }
        Ok(())
    }

    /// The same as a str.
    pub fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if !self.odd {
            return raw::text_of(py, &self.bytes);
        }
        let bytes = pyo3::types::PyBytes::new(py, &self.bytes);
        bytes.call_method1("decode", ("utf-8", "surrogatepass"))
    }
}

/// What is to be written.
#[derive(Clone)]
pub enum Value<'a, 'py> {
    Object(Bound<'py, PyAny>),
    /// Text in UTF-8.
    Bytes(&'a [u8]),
    Int(i64),
    Float(f64),
    None,
}

impl<'py> Value<'_, 'py> {
    fn object(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Value::Object(object) => object.clone(),
            Value::Bytes(bytes) => raw::text_of(py, bytes)?,
            Value::Int(number) => number.into_pyobject(py)?.into_any(),
            Value::Float(number) => number.into_pyobject(py)?.into_any(),
            Value::None => py.None().into_bound(py),
        })
    }
}

/// How it is to be written.
pub enum Shape {
    /// `%s`, `{x}`, `$x`.
    Plain,
    /// `%-8s`, `%8s`, `{x:<8}`, for text.
    Padded { left: bool, width: usize, general: General },
    /// `%d`, `%03d`, for whole numbers.
    Whole { width: usize, zeros: bool, general: General },
    /// Python writes it, from a value that runs no code of the application.
    General(General),
}

/// The same in Python's words.
pub enum General {
    /// For `%`: a whole conversion without its key.
    Percent(Py<PyAny>),
    /// For `format`.
    Spec(Py<PyAny>),
}

/// Refused: let Python do it.
pub struct Refused;

impl Text {
    pub fn write(&mut self, py: Python<'_>, shape: &Shape, value: &Value<'_, '_>) -> Result<(), Refused> {
        match shape {
            Shape::Plain => self.write_plain(value),
            Shape::Padded { left, width, general } => self.write_padded(py, *left, *width, general, value),
            Shape::Whole { width, zeros, general } => match whole(value) {
                Some(number) => {
                    self.write_whole(number, *width, *zeros);
                    Ok(())
                }
                None => self.write_general(py, general, value),
            },
            Shape::General(general) => self.write_general(py, general, value),
        }
    }

    /// `str(value)`, which is also `format(value, "")`.
    #[inline]
    pub fn write_plain(&mut self, value: &Value<'_, '_>) -> Result<(), Refused> {
        match value {
            Value::Bytes(bytes) => self.bytes.extend_from_slice(bytes),
            Value::Int(number) => self.write_whole(*number, 0, false),
            Value::Float(number) => return self.write_float(*number, b'r', 0),
            Value::None => self.bytes.extend_from_slice(b"None"),
            Value::Object(object) => return self.write_object(object),
        }
        Ok(())
    }

    fn write_object(&mut self, object: &Bound<'_, PyAny>) -> Result<(), Refused> {
        if raw::is_exact_str(object) {
            // SAFETY of the cast: the type was looked at.
            return self.push_str(object.cast::<PyString>().map_err(|_| Refused)?).map_err(|_| Refused);
        }
        if raw::is_exact_int(object) {
            let number = raw::small_int(object).ok_or(Refused)?;
            self.write_whole(number, 0, false);
            return Ok(());
        }
        if raw::is_exact_float(object) {
            return self.write_float(object.extract().map_err(|_| Refused)?, b'r', 0);
        }
        if object.is_none() {
            self.bytes.extend_from_slice(b"None");
            return Ok(());
        }
        Err(Refused)
    }

    pub fn write_float(&mut self, number: f64, kind: u8, digits: i32) -> Result<(), Refused> {
        if raw::float(number, kind, digits, &mut self.bytes) { Ok(()) } else { Err(Refused) }
    }

    /// `%0<width>d` or `%<width>d`.
    pub fn write_whole(&mut self, number: i64, width: usize, zeros: bool) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = number.unsigned_abs();
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let sign = usize::from(number < 0);
        let missing = width.saturating_sub(digits.len() - at + sign);
        if !zeros {
            self.bytes.resize(self.bytes.len() + missing, b' ');
        }
        if sign == 1 {
            self.bytes.push(b'-');
        }
        if zeros {
            self.bytes.resize(self.bytes.len() + missing, b'0');
        }
        self.bytes.extend_from_slice(&digits[at..]);
    }

    fn write_padded(
        &mut self,
        py: Python<'_>,
        left: bool,
        width: usize,
        general: &General,
        value: &Value<'_, '_>,
    ) -> Result<(), Refused> {
        let start = self.bytes.len();
        match value {
            Value::Bytes(bytes) => self.bytes.extend_from_slice(bytes),
            Value::Object(object) if raw::is_exact_str(object) => {
                let text = object.cast::<PyString>().map_err(|_| Refused)?;
                self.bytes.extend_from_slice(raw::utf8(text).ok_or(Refused)?);
            }
            _ => return self.write_general(py, general, value),
        }
        // Characters, not bytes: all that do not go on with another one.
        let characters = self.bytes[start..].iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        let missing = width.saturating_sub(characters);
        let end = self.bytes.len();
        self.bytes.resize(end + missing, b' ');
        if !left {
            self.bytes.copy_within(start..end, start + missing);
            self.bytes[start..start + missing].fill(b' ');
        }
        Ok(())
    }

    fn write_general(&mut self, py: Python<'_>, general: &General, value: &Value<'_, '_>) -> Result<(), Refused> {
        let object = value.object(py).map_err(|_| Refused)?;
        let tame = raw::is_exact_str(&object)
            || raw::is_exact_int(&object)
            || raw::is_exact_float(&object)
            || object.is_none();
        if !tame {
            return Err(Refused);
        }
        let made = match general {
            General::Percent(conversion) => {
                PyTuple::new(py, [object]).and_then(|one| raw::percent(conversion.bind(py), &one))
            }
            General::Spec(spec) => raw::format(&object, spec.bind(py)),
        };
        let made = made.map_err(|_| Refused)?;
        self.push_str(made.cast::<PyString>().map_err(|_| Refused)?).map_err(|_| Refused)
    }

    /// `text % arguments`, for the conversions that log calls mostly have. Refused before anything is written for which
    /// Python would run code of the application; what was written until then is taken back.
    pub fn write_message<'a, 'py: 'a>(
        &mut self,
        text: &[u8],
        arguments: impl ExactSizeIterator<Item = Borrowed<'a, 'py, PyAny>>,
    ) -> Result<(), Refused> {
        let start = self.bytes.len();
        let result = self.try_message(text, arguments);
        if result.is_err() {
            self.bytes.truncate(start);
        }
        result
    }

    fn try_message<'a, 'py: 'a>(
        &mut self,
        text: &[u8],
        mut arguments: impl ExactSizeIterator<Item = Borrowed<'a, 'py, PyAny>>,
    ) -> Result<(), Refused> {
        let mut rest = text;
        while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
            self.bytes.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            let (kind, length, digits) = match rest {
                [b'%', ..] => {
                    self.bytes.push(b'%');
                    rest = &rest[1..];
                    continue;
                }
                [b's', ..] => (b's', 1, 0),
                [b'd' | b'i', ..] => (b'd', 1, 0),
                [b'f', ..] => (b'f', 1, 6),
                [b'.', digit @ b'0'..=b'9', b'f', ..] => (b'f', 3, i32::from(digit - b'0')),
                _ => return Err(Refused),
            };
            rest = &rest[length..];
            let argument = arguments.next().ok_or(Refused)?;
            match kind {
                b's' => self.write_object(&argument)?,
                b'd' if raw::is_exact_int(&argument) => {
                    self.write_whole(raw::small_int(&argument).ok_or(Refused)?, 0, false);
                }
                b'f' if raw::is_exact_float(&argument) => {
                    self.write_float(argument.extract().map_err(|_| Refused)?, b'f', digits)?;
                }
                _ => return Err(Refused),
            }
        }
        self.bytes.extend_from_slice(rest);
        if arguments.len() == 0 { Ok(()) } else { Err(Refused) }
    }
}

/// What `%d` makes of it, where that is a whole number of ordinary size.
fn whole(value: &Value<'_, '_>) -> Option<i64> {
    let float = |number: f64| (number.abs() < 9e15).then_some(number as i64);
    match value {
        Value::Int(number) => Some(*number),
        Value::Float(number) => float(*number),
        Value::Object(object) if raw::is_exact_int(object) => raw::small_int(object),
        Value::Object(object) if raw::is_exact_float(object) => {
            // SAFETY: a float by its type.
            float(unsafe { ffi::PyFloat_AsDouble(object.as_ptr()) })
        }
        _ => None,
    }
}
