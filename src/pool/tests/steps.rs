//! The pool step by step, on one thread, with opens that finish when told to and a clock that is only an argument.
use crate::clock::Instant;
use std::{num::NonZeroU32, task::Poll};

use super::*;

struct Bench {
    connector: Arc<Scripted>,
    log: Arc<Log>,
    now: Instant,
}

impl Bench {
    /// Its time is ahead of the clock, so that only what a test tells the pool counts.
    fn new() -> Self {
        Self { connector: Arc::default(), log: Arc::default(), now: Instant::now() + secs(86_400) }
    }

    fn pool(&self, user: &str, settings: PoolSettings, caps: &[&Arc<SharedCap>]) -> Arc<Pool<Fake>> {
        self.pool_of(user, settings, caps)
    }

    fn pool_of<const LINGERS: bool>(
        &self,
        user: &str,
        settings: PoolSettings,
        caps: &[&Arc<SharedCap>],
    ) -> Arc<Pool<Fake<LINGERS>>> {
        let parts = Parts {
            key: PoolKey::new("db", user),
            settings,
            caps: caps.iter().map(|cap| Arc::clone(cap)).collect(),
            connector: Arc::clone(&self.connector) as _,
            observer: Arc::clone(&self.log) as _,
        };
        Pool::new(parts, self.now)
    }

    /// A lease, opening a server if there is none idle.
    fn lease<const LINGERS: bool>(
        &self,
        pool: &Arc<Pool<Fake<LINGERS>>>,
        client: u64,
    ) -> Lease<Fake<LINGERS>> {
        match pool.take(&request(client, self.now), Waker::noop()) {
            Take::Leased(lease) => lease,
            Take::Queued(mut ticket) => {
                self.connector.finish_opens();
                fetch(&mut ticket)
            }
        }
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.log.0.lock())
    }
}

fn small(size: u32) -> PoolSettings {
    PoolSettings { size: NonZeroU32::new(size), ..PoolSettings::default() }
}

fn queue<const LINGERS: bool>(
    pool: &Arc<Pool<Fake<LINGERS>>>,
    client: u64,
    now: Instant,
) -> Ticket<Fake<LINGERS>> {
    match pool.take(&request(client, now), Waker::noop()) {
        Take::Queued(ticket) => ticket,
        Take::Leased(_) => panic!("a server was idle"),
    }
}

fn fetch<const LINGERS: bool>(ticket: &mut Ticket<Fake<LINGERS>>) -> Lease<Fake<LINGERS>> {
    match ticket.poll_lease(Waker::noop()) {
        Poll::Ready(Ok(lease)) => lease,
        other => panic!("no lease: {other:?}"),
    }
}

fn refused(ticket: &mut Ticket<Fake>) -> WaitError {
    match ticket.poll_lease(Waker::noop()) {
        Poll::Ready(Err(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

fn waits<const LINGERS: bool>(ticket: &mut Ticket<Fake<LINGERS>>) -> bool {
    ticket.poll_lease(Waker::noop()).is_pending()
}

fn cap(kind: CapKind, limit: u32) -> Arc<SharedCap> {
    SharedCap::new(CapName { kind, of: "x".into() }, NonZeroU32::new(limit))
}

#[test]
fn a_lease_is_one_pointer() {
    assert_eq!(size_of::<Lease<Fake>>(), size_of::<usize>());
}

#[test]
fn own_last_server_before_the_most_recent() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(3), &[]);
    let (a, b) = (bench.lease(&pool, 1), bench.lease(&pool, 2));
    let (own, id) = (a.slot(), a.id);
    a.release(bench.now);
    b.release(bench.now + secs(1));
    let asks = Request { hint: Some(own), ..request(1, bench.now) };
    let Take::Leased(again) = pool.take(&asks, Waker::noop()) else { panic!("idle") };
    assert_eq!(again.id, id);
    again.release(bench.now + secs(2));
    // The same hint from another client means nothing.
    let asks = Request { hint: Some(own), ..request(2, bench.now) };
    let Take::Leased(most_recent) = pool.take(&asks, Waker::noop()) else { panic!("idle") };
    assert_eq!(most_recent.id, id);
}

#[test]
fn dirty_servers_are_the_last_choice() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(3), &[]);
    let (clean, mut dirty) = (bench.lease(&pool, 1), bench.lease(&pool, 2));
    let ids = (clean.id, dirty.id);
    dirty.dirty = true;
    clean.release(bench.now);
    dirty.release(bench.now + secs(1));
    assert_eq!((pool.numbers().idle, pool.numbers().dirty_idle), (1, 1));
    let (first, second) = (bench.lease(&pool, 3), bench.lease(&pool, 4));
    assert_eq!((first.id, second.id), ids);
}

#[test]
fn abandoned_dirty_servers_are_handed_out_for_a_reset() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(3), &[]);
    let mut leases = [bench.lease(&pool, 1), bench.lease(&pool, 2), bench.lease(&pool, 3)];
    leases[0].dirty = true;
    leases[1].dirty = true;
    let gone = leases[0].id;
    assert_eq!(pool.dirty_idle_since(), None);
    for (later, lease) in (0..).zip(leases) {
        lease.release(bench.now + secs(later));
    }
    assert_eq!(pool.dirty_idle_since(), Some(bench.now + secs(1)), "the third is clean");
    let mut taken = pool.take_dirty_abandoned(|client| client == ClientId(2));
    assert_eq!(taken.iter().map(|lease| lease.id).collect::<Vec<_>>(), [gone]);
    let mut lease = taken.remove(0);
    lease.dirty = false;
    lease.release(bench.now);
    assert_eq!((pool.numbers().idle, pool.numbers().dirty_idle), (2, 1));
}

