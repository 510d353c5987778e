//! One connection to PostgreSQL: how it is opened, the replies it owes, the state it carries, how it is cancelled.
pub mod cancel;
pub mod connect;
pub mod conversation;
pub mod error;
pub mod exchange;
pub mod login;
pub mod prelude;

use crate::net::stream::Stream;
use connect::Address;
use conversation::Conversation;
use std::io;
use std::time::Instant;

/// Bytes an idle server may send before it counts as out of its mind.
const IDLE_CHATTER: usize = 64 * 1024;

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
    pub outbound: Vec<u8>,
    /// What a cancel needs.
    pub key: cancel::CancelKey,
    /// Counts connections of the process, for logs.
    pub id: u64,
    /// Worker whose reactor the socket is registered with.
    pub home: usize,
    /// The client it served last.
    pub owner: u64,
    /// When it logged in.
    pub since: Instant,
    /// Parameters PostgreSQL reported at login.
    pub welcome: Vec<(String, String)>,
}

impl Server {
    /// Where it is connected to.
    pub fn address(&self) -> &Address {
        &self.key.address
    }

    /// Whether the idle connection is still good: nothing came, or only notices, notifications and parameters.
    pub fn is_alive(&mut self) -> bool {
        let mut chunk = [0; 64];
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
