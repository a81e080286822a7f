//! The log server: records from sockets, parsed and never executed, to rotating logs.
//!
//! Decoders (`decode`) are pure functions over bytes with a limit on everything; what they refuse has a [`Reason`].
//! [`Config`] is read and checked before anything is opened; [`Server`] runs it, in threads of its own.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod acked;
pub mod config;
mod connection;
mod datagram;
pub mod decode;
pub mod escape;
pub mod format;
mod http;
mod logs;
mod reason;
mod record;
mod server;
mod socket;
mod stats;
mod wait;

pub use config::Config;
pub use reason::Reason;
pub use record::{Record, Value};
pub use server::Server;
pub use stats::{Report, Stats};
