//! `everyline serve`: the log server, from its configuration to its end.
//!
//! Guarantee: a configuration that is not right changes nothing, at the start as on SIGHUP. When "ready" is said, every
//! socket takes what is sent.

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
    say(format_args!("ready"));
    // Nothing is ever written to it: only signals wake.
    let silence = eventfd(0, EventfdFlags::CLOEXEC)?;
    while !signals.stop() {
        if signals.take_reopen() {
            reload(path, &mut server);
        }
        signals.wait(std::os::fd::AsFd::as_fd(&silence), None)?;
    }
    say(format_args!("stopping"));
    Ok(if server.stop() { Exit::Done } else { Exit::Incomplete })
}

fn reload(path: &Path, server: &mut Server) {
    match Config::read(path).and_then(|config| server.reload(&config)) {
        Ok(()) => say(format_args!("configuration read")),
        Err(error) => say(format_args!("{error}; going on under the configuration before")),
    }
    server.reopen();
}
