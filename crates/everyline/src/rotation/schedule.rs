//! Rotation by civil time: when the next cut is due, and the stamp in the name of the file that was cut off.
//!
//! Promise: for the same `when`, interval, `atTime`, zone and clock, [`Schedule::next_rollover`] and
//! [`Schedule::period_start_stamp`] give what `TimedRotatingFileHandler` of CPython 3.13 gives, daylight saving
//! included, and where that looks odd, too. `tests/schedule_vs_stdlib.rs` compares the two.
//!
//! Not promised: anything about files. Every function is arithmetic on the seconds it is handed; only the zone is read
//! from the system, as described at `local_zone`. No locks, no caches, nothing to go wrong over a fork.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::naming::strict_number;
use crate::error::{Error, Result};

const DAY_S: i64 = 24 * 3600;
const WEEK_S: i64 = 7 * DAY_S;

/// Longest period: a million days, about 2700 years. Keeps every sum below within the years jiff can hold (-9999 to
/// 9999) for a clock that is anywhere near right.
const PERIOD_MAX_S: i64 = 1_000_000 * DAY_S;

/// The stamp of a cut that no schedule asked for (rotation by size, dated names).
pub(super) const CUT_FORMAT: &str = "%Y-%m-%d_%H-%M-%S";

/// The unit of a schedule: Python's `when`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// `S`: every so many seconds, counted from the last cut.
    Second,
    /// `M`: every so many minutes, counted from the last cut.
    Minute,
    /// `H`: every so many hours, counted from the last cut.
    Hour,
    /// `D`: every so many times 24 hours, counted from the last cut, wherever in the day that is.
    Day,
    /// `MIDNIGHT`: at midnight, or at the time of day set with [`Schedule::at_time`].
    Midnight,
    /// `W0` (Monday) to `W6`: at the end of that day or, with [`Schedule::at_time`], at that time on that day.
    Weekday(u8),
}

impl When {
    /// Reads Python's spelling, in upper or lower case.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_uppercase().as_bytes() {
            b"S" => Ok(Self::Second),
            b"M" => Ok(Self::Minute),
            b"H" => Ok(Self::Hour),
            b"D" => Ok(Self::Day),
            b"MIDNIGHT" => Ok(Self::Midnight),
            [b'W', day @ b'0'..=b'6'] => Ok(Self::Weekday(day - b'0')),
            [b'W', ..] => Err(Error::option(
                "when",
                format!("{text:?} names no day; a weekly rotation is W0 (Monday) to W6 (Sunday)"),
            )),
            _ => Err(Error::option(
                "when",
                format!("{text:?} is not one of S, M, H, D, MIDNIGHT and W0 (Monday) to W6 (Sunday)"),
            )),
        }
    }

    /// The length of one unit, in seconds.
    fn unit_s(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day | Self::Midnight => DAY_S,
            Self::Weekday(_) => WEEK_S,
        }
    }

    /// The stamp in archive names, in `strftime` terms: as fine as the unit. Python's `suffix`.
    pub fn stamp_format(self) -> &'static str {
        match self {
            Self::Second => CUT_FORMAT,
            Self::Minute => "%Y-%m-%d_%H-%M",
            Self::Hour => "%Y-%m-%d_%H",
            Self::Day | Self::Midnight | Self::Weekday(_) => "%Y-%m-%d",
        }
    }
}

impl fmt::Display for When {
    /// Python's spelling, upper case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Second => f.write_str("S"),
            Self::Minute => f.write_str("M"),
            Self::Hour => f.write_str("H"),
            Self::Day => f.write_str("D"),
            Self::Midnight => f.write_str("MIDNIGHT"),
            Self::Weekday(day) => write!(f, "W{day}"),
        }
    }
}

/// Rotation by civil time: a unit, how many of them, and for `MIDNIGHT` and `W0` to `W6` the time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    when: When,
    interval: u32,
    at_time_s: Option<u32>,
    utc: bool,
}

impl Schedule {
    /// Every `interval` units, in local time.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) if the interval is 0 or longer than a million days, or the
    /// weekday is beyond 6.
    pub fn new(when: When, interval: u32) -> Result<Self> {
        if matches!(when, When::Weekday(7..)) {
            return Err(Error::option("when", format!("{when} names no day; expected W0 (Monday) to W6 (Sunday)")));
        }
        let longest = PERIOD_MAX_S / when.unit_s();
        if interval == 0 || i64::from(interval) > longest {
            return Err(Error::option(
                "interval",
                format!("{interval} is not from 1 to {longest}, the range for when={when}"),
            ));
        }
        Ok(Self { when, interval, at_time_s: None, utc: false })
    }

