//! What an application that takes part in rotation asks of the engine: steps of its own under the lease, the state of
//! the live file at a glance, the right to treat archives, and whether other processes have other settings.
//!
//! Promise: nothing here waits. A step runs at once or not at all. The right to treat archives belongs to one appender
//! at a time, of all processes, and goes with its process (a POSIX record lock: a forked child does not have it).

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use rustix::fs::{FlockOperation, OFlags};

use crate::appender::Appender;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::ForkCell;
use crate::journal::layout::SLOTS;
use crate::options::Options;
use crate::os;
use crate::protocol::env::{Env, Settings};
use crate::real::Real;

/// Name of the file whose lock is the right to treat archives.
const MAINTENANCE: &str = "maintenance";

/// The live file at a glance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// Changes of the live file.
    pub epoch: u64,
    /// Rotations done since the journal was built.
    pub rotations: u64,
    /// Next rotation by time, Unix time in s; 0: none is set.
    pub rollover_at: u64,
}

/// Settings that this process replaced while another one lived by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// What was in force, as keys and values.
    pub before: Vec<(String, String)>,
    /// What is now.
    pub now: Vec<(String, String)>,
}

/// An engine's part in it.
#[derive(Debug, Default)]
pub struct Apart {
    mine: ForkCell<Option<Settings>>,
    conflict: ForkCell<Option<Conflict>>,
    maintenance: ForkCell<Option<OwnedFd>>,
}

impl Apart {
    /// The newest settings win. Those of another process that lives are kept, to be told about.
    pub(crate) fn put_settings_in_force(&self, env: &Real, options: &Options) {
        let now = Settings::of(options);
        let mine = self.mine.lock().replace(now.clone());
        // Best effort: a full disk here must not stop a process from logging under the settings that are in force.
        let Ok(Some(before)) = now.put_in_force(&env.place, env.control()) else { return };
        if mine.as_ref() != Some(&before) && others_live(env) {
            *self.conflict.lock() = Some(Conflict { before: before.pairs(), now: now.pairs() });
        }
    }

    fn begin_maintenance(&self, env: &Real) -> Result<bool> {
        let mut held = self.maintenance.lock();
        if held.is_some() {
            return Ok(false);
        }
        let fail = |e: std::io::Error| Error::os("lock", env.place.path.join(MAINTENANCE), e);
        let flags = OFlags::RDWR | OFlags::CREATE;
        let fd = os::open_at(env.place.shared.fd(), MAINTENANCE, flags, 0o666).map_err(fail)?;
        let _ = rustix::fs::fchmod(&fd, rustix::fs::Mode::from_raw_mode(0o666));
        match rustix::fs::fcntl_lock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                *held = Some(fd);
                Ok(true)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(false),
            Err(e) => Err(fail(e.into())),
        }
    }
}

/// True if another process is attached and alive.
fn others_live(env: &Real) -> bool {
    let claimed =
        |slot: u16| env.control().claimed[usize::from(slot) / 64].load(Ordering::Relaxed) >> (slot % 64) & 1 == 1;
    let high = (env.control().wishes.high_water.load(Ordering::Acquire) as usize).min(SLOTS) as u16;
    (0..high).any(|slot| slot != env.me() && claimed(slot) && env.prove_dead(slot).is_none())
}

impl Appender {
    /// Runs `act` while no process writes to the log or changes a name, if that can be had at once; `None` if not. What
    /// this process has appended before is in the file by then. Whatever stands at the path afterwards is the log, and
    /// nothing there is a log made anew. `act` may append: such records are written when it has ended. It may fork.
    ///
    /// # Errors
    /// `NotRotatable` where there is no journal.
    pub fn try_exclusive<R>(&self, act: impl FnOnce() -> R) -> Result<Option<R>> {
        Ok(self.engine_for("rotate")?.try_exclusive(act).ok())
    }

    /// The state of the live file; attaches. `None` without a journal.
    pub fn glance(&self) -> Option<Glance> {
        let engine = self.attached().ok().flatten()?;
        let control = engine.env.control();
        Some(Glance {
            epoch: control.file.epoch.load(Ordering::Acquire),
            rotations: control.trouble.rotations.load(Ordering::Relaxed),
            rollover_at: control.file.rollover_at.load(Ordering::Relaxed),
        })
    }

    /// Sets when the next rotation by time is due, for all processes.
    ///
    /// # Errors
    /// `NotRotatable` where there is no journal.
    pub fn set_rollover_at(&self, unix_s: u64) -> Result<()> {
        self.engine_for("set the time of rotation of")?.env.control().file.rollover_at.store(unix_s, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the right to treat archives; false if somebody has it.
    ///
    /// # Errors
    /// `NotRotatable` where there is no journal; what the system says of the lock.
    pub fn begin_maintenance(&self) -> Result<bool> {
        let engine = self.engine_for("treat archives of")?;
        engine.apart.begin_maintenance(&engine.env)
    }

    /// Gives it back.
    pub fn end_maintenance(&self) {
        if let Some(engine) = self.engine() {
            // Closing the descriptor gives the lock back; it is the only one of this process on that file.
            drop(engine.apart.maintenance.lock().take());
        }
    }

    /// Settings of a living process that this one has replaced since it was last asked.
    pub fn take_conflict(&self) -> Option<Conflict> {
        self.engine()?.apart.conflict.lock().take()
    }

    fn engine_for(&self, operation: &'static str) -> Result<std::sync::Arc<Engine>> {
        let refuse =
            || Error::new(ErrorKind::NotRotatable, operation, self.path(), "there is no journal for this target");
        self.attached()?.ok_or_else(refuse)
    }
}
