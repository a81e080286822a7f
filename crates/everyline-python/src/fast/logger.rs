//! The methods of `logging.Logger`.
//!
//! Promise: a call does what the method of the standard library does. Its level is checked with the logger's own cache.
//! Where every handler it would reach is one of ours, unchanged, and nothing on the way is replaced, the line is made
//! and written without a record. Every other call goes to the method that was there before, with its arguments.
//! [`explain`] says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

use super::event::{Event, Moment};
use super::formatter::Failure;
use super::handler::{self, Handler, NO_RECORD, appender_of, known, method, with_line};
use super::plan::{self, Plan};
use super::raw::{self, Arguments};
use super::text::Text;
use super::watch::{Logging, get, logging};
use crate::appender::Appender;

const NAMES: [&str; 7] = ["debug", "info", "warning", "error", "critical", "log", "exception"];
const LEVELS: [i64; 7] = [10, 20, 30, 40, 50, 0, 40];
const LOG: usize = 5;
const EXCEPTION: usize = 6;

/// The methods that were there, and the levels as objects.
struct Before {
    methods: [Py<PyAny>; 7],
    levels: [Py<PyAny>; 7],
    native: [Py<PyAny>; 7],
    /// `(handler, logger, level, message, arguments, error)`: an append that failed.
    failed: Py<PyAny>,
}

static BEFORE: PyOnceLock<Before> = PyOnceLock::new();

macro_rules! body {
    ($($function:ident = $index:expr;)*) => {$(
        unsafe extern "C" fn $function(
            this: *mut ffi::PyObject,
            start: *const *mut ffi::PyObject,
            count: ffi::Py_ssize_t,
            names: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject {
            method(this, start, count, names, |logger, arguments| call($index, logger, arguments))
        }
    )*};
}

body! { debug = 0; info = 1; warning = 2; error = 3; critical = 4; log = 5; exception = 6; }

/// Prepares the methods, by name. Refused where one of them is not the standard library's own.
pub fn methods<'py>(py: Python<'py>, failed: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let before = BEFORE.get_or_try_init(py, || {
        let logging = logging(py)?;
        let class = logging.logger.bind(py);
        if let Some(name) = NAMES.iter().find(|name| !logging.owns(class, "Logger", name)) {
            let text = format!("logging.Logger.{name} has been replaced; install before whatever does that");
            return Err(PyRuntimeError::new_err(text));
        }
        let bodies: [raw::Method; 7] = [debug, info, warning, error, critical, log, exception];
        let mut native = Vec::new();
        let mut methods = Vec::new();
        for (name, body) in NAMES.iter().zip(bodies) {
            let before = class.getattr(*name)?;
            let text: String = before.getattr("__doc__")?.extract().unwrap_or_default();
            let signature = match *name {
                "log" => "($self, level, msg, *args, **kwargs)",
                "exception" => "($self, msg, *args, exc_info=True, **kwargs)",
                _ => "($self, msg, *args, **kwargs)",
            };
            let doc = format!("{name}{signature}\n--\n\n{}", text.trim());
            native.push(raw::method(class, name, &doc, body)?.unbind());
            methods.push(before.unbind());
        }
        let levels = LEVELS.map(|level| level.into_pyobject(py).map(|level| level.into_any().unbind()));
        let [a, b, c, d, e, f, g] = levels;
        Ok(Before {
            methods: methods.try_into().map_err(|_| PyRuntimeError::new_err("methods"))?,
            native: native.try_into().map_err(|_| PyRuntimeError::new_err("methods"))?,
            levels: [a?, b?, c?, d?, e?, f?, g?],
            failed: failed.clone().unbind(),
        })
    })?;
    let dict = PyDict::new(py);
    for (index, name) in NAMES.iter().enumerate() {
        dict.set_item(name, PyTuple::new(py, [&before.native[index], &before.methods[index]])?)?;
    }
    Ok(dict)
}

