//! A small file system that fills up and gets room again: what was accepted is in the log, in order, and what had to be
//! dropped is announced there with its count. With the journal elsewhere nothing needs to be dropped at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{Arena, Case};
use crate::oracle::Expect;
use crate::round::Round;

pub const CASE: Case = Case { name: "disk", shares: [6, 0], run };

/// Size of the file system.
const SIZE: &str = "size=8m";
/// Files that are deleted one by one to make room.
const BALLAST: usize = 4;
const BALLAST_BYTES: usize = 1 << 20;

fn run(arena: &mut Arena) -> io::Result<()> {
    let mut turn = 0;
    while turn < 2 || arena.has_time() {
        let small = arena.directory.join("small");
        fs::create_dir_all(&small)?;
        if let Err(e) = mount_small(arena, &small) {
            arena.note(format!("skipped: no small file system can be mounted here ({e})"));
            return Ok(());
        }
        let before = arena.total.damage.len();
        fill_and_free(arena, &small, turn % 2 == 1)?;
        if arena.total.damage.len() > before {
            let kept = arena.directory.join(format!("kept-{turn}"));
            Command::new("cp").arg("-a").arg(&small).arg(kept).status()?;
        }
        unmount(&small, UnmountFlags::DETACH)?;
        turn += 1;
    }
    Ok(())
}

fn mount_small(arena: &Arena, at: &Path) -> io::Result<()> {
    if !arena.mounts {
        return Err(io::Error::other("no mounts of our own"));
    }
    let data = std::ffi::CString::new(SIZE)?;
    Ok(mount("tmpfs", at, "tmpfs", MountFlags::empty(), data.as_c_str())?)
}

fn fill_and_free(arena: &mut Arena, small: &Path, journal_elsewhere: bool) -> io::Result<()> {
    for n in 0..BALLAST {
        File::create(small.join(format!("ballast-{n}")))?.write_all(&vec![1; BALLAST_BYTES])?;
    }
    let mut plan = arena.plan();
    plan.wait_ms = 150;
    plan.max_bytes = Some(300_000);
    plan.rate = if journal_elsewhere { 900 } else { 1500 };
    plan.deferred = arena.rng.one_in(3);
    if journal_elsewhere {
        plan.journal_dir = Some(arena.directory.clone());
    }
    let mut round = arena.round_on(&small.join("log"), plan)?;
    round.spawn_all(arena.processes)?;
    for n in 0..BALLAST - 2 {
        wait_until_full(&mut round, small);
        std::thread::sleep(Duration::from_millis(400));
        fs::remove_file(small.join(format!("ballast-{n}")))?;
    }
    wait_until_full(&mut round, small);
    round.stop();
    for n in BALLAST - 2..BALLAST {
        fs::remove_file(small.join(format!("ballast-{n}")))?;
    }
    round.recover()?;
    let dropped: u64 = round.ledger.accounts().iter().map(|a| a.dropped).sum();
    if journal_elsewhere && dropped > 0 {
        round.conduct(format!("{dropped} records were dropped although the journal had room"));
    }
    arena.close(round, Expect { announced: true, ..Expect::default() })
}

fn wait_until_full(round: &mut Round, small: &Path) {
    let full = |_: &mut Round| rustix::fs::statvfs(small).is_ok_and(|s| s.f_bavail < 2);
    if !round.wait_for(Duration::from_secs(6), full) {
        round.conduct("the small file system does not fill up");
    }
}
