//! Where to listen and where servers are. Names are kept as names: nothing is looked up here.
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::text::{ListWritten, is_socket_dir};
use super::{Refusal, Unit};

/// Longest host name DNS allows.
const LONGEST_HOST: usize = 253;

/// An address to accept clients on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddr {
    /// `*`: every address of this machine, IPv6 and IPv4.
    All,
    /// One address.
    Ip(IpAddr),
    /// A name to look up when listening starts.
    Name(String),
}

impl FromStr for ListenAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "*" => Ok(Self::All),
            _ => match text.parse() {
                Ok(ip) => Ok(Self::Ip(ip)),
                Err(_) if is_host_name(text) => Ok(Self::Name(text.to_owned())),
                Err(_) => Err(format!("{text:?} is neither an address nor a host name nor \"*\"")),
            },
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Letters, digits, `-`, `_` and `.`, and not just a mistyped IPv4 address.
fn is_host_name(text: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=LONGEST_HOST).contains(&text.len())
        && text.chars().all(letters)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && !text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// Addresses to listen on: `*` stands for all others, each is there once.
pub(in crate::config) struct ListenAddrs;

impl Unit for ListenAddrs {
    type Written = ListWritten;
    type Value = Vec<ListenAddr>;

    fn allowed() -> String {
        r#"addresses such as "127.0.0.1, ::1" or ["127.0.0.1", "::1"], "*" for all, or "" for none"#
            .to_owned()
    }

    fn accept(written: ListWritten) -> Result<Vec<ListenAddr>, Refusal> {
        let mut addresses = Vec::new();
        for item in written.items() {
            let address = item.parse().map_err(Refusal::because)?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.contains(&ListenAddr::All) {
            addresses = vec![ListenAddr::All];
        }
        Ok(addresses)
    }

    fn show(value: &Vec<ListenAddr>) -> String {
        let words: Vec<String> = value.iter().map(ListenAddr::to_string).collect();
        format!("{:?}", words.join(", "))
    }
}

/// An address and port; empty becomes `None`.
pub(in crate::config) struct SocketAddress;

impl Unit for SocketAddress {
    type Written = String;
    type Value = Option<SocketAddr>;

    fn allowed() -> String {
        r#"an address with a port such as "127.0.0.1:9127" or "[::1]:9127", or "" for none"#.to_owned()
    }

    fn accept(written: String) -> Result<Option<SocketAddr>, Refusal> {
        match written.trim() {
            "" => Ok(None),
            text => match text.parse::<SocketAddr>() {
                Ok(address) if address.port() != 0 => Ok(Some(address)),
                _ => Err(Refusal::plain()),
            },
        }
    }

    fn show(value: &Option<SocketAddr>) -> String {
        format!("{:?}", value.map(|address| address.to_string()).unwrap_or_default())
    }
}

/// Where metrics are served, given on the command line; `None` is nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsListen(pub Option<SocketAddr>);

impl FromStr for MetricsListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = SocketAddress::accept(text.to_owned());
        address.map(Self).map_err(|_| format!("must be {}", SocketAddress::allowed()))
    }
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address or a name to look up at each connect.
    Tcp(String),
    /// The directory of `PostgreSQL`'s Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(name) => f.write_str(name),
            Self::Unix(directory) => directory.display().fmt(f),
        }
    }
}

/// Where a database's servers are: one host, or several that have the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hosts(Vec<Host>);

impl Hosts {
    /// All of them, one at least, in the order in which they are written.
    pub fn all(&self) -> &[Host] {
        &self.0
    }

    #[cfg(test)]
    pub(super) fn of(hosts: impl IntoIterator<Item = Host>) -> Self {
        Self(hosts.into_iter().collect())
    }

    /// Whether there is a choice.
    pub fn are_several(&self) -> bool {
        self.0.len() > 1
    }
}

impl From<Host> for Hosts {
    fn from(host: Host) -> Self {
        Self(vec![host])
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, host) in self.0.iter().enumerate() {
            write!(f, "{}{host}", if at > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// A host, or several.
pub(in crate::config) struct HostNames;

impl Unit for HostNames {
    type Written = ListWritten;
    type Value = Hosts;

    fn allowed() -> String {
        r#"a host name or address, several such as "a, b" or ["a", "b"], or the directory of a Unix socket such as "/run/postgresql""#
            .to_owned()
    }

    fn accept(written: ListWritten) -> Result<Hosts, Refusal> {
        let hosts: Vec<_> = written.items().into_iter().map(HostName::accept).collect::<Result<_, _>>()?;
        if hosts.is_empty() { Err(Refusal::plain()) } else { Ok(Hosts(hosts)) }
    }

    fn show(value: &Hosts) -> String {
        format!("{:?}", value.to_string())
    }
}

/// One host, or a directory beginning with `/`.
pub(in crate::config) struct HostName;

impl Unit for HostName {
    type Written = String;
    type Value = Host;

    fn allowed() -> String {
        r#"one host name or address, or the directory of a Unix socket such as "/run/postgresql""#.to_owned()
    }

    fn accept(written: String) -> Result<Host, Refusal> {
        if is_socket_dir(&written) {
            Ok(Host::Unix(PathBuf::from(written)))
        } else if is_host_name(&written) || written.parse::<IpAddr>().is_ok() {
            Ok(Host::Tcp(written))
        } else {
            Err(Refusal::plain())
        }
    }

    fn show(value: &Host) -> String {
        format!("{:?}", value.to_string())
    }
}
