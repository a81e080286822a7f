//! The values of options, from text: sizes, durations, times of day and the like.
//!
//! Every error says what was expected. The option's name and the text that was given are put in front by clap:
//! `error: invalid value '10X' for '--max-bytes <SIZE>': expected ...`. Nothing here knows the other options.

use std::time::Duration;

use everyline::{Compress, Fsync, RING_BYTES_MAX, RING_BYTES_MIN, When};

use crate::args::Keep;

/// What a value parser gives to clap.
type Value<T> = Result<T, String>;

/// More archives than this can be neither numbered nor listed in reasonable time; the engine's own bound.
const KEEP_MAX: u32 = 99_999;

/// The engine's bound of a wait; nor is a longer interval of any use.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// A size in bytes, at least 1.
pub fn size_nonzero(text: &str) -> Value<u64> {
    match size(text)? {
        0 => Err("0 bytes hold nothing; expected at least 1".into()),
        bytes => Ok(bytes),
    }
}

/// The size of a ring, in bytes.
pub fn ring(text: &str) -> Value<u64> {
    let bytes = size(text)?;
    if bytes.is_power_of_two() && (RING_BYTES_MIN..=RING_BYTES_MAX).contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("expected a power of two from {}K to {}M", RING_BYTES_MIN >> 10, RING_BYTES_MAX >> 20))
}

/// A size in bytes: `4096`, `1_000`, `64K`, `10MiB`.
fn size(text: &str) -> Value<u64> {
    let expected = || "expected a whole number of bytes, or of K, M, G (KiB, MiB, GiB), such as 10M".to_string();
    let (count, unit) = count_and_unit(text).ok_or_else(expected)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        // Not guessed: 1000 to some, 1024 to others.
        "kb" | "mb" | "gb" => return Err(format!("{unit} may mean 1000 or 1024; say K, M or G for powers of 1024")),
        _ => return Err(expected()),
    };
    count.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(too_large)
}

/// The longest wait.
pub fn wait(text: &str) -> Value<Duration> {
    match duration(text)? {
        wait if wait > DURATION_MAX => Err("expected at most 24h; --full block waits without a bound".into()),
        wait => Ok(wait),
    }
}

/// An age: a duration, or a number of days, such as `30d`.
pub fn age(text: &str) -> Value<Duration> {
    let expected = || "expected a whole number with ms, s, m, h or d, such as 30d".to_string();
    let (count, unit) = count_and_unit(text).ok_or_else(expected)?;
    match unit {
        "d" => count.checked_mul(24 * 3600).map(Duration::from_secs).ok_or_else(too_large),
        _ => duration(text).map_err(|e| if e == too_large() { e } else { expected() }),
    }
}

/// The age of files that go.
pub fn keep_age(text: &str) -> Value<Duration> {
    age(text).and_then(|age| if age < Duration::from_secs(1) { Err("expected at least 1s".into()) } else { Ok(age) })
}

/// The name of a link.
pub fn link(text: &str) -> Value<String> {
    match text {
        "" | "." | ".." | "-" => Err("expected the name of a link in the directory of FILE".into()),
        _ if text.contains('/') => Err("expected a name without a slash: the link is in the directory of FILE".into()),
        _ => Ok(text.to_owned()),
    }
}

/// How to compress: `gzip`, `zstd:19`.
pub fn compress(text: &str) -> Value<Compress> {
    let expected = || "expected none, gzip, gzip:0 to gzip:9, zstd, or zstd:1 to zstd:19".to_string();
    let (kind, level) = match text.split_once(':') {
        Some((kind, level)) => (kind, Some(level.parse::<u32>().map_err(|_| expected())?)),
        None => (text, None),
    };
    match (kind, level) {
        ("none", None) => Ok(Compress::None),
        ("gzip", level) if level.is_none_or(|l| l <= 9) => Ok(Compress::Gzip { level: level.unwrap_or(6) }),
        ("zstd", level) if level.is_none_or(|l| (1..=19).contains(&l)) => {
            let zstd = Compress::Zstd { level: level.unwrap_or(3) };
            if zstd.is_built_in() { Ok(zstd) } else { Err("zstd is not built into this command; take gzip".into()) }
        }
        _ => Err(expected()),
    }
}

