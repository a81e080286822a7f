//! Rotation: when a file is cut, and what the cut-off file is called.
//!
//! Nothing in this folder touches a log file. It is arithmetic on times, sizes and names (the zone is read from the
//! system); the steps themselves are in `protocol::cut`, under the lease.

mod archives;
mod naming;
mod schedule;

pub(crate) use archives::{Family, Form, Key, expired, first_gap, next_clash};
pub use naming::Naming;
pub(crate) use naming::{cut_stamp, dated, is_base_name, numbered, sequence, staged, stem};
pub use schedule::{Schedule, When};
