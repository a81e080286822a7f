//! The journal: the files beside the log that all its processes share.
pub mod layout;
pub mod map;
pub mod slot;
