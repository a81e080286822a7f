//! What was aimed at, beside what was measured.

use crate::parts::{Attaches, Memory};
use crate::rival::Rival::{Bare, Deferred, WriteThrough};
use crate::rows::{Part, Row, Rows, Who, median, who};

/// One line of the table.
pub struct Aim {
    /// What.
    pub what: String,
    /// Bound, in words.
    pub bound: String,
    /// Measured, in words.
    pub measured: String,
    /// Whether it is met; `None` if it was not measured.
    pub met: Option<bool>,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// Lines of the table for one file system.
pub fn aims(rows: &[Row], fs: &str, attaches: Option<&Attaches>, memory: &[(&str, Memory)]) -> Vec<Aim> {
    let fast = Rows::of(rows, Part::Throughput, fs);
    let flat = Rows::of(rows, Part::LatencyFlatOut, fs);
    let paced = Rows::of(rows, Part::LatencyPaced, fs);
    let per_second = |r: &Row| r.per_second();
    let p50 = |r: &Row| r.calls_ns[0];
    let p999 = |r: &Row| r.calls_ns[2] / 1000.0;
    let mut table = Vec::new();
    let mut line =
        |what: &str, bound: Bound, unit: &str, value: Option<f64>| table.push(judge(what, bound, unit, value));

    let seconds = |r: &Row| r.seconds / r.records as f64;
    let cost = fast.ratio(who(WriteThrough, 1), who(Bare, 1), seconds);
    line("write-through, 1 process: time of a record / bare write", Bound::AtMost(1.3), "x", cost);
    let eight = |rival| fast.ratio(who(rival, 8), who(Bare, 8), per_second);
    line("write-through, 8 processes: throughput / bare write", Bound::AtLeast(4.0), "x", eight(WriteThrough));
    line("deferred, 8 processes: throughput / bare write", Bound::AtLeast(6.0), "x", eight(Deferred));
    for (name, rows, processes) in
        [("flat out", &flat, 1), ("flat out", &flat, 8), ("paced", &paced, 1), ("paced", &paced, 8)]
    {
        let plural = if processes == 1 { "process" } else { "processes" };
        let what = |figure: &str| format!("deferred, {processes} {plural} {name}: call, {figure}");
        let deferred = who(Deferred, processes);
        line(&what("median"), Bound::AtMost(100.0), " ns", rows.median(deferred, p50));
        line(&what("p99.9"), Bound::AtMost(5.0), " µs", rows.median(deferred, p999));
    }
    for rival in [WriteThrough, Deferred] {
        let cpu = fast.ratio(who(rival, 64), who(rival, 2), Row::cpu);
        line(&format!("{}: CPU of a record, 64 processes / 2", rival.name()), Bound::AtMost(1.5), "x", cpu);
    }
    let idle = Rows::of(rows, Part::Idle, fs);
    for rival in [WriteThrough, Deferred] {
        for attached in [64, 1024] {
            let among = |n| Who { rival, processes: 1, attached: Some(n) };
            let ratio = idle.ratio(among(attached), among(1), |r| r.seconds);
            let what = format!("{}: one active among {attached} attached / alone", rival.name());
            line(&what, Bound::AtMost(1.1), "x", ratio);
        }
    }
    let ms = |ns: &[u64]| median(ns.iter().map(|ns| *ns as f64 / 1e6).collect());
    let existing = attaches.and_then(|a| ms(&a.existing_ns));
    line("attach to a journal in use, median", Bound::AtMost(1.0), " ms", existing);
    line("attach that builds the journal, median", Bound::AtMost(1.0), " ms", attaches.and_then(|a| ms(&a.new_ns)));
    for (mode, memory) in memory {
        let process = memory.slot_kib + memory.process_kib[0];
        let what = format!("{mode}: memory for each process (slot file and private)");
        line(&what, Bound::AtMost(512.0), " KiB", Some(process));
        line(&format!("{mode}: memory for the log"), Bound::AtMost(1024.0), " KiB", Some(memory.log_kib));
    }
    table
}

fn judge(what: &str, bound: Bound, unit: &str, value: Option<f64>) -> Aim {
    let (text, met) = match bound {
        Bound::AtMost(most) => (format!("<= {most}{unit}"), value.map(|v| v <= most)),
        Bound::AtLeast(least) => (format!(">= {least}{unit}"), value.map(|v| v >= least)),
    };
    let measured = value.map_or_else(|| "not measured".to_owned(), |v| format!("{}{unit}", number(v)));
    Aim { what: what.to_owned(), bound: text, measured, met }
}

/// Three digits that count.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
