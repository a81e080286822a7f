//! What an application that takes part in rotation asks of the engine: steps of its own under the lease, the state of
//! the live file at a glance, the right to treat archives, and whether other processes have other settings.
//!
//! Promise: nothing here waits. A step runs at once or not at all. The right to treat archives belongs to one appender
//! at a time, of all processes, and ends with it (a POSIX record lock between processes: a forked child does not have it;
//! a table within one, since such locks do not keep threads apart, and go with any descriptor that is closed).

use std::collections::HashMap;
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

/// The rights of this process: by the inner directory of the journal. A forked child finds it empty.
static RIGHTS: ForkCell<HashMap<(u64, u64), Held>> = ForkCell::new();

/// What keeps a right: the descriptor with the lock, and the directory, so that its inode is not another's.
#[derive(Debug)]
struct Held(#[expect(dead_code, reason = "held open")] OwnedFd, #[expect(dead_code, reason = "held open")] OwnedFd);

/// The right to treat archives; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Right {
    journal: (u64, u64),
}

impl Right {
    fn take(env: &Real) -> Result<Option<Self>> {
        let shared = &env.place.shared;
        let mut rights = RIGHTS.lock();
        // Before anything is opened: closing it again would end the lock.
        if rights.contains_key(&shared.id()) {
            return Ok(None);
        }
        let fail = |e: std::io::Error| Error::os("lock", env.place.path.join(MAINTENANCE), e);
        let flags = OFlags::RDWR | OFlags::CREATE;
        let fd = os::open_at(shared.fd(), MAINTENANCE, flags, 0o666).map_err(fail)?;
        let _ = rustix::fs::fchmod(&fd, rustix::fs::Mode::from_raw_mode(0o666));
        match rustix::fs::fcntl_lock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let directory = rustix::io::fcntl_dupfd_cloexec(shared.fd(), 0).map_err(|e| fail(e.into()))?;
                rights.insert(shared.id(), Held(fd, directory));
                Ok(Some(Self { journal: shared.id() }))
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
            Err(e) => Err(fail(e.into())),
        }
    }
}

impl Drop for Right {
    fn drop(&mut self) {
        RIGHTS.lock().remove(&self.journal);
    }
}

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
    /// nothing there is a log made anew. `act` may append: such records are written when it has ended, and
    /// [`flush`](Self::flush) does not wait for them. It may fork, and it may panic: that ends the step.
    ///
    /// A step does not wait for itself. In it a record for which there is no room is dropped and counted, also under
    /// [`Full::Block`](crate::Full::Block); a [`rotate`](Self::rotate) or [`reopen`](Self::reopen) is refused; a
    /// [`sync`](Self::sync), and an append that the fsync policy wants on disk, return `TimedOut`: the record is accepted,
    /// and is not on disk yet. `None` is also the answer to a step within a step.
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
        let engine = self.engine_for("set the time of rotation of")?;
        let control = engine.env.control();
        control.file.rollover_at.store(unix_s, Ordering::Relaxed);
        // Else the next batch reckons anew, if settings were replaced since the last one.
        let version = control.wishes.settings_version.load(Ordering::Acquire);
        control.file.rollover_for.store(version.wrapping_add(1), Ordering::Relaxed);
        Ok(())
    }

    /// Takes the right to treat archives; false if somebody has it, be it this appender. It ends with
    /// [`end_maintenance`](Self::end_maintenance), with the appender, and with the process.
    ///
    /// # Errors
    /// `NotRotatable` where there is no journal; what the system says of the lock.
    pub fn begin_maintenance(&self) -> Result<bool> {
        let engine = self.engine_for("treat archives of")?;
        let Some(right) = Right::take(&engine.env)? else { return Ok(false) };
        // One that it has in a journal that was replaced is of no use to anybody.
        let earlier = self.maintenance.lock().replace(right);
        drop(earlier);
        Ok(true)
    }

    /// Gives it back, if this appender has it.
    pub fn end_maintenance(&self) {
        let right = self.maintenance.lock().take();
        drop(right);
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
