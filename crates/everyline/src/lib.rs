//! Many processes, one log file, every line.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(loom)]
pub mod protocol;
#[cfg(loom)]
mod sync;

#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod journal;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
mod protocol;
#[cfg(not(loom))]
mod rotation;
#[cfg(not(loom))]
mod sync;

#[cfg(not(loom))]
pub use {
    error::{Error, ErrorKind, Result},
    options::{Commit, Fsync, Full, Options, RING_BYTES_MAX, RING_BYTES_MIN},
    rotation::{Naming, Schedule, When},
};
