//! Clients tied to their servers: which, for an operator, and who may become one where they are bounded.

use crate::admin::Pin;
use crate::clock::Instant;
use crate::metrics::PinReason;
use crate::params::traces::Traces;
use crate::pool::{ClientId, Waiter};
use crate::server::Server;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::task::Waker;

/// What ties a client to its server, and what the metrics call it.
pub const REASONS: [(Traces, PinReason); 8] = [
    (Traces::LASTING, PinReason::Other),
    (Traces::TEMPORARY, PinReason::TempTable),
    (Traces::LOCKS, PinReason::AdvisoryLock),
    (Traces::CURSORS, PinReason::HoldCursor),
    (Traces::CHANNELS, PinReason::Listen),
    (Traces::STATEMENTS, PinReason::SqlPrepare),
    (Traces::SEQUENCES, PinReason::Sequence),
    (Traces::SETTINGS, PinReason::Setting),
];

/// Those of one pool.
#[derive(Debug, Default)]
pub struct Pins {
    /// By client.
    who: Mutex<HashMap<u64, Tied>>,
    /// Those with a place kept until their lease ends, whether or not they are tied yet. Locked behind `who`.
    admitted: Mutex<HashSet<u64>>,
    /// Those that wait for others to let go, first come first, and how to wake them.
    waiting: Mutex<VecDeque<(Waiter, Waker)>>,
    /// What was logged of each client that is still there.
    told: Mutex<HashMap<u64, Traces>>,
}

#[derive(Debug)]
struct Tied {
    server: u64,
    backend: u32,
    by: Traces,
    since: Instant,
}

impl Pins {
    /// A client was tied to its server by `before`, and is by `now`.
    pub fn change(&self, client: u64, server: &Server, (before, now): (Traces, Traces)) {
        if now.is_empty() {
            if !before.is_empty() {
                self.release(client);
            }
            return;
        }
        let mut who = self.who.lock();
        let tied = || Tied { server: server.id, backend: server.key.pid, by: now, since: Instant::now() };
        who.entry(client).or_insert_with(tied).by = now;
        drop(who);
        if before.has(Traces::PINS) && !now.has(Traces::PINS) {
            self.wake_first();
        }
    }

    /// A client is tied no more.
    pub fn release(&self, client: u64) {
        if self.who.lock().remove(&client).is_some() {
            self.wake_first();
        }
    }

    /// Keeps a place for the client, unless `max` are taken.
    pub fn admit(&self, client: u64, max: usize) -> bool {
        let (who, mut admitted) = (self.who.lock(), self.admitted.lock());
        let tied = |tied: &Tied| tied.by.has(Traces::PINS);
        if admitted.contains(&client) || who.get(&client).is_some_and(tied) {
            return true;
        }
        let others = who.iter().filter(|(client, t)| tied(t) && !admitted.contains(client)).count();
        let room = others + admitted.len() < max;
        if room {
            admitted.insert(client);
        }
        room
    }

    /// The client's lease has ended: its place, if it had one, is another's.
    pub fn dismiss(&self, client: u64) {
        if self.admitted.lock().remove(&client) {
            self.wake_first();
        }
    }

    /// Whether nobody waits before this client, who may or may not wait itself.
    pub fn is_next(&self, client: u64) -> bool {
        self.waiting.lock().front().is_none_or(|(first, _)| first.client.0 == client)
    }

    /// Puts the client, which waits since then, in line, at its end unless it is there already.
    pub fn wait(&self, client: u64, since: Instant, waker: &Waker) {
        let mut waiting = self.waiting.lock();
        match waiting.iter_mut().find(|(there, _)| there.client.0 == client) {
            Some((_, known)) => known.clone_from(waker),
            None => waiting.push_back((Waiter { client: ClientId(client), since }, waker.clone())),
        }
    }

    /// Those in line, the next one first.
    pub fn line(&self) -> Vec<Waiter> {
        self.waiting.lock().iter().map(|(waiter, _)| *waiter).collect()
    }

    /// Since when the first in line has waited.
    pub fn oldest_wait_since(&self) -> Option<Instant> {
        self.waiting.lock().front().map(|(first, _)| first.since)
    }

    /// How many are in line.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Takes the client out of the line, and wakes who is first then.
    pub fn stop_waiting(&self, client: u64) {
        self.waiting.lock().retain(|(there, _)| there.client.0 != client);
        self.wake_first();
    }

    /// Has everybody in line look at the clock. Whether there is anybody.
    pub fn wake_all(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.iter().for_each(|(_, waker)| waker.wake_by_ref());
        !waiting.is_empty()
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.waiting.lock().front() {
            waker.wake_by_ref();
        }
    }

    /// Whether this client is tied by something for the first time; its kinds are remembered.
    pub fn is_first(&self, client: u64, kind: Traces) -> bool {
        let mut told = self.told.lock();
        let told = told.entry(client).or_default();
        let first = !told.has(kind);
        *told = told.and(kind);
        first
    }

    /// The client has left.
    pub fn forget(&self, client: u64) {
        self.told.lock().remove(&client);
    }

    /// How many clients there are, and how many of them each reason ties, as [`PinReason::ALL`].
    pub fn count(&self) -> (usize, [usize; PinReason::ALL.len()]) {
        let (who, mut by) = (self.who.lock(), [0; PinReason::ALL.len()]);
        for tied in who.values() {
            REASONS
                .iter()
                .filter(|(kind, _)| tied.by.has(*kind))
                .for_each(|(_, reason)| by[*reason as usize] += 1);
        }
        (who.len(), by)
    }

    /// How many of them `max_pins` counts.
    pub fn bounded(&self) -> usize {
        self.who.lock().values().filter(|tied| tied.by.has(Traces::PINS)).count()
    }

    /// How many places are taken of those that `max_pins` allows: by clients that are tied, or let in to become so.
    pub fn taken(&self) -> usize {
        let (who, admitted) = (self.who.lock(), self.admitted.lock());
        let others = |(client, tied): &(&u64, &Tied)| tied.by.has(Traces::PINS) && !admitted.contains(client);
        who.iter().filter(others).count() + admitted.len()
    }

    /// All of them, in no order.
    pub fn list(&self) -> Vec<Pin> {
        let who = self.who.lock();
        let pin = |(&client, tied): (&u64, &Tied)| Pin {
            client,
            server: tied.server,
            backend: tied.backend,
            reasons: reasons(tied.by),
            since: tied.since,
        };
        who.iter().map(pin).collect()
    }
}

/// Those that have a name; if none has, it could not be found out.
pub fn reasons(by: Traces) -> Vec<&'static str> {
    let known = REASONS.iter().filter(|(kind, _)| by.has(*kind)).map(|(_, reason)| reason.label());
    let known: Vec<_> = known.collect();
    if known.is_empty() { vec![PinReason::Other.label()] } else { known }
}
