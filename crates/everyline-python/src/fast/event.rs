//! A log call for which no `LogRecord` is made: what a record would say, found out only where a format asks.
//!
//! Promise: each field has the value that `LogRecord.__init__` of this interpreter would give it, from the same
//! functions, looked up as it looks them up, so that code which replaces them (a frozen clock, green threads) is seen.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::formatter::{Body, Failure, Formatter, Pieces};
use super::handler::with_message;
use super::json;
use super::parse::Piece;
use super::plan::Facts;
use super::raw::{self, Arguments};
use super::text::{Refused, Text, Value};
use super::watch::{Logging, get, logging};

/// Fields that can be had without a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    Name,
    LevelNo,
    LevelName,
    Message,
    Asctime,
    Created,
    Msecs,
    RelativeCreated,
    Process,
    ProcessName,
    Thread,
    ThreadName,
    Pathname,
    Filename,
    Module,
    Lineno,
    FuncName,
    /// Always None, as the call gave nothing of the kind.
    Nothing,
    /// Not of a record: from `defaults`.
    Default,
}

impl Field {
    /// None: a record is needed.
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "name" => Self::Name,
            "levelno" => Self::LevelNo,
            "levelname" => Self::LevelName,
            "message" => Self::Message,
            "asctime" => Self::Asctime,
            "created" => Self::Created,
            "msecs" => Self::Msecs,
            "relativeCreated" => Self::RelativeCreated,
            "process" => Self::Process,
            "processName" => Self::ProcessName,
            "thread" => Self::Thread,
            "threadName" => Self::ThreadName,
            "pathname" => Self::Pathname,
            "filename" => Self::Filename,
            "module" => Self::Module,
            "lineno" => Self::Lineno,
            "funcName" => Self::FuncName,
            "exc_info" | "exc_text" | "stack_info" => Self::Nothing,
            // Anything but text and numbers, or costly to have right.
            "msg" | "args" | "taskName" => return None,
            _ => Self::Default,
        })
    }
}

/// How to make the lines of one formatter without a record.
pub struct Direct {
    fields: Vec<Field>,
}

impl Direct {
    pub fn of(py: Python<'_>, body: &Body) -> Result<Self, &'static str> {
        let mut fields = Vec::new();
        let mut add = |name: &Bound<'_, PyString>, has_default: bool| {
            let field = name.to_cow().ok().and_then(|name| Field::of(&name));
            match field {
                Some(Field::Default) if !has_default => Err("its formatter uses a field that a record may not have"),
                Some(field) => {
                    fields.push(field);
                    Ok(())
                }
                None => Err("its formatter uses a field that only a record has"),
            }
        };
        let uses_time = match body {
            Body::Pieces(pieces) => {
                let uses_time = pieces.uses_time.ok_or("its formatter overrides usesTime")?;
                if uses_time && pieces.clock.is_none() {
                    return Err("its formatter overrides formatTime, or has a converter of its own");
                }
                for piece in pieces.pieces.as_ref().ok_or("its formatter's format is not understood")? {
                    if let Piece::Field { name, .. } = piece {
                        add(name.bind(py), pieces.default(py, name.bind(py)).is_some())?;
                    }
                }
                uses_time
            }
            // Its fields are always the same.
            Body::Json(_) => false,
        };
        if fields.contains(&Field::Asctime) && !uses_time {
            return Err("its formatter uses a time that it does not make");
        }
        Ok(Self { fields })
    }
}

/// One log call.
pub struct Event<'a, 'py> {
    pub logging: &'a Logging,
    pub logger: &'a Bound<'py, PyDict>,
    pub level: i64,
    pub level_object: &'a Bound<'py, PyAny>,
    /// The message and its arguments: those from this index on.
    pub arguments: Arguments<'a, 'py>,
    pub first: usize,
    pub moment: Moment,
    /// What is known beforehand.
    pub facts: Option<&'a Facts>,
}

/// `created` and its kin.
#[derive(Clone, Copy)]
pub struct Moment {
    created: f64,
    msecs: f64,
    nanos: Option<i64>,
}

