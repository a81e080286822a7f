//! What a configuration says, what is wrong with one, and what lines come of it.

use everyline_serve::Config;
use everyline_serve::config::Address;
use everyline_serve::decode::{Limits, json};
use everyline_serve::format::{Format, Percent, Style};

const GOOD: &str = r#"
[[listen]]
address = "tcp://127.0.0.1:9020"
protocol = "python"

[[listen]]
address = "unix:///run/everyline.sock"
protocol = "json"
mode = "660"
allow_uids = [0, 33]

[log.db]
path = "/var/log/db.log"
format = "json"
max_bytes = "10M"
keep = 3
compress = "gzip"

[log.rest]
path = "/var/log/rest.log"
when = "midnight"
naming = "dated"

[[route]]
logger = "app.db"
level = "WARNING"
log = "db"

[[route]]
facility = "auth"
field = { host = "a" }
log = "db"

[[route]]
log = "rest"
"#;

fn record(json_text: &str) -> everyline_serve::Record {
    let mut record = json::record(json_text.as_bytes(), &Limits::default()).unwrap();
    record.complete(1_769_854_500.25);
    record
}

#[test]
fn a_right_configuration() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.listen[0].address, Address::Tcp("127.0.0.1:9020".parse().unwrap()));
    assert_eq!((config.listen[1].mode, config.listen[1].allow_uids.as_deref()), (0o660, Some(&[0, 33][..])));
    assert_eq!((config.logs["db"].options.max_bytes, config.logs["db"].options.keep), (Some(10 << 20), Some(3)));
    let place = |text| config.routes.iter().find(|route| route.fits(&record(text))).unwrap().log.clone();
    assert_eq!(place(r#"{"logger":"app.db","level":"WARNING"}"#), "db");
    assert_eq!(place(r#"{"logger":"app.db.pool","level":"ERROR"}"#), "db");
    assert_eq!(place(r#"{"logger":"app.db","level":"INFO"}"#), "rest");
    assert_eq!(place(r#"{"logger":"app.dbx","level":"ERROR"}"#), "rest");
    assert_eq!(place(r#"{"facility":"auth","host":"a"}"#), "db");
    assert_eq!(place(r#"{"facility":"auth","host":"b"}"#), "rest");
}

/// What is changed in the right configuration, and what the error must name.
#[test]
fn every_error_names_the_key_and_what_was_expected() {
    for (from, to, says) in [
        ("tcp://127.0.0.1:9020", "tcp://0.0.0.0:9020", &["[[listen]] number 1: address", "127.0.0.1", "tunnel"][..]),
        ("tcp://127.0.0.1:9020", "9020", &["[[listen]] number 1: address: expected tcp://127.0.0.1:9020"]),
        ("unix:///run/everyline.sock", "unix://run/x", &["[[listen]] number 2: address: expected"]),
        ("mode = \"660\"", "mode = \"rw\"", &["[[listen]] number 2: mode: expected permission bits in octal"]),
        ("\"python\"", "\"http\"", &["line 4", "unknown variant `http`", "`python`"]),
        ("keep = 3", "kep = 3", &["line", "unknown field `kep`", "`keep`"]),
        ("keep = 3", "keep = 0", &["[log.db]", "keep"]),
        ("\"10M\"", "\"10MB\"", &["[log.db]: max_bytes: expected a number of bytes"]),
        ("\"10M\"", "true", &["expected a number of bytes, or text"]),
        ("\"gzip\"", "\"gzip:12\"", &["[log.db]", "0 to 9"]),
        ("\"midnight\"", "\"noon\"", &["[log.rest]: when", "expected S, M, H"]),
        ("format = \"json\"", "format = \"%(a\"", &["[log.db]: format", "expected %(name)s"]),
        ("format = \"json\"", "format = \"%d\"", &["[log.db]: format", "expected %(name)s"]),
        ("/var/log/db.log", "db.log", &["[log.db]: path: expected an absolute path"]),
        ("/var/log/db.log", "/var/log/rest.log", &["path: two logs have this path"]),
        ("facility = \"auth\"", "facility = \"loud\"", &["[[route]] number 2: facility: expected"]),
        ("\"WARNING\"", "\"LOUD\"", &["[[route]] number 1: level: expected"]),
        ("log = \"rest\"\n", "log = \"none\"\n", &["[[route]] number 3: log: there is no [log.none]"]),
        ("[[route]]\nlog = \"rest\"", "", &["[[route]]: the last one must have nothing but log"]),
        ("logger = \"app.db\"\nlevel = \"WARNING\"", "", &["[[route]] number 1: it fits every record"]),
        (
            "[[listen]]\naddress = \"tcp",
            "[server]\nmax_connections = 0\n[[listen]]\naddress = \"tcp",
            &["max_connections: 0 is not from 1"],
        ),
        (
            "[[listen]]\naddress = \"tcp",
            "[server]\nmax_record_bytes = 7\n[[listen]]\naddress = \"tcp",
            &["max_record_bytes: 7"],
        ),
        (
            "[[listen]]\naddress = \"tcp",
            "[server]\ndrain = \"soon\"\n[[listen]]\naddress = \"tcp",
            &["[server]: drain: expected"],
        ),
        (
            "[[listen]]\naddress = \"tcp",
            "[server]\nmetrics = \"0.0.0.0:1\"\n[[listen]]\naddress = \"tcp",
            &["[server]: metrics: expected an address of this machine"],
        ),
        (
            "[[listen]]\naddress = \"tcp",
            "[server]\nack = \"fsync\"\n[[listen]]\naddress = \"tcp",
            &["[server]: ack: it needs a state_dir"],
        ),
        ("\"python\"", "\"everyline\"", &["[[listen]] number 1: protocol: everyline needs a state_dir"]),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from} is not there");
        let error = Config::parse(&text).expect_err(to);
        for part in says {
            assert!(error.contains(part), "{to}: {part:?} is not in {error:?}");
        }
    }
    let error = Config::read("/nowhere/serve.toml".as_ref()).expect_err("not there");
    assert!(error.starts_with("/nowhere/serve.toml: "), "{error}");
}

fn line(style: Style, escape: bool, json_text: &str) -> String {
    let mut out = String::new();
    Format { style, escape }.line(&record(json_text), &mut out);
    out
}

fn percent(format: &str, json_text: &str) -> String {
    line(Style::Percent(Percent::new(format, None).unwrap()), true, json_text)
}

/// The expected texts are what Python 3.11's `%` makes of the same.
#[test]
fn percent_formats_as_python_does() {
    let fields = r#"{"message":"häß","levelno":30,"pid":77,"x":1.5,"b":true,"n":null,"neg":-5}"#;
    for (format, expected) in [
        ("%(levelname)s|%(levelno)d|%(message)s", "WARNING|30|häß"),
        ("[%(process)5d][%(process)-5d][%(process)05d]", "[   77][77   ][00077]"),
        ("%(message)6s|%(message)-6s|%(message).2s", "   häß|häß   |hä"),
        ("%(x)s %(x).3f %(x)d %(x)07.2f %(neg)04d", "1.5 1.500 1 0001.50 -005"),
        ("%(b)s %(n)s 100%%", "True None 100%"),
        ("%(missing)s", "-"),
        ("%(msecs)03d", "250"),
    ] {
        assert_eq!(percent(format, fields), format!("{expected}\n"), "{format}");
    }
    let stamp = Percent::new("%(asctime)s", Some("%s")).unwrap();
    assert_eq!(line(Style::Percent(stamp), true, "{}"), "1769854500\n");
    assert!(Percent::new("%(asctime)s", Some("%")).is_err());
}

#[test]
fn nothing_of_a_stranger_ends_a_line() {
    let evil = r#"{"message":"a\nERROR forged\u001b[31m","logger":"x\ny","exception":"Traceback:\n  b","k\n":"\r"}"#;
    let text = percent("%(levelname)s %(name)s %(message)s", evil);
    assert_eq!(text, "INFO x\\ny a\\nERROR forged\\x1b[31m\\nTraceback:\\n  b\n");
    let json_line = line(Style::Json, true, evil);
    assert_eq!(json_line.matches('\n').count(), 1);
    let back: serde_json::Value = serde_json::from_str(&json_line).unwrap();
    assert_eq!(back["message"], "a\nERROR forged\u{1b}[31m");
    assert_eq!((&back["time"], &back["k\n"]), (&"2026-01-31T10:15:00.250Z".into(), &"\r".into()));
    let open = line(Style::Percent(Percent::new("%(message)s", None).unwrap()), false, evil);
    assert_eq!(open, "a\nERROR forged\u{1b}[31m\nTraceback:\n  b\n");
}
