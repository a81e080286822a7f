//! One rule of the protocol is broken at a time, and the oracle must notice: a test that cannot fail proves nothing.
//!
//! The rules are broken in the world or in what a process finds there, never in the protocol's code. Each test goes over
//! all points of death until the first one that shows the violation.

use super::super::sim::disk::Foreign;
use super::super::sim::{Mutation, Plan};
use super::harness::{Act, LONG, Recovery, Run, SHORT, UPKEEP, numbered};
use super::oracle::{Rules, audit};

/// What the oracle says of the first plan that shows the mutation.
fn first_violation(rule: Mutation, recovery: Recovery, script: &[Act], plans: impl Fn(u64) -> Plan) -> Option<String> {
    (0..400).find_map(|i| {
        let mut run = Run::new(numbered(), plans(i), recovery, Some(rule));
        run.script(script);
        let text = audit(&run.world, Rules::default()).err()?;
        println!("{rule:?}: {text} ({:?})", plans(i));
        Some(text)
    })
}

fn deaths(point: u64) -> Plan {
    Plan { crash_at: Some(point), ..Plan::default() }
}

fn no_fault(_: u64) -> Plan {
    Plan::default()
}

#[test]
fn a_recovery_that_forgets_the_note_is_noticed() {
    assert!(first_violation(Mutation::ForgetNote, Recovery::Other, LONG, deaths).is_some());
    assert!(first_violation(Mutation::ForgetNote, Recovery::Same, LONG, deaths).is_some());
}

#[test]
fn a_recovery_that_gathers_again_from_the_rings_is_noticed() {
    assert!(first_violation(Mutation::ForgetWritten, Recovery::Other, LONG, deaths).is_some());
}

#[test]
fn an_attach_that_resets_the_note_of_the_slot_the_lease_names_is_noticed() {
    assert!(first_violation(Mutation::AttachResetsNote, Recovery::Same, LONG, deaths).is_some());
}

#[test]
fn an_attach_that_does_not_mark_its_ring_is_noticed() {
    assert!(first_violation(Mutation::AttachDoesNotMark, Recovery::Other, LONG, deaths).is_some());
}

#[test]
fn a_takeover_that_trusts_the_dirty_bits_is_noticed() {
    assert!(first_violation(Mutation::TrustDirtyBits, Recovery::Other, LONG, deaths).is_some());
}

#[test]
fn a_takeover_that_believes_an_unfinished_batch_is_noticed() {
    assert!(first_violation(Mutation::BelieveWritten, Recovery::Other, LONG, deaths).is_some());
}

#[test]
fn a_takeover_that_writes_the_batch_again_is_noticed() {
    assert!(first_violation(Mutation::WriteAgain, Recovery::Other, LONG, deaths).is_some());
}

#[test]
fn a_rename_that_replaces_is_noticed() {
    let archive = |i| Plan { foreign: Some((i, Foreign::MakeArchive("app.log.1"))), ..Plan::default() };
    assert!(first_violation(Mutation::RenameReplaces, Recovery::Other, LONG, archive).is_some());
}

#[test]
fn a_publish_that_does_not_mark_is_noticed() {
    assert!(first_violation(Mutation::NoMark, Recovery::Other, SHORT, no_fault).is_some());
}

#[test]
fn a_producer_that_returns_to_the_ring_too_early_is_noticed() {
    assert!(first_violation(Mutation::RingBeforeOverflow, Recovery::Other, LONG, no_fault).is_some());
}

#[test]
fn a_head_that_is_stored_before_the_bytes_is_noticed() {
    assert!(first_violation(Mutation::HeadFirst, Recovery::Other, LONG, deaths).is_some());
}

#[test]
fn a_takeover_that_forgets_a_chore_is_noticed() {
    let text = first_violation(Mutation::ForgetChore, Recovery::Other, UPKEEP, deaths).unwrap();
    assert!(text.contains("stand there twice"), "{text}");
}
