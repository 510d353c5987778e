//! What a pool looks like at this moment, asked for when somebody scrapes. Nothing here is stored.

use super::reasons::PinReason;
use std::time::Duration;

/// Clients and servers of one pool by state, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolGauges {
    /// Clients with a server.
    pub clients_active: usize,
    /// Clients waiting for a server.
    pub clients_waiting: usize,
    /// Clients that want nothing now.
    pub clients_idle: usize,
    /// Servers with a client.
    pub servers_active: usize,
    /// Servers ready for any client.
    pub servers_idle: usize,
    /// Servers without a client that need a reset or a check first.
    pub servers_used: usize,
    /// Servers being connected or logging in.
    pub servers_login: usize,
    /// Servers kept back until a cancel is settled.
    pub servers_being_canceled: usize,
    /// Servers there are beyond the pool's size, of its reserve.
    pub reserve_in_use: usize,
    /// Clients that keep their servers for session state that can't follow them.
    pub clients_pinned: usize,
    /// The same by reason, as [`PinReason::ALL`]; a client may have several.
    pub pins: [usize; PinReason::ALL.len()],
    /// Clients that wait for another to give up its server, since no more may be pinned; they are among those waiting.
    pub waiting_for_pins: usize,
    /// When servers go back: `session`, `transaction` or `statement`.
    pub mode: &'static str,
    /// No server is handed out.
    pub paused: bool,
    /// How long the first in the queue has waited; zero if nobody waits.
    pub max_wait: Duration,
    /// Servers the pool may have, reserve apart; `None` is no limit.
    pub size_limit: Option<usize>,
    /// Servers it may have beyond that in need.
    pub reserve_limit: usize,
    /// Servers that listen for its clients, none of the pool's size.
    pub listening_servers: usize,
    /// Channels that clients listen to, each counted once a client.
    pub subscriptions: usize,
    /// What became of notifications since the pool exists.
    pub notifications: Notifications,
    /// What its clients have waited for.
    pub held_up: HeldUp,
}

/// How often clients had to wait for what; numbers that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldUp {
    /// The pool had as many servers as it may.
    pub by_size: u64,
    /// A limit that it shares had no place.
    pub by_limits: u64,
    /// It was paused, or no server could be opened.
    pub by_outage: u64,
    /// The setting of that limit; empty if there was none.
    pub limit: &'static str,
}

/// Notifications and what became of them; numbers that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notifications {
    /// Brought by the listening server to a client.
    pub delivered: u64,
    /// Found no room.
    pub dropped: u64,
    /// Times a client was told that some may be missing.
    pub gaps: u64,
}

/// A pool that can tell how it stands.
pub trait Gauges: Send + Sync {
    /// Called from the thread that renders a scrape: may take the pool's lock for a moment, must not wait for I/O.
    fn gauges(&self) -> PoolGauges;

    /// What keeps its clients from a server, for people; no secrets. Called where one pool is looked at, or once a second.
    fn in_the_way(&self) -> Option<String> {
        None
    }

    /// Why servers can't be had, whatever the pool's size, in one sentence for whoever is woken by it; no secrets. Called as
    /// [`Self::in_the_way`].
    fn outage(&self) -> Option<String> {
        None
    }
}
