//! The engine from outside: every promise of the crate that can be seen through its public face, on the real system.
//!
//! One binary, one module for each topic. The names of the tests are the properties. What needs root, or a mount
//! namespace of its own, says so on stderr and passes where it cannot be had.

mod attaching;
mod bad_input;
mod descriptors;
mod devices;
mod durability;
mod exclusive;
mod foreign;
mod forking;
mod full;
mod golden;
mod identity;
mod liveness;
mod long_names;
mod privileges;
mod records;
mod remounts;
mod rotation;
mod sharing;
mod steps;
mod support;
mod upkeep;
