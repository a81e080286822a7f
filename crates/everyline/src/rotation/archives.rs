//! The archives of a log: which of the names in a directory they are, plain or compressed, and how old relative to each
//! other.
//!
//! Promise: as in `naming`, a name that we would not have given is nobody's business here. An archive and its compressed
//! form have one [`Key`] and count as one: they move together, stay together, and go together.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::naming::{Naming, parse_dated, parse_numbered, parse_sequence};
use super::schedule::Schedule;

/// How an archive stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// As it was written.
    Plain,
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstd,
}

impl Form {
    /// What it adds to the name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }

    /// A name without the extension, and what that was.
    fn split(name: &str) -> (&str, Self) {
        let ends = |form: Self| name.strip_suffix(form.extension()).map(|plain| (plain, form));
        ends(Self::Gzip).or_else(|| ends(Self::Zstd)).unwrap_or((name, Self::Plain))
    }
}

/// Place in the order of writing, oldest first. All archives of one log have keys of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    /// The highest number is the oldest.
    Number(Reverse<u32>),
    /// All stamps of one form have one length, so the order of text is the order of time.
    Stamp(&'a str, u64),
}

/// One archive, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Archive<'a> {
    /// Age.
    pub key: Key<'a>,
    /// Compressed or not.
    pub form: Form,
    /// Its name.
    pub name: &'a str,
}

impl Archive<'_> {
    /// The number, with numbered names.
    pub fn number(&self) -> u32 {
        match self.key {
            Key::Number(Reverse(number)) => number,
            Key::Stamp(..) => 0,
        }
    }
}

/// What makes a name an archive of this log.
#[derive(Clone, Copy, Debug)]
pub struct Family<'a> {
    /// Base name of the log.
    pub log: &'a str,
    /// Scheme.
    pub naming: Naming,
    /// Decides what the stamps of dated names look like.
    pub schedule: Option<Schedule>,
}

impl Family<'_> {
    /// The archive that a name is.
    pub fn parse<'n>(&self, name: &'n str) -> Option<Archive<'n>> {
        let (plain, form) = Form::split(name);
        if Form::split(plain).1 != Form::Plain {
            return None;
        }
        let key = match self.naming {
            Naming::Numbered => Key::Number(Reverse(parse_numbered(self.log, plain)?)),
            Naming::Dated => {
                let (stamp, clash) = parse_dated(self.log, plain, self.schedule.as_ref())?;
                Key::Stamp(stamp, u64::from(clash))
            }
            Naming::Sequence => {
                let (stamp, number) = parse_sequence(self.log, plain)?;
                Key::Stamp(stamp, number)
            }
            // On their way to names that only the application knows.
            Naming::Staged => return None,
        };
        Some(Archive { key, form, name })
    }

    /// All archives among some names, oldest first.
    pub fn sorted<'n>(&self, names: &'n [String]) -> Vec<Archive<'n>> {
        let mut archives: Vec<Archive<'n>> = names.iter().filter_map(|name| self.parse(name)).collect();
        archives.sort_unstable();
        archives
    }
}

/// The lowest number from 1 to `keep` that no archive has, in any form. A rotation shifts files only up to this gap.
/// `None`: there is none, the oldest file has to go.
pub fn first_gap(archives: &[Archive<'_>], keep: u32) -> Option<u32> {
    let taken: BTreeSet<u32> = archives.iter().map(Archive::number).collect();
    // Ascending: the first one that is not in its place marks the gap.
    let in_place = taken.iter().zip(1u32..).take_while(|(taken, place)| **taken == *place).count();
    u32::try_from(in_place).ok()?.checked_add(1).filter(|gap| *gap <= keep)
}

/// The clash counter for the next archive with `stamp`: one more than the highest in use, or 0 if there is none.
///
/// Not the lowest free one: retention deletes the lowest first, and a new file put there would be taken for the oldest
/// and be deleted next.
pub fn next_clash(archives: &[Archive<'_>], stamp: &str) -> u32 {
    let clash = |archive: &Archive<'_>| match archive.key {
        Key::Stamp(other, clash) if other == stamp => u32::try_from(clash).ok(),
        _ => None,
    };
    archives.iter().filter_map(clash).map(|clash| clash.saturating_add(1)).max().unwrap_or(0)
}

/// The archives to delete so that the newest `keep` remain, oldest first. `archives` are sorted.
pub fn expired<'a, 'n>(archives: &'a [Archive<'n>], keep: u32) -> &'a [Archive<'n>] {
    let keys: BTreeSet<Key<'_>> = archives.iter().map(|archive| archive.key).collect();
    let excess = keys.len().saturating_sub(keep as usize);
    let first_kept = keys.iter().nth(excess); // none if `keep` is 0
    let count = archives.iter().take_while(|archive| first_kept.is_none_or(|kept| archive.key < *kept)).count();
    &archives[..count]
}

