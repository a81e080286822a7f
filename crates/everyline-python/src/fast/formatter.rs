//! A `logging.Formatter`, compiled.
//!
//! Promise: the line is the one that `formatter.format(record)` returns, and the record afterwards is as it would be.
//! Steps that a subclass or the object replaces (`formatTime`, `formatMessage`, `formatException`, `formatStack`,
//! `usesTime`, a converter) are called in Python, in their order; a replaced `format` is not compiled at all. Code of the
//! application runs as often as there, and before the engine sees the record.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::clock::{Clock, Zone};
use super::parse::{self, Piece, Style};
use super::text::{Refused, Text, Value};
use super::watch::{Logging, Watch, get, logging};
use super::{json, raw};

/// Why a line was not made.
pub enum Failure {
    /// Not a case for native code; Python's format runs instead.
    Refused,
    /// What Python's format would have raised.
    Raised(PyErr),
    /// What `handleError` raised, for the caller.
    Reported(PyErr),
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl From<Refused> for Failure {
    fn from(_: Refused) -> Self {
        Self::Refused
    }
}

/// What is known of one formatter.
pub struct Formatter {
    object: Py<PyAny>,
    watch: Option<Watch>,
    style: Option<(Py<PyAny>, Watch)>,
    pub body: Result<Body, &'static str>,
}

/// How its lines are made.
pub enum Body {
    Pieces(Pieces),
    Json(json::Plan),
}

/// What `logging.Formatter.format` does, taken apart.
pub struct Pieces {
    /// None: `formatMessage` is called.
    pub pieces: Option<Vec<Piece>>,
    pub defaults: Option<Py<PyDict>>,
    /// None: `usesTime` is called.
    pub uses_time: Option<bool>,
    /// None: `formatTime` is called.
    pub clock: Option<Clock>,
    datefmt: Py<PyAny>,
}

const COUNTING: &[&str] = &[
    "_style",
    "datefmt",
    "converter",
    "default_time_format",
    "default_msec_format",
    "format",
    "formatTime",
    "formatMessage",
    "formatException",
    "formatStack",
    "usesTime",
    "utc",
    "static",
    "ensure_ascii",
];

impl Formatter {
    pub fn compile(formatter: &Bound<'_, PyAny>) -> Self {
        let (watch, style) = (Watch::new(formatter, COUNTING), style_of(formatter));
        let body = match &watch {
            None => Err("its class or its attributes cannot be watched"),
            Some(_) => body(formatter),
        };
        Self { object: formatter.clone().unbind(), watch, style, body }
    }

    /// For the collector of cycles.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.object)?;
        self.watch.iter().try_for_each(|watch| watch.traverse(visit))?;
        self.style.iter().try_for_each(|(style, watch)| {
            visit.call(style)?;
            watch.traverse(visit)
        })
    }

    /// True if what was compiled is still what `formatter` does.
    #[inline]
    pub fn holds(&self, formatter: &Bound<'_, PyAny>) -> bool {
        formatter.is(&self.object)
            && self.watch.as_ref().is_some_and(|watch| watch.holds(formatter))
            && self.style.as_ref().is_none_or(|(style, watch)| watch.holds(style.bind(formatter.py())))
    }

    /// Writes the line of a record without its terminator. `record` is exactly a `LogRecord`, `dict` its attributes.
    pub fn write(&self, record: &Bound<'_, PyAny>, dict: &Bound<'_, PyDict>, out: &mut Text) -> Result<(), Failure> {
        match self.body.as_ref().map_err(|_| Failure::Refused)? {
            Body::Pieces(pieces) => pieces.write(self.object.bind(record.py()), record, dict, out),
            Body::Json(plan) => plan.write(dict, out),
        }
    }
}

/// `_style`, if there is one: `_fmt` of it is what counts.
fn style_of(formatter: &Bound<'_, PyAny>) -> Option<(Py<PyAny>, Watch)> {
    let dict = raw::instance_dict(formatter)?;
    let style = get(&dict, intern!(formatter.py(), "_style"))?;
    let watch = Watch::new(&style, &["_fmt", "_defaults", "_tpl", "format", "_format", "usesTime"])?;
    Some((style.unbind(), watch))
}

