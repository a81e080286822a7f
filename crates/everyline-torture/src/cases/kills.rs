//! SIGKILL at random instants; the dead are replaced at once, so their slots are taken over. In between, and in the end,
//! all die together and `recover` finishes what they left.

use std::io;
use std::time::{Duration, Instant};

use super::{Arena, Case};
use crate::oracle::Expect;
use crate::plan::{Names, Plan, Sizes};
use crate::round::Round;

pub const CASE: Case = Case { name: "kills", shares: [14, 9], run };

/// A round ends after this many accepted bytes: the oracle reads them all.
const BYTES: u64 = 48 << 20;

fn run(arena: &mut Arena) -> io::Result<()> {
    let mut number = 0;
    while arena.has_time() {
        let plan = varied(arena, number);
        let expect = Expect { max_bytes: plan.max_bytes, ..Expect::default() };
        let mut round = arena.round(plan)?;
        let span = Duration::from_millis(arena.rng.range(700, 1600));
        for part in 0..2 {
            massacre(arena, &mut round, span)?;
            if part == 1 || arena.rng.one_in(2) {
                round.kill_all();
                round.recover()?;
            }
        }
        arena.close(round, expect)?;
        number += 1;
    }
    Ok(())
}

/// Each round another log.
pub fn varied(arena: &mut Arena, number: u64) -> Plan {
    let mut plan = arena.plan();
    let rng = &mut arena.rng;
    plan.names = [Names::Dated, Names::Numbered, Names::Sequence][number as usize % 3];
    plan.compress = rng.one_in(2);
    plan.link = rng.one_in(3);
    plan.keep = (plan.names == Names::Numbered).then_some(90_000);
    plan.ring_bytes = rng.pick(&[16 << 10, 64 << 10, 256 << 10]);
    // Numbered archives are all renamed at each rotation: a few hundred are enough.
    let limits: &[u64] =
        if plan.keep.is_some() { &[300_000, 1_000_000] } else { &[30_000, 100_000, 300_000, 1_000_000] };
    plan.max_bytes = Some(rng.pick(limits));
    plan.sizes = rng.pick(&[Sizes::Mixed, Sizes::Large, Sizes::Large, Sizes::Pages]);
    plan.period = (!rng.one_in(3)).then_some(1);
    plan.deferred = rng.one_in(3);
    plan.threads = rng.pick(&[1, 1, 2]);
    plan.rate = rng.pick(&[0, 0, 2000]);
    plan
}

pub fn massacre(arena: &mut Arena, round: &mut Round, span: Duration) -> io::Result<()> {
    let until = Instant::now() + span;
    while Instant::now() < until {
        round.reap();
        while round.children.len() < arena.processes as usize {
            // Processes in different modes share one log.
            let other = arena.rng.one_in(4);
            round.spawn(|plan| plan.deferred ^= other, None)?;
        }
        std::thread::sleep(Duration::from_micros(arena.rng.range(200, 25_000)));
        let victim = arena.rng.range(0, round.children.len() as u64) as usize;
        round.kill(victim);
        if round.ledger.progress().1 > BYTES {
            break;
        }
    }
    Ok(())
}
