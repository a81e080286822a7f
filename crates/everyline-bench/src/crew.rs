//! A crew of workers: started, released together, waited for, read out.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;

use crate::histogram::Histogram;
use crate::sys::{self, Report, Shared};
use crate::worker::Job;

/// A crew that takes longer than this is stuck.
const PATIENCE_MS: u64 = 300_000;

/// Worker processes on one job.
pub struct Crew {
    shared: Shared,
    children: Vec<Child>,
}

/// What a crew has measured.
pub struct Measured {
    /// From the gate to the last record in the file.
    pub seconds: f64,
    /// CPU time of all, in user mode.
    pub user_ns: u64,
    /// CPU time of all, in the kernel.
    pub system_ns: u64,
    /// Calls that had to wait for room.
    pub waited: u64,
    /// All clocked calls.
    pub calls: Histogram,
    /// CPUs that others kept busy meanwhile, on average.
    pub others_cpus: f64,
}

impl Crew {
    /// Starts workers, each with the same job, and waits until they stand at the gate.
    ///
    /// # Errors
    /// A worker that could not be started, or ended too early.
    pub fn start(job: &Job, workers: usize) -> Result<Self, String> {
        let shared = Shared::create(workers).map_err(|e| format!("shared memory: {e}"))?;
        let program = std::env::current_exe().map_err(|e| format!("own program: {e}"))?;
        let mut crew = Self { shared, children: Vec::with_capacity(workers) };
        for index in 0..workers {
            let arguments = job.arguments(&crew.shared, workers, index);
            let child = Command::new(&program).args(arguments).spawn().map_err(|e| format!("start a worker: {e}"))?;
            crew.children.push(child);
        }
        crew.wait_for(|crew| &crew.shared.gate().ready)?;
        Ok(crew)
    }

    /// Opens the gate, waits for the end, and reads the reports.
    ///
    /// # Errors
    /// A worker that failed.
    pub fn measure(mut self) -> Result<Measured, String> {
        let busy = busy_ns();
        let opened = sys::monotonic_ns();
        sys::signal(&self.shared.gate().go);
        self.wait_for(|crew| &crew.shared.gate().ended)?;
        let closed = sys::monotonic_ns();
        let busy = busy_ns().saturating_sub(busy);
        self.finish()?;
        let reports = || (0..self.children.len()).map(|i| self.shared.report(i));
        let sum = |field: fn(&Report) -> u64| reports().map(field).sum::<u64>();
        let ended = reports().map(|r| r.ended_ns.load(Ordering::Relaxed)).max().unwrap_or(opened);
        let mut calls = Histogram::new();
        reports().for_each(|r| calls.load(&r.calls, &r.longest));
        let (user_ns, system_ns) =
            (sum(|r| r.user_ns.load(Ordering::Relaxed)), sum(|r| r.system_ns.load(Ordering::Relaxed)));
        let others = busy.saturating_sub(user_ns + system_ns) as f64 / (closed - opened).max(1) as f64;
        Ok(Measured {
            seconds: ended.saturating_sub(opened) as f64 / 1e9,
            user_ns,
            system_ns,
            waited: sum(|r| r.waited.load(Ordering::Relaxed)),
            calls,
            others_cpus: others,
        })
    }

    /// Tells the workers to report and exit, and waits for that.
    fn finish(&mut self) -> Result<(), String> {
        sys::signal(&self.shared.gate().go);
        sys::signal(&self.shared.gate().stop);
        for child in &mut self.children {
            let status = child.wait().map_err(|e| e.to_string())?;
            if !status.success() {
                return Err(format!("a worker failed: {status}"));
            }
        }
        Ok(())
    }

    /// Lets the workers do their job without measuring anything but what they report themselves.
    ///
    /// # Errors
    /// A worker that failed.
    pub fn dismiss(mut self) -> Result<Reports, String> {
        sys::signal(&self.shared.gate().go);
        self.wait_for(|crew| &crew.shared.gate().ended)?;
        self.finish()?;
        let reports = (0..self.children.len()).map(|i| self.shared.report(i));
        Ok(reports
            .map(|r| (r.attach_ns.load(Ordering::Relaxed), r.memory_kib.each_ref().map(|m| m.load(Ordering::Relaxed))))
            .collect())
    }

    fn wait_for(&mut self, word: fn(&Self) -> &std::sync::atomic::AtomicU32) -> Result<(), String> {
        let workers = self.children.len() as u32;
        let end = sys::monotonic_ns() + PATIENCE_MS * 1_000_000;
        while !sys::wait_until(word(self), workers, 200) {
            for child in &mut self.children {
                if let Ok(Some(status)) = child.try_wait() {
                    return Err(format!("a worker ended early: {status}"));
                }
            }
            if sys::monotonic_ns() > end {
                return Err("the workers take too long".to_owned());
            }
        }
        Ok(())
    }
}

/// Attach time in ns and memory in KiB (private, proportional, resident) of each worker.
pub type Reports = Vec<(u64, [u64; 3])>;

impl Drop for Crew {
    fn drop(&mut self) {
        for child in &mut self.children {
            if matches!(child.try_wait(), Ok(None)) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// CPU time that the whole machine has spent at work.
fn busy_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> =
        text.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; a tick is 10 ms everywhere (USER_HZ).
    ticks.iter().enumerate().filter(|(i, _)| !matches!(i, 3 | 4 | 8 | 9)).map(|(_, t)| t * 10_000_000).sum()
}

/// Bytes of the log and its rotated files.
///
/// # Errors
/// What the system says.
pub fn log_bytes(path: &Path) -> Result<u64, String> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))? {
        let meta = entry.and_then(|e| e.metadata()).map_err(|e| e.to_string())?;
        bytes += if meta.is_file() { meta.len() } else { 0 };
    }
    Ok(bytes)
}
