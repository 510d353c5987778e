//! The pool of one (database, user): take, give, wait, cancel. Its one mutex guards the books and is held for tens of
//! nanoseconds; whatever wakes, closes or opens is done after it is released.
use crate::clock::Instant;
use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, Weak},
    task::{Poll, Waker},
};

use parking_lot::Mutex;

use super::{
    CancelGuard, CancelOutcome, ClientId, CloseReason, Connector, Event, Hindered, Lease, Observer,
    OpenError, OpenFailure, PoolKey, PoolSettings, Pooled, Request, SharedCap, SlotIndex, Ticket, WaitError,
    books::{Books, Bounds, Plan, Push},
    entry::{Circumstances, Found, Settled},
    evict::Idle,
    lease::{CancelEnd, Seat},
    ledger::Ledger,
    limits::{CapKind, CapName, Member},
    open::Opening,
    queue::{InLine, WaiterId},
    share::Share,
};

/// What the books keep of a server that is elsewhere.
pub(super) type Known<S> = (<S as Pooled>::CancelKey, <S as Pooled>::About);
type LedgerOf<S> = Ledger<Box<Seat<S>>, Known<S>, Waker>;
pub(super) type SettledSeat<S> = Settled<Box<Seat<S>>, Waker>;

/// What a pool is made of.
pub struct Parts<S: Pooled> {
    /// Whose servers.
    pub key: PoolKey,
    /// May be changed later by [`Pool::reconfigure`].
    pub settings: PoolSettings,
    /// The shared caps it is under, each name at most once.
    pub caps: Vec<Arc<SharedCap>>,
    /// Opens its servers.
    pub connector: Arc<dyn Connector<S>>,
    /// Hears what happens.
    pub observer: Arc<dyn Observer>,
}

/// What `take` found.
#[derive(Debug)]
pub enum Take<S: Pooled> {
    /// A server, at once.
    Leased(Lease<S>),
    /// A place in the line.
    Queued(Ticket<S>),
}

/// A look at a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Servers leased, or granted and about to be fetched.
    pub active: usize,
    /// Clean idle servers.
    pub idle: usize,
    /// Idle servers that carry their last client's state.
    pub dirty_idle: usize,
    /// Opens under way.
    pub opening: usize,
    /// Servers given back that wait for a cancel to be settled.
    pub canceling: usize,
    /// Clients in line.
    pub waiting: usize,
    /// Servers above pool_size, opening ones included.
    pub reserve_in_use: usize,
    /// Connections that count, those that are being opened and closed included.
    pub connections: usize,
    /// Servers that will be closed when they come back, and those that RECONNECT or a reload has closed and PostgreSQL hasn't yet.
    pub obsolete: usize,
    /// No server is handed out.
    pub paused: bool,
    /// Since when the front client has been in line.
    pub oldest_wait_since: Option<Instant>,
    /// What clients have waited for.
    pub hindered: Hindered,
}

/// The servers of one (database, user) and the line of clients that wait for one.
///
/// It lives in an `Arc`. Leases, servers and guards refer to it weakly: when the last `Arc` goes, so do idle servers, and
/// leased ones close when they come back.
pub struct Pool<S: Pooled> {
    key: PoolKey,
    pub(super) books: Mutex<Books<S>>,
    pub(super) bounds: Bounds,
    connector: Arc<dyn Connector<S>>,
    observer: Arc<dyn Observer>,
    this: Weak<Self>,
}

impl<S: Pooled> Pool<S> {
    /// A pool without servers; it opens one when a client waits, or at the first [`Pool::tick`] with a minimum.
    pub fn new(parts: Parts<S>, now: Instant) -> Arc<Self> {
        let Parts { key, settings, mut caps, connector, observer } = parts;
        caps.sort_by(|a, b| a.name().cmp(b.name()));
        caps.dedup_by(|a, b| a.name() == b.name());
        let pool = Arc::new_cyclic(|this: &Weak<Self>| {
            let pool: Weak<dyn Member> = this.clone();
            let share = Arc::new(Share::new(settings.weight, settings.min_size));
            Self {
                key,
                books: Mutex::new(Books::new(settings, now)),
                bounds: Bounds { caps: caps.into(), pool, share },
                connector,
                observer,
                this: Weak::clone(this),
            }
        });
        for cap in pool.bounds.caps.iter() {
            cap.enroll(&pool.bounds.pool, &pool.bounds.share);
        }
        pool
    }

    /// Whose servers these are.
    pub fn key(&self) -> &PoolKey {
        &self.key
    }