fn body(formatter: &Bound<'_, PyAny>) -> Result<Body, &'static str> {
    let py = formatter.py();
    let logging = logging(py).map_err(|_| "the module logging is not as expected")?;
    let class = formatter.get_type();
    if !logging.is_plain(&class, &["_style", "datefmt", "__bool__", "__len__"]) {
        return Err("its class looks attributes up in a way of its own");
    }
    if let Some(plan) = json::Plan::of(formatter) {
        return Ok(Body::Json(plan));
    }
    let dict = raw::instance_dict(formatter).ok_or("it has no attributes")?;
    let has = |name: &str| dict.contains(name).unwrap_or(true);
    let own = |name: &str| !has(name) && logging.owns(&class, "Formatter", name);
    if !own("format") {
        return Err("format is overridden");
    }
    let style = get(&dict, intern!(py, "_style")).ok_or("it has no style")?;
    let datefmt = get(&dict, intern!(py, "datefmt")).ok_or("it has no datefmt")?;
    let (pieces, defaults) = match own("formatMessage") {
        true => match pieces(logging, &style) {
            Some((pieces, defaults)) => (Some(pieces), defaults),
            None => (None, None),
        },
        false => (None, None),
    };
    let uses_time = match own("usesTime") && is_known_style(logging, &style) {
        true => {
            Some(formatter.call_method0("usesTime").and_then(|uses| uses.is_truthy()).map_err(|_| "usesTime raises")?)
        }
        false => None,
    };
    let clock = if own("formatTime") { clock(logging, formatter, &datefmt) } else { None };
    Ok(Body::Pieces(Pieces { pieces, defaults, uses_time, clock, datefmt: datefmt.unbind() }))
}

fn is_known_style(logging: &Logging, style: &Bound<'_, PyAny>) -> bool {
    style_kind(logging, style).is_some()
}

/// Which style it is, if it is one of the standard library's, unchanged.
fn style_kind(logging: &Logging, style: &Bound<'_, PyAny>) -> Option<(Style, &'static str)> {
    let class = style.get_type();
    let kinds = [
        (Style::Percent, "PercentStyle", "PercentStyle"),
        (Style::Brace, "StrFormatStyle", "PercentStyle"),
        (Style::Dollar, "StringTemplateStyle", "StringTemplateStyle"),
    ];
    let at = logging.styles.iter().position(|known| class.is(known))?;
    let (kind, name, uses_time) = kinds[at];
    let dict = raw::instance_dict(style)?;
    let own = |owner: &str, name: &str| !dict.contains(name).unwrap_or(true) && logging.owns(&class, owner, name);
    let known = own(name, "_format") && own("PercentStyle", "format") && own(uses_time, "usesTime");
    known.then_some((kind, name))
}

type Compiled = (Vec<Piece>, Option<Py<PyDict>>);

fn pieces(logging: &Logging, style: &Bound<'_, PyAny>) -> Option<Compiled> {
    let py = style.py();
    let (kind, _) = style_kind(logging, style)?;
    let dict = raw::instance_dict(style)?;
    let format = get(&dict, intern!(py, "_fmt"))?;
    if !raw::is_exact_str(&format) {
        return None;
    }
    if kind == Style::Dollar {
        let template = get(&dict, intern!(py, "_tpl"))?;
        let plain = py.import("string").ok()?.getattr("Template").ok()?;
        let owns = template.get_type().is(&plain) && plain.getattr("delimiter").ok()?.eq("$").ok()?;
        if !owns || !template.getattr("template").ok()?.eq(&format).ok()? {
            return None;
        }
    }
    let defaults = match get(&dict, intern!(py, "_defaults")) {
        Some(defaults) if !defaults.is_none() => Some(defaults.cast_into_exact::<PyDict>().ok()?.unbind()),
        _ => None,
    };
    let format = format.cast_into::<PyString>().ok()?;
    let text = std::str::from_utf8(raw::utf8(&format)?).ok()?;
    Some((parse::pieces(py, kind, text)?, defaults))
}

fn clock(logging: &Logging, formatter: &Bound<'_, PyAny>, datefmt: &Bound<'_, PyAny>) -> Option<Clock> {
    let converter = formatter.getattr("converter").ok()?;
    let zone = if converter.is(&logging.localtime) {
        Zone::Local
    } else if converter.is(&logging.gmtime) {
        Zone::Utc
    } else {
        return None;
    };
    let default_format = formatter.getattr("default_time_format").ok()?;
    let fraction = formatter.getattr("default_msec_format").ok()?;
    Clock::new(zone, datefmt, &default_format, &fraction)
}

impl Pieces {
    fn write(
        &self,
        formatter: &Bound<'_, PyAny>,
        record: &Bound<'_, PyAny>,
        dict: &Bound<'_, PyDict>,
        out: &mut Text,
    ) -> Result<(), Failure> {
        let py = record.py();
        let message = message_of(dict)?;
        dict.set_item(intern!(py, "message"), message)?;
        let uses_time = match self.uses_time {
            Some(uses_time) => uses_time,
            None => formatter.call_method0(intern!(py, "usesTime"))?.is_truthy()?,
        };
        if uses_time {
            let asctime = self.asctime(formatter, record, dict, out)?;
            dict.set_item(intern!(py, "asctime"), asctime)?;
        }
        if self.write_pieces(py, dict, out).is_err() {
            out.clear();
            let text = formatter.call_method1(intern!(py, "formatMessage"), (record,))?;
            out.push_str(text.cast::<PyString>().map_err(|_| Failure::Refused)?)?;
        }
        write_exception(formatter, dict, out)
    }

    fn write_pieces(&self, py: Python<'_>, dict: &Bound<'_, PyDict>, out: &mut Text) -> Result<(), Refused> {
        for piece in self.pieces.as_ref().ok_or(Refused)? {
            match piece {
                Piece::Literal(bytes) => out.bytes.extend_from_slice(bytes),
                Piece::Field { name, shape } => {
                    let name = name.bind(py);
                    let value = get(dict, name).or_else(|| self.default(py, name)).ok_or(Refused)?;
                    out.write(py, shape, &Value::Object(value))?;
                }
            }
        }
        Ok(())
    }

    /// What `defaults` has for a field that the record has not.
    pub fn default<'py>(&self, py: Python<'py>, name: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
        get(self.defaults.as_ref()?.bind(py), name)
    }

    fn asctime<'py>(
        &self,
        formatter: &Bound<'py, PyAny>,
        record: &Bound<'py, PyAny>,
        dict: &Bound<'py, PyDict>,
        scratch: &mut Text,
    ) -> Result<Bound<'py, PyAny>, Failure> {
        let py = record.py();
        if let Some(clock) = &self.clock
            && let Some(created) = get(dict, intern!(py, "created")).filter(raw::is_exact_float)
            && let Some(msecs) = get(dict, intern!(py, "msecs"))
        {
            clock.write(py, created.extract()?, &Value::Object(msecs), scratch)?;
            let text = scratch.to_python(py)?;
            scratch.clear();
            return Ok(text);
        }
        Ok(formatter.call_method1(intern!(py, "formatTime"), (record, &self.datefmt))?)
    }
}

