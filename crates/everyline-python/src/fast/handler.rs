//! `emit` of the handlers, and what is known of a handler.
//!
//! Promise: what `emit` written in Python does, faster. It runs native where handler, formatter and record are what they
//! were when they were compiled; otherwise, and whenever anything is odd, the method in Python runs. No Python code runs
//! while the engine holds anything, and the GIL is let go for everything in it that may wait or enter the kernel.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use everyline::Attempt;
use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyString, PyType};

use super::event::{self, Direct};
use super::formatter::{Failure, Formatter};
use super::plan::{self, EmitPlan};
use super::raw::{self, Arguments};
use super::text::Text;
use super::watch::{Logging, Watch, get, logging};
use crate::appender::Appender;
use crate::error::to_python;

/// How many records went which way, in this process.
pub static NO_RECORD: AtomicU64 = AtomicU64::new(0);
pub static NATIVE_EMIT: AtomicU64 = AtomicU64::new(0);
pub static PYTHON_EMIT: AtomicU64 = AtomicU64::new(0);

/// What the package registered.
pub struct Home {
    pub kinds: [Kind; 2],
    stream: Py<PyType>,
    codec: Py<PyType>,
    /// `(handler, record, error)`: what to do with an error.
    failed: Py<PyAny>,
}

/// `EngineHandler`, of the handlers that take the place of Python's.
const ENGINE: usize = 0;
/// `everyline.Handler`.
const MODERN: usize = 1;

/// One class of handlers.
pub struct Kind {
    pub class: Py<PyType>,
    /// The native method, as it is found on the class.
    emit: Py<PyAny>,
    /// `emit` in Python.
    python_emit: Py<PyAny>,
    /// From a record to bytes, in Python, by name.
    steps: Vec<(&'static str, Py<PyAny>)>,
}

impl Kind {
    fn new(class: &Bound<'_, PyType>, body: raw::Method, steps: &[&'static str]) -> PyResult<Self> {
        let py = class.py();
        let python_emit = class.getattr("emit")?.unbind();
        let doc = "emit($self, record)\n--\n\nFormats the record and hands it over.";
        // Handlers of Python's come here, too, if they were made before `install()` and name their base.
        let any = py.import("logging")?.getattr("Handler")?.cast_into::<PyType>()?;
        let emit = raw::method(&any, "emit", doc, body)?;
        let steps = steps.iter().map(|name| Ok((*name, class.getattr(*name)?.unbind()))).collect::<PyResult<_>>()?;
        Ok(Self { class: class.clone().unbind(), emit: emit.unbind(), python_emit, steps })
    }
}

static HOME: PyOnceLock<Home> = PyOnceLock::new();

pub fn home(py: Python<'_>) -> Option<&'static Home> {
    HOME.get(py)
}

/// Puts the native `emit` on the classes of the handlers.
pub fn register<'py>(
    engine: &Bound<'py, PyType>,
    modern: &Bound<'py, PyType>,
    stream: &Bound<'py, PyType>,
    codec: &Bound<'py, PyType>,
    failed: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = engine.py();
    // What runs Python's code to find out, before the first log call.
    raw::try_versions(py);
    plan::try_versions(py);
    event::find_clock(py)?;
    HOME.get_or_try_init(py, || -> PyResult<Home> {
        let kinds = [
            Kind::new(engine, emit_of_engine_handler, &["_encode", "_its_codec"])?,
            Kind::new(modern, emit_of_modern_handler, &["_encode"])?,
        ];
        for kind in &kinds {
            kind.class.bind(py).setattr("emit", &kind.emit)?;
        }
        Ok(Home {
            kinds,
            stream: stream.clone().unbind(),
            codec: codec.clone().unbind(),
            failed: failed.clone().unbind(),
        })
    })?;
    Ok(())
}

/// What is known of one handler, kept with its appender.
pub struct Handler {
    watch: Watch,
    pub found: Result<Compiled, Reason>,
}

