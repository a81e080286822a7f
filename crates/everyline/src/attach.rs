//! Attaching to a log, and leaving it: one engine for each log in a process, however many appenders name it.
//!
//! Promise: two appenders of one process on one log (by whatever path) share one engine. The last process that leaves
//! a log with nothing undelivered removes its journal; nobody else does.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use rustix::fs::{AtFlags, OFlags};

use crate::apart::Apart;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::ForkCell;
use crate::heirloom::{self, Item};
use crate::hooks;
use crate::journal::claim::{claim, map_slot, mapping_keeps_lock};
use crate::journal::control::{self, ControlFile, load2};
use crate::journal::layout::{BYTE_ORDER, CONTROL_BYTES, Control, LAYOUT_VERSION, MAGIC, READY, SLOTS};
use crate::journal::map::Map;
use crate::journal::place::{Log, Place};
use crate::journal::slot::Slot;
use crate::options::Options;
use crate::os::{self, Handle, Transient};
use crate::protocol::commit::{Committer, Effort};
use crate::protocol::env::Env;
use crate::protocol::lease::State;
use crate::real::Real;

/// Tries at a journal that others build and remove at the same time.
const TRIES: u32 = 200;

/// Device and inode of the log's directory, and the log's name in it.
type Key = ((u64, u64), String);

/// The engines of this process. A forked child finds it empty.
static ENGINES: ForkCell<HashMap<Key, Weak<Engine>>> = ForkCell::new();

/// Finds or makes this process's engine for a log.
pub fn attach(path: &Path, options: &Options) -> Result<Arc<Engine>> {
    hooks::install();
    let log = Log::find(path)?;
    let key = (log.directory.id(), log.name.clone());
    let mut engines = ENGINES.lock();
    if let Some(engine) = engines.get(&key).and_then(Weak::upgrade)
        && !engine.env.is_lost()
    {
        engine.apart.put_settings_in_force(&engine.env, options);
        return Ok(engine);
    }
    let (env, first) = enter(log, options).inspect_err(|_| discard_half_built(path))?;
    let apart = Apart::default();
    apart.put_settings_in_force(&env, options);
    if first && options.truncate {
        truncate(&env)?;
    }
    Committer::<Real>::attached(&env);
    let engine = Arc::new(Engine::new(env, options.clone(), apart));
    engine.thread.bind(&engine);
    engines.retain(|_, engine| engine.strong_count() > 0);
    engines.insert(key, Arc::downgrade(&engine));
    drop(engines);
    // A dead holder's batch, or what dead processes published: delivered before our first record.
    engine.commit(Effort::Force);
    engine.starts_here();
    Ok(engine)
}

/// The engine that this process has for a log already.
pub fn existing(path: &Path) -> Option<Arc<Engine>> {
    let log = Log::find(path).ok()?;
    ENGINES.lock().get(&(log.directory.id(), log.name)).and_then(Weak::upgrade)
}

/// Engines of this process that are alive.
pub fn engines() -> Vec<Arc<Engine>> {
    ENGINES.lock().values().filter_map(Weak::upgrade).collect()
}

fn enter(log: Log, options: &Options) -> Result<(Real, bool)> {
    let key = heirloom::key(log.directory.id(), &log.name);
    check_target(&log, heirloom::has(key, Item::Log))?;
    let mut inherited = heirloom::copy(key, Item::Shared);
    let path = log.path.clone();
    for _ in 0..TRIES {
        let place = match Place::open(&log, options.journal_dir.as_deref(), true) {
            Err(e) if e.raw_os_error() == Some(libc::EACCES) && inherited.is_some() => {
                Place::inherited(&log, inherited.take().expect("checked"))?
            }
            other => other?,
        };
        let Some(mut control) = ControlFile::attach(&log, &place, options.ring_bytes)? else { continue };
        let pinned = mapping_keeps_lock(&place)?;
        if pinned {
            // From here on the mapping holds the shared lock.
            control.lock = None;
        }
        let claim = claim(&place, &control, pinned)?;
        if !control.is_current(&place) {
            continue;
        }
        let first = control.words().wishes.high_water.load(Ordering::Relaxed) <= 1
            && control.words().file.epoch.load(Ordering::Relaxed) == 0;
        heirloom::keep(key, Item::Shared, &place.shared);
        let real = Real::new(log, place, control, claim, key);
        check_engines_apart(&real)?;
        return Ok((real, first));
    }
    Err(Error::new(
        ErrorKind::JournalUnsettled,
        "attach to",
        &path,
        "its journal is being built and removed all the time",
    ))
}