/// User and group, as numbers.
pub fn owner(text: &str) -> Value<(u32, u32)> {
    text.split_once(':')
        .and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)))
        .ok_or_else(|| "expected two numbers, such as 33:33 (see `id`)".into())
}

/// A duration: `500ms`, `1s`, `2m`, `1h`. A bare number is refused, for its unit would be a guess.
fn duration(text: &str) -> Value<Duration> {
    let expected = || "expected a whole number with ms, s, m or h, such as 500ms".to_string();
    let (count, unit) = count_and_unit(text).ok_or_else(expected)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => return Err(expected()),
    };
    count.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(too_large)
}

/// When to force the file to disk: a word, `level:40`, or an interval.
pub fn fsync(text: &str) -> Value<Fsync> {
    match text {
        "never" => return Ok(Fsync::Never),
        "rotation" => return Ok(Fsync::OnRotation),
        "always" => return Ok(Fsync::Always),
        _ => {}
    }
    if let Some(number) = text.strip_prefix("level:") {
        return level(number).map(Fsync::AtLevel);
    }
    match duration(text) {
        Ok(Duration::ZERO) => Err("an interval of zero is `always`; say so".into()),
        Ok(interval) if interval > DURATION_MAX => Err("expected at most 24h".into()),
        Ok(interval) => Ok(Fsync::Interval(interval)),
        Err(_) => {
            Err("expected never, rotation, always, level:N with N from 0 to 255, or a duration such as 500ms".into())
        }
    }
}

/// A level in Python's numbers.
pub fn level(text: &str) -> Value<u8> {
    text.parse().map_err(|_| "expected a level from 0 to 255, in Python's numbers: 20 is INFO, 40 is ERROR".into())
}

/// The unit of rotation by time, in the engine's own words.
pub fn when(text: &str) -> Value<When> {
    When::parse(text).map_err(|_| "expected S, M, H, D, midnight, or W0 (Monday) to W6 (Sunday)".into())
}

/// The number of units. How many are too many depends on the unit, which the engine knows.
pub fn interval(text: &str) -> Value<u32> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number from 1".into()),
        Ok(units) => Ok(units),
    }
}

/// A time of day, in seconds since midnight: `13:45` or `13:45:30`.
pub fn time_of_day(text: &str) -> Value<u32> {
    let expected = || "expected a time of day from 00:00 to 23:59:59, such as 13:45".to_string();
    let mut seconds = 0;
    let parts: Vec<&str> = text.split(':').collect();
    if !matches!(parts.len(), 2 | 3) {
        return Err(expected());
    }
    for (part, (limit, unit_s)) in parts.into_iter().zip([(24, 3600), (60, 60), (60, 1)]) {
        // `parse` would take a sign.
        let digits = matches!(part.len(), 1 | 2) && part.bytes().all(|b| b.is_ascii_digit());
        let value: u32 = part.parse().ok().filter(|value| digits && *value < limit).ok_or_else(expected)?;
        seconds += value * unit_s;
    }
    Ok(seconds)
}

/// How many rotated files stay.
pub fn keep(text: &str) -> Value<Keep> {
    if text == "all" {
        return Ok(Keep::All);
    }
    match text.parse() {
        Ok(count @ 1..=KEEP_MAX) => Ok(Keep::Newest(count)),
        _ => Err(format!("expected a count from 1 to {KEEP_MAX}, or `all`")),
    }
}

/// Permission bits, in octal.
pub fn mode(text: &str) -> Value<u32> {
    let octal = !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| octal && *mode <= 0o777)
        .ok_or_else(|| "expected permission bits in octal, from 0 to 777, such as 640".into())
}

/// Splits `10MiB` into the number and the rest. Digits may be grouped by single underscores.
fn count_and_unit(text: &str) -> Option<(u64, &str)> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    if digits.split('_').any(str::is_empty) {
        return None;
    }
    // 20 digits and more: too large for every unit. Saturating keeps that message apart from "not a number".
    let count = digits.replace('_', "").parse().unwrap_or(u64::MAX);
    Some((count, unit))
}

