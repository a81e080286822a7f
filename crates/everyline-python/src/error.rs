//! From the engine's one error type to Python's exceptions.
//!
//! | engine | Python |
//! | --- | --- |
//! | an operation the system refused | `OSError`, or the subclass of its errno, with `errno` and `filename` |
//! | a directory as log | `IsADirectoryError` |
//! | a wait that reached its bound | `TimeoutError` |
//! | an option that cannot be used | `ValueError` |
//! | everything else | `everyline.Error`, with `kind` |
//!
//! `logging.shutdown` ignores `OSError` and `ValueError` and nothing else, hence `TimeoutError`, an `OSError`.

use everyline::ErrorKind;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::signals;

pyo3::create_exception!(everyline, Error, PyRuntimeError, "The engine could not do what was asked. `kind` says why.");

/// Gives [`Error`] its class attribute `kind`, so that Python code can always read one.
pub fn init(py: Python<'_>) -> PyResult<()> {
    py.get_type::<Error>().setattr("kind", "other")
}

/// The exception for `error`.
pub fn to_python(error: everyline::Error) -> PyErr {
    if error.kind() == ErrorKind::Interrupted
        && let Some(raised) = signals::take()
    {
        return raised;
    }
    let text = error.to_string();
    let errno = error.raw_os_error().or_else(|| match error.kind() {
        ErrorKind::TimedOut => Some(libc::ETIMEDOUT),
        ErrorKind::InvalidTarget if error.path().is_some_and(std::path::Path::is_dir) => Some(libc::EISDIR),
        _ => None,
    });
    match (errno, error.kind()) {
        // With three arguments Python chooses the subclass by the errno.
        (Some(errno), _) => PyOSError::new_err((errno, text, error.path().map(|path| path.as_os_str().to_owned()))),
        (None, ErrorKind::Os) => PyOSError::new_err(text),
        (None, ErrorKind::InvalidOption) => PyValueError::new_err(text),
        (None, kind) => with_kind(text, name(kind)),
    }
}

fn with_kind(text: String, kind: &'static str) -> PyErr {
    Python::attach(|py| {
        let error = Error::new_err(text);
        match error.value(py).setattr("kind", kind) {
            Ok(()) => error,
            Err(failure) => failure,
        }
    })
}

/// As in the documentation of `everyline.Error.kind`.
fn name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidTarget => "invalid-target",
        ErrorKind::UnsupportedFileSystem => "unsupported-file-system",
        ErrorKind::ForeignJournal => "foreign-journal",
        ErrorKind::NoFreeSlot => "no-free-slot",
        ErrorKind::Dropped => "dropped",
        ErrorKind::RecordTooLarge => "record-too-large",
        ErrorKind::NotRotatable => "not-rotatable",
        ErrorKind::NotAttached => "not-attached",
        _ => "other",
    }
}
