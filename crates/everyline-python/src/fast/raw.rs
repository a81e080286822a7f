//! Calls of the C API that PyO3 has no safe form of, and the one look past the stable ABI.
//!
//! Promise: each function here is safe to call with the interpreter attached. [`Version`] is trusted only after
//! [`versions_work`] has seen it move with every change of a class, in this very interpreter; where it does not, nothing
//! is compiled and Python's own code runs.

use std::ffi::{CString, c_char, c_int, c_long, c_ulong, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

// In the stable ABI since 3.10, exported with the same signature by 3.9.
unsafe extern "C" {
    fn PyUnicode_AsUTF8AndSize(unicode: *mut ffi::PyObject, size: *mut ffi::Py_ssize_t) -> *const c_char;
    fn PyObject_GenericGetDict(object: *mut ffi::PyObject, context: *mut c_void) -> *mut ffi::PyObject;
}

/// The text in UTF-8, which the object keeps; None if there is none, as for lone surrogates.
#[inline]
pub fn utf8<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    let mut size: ffi::Py_ssize_t = 0;
    // SAFETY: a str, by its type; the bytes live and stay as they are as long as the object, which `'a` borrows.
    unsafe {
        let start = PyUnicode_AsUTF8AndSize(text.as_ptr(), &raw mut size);
        if start.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Some(std::slice::from_raw_parts(start.cast(), size as usize))
    }
}

/// A str of bytes that are UTF-8.
#[inline]
pub fn text_of<'py>(py: Python<'py>, utf8: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the bytes are read, and checked, before the call returns; it returns a new reference or sets an exception.
    unsafe {
        let made = ffi::PyUnicode_DecodeUTF8(utf8.as_ptr().cast(), utf8.len() as ffi::Py_ssize_t, std::ptr::null());
        Bound::from_owned_ptr_or_err(py, made)
    }
}

/// `__dict__`, without looking for a property of that name.
#[inline]
pub fn instance_dict<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    // SAFETY: works for every object; a new reference, or an exception for those that have none.
    unsafe {
        let dict = PyObject_GenericGetDict(object.as_ptr(), std::ptr::null_mut());
        if dict.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Bound::from_owned_ptr(object.py(), dict).cast_into().ok()
    }
}

/// Which object a dictionary has under a key, to be compared and not to be looked into; null if there is none.
#[inline]
pub fn identity(dict: &Bound<'_, PyDict>, key: &Bound<'_, PyAny>) -> *const ffi::PyObject {
    // SAFETY: both are what they are by type; the reference that comes back is borrowed, and never used as one.
    unsafe {
        let found = ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr());
        if found.is_null() && !ffi::PyErr_Occurred().is_null() {
            ffi::PyErr_Clear();
        }
        found
    }
}

/// The same of a number in a dictionary that is in a dictionary; null also where that is something else.
#[inline]
pub fn identity_within(
    dict: &Bound<'_, PyDict>,
    key: &Bound<'_, PyAny>,
    number: &Bound<'_, PyAny>,
) -> *const ffi::PyObject {
    // Without a GIL a borrowed dictionary could go away.
    if size_of::<ffi::PyObject>() > 16 {
        let inner = dict.get_item(key).ok().flatten().and_then(|inner| inner.cast_into_exact::<PyDict>().ok());
        return inner.map_or(std::ptr::null(), |inner| identity(&inner, number));
    }
    // SAFETY: between the two look-ups, of a str and of an int, nothing runs that could drop the inner dictionary.
    unsafe {
        let inner = ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr());
        if inner.is_null() || ffi::PyDict_CheckExact(inner) == 0 {
            ffi::PyErr_Clear();
            return std::ptr::null();
        }
        let found = ffi::PyDict_GetItemWithError(inner, number.as_ptr());
        if found.is_null() {
            ffi::PyErr_Clear();
        }
        found
    }
}

#[inline]
pub fn is_false(object: *const ffi::PyObject) -> bool {
    // SAFETY: the address of the interpreter's own object.
    std::ptr::eq(object, unsafe { ffi::Py_False() })
}

