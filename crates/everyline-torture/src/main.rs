//! everyline-torture: kills, stops and starves processes that log through everyline, and proves that every line is there.
//!
//! `run` does it, `faults` shows that the oracle sees what it should. What is done and how to read the output stands in
//! `docs/torture.md`.

mod acts;
mod bare;
mod cases;
mod faults;
mod files;
mod ledger;
mod oracle;
mod plan;
mod producer;
mod record;
mod report;
mod rng;
mod round;
mod sys;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "Kills, stops and starves processes that log through everyline, and counts every line.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the cases.
    Run(Run),
    /// Plants faults, to show that the oracle finds them.
    Faults {
        #[arg(long)]
        seed: Option<u64>,
        /// Works below this directory. Default: target/torture.
        #[arg(long)]
        directory: Option<PathBuf>,
    },
    /// One producer, started by the runner.
    #[command(hide = true)]
    Producer(plan::Plan),
    /// `everyline::recover`, in a process that can be killed.
    #[command(hide = true)]
    Recover { log: PathBuf },
}

/// A run.
#[derive(Args, Clone, Debug)]
pub struct Run {
    /// Decides everything that is drawn by lot. Default: from the clock.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Time for all cases together, s.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Processes that log at the same time.
    #[arg(long, default_value_t = 4)]
    pub processes: u32,
    /// Works below this directory only. Default: target/torture here, and /dev/shm.
    #[arg(long)]
    pub directory: Option<PathBuf>,
    /// Only this case (may be given several times).
    #[arg(long)]
    pub only: Vec<String>,
    /// The case `steps` dies at this step only.
    #[arg(long)]
    pub step: Option<String>,
    /// How long a holder stays stopped, s.
    #[arg(long, default_value_t = 10)]
    pub stop_seconds: u64,
    /// Keeps the files of good rounds, too.
    #[arg(long)]
    pub keep: bool,
    /// File systems can be mounted, and nobody else sees them.
    #[arg(skip)]
    pub mounts: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(run) => report::run(&Run { mounts: own_mounts(), ..run }),
        Command::Faults { seed, directory } => faults::run(seed, directory),
        Command::Producer(plan) => producer::run(plan).map(|()| true),
        Command::Recover { log } => recover(&log),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("everyline-torture: {e}");
            ExitCode::from(producer::EXIT_FAILED as u8)
        }
    }
}

/// Without a journal nobody has left anything: all may have been killed before one of them had built it. Whether that is
/// so, the oracle sees.
fn recover(log: &std::path::Path) -> std::io::Result<bool> {
    match everyline::recover(log) {
        Err(e) if e.kind() != everyline::ErrorKind::NotAttached => Err(std::io::Error::other(e)),
        _ => Ok(true),
    }
}

/// Mounts of our own, if we may have them. Before any thread exists.
fn own_mounts() -> bool {
    use rustix::mount::{MountPropagationFlags, mount_change};
    sys::own_mounts().is_ok() && mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).is_ok()
}