#[test]
fn given_to_the_longest_waiter_though_an_open_is_under_way() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(2), &[]);
    let held = bench.lease(&pool, 1);
    let id = held.id;
    let bell = Arc::new(Bell::default());
    let Take::Queued(mut first) = pool.take(&request(2, bench.now), &Waker::from(Arc::clone(&bell))) else {
        panic!("nothing is idle")
    };
    let mut second = queue(&pool, 3, bench.now);
    assert_eq!(bench.connector.opening(), 1, "the second place only");
    held.release(bench.now);
    assert_eq!(bell.rung(), 1);
    assert_eq!(fetch(&mut first).id, id);
    assert!(waits(&mut first), "a resolved ticket stays pending");
    // `first`'s lease was dropped: its server closed, its place open again for the second, who still has the other open.
    bench.connector.finish_opens();
    assert_ne!(fetch(&mut second).id, id);
    assert_eq!(bench.connector.gauge.live(), 0);
}

#[test]
fn a_ticket_dropped_after_the_grant_passes_the_server_on() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(1), &[]);
    let held = bench.lease(&pool, 1);
    let (first, mut second) = (queue(&pool, 2, bench.now), queue(&pool, 3, bench.now));
    held.release(bench.now);
    assert!(waits(&mut second));
    drop(first);
    drop(fetch(&mut second));
    let third = queue(&pool, 4, bench.now);
    bench.connector.finish_opens();
    drop(third);
    assert_eq!(
        pool.numbers(),
        Numbers { idle: 1, connections: 1, hindered: pool.numbers().hindered, ..Numbers::default() }
    );
}

#[test]
fn dead_servers_are_not_handed_out() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(1), &[]);
    bench.lease(&pool, 1).release(bench.now);
    bench.connector.alive.lock()[0].store(false, SeqCst);
    let lease = bench.lease(&pool, 1);
    assert_eq!(lease.id, 1);
    assert_eq!(bench.heard(), ["u opened", "u closed: server closed while idle", "u opened"]);
    assert_eq!(bench.connector.gauge.most(), 1, "the dead one was closed before the new one was opened");
}

#[test]
fn opens_are_bounded_and_go_on() {
    let bench = Bench::new();
    let pool = bench.pool("u", PoolSettings { max_opening: 2, ..small(9) }, &[]);
    let mut tickets: Vec<_> = (0..5).map(|client| queue(&pool, client, bench.now)).collect();
    assert_eq!((bench.connector.opening(), pool.numbers().opening), (2, 2));
    assert_eq!(bench.connector.finish_opens(), 5, "each that arrives makes room for another");
    tickets.iter_mut().for_each(|ticket| fetch(ticket).release(bench.now));
    assert_eq!(pool.numbers().idle, 5);
}

#[test]
fn reserve_is_for_those_who_have_waited_too_long() {
    let bench = Bench::new();
    let pool = bench.pool("u", PoolSettings { reserve_size: 2, ..small(1) }, &[]);
    let normal = bench.lease(&pool, 1);
    let mut early = queue(&pool, 2, bench.now);
    let mut late = queue(&pool, 3, bench.now + secs(1));
    assert_eq!(pool.tick(bench.now + secs(4)).opened, 0);
    assert_eq!(pool.tick(bench.now + secs(5)).opened, 1, "the second has not waited for long enough");
    bench.connector.finish_opens();
    let reserve = fetch(&mut early);
    assert!(waits(&mut late));
    assert_eq!(pool.numbers().reserve_in_use, 1);
    // A closed normal server leaves the pool at its size, not below it: the reserve is counted.
    normal.close(CloseReason::Paused);
    assert_eq!(bench.connector.opening(), 0);
    assert_eq!(pool.tick(bench.now + secs(6)).opened, 1);
    bench.connector.finish_opens();
    drop((fetch(&mut late), reserve));
    assert_eq!(bench.heard().iter().filter(|e| e.ends_with(" reserve")).count(), 2);
    assert_eq!(bench.connector.gauge.most(), 2);
}

#[test]
fn waits_end_at_query_wait_timeout() {
    let bench = Bench::new();
    let timeout = Some(secs(10));
    let pool = bench.pool("u", PoolSettings { query_wait_timeout: timeout, ..small(1) }, &[]);
    let held = bench.lease(&pool, 1);
    let mut first = queue(&pool, 2, bench.now);
    let mut second = queue(&pool, 3, bench.now + secs(5));
    assert_eq!(pool.tick(bench.now + secs(9)).timed_out, 0);
    let summary = pool.tick(bench.now + secs(10));
    assert_eq!((summary.timed_out, summary.waiting), (1, 1));
    assert!(matches!(refused(&mut first), WaitError::Timeout));
    assert!(waits(&mut second));
    pool.tick(bench.now + secs(15));
    drop(second);
    held.release(bench.now + secs(15));
    assert_eq!(pool.numbers().idle, 1, "with nobody left in line it is idle, not lost");
}

