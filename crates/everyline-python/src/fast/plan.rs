//! What a log call came to the last time, kept for the next one.
//!
//! Promise: a [`Plan`] holds only while nothing has changed that decided about it: the attributes of the logger, of its
//! parents, of their handlers, streams, formatters and styles, the classes of all of these, the lists of handlers and
//! filters, the cache of levels, the names in the modules `logging`, `time` and `os`. CPython gives a dictionary another
//! number at each change (`ma_version_tag`), so each of these is one comparison. [`versions_work`] tries that out in this
//! very interpreter before the first plan is made; where it does not hold, there are none. A plan keeps nothing alive: each
//! pointer in it is followed only after what holds the object has been found unchanged.

use std::cell::Cell;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use super::handler::{Handler, appender_of};
use super::raw::{self, Version};
use super::watch::{Logging, get};
use crate::appender::Appender;

type Object = *mut ffi::PyObject;

/// Where `ma_version_tag` is, behind the length.
const TAG_AT: usize = size_of::<ffi::PyObject>() + size_of::<ffi::Py_ssize_t>();

#[inline]
fn tag(dict: Object) -> u64 {
    // SAFETY: callers hand in a dictionary that is alive; it is larger than that.
    unsafe { dict.cast::<u8>().add(TAG_AT).cast::<u64>().read_volatile() }
}

/// An object with attributes, as it was.
struct Kept {
    object: Object,
    class: Version,
    tag: u64,
}

impl Kept {
    fn of(object: &Bound<'_, PyAny>) -> Option<Self> {
        let class = raw::fresh_version(&object.get_type())?;
        Some(Self { object: object.as_ptr(), class, tag: tag(raw::instance_dict(object)?.as_ptr()) })
    }

    /// # Safety
    /// The object is alive.
    #[inline]
    unsafe fn holds(&self, py: Python<'_>) -> bool {
        // SAFETY: the caller's promise.
        let object = unsafe { Borrowed::from_ptr(py, self.object) };
        raw::version_of(&object) == self.class
            && raw::instance_dict(&object).is_some_and(|dict| tag(dict.as_ptr()) == self.tag)
    }
}

/// A list and what is in it.
struct Listed {
    list: Object,
    items: Vec<Object>,
}

impl Listed {
    fn of(list: &Bound<'_, PyList>) -> Self {
        Self { list: list.as_ptr(), items: list.iter().map(|item| item.as_ptr()).collect() }
    }

    /// # Safety
    /// The list is alive.
    #[inline]
    unsafe fn holds(&self) -> bool {
        // SAFETY: the caller's promise; items are compared, not followed, and the length was looked at.
        unsafe {
            ffi::PyList_Size(self.list) == self.items.len() as ffi::Py_ssize_t
                && self
                    .items
                    .iter()
                    .enumerate()
                    .all(|(at, item)| std::ptr::eq(ffi::PyList_GetItem(self.list, at as ffi::Py_ssize_t), *item))
        }
    }
}

/// A handler that the line goes to, and everything that decides how it looks.
struct Reached {
    handler: Kept,
    filters: Listed,
    /// The stream, the formatter and its style, those that there are.
    parts: Vec<Kept>,
    appender: Object,
    known: Weak<Handler>,
}

/// What is the same for all calls.
pub struct Facts {
    pub name: Vec<u8>,
    pub level_name: Vec<u8>,
    /// `os.getpid` and `logProcesses` are as they were.
    pub is_pid_plain: bool,
    /// `time.time` or `time.time_ns` is the interpreter's.
    pub is_time_plain: bool,
}

pub struct Plan {
    level: usize,
    /// The logger and its parents, each with its handlers.
    chain: Vec<(Kept, Listed)>,
    filters: Listed,
    /// Dictionaries that a state above keeps alive, or a module.
    dicts: Vec<(Object, u64)>,
    record: Version,
    reached: Vec<Reached>,
    pub facts: Facts,
}