#[derive(Clone, Copy)]
enum ClockKind {
    /// `time.time_ns()`, Python 3.13 and later.
    Nanos,
    /// `time.time()`, with whole milliseconds or not.
    Seconds { whole: bool },
}

/// Finds out what this interpreter's records ask for the time.
pub fn find_clock(py: Python<'_>) -> PyResult<()> {
    clock_kind(py, logging(py)?).map(drop)
}

fn clock_kind(py: Python<'_>, logging: &Logging) -> PyResult<ClockKind> {
    static KIND: PyOnceLock<ClockKind> = PyOnceLock::new();
    KIND.get_or_try_init(py, || {
        let code = logging.record.bind(py).getattr("__init__")?.getattr("__code__")?;
        if code.getattr("co_names")?.contains("time_ns")? {
            return Ok(ClockKind::Nanos);
        }
        // Where milliseconds are whole, a float is added to them.
        let constants = code.getattr("co_consts")?.cast_into::<PyTuple>()?;
        Ok(ClockKind::Seconds { whole: constants.iter().any(|constant| raw::is_exact_float(&constant)) })
    })
    .copied()
}

impl Moment {
    /// The same as [`now`](Self::now), where the interpreter's clock has not been replaced.
    pub fn at_once(py: Python<'_>, logging: &Logging) -> Result<Self, Failure> {
        let kind = clock_kind(py, logging)?;
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the structure is ours. The clock is the one of `time.time`.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
        let nanos = now.tv_sec * 1_000_000_000 + now.tv_nsec;
        Ok(match kind {
            ClockKind::Nanos => Self::of_nanos(nanos),
            // As the interpreter turns it into a float.
            ClockKind::Seconds { whole } if now.tv_nsec == 0 => Self::of_seconds(now.tv_sec as f64, whole),
            ClockKind::Seconds { whole } => Self::of_seconds(nanos as f64 / 1e9, whole),
        })
    }

    fn of_nanos(nanos: i64) -> Self {
        let created = nanos as f64 / 1e9;
        let mut msecs = (nanos.rem_euclid(1_000_000_000) / 1_000_000) as f64;
        if msecs == 999.0 && created as i64 != nanos.div_euclid(1_000_000_000) {
            msecs = 0.0;
        }
        Self { created, msecs, nanos: Some(nanos) }
    }

    fn of_seconds(created: f64, whole: bool) -> Self {
        let msecs = (created - created.trunc()) * 1000.0;
        Self { created, msecs: if whole { msecs.trunc() } else { msecs }, nanos: None }
    }

    pub fn now(py: Python<'_>, logging: &Logging) -> Result<Self, Failure> {
        let time = logging.now(py, intern!(py, "time")).ok_or(Failure::Refused)?;
        match clock_kind(py, logging)? {
            ClockKind::Nanos => {
                let now = time.getattr(intern!(py, "time_ns"))?.call0()?;
                let nanos: i64 = now.extract().map_err(|_| Failure::Refused)?;
                Ok(Self::of_nanos(nanos))
            }
            ClockKind::Seconds { whole } => {
                let now = time.getattr(intern!(py, "time"))?.call0()?;
                if !raw::is_exact_float(&now) {
                    return Err(Failure::Refused);
                }
                Ok(Self::of_seconds(now.extract()?, whole))
            }
        }
    }
}

