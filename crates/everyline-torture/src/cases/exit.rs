//! Processes that end, replace their image, or fork, in one thread while other threads log: `_exit` and `execve` stop a
//! writing thread in the middle like a SIGKILL does, and a child finds whatever its parent's threads were just doing.

use std::io;
use std::time::{Duration, Instant};

use super::{Arena, Case};
use crate::oracle::Expect;
use crate::plan::Act;

pub const CASE: Case = Case { name: "exit", shares: [5, 4], run };

const ACTS: &[Act] = &[Act::Exit, Act::Exec, Act::Fork, Act::Clone];

fn run(arena: &mut Arena) -> io::Result<()> {
    let mut turn = 0;
    while turn < ACTS.len() || arena.has_time() {
        let act = ACTS[turn % ACTS.len()];
        let mut plan = arena.plan();
        plan.act = act;
        plan.threads = if act == Act::Clone { 1 } else { 3 };
        // The raw call is for processes with one thread; deferred mode and compression have a second one.
        plan.deferred = act != Act::Clone && arena.rng.one_in(2);
        plan.compress = act != Act::Clone && arena.rng.one_in(2);
        plan.max_bytes = Some(60_000);
        let expect = Expect { max_bytes: plan.max_bytes, ..Expect::default() };
        let mut round = arena.round(plan)?;
        let until = Instant::now() + Duration::from_millis(450);
        while Instant::now() < until {
            while round.children.len() < 2 {
                round.spawn(|_| {}, None)?;
            }
            std::thread::sleep(Duration::from_millis(1));
            round.reap();
        }
        round.stop();
        round.recover()?;
        arena.close(round, expect)?;
        turn += 1;
    }
    Ok(())
}
