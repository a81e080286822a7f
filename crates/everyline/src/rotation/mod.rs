//! Rotation: when a file is cut, and what the cut-off file is called.
//!
//! Nothing in this folder touches a log file. It is arithmetic on times, sizes and names (the zone is read from the
//! system); the steps themselves are in `protocol::cut`, under the lease.

mod naming;
mod schedule;

pub use naming::Naming;
pub(crate) use naming::{cut_stamp, dated, expired_dated, first_gap, is_base_name, next_clash, numbered, staged};
pub use schedule::{Schedule, When};
