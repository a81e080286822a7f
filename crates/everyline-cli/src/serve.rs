//! `everyline serve`: the log server, from its configuration to its end.
//!
//! Guarantee: a configuration that is not right changes nothing, at the start as on SIGHUP. When "ready" is said, every
//! socket takes what is sent.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use everyline_serve::{Config, Server};
use rustix::event::{EventfdFlags, eventfd};

use crate::report::say;
use crate::signals::Signals;
use crate::{Exit, Result};

/// Runs until a signal comes; or only checks the configuration.
pub fn run(path: &Path, check: bool) -> Result<Exit> {
    let config = Config::read(path)?;
    if check {
        println!("{}: {} listeners, {} logs: right", path.display(), config.listen.len(), config.logs.len());
        return Ok(Exit::Done);
    }
    let signals = Signals::install()?;
    let mut server = Server::start(&config, Box::new(|message| say(format_args!("{message}"))))?;
    for address in server.addresses() {
        say(format_args!("listening on {address}"));
    }
    if let Some(address) = server.metrics_address() {
        say(format_args!("counters on http://{address}/metrics"));
    }
    say(format_args!("ready"));
    notify("READY=1");
    // Nothing is ever written to it: only signals wake.
    let silence = eventfd(0, EventfdFlags::CLOEXEC)?;
    while !signals.stop() {
        if signals.take_reopen() {
            reload(path, &mut server);
        }
        signals.wait(std::os::fd::AsFd::as_fd(&silence), None)?;
    }
    say(format_args!("stopping"));
    notify("STOPPING=1");
    Ok(if server.stop() { Exit::Done } else { Exit::Incomplete })
}

/// Tells systemd, if it asked to be told (`Type=notify`): one datagram to the socket that it names.
fn notify(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let send = || -> std::io::Result<usize> {
        let address = match name.as_encoded_bytes().split_first() {
            Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)
    };
    if let Err(error) = send() {
        say(format_args!("NOTIFY_SOCKET {}: {error}", name.display()));
    }
}

fn reload(path: &Path, server: &mut Server) {
    match Config::read(path).and_then(|config| server.reload(&config)) {
        Ok(()) => say(format_args!("configuration read")),
        Err(error) => say(format_args!("{error}; going on under the configuration before")),
    }
    server.reopen();
}