#[test]
fn transient_failures_keep_the_line_and_back_off() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(4), &[]);
    for _ in 0..3 {
        bench.connector.fail_next(refusal("57P03"));
    }
    let mut tickets: Vec<_> = (0..3).map(|client| queue(&pool, client, bench.now)).collect();
    assert_eq!(bench.connector.finish_opens(), 3, "none is tried again at once");
    assert!(tickets.iter_mut().all(waits));
    let failure = pool.open_failure().expect("they failed");
    assert!(matches!(failure.error, OpenError::Passing(_)));
    let newcomer = queue(&pool, 9, bench.now);
    assert_eq!(bench.connector.opening(), 0, "a newcomer waits for the pause to end, too");
    let later = bench.now + secs(60);
    bench.connector.fail_next(refusal("53300"));
    assert_eq!(pool.tick(later).opened, 1, "after a failure one at a time");
    bench.connector.finish_opens();
    let still = pool.open_failure().expect("again");
    assert!(still.since == failure.since && still.error.to_string().contains("53300"), "since the first");
    assert_eq!(pool.tick(later + secs(20)).opened, 1);
    bench.connector.finish_opens();
    assert!(pool.last_open_error().is_none());
    assert!(tickets.iter_mut().all(|ticket| ticket.poll_lease(Waker::noop()).is_ready()));
    drop(newcomer);
}

#[test]
fn a_final_error_reaches_all_who_wait_and_nobody_later() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(4), &[]);
    bench.connector.fail_next(refusal("28P01"));
    let mut tickets = [queue(&pool, 1, bench.now), queue(&pool, 2, bench.now)];
    bench.connector.finish_opens();
    for ticket in &mut tickets {
        let WaitError::Open(error) = refused(ticket) else { panic!("PostgreSQL said why") };
        assert_eq!(error.sqlstate, "28P01");
    }
}

#[test]
fn an_abandoned_open_frees_its_place_and_does_not_spin() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(1), &[]);
    let mut ticket = queue(&pool, 1, bench.now);
    bench.connector.tasks.lock().clear();
    assert_eq!(bench.connector.opening(), 0, "abandoned counts as failed");
    assert!(waits(&mut ticket));
    assert_eq!(pool.tick(bench.now + secs(60)).opened, 1);
    bench.connector.finish_opens();
    fetch(&mut ticket).release(bench.now);
}

#[test]
fn cancel_finds_the_waiting_the_granted_and_the_running() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(1), &[]);
    assert!(matches!(pool.cancel(ClientId(1)), CancelOutcome::Nothing));
    let held = bench.lease(&pool, 1);
    let bell = Arc::new(Bell::default());
    let Take::Queued(mut waiting) = pool.take(&request(2, bench.now), &Waker::from(Arc::clone(&bell))) else {
        panic!("nothing is idle")
    };
    let mut granted = queue(&pool, 3, bench.now);
    let mut next = queue(&pool, 4, bench.now);
    assert!(matches!(pool.cancel(ClientId(2)), CancelOutcome::Waiting));
    assert_eq!(bell.rung(), 1);
    assert!(matches!(refused(&mut waiting), WaitError::Canceled));
    held.release(bench.now);
    assert!(
        matches!(pool.cancel(ClientId(3)), CancelOutcome::Waiting),
        "granted, but it has not sent anything"
    );
    assert!(matches!(refused(&mut granted), WaitError::Canceled));
    let lease = fetch(&mut next);
    let CancelOutcome::Running(guard) = pool.cancel(ClientId(4)) else { panic!("it has a server") };
    assert_eq!(*guard.key(), lease.id);
}

#[test]
fn a_server_being_cancelled_is_kept_from_the_next() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(1), &[]);
    let lease = bench.lease(&pool, 1);
    let guards = [pool.cancel(ClientId(1)), pool.cancel(ClientId(1))];
    let mut next = queue(&pool, 2, bench.now);
    lease.release(bench.now);
    assert_eq!(pool.numbers().canceling, 1);
    assert!(matches!(pool.cancel(ClientId(1)), CancelOutcome::Nothing), "given back is given back");
    let [first, second] = guards;
    drop(first);
    assert!(waits(&mut next));
    drop(second);
    let lease = fetch(&mut next);
    let CancelOutcome::Running(stale) = pool.cancel(ClientId(2)) else { panic!("it has a server") };
    lease.close(CloseReason::Lost);
    let other = bench.lease(&pool, 3);
    let CancelOutcome::Running(guard) = pool.cancel(ClientId(3)) else { panic!("it has a server") };
    drop(stale);
    other.release(bench.now);
    assert_eq!(pool.numbers().canceling, 1, "the guard of a closed server is no other's");
    drop(guard);
    assert_eq!(pool.numbers().idle, 1);
}

#[test]
fn idle_servers_go_but_not_below_the_minimum() {
    let bench = Bench::new();
    let settings = PoolSettings { min_size: 2, lifetime: None, ..small(4) };
    let pool = bench.pool("u", settings, &[]);
    assert_eq!(pool.tick(bench.now).opened, 0);
    pool.keep_minimum(true);
    assert_eq!(pool.tick(bench.now).opened, 2);
    bench.connector.finish_opens();
    let leases = [1, 2, 3, 4].map(|client| bench.lease(&pool, client));
    leases.into_iter().for_each(|lease| lease.release(bench.now));
    assert_eq!(pool.tick(bench.now + secs(599)).closed, []);
    assert_eq!(pool.tick(bench.now + secs(601)).closed, [CloseReason::IdleTimeout; 2]);
    pool.keep_minimum(false);
    assert_eq!(pool.tick(bench.now + secs(601)).closed, [CloseReason::IdleTimeout; 2]);
}

