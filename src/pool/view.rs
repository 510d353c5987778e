//! What the operator sees of a pool: each server, each client in line. Looks, under the pool's lock, and changes nothing.
use crate::clock::Instant;

use super::{CapKind, ClientId, Pool, Pooled, entry::State};

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It is being connected.
    Opening,
    /// Ready for any client.
    Idle,
    /// Ready, but it carries the state of its last client.
    Dirty,
    /// With that client.
    Leased(ClientId),
    /// Given back, and kept from others until a cancel is settled.
    Parked,
}

/// One server.
#[derive(Clone, Debug)]
pub struct ServerView<A, L> {
    /// What it is; nothing yet while it is being connected.
    pub about: Option<A>,
    /// What it does.
    pub state: ServerState,
    /// When it was connected, or its connect began.
    pub opened: Instant,
    /// Since when it has been idle.
    pub idle_since: Option<Instant>,
    /// Cancels aimed at it that are not settled.
    pub cancels: u32,
    /// It will be closed when it comes back.
    pub obsolete: bool,
    /// What a look at the server itself gave; a leased one can't be looked at.
    pub look: Option<L>,
}

/// A client in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Who.
    pub client: ClientId,
    /// Since when.
    pub since: Instant,
}

impl<S: Pooled> Pool<S> {
    /// All servers; `look` is called under the lock with those that nobody has.
    pub fn servers<L>(&self, look: impl Fn(&S) -> L) -> Vec<ServerView<S::About, L>> {
        let books = self.books.lock();
        let servers = books.ledger.entries().map(|(entry, obsolete)| ServerView {
            about: entry.cancel_key.as_ref().map(|(_, about)| about.clone()),
            state: match entry.state {
                State::Opening => ServerState::Opening,
                State::Idle(_) if entry.dirty => ServerState::Dirty,
                State::Idle(_) => ServerState::Idle,
                State::Leased(client) => ServerState::Leased(client),
                State::Parked => ServerState::Parked,
            },
            opened: entry.opened,
            idle_since: match entry.state {
                State::Idle(since) => Some(since),
                _ => None,
            },
            cancels: entry.cancels,
            obsolete,
            look: entry.server.as_ref().map(|seat| look(&seat.server)),
        });
        servers.collect()
    }

    /// How many servers the cap of that kind allows to all pools under it; `None`: this pool is under none, or it is unlimited.
    pub fn places_under(&self, kind: CapKind) -> Option<u32> {
        self.bounds.caps.iter().find(|cap| cap.name().kind == kind)?.limit()
    }

    /// The line, the next one first.
    pub fn waiters(&self) -> Vec<Waiter> {
        let books = self.books.lock();
        books.ledger.in_line().map(|who| Waiter { client: who.client, since: who.since }).collect()
    }
}
