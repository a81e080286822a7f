//! The server over real sockets: peers that mean well, peers that do not, and its end.

mod acked;
mod hostile;
mod lifecycle;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use everyline_serve::config::Address;
use everyline_serve::{Config, Reason, Server};

/// Tells "hung" from "slow".
const LONG: Duration = Duration::from_secs(60);

struct Fixture {
    dir: tempfile::TempDir,
    server: Option<Server>,
    messages: Arc<Mutex<Vec<String>>>,
}

impl Fixture {
    /// A server on a Unix socket for each protocol, on TCP and UDP, with one log.
    fn new(bounds: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let config = Config::parse(&text(&dir, bounds, "all.log")).unwrap();
        let server = Server::start(&config, report(&messages)).unwrap();
        Self { dir, server: Some(server), messages }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn unix(&self, protocol: &str) -> UnixStream {
        let stream = UnixStream::connect(self.path(&format!("{protocol}.sock"))).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    fn address(&self, text: &str) -> SocketAddr {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let address = if text == "tcp" { Address::Tcp(any) } else { Address::Udp(any) };
        SocketAddr::new(any.ip(), self.server().port(&address).unwrap())
    }

    fn lines(&self, log: &str) -> Vec<String> {
        std::fs::read_to_string(self.path(log)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn wait_for_lines(&self, log: &str, count: usize) -> Vec<String> {
        wait_until(|| self.lines(log).len() >= count, || format!("{count} lines, {:?}", self.messages));
        self.lines(log)
    }

    fn wait_for_refusals(&self, reason: Reason, count: u64) {
        let refused = || self.server().stats().refused(reason);
        wait_until(|| refused() >= count, || format!("{count} times {reason:?}, not {}", refused()));
    }
}

fn report(messages: &Arc<Mutex<Vec<String>>>) -> everyline_serve::Report {
    let messages = Arc::clone(messages);
    Box::new(move |message| messages.lock().unwrap().push(message.to_owned()))
}

fn text(dir: &tempfile::TempDir, bounds: &str, log: &str) -> String {
    let dir = dir.path().display();
    let mut text = format!("[server]\nstate_dir = \"{dir}/state\"\n{bounds}\n");
    text += &format!("[[listen]]\naddress = \"unix://{dir}/acked.sock\"\nprotocol = \"everyline\"\n");
    for protocol in ["python", "json", "syslog"] {
        text += &format!("[[listen]]\naddress = \"unix://{dir}/{protocol}.sock\"\nprotocol = \"{protocol}\"\n");
        text += &format!("[[listen]]\naddress = \"unixgram://{dir}/{protocol}.dgram\"\nprotocol = \"{protocol}\"\n");
    }
    text += "[[listen]]\naddress = \"tcp://127.0.0.1:0\"\nprotocol = \"syslog\"\n";
    text += "[[listen]]\naddress = \"udp://127.0.0.1:0\"\nprotocol = \"syslog\"\n";
    text + &format!("[log.all]\npath = \"{dir}/{log}\"\nformat = \"%(message)s\"\n[[route]]\nlog = \"all\"\n")
}

fn wait_until(done: impl Fn() -> bool, what: impl Fn() -> String) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "waited for {}", what());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A record as `SocketHandler` sends it: `{"msg": text}`, protocol 2.
fn pickled(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    framed(&[b"\x80\x02}U\x03msgX", &length[..], text.as_bytes(), b"s."].concat())
}

fn framed(pickle: &[u8]) -> Vec<u8> {
    [&u32::try_from(pickle.len()).unwrap().to_be_bytes()[..], pickle].concat()
}

/// True once the server has closed the connection.
fn is_closed(mut stream: impl Read) -> bool {
    // A reset is the end, too: the server left bytes unread.
    stream.read(&mut [0]).map_or_else(|e| e.kind() == std::io::ErrorKind::ConnectionReset, |count| count == 0)
}

#[test]
fn every_protocol_over_every_kind_of_socket() {
    let fixture = Fixture::new("");
    fixture.unix("python").write_all(&pickled("python stream")).unwrap();
    fixture.unix("json").write_all(b"{\"message\":\"json stream\"}\n{\"message\":\"last, without an end\"}").unwrap();
    fixture.unix("syslog").write_all(b"<13>syslog stream\n").unwrap();
    TcpStream::connect(fixture.address("tcp")).unwrap().write_all(b"14 <13>tcp stream").unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"<13>udp\0", fixture.address("udp")).unwrap();
    let datagram = UnixDatagram::unbound().unwrap();
    datagram.send_to(&pickled("python datagram"), fixture.path("python.dgram")).unwrap();
    datagram.send_to(b"{\"message\":\"json datagram\"}\n", fixture.path("json.dgram")).unwrap();
    datagram.send_to(b"<13>Nov 25 07:00:00 me: syslog datagram", fixture.path("syslog.dgram")).unwrap();
    let mut lines = fixture.wait_for_lines("all.log", 9);
    lines.sort();
    assert_eq!(
        lines,
        [
            "json datagram",
            "json stream",
            "last, without an end",
            "python datagram",
            "python stream",
            "syslog datagram",
            "syslog stream",
            "tcp stream",
            "udp",
        ]
    );
}
