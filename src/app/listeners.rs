//! Opens what clients connect to.

use super::error::AppError;
use crate::client::context::tcp_options;
use crate::config::{Config, ListenAddr};
use crate::net::listen::{FileRights, Listener};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

const IN_USE: &str =
    "Another process listens there already (is pgweir or PgBouncer running?): stop it, or set listen_port.";
const DENIED: &str = "Use a port above 1023, or give the process CAP_NET_BIND_SERVICE.";
const NO_ADDRESS: &str = "This machine has no such address: set listen_addr to one it has, or to \"*\".";
const SOCKET_DIR: &str =
    "Set unix_socket_dir to a directory that exists and that this user can write to, or to \"\".";
const OTHER: &str = "Check listen_addr and listen_port.";

/// All listeners the configuration asks for.
pub(super) fn open(config: &Config) -> Result<Vec<Listener>, AppError> {
    let general = &config.general;
    let (options, mut listeners) = (tcp_options(config), Vec::new());
    for address in &general.listen_addr {
        for address in resolve(address, general.listen_port)? {
            let (backlog, reuse_port) = (general.listen_backlog, general.so_reuseport.is_on());
            let opened = Listener::tcp(address, backlog, reuse_port, &options);
            match opened {
                Ok(listener) => listeners.push(listener),
                // A machine without IPv6 still has all the addresses it has.
                Err(_) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {}
                Err(e) => return Err(refused(&address.to_string(), e)),
            }
        }
    }
    if let Some(directory) = &general.unix_socket_dir {
        let group = general.unix_socket_group.as_deref().map(group).transpose()?;
        let rights = FileRights { mode: general.unix_socket_mode, group };
        let opened = Listener::unix(directory, general.listen_port, rights, general.listen_backlog);
        let path = directory.join(format!(".s.PGSQL.{}", general.listen_port)).display().to_string();
        listeners.push(opened.map_err(|e| {
            let advice = if e.kind() == io::ErrorKind::AddrInUse { IN_USE } else { SOCKET_DIR };
            AppError::Listen(path, e, advice)
        })?);
    }
    Ok(listeners)
}

/// A group's number, by its name or as it is.
fn group(name: &str) -> Result<u32, AppError> {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let number = if fields.next() == Some(name) { fields.nth(1) } else { None };
        number.and_then(|number| number.parse().ok())
    });
    named.or_else(|| name.parse().ok()).ok_or_else(|| AppError::Group(name.to_owned()))
}

fn resolve(address: &ListenAddr, port: u16) -> Result<Vec<SocketAddr>, AppError> {
    match address {
        ListenAddr::All => {
            Ok(vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()])
        }
        ListenAddr::Ip(ip) => Ok(vec![(*ip, port).into()]),
        ListenAddr::Name(name) => {
            let found = (&**name, port).to_socket_addrs();
            found.map(Iterator::collect).map_err(|e| AppError::Listen(format!("{name}:{port}"), e, OTHER))
        }
    }
}

/// The same for the metrics address.
pub(super) fn metrics_refused(address: &str, error: io::Error) -> AppError {
    AppError::Listen(
        format!("{address} (metrics)"),
        error,
        "Set listen in [metrics], or --metrics-listen, to another address, or to \"\".",
    )
}

/// A refusal to listen, with what to do about it.
pub(super) fn refused(address: &str, error: io::Error) -> AppError {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => IN_USE,
        io::ErrorKind::PermissionDenied => DENIED,
        io::ErrorKind::AddrNotAvailable => NO_ADDRESS,
        _ => OTHER,
    };
    AppError::Listen(address.to_owned(), error, advice)
}
