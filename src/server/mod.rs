//! One connection to PostgreSQL: how it is opened, the replies it owes, the state it carries, how it is cancelled.
pub mod bulk;
pub mod cancel;
pub mod connect;
pub mod conversation;
mod direct;
pub mod error;
pub mod exchange;
pub mod login;
pub mod prelude;

use crate::clock::Instant;
use crate::net::kept::Kept;
use crate::net::stream::Stream;
use crate::params::set::Set;
use crate::tls::Channel;
use bulk::Bulk;
use connect::Address;
use conversation::Conversation;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Poll, Waker};
use tokio::sync::oneshot;

/// No client: they are counted from 1.
pub const NOBODY: u64 = 0;

/// More than one client.
pub const SEVERAL: u64 = u64::MAX;

/// Bytes an idle server may send before it counts as out of its mind.
const IDLE_CHATTER: usize = 1024 * 1024;

/// A logged-in connection.
#[derive(Debug)]
pub struct Server {
    /// The socket.
    pub stream: Stream,
    /// What is known of the session.
    pub talk: Conversation,
    /// The beginning of a message that has not come whole.
    pub inbound: Vec<u8>,
    /// What the socket has not taken yet.
    pub outbound: Kept,
    /// What a cancel needs.
    pub key: cancel::CancelKey,
    /// Counts connections of the process, for logs.
    pub id: u64,
    /// The client it served last; [`NOBODY`] at first.
    pub owner: u64,
    /// Who may have had temporary objects there: [`NOBODY`], one client, or [`SEVERAL`].
    pub temporary_by: u64,
    /// How often roles may have been made in the process when it last ran as one.
    pub roles_made: u32,
    /// When it logged in.
    pub since: Instant,
    /// Parameters PostgreSQL reported at login, with the values that are the defaults now.
    pub welcome: Vec<(String, String)>,
    /// When the transaction it serves began.
    pub began: Instant,
    /// When the query it runs was begun; the transaction's begin for its first.
    pub query_began: Instant,
    /// While it is being checked; dropped, it ends the wait for an answer.
    pub check: Option<oneshot::Sender<Infallible>>,
    /// Bytes moved and not yet counted in the metrics.
    pub traffic: Traffic,
    /// How much of a reply is waited for.
    pub bulk: Bulk,
}

/// What an operator is told of a server, known once it has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Counts connections of the process, as in logs.
    pub id: u64,
    /// Where it is connected to.
    pub address: Address,
    /// Process ID of its backend.
    pub pid: u32,
    /// The version of TLS it is spoken to with; empty without.
    pub tls: &'static str,
    /// This end of a TCP connection.
    pub local: Option<SocketAddr>,
    /// That end of a TCP connection.
    pub peer: Option<SocketAddr>,
}

/// Bytes moved between a client and its server.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Read from the client.
    pub from_client: u64,
    /// Written to the client, or kept for it.
    pub to_client: u64,
    /// Read from the server.
    pub from_server: u64,
    /// Written to the server, or kept for it.
    pub to_server: u64,
}

impl Server {
    /// What an operator is told of it.
    pub fn about(&self) -> About {
        About {
            id: self.id,
            address: self.key.address.clone(),
            pid: self.key.pid,
            tls: self.stream.tls().map_or("", Channel::version),
            local: self.stream.local_address(),
            peer: self.stream.peer_address(),
        }
    }

    /// Whether a value reported while a client has the server is one that client has of its own. The value the server logged in
    /// with may be what is left after RESET or SET LOCAL; it isn't where the client had it before.
    #[cold]
    pub fn reported(&mut self, name: &str, value: &str, wanted: &Arc<Set>) -> bool {
        let before = self.talk.reported_since.get_or_insert_with(|| Arc::clone(wanted));
        let lower = name.to_ascii_lowercase();
        let had = before.value(&lower) == Some(value) || before.first().value(&lower).is_some();
        had || !self.began_with(name, value)
    }

    /// Whether this is the server's own default of a parameter, as it was reported at login or has become since.
    pub fn began_with(&self, name: &str, value: &str) -> bool {
        self.welcome.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && v == value)
    }

    /// PostgreSQL's major version; 0 when it doesn't say.
    pub fn version(&self) -> u32 {
        let told = self.welcome.iter().find(|(name, _)| name == "server_version");
        let major = told.and_then(|(_, version)| version.split(|c: char| !c.is_ascii_digit()).next());
        major.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// The server's own default of a parameter (in any case) has changed to this.
    #[cold]
    pub fn default_changed(&mut self, name: &str, value: &str) {
        let known = self.welcome.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name));
        known.into_iter().for_each(|(_, v)| value.clone_into(v));
    }

    /// Where it is connected to.
    pub fn address(&self) -> &Address {
        &self.key.address
    }

    /// A large read is dealt with and the reply goes on: from now on as much is waited for as is sure to come soon.
    #[cold]
    pub fn await_bulk(&mut self, read: usize, reader: &Waker) {
        // What a Unix-domain socket has is told whatever was asked for.
        let is_tcp = matches!(self.key.address, Address::Tcp(..));
        if is_tcp && !self.talk.exchange.is_drained() && self.stream.tls().is_none() {
            self.bulk.go_on(read, self.talk.still_to_come(), &self.stream, reader);
        }
    }

    /// What has come though it is less than was waited for.
    #[cold]
    pub fn read_stalled(&mut self, into: &mut [u8]) -> Poll<io::Result<usize>> {
        self.bulk.read_stalled(&mut self.stream, into)
    }

    /// Nothing long is to come: any byte counts.
    #[inline]
    pub fn end_bulk(&mut self) {
        if self.bulk.is_begun() {
            self.bulk.end(&self.stream);
        }
    }

    /// Whether the idle connection is still good: nothing came, or only notices, notifications and parameters.
    #[inline]
    pub fn is_alive(&mut self) -> bool {
        self.stream.is_quiet() || self.is_alive_though_it_spoke()
    }

    #[cold]
    fn is_alive_though_it_spoke(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let mut total = 0;
        loop {
            match self.stream.probe(&mut chunk) {
                None => return true,
                Some(Ok(n)) if n > 0 && total < IDLE_CHATTER => {
                    total += n;
                    if self.hear_idle(&chunk[..n]).is_err() {
                        return false;
                    }
                }
                Some(_) => return false,
            }
        }
    }

    /// Nobody is there to get what an idle server says; an error or a reply means it is of no more use.
    fn hear_idle(&mut self, bytes: &[u8]) -> Result<(), io::Error> {
        let mut client = Default::default();
        let mut scratch = Vec::new();
        self.inbound.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.inbound);
        let mut out = crate::wire::outgoing::Outgoing::new(&input, &mut scratch);
        let used =
            self.talk.receive(&input, &mut client, &mut out).map_err(|e| io::Error::other(e.to_string()))?;
        let heard = std::mem::take(&mut self.talk.heard);
        if self.talk.exchange.doubt().is_some() || !heard.errors.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.inbound = input[used..].to_vec();
        Ok(())
    }
}
