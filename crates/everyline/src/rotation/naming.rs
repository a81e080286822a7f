//! Names of rotated files: building them, recognising them, and choosing which ones to delete.
//!
//! Promise: a name that this module would not itself have built is never recognised. Directories of logs hold other
//! people's files (`app.log.1~`, `app.log.01`, `app.log.bak`), and what is recognised here may be deleted.
//!
//! Two schemes. *Numbered*: `app.log.1` is the newest, and each rotation moves every file up by one. *Dated*:
//! `app.log.<stamp>` never moves again; a second file with the same stamp becomes `app.log.<stamp>.1`. Here the counter
//! rises with time: of the files of one stamp, the one without a counter is the *oldest*.
//!
//! Nothing here looks at a directory; callers hand in the names. Names are text: a log whose name is not UTF-8 is the
//! caller's to handle.

use std::collections::BTreeSet;

use super::schedule::{self, CUT_FORMAT, Schedule};

/// Longest file name that Linux file systems take, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// How rotated files are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `app.log.1` is the newest, `app.log.2` the one before, and so on.
    Numbered,
    /// `app.log.2026-01-31`; if that name is taken, `app.log.2026-01-31.1`, `.2` and so on.
    Dated,
    /// `.app.log.staged-<time>-<rollover>`: a file on its way to the name and the treatment that the application gives
    /// it. Hidden, so that no tailer and no retention takes it for an archive.
    Staged,
}

impl Naming {
    /// As it stands in the journal's settings.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Numbered => "numbered",
            Self::Dated => "dated",
            Self::Staged => "staged",
        }
    }

    /// Inverse of [`name`](Self::name).
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Numbered, Self::Dated, Self::Staged].into_iter().find(|naming| naming.name() == name)
    }
}

/// The name of the `n`th archive of `log`.
pub fn numbered(log: &str, n: u32) -> String {
    format!("{log}.{n}")
}

/// The number in an archive's name; `None` if it is not a name [`numbered`] gives for a number from 1 on.
pub fn parse_numbered(log: &str, name: &str) -> Option<u32> {
    strict_number(suffix(log, name)?)
}

/// The lowest number from 1 to `keep` with no archive, given the names in the directory. A rotation shifts files only
/// up to this gap. `None`: there is none, the oldest file has to go.
pub fn first_gap<'a>(log: &str, names: impl Iterator<Item = &'a str>, keep: u32) -> Option<u32> {
    let taken: BTreeSet<u32> = names.filter_map(|name| parse_numbered(log, name)).collect();
    // Ascending: the first one that is not in its place marks the gap.
    let in_place = taken.iter().zip(1u32..).take_while(|(taken, place)| **taken == *place).count();
    u32::try_from(in_place).ok()?.checked_add(1).filter(|gap| *gap <= keep)
}

/// The name of the archive with `stamp`; `clash` counts the files that had the name before (0: none).
pub fn dated(log: &str, stamp: &str, clash: u32) -> String {
    match clash {
        0 => format!("{log}.{stamp}"),
        _ => format!("{log}.{stamp}.{clash}"),
    }
}

/// Stamp and clash counter of an archive's name, compressed (`.gz`) or not; `None` if it is not ours. The stamp must
/// have the form of `schedule` or, without one, of [`cut_stamp`].
pub fn parse_dated<'a>(log: &str, name: &'a str, schedule: Option<&Schedule>) -> Option<(&'a str, u32)> {
    let format = schedule.map_or(CUT_FORMAT, |s| s.when().stamp_format());
    schedule::split_suffix(format, suffix(log, name)?)
}

/// The clash counter for the next archive with `stamp`: one more than the highest in use, or 0 if there is none.
///
/// Not the lowest free one: retention deletes the lowest first, and a new file put there would be taken for the oldest
/// and be deleted next.
pub fn next_clash<'a>(
    log: &str,
    stamp: &str,
    names: impl Iterator<Item = &'a str>,
    schedule: Option<&Schedule>,
) -> u32 {
    names
        .filter_map(|name| parse_dated(log, name, schedule))
        .filter(|(other, _)| *other == stamp)
        .map(|(_, clash)| clash.saturating_add(1))
        .max()
        .unwrap_or(0)
}

/// The names to delete so that the newest `keep` archives remain, oldest first. Foreign names never match.
///
/// An archive and its compressed form have the same stamp and counter and count as one: both stay, or both go.
pub fn expired_dated<'a>(
    log: &str,
    names: impl Iterator<Item = &'a str>,
    keep: u32,
    schedule: Option<&Schedule>,
) -> Vec<&'a str> {
    // All stamps of one form have one length, so the order of text is the order of time.
    let mut ours: Vec<((&str, u32), &str)> =
        names.filter_map(|name| Some((parse_dated(log, name, schedule)?, name))).collect();
    ours.sort_unstable();
    let archives: BTreeSet<(&str, u32)> = ours.iter().map(|(archive, _)| *archive).collect();
    let excess = archives.len().saturating_sub(keep as usize);
    let first_kept = archives.iter().nth(excess); // none if `keep` is 0
    let expired = ours.into_iter().take_while(|(archive, _)| first_kept.is_none_or(|kept| archive < kept));
    expired.map(|(_, name)| name).collect()
}

/// The stamp of a cut at `now_s` that no schedule asked for: to the second, in UTC or local time.
pub fn cut_stamp(now_s: i64, utc: bool) -> String {
    schedule::stamp(CUT_FORMAT, now_s, utc)
}

/// The name of a file that waits for its own: unique, and in the order of cuts. `rollover_at_s` is when its period
/// ended, or 0 without a schedule; both numbers are hexadecimal.
pub fn staged(log: &str, now_ns: u64, rollover_at_s: u64) -> String {
    format!(".{log}.staged-{now_ns:016x}-{rollover_at_s:x}")
}

