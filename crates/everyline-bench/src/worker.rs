//! One worker process: opens the log, waits at the gate, logs, and reports into shared memory.
//!
//! A worker is this same program, started by exec with the words of a [`Job`] as arguments, so that nothing is inherited
//! from the parent but the shared memory.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::histogram::Histogram;
use crate::rival::{self, Log, RECORD_BYTES, Rival};
use crate::sys::{self, Report, Shared};

/// First argument of a worker.
pub const WORD: &str = "worker";
/// Pause of the paced load. Short sleeps, as of a service between requests.
const PACE: Duration = Duration::from_millis(1);
/// Nobody waits longer for the parent: it must have died.
const PATIENCE_MS: u64 = 600_000;

/// What a worker does between gate and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Logs as fast as it can.
    Flat,
    /// As `Flat`, and each call is clocked.
    Clocked,
    /// Bursts of so many records, a millisecond apart, each call clocked.
    Paced(u64),
    /// As `Flat`, and says what memory it took.
    Memory,
}

impl Load {
    fn words(self) -> (&'static str, u64) {
        match self {
            Self::Flat => ("flat", 0),
            Self::Clocked => ("clocked", 0),
            Self::Paced(burst) => ("paced", burst),
            Self::Memory => ("memory", 0),
        }
    }

    fn parse(word: &str, burst: u64) -> Option<Self> {
        [Self::Flat, Self::Clocked, Self::Paced(burst), Self::Memory].into_iter().find(|load| load.words().0 == word)
    }
}

/// A worker's orders.
#[derive(Clone, Debug)]
pub struct Job {
    /// How it logs.
    pub rival: Rival,
    /// Where.
    pub path: PathBuf,
    /// How many records; 0: it attaches and sleeps.
    pub records: u64,
    /// How.
    pub load: Load,
    /// Ring size, if not the default.
    pub ring_bytes: Option<u64>,
}

impl Job {
    /// As arguments.
    pub fn arguments(&self, shared: &Shared, workers: usize, index: usize) -> Vec<String> {
        let (load, burst) = self.load.words();
        vec![
            WORD.to_owned(),
            shared.fd().to_string(),
            workers.to_string(),
            index.to_string(),
            self.rival.name().to_owned(),
            self.path.to_string_lossy().into_owned(),
            self.records.to_string(),
            load.to_owned(),
            burst.to_string(),
            self.ring_bytes.unwrap_or(0).to_string(),
        ]
    }
}

/// Runs a worker from its arguments.
///
/// # Errors
/// A message for the parent's standard error.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let [fd, workers, index, rival, path, records, load, burst, ring] = arguments else {
        return Err("a worker is started by the benchmark, not by hand".to_owned());
    };
    let number = |text: &String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    let shared = Shared::inherited(number(fd)? as i32, number(workers)? as usize).map_err(|e| e.to_string())?;
    let report = shared.report(number(index)? as usize);
    let rival = rival::parse(rival)?;
    let load = Load::parse(load, number(burst)?).ok_or("unknown load")?;
    let records = number(records)?;
    let ring_bytes = Some(number(ring)?).filter(|bytes| *bytes != 0);

    let before = if load == Load::Memory { memory_kib() } else { [0; 3] };
    let started = sys::monotonic_ns();
    let log = rival.open(&PathBuf::from(path), ring_bytes)?;
    report.attach_ns.store(sys::monotonic_ns() - started, Ordering::Relaxed);
    let record = record(number(index)?);
    let gate = shared.gate();
    sys::signal(&gate.ready);
    if !sys::wait_until(&gate.go, 1, PATIENCE_MS) {
        return Err("the gate was never opened".to_owned());
    }
    let cpu = sys::cpu_ns();
    work(&log, &record, records, load, report);
    log.flush();
    report.ended_ns.store(sys::monotonic_ns(), Ordering::Relaxed);
    sys::signal(&gate.ended);
    // Nobody detaches while others are being measured; and a background thread that works on for others is counted.
    sys::wait_until(&gate.stop, 1, PATIENCE_MS);
    let cpu_after = sys::cpu_ns();
    report.user_ns.store(cpu_after.0 - cpu.0, Ordering::Relaxed);
    report.system_ns.store(cpu_after.1 - cpu.1, Ordering::Relaxed);
    report.waited.store(log.waited(), Ordering::Relaxed);
    if load == Load::Memory {
        for ((word, after), before) in report.memory_kib.iter().zip(memory_kib()).zip(before) {
            word.store(after.saturating_sub(before), Ordering::Relaxed);
        }
    }
    Ok(())
}

fn work(log: &Log, record: &[u8], records: u64, load: Load, report: &Report) {
    let burst = match load {
        Load::Flat | Load::Memory => return (0..records).for_each(|_| log.append(record)),
        Load::Clocked => u64::MAX,
        Load::Paced(burst) => burst,
    };
    let mut calls = Histogram::new();
    for n in 0..records {
        if n != 0 && n % burst == 0 {
            std::thread::sleep(PACE);
        }
        let before = sys::ticks();
        log.append(record);
        calls.add(sys::ticks() - before);
    }
    calls.store(&report.calls, &report.longest);
}

fn record(index: u64) -> Vec<u8> {
    let mut line = format!("2026-01-01 00:00:00,000 INFO worker {index:04} ").into_bytes();
    line.resize(RECORD_BYTES - 1, b'x');
    line.push(b'\n');
    line
}

/// Private, proportional and resident memory of this process.
fn memory_kib() -> [u64; 3] {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    ["Anonymous:", "Pss:", "Rss:"].map(|key| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0)
    })
}
