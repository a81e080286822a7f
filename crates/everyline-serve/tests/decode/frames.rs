//! Streams, however they are cut up on the way.

use everyline_serve::Reason;
use everyline_serve::decode::frame::{Frames, Framing};
use proptest::prelude::*;

fn all(frames: &mut Frames) -> Result<Vec<Vec<u8>>, Reason> {
    let mut got = Vec::new();
    while let Some(frame) = frames.next_frame()? {
        got.push(frame.to_vec());
    }
    Ok(got)
}

fn once(framing: Framing, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Reason> {
    let mut frames = Frames::new(framing, 100);
    frames.push(bytes);
    all(&mut frames)
}

#[test]
fn a_length_word_over_the_limit_is_refused_at_once() {
    assert_eq!(once(Framing::Length, b"\xff\xff\xff\xff"), Err(Reason::TooLarge));
    assert_eq!(once(Framing::Length, b"\0\0\0\x65"), Err(Reason::TooLarge));
    assert_eq!(once(Framing::Length, b"\0\0\0\x64"), Ok(vec![]));
    assert_eq!(once(Framing::Syslog, b"4294967296 <"), Err(Reason::TooLarge));
    assert_eq!(once(Framing::Syslog, b"101 <"), Err(Reason::TooLarge));
    assert_eq!(once(Framing::Syslog, b"12x<"), Err(Reason::Malformed));
    for framing in [Framing::Lines, Framing::Syslog] {
        assert_eq!(once(framing, &[b'<'; 100]), Ok(vec![]));
        assert_eq!(once(framing, &[b'<'; 101]), Err(Reason::TooLarge));
    }
}

#[test]
fn syslog_says_for_each_message_how_it_is_cut() {
    let got = once(Framing::Syslog, b"<1>a\n5 <1>\nb\n<1>c\0\n\n4 <1>d<1>e\n").unwrap();
    assert_eq!(got, [&b"<1>a"[..], b"<1>\nb", b"<1>c", b"<1>d", b"<1>e"].map(<[u8]>::to_vec));
}

#[test]
fn empty_lines_are_no_records_and_take_no_stack() {
    for framing in [Framing::Lines, Framing::Syslog] {
        let mut frames = Frames::new(framing, 100);
        frames.push(&[b'\n'; 1 << 20]);
        assert_eq!(all(&mut frames), Ok(vec![]));
        assert!(!frames.is_inside());
    }
}

#[test]
fn a_stream_that_ends_inside_a_record() {
    for (framing, bytes, expected) in [
        (Framing::Length, &b"\0\0\0\x05ab"[..], Err(Reason::CutOff)),
        (Framing::Syslog, b"5 <1>", Err(Reason::CutOff)),
        (Framing::Syslog, b"<1>a", Ok(Some(&b"<1>a"[..]))),
        (Framing::Lines, b"{}", Ok(Some(b"{}"))),
        (Framing::Lines, b"", Ok(None)),
    ] {
        let mut frames = Frames::new(framing, 100);
        frames.push(bytes);
        assert_eq!(all(&mut frames), Ok(vec![]));
        assert_eq!(frames.last_frame(), expected);
    }
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        records in prop::collection::vec(prop::collection::vec(b'a'..=b'z', 1..90), 1..20),
        cuts in prop::collection::vec(1_usize..50, 1..20),
        framing in prop::sample::select(vec![Framing::Length, Framing::Lines, Framing::Syslog]),
    ) {
        let mut stream = Vec::new();
        for (index, record) in records.iter().enumerate() {
            match framing {
                Framing::Length => stream.extend(u32::try_from(record.len()).unwrap().to_be_bytes()),
                Framing::Syslog if index % 2 == 0 => stream.extend(format!("{} ", record.len()).bytes()),
                _ => {}
            }
            stream.extend(record);
            if framing == Framing::Lines || (framing == Framing::Syslog && index % 2 == 1) {
                stream.push(b'\n');
            }
        }
        let mut frames = Frames::new(framing, 100);
        let mut got = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            frames.push(piece);
            got.extend(all(&mut frames).unwrap());
            rest = after;
            if rest.is_empty() { break; }
        }
        prop_assert_eq!(got, records);
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        framing in prop::sample::select(vec![Framing::Length, Framing::Lines, Framing::Syslog]),
    ) {
        let _ = once(framing, &bytes);
    }
}
