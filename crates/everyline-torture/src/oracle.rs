//! The oracle: reads all files of a log in the order in which they were written, and says what is wrong with them.
//!
//! P1 every acknowledged record is there; P2 once, and whole; P3 no record stands in a file that ended before it was
//! logged (a later file is allowed: "late, never early"), and archives never change (that part is `watch`'s); P4 the
//! records of one writer are in order over all files; P5 no file is over the limit, one single larger record excepted.

use std::fmt;

use crate::ledger::Account;
use crate::record::{self, Record};

/// What the engine writes when it had to drop records.
const ANNOUNCEMENT: &[u8] = b"everyline: ";

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Acknowledged and nowhere.
    Lost { who: u32, first: u64, count: u64 },
    /// There twice.
    Doubled { who: u32, seq: u64, place: Place },
    /// After a later one of the same writer.
    Order { who: u32, seq: u64, after: u64, place: Place },
    /// Bytes that are no record.
    Torn { place: Place, len: u64, text: String },
    /// A record that nobody has logged.
    Unknown { who: u32, seq: u64, place: Place },
    /// A record that was logged after the file had ended.
    Early { who: u32, seq: u64, place: Place, by_ns: u64 },
    /// A file over the limit.
    Oversize { file: String, bytes: u64, limit: u64 },
    /// A rotated file that changed.
    Changed { file: String, what: String },
    /// Announced drops differ from those that happened.
    Announced { announced: u64, dropped: u64 },
    /// Lines of another program are missing or damaged.
    ForeignLost { count: u64 },
    /// Something that is neither log nor archive nor journal.
    Stray { file: String },
    /// A process that ended as it should not, a call that failed, a wait that was too long, a step that nobody passed.
    Conduct(String),
}

/// Where in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    pub at: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.file, self.at)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { who, first, count } => write!(f, "lost: {count} records of writer {who} from {first} on"),
            Self::Doubled { who, seq, place } => write!(f, "doubled: record {seq} of writer {who} in {place}"),
            Self::Order { who, seq, after, place } => {
                write!(f, "order: record {seq} of writer {who} after its {after}, in {place}")
            }
            Self::Torn { place, len, text } => write!(f, "torn: {len} bytes of no record in {place}: {text}"),
            Self::Unknown { who, seq, place } => write!(f, "unknown: record {seq} of writer {who} in {place}"),
            Self::Early { who, seq, place, by_ns } => {
                write!(f, "wrong file: record {seq} of writer {who} in {place}, logged {by_ns} ns after the file's end")
            }
            Self::Oversize { file, bytes, limit } => write!(f, "oversize: {file} has {bytes} bytes of {limit}"),
            Self::Changed { file, what } => write!(f, "wrong file: {file} changed after its rotation: {what}"),
            Self::Announced { announced, dropped } => {
                write!(f, "announced: {announced} drops in the log, {dropped} in fact")
            }
            Self::ForeignLost { count } => write!(f, "foreign: {count} lines of another program are gone or damaged"),
            Self::Stray { file } => write!(f, "stray: {file} is neither log nor archive nor journal"),
            Self::Conduct(text) => f.write_str(text),
        }
    }
}

/// What the log of a round must look like.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// Checksums depend on it.
    pub run: u32,
    /// The size limit, unless others write too.
    pub max_bytes: Option<u64>,
    /// Old files were deleted: what is missing must be the beginning of each writer's records.
    pub expires: bool,
    /// Torn fragments that are allowed: foreign appends at the instant of a kill.
    pub fragments: u64,
    /// Lines that another program has appended.
    pub foreign: u64,
    /// The live file was deleted: what was written before anybody noticed is copied from the file without a name, by
    /// whoever has it open, which may be after the first records of the new file.
    pub disorder: bool,
    /// The drops must be announced exactly.
    pub announced: bool,
    /// Only records that a flush has confirmed must be there: the journal was lost with its processes.
    pub flushed_only: bool,
}