    /// An idle server at once, or a place in the line; then `waker` is woken when its ticket has news. In this order: the
    /// client's own last server, a clean one, a dirty one.
    #[inline(always)]
    pub fn take(self: &Arc<Self>, request: &Request, waker: &Waker) -> Take<S> {
        let Request { client, hint, now } = *request;
        loop {
            let mut books = self.books.lock();
            let Some((_, mut seat)) = books.ledger.take(client, hint) else {
                return Take::Queued(self.enqueue(books, InLine { client, since: now }, waker));
            };
            drop(books);
            if seat.server.is_alive() {
                return Take::Leased(Lease::new(seat));
            }
            self.close_leased(seat, CloseReason::Dead);
        }
    }

    /// As [`Pool::take`], waiting. Cancel safe.
    pub async fn acquire(self: &Arc<Self>, request: Request) -> Result<Lease<S>, WaitError> {
        match poll_fn(|context| Poll::Ready(self.take(&request, context.waker()))).await {
            Take::Leased(lease) => Ok(lease),
            Take::Queued(ticket) => ticket.await,
        }
    }

    /// A CancelRequest for this client has come. At most one lease per client and pool is looked for.
    pub fn cancel(&self, client: ClientId) -> CancelOutcome<S> {
        let found = self.in_books(|ledger, circumstances| ledger.cancel(client, circumstances));
        match found {
            Found::Nothing => CancelOutcome::Nothing,
            Found::Running(slot, serial, (key, _)) => CancelOutcome::Running(CancelGuard {
                pool: Weak::clone(&self.this),
                slot,
                serial,
                key,
                end: CancelEnd::Settled,
            }),
            Found::Waiting(waker, settled) => {
                wake(waker);
                self.follow(settled);
                CancelOutcome::Waiting
            }
        }
    }

    /// query_wait_timeout of the client's own, if it waits: as if the pool's were over.
    pub fn give_up(&self, client: ClientId) {
        let found = self.in_books(|ledger, c| ledger.give_up(client, WaitError::Timeout, c));
        if let Found::Waiting(waker, settled) = found {
            wake(waker);
            self.follow(settled);
        }
    }

    /// Those who have been in line since then or longer, first come first.
    pub fn waiting_since(&self, since: Instant) -> Vec<(ClientId, Instant)> {
        let books = self.books.lock();
        let late = books.ledger.in_line().take_while(|waiter| waiter.since <= since);
        late.map(|waiter| (waiter.client, waiter.since)).collect()
    }

    /// The pool as it is now.
    pub fn numbers(&self) -> Numbers {
        let books = self.books.lock();
        let counts = books.counts();
        Numbers {
            active: counts.leased,
            idle: counts.idle,
            dirty_idle: counts.dirty_idle,
            opening: counts.opening,
            canceling: counts.parked,
            waiting: counts.waiting,
            reserve_in_use: books.reserve_in_use(),
            connections: books.connections(),
            obsolete: books.ledger.entries().filter(|(_, obsolete)| *obsolete).count()
                + self.bounds.share.outdated(),
            paused: books.is_paused(),
            oldest_wait_since: books.ledger.front().map(|front| front.since),
            hindered: books.hindered,
        }
    }

    /// Why the last open failed, if none has succeeded since.
    pub fn last_open_error(&self) -> Option<OpenError> {
        self.open_failure().map(|failure| failure.error)
    }

    /// The same, and since when none has.
    pub fn open_failure(&self) -> Option<OpenFailure> {
        self.books.lock().open_failure.clone()
    }

    /// Its settings.
    pub fn settings(&self) -> PoolSettings {
        self.books.lock().settings.clone()
    }

    fn enqueue(
        self: &Arc<Self>,
        mut books: parking_lot::MutexGuard<'_, Books<S>>,
        who: InLine,
        waker: &Waker,
    ) -> Ticket<S> {
        books.advance(who.since);
        let who = InLine { since: books.clock(), ..who };
        let waiter = books.ledger.enqueue(who, waker.clone());
        let refused = match books.is_shutdown() {
            true => books.ledger.refuse_all(&WaitError::Shutdown),
            false => Vec::new(),
        };
        let plan = books.fill(&self.bounds, Push::Newcomer);
        drop(books);
        refused.into_iter().for_each(Waker::wake);
        self.carry_out(plan);
        Ticket::new(Arc::clone(self), waiter)
    }

