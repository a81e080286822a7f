//! The records that are logged: each says who wrote it, which one it is, when, how long it is, and a checksum over all.
//!
//! The oracle finds the next record by the length in its head, not by line breaks, so records of several lines work, and
//! a record that was torn or mixed with another is seen. Three forms, because a head of 32 bytes does not fit a record of
//! 7: *tiny* (7 bytes), *small* (9 to 31) and *full*. The first two carry the sequence number modulo 4096; the order that
//! the engine promises gives the rest.

/// Digits of numbers in a head: 64, in ASCII order. None of them, and no filler, is a mark.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";
/// Marks a record's first byte.
pub const TINY: u8 = b'-';
/// See [`TINY`].
pub const SMALL: u8 = b'+';
/// See [`TINY`].
pub const FULL: u8 = b'=';
/// A line that another program appended; else as [`FULL`].
pub const FOREIGN: u8 = b'#';

/// Length of a tiny record.
pub const TINY_BYTES: usize = 7;
/// Length of the shortest small record.
pub const SMALL_BYTES: usize = 9;
/// Length of the shortest full record: mark, length 5, who 3, sequence 6, stamp 11, checksum 6, line break.
pub const FULL_BYTES: usize = 33;
/// Writers from here on write full records only: the shorter forms have two digits for them.
const SHORT_WHO: u32 = 4096;

/// Where the checksum of a full record stands.
const CHECK: std::ops::Range<usize> = 26..32;

/// A record, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Number of the writer: one thread of one life of a process.
    pub who: u32,
    /// Its number, or that modulo 4096.
    pub seq: u64,
    /// True if `seq` is only the rest.
    pub short: bool,
    /// Wall clock before the call that logged it, ns.
    pub stamp: Option<u64>,
    /// Bytes, all.
    pub len: usize,
    /// Another program's line.
    pub foreign: bool,
}

/// What a record says, besides its filler.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub run: u32,
    pub who: u32,
    pub seq: u64,
    pub stamp: u64,
    pub foreign: bool,
}

/// Writes a record of about `size` bytes (the next possible length) into `out`.
pub fn compose(out: &mut Vec<u8>, head: Head, size: usize, lines: bool) {
    out.clear();
    if size < FULL_BYTES && head.who < SHORT_WHO && !head.foreign {
        compose_short(out, head, size);
        return;
    }
    let size = size.max(FULL_BYTES);
    out.push(if head.foreign { FOREIGN } else { FULL });
    digits(out, size as u64, 5);
    digits(out, u64::from(head.who), 3);
    digits(out, head.seq, 6);
    digits(out, head.stamp, 11);
    out.extend_from_slice(b"000000");
    fill(out, size - 1, head.seq ^ u64::from(head.who), lines);
    out.push(b'\n');
    let sum = checksum(head.run, out);
    let mut text = Vec::with_capacity(6);
    digits(&mut text, u64::from(sum), 6);
    out[CHECK].copy_from_slice(&text);
}

fn compose_short(out: &mut Vec<u8>, head: Head, size: usize) {
    let tiny = size < SMALL_BYTES;
    let size = if tiny { TINY_BYTES } else { size };
    out.push(if tiny { TINY } else { SMALL });
    if !tiny {
        digits(out, size as u64, 1);
    }
    digits(out, u64::from(head.who), 2);
    digits(out, head.seq % 4096, 2);
    let sum = crc32c::crc32c_append(head.run, out);
    digits(out, u64::from(sum) % if tiny { 64 } else { 4096 }, if tiny { 1 } else { 2 });
    fill(out, size - 1, head.seq, false);
    out.push(b'\n');
}

/// Filler changes from byte to byte, so that bytes from a wrong place are not taken for right ones.
fn fill(out: &mut Vec<u8>, upto: usize, salt: u64, lines: bool) {
    let (from, turn) = (out.len(), (salt % 26) as usize);
    out.extend(
        (from..upto).map(|i| if lines && i % 61 == 60 { b'\n' } else { b'a' + ((i + i / 509 + turn) % 26) as u8 }),
    );
}