    /// Sets the time of day of the cut, in seconds since midnight. As in Python, only `MIDNIGHT` and `W0` to `W6` look
    /// at it, and 0 differs from not set: `W0` cuts at the end of Monday, `W0` at 0 at its start.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) from 86400 on.
    pub fn at_time(self, second_of_day: u32) -> Result<Self> {
        if i64::from(second_of_day) >= DAY_S {
            return Err(Error::option(
                "at_time",
                format!("{second_of_day} is not a second of the day; expected 0 to {}", DAY_S - 1),
            ));
        }
        Ok(Self { at_time_s: Some(second_of_day), ..self })
    }

    /// Reckons in UTC (`true`) or local time (`false`, the default).
    pub fn utc(self, utc: bool) -> Self {
        Self { utc, ..self }
    }

    /// The unit.
    pub fn when(&self) -> When {
        self.when
    }

    /// The number of units.
    pub fn interval(&self) -> u32 {
        self.interval
    }

    /// The time of day of the cut, in seconds since midnight, if one was set.
    pub fn at_time_s(&self) -> Option<u32> {
        self.at_time_s
    }

    /// True if this schedule reckons in UTC.
    pub fn is_utc(&self) -> bool {
        self.utc
    }

    /// The nominal length of a period, in seconds. Python's `interval` attribute of a constructed handler.
    pub fn period_s(&self) -> i64 {
        self.when.unit_s() * i64::from(self.interval)
    }

    /// When the period that holds `now_s` ends: the time of the next cut, always after `now_s` (for every clock within
    /// the years 1 to 7000). Python's `computeRollover`.
    pub fn next_rollover(&self, now_s: i64) -> i64 {
        self.next_rollover_in(&zone(self.utc), now_s)
    }

    fn next_rollover_in(&self, zone: &TimeZone, now_s: i64) -> i64 {
        let day_of_cut = match self.when {
            // Not aligned to the clock: the period starts when the last one was cut.
            When::Second | When::Minute | When::Hour | When::Day => return now_s.saturating_add(self.period_s()),
            When::Midnight => None,
            When::Weekday(day) => Some(i64::from(day)),
        };
        let (now, dst_now) = civil(zone, now_s);
        // Not set means 24:00 of the day of the cut, which is why it differs from a set 0.
        let cut_s = self.at_time_s.map_or(DAY_S, i64::from);
        let second_of_day = i64::from(now.hour()) * 3600 + i64::from(now.minute()) * 60 + i64::from(now.second());
        let mut weekday = i64::from(now.weekday().to_monday_zero_offset());
        let mut left_s = cut_s - second_of_day;
        if left_s <= 0 {
            left_s += DAY_S;
            weekday += 1;
        }
        if let Some(day_of_cut) = day_of_cut {
            left_s += (day_of_cut - weekday).rem_euclid(7) * DAY_S;
        }
        // The first unit ends at the next boundary, the others follow whole.
        left_s += self.period_s() - self.when.unit_s();

        let due_s = now_s.saturating_add(left_s);
        let dst_due = civil(zone, due_s).1;
        match (dst_now, dst_due) {
            // The clock is put back in between: the day is an hour longer.
            (true, false) => due_s.saturating_add(3600),
            // Put forward: an hour shorter. If the cut falls into the first hour of summer time, taking an hour off
            // would land before the change, at a time of day that is not the one asked for; Python stays after it.
            (false, true) if civil(zone, due_s.saturating_sub(3600)).1 => due_s.saturating_sub(3600),
            // The hour is 3600 seconds everywhere, for Python on Lord Howe Island, too, where it is half as long.
            _ => due_s,
        }
    }

    /// The stamp of the file that is cut when `rollover_at_s` is due and it is now `now_s`: the start of its period,
    /// as fine as the unit. Python's `doRollover`.
    pub fn period_start_stamp(&self, rollover_at_s: i64, now_s: i64) -> String {
        self.period_start_stamp_in(&zone(self.utc), rollover_at_s, now_s)
    }

