//! The class `Appender`: one log, opened by this process.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyTimeoutError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::to_python;
use crate::fast::handler::Handler;
use crate::options::Options;
use crate::report;
use crate::signals;

/// Looks at the lease in a row before a pause: where many processes write, it is free for microseconds.
const TRIES: u32 = 20;

/// Writes records to the log at `path`, together with every other process that does.
///
/// Where a journal cannot be had it is *degraded*: it writes whole records and does not rotate.
#[pyclass(frozen, module = "everyline._native")]
pub struct Appender {
    inner: everyline::Appender,
    /// Why there was no journal at the start.
    refusal: Option<String>,
    /// What is known of the handler that writes here.
    pub line: Mutex<Option<Arc<Handler>>>,
}

impl Appender {
    /// The engine's own.
    pub fn engine(&self) -> &everyline::Appender {
        &self.inner
    }
}

#[pymethods]
impl Appender {
    #[new]
    fn new(path: PathBuf, options: &Options, py: Python<'_>) -> PyResult<Self> {
        let builder = everyline::Appender::builder(path).options(options.0.clone());
        py.detach(|| {
            // First without degrading, for the reason it would have.
            let (inner, refusal) = match builder.clone().open() {
                Ok(inner) => (inner, None),
                Err(refusal) => (builder.open_degraded()?, Some(refusal.to_string())),
            };
            Ok(Self { inner, refusal, line: Mutex::default() })
        })
        .map_err(to_python)
    }

    /// Writes one record, exactly as given. At level 40 (ERROR) and above it is in the file when the call returns.
    #[pyo3(signature = (record, level = 0))]
    fn append(&self, record: &[u8], level: i64, py: Python<'_>) -> PyResult<()> {
        // Python's levels are any integers; the engine's scale is Python's own, 0 to 255.
        let level = u8::try_from(level.max(0)).unwrap_or(u8::MAX);
        py.detach(|| self.inner.append_at(level, record)).map_err(to_python)
    }

    /// Returns when all records of this process are in the file.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.flush()).map_err(to_python)
    }

    /// Returns when all records of this process are on disk.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.sync()).map_err(to_python)
    }

    /// Rotates now.
    fn rotate(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.rotate()).map_err(to_python)
    }

    /// Looks at the path again before the next write.
    fn reopen(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.reopen()).map_err(to_python)
    }

    /// Calls `act` while no process writes to the log or changes a name, and returns what it returns. TimeoutError if
    /// that cannot be had within `wait` seconds.
    ///
    /// The lease is taken with the GIL held, so that nothing waits for the GIL before `act` runs; where it is not to be
    /// had at once, the wait is without both.
    fn exclusive(&self, act: &Bound<'_, PyAny>, wait: f64, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let started = Instant::now();
        loop {
            for _ in 0..TRIES {
                if let Some(result) = self.inner.try_exclusive(|| act.call0()).map_err(to_python)? {
                    return result.map(Bound::unbind);
                }
                std::hint::spin_loop();
            }
            if started.elapsed().as_secs_f64() >= wait {
                let text = format!("another process has been writing, or treating archives, for {wait} s");
                return Err(PyTimeoutError::new_err((libc::ETIMEDOUT, text, self.inner.path().as_os_str().to_owned())));
            }
            py.detach(|| std::thread::sleep(Duration::from_millis(1)));
            py.check_signals()?;
        }
    }

    /// Epoch of the live file, rotations, and the next rotation by time (0: none); None without a journal.
    fn glance(&self, py: Python<'_>) -> Option<(u64, u64, u64)> {
        // It may have to attach, in a forked child.
        py.detach(|| self.inner.glance()).map(|seen| (seen.epoch, seen.rotations, seen.rollover_at))
    }

    /// Sets when the next rotation by time is due, for all processes.
    fn set_rollover_at(&self, unix_s: u64, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.set_rollover_at(unix_s)).map_err(to_python)
    }

    /// Takes the right to treat archives; False if somebody has it.
    fn begin_maintenance(&self, py: Python<'_>) -> PyResult<bool> {
        py.detach(|| self.inner.begin_maintenance()).map_err(to_python)
    }

    /// Gives it back.
    fn end_maintenance(&self, py: Python<'_>) {
        py.detach(|| self.inner.end_maintenance());
    }

    /// Settings of a living process that were replaced since the last call, and what replaced them; else None.
    fn take_conflict<'py>(&self, py: Python<'py>) -> PyResult<Option<(Bound<'py, PyDict>, Bound<'py, PyDict>)>> {
        let Some(conflict) = py.detach(|| self.inner.take_conflict()) else { return Ok(None) };
        Ok(Some((report::pairs(py, &conflict.before)?, report::pairs(py, &conflict.now)?)))
    }

    /// Flushes and detaches. A later append attaches again.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.close()).map_err(to_python)
    }

    /// The state of the log and of every process attached to it.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let status = py.detach(|| self.inner.status()).map_err(to_python)?;
        report::status(py, &status)
    }

    /// What this process did.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = py.detach(|| self.inner.counters());
        report::counters(py, &counters)
    }

    /// The log, resolved and absolute.
    #[getter]
    fn path(&self) -> &OsStr {
        self.inner.path().as_os_str()
    }

    /// What is known of a handler refers to its formatter, and that may refer to the handler.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.line.try_lock() {
            Ok(line) => line.iter().try_for_each(|line| line.traverse(&visit)),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        let line = self.line.try_lock().ok().and_then(|mut line| line.take());
        drop(line);
    }

    /// Why there was no journal when it was made, while there is none; else None.
    #[getter]
    fn degraded(&self, py: Python<'_>) -> Option<&str> {
        let is_degraded = py.detach(|| self.inner.counters().is_degraded);
        self.refusal.as_deref().filter(|_| is_degraded)
    }
}

/// It may wait, as `close` does, and whoever drops the last reference has the GIL.
impl Drop for Appender {
    fn drop(&mut self) {
        let close = || drop(self.inner.close());
        // None: the interpreter is going, and nobody else is there to wait for the GIL.
        Python::try_attach(|py| {
            py.detach(close);
            signals::report(py);
        })
        .unwrap_or_else(close);
    }
}