impl Plan {
    /// A picture of everything that decides. None: not a case for a plan.
    pub fn of(
        logging: &Logging,
        logger: &Bound<'_, PyAny>,
        level: usize,
        level_object: &Bound<'_, PyAny>,
    ) -> Option<Self> {
        let py = logger.py();
        if !versions_work() {
            return None;
        }
        let dict = raw::instance_dict(logger)?;
        let filters = Listed::of(get(&dict, intern!(py, "filters"))?.cast_exact::<PyList>().ok()?);
        let cache = get(&dict, intern!(py, "_cache"))?.cast_into_exact::<PyDict>().ok()?;
        let enabled = cache.get_item(level_object).ok()??;
        let module = logging.dict.bind(py);
        let names = logging.now(py, intern!(py, "_levelToName"))?.cast_into_exact::<PyDict>().ok()?;
        let (time, os) = (module_dict(logging, intern!(py, "time"))?, module_dict(logging, intern!(py, "os"))?);
        if !raw::is_true(enabled.as_ptr()) || !raw::is_false(get(&dict, intern!(py, "disabled"))?.as_ptr()) {
            return None;
        }
        let dicts = [cache, module.clone(), names.clone(), time.clone(), os.clone()];
        let dicts = dicts.iter().map(|dict| (dict.as_ptr(), tag(dict.as_ptr()))).collect();
        let level_name = names.get_item(level_object).ok()??;
        let is = |dict: &Bound<'_, PyDict>, name, wanted: &Py<PyAny>| get(dict, name).is_some_and(|one| one.is(wanted));
        let flag = get(module, intern!(py, "logProcesses"))?;
        let facts = Facts {
            name: text(&get(&dict, intern!(py, "name"))?)?,
            level_name: text(&level_name)?,
            is_pid_plain: is(&os, intern!(py, "getpid"), &logging.getpid) && raw::is_true(flag.as_ptr()),
            is_time_plain: is(&time, intern!(py, "time"), &logging.time)
                && is(&time, intern!(py, "time_ns"), &logging.time_ns),
        };
        if !get(module, intern!(py, "getLevelName"))?.is(&logging.get_level_name) {
            return None;
        }
        let record = raw::fresh_version(logging.record.bind(py))?;
        let mut plan = Self { level, chain: Vec::new(), filters, dicts, record, reached: Vec::new(), facts };
        plan.add_chain(logging, logger)?;
        Some(plan)
    }

    fn add_chain(&mut self, logging: &Logging, logger: &Bound<'_, PyAny>) -> Option<()> {
        let py = logger.py();
        let mut logger = logger.clone();
        loop {
            let dict = raw::instance_dict(&logger)?;
            let handlers = get(&dict, intern!(py, "handlers"))?.cast_into_exact::<PyList>().ok()?;
            self.chain.push((Kept::of(&logger)?, Listed::of(&handlers)));
            for handler in handlers.iter() {
                self.reached.push(Reached::of(logging, &handler)?);
            }
            if !get(&dict, intern!(py, "propagate"))?.is_truthy().ok()? {
                return Some(());
            }
            let parent = get(&dict, intern!(py, "parent"))?;
            if parent.is_none() {
                return Some(());
            }
            logger = parent;
        }
    }

    /// True if nothing has changed.
    #[inline]
    pub fn holds(&self, logging: &Logging, logger: &Bound<'_, PyAny>, level: usize) -> bool {
        let py = logger.py();
        if self.level != level || !std::ptr::eq(self.chain[0].0.object, logger.as_ptr()) {
            return false;
        }
        if raw::version_of_class(logging.record.bind(py)) != self.record {
            return false;
        }
        // SAFETY: from the logger on, each object is in the dictionary, or the list, of one that was found unchanged just
        // before, so it is alive; no code runs in between. The modules live as long as `Logging`, which holds them.
        unsafe {
            self.chain.iter().all(|(logger, handlers)| logger.holds(py) && handlers.holds())
                && self.filters.holds()
                && self.dicts.iter().rev().all(|(dict, seen)| tag(*dict) == *seen)
                && self.reached.iter().all(|reached| reached.holds(py))
        }
    }

    /// Where the line goes, if it is one place. To be asked only while the plan holds.
    #[inline]
    pub fn only_target<'py>(&self, py: Python<'py>) -> Option<(Bound<'py, PyAny>, Bound<'py, Appender>, Arc<Handler>)> {
        let [only] = &self.reached[..] else { return None };
        let known = only.known.upgrade()?;
        // SAFETY: handler and appender are alive while the plan holds.
        let (handler, appender) =
            unsafe { (Bound::from_borrowed_ptr(py, only.handler.object), Bound::from_borrowed_ptr(py, only.appender)) };
        // SAFETY of the cast: the type was looked at when the plan was made.
        Some((handler, appender.cast_into::<Appender>().ok()?, known))
    }

    /// Whether it is to be kept: one handler is reached, and what is known of that is what was found to hold meanwhile.
    pub fn is_of_use(&self, py: Python<'_>) -> bool {
        let [only] = &self.reached[..] else { return false };
        let is_known = |appender: &Appender| {
            let line = appender.line.try_lock().ok();
            line.is_some_and(|line| {
                line.as_ref().is_some_and(|known| std::ptr::eq(Arc::as_ptr(known), only.known.as_ptr()))
            })
        };
        self.only_target(py).is_some_and(|(_, appender, _)| is_known(appender.get()))
    }
}