impl<'py> Event<'_, 'py> {
    /// The line of this call without its terminator.
    pub fn write(&self, formatter: &Formatter, direct: &Direct, out: &mut Text) -> Result<(), Failure> {
        if let Some(message) = self.plain_message() {
            return self.write_body(formatter, direct, message, false, out);
        }
        with_message(|message| {
            self.write_message(message)?;
            self.write_body(formatter, direct, &message.bytes, message.odd, out)
        })
    }

    fn write_body(
        &self,
        formatter: &Formatter,
        direct: &Direct,
        message: &[u8],
        odd: bool,
        out: &mut Text,
    ) -> Result<(), Failure> {
        match formatter.body.as_ref().map_err(|_| Failure::Refused)? {
            Body::Pieces(pieces) => {
                self.write_pieces(pieces, direct, message, out)?;
                out.odd |= odd;
                Ok(())
            }
            Body::Json(_) if odd => Err(Failure::Refused),
            Body::Json(plan) => self.write_json(plan, message, out),
        }
    }

    /// A message without arguments is written as it stands.
    fn plain_message(&self) -> Option<&[u8]> {
        let message = self.arguments.borrowed(self.first);
        if self.arguments.len() != self.first + 1 || !raw::is_exact_str(message) {
            return None;
        }
        raw::utf8(message.cast::<PyString>().ok()?)
    }

    /// `LogRecord.getMessage`.
    fn write_message(&self, out: &mut Text) -> Result<(), Failure> {
        let py = self.arguments.py;
        let template = self.arguments.borrowed(self.first);
        let rest = self.first + 1..self.arguments.len();
        if raw::is_exact_str(template)
            && let Some(text) = raw::utf8(template.cast::<PyString>().map_err(|_| Failure::Refused)?)
            && out.write_message(text, rest.clone().map(|index| self.arguments.get(index))).is_ok()
        {
            return Ok(());
        }
        let text = template.str()?.into_any();
        let text = if rest.is_empty() {
            text
        } else {
            let all = PyTuple::new(py, rest.map(|index| self.arguments.get(index)))?;
            text.rem(self.only_mapping(&all)?.unwrap_or(all.into_any()))?
        };
        Ok(out.push_str(text.cast::<PyString>().map_err(|_| Failure::Refused)?)?)
    }

    /// A single mapping that is not empty stands for its items.
    fn only_mapping(&self, all: &Bound<'py, PyTuple>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = self.arguments.py;
        if all.len() != 1 {
            return Ok(None);
        }
        let one = all.get_item(0)?;
        let is_mapping =
            one.is_instance_of::<PyDict>() || one.is_instance(&py.import("collections.abc")?.getattr("Mapping")?)?;
        Ok(if is_mapping && one.is_truthy()? { Some(one) } else { None })
    }

    fn write_pieces(&self, pieces: &Pieces, direct: &Direct, message: &[u8], out: &mut Text) -> Result<(), Failure> {
        let py = self.arguments.py;
        let mut caller = None;
        let mut fields = direct.fields.iter();
        for piece in pieces.pieces.as_ref().ok_or(Failure::Refused)? {
            match piece {
                Piece::Literal(bytes) => out.bytes.extend_from_slice(bytes),
                Piece::Field { name, shape } => match fields.next().ok_or(Failure::Refused)? {
                    Field::Asctime if matches!(shape, super::text::Shape::Plain) => {
                        let clock = pieces.clock.as_ref().ok_or(Failure::Refused)?;
                        clock.write(py, self.moment.created, &Value::Float(self.moment.msecs), out)?;
                    }
                    Field::Asctime => {
                        let mut time = Text::default();
                        let clock = pieces.clock.as_ref().ok_or(Failure::Refused)?;
                        clock.write(py, self.moment.created, &Value::Float(self.moment.msecs), &mut time)?;
                        out.write(py, shape, &Value::Bytes(&time.bytes))?;
                    }
                    Field::Default => {
                        let value = pieces.default(py, name.bind(py)).ok_or(Failure::Refused)?;
                        out.write(py, shape, &Value::Object(value))?;
                    }
                    field => {
                        let value = self.value(*field, message, &mut caller)?;
                        out.write(py, shape, &value.as_value())?;
                    }
                },
            }
        }
        Ok(())
    }

    fn write_json(&self, plan: &json::Plan, message: &[u8], out: &mut Text) -> Result<(), Failure> {
        const FIELDS: [(&[u8], Field); 5] = [
            (b"level", Field::LevelName),
            (b"logger", Field::Name),
            (b"message", Field::Message),
            (b"pid", Field::Process),
            (b"thread", Field::ThreadName),
        ];
        json::begin_line(self.moment.created, out)?;
        for (name, field) in FIELDS {
            json::write_key(name, out);
            json::write(&self.value(field, message, &mut None)?.as_value(), out)?;
        }
        plan.write_members(self.arguments.py, out)?;
        out.bytes.push(b'}');
        Ok(())
    }

    fn value<'v>(
        &'v self,
        field: Field,
        message: &'v [u8],
        caller: &mut Option<Caller<'py>>,
    ) -> Result<Owned<'v, 'py>, Failure> {
        let py = self.arguments.py;
        let flag = |name: &Bound<'py, PyString>| -> Result<bool, Failure> {
            Ok(self.logging.now(py, name).ok_or(Failure::Refused)?.is_truthy()?)
        };
        let call = |module: &Bound<'py, PyString>, function: &Bound<'py, PyString>| {
            let module = self.logging.now(py, module).ok_or(Failure::Refused)?;
            Ok::<_, Failure>(module.getattr(function)?.call0()?)
        };
        if let Some(facts) = self.facts {
            match field {
                Field::Name => return Ok(Owned::Value(Value::Bytes(&facts.name))),
                Field::LevelName => return Ok(Owned::Value(Value::Bytes(&facts.level_name))),
                Field::Process if facts.is_pid_plain => {
                    return Ok(Owned::Value(Value::Int(i64::from(everyline::process_id()))));
                }
                _ => {}
            }
        }
        Ok(match field {
            Field::Name => Owned::Object(get(self.logger, intern!(py, "name")).ok_or(Failure::Refused)?),
            Field::LevelNo => Owned::Value(Value::Int(self.level)),
            Field::LevelName => Owned::Object(self.level_name()?),
            Field::Message => Owned::Value(Value::Bytes(message)),
            Field::Created => Owned::Value(Value::Float(self.moment.created)),
            Field::Msecs => Owned::Value(Value::Float(self.moment.msecs)),
            Field::RelativeCreated => Owned::Value(Value::Float(self.relative()?)),
            Field::Process if !flag(intern!(py, "logProcesses"))? => Owned::Value(Value::None),
            Field::Process => {
                let module = self.logging.now(py, intern!(py, "os")).ok_or(Failure::Refused)?;
                let function = module.getattr(intern!(py, "getpid"))?;
                if function.is(&self.logging.getpid) {
                    Owned::Value(Value::Int(i64::from(everyline::process_id())))
                } else {
                    Owned::Object(function.call0()?)
                }
            }
            Field::ProcessName if !flag(intern!(py, "logMultiprocessing"))? => Owned::Value(Value::None),
            Field::ProcessName => Owned::Object(process_name(py)?),
            Field::Thread | Field::ThreadName if !flag(intern!(py, "logThreads"))? => Owned::Value(Value::None),
            Field::Thread => Owned::Object(call(intern!(py, "threading"), intern!(py, "get_ident"))?),
            Field::ThreadName => Owned::Object(
                call(intern!(py, "threading"), intern!(py, "current_thread"))?.getattr(intern!(py, "name"))?,
            ),
            Field::Pathname | Field::Filename | Field::Module | Field::Lineno | Field::FuncName => {
                let caller = match caller {
                    Some(caller) => caller,
                    None => caller.insert(Caller::find(self.logging, py)?),
                };
                caller.value(field)?
            }
            Field::Nothing => Owned::Value(Value::None),
            Field::Asctime | Field::Default => return Err(Failure::Refused),
        })
    }

    fn level_name(&self) -> Result<Bound<'py, PyAny>, Failure> {
        let py = self.arguments.py;
        let function = self.logging.now(py, intern!(py, "getLevelName")).ok_or(Failure::Refused)?;
        if function.is(&self.logging.get_level_name)
            && let Some(names) = self.logging.now(py, intern!(py, "_levelToName"))
            && let Ok(names) = names.cast_exact::<PyDict>()
            && let Some(name) = names.get_item(self.level_object)?
            && raw::is_exact_str(&name)
        {
            return Ok(name);
        }
        Ok(function.call1((self.level_object,))?)
    }

    fn relative(&self) -> Result<f64, Failure> {
        let py = self.arguments.py;
        let start = self.logging.now(py, intern!(py, "_startTime")).ok_or(Failure::Refused)?;
        Ok(match self.moment.nanos {
            Some(nanos) => (nanos - start.extract::<i64>().map_err(|_| Failure::Refused)?) as f64 / 1e6,
            None => (self.moment.created - start.extract::<f64>().map_err(|_| Failure::Refused)?) * 1000.0,
        })
    }
}