/// A process that could not attach leaves nothing behind that nobody uses.
fn discard_half_built(path: &Path) {
    if let Ok(log) = Log::find(path)
        && let Ok(place) = Place::open(&log, None, false)
    {
        let _ = remove_if_unused(&log, &place.parent);
    }
}

/// A journal is for regular files; everything else was sorted out by the appender.
fn check_target(log: &Log, inherits: bool) -> Result<()> {
    match os::meta(log.directory.fd(), &log.name) {
        Ok((_, kind)) if kind.is_dir() => {
            let hint = "this is a directory; give the name of a file in it";
            Err(Error::new(ErrorKind::InvalidTarget, "open log", &log.path, hint))
        }
        Ok((_, kind)) if !kind.is_file() => {
            Err(Error::new(ErrorKind::InvalidTarget, "open log", &log.path, "this is not a regular file"))
        }
        // The journal is of no use to a process that cannot write the log; better to hear it now.
        Ok(_) => match os::open_at(log.directory.fd(), &log.name, OFlags::RDWR | OFlags::APPEND, 0) {
            // Rotated away since: whoever is at it makes a new one.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) if !(e.raw_os_error() == Some(libc::EACCES) && inherits) => Err(Error::os("open log", &log.path, e)),
            _ => Ok(()),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::os("stat log", &log.path, e)),
    }
}

/// Two journals on one file (hard links in two directories, say) would be two engines that rotate against each other.
/// Every engine holds a shared mark on the log that depends on where its journal stands; another engine's mark is seen.
/// (On the place, not on the journal's uuid: a journal that is deleted and built anew is the same engine going on.)
fn check_engines_apart(env: &Real) -> Result<()> {
    let Ok(file) = env.open(&env.log.name) else { return Ok(()) };
    match crate::mark::set(file.fd(), env.place.key()) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let hint = "another everyline journal is in use for this very file, reached by another name (a hard link, \
                        or another journal_dir); use one name";
            Err(Error::new(ErrorKind::ForeignJournal, "open log", &env.log.path, hint))
        }
        // File systems without open-file-description locks: no mark, no check.
        Err(_) => Ok(()),
    }
}

/// `truncate`, by the first process only: the others would empty what the first has written.
fn truncate(env: &Real) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::TRUNC;
    match os::open_at(env.log.directory.fd(), &env.log.name, flags, 0) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::os("truncate", &env.log.path, e)),
    }
}

/// Leaves a log: drains, and says that the slot is free. The slot's lock goes with the mapping, when `env` is dropped;
/// then [`Leaving`], the engine's last field, removes the journal if nobody needs it.
impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.drain();
        if self.env.is_lost() {
            return;
        }
        let me = self.env.me();
        let claimed = &self.env.control().claimed[usize::from(me) / 64];
        claimed.fetch_and(!(1 << (me % 64)), Ordering::Relaxed);
        self.leaving = Leaving(Leaving::prepare(&self.env).ok());
    }
}

/// Removes the journal when it is dropped, if nobody is attached any more.
#[derive(Debug, Default)]
pub struct Leaving(Option<(Log, Handle)>);

impl Leaving {
    fn prepare(env: &Real) -> std::io::Result<(Log, Handle)> {
        let copy = |handle: &Handle| Handle::new(rustix::io::fcntl_dupfd_cloexec(handle.fd(), 0)?);
        let directory = copy(&env.log.directory)?;
        let log = Log { directory, name: env.log.name.clone(), path: env.log.path.clone() };
        Ok((log, copy(&env.place.parent)?))
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some((log, parent)) = &self.0 {
            // Best effort: what stays behind is found, and used or removed, by the next process.
            let _ = remove_if_unused(log, parent);
        }
    }
}

