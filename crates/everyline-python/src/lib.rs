//! `everyline._native`: the engine as Python sees it. The handlers on top are in `python/everyline/`.
//!
//! Promise: nothing here waits, writes or takes a lock of the engine while it holds the GIL. No formatting, no policy,
//! no state of its own; every decision is the engine's or the handlers'. `_native.pyi` describes it, and stubtest
//! compares the two.

mod appender;
mod error;
mod options;
mod report;
mod signals;

use pyo3::prelude::*;

/// The native part of the package everyline. Use the handlers instead.
#[pymodule(gil_used = false)]
mod _native {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    use crate::error::to_python;
    use crate::{error, options, report, signals};

    #[pymodule_export]
    use crate::appender::Appender;
    #[pymodule_export]
    use crate::error::Error;
    #[pymodule_export]
    use crate::options::Options;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        error::init(module.py())?;
        signals::init();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// When the period that holds the time `now` ends: `computeRollover` of Python 3.13.
    #[pyfunction]
    #[pyo3(signature = (when, interval, at_time, utc, now))]
    fn next_rollover(
        when: &str,
        interval: i64,
        at_time: Option<i64>,
        utc: bool,
        now: i64,
        py: Python<'_>,
    ) -> PyResult<i64> {
        let schedule = options::schedule(when, interval, at_time, utc)?;
        // It reads the time zone's file.
        Ok(py.detach(|| schedule.next_rollover(now)))
    }

    /// The state of the log at `path`, read without attaching to it.
    #[pyfunction]
    fn status(path: PathBuf, py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let status = py.detach(|| everyline::status(&path)).map_err(to_python)?;
        report::status(py, &status)
    }

    /// Writes what dead processes left to the log at `path`, and finishes a rotation they began.
    #[pyfunction]
    fn recover(path: PathBuf, py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let recovered = py.detach(|| everyline::recover(&path)).map_err(to_python)?;
        report::recovered(py, &recovered)
    }

    /// Makes every process look at `path` again before its next write.
    #[pyfunction]
    fn reopen(path: PathBuf, py: Python<'_>) -> PyResult<()> {
        py.detach(|| everyline::reopen(&path)).map_err(to_python)
    }

    /// The command `everyline`. `args`: the program's name and its arguments. Returns the code to exit with.
    #[pyfunction]
    fn command(args: Vec<OsString>, py: Python<'_>) -> u8 {
        py.detach(|| everyline_cli::run(args))
    }

    /// Removes the journal of the log at `path`, if nobody is attached and nothing undelivered is in it, and journals
    /// that were set aside.
    #[pyfunction]
    fn clean(path: PathBuf, py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let cleaned = py.detach(|| everyline::clean(&path)).map_err(to_python)?;
        report::cleaned(py, &cleaned)
    }
}