#[inline]
pub fn is_true(object: *const ffi::PyObject) -> bool {
    // SAFETY: the address of the interpreter's own object.
    std::ptr::eq(object, unsafe { ffi::Py_True() })
}

/// `str % arguments`, also where `text` is of a subclass of str that has a `__mod__` of its own: callers exclude that.
pub fn percent<'py>(text: &Bound<'py, PyAny>, arguments: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: both are objects, the first is a str; a new reference, or an exception is set.
    unsafe { Bound::from_owned_ptr_or_err(text.py(), ffi::PyUnicode_Format(text.as_ptr(), arguments.as_ptr())) }
}

/// `format(value, spec)`.
pub fn format<'py>(value: &Bound<'py, PyAny>, spec: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: both are objects, the second is a str; a new reference, or an exception is set.
    unsafe { Bound::from_owned_ptr_or_err(value.py(), ffi::PyObject_Format(value.as_ptr(), spec.as_ptr())) }
}

/// An exact int, if it fits.
#[inline]
pub fn small_int(value: &Bound<'_, PyAny>) -> Option<i64> {
    let mut overflow: c_int = 0;
    // SAFETY: an int by its type, so no Python code runs and nothing fails.
    let number: c_long = unsafe { ffi::PyLong_AsLongAndOverflow(value.as_ptr(), &raw mut overflow) };
    (overflow == 0).then_some(number)
}

#[inline]
pub fn is_exact_str(value: &Bound<'_, PyAny>) -> bool {
    // SAFETY: compares the type with the interpreter's own.
    unsafe { ffi::PyUnicode_CheckExact(value.as_ptr()) != 0 }
}

#[inline]
pub fn is_exact_int(value: &Bound<'_, PyAny>) -> bool {
    // SAFETY: as above.
    unsafe { ffi::PyLong_CheckExact(value.as_ptr()) != 0 }
}

#[inline]
pub fn is_exact_float(value: &Bound<'_, PyAny>) -> bool {
    // SAFETY: as above.
    unsafe { ffi::PyFloat_CheckExact(value.as_ptr()) != 0 }
}

/// How Python writes a float: `kind` is `r` (shortest that reads back) or `f` with a number of digits.
pub fn float(value: f64, kind: u8, digits: i32, out: &mut Vec<u8>) -> bool {
    let flags = if kind == b'r' { ffi::Py_DTSF_ADD_DOT_0 } else { 0 };
    // SAFETY: returns memory that is ours to free, with a closing NUL, or null.
    unsafe {
        let text = ffi::PyOS_double_to_string(value, kind as c_char, digits as c_int, flags, std::ptr::null_mut());
        if text.is_null() {
            ffi::PyErr_Clear();
            return false;
        }
        out.extend_from_slice(std::ffi::CStr::from_ptr(text).to_bytes());
        ffi::PyMem_Free(text.cast());
    }
    true
}

/// The frame of whoever called the native function that asks. None if there is none.
pub fn caller(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    // SAFETY: a borrowed reference or null, without an exception.
    unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PyEval_GetFrame().cast()) }
}

/// Which state of a class this is: moves with every change of an attribute of it or of a base, and never comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version(u64);

