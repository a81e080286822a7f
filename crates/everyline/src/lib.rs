//! Many processes, one log file, every line.
//!
//! Any number of processes append records to one file that rotates by size or by time, and nothing is lost, torn,
//! doubled or misfiled, also when a process is killed at any instruction. Each process has a ring in shared memory;
//! whoever is free commits all rings to the file. Start at [`Appender`].
//!
//! The map of the code is `ARCHITECTURE.md`; formats, state machines and their reasons are in `docs/design.md`.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg(target_os = "linux")]

#[cfg(loom)]
pub mod protocol;
mod sync;

#[cfg(not(loom))]
mod apart;
#[cfg(not(loom))]
mod appender;
#[cfg(not(loom))]
mod attach;
#[cfg(not(loom))]
mod deferred;
#[cfg(not(loom))]
mod durability;
#[cfg(not(loom))]
mod engine;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod heirloom;
#[cfg(not(loom))]
mod hooks;
#[cfg(not(loom))]
mod interrupt;
#[cfg(not(loom))]
mod journal;
#[cfg(not(loom))]
mod mark;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
mod os;
#[cfg(not(loom))]
mod plain;
#[cfg(not(loom))]
mod protocol;
#[cfg(not(loom))]
mod real;
#[cfg(not(loom))]
mod rotation;
#[cfg(not(loom))]
mod settings;
#[cfg(not(loom))]
mod status;
#[cfg(not(loom))]
mod upkeep;

#[cfg(all(feature = "tracing", not(loom)))]
mod tracing;

#[cfg(not(loom))]
pub use {
    apart::{Conflict, Glance},
    appender::{Appender, Attempt, Builder, Counters, Published},
    error::{Error, ErrorKind, Result},
    fork::process_id,
    interrupt::on_wait,
    options::{Commit, Compress, Fsync, Full, Options, RING_BYTES_MAX, RING_BYTES_MIN},
    rotation::{Naming, Schedule, When},
    status::{Cleaned, LeaseState, LeaseStatus, ProcessStatus, Recovered, Status, clean, recover, reopen, status},
};

/// Names of the steps at which `EVERYLINE_CRASH=name:count` kills the process; the torture runs go through all of them.
#[cfg(all(feature = "torture", not(loom)))]
pub fn step_names() -> impl Iterator<Item = &'static str> {
    protocol::step::ALL.iter().map(|(_, name)| *name)
}