/// True if `name` can be the name of a file in its directory: not empty, not too long, no path, no NUL.
pub fn is_base_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES_MAX && !name.contains(['/', '\0'])
}

/// A number from 1 on, in the one spelling that we write.
pub(super) fn strict_number(text: &str) -> Option<u32> {
    // `parse` alone would take "+1" and "01".
    let ours = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if ours { text.parse().ok() } else { None }
}

/// What follows `app.log.`
fn suffix<'a>(log: &str, name: &'a str) -> Option<&'a str> {
    name.strip_prefix(log)?.strip_prefix('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::When;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_gap_is_free_and_everything_below_it_is_taken(
            taken in prop::collection::vec(0..12u32, 0..20),
            keep in 0..12u32,
        ) {
            let names: Vec<String> = taken.iter().map(|n| numbered("a.log", *n)).collect();
            let expected = (1..=keep).find(|n| !taken.contains(n));
            prop_assert_eq!(first_gap("a.log", names.iter().map(String::as_str), keep), expected);
        }

        #[test]
        fn a_number_reads_back_and_no_other_spelling_does(n in 1..u32::MAX, text in "[0-9+ .x]{0,11}") {
            prop_assert_eq!(parse_numbered("a.log", &numbered("a.log", n)), Some(n));
            let name = format!("a.log.{text}");
            if let Some(n) = parse_numbered("a.log", &name) {
                prop_assert_eq!(numbered("a.log", n), name);
            }
        }

        #[test]
        fn retention_leaves_the_newest_keep_files_and_every_foreign_one(
            files in prop::collection::btree_set((10..15u32, 0..12u32), 0..30),
            keep in 0..40u32,
        ) {
            let day = Schedule::new(When::Day, 1).unwrap();
            let mut names: Vec<String> =
                files.iter().rev().map(|(d, clash)| dated("a.log", &format!("2026-01-{d}"), *clash)).collect();
            names.push("a.log.2026-01-1".into());
            names.push("a.log.2026-01-10.bak".into());
            let gone = expired_dated("a.log", names.iter().map(String::as_str), keep, Some(&day));
            let excess = files.len().saturating_sub(keep as usize);
            let expected: Vec<String> =
                files.iter().take(excess).map(|(d, clash)| dated("a.log", &format!("2026-01-{d}"), *clash)).collect();
            prop_assert_eq!(gone, expected);
        }

        #[test]
        fn a_cut_stamp_reads_back_with_its_counter(t in 0i64..4_000_000_000, clash in any::<u32>()) {
            let stamp = cut_stamp(t, true);
            let name = dated("a.log", &stamp, clash);
            prop_assert_eq!(parse_dated("a.log", &name, None), Some((stamp.as_str(), clash)));
        }
    }

    #[test]
    fn only_names_of_this_very_log_are_parsed() {
        for foreign in
            ["a.log", "a.log.", "a.log.0", "a.log.01", "a.log.1~", "a.log.1.gz", "b.log.1", "a.logs.1", "a.log1"]
        {
            assert_eq!(parse_numbered("a.log", foreign), None, "{foreign}");
        }
        assert_eq!(parse_numbered("a.log", "a.log.4294967296"), None, "beyond u32");
        assert_eq!(parse_dated("a.log", "a.log.2026-01-31", None), None, "another schedule's");
        assert_eq!(parse_dated("a.log", "a.log.x.2026-01-31_00-00-00", None), None);
        assert_eq!(cut_stamp(1_700_000_000, true), "2023-11-14_22-13-20");
    }

    #[test]
    fn an_archive_and_its_compressed_form_count_once_and_go_together() {
        let day = Schedule::new(When::Day, 1).unwrap();
        let names = ["a.log.2026-01-02", "a.log.2026-01-01.gz", "a.log.2026-01-02.gz", "a.log.2026-01-01"];
        let expired = |keep| expired_dated("a.log", names.into_iter(), keep, Some(&day));
        assert_eq!(expired(2), [""; 0]);
        assert_eq!(expired(1), ["a.log.2026-01-01", "a.log.2026-01-01.gz"]);
        assert_eq!(expired(0).len(), 4);
    }

    #[test]
    fn the_next_clash_is_newer_than_all_even_if_older_ones_are_gone() {
        let day = Schedule::new(When::Day, 1).unwrap();
        let next = |names: &[&str]| next_clash("a.log", "2026-01-01", names.iter().copied(), Some(&day));
        assert_eq!(next(&["a.log.2026-01-02.7", "a.log.2026-01-01.bak"]), 0);
        assert_eq!(next(&["a.log.2026-01-01"]), 1);
        assert_eq!(next(&["a.log.2026-01-01.9", "a.log.2026-01-01.10.gz"]), 11);
    }

    #[test]
    fn staged_names_sort_by_time_and_are_nobodys_archives() {
        let names: Vec<_> = [9, 10, 1_700_000_000_000_000_000, u64::MAX].map(|ns| staged("a.log", ns, ns >> 30)).into();
        assert!(names.is_sorted(), "{names:?}");
        for name in &names {
            assert!(!name.ends_with(".log") && !name.starts_with("a.log") && is_base_name(name));
            assert_eq!((parse_numbered("a.log", name), parse_dated("a.log", name, None)), (None, None));
        }
    }

    #[test]
    fn a_base_name_is_one_component() {
        assert!(is_base_name("app.log") && is_base_name("...") && is_base_name(&"a".repeat(255)));
        for bad in ["", ".", "..", "a/b", "/", "a\0b"] {
            assert!(!is_base_name(bad), "{bad:?}");
        }
        assert!(!is_base_name(&"ä".repeat(128)), "256 bytes");
    }
}