impl Reached {
    fn of(logging: &Logging, handler: &Bound<'_, PyAny>) -> Option<Self> {
        let py = handler.py();
        let dict = raw::instance_dict(handler)?;
        let filters = Listed::of(get(&dict, intern!(py, "filters"))?.cast_exact::<PyList>().ok()?);
        let appender = appender_of(&dict)?;
        let mut parts = Vec::new();
        if let Some(stream) = get(&dict, intern!(py, "_stream")) {
            parts.push(Kept::of(&stream)?);
        }
        let mut formatter = get(&dict, intern!(py, "formatter"))?;
        if formatter.is_none() {
            formatter = logging.now(py, intern!(py, "_defaultFormatter"))?;
        }
        parts.push(Kept::of(&formatter)?);
        if let Some(style) = get(&raw::instance_dict(&formatter)?, intern!(py, "_style")) {
            parts.push(Kept::of(&style)?);
        }
        let known = appender.get().line.try_lock().ok()?.as_ref().map(Arc::downgrade)?;
        Some(Self { handler: Kept::of(handler)?, filters, parts, appender: appender.as_ptr(), known })
    }

    /// # Safety
    /// The handler is alive.
    #[inline]
    unsafe fn holds(&self, py: Python<'_>) -> bool {
        // SAFETY: the caller's promise, and what hangs on the handler is alive if that is unchanged.
        unsafe {
            self.known.strong_count() > 0
                && self.handler.holds(py)
                && self.filters.holds()
                && self.parts.iter().all(|part| part.holds(py))
        }
    }
}

fn module_dict<'py>(logging: &Logging, name: &Bound<'py, PyString>) -> Option<Bound<'py, PyDict>> {
    let module = logging.now(name.py(), name)?;
    Some(module.cast_into::<PyModule>().ok()?.dict())
}

fn text(value: &Bound<'_, PyAny>) -> Option<Vec<u8>> {
    let text = value.cast_exact::<PyString>().ok()?;
    raw::utf8(text).map(<[u8]>::to_vec)
}

const PLACES: usize = 32;

thread_local! {
    /// By logger and level. Taken out while in use: code that formatting calls may log itself.
    static PLANS: [Cell<Option<Box<Plan>>>; PLACES] = const { [const { Cell::new(None) }; PLACES] };
}

fn place(logger: &Bound<'_, PyAny>, level: usize) -> usize {
    let address = logger.as_ptr() as usize;
    ((address >> 4) ^ (address >> 12) ^ (level * 7)) % PLACES
}

/// The plan for this logger, if it holds.
#[inline]
pub fn take(logging: &Logging, logger: &Bound<'_, PyAny>, level: usize) -> Option<Box<Plan>> {
    let plan = PLANS.try_with(|plans| plans[place(logger, level)].take()).ok().flatten()?;
    plan.holds(logging, logger, level).then_some(plan)
}

/// Keeps it for the next call.
#[inline]
pub fn keep(logger: &Bound<'_, PyAny>, plan: Box<Plan>) {
    let _ = PLANS.try_with(|plans| plans[place(logger, plan.level)].set(Some(plan)));
}

/// The same for the `emit` of one handler, whichever logger the record comes from.
pub struct EmitPlan {
    handler: Object,
    reached: Reached,
    module: u64,
    record: Version,
}

thread_local! {
    static EMIT_PLANS: [Cell<Option<Box<EmitPlan>>>; PLACES] = const { [const { Cell::new(None) }; PLACES] };
}

impl EmitPlan {
    /// None: not a case for a plan.
    pub fn of(logging: &Logging, handler: &Bound<'_, PyAny>) -> Option<Box<Self>> {
        let py = handler.py();
        if !versions_work() {
            return None;
        }
        let reached = Reached::of(logging, handler)?;
        let record = raw::fresh_version(logging.record.bind(py))?;
        let module = tag(logging.dict.as_ptr());
        Some(Box::new(Self { handler: handler.as_ptr(), reached, module, record }))
    }