/// One file of the log, to be read.
#[derive(Debug)]
pub struct LogFile<'a> {
    pub name: &'a str,
    pub bytes: &'a [u8],
    /// No record logged from here on may stand in it, ns.
    pub ends_ns: Option<u64>,
    /// A copy that somebody took before the original was deleted or emptied: its records may stand elsewhere, too.
    pub copy: bool,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub files: u64,
    pub records: u64,
    pub bytes: u64,
    pub foreign: u64,
    pub fragments: u64,
    pub announced: u64,
    pub damage: Vec<Damage>,
}

#[derive(Debug, Default)]
struct Writer {
    /// The number after the last one seen.
    next: u64,
    seen: Numbers,
    /// In copies of files that were deleted.
    copied: Numbers,
    first: Option<u64>,
    /// Short records before the first full one, where the beginning is gone: their numbers are known from that.
    held: Vec<(Place, Record)>,
    /// Numbers are known.
    settled: bool,
}

/// A set of numbers.
#[derive(Debug, Default)]
struct Numbers(Vec<u64>);

impl Numbers {
    /// True if it is new.
    fn add(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    fn has(&self, number: u64) -> bool {
        self.0.get((number / 64) as usize).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}

impl Writer {
    fn has(&self, seq: u64) -> bool {
        self.seen.has(seq) || self.copied.has(seq)
    }

    /// The number of a short record: the next one with that rest.
    fn widen(&self, rest: u64) -> u64 {
        self.next + (rest.wrapping_sub(self.next) & 4095)
    }
}

/// Takes the files in order, then the accounts.
#[derive(Debug)]
pub struct Oracle<'a> {
    expect: &'a Expect,
    accounts: &'a [Account],
    writers: Vec<Writer>,
    /// Lines of another program.
    foreign: Numbers,
    found: Found,
}

impl<'a> Oracle<'a> {
    pub fn new(expect: &'a Expect, accounts: &'a [Account]) -> Self {
        let writers = accounts.iter().map(|_| Writer::default()).collect();
        Self { expect, accounts, writers, foreign: Numbers::default(), found: Found::default() }
    }

    /// Reads the next file.
    pub fn file(&mut self, file: &LogFile<'_>) {
        self.found.files += 1;
        self.found.bytes += file.bytes.len() as u64;
        let mut at = 0;
        let mut pieces = 0;
        let mut bad_from = None;
        while at < file.bytes.len() {
            let rest = &file.bytes[at..];
            let len = match record::parse(self.expect.run, rest) {
                Some(record) => {
                    self.record(file, at, &record);
                    pieces += 1;
                    record.len
                }
                None => match announcement(rest) {
                    Some((count, len)) => {
                        self.found.announced += count;
                        pieces += 1;
                        len
                    }
                    None => 0,
                },
            };
            if len > 0 {
                self.torn(file, bad_from.take(), at);
            } else {
                bad_from.get_or_insert(at);
            }
            at += len.max(1);
        }
        self.torn(file, bad_from, at);
        self.check_size(file, pieces);
    }

    fn check_size(&mut self, file: &LogFile<'_>, pieces: u64) {
        let bytes = file.bytes.len() as u64;
        if let Some(limit) = self.expect.max_bytes.filter(|limit| bytes > *limit && pieces > 1) {
            self.found.damage.push(Damage::Oversize { file: file.name.to_owned(), bytes, limit });
        }
    }

    fn torn(&mut self, file: &LogFile<'_>, from: Option<usize>, upto: usize) {
        let Some(from) = from else { return };
        self.found.fragments += 1;
        if self.found.fragments > self.expect.fragments {
            let text = file.bytes[from..upto.min(from + 60)].escape_ascii().to_string();
            let place = Place { file: file.name.to_owned(), at: from as u64 };
            self.found.damage.push(Damage::Torn { place, len: (upto - from) as u64, text });
        }
    }

    fn record(&mut self, file: &LogFile<'_>, at: usize, record: &Record) {
        if record.foreign {
            self.found.foreign += u64::from(self.foreign.add(record.seq));
            return;
        }
        let place = Place { file: file.name.to_owned(), at: at as u64 };
        let who = record.who;
        let Some(writer) = self.writers.get_mut(who as usize) else {
            self.found.damage.push(Damage::Unknown { who, seq: record.seq, place });
            return;
        };
        if self.expect.expires && !writer.settled {
            if record.short {
                writer.held.push((place, *record));
                return;
            }
            self.settle(who, record.seq);
        }
        if let (Some(stamp), Some(end)) = (record.stamp, file.ends_ns)
            && stamp >= end
        {
            let place = place.clone();
            self.found.damage.push(Damage::Early { who, seq: record.seq, place, by_ns: stamp - end });
        }
        self.count(place, record, file.copy);
    }