/// `LogRecord.getMessage`.
pub fn message_of<'py>(dict: &Bound<'py, PyDict>) -> Result<Bound<'py, PyAny>, Failure> {
    let py = dict.py();
    if get(dict, intern!(py, "getMessage")).is_some() {
        return Err(Failure::Refused);
    }
    let message = get(dict, intern!(py, "msg")).ok_or(Failure::Refused)?;
    let arguments = get(dict, intern!(py, "args")).ok_or(Failure::Refused)?;
    let message = if raw::is_exact_str(&message) { message } else { message.str()?.into_any() };
    Ok(if arguments.is_truthy()? { message.rem(arguments)? } else { message })
}

/// The end of `Formatter.format`: the traceback, kept with the record, and the stack.
pub fn write_exception(formatter: &Bound<'_, PyAny>, dict: &Bound<'_, PyDict>, out: &mut Text) -> Result<(), Failure> {
    let py = dict.py();
    let exc_info = get(dict, intern!(py, "exc_info")).ok_or(Failure::Refused)?;
    let mut exc_text = get(dict, intern!(py, "exc_text")).ok_or(Failure::Refused)?;
    let stack_info = get(dict, intern!(py, "stack_info")).ok_or(Failure::Refused)?;
    if exc_info.is_none() && exc_text.is_none() && stack_info.is_none() {
        return Ok(());
    }
    if exc_info.is_truthy()? && !exc_text.is_truthy()? {
        exc_text = formatter.call_method1(intern!(py, "formatException"), (exc_info,))?;
        dict.set_item(intern!(py, "exc_text"), &exc_text)?;
    }
    if exc_text.is_truthy()? {
        write_below(&exc_text, out)?;
    }
    if stack_info.is_truthy()? {
        write_below(&formatter.call_method1(intern!(py, "formatStack"), (stack_info,))?, out)?;
    }
    Ok(())
}

fn write_below(text: &Bound<'_, PyAny>, out: &mut Text) -> Result<(), Failure> {
    if out.bytes.last() != Some(&b'\n') {
        out.bytes.push(b'\n');
    }
    Ok(out.push_str(text.cast::<PyString>().map_err(|_| Failure::Refused)?)?)
}
