//! Lines out of a stream of bytes. No input or output here: `pipe` reads into the buffer, and takes lines out.
//!
//! Guarantees: every line comes out once, whole, in order, with its newline; the last one gets one if it has none. A
//! line over the limit comes out as its length, never cut; what memory holds is bounded by the limit. Bytes are
//! bytes: no encoding, no CR, no NUL is looked at.

/// Least room for one read. A read of 64 KiB costs about as much as copying it.
const READ_BYTES: usize = 64 << 10;

/// A larger buffer is given back after the line that needed it.
const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// With its newline.
    Whole(&'a [u8]),
    /// Longer than the limit, and gone: its length, with its newline.
    TooLong(u64),
}

/// Bytes that were read and not yet taken out. Between calls it holds at most one line, unfinished.
#[derive(Debug)]
pub struct Lines {
    /// `[..filled]` was read, and has no newline between calls. The rest is room.
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes of the line under way that were thrown away because it is too long.
    skipped: u64,
    /// Longest line, in bytes, with its newline.
    limit: usize,
}

impl Lines {
    /// Lines of at most `limit` bytes, newline included.
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), filled: 0, skipped: 0, limit }
    }

    /// True if a line has begun and not ended.
    pub fn in_line(&self) -> bool {
        self.filled > 0 || self.skipped > 0
    }

    /// Room to read into.
    pub fn room(&mut self) -> &mut [u8] {
        if self.buffer.len() - self.filled < READ_BYTES {
            // Doubling, so that a line of n bytes is copied O(n) times in all.
            let bytes = (self.filled + READ_BYTES).next_power_of_two();
            self.buffer.resize(bytes, 0);
        } else if self.filled < READ_BYTES && self.buffer.len() > BUFFER_KEPT_BYTES {
            // A huge line has passed; its memory is not kept for the rest of a long life.
            self.buffer.truncate(BUFFER_KEPT_BYTES);
            self.buffer.shrink_to_fit();
        }
        &mut self.buffer[self.filled..]
    }

    /// Takes in `count` bytes that were read into [`room`](Self::room), and hands out every line that is complete.
    pub fn take(&mut self, count: usize, mut each: impl FnMut(Line<'_>)) {
        let end = self.filled + count;
        let mut start = 0;
        // The bytes from before hold no newline.
        for at in memchr::memchr_iter(b'\n', &self.buffer[self.filled..end]) {
            let stop = self.filled + at + 1;
            let line = &self.buffer[start..stop];
            each(whole_or_too_long(line, self.skipped, self.limit));
            self.skipped = 0;
            start = stop;
        }
        self.buffer.copy_within(start..end, 0);
        self.filled = end - start;
        if self.filled >= self.limit || self.skipped > 0 {
            // At the limit there is no room for its newline: too long whatever follows.
            self.skipped += self.filled as u64;
            self.filled = 0;
        }
    }

    /// The input has ended: hands out the last line, if it has no newline, with one.
    pub fn finish(&mut self, mut each: impl FnMut(Line<'_>)) {
        if !self.in_line() {
            return;
        }
        self.room()[0] = b'\n';
        self.take(1, &mut each);
    }
}

fn whole_or_too_long(line: &[u8], skipped: u64, limit: usize) -> Line<'_> {
    let bytes = line.len() as u64 + skipped;
    if skipped > 0 || line.len() > limit { Line::TooLong(bytes) } else { Line::Whole(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of at most `piece` bytes; too long lines come out as `!length`.
    fn split(input: &[u8], piece: usize, limit: usize) -> Vec<Vec<u8>> {
        let mut lines = Lines::new(limit);
        let mut out = Vec::new();
        let mut each = |line: Line<'_>| match line {
            Line::Whole(bytes) => out.push(bytes.to_vec()),
            Line::TooLong(bytes) => out.push(format!("!{bytes}").into_bytes()),
        };
        for chunk in input.chunks(piece) {
            lines.room()[..chunk.len()].copy_from_slice(chunk);
            lines.take(chunk.len(), &mut each);
        }
        lines.finish(&mut each);
        assert!(!lines.in_line());
        out
    }

    #[test]
    fn lines_come_out_whole_however_they_come_in() {
        let input = b"one\n\n\r\n\0\xff\nlast";
        for piece in 1..=input.len() {
            assert_eq!(split(input, piece, 100), [&b"one\n"[..], b"\n", b"\r\n", b"\0\xff\n", b"last\n"], "{piece}");
        }
        assert!(split(b"", 1, 100).is_empty());
    }

    #[test]
    fn a_line_over_the_limit_is_left_out_whole_and_the_next_one_is_not() {
        let input = b"1234\n12345\n123456789\n1234\n12345";
        for piece in 1..=input.len() {
            assert_eq!(split(input, piece, 5), [&b"1234\n"[..], b"!6", b"!10", b"1234\n", b"!6"], "{piece}");
        }
    }

    #[test]
    fn memory_is_bounded_by_the_limit_and_given_back() {
        let mut lines = Lines::new(8 << 20);
        for _ in 0..1024 {
            let room = lines.room();
            room.fill(b'x');
            let count = room.len();
            lines.take(count, |_| panic!("no newline yet"));
            assert!(lines.buffer.len() <= 16 << 20);
        }
        let mut length = 0;
        lines.finish(|line| match line {
            Line::TooLong(bytes) => length = bytes,
            Line::Whole(_) => panic!("longer than the limit"),
        });
        assert!(length > 64 << 20);
        lines.room();
        assert!(lines.buffer.capacity() <= BUFFER_KEPT_BYTES);
    }
}