impl Version {
    /// As a number that no other state of any class has; 0 is none.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// Where `tp_version_tag` is in a class of a 64-bit CPython, 3.9 and later. What every object begins with is longer in a
/// free-threaded one.
const VERSION_AT: usize = 368 + size_of::<ffi::PyObject>();
/// `tp_flags`, likewise: older interpreters say there whether the version is valid.
const FLAGS_AT: usize = 152 + size_of::<ffi::PyObject>();
const VALID_VERSION: c_ulong = 1 << 19;

#[inline]
fn version_of_pointer(class: *mut ffi::PyTypeObject) -> Version {
    // SAFETY: a class is larger than that (`versions_work` has checked its size and what stands there), and an aligned
    // word may be read while the interpreter changes it.
    unsafe {
        let tag = class.cast::<u8>().add(VERSION_AT).cast::<u32>();
        let flags = class.cast::<u8>().add(FLAGS_AT).cast::<c_ulong>();
        Version(u64::from(tag.read_volatile()) << 1 | u64::from(flags.read_volatile() & VALID_VERSION != 0))
    }
}

/// The version of an object's class.
#[inline]
pub fn version_of(object: &Bound<'_, PyAny>) -> Version {
    version_of_pointer(object.get_type_ptr())
}

/// The version of a class.
#[inline]
pub fn version_of_class(class: &Bound<'_, PyType>) -> Version {
    version_of_pointer(class.as_type_ptr())
}

/// The version of a class, given one by looking something up; None where versions do not work or have run out.
pub fn fresh_version(class: &Bound<'_, PyType>) -> Option<Version> {
    if !versions_work() {
        return None;
    }
    let _ = class.getattr("__everyline_version__");
    let version = version_of_pointer(class.as_type_ptr());
    (version.0 > 1).then_some(version)
}

static WORK: AtomicBool = AtomicBool::new(false);

/// Whether versions move as they should. False before it was tried.
#[inline]
pub fn versions_work() -> bool {
    WORK.load(Ordering::Relaxed)
}

/// Tries it. When the package is imported, not at a log call: a signal handler that came in between would try, too.
pub fn try_versions(py: Python<'_>) {
    WORK.store(check_versions(py).unwrap_or(false), Ordering::Relaxed);
}

fn check_versions(py: Python<'_>) -> PyResult<bool> {
    if cfg!(not(target_pointer_width = "64")) {
        return Ok(false);
    }
    let locals = PyDict::new(py);
    let code = CString::new("class A:\n  x = 1\nclass B(A):\n  pass\nsize = type.__basicsize__\n").unwrap_or_default();
    py.run(&code, None, Some(&locals))?;
    let size: usize = locals.get_item("size")?.map_or(Ok(0), |size| size.extract())?;
    let (Some(a), Some(b)) = (locals.get_item("A")?, locals.get_item("B")?) else { return Ok(false) };
    if size < VERSION_AT + 16 {
        return Ok(false);
    }
    let (a, b) = (a.cast_into::<PyType>()?, b.cast_into::<PyType>()?);
    let flags_differ = |class: &Bound<'_, PyType>| {
        let class = class.as_type_ptr();
        // SAFETY: as in `version_of_pointer`; the size was checked above.
        unsafe { class.cast::<u8>().add(FLAGS_AT).cast::<c_ulong>().read_volatile() != ffi::PyType_GetFlags(class) }
    };
    let look = |class: &Bound<'_, PyType>| {
        let _ = class.getattr("__everyline_version__");
        version_of_pointer(class.as_type_ptr())
    };
    let mut seen = vec![look(&a), look(&b)];
    for round in 0..8 {
        // A change of either class, and of a base, moves it; looking and instances do not.
        let (base, derived) = (look(&a), look(&b));
        let instance = b.call0()?;
        instance.setattr("y", round)?;
        if base.0 < 2
            || derived.0 < 2
            || flags_differ(&a)
            || flags_differ(&b)
            || look(&a) != base
            || version_of(&instance) != derived
        {
            return Ok(false);
        }
        if round % 2 == 0 {
            a.setattr("x", round)?
        } else {
            a.delattr("x")?
        };
        if version_of_pointer(a.as_type_ptr()) == base || version_of_pointer(b.as_type_ptr()) == derived {
            return Ok(false);
        }
        if round % 2 == 1 {
            a.setattr("x", round)?;
        }
        let (base_after, derived_after) = (look(&a), look(&b));
        if seen.contains(&base_after) || seen.contains(&derived_after) {
            return Ok(false);
        }
        seen.extend([base_after, derived_after]);
        b.setattr("x", round)?;
        if version_of_pointer(b.as_type_ptr()) == derived_after || look(&a) != base_after {
            return Ok(false);
        }
        b.delattr("x")?;
        seen.push(look(&b));
    }
    Ok(true)
}

/// In the stable ABI since 3.10; 3.9 has the same calling convention under the same number.
const METH_FASTCALL: c_int = 0x80;

/// A native method as `METH_FASTCALL | METH_KEYWORDS` wants it.
pub type Method = unsafe extern "C" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    ffi::Py_ssize_t,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

