//! Names of rotated files: building them, recognising them, and choosing which ones to delete.
//!
//! Promise: a name that this module would not itself have built is never recognised. Directories of logs hold other
//! people's files (`app.log.1~`, `app.log.01`, `app.log.bak`), and what is recognised here may be deleted.
//!
//! Three schemes. *Numbered*: `app.log.1` is the newest, and each rotation moves every file up by one. *Dated*:
//! `app.log.<stamp>` never moves again; a second file with the same stamp becomes `app.log.<stamp>.1`. Here the counter
//! rises with time: of the files of one stamp, the one without a counter is the *oldest*. *Sequence*:
//! `app.log.<stamp>-<number>` never moves, never comes back, and sorts by time as text. Which of the names in a directory
//! are archives, compressed ones too, and in which order they were written, is `archives`' business.
//!
//! Nothing here looks at a directory; callers hand in the names. Names are text: a log whose name is not UTF-8 is the
//! caller's to handle.

use std::borrow::Cow;

use super::schedule::{self, CUT_FORMAT, Schedule};

/// Longest file name that Linux file systems take, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Longest log name that is used whole in the names of hidden files, in bytes: the longest of those has 54 more.
const STEM_BYTES_MAX: usize = 200;

/// Stamp of a sequence name: no mark that a shell or a URL minds.
const SEQUENCE_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// How rotated files are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `app.log.1` is the newest, `app.log.2` the one before, and so on.
    Numbered,
    /// `app.log.2026-01-31`; if that name is taken, `app.log.2026-01-31.1`, `.2` and so on.
    Dated,
    /// `app.log.20260131T101500Z-000123`: time of the cut in UTC, and a number that no other archive of the log has.
    Sequence,
    /// `.app.log.staged-<time>-<rollover>`: a file on its way to the name and the treatment that the application gives
    /// it. Hidden, so that no tailer and no retention takes it for an archive.
    Staged,
}

impl Naming {
    /// The word for it in settings.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Numbered => "numbered",
            Self::Dated => "dated",
            Self::Sequence => "sequence",
            Self::Staged => "staged",
        }
    }

    /// Inverse of `word`.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Numbered, Self::Dated, Self::Sequence, Self::Staged];
        all.into_iter().find(|naming| naming.word() == word)
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

/// The name of an archive that was cut at `now_s`, or later than an archive that has `after` as its stamp. Stamps never
/// go back, also when the clock does: the names sort in the order of writing.
pub fn sequence(log: &str, now_s: i64, after: Option<&str>, number: u64) -> String {
    let stamp = schedule::stamp(SEQUENCE_FORMAT, now_s, true);
    let stamp = after.map_or(stamp.as_str(), |after| after.max(&stamp));
    format!("{log}.{stamp}-{number:06}")
}

/// Stamp and number of an archive's name; `None` if it is not a name that [`sequence`] gives.
pub fn parse_sequence<'a>(log: &str, name: &'a str) -> Option<(&'a str, u64)> {
    let (stamp, digits) = suffix(log, name)?.split_once('-')?;
    let number = digits.parse().ok().filter(|n| *n > 0)?;
    (schedule::is_stamp(SEQUENCE_FORMAT, stamp) && format!("{number:06}") == digits).then_some((stamp, number))
}

/// The name of the archive with `stamp`; `clash` counts the files that had the name before (0: none).
pub fn dated(log: &str, stamp: &str, clash: u32) -> String {
    match clash {
        0 => format!("{log}.{stamp}"),
        _ => format!("{log}.{stamp}.{clash}"),
    }
}

/// Stamp and clash counter of an archive's name; `None` if it is not ours. The stamp must
/// have the form of `schedule` or, without one, of [`cut_stamp`].
pub fn parse_dated<'a>(log: &str, name: &'a str, schedule: Option<&Schedule>) -> Option<(&'a str, u32)> {
    let format = schedule.map_or(CUT_FORMAT, |s| s.when().stamp_format());
    schedule::split_suffix(format, suffix(log, name)?)
}