/// Removes the journal if no process is attached and nothing is undelivered. True if it did.
pub fn remove_if_unused(log: &Log, parent: &Handle) -> std::io::Result<bool> {
    let Ok(place) = Place::open(log, None, false) else { return Ok(false) };
    let Ok(fd) = os::open_at(place.shared.fd(), control::NAME, OFlags::RDWR, 0) else { return Ok(false) };
    let fd = Transient::new(fd)?;
    if !os::try_flock(fd.fd(), true)? || !place.is_current() {
        return Ok(false);
    }
    match Map::shared(fd.fd(), CONTROL_BYTES, false) {
        Ok(map) if has_undelivered(&place, control::view(&map)) => return Ok(false),
        // Half built: shorter than a control file.
        Err(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => return Ok(false),
        _ => {}
    }
    let aside = place.set_aside("gone")?;
    remove_tree(parent, &aside)?;
    let _ = place.remove_anchor(log);
    Ok(true)
}

/// True if a ring, an overflow file or a note still holds something.
pub fn has_undelivered(place: &Place, words: &Control) -> bool {
    let identity = &words.identity;
    let is = |word: &AtomicU64, value| word.load(Ordering::Relaxed) == value;
    if is(&identity.magic, MAGIC.swap_bytes()) {
        return true;
    }
    if identity.ready.load(Ordering::Acquire) != READY || !is(&identity.magic, MAGIC) {
        return false;
    }
    // Another layout, another architecture: not ours to judge, so it is kept.
    if !is(&identity.version, LAYOUT_VERSION) || !is(&identity.byte_order, BYTE_ORDER) || !is(&identity.incompatible, 0)
    {
        return true;
    }
    if words.lease.load().state() != State::Free {
        return true;
    }
    let high = (words.wishes.high_water.load(Ordering::Acquire) as usize).min(SLOTS) as u16;
    let ring_bytes = words.identity.ring_bytes.load(Ordering::Relaxed);
    if !ring_bytes.is_power_of_two() || ring_bytes > crate::options::RING_BYTES_MAX {
        return false;
    }
    let uuid = load2(&words.identity.uuid);
    use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    (0..high).any(|slot| match map_slot(place, uuid, ring_bytes, slot, false) {
        Ok(slot) => backlog(&slot) != (0, 0),
        // No slot, or none of ours. Any other error means that it cannot be seen now, and so must be kept.
        Err(e) => !matches!(e.kind(), NotFound | InvalidData | UnexpectedEof),
    })
}

/// Ring and overflow bytes that are published and not taken.
pub fn backlog(slot: &Slot) -> (u64, u64) {
    let words = slot.header();
    let ring = words.producer.head.load(Ordering::Acquire).wrapping_sub(words.consumer.tail.load(Ordering::Acquire));
    let over =
        words.producer.over_len.load(Ordering::Acquire).wrapping_sub(words.consumer.over_tail.load(Ordering::Acquire));
    (ring, over)
}

/// Removes a journal that was set aside: two levels of directories, nothing deeper.
pub fn remove_tree(parent: &Handle, name: &str) -> std::io::Result<()> {
    use std::os::fd::AsFd;
    let outer = os::open_directory(parent.fd(), name)?;
    for inner_name in os::names(outer.as_fd(), "")? {
        if let Ok(inner) = os::open_directory(outer.as_fd(), &inner_name) {
            for file in os::names(inner.as_fd(), "")? {
                rustix::fs::unlinkat(&inner, file.as_str(), AtFlags::empty())?;
            }
            rustix::fs::unlinkat(&outer, inner_name.as_str(), AtFlags::REMOVEDIR)?;
        }
    }
    Ok(rustix::fs::unlinkat(parent.fd(), name, AtFlags::REMOVEDIR)?)
}
