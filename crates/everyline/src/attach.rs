//! Attaching to a log, and leaving it: one engine for each log in a process, however many appenders name it.
//!
//! Promise: two appenders of one process on one log (by whatever path) share one engine. The last process that leaves
//! a log with nothing undelivered removes its journal; nobody else does.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, OFlags};

use crate::apart::Apart;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::fork::ForkCell;
use crate::heirloom::{self, Item};
use crate::hooks;
use crate::journal::claim::{Claim, claim, map_slot, mapping_keeps_lock};
use crate::journal::control::{self, ControlFile, load2};
use crate::journal::layout::{BYTE_ORDER, CONTROL_BYTES, Control, LAYOUT_VERSION, MAGIC, READY, SLOTS};
use crate::journal::map::Map;
use crate::journal::place::{Aside, Log, Place};
use crate::journal::slot::Slot;
use crate::options::Options;
use crate::os::{self, Handle, Transient};
use crate::protocol::commit::{Committer, Effort};
use crate::protocol::env::{Env, Settings};
use crate::protocol::lease::State;
use crate::real::Real;

/// Tries at a journal that others build and remove at the same time; most of them without a pause.
const TRIES: u32 = 400;
const HASTY_TRIES: u32 = 50;

/// Device and inode of the log's directory, and the log's name in it.
type Key = ((u64, u64), String);

/// The engines of this process. A forked child finds it empty.
static ENGINES: ForkCell<Engines> = ForkCell::new();

#[derive(Debug, Default)]
struct Engines {
    by_log: HashMap<Key, Weak<Engine>>,
    /// Their journals were replaced, but an appender that has not noticed yet, or a call under way, still uses them.
    left: Vec<Weak<Engine>>,
}

/// Latest stamp in any slot that this process has left: what it logs in its next one is not older (P4).
static LEFT_AT: AtomicU64 = AtomicU64::new(0);

/// How to attach.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Longest wait for a process that builds or removes the journal.
    pub patience: Duration,
    /// The options are put in force for all; else those in force stay.
    pub governs: bool,
    /// Does not even wait for another thread of this process that is attaching, to whatever log.
    pub hurried: bool,
}

/// Finds or makes this process's engine for a log.
pub fn attach(path: &Path, options: &Options, how: How) -> Result<Arc<Engine>> {
    hooks::install();
    let log = Log::find(path)?;
    let key = (log.directory.id(), log.name.clone());
    let mut engines = if how.hurried {
        let hint = "another thread of this process is attaching at this moment";
        ENGINES.try_lock().ok_or_else(|| Error::new(ErrorKind::TimedOut, "attach to", &log.path, hint))?
    } else {
        ENGINES.lock()
    };
    if let Some(engine) = engines.by_log.get(&key).and_then(Weak::upgrade)
        && !engine.env.is_lost()
    {
        if how.governs {
            engine.apart.put_settings_in_force(&engine.env, options);
        }
        return Ok(engine);
    }
    let env = enter(log, options, how.patience).inspect_err(|_| discard_half_built(path))?;
    let apart = Apart::default();
    if how.governs {
        apart.put_settings_in_force(&env, options);
    }
    env.own().header().producer.last_stamp.fetch_max(LEFT_AT.load(Ordering::Relaxed), Ordering::Relaxed);
    // What its last process left behind consumed and not given back, when it was killed between the two.
    let over_tail = env.own().header().consumer.over_tail.load(Ordering::Relaxed);
    if over_tail != 0 {
        env.overflow_free(env.me(), 0, over_tail);
    }
    Committer::<Real>::attached(&env);
    let engine = Arc::new(Engine::new(env, options.clone(), apart));
    engine.thread.bind(&engine);
    engine.upkeep.bind(&engine);
    let earlier = engines.by_log.insert(key, Arc::downgrade(&engine));
    engines.left.extend(earlier);
    engines.by_log.retain(|_, engine| engine.strong_count() > 0);
    engines.left.retain(|engine| engine.strong_count() > 0);
    drop(engines);
    // A dead holder's batch, or what dead processes published: delivered before our first record.
    engine.commit(Effort::Force);
    engine.starts_here();
    // What a process left that ended before its archives were due.
    engine.upkeep.after_attach(&engine);
    Ok(engine)
}

