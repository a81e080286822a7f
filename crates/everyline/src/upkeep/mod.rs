//! Upkeep of archives: compression, and retention by age and total size. All of it off the writing path.
//!
//! Promise: a log call never waits for it. It runs on a thread of its own in one process at a time, which reads,
//! compresses and gives space back with the lease free, and takes the lease for a few renames (`protocol::chores`). The
//! thread exists only while there is something to do or something will be due; then it sleeps until that moment. It ends
//! before a fork and with its process, at once, whatever it was doing: what it left half done is found and removed by the
//! next one, in this process or in another.

mod errand;
mod pass;
mod thread;
mod turn;
mod zip;

pub use pass::run_what_is_due;
pub use thread::Upkeep;
