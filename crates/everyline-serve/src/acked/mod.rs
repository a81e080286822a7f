//! The acknowledged protocol: a record is acknowledged when it is in the log, and what is sent again is dropped, also
//! over a kill of the server.
//!
//! How: before a batch is appended, its bytes and the end of the file are noted (*intent*); when it is in the file, the
//! last number is noted (*done*); then it is acknowledged. After a kill the log itself says how much of an open intent was
//! done (`resolve`), before anybody can append to it through the server.

mod peer;
mod resolve;
mod state;

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use everyline::Appender;

pub use peer::Client;
use state::{Intent, State};

use crate::Reason;
use crate::wait::Stop;

/// Between two tries of what a full disk or a stopped process keeps from being done.
const RETRY: Duration = Duration::from_millis(50);
/// Clients that are remembered.
const CLIENTS_MAX: usize = 65_536;

/// All clients that are remembered.
pub struct Clients {
    dir: PathBuf,
    fsync: bool,
    open: Mutex<HashMap<String, Arc<Mutex<State>>>>,
}

impl Clients {
    /// Finishes what a killed server left open. To be called before a log is opened.
    ///
    /// # Errors
    /// One line for people.
    pub fn open(dir: &Path, fsync: bool) -> Result<Self, String> {
        let trouble = |e: std::io::Error| format!("[server]: state_dir: {}: {e}", dir.display());
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(trouble(e)),
            _ => {}
        }
        for entry in std::fs::read_dir(dir).map_err(trouble)? {
            let path = entry.map_err(trouble)?.path();
            if path.extension().is_some_and(|extension| extension == "ack") {
                resolve::resolve(&path)?;
            }
        }
        Ok(Self { dir: dir.to_owned(), fsync, open: Mutex::default() })
    }

    /// True if it is this directory, with acknowledgements at this moment.
    pub fn is(&self, dir: &Path, fsync: bool) -> bool {
        self.dir == dir && self.fsync == fsync
    }

    fn client(&self, name: &str) -> Result<Arc<Mutex<State>>, String> {
        let mut open = lock(&self.open);
        if let Some(known) = open.get(name) {
            return Ok(Arc::clone(known));
        }
        if open.len() >= CLIENTS_MAX {
            return Err(format!("{CLIENTS_MAX} clients are remembered already"));
        }
        let state = State::open(&state::path(&self.dir, name)).map_err(|e| e.to_string())?;
        Ok(Arc::clone(open.entry(name.to_owned()).or_insert(Arc::new(Mutex::new(state)))))
    }
}

/// Who may append to a log: anybody while nobody notes, and one batch at a time.
#[derive(Default)]
pub struct Gate {
    batch: Mutex<bool>,
    free: Condvar,
    append: Mutex<()>,
}

impl Gate {
    /// For one append. Nothing else is appended while it is held.
    pub fn append(&self) -> MutexGuard<'_, ()> {
        lock(&self.append)
    }

    /// Waits until no batch is open, and opens one.
    fn begin(&self, stop: &Stop) -> Result<(), Reason> {
        let mut batch = lock(&self.batch);
        while *batch {
            give_up_at_the_end(stop)?;
            batch = self.free.wait_timeout(batch, RETRY).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        *batch = true;
        Ok(())
    }

    fn end(&self) {
        *lock(&self.batch) = false;
        self.free.notify_one();
    }
}

/// Records of one client for one log.
pub struct Batch {
    records: Vec<(u64, String)>,
    levels: Vec<u8>,
    /// What is done when they are in the log: their last number, or that of a later one that was refused.
    last: u64,
}

/// Brings a batch into a log and remembers it. Waits for a full disk, until the server ends.
///
/// # Errors
/// `Log` at the end of the server: nothing was appended, or the next start decides.
pub fn commit(
    log: &Appender,
    gate: &Gate,
    state: &mut State,
    batch: Batch,
    fsync: bool,
    stop: &Stop,
) -> Result<(), Reason> {
    gate.begin(stop)?;
    let levels = batch.levels;
    let mut intent = Intent { path: log.path().to_owned(), inode: 0, at: 0, records: batch.records, last: batch.last };
    let mut guard = retry(stop, || {
        let guard = gate.append();
        // Nothing of ours is on the way to the file: what is noted is where the batch will begin.
        log.flush().ok()?;
        if let Ok(found) = std::fs::metadata(log.path()) {
            (intent.inode, intent.at) = (found.ino(), found.len());
        }
        state.intend(&intent).ok().map(|()| guard)
    })
    .inspect_err(|_| gate.end())?;
    // From here on the batch stays open if it cannot be finished: no other may write over the intent's place.
    for ((_, line), level) in intent.records.iter().zip(levels) {
        while log.append_at(level, line.as_bytes()).is_err() {
            drop(guard);
            give_up_at_the_end(stop)?;
            thread::sleep(RETRY);
            guard = gate.append();
        }
    }
    drop(guard);
    retry(stop, || if fsync { log.sync() } else { log.flush() }.ok())?;
    retry(stop, || state.set_done(intent.last).and_then(|()| if fsync { state.sync() } else { Ok(()) }).ok())?;
    gate.end();
    Ok(())
}

fn retry<T>(stop: &Stop, mut what: impl FnMut() -> Option<T>) -> Result<T, Reason> {
    loop {
        if let Some(done) = what() {
            return Ok(done);
        }
        give_up_at_the_end(stop)?;
        thread::sleep(RETRY);
    }
}

fn give_up_at_the_end(stop: &Stop) -> Result<(), Reason> {
    if stop.deadline().is_some_and(|deadline| Instant::now() > deadline) { Err(Reason::Log) } else { Ok(()) }
}

/// What a thread that panicked held is as good as ever: it is changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