#[test]
fn old_servers_go_at_their_own_times() {
    let bench = Bench::new();
    let pool = bench.pool("u", PoolSettings { idle_timeout: None, ..small(20) }, &[]);
    let leases: Vec<_> = (0..20).map(|client| bench.lease(&pool, client)).collect();
    leases.into_iter().for_each(|lease| lease.release(bench.now));
    let closed_by = |seconds| pool.tick(bench.now + secs(seconds)).closed;
    assert_eq!(closed_by(3200), []);
    for turn in 0..20 {
        assert_eq!(closed_by(3600 + turn), [CloseReason::Lifetime], "one a turn");
    }
    let brief = bench.pool("v", PoolSettings { lifetime: Some(secs(8)), ..small(16) }, &[]);
    let leases: Vec<_> = (0..16).map(|client| bench.lease(&brief, client)).collect();
    leases.into_iter().for_each(|lease| lease.release(bench.now));
    assert_eq!(brief.tick(bench.now + secs(8)).closed.len(), 2, "of sixteen, in eight seconds");
}

#[test]
fn old_servers_go_at_release_unless_they_cannot_be_replaced() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(2), &[]);
    let (a, b) = (bench.lease(&pool, 1), bench.lease(&pool, 2));
    let late = bench.now + secs(3601);
    a.release(late);
    assert_eq!(bench.heard().last().unwrap(), "u closed: server lifetime over");
    bench.connector.fail_next(refusal("53300"));
    let mut waiting = queue(&pool, 3, late);
    bench.connector.finish_opens();
    b.release(late);
    drop(fetch(&mut waiting));
}

#[test]
fn lifetime_zero_is_one_use() {
    let bench = Bench::new();
    let pool = bench.pool("u", PoolSettings { lifetime: Some(Duration::ZERO), ..small(2) }, &[]);
    bench.lease(&pool, 1).release(bench.now);
    assert_eq!(bench.heard(), ["u opened", "u closed: server lifetime over"]);
}

#[test]
fn a_smaller_size_is_reached_and_not_passed_again() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(4), &[]);
    let mut leases: Vec<_> = (0..4).map(|client| bench.lease(&pool, client)).collect();
    leases.pop().unwrap().release(bench.now);
    pool.reconfigure(small(2));
    let mut waiting = queue_after(&pool, bench.now, &mut leases);
    assert_eq!(bench.connector.gauge.live(), 3, "one lease went to the waiter's place");
    leases.pop().unwrap().release(bench.now);
    assert_eq!(bench.connector.gauge.live(), 2, "one too many is closed though a client waits");
    leases.pop().unwrap().release(bench.now);
    fetch(&mut waiting).release(bench.now);
    assert_eq!(bench.connector.gauge.live(), 2);
    pool.reconfigure(small(3));
    let (_second, _third) = (bench.lease(&pool, 6), bench.lease(&pool, 7));
    assert_eq!((leases.len(), bench.connector.gauge.live()), (1, 3));
}

#[test]
fn a_smaller_size_closes_no_more_than_are_too_many_however_long_they_linger() {
    let bench = Bench::new();
    let pool = bench.pool_of::<true>("u", small(6), &[]);
    let leases: Vec<_> = (0..6).map(|client| bench.lease(&pool, client)).collect();
    pool.reconfigure(small(5));
    leases.into_iter().for_each(|lease| lease.release(bench.now));
    assert_eq!((pool.numbers().idle, pool.numbers().connections), (5, 6));
    pool.reconfigure(small(3));
    assert_eq!((pool.numbers().idle, pool.tick(bench.now).closed.len()), (3, 0), "two at once");
    let taken: Vec<_> = (0..3).map(|client| bench.lease(&pool, client)).collect();
    let mut waiting = queue(&pool, 9, bench.now);
    assert!(waits(&mut waiting), "six connections are there still");
    drop(taken);
}

/// Puts a client in line; the idle server was one too many.
fn queue_after(pool: &Arc<Pool<Fake>>, now: Instant, leases: &mut [Lease<Fake>]) -> Ticket<Fake> {
    assert_eq!(pool.tick(now).closed, []);
    assert_eq!(leases.len(), 3);
    queue(pool, 9, now)
}

#[test]
fn retired_servers_are_not_used_again() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(4), &[]);
    let (idle, held) = (bench.lease(&pool, 1), bench.lease(&pool, 2));
    idle.release(bench.now);
    let taken = bench.lease(&pool, 3);
    let mut ticket = queue(&pool, 4, bench.now);
    taken.release(bench.now);
    drop(fetch(&mut ticket));
    pool.retire(CloseReason::ConfigChanged);
    held.release(bench.now);
    bench.connector.finish_opens();
    assert_eq!(bench.connector.gauge.live(), 0);
    bench.lease(&pool, 5).release(bench.now);
    assert_eq!(pool.numbers().idle, 1, "new ones are");
}

#[test]
fn obsolete_servers_count_until_they_are_closed() {
    let bench = Bench::new();
    let pool = bench.pool_of::<true>("u", small(4), &[]);
    let (idle, held) = (bench.lease(&pool, 1), bench.lease(&pool, 2));
    idle.release(bench.now);
    pool.retire(CloseReason::Obsolete);
    assert_eq!(pool.numbers().obsolete, 2);
    held.release(bench.now);
    assert_eq!((pool.numbers().obsolete, pool.numbers().active), (2, 0));
    bench.connector.lets_go.store(true, SeqCst);
    bench.connector.finish_opens();
    assert_eq!(pool.numbers().obsolete, 0);
}

