//! Pickles, parsed and never executed: plain data only.
//!
//! A pickle is a program for a stack machine that can import and call anything. Here is a machine for it that can
//! only build `None`, booleans, numbers, text, bytes, lists, tuples, sets and dictionaries; whatever asks for more is
//! refused. Values live in an arena and refer to each other by number, so an operation takes constant memory and
//! "a list of two references to a list of two references ..." stays small. It is unfolded only at the end, under the
//! limits on values, bytes and depth; those stop what contains itself, too.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Limits, record_from};
use crate::{Reason, Record, Value};

/// A number in the arena.
type Id = u32;

#[derive(Debug)]
enum Node<'a> {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Cow<'a, str>),
    Bytes(&'a [u8]),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
}

/// The record in a pickle, as `SocketHandler.makePickle` makes it (without the length before it).
///
/// # Errors
/// Whatever is no dictionary of plain data within the limits.
pub fn record(bytes: &[u8], limits: &Limits) -> Result<Record, Reason> {
    record_from(value(bytes, limits)?)
}

/// The value in a pickle.
///
/// # Errors
/// Whatever is no plain data within the limits.
pub fn value(bytes: &[u8], limits: &Limits) -> Result<Value, Reason> {
    if bytes.len() > limits.record_bytes {
        return Err(Reason::TooLarge);
    }
    let mut machine =
        Machine { rest: bytes, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), limits };
    let root = machine.run()?;
    if !machine.rest.is_empty() {
        return Err(Reason::Malformed);
    }
    let mut budget = Budget { values: limits.values, bytes: limits.text_bytes };
    machine.unfold(root, limits.depth, &mut budget)
}

struct Budget {
    values: usize,
    bytes: usize,
}

struct Machine<'a, 'l> {
    rest: &'a [u8],
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    limits: &'l Limits,
}

