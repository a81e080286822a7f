//! Tables: the raw data as CSV, and the summary as Markdown.

use std::fmt::Write as _;

use crate::aims::{Aim, number};
use crate::machine::Machine;
use crate::parts::{Attaches, Memory};
use crate::rival::{RECORD_BYTES, Rival};
use crate::rows::{HEADING, Part, Row, Rows, Who, median, who};

/// Markers in a README between which the summary stands.
pub const MARKERS: (&str, &str) = ("<!-- results: begin -->\n", "<!-- results: end -->");

/// Everything a run has found.
pub struct Found {
    /// Runs.
    pub rows: Vec<Row>,
    /// For each file system: its name, attaches, memory by mode, aims.
    pub systems: Vec<System>,
}

/// What was found on one file system beside the runs.
pub struct System {
    /// Its name.
    pub fs: String,
    /// Attach times.
    pub attaches: Option<Attaches>,
    /// Memory by mode.
    pub memory: Vec<(&'static str, Memory)>,
    /// The table of aims.
    pub aims: Vec<Aim>,
}

/// The raw data, one line for each run.
pub fn csv(rows: &[Row]) -> String {
    let lines: Vec<String> = rows.iter().map(Row::csv).collect();
    format!("{HEADING}\n{}\n", lines.join("\n"))
}

/// Attach times, one line for each.
pub fn attach_csv(systems: &[System]) -> String {
    let mut text = "fs,journal,attach_ns\n".to_owned();
    for system in systems {
        if let Some(attaches) = &system.attaches {
            for (kind, times) in [("existing", &attaches.existing_ns), ("new", &attaches.new_ns)] {
                times.iter().for_each(|ns| writeln!(text, "{},{kind},{ns}", system.fs).expect("a string"));
            }
        }
    }
    text
}

/// The summary.
pub fn markdown(machine: &Machine, command: &str, date: &str, found: &Found) -> String {
    let mut text = String::new();
    let out = &mut text;
    let others = median(found.rows.iter().map(|r| r.others_cpus).collect()).unwrap_or(0.0);
    let _ = writeln!(
        out,
        "{date}, {}, {} GiB, Linux {}. Load average at the start: {}; other programs kept {others:.2} CPUs busy during\n\
         the median run. Records of {RECORD_BYTES} bytes. The clock around each call costs {} ns by itself, which is part of every\n\
         latency below. Ratios are medians of ratios within one repeat.\n\nTo reproduce: `{command}`",
        machine.processor,
        machine.memory_gib,
        machine.kernel,
        machine.load,
        number(machine.clock_ns),
    );
    for system in &found.systems {
        let _ = writeln!(
            out,
            "\n## {}\n\n### Aims\n\n| aim | bound | measured | met |\n| --- | ---: | ---: | --- |",
            system.fs
        );
        for aim in &system.aims {
            let met = aim.met.map_or("-", |met| if met { "yes" } else { "**no**" });
            let _ = writeln!(out, "| {} | {} | {} | {met} |", aim.what, aim.bound, aim.measured);
        }
        throughput(out, &Rows::of(&found.rows, Part::Throughput, &system.fs));
        latency(out, "Latency of a call, flat out", &Rows::of(&found.rows, Part::LatencyFlatOut, &system.fs));
        let title = "Latency of a call, paced (80,000 records a second in all, bursts a millisecond apart)";
        latency(out, title, &Rows::of(&found.rows, Part::LatencyPaced, &system.fs));
        idle(out, &Rows::of(&found.rows, Part::Idle, &system.fs));
        rest(out, system);
    }
    text
}

fn throughput(out: &mut String, rows: &Rows<'_>) {
    if rows.0.is_empty() {
        return;
    }
    let processes = rows.processes();
    table(out, "Throughput, million records a second until all are in the file", &processes, |rival, n| {
        let m = rows.median(who(rival, n), |r| r.per_second() / 1e6)?;
        let ratio = rows.ratio(who(rival, n), who(Rival::Bare, n), Row::per_second)?;
        Some(format!("{} ({}x)", number(m), number(ratio)))
    });
    table(out, "CPU time of a record, µs (user + kernel)", &processes, |rival, n| {
        let all = rows.median(who(rival, n), Row::cpu)?;
        let user = rows.median(who(rival, n), |r| r.cpu_us.0)?;
        Some(format!("{} ({} + {})", number(all), number(user), number((all - user).max(0.0))))
    });
}

fn table(out: &mut String, title: &str, processes: &[usize], cell: impl Fn(Rival, usize) -> Option<String>) {
    let heads: Vec<String> = processes.iter().map(|n| format!("{n} proc.")).collect();
    let _ = writeln!(out, "\n### {title}\n\n| | {} |\n| --- |{}", heads.join(" | "), " ---: |".repeat(heads.len()));
    for rival in Rival::ALL {
        let cells: Vec<String> = processes.iter().map(|n| cell(rival, *n).unwrap_or_else(|| "-".to_owned())).collect();
        let _ = writeln!(out, "| {} | {} |", rival.name(), cells.join(" | "));
    }
}

fn latency(out: &mut String, title: &str, rows: &Rows<'_>) {
    if rows.0.is_empty() {
        return;
    }
    let head = "| | processes | p50 | p99 | p99.9 | longest |\n| --- | ---: | ---: | ---: | ---: | ---: |";
    let _ = writeln!(out, "\n### {title}\n\n{head}");
    for rival in Rival::ALL {
        for n in rows.processes() {
            let figures = [0, 1, 2, 3].map(|i| rows.median(who(rival, n), |r| r.calls_ns[i]).map(time));
            if let [Some(a), Some(b), Some(c), Some(d)] = figures {
                let _ = writeln!(out, "| {} | {n} | {a} | {b} | {c} | {d} |", rival.name());
            }
        }
    }
}

fn idle(out: &mut String, rows: &Rows<'_>) {
    if rows.0.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n### One active process among attached ones\n\n| | attached | µs a record | / alone |\n| --- | ---: | ---: | ---: |"
    );
    for rival in [Rival::WriteThrough, Rival::Deferred] {
        let mut attached: Vec<usize> = rows.0.iter().map(|r| r.attached).collect();
        attached.sort_unstable();
        attached.dedup();
        for n in attached {
            let among = |n| Who { rival, processes: 1, attached: Some(n) };
            let us = rows.median(among(n), |r| r.seconds * 1e6 / r.records as f64);
            let ratio = rows.ratio(among(n), among(1), |r| r.seconds);
            if let (Some(us), Some(ratio)) = (us, ratio) {
                let _ = writeln!(out, "| {} | {n} | {us:.3} | {ratio:.2}x |", rival.name());
            }
        }
    }
}