#[test]
fn shutdown_ends_waits_and_servers() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(2), &[]);
    let (idle, held) = (bench.lease(&pool, 1), bench.lease(&pool, 2));
    let mut waiting = queue(&pool, 3, bench.now);
    idle.release(bench.now);
    fetch(&mut waiting).release(bench.now);
    pool.shutdown(CloseReason::Shutdown);
    let bell = Arc::new(Bell::default());
    let Take::Queued(mut late) = pool.take(&request(4, bench.now), &Waker::from(Arc::clone(&bell))) else {
        panic!("shut down")
    };
    assert_eq!(bell.rung(), 1);
    assert!(matches!(refused(&mut late), WaitError::Shutdown));
    held.release(bench.now);
    assert_eq!((bench.connector.gauge.live(), bench.connector.opening()), (0, 0));
}

#[test]
fn a_pool_that_goes_takes_its_servers_along() {
    let bench = Bench::new();
    let cap = cap(CapKind::Database, 2);
    let pool = bench.pool("u", small(2), &[&cap]);
    let (idle, held) = (bench.lease(&pool, 1), bench.lease(&pool, 2));
    idle.release(bench.now);
    drop(pool);
    assert_eq!((bench.connector.gauge.live(), cap.in_use()), (1, 1));
    held.release(bench.now);
    assert_eq!((bench.connector.gauge.live(), cap.in_use()), (0, 0));
}

#[test]
fn a_blocked_pool_evicts_the_longest_idle_of_the_others() {
    let bench = Bench::new();
    let cap = cap(CapKind::Database, 2);
    let pools = ["a", "b", "c"].map(|user| bench.pool(user, small(2), &[&cap]));
    let (a, b) = (bench.lease(&pools[0], 1), bench.lease(&pools[1], 2));
    b.release(bench.now);
    a.release(bench.now + secs(1));
    bench.heard();
    let mut c = queue(&pools[2], 3, bench.now + secs(1));
    assert_eq!(bench.heard(), ["b closed: evicted for max_db_connections"]);
    bench.connector.finish_opens();
    let first = fetch(&mut c);
    assert_eq!((cap.in_use(), bench.connector.gauge.most()), (2, 2));
    let mut c = queue(&pools[2], 4, bench.now + secs(1));
    assert!(waits(&mut c), "a's may be wanted again");
    bench.connector.pass_to(bench.now + secs(1) + Duration::from_millis(1));
    assert_eq!(pools[0].numbers().idle, 1);
    bench.connector.pass_to(bench.now + secs(1) + Duration::from_millis(2));
    bench.connector.finish_opens();
    drop((first, fetch(&mut c)));
}

#[test]
fn no_more_are_evicted_than_are_wanted_however_long_they_linger() {
    let bench = Bench::new();
    let cap = cap(CapKind::All, 6);
    let [a, b, c] = ["a", "b", "c"].map(|user| bench.pool_of::<true>(user, small(6), &[&cap]));
    let leases: Vec<_> = (0..6).map(|client| bench.lease(&a, client)).collect();
    let closed = || bench.heard().iter().filter(|line| line.contains("evicted")).count();
    let mut busy = leases.into_iter();
    busy.by_ref().take(3).for_each(|lease| lease.release(bench.now));
    let mut first = queue(&b, 11, bench.now);
    assert_eq!(closed(), 1, "one is wanted");
    let mut second = queue(&c, 12, bench.now);
    assert_eq!((closed(), a.numbers().idle), (1, 1), "and another");
    b.tick(bench.now);
    busy.by_ref().take(2).for_each(|lease| lease.release(bench.now));
    assert_eq!((closed(), a.numbers().idle), (0, 3), "what comes back stays: two are on their way");
    let more = [queue(&b, 13, bench.now), queue(&b, 14, bench.now), queue(&b, 15, bench.now)];
    bench.connector.lets_go.store(true, SeqCst);
    bench.connector.finish_opens();
    drop((fetch(&mut first), fetch(&mut second), more));
    assert!(bench.connector.gauge.most() <= 6);
}

#[test]
fn of_those_that_come_back_one_goes_for_each_that_is_wanted() {
    let bench = Bench::new();
    let cap = cap(CapKind::All, 6);
    let [a, b] = ["a", "b"].map(|user| bench.pool_of::<true>(user, small(6), &[&cap]));
    let leases: Vec<_> = (0..6).map(|client| bench.lease(&a, client)).collect();
    let mut other = queue(&b, 11, bench.now);
    leases.into_iter().for_each(|lease| lease.release(bench.now));
    assert_eq!((a.numbers().idle, a.numbers().connections), (5, 6));
    bench.connector.lets_go.store(true, SeqCst);
    bench.connector.finish_opens();
    drop(fetch(&mut other));
    bench.connector.finish_opens();
    // And when its own clients wait.
    bench.connector.lets_go.store(false, SeqCst);
    let held: Vec<_> = (0..6).map(|client| bench.lease(&a, client)).collect();
    let _own: Vec<_> = (20..30).map(|client| queue(&a, client, bench.now)).collect();
    let _other = queue(&b, 12, bench.now);
    held.into_iter().for_each(|lease| lease.release(bench.now));
    assert_eq!((a.numbers().active, a.numbers().connections), (5, 6));
}