    fn period_start_stamp_in(&self, zone: &TimeZone, rollover_at_s: i64, now_s: i64) -> String {
        let start_s = rollover_at_s.saturating_sub(self.period_s());
        let (mut start, dst_then) = civil(zone, start_s);
        // The period was taken off as if every day had 24 hours. Python corrects by whether summer time is on *now*,
        // which for a cut that comes late need not be what held at `rollover_at_s`.
        match (dst_then, civil(zone, now_s).1) {
            (false, true) => start = civil(zone, start_s.saturating_add(3600)).0,
            (true, false) => start = civil(zone, start_s.saturating_sub(3600)).0,
            _ => {}
        }
        format_civil(self.when.stamp_format(), start)
    }

    /// True if `suffix` (what follows `app.log.`) is one this schedule gives: a stamp, then perhaps our counter for
    /// names that clash (`.1`, `.2` ...), then perhaps `.gz`. The stamp part is Python's `extMatch`, as a full match.
    pub fn suffix_matches(&self, suffix: &str) -> bool {
        split_suffix(self.when.stamp_format(), suffix).is_some()
    }

    /// One line that [`Schedule::from_text`] reads back, such as `W6 every=2 at=49500 zone=local`.
    pub fn to_text(&self) -> String {
        let at = self.at_time_s.map_or_else(|| "-".to_owned(), |s| s.to_string());
        let zone = if self.utc { "utc" } else { "local" };
        format!("{} every={} at={at} zone={zone}", self.when, self.interval)
    }

    /// Reads [`Schedule::to_text`].
    ///
    /// # Errors
    /// [`InvalidOption`](crate::ErrorKind::InvalidOption) if the text has another form or a value out of range.
    pub fn from_text(text: &str) -> Result<Self> {
        let malformed =
            || Error::option("schedule", format!("{text:?} is not like \"MIDNIGHT every=1 at=- zone=local\""));
        let fields: Vec<&str> = text.split(' ').collect();
        let [when, every, at, zone] = fields[..] else { return Err(malformed()) };
        let every = every.strip_prefix("every=").and_then(|n| n.parse().ok()).ok_or_else(malformed)?;
        let schedule = Self::new(When::parse(when)?, every)?;
        let schedule = match at.strip_prefix("at=").ok_or_else(malformed)? {
            "-" => schedule,
            second => schedule.at_time(second.parse().map_err(|_| malformed())?)?,
        };
        match zone {
            "zone=utc" => Ok(schedule.utc(true)),
            "zone=local" => Ok(schedule),
            _ => Err(malformed()),
        }
    }
}

/// The stamp of the moment `t_s`, in UTC or local time.
pub(super) fn stamp(format: &str, t_s: i64, utc: bool) -> String {
    format_civil(format, civil(&zone(utc), t_s).0)
}

/// Splits what follows `app.log.` into stamp and clash counter (0: none). `None` if it is anything else.
pub(super) fn split_suffix<'a>(format: &str, suffix: &'a str) -> Option<(&'a str, u32)> {
    let text = suffix.strip_suffix(".gz").unwrap_or(suffix);
    let (stamp, clash) = match text.split_once('.') {
        Some((stamp, counter)) => (stamp, strict_number(counter)?),
        None => (text, 0),
    };
    is_stamp(format, stamp).then_some((stamp, clash))
}

/// True if `text` has the shape of `format`: ASCII digits in the right number, and the same marks between them. Like
/// Python's pattern it asks for no real date.
pub(super) fn is_stamp(format: &str, text: &str) -> bool {
    let two_digits = ["%m", "%d", "%H", "%M", "%S"];
    let shape = two_digits.iter().fold(format.replace("%Y", "dddd"), |shape, field| shape.replace(field, "dd"));
    shape.len() == text.len()
        && shape.bytes().zip(text.bytes()).all(|(s, t)| if s == b'd' { t.is_ascii_digit() } else { s == t })
}

/// `format` is one of the constants above.
fn format_civil(format: &str, at: DateTime) -> String {
    at.strftime(format).to_string()
}

/// The civil time at `t_s`, and whether summer time is on. A time beyond the years -9999 to 9999 becomes the nearest
/// one within.
fn civil(zone: &TimeZone, t_s: i64) -> (DateTime, bool) {
    let t_s = t_s.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    let at = Timestamp::from_second(t_s).expect("within the bounds of Timestamp");
    let info = zone.to_offset_info(at);
    (info.offset().to_datetime(at), info.dst().is_dst())
}

