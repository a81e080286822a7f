//! The command as a user runs it: one binary of tests, by topic.

mod options;
mod pipe;
mod recover;
mod room;
mod signals;
mod status;
mod support;
mod targets;
