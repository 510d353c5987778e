//! What a client holds of a pool: a lease on a server, or a guard over one that is being cancelled.
//! A lease goes back only by `release`; dropped, it closes its server. Nothing here waits.
use crate::clock::Instant;
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Weak},
};

use super::{CloseReason, Place, Pool, Pooled, SlotIndex, permit::Permit};

/// A server with its rights. The order of the fields is the order in which they are dropped: first the connection.
pub(super) struct Seat<S: Pooled> {
    pub(super) server: S,
    pub(super) slot: SlotIndex,
    pub(super) pool: Weak<Pool<S>>,
    permit: Permit,
}

impl<S: Pooled> Seat<S> {
    pub(super) fn new(server: S, slot: SlotIndex, pool: &Arc<Pool<S>>, permit: Permit) -> Box<Self> {
        Box::new(Self { server, slot, pool: Arc::downgrade(pool), permit })
    }

    /// It is out of the books and will be closed.
    pub(super) fn leaves(&mut self) {
        self.permit.leaves();
    }

    /// It is closed since it is obsolete.
    pub(super) fn outdate(&mut self) {
        self.permit.outdate();
    }

    /// Ends the connection in good order; the permit goes when the server has let go of it too.
    pub(super) async fn hang_up(mut self: Box<Self>) {
        self.server.hang_up().await;
    }

    /// The server and its permit.
    pub(super) fn into_parts(self) -> (S, Permit) {
        (self.server, self.permit)
    }
}

/// The right to one server, for a transaction, a session or a statement. One pointer in size.
#[must_use = "dropping a lease closes its server"]
pub struct Lease<S: Pooled> {
    /// Present until released or closed.
    seat: Option<Box<Seat<S>>>,
}

impl<S: Pooled> Lease<S> {
    pub(super) fn new(seat: Box<Seat<S>>) -> Self {
        Self { seat: Some(seat) }
    }

    /// Where the server is, as a hint for the client's next [`super::Request`].
    pub fn slot(&self) -> SlotIndex {
        self.seat().slot
    }

    /// Gives the server back in good order: to the longest waiter, else to be idle; the pool may close it instead.
    pub fn release(mut self, now: Instant) {
        if let Some(seat) = self.seat.take()
            && let Some(pool) = seat.pool.upgrade()
        {
            pool.give(seat, now);
        }
    }

    /// As [`Lease::release`], by somebody who has the pool at hand.
    #[inline(always)]
    pub fn release_to(mut self, pool: &Pool<S>, now: Instant) {
        debug_assert!(std::ptr::eq(self.seat().pool.as_ptr(), pool), "a lease goes back to its own pool");
        if let Some(seat) = self.seat.take() {
            pool.give(seat, now);
        }
    }

    /// Closes the server.
    pub fn close(mut self, reason: CloseReason) {
        self.end(reason);
    }

    /// Takes the server out of its pool, with its places under the shared caps, if those leave the pools another.
    pub fn detach(mut self) -> Result<(S, Place), Self> {
        let pool = self.seat.as_ref().and_then(|seat| seat.pool.upgrade());
        match (pool, self.seat.take()) {
            (Some(pool), Some(seat)) => pool.detach(seat).map_err(Self::new),
            (_, seat) => {
                self.seat = seat;
                Err(self)
            }
        }
    }

    fn end(&mut self, reason: CloseReason) {
        let Some(seat) = self.seat.take() else { return };
        match seat.pool.upgrade() {
            Some(pool) => pool.close_leased(seat, reason),
            // The pool is gone, and its books with it.
            None => drop(seat),
        }
    }

    fn seat(&self) -> &Seat<S> {
        self.seat.as_ref().expect("a lease holds its server until it is consumed")
    }
}

impl<S: Pooled> Deref for Lease<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.seat().server
    }
}

impl<S: Pooled> DerefMut for Lease<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.seat.as_mut().expect("a lease holds its server until it is consumed").server
    }
}

impl<S: Pooled> Drop for Lease<S> {
    fn drop(&mut self) {
        self.end(CloseReason::Dropped);
    }
}

impl<S: Pooled> fmt::Debug for Lease<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("slot", &self.seat.as_ref().map(|seat| seat.slot)).finish()
    }
}

/// Whom a cancel found.
#[derive(Debug)]
pub enum CancelOutcome<S: Pooled> {
    /// The client was waiting; its ticket resolves to [`super::WaitError::Canceled`].
    Waiting,
    /// The client has a server.
    Running(CancelGuard<S>),
    /// The client has no server of this pool and waits for none.
    Nothing,
}

/// Keeps a server from the next client until a cancel aimed at the present one is settled. Hold it until PostgreSQL has
/// closed the cancel connection. The lease itself is not disturbed.
#[must_use = "dropped before it is sending, the guard lets the server go on to the next client"]
pub struct CancelGuard<S: Pooled> {
    pub(super) pool: Weak<Pool<S>>,
    pub(super) slot: SlotIndex,
    pub(super) serial: u64,
    pub(super) key: S::CancelKey,
    pub(super) end: CancelEnd,
}

/// How a cancel ended, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CancelEnd {
    /// It reaches nothing any more.
    Settled,
    /// It may still reach whatever the server runs.
    Uncertain,
}

impl<S: Pooled> CancelGuard<S> {
    /// What the CancelRequest needs.
    pub fn key(&self) -> &S::CancelKey {
        &self.key
    }

    /// From now on the cancel may come at any time: dropped, the guard lets the server serve nobody else.
    pub fn sending(&mut self) {
        self.end = CancelEnd::Uncertain;
    }

    /// The cancel has come, or never will.
    pub fn settled(mut self) {
        self.end = CancelEnd::Settled;
    }
}

impl<S: Pooled> Drop for CancelGuard<S> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.cancel_settled(self.slot, self.serial, self.end);
        }
    }
}

impl<S: Pooled> fmt::Debug for CancelGuard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelGuard").field("slot", &self.slot).finish_non_exhaustive()
    }
}