/// A handler of which nothing is in the way.
pub struct Compiled {
    pub formatter: Formatter,
    /// Whether lines may be written as they are, in UTF-8.
    is_utf8: bool,
    codec: Py<PyAny>,
    terminator: Py<PyString>,
    /// What a line break becomes, where it does not stay one.
    newline: Option<Vec<u8>>,
    /// How its lines are made without a record, or why not.
    pub direct: Result<Direct, Reason>,
}

const COUNTING: &[&str] = &[
    "formatter",
    "_codec",
    "terminator",
    "emit",
    "format",
    "handle",
    "filter",
    "acquire",
    "release",
    "_encode",
    "_its_codec",
    "_emits_in_python",
    "_bent",
    "_newline",
];
/// Not to be found on the object.
const SHADOWING: &[&str] = &["emit", "format", "handle", "filter", "_encode", "_its_codec", "acquire", "release"];

/// Why a handler is not compiled.
pub type Reason = &'static str;

impl Handler {
    /// None: nothing can be known of it for longer than a call.
    fn look_at(handler: &Bound<'_, PyAny>, dict: &Bound<'_, PyDict>) -> Option<Self> {
        let watch = Watch::new(handler, COUNTING)?;
        let found = Compiled::new(handler, dict);
        // A refusal may not keep alive what stands in the way, which may refer to the handler.
        let watch = if found.is_ok() { watch } else { watch.weak() };
        Some(Self { watch, found })
    }

    /// For the collector of cycles.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.watch.traverse(visit)?;
        self.found.iter().try_for_each(|compiled| compiled.formatter.traverse(visit))
    }

    /// True if it is still what it was. The formatter is looked at, too.
    #[inline]
    fn holds(&self, logging: &Logging, handler: &Bound<'_, PyAny>, dict: &Bound<'_, PyDict>) -> bool {
        self.watch.holds(handler)
            && self.found.as_ref().map_or(true, |compiled| {
                formatter_of(logging, handler.py(), dict).is_some_and(|formatter| compiled.formatter.holds(&formatter))
            })
    }

    /// Whether all calls of `handle` come to nothing but `emit`.
    pub fn handles_plainly(handler: &Bound<'_, PyAny>) -> bool {
        let py = handler.py();
        let (Ok(logging), Some(home)) = (logging(py), home(py)) else { return false };
        let class = handler.get_type();
        class.getattr("emit").is_ok_and(|found| home.kinds.iter().any(|kind| found.is(&kind.emit)))
            && logging.owns(&class, "Handler", "handle")
            && logging.owns(&class, "Filterer", "filter")
            && logging.owns(&class, "Handler", "acquire")
            && logging.owns(&class, "Handler", "release")
    }
}

