//! Chores: what is done to archives under the lease, on behalf of the upkeep that works outside it.
//!
//! Promise (I6): an archive that was compressed is replaced by its compressed form so that, whatever dies when, readers
//! find its lines once: the two files are noted in the control file by identity, and the next holder finishes or forgets
//! the note before it does anything else to names. Deleting goes by identity, too: what has another file's name by now is
//! not touched, nor is the newest archive. A chore is a few system calls; the work (reading, compressing, giving
//! space back) is done before and after, with the lease free. A chore that fails holds nobody up.

use std::io;
use std::sync::atomic::Ordering;

use super::commit::{Committer, load_id};
use super::env::{Env, FileId};
use super::step::Step;
use super::trouble::{Failure, Operation, record_failure};
use crate::rotation::{self, Form};

/// Something to be done to archives under the lease.
#[derive(Clone, Debug)]
pub enum Chore {
    /// The temporary file, or the file that has the compressed name already, takes the place of an archive.
    Replace {
        /// The archive's name when it was looked at; numbered ones move.
        name: String,
        /// The archive. Of this length: if it has grown, somebody has appended to it, and nothing is done.
        source: (FileId, u64),
        /// Its compressed form, whole and on disk.
        zip: FileId,
        /// How it was compressed.
        form: Form,
    },
    /// Archives that are too old, or too large together. By identity alone: with numbered names every rotation renames
    /// them all, and a busy log has always rotated since they were looked at.
    Remove(Vec<FileId>),
}

/// Archives that are looked at under the lease without being one of those to be deleted.
const OTHERS: usize = 64;

/// Where an archive is compressed to. Hidden, so that no pattern of a log shipper finds it, and never an archive's name.
/// One for each log: upkeep is one process's at a time.
pub fn temporary(log: &str) -> String {
    format!(".{}.everyline-zip", rotation::stem(log))
}

impl<E: Env> Committer<E> {
    /// Finishes what a dead holder has left of a chore, then does the one that was handed in, if any.
    pub(super) fn chores(&mut self, env: &E) {
        if env.control().chores.form.load(Ordering::Acquire) != 0 {
            // The process that asked is gone.
            let _ = self.finish_replace(env, None);
        }
        if let Some(chore) = self.chore.take() {
            self.chore_done = Some(match &chore {
                // The names belong to whoever is in the new journal.
                _ if !env.journal_is_current() => Ok(false),
                Chore::Replace { name, source, zip, form } => self.replace(env, name, *source, *zip, *form),
                Chore::Remove(victims) => self.remove(env, victims),
            });
        }
    }

    /// Notes the replacement and carries it out. `Ok(false)`: things are not as they were; nothing was done.
    fn replace(&mut self, env: &E, name: &str, source: (FileId, u64), zip: FileId, form: Form) -> io::Result<bool> {
        let Some(name) = self.name_of(env, Some(name), source.0)? else { return Ok(false) };
        if env.lookup(&name)?.is_none_or(|meta| meta.size != source.1) {
            return Ok(false);
        }
        let chores = &env.control().chores;
        for (words, id) in [(&chores.source, source.0), (&chores.zip, zip)] {
            words.iter().zip(id.0).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
        }
        // Release pairs with the acquire of whoever finds the note.
        chores.form.store(if form == Form::Zstd { 2 } else { 1 }, Ordering::Release);
        env.step(Step::ChoreNoted);
        self.finish_replace(env, Some(&name))
    }

    /// From wherever it stopped. Afterwards the note is empty, also if something failed: then both files stay, and the
    /// upkeep compares their contents before it tries again.
    fn finish_replace(&mut self, env: &E, name: Option<&str>) -> io::Result<bool> {
        let chores = &env.control().chores;
        let (source, zip) = (load_id(&chores.source), load_id(&chores.zip));
        let form = if chores.form.load(Ordering::Relaxed) == 2 { Form::Zstd } else { Form::Gzip };
        let done = self.replace_noted(env, name, source, zip, form);
        chores.form.store(0, Ordering::Release);
        match &done {
            Ok(true) => drop(chores.compressed.fetch_add(1, Ordering::Relaxed)),
            Ok(false) => {}
            Err(e) if name.is_none() => self.failed(env, Operation::Compress, e),
            // Whoever asked hears of it.
            Err(_) => {}
        }
        done
    }

