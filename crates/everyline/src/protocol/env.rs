//! What the protocol needs from the world: memory shared with other processes, a directory with files, clocks.
//!
//! Names are base names in the log's directory. Every call may fail; the protocol is written so that it can be killed
//! before and after each of them.

use std::io;

use super::step::Step;
use crate::journal::layout::Control;
use crate::journal::slot::Slot;
use crate::options::{Compress, Fsync};
use crate::rotation::{Family, Naming, Schedule};

/// Which file: device, inode and birth time (ns). An inode alone is handed out again within milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileId(pub [u64; 3]);

impl FileId {
    /// No file.
    pub const NONE: Self = Self([0; 3]);
}

/// What `stat` says of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Which file.
    pub id: FileId,
    /// Its length.
    pub size: u64,
    /// Names it has; 0: deleted.
    pub links: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Last modification, Unix time in s.
    pub modified_s: i64,
    /// True if something else than a write changed it last; for a deleted file: nothing was written since.
    pub changed_after_write: bool,
    /// True for the root of a mount: a bind-mounted single file, which cannot be renamed.
    pub mount_root: bool,
}

/// What all processes of a log agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Limit in bytes.
    pub max_bytes: Option<u64>,
    /// Rotation by time.
    pub schedule: Option<Schedule>,
    /// Names.
    pub naming: Naming,
    /// Retention by count.
    pub keep: Option<u32>,
    /// Retention by age.
    pub keep_age: Option<std::time::Duration>,
    /// Retention by size.
    pub keep_total_bytes: Option<u64>,
    /// Compression of archives.
    pub compress: Compress,
    /// Its grace period.
    pub compress_after: std::time::Duration,
    /// Name of the link to the newest archive.
    pub link: Option<String>,
    /// Durability; decides whether a file is synced when it is rotated away.
    pub fsync: Fsync,
    /// Permission bits of a live file that has no predecessor, before the umask.
    pub mode: u32,
    /// Its user and group.
    pub owner: Option<(u32, u32)>,
}

impl Settings {
    /// What makes a name an archive of `log`.
    pub fn family<'a>(&self, log: &'a str) -> Family<'a> {
        Family { log, naming: self.naming, schedule: self.schedule }
    }

    /// True if archives need looking after outside the lease.
    pub fn has_upkeep(&self) -> bool {
        self.compress != Compress::None || self.keep_age.is_some() || self.keep_total_bytes.is_some()
    }
}

/// The world.
pub trait Env {
    /// An open log file, read-write and append-only.
    type File;
    /// Proof that a slot's process is dead; nobody can take that slot while it exists.
    type Dead;

    /// The control words.
    fn control(&self) -> &Control;
    /// This process's own slot.
    fn me(&self) -> u16;
    /// A slot's memory; `None` if there is no such slot, or its file is damaged.
    fn slot(&self, slot: u16) -> Option<&Slot>;
    /// False if a slot's memory is there but cannot be had now (no descriptors, no address space).
    fn can_reach(&self, slot: u16) -> bool {
        let _ = slot;
        true
    }
    /// Asks the kernel whether the process in a slot is gone. `None`: alive, or nobody can tell. A slot that cannot exist
    /// (a damaged lease word) has no process.
    fn prove_dead(&self, slot: u16) -> Option<Self::Dead>;
    /// What is in force now. An error: this process cannot read it, and goes on with what it knows.
    fn settings(&self) -> io::Result<Settings>;
    /// What this process knows of them, without a look: what it read last, or brought along.
    fn known_settings(&self) -> Settings;
    /// False once the journal at the path is known to be another one: nothing may be renamed any more.
    fn journal_is_current(&self) -> bool;
    /// False while a process of another journal has the file open: one that was replaced, which it has not noticed yet.
    fn is_only_journal(&self, file: &Self::File) -> bool {
        let _ = file;
        true
    }
    /// Called every few ms of activity: the time to notice that the journal was removed or that descriptors are gone.
    fn watch(&self) {}
    /// Wakes the producer of a slot that sleeps until something is taken from it.
    fn wake(&self, slot: &Slot);

    /// Wall clock, ns.
    fn now_ns(&self) -> u64;
    /// Monotonic clock of a few ms resolution, ms; equal in all processes of one machine.
    fn coarse_ms(&self) -> u64;
    /// Lets others run for a moment, with the lease free.
    fn make_room(&self) {}

    /// Base name of the log.
    fn log(&self) -> &str;
    /// Opens an existing file. Never follows a symbolic link.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// False if this process could not open the log by its name.
    fn may_open_log(&self) -> bool {
        true
    }
    /// Makes a new file, with owner and mode of `like`. `AlreadyExists` if there is one.
    fn create(&self, name: &str, like: Option<&Meta>) -> io::Result<Self::File>;
    /// Appends; may write less.
    fn append(&self, file: &Self::File, bytes: &[u8]) -> io::Result<usize>;
    /// Reads at an offset; 0 at the end.
    fn read_at(&self, file: &Self::File, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// `stat` of an open file.
    fn meta(&self, file: &Self::File) -> io::Result<Meta>;
    /// True if the descriptor still is that file (it may have been closed under us).
    fn is_still(&self, file: &Self::File, id: FileId) -> bool;
    /// Forces a file to disk.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Forces the directory to disk.
    fn sync_directory(&self) -> io::Result<()>;
    /// `stat` of a name; `None` if there is nothing. Never follows a symbolic link.
    fn lookup(&self, name: &str) -> io::Result<Option<Meta>>;
    /// All names in the directory.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Renames; `AlreadyExists` rather than replace anything.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Deletes. Giving the space back may take long: where it can, the world puts that off until the lease is free.
    fn unlink(&self, name: &str) -> io::Result<()>;
    /// Makes a symbolic link, in place of one that is there. `AlreadyExists` rather than replace anything else.
    fn link(&self, name: &str, target: &str) -> io::Result<()> {
        let _ = (name, target);
        Ok(())
    }
    /// Where a symbolic link leads; `None` if there is none.
    fn link_target(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }

    /// Reads the overflow file of a slot.
    fn overflow_read(&self, slot: u16, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Gives the space of overflow bytes before `upto` back. Best effort.
    fn overflow_free(&self, slot: u16, from: u64, upto: u64);

    /// Passes a named step; tests end the process here.
    fn step(&self, step: Step) {
        super::step::passed(step);
    }
}
