//! Pickles of Python, and those that no Python meant well.

use everyline_serve::decode::{Limits, pickle};
use everyline_serve::{Reason, Value};
use proptest::prelude::*;

fn text(text: &str) -> Value {
    Value::Str(text.into())
}

fn refused(bytes: &[u8]) -> Reason {
    pickle::value(bytes, &Limits::default()).expect_err("refused")
}

/// `pickles.txt` was made by CPython 3.11: one dictionary, in each protocol.
#[test]
fn plain_data_of_every_protocol_is_read() {
    let mut protocols = 0;
    for line in include_str!("pickles.txt").lines() {
        let (protocol, hex) = line.split_once(' ').unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let record = pickle::record(&bytes, &Limits::default()).unwrap_or_else(|e| panic!("protocol {protocol}: {e}"));
        let list = Value::List(vec![Value::Int(1), Value::Int(2), Value::List(vec![Value::Int(3), text("x")])]);
        for (name, expected) in [
            ("name", text("app.db")),
            ("msg", text("café € 😀\n")),
            ("args", Value::None),
            ("levelno", Value::Int(20)),
            ("process", Value::Int(70_000)),
            ("thread", Value::Int(140_737_353_922_368)),
            ("created", Value::Float(1_700_000_000.25)),
            ("neg", Value::Int(-3)),
            ("big", Value::Int(1 << 70)),
            ("yes", Value::Bool(true)),
            ("l", list.clone()),
            ("n", Value::Int(i128::from(i64::MIN))),
            ("t", Value::List(vec![text("a")])),
            ("same", Value::List(vec![text("s"), text("s")])),
            ("again", list),
        ] {
            assert_eq!(record.get(name), Some(&expected), "protocol {protocol}: {name}");
        }
        protocols += 1;
    }
    assert_eq!(protocols, 6);
}

#[test]
fn whatever_wants_a_class_or_a_call_is_refused() {
    let gadgets: [&[u8]; 10] = [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cos\nsystem\n.",
        b"(ios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"\x80\x02}\x82\x01.",
        b"\x80\x02]]b.",
        b"\x80\x02})\x81.",
        b"\x80\x02N)}\x92.",
        b"Pid\n.",
        b"\x80\x02NQ.",
    ];
    for gadget in gadgets {
        assert_eq!(refused(gadget), Reason::NotPlain, "{:?}", gadget.escape_ascii().to_string());
    }
    // Out-of-band buffers, the repr of Python 2, a protocol to come, what is no operation at all.
    for other in [&b"\x80\x05\x97."[..], b"S'x'\n.", b"\x80\x06N.", b"\xffN."] {
        assert_eq!(refused(other), Reason::Opcode, "{:?}", other.escape_ascii().to_string());
    }
}

/// Each list holds the one before it twice: 2^n values in 6n bytes.
fn laughs(levels: usize) -> Vec<u8> {
    let mut bytes = b"\x80\x02]".to_vec();
    for _ in 0..levels {
        bytes.extend(b"q\x00](h\x00h\x00e");
    }
    bytes.push(b'.');
    bytes
}

#[test]
fn what_unfolds_without_end_is_refused() {
    // The stack must hold one value at the end, so build it by hand: the outer list takes the inner one in.
    let mut bomb = b"\x80\x02(".to_vec();
    bomb.extend_from_slice(&laughs(14)[2..]);
    bomb.truncate(bomb.len() - 1);
    bomb.extend(b"l.");
    assert_eq!(refused(&bomb), Reason::TooMany);

    // One text of 64 KiB, referred to 100 times.
    let mut bomb = b"\x80\x02(X\x00\x00\x01\x00".to_vec();
    bomb.extend(vec![b'x'; 1 << 16]);
    bomb.extend(b"q\x00");
    bomb.extend(b"h\x00".repeat(100));
    bomb.extend(b"l.");
    assert_eq!(refused(&bomb), Reason::TooMany);

    // A list in itself.
    assert_eq!(refused(b"]q\x00h\x00a."), Reason::TooDeep);
    // Deep by nesting alone; one level for each of a hundred thousand bytes must not recurse, either.
    for levels in [17, 9_000] {
        let deep = [b"]".repeat(levels), b"a".repeat(levels - 1), b".".to_vec()].concat();
        assert_eq!(refused(&deep), Reason::TooDeep);
    }
    assert_eq!(refused(&[b"]".repeat(100_000), b".".to_vec()].concat()), Reason::TooMany);
    assert_eq!(refused(&[b"(".repeat(100_000), b".".to_vec()].concat()), Reason::TooMany);
    assert_eq!(refused(&[&b"N"[..], &b"2".repeat(100_000), b"."].concat()), Reason::TooMany);
}

