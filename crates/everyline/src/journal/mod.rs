//! The journal: the files beside the log that all its processes share.
//!
//! `layout` is the format, `place` and `anchor` where it stands, `control` and `claim` how a process gets in, `boot` what happens
//! after a restart of the machine, `slot` and `map` the memory. Only `map` and `slot` touch raw memory.

pub mod anchor;
pub mod boot;
pub mod claim;
pub mod control;
pub mod layout;
pub mod map;
pub mod place;
pub mod slot;
