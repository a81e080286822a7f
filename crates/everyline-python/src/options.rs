//! The class `Options`: from Python's words to the engine's. A value that cannot be used is a `ValueError` that names
//! the option, whether found here or by the engine's own check.

use std::path::PathBuf;
use std::time::Duration;

use everyline::{Commit, Compress, Fsync, Full, Naming, Schedule, When};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::to_python;

/// What can be set on a log, checked. Two with the same values are equal.
#[pyclass(frozen, eq, module = "everyline._native")]
#[derive(PartialEq)]
pub struct Options(pub everyline::Options);

#[pymethods]
impl Options {
    #[new]
    #[pyo3(signature = (
        *, max_bytes = None, when = None, interval = 1, at_time = None, utc = false, naming = "numbered", keep = None,
        keep_age = None, keep_total_bytes = None, compress = "none", compress_after = None, link = None, mode = None,
        owner = None, urgent_level = None,
        commit = "write-through", fsync = "never", full = "drop", wait = 1.0, ring_bytes = None,
        overflow_bytes = None, journal_dir = None, truncate = false,
    ))]
    // One argument for each option, by name: that is what a Python caller wants to write.
    #[allow(clippy::too_many_arguments)]
    fn new(
        max_bytes: Option<i64>,
        when: Option<&str>,
        interval: i64,
        at_time: Option<i64>,
        utc: bool,
        naming: &str,
        keep: Option<i64>,
        keep_age: Option<f64>,
        keep_total_bytes: Option<i64>,
        compress: &str,
        compress_after: Option<f64>,
        link: Option<String>,
        mode: Option<i64>,
        owner: Option<(i64, i64)>,
        urgent_level: Option<i64>,
        commit: &str,
        fsync: &str,
        full: &str,
        wait: f64,
        ring_bytes: Option<i64>,
        overflow_bytes: Option<i64>,
        journal_dir: Option<PathBuf>,
        truncate: bool,
    ) -> PyResult<Self> {
        let default = everyline::Options::default();
        let options = everyline::Options {
            max_bytes: max_bytes.map(|bytes| unsigned("max_bytes", bytes)).transpose()?,
            schedule: when.map(|when| schedule(when, interval, at_time, utc)).transpose()?,
            naming: read_naming(naming)?,
            keep: keep.map(|count| unsigned("keep", count)).transpose()?,
            keep_age: keep_age.map(|seconds| duration("keep_age", seconds)).transpose()?,
            keep_total_bytes: keep_total_bytes.map(|bytes| unsigned("keep_total_bytes", bytes)).transpose()?,
            compress: read_compress(compress)?,
            compress_after: compress_after
                .map_or(Ok(default.compress_after), |seconds| duration("compress_after", seconds))?,
            link,
            mode: mode.map_or(Ok(default.mode), |mode| unsigned("mode", mode))?,
            owner: owner
                .map(|(user, group)| Ok::<_, PyErr>((unsigned("owner", user)?, unsigned("owner", group)?)))
                .transpose()?,
            urgent_level: urgent_level.map_or(Ok(default.urgent_level), |level| unsigned("urgent_level", level))?,
            commit: read_commit(commit)?,
            fsync: read_fsync(fsync)?,
            full: read_full(full)?,
            wait: duration("wait", wait)?,
            ring_bytes: ring_bytes.map_or(Ok(default.ring_bytes), |bytes| unsigned("ring_bytes", bytes))?,
            overflow_bytes: overflow_bytes
                .map_or(Ok(default.overflow_bytes), |bytes| unsigned("overflow_bytes", bytes))?,
            journal_dir,
            truncate,
        };
        options.check().map_err(to_python)?;
        Ok(Self(options))
    }
}

/// Rotation by civil time, from the arguments of `TimedRotatingFileHandler`.
pub fn schedule(when: &str, interval: i64, at_time: Option<i64>, utc: bool) -> PyResult<Schedule> {
    let when = When::parse(when).map_err(to_python)?;
    let schedule = Schedule::new(when, unsigned("interval", interval)?).map_err(to_python)?.utc(utc);
    let Some(second) = at_time else { return Ok(schedule) };
    schedule.at_time(unsigned("at_time", second)?).map_err(to_python)
}

fn read_naming(text: &str) -> PyResult<Naming> {
    match text {
        "numbered" => Ok(Naming::Numbered),
        "dated" => Ok(Naming::Dated),
        "sequence" => Ok(Naming::Sequence),
        "staged" => Ok(Naming::Staged),
        _ => Err(unknown("naming", text, "'numbered', 'dated', 'sequence' or 'staged'")),
    }
}

fn read_compress(text: &str) -> PyResult<Compress> {
    let unknown =
        || unknown("compress", text, "'none', 'gzip', 'gzip:0' to 'gzip:9', 'zstd', or 'zstd:1' to 'zstd:19'");
    let (kind, level) = match text.split_once(':') {
        Some((kind, level)) => (kind, Some(level.parse().map_err(|_| unknown())?)),
        None => (text, None),
    };
    match (kind, level) {
        ("none", None) => Ok(Compress::None),
        ("gzip", level) => Ok(Compress::Gzip { level: level.unwrap_or(6) }),
        ("zstd", level) => Ok(Compress::Zstd { level: level.unwrap_or(3) }),
        _ => Err(unknown()),
    }
}

fn read_commit(text: &str) -> PyResult<Commit> {
    match text {
        "write-through" => Ok(Commit::WriteThrough),
        "deferred" => Ok(Commit::Deferred),
        _ => Err(unknown("commit", text, "'write-through' or 'deferred'")),
    }
}

fn read_full(text: &str) -> PyResult<Full> {
    match text {
        "drop" => Ok(Full::Drop),
        "block" => Ok(Full::Block),
        _ => Err(unknown("full", text, "'drop' or 'block'")),
    }
}

fn read_fsync(text: &str) -> PyResult<Fsync> {
    let expected = "'never', 'rotation', 'level:40' (0 to 255), 'interval:0.5' (seconds) or 'always'";
    match (text, text.split_once(':')) {
        ("never", _) => Ok(Fsync::Never),
        ("rotation", _) => Ok(Fsync::OnRotation),
        ("always", _) => Ok(Fsync::Always),
        (_, Some(("level", level))) => level.parse().map(Fsync::AtLevel).map_err(|_| unknown("fsync", text, expected)),
        (_, Some(("interval", seconds))) => {
            let seconds = seconds.parse().map_err(|_| unknown("fsync", text, expected))?;
            Ok(Fsync::Interval(duration("fsync", seconds)?))
        }
        _ => Err(unknown("fsync", text, expected)),
    }
}

fn duration(option: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("{option}: {seconds} is not a time in seconds; give 0 or more")))
}

fn unsigned<T: TryFrom<i64>>(option: &str, value: i64) -> PyResult<T> {
    T::try_from(value).map_err(|_| PyValueError::new_err(format!("{option}: {value} is out of range")))
}

fn unknown(option: &str, given: &str, expected: &str) -> PyErr {
    PyValueError::new_err(format!("{option}: '{given}' is not known; expected {expected}"))
}
