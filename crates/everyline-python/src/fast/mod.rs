//! Log calls without Python code: formatters compiled, `emit` and the methods of `logging.Logger` native.
//!
//! Promise: bytes, effects and errors are those of the standard library's code, which runs whenever anything is not
//! exactly as it was when it was looked at.

pub mod clock;
pub mod event;
pub mod formatter;
pub mod handler;
pub mod json;
pub mod logger;
pub mod parse;
mod plan;
pub mod raw;
pub mod text;
pub mod watch;
