//! Syslog of both kinds and of none, and JSON.

use everyline_serve::decode::{Limits, json, syslog};
use everyline_serve::{Reason, Record, Value};
use proptest::prelude::*;

fn syslog(bytes: &[u8]) -> Record {
    syslog::record(bytes, &Limits::default()).unwrap()
}

fn field<'a>(record: &'a Record, name: &str) -> &'a str {
    record.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("{name} in {record:?}"))
}

#[test]
fn rfc_5424() {
    let record = syslog(
        "<165>1 2003-10-11T22:14:15.003Z host.example evntslog 42 ID47 [a@1 x=\"1\" y=\"q\\\"\\]\\\\\\z\"][b] \u{feff}A b"
            .as_bytes(),
    );
    for (name, text) in [
        ("name", "evntslog"),
        ("host", "host.example"),
        ("msgid", "ID47"),
        ("facility", "local4"),
        ("severity", "notice"),
        ("levelname", "INFO"),
        ("a@1.x", "1"),
        ("a@1.y", "q\"]\\\\z"),
        ("message", "A b"),
    ] {
        assert_eq!(field(&record, name), text);
    }
    assert_eq!(record.get("process"), Some(&Value::Int(42)));
    assert_eq!(record.created(), 1_065_910_455.003);
    let record = syslog(b"<0>1 - - - - - -");
    assert_eq!((field(&record, "message"), record.logger(), record.level()), ("", "", 50));
}

#[test]
fn rfc_3164_and_what_is_sent_in_its_name() {
    let cases: [(&[u8], &str, &str, Option<&str>); 9] = [
        (b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "su", "'su root' failed", Some("mymachine")),
        (b"<13>Nov  5 07:00:00 me: hello there: you", "me", "hello there: you", None),
        (b"<13>Nov 25 07:00:00 host prog[77]: hi", "prog", "hi", Some("host")),
        (b"<13>Nov 25 07:00:00 prog[77]: hi", "prog", "hi", None),
        (b"<13>Nov 25 07:00:00 no tag here", "", "no tag here", None),
        (b"<14>message: of SysLogHandler\0", "", "message: of SysLogHandler", None),
        (b"<999>what", "", "<999>what", None),
        (b"<13>1 2003-99-11T22:14:15Z - - - - - x", "", "1 2003-99-11T22:14:15Z - - - - - x", None),
        (b"<13>1 - - - - - [a x=\"1] x", "", "1 - - - - - [a x=\"1] x", None),
    ];
    for (bytes, name, message, host) in cases {
        let record = syslog(bytes);
        assert_eq!((record.logger(), field(&record, "message")), (name, message), "{record:?}");
        assert_eq!(record.get("host").and_then(Value::as_str), host, "{record:?}");
        assert!(record.get("created").is_none());
    }
    assert_eq!(field(&syslog(b"<34>x"), "facility"), "auth");
    assert_eq!(field(&syslog(b"no priority"), "severity"), "notice");
    assert_eq!(field(&syslog(b"<13>\xff\xfe"), "message"), "\u{fffd}\u{fffd}");
    let noise = "\u{15}\u{fffd}4\u{fffd}\u{fffd}\u{fffd}";
    assert_eq!(field(&syslog(noise.as_bytes()), "message"), noise);
    assert_eq!(syslog::record(&vec![b'x'; (1 << 20) + 1], &Limits::default()), Err(Reason::TooLarge));
}

#[test]
fn json_under_the_names_of_others() {
    let line = br#"{"time":"2026-01-31T10:15:00.500Z","level":"error","logger":"a.b","message":"m\n","n":[1,2.5,null],"u":18446744073709551615}"#;
    let record = json::record(line, &Limits::default()).unwrap();
    assert_eq!((record.logger(), record.created()), ("a.b", 1_769_854_500.5));
    assert_eq!(field(&record, "message"), "m\n");
    assert_eq!(record.get("n"), Some(&Value::List(vec![Value::Int(1), Value::Float(2.5), Value::None])));
    assert_eq!(record.get("u"), Some(&Value::Int(u64::MAX.into())));
    let mut record = json::record(br#"{"level":30,"msg":"x","time":"noon"}"#, &Limits::default()).unwrap();
    record.complete(7.0);
    assert_eq!((record.level(), field(&record, "levelname"), record.created()), (30, "WARNING", 7.0));
    assert_eq!((field(&record, "message"), field(&record, "time")), ("x", "noon"));
}

#[test]
fn json_that_is_none_is_refused() {
    let limits = Limits::default();
    for bad in [&b"{"[..], b"{}x", b"\xff", b"nan", b"{\"a\":NaN}"] {
        assert_eq!(json::record(bad, &limits), Err(Reason::Malformed));
    }
    for other in [&b"[]"[..], b"1", b"\"a\""] {
        assert_eq!(json::record(other, &limits), Err(Reason::NotARecord));
    }
    let deep = |levels: usize| [b"{\"a\":".to_vec(), b"[".repeat(levels), b"]".repeat(levels), b"}".to_vec()].concat();
    assert!(json::record(&deep(15), &limits).is_ok());
    assert_eq!(json::record(&deep(16), &limits), Err(Reason::TooDeep));
    assert_eq!(json::record(&deep(100_000), &limits), Err(Reason::Malformed));
    let many = [b"{\"a\":[".to_vec(), b"1,".repeat(10_000), b"1]}".to_vec()].concat();
    assert_eq!(json::record(&many, &limits), Err(Reason::TooMany));
    let names = (0..300).map(|n| format!("\"{n}\":1")).collect::<Vec<_>>().join(",");
    assert_eq!(json::record(format!("{{{names}}}").as_bytes(), &limits), Err(Reason::TooMany));
    let record = json::record(b"{\"m\":\"a\xffb\"}", &limits).unwrap();
    assert_eq!(field(&record, "m"), "a\u{fffd}b");
}

proptest! {
    #[test]
    fn no_text_makes_them_panic(text in "<?[0-9]{0,3}>?1? ?[ -~é\\[\\]\"=]{0,120}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = syslog(text.as_bytes());
        let _ = syslog(&bytes);
        let _ = json::record(text.as_bytes(), &Limits::default());
        let _ = json::record(&bytes, &Limits::default());
    }
}