#[test]
fn a_cap_that_shrinks_lets_go_of_all_that_is_too_many_for_one_who_waits() {
    let bench = Bench::new();
    let set: PoolSet<Fake> = PoolSet::new();
    let cap = set.cap(CapKind::All, "", NonZeroU32::new(6));
    let [a, b] = ["a", "b"].map(|user| bench.pool(user, small(6), &[&cap]));
    let leases: Vec<_> = (0..6).map(|client| bench.lease(&a, client)).collect();
    leases.into_iter().for_each(|lease| lease.release(bench.now));
    set.cap(CapKind::All, "", NonZeroU32::new(3));
    let lease = bench.lease(&b, 11);
    assert_eq!((a.numbers().idle, cap.in_use()), (2, 3));
    drop(lease);
}

#[test]
fn a_cap_that_shrinks_closes_the_idle_at_once_and_the_busy_as_they_come_back() {
    for kind in [CapKind::Database, CapKind::User, CapKind::All] {
        let bench = Bench::new();
        let cap = cap(kind, 9);
        let [a, b] = ["a", "b"].map(|user| bench.pool_of::<true>(user, small(9), &[&cap]));
        let mut leases: Vec<_> = (0..6).map(|client| bench.lease(&a, client)).collect();
        let mut others: Vec<_> = (10..13).map(|client| bench.lease(&b, client)).collect();
        leases.pop().unwrap().release(bench.now);
        others.pop().unwrap().release(bench.now + secs(1));
        bench.heard();
        cap.resize(NonZeroU32::new(8));
        assert_eq!(bench.heard(), [format!("a closed: evicted for {}", kind.setting())]);
        cap.resize(NonZeroU32::new(4));
        assert_eq!((a.numbers().idle, b.numbers().idle, bench.heard().len()), (0, 0, 1));
        let mut own: Vec<_> = (20..26).map(|client| queue(&a, client, bench.now)).collect();
        let mut of_b = queue(&b, 26, bench.now);
        others.pop().unwrap().release(bench.now);
        drop(fetch(&mut of_b));
        assert_eq!(b.numbers().active, 1, "it has its share");
        leases.drain(..2).for_each(|lease| lease.release(bench.now));
        assert_eq!(
            (a.numbers().active, b.numbers().active),
            (3, 1),
            "two went, though clients wait and they linger"
        );
        leases.drain(..).for_each(|lease| lease.release(bench.now));
        assert_eq!((a.numbers().active, a.numbers().connections), (3, 6));
        bench.connector.lets_go.store(true, SeqCst);
        bench.connector.finish_opens();
        assert_eq!((a.numbers().connections, b.numbers().connections, cap.in_use()), (3, 1, 4));
        own.clear();
    }
}

#[test]
fn a_cap_that_shrinks_keeps_nobody_waiting_who_is_due_a_place() {
    let bench = Bench::new();
    let cap = cap(CapKind::Database, 20);
    let [a, b] = ["a", "b"].map(|user| bench.pool(user, small(20), &[&cap]));
    let mut busy: Vec<_> = (0..20).map(|client| bench.lease(&a, client)).collect();
    let mut own: VecDeque<_> = (20..80).map(|client| queue(&a, client, bench.now)).collect();
    let mut other = queue(&b, 99, bench.now);
    cap.resize(NonZeroU32::new(5));
    while b.numbers().active == 0 {
        busy.pop().expect("one of twenty goes to the other").release(bench.now);
        bench.connector.finish_opens();
    }
    assert_eq!((busy.len(), a.numbers().active), (4, 4), "fifteen too many, and one for the other");
    drop(fetch(&mut other));
    own.retain_mut(waits);
}

#[test]
fn a_host_that_hangs_holds_one_place_of_a_shared_cap() {
    let bench = Bench::new();
    let after = |milliseconds| bench.now + Duration::from_millis(milliseconds);
    let cap = cap(CapKind::All, 5);
    let pools = ["well", "sick"].map(|user| bench.pool(user, small(5), &[&cap]));
    let mut well: Vec<_> = (0..4).map(|client| bench.lease(&pools[0], client)).collect();
    let mut sick: Vec<_> = (10..18).map(|client| queue(&pools[1], client, bench.now)).collect();
    assert_eq!((bench.connector.opening(), cap.in_use()), (1, 5), "to try the ground");
    // Its own waiter would be owed nothing for another.
    let mut own = queue(&pools[0], 9, bench.now);
    well.pop().unwrap().release(after(500));
    fetch(&mut own).release(after(600));
    pools[1].tick(after(1_000));
    assert!(pools[1].bounds.share.standing().failing, "as long as it hangs");
    assert_eq!((pools[0].numbers().connections, pools[1].numbers().connections), (4, 1));
    bench.connector.finish_opens();
    assert!(!pools[1].bounds.share.standing().failing);
    drop((fetch(&mut sick[0]), well));
}