impl Compiled {
    fn new(handler: &Bound<'_, PyAny>, dict: &Bound<'_, PyDict>) -> Result<Self, Reason> {
        let py = handler.py();
        let home = home(py).ok_or("nothing is registered")?;
        let logging = logging(py).map_err(|_| "the module logging is not as expected")?;
        let class = handler.get_type();
        // On the class there may be a default, but no property.
        let has_property = |name: &&str| {
            class.getattr(*name).is_ok_and(|found| !found.is_none() && !found.is_exact_instance_of::<PyBool>())
        };
        if !logging.is_plain(&class, &[]) || ["_codec", "_bent", "_newline"].iter().any(has_property) {
            return Err("its class looks attributes up in a way of its own");
        }
        if SHADOWING.iter().any(|name| dict.contains(name).unwrap_or(true)) {
            return Err("one of its methods is replaced on the object");
        }
        if handler.getattr("_emits_in_python").and_then(|wish| wish.is_truthy()).unwrap_or(false) {
            return Err("the handler wants its emit in Python to run");
        }
        let kind = home
            .kinds
            .iter()
            .position(|kind| class.is_subclass(kind.class.bind(py)).unwrap_or(false))
            .ok_or("it is a foreign handler")?;
        if kind == ENGINE && !get(dict, intern!(py, "_bent")).is_some_and(|bent| raw::is_false(bent.as_ptr())) {
            return Err("code of the application's opens or rotates its file, or its stream was replaced");
        }
        let is = |name: &str, ours: &Py<PyAny>| class.getattr(name).is_ok_and(|found| found.is(ours));
        let steps = &home.kinds[kind].steps;
        if !steps.iter().all(|(name, ours)| is(name, ours)) || !logging.owns(&class, "Handler", "format") {
            return Err("its class overrides format, or makes its lines in a way of its own");
        }
        let formatter = formatter_of(logging, py, dict).ok_or("it has no formatter that can be found")?;
        let codec = get(dict, intern!(py, "_codec")).ok_or("it has no codec")?;
        if !codec.get_type().is(&home.codec) {
            return Err("its codec is replaced");
        }
        let terminator = match get(dict, intern!(py, "terminator")) {
            Some(terminator) => terminator,
            None => class.getattr("terminator").map_err(|_| "it has no terminator")?,
        };
        let terminator = terminator.cast_into_exact::<PyString>().map_err(|_| "its terminator is no text")?;
        let name = codec.getattr("encoding").and_then(|name| name.extract::<String>()).unwrap_or_default();
        let is_utf8 = matches!(&*name.to_ascii_lowercase().replace('_', "-"), "utf-8" | "utf8");
        let formatter = Formatter::compile(&formatter);
        let direct = match &formatter.body {
            Ok(body) => Direct::of(py, body),
            Err(reason) => Err(*reason),
        };
        let newline = if kind == MODERN { newline_of(dict)? } else { None };
        Ok(Self { direct, formatter, is_utf8, codec: codec.unbind(), terminator: terminator.unbind(), newline })
    }

    /// Brings a line into the bytes that go into the file.
    pub fn finish(&self, py: Python<'_>, line: &mut Text) -> PyResult<()> {
        line.push_str(self.terminator.bind(py))?;
        if let Some(newline) = &self.newline {
            line.bytes = line.bytes.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(&newline[..]);
        }
        if !self.is_utf8 || line.odd {
            let text = line.to_python(py)?;
            let bytes = self.codec.bind(py).call_method1(intern!(py, "encode"), (text,))?;
            line.clear();
            line.bytes.extend_from_slice(bytes.extract::<&[u8]>()?);
        }
        Ok(())
    }
}

fn newline_of(dict: &Bound<'_, PyDict>) -> Result<Option<Vec<u8>>, Reason> {
    let newline = get(dict, intern!(dict.py(), "_newline")).ok_or("it has no newline")?;
    let newline: String = newline.extract().map_err(|_| "its newline is no text")?;
    Ok((newline != "\n").then(|| newline.into_bytes()))
}

fn formatter_of<'py>(logging: &Logging, py: Python<'py>, dict: &Bound<'py, PyDict>) -> Option<Bound<'py, PyAny>> {
    let formatter = get(dict, intern!(py, "formatter"))?;
    if !formatter.is_none() {
        // `if self.formatter`: one that has a truth of its own is none of those compiled.
        return Some(formatter);
    }
    logging.now(py, intern!(py, "_defaultFormatter"))
}

/// The appender of a handler that is attached: through the stream of this package, or as `everyline.Handler` is.
pub fn appender_of<'py>(dict: &Bound<'py, PyDict>) -> Option<Bound<'py, Appender>> {
    let py = dict.py();
    let Some(stream) = get(dict, intern!(py, "_stream")) else {
        return get(dict, intern!(py, "_appender"))?.cast_into::<Appender>().ok();
    };
    if !std::ptr::eq(stream.get_type_ptr().cast(), home(py)?.stream.as_ptr()) {
        return None;
    }
    get(&raw::instance_dict(&stream)?, intern!(py, "appender"))?.cast_into::<Appender>().ok()
}

