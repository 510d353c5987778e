//! One open: from the permit to a server in the books. However it ends, finished, failed or dropped half way, the books
//! learn of it, and the permit outlives the connection. Retries are not decided here.
use crate::clock::Instant;
use std::{borrow::Cow, sync::Arc, task::Waker};

use super::{
    Event, OpenError, Pool, Pooled, SlotIndex,
    books::Push,
    entry::{Arrival, Settled},
    lease::Seat,
    permit::Permit,
};

/// An open under way.
pub(super) struct Opening<S: Pooled> {
    pool: Arc<Pool<S>>,
    slot: SlotIndex,
    /// Present until it has ended.
    permit: Option<Permit>,
}

impl<S: Pooled> Opening<S> {
    pub(super) fn new(pool: Arc<Pool<S>>, slot: SlotIndex, permit: Permit) -> Self {
        Self { pool, slot, permit: Some(permit) }
    }

    /// Hands the open to a task of its own.
    pub(super) fn start(self) {
        let pool = Arc::clone(&self.pool);
        pool.connector().spawn(Box::pin(self.run()));
    }

    async fn run(mut self) {
        let connected = self.pool.connector().connect(&self.pool).await;
        match connected {
            Ok(server) => self.arrived(server),
            Err(error) => self.failed(&error),
        }
    }

    fn arrived(&mut self, server: S) {
        let Some(permit) = self.permit.take() else { return };
        let (dirty, cancel_key) = (server.is_dirty(), (server.cancel_key(), server.about()));
        let seat = Seat::new(server, self.slot, &self.pool, permit);
        let arrival = Arrival { server: seat, dirty, cancel_key, random: rand::random() };
        let now = Instant::now();
        self.pool.tell(Event::Opened);
        let mut books = self.pool.books.lock();
        books.advance(now);
        books.open_succeeded();
        let (circumstances, pressed) = books.circumstances(&self.pool.bounds);
        if let Some(began) = books.ledger.opened_at(self.slot) {
            self.pool.bounds.share.note_connect(books.clock().saturating_duration_since(began));
        }
        let settled = books.ledger.opened(self.slot, arrival, &circumstances);
        let plan = books.fill(&self.pool.bounds, Push::Again);
        drop(books);
        if pressed && matches!(settled, Settled::Kept) {
            self.pool.idles_under_pressure(circumstances.now);
        }
        self.pool.follow(Some(settled));
        self.pool.carry_out(plan);
    }

    fn failed(&mut self, error: &OpenError) {
        let Some(permit) = self.permit.take() else { return };
        let now = Instant::now();
        let mut books = self.pool.books.lock();
        books.advance(now);
        let (retry_in, wakers) = books.open_failed(self.slot, error, rand::random());
        books.relent(&self.pool.bounds);
        drop(books);
        wakers.into_iter().for_each(Waker::wake);
        self.pool.tell(Event::OpenFailed { error, retry_in });
        drop(permit);
    }
}

impl<S: Pooled> Drop for Opening<S> {
    fn drop(&mut self) {
        self.failed(&OpenError::Transient(Cow::Borrowed("open abandoned")));
    }
}