fn zone(utc: bool) -> TimeZone {
    if utc { TimeZone::UTC } else { local_zone() }
}

/// The local time zone as the C library sees it: the variable `TZ`, or without it `/etc/localtime`.
///
/// Read anew on every call, which is once per rotation and costs one small file. So a `TZ` that changes at run time
/// takes effect at the next rotation, as after Python's `time.tzset()`, and so does a new `/etc/localtime`. jiff's own
/// `TimeZone::system()` would remember either for five minutes, under a lock that a fork may find taken.
fn local_zone() -> TimeZone {
    match env::var_os("TZ") {
        Some(text) => zone_named(&text),
        None => zone_in_file(Path::new("/etc/localtime")),
    }
    // What the C library does with a zone it cannot make sense of.
    .unwrap_or(TimeZone::UTC)
}

/// Resolves a `TZ` value in the order of glibc: a file of the zone database, then a POSIX rule.
fn zone_named(text: &OsStr) -> Option<TimeZone> {
    // The colon announces an "implementation-defined" value, which to every C library is the name again.
    let text = text.to_str()?;
    let text = text.strip_prefix(':').unwrap_or(text);
    if text.is_empty() {
        return None;
    }
    // `join` with an absolute path is that path: TZ=/usr/share/zoneinfo/Europe/Berlin is allowed.
    zone_folders()
        .iter()
        .find_map(|folder| zone_in_file(&folder.join(text)))
        .or_else(|| TimeZone::posix(text).ok())
        // "EST5EDT" and its like do not say when summer time is: glibc takes the rule of the United States.
        .or_else(|| TimeZone::posix(&format!("{text},M3.2.0,M11.1.0")).ok())
}

/// Where zone files are: `TZDIR` as in glibc, or else the usual places.
fn zone_folders() -> Vec<PathBuf> {
    match env::var_os("TZDIR") {
        Some(folder) if !folder.is_empty() => vec![folder.into()],
        _ => ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/etc/zoneinfo"].map(PathBuf::from).to_vec(),
    }
}