fn process_name(py: Python<'_>) -> Result<Bound<'_, PyAny>, Failure> {
    let modules = py.import("sys")?.getattr(intern!(py, "modules"))?;
    let modules = modules.cast::<PyDict>().map_err(|_| Failure::Refused)?;
    let main = || PyString::intern(py, "MainProcess").into_any();
    let Some(module) = modules.get_item(intern!(py, "multiprocessing"))?.filter(|module| !module.is_none()) else {
        return Ok(main());
    };
    let name = module.call_method0(intern!(py, "current_process")).and_then(|p| p.getattr(intern!(py, "name")));
    Ok(name.unwrap_or_else(|_| main()))
}

enum Owned<'v, 'py> {
    Value(Value<'v, 'py>),
    Object(Bound<'py, PyAny>),
    Bytes(Vec<u8>),
}

impl<'py> Owned<'_, 'py> {
    fn as_value(&self) -> Value<'_, 'py> {
        match self {
            Self::Value(value) => value.clone(),
            Self::Object(object) => Value::Object(object.clone()),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

/// Where the log call stands: what `findCaller` returns.
struct Caller<'py> {
    pathname: Bound<'py, PyAny>,
    lineno: Bound<'py, PyAny>,
    function: Bound<'py, PyAny>,
}

impl<'py> Caller<'py> {
    fn find(logging: &Logging, py: Python<'py>) -> Result<Self, Failure> {
        let source = logging.now(py, intern!(py, "_srcfile")).ok_or(Failure::Refused)?;
        if !source.is_truthy()? {
            return Ok(Self::unknown(py));
        }
        let mut frame = raw::caller(py).ok_or(Failure::Refused)?;
        let skips_import = py.version_info() >= (3, 11);
        loop {
            let code = frame.getattr(intern!(py, "f_code"))?;
            let pathname = code.getattr(intern!(py, "co_filename"))?;
            let internal = pathname.eq(&source)? || skips_import && is_import(&pathname);
            if !internal {
                return Self::at(&frame, &code, pathname);
            }
            let back = frame.getattr(intern!(py, "f_back"))?;
            if back.is_none() {
                return if skips_import { Self::at(&frame, &code, pathname) } else { Ok(Self::unknown(py)) };
            }
            frame = back;
        }
    }

    fn at(frame: &Bound<'py, PyAny>, code: &Bound<'py, PyAny>, pathname: Bound<'py, PyAny>) -> Result<Self, Failure> {
        let py = frame.py();
        Ok(Self {
            pathname,
            lineno: frame.getattr(intern!(py, "f_lineno"))?,
            function: code.getattr(intern!(py, "co_name"))?,
        })
    }

    fn unknown(py: Python<'py>) -> Self {
        Self {
            pathname: PyString::intern(py, "(unknown file)").into_any(),
            lineno: 0i32.into_pyobject(py).map_or_else(|never| match never {}, Bound::into_any),
            function: PyString::intern(py, "(unknown function)").into_any(),
        }
    }

    fn value<'v>(&self, field: Field) -> Result<Owned<'v, 'py>, Failure> {
        let text = || -> Result<&[u8], Refused> {
            let path = self.pathname.cast_exact::<PyString>().map_err(|_| Refused)?;
            let path = raw::utf8(path).ok_or(Refused)?;
            Ok(path.rsplit(|byte| *byte == b'/').next().unwrap_or(path))
        };
        Ok(match field {
            Field::Pathname => Owned::Object(self.pathname.clone()),
            Field::Lineno => Owned::Object(self.lineno.clone()),
            Field::FuncName => Owned::Object(self.function.clone()),
            Field::Filename => Owned::Bytes(text()?.to_vec()),
            Field::Module => Owned::Bytes(without_extension(text()?).to_vec()),
            _ => return Err(Failure::Refused),
        })
    }
}

fn is_import(pathname: &Bound<'_, PyAny>) -> bool {
    let path = pathname.extract::<String>().unwrap_or_default();
    path.contains("importlib") && path.contains("_bootstrap")
}

/// `os.path.splitext(name)[0]`.
fn without_extension(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if name[..dot].iter().any(|byte| *byte != b'.') => &name[..dot],
        _ => name,
    }
}
