//! The engine's reports as dictionaries. Their keys are those of the Rust structures; `python/everyline/_types.py` has
//! their types.

use std::ffi::OsStr;

use everyline::{Cleaned, Counters, LeaseState, Recovered, Status};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

pub fn status<'py>(py: Python<'py>, status: &Status) -> PyResult<Bound<'py, PyDict>> {
    let lease = PyDict::new(py);
    let state = match status.lease.state {
        LeaseState::Free => "free",
        LeaseState::Held => "held",
        LeaseState::Pending => "pending",
    };
    lease.set_item("state", state)?;
    lease.set_item("slot", status.lease.slot)?;
    lease.set_item("pid", status.lease.pid)?;
    lease.set_item("generation", status.lease.generation)?;
    lease.set_item("idle_ms", status.lease.idle_ms)?;

    let processes = PyList::empty(py);
    for process in &status.processes {
        let entry = PyDict::new(py);
        entry.set_item("slot", process.slot)?;
        entry.set_item("pid", process.pid)?;
        entry.set_item("alive", process.alive)?;
        entry.set_item("started_unix_ns", process.started_unix_ns)?;
        entry.set_item("backlog_bytes", process.backlog_bytes)?;
        entry.set_item("overflow_bytes", process.overflow_bytes)?;
        entry.set_item("records", process.records)?;
        entry.set_item("bytes", process.bytes)?;
        entry.set_item("dropped", process.dropped)?;
        entry.set_item("ring_bytes", process.ring_bytes)?;
        processes.append(entry)?;
    }

    let settings = pairs(py, &status.settings)?;

    // As text, not as pathlib objects: a report is printed and turned into JSON.
    let report = PyDict::new(py);
    report.set_item("journal", status.journal.as_os_str())?;
    report.set_item("log", status.log.as_os_str())?;
    report.set_item("settings", settings)?;
    report.set_item("lease", lease)?;
    report.set_item("rotations", status.rotations)?;
    report.set_item("rotations_failed", status.rotations_failed)?;
    report.set_item("epoch", status.epoch)?;
    report.set_item("file_bytes", status.file_bytes)?;
    report.set_item("rollover_at", status.rollover_at)?;
    report.set_item("errors", status.errors)?;
    report.set_item("last_error", status.last_error)?;
    report.set_item("processes", processes)?;
    Ok(report)
}

pub fn pairs<'py>(py: Python<'py>, pairs: &[(String, String)]) -> PyResult<Bound<'py, PyDict>> {
    let report = PyDict::new(py);
    for (key, value) in pairs {
        report.set_item(key, value)?;
    }
    Ok(report)
}

pub fn counters<'py>(py: Python<'py>, counters: &Counters) -> PyResult<Bound<'py, PyDict>> {
    let report = PyDict::new(py);
    report.set_item("records", counters.records)?;
    report.set_item("bytes", counters.bytes)?;
    report.set_item("dropped", counters.dropped)?;
    report.set_item("failed", counters.failed)?;
    report.set_item("degraded", counters.degraded)?;
    report.set_item("waited", counters.waited)?;
    report.set_item("is_degraded", counters.is_degraded)?;
    Ok(report)
}

pub fn recovered<'py>(py: Python<'py>, recovered: &Recovered) -> PyResult<Bound<'py, PyDict>> {
    let report = PyDict::new(py);
    report.set_item("records", recovered.records)?;
    report.set_item("bytes", recovered.bytes)?;
    report.set_item("slots", recovered.slots)?;
    report.set_item("corrupt_slots", recovered.corrupt_slots)?;
    Ok(report)
}

pub fn cleaned<'py>(py: Python<'py>, cleaned: &Cleaned) -> PyResult<Bound<'py, PyDict>> {
    let report = PyDict::new(py);
    let removed: Vec<&OsStr> = cleaned.removed.iter().map(|path| path.as_os_str()).collect();
    report.set_item("removed", removed)?;
    report.set_item("in_use", cleaned.in_use)?;
    Ok(report)
}
