//! The protocol, run in the simulated world with everything that can go wrong, and judged by an oracle.
//!
//! Where to look: `harness` runs a script with faults, `oracle` says what the files must hold. `crash` kills at every
//! point and at pairs of points, `errors` fails every operation, `foreign` lets others touch the files, `corrupt` fills
//! shared memory with garbage, `mutations` breaks one rule at a time to show that the oracle notices, `cases` holds the
//! single scenarios.

mod cases;
mod corrupt;
mod crash;
mod errors;
mod foreign;
mod harness;
mod mutations;
mod oracle;
