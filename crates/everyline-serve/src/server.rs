//! The server: a thread for each socket and each connection, one table of logs for all.
//!
//! Guarantees. At no instant are there more connections than the bound. A new configuration takes effect as a whole or
//! not at all, and closes no connection: those that are open go on under the rules by which they were let in, and their
//! records go where the new routes say. A stop takes what has arrived, within `drain`.

use std::collections::HashMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SocketFlags;

use crate::acked::Clients;
use crate::config::{Address, Config, Listen};
use crate::logs::Logs;
use crate::socket::{self, Bound};
use crate::stats::{Report, Stats};
use crate::wait::{Ready, Stop};
use crate::{Reason, connection, datagram, http};

/// Decoding needs little of it: depth is limited.
const STACK_BYTES: usize = 512 << 10;
/// After an accept for which the system had no descriptor or no memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all threads share.
pub struct Shared {
    /// Counters.
    pub stats: Stats,
    /// The end of the server.
    pub stop: Stop,
    logs: RwLock<Arc<Logs>>,
    clients: Option<Clients>,
    connected: Mutex<usize>,
    all_left: Condvar,
}

/// A server that runs. Dropping it stops it.
pub struct Server {
    shared: Arc<Shared>,
    listeners: HashMap<Address, Listener>,
    metrics: Option<Metrics>,
    stopped: bool,
}

