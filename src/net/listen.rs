//! Listening sockets. Accepting is left to the raw socket, so that accept4 sets the flags.

use super::options::TcpOptions;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where clients are awaited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix-domain socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A non-blocking listening socket. A Unix-domain one removes its file when dropped, unless it was made by somebody else.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    is_own: bool,
}

/// What the file of a Unix-domain socket allows, and whose group it is.
#[derive(Debug, Clone, Copy)]
pub struct FileRights {
    /// As chmod takes them.
    pub mode: u32,
    /// `None`: the process's.
    pub group: Option<u32>,
}

/// An accepted, non-blocking connection that is not registered with any reactor yet.
#[derive(Debug)]
pub enum Accepted {
    /// TCP, with the peer's address.
    Tcp(std::net::TcpStream, SocketAddr),
    /// Unix domain.
    Unix(std::os::unix::net::UnixStream),
}

impl Listener {
    /// Listens on a TCP address. Connections inherit `options`.
    pub fn tcp(
        address: SocketAddr,
        backlog: u32,
        reuse_port: bool,
        options: &TcpOptions,
    ) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if reuse_port {
            socket.set_reuse_port(true)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        options.apply(&socket)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { socket, address: Address::Tcp(bound), is_own: true })
    }

    /// Listens on `directory/.s.PGSQL.port`, where libpq looks. A file left behind by a dead process is replaced; one that
    /// answers is not.
    pub fn unix(directory: &Path, port: u16, rights: FileRights, backlog: u32) -> io::Result<Self> {
        let path = directory.join(format!(".s.PGSQL.{port}"));
        let is_socket = std::fs::symlink_metadata(&path).is_ok_and(|m| m.file_type().is_socket());
        if is_socket {
            if std::os::unix::net::UnixStream::connect(&path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(&path)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SockAddr::unix(&path)?)?;
        if let Some(group) = rights.group {
            std::os::unix::fs::chown(&path, None, Some(group))?;
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(rights.mode))?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(Self { socket, address: Address::Unix(path), is_own: true })
    }

    /// A socket that somebody else has made and listens on for us. Connections inherit `options`.
    pub fn inherited_tcp(socket: std::net::TcpListener, options: &TcpOptions) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        options.apply(&socket)?;
        Ok(Self { socket, address: Address::Tcp(address), is_own: false })
    }

    /// The same in the Unix domain; its file stays.
    pub fn inherited_unix(socket: std::os::unix::net::UnixListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let path = address.as_pathname().map(Path::to_owned).unwrap_or_default();
        socket.set_nonblocking(true)?;
        Ok(Self { socket: socket.into(), address: Address::Unix(path), is_own: false })
    }

    /// Where it listens; with port 0 asked for, the port given.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection; `WouldBlock` when there is none.
    pub fn accept(&self) -> io::Result<Accepted> {
        let (socket, peer) = acceptfrom_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        Ok(match (&self.address, peer.and_then(|peer| SocketAddr::try_from(peer).ok())) {
            (Address::Tcp(_), Some(peer)) => Accepted::Tcp(socket.into(), peer),
            _ => Accepted::Unix(socket.into()),
        })
    }
}

impl Listener {
    /// Whether a connection waits to be accepted. Cheaper than an accept in vain, which makes a socket before it looks.
    pub fn has_more(&self) -> bool {
        let mut watched = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut watched, Some(&Timespec::default())).map_or(true, |n| n > 0)
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address
            && self.is_own
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    #[test]
    fn connections_inherit_the_options() {
        let seconds = |n| Some(Duration::from_secs(n));
        let options = TcpOptions {
            keepalive: true,
            keepidle: seconds(11),
            keepintvl: seconds(12),
            keepcnt: Some(13),
            user_timeout: seconds(14),
            socket_buffer: None,
        };
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into(), 8, false, &options).unwrap();
        let Address::Tcp(address) = *listener.address() else { panic!("a TCP listener") };
        assert!(!listener.has_more());
        let _client = std::net::TcpStream::connect(address).unwrap();
        assert!(listener.has_more());
        let Accepted::Tcp(socket, _) = listener.accept().unwrap() else { panic!("a TCP connection") };
        assert!(!listener.has_more());
        let socket = SockRef::from(&socket);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        let keepalive = (socket.tcp_keepalive_time(), socket.tcp_keepalive_interval());
        assert_eq!((keepalive.0.ok(), keepalive.1.ok()), (seconds(11), seconds(12)));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 13);
        assert_eq!(socket.tcp_user_timeout().unwrap(), seconds(14));
    }
}
