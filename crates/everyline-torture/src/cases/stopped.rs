//! The lease holder is stopped (SIGSTOP), also in the middle of a rotation, while the others go on at a normal rate: no
//! call may take longer than the bound that the user has set, and nothing is lost.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use everyline::LeaseState;
use rustix::process::Signal;

use super::{Arena, Case};
use crate::oracle::Expect;
use crate::plan::Sizes;
use crate::round::{Round, journal_of};

pub const CASE: Case = Case { name: "stopped", shares: [5, 4], run };

/// Records per second of each process, of 200 bytes.
const RATE: u64 = 1000;
/// The bound that the processes set.
const WAIT: Duration = Duration::from_millis(1000);
/// For a machine with fewer cores than processes.
const SLACK: Duration = Duration::from_millis(400);
/// Tries to catch a holder at work: it works for microseconds.
const CATCH: Duration = Duration::from_secs(6);
/// Where a slot file has the phase of its note, and the phase of a rotation (`docs/design.md`).
const PHASE: (u64, u64) = (4096, 3);

fn run(arena: &mut Arena) -> io::Result<()> {
    // One of them on disk and the other in memory, if there is time for only one.
    let mut across = arena.second_ground;
    while arena.has_time() {
        let mut plan = arena.plan();
        plan.sizes = Sizes::Plain;
        plan.rate = RATE;
        plan.ring_bytes = 256 << 10;
        plan.wait_ms = WAIT.as_millis() as u64;
        plan.max_bytes = Some(if across { 1_500 } else { 100_000 });
        let expect = Expect { max_bytes: plan.max_bytes, ..Expect::default() };
        let mut round = arena.round(plan)?;
        round.spawn_all(arena.processes.max(3))?;
        std::thread::sleep(Duration::from_millis(150));
        let caught = match catch(arena, &mut round, across)? {
            None if across => catch(arena, &mut round, false)?,
            caught => caught,
        };
        match caught {
            Some(holder) => hold(arena, &mut round, holder),
            None => arena.note("no process could be stopped while it held the lease"),
        }
        round.stop();
        round.recover()?;
        arena.close(round, expect)?;
        across = !across;
    }
    Ok(())
}

/// Stops processes at random until one of them holds the lease.
fn catch(arena: &mut Arena, round: &mut Round, rotating: bool) -> io::Result<Option<usize>> {
    let until = Instant::now() + CATCH;
    while Instant::now() < until {
        let index = arena.rng.range(0, round.children.len() as u64) as usize;
        round.signal(index, Signal::STOP);
        let pid = round.pid(index).as_raw_nonzero().get();
        while !is_stopped(pid)? {
            std::hint::spin_loop();
        }
        if let Ok(status) = everyline::status(&round.plan.log)
            && status.lease.state == LeaseState::Held
            && status.lease.pid == pid as u32
            && (!rotating || is_rotating(round, status.lease.slot)?)
        {
            return Ok(Some(index));
        }
        round.signal(index, Signal::CONT);
        std::thread::sleep(Duration::from_micros(arena.rng.range(50, 400)));
    }
    Ok(None)
}

fn is_stopped(pid: i32) -> io::Result<bool> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}

fn is_rotating(round: &Round, slot: u16) -> io::Result<bool> {
    let path = journal_of(&round.plan.log).join("shared").join(format!("slot-{slot:04}"));
    let mut word = [0; 8];
    fs::File::open(path)?.read_exact_at(&mut word, PHASE.0)?;
    Ok(u64::from_ne_bytes(word) == PHASE.1)
}

/// Keeps the holder stopped, and looks at the others meanwhile.
fn hold(arena: &Arena, round: &mut Round, holder: usize) {
    for who in 0..round.ledger.writers() {
        round.ledger.entry(who).forget_slowest();
    }
    let before = round.ledger.accounts();
    std::thread::sleep(arena.stop);
    let after = round.ledger.accounts();
    round.signal(holder, Signal::CONT);
    let mut done: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a.acked - b.acked).collect();
    done.sort_unstable();
    // The lowest is the one that was stopped.
    let least = (arena.stop.saturating_sub(WAIT)).as_millis() as u64 * RATE / 1000 / 2;
    if done[1..].iter().any(|n| *n < least) {
        round.conduct(format!("frozen: with a stopped holder the others logged {:?} records, not {least}", &done[1..]));
    }
    let slowest = Duration::from_nanos(after.iter().map(|a| a.slowest_ns).max().unwrap_or(0));
    if slowest > WAIT + SLACK {
        round.conduct(format!("frozen: with a stopped holder a call took {slowest:?}, the bound is {WAIT:?}"));
    }
}
