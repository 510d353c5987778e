//! Who may use which server: the pool of one (database, user), its waiting line, its bounds and the caps it shares.
//! Knows nothing of PostgreSQL's protocol; a server is whatever is [`Pooled`].
//!
//! * `ledger` with `entry`, `queue` and `links`: the books, pure; one mutex per pool guards them (`books` adds when to open)
//! * `permit`, `limits`, `evict`: bounds, caps that pools share, and who makes room (`room` has them do so); `coming`: places on their way; `backoff`: pauses after failures
//! * `excess`: what goes when a shared cap has been made smaller
//! * `beside`: places under the caps for connections that are none of a pool's
//! * `hindrance`: what clients wait for
//! * `lease`, `ticket`: what a client holds; `open`, `upkeep`: how servers come and go
//! * `set`: the pools and caps of the process
//!
//! Locks: one pool, then its caps by name, then nothing. Wakers, observers, connectors and the closing of servers are
//! called with no lock held.
mod backoff;
mod beside;
mod books;
mod coming;
mod entry;
mod error;
mod evict;
mod excess;
mod hindrance;
mod lease;
mod ledger;
mod limits;
mod links;
mod open;
mod permit;
#[expect(clippy::module_inception, reason = "the pool itself")]
mod pool;
mod postgres;
mod queue;
mod room;
mod set;
mod settings;
mod share;
mod ticket;
mod upkeep;
mod view;

#[cfg(test)]
mod tests;

use crate::clock::Instant;
use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

pub use self::{
    beside::Place,
    error::{CloseReason, OpenError, OpenFailure, ServerError, WaitError},
    hindrance::{Hindered, Hindrance},
    lease::{CancelGuard, CancelOutcome, Lease},
    limits::{CapKind, CapName, SharedCap},
    pool::{Numbers, Parts, Pool, Take},
    set::PoolSet,
    settings::PoolSettings,
    ticket::Ticket,
    upkeep::Summary,
    view::{ServerState, ServerView, Waiter},
};

/// What the pool needs to know of a server connection. None of these may block, or call the pool.
pub trait Pooled: Send + 'static {
    /// What a CancelRequest for this connection needs.
    type CancelKey: Clone + Send;

    /// What the operator is told of it, read once when the server is new.
    type About: Clone + Send;

    /// Its number in logs.
    fn id(&self) -> u64 {
        0
    }

    /// Read once, when the server is new.
    fn about(&self) -> Self::About;

    /// True if it carries session state of its last client.
    fn is_dirty(&self) -> bool;
    /// False if the peer has closed, or said something unexpected while idle. Without a system call in the common case;
    /// the janitor calls it under the pool's lock.
    fn is_alive(&mut self) -> bool;
    /// Read once, when the server is new.
    fn cancel_key(&self) -> Self::CancelKey;

    /// Whether closing takes a [`Pooled::hang_up`]; else a server is just dropped.
    const HANGS_UP: bool = false;

    /// Ends the connection and waits, for a bounded time, until its peer has let go of it: until then it counts.
    fn hang_up(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// A future that is only made on cold paths.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Opens server connections and runs the tasks that do it. Permits and retries are not its business.
pub trait Connector<S: Pooled>: Send + Sync + 'static {
    /// Connects and logs in. Its own timeout is its own business. Must be cancel safe: dropped
    /// at any point, it leaves no connection behind.
    fn connect(&self, pool: &Arc<Pool<S>>) -> BoxFuture<Result<S, OpenError>>;

    /// Runs `task`. A task that can't be run is dropped.
    fn spawn(&self, task: BoxFuture<()>);

    /// Calls `then` at that time or soon afterwards, with the time it is.
    fn later(&self, at: Instant, then: Box<dyn FnOnce(Instant) + Send>);
}

/// Something worth a line in the log or a count.
#[derive(Debug)]
pub enum Event<'a> {
    /// A server has logged in.
    Opened,
    /// An open failed; the pool tries again after `retry_in` if somebody still waits.
    OpenFailed {
        /// Why.
        error: &'a OpenError,
        /// Pause before the next try.
        retry_in: Duration,
    },
    /// The first waiter has waited for reserve_pool_timeout: "taking connection from reserve_pool".
    ReserveTaken,
    /// No place under that cap, and no idle server to evict (yet).
    Blocked(&'a CapName),
    /// A server was closed.
    Closed {
        /// Which, by [`Pooled::id`].
        server: u64,
        /// Why.
        reason: CloseReason,
    },
}

/// Hears what happens in a pool; called with no lock held, on whatever thread it happened.
pub trait Observer: Send + Sync + 'static {
    /// One event of one pool. Must not block.
    fn event(&self, pool: &PoolKey, event: Event<'_>);
}

/// Hears nothing.
impl Observer for () {
    fn event(&self, _: &PoolKey, _: Event<'_>) {}
}

/// Whose servers a pool has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey {
    /// The database as clients name it.
    pub database: Arc<str>,
    /// The user that servers log in as.
    pub user: Arc<str>,
}

impl PoolKey {
    /// A key of these names.
    pub fn new(database: &str, user: &str) -> Self {
        Self { database: database.into(), user: user.into() }
    }
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.database, self.user)
    }
}

/// A client, for as long as it is connected; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

impl ClientId {
    /// The pooler itself, as the client of a server that it resets.
    pub const POOLER: Self = Self(u64::MAX);
}

/// A server's place in its pool's books; used again for another when the server is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotIndex(u32);

impl SlotIndex {
    fn at(self) -> usize {
        self.0 as usize
    }
}

/// Who asks for a server.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The client.
    pub client: ClientId,
    /// Where its last server was ([`Lease::slot`]): it gets it back if nobody has used it since.
    pub hint: Option<SlotIndex>,
    /// The time.
    pub now: Instant,
}