#[test]
fn lengths_that_lie_allocate_nothing() {
    for liar in [
        &b"X\xff\xff\xff\xff."[..],
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x8b\xff\xff\xff\x7f.",
        b"\x8a\xff.",
        b"",
        b".",
        b"N",
        b"NN.",
        b"(N.",
        b"e.",
        b"(Ku.",
        b"}(Nu.",
        b"\x87.",
        b"N(\x85.",
        b"N1.",
        b"I1e9\n.",
        b"Fx\n.",
        b"V\\u12\n.",
        b"N.N",
    ] {
        assert_eq!(refused(liar), Reason::Malformed, "{:?}", liar.escape_ascii().to_string());
    }
    assert_eq!(refused(b"\x8a\x11aaaaaaaaaaaaaaaaa."), Reason::TooLarge);
    assert_eq!(refused(b"h\x00."), Reason::Memo);
    assert_eq!(refused(b"j\xff\xff\xff\xff."), Reason::Memo);
    assert_eq!(refused(b"g-1\n."), Reason::Memo);
    assert_eq!(refused(&vec![b'N'; (1 << 20) + 1]), Reason::TooLarge);
    // A memo of one entry at the highest index is one entry.
    assert!(pickle::value(b"Nr\xff\xff\xff\xff.", &Limits::default()).is_ok());
    for no_record in [&b"N."[..], b"].", b"}K\x01Ns."] {
        assert_eq!(pickle::record(no_record, &Limits::default()), Err(Reason::NotARecord));
    }
}

#[test]
fn bad_utf8_is_replaced() {
    let value = pickle::value(b"X\x05\x00\x00\x00a\xed\xa0\x80b.", &Limits::default()).unwrap();
    assert_eq!(value, text("a\u{fffd}\u{fffd}\u{fffd}b"));
}

/// Operations as they may come, so that programs get further than noise does.
fn operation() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(b"()]}.N021dltsuaebcR\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94".to_vec())
            .prop_map(|op| vec![op]),
        any::<u8>().prop_map(|byte| vec![b'K', byte]),
        (0_u8..4).prop_map(|index| vec![b'q', index]),
        (0_u8..4).prop_map(|index| vec![b'h', index]),
        "[a-z]{0,6}".prop_map(|text| [&[0x8c, text.len() as u8], text.as_bytes()].concat()),
        any::<u8>().prop_map(|byte| vec![byte]),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = pickle::value(&bytes, &Limits::default());
    }

    #[test]
    fn no_program_makes_it_panic_or_pass_its_limits(ops in prop::collection::vec(operation(), 0..200)) {
        let limits = Limits { record_bytes: 4096, values: 50, text_bytes: 100, depth: 4 };
        let bytes = [ops.concat(), b".".to_vec()].concat();
        if let Ok(value) = pickle::value(&bytes, &limits) {
            let (values, text, depth) = measure(&value);
            prop_assert!(values <= 50 && text <= 100 && depth <= 5, "{values} {text} {depth}");
        }
    }
}

/// Values, bytes of text, depth.
fn measure(value: &Value) -> (usize, usize, usize) {
    let add = |a: (usize, usize, usize), b: (usize, usize, usize)| (a.0 + b.0, a.1 + b.1, a.2.max(b.2));
    let (values, text, depth) = match value {
        Value::Str(text) => (0, text.len(), 0),
        Value::Bytes(bytes) => (0, bytes.len(), 0),
        Value::List(items) => items.iter().map(measure).fold((0, 0, 0), add),
        Value::Dict(items) => items.iter().flat_map(|(k, v)| [measure(k), measure(v)]).fold((0, 0, 0), add),
        _ => (0, 0, 0),
    };
    (values + 1, text, depth + 1)
}