#[test]
fn what_others_give_back_goes_to_those_who_have_less() {
    let bench = Bench::new();
    let cap = cap(CapKind::User, 2);
    let pools = ["a", "b", "c"].map(|user| bench.pool(user, small(2), &[&cap]));
    let (a1, a2) = (bench.lease(&pools[0], 1), bench.lease(&pools[0], 2));
    let mut b = [queue(&pools[1], 3, bench.now), queue(&pools[1], 4, bench.now)];
    let mut c = queue(&pools[2], 5, bench.now + secs(1));
    let mut own = queue(&pools[0], 6, bench.now);
    assert!(bench.heard().ends_with(&[
        "b blocked: max_user_connections x".into(),
        "c blocked: max_user_connections x".into()
    ]));
    a1.release(bench.now);
    assert!(bench.heard().starts_with(&["a closed: evicted for max_user_connections".into()]));
    bench.connector.finish_opens();
    let first = fetch(&mut b[0]);
    assert!(waits(&mut b[1]) && waits(&mut c));
    a2.release(bench.now);
    assert_eq!(bench.connector.opening(), 0, "its own waiter comes first, for a turn");
    fetch(&mut own).release(bench.now);
    bench.connector.pass_to(bench.now + Duration::from_millis(2));
    bench.connector.finish_opens();
    let second = fetch(&mut c);
    assert!(waits(&mut b[1]), "one each in turn");
    second.release(bench.now);
    assert!(waits(&mut b[1]), "it has one already");
    bench.connector.pass_to(bench.now + secs(2));
    bench.connector.finish_opens();
    drop((first, fetch(&mut b[1])));
    assert_eq!(bench.connector.gauge.most(), 2);
}

#[test]
fn a_server_being_cancelled_is_promised_to_nobody() {
    let bench = Bench::new();
    let cap = cap(CapKind::Database, 2);
    let pools = ["a", "b"].map(|user| bench.pool(user, small(2), &[&cap]));
    let (first, second) = (bench.lease(&pools[0], 1), bench.lease(&pools[0], 2));
    let mut own = [queue(&pools[0], 3, bench.now), queue(&pools[0], 4, bench.now)];
    let mut other = queue(&pools[1], 5, bench.now);
    let cancel = pools[0].cancel(ClientId(1));
    first.release(bench.now);
    assert_eq!((pools[0].numbers().canceling, pools[0].bounds.share.standing().held), (1, 2));
    drop(cancel);
    let stays = fetch(&mut own[0]);
    second.release(bench.now);
    bench.connector.finish_opens();
    drop((stays, fetch(&mut other)));
}

#[test]
fn a_pool_whose_opens_fail_costs_nobody_its_last_server_for_a_while() {
    let bench = Bench::new();
    let after = |milliseconds| bench.now + Duration::from_millis(milliseconds);
    let cap = cap(CapKind::Database, 1);
    let pools = ["a", "b"].map(|user| bench.pool(user, small(1), &[&cap]));
    bench.connector.fail_next(OpenError::Transient("unreachable".into()));
    let mut down = queue(&pools[1], 1, bench.now);
    bench.connector.finish_opens();
    let lease = bench.lease(&pools[0], 2);
    let mut own = [queue(&pools[0], 3, bench.now), queue(&pools[0], 4, bench.now)];
    // The pause is of 50 to 100 ms.
    pools[1].tick(after(150));
    assert!(cap.is_pressed());
    lease.release(after(150));
    let lease = fetch(&mut own[0]);
    pools[1].tick(after(400));
    lease.release(after(400));
    bench.connector.finish_opens();
    drop(fetch(&mut down));
    assert!(waits(&mut own[1]));
}

#[test]
fn a_pool_whose_waiters_left_costs_nobody_a_server() {
    let bench = Bench::new();
    let cap = cap(CapKind::Database, 1);
    let pools = ["a", "b"].map(|user| bench.pool(user, small(2), &[&cap]));
    let a = bench.lease(&pools[0], 1);
    let starving = [queue(&pools[1], 2, bench.now), queue(&pools[1], 3, bench.now)];
    drop(starving);
    a.release(bench.now);
    assert_eq!(pools[0].numbers().idle, 1);
    let a = bench.lease(&pools[0], 1);
    let mut canceled = queue(&pools[1], 4, bench.now);
    assert!(matches!(pools[1].cancel(ClientId(4)), CancelOutcome::Waiting));
    a.release(bench.now);
    assert!(matches!(refused(&mut canceled), WaitError::Canceled));
    assert_eq!(pools[0].numbers().idle, 1);
}

#[test]
fn a_smaller_size_counts_what_is_left_before_the_reserve_is_touched() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(4), &[]);
    let leases: Vec<_> = (0..4).map(|client| bench.lease(&pool, client)).collect();
    pool.reconfigure(PoolSettings { reserve_size: 2, ..small(2) });
    let waiting = queue(&pool, 9, bench.now);
    assert_eq!(pool.tick(bench.now + secs(60)).opened, 0, "four are live, two and two allowed");
    drop((waiting, leases));
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(1), &[]);
    let held = bench.lease(&pool, 1);
    let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
    let Take::Queued(mut ticket) = pool.take(&request(2, bench.now), &Waker::from(Arc::clone(&bells[0])))
    else {
        panic!("nothing is idle")
    };
    assert!(ticket.poll_lease(&Waker::from(Arc::clone(&bells[1]))).is_pending());
    held.release(bench.now);
    assert_eq!(bells.map(|bell| bell.rung()), [0, 1]);
}

