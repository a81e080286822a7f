//! Looking at a log from outside, and cleaning up after it: `status`, `recover`, `reopen`, `clean`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, OFlags};

use crate::attach::{How, attach, backlog, remove_if_unused, remove_tree};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::anchor::{Beside, look_beside, remove_idle_anchor};
use crate::journal::claim::{map_slot, prove_dead};
use crate::journal::control::{self, load2};
use crate::journal::layout::{CONTROL_BYTES, Control, LAYOUT_VERSION, MAGIC, READY, SLOTS};
use crate::journal::map::Map;
use crate::journal::place::{Log, Place, asides};
use crate::options::{Options, RING_BYTES_MAX};
use crate::os::{self, Handle};
use crate::protocol::chores::temporary;
use crate::protocol::commit::{Effort, Looked};
use crate::protocol::env::Settings;
use crate::protocol::lease::State;
use crate::protocol::trouble::Operation;
use crate::upkeep::run_what_is_due;

/// `recover` and `reopen` wait this long for what they are to do.
const JOIN_WAIT: Duration = Duration::from_secs(30);
/// ... and this long for a process that builds or removes the journal.
const JOIN_PATIENCE: Duration = Duration::from_secs(5);
/// `recover` waits this long for a living holder before it leaves the rest to it.
const BUSY: Duration = Duration::from_secs(1);

/// What is going on at a log.
#[derive(Clone, Debug)]
pub struct Status {
    /// Directory of the journal.
    pub journal: PathBuf,
    /// The log.
    pub log: PathBuf,
    /// Settings in force, as keys and values.
    pub settings: Vec<(String, String)>,
    /// The writer lease.
    pub lease: LeaseStatus,
    /// Rotations done since the journal was built.
    pub rotations: u64,
    /// Rotations that failed.
    pub rotations_failed: u64,
    /// Changes of the live file.
    pub epoch: u64,
    /// Length of the live file as the writers know it.
    pub file_bytes: u64,
    /// Next rotation by time, Unix time in s.
    pub rollover_at: Option<i64>,
    /// Failures to write, rotate or sync so far.
    pub errors: u64,
    /// The last of them: errno and operation.
    pub last_error: Option<(i32, &'static str)>,
    /// Processes that are attached, and dead ones whose slots nobody has taken since.
    pub processes: Vec<ProcessStatus>,
}

/// State of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Nobody writes.
    Free,
    /// Somebody writes.
    Held,
    /// A write failed; the next one to come finishes it.
    Pending,
}

/// The writer lease.
#[derive(Clone, Copy, Debug)]
pub struct LeaseStatus {
    /// Its state.
    pub state: LeaseState,
    /// The slot it names.
    pub slot: u16,
    /// Process in that slot, as it sees itself.
    pub pid: u32,
    /// Times it was taken.
    pub generation: u64,
    /// Time since the holder last showed progress, ms.
    pub idle_ms: u64,
}

/// One process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessStatus {
    /// Its slot.
    pub slot: u16,
    /// Its pid as it sees itself.
    pub pid: u32,
    /// Whether it lives.
    pub alive: bool,
    /// When it attached, Unix time in ns.
    pub started_unix_ns: u64,
    /// Ring bytes that are not in the file yet.
    pub backlog_bytes: u64,
    /// Overflow bytes that are not in the file yet.
    pub overflow_bytes: u64,
    /// Records published from this slot since it exists.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records dropped by policy.
    pub dropped: u64,
    /// Ring size.
    pub ring_bytes: u64,
}

/// What `recover` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Records brought into the file.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Slots that had something left.
    pub slots: u32,
    /// Slots whose bytes were no records; what they held is lost.
    pub corrupt_slots: u32,
}

/// What `clean` removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Directories that are gone.
    pub removed: Vec<PathBuf>,
    /// True if a journal is still there: in use, or with undelivered records.
    pub in_use: bool,
}

