//! Ctrl-C, and every other signal with a handler in Python, while a call waits in the engine.
//!
//! Python runs its signal handlers between two of its own instructions, so a thread that waits in native code would not
//! notice them. The engine asks [`raised`] every 50 ms of a wait, with nothing held. Its own threads never wait for Python.

use std::cell::RefCell;

use pyo3::prelude::*;

thread_local! {
    /// What a handler raised, on its way to the caller.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Tells the engine whom to ask.
pub fn init() {
    // False: this module was initialised before, in another interpreter of this process.
    let _ = everyline::on_wait(raised);
}

/// Runs the handlers of signals that have come. True if one of them raised.
fn raised() -> bool {
    // SAFETY: may be called on any thread at any time, with or without the GIL; it reads a word of this thread's.
    if unsafe { pyo3::ffi::PyGILState_GetThisThreadState() }.is_null() {
        // Python does not know this thread, and runs no handler on it. Asking for the GIL here would be waiting for
        // whoever has it, who may be waiting for this thread.
        return false;
    }
    // None: the interpreter is going, and runs no handlers any more.
    let result = Python::try_attach(|py| py.check_signals()).unwrap_or(Ok(()));
    match result {
        Ok(()) => false,
        Err(error) => {
            RAISED.with(|raised| raised.replace(Some(error)));
            true
        }
    }
}

/// What ended the wait of this thread.
pub fn take() -> Option<PyErr> {
    RAISED.with(RefCell::take)
}

/// For a wait in a destructor, which cannot raise: Python reports it as it does for `__del__`.
pub fn report(py: Python<'_>) {
    if let Some(error) = take() {
        error.write_unraisable(py, None);
    }
}
