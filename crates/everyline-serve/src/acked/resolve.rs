//! After a kill: how much of an intent is in the log.
//!
//! The engine first writes what the dead server had handed to it (`recover`). From then on the log holds every record
//! that was appended, whole and once, and they stand in order from the noted end of the noted file on; those of the
//! batch that were not appended stand nowhere. So the longest beginning of the batch that is found there, in order,
//! is what was done.
//!
//! Exact while the server is the only one who writes the log. If others write it, too, a line of theirs that is equal,
//! byte for byte, to the next record of the batch, written between the kill and the next start, is taken for it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use super::state::{Intent, State};

/// Finishes what was left open for one client. True if there was something.
///
/// # Errors
/// One line for people. Nothing is decided then.
pub fn resolve(state_path: &Path) -> Result<bool, String> {
    let trouble = |e: &dyn std::fmt::Display| format!("{}: {e}", state_path.display());
    let mut state = State::open(state_path).map_err(|e| trouble(&e))?;
    let Some(intent) = state.open_intent().map_err(|e| trouble(&e))? else { return Ok(false) };
    // Opened before anybody can rotate, compress or remove them.
    let mut files = files_of(&intent.path).map_err(|e| trouble(&e))?;
    match everyline::recover(&intent.path) {
        Ok(_) => {}
        // Its last process left in good order: all is in the file.
        Err(e) if e.kind() == everyline::ErrorKind::NotAttached => {}
        Err(e) => return Err(trouble(&e)),
    }
    for (born, file) in files_of(&intent.path).map_err(|e| trouble(&e))? {
        let inode = |file: &File| file.metadata().map(|found| found.ino()).ok();
        if files.iter().all(|(_, known)| inode(known) != inode(&file)) {
            files.push((born, file));
        }
    }
    files.sort_by_key(|(born, _)| *born);
    let files = files.into_iter().map(|(_, file)| file);
    let found = count_found(&intent, files).map_err(|e| trouble(&e))?;
    let done = match intent.records.get(found.saturating_sub(1)) {
        _ if found == intent.records.len() => intent.last,
        Some((sequence, _)) if found > 0 => *sequence,
        _ => state.done(),
    };
    // In this order, and the second one, too: after another kill nobody may look for the rest again, when others have
    // appended to the log.
    state.set_done(done).and_then(|()| state.forget_intent()).map_err(|e| trouble(&e))?;
    Ok(true)
}

/// The log and what was rotated from it, with the times of their birth.
fn files_of(log: &Path) -> io::Result<Vec<(SystemTime, File)>> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(name.as_encoded_bytes()) || !entry.file_type()?.is_file() {
            continue;
        }
        match File::open(entry.path()) {
            Ok(file) => {
                let found = file.metadata()?;
                files.push((found.created().or_else(|_| found.modified())?, file));
            }
            // Renamed or removed meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(files)
}

/// How many records of the batch stand in the files, in order, from the noted place on.
fn count_found(intent: &Intent, files: impl Iterator<Item = File>) -> io::Result<usize> {
    // A record may have several lines; each is looked for.
    let mut wanted = intent.records.iter().enumerate().flat_map(|(index, (_, text))| {
        let lines = text.as_bytes().split_inclusive(|byte| *byte == b'\n');
        let count = lines.clone().count();
        lines.enumerate().map(move |(at, line)| (index, at + 1 == count, line))
    });
    let mut next = wanted.next();
    let mut found = 0;
    let mut begun = false;
    for mut file in files {
        if !begun && file.metadata()?.ino() != intent.inode {
            continue;
        }
        if !std::mem::replace(&mut begun, true) {
            file.seek(SeekFrom::Start(intent.at))?;
        }
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while let Some((index, is_last, expected)) = next {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line == expected {
                if is_last {
                    found = index + 1;
                }
                next = wanted.next();
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(records: &[&str]) -> Intent {
        let records: Vec<_> = (1..).zip(records.iter().map(|text| (*text).to_owned())).collect();
        Intent { path: "app.log".into(), inode: 0, at: 4, last: 9, records }
    }

    fn found(intent: &mut Intent, contents: &[&str]) -> usize {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for (index, text) in contents.iter().enumerate() {
            let path = dir.path().join(index.to_string());
            std::fs::write(&path, text).unwrap();
            files.push(File::open(path).unwrap());
        }
        // The second file is the noted one.
        intent.inode = files[1].metadata().unwrap().ino();
        count_found(intent, files.into_iter()).unwrap()
    }

    #[test]
    fn the_longest_beginning_counts_from_the_noted_place_on() {
        let mut batch = intent(&["a\n", "a\n", "b\nc\n"]);
        for (contents, expected) in [
            (["a\n", "old\n", "", ""], 0),
            (["a\na\nb\nc\n", "a\n\n\na\n", "", ""], 1),
            (["", "old\na\na\nb\n", "", ""], 2),
            (["", "old\na\na\nb\n", "c\n", ""], 3),
            (["", "old\na\n", "a\n", "b\nc\n"], 3),
            (["", "old\nforeign\na\nforeign\na\n", "b\nforeign\nc\n", ""], 3),
            (["", "old\nb\nc\n", "", ""], 0),
            (["", "old\n", "a\n", "more\n"], 1),
        ] {
            assert_eq!(found(&mut batch, &contents), expected, "{contents:?}");
        }
    }

    #[test]
    fn a_file_that_is_gone_holds_nothing() {
        let mut batch = intent(&["a\n"]);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "old\na\n").unwrap();
        batch.inode = u64::MAX;
        assert_eq!(count_found(&batch, [File::open(dir.path().join("x")).unwrap()].into_iter()).unwrap(), 0);
    }

    #[test]
    fn what_was_remembered_is_read_again_and_damage_is_not_guessed_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.ack");
        let mut state = State::open(&path).unwrap();
        assert_eq!((state.done(), state.open_intent().unwrap()), (0, None));
        let batch = intent(&["a\n", "é\n"]);
        state.intend(&batch).unwrap();
        let reopened = State::open(&path).unwrap();
        assert_eq!((reopened.done(), reopened.open_intent().unwrap()), (0, Some(batch.clone())));
        state.set_done(9).unwrap();
        assert_eq!(State::open(&path).unwrap().open_intent().unwrap(), None);
        state.set_done(3).unwrap();
        assert!(state.intend(&batch).is_ok() && state.intend(&batch).is_err());
        // Every way in which a kill can cut the intent short: as if it had not been begun.
        let whole = std::fs::read(&path).unwrap();
        for length in 4096..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let cut = State::open(&path).unwrap();
            assert_eq!((cut.done(), cut.open_intent().unwrap()), (3, None), "{length}");
        }
        std::fs::write(&path, &whole).unwrap();
        let mut decided = State::open(&path).unwrap();
        decided.forget_intent().unwrap();
        assert_eq!(State::open(&path).unwrap().open_intent().unwrap(), None);
        std::fs::write(&path, &whole[..10]).unwrap();
        assert!(State::open(&path).unwrap_err().to_string().contains("remove it"));
    }
}