/// Reads the state of a log without attaching to it.
///
/// # Errors
/// `NotAttached` if it has no journal.
pub fn status(path: &Path) -> Result<Status> {
    let log = Log::find(path)?;
    let place = Place::find(&log)?;
    let (map, ring_bytes) = read_control(&place)?;
    let words = control::view(&map);
    let uuid = load2(&words.identity.uuid);
    let high = (words.wishes.high_water.load(Ordering::Acquire) as usize).min(SLOTS) as u16;
    let read = |slot| process(&place, words, uuid, ring_bytes, slot);
    let processes: Vec<ProcessStatus> = (0..high).filter_map(read).collect();
    let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let code = get(&words.trouble.last_error);
    let rollover = get(&words.file.rollover_at) as i64;
    Ok(Status {
        journal: place.path.clone(),
        log: log.path.clone(),
        settings: settings(&place)?.pairs(),
        lease: lease(words, &processes),
        rotations: get(&words.trouble.rotations),
        rotations_failed: get(&words.trouble.rotations_failed),
        epoch: words.file.epoch.load(Ordering::Acquire),
        file_bytes: get(&words.file.end),
        rollover_at: (rollover != 0).then_some(rollover),
        errors: get(&words.trouble.errors),
        last_error: (code != 0).then(|| (code as u32 as i32, Operation::name((code >> 32) as u8))),
        processes,
    })
}

fn settings(place: &Place) -> Result<Settings> {
    Settings::read_or_none(place).map_err(|e| Error::os("read settings in journal", &place.path, e))
}

fn read_control(place: &Place) -> Result<(Map, u64)> {
    let path = place.path.join(control::NAME);
    let nobody = || Error::new(ErrorKind::NotAttached, "read journal", &path, "no process is attached to this log");
    let fd = match os::open_at(place.shared.fd(), control::NAME, OFlags::RDONLY, 0) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(nobody()),
        other => other.map_err(|e| Error::os("open journal", &path, e))?,
    };
    let map = Map::shared(&fd, CONTROL_BYTES, false).map_err(|e| Error::os("map journal", &path, e))?;
    let identity = &control::view(&map).identity;
    if identity.ready.load(Ordering::Acquire) != READY {
        return Err(nobody());
    }
    let ring_bytes = identity.ring_bytes.load(Ordering::Relaxed);
    let version = identity.version.load(Ordering::Relaxed);
    if identity.magic.load(Ordering::Relaxed) != MAGIC || version != LAYOUT_VERSION {
        let hint = format!("it has layout version {version}, this program knows {LAYOUT_VERSION}");
        return Err(Error::new(ErrorKind::ForeignJournal, "read journal", &path, hint));
    }
    if !ring_bytes.is_power_of_two() || ring_bytes > RING_BYTES_MAX {
        return Err(Error::new(ErrorKind::ForeignJournal, "read journal", &path, "its header is damaged"));
    }
    Ok((map, ring_bytes))
}

fn process(place: &Place, words: &Control, uuid: [u64; 2], ring_bytes: u64, index: u16) -> Option<ProcessStatus> {
    let slot = map_slot(place, uuid, ring_bytes, index, false).ok()?;
    let header = slot.header();
    let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let (backlog_bytes, overflow_bytes) = backlog(&slot);
    let claimed = get(&words.claimed[usize::from(index) / 64]) >> (index % 64) & 1 == 1;
    if !claimed && backlog_bytes == 0 && overflow_bytes == 0 {
        return None;
    }
    Some(ProcessStatus {
        slot: index,
        pid: get(&header.identity.pid) as u32,
        alive: prove_dead(place, uuid, index).is_none(),
        started_unix_ns: get(&header.identity.attached_ns),
        backlog_bytes,
        overflow_bytes,
        records: get(&header.producer.records),
        bytes: get(&header.producer.bytes),
        dropped: get(&header.producer.dropped),
        ring_bytes,
    })
}

fn lease(words: &Control, processes: &[ProcessStatus]) -> LeaseStatus {
    let word = words.lease.load();
    let state = match word.state() {
        State::Free => LeaseState::Free,
        State::Held(_) => LeaseState::Held,
        State::Pending(_) => LeaseState::Pending,
    };
    let pid = processes.iter().find(|p| p.slot == word.slot()).map_or(0, |p| p.pid);
    let idle_ms = os::coarse_ms().saturating_sub(words.beat.load(Ordering::Relaxed));
    LeaseStatus { state, slot: word.slot(), pid, generation: word.generation(), idle_ms }
}