    /// `next` is a number of this writer's after those that are held.
    fn settle(&mut self, who: u32, next: u64) {
        let writer = &mut self.writers[who as usize];
        writer.settled = true;
        writer.next = next.saturating_sub(4095);
        for (place, record) in std::mem::take(&mut writer.held) {
            self.count(place, &record, false);
        }
    }

    fn count(&mut self, place: Place, record: &Record, copy: bool) {
        let who = record.who;
        let writer = &mut self.writers[who as usize];
        let seq = if record.short { writer.widen(record.seq) } else { record.seq };
        if seq >= self.accounts[who as usize].begun {
            // A short one that stands twice looks as if it were 4096 later.
            let before = seq.checked_sub(4096).filter(|s| record.short && writer.seen.has(*s));
            self.found.damage.push(match before {
                Some(seq) => Damage::Doubled { who, seq, place },
                None => Damage::Unknown { who, seq, place },
            });
            return;
        }
        if copy {
            writer.copied.add(seq);
            return;
        }
        self.found.records += 1;
        writer.first = Some(writer.first.map_or(seq, |first| first.min(seq)));
        if !writer.seen.add(seq) {
            self.found.damage.push(Damage::Doubled { who, seq, place });
        } else if seq < writer.next && !self.expect.disorder {
            self.found.damage.push(Damage::Order { who, seq, after: writer.next - 1, place });
        }
        writer.next = writer.next.max(seq + 1);
    }

    /// Compares with what was acknowledged.
    pub fn finish(mut self) -> Found {
        for (who, account) in self.accounts.iter().enumerate() {
            if !self.writers[who].settled {
                self.settle(who as u32, account.begun);
            }
        }
        for (who, (account, writer)) in self.accounts.iter().zip(&self.writers).enumerate() {
            let upto = if self.expect.flushed_only { account.flushed } else { account.acked };
            let from = match (self.expect.expires, writer.first) {
                (false, _) => 0,
                (true, Some(first)) => first,
                // All of it may have gone with the old files.
                (true, None) => upto,
            };
            self.found.damage.extend(gaps(writer, from, upto).into_iter().map(|(first, count)| Damage::Lost {
                who: who as u32,
                first,
                count,
            }));
        }
        let dropped = self.accounts.iter().map(|a| a.dropped).sum();
        if self.expect.announced && self.found.announced != dropped {
            self.found.damage.push(Damage::Announced { announced: self.found.announced, dropped });
        }
        if self.found.foreign < self.expect.foreign {
            self.found.damage.push(Damage::ForeignLost { count: self.expect.foreign - self.found.foreign });
        }
        self.found
    }
}

/// Runs of numbers that were not seen.
fn gaps(writer: &Writer, from: u64, upto: u64) -> Vec<(u64, u64)> {
    let mut gaps: Vec<(u64, u64)> = Vec::new();
    for seq in (from..upto).filter(|seq| !writer.has(*seq)) {
        match gaps.last_mut() {
            Some((first, count)) if *first + *count == seq => *count += 1,
            _ => gaps.push((seq, 1)),
        }
    }
    gaps
}

/// Count and length of an announcement of dropped records.
fn announcement(bytes: &[u8]) -> Option<(u64, usize)> {
    let rest = bytes.strip_prefix(ANNOUNCEMENT)?;
    let len = rest.iter().take(200).position(|b| *b == b'\n')? + 1;
    let line = std::str::from_utf8(&rest[..len]).ok()?;
    let (count, tail) = line.split_once(' ')?;
    tail.contains("were dropped").then_some((count.parse().ok()?, ANNOUNCEMENT.len() + len))
}

#[cfg(test)]
#[path = "oracle_tests.rs"]
mod tests;
