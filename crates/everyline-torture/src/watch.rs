//! Watches the directory of a log while it is written: an archive that changes after it has appeared is a record in the
//! wrong file, even if the bytes are all there (P3). Files are known by inode and birth time, because archives are renamed.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::oracle::Damage;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(8);
/// Reports of one round; more say nothing new.
const REPORTS: usize = 20;

type Identity = (u64, Option<SystemTime>);
type State = (u64, i64, i64);

/// The thread.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    grace_ms: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    log: PathBuf,
    /// When each was first seen, and as what.
    archives: HashMap<Identity, (Instant, State)>,
    grace_ms: Arc<AtomicU64>,
    damage: Vec<Damage>,
}

impl Watch {
    /// Starts to watch the archives of `log`.
    pub fn start(log: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let grace_ms = Arc::new(AtomicU64::new(0));
        let mut watcher = Watcher {
            log: log.to_owned(),
            archives: HashMap::new(),
            grace_ms: Arc::clone(&grace_ms),
            damage: Vec::new(),
        };
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                watcher.look();
                std::thread::sleep(PAUSE);
            }
            watcher.look();
            watcher
        });
        Self { stop, grace_ms, thread }
    }

    /// Lets archives change for so long after they have appeared: while a journal is replaced under way, processes of the
    /// old and the new one write at the same time for a moment.
    pub fn allow(&self, grace: Duration) {
        self.grace_ms.store(grace.as_millis() as u64, Ordering::Relaxed);
    }

    /// Looks a last time. Number of archives seen, and what changed.
    pub fn finish(self) -> (u64, Vec<Damage>) {
        self.stop.store(true, Ordering::Relaxed);
        let watcher = self.thread.join().expect("the watcher does not panic");
        (watcher.archives.len() as u64, watcher.damage)
    }
}

impl Watcher {
    fn look(&mut self) {
        let prefix = format!("{}.", self.log.file_name().and_then(|n| n.to_str()).unwrap_or_default());
        let Some(Ok(entries)) = self.log.parent().map(fs::read_dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // By name: whatever archive has it by now. Never the live file, which has no suffix.
            if let (true, Ok(meta)) = (name.starts_with(&prefix), fs::symlink_metadata(entry.path())) {
                self.compare(&name, (meta.ino(), meta.created().ok()), (meta.size(), meta.mtime(), meta.mtime_nsec()));
            }
        }
    }

    fn compare(&mut self, name: &str, identity: Identity, state: State) {
        let (since, before) = self.archives.entry(identity).or_insert((Instant::now(), state));
        let before = std::mem::replace(before, state);
        let settled = since.elapsed().as_millis() as u64 >= self.grace_ms.load(Ordering::Relaxed);
        if before != state && settled && self.damage.len() < REPORTS {
            let what = format!("{} bytes became {}", before.0, state.0);
            self.damage.push(Damage::Changed { file: name.to_owned(), what });
        }
    }
}
