//! The `everyline` command, as a program of its own (`main.rs`) and as a part of the Python package: standard input to a rotating log that any number of processes share, and a look at it.
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
use std::ffi::OsString;
use std::io::{self, Write};

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

/// Runs the command with these arguments (the first is the program's name) and returns the code to exit with. To be
/// called once, by a process that does nothing else: signals are handled as a command does, to its end.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let result = perform(args).and_then(|exit| {
        // A library is not told of the end of the process.
        io::stdout().flush()?;
        Ok(exit)
    });
    let exit = match result {
        Ok(exit) => exit,
        Err(error) if is_broken_pipe(error.as_ref()) => Exit::Done,
        Err(error) => {
            say(format_args!("{error}"));
            Exit::Failed
        }
    };
    exit as u8
}

fn perform(args: impl IntoIterator<Item = OsString>) -> Result<Exit> {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        // Help and version come as errors, too; clap knows which stream they go to and that they are a success.
        Err(message) => {
            let _ = message.print();
            return Ok(if message.use_stderr() { Exit::Failed } else { Exit::Done });
        }
    };
    // For every verb: `recover` writes to the log, too.
    signals::ignore_on_write()?;
    match &args.command {
        Command::Pipe(typed) => pipe::run(settings::from_args(typed)?),
        Command::Serve { check, config } => serve::run(config, *check),
        Command::Status { json, file } => status::run(file, *json),
        Command::Recover { file } => upkeep::recover(file),
        Command::Reopen { file } => upkeep::reopen(file),
        Command::Clean { file } => upkeep::clean(file),
    }
}

/// True for a write to a reader that went away, such as `head`. Only this command's own output counts: an error of the
/// engine is about the log and arrives as [`everyline::Error`].
fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