/// What is known of a handler: what was, if it still holds, or found out anew.
#[inline]
pub fn known(
    logging: &Logging,
    handler: &Bound<'_, PyAny>,
    dict: &Bound<'_, PyDict>,
    appender: &Appender,
) -> Option<Arc<Handler>> {
    let kept = appender.line.try_lock().ok().and_then(|kept| kept.clone());
    if let Some(kept) = kept
        && kept.holds(logging, handler, dict)
    {
        return Some(kept);
    }
    let fresh = Arc::new(Handler::look_at(handler, dict)?);
    if let Ok(mut kept) = appender.line.try_lock() {
        let old = kept.replace(Arc::clone(&fresh));
        drop(kept);
        // It may be the last to hold objects of the application.
        drop(old);
    }
    Some(fresh)
}

thread_local! {
    /// Memory for a line and for its message. Taken out while in use: code that formatting calls may log itself.
    static SPARE: [Cell<Vec<u8>>; 2] = const { [const { Cell::new(Vec::new()) }; 2] };
}

/// Longer lines give their memory back.
const SPARE_BYTES: usize = 64 << 10;

/// Runs `work` with an empty line.
pub fn with_line<R>(work: impl FnOnce(&mut Text) -> R) -> R {
    with_spare(0, work)
}

/// Runs `work` with an empty text for a message, within [`with_line`].
pub fn with_message<R>(work: impl FnOnce(&mut Text) -> R) -> R {
    with_spare(1, work)
}

fn with_spare<R>(which: usize, work: impl FnOnce(&mut Text) -> R) -> R {
    let bytes = SPARE.try_with(|spare| spare[which].take()).unwrap_or_default();
    let mut text = Text { bytes, odd: false };
    text.clear();
    let result = work(&mut text);
    if text.bytes.capacity() <= SPARE_BYTES {
        let _ = SPARE.try_with(|spare| spare[which].set(text.bytes));
    }
    result
}

/// Hands a finished line to the engine. With the GIL only what neither waits nor enters the kernel.
pub fn append(py: Python<'_>, appender: &Appender, level: u8, line: &[u8]) -> PyResult<()> {
    let appender = appender.engine();
    match appender.try_append_at(level, line) {
        Attempt::Done => Ok(()),
        Attempt::Published(published) => py.detach(|| appender.settle(published)),
        Attempt::NotNow => py.detach(|| appender.append_at(level, line)),
    }
    .map_err(to_python)
}

/// `levelno`, in the engine's scale; None for what is no ordinary number.
pub fn level_of(level: &Bound<'_, PyAny>) -> Option<u8> {
    if level.is_none() {
        return Some(0);
    }
    if !raw::is_exact_int(level) {
        return None;
    }
    Some(raw::small_int(level)?.clamp(0, 255) as u8)
}

unsafe extern "C" fn emit_of_engine_handler(
    handler: *mut ffi::PyObject,
    start: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    method(handler, start, count, names, |handler, arguments| emit(ENGINE, handler, arguments))
}

unsafe extern "C" fn emit_of_modern_handler(
    handler: *mut ffi::PyObject,
    start: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    method(handler, start, count, names, |handler, arguments| emit(MODERN, handler, arguments))
}

fn emit<'py>(kind: usize, handler: &Bound<'py, PyAny>, arguments: Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = arguments.py;
    if arguments.len() == 1 && !arguments.has_names() {
        let record = arguments.get(0).to_owned();
        match emit_native(handler, &record) {
            Ok(()) => {
                NATIVE_EMIT.fetch_add(1, Ordering::Relaxed);
                return Ok(py.None().into_bound(py));
            }
            Err(Failure::Refused) => {}
            Err(Failure::Raised(error)) => return report(handler, &record, error),
            Err(Failure::Reported(error)) => return Err(error),
        }
    }
    PYTHON_EMIT.fetch_add(1, Ordering::Relaxed);
    let home = home(py).ok_or_else(|| PyException::new_err("everyline is not set up"))?;
    arguments.pass_on(home.kinds[kind].python_emit.bind(py), handler)
}