    pub(super) fn poll_waiter(&self, waiter: WaiterId, waker: &Waker) -> Poll<Result<Lease<S>, WaitError>> {
        let mut replaced = None;
        let polled = self.books.lock().ledger.poll(waiter, |kept| {
            if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
                replaced = kept.replace(waker.clone());
            }
        });
        drop(replaced);
        polled.map(|resolved| resolved.map(|(_, seat)| Lease::new(seat)))
    }

    pub(super) fn leave(&self, waiter: WaiterId) {
        let (waker, settled) = self.in_books(|ledger, circumstances| ledger.leave(waiter, circumstances));
        drop(waker);
        self.follow(settled);
    }

    #[inline(always)]
    pub(super) fn give(&self, seat: Box<Seat<S>>, now: Instant) {
        let (slot, dirty) = (seat.slot, seat.server.is_dirty());
        let mut books = self.books.lock();
        books.advance(now);
        let (mut circumstances, pressed) = books.circumstances(&self.bounds);
        if pressed {
            books.weigh(slot, &self.bounds, &mut circumstances);
        }
        let mut settled = books.ledger.give(slot, seat, dirty, &circumstances);
        if pressed {
            mark(&mut settled);
        }
        books.relent(&self.bounds);
        drop(books);
        if pressed && matches!(settled, Settled::Kept) {
            self.idles_under_pressure(circumstances.now);
        }
        self.follow(Some(settled));
    }

    pub(super) fn close_leased(&self, seat: Box<Seat<S>>, reason: CloseReason) {
        self.books.lock().ledger.remove(seat.slot);
        self.close(seat, reason);
    }

    pub(super) fn cancel_settled(&self, slot: SlotIndex, serial: u64, end: CancelEnd) {
        let settled = self.in_books(|ledger, circumstances| {
            if end == CancelEnd::Uncertain {
                ledger.doubt(slot, serial);
            }
            ledger.cancel_settled(slot, serial, circumstances)
        });
        self.follow(settled);
    }

    /// One transition under the lock.
    fn in_books<T>(&self, transition: impl FnOnce(&mut LedgerOf<S>, &Circumstances) -> T) -> T {
        let mut books = self.books.lock();
        let (circumstances, pressed) = books.circumstances(&self.bounds);
        let outcome = transition(&mut books.ledger, &circumstances);
        books.relent(&self.bounds);
        drop(books);
        if pressed {
            self.idles_under_pressure(circumstances.now);
        }
        outcome
    }

    /// Does what a transition asked for.
    pub(super) fn follow(&self, settled: Option<SettledSeat<S>>) {
        match settled {
            Some(Settled::Granted(waker)) => wake(waker),
            Some(Settled::Close(seat, reason)) => self.close(seat, reason),
            Some(Settled::Kept) | None => {}
        }
    }

    /// Closes a server that is no longer in the books. Its permit goes last, and makes those look again who wait for it.
    pub(super) fn close(&self, mut seat: Box<Seat<S>>, reason: CloseReason) {
        seat.leaves();
        if matches!(reason, CloseReason::Obsolete | CloseReason::ConfigChanged) {
            seat.outdate();
        }
        self.tell(Event::Closed { server: seat.server.id(), reason });
        if S::HANGS_UP {
            self.connector.spawn(Box::pin(seat.hang_up()));
        }
    }

    pub(super) fn tell(&self, event: Event<'_>) {
        self.observer.event(&self.key, event);
    }

    pub(super) fn connector(&self) -> &dyn Connector<S> {
        &*self.connector
    }

    /// Starts the planned opens, and makes room where the pool has begun to starve.
    pub(super) fn carry_out(&self, plan: Plan) {
        if let Some(pool) = self.this.upgrade() {
            for (slot, permit) in plan.opens {
                Opening::new(Arc::clone(&pool), slot, permit).start();
            }
        }
        for _ in 0..plan.reserve {
            self.tell(Event::ReserveTaken);
        }
        if let Some((cap, newly)) = plan.starving_on {
            self.make_room(cap, newly);
        }
    }
}

/// Under the lock, so that the next to come back isn't closed for the same place.
#[cold]
fn mark<S: Pooled>(settled: &mut SettledSeat<S>) {
    if let Settled::Close(seat, _) = settled {
        seat.leaves();
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<S: Pooled> Member for Pool<S> {
    fn longest_idle(&self) -> Option<Idle> {
        self.longest_idle_server()
    }

    fn evict_longest_idle(&self, kind: CapKind) {
        self.evict(kind);
    }

    fn look_again(&self, first_on: Option<&CapName>) {
        let push = first_on.map_or(Push::Again, Push::Offer);
        let plan = self.books.lock().fill(&self.bounds, push);
        self.carry_out(plan);
    }

    fn look_at(&self, now: Instant) {
        let mut books = self.books.lock();
        books.advance(now);
        let plan = books.fill(&self.bounds, Push::Again);
        drop(books);
        self.carry_out(plan);
    }
}

impl<S: Pooled> Drop for Pool<S> {
    fn drop(&mut self) {
        for cap in self.bounds.caps.iter() {
            cap.leave(&self.bounds.pool);
        }
    }
}

impl<S: Pooled> fmt::Debug for Pool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("key", &self.key).finish_non_exhaustive()
    }
}