/// `method_descriptor` objects for a class that is not ours. They live as long as the process.
pub fn method<'py>(class: &Bound<'py, PyType>, name: &str, doc: &str, body: Method) -> PyResult<Bound<'py, PyAny>> {
    let keep = |text: &str| CString::new(text).map(CString::into_raw);
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: keep(name)?,
        ml_meth: ffi::PyMethodDefPointer {
            // SAFETY: the flags below say what the function is; the interpreter casts it back before it calls it.
            PyCFunctionWithKeywords: unsafe { std::mem::transmute::<Method, ffi::PyCFunctionWithKeywords>(body) },
        },
        ml_flags: METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: keep(doc)?,
    }));
    // SAFETY: class and definition are valid, and the definition is never freed; a new reference or an exception.
    unsafe { Bound::from_owned_ptr_or_err(class.py(), ffi::PyDescr_NewMethod(class.as_type_ptr(), definition)) }
}

/// Arguments of a [`Method`], borrowed for its call.
#[derive(Clone, Copy)]
pub struct Arguments<'a, 'py> {
    pub py: Python<'py>,
    values: &'a [*mut ffi::PyObject],
    positional: usize,
    names: *mut ffi::PyObject,
}

impl<'a, 'py> Arguments<'a, 'py> {
    /// # Safety
    /// As the interpreter hands them to a [`Method`].
    pub unsafe fn new(
        py: Python<'py>,
        start: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        names: *mut ffi::PyObject,
    ) -> Self {
        let positional = count as usize;
        // SAFETY: the caller's promise; names are a tuple or null.
        let values = unsafe {
            let named = if names.is_null() { 0 } else { ffi::PyTuple_Size(names) as usize };
            if start.is_null() { &[] } else { std::slice::from_raw_parts(start, positional + named) }
        };
        Self { py, values, positional, names }
    }

    pub fn len(&self) -> usize {
        self.positional
    }

    pub fn has_names(&self) -> bool {
        self.values.len() > self.positional
    }

    /// One of the positional arguments.
    #[inline]
    pub fn get(&self, index: usize) -> Borrowed<'a, 'py, PyAny> {
        assert!(index < self.positional);
        // SAFETY: a valid object, borrowed from the caller's frame for the whole call.
        unsafe { Borrowed::from_ptr(self.py, self.values[index]) }
    }

    /// The same as a reference, for code that wants one.
    #[inline]
    pub fn borrowed(&self, index: usize) -> &'a Bound<'py, PyAny> {
        assert!(index < self.positional);
        // SAFETY: a `Bound` is laid out as the pointer it holds, the object is valid, and the frame that lends the
        // pointer, and the reference, outlives `'a`.
        unsafe { &*(&raw const self.values[index]).cast::<Bound<'py, PyAny>>() }
    }

    /// True if one of the named arguments has one of these names.
    pub fn names_one_of(&self, names: &[&str]) -> bool {
        (0..self.values.len() - self.positional).any(|at| {
            // SAFETY: `names` is a tuple with one str for each named argument.
            let name = unsafe { Borrowed::from_ptr(self.py, ffi::PyTuple_GetItem(self.names, at as ffi::Py_ssize_t)) };
            names.iter().any(|wanted| name.eq(*wanted).unwrap_or(true))
        })
    }

    /// Calls `function(first, *these, **these)`.
    pub fn pass_on(&self, function: &Bound<'py, PyAny>, first: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let mut all: Vec<Bound<'py, PyAny>> = Vec::with_capacity(self.positional + 1);
        all.push(first.clone());
        all.extend((0..self.positional).map(|index| self.get(index).to_owned()));
        let all = pyo3::types::PyTuple::new(self.py, all)?;
        if !self.has_names() {
            return function.call1(all);
        }
        let named = PyDict::new(self.py);
        for (at, value) in self.values[self.positional..].iter().enumerate() {
            // SAFETY: `names` is a tuple with one str for each named argument.
            let (name, value) = unsafe {
                let name = ffi::PyTuple_GetItem(self.names, at as ffi::Py_ssize_t);
                (Borrowed::from_ptr(self.py, name), Borrowed::from_ptr(self.py, *value))
            };
            named.set_item(name, value)?;
        }
        function.call(all, Some(&named))
    }
}
