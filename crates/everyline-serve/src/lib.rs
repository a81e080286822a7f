//! The log server: records from sockets, parsed and never executed, to rotating logs.
//!
//! Decoders (`decode`) are pure functions over bytes with a limit on everything; what they refuse has a [`Reason`].
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

pub mod decode;
pub mod escape;
mod reason;
mod record;

pub use reason::Reason;
pub use record::{Record, Value};