/// Finishes what dead processes left: attaches under the settings in force, commits, detaches.
///
/// # Errors
/// `NotAttached` if there is no journal; whatever keeps the records from being written.
pub fn recover(path: &Path) -> Result<Recovered> {
    let earlier = crate::attach::existing(path).map_or(((0, 0), 0), |engine| engine.committed());
    let (engine, options, slots) = join(path)?;
    engine.flush(&options)?;
    let started = Instant::now();
    loop {
        match engine.commit(Effort::Force) {
            // A living process is writing, and takes the records of the dead along; usually it is done in a moment.
            Looked::Busy if started.elapsed() < BUSY => std::thread::sleep(Duration::from_millis(1)),
            Looked::Clean | Looked::Busy => break,
            Looked::Failed(errno) => {
                return Err(Error::os("recover", path, std::io::Error::from_raw_os_error(errno)));
            }
            Looked::Stuck(slot) => {
                let hint =
                    format!("the process in slot {slot} holds the writer lease and makes no progress; is it stopped?");
                return Err(Error::new(ErrorKind::TimedOut, "recover", path, hint));
            }
        }
    }
    // Archives that are due; this is no log call, and may take its time.
    run_what_is_due(&engine);
    let ((records, bytes), corrupt) = engine.committed();
    Ok(Recovered {
        records: records.saturating_sub(earlier.0.0),
        bytes: bytes.saturating_sub(earlier.0.1),
        slots,
        corrupt_slots: corrupt.saturating_sub(earlier.1) as u32,
    })
}

/// Makes every process look at the log's path before it writes again: for logrotate's `postrotate`.
///
/// # Errors
/// `NotAttached`; `TimedOut` if a stopped process holds the lease.
pub fn reopen(path: &Path) -> Result<()> {
    let (engine, options, _) = join(path)?;
    engine.wish(false, &options)
}

/// Attaches to a log that others use, changing none of their settings.
fn join(path: &Path) -> Result<(std::sync::Arc<crate::engine::Engine>, Options, u32)> {
    let log = Log::find(path)?;
    let place = Place::find(&log)?;
    let before = status(path)?;
    let left = before.processes.iter().filter(|p| p.backlog_bytes + p.overflow_bytes > 0).count() as u32;
    let settings = settings(&place)?;
    drop(place);
    let options = Options { wait: JOIN_WAIT, ..settings.options() };
    let engine = attach(path, &options, How { patience: JOIN_PATIENCE, governs: false, hurried: false })?;
    Ok((engine, options, left))
}

/// Removes the journal of a log if nobody uses it and nothing in it is undelivered, and journals that were set aside.
///
/// # Errors
/// What the system says.
pub fn clean(path: &Path) -> Result<Cleaned> {
    let log = Log::find(path)?;
    let mut cleaned = Cleaned::default();
    let directory = log.path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let fail = |e: std::io::Error| Error::os("clean", &directory, e);
    // Before the journal goes, and its anchor with it.
    let beside = look_beside(&log, &log.journal_name(), true)?;
    if let Ok(place) = Place::find(&log) {
        let path = place.path.clone();
        let parent = Handle::new(rustix::io::fcntl_dupfd_cloexec(place.parent.fd(), 0).map_err(|e| fail(e.into()))?)
            .map_err(fail)?;
        drop(place);
        if remove_if_unused(&log, &parent).map_err(fail)? {
            cleaned.removed.push(path);
        } else {
            cleaned.in_use = true;
        }
    }
    let temporary = temporary(&log.name);
    if !cleaned.in_use && os::lookup(log.directory.fd(), &temporary).map_err(fail)?.is_some() {
        // Of a compression that somebody died in.
        rustix::fs::unlinkat(log.directory.fd(), temporary.as_str(), AtFlags::empty()).map_err(|e| fail(e.into()))?;
        cleaned.removed.push(directory.join(temporary));
    }
    // Beside the log, and where the journal was when an anchor leads elsewhere.
    let mut aside = |parent: &Handle, path: &Path| -> Result<()> {
        for (name, _) in asides(parent, &log.journal_name()).map_err(fail)? {
            remove_tree(parent, &name).map_err(fail)?;
            cleaned.removed.push(path.join(name));
        }
        Ok(())
    };
    aside(&log.directory, &directory)?;
    if let Beside::Anchor(anchor) = beside {
        aside(&anchor.parent, &anchor.path)?;
        if !cleaned.in_use {
            // Kept for what stood there; nothing does any more, unless somebody has just come.
            remove_idle_anchor(&log)?;
        }
    }
    Ok(cleaned)
}
