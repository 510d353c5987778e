//! A client's place in the line. Dropping it leaves the line, and a server that it had already been granted goes to the
//! next; so a wait may be given up at any point.
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{Lease, Pool, Pooled, WaitError, queue::WaiterId};

/// A place in the line of a pool. Cancel safe.
#[must_use = "dropping a ticket leaves the line"]
pub struct Ticket<S: Pooled> {
    pool: Arc<Pool<S>>,
    /// Present until resolved.
    waiter: Option<WaiterId>,
}

impl<S: Pooled> Ticket<S> {
    pub(super) fn new(pool: Arc<Pool<S>>, waiter: WaiterId) -> Self {
        Self { pool, waiter: Some(waiter) }
    }

    /// A server, the reason why there is none, or `Pending`: then `waker` is woken when that changes. Once it has been
    /// `Ready` it stays `Pending`.
    pub fn poll_lease(&mut self, waker: &Waker) -> Poll<Result<Lease<S>, WaitError>> {
        let Some(waiter) = self.waiter else { return Poll::Pending };
        let polled = self.pool.poll_waiter(waiter, waker);
        if polled.is_ready() {
            self.waiter = None;
        }
        polled
    }
}

impl<S: Pooled> Future for Ticket<S> {
    type Output = Result<Lease<S>, WaitError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_lease(context.waker())
    }
}

impl<S: Pooled> Drop for Ticket<S> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            self.pool.leave(waiter);
        }
    }
}

impl<S: Pooled> fmt::Debug for Ticket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("waiter", &self.waiter).finish_non_exhaustive()
    }
}