fn zone_in_file(path: &Path) -> Option<TimeZone> {
    // A device or a pipe under that name would hang the caller; no zone file is anywhere near a mebibyte.
    let meta = fs::metadata(path).ok()?;
    if !meta.is_file() || meta.len() > 1 << 20 {
        return None;
    }
    TimeZone::tzif("", &fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ZONES: [&str; 5] =
        ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "EST+05EDT,M3.2.0,M11.1.0"];

    const WHENS: [&str; 12] = ["S", "M", "H", "D", "MIDNIGHT", "W0", "W1", "W2", "W3", "W4", "W5", "W6"];

    fn schedule(when: &str, interval: u32) -> Schedule {
        Schedule::new(When::parse(when).unwrap(), interval).unwrap()
    }

    fn named(text: &str) -> TimeZone {
        zone_named(OsStr::new(text)).unwrap_or(TimeZone::UTC)
    }

    fn any_schedule() -> impl Strategy<Value = Schedule> {
        (prop::sample::select(&WHENS[..]), 1..1000u32, prop::option::of(0..86_400u32), any::<bool>()).prop_map(
            |(when, interval, at, utc)| {
                let schedule = schedule(when, interval).utc(utc);
                at.map_or(schedule, |at| schedule.at_time(at).unwrap())
            },
        )
    }

    proptest! {
        #[test]
        fn the_next_rollover_is_after_now(s in any_schedule(), z in 0..ZONES.len(), now in -60_000_000_000i64..150_000_000_000) {
            prop_assert!(s.next_rollover_in(&named(ZONES[z]), now) > now);
        }

        #[test]
        fn a_stamp_is_a_suffix_of_its_schedule(s in any_schedule(), at in 0i64..4_000_000_000, late in 0i64..1_000_000) {
            prop_assert!(s.suffix_matches(&s.period_start_stamp(at, at + late)));
        }

        #[test]
        fn the_text_form_reads_back(s in any_schedule()) {
            prop_assert_eq!(Schedule::from_text(&s.to_text()).unwrap(), s);
        }

        #[test]
        fn no_text_and_no_clock_panics(text in ".{0,40}", s in any_schedule(), now in any::<i64>(), then in any::<i64>()) {
            let _ = (When::parse(&text), Schedule::from_text(&text), s.suffix_matches(&text), named(&text));
            let _ = (s.next_rollover(now), s.period_start_stamp(then, now));
        }
    }

    #[test]
    fn values_out_of_range_are_refused_with_the_value_and_the_range() {
        let text = When::parse("W7").unwrap_err().to_string();
        assert_eq!(text, "when: \"W7\" names no day; a weekly rotation is W0 (Monday) to W6 (Sunday)");
        assert!(When::parse("fortnight").unwrap_err().to_string().contains("\"fortnight\" is not one of S, M,"));
        assert!(When::parse("").is_err() && When::parse("W").is_err() && When::parse("W00").is_err());
        assert_eq!(When::parse("midNight").unwrap(), When::Midnight);
        assert!(Schedule::new(When::Weekday(7), 1).is_err());
        assert!(Schedule::new(When::Second, 0).is_err());
        let text = Schedule::new(When::Day, 1_000_001).unwrap_err().to_string();
        assert_eq!(text, "interval: 1000001 is not from 1 to 1000000, the range for when=D");
        assert!(schedule("D", 1).at_time(86_400).is_err());
        for text in ["", "S", "S every=1 at=- zone=mars", "S every=0 at=- zone=utc", "S  every=1 at=- zone=utc"] {
            assert!(Schedule::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn weekly_without_a_time_cuts_at_the_end_of_the_day_and_with_zero_at_its_start() {
        let monday_noon = 1_704_715_200; // 2024-01-08 12:00 UTC
        let s = schedule("W0", 1);
        assert_eq!(s.next_rollover_in(&TimeZone::UTC, monday_noon), monday_noon + DAY_S / 2);
        let s = s.at_time(0).unwrap();
        assert_eq!(s.next_rollover_in(&TimeZone::UTC, monday_noon), monday_noon + WEEK_S - DAY_S / 2);
    }

    #[test]
    fn midnight_is_midnight_across_a_change_of_the_clock() {
        let zone = named("EST+05EDT,M3.2.0,M11.1.0");
        let s = schedule("MIDNIGHT", 1);
        for noon in [1_710_000_000, 1_710_090_000, 1_730_570_000, 1_730_650_000] {
            let cut = s.next_rollover_in(&zone, noon);
            assert_eq!(format_civil("%H-%M-%S", civil(&zone, cut).0), "00-00-00", "after {noon}");
        }
    }

    #[test]
    fn a_suffix_may_carry_a_clash_counter_and_gz_and_nothing_else() {
        let s = schedule("D", 1);
        for good in ["2024-01-31", "2024-01-31.1", "2024-01-31.gz", "2024-01-31.12.gz", "9999-99-99"] {
            assert!(s.suffix_matches(good), "{good}");
        }
        for bad in [
            "",
            "2024-1-31",
            "2024-01-31_10",
            "2024-01-31.0",
            "2024-01-31.01",
            "2024-01-31.",
            "x2024-01-31",
            "2024-01-3١",
        ] {
            assert!(!s.suffix_matches(bad), "{bad}");
        }
        assert!(!s.suffix_matches("2024-01-31.gz.1") && !s.suffix_matches("2024-01-31.gz.gz"));
        assert!(schedule("S", 1).suffix_matches("2024-01-31_23-59-59"));
        assert!(schedule("M", 1).suffix_matches("2024-01-31_23-59"));
        assert!(schedule("H", 1).suffix_matches("2024-01-31_23"));
    }

    #[test]
    fn a_zone_may_be_a_name_a_path_a_rule_or_nonsense() {
        let summer = 1_720_000_000;
        let offset = |text: &str| named(text).to_offset(Timestamp::from_second(summer).unwrap()).seconds();
        assert_eq!(offset("EST+05EDT,M3.2.0,M11.1.0"), -4 * 3600);
        assert_eq!(offset("QST+05QDT"), -4 * 3600);
        assert_eq!(offset("<+0530>-5:30"), 19_800);
        for utc in ["", ":", "UTC", "No/Such_Zone", "..", "/dev/null"] {
            assert_eq!(offset(utc), 0, "{utc}");
        }
    }
}
