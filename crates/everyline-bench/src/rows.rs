//! The measurements: one row for each run, and the figures that are made of rows.
//!
//! A ratio between two rivals is always taken within one repeat, where the two ran one after the other, and then the
//! median over the repeats: what else the machine was doing cancels out for the most part.

use crate::crew::Measured;
use crate::rival::{RECORD_BYTES, Rival};

/// What a run was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// As fast as it goes, nothing clocked: throughput and CPU.
    Throughput,
    /// As fast as it goes, each call clocked.
    LatencyFlatOut,
    /// Bursts a millisecond apart, each call clocked.
    LatencyPaced,
    /// One active process among idle ones.
    Idle,
}

impl Part {
    /// Name in the raw data.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::LatencyFlatOut => "latency-flat-out",
            Self::LatencyPaced => "latency-paced",
            Self::Idle => "idle-slots",
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Row {
    /// What for.
    pub part: Part,
    /// File system.
    pub fs: String,
    /// Who.
    pub rival: Rival,
    /// Active processes.
    pub processes: usize,
    /// Attached processes in all.
    pub attached: usize,
    /// Which repeat.
    pub repeat: usize,
    /// Records in all.
    pub records: u64,
    /// Until all were in the file.
    pub seconds: f64,
    /// CPU time of a record in µs: user, kernel.
    pub cpu_us: (f64, f64),
    /// p50, p99, p99.9 and longest call in ns; zeros if not clocked.
    pub calls_ns: [f64; 4],
    /// Calls that had to wait for room.
    pub waited: u64,
    /// CPUs that other programs kept busy.
    pub others_cpus: f64,
}

/// Heading of the raw data.
pub const HEADING: &str = "part,fs,rival,processes,attached,repeat,records,record_bytes,seconds,records_per_s,\
                           cpu_user_us,cpu_system_us,p50_ns,p99_ns,p999_ns,max_ns,waited,others_cpus";

impl Row {
    /// From what a crew measured.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        part: Part,
        fs: &str,
        rival: Rival,
        (processes, attached): (usize, usize),
        repeat: usize,
        records: u64,
        measured: &Measured,
        ticks_per_ns: f64,
    ) -> Self {
        let calls = &measured.calls;
        let ticks = [calls.quantile(0.5), calls.quantile(0.99), calls.quantile(0.999), calls.longest()];
        let each = |ns: u64| ns as f64 / 1000.0 / records as f64;
        Self {
            part,
            fs: fs.to_owned(),
            rival,
            processes,
            attached,
            repeat,
            records,
            seconds: measured.seconds,
            cpu_us: (each(measured.user_ns), each(measured.system_ns)),
            calls_ns: ticks.map(|t| t as f64 / ticks_per_ns),
            waited: measured.waited,
            others_cpus: measured.others_cpus,
        }
    }

    /// Records a second, all processes together.
    pub fn per_second(&self) -> f64 {
        self.records as f64 / self.seconds
    }

    /// CPU time of a record in µs.
    pub fn cpu(&self) -> f64 {
        self.cpu_us.0 + self.cpu_us.1
    }

    /// A line of the raw data.
    pub fn csv(&self) -> String {
        let [p50, p99, p999, longest] = self.calls_ns.map(|ns| ns.round());
        format!(
            "{},{},{},{},{},{},{},{RECORD_BYTES},{:.6},{:.0},{:.4},{:.4},{p50},{p99},{p999},{longest},{},{:.2}",
            self.part.name(),
            self.fs,
            self.rival.name(),
            self.processes,
            self.attached,
            self.repeat,
            self.records,
            self.seconds,
            self.per_second(),
            self.cpu_us.0,
            self.cpu_us.1,
            self.waited,
            self.others_cpus,
        )
    }
}

/// Some rows.
pub struct Rows<'a>(pub Vec<&'a Row>);

impl<'a> Rows<'a> {
    /// Those of one part and file system.
    pub fn of(rows: &'a [Row], part: Part, fs: &str) -> Self {
        Self(rows.iter().filter(|r| r.part == part && r.fs == fs).collect())
    }

    /// Numbers of active processes that were measured.
    pub fn processes(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self.0.iter().map(|r| r.processes).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn pick(&self, who: Who) -> impl Iterator<Item = &'a Row> {
        self.0.iter().copied().filter(move |r| {
            r.rival == who.rival && r.processes == who.processes && who.attached.is_none_or(|n| n == r.attached)
        })
    }

    /// Median of a figure.
    pub fn median(&self, who: Who, figure: impl Fn(&Row) -> f64) -> Option<f64> {
        median(self.pick(who).map(figure).collect())
    }

    /// Median over the repeats of `figure(a) / figure(b)`.
    pub fn ratio(&self, a: Who, b: Who, figure: impl Fn(&Row) -> f64) -> Option<f64> {
        let pairs = self.pick(a).filter_map(|x| {
            let y = self.pick(b).find(|y| y.repeat == x.repeat)?;
            Some(figure(x) / figure(y))
        });
        median(pairs.collect())
    }
}

/// Which rows: of a rival with so many active processes, and so many attached ones.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// Rival.
    pub rival: Rival,
    /// Active.
    pub processes: usize,
    /// Attached; `None`: all the same.
    pub attached: Option<usize>,
}

/// A rival with so many processes.
pub fn who(rival: Rival, processes: usize) -> Who {
    Who { rival, processes, attached: None }
}

/// Median; of an even number the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (n, middle) = (values.len(), values.len() / 2);
    match n {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}
