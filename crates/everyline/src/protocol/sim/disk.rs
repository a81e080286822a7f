//! The simulated directory: names, inodes, and what happened to each.
//!
//! Promise: a file is never forgotten. Bytes of a file that was deleted stay here with the reason, so that the oracle can
//! walk everything that was ever live, in the order in which it was. Inode numbers are handed out again as soon as a real
//! kernel would; birth times never are.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::{LOG, Mutation};
use crate::protocol::env::{FileId, Meta};

/// Why a file has no name any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Deleted by us, as the oldest.
    Retention,
    /// Deleted by somebody else.
    Foreign,
    /// Another file was renamed over it.
    Replaced,
}

/// One file.
#[derive(Debug)]
pub struct Inode {
    /// Number, reused.
    pub ino: u64,
    /// Birth time, unique.
    pub birth: u64,
    /// Contents.
    pub bytes: Vec<u8>,
    /// Names.
    pub links: u32,
    /// Permission bits.
    pub mode: u32,
    /// Last modification.
    pub modified_s: i64,
    /// One more reference for each open descriptor.
    pub open: Rc<()>,
    /// The how-manyth live file this was.
    pub lives: Option<u32>,
    /// Renamed away by us: nothing may be appended any more.
    pub rotated: bool,
    /// `rollover_at` when we last appended; 0: none.
    pub rollover_s: u64,
    /// What somebody else took away: by truncation, or by deleting the file.
    pub taken_away: Vec<u8>,
    /// Why it has no name.
    pub gone: Option<Gone>,
    /// The file that this one is the compressed form of.
    pub zip_of: Option<usize>,
}

/// What somebody who knows nothing of us does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Appends a line to the live file.
    Append,
    /// Renames the live file.
    Rename(&'static str),
    /// Renames the live file and makes a new one.
    RenameCreate(&'static str),
    /// Deletes the live file.
    Delete,
    /// Deletes the live file and makes another one, with a line.
    DeleteCreate,
    /// Empties the live file.
    Truncate,
    /// Makes a file with an archive's name.
    MakeArchive(&'static str),
}

/// A directory.
#[derive(Debug, Default)]
pub struct Disk {
    /// Base name to place in `inodes`.
    pub names: BTreeMap<String, usize>,
    /// Every file that ever was.
    pub inodes: Vec<Inode>,
    lives: u32,
    births: u64,
    foreign_lines: u32,
}

impl Disk {
    /// The file at a name.
    pub fn at(&self, name: &str) -> Option<&Inode> {
        self.names.get(name).map(|i| &self.inodes[*i])
    }

    /// `stat`. With the mutation, the file system knows no birth times.
    pub fn meta(&self, index: usize, mutation: Option<Mutation>) -> Meta {
        let inode = &self.inodes[index];
        let birth = if mutation == Some(Mutation::NoBirthTime) { 0 } else { inode.birth };
        Meta {
            id: FileId([1, inode.ino, birth]),
            size: inode.bytes.len() as u64,
            links: inode.links,
            mode: inode.mode,
            owner: (0, 0),
            modified_s: inode.modified_s,
            // Every deletion falls into the tick of the last write: the case in which nothing can be told apart.
            changed_after_write: false,
            mount_root: false,
        }
    }

    /// `O_CREAT | O_EXCL`.
    pub fn create(&mut self, name: &str, mode: u32, now_s: i64) -> io::Result<usize> {
        if self.names.contains_key(name) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let used =
            |ino: u64| self.inodes.iter().any(|i| i.ino == ino && (i.links > 0 || Rc::strong_count(&i.open) > 1));
        let ino = (100..).find(|ino| !used(*ino)).expect("numbers enough");
        self.births += 1;
        self.inodes.push(Inode {
            ino,
            birth: self.births,
            bytes: Vec::new(),
            links: 1,
            mode,
            modified_s: now_s,
            open: Rc::new(()),
            lives: None,
            rotated: false,
            rollover_s: 0,
            taken_away: Vec::new(),
            gone: None,
            zip_of: None,
        });
        self.names.insert(name.to_owned(), self.inodes.len() - 1);
        self.named(name);
        Ok(self.inodes.len() - 1)
    }

    /// `unlink`.
    pub fn unlink(&mut self, name: &str, why: Gone) -> io::Result<()> {
        let index = self.names.remove(name).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        self.inodes[index].links -= 1;
        self.inodes[index].gone = Some(why);
        Ok(())
    }

    /// `renameat2`, with `RENAME_NOREPLACE` unless `replace`.
    pub fn rename(&mut self, from: &str, to: &str, replace: bool) -> io::Result<()> {
        let index = *self.names.get(from).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        if self.names.contains_key(to) {
            if !replace {
                return Err(io::Error::from_raw_os_error(libc::EEXIST));
            }
            self.unlink(to, Gone::Replaced)?;
        }
        self.names.remove(from);
        self.names.insert(to.to_owned(), index);
        self.named(to);
        Ok(())
    }

    fn named(&mut self, name: &str) {
        let inode = &mut self.inodes[self.names[name]];
        if name == LOG && inode.lives.is_none() {
            inode.lives = Some(self.lives);
            self.lives += 1;
        }
    }

    /// Somebody else's act. Nothing happens if there is nothing to do it to.
    pub fn foreign(&mut self, act: Foreign, now_s: i64) {
        let live = self.names.get(LOG).copied();
        match (act, live) {
            (Foreign::MakeArchive(name), _) => {
                if let Ok(index) = self.create(name, 0o644, now_s) {
                    self.inodes[index].bytes = b"foreign archive\n".to_vec();
                }
            }
            (_, None) => {}
            (Foreign::Append, Some(live)) => self.foreign_line(live),
            (Foreign::Truncate, Some(live)) => {
                let inode = &mut self.inodes[live];
                let bytes = std::mem::take(&mut inode.bytes);
                inode.taken_away.extend(bytes);
            }
            (Foreign::Rename(to), Some(_)) => drop(self.rename(LOG, to, false)),
            (Foreign::RenameCreate(to), Some(_)) => {
                drop(self.rename(LOG, to, false));
                drop(self.create(LOG, 0o644, now_s));
            }
            (Foreign::Delete | Foreign::DeleteCreate, Some(live)) => {
                let bytes = self.inodes[live].bytes.clone();
                self.inodes[live].taken_away.extend(bytes);
                self.unlink(LOG, Gone::Foreign).expect("it is there");
                if act == Foreign::DeleteCreate {
                    let new = self.create(LOG, 0o644, now_s).expect("it was deleted");
                    self.foreign_line(new);
                }
            }
        }
    }

    /// A process is gone. What stands in a file that was deleted and is open nowhere is gone, too.
    pub fn forget_unreachable(&mut self) {
        for inode in &mut self.inodes {
            if inode.gone == Some(Gone::Foreign) && Rc::strong_count(&inode.open) == 1 {
                inode.taken_away = inode.bytes.clone();
            }
        }
    }

    fn foreign_line(&mut self, index: usize) {
        self.foreign_lines += 1;
        let line = format!("foreign {}\n", self.foreign_lines);
        self.inodes[index].bytes.extend(line.as_bytes());
    }
}
