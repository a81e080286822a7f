//! Streams, cut into records. Holds no more than one record over what one read gave it, whatever a length word says.

use crate::Reason;

/// How a stream is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Four bytes of length, big-endian, before each record.
    Length,
    /// A line break after each record.
    Lines,
    /// Syslog over TCP (RFC 6587): `length SPACE message`, or a message up to a line break or NUL. Each says which it is.
    Syslog,
}

/// The bytes of a stream that are not yet taken.
#[derive(Debug)]
pub struct Frames {
    framing: Framing,
    limit: usize,
    buffer: Vec<u8>,
    /// What of the buffer was taken.
    start: usize,
    /// What of the rest is known to hold no end of line.
    searched: usize,
}

impl Frames {
    /// For records of at most `limit` bytes.
    pub fn new(framing: Framing, limit: usize) -> Self {
        Self { framing, limit, buffer: Vec::new(), start: 0, searched: 0 }
    }

    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        // A peer that sent one large record does not keep its memory for ever.
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP_BYTES {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// True if there is a part of a record.
    pub fn is_inside(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// The next whole record. Lines come without their ends, and empty ones not at all.
    ///
    /// # Errors
    /// `TooLarge` as soon as it is known; `Malformed`. The stream cannot be read on after either.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, Reason> {
        match self.framing {
            Framing::Length => self.by_length(),
            Framing::Lines => self.by_line(),
            Framing::Syslog => {
                // Behind an empty line, or a line break after a counted message, may come a count.
                let empty = self.rest().iter().take_while(|byte| matches!(byte, b'\n' | 0)).count();
                if empty > 0 {
                    self.start += empty;
                    self.searched = 0;
                }
                let counted = self.rest().first().is_some_and(|byte| (b'1'..=b'9').contains(byte));
                if counted { self.by_count() } else { self.by_line() }
            }
        }
    }

    /// What is left when the stream has ended: a last line needs no end.
    pub fn last_frame(&mut self) -> Result<Option<&[u8]>, Reason> {
        let counted = self.framing == Framing::Syslog && self.rest().first().is_some_and(u8::is_ascii_digit);
        if !self.is_inside() {
            return Ok(None);
        }
        if self.framing == Framing::Length || counted {
            return Err(Reason::CutOff);
        }
        let length = self.rest().len();
        Ok(Some(self.take(0, length, 0)))
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn by_length(&mut self) -> Result<Option<&[u8]>, Reason> {
        let Some(word) = self.rest().first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*word) as usize;
        self.counted(4, length)
    }

    /// Octet counting. A message that begins with a digit can be no other: those of RFC 3164 and 5424 begin with `<`.
    fn by_count(&mut self) -> Result<Option<&[u8]>, Reason> {
        let head = &self.rest()[..self.rest().len().min(COUNT_DIGITS + 1)];
        let Some(digits) = head.iter().position(|byte| !byte.is_ascii_digit()) else {
            return if head.len() > COUNT_DIGITS { Err(Reason::TooLarge) } else { Ok(None) };
        };
        if head[digits] != b' ' {
            return Err(Reason::Malformed);
        }
        let length = std::str::from_utf8(&head[..digits]).ok().and_then(|text| text.parse().ok());
        self.counted(digits + 1, length.ok_or(Reason::Malformed)?)
    }

    fn counted(&mut self, head: usize, length: usize) -> Result<Option<&[u8]>, Reason> {
        if length > self.limit {
            return Err(Reason::TooLarge);
        }
        if self.rest().len() < head + length {
            return Ok(None);
        }
        Ok(Some(self.take(head, length, 0)))
    }

    fn by_line(&mut self) -> Result<Option<&[u8]>, Reason> {
        loop {
            let unseen = &self.rest()[self.searched..];
            let end = match self.framing {
                Framing::Syslog => memchr::memchr2(b'\n', 0, unseen),
                _ => memchr::memchr(b'\n', unseen),
            };
            let length = end.map_or(self.rest().len(), |end| self.searched + end);
            if length > self.limit {
                return Err(Reason::TooLarge);
            }
            if end.is_none() {
                self.searched = length;
                return Ok(None);
            }
            if length == 0 {
                self.start += 1;
                self.searched = 0;
                continue;
            }
            return Ok(Some(self.take(0, length, 1)));
        }
    }

    fn take(&mut self, head: usize, length: usize, tail: usize) -> &[u8] {
        let from = self.start + head;
        self.start = from + length + tail;
        self.searched = 0;
        &self.buffer[from..from + length]
    }
}

/// A buffer up to this size is kept for the next record.
const KEEP_BYTES: usize = 256 << 10;
/// Digits of a count; a longer one is over every limit.
const COUNT_DIGITS: usize = 9;
