//! The protocol: lease, handoff, commit, resume, cut. See `docs/design.md` for the state machines and invariants.
//!
//! Nothing here knows mmap, locks or the operating system. The code runs over atomics and over [`env::Env`], which is
//! the real thing in `real`, and a simulated journal and disk that fail at any step in the tests.

pub mod dirty;
pub mod lease;

#[cfg(not(loom))]
pub mod batch;
#[cfg(not(loom))]
pub mod chores;
#[cfg(not(loom))]
pub mod commit;
#[cfg(not(loom))]
pub mod cut;
#[cfg(not(loom))]
pub mod env;
#[cfg(not(loom))]
pub mod exclusive;
#[cfg(not(loom))]
pub mod live;
#[cfg(not(loom))]
pub mod locate;
#[cfg(not(loom))]
pub mod orphan;
#[cfg(not(loom))]
pub mod resume;
#[cfg(all(test, not(loom)))]
mod sim;
#[cfg(not(loom))]
pub mod step;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(not(loom))]
pub mod trouble;