#[inline]
fn call<'py>(index: usize, logger: &Bound<'py, PyAny>, arguments: Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = arguments.py;
    let before = BEFORE.get(py).ok_or_else(|| PyRuntimeError::new_err("everyline is not set up"))?;
    let first = usize::from(index == LOG);
    if arguments.len() > first
        && let Some(done) = attempt(index, first, before, logger, arguments)?
    {
        return Ok(done);
    }
    arguments.pass_on(before.methods[index].bind(py), logger)
}

/// None: the standard library's method has to run.
#[inline]
fn attempt<'py>(
    index: usize,
    first: usize,
    before: &'static Before,
    logger: &Bound<'py, PyAny>,
    arguments: Arguments<'_, 'py>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = arguments.py;
    let logging = logging(py)?;
    if index < LOG
        && !arguments.has_names()
        && let Some(plan) = plan::take(logging, logger, index)
    {
        let done = by_plan(logging, before, logger, index, &plan, arguments);
        plan::keep(logger, plan);
        return ended(py, done);
    }
    if !is_plain_class(logging, logger) {
        return Ok(None);
    }
    let Some(dict) = raw::instance_dict(logger) else { return Ok(None) };
    let level = if index == LOG { arguments.borrowed(0) } else { before.levels[index].bind(py) };
    if index == LOG && !raw::is_exact_int(level) {
        return Ok(None);
    }
    match is_enabled(logger, &dict, level)? {
        None => return Ok(None),
        Some(false) if arguments.has_names() && arguments.names_one_of(&["self", "msg", "level"]) => return Ok(None),
        Some(false) => return Ok(Some(py.None().into_bound(py))),
        Some(true) if arguments.has_names() || index == EXCEPTION => return Ok(None),
        Some(true) => {}
    }
    let number = match index {
        LOG => match raw::small_int(level) {
            Some(number) => number,
            None => return Ok(None),
        },
        _ => LEVELS[index],
    };
    let planned = if index < LOG { Plan::of(logging, logger, index, level).map(Box::new) } else { None };
    let done = without_record(logging, before, logger, &dict, number, level, arguments, first);
    if let (Some(plan), Ok(())) = (planned, &done)
        && plan.holds(logging, logger, index)
        && plan.is_of_use(py)
    {
        plan::keep(logger, plan);
    }
    ended(py, done)
}

/// None: the standard library's method has to run.
#[inline]
fn ended(py: Python<'_>, done: Result<(), Failure>) -> PyResult<Option<Bound<'_, PyAny>>> {
    match done {
        Ok(()) => Ok(Some(py.None().into_bound(py))),
        Err(Failure::Refused) => Ok(None),
        // The standard library's path reports it, with a record.
        Err(Failure::Raised(error)) if error.is_instance_of::<PyException>(py) => Ok(None),
        Err(Failure::Raised(error) | Failure::Reported(error)) => Err(error),
    }
}

/// `isEnabledFor`. None: it is replaced on the object, or the logger is not as it should be.
#[inline]
fn is_enabled<'py>(
    logger: &Bound<'py, PyAny>,
    dict: &Bound<'py, PyDict>,
    level: &Bound<'py, PyAny>,
) -> PyResult<Option<bool>> {
    let py = logger.py();
    let disabled = raw::identity(dict, intern!(py, "disabled"));
    if disabled.is_null() || !raw::identity(dict, intern!(py, "isEnabledFor")).is_null() {
        return Ok(None);
    }
    if raw::is_false(disabled) {
        let known = raw::identity_within(dict, intern!(py, "_cache"), level);
        if raw::is_false(known) {
            return Ok(Some(false));
        }
        if raw::is_true(known) {
            return Ok(Some(true));
        }
    }
    Ok(Some(logger.call_method1(intern!(py, "isEnabledFor"), (level,))?.is_truthy()?))
}

const STEPS: [(&str, &str); 8] = [
    ("Logger", "isEnabledFor"),
    ("Logger", "getEffectiveLevel"),
    ("Logger", "_log"),
    ("Logger", "makeRecord"),
    ("Logger", "findCaller"),
    ("Logger", "handle"),
    ("Logger", "callHandlers"),
    ("Filterer", "filter"),
];
const ATTRIBUTES: &[&str] =
    &["name", "level", "parent", "propagate", "handlers", "disabled", "filters", "_cache", "__bool__", "__len__"];

