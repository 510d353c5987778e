//! A connection up to its StartupMessage: TLS begun for who wants it, GSSENCRequest declined, CancelRequest handed on.

use super::report::Trouble;
use crate::net::aside::Aside;
use crate::net::stream::Stream;
use crate::roster::SecretSize;
use crate::tls::{ALPN, Acceptor, Channel};
use crate::wire::proxy::{self, Parsed};
use crate::wire::startup::{self, MINOR, Pairs, Startup, StartupError};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// What TLS begins with.
const CLIENT_HELLO: u8 = 0x16;

/// Requests for encryption a client may make before it has to get to the point.
const NEGOTIATIONS: usize = 2;

/// Longest name that PostgreSQL has, in bytes (NAMEDATALEN - 1).
const LONGEST_NAME: usize = 63;

/// How much of a packet is read at once, in bytes.
const READ_AT_ONCE: usize = 1024;

/// What a connection wants.
#[derive(Debug)]
pub enum Wants {
    /// A session.
    Session(Box<Wish>),
    /// To cancel a session: process ID, secret.
    Cancel(u32, Vec<u8>),
    /// Nothing: it left without a word, as port checks do.
    Nothing,
}

/// The session a client wishes for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// User name.
    pub user: String,
    /// Database; the user's name when none was given.
    pub database: String,
    /// Protocol minor version the session will have.
    pub minor: u16,
    /// NegotiateProtocolVersion is due, with these unknown options.
    pub negotiate: Option<Pairs>,
    /// Session parameters, those of `options` first.
    pub parameters: Pairs,
    /// Wants to replicate.
    pub replication: bool,
    /// By logical decoding in a database; else what it replicates is the whole cluster.
    pub is_logical: bool,
}

impl Wish {
    /// The value a parameter is given; the last one counts.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let given = self.parameters.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
        given.last().map(|(_, value)| value)
    }

    /// Bytes of memory beside its own.
    pub fn size(&self) -> usize {
        let own = self.user.capacity() + self.database.capacity() + self.parameters.size();
        own + self.negotiate.as_ref().map_or(0, Pairs::size)
    }

    /// How long the secret of the session's cancel key is to be.
    pub fn secret_size(&self) -> SecretSize {
        if self.minor >= 2 { SecretSize::Long } else { SecretSize::Short }
    }
}

/// Why a startup ended.
#[derive(Debug)]
pub enum StartupEnd {
    /// The client is to be told.
    Tell(Trouble),
    /// The socket failed.
    Lost(io::Error),
    /// It wants TLS from the first byte, which can't be answered in clear.
    DirectTls,
    /// TLS could not be begun.
    Handshake(io::Error),
}

/// What there is of TLS for a connection.
#[derive(Debug)]
pub struct Encryption<'a> {
    /// Begins it.
    pub acceptor: Option<Arc<Acceptor>>,
    /// Whether there is no session without it.
    pub is_required: bool,
    /// Where the work of handshakes is done.
    pub aside: &'a Aside,
}

