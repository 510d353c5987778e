//! What the janitor and the operator do to a pool: deadlines, age, minimum, reload, retirement, shutdown.
//! It never touches a leased server.
use crate::clock::Instant;
use std::task::Waker;

use super::{
    ClientId, CloseReason, Lease, Pool, PoolSettings, Pooled,
    books::{Books, Bounds, Push},
    entry::IdleServer,
    lease::Seat,
};

/// What a tick did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The idle servers it closed, each with its reason.
    pub closed: Vec<CloseReason>,
    /// Waiters that reached query_wait_timeout.
    pub timed_out: usize,
    /// Opens it began.
    pub opened: usize,
    /// Clients still in line: tick again soon.
    pub waiting: usize,
}

impl<S: Pooled> Pool<S> {
    /// The janitor's turn: ends waits past query_wait_timeout, closes idle servers that are dead, too old, idle too long
    /// or too many, then opens what the line (with the reserve, if due) and min_pool_size ask for. Call it every 100 ms
    /// while clients wait, else every second.
    pub fn tick(&self, now: Instant) -> Summary {
        let mut summary = Summary::default();
        let mut books = self.books.lock();
        books.advance(now);
        let expired = expire(&mut books);
        let swept = sweep(&mut books, &self.bounds);
        books.relent(&self.bounds);
        drop(books);
        summary.timed_out = expired.len();
        expired.into_iter().flatten().for_each(Waker::wake);
        for (seat, reason) in swept {
            summary.closed.push(reason);
            self.close(seat, reason);
        }
        let mut books = self.books.lock();
        let plans = [books.fill(&self.bounds, Push::Again), books.fill_minimum(&self.bounds)];
        summary.waiting = books.counts().waiting;
        drop(books);
        for plan in plans {
            summary.opened += plan.opens.len();
            self.carry_out(plan);
        }
        summary
    }

    /// Whether min_pool_size is to be kept: for a forced or known user always, else while clients are connected.
    pub fn keep_minimum(&self, keep: bool) {
        self.books.lock().keep_min = keep;
    }

    /// Since when the dirty server that was used last has been idle; `None`: there is no dirty idle server.
    pub fn dirty_idle_since(&self) -> Option<Instant> {
        self.books.lock().ledger.dirty_idle_since()
    }

    /// Leases on the dirty idle servers whose last client has left, longest idle first, to be reset and released.
    /// `is_connected` is called with no lock held.
    pub fn take_dirty_abandoned(&self, is_connected: impl Fn(ClientId) -> bool) -> Vec<Lease<S>> {
        let mut abandoned = self.books.lock().ledger.dirty_idle_servers();
        abandoned.retain(|idle| !idle.last_client.is_some_and(&is_connected));
        let mut books = self.books.lock();
        let seats = abandoned.iter().filter_map(|seen| books.ledger.take_seen(seen, ClientId::POOLER));
        seats.map(Lease::new).collect()
    }

    /// Replaces the settings. Idle servers that are too many now are closed, busy ones as they come back.
    pub fn reconfigure(&self, settings: PoolSettings) {
        let mut books = self.books.lock();
        self.bounds.share.set(settings.weight, settings.min_size);
        books.reconfigure(settings);
        let swept = sweep(&mut books, &self.bounds);
        let plan = books.fill(&self.bounds, Push::Again);
        drop(books);
        for (seat, reason) in swept {
            self.close(seat, reason);
        }
        self.carry_out(plan);
    }

    /// Gives up all present servers: idle ones now, leased and opening ones when they come back. New ones are opened as
    /// needed. For RECONNECT, a changed address, a failover.
    pub fn retire(&self, reason: CloseReason) {
        let seats = self.books.lock().ledger.retire(reason);
        self.close_all(seats, reason);
    }

    /// No server is handed out until [`Pool::resume`]: idle ones are closed now, leased and opening ones when they come back.
    /// Clients wait in line, up to query_wait_timeout.
    pub fn pause(&self) {
        let seats = self.books.lock().pause(&self.bounds);
        self.close_all(seats, CloseReason::Paused);
    }

    /// Ends a pause: opens what the line asks for.
    pub fn resume(&self) {
        let mut books = self.books.lock();
        books.resume();
        let plan = books.fill(&self.bounds, Push::Again);
        drop(books);
        self.carry_out(plan);
    }

    /// No more opens; those who wait and who will come get [`super::WaitError::Shutdown`]; idle servers close now, leased
    /// and opening ones when they come back. For good.
    pub fn shutdown(&self, reason: CloseReason) {
        let (seats, wakers) = self.books.lock().shut_down(&self.bounds, reason);
        wakers.into_iter().for_each(Waker::wake);
        self.close_all(seats, reason);
    }

    fn close_all(&self, seats: Vec<Box<Seat<S>>>, reason: CloseReason) {
        for seat in seats {
            self.close(seat, reason);
        }
    }
}

/// One wake handle per waiter sent away.
fn expire<S: Pooled>(books: &mut Books<S>) -> Vec<Option<Waker>> {
    let latest = books.settings.query_wait_timeout.and_then(|timeout| books.clock().checked_sub(timeout));
    let Some(latest) = latest else { return Vec::new() };
    std::iter::from_fn(|| books.ledger.expire_front(latest)).collect()
}

/// Takes the idle servers that have to go out of the books.
fn sweep<S: Pooled>(books: &mut Books<S>, bounds: &Bounds) -> Vec<(Box<Seat<S>>, CloseReason)> {
    let mut swept = Vec::new();
    let (mut surplus, mut aged) = (books.surplus(), closed_for_age_at_once(books));
    for idle in books.ledger.idle_servers() {
        let alive = books.ledger.idle_server_mut(idle.slot).is_some_and(|seat| seat.server.is_alive());
        let reason = if alive { overdue(books, &idle, surplus) } else { Some(CloseReason::Dead) };
        let over = || bounds.caps.iter().find(|cap| cap.surplus_if_pressed() > 0);
        let reason = reason.or_else(|| over().map(|cap| CloseReason::Evicted(cap.name().kind)));
        if reason == Some(CloseReason::Lifetime) {
            if aged == 0 {
                continue;
            }
            aged -= 1;
        }
        if let Some(reason) = reason {
            surplus = surplus.saturating_sub(1);
            let mut seat = books.ledger.remove_idle(idle.slot);
            seat.leaves();
            swept.push((seat, reason));
        }
    }
    swept
}

/// How many idle servers may go for their age in one turn, so that those that were opened together are replaced about as evenly
/// as their lifetime allows.
fn closed_for_age_at_once<S: Pooled>(books: &Books<S>) -> usize {
    let seconds = books.settings.lifetime.map_or(0, |lifetime| lifetime.as_secs());
    let a_second = books.ledger.live().div_ceil(usize::try_from(seconds.max(1)).unwrap_or(usize::MAX));
    a_second.max(1)
}

fn overdue<S: Pooled>(books: &Books<S>, idle: &IdleServer, surplus: usize) -> Option<CloseReason> {
    let idle_for = books.clock().saturating_duration_since(idle.since);
    let idle_too_long = books.settings.idle_timeout.is_some_and(|timeout| idle_for >= timeout);
    if surplus > 0 {
        Some(CloseReason::Excess)
    } else if books.may_replace() && books.ledger.is_over_age(idle.slot, books.clock()) {
        Some(CloseReason::Lifetime)
    } else if idle_too_long && books.ledger.live() > books.minimum() {
        Some(CloseReason::IdleTimeout)
    } else {
        None
    }
}
