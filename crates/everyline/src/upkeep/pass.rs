//! One look at the archives of a log: what is to be deleted, what is due to be compressed, and when to look again.
//!
//! Promise: everything that can be done is done, oldest first; what fails is counted, kept for `status`, and left for the
//! next rotation or attach. The live file and the newest archive are never deleted.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::AtFlags;

use super::turn::Turn;
use super::zip::{self, Zip};
use crate::engine::Engine;
use crate::options::Compress;
use crate::os;
use crate::protocol::chores::{Chore, temporary};
use crate::protocol::commit::Effort;
use crate::protocol::env::{Env, FileId, Settings};
use crate::protocol::trouble::{Failure, Operation, record_failure};
use crate::rotation::Form;

/// Archives deleted under one lease.
const REMOVED_AT_ONCE: usize = 32;
/// Tries at an archive that is not what it was when it was looked at.
const TRIES: usize = 5;

/// What comes after a pass.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until somebody rotates.
    Nothing,
    /// Another pass at this time, Unix ns.
    At(u64),
    /// It was told to end, with work left.
    Stopped,
}

/// The upkeep's turn, kept from pass to pass while something will be due.
#[derive(Debug, Default)]
pub struct Pass {
    turn: Option<Turn>,
}

/// An archive as it is on disk.
#[derive(Clone, Debug)]
struct Found {
    name: String,
    form: Form,
    /// Of the same age as the one before it in the list: the archive and its compressed form.
    same_as_before: bool,
    id: FileId,
    bytes: u64,
    /// Last write, Unix ns.
    modified_ns: u64,
    /// An upper bound of when it was cut, Unix ns.
    cut_ns: u64,
}

/// How often an archive was found to have moved, or changed, while it was being compressed.
#[derive(Debug, Default)]
struct Seen(Vec<FileId>);

impl Seen {
    /// True up to the number of tries that an archive gets.
    fn insert(&mut self, id: FileId) -> bool {
        self.0.push(id);
        self.0.iter().filter(|other| **other == id).count() < TRIES
    }
}

impl Pass {
    /// Does what is due.
    pub fn run(&mut self, engine: &Engine, stop: &AtomicBool) -> Next {
        loop {
            let rotations = rotations(engine);
            if self.turn.is_none() {
                self.turn = Turn::take(&engine.env).unwrap_or_else(|e| {
                    failed(engine, Operation::Compress, &e);
                    None
                });
            }
            if self.turn.is_none() {
                // Whoever has it looks once more when it is done (below).
                return Next::Nothing;
            }
            let next = rounds(engine, stop).unwrap_or_else(|e| {
                failed(engine, Operation::Compress, &e);
                Next::Nothing
            });
            if next != Next::Nothing {
                return next;
            }
            self.turn = None;
            // Somebody who rotated meanwhile, and found the turn taken, has left it to us.
            if rotations == self::rotations(engine) || stop.load(Ordering::Acquire) {
                return next;
            }
        }
    }
}

/// What is due, in the calling thread: for `recover`, which has time.
pub fn run_what_is_due(engine: &Engine) {
    if in_force(engine).has_upkeep() {
        engine.upkeep.stop();
        Pass::default().run(engine, &AtomicBool::new(false));
    }
    drop(engine.env.deleted());
}

/// What is in force; if it cannot be read now, what this process knows of it.
pub fn in_force(engine: &Engine) -> Settings {
    engine.env.settings().unwrap_or_else(|_| engine.env.known_settings())
}

/// True if a pass would find something to do, now or later. A look at names only.
pub fn is_owed(engine: &Engine, settings: &Settings) -> bool {
    let Ok(names) = engine.env.list() else { return false };
    let archives = settings.family(engine.env.log()).sorted(&names);
    let ages = settings.keep_age.is_some() || settings.keep_total_bytes.is_some();
    archives.iter().any(|archive| ages || archive.form == Form::Plain)
        || engine.env.lookup(&temporary(engine.env.log())).is_ok_and(|meta| meta.is_some())
}

fn rotations(engine: &Engine) -> u64 {
    engine.env.control().trouble.rotations.load(Ordering::Acquire)
}

fn failed(engine: &Engine, operation: Operation, error: &io::Error) {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    record_failure(engine.env.control(), &Failure { operation, errno });
}