impl From<io::Error> for StartupEnd {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<StartupError> for StartupEnd {
    fn from(error: StartupError) -> Self {
        Self::Tell(Trouble::Startup(error))
    }
}

/// Reads what the connection wants. Holds at most one startup packet. The caller bounds the time.
pub async fn receive(stream: &mut Stream, encryption: &Encryption<'_>) -> Result<Wants, StartupEnd> {
    let mut buffer = Vec::new();
    begin_direct_tls(stream, &mut buffer, encryption).await?;
    for negotiation in 0..=NEGOTIATIONS {
        let Some(size) = packet(stream, &mut buffer).await? else { return Ok(Wants::Nothing) };
        let packet = Startup::parse(&buffer[..size])?;
        match packet {
            Startup::Ssl | Startup::Gss if negotiation < NEGOTIATIONS => {
                let wants_tls = packet == Startup::Ssl;
                if buffer.len() > size {
                    // Sent before the answer: PostgreSQL, too, takes this for an attack.
                    return Err(StartupError::Unencrypted(if wants_tls {
                        "SSL"
                    } else {
                        "GSSAPI encryption"
                    })
                    .into());
                }
                buffer.clear();
                match encryption.acceptor.as_deref() {
                    Some(acceptor) if wants_tls && stream.tls().is_none() => {
                        stream.write_all(b"S").await?;
                        secure(stream, acceptor, Vec::new(), encryption).await?;
                    }
                    _ => stream.write_all(b"N").await?,
                }
            }
            Startup::Ssl | Startup::Gss => return Err(StartupError::Layout.into()),
            Startup::Cancel { pid, secret } => return Ok(Wants::Cancel(pid, secret.to_vec())),
            Startup::Start { minor, parameters } => {
                if buffer.len() > size {
                    return Err(StartupError::Layout.into());
                }
                if encryption.is_required && stream.tls().is_none() {
                    return Err(StartupEnd::Tell(Trouble::TlsRequired));
                }
                return wish(minor, &parameters)
                    .map(|w| Wants::Session(Box::new(w)))
                    .map_err(StartupEnd::Tell);
            }
        }
    }
    Err(StartupError::Layout.into())
}

/// The address that a load balancer gives in front of everything else; `None`: it connects for itself, or for who is on its own
/// machine, which needn't be this one. Reads nothing of what follows. The caller bounds the time.
pub async fn origin(stream: &mut Stream) -> Result<Option<SocketAddr>, StartupEnd> {
    let mut header = Vec::new();
    loop {
        match proxy::parse(&header).map_err(|error| StartupEnd::Tell(Trouble::Proxy(error)))? {
            Parsed::Whole(address) => {
                return Ok(address.filter(|address| !address.ip().to_canonical().is_loopback()));
            }
            Parsed::Needs(more) => {
                if stream.read_some(&mut header, more).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
            }
        }
    }
}

async fn secure(
    stream: &mut Stream,
    acceptor: &Acceptor,
    more: Vec<u8>,
    encryption: &Encryption<'_>,
) -> Result<(), StartupEnd> {
    // Boxed, so that a login without it is no larger for it.
    Box::pin(stream.accept_tls(acceptor, more, encryption.aside)).await.map_err(StartupEnd::Handshake)
}

/// Begins TLS with a client that doesn't ask first, as PostgreSQL does since 17; else leaves what it has read in `buffer`.
async fn begin_direct_tls(
    stream: &mut Stream,
    buffer: &mut Vec<u8>,
    encryption: &Encryption<'_>,
) -> Result<(), StartupEnd> {
    let Some(acceptor) = encryption.acceptor.as_deref() else { return Ok(()) };
    if stream.read_some(buffer, READ_AT_ONCE).await? == 0 || buffer.first() != Some(&CLIENT_HELLO) {
        return Ok(());
    }
    secure(stream, acceptor, std::mem::take(buffer), encryption).await?;
    // It could be any protocol's client, led here by an attacker.
    if stream.tls().and_then(Channel::alpn) != Some(ALPN) {
        let why = "received direct SSL connection request without ALPN protocol negotiation extension";
        stream.shutdown();
        return Err(StartupEnd::Handshake(io::Error::other(why)));
    }
    Ok(())
}

/// Fills `buffer` until it begins with a whole packet; `None`: the client left before it sent anything.
async fn packet(stream: &mut Stream, buffer: &mut Vec<u8>) -> Result<Option<usize>, StartupEnd> {
    loop {
        if buffer.first() == Some(&CLIENT_HELLO) {
            return Err(StartupEnd::DirectTls);
        }
        let missing = match startup::size(buffer)? {
            Some(size) if buffer.len() >= size => return Ok(Some(size)),
            Some(size) => size - buffer.len(),
            None => READ_AT_ONCE,
        };
        // All at once, so that it never has more room than it needs.
        buffer.reserve_exact(missing);
        if stream.read_some(buffer, missing.min(READ_AT_ONCE)).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(StartupError::Layout.into()) };
        }
    }
}

/// Makes a wish of the packet's parameters.
pub fn wish(minor: u16, pairs: &[(&str, &str)]) -> Result<Wish, Trouble> {
    let mut wish = Wish {
        user: String::new(),
        database: String::new(),
        minor: minor.min(MINOR),
        negotiate: None,
        parameters: Pairs::default(),
        replication: false,
        is_logical: false,
    };
    let (mut own, mut unknown) = (Pairs::default(), None::<Pairs>);
    for &(name, value) in pairs {
        match name {
            "user" => cut(value).clone_into(&mut wish.user),
            "database" => cut(value).clone_into(&mut wish.database),
            "options" => wish.parameters = settings(value)?,
            "replication" => {
                (wish.replication, wish.is_logical) =
                    replicates(value).ok_or_else(|| Trouble::NoKindOfReplication(value.to_owned()))?;
            }
            name if name.starts_with("_pq_.") => unknown.get_or_insert_default().push(name, ""),
            name => own.push(name, value),
        }
    }
    wish.parameters.append(&own);
    wish.parameters = wish.parameters.fit();
    if wish.user.is_empty() {
        return Err(Trouble::Startup(StartupError::NoUser));
    }
    if wish.database.is_empty() {
        wish.database.clone_from(&wish.user);
    }
    wish.negotiate = unknown.map(Pairs::fit).or_else(|| (minor > MINOR).then(Pairs::default));
    Ok(wish)
}

