//! From the engine's one error type to Python's exceptions.
//!
//! | engine | Python |
//! | --- | --- |
//! | an operation the system refused | `OSError`, or the subclass of its errno, with `errno` and `filename` |
//! | a directory as log | `IsADirectoryError` |
//! | a wait that reached its bound | `TimeoutError` |
//! | an option that cannot be used | `ValueError` |
//! | everything else | `everyline.Error`, an `OSError`, with `kind`, `errno` and `filename` |
//!
//! `logging.shutdown` ignores `OSError` and `ValueError` and nothing else, hence `TimeoutError`, an `OSError`.

use std::ffi::OsString;

use everyline::ErrorKind;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::signals;

pyo3::create_exception!(everyline, Error, PyOSError, "The engine could not do what was asked. `kind` says why.");

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
    let path = error.path().map(|path| path.as_os_str().to_owned());
    match (errno, error.kind()) {
        // With three arguments Python chooses the subclass by the errno.
        (Some(errno), _) => PyOSError::new_err((errno, text, path)),
        (None, ErrorKind::Os) => PyOSError::new_err(text),
        (None, ErrorKind::InvalidOption) => PyValueError::new_err(text),
        (None, kind) => with_kind((closest(kind), text, path), name(kind)),
    }
}

fn with_kind(args: (i32, String, Option<OsString>), kind: &'static str) -> PyErr {
    Python::attach(|py| {
        let error = Error::new_err(args);
        match error.value(py).setattr("kind", kind) {
            Ok(()) => error,
            Err(failure) => failure,
        }
    })
}

/// The errno that says most nearly what the engine has found out by itself.
fn closest(kind: ErrorKind) -> i32 {
    match kind {
        ErrorKind::UnsupportedFileSystem => libc::EOPNOTSUPP,
        ErrorKind::ForeignJournal => libc::EPROTO,
        ErrorKind::NoFreeSlot => libc::EUSERS,
        ErrorKind::Dropped => libc::ENOBUFS,
        ErrorKind::RecordTooLarge => libc::EMSGSIZE,
        ErrorKind::NotRotatable => libc::EBUSY,
        ErrorKind::NotAttached => libc::ENOTCONN,
        ErrorKind::Interrupted => libc::EINTR,
        ErrorKind::JournalUnsettled => libc::EAGAIN,
        _ => libc::EINVAL,
    }
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