#[test]
fn a_cap_that_grows_lets_the_starving_open() {
    let bench = Bench::new();
    let set: PoolSet<Fake> = PoolSet::new();
    let limit = NonZeroU32::new;
    let key = PoolKey::new("db", "a");
    let make = || bench.pool("a", small(4), &[&set.cap(CapKind::All, "", limit(1))]);
    let pool = set.obtain(&key, make);
    assert!(Arc::ptr_eq(&pool, &set.obtain(&key, || panic!("it exists"))));
    let held = bench.lease(&pool, 1);
    let mut tickets = [queue(&pool, 2, bench.now), queue(&pool, 3, bench.now)];
    set.cap(CapKind::All, "", limit(2));
    assert_eq!(bench.connector.finish_opens(), 1);
    let second = fetch(&mut tickets[0]);
    set.cap(CapKind::All, "", None);
    assert_eq!(bench.connector.finish_opens(), 1);
    set.cap(CapKind::All, "", limit(1));
    drop((held, second));
    assert_eq!(set.caps()[0].in_use(), 1);
    assert!(set.remove(&key, CloseReason::Removed).is_some() && set.list().is_empty());
    assert!(matches!(fetch(&mut tickets[1]), Lease { .. }));
}

#[test]
fn a_pause_lets_what_is_under_way_end_and_hands_out_nothing() {
    let bench = Bench::new();
    let pool = bench.pool("u", PoolSettings { min_size: 1, ..small(3) }, &[]);
    pool.keep_minimum(true);
    let (held, other) = (bench.lease(&pool, 1), bench.lease(&pool, 2));
    let mut early = queue(&pool, 3, bench.now);
    other.release(bench.now);
    fetch(&mut early).release(bench.now);
    let before = pool.numbers();
    assert_eq!((before.active, before.idle, before.opening), (1, 1, 1));
    pool.pause();
    let mut late = queue(&pool, 6, bench.now);
    bench.connector.finish_opens();
    assert_eq!((pool.tick(bench.now).opened, bench.connector.opening()), (0, 0));
    assert_eq!((pool.numbers().active, pool.numbers().idle, pool.numbers().obsolete), (1, 0, 1));
    assert!(pool.numbers().paused);
    held.release(bench.now);
    assert_eq!((pool.numbers().connections, bench.connector.gauge.live()), (0, 0));
    assert!(waits(&mut late));
    pool.resume();
    bench.connector.finish_opens();
    fetch(&mut late).release(bench.now);
    assert!(pool.numbers().connections > 0 && !pool.numbers().paused);
}

#[test]
fn what_clients_wait_for_is_known() {
    let bench = Bench::new();
    let cap = cap(CapKind::Database, 2);
    let pools = ["a", "b"].map(|user| bench.pool(user, small(1), &[&cap]));
    let last = |at: usize| pools[at].numbers().hindered.last;
    let held = [bench.lease(&pools[0], 1), bench.lease(&pools[1], 2)];
    let _full = queue(&pools[0], 3, bench.now);
    assert_eq!(last(0), Some(Hindrance::Size));
    let other = bench.pool("c", small(1), &[&cap]);
    let _capped = queue(&other, 4, bench.now);
    assert_eq!(other.numbers().hindered.last, Some(Hindrance::Cap(CapKind::Database)));
    pools[1].pause();
    let _paused = queue(&pools[1], 5, bench.now);
    assert_eq!(last(1), Some(Hindrance::Paused));
    let alone = bench.pool("d", small(1), &[]);
    bench.connector.fail_next(OpenError::Transient("unreachable".into()));
    let _down = queue(&alone, 6, bench.now);
    assert_eq!(alone.numbers().hindered, Hindered::default(), "it is being opened");
    bench.connector.finish_opens();
    alone.tick(bench.now);
    let hindered = alone.numbers().hindered;
    assert_eq!((hindered.last, hindered.by_outage > 0), (Some(Hindrance::Failing), true));
    drop(held);
}

#[test]
fn pauses_of_a_set_hold_for_pools_to_come() {
    let (bench, set) = (Bench::new(), PoolSet::<Fake>::new());
    let obtain = |database: &str| {
        let key = PoolKey::new(database, "u");
        set.obtain(&key, || bench.pool(database, small(1), &[]))
    };
    // The bench names its pools by user; the set goes by the key it is asked for.
    set.pause(Some("a"));
    assert!(obtain("a").numbers().paused && !obtain("b").numbers().paused);
    set.pause(None);
    assert!(set.is_all_paused() && set.is_paused("z") && obtain("c").numbers().paused);
    assert!(set.resume(Some("z")) && !set.is_paused("z") && !set.resume(Some("z")), "by name after all");
    assert!(set.resume(None) && !set.is_all_paused() && !set.resume(None));
    assert!(set.is_paused("a"), "what was paused by name stays so");
    assert!(set.resume(Some("a")) && !set.is_paused("a"));
}

#[test]
fn what_can_be_seen() {
    let bench = Bench::new();
    let pool = bench.pool("u", small(2), &[]);
    let held = bench.lease(&pool, 7);
    bench.lease(&pool, 8).release(bench.now);
    let states = |pool: &Arc<Pool<Fake>>| -> Vec<_> {
        pool.servers(|fake| fake.id).into_iter().map(|view| (view.state, view.look, view.obsolete)).collect()
    };
    assert_eq!(
        states(&pool),
        [(ServerState::Leased(ClientId(7)), None, false), (ServerState::Idle, Some(1), false)]
    );
    let taken = bench.lease(&pool, 8);
    let _queued = (queue(&pool, 9, bench.now), queue(&pool, 10, bench.now));
    assert_eq!(pool.waiters().iter().map(|w| w.client.0).collect::<Vec<_>>(), [9, 10]);
    pool.retire(CloseReason::Obsolete);
    assert!(states(&pool).iter().filter(|(_, _, obsolete)| *obsolete).count() == 2);
    taken.close(CloseReason::Doubt);
    held.close(CloseReason::Doubt);
}
