//! Whose turn the upkeep is: one process's at a time, by a lock on a file in the journal.
//!
//! Promise: the lock lives exactly as long as the [`Turn`], or as the memory of its process: as with slots, a forked child
//! does not have it, and a process that was killed does not keep it.

use std::io;

use rustix::fs::OFlags;

use crate::journal::control::{make_file, write_zeros};
use crate::journal::map::Map;
use crate::journal::place::Place;
use crate::os::{self, Transient};
use crate::real::Real;

const NAME: &str = "upkeep";
const BYTES: usize = 4096;

/// The right to do the upkeep.
#[derive(Debug)]
pub struct Turn {
    /// Holds the lock where a mapping does.
    _map: Option<Map>,
    /// Holds it elsewhere.
    _fd: Option<Transient>,
}

impl Turn {
    /// Takes the turn. `None`: another process, or another thread, has it.
    pub fn take(env: &Real) -> io::Result<Option<Self>> {
        let fd = Transient::new(open(&env.place)?)?;
        if !os::try_flock(fd.fd(), true)? {
            return Ok(None);
        }
        if !env.mapping_keeps_lock() {
            return Ok(Some(Self { _map: None, _fd: Some(fd) }));
        }
        if rustix::fs::fstat(fd.fd())?.st_size < BYTES as i64 {
            write_zeros(fd.fd(), BYTES)?;
        }
        Ok(Some(Self { _map: Some(Map::shared(fd.fd(), BYTES, false)?), _fd: None }))
    }
}

fn open(place: &Place) -> io::Result<std::os::fd::OwnedFd> {
    match os::open_at(place.shared.fd(), NAME, OFlags::RDWR, 0) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => make_file(place, NAME),
        other => other,
    }
}