fn rounds(engine: &Engine, stop: &AtomicBool) -> io::Result<Next> {
    remove_leftover(engine)?;
    let (mut moved, mut passed_over) = (Seen::default(), Vec::new());
    loop {
        if stop.load(Ordering::Acquire) || engine.env.is_lost() {
            return Ok(Next::Stopped);
        }
        let settings = in_force(engine);
        let found = archives(engine, &settings)?;
        if retire(engine, &settings, &found, stop)? {
            continue;
        }
        if settings.compress == Compress::None || !settings.compress.is_built_in() {
            return Ok(Next::Nothing);
        }
        let grace = settings.compress_after.as_nanos() as u64;
        let due = |a: &Found| a.cut_ns.saturating_add(grace);
        let mut waiting: Vec<&Found> =
            found.iter().filter(|a| a.form == Form::Plain && !passed_over.contains(&a.id)).collect();
        waiting.sort_by_key(|a| due(a));
        let now = os::wall_ns();
        match waiting.first() {
            None => return Ok(Next::Nothing),
            Some(first) if due(first) > now => return Ok(Next::At(due(first))),
            _ => {}
        }
        // Then another look: archives may have moved, or come.
        for archive in waiting.into_iter().take_while(|a| due(a) <= now) {
            match compress(engine, &settings, archive, &found, stop) {
                Ok(true) => {}
                Ok(false) if stop.load(Ordering::Acquire) => return Ok(Next::Stopped),
                // It has moved, or has changed, or the lease could not be had.
                Ok(false) if moved.insert(archive.id) => break,
                Ok(false) => passed_over.push(archive.id),
                Err(e) => {
                    failed(engine, Operation::Compress, &e);
                    passed_over.push(archive.id);
                    // No room for one is no room for the others.
                    if matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EROFS)) {
                        return Ok(Next::Nothing);
                    }
                }
            }
        }
    }
}