    fn replace_noted(&self, env: &E, name: Option<&str>, source: FileId, zip: FileId, form: Form) -> io::Result<bool> {
        let is_zip = |name: &str| Ok::<_, io::Error>(env.lookup(name)?.is_some_and(|meta| meta.id == zip));
        let Some(name) = self.name_of(env, name, source)? else {
            // Gone: by us, and then its compressed form has a name; or by retention or somebody else.
            return Ok(env.list()?.iter().any(|name| is_zip(name).unwrap_or(false)));
        };
        let target = format!("{name}{}", form.extension());
        let temporary = temporary(env.log());
        if is_zip(&temporary)? {
            env.rename(&temporary, &target)?;
            env.step(Step::ZipNamed);
        } else if !is_zip(&target)? {
            return Ok(false);
        }
        if let Some(link) = &self.settings.link
            && env.link_target(link).is_some_and(|to| to == name)
        {
            self.set_link(env, link, &target);
        }
        env.unlink(&name)?;
        env.step(Step::ZipSourceGone);
        Ok(true)
    }

    /// The name of an archive that is not compressed. `hint` is tried first: that spares a look at all names.
    fn name_of(&self, env: &E, hint: Option<&str>, id: FileId) -> io::Result<Option<String>> {
        let family = self.settings.family(env.log());
        let is_it = |name: &str| env.lookup(name).is_ok_and(|meta| meta.is_some_and(|meta| meta.id == id));
        let is_plain = |name: &str| family.parse(name).is_some_and(|archive| archive.form == Form::Plain);
        if let Some(hint) = hint.filter(|name| is_plain(name) && is_it(name)) {
            return Ok(Some(hint.to_owned()));
        }
        Ok(env.list()?.into_iter().find(|name| is_plain(name) && is_it(name)))
    }

    /// Deletes archives. `Ok(false)`: none of them was found.
    fn remove(&self, env: &E, victims: &[FileId]) -> io::Result<bool> {
        let names = env.list()?;
        let archives = self.settings.family(env.log()).sorted(&names);
        let newest = archives.last().map(|archive| archive.key);
        let (mut removed, mut others) = (0, 0);
        // They were the oldest when they were looked at, so they are the first here under whatever name they have now.
        for archive in archives.iter().take_while(|archive| Some(archive.key) != newest) {
            if removed == victims.len() || others > OTHERS {
                break;
            }
            match env.lookup(archive.name)? {
                Some(meta) if victims.contains(&meta.id) => env.unlink(archive.name)?,
                _ => {
                    others += 1;
                    continue;
                }
            }
            env.step(Step::Retired);
            env.control().chores.retired.fetch_add(1, Ordering::Relaxed);
            removed += 1;
        }
        Ok(removed > 0)
    }

    /// The link leads to the archive that was just cut.
    pub(super) fn link_newest(&self, env: &E, newest: Option<&str>) {
        if let (Some(link), Some(newest)) = (&self.settings.link, newest)
            // Somebody else's rename may have come before ours: then there is no such archive.
            && env.lookup(newest).is_ok_and(|meta| meta.is_some())
        {
            self.set_link(env, link, newest);
        }
    }

    fn set_link(&self, env: &E, link: &str, target: &str) {
        // Best effort: the next rotation tries again.
        match env.link(link, target) {
            Ok(()) => env.step(Step::Linked),
            Err(e) => self.failed(env, Operation::Link, &e),
        }
    }

    fn failed(&self, env: &E, operation: Operation, error: &io::Error) {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        record_failure(env.control(), &Failure { operation, errno });
    }
}