/// One socket and its thread.
struct Listener {
    rules: Arc<RwLock<Listen>>,
    bound: Arc<Bound>,
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

impl Shared {
    /// The logs as they are now.
    pub fn logs(&self) -> Arc<Logs> {
        Arc::clone(&self.logs.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// What is remembered of clients that are acknowledged.
    pub fn clients(&self) -> Option<&Clients> {
        self.clients.as_ref()
    }

    /// Connections at this moment.
    pub fn connections_now(&self) -> u64 {
        *self.connected() as u64
    }

    fn connected(&self) -> MutexGuard<'_, usize> {
        self.connected.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Server {
    /// Opens the logs, then the sockets.
    ///
    /// # Errors
    /// The first of them that cannot be had.
    pub fn start(config: &Config, report: Report) -> Result<Self, String> {
        // Before anything can be appended to a log: see `acked::resolve`.
        let clients = config.acked.as_ref().map(|acked| Clients::open(&acked.dir, acked.fsync)).transpose()?;
        let logs = Logs::open(config, None)?;
        let shared = Shared {
            stats: Stats::new(report),
            stop: Stop::new().map_err(|e| e.to_string())?,
            logs: RwLock::new(Arc::new(logs)),
            clients,
            connected: Mutex::new(0),
            all_left: Condvar::new(),
        };
        let mut server = Self { shared: Arc::new(shared), listeners: HashMap::new(), metrics: None, stopped: false };
        server.listen(config)?;
        server.metrics = Metrics::start(config.metrics, &server.shared)?;
        Ok(server)
    }

    /// Goes over to another configuration.
    ///
    /// # Errors
    /// What of it cannot be had; then the server goes on under the old one.
    pub fn reload(&mut self, config: &Config) -> Result<(), String> {
        let is_same = match (&config.acked, &self.shared.clients) {
            (Some(acked), Some(clients)) => clients.is(&acked.dir, acked.fsync),
            (None, None) => true,
            _ => false,
        };
        if config.metrics != self.metrics.as_ref().map(|metrics| metrics.configured) {
            return Err("[server]: metrics: another address needs a new start of the server".into());
        }
        if !is_same {
            return Err("[server]: state_dir, ack: another one needs a new start of the server".into());
        }
        let logs = Logs::open(config, Some(&self.shared.logs()))?;
        self.listen(config)?;
        *self.shared.logs.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(logs);
        Ok(())
    }

    /// Looks at the paths of all logs again.
    pub fn reopen(&self) {
        for trouble in self.shared.logs().reopen() {
            self.shared.stats.say(&trouble);
        }
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// The port of a listener, where the configuration left it to the system (port 0).
    pub fn port(&self, address: &Address) -> Option<u16> {
        self.listeners.get(address).and_then(|listener| socket::local_port(&listener.bound))
    }

    /// Where counters are served, with the port that the system chose.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|metrics| metrics.address)
    }

    /// Where it listens, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<String> {
        let mut addresses: Vec<String> = self
            .listeners
            .iter()
            .map(|(address, listener)| match (address, socket::local_port(&listener.bound)) {
                (Address::Tcp(at), Some(port)) => Address::Tcp((at.ip(), port).into()).to_string(),
                (Address::Udp(at), Some(port)) => Address::Udp((at.ip(), port).into()).to_string(),
                _ => address.to_string(),
            })
            .collect();
        addresses.sort();
        addresses
    }

    /// Accepts nothing more, takes what has arrived, and brings it into the files. True if all came to its end.
    pub fn stop(mut self) -> bool {
        self.end()
    }

    fn end(&mut self) -> bool {
        if std::mem::replace(&mut self.stopped, true) {
            return true;
        }
        let deadline = Instant::now() + self.shared.logs().bounds.drain;
        self.shared.stop.tell(deadline);
        for (_, listener) in self.listeners.drain() {
            listener.end(deadline);
        }
        if let Some(metrics) = self.metrics.take() {
            metrics.stop.tell(deadline);
            let _ = metrics.thread.join();
        }
        let mut connected = self.shared.connected();
        while *connected > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.all_left.wait_timeout(connected, left);
            connected = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        let left = *connected;
        drop(connected);
        if left > 0 {
            self.shared.stats.say(&format!("{left} connections were still sending at the end of `drain`"));
        }
        let troubles = self.shared.logs().flush();
        troubles.iter().for_each(|trouble| self.shared.stats.say(trouble));
        left == 0 && troubles.is_empty()
    }

    /// Listens where the configuration says, and nowhere else.
    fn listen(&mut self, config: &Config) -> Result<(), String> {
        let mut new = Vec::new();
        for listen in config.listen.iter().filter(|listen| !self.listeners.contains_key(&listen.address)) {
            new.push((listen, socket::bind(listen)?, Stop::new().map_err(|e| e.to_string())?));
        }
        let gone: Vec<Address> = self.listeners.keys().filter(|known| !config.listens(known)).cloned().collect();
        for (listen, bound, stop) in new {
            let listener = Listener::start(listen.clone(), bound, stop, &self.shared)?;
            self.listeners.insert(listen.address.clone(), listener);
        }
        for address in gone {
            if let Some(listener) = self.listeners.remove(&address) {
                listener.end(Instant::now() + config.bounds.drain);
            }
        }
        for listen in &config.listen {
            if let Some(listener) = self.listeners.get(&listen.address) {
                *listener.rules.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = listen.clone();
            }
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Listener {
    fn start(listen: Listen, bound: Bound, stop: Stop, shared: &Arc<Shared>) -> Result<Self, String> {
        let (bound, stop, shared) = (Arc::new(bound), Arc::new(stop), Arc::clone(shared));
        let rules = Arc::new(RwLock::new(listen));
        let run = {
            let (rules, bound, stop) = (Arc::clone(&rules), Arc::clone(&bound), Arc::clone(&stop));
            move || run(&rules, &bound, &stop, &shared)
        };
        let thread = thread::Builder::new()
            .name("everyline-listen".into())
            .spawn(run)
            .map_err(|e| format!("start a thread: {e}"))?;
        Ok(Self { rules, bound, stop, thread })
    }

    fn end(self, deadline: Instant) {
        self.stop.tell(deadline);
        // A panic of the thread was reported where it happened.
        let _ = self.thread.join();
    }
}

/// The counters over HTTP.
struct Metrics {
    configured: SocketAddr,
    address: SocketAddr,
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

impl Metrics {
    fn start(configured: Option<SocketAddr>, shared: &Arc<Shared>) -> Result<Option<Self>, String> {
        let Some(configured) = configured else { return Ok(None) };
        let trouble = |e: std::io::Error| format!("[server]: metrics: listen on {configured}: {e}");
        let listener = TcpListener::bind(configured).map_err(trouble)?;
        listener.set_nonblocking(true).map_err(trouble)?;
        let address = listener.local_addr().map_err(trouble)?;
        let (stop, shared) = (Arc::new(Stop::new().map_err(trouble)?), Arc::clone(shared));
        let run = {
            let stop = Arc::clone(&stop);
            move || http::serve(&listener, &stop, &shared)
        };
        let thread = thread::Builder::new().name("everyline-http".into()).spawn(run).map_err(trouble)?;
        Ok(Some(Self { configured, address, stop, thread }))
    }
}

/// The life of a listening thread.
fn run(rules: &RwLock<Listen>, bound: &Bound, stop: &Stop, shared: &Arc<Shared>) {
    let now = || rules.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    let listen = now();
    let whom = listen.address.to_string();
    if matches!(listen.address, Address::Udp(_) | Address::UnixDatagram(_)) {
        return datagram::serve(&bound.socket, || now().protocol, &whom, stop, shared);
    }
    loop {
        // What has connected before the stop is accepted: its peer may have sent all it had.
        match stop.wait(&bound.socket, None) {
            Ok(Ready::Readable) if stop.deadline().is_none_or(|deadline| Instant::now() <= deadline) => {}
            Ok(_) => return,
            Err(error) => return shared.stats.refuse(Reason::Socket, &whom, &error.to_string()),
        }
        match rustix::net::accept_with(&bound.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => accept(socket, now(), &whom, shared),
            Err(Errno::INTR | Errno::AGAIN | Errno::CONNABORTED) => {}
            Err(error) => {
                shared.stats.refuse(Reason::Socket, &whom, &error.to_string());
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

/// Lets a peer in, or not.
fn accept(socket: OwnedFd, listen: Listen, whom: &str, shared: &Arc<Shared>) {
    if !socket::may_connect(&socket, &listen.allow_uids) {
        return shared.stats.refuse(Reason::Peer, whom, "");
    }
    let most = shared.logs().bounds.connections;
    {
        let mut connected = shared.connected();
        if *connected >= most {
            drop(connected);
            return shared.stats.refuse(Reason::Connections, whom, "");
        }
        *connected += 1;
    }
    let place = Place(Arc::clone(shared));
    place.0.stats.connections.fetch_add(1, Ordering::Relaxed);
    let whom = whom.to_owned();
    let run = move || {
        let shared = &place.0;
        if let Err(reason) = connection::serve(&socket, listen.protocol, &whom, shared) {
            shared.stats.refuse(reason, &whom, "");
        }
    };
    if let Err(error) = thread::Builder::new().name("everyline-peer".into()).stack_size(STACK_BYTES).spawn(run) {
        shared.stats.refuse(Reason::Connections, &listen.address.to_string(), &error.to_string());
    }
}

/// The place of one connection. Given back however its thread ends.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut connected = self.0.connected();
        *connected -= 1;
        self.0.all_left.notify_all();
    }
}

impl Config {
    fn listens(&self, address: &Address) -> bool {
        self.listen.iter().any(|listen| listen.address == *address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::UnixDatagram(path) => write!(f, "unixgram://{}", path.display()),
        }
    }
}