/// The stamp of a cut at `now_s` that no schedule asked for: to the second, in UTC or local time.
pub fn cut_stamp(now_s: i64, utc: bool) -> String {
    schedule::stamp(CUT_FORMAT, now_s, utc)
}

/// The name of a file that waits for its own: unique, and in the order of cuts. `rollover_at_s` is when its period
/// ended, or 0 without a schedule; both numbers are hexadecimal.
pub fn staged(log: &str, now_ns: u64, rollover_at_s: u64) -> String {
    format!(".{}.staged-{now_ns:016x}-{rollover_at_s:x}", stem(log))
}

/// What stands for the log's name in the names of hidden files beside it: the name, or, where those would be longer than
/// a file system takes, its beginning and a hash of it. That is one byte longer than any name that is used whole.
pub fn stem(log: &str) -> Cow<'_, str> {
    if log.len() <= STEM_BYTES_MAX {
        return Cow::Borrowed(log);
    }
    // FNV-1a: the same in every build, which `std`'s hashes are not.
    let hash =
        log.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let end = (0..=STEM_BYTES_MAX - 16).rev().find(|at| log.is_char_boundary(*at)).unwrap_or(0);
    let begins = &log[..end];
    let tildes = "~".repeat(STEM_BYTES_MAX + 1 - 16 - begins.len());
    Cow::Owned(format!("{begins}{tildes}{hash:016x}"))
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_reads_back_and_no_other_spelling_does(n in 1..u32::MAX, text in "[0-9+ .x]{0,11}") {
            prop_assert_eq!(parse_numbered("a.log", &numbered("a.log", n)), Some(n));
            let name = format!("a.log.{text}");
            if let Some(n) = parse_numbered("a.log", &name) {
                prop_assert_eq!(numbered("a.log", n), name);
            }
        }

        #[test]
        fn sequence_names_read_back_and_sort_by_time_also_when_the_clock_goes_back(
            times in prop::collection::vec(0i64..4_000_000_000, 1..9),
        ) {
            let mut names: Vec<String> = Vec::new();
            for (number, t) in (1..).zip(times) {
                let after = names.last().and_then(|n| parse_sequence("a.log", n)).map(|(stamp, _)| stamp);
                let name = sequence("a.log", t, after, number);
                prop_assert_eq!(parse_sequence("a.log", &name).map(|(_, n)| n), Some(number));
                names.push(name);
            }
            prop_assert!(names.is_sorted());
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
    fn a_sequence_name_has_one_spelling() {
        assert_eq!(sequence("a.log", 1_700_000_000, None, 123), "a.log.20231114T221320Z-000123");
        for foreign in [
            "a.log.20231114T221320Z-123",
            "a.log.20231114T221320Z-0000123",
            "a.log.20231114T221320Z-000000",
            "a.log.20231114T221320Z",
            "a.log.20231114-221320Z-000123",
            "a.log.20231114T221320Z-000123.gz",
        ] {
            assert_eq!(parse_sequence("a.log", foreign), None, "{foreign}");
        }
        assert_eq!(parse_sequence("a.log", "a.log.20231114T221320Z-1000000").map(|(_, n)| n), Some(1_000_000));
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
    fn a_long_name_has_a_stem_of_its_own_that_is_no_other_names() {
        assert_eq!(stem(&"a".repeat(200)), "a".repeat(200));
        let names = [201, 202, 255].map(|n| "a".repeat(n)).into_iter();
        let names: Vec<String> = names.chain([101, 127].map(|n| "ä".repeat(n))).collect();
        let stems: Vec<_> = names.iter().map(|name| stem(name)).collect();
        for (i, stem) in stems.iter().enumerate() {
            assert_eq!(stem.len(), 201, "{stem}");
            assert!(!stems[..i].contains(stem), "{stem}");
        }
        // In the names of journals on disk: it may not change.
        assert_eq!(stems[0], format!("{}~9a253eda0ce95884", "a".repeat(184)));
        assert!(is_base_name(&staged(&names[2], u64::MAX, u64::MAX)));
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