impl<'a> Machine<'a, '_> {
    /// Runs to STOP.
    fn run(&mut self) -> Result<Id, Reason> {
        loop {
            let op = self.byte()?;
            if op == b'.' {
                let root = self.pop()?;
                return if self.stack.is_empty() && self.marks.is_empty() { Ok(root) } else { Err(Reason::Malformed) };
            }
            self.step(op)?;
        }
    }

    fn step(&mut self, op: u8) -> Result<(), Reason> {
        match op {
            // PROTO, FRAME: the length of a frame is only a hint for readers of files.
            0x80 => {
                if self.byte()? <= 5 {
                    Ok(())
                } else {
                    Err(Reason::Opcode)
                }
            }
            0x95 => self.take(8).map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                self.check_sizes()
            }
            b'0' => self.pop().map(drop),
            b'1' => self.above_mark().map(drop),
            b'2' => {
                let top = *self.top()?;
                self.stack.push(top);
                self.check_sizes()
            }
            b'N' | 0x88 | 0x89 | b'I' | b'J' | b'K' | b'M' | b'L' | 0x8a | 0x8b | b'F' | b'G' => self.number(op),
            b'V' | b'X' | 0x8c | 0x8d | b'T' | b'U' | b'B' | b'C' | 0x8e | 0x96 => self.text(op),
            b'}' | b']' | b')' | 0x8f | b'd' | b'l' | b't' | 0x85..=0x87 | 0x91 => self.container(op),
            b's' | b'u' | b'a' | b'e' | 0x90 => self.fill(op),
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.remember(op),
            // GLOBAL, INST, OBJ, REDUCE, BUILD, NEWOBJ, NEWOBJ_EX, STACK_GLOBAL, EXT1..4, PERSID, BINPERSID.
            b'c' | b'i' | b'o' | b'R' | b'b' | 0x81 | 0x92 | 0x93 | 0x82..=0x84 | b'P' | b'Q' => Err(Reason::NotPlain),
            _ => Err(Reason::Opcode),
        }
    }

    fn number(&mut self, op: u8) -> Result<(), Reason> {
        let node = match op {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'I' => match self.line()? {
                b"00" => Node::Bool(false),
                b"01" => Node::Bool(true),
                digits => Node::Int(decimal(digits)?),
            },
            b'L' => {
                let digits = self.line()?;
                Node::Int(decimal(digits.strip_suffix(b"L").unwrap_or(digits))?)
            }
            b'K' => Node::Int(i128::from(self.byte()?)),
            b'M' => Node::Int(i128::from(u16::from_le_bytes(self.array()?))),
            b'J' => Node::Int(i128::from(i32::from_le_bytes(self.array()?))),
            0x8a => {
                let length = usize::from(self.byte()?);
                Node::Int(twos_complement(self.take(length)?)?)
            }
            0x8b => {
                let length = self.length4()?;
                Node::Int(twos_complement(self.take(length)?)?)
            }
            b'F' => Node::Float(
                std::str::from_utf8(self.line()?).ok().and_then(|text| text.parse().ok()).ok_or(Reason::Malformed)?,
            ),
            _ => Node::Float(f64::from_be_bytes(self.array()?)),
        };
        self.push(node)
    }

    fn text(&mut self, op: u8) -> Result<(), Reason> {
        if op == b'V' {
            let line = self.line()?;
            return self.push(Node::Str(raw_unicode_escape(line)?.into()));
        }
        let length = match op {
            b'X' | b'T' | b'B' => self.length4()?,
            0x8c | b'U' | b'C' => usize::from(self.byte()?),
            _ => usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| Reason::Malformed)?,
        };
        let bytes = self.take(length)?;
        self.push(match op {
            b'B' | b'C' | 0x8e | 0x96 => Node::Bytes(bytes),
            // Also the text of Python 2, which is bytes.
            _ => Node::Str(String::from_utf8_lossy(bytes)),
        })
    }

    fn container(&mut self, op: u8) -> Result<(), Reason> {
        let node = match op {
            b'}' => Node::Dict(Vec::new()),
            b']' | b')' | 0x8f => Node::List(Vec::new()),
            b'd' => Node::Dict(pairs(&self.above_mark()?)?),
            b'l' | b't' | 0x91 => Node::List(self.above_mark()?),
            // TUPLE1 to TUPLE3.
            _ => {
                let from = self.stack.len().checked_sub(usize::from(op - 0x84)).ok_or(Reason::Malformed)?;
                if self.marks.last().is_some_and(|mark| *mark > from) {
                    return Err(Reason::Malformed);
                }
                Node::List(self.stack.split_off(from))
            }
        };
        self.push(node)
    }

    fn fill(&mut self, op: u8) -> Result<(), Reason> {
        let items = match op {
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                vec![key, value]
            }
            b'a' => vec![self.pop()?],
            _ => self.above_mark()?,
        };
        let target = *self.top()? as usize;
        match (&mut self.nodes[target], op) {
            (Node::Dict(entries), b's' | b'u') => entries.extend(pairs(&items)?),
            (Node::List(entries), b'a' | b'e' | 0x90) => entries.extend(items),
            _ => return Err(Reason::Malformed),
        }
        Ok(())
    }

    fn remember(&mut self, op: u8) -> Result<(), Reason> {
        let index = match op {
            b'p' | b'g' => u32::try_from(decimal(self.line()?)?).map_err(|_| Reason::Memo)?,
            b'q' | b'h' => u32::from(self.byte()?),
            b'r' | b'j' => u32::from_le_bytes(self.array()?),
            _ => u32::try_from(self.memo.len()).map_err(|_| Reason::Memo)?,
        };
        if matches!(op, b'g' | b'h' | b'j') {
            let id = *self.memo.get(&index).ok_or(Reason::Memo)?;
            self.stack.push(id);
            return self.check_sizes();
        }
        let id = *self.top()?;
        self.memo.insert(index, id);
        if self.memo.len() > self.limits.values { Err(Reason::Memo) } else { Ok(()) }
    }

    fn push(&mut self, node: Node<'a>) -> Result<(), Reason> {
        let id = Id::try_from(self.nodes.len()).map_err(|_| Reason::TooMany)?;
        self.nodes.push(node);
        self.stack.push(id);
        self.check_sizes()
    }

    /// Every operation adds at most one node and one entry, so this bounds the memory of the machine.
    fn check_sizes(&self) -> Result<(), Reason> {
        let most = self.limits.values;
        if self.nodes.len() > most || self.stack.len() > most || self.marks.len() > most {
            return Err(Reason::TooMany);
        }
        Ok(())
    }

    /// What may not be popped: the values below the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id, Reason> {
        if self.stack.len() <= self.floor() {
            return Err(Reason::Malformed);
        }
        self.stack.pop().ok_or(Reason::Malformed)
    }

    fn top(&self) -> Result<&Id, Reason> {
        if self.stack.len() <= self.floor() {
            Err(Reason::Malformed)
        } else {
            self.stack.last().ok_or(Reason::Malformed)
        }
    }

    fn above_mark(&mut self) -> Result<Vec<Id>, Reason> {
        let mark = self.marks.pop().ok_or(Reason::Malformed)?;
        Ok(self.stack.split_off(mark))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Reason::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Reason> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn length4(&mut self) -> Result<usize, Reason> {
        usize::try_from(u32::from_le_bytes(self.array()?)).map_err(|_| Reason::Malformed)
    }

    fn line(&mut self) -> Result<&'a [u8], Reason> {
        let end = memchr::memchr(b'\n', self.rest).ok_or(Reason::Malformed)?;
        let line = self.take(end)?;
        self.take(1)?;
        Ok(line)
    }

    /// The tree below a node. Shared nodes are copied, and paid for with each copy.
    fn unfold(&self, id: Id, depth: usize, budget: &mut Budget) -> Result<Value, Reason> {
        budget.values = budget.values.checked_sub(1).ok_or(Reason::TooMany)?;
        let mut pay = |bytes: usize| {
            budget.bytes = budget.bytes.checked_sub(bytes).ok_or(Reason::TooMany)?;
            Ok(())
        };
        Ok(match &self.nodes[id as usize] {
            Node::None => Value::None,
            Node::Bool(flag) => Value::Bool(*flag),
            Node::Int(number) => Value::Int(*number),
            Node::Float(number) => Value::Float(*number),
            Node::Str(text) => {
                pay(text.len())?;
                Value::Str(text.clone().into_owned())
            }
            Node::Bytes(bytes) => {
                pay(bytes.len())?;
                Value::Bytes(bytes.to_vec())
            }
            Node::List(items) => {
                let depth = depth.checked_sub(1).ok_or(Reason::TooDeep)?;
                Value::List(items.iter().map(|item| self.unfold(*item, depth, budget)).collect::<Result<_, _>>()?)
            }
            Node::Dict(items) => {
                let depth = depth.checked_sub(1).ok_or(Reason::TooDeep)?;
                let pair = |(key, value): &(Id, Id), budget: &mut Budget| {
                    Ok((self.unfold(*key, depth, budget)?, self.unfold(*value, depth, budget)?))
                };
                Value::Dict(items.iter().map(|item| pair(item, budget)).collect::<Result<_, Reason>>()?)
            }
        })
    }
}