    /// The plan for this handler, if it holds, with what is known of it.
    #[inline]
    pub fn take<'py>(
        logging: &Logging,
        handler: &Bound<'py, PyAny>,
    ) -> Option<(Box<Self>, Bound<'py, Appender>, Arc<Handler>)> {
        let py = handler.py();
        let plan = EMIT_PLANS.try_with(|plans| plans[place(handler, 0)].take()).ok().flatten()?;
        let same = std::ptr::eq(plan.handler, handler.as_ptr())
            && plan.module == tag(logging.dict.as_ptr())
            && plan.record == raw::version_of_class(logging.record.bind(py));
        // SAFETY: the handler is the caller's, so it is alive; its filters were asked before, and may be what they like.
        if !same || !unsafe { plan.reached.holds(py) } {
            return None;
        }
        let known = plan.reached.known.upgrade()?;
        // SAFETY: the appender is alive while the plan holds.
        let appender = unsafe { Bound::from_borrowed_ptr(py, plan.reached.appender) };
        Some((plan, appender.cast_into::<Appender>().ok()?, known))
    }

    /// Whether it was made while `known` was.
    pub fn is_of(&self, known: &Arc<Handler>) -> bool {
        std::ptr::eq(self.reached.known.as_ptr(), Arc::as_ptr(known))
    }

    /// Keeps it for the next record.
    #[inline]
    pub fn keep(self: Box<Self>, handler: &Bound<'_, PyAny>) {
        let _ = EMIT_PLANS.try_with(|plans| plans[place(handler, 0)].set(Some(self)));
    }
}

static WORK: AtomicBool = AtomicBool::new(false);

/// Whether a dictionary is told apart from what it was, whatever way it is changed in. False before it was tried.
#[inline]
pub fn versions_work() -> bool {
    WORK.load(Ordering::Relaxed)
}

/// Tries it. When the package is imported, not at a log call: a signal handler that came in between would try, too.
pub fn try_versions(py: Python<'_>) {
    WORK.store(check(py).unwrap_or(false), Ordering::Relaxed);
}

/// Each line changes a dictionary, and is tried until the interpreter has made a fast form of it.
const CHANGES: &str = r"
import types
class A:
    def __init__(self):
        self.x = 0; self.y = 1
class B(A):
    def __init__(self):
        super().__init__(); self.z = 2
a, b, m, d = A(), B(), types.ModuleType('m'), {}
def by_store(n): a.x = n
def by_store_of_subclass(n): b.z = n
def by_setattr(n): setattr(a, 'x', n)
def by_object(n): object.__setattr__(a, 'y', n)
def by_item(n): a.__dict__['x'] = n
def by_update(n): a.__dict__.update(y=n)
def by_new(n): setattr(a, 'new%d' % (n % 50), n)
def by_new_store(n): a.other = n
def by_del(n): del a.other
def by_pop(n): a.__dict__['p'] = n
def by_pop_2(n): a.__dict__.pop('p')
def by_module(n): m.x = n
def by_dict(n): d[n] = True
def by_clear(n): d.clear()
changes = [by_store, by_store_of_subclass, by_setattr, by_object, by_item, by_update, by_new, by_new_store, by_del,
           by_pop, by_pop_2, by_module, by_dict, by_clear]
dicts = {by_store_of_subclass: 1, by_module: 2, by_dict: 3, by_clear: 3}
changes = [(change, dicts.get(change, 0)) for change in changes]
def by_read(): return a.x, a.y, b.z, d.get(1), m.__name__
";

fn check(py: Python<'_>) -> PyResult<bool> {
    // Without a GIL a change could come in the middle of anything.
    if size_of::<ffi::PyObject>() != 16 || cfg!(not(target_pointer_width = "64")) {
        return Ok(false);
    }
    let globals = PyDict::new(py);
    py.run(&CString::new(CHANGES)?, Some(&globals), None)?;
    let of = |name: &str| globals.get_item(name).map(|found| found.unwrap_or_else(|| py.None().into_bound(py)));
    let (a, b, m, d) = (of("a")?, of("b")?, of("m")?, of("d")?);
    let dicts = [raw::instance_dict(&a), raw::instance_dict(&b), Some(m.cast_into::<PyModule>()?.dict())];
    let Some(mut dicts) = dicts.into_iter().collect::<Option<Vec<_>>>() else { return Ok(false) };
    dicts.push(d.cast_into::<PyDict>()?);
    let changes: Vec<(Bound<'_, PyAny>, usize)> = of("changes")?.extract()?;
    let read = of("by_read")?;
    let mut seen = std::collections::HashSet::new();
    for round in 1_000..1_200 {
        for (change, at) in &changes {
            let dict = dicts[*at].as_ptr();
            let before = tag(dict);
            seen.insert(before);
            change.call1((round,))?;
            let after = tag(dict);
            // Never one that was seen before, and not one that reading changes.
            if !seen.insert(after) {
                return Ok(false);
            }
            read.call0()?;
            let replaced = raw::instance_dict(&a).is_none_or(|dict| !dict.is(&dicts[0]));
            if tag(dict) != after || replaced {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
