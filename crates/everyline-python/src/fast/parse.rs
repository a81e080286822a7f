//! The three styles of format strings, taken apart once.
//!
//! Promise: what comes out, written piece by piece, is what Python's `%`, `str.format` and `string.Template` make of the
//! same string. A string that is not understood here, or that Python refuses, is refused, and stays with Python.

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::text::{General, Shape};

pub enum Piece {
    Literal(Vec<u8>),
    Field { name: Py<PyString>, shape: Shape },
}

/// One style.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Percent,
    Brace,
    Dollar,
}

/// The pieces of `format`, or None.
pub fn pieces(py: Python<'_>, style: Style, format: &str) -> Option<Vec<Piece>> {
    let mut parser = Parser { py, rest: format, pieces: Vec::new(), literal: Vec::new() };
    match style {
        Style::Percent => parser.percent()?,
        Style::Brace => parser.brace()?,
        Style::Dollar => parser.dollar()?,
    }
    parser.end_literal();
    Some(parser.pieces)
}

struct Parser<'py, 'a> {
    py: Python<'py>,
    rest: &'a str,
    pieces: Vec<Piece>,
    literal: Vec<u8>,
}

impl Parser<'_, '_> {
    /// Takes what stands before the next of `marks`, and the mark; None at the end.
    fn until(&mut self, marks: &[char]) -> Option<char> {
        match self.rest.find(marks) {
            Some(at) => {
                let mark = self.rest[at..].chars().next()?;
                self.literal.extend_from_slice(&self.rest.as_bytes()[..at]);
                self.rest = &self.rest[at + mark.len_utf8()..];
                Some(mark)
            }
            None => {
                self.literal.extend_from_slice(self.rest.as_bytes());
                self.rest = "";
                None
            }
        }
    }

    fn eat(&mut self, what: char) -> bool {
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            self.pieces.push(Piece::Literal(std::mem::take(&mut self.literal)));
        }
    }

    fn field(&mut self, name: &str, shape: Shape) {
        self.end_literal();
        // Interned, as the names of attributes are: they are found by identity.
        self.pieces.push(Piece::Field { name: PyString::intern(self.py, name).unbind(), shape });
    }

    fn text(&self, text: &str) -> Py<PyAny> {
        PyString::new(self.py, text).into_any().unbind()
    }

    fn percent(&mut self) -> Option<()> {
        while self.until(&['%']).is_some() {
            if self.eat('%') {
                self.literal.push(b'%');
                continue;
            }
            if !self.eat('(') {
                return None;
            }
            let name_end = self.rest.find(['(', ')']).filter(|at| self.rest[*at..].starts_with(')'))?;
            let (name, rest) = (&self.rest[..name_end], &self.rest[name_end + 1..]);
            let kind_at = rest.find(|c: char| !"#0- +.123456789".contains(c))?;
            let (options, kind) = (&rest[..kind_at], rest[kind_at..].chars().next()?);
            if !"diouxXeEfFgGcrsa".contains(kind) {
                return None;
            }
            self.rest = &rest[kind_at + 1..];
            let shape = self.percent_shape(options, kind)?;
            self.field(name, shape);
        }
        Some(())
    }

    fn percent_shape(&self, options: &str, kind: char) -> Option<Shape> {
        let general = General::Percent(self.text(&format!("%{options}{kind}")));
        let number = |digits: &str| {
            (digits.len() <= 4 && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
                .then(|| digits.parse::<usize>().ok())
                .flatten()
        };
        Some(match kind {
            's' if options.is_empty() => Shape::Plain,
            's' => match options.strip_prefix('-') {
                Some(digits) if !digits.starts_with('0') && number(digits).is_some() => {
                    Shape::Padded { left: true, width: number(digits)?, general }
                }
                None if !options.starts_with('0') && number(options).is_some() => {
                    Shape::Padded { left: false, width: number(options)?, general }
                }
                _ => Shape::General(general),
            },
            'd' | 'i' if options.is_empty() => Shape::Whole { width: 0, zeros: false, general },
            'd' | 'i' if number(options).is_some() => {
                Shape::Whole { width: number(options)?, zeros: options.starts_with('0'), general }
            }
            _ => Shape::General(general),
        })
    }

    fn brace(&mut self) -> Option<()> {
        while let Some(mark) = self.until(&['{', '}']) {
            if self.eat(mark) {
                self.literal.push(mark as u8);
                continue;
            }
            if mark == '}' {
                return None;
            }
            let end = self.rest.find(['{', '}']).filter(|at| self.rest[*at..].starts_with('}'))?;
            let inner = &self.rest[..end];
            self.rest = &self.rest[end + 1..];
            let (name, spec) = inner.split_once(':').unwrap_or((inner, ""));
            // No positions, attributes, items or conversions.
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if !name.chars().all(is_name) || name.chars().next().is_none_or(|c| c.is_ascii_digit()) {
                return None;
            }
            let shape = self.brace_shape(spec)?;
            self.field(name, shape);
        }
        Some(())
    }

    fn brace_shape(&self, spec: &str) -> Option<Shape> {
        if spec.is_empty() {
            return Some(Shape::Plain);
        }
        let general = General::Spec(self.text(spec));
        let bare = spec.strip_suffix('s').unwrap_or(spec);
        let (left, digits) = match bare.strip_prefix('<') {
            Some(digits) => (true, digits),
            None => match bare.strip_prefix('>') {
                Some(digits) => (false, digits),
                None => (true, bare),
            },
        };
        let plain = (1..=4).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        Some(if plain { Shape::Padded { left, width: digits.parse().ok()?, general } } else { Shape::General(general) })
    }

    fn dollar(&mut self) -> Option<()> {
        while self.until(&['$']).is_some() {
            if self.eat('$') {
                self.literal.push(b'$');
                continue;
            }
            let braced = self.eat('{');
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
            let name = &self.rest[..end];
            if name.chars().next().is_none_or(|c| c.is_ascii_digit()) {
                return None;
            }
            self.rest = &self.rest[end..];
            if braced && !self.eat('}') {
                return None;
            }
            self.field(name, Shape::Plain);
        }
        Some(())
    }
}