fn pairs(ids: &[Id]) -> Result<Vec<(Id, Id)>, Reason> {
    if !ids.len().is_multiple_of(2) {
        return Err(Reason::Malformed);
    }
    Ok(ids.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// A decimal number of at most 38 digits: a longer one would take quadratic time, and logs have none.
fn decimal(digits: &[u8]) -> Result<i128, Reason> {
    std::str::from_utf8(digits).ok().and_then(|text| text.trim().parse().ok()).ok_or(Reason::Malformed)
}

/// A little-endian number of at most 16 bytes.
fn twos_complement(bytes: &[u8]) -> Result<i128, Reason> {
    if bytes.len() > 16 {
        return Err(Reason::TooLarge);
    }
    let sign = if bytes.last().is_some_and(|high| high & 0x80 != 0) { 0xff } else { 0 };
    let mut array = [sign; 16];
    array[..bytes.len()].copy_from_slice(bytes);
    Ok(i128::from_le_bytes(array))
}

/// Python's codec of that name: Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
fn raw_unicode_escape(mut bytes: &[u8]) -> Result<String, Reason> {
    let mut text = String::with_capacity(bytes.len());
    while let Some((&first, rest)) = bytes.split_first() {
        let digits = match (first, rest.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(first));
                bytes = rest;
                continue;
            }
        };
        let hex = rest.get(1..=digits).and_then(|hex| std::str::from_utf8(hex).ok()).ok_or(Reason::Malformed)?;
        let code = u32::from_str_radix(hex, 16).map_err(|_| Reason::Malformed)?;
        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        bytes = &rest[1 + digits..];
    }
    Ok(text)
}
