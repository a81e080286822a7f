//! Its sockets, a new configuration under way, and its end.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_unix_socket_has_its_mode_and_lets_in_only_who_may() {
    let fixture = Fixture::new("");
    let mode = |name: &str| std::fs::metadata(fixture.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("json.sock"), mode("json.dgram")), (0o600, 0o600));
    let mut config = Config::parse(&text(&fixture.dir, "", "all.log")).unwrap();
    // Nobody has this one.
    config.listen.iter_mut().for_each(|listen| listen.allow_uids = Some(vec![4_000_000_000]));
    let mut fixture = fixture;
    fixture.server.as_mut().unwrap().reload(&config).unwrap();
    assert!(is_closed(fixture.unix("json")));
    fixture.wait_for_refusals(Reason::Peer, 1);
}

#[test]
fn a_socket_of_a_killed_server_makes_room_and_that_of_a_living_one_does_not() {
    let fixture = Fixture::new("");
    let config = Config::parse(&text(&fixture.dir, "", "all.log")).unwrap();
    let error = Server::start(&config, Box::new(|_| {})).err().expect("in use");
    assert!(error.contains("another process serves this socket"), "{error}");
    fixture.unix("json").write_all(b"{\"message\":\"still served\"}\n").unwrap();
    fixture.wait_for_lines("all.log", 1);

    let dir = tempfile::tempdir().unwrap();
    for kind in ["python", "json", "syslog"] {
        // The name stays when its socket is closed: so a killed server leaves it.
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(format!("{kind}.sock"))).unwrap());
        drop(UnixDatagram::bind(dir.path().join(format!("{kind}.dgram"))).unwrap());
    }
    let config = Config::parse(&text(&dir, "", "all.log")).unwrap();
    drop(Server::start(&config, Box::new(|_| {})).expect("room"));
    assert!(!dir.path().join("json.sock").exists());
    std::fs::write(dir.path().join("json.sock"), "precious").unwrap();
    let error = Server::start(&config, Box::new(|_| {})).err().expect("a file");
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(std::fs::read(dir.path().join("json.sock")).unwrap(), b"precious");
}

#[test]
fn a_new_configuration_closes_no_connection_and_a_bad_one_changes_nothing() {
    let mut fixture = Fixture::new("");
    let mut peer = fixture.unix("json");
    peer.write_all(b"{\"message\":\"1\"}\n").unwrap();
    fixture.wait_for_lines("all.log", 1);

    let server = fixture.server.as_mut().unwrap();
    let bad = text(&fixture.dir, "", "no/such/dir.log");
    assert!(server.reload(&Config::parse(&bad).unwrap()).unwrap_err().contains("no/such"));
    peer.write_all(b"{\"message\":\"2\"}\n").unwrap();
    fixture.wait_for_lines("all.log", 2);

    // Another log, and one socket less; the connection through it stays.
    let new = text(&fixture.dir, "", "new.log");
    let mut config = Config::parse(&new).unwrap();
    config.listen.retain(|listen| listen.address != Address::Unix(fixture.path("json.sock")));
    fixture.server.as_mut().unwrap().reload(&config).unwrap();
    assert!(!fixture.path("json.sock").exists());
    peer.write_all(b"{\"message\":\"3\"}\n").unwrap();
    assert_eq!(fixture.wait_for_lines("new.log", 1), ["3"]);
    assert_eq!(fixture.lines("all.log"), ["1", "2"]);
    fixture.unix("python").write_all(&pickled("4")).unwrap();
    assert_eq!(fixture.wait_for_lines("new.log", 2), ["3", "4"]);
}

/// What has been sent when the server is told to stop is in the file when it has stopped, also what its peer sent right
/// after it had connected.
#[test]
fn a_stop_takes_what_has_arrived() {
    let mut fixture = Fixture::new("drain = \"60s\"");
    let mut peers: Vec<_> = (0..8).map(|_| fixture.unix("python")).collect();
    for peer in &mut peers {
        (0..500).for_each(|_| peer.write_all(&pickled("record")).unwrap());
    }
    let datagram = UnixDatagram::unbound().unwrap();
    for _ in 0..5 {
        datagram.send_to(b"<13>record", fixture.path("syslog.dgram")).unwrap();
    }
    let server = fixture.server.take().unwrap();
    assert!(server.stop(), "{:?}", fixture.messages);
    assert_eq!(fixture.lines("all.log").len(), 8 * 500 + 5);
    assert!(peers.into_iter().all(is_closed));
    assert!(!fixture.path("json.sock").exists());
}

#[test]
fn counters_and_health_over_http() {
    let fixture = Fixture::new("metrics = \"127.0.0.1:0\"");
    let address = fixture.server().metrics_address().unwrap();
    let get = |request: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let mut peer = fixture.unix("json");
    peer.write_all(b"{\"message\":\"1\"}\n{\n").unwrap();
    fixture.wait_for_refusals(Reason::Malformed, 1);
    let answer = get("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for line in [
        "# TYPE everyline_serve_records_total counter",
        "everyline_serve_records_total 1",
        "everyline_serve_connections_total 1",
        "everyline_serve_connections 1",
        "everyline_serve_refused_total{reason=\"malformed\"} 1",
        "everyline_serve_refused_total{reason=\"not_plain\"} 0",
    ] {
        assert!(answer.lines().any(|found| found == line), "{line} is not in {answer}");
    }
    assert!(get("GET /health HTTP/1.0\r\n\r\n").ends_with("\r\n\r\nserving\n"));
    assert!(get("GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(get("POST /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 405"));
    // One who says nothing is given up in time.
    let _silent = TcpStream::connect(address).unwrap();
    assert!(get("GET /health HTTP/1.0\r\n\r\n").ends_with("serving\n"));
}

/// One who never ends sending does not keep the server from its end.
#[test]
fn a_stop_does_not_wait_for_ever() {
    let mut fixture = Fixture::new("drain = \"300ms\"");
    let mut flood = fixture.unix("syslog");
    let flooder = std::thread::spawn(move || while flood.write_all(&b"<13>flood\n".repeat(100)).is_ok() {});
    fixture.wait_for_lines("all.log", 1000);
    let start = Instant::now();
    fixture.server.take().unwrap().stop();
    assert!(start.elapsed() < LONG);
    flooder.join().unwrap();
}