/// The engine that this process has for a log already.
pub fn existing(path: &Path) -> Option<Arc<Engine>> {
    let log = Log::find(path).ok()?;
    ENGINES.lock().by_log.get(&(log.directory.id(), log.name)).and_then(Weak::upgrade)
}

/// Engines of this process that are alive, also those that were left and are still used.
pub fn engines() -> Vec<Arc<Engine>> {
    let engines = ENGINES.lock();
    engines.by_log.values().chain(&engines.left).filter_map(Weak::upgrade).collect()
}

fn enter(log: Log, options: &Options, patience: Duration) -> Result<Real> {
    let key = heirloom::key(log.directory.id(), &log.name);
    check_target(&log, heirloom::has(key, Item::Log))?;
    let mut inherited = heirloom::copy(key, Item::Shared);
    let until = Instant::now() + patience;
    let mut last = None;
    for tries in 0..TRIES {
        if tries > HASTY_TRIES {
            if Instant::now() >= until {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        match enter_once(&log, options, until, &mut inherited) {
            Ok(Some((place, control, claim))) => {
                heirloom::keep(key, Item::Shared, &place.shared);
                let real = Real::new(log, place, control, claim, key, Settings::of(options));
                check_engines_apart(&real)?;
                return Ok(real);
            }
            Ok(None) => last = None,
            // The last process that left removed the journal between two of our steps; or a directory is missing.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => last = Some(e),
            Err(e) => return Err(e),
        }
    }
    Err(last.unwrap_or_else(|| {
        let hint = "its journal is being built and removed all the time";
        Error::new(ErrorKind::JournalUnsettled, "attach to", &log.path, hint)
    }))
}

/// `None`, or `ENOENT`: the journal went away meanwhile.
fn enter_once(
    log: &Log,
    options: &Options,
    until: Instant,
    inherited: &mut Option<Handle>,
) -> Result<Option<(Place, ControlFile, Claim)>> {
    let place = match Place::find_or_make(log, options.journal_dir.as_deref(), options.mode) {
        Err(e) if e.raw_os_error() == Some(libc::EACCES) && inherited.is_some() => {
            Place::inherited(log, inherited.take().expect("checked"))?
        }
        other => other?,
    };
    // `truncate`, by the first process only, before anybody else can attach: later it would empty what others wrote.
    let first = || if options.truncate { truncate(log) } else { Ok(()) };
    let Some(mut control) = ControlFile::attach(log, &place, options.ring_bytes, until, first)? else {
        return Ok(None);
    };
    let pinned = mapping_keeps_lock(&place)?;
    if pinned {
        // From here on the mapping holds the shared lock.
        control.lock = None;
    }
    let claim = claim(&place, &control, pinned)?;
    let is_current = control.is_current(log, &place).map_err(|e| Error::os("stat journal", &place.path, e))?;
    Ok(is_current.then_some((place, control, claim)))
}

/// A process that could not attach leaves nothing behind that nobody uses.
fn discard_half_built(path: &Path) {
    if let Ok(log) = Log::find(path)
        && let Ok(place) = Place::find(&log)
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
/// Every engine holds a shared mark on the log that depends on directory and name of the log; another engine's mark is
/// seen. (Not on the journal's uuid or place: a journal that is removed and built anew is the same engine going on, also
/// while the last descriptor of a process that ends is still open.)
fn check_engines_apart(env: &Real) -> Result<()> {
    let Ok(file) = env.open(&env.log.name) else { return Ok(()) };
    match crate::mark::set(file.fd(), env.key) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let hint = "another everyline journal is in use for this very file, reached by another name (a hard link, \
                        say); use one name";
            Err(Error::new(ErrorKind::ForeignJournal, "open log", &env.log.path, hint))
        }
        // File systems without open-file-description locks: no mark, no check.
        Err(_) => Ok(()),
    }
}

/// What only whoever asks for it first must hear of, and no process that attaches anew under way: a link that is somebody
/// else's name, an owner that cannot be given.
pub fn prepare(path: &Path, options: &Options) -> Result<()> {
    if options.link.is_none() && options.owner.is_none() {
        return Ok(());
    }
    let log = Log::find(path)?;
    check_link(&log, options)?;
    make_owned(&log, options)
}

fn check_link(log: &Log, options: &Options) -> Result<()> {
    let Some(link) = &options.link else { return Ok(()) };
    let family = Settings::of(options).family(&log.name).parse(link).is_some();
    if family || *link == log.name || link.starts_with(&log.journal_name()) {
        let hint = format!("{link:?} is the name of the log, of an archive or of the journal; choose another");
        return Err(Error::option("link", hint));
    }
    match os::meta(log.directory.fd(), link) {
        Ok((_, kind)) if !kind.is_symlink() => {
            let path = log.path.with_file_name(link);
            let hint = format!("{} is there and is no symbolic link; it would be replaced", path.display());
            Err(Error::option("link", hint))
        }
        _ => Ok(()),
    }
}

/// A log that is to belong to somebody else is made before its journal, whose doors follow the log's owner.
fn make_owned(log: &Log, options: &Options) -> Result<()> {
    let Some((user, group)) = options.owner else { return Ok(()) };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let fd = match os::open_at(log.directory.fd(), &log.name, flags, options.mode) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        other => other.map_err(|e| Error::os("create log", &log.path, e))?,
    };
    let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
    rustix::fs::fchown(&fd, Some(user), Some(group)).map_err(|e| {
        let _ = rustix::fs::unlinkat(log.directory.fd(), log.name.as_str(), AtFlags::empty());
        let hint = "owner: this process may not give files to that user and group; leave the option out";
        Error::os("change owner of", &log.path, std::io::Error::from(e)).with_hint(hint)
    })
}