/// Remembers what was found out about the classes seen last: the number of a version, which no other class ever has, and
/// below it whether the class is plain.
struct Classes([AtomicU64; 4]);

impl Classes {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 4])
    }

    #[inline]
    fn ask(&self, object: &Bound<'_, PyAny>, find_out: impl FnOnce() -> bool) -> bool {
        let number = raw::version_of(object).number();
        for entry in &self.0 {
            let entry = entry.load(Ordering::Relaxed);
            if entry >> 1 == number && number > 1 {
                return entry & 1 == 1;
            }
        }
        self.learn(object, find_out)
    }

    #[cold]
    fn learn(&self, object: &Bound<'_, PyAny>, find_out: impl FnOnce() -> bool) -> bool {
        let Some(version) = raw::fresh_version(&object.get_type()) else { return false };
        let plain = find_out();
        if raw::version_of(object) == version {
            // The oldest leaves.
            for at in (1..self.0.len()).rev() {
                self.0[at].store(self.0[at - 1].load(Ordering::Relaxed), Ordering::Relaxed);
            }
            self.0[0].store(version.number() << 1 | u64::from(plain), Ordering::Relaxed);
        }
        plain
    }
}

static LOGGERS: Classes = Classes::new();
static HANDLERS: Classes = Classes::new();

/// A `Logger`, or of a subclass that replaces nothing a log call goes through.
#[inline]
fn is_plain_class(logging: &Logging, logger: &Bound<'_, PyAny>) -> bool {
    let find_out = || {
        let class = logger.get_type();
        logging.is_plain(&class, ATTRIBUTES) && STEPS.iter().all(|(owner, name)| logging.owns(&class, owner, name))
    };
    LOGGERS.ask(logger, find_out)
}

/// One of our handlers, whose `handle` comes to nothing but `emit`.
#[inline]
fn is_plain_handler(handler: &Bound<'_, PyAny>) -> bool {
    HANDLERS.ask(handler, || Handler::handles_plainly(handler))
}

/// Where one line goes.
struct Target<'py> {
    handler: Bound<'py, PyAny>,
    appender: Bound<'py, Appender>,
    known: Arc<Handler>,
}

/// Most handlers a call without a record may reach.
const MOST: usize = 4;

/// The handlers a call reaches, or why a record is needed.
fn targets<'py>(
    logging: &Logging,
    logger: &Bound<'py, PyAny>,
    dict: &Bound<'py, PyDict>,
    level: i64,
    found: &mut Vec<Target<'py>>,
) -> Result<(), &'static str> {
    let py = logger.py();
    if get(dict, intern!(py, "_log")).is_some()
        || dict.len() > 8 + usize::from(get(dict, intern!(py, "manager")).is_some())
            && STEPS.iter().any(|(_, name)| dict.contains(name).unwrap_or(true))
    {
        return Err("one of its methods is replaced on the object");
    }
    if !is_empty(get(dict, intern!(py, "filters"))) {
        return Err("it has filters");
    }
    let factory = logging.now(py, intern!(py, "_logRecordFactory"));
    if !factory.is_some_and(|factory| factory.is(&logging.record)) {
        return Err("a record factory is set");
    }
    if !handler::is_plain_record_class(py, logging) {
        return Err("logging.LogRecord has been changed");
    }
    let mut any = false;
    let mut dict = dict.clone();
    loop {
        let handlers = get(&dict, intern!(py, "handlers")).ok_or("a logger has no handlers attribute")?;
        let handlers = handlers.cast_exact::<PyList>().map_err(|_| "a logger's handlers are no list")?;
        for handler in handlers.iter() {
            any = true;
            target(logging, handler, level, found)?;
        }
        let propagate = get(&dict, intern!(py, "propagate")).ok_or("a logger has no propagate attribute")?;
        if !propagate.is_truthy().unwrap_or(true) {
            break;
        }
        let parent = get(&dict, intern!(py, "parent")).ok_or("a logger has no parent attribute")?;
        if parent.is_none() {
            break;
        }
        if !is_plain_class(logging, &parent) {
            return Err("a parent logger's class replaces a step");
        }
        dict = raw::instance_dict(&parent).ok_or("a parent logger has no attributes")?;
    }
    if any { Ok(()) } else { Err("it reaches no handler") }
}

