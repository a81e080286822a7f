//! `everyline-bench`: speed and memory of everyline beside its rivals, in one run, with the raw data kept.
//!
//! It judges nothing by its exit code but whether every record arrived: times depend on the machine, and whoever reads
//! the table of aims decides.

mod aims;
mod crew;
mod histogram;
mod machine;
mod parts;
mod report;
mod rival;
mod rows;
mod sys;
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::machine::Machine;
use crate::parts::Plan;
use crate::report::{Found, System};
use crate::rival::Rival;
use crate::rows::Part;

/// Measures everyline beside bare write and flock + write.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A minute instead of many: fewer records, processes and repeats.
    #[arg(long)]
    quick: bool,
    /// Numbers of processes.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 8, 32, 64])]
    processes: Vec<usize>,
    /// Records of a throughput run, all processes together.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Repeats of everything; figures are medians over them.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Where to log; several for several file systems. Default: the build directory.
    #[arg(long, value_delimiter = ',')]
    on: Vec<PathBuf>,
    /// Only these parts.
    #[arg(long, value_delimiter = ',', value_parser = ["throughput", "latency", "idle", "attach", "memory"])]
    only: Vec<String>,
    /// Only these rivals, by their names in the tables; for profiles.
    #[arg(long, value_delimiter = ',', value_parser = rival::parse)]
    rivals: Vec<Rival>,
    /// Where raw data and summary go. Default: bench/results/<date>.
    #[arg(long)]
    out: Option<PathBuf>,
    /// A Markdown file that gets the summary between its markers.
    #[arg(long)]
    readme: Option<PathBuf>,
}

impl Arguments {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|p| p == part)
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.split_first() {
        Some((first, rest)) if first == worker::WORD => worker::run(rest),
        _ => run(Arguments::parse(), &words),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("everyline-bench: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Arguments, words: &[String]) -> Result<(), String> {
    if arguments.processes.contains(&0) || arguments.records == 0 || arguments.repeats == 0 {
        return Err("processes, records and repeats must be 1 or more".to_owned());
    }
    if arguments.quick {
        arguments.processes.retain(|n| *n <= 8);
        arguments.records = arguments.records.min(200_000);
        arguments.repeats = 1;
    }
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let target = program.ancestors().nth(2).unwrap_or(Path::new(".")).to_owned();
    let on = if arguments.on.is_empty() { vec![target] } else { arguments.on.clone() };
    let machine = Machine::look();
    let mut found = Found { rows: Vec::new(), systems: Vec::new() };
    for directory in on {
        let plan = Plan {
            fs: machine::file_system(&directory),
            directory,
            processes: arguments.processes.clone(),
            records: arguments.records,
            repeats: arguments.repeats,
            parts: compared(&arguments),
            attached: if arguments.quick { vec![1, 64] } else { vec![1, 64, 1024] },
            attaches: if arguments.quick { 20 } else { 200 },
            ticks_per_ns: machine.ticks_per_ns,
        };
        found.systems.push(measure(&plan, &arguments, &mut found.rows)?);
    }
    let date = jiff::Timestamp::now().to_string()[..10].to_owned();
    let command = format!("cargo run --release -p everyline-bench -- {}", words.join(" "));
    let text = report::markdown(&machine, command.trim_end_matches([' ', '-']), &date, &found);
    print!("{text}");
    keep(&arguments, &date, &text, &found)
}

/// Which rivals take part in what.
fn compared(arguments: &Arguments) -> Vec<(Part, Vec<Rival>)> {
    let chosen = |all: &[Rival]| {
        let wanted = |rival: &&Rival| arguments.rivals.is_empty() || arguments.rivals.contains(rival);
        all.iter().filter(wanted).copied().collect::<Vec<_>>()
    };
    let mut parts = Vec::new();
    if arguments.wants("throughput") {
        parts.push((Part::Throughput, chosen(&Rival::ALL)));
    }
    if arguments.wants("latency") {
        parts.extend([Part::LatencyFlatOut, Part::LatencyPaced].map(|part| (part, chosen(&Rival::CLOCKED))));
    }
    parts
}

fn measure(plan: &Plan, arguments: &Arguments, rows: &mut Vec<rows::Row>) -> Result<System, String> {
    let attaches = arguments.wants("attach").then(|| parts::attach(plan)).transpose()?;
    let mut memory = Vec::new();
    if arguments.wants("memory") {
        for rival in [Rival::WriteThrough, Rival::Deferred] {
            memory.push((rival.name(), parts::memory(plan, rival)?));
        }
    }
    if arguments.wants("idle") {
        parts::idle(plan, rows)?;
    }
    parts::compare(plan, rows)?;
    let aims = aims::aims(rows, &plan.fs, attaches.as_ref(), &memory);
    Ok(System { fs: plan.fs.clone(), attaches, memory, aims })
}

fn keep(arguments: &Arguments, date: &str, text: &str, found: &Found) -> Result<(), String> {
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from("bench/results").join(date));
    let write = |path: PathBuf, text: &str| std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()));
    std::fs::create_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    write(out.join("runs.csv"), &report::csv(&found.rows))?;
    write(out.join("attach.csv"), &report::attach_csv(&found.systems))?;
    write(out.join("summary.md"), text)?;
    if let Some(path) = &arguments.readme {
        let old = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let (begin, end) = report::MARKERS;
        let parts = old.split_once(begin).and_then(|(head, rest)| Some((head, rest.split_once(end)?.1)));
        let Some((head, tail)) = parts else { return Err(format!("{}: the markers are missing", path.display())) };
        write(path.clone(), &format!("{head}{begin}{text}{end}{tail}"))?;
    }
    Ok(())
}