/// `except Exception` of `emit`.
fn report<'py>(handler: &Bound<'py, PyAny>, record: &Bound<'py, PyAny>, error: PyErr) -> PyResult<Bound<'py, PyAny>> {
    let py = handler.py();
    match home(py) {
        Some(home) if error.is_instance_of::<PyException>(py) => {
            home.failed.bind(py).call1((handler, record, error.into_value(py)))
        }
        _ => Err(error),
    }
}

fn emit_native(handler: &Bound<'_, PyAny>, record: &Bound<'_, PyAny>) -> Result<(), Failure> {
    let py = handler.py();
    let logging = logging(py)?;
    if !is_plain_record(logging, record) {
        return Err(Failure::Refused);
    }
    if let Some((plan, appender, known)) = EmitPlan::take(logging, handler) {
        plan.keep(handler);
        return emit_known(record, appender.get(), &known);
    }
    let dict = raw::instance_dict(handler).ok_or(Failure::Refused)?;
    let appender = appender_of(&dict).ok_or(Failure::Refused)?;
    let plan = EmitPlan::of(logging, handler);
    let known = known(logging, handler, &dict, appender.get()).ok_or(Failure::Refused)?;
    if let Some(plan) = plan
        && plan.is_of(&known)
    {
        plan.keep(handler);
    }
    emit_known(record, appender.get(), &known)
}

#[inline]
fn emit_known(record: &Bound<'_, PyAny>, appender: &Appender, known: &Handler) -> Result<(), Failure> {
    let py = record.py();
    let compiled = known.found.as_ref().map_err(|_| Failure::Refused)?;
    let attributes = raw::instance_dict(record).ok_or(Failure::Refused)?;
    let level = get(&attributes, intern!(py, "levelno")).ok_or(Failure::Refused)?;
    let level = level_of(&level).ok_or(Failure::Refused)?;
    with_line(|line| {
        compiled.formatter.write(record, &attributes, line)?;
        compiled.finish(py, line)?;
        Ok(append(py, appender, level, &line.bytes)?)
    })
}

/// Exactly a `LogRecord`, whose class is the standard library's, unchanged.
#[inline]
pub fn is_plain_record(logging: &Logging, record: &Bound<'_, PyAny>) -> bool {
    std::ptr::eq(record.get_type_ptr().cast(), logging.record.as_ptr()) && is_plain_record_class(record.py(), logging)
}

/// Whether `LogRecord` itself is unchanged. Found out once for each version of it.
#[inline]
pub fn is_plain_record_class(py: Python<'_>, logging: &Logging) -> bool {
    /// The version, and below it what was found out.
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let class = logging.record.bind(py);
    let (now, seen) = (raw::version_of_class(class).number(), SEEN.load(Ordering::Relaxed));
    if seen >> 1 == now && now > 1 {
        return seen & 1 == 1;
    }
    let Some(version) = raw::fresh_version(class) else { return false };
    let plain = logging.is_plain(class, &["msg", "args", "exc_info", "levelno"])
        && logging.owns(class, "LogRecord", "getMessage")
        && logging.owns(class, "LogRecord", "__init__");
    if raw::version_of_class(class) == version {
        SEEN.store(version.number() << 1 | u64::from(plain), Ordering::Relaxed);
    }
    plain
}

/// The frame of a native method: from the interpreter's calling convention, and back.
pub fn method(
    this: *mut ffi::PyObject,
    start: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
    body: impl for<'a, 'py> FnOnce(&Bound<'py, PyAny>, Arguments<'a, 'py>) -> PyResult<Bound<'py, PyAny>>,
) -> *mut ffi::PyObject {
    // SAFETY: only the interpreter calls methods, attached, with valid arguments.
    unsafe {
        let py = Python::assume_attached();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let this = Borrowed::from_ptr(py, this);
            body(&this, Arguments::new(py, start, count, names))
        }));
        match result {
            Ok(Ok(value)) => value.into_ptr(),
            Ok(Err(error)) => {
                error.restore(py);
                std::ptr::null_mut()
            }
            Err(_) => {
                pyo3::exceptions::PyRuntimeError::new_err("everyline: a defect in native code").restore(py);
                std::ptr::null_mut()
            }
        }
    }
}
