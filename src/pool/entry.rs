//! The vocabulary of the ledger: a server's state, what decides about it, and what is to be done. Pure; data only.
use crate::clock::Instant;
use std::time::Duration;

use super::{
    ClientId, SlotIndex,
    error::CloseReason,
    links::{Linked, Links},
};

/// A server is in exactly one state, and in an idle list exactly while it is idle.
///
/// ```text
/// Opening ─opened─┐                       ┌─────── cancels settled ───────┐
///                 ├─▶ waiter? ─▶ Leased ──┼─ give, cancel under way ─▶ Parked
/// Parked ─────────┤      no ─▶ Idle ─take─┘
/// Leased ──give───┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A connect is under way; there is no server yet.
    Opening,
    /// In the list of the clean or of the dirty, since then.
    Idle(Instant),
    /// With that client, or granted to it and not fetched yet.
    Leased(ClientId),
    /// Given back while a cancel aimed at its last client was under way.
    Parked,
}

#[derive(Debug)]
pub(super) struct Entry<S, K> {
    pub(super) state: State,
    /// Present while idle or parked.
    pub(super) server: Option<S>,
    pub(super) links: Links,
    /// Never reused, unlike the slot.
    pub(super) serial: u64,
    pub(super) last_client: Option<ClientId>,
    pub(super) dirty: bool,
    pub(super) cancels: u32,
    /// A cancel may still come that was meant for an earlier query.
    pub(super) doubtful: bool,
    pub(super) cancel_key: Option<K>,
    pub(super) opened: Instant,
    /// Its share of server_lifetime, in 1/65536.
    pub(super) lifetime_share: u32,
    /// When that share is over; `None`: never.
    pub(super) expires: Option<Instant>,
}

impl<S, K> Linked for Entry<S, K> {
    fn links(&self) -> &Links {
        &self.links
    }
    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// What the ledger has to know of the settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// `None`: never too old. Zero: used once.
    pub(super) lifetime: Option<Duration>,
    /// Take the longest-idle server instead of the most recently used.
    pub(super) round_robin: bool,
    /// Whether a client gets another server than the one it had last, if one is idle.
    pub(super) switch: bool,
}

impl Rules {
    pub(super) fn expiry(&self, opened: Instant, share: u32) -> Option<Instant> {
        opened.checked_add((self.lifetime? / 65_536).checked_mul(share)?)
    }
}

/// What decides, besides the ledger itself, where a server goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// Never earlier than in an earlier call.
    pub(super) now: Instant,
    /// False while servers can't be replaced: then old ones stay.
    pub(super) replaceable: bool,
    /// It has to go whoever waits.
    pub(super) surplus: Option<CloseReason>,
    /// It has to go rather than idle.
    pub(super) pressure: Option<CloseReason>,
}

/// Where a server went.
#[must_use]
#[derive(Debug)]
pub(super) enum Settled<S, W> {
    /// To the longest waiter, who has to be woken.
    Granted(Option<W>),
    /// To an idle list, or it is parked.
    Kept,
    /// Out of the ledger: to be closed.
    Close(S, CloseReason),
}

/// A server that has just logged in.
#[derive(Debug)]
pub(super) struct Arrival<S, K> {
    pub(super) server: S,
    pub(super) dirty: bool,
    pub(super) cancel_key: K,
    /// 16 random bits: how much earlier than server_lifetime it goes.
    pub(super) random: u16,
}

/// Whom a cancel found.
#[derive(Debug)]
pub(super) enum Found<S, K, W> {
    /// A waiter, now refused: wake it; a server it had been granted went elsewhere.
    Waiting(Option<W>, Option<Settled<S, W>>),
    /// A lease: the server is kept from others until [`Ledger::cancel_settled`] is called with these.
    Running(SlotIndex, u64, K),
    /// Neither.
    Nothing,
}

/// What can be seen of an idle server.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleServer {
    pub(super) slot: SlotIndex,
    pub(super) serial: u64,
    pub(super) since: Instant,
    pub(super) last_client: Option<ClientId>,
}

/// How many are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) opening: usize,
    pub(super) leased: usize,
    pub(super) parked: usize,
    pub(super) idle: usize,
    pub(super) dirty_idle: usize,
    pub(super) waiting: usize,
}

impl<S, K> Entry<S, K> {
    /// An open that has just begun.
    pub(super) fn opening(serial: u64, now: Instant) -> Self {
        Self {
            state: State::Opening,
            server: None,
            links: Links::default(),
            serial,
            last_client: None,
            dirty: false,
            cancels: 0,
            doubtful: false,
            cancel_key: None,
            opened: now,
            lifetime_share: 0,
            expires: None,
        }
    }

    /// The entry as an idle server, if it is one.
    pub(super) fn idle(&self, slot: SlotIndex) -> Option<IdleServer> {
        let State::Idle(since) = self.state else { return None };
        Some(IdleServer { slot, serial: self.serial, since, last_client: self.last_client })
    }
}
