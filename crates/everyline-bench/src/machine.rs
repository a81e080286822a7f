//! What the figures were measured on.

use std::path::Path;

use crate::histogram::Histogram;
use crate::sys;

/// The machine, described for readers of the tables.
pub struct Machine {
    /// Processor, as the kernel names it, and how many.
    pub processor: String,
    /// Kernel release.
    pub kernel: String,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// Load average when the run began.
    pub load: String,
    /// What the clock around each call costs by itself, in ns.
    pub clock_ns: f64,
    /// Of the time stamp counter.
    pub ticks_per_ns: f64,
}

impl Machine {
    /// Looks around.
    pub fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, key: &str| {
            let line = text.lines().find(|l| l.starts_with(key)).unwrap_or_default();
            line.split_once(':').map_or("?", |(_, v)| v).trim().to_owned()
        };
        let cpuinfo = read("/proc/cpuinfo");
        let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let memory = after(&read("/proc/meminfo"), "MemTotal");
        let ticks_per_ns = sys::ticks_per_ns();
        Self {
            processor: format!("{} x {}", cpus, after(&cpuinfo, "model name")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_gib: memory.split(' ').next().and_then(|k| k.parse::<u64>().ok()).unwrap_or(0) >> 20,
            load: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            clock_ns: clock_cost() as f64 / ticks_per_ns,
            ticks_per_ns,
        }
    }
}

/// Median of what two looks at the clock with nothing between them say.
fn clock_cost() -> u64 {
    let mut cost = Histogram::new();
    for _ in 0..100_000 {
        let before = sys::ticks();
        cost.add(sys::ticks() - before);
    }
    cost.quantile(0.5)
}

/// Name of the file system that a path is on.
pub fn file_system(path: &Path) -> String {
    const NAMES: [(u64, &str); 5] = [
        (0xEF53, "ext4"),
        (0x0102_1994, "tmpfs"),
        (0x5846_5342, "xfs"),
        (0x9123_683E, "btrfs"),
        (0x794C_7630, "overlayfs"),
    ];
    match rustix::fs::statfs(path) {
        Ok(s) => {
            let magic = s.f_type as u64;
            NAMES.iter().find(|(m, _)| *m == magic).map_or_else(|| format!("{magic:#x}"), |(_, n)| (*n).to_owned())
        }
        Err(e) => format!("unknown ({e})"),
    }
}
