//! The kills once more on overlayfs, as in a container: there a mapping does not keep the lock of its descriptor.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{Arena, Case, kills};
use crate::oracle::Expect;

pub const CASE: Case = Case { name: "overlay", shares: [3, 0], run };

fn run(arena: &mut Arena) -> io::Result<()> {
    let merged = match mounted(arena) {
        Ok(merged) => merged,
        Err(e) => {
            arena.note(format!("skipped: overlayfs cannot be mounted here ({e})"));
            return Ok(());
        }
    };
    let mut number = 0;
    while number == 0 || arena.has_time() {
        let plan = kills::varied(arena, number);
        let expect = Expect { max_bytes: plan.max_bytes, ..Expect::default() };
        let logs = merged.join(format!("log-{number}"));
        let mut round = arena.round_on(&logs, plan)?;
        kills::massacre(arena, &mut round, Duration::from_millis(1000))?;
        round.kill_all();
        round.recover()?;
        arena.close(round, expect)?;
        number += 1;
    }
    // What a failure leaves stays visible in `upper`.
    unmount(&merged, UnmountFlags::DETACH)?;
    Ok(())
}

fn mounted(arena: &Arena) -> io::Result<std::path::PathBuf> {
    if !arena.mounts {
        return Err(io::Error::other("no mounts of our own"));
    }
    let part = |name: &str| arena.directory.join(name);
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(part(name))?;
    }
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let data =
        format!("lowerdir={},upperdir={},workdir={}", text(&part("lower")), text(&part("upper")), text(&part("work")));
    let data = std::ffi::CString::new(data)?;
    mount("overlay", part("merged"), "overlay", MountFlags::empty(), data.as_c_str())?;
    Ok(part("merged"))
}