fn target<'py>(
    logging: &Logging,
    handler: Bound<'py, PyAny>,
    level: i64,
    found: &mut Vec<Target<'py>>,
) -> Result<(), &'static str> {
    let py = handler.py();
    if !is_plain_handler(&handler) {
        // One that does not want the record does not stand in the way.
        let above = handler.getattr(intern!(py, "level")).ok().filter(raw::is_exact_int);
        let above = above.as_ref().and_then(raw::small_int);
        if above.is_some_and(|above| level < above) || handler.get_type().is(&logging.null_handler) {
            return Ok(());
        }
        let class = handler.get_type();
        let is_of = |kind: &handler::Kind| class.is_subclass(kind.class.bind(py)).unwrap_or(false);
        let ours = handler::home(py).is_some_and(|home| home.kinds.iter().any(is_of));
        return Err(if ours {
            "a handler's class overrides emit, handle or filter"
        } else {
            "it reaches a foreign handler"
        });
    }
    let dict = raw::instance_dict(&handler).ok_or("a handler has no attributes")?;
    let above = get(&dict, intern!(py, "level")).filter(raw::is_exact_int).ok_or("a handler's level is no number")?;
    if level < raw::small_int(&above).ok_or("a handler's level is no number")? {
        return Ok(());
    }
    if !is_empty(get(&dict, intern!(py, "filters"))) {
        return Err("a handler has filters");
    }
    let appender = appender_of(&dict).ok_or("a handler is not attached, which its first record will change")?;
    let known = known(logging, &handler, &dict, appender.get()).ok_or("a handler's class cannot be watched")?;
    let compiled = known.found.as_ref().map_err(|reason| *reason)?;
    if let Err(reason) = &compiled.formatter.body {
        return Err(reason);
    }
    compiled.direct.as_ref().map_err(|reason| *reason)?;
    if found.len() == MOST {
        return Err("it reaches more than four handlers");
    }
    found.push(Target { handler, appender, known });
    Ok(())
}

#[inline]
fn is_empty(list: Option<Bound<'_, PyAny>>) -> bool {
    list.is_some_and(|list| list.cast_exact::<PyList>().is_ok_and(|list| list.is_empty()))
}

/// A call that comes to the same as the last one of its kind.
#[inline]
fn by_plan<'py>(
    logging: &Logging,
    before: &'static Before,
    logger: &Bound<'py, PyAny>,
    index: usize,
    plan: &Plan,
    arguments: Arguments<'_, 'py>,
) -> Result<(), Failure> {
    let py = arguments.py;
    let (handler, appender, known) = plan.only_target(py).ok_or(Failure::Refused)?;
    let dict = raw::instance_dict(logger).ok_or(Failure::Refused)?;
    let facts = &plan.facts;
    let moment = if facts.is_time_plain { Moment::at_once(py, logging)? } else { Moment::now(py, logging)? };
    let level_object = before.levels[index].bind(py);
    let event = Event {
        logging,
        logger: &dict,
        level: LEVELS[index],
        level_object,
        arguments,
        first: 0,
        moment,
        facts: Some(facts),
    };
    let compiled = known.found.as_ref().map_err(|_| Failure::Refused)?;
    let direct = compiled.direct.as_ref().map_err(|_| Failure::Refused)?;
    let appended = with_line(|line| {
        event.write(&compiled.formatter, direct, line)?;
        compiled.finish(py, line)?;
        let urgency = LEVELS[index].clamp(0, 255) as u8;
        Ok::<_, Failure>(handler::append(py, appender.get(), urgency, &line.bytes))
    })?;
    NO_RECORD.fetch_add(1, Ordering::Relaxed);
    let Err(error) = appended else { return Ok(()) };
    let target = Target { handler, appender, known: Arc::clone(&known) };
    report(before, &target, logger, &event, error).map_err(Failure::Reported)
}

