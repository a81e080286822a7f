//! The `everyline` command: standard input to a rotating log that any number of processes share, and a look at it.
//!
//! Arguments are read in two stages. `args` holds what was typed, `settings` what it means to the engine; nothing is
//! opened before both agree. Standard output is data, standard error is talk; a reader of standard output that goes
//! away is no error.
//!
//! Exit codes are fixed, and stand in `--help` and in `docs/command.md`: see [`Exit`].

mod args;
mod lines;
mod pipe;
mod report;
mod serve;
mod settings;
mod signals;
mod status;
mod upkeep;
mod values;

use std::error::Error;
use std::io;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::report::say;

/// Result with an error that is only ever printed.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How the command ended. The numbers are promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// Done, all of it.
    Done = 0,
    /// Done, but not all of it: standard error says what is missing.
    Incomplete = 1,
    /// Not done: bad usage, bad input, or the operating system refused.
    Failed = 2,
    /// `status`: there is no journal, so no process is attached.
    NotAttached = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) if is_broken_pipe(error.as_ref()) => Exit::Done.into(),
        Err(error) => {
            say(format_args!("{error}"));
            Exit::Failed.into()
        }
    }
}

fn run() -> Result<ExitCode> {
    let args = match Args::try_parse() {
        Ok(args) => args,
        // Help and version come as errors, too; clap knows which stream they go to and that they are a success.
        Err(message) => {
            let _ = message.print();
            return Ok(if message.use_stderr() { Exit::Failed } else { Exit::Done }.into());
        }
    };
    // For every verb: `recover` writes to the log, too.
    signals::ignore_on_write()?;
    let exit = match &args.command {
        Command::Pipe(typed) => pipe::run(settings::from_args(typed)?),
        Command::Serve { check, config } => serve::run(config, *check),
        Command::Status { json, file } => status::run(file, *json),
        Command::Recover { file } => upkeep::recover(file),
        Command::Reopen { file } => upkeep::reopen(file),
        Command::Clean { file } => upkeep::clean(file),
    }?;
    Ok(exit.into())
}

/// True for a write to a reader that went away, such as `head`. Only this command's own output counts: an error of the
/// engine is about the log and arrives as [`everyline::Error`].
fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
