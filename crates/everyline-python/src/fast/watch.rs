//! Noticing that something was changed: classes by their version, objects by what is in their `__dict__`.
//!
//! Promise: what was found out about an object holds as long as its [`Watch`] does. Code that patches a method on a
//! class, on a base or on the object, or sets an attribute that counts, makes it fail.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};

use super::raw::{self, Version};

/// More attributes than this, and an object is not looked at.
const MOST: usize = 64;

/// An object whose class and attributes are as they were.
pub struct Watch {
    class: usize,
    version: Version,
    /// How many attributes it has.
    count: usize,
    /// What stands under a name: any object, this one, or nothing.
    attributes: Vec<(Py<PyString>, Expected)>,
}

enum Expected {
    Any,
    This(Py<PyAny>),
    /// The object that was there, or one that took its place in memory.
    At(usize),
    Nothing,
}

impl Watch {
    /// `counts`: attributes of which the value counts. All others may change, but for their number.
    pub fn new(object: &Bound<'_, PyAny>, counts: &[&str]) -> Option<Self> {
        let py = object.py();
        let class = object.get_type();
        let version = raw::fresh_version(&class)?;
        let dict = raw::instance_dict(object)?;
        if dict.len() > MOST {
            return None;
        }
        let mut attributes = Vec::new();
        if dict.len() <= counts.len() {
            // Few: their names and their number leave no room for another one.
            for (name, value) in dict.iter() {
                if !raw::is_exact_str(&name) {
                    return None;
                }
                let name = name.cast_into::<PyString>().ok()?;
                let counts = name.to_cow().is_ok_and(|name| counts.contains(&&*name));
                attributes.push((name.unbind(), if counts { Expected::This(value.unbind()) } else { Expected::Any }));
            }
        } else {
            for name in counts {
                let name = PyString::intern(py, name);
                let value = get(&dict, &name).map_or(Expected::Nothing, |value| Expected::This(value.unbind()));
                attributes.push((name.unbind(), value));
            }
        }
        Some(Self { class: class.as_ptr() as usize, version, count: dict.len(), attributes })
    }

    /// Keeps nothing alive. For a refusal, which does no harm if it lasts too long.
    pub fn weak(mut self) -> Self {
        for (_, expected) in &mut self.attributes {
            if let Expected::This(value) = expected {
                *expected = Expected::At(value.as_ptr() as usize);
            }
        }
        self
    }

    /// For the collector of cycles.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.attributes.iter().try_for_each(|(_, expected)| match expected {
            Expected::This(value) => visit.call(value),
            _ => Ok(()),
        })
    }

    #[inline]
    pub fn holds(&self, object: &Bound<'_, PyAny>) -> bool {
        if object.get_type_ptr() as usize != self.class || raw::version_of(object) != self.version {
            return false;
        }
        let Some(dict) = raw::instance_dict(object) else { return false };
        dict.len() == self.count
            && self.attributes.iter().all(|(name, expected)| {
                let found = raw::identity(&dict, name.bind(object.py()).as_any());
                match expected {
                    Expected::This(value) => std::ptr::eq(found, value.as_ptr()),
                    Expected::At(address) => found as usize == *address,
                    Expected::Any => !found.is_null(),
                    Expected::Nothing => found.is_null(),
                }
            })
    }
}

/// An attribute from an instance's `__dict__`.
#[inline]
pub fn get<'py>(dict: &Bound<'py, PyDict>, name: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
    dict.get_item(name).ok().flatten()
}

/// The module `logging`, as it was when it was first seen, and what of it cannot be had by name later.
pub struct Logging {
    pub dict: Py<PyDict>,
    pub source: Py<PyAny>,
    pub record: Py<PyType>,
    pub logger: Py<PyType>,
    pub null_handler: Py<PyAny>,
    pub styles: [Py<PyAny>; 3],
    pub get_level_name: Py<PyAny>,
    pub function: Py<PyAny>,
    pub localtime: Py<PyAny>,
    pub gmtime: Py<PyAny>,
    pub getpid: Py<PyAny>,
    pub time: Py<PyAny>,
    pub time_ns: Py<PyAny>,
    pub generic_getattribute: Py<PyAny>,
}

pub fn logging(py: Python<'_>) -> PyResult<&'static Logging> {
    static LOGGING: PyOnceLock<Logging> = PyOnceLock::new();
    LOGGING.get_or_try_init(py, || {
        let module = py.import("logging")?;
        let time = py.import("time")?;
        let function = module.getattr("addLevelName")?;
        Ok(Logging {
            dict: module.dict().unbind(),
            source: function.getattr("__code__")?.getattr("co_filename")?.unbind(),
            record: module.getattr("LogRecord")?.cast_into::<PyType>()?.unbind(),
            logger: module.getattr("Logger")?.cast_into::<PyType>()?.unbind(),
            null_handler: module.getattr("NullHandler")?.unbind(),
            styles: [
                module.getattr("PercentStyle")?.unbind(),
                module.getattr("StrFormatStyle")?.unbind(),
                module.getattr("StringTemplateStyle")?.unbind(),
            ],
            get_level_name: module.getattr("getLevelName")?.unbind(),
            function: function.get_type().into_any().unbind(),
            localtime: time.getattr("localtime")?.unbind(),
            gmtime: time.getattr("gmtime")?.unbind(),
            time: time.getattr("time")?.unbind(),
            time_ns: time.getattr("time_ns")?.unbind(),
            getpid: py.import("os")?.getattr("getpid")?.unbind(),
            generic_getattribute: py.get_type::<PyAny>().getattr("__getattribute__")?.unbind(),
        })
    })
}

impl Logging {
    /// True if `class.name` is the standard library's own function, `owner.name`.
    pub fn owns(&self, class: &Bound<'_, PyType>, owner: &str, name: &str) -> bool {
        let Ok(found) = class.getattr(name) else { return false };
        self.is_own(&found, owner, name)
    }

    pub fn is_own(&self, found: &Bound<'_, PyAny>, owner: &str, name: &str) -> bool {
        let is = || -> PyResult<bool> {
            Ok(found.get_type().is(&self.function)
                && found.getattr("__qualname__")?.eq(format!("{owner}.{name}"))?
                && found.getattr("__code__")?.getattr("co_filename")?.eq(&self.source)?
                && !found.hasattr("__wrapped__")?)
        };
        is().unwrap_or(false)
    }

    /// True if attributes of instances are looked up in the ordinary way, and the class has none of these itself.
    pub fn is_plain(&self, class: &Bound<'_, PyType>, absent: &[&str]) -> bool {
        class.getattr("__getattribute__").is_ok_and(|found| found.is(&self.generic_getattribute))
            && absent.iter().all(|name| !class.hasattr(*name).unwrap_or(true))
    }

    /// A name of the module, as it is now.
    #[inline]
    pub fn now<'py>(&self, py: Python<'py>, name: &Bound<'py, PyString>) -> Option<Bound<'py, PyAny>> {
        get(self.dict.bind(py), name)
    }
}