// One log call is that many things.
#[allow(clippy::too_many_arguments)]
fn without_record<'py>(
    logging: &Logging,
    before: &'static Before,
    logger: &Bound<'py, PyAny>,
    dict: &Bound<'py, PyDict>,
    level: i64,
    level_object: &Bound<'py, PyAny>,
    arguments: Arguments<'_, 'py>,
    first: usize,
) -> Result<(), Failure> {
    let py = arguments.py;
    let mut found = Vec::new();
    targets(logging, logger, dict, level, &mut found).map_err(|_| Failure::Refused)?;
    let moment = Moment::now(py, logging)?;
    let event = Event { logging, logger: dict, level, level_object, arguments, first, moment, facts: None };
    let urgency = level.clamp(0, 255) as u8;
    let write = |target: &Target<'py>, line: &mut Text| -> Result<(), Failure> {
        let compiled = target.known.found.as_ref().map_err(|_| Failure::Refused)?;
        let direct = compiled.direct.as_ref().map_err(|_| Failure::Refused)?;
        event.write(&compiled.formatter, direct, line)?;
        Ok(compiled.finish(py, line)?)
    };
    let append = |target: &Target<'py>, line: &Text| -> Result<(), Failure> {
        match handler::append(py, target.appender.get(), urgency, &line.bytes) {
            Ok(()) => Ok(()),
            Err(error) => report(before, target, logger, &event, error).map_err(Failure::Reported),
        }
    };
    // Nothing is appended before all lines are made: what fails until then is done again with a record.
    let appended = match &found[..] {
        [only] => with_line(|line| {
            write(only, line)?;
            Ok::<_, Failure>(append(only, line))
        })?,
        several => {
            let mut lines = Vec::with_capacity(several.len());
            for target in several {
                let mut line = Text::default();
                write(target, &mut line)?;
                lines.push(line);
            }
            several.iter().zip(&lines).try_for_each(|(target, line)| append(target, line))
        }
    };
    NO_RECORD.fetch_add(1, Ordering::Relaxed);
    appended
}

/// A line was made and not accepted: `handleError` gets a record of it.
fn report<'py>(
    before: &Before,
    target: &Target<'py>,
    logger: &Bound<'py, PyAny>,
    event: &Event<'_, 'py>,
    error: PyErr,
) -> PyResult<()> {
    let arguments = event.arguments;
    let py = arguments.py;
    let rest = (event.first + 1..arguments.len()).map(|index| arguments.get(index));
    let rest = PyTuple::new(py, rest)?;
    let message = arguments.get(event.first);
    let error = error.into_value(py);
    before.failed.bind(py).call1((&target.handler, logger, event.level_object, message, rest, error))?;
    Ok(())
}

/// Why a call at `level` would not do without a record; None if it would.
pub fn explain(logger: &Bound<'_, PyAny>, level: i64) -> PyResult<Option<&'static str>> {
    let py = logger.py();
    let logging = logging(py)?;
    let class = logger.get_type();
    if !raw::versions_work() {
        return Ok(Some("this interpreter does not tell when a class is changed"));
    }
    let Some(before) = BEFORE.get(py) else { return Ok(Some("native methods are not installed")) };
    let native = |class: &Bound<'_, PyType>| {
        NAMES.iter().zip(&before.native).all(|(name, native)| class.getattr(*name).is_ok_and(|found| found.is(native)))
    };
    if !native(&class) {
        return Ok(Some("its class does not have the native methods"));
    }
    if !is_plain_class(logging, logger) {
        return Ok(Some("its class replaces a step of the standard library's"));
    }
    let Some(dict) = raw::instance_dict(logger) else { return Ok(Some("it has no attributes")) };
    let mut found = Vec::new();
    Ok(targets(logging, logger, &dict, level, &mut found).err())
}