/// The temporary file of somebody who died. An open note still needs it: then a holder finishes that first.
fn remove_leftover(engine: &Engine) -> io::Result<()> {
    let env = &engine.env;
    let name = temporary(env.log());
    if env.lookup(&name)?.is_none() {
        return Ok(());
    }
    let note = &env.control().chores.form;
    if note.load(Ordering::Acquire) != 0 {
        engine.commit(Effort::Force);
    }
    if note.load(Ordering::Acquire) != 0 {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    match rustix::fs::unlinkat(env.log.directory.fd(), name.as_str(), AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// All archives, oldest first. What is no regular file is nobody's business.
fn archives(engine: &Engine, settings: &Settings) -> io::Result<Vec<Found>> {
    let env = &engine.env;
    let names = env.list()?;
    let mut found: Vec<Found> = Vec::new();
    let mut last = None;
    for archive in settings.family(env.log()).sorted(&names) {
        let Some(stat) = zip::stat(env.log.directory.fd(), archive.name)? else { continue };
        // The cut renamed it, which its change time shows at the earliest; a shift renames it again. But at the cut the
        // next younger file was made.
        if let Some(before) = found.last_mut()
            && archive.form == Form::Plain
            && last != Some(archive.key)
        {
            before.cut_ns = before.cut_ns.min(born(stat.id));
        }
        let same_as_before = last.replace(archive.key) == Some(archive.key);
        found.push(Found {
            name: archive.name.to_owned(),
            form: archive.form,
            same_as_before,
            id: stat.id,
            bytes: stat.bytes,
            modified_ns: stat.modified_ns,
            cut_ns: stat.changed_ns,
        });
    }
    if let (Some(newest), Ok(Some(live))) = (found.last_mut(), env.lookup(env.log())) {
        newest.cut_ns = newest.cut_ns.min(born(live.id));
    }
    Ok(found)
}

/// Birth time; never, where the file system knows none.
fn born(id: FileId) -> u64 {
    if id.0[2] == 0 { u64::MAX } else { id.0[2] }
}

/// Deletes what is too old, or too much. True if something was deleted.
fn retire(engine: &Engine, settings: &Settings, found: &[Found], stop: &AtomicBool) -> io::Result<bool> {
    let victims = victims(settings, found, os::wall_ns());
    let mut removed = false;
    for some in victims.chunks(REMOVED_AT_ONCE) {
        match engine.chore(Chore::Remove(some.iter().map(|a| a.id).collect()), stop) {
            // Where things have moved, the next round sees where to.
            Some(Ok(done)) => removed |= done,
            // What cannot be deleted stays; the others can still be compressed.
            Some(Err(e)) => {
                failed(engine, Operation::Retire, &e);
                return Ok(false);
            }
            None => return Ok(false),
        }
        drop(engine.env.deleted());
    }
    Ok(removed)
}

/// A prefix of the archives, never the newest: too old, or more bytes than may be kept behind the younger ones.
fn victims<'a>(settings: &Settings, found: &'a [Found], now_ns: u64) -> &'a [Found] {
    let age = settings.keep_age.unwrap_or(Duration::MAX).as_nanos();
    let too_old = |a: &Found| u128::from(now_ns.saturating_sub(a.modified_ns)) > age;
    let newest = found.iter().rposition(|a| !a.same_as_before).unwrap_or(0);
    let by_age = found[..newest].iter().take_while(|a| too_old(a)).count();
    let most = settings.keep_total_bytes.unwrap_or(u64::MAX);
    let mut total = 0u64;
    let fits = |a: &&Found| {
        total = total.saturating_add(a.bytes);
        total <= most
    };
    let by_bytes = found.len() - found.iter().rev().take_while(fits).count();
    let mut count = by_age.max(by_bytes).min(newest);
    // An archive and its compressed form go together.
    while count > 0 && count < newest && found[count].same_as_before {
        count += 1;
    }
    &found[..count]
}

/// Compresses one archive, and puts the result in its place. `Ok(false)`: it moved, changed, or the time is over.
fn compress(
    engine: &Engine,
    settings: &Settings,
    archive: &Found,
    found: &[Found],
    stop: &AtomicBool,
) -> io::Result<bool> {
    let directory = engine.env.log.directory.fd();
    let (name, source) = (archive.name.clone(), (archive.id, archive.bytes));
    for form in [Form::Gzip, Form::Zstd] {
        let packed = format!("{name}{}", form.extension());
        if let Some(twin) = found.iter().find(|a| a.name == packed) {
            // Somebody died in between, and the note about it is lost; or it is somebody else's. Only the contents tell.
            if !zip::is_same(directory, &archive.name, &twin.name, form, stop)? {
                let free = "a compressed file of that name is there, with other contents";
                return if stop.load(Ordering::Acquire) { Ok(false) } else { Err(io::Error::other(free)) };
            }
            let chore = Chore::Replace { name, source, zip: twin.id, form };
            return engine.chore(chore, stop).unwrap_or(Ok(false));
        }
    }
    let temporary = temporary(engine.env.log());
    let job = Zip { directory, source: &archive.name, id: archive.id, temporary: &temporary, how: settings.compress };
    let Some(made) = zip::make(&job, &engine.env, stop)? else { return Ok(false) };
    let form = if matches!(settings.compress, Compress::Zstd { .. }) { Form::Zstd } else { Form::Gzip };
    let chore = Chore::Replace { name, source: (archive.id, made.source_bytes), zip: made.id, form };
    let done = engine.chore(chore, stop).unwrap_or(Ok(false));
    // Replaced: the name is gone. Not replaced: nobody needs it.
    remove_leftover(engine)?;
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    const SECOND: u64 = 1_000_000_000;

    fn found(files: &[(&str, u64, u64)]) -> Vec<Found> {
        let mut last = String::new();
        files
            .iter()
            .map(|(name, bytes, modified_s)| {
                let plain = name.trim_end_matches(".gz").to_owned();
                let same_as_before = std::mem::replace(&mut last, plain.clone()) == plain;
                let form = if name.ends_with(".gz") { Form::Gzip } else { Form::Plain };
                let (bytes, modified_ns) = (*bytes, modified_s * SECOND);
                Found { name: (*name).into(), form, same_as_before, id: FileId::NONE, bytes, modified_ns, cut_ns: 0 }
            })
            .collect()
    }

    fn gone(options: Options, files: &[(&str, u64, u64)]) -> Vec<String> {
        victims(&Settings::of(&options), &found(files), 100 * SECOND).iter().map(|a| a.name.clone()).collect()
    }

    #[test]
    fn age_counts_from_the_last_write_and_the_newest_stays_however_old() {
        let age = |s| Options { keep_age: Some(Duration::from_secs(s)), ..Options::default() };
        let files = [("a", 1, 10), ("b", 1, 50), ("c", 1, 60)];
        assert_eq!(gone(age(90), &files), [""; 0]);
        assert_eq!(gone(age(89), &files), ["a"]);
        assert_eq!(gone(age(1), &files), ["a", "b"]);
        assert_eq!(gone(age(1), &[]), [""; 0]);
        // A younger one in front of an older one (somebody touched it) shields it: only the oldest go.
        assert_eq!(gone(age(60), &[("a", 1, 90), ("b", 1, 10), ("c", 1, 95)]), [""; 0]);
    }

    #[test]
    fn the_bytes_of_the_youngest_are_kept_up_to_the_limit() {
        let bytes = |n| Options { keep_total_bytes: Some(n), ..Options::default() };
        let files = [("a", 10, 1), ("b", 20, 2), ("c", 30, 3)];
        assert_eq!(gone(bytes(60), &files), [""; 0]);
        assert_eq!(gone(bytes(59), &files), ["a"]);
        assert_eq!(gone(bytes(49), &files), ["a", "b"]);
        assert_eq!(gone(bytes(1), &files), ["a", "b"], "the newest stays");
    }

    #[test]
    fn an_archive_and_its_compressed_form_go_together_or_stay_together() {
        let bytes = |n| Options { keep_total_bytes: Some(n), ..Options::default() };
        let files = [("a", 10, 1), ("a.gz", 5, 1), ("b", 10, 2), ("b.gz", 5, 2)];
        assert_eq!(gone(bytes(30), &files), [""; 0]);
        assert_eq!(gone(bytes(22), &files), ["a", "a.gz"]);
        assert_eq!(gone(bytes(1), &files), ["a", "a.gz"], "both forms of the newest stay");
    }
}