fn too_large() -> String {
    "too large; expected less than 8 EiB, or 290 million years".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_a_unit_of_1024() {
        for (text, bytes) in [
            ("1", 1),
            ("1_000", 1_000),
            ("1_000_000B", 1_000_000),
            ("10M", 10 << 20),
            ("10m", 10 << 20),
            ("64KiB", 64 << 10),
            ("2GiB", 2 << 30),
            ("9223372036854775807", i64::MAX as u64),
        ] {
            assert_eq!(size_nonzero(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "0", "0K", "-1", "+1", "1.5M", "1__0", "_1", "1_", "10X", "10 M", "10KB", "9G9"] {
            assert!(size_nonzero(text).is_err(), "{text}");
        }
        for text in ["9223372036854775808", "99999999999999999999999", "18446744073709551615G"] {
            assert!(size_nonzero(text).is_err_and(|e| e.contains("too large")), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for text in ["", "1", "s", "1.5s", "-1s", "1d", "1 s", "1S", "99999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(wait("24h").is_ok());
        assert!(wait("25h").is_err());
    }

    #[test]
    fn ages_may_be_days() {
        assert_eq!(age("30d"), Ok(Duration::from_secs(30 * 24 * 3600)));
        assert_eq!(age("90s"), Ok(Duration::from_secs(90)));
        for text in ["", "30", "d", "1.5d", "-1d", "99999999999999999999d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn compression_is_a_word_with_or_without_a_level() {
        assert_eq!(compress("none"), Ok(Compress::None));
        assert_eq!(compress("gzip"), Ok(Compress::Gzip { level: 6 }));
        assert_eq!(compress("gzip:0"), Ok(Compress::Gzip { level: 0 }));
        assert_eq!(compress("zstd:19").is_ok(), Compress::Zstd { level: 19 }.is_built_in());
        for text in ["", "gzip:10", "gzip:", "gzip:-1", "zstd:0", "zstd:20", "none:1", "xz"] {
            assert!(compress(text).is_err_and(|e| e.contains("expected")), "{text}");
        }
    }

    #[test]
    fn an_owner_is_two_numbers() {
        assert_eq!(owner("0:65534"), Ok((0, 65_534)));
        for text in ["", "0", "root:root", "1:", "-1:0", "4294967296:0"] {
            assert!(owner(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fsync_is_a_word_a_level_or_an_interval() {
        assert_eq!(fsync("rotation"), Ok(Fsync::OnRotation));
        assert_eq!(fsync("level:40"), Ok(Fsync::AtLevel(40)));
        assert_eq!(fsync("500ms"), Ok(Fsync::Interval(Duration::from_millis(500))));
        for text in ["", "Never", "level:", "level:256", "level:-1", "0ms", "sometimes", "500"] {
            assert!(fsync(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_of_day() {
        assert_eq!(time_of_day("00:00"), Ok(0));
        assert_eq!(time_of_day("13:45"), Ok(13 * 3600 + 45 * 60));
        assert_eq!(time_of_day("23:59:59"), Ok(86_399));
        for text in ["", "13", "24:00", "12:60", "12:00:60", "1:2:3:4", "+1:00", "-1:00", "12:", "012:00"] {
            assert!(time_of_day(text).is_err(), "{text}");
        }
    }

    #[test]
    fn modes_rings_and_counts() {
        assert_eq!(mode("640"), Ok(0o640));
        assert_eq!(mode("0640"), Ok(0o640));
        for text in ["", "1000", "rw", "8", "+640", "-640"] {
            assert!(mode(text).is_err(), "{text}");
        }
        assert_eq!(ring("256K"), Ok(256 << 10));
        for text in ["0", "3K", "2K", "100K", "128M"] {
            assert!(ring(text).is_err(), "{text}");
        }
        assert_eq!(keep("all"), Ok(Keep::All));
        assert_eq!(keep("7"), Ok(Keep::Newest(7)));
        for text in ["0", "-1", "100000", "ALL", ""] {
            assert!(keep(text).is_err(), "{text}");
        }
    }
}
