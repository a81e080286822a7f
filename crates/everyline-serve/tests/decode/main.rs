//! Decoders against what is meant well, and what is not.

mod frames;
mod pickle;
mod syslog_and_json;