/// `truncate`, by the first process only: the others would empty what the first has written.
fn truncate(log: &Log) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::TRUNC;
    match os::open_at(log.directory.fd(), &log.name, flags, 0) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::os("truncate", &log.path, e)),
    }
}

/// Remembers how late the last record was that this process put into the slot of an engine it leaves.
pub fn left(engine: &Engine) {
    let stamp = engine.env.own().header().producer.last_stamp.load(Ordering::Relaxed).min(os::MAX_STAMP);
    LEFT_AT.fetch_max(stamp, Ordering::Relaxed);
}

/// Leaves a log: drains, and says that the slot is free. The slot's lock goes with the mapping, when `env` is dropped;
/// then [`Leaving`], the engine's last field, removes the journal if nobody needs it.
impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.drain(&self.way_out());
        left(self);
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
    let Ok(place) = Place::find(log) else { return Ok(false) };
    let Ok(fd) = os::open_at(place.shared.fd(), control::NAME, OFlags::RDWR, 0) else { return Ok(false) };
    let fd = Transient::new(fd)?;
    // A name that this process may not look at is nothing to remove.
    if !os::try_flock(fd.fd(), true)? || !place.is_current(log).unwrap_or(false) {
        return Ok(false);
    }
    match Map::shared(fd.fd(), CONTROL_BYTES, false) {
        Ok(map) if has_undelivered(&place, control::view(&map)) => return Ok(false),
        // Half built: shorter than a control file.
        Err(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => return Ok(false),
        _ => {}
    }
    place.remove_anchor(log)?;
    let aside = place.set_aside(Aside::Gone)?;
    remove_tree(parent, &aside)?;
    place.remove_own_parent();
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
    if words.lease.load().state() != State::Free || words.chores.form.load(Ordering::Acquire) != 0 {
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

/// Removes a journal that was set aside: two levels of directories, nothing deeper. Somebody who had just opened it may
/// still make a file in it, or remove it at the same time.
pub fn remove_tree(parent: &Handle, name: &str) -> std::io::Result<()> {
    let mut tries = 0;
    loop {
        match remove_tree_once(parent, name) {
            Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty && tries < HASTY_TRIES => tries += 1,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
    }
}

fn remove_tree_once(parent: &Handle, name: &str) -> std::io::Result<()> {
    use std::os::fd::{AsFd, BorrowedFd};
    let unlink = |directory: BorrowedFd<'_>, name: &str, flags| match rustix::fs::unlinkat(directory, name, flags) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        other => other,
    };
    let outer = os::open_directory(parent.fd(), name)?;
    for inner_name in os::names(outer.as_fd(), "")? {
        if let Ok(inner) = os::open_directory(outer.as_fd(), &inner_name) {
            for file in os::names(inner.as_fd(), "")? {
                unlink(inner.as_fd(), &file, AtFlags::empty())?;
            }
            unlink(outer.as_fd(), &inner_name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(unlink(parent.fd(), name, AtFlags::REMOVEDIR)?)
}
