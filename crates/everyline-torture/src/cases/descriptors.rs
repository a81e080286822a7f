//! All descriptors closed under a live process, as daemonizers do, and their numbers given to other files: logging goes
//! on, and nothing is written to what is not ours.

use std::io;
use std::time::Duration;

use super::{Arena, Case};
use crate::oracle::Expect;
use crate::plan::Act;

pub const CASE: Case = Case { name: "descriptors", shares: [2, 2], run };

fn run(arena: &mut Arena) -> io::Result<()> {
    let mut turn = 0;
    while turn < 2 || arena.has_time() {
        let mut plan = arena.plan();
        // Write-through only: a background thread may be opening or closing a file in that very moment, and a number
        // that is closed under it may be given out again before it closes it itself.
        plan.deferred = false;
        plan.max_bytes = Some(50_000);
        let expect = Expect { max_bytes: plan.max_bytes, ..Expect::default() };
        let mut round = arena.round(plan)?;
        round.spawn(|plan| plan.act = Act::Close, None)?;
        round.spawn(|plan| plan.act = Act::Close, None)?;
        round.spawn(|_| {}, None)?;
        std::thread::sleep(Duration::from_millis(600));
        round.reap();
        round.stop();
        round.recover()?;
        arena.close(round, expect)?;
        turn += 1;
    }
    Ok(())
}