#[cfg(test)]
mod tests {
    use super::super::naming::{dated, numbered};
    use super::*;
    use crate::rotation::When;
    use proptest::prelude::*;

    const NUMBERED: Family<'_> = Family { log: "a.log", naming: Naming::Numbered, schedule: None };
    const SEQUENCE: Family<'_> = Family { log: "a.log", naming: Naming::Sequence, schedule: None };

    fn daily() -> Family<'static> {
        Family { log: "a.log", naming: Naming::Dated, schedule: Some(Schedule::new(When::Day, 1).unwrap()) }
    }

    fn text(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    fn names<'a>(archives: &[Archive<'a>]) -> Vec<&'a str> {
        archives.iter().map(|a| a.name).collect()
    }

    proptest! {
        #[test]
        fn the_first_gap_is_free_and_everything_below_it_is_taken_compressed_or_not(
            taken in prop::collection::vec((0..12u32, prop::sample::select(&["", ".gz", ".zst"][..])), 0..20),
            keep in 0..12u32,
        ) {
            let names: Vec<String> = taken.iter().map(|(n, form)| numbered("a.log", *n) + form).collect();
            let expected = (1..=keep).find(|n| taken.iter().all(|(t, _)| t != n));
            prop_assert_eq!(first_gap(&NUMBERED.sorted(&names), keep), expected);
        }

        #[test]
        fn retention_leaves_the_newest_keep_files_and_every_foreign_one(
            files in prop::collection::btree_set((10..15u32, 0..12u32), 0..30),
            keep in 0..40u32,
        ) {
            let mut all: Vec<String> =
                files.iter().rev().map(|(d, clash)| dated("a.log", &format!("2026-01-{d}"), *clash)).collect();
            all.push("a.log.2026-01-1".into());
            all.push("a.log.2026-01-10.bak".into());
            let archives = daily().sorted(&all);
            let gone: Vec<String> = expired(&archives, keep).iter().map(|a| a.name.to_owned()).collect();
            let excess = files.len().saturating_sub(keep as usize);
            let expected: Vec<String> =
                files.iter().take(excess).map(|(d, clash)| dated("a.log", &format!("2026-01-{d}"), *clash)).collect();
            prop_assert_eq!(gone, expected);
        }
    }

    #[test]
    fn an_archive_and_its_compressed_form_count_once_and_go_together() {
        let all = text(&["a.log.2026-01-02", "a.log.2026-01-01.gz", "a.log.2026-01-02.zst", "a.log.2026-01-01"]);
        let archives = daily().sorted(&all);
        assert_eq!(names(expired(&archives, 2)), [""; 0]);
        assert_eq!(names(expired(&archives, 1)), ["a.log.2026-01-01", "a.log.2026-01-01.gz"]);
        assert_eq!(expired(&archives, 0).len(), 4);
    }

    #[test]
    fn the_next_clash_is_newer_than_all_even_if_older_ones_are_gone() {
        let next = |names: &[&str]| next_clash(&daily().sorted(&text(names)), "2026-01-01");
        assert_eq!(next(&["a.log.2026-01-02.7", "a.log.2026-01-01.bak"]), 0);
        assert_eq!(next(&["a.log.2026-01-01"]), 1);
        assert_eq!(next(&["a.log.2026-01-01.9", "a.log.2026-01-01.10.zst"]), 11);
    }

    #[test]
    fn the_oldest_comes_first() {
        let all = text(&["a.log.2", "a.log.10.gz", "a.log.1", "a.log"]);
        assert_eq!(names(&NUMBERED.sorted(&all)), ["a.log.10.gz", "a.log.2", "a.log.1"]);
        let all = text(&["a.log.20231114T221321Z-000124", "a.log.20231114T221320Z-000123.gz"]);
        assert_eq!(
            names(&SEQUENCE.sorted(&all)),
            ["a.log.20231114T221320Z-000123.gz", "a.log.20231114T221321Z-000124"]
        );
    }

    #[test]
    fn names_that_only_look_like_archives_are_nobodys() {
        for foreign in
            ["a.log.gz", "a.log.1.gz.gz", "a.log.1.bz2", "a.log.1.gz.tmp", ".a.log.everyline-zip", "a.log.1gz"]
        {
            assert_eq!(NUMBERED.parse(foreign), None, "{foreign}");
        }
        assert_eq!(daily().parse("a.log.2026-01-01.gz.gz"), None);
        assert_eq!(daily().parse("a.log.2026-01-01.gz.zst"), None);
    }
}
