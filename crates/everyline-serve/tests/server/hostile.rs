//! Peers that mean harm hurt themselves only, are counted, and are spoken of once.

use super::*;

#[test]
fn a_bad_pickle_ends_its_connection_and_nobody_elses() {
    let fixture = Fixture::new("");
    let mut good = fixture.unix("python");
    good.write_all(&pickled("before")).unwrap();
    // Connections are not in order among each other.
    fixture.wait_for_lines("all.log", 1);
    for (bad, reason) in [
        (framed(b"cos\nsystem\n(S'touch /tmp/x'\ntR."), Reason::NotPlain),
        (framed(b"\x80\x04\x8c\x05posix\x8c\x06system\x93."), Reason::NotPlain),
        (framed(b"]q\x00h\x00a."), Reason::TooDeep),
        (framed(&[&b"("[..], &b"N".repeat(20_000), b"l."].concat()), Reason::TooMany),
        (framed(b"N."), Reason::NotARecord),
        (b"\xff\xff\xff\xff".to_vec(), Reason::TooLarge),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Reason::TooLarge),
        (framed(b"X\xff\xff\xff\xff."), Reason::Malformed),
    ] {
        let before = fixture.server().stats().refused(reason);
        let mut peer = fixture.unix("python");
        // What stood before it in the stream is taken.
        peer.write_all(&[pickled("whole"), bad].concat()).unwrap();
        assert!(is_closed(peer));
        fixture.wait_for_refusals(reason, before + 1);
    }
    good.write_all(&pickled("after")).unwrap();
    let lines = fixture.wait_for_lines("all.log", 10);
    assert_eq!((lines.first().unwrap().as_str(), lines.last().unwrap().as_str()), ("before", "after"));
    let messages = fixture.messages.lock().unwrap();
    assert_eq!(messages.iter().filter(|message| message.contains("nothing is executed")).count(), 1, "{messages:?}");
}

#[test]
fn bad_lines_are_counted_and_the_next_ones_read() {
    let fixture = Fixture::new("");
    fixture.unix("json").write_all(b"{\n[]\n{\"message\":\"a\xffb\\nc\"}\n").unwrap();
    UnixDatagram::unbound().unwrap().send_to(&pickled("x")[..9], fixture.path("python.dgram")).unwrap();
    assert_eq!(fixture.wait_for_lines("all.log", 1), ["a\u{fffd}b\\nc"]);
    fixture.wait_for_refusals(Reason::Malformed, 2);
    fixture.wait_for_refusals(Reason::NotARecord, 1);
}

#[test]
fn half_open_and_slow_peers_lose_their_place_in_time() {
    let fixture = Fixture::new("record_timeout = \"300ms\"\nidle_timeout = \"300ms\"");
    let idle = fixture.unix("json");
    let mut half = fixture.unix("python");
    half.write_all(&pickled("x")[..6]).unwrap();
    // One byte at a time, for ever: each one alone is in time, the record is not.
    let mut slow = fixture.unix("json");
    let start = Instant::now();
    while slow.write_all(b"x").is_ok() {
        assert!(start.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(is_closed(idle) && is_closed(half));
    fixture.wait_for_refusals(Reason::Idle, 1);
    fixture.wait_for_refusals(Reason::Slow, 2);
}

#[test]
fn no_more_connections_than_the_bound_and_places_are_given_back() {
    let fixture = Fixture::new("max_connections = 3");
    let mut held: Vec<_> = (0..3).map(|_| fixture.unix("json")).collect();
    for (at, peer) in held.iter_mut().enumerate() {
        peer.write_all(format!("{{\"message\":\"{at}\"}}\n").as_bytes()).unwrap();
    }
    fixture.wait_for_lines("all.log", 3);
    assert!(is_closed(fixture.unix("json")));
    fixture.wait_for_refusals(Reason::Connections, 1);
    held.pop();
    // The place is free when the thread has ended; until then one is turned away.
    wait_until(
        || fixture.unix("json").write_all(b"{\"message\":\"next\"}\n").is_ok() && fixture.lines("all.log").len() > 3,
        || "a free place".into(),
    );
}

/// A flood from one, and records from another who must not wait for it.
#[test]
fn a_flood_and_a_reader_of_nothing_leave_others_served() {
    let fixture = Fixture::new("");
    let mut flood = fixture.unix("syslog");
    let chunk = b"<13>flood\n".repeat(1000);
    let flooder = std::thread::spawn(move || (0..100).for_each(|_| flood.write_all(&chunk).unwrap()));
    let mut other = fixture.unix("python");
    for at in 0..100 {
        other.write_all(&pickled(&format!("other {at}"))).unwrap();
    }
    flooder.join().unwrap();
    let lines = fixture.wait_for_lines("all.log", 100_100);
    let others: Vec<_> = lines.iter().filter(|line| line.starts_with("other")).collect();
    assert_eq!((lines.len(), others.len()), (100_100, 100));
    assert!(others.iter().enumerate().all(|(at, line)| **line == format!("other {at}")));
}