/// Reads the record at the beginning of `bytes`. `None`: there is no whole one.
pub fn parse(run: u32, bytes: &[u8]) -> Option<Record> {
    match *bytes.first()? {
        FULL | FOREIGN => parse_full(run, bytes),
        TINY => parse_short(run, bytes.get(..TINY_BYTES)?, 1),
        SMALL => {
            let len = number(bytes.get(1..2)?)? as usize;
            if !(SMALL_BYTES..FULL_BYTES).contains(&len) {
                return None;
            }
            parse_short(run, bytes.get(..len)?, 2)
        }
        _ => None,
    }
}

fn parse_full(run: u32, bytes: &[u8]) -> Option<Record> {
    let len = number(bytes.get(1..6)?)? as usize;
    if len < FULL_BYTES {
        return None;
    }
    let record = bytes.get(..len)?;
    let whole = record[len - 1] == b'\n' && number(&record[CHECK])? == u64::from(checksum(run, record));
    whole.then_some(Record {
        who: number(&record[6..9])? as u32,
        seq: number(&record[9..15])?,
        short: false,
        stamp: Some(number(&record[15..26])?),
        len,
        foreign: record[0] == FOREIGN,
    })
}

fn parse_short(run: u32, record: &[u8], checks: usize) -> Option<Record> {
    let head = if checks == 1 { 1 } else { 2 };
    let who = number(&record[head..head + 2])? as u32;
    let seq = number(&record[head + 2..head + 4])?;
    let sum = u64::from(crc32c::crc32c_append(run, &record[..head + 4])) % if checks == 1 { 64 } else { 4096 };
    let body = head + 4 + checks;
    // 4096 is no multiple of 26, so where the filler begins is not known here; how it goes on is.
    let steps = record[body..record.len() - 1].windows(2).all(|w| w[1] == w[0] + 1 || (w[0] == b'z' && w[1] == b'a'));
    let whole = number(&record[head + 4..body])? == sum && steps && record.last() == Some(&b'\n');
    whole.then_some(Record { who, seq, short: true, stamp: None, len: record.len(), foreign: false })
}

/// Over the whole record with its own place as zeros. The run's number goes in: records of another run are none.
fn checksum(run: u32, record: &[u8]) -> u32 {
    let sum = crc32c::crc32c_append(run, &record[..CHECK.start]);
    crc32c::crc32c_append(sum, &record[CHECK.end..])
}

fn digits(out: &mut Vec<u8>, value: u64, count: u32) {
    debug_assert!(count > 10 || value < 1 << (6 * count), "{value} in {count} digits");
    out.extend((0..count).rev().map(|i| DIGITS[(value >> (6 * i)) as usize & 63]));
}

fn number(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |value, c| Some(value << 6 | DIGITS.binary_search(c).ok()? as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head { run: 7, who: 4095, seq: 5000, stamp: 1_700_000_000_123_456_789, foreign: false };

    #[test]
    fn records_of_all_lengths_read_back() {
        let mut out = Vec::new();
        for size in (1..200).chain([5000, 65_537, 300_001]) {
            for lines in [false, true] {
                compose(&mut out, HEAD, size, lines);
                let record = parse(7, &out).unwrap_or_else(|| panic!("{size}: {}", out.escape_ascii()));
                assert_eq!((record.len, record.who), (out.len(), 4095));
                assert_eq!(record.seq, if record.short { 5000 % 4096 } else { 5000 });
                assert_eq!(parse(8, &out).filter(|r| !r.short), None, "another run");
                assert!(out.len() >= size.min(TINY_BYTES) && out.len() <= size.max(FULL_BYTES));
            }
        }
    }

    #[test]
    fn a_record_with_any_byte_changed_is_none() {
        let mut out = Vec::new();
        for size in [7, 20, 33, 300] {
            compose(&mut out, HEAD, size, false);
            for i in 0..out.len() {
                let mut bad = out.clone();
                bad[i] = if bad[i] == b'Q' { b'R' } else { b'Q' };
                // One digit of checksum lets one in 64 tiny records through; the oracle then misses the right one.
                assert!(parse(7, &bad).is_none() || size == 7, "byte {i} of {size}");
            }
            assert_eq!(parse(7, &out[..out.len() - 1]), None);
        }
    }

    #[test]
    fn writers_with_large_numbers_write_full_records() {
        let mut out = Vec::new();
        compose(&mut out, Head { who: 4096, ..HEAD }, 7, false);
        assert_eq!(out.len(), FULL_BYTES);
    }
}
