//! Watches the directory of a log while it is written: an archive that changes after it has appeared is a record in the
//! wrong file, even if the bytes are all there (P3). Files are known by inode and birth time, because archives are renamed.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

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
    thread: std::thread::JoinHandle<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    log: PathBuf,
    /// As what each was first seen.
    archives: HashMap<Identity, State>,
    damage: Vec<Damage>,
}

impl Watch {
    /// Starts to watch the archives of `log`.
    pub fn start(log: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut watcher = Watcher { log: log.to_owned(), archives: HashMap::new(), damage: Vec::new() };
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                watcher.look();
                std::thread::sleep(PAUSE);
            }
            watcher.look();
            watcher
        });
        Self { stop, thread }
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
        let before = self.archives.entry(identity).or_insert(state);
        let before = std::mem::replace(before, state);
        if before != state && self.damage.len() < REPORTS {
            let what = format!("{} bytes became {}", before.0, state.0);
            self.damage.push(Damage::Changed { file: name.to_owned(), what });
        }
    }
}
