//! The acknowledged protocol, without kills; those are in the tests of the command.

use super::*;

struct Client(UnixStream);

impl Client {
    /// Says who it is; gives the last number that the server has.
    fn hello(fixture: &Fixture, name: &str) -> (Self, u64) {
        let mut client = Self(fixture.unix("acked"));
        client.send(format!("{{\"everyline\":1,\"client\":\"{name}\"}}").as_bytes());
        let answer: serde_json::Value = serde_json::from_slice(&client.receive()).unwrap();
        (client, answer["last"].as_u64().unwrap())
    }

    fn send(&mut self, body: &[u8]) {
        self.0.write_all(&framed(body)).unwrap();
    }

    fn record(&mut self, number: u64, text: &str) {
        let body = format!("{{\"message\":\"{text}\"}}");
        self.send(&[&number.to_be_bytes()[..], body.as_bytes()].concat());
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body).unwrap();
        body
    }

    fn wait_for(&mut self, number: u64) {
        while u64::from_be_bytes(self.receive().try_into().unwrap()) < number {}
    }
}

#[test]
fn what_is_acknowledged_is_in_the_file_and_what_comes_again_is_dropped() {
    let mut fixture = Fixture::new("");
    let (mut first, last) = Client::hello(&fixture, "a");
    assert_eq!(last, 0);
    for number in 1..=100 {
        first.record(number, &format!("a{number}"));
    }
    first.wait_for(100);
    let mut expected: Vec<_> = (1..=100).map(|number| format!("a{number}")).collect();
    assert_eq!(fixture.lines("all.log"), expected);

    // Another connection of the same client, another client, and a server that starts anew.
    let (mut second, last) = Client::hello(&fixture, "a");
    assert_eq!(last, 100);
    for number in 90..=110 {
        second.record(number, &format!("a{number}"));
    }
    second.wait_for(110);
    first.record(105, "a105");
    first.record(200, "a200");
    first.wait_for(200);
    let (mut other, last) = Client::hello(&fixture, "b");
    assert_eq!(last, 0);
    other.record(7, "b7");
    other.wait_for(7);
    assert!(fixture.server.take().unwrap().stop());
    let config = Config::parse(&text(&fixture.dir, "ack = \"fsync\"", "all.log")).unwrap();
    fixture.server = Some(Server::start(&config, report(&fixture.messages)).unwrap());
    let (mut again, last) = Client::hello(&fixture, "a");
    assert_eq!(last, 200);
    again.record(200, "a200");
    again.record(201, "a201");
    again.wait_for(201);
    expected.extend((101..=110).map(|number| format!("a{number}")));
    expected.extend(["a200", "b7", "a201"].map(str::to_owned));
    assert_eq!(fixture.lines("all.log"), expected);
}

#[test]
fn clients_that_are_none() {
    let fixture = Fixture::new("record_timeout = \"300ms\"");
    for bad in [
        &b"{\"everyline\":2,\"client\":\"a\"}"[..],
        b"{\"everyline\":1,\"client\":\"\"}",
        b"{\"everyline\":1,\"client\":\"../../etc/passwd\"}",
        b"{\"everyline\":1}",
        b"\x80\x02N.",
    ] {
        let mut peer = fixture.unix("acked");
        peer.write_all(&framed(bad)).unwrap();
        assert!(is_closed(peer));
    }
    fixture.wait_for_refusals(Reason::Hello, 5);
    assert!(is_closed(fixture.unix("acked")));
    fixture.wait_for_refusals(Reason::Slow, 1);
    let (mut client, _) = Client::hello(&fixture, "a");
    client.record(2, "two");
    client.record(1, "one");
    assert!(
        is_closed(client.0.try_clone().unwrap()) || {
            client.wait_for(2);
            is_closed(client.0)
        }
    );
    fixture.wait_for_refusals(Reason::Sequence, 1);
}

/// Sent again it would be no better: it would come for ever.
#[test]
fn a_record_that_is_none_is_counted_and_acknowledged() {
    let fixture = Fixture::new("");
    let (mut client, _) = Client::hello(&fixture, "a");
    client.send(&[&1_u64.to_be_bytes()[..], b"no json"].concat());
    client.record(2, "two");
    client.send(&[&3_u64.to_be_bytes()[..], b"[]"].concat());
    client.wait_for(3);
    assert_eq!(fixture.lines("all.log"), ["two"]);
    fixture.wait_for_refusals(Reason::Malformed, 1);
    fixture.wait_for_refusals(Reason::NotARecord, 1);
}

/// The engine takes no record over its overflow, now or ever: its client must not wait for it.
#[test]
fn a_record_that_no_log_can_take_is_counted_and_acknowledged() {
    let mut fixture = Fixture::new("");
    assert!(fixture.server.take().unwrap().stop());
    let mut config = Config::parse(&text(&fixture.dir, "", "all.log")).unwrap();
    config.logs.get_mut("all").unwrap().options.overflow_bytes = 256 << 10;
    fixture.server = Some(Server::start(&config, report(&fixture.messages)).unwrap());
    let (mut client, _) = Client::hello(&fixture, "a");
    client.record(1, "one");
    client.record(2, &"x".repeat(300 << 10));
    client.record(3, "three");
    client.wait_for(3);
    assert_eq!(fixture.lines("all.log"), ["one", "three"]);
    fixture.wait_for_refusals(Reason::TooLarge, 1);
}
