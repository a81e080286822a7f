//! The files of a log, in the order in which they were written, handed to the oracle.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;

use crate::ledger::Account;
use crate::oracle::{Damage, Expect, Found, LogFile, Oracle};
use crate::plan::{LINK, Names, Plan};

/// A file found beside the log.
#[derive(Debug)]
struct Candidate {
    path: PathBuf,
    name: String,
    rank: Rank,
}

/// Place in the order of writing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// By age: highest number first.
    Number(std::cmp::Reverse<u32>),
    /// Stamp, then how often it was used before.
    Stamp(String, u32),
    /// Made at, and before the one made at the same time.
    Born(SystemTime, u8),
    Live,
}

/// Reads and judges all files of a log.
pub fn judge(plan: &Plan, expect: &Expect, accounts: &[Account]) -> io::Result<Found> {
    let (candidates, stray) = in_order(plan)?;
    let mut oracle = Oracle::new(expect, accounts);
    for file in &candidates {
        let bytes = read(file)?;
        let ends_ns = end_of(plan, &file.rank);
        oracle.file(&LogFile { name: &file.name, bytes: &bytes, ends_ns, copy: file.name.contains(".copy-") });
    }
    let mut found = oracle.finish();
    found.damage.extend(stray.into_iter().map(|file| Damage::Stray { file }));
    Ok(found)
}

/// The text of a file, unpacked. What cannot be unpacked is given as it is: the oracle finds no record in it.
fn read(file: &Candidate) -> io::Result<Vec<u8>> {
    let bytes = fs::read(&file.path)?;
    let mut text = Vec::new();
    match file.name.ends_with(".gz") {
        true if MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).is_ok() => Ok(text),
        _ => Ok(bytes),
    }
}

fn in_order(plan: &Plan) -> io::Result<(Vec<Candidate>, Vec<String>)> {
    let log = plan.log.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let (mut files, mut stray) = (Vec::new(), Vec::new());
    // Files of another program have names of their own; then only their age says where they belong.
    let mut foreign = false;
    for entry in fs::read_dir(plan.log.parent().unwrap_or(&plan.log))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_link = name == LINK && entry.file_type()?.is_symlink();
        if is_link || name.starts_with(&format!(".{log}.everyline")) {
            continue;
        }
        let suffix = name.strip_prefix(log).map(|s| s.strip_prefix('.').unwrap_or(s));
        let rank = match suffix {
            Some("") => Some(Rank::Live),
            Some(suffix) if suffix.starts_with("old-") || suffix.starts_with("copy-") => {
                foreign = true;
                Some(Rank::Live)
            }
            Some(suffix) => rank(plan, suffix),
            None => None,
        };
        match rank {
            Some(rank) => files.push(Candidate { path: entry.path(), name, rank }),
            None => stray.push(name),
        }
    }
    if foreign {
        for file in &mut files {
            file.rank = born(file)?;
        }
    }
    files.sort_by(|a, b| a.rank.cmp(&b.rank));
    Ok((files, stray))
}

fn rank(plan: &Plan, suffix: &str) -> Option<Rank> {
    let suffix = if plan.compress { suffix.strip_suffix(".gz").unwrap_or(suffix) } else { suffix };
    match plan.names {
        Names::Sequence => {
            let (stamp, number) = suffix.split_once("Z-")?;
            Some(Rank::Stamp(stamp.to_owned(), number.parse().ok()?))
        }
        Names::Numbered => suffix.parse().ok().map(|n| Rank::Number(std::cmp::Reverse(n))),
        Names::Dated => {
            let (stamp, clash) = match suffix.split_once('.') {
                Some((stamp, clash)) => (stamp, clash.parse().ok()?),
                None => (suffix, 0),
            };
            seconds(stamp)?;
            Some(Rank::Stamp(stamp.to_owned(), clash))
        }
    }
}

/// A copy says in its name when the original was made, and comes before it.
fn born(file: &Candidate) -> io::Result<Rank> {
    if let Some((_, ns)) = file.name.split_once(".copy-")
        && let Some(ns) = ns.split('-').next().and_then(|ns| ns.parse().ok())
    {
        return Ok(Rank::Born(SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(ns), 0));
    }
    Ok(Rank::Born(fs::metadata(&file.path)?.created()?, 1))
}

/// When a file was made, ns: the part of a copy's name that says where it belongs.
pub fn birth(path: &Path) -> io::Result<u128> {
    let age = fs::metadata(path)?.created()?.duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    Ok(age.as_nanos())
}

/// The end of a file's period, from its name: the start of the period, and its length.
fn end_of(plan: &Plan, rank: &Rank) -> Option<u64> {
    match (rank, plan.period) {
        (Rank::Stamp(stamp, _), Some(period)) => Some((seconds(stamp)? + u64::from(period)) * 1_000_000_000),
        _ => None,
    }
}

/// `2026-01-31_12-30-00` as Unix time.
fn seconds(stamp: &str) -> Option<u64> {
    let parts: Vec<u64> = stamp.split(['-', '_']).map(str::parse).collect::<Result<_, _>>().ok()?;
    let [year, month, day, hour, minute, second] = parts[..] else { return None };
    // Days from civil, after Howard Hinnant; years from 1970 on.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let of_era = y % 400 * 365 + y % 400 / 4 - y % 400 / 100 + (153 * m + 2) / 5 + day - 1;
    Some(((y / 400 * 146_097 + of_era - 719_468) * 24 + hour) * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_read() {
        assert_eq!(seconds("2023-11-14_22-13-20"), Some(1_700_000_000));
        assert_eq!(seconds("1970-01-01_00-00-01"), Some(1));
        assert_eq!(seconds("2024-02-29_00-00-00"), Some(1_709_164_800));
        assert_eq!(seconds("2024-02-29"), None);
    }

    #[test]
    fn the_highest_number_and_the_lowest_clash_are_the_oldest() {
        let mut ranks = [Rank::Live, Rank::Number(std::cmp::Reverse(1)), Rank::Number(std::cmp::Reverse(10))];
        ranks.sort();
        assert_eq!(ranks[0], Rank::Number(std::cmp::Reverse(10)));
        assert_eq!(ranks[2], Rank::Live);
        assert!(Rank::Stamp("2024".into(), 9) < Rank::Stamp("2024".into(), 10));
        assert!(Rank::Stamp("2024".into(), 10) < Rank::Live);
    }
}
