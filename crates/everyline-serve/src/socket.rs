//! Sockets: bound with the permissions they are to have, and taken away again by whom they were made.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::config::{Address, Listen};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 512;
/// Datagrams that wait, in bytes; the kernel grants what its limit allows.
const RECEIVE_BYTES: usize = 4 << 20;

/// A socket that is bound, and listens if it is for streams.
pub struct Bound {
    /// Nonblocking.
    pub socket: OwnedFd,
    /// The path it stands at, with its inode.
    place: Option<(PathBuf, u64)>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.place
            && std::fs::symlink_metadata(path).is_ok_and(|now| now.ino() == *inode)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Binds, and listens.
///
/// # Errors
/// One line for people, with the address.
pub fn bind(listen: &Listen) -> Result<Bound, String> {
    let bound = match &listen.address {
        Address::Tcp(address) => std::net::TcpListener::bind(address).map(|listener| (listener.into(), None)),
        Address::Udp(address) => std::net::UdpSocket::bind(address).map(|socket| (socket.into(), None)),
        Address::Unix(path) => unix(path, SocketType::STREAM, listen.mode),
        Address::UnixDatagram(path) => unix(path, SocketType::DGRAM, listen.mode),
    };
    let ready = bound.and_then(|(socket, place): (OwnedFd, _)| {
        rustix::io::ioctl_fionbio(&socket, true)?;
        if matches!(listen.address, Address::Udp(_) | Address::UnixDatagram(_)) {
            // Less is no error: the default of the kernel serves, too.
            let _ = sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BYTES);
        }
        Ok(Bound { socket, place })
    });
    ready.map_err(|e| format!("listen on {}: {e}", listen.address))
}

/// The address it got, if the port was left to the system.
pub fn local_port(bound: &Bound) -> Option<u16> {
    let address = rustix::net::getsockname(&bound.socket).ok()?;
    std::net::SocketAddr::try_from(address).ok().map(|address| address.port())
}

/// True if the peer is one of these users. A peer whose user cannot be told is not.
pub fn may_connect(peer: impl AsFd, allowed: &Option<Vec<u32>>) -> bool {
    let Some(allowed) = allowed else { return true };
    sockopt::socket_peercred(peer).is_ok_and(|credentials| allowed.contains(&credentials.uid.as_raw()))
}

fn unix(path: &Path, kind: SocketType, mode: u32) -> io::Result<(OwnedFd, Option<(PathBuf, u64)>)> {
    remove_stale(path, kind)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    // Before it has a name, so that at no instant it lets in more: the name gets these bits, less the umask.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let inode = std::fs::symlink_metadata(path)?.ino();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok((socket, Some((path.to_owned(), inode))))
}

/// A socket that nobody serves any more, left by a killed server, makes room. Anything else stays.
fn remove_stale(path: &Path, kind: SocketType) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::other("there is a file that is no socket; remove it, or give another path"));
    }
    let answer = if kind == SocketType::STREAM {
        UnixStream::connect(path).map(drop)
    } else {
        UnixDatagram::unbound().and_then(|socket| socket.connect(path))
    };
    match answer {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
        Ok(()) => Err(io::Error::other("another process serves this socket")),
    }
}
