//! Logging without an engine, for `faults`: plain appends, and a rotation that each process decides for itself. This is
//! what the oracle has to catch.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::plan::{Act, Plan};

/// A log file, opened for appending.
#[derive(Debug)]
pub struct Bare {
    path: PathBuf,
    file: Mutex<File>,
    rotate_at: Option<u64>,
}

impl Bare {
    pub fn open(plan: &Plan) -> io::Result<Self> {
        let rotate_at = plan.max_bytes.filter(|_| plan.act == Act::BareRotate);
        Ok(Self { path: plan.log.clone(), file: Mutex::new(append_to(&plan.log)?), rotate_at })
    }

    /// One `write`, as every logging library does it; before it a rotation, if this process thinks it is time.
    pub fn append(&self, record: &[u8]) -> io::Result<()> {
        let mut file = self.file.lock().expect("nobody panics under it");
        if let Some(limit) = self.rotate_at
            && file.metadata()?.len() + record.len() as u64 > limit
        {
            rotate(&self.path)?;
            *file = append_to(&self.path)?;
        }
        file.write_all(record)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Python's shift: every archive one up, then the live file becomes number 1. Others do the same at the same time.
pub fn rotate(path: &Path) -> io::Result<()> {
    let name = |n: u32| PathBuf::from(format!("{}.{n}", path.display()));
    let last = (1..).find(|n| !name(*n).exists()).expect("numbers do not end");
    for n in (1..last).rev() {
        // Somebody else may have moved it.
        let _ = fs::rename(name(n), name(n + 1));
    }
    let _ = fs::rename(path, name(1));
    Ok(())
}