/// As much of a name as PostgreSQL has of it: two that it takes for the same are the same to every rule and limit here. It cuts names
/// between characters where it makes them.
fn cut(name: &str) -> &str {
    let longest = (0..=name.len().min(LONGEST_NAME)).rev().find(|&at| name.is_char_boundary(at));
    &name[..longest.unwrap_or(0)]
}

/// The settings of `options`.
fn settings(options: &str) -> Result<Pairs, Trouble> {
    let mut settings = Pairs::default();
    for (name, value) in startup::options(options).map_err(Trouble::Options)? {
        if !is_setting(&name) {
            return Err(Trouble::NoSetting(name));
        }
        settings.push(&name, &value);
    }
    Ok(settings)
}

/// Whether PostgreSQL takes a parameter of a startup packet for a setting, and not for who wants what.
pub(super) fn is_setting(name: &str) -> bool {
    let others = ["user", "database", "replication", "options"];
    !others.iter().any(|other| name.eq_ignore_ascii_case(other)) && !name.starts_with("_pq_.")
}

/// Whether to replicate, and whether by logical decoding, as PostgreSQL reads it: a truth, or "database".
fn replicates(value: &str) -> Option<(bool, bool)> {
    let word = value.to_ascii_lowercase();
    let short_for = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    match () {
        () if value == "database" => Some((true, true)),
        () if short_for("true", 1) || short_for("yes", 1) || short_for("on", 2) || word == "1" => {
            Some((true, false))
        }
        () if short_for("false", 1) || short_for("no", 1) || short_for("off", 2) || word == "0" => {
            Some((false, false))
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes() {
        let w = wish(0, &[("user", "me"), ("options", "-c a=1 -c b=2"), ("TimeZone", "UTC"), ("b", "3")])
            .unwrap();
        assert_eq!((&*w.user, &*w.database, w.minor, w.negotiate), ("me", "me", 0, None));
        let pairs: Vec<_> = w.parameters.iter().collect();
        assert_eq!(pairs, [("a", "1"), ("b", "2"), ("TimeZone", "UTC"), ("b", "3")]);
        let w = wish(3, &[("user", "me"), ("database", "db"), ("_pq_.x", "1")]).unwrap();
        let negotiate = w.negotiate.as_ref().map(|unknown| unknown.iter().collect::<Vec<_>>());
        assert_eq!((&*w.database, w.minor, negotiate), ("db", 2, Some(vec![("_pq_.x", "")])));
        assert_eq!(wish(9, &[("user", "me")]).unwrap().negotiate, Some(Pairs::default()));
        let kind =
            |value| wish(0, &[("user", "me"), ("replication", value)]).map(|w| (w.replication, w.is_logical));
        for (value, expected) in [
            ("database", (true, true)),
            ("true", (true, false)),
            ("ON", (true, false)),
            ("1", (true, false)),
            ("off", (false, false)),
            ("f", (false, false)),
        ] {
            assert_eq!(kind(value).unwrap(), expected, "{value}");
        }
        assert!(kind("o").is_err() && kind("").is_err() && kind("Database").is_err());
        let (long, umlauts) = ("d".repeat(63), "ä".repeat(31));
        for (given, expected) in [
            (long.clone(), &long),
            (format!("{long}x"), &long),
            (umlauts.clone(), &umlauts),
            (format!("{umlauts}ä"), &umlauts),
        ] {
            let w = wish(0, &[("user", &given), ("database", &given)]).unwrap();
            assert_eq!((&w.user, &w.database), (expected, expected), "{given}");
        }
        assert!(matches!(wish(0, &[("database", "x")]), Err(Trouble::Startup(StartupError::NoUser))));
        assert!(matches!(wish(0, &[("user", "x"), ("options", "-c=")]), Err(Trouble::Options(_))));
        for name in ["user", "DATABASE", "replication", "options", "-pq-.x"] {
            let options = format!("-c a=1 -c {name}=x");
            let refused = wish(0, &[("user", "x"), ("options", &options)]);
            assert!(matches!(refused, Err(Trouble::NoSetting(_))), "{name}");
        }
    }
}