fn rest(out: &mut String, system: &System) {
    if let Some(attaches) = &system.attaches {
        let _ = writeln!(
            out,
            "\n### Attach, each in a fresh process\n\n| journal | median | p99 | longest |\n| --- | ---: | ---: | ---: |"
        );
        for (kind, times) in
            [("in use by another process", &attaches.existing_ns), ("has to be built", &attaches.new_ns)]
        {
            let mut times = times.clone();
            times.sort_unstable();
            let at = |share: f64| times.get((times.len() as f64 * share) as usize).map_or(0.0, |ns| *ns as f64);
            let longest = times.last().map_or(0.0, |ns| *ns as f64);
            let _ = writeln!(out, "| {kind} | {} | {} | {} |", time(at(0.5)), time(at(0.99)), time(longest));
        }
    }
    if !system.memory.is_empty() {
        let head = "| | slot file | private | PSS | RSS | for the log |\n| --- | ---: | ---: | ---: | ---: | ---: |";
        let _ = writeln!(out, "\n### Memory by default, KiB a process (growth by attaching and logging)\n\n{head}");
        for (mode, m) in &system.memory {
            let [private, pss, rss] = m.process_kib;
            let _ =
                writeln!(out, "| {mode} | {:.0} | {private:.0} | {pss:.0} | {rss:.0} | {:.0} |", m.slot_kib, m.log_kib);
        }
    }
}

/// A time in ns, in the unit that suits it.
fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1000.0 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{} µs", number(ns / 1e3)),
        ns => format!("{} ms", number(ns / 1e6)),
    }
}
