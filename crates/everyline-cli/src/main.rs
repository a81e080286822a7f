//! The program `everyline`. What it does stands in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(everyline_cli::run(std::env::args_os()))
}
