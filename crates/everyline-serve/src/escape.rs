//! Text of strangers, made safe for a log of lines: what would end a line, move a cursor or reorder text is escaped.

/// True for characters that are not written as they are: controls (also those of ISO 6429 beyond ASCII, which terminals
/// obey), the line separators of Unicode, and the marks that change the direction of text.
pub fn is_escaped(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends text: as it is, or with such characters as `\n`, `\t`, `\x1b`, `\u2028`. A backslash stays single, so that
/// paths stay readable: what was escaped cannot be told from what looked so.
pub fn push(out: &mut String, text: &str, escape: bool) {
    use std::fmt::Write;
    if !escape || !text.contains(is_escaped) {
        return out.push_str(text);
    }
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a String cannot fail.
            _ if is_escaped(c) && u32::from(c) < 0x100 => drop(write!(out, "\\x{:02x}", u32::from(c))),
            _ if is_escaped(c) => drop(write!(out, "\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
}

/// Appends text as a JSON string, with its quotes. With `escape`, also those characters that JSON would let through.
pub fn push_json(out: &mut String, text: &str, escape: bool) {
    use std::fmt::Write;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if u32::from(c) < 0x20 || (escape && is_escaped(c)) => drop(write!(out, "\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_line_or_move_a_cursor_is_escaped() {
        let mut out = String::new();
        push(&mut out, "a\nb\r\tc\x1b[2Jd\u{85}e\u{2028}f\u{202e}g\0é", true);
        assert_eq!(out, "a\\nb\\r\\tc\\x1b[2Jd\\x85e\\u2028f\\u202eg\\x00é");
        out.clear();
        push(&mut out, "a\nb", false);
        assert_eq!(out, "a\nb");
    }

    #[test]
    fn json_strings_are_json_and_one_line() {
        let text = "a\"\\\n\u{1}\u{7f}\u{85}\u{2029}é";
        for escape in [false, true] {
            let mut out = String::new();
            push_json(&mut out, text, escape);
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
            assert!(!out.contains('\n'));
            assert_eq!(out.contains('\u{85}'), !escape);
        }
    }
}
