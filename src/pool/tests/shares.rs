//! Pools that compete for a cap, simulated: each millisecond of its time every client does what it does then. Connects take three.
use crate::clock::Instant;
use std::{num::NonZeroU32, task::Poll};

use super::*;

/// Transactions take so many milliseconds.
const BUSY: u64 = 10;

enum State {
    Thinks(u64),
    Waits(Ticket<Fake>, u64),
    Works(Lease<Fake>, u64),
}

struct Client {
    pool: usize,
    state: State,
    /// Between two transactions, in milliseconds.
    pause: u64,
}

/// What came of a pool.
#[derive(Clone, Copy, Debug, Default)]
struct Served {
    transactions: u64,
    /// The longest, in milliseconds, of those that have ended.
    wait: u64,
}

struct Contest {
    connector: Arc<Scripted>,
    start: Instant,
    cap: Arc<SharedCap>,
    pools: Vec<Arc<Pool<Fake>>>,
    clients: Vec<Client>,
}

impl Contest {
    fn under(places: u32) -> Self {
        let cap =
            SharedCap::new(CapName { kind: CapKind::Database, of: "db".into() }, NonZeroU32::new(places));
        let start = Instant::now() + secs(86_400);
        Self { connector: Arc::default(), start, cap, pools: Vec::new(), clients: Vec::new() }
    }

    /// A pool as large as the cap, and its clients.
    fn pool(&mut self, clients: u64, pause: u64, settings: PoolSettings) {
        let at = self.pools.len();
        let parts = Parts {
            key: PoolKey::new("db", &at.to_string()),
            settings: PoolSettings { size: NonZeroU32::new(self.cap.limit().unwrap()), ..settings },
            caps: vec![Arc::clone(&self.cap)],
            connector: Arc::clone(&self.connector) as _,
            observer: Arc::new(()),
        };
        self.pools.push(Pool::new(parts, self.start));
        let first = |client| State::Thinks((client * 7 + at as u64 * 3) % (pause + 1));
        self.clients.extend((0..clients).map(|client| Client { pool: at, state: first(client), pause }));
    }

    fn run(&mut self, milliseconds: u64) -> Vec<Served> {
        let mut served = vec![Served::default(); self.pools.len()];
        for ms in 0..milliseconds {
            let now = self.start + Duration::from_millis(ms);
            if ms % 3 == 0 {
                self.connector.finish_opens();
            }
            self.connector.pass_to(now);
            if ms % 100 == 0 {
                self.pools.iter().for_each(|pool| drop(pool.tick(now)));
            }
            for (at, client) in self.clients.iter_mut().enumerate() {
                let state = std::mem::replace(&mut client.state, State::Thinks(u64::MAX));
                let asks = request(at as u64 + 1, now);
                client.state = match state {
                    State::Thinks(until) if until <= ms => {
                        match self.pools[client.pool].take(&asks, Waker::noop()) {
                            Take::Leased(lease) => State::Works(lease, ms + BUSY),
                            Take::Queued(ticket) => State::Waits(ticket, ms),
                        }
                    }
                    State::Waits(mut ticket, since) => match ticket.poll_lease(Waker::noop()) {
                        Poll::Pending => State::Waits(ticket, since),
                        Poll::Ready(lease) => {
                            let wait = &mut served[client.pool].wait;
                            *wait = (*wait).max(ms - since);
                            State::Works(lease.unwrap(), ms + BUSY)
                        }
                    },
                    State::Works(lease, until) if until <= ms => {
                        lease.release(now);
                        served[client.pool].transactions += 1;
                        State::Thinks(ms + client.pause)
                    }
                    as_it_was => as_it_was,
                };
            }
            assert!(self.connector.gauge.most() <= self.cap.limit().unwrap() as usize);
        }
        served
    }
}

#[test]
fn a_greedy_pool_leaves_the_modest_what_they_ask_for() {
    let mut contest = Contest::under(20);
    contest.pool(60, 0, PoolSettings::default());
    (0..20).for_each(|_| contest.pool(1, 40, PoolSettings::default()));
    let served = contest.run(5_000);
    let (greedy, modest) = served.split_first().unwrap();
    for pool in modest {
        assert!(pool.wait <= 30 && pool.transactions >= 60, "{served:?}");
    }
    // The modest ask for a fifth of each of 20 places at the most; some of the rest is spent on connects.
    assert!(greedy.transactions >= 20 * 5_000 / BUSY / 2, "{served:?}");
}

/// Pools of one client that pauses for an instant, with and without a greedy one beside them.
#[test]
fn who_pauses_for_an_instant_keeps_its_server() {
    let run = |greedy: u64, modest: u64, places: u32| {
        let mut contest = Contest::under(places);
        if greedy > 0 {
            contest.pool(greedy, 0, PoolSettings::default());
        }
        (0..modest).for_each(|_| contest.pool(1, 1, PoolSettings::default()));
        let served = contest.run(20_000);
        let made = contest.connector.made.load(SeqCst) as u64;
        (served.iter().map(|pool| pool.transactions).collect::<Vec<_>>(), made)
    };
    let (served, made) = run(60, 4, 6);
    assert!(made <= 20, "{made} connects for {served:?}");
    // Two places for the greedy one, and one for each of the others, which use ten elevenths of it.
    assert!(served[0] >= 3_900 && served[1..].iter().all(|it| *it >= 1_700), "{served:?}");
    for greedy in [0, 60] {
        let (served, made) = run(greedy, 20, 5);
        let turns = 5 * 20_000 / 100;
        assert!(made <= turns + 50, "{made} connects, {turns} turns: {served:?}");
        let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
        assert!(least * 5 >= most * 4, "{served:?}");
        assert!(served.iter().sum::<u64>() >= 5 * 20_000 / 11 * 8 / 10, "{served:?}");
    }
}

#[test]
fn more_pools_than_places_take_turns() {
    let mut contest = Contest::under(3);
    (0..8).for_each(|_| contest.pool(5, 0, PoolSettings::default()));
    let served = contest.run(20_000);
    let of = |pool: &Served| pool.transactions;
    let (least, most) = (served.iter().map(of).min().unwrap(), served.iter().map(of).max().unwrap());
    assert!(least * 3 >= most * 2, "{served:?}");
    assert!(served.iter().all(|pool| pool.wait <= 1_000), "{served:?}");
    // A connect costs three milliseconds of a turn.
    assert!(served.iter().map(of).sum::<u64>() >= 3 * 20_000 / BUSY * 8 / 10, "{served:?}");
}

#[test]
fn places_go_by_weight_and_what_is_guaranteed_goes_first() {
    let of_weight = |weight, min_size| PoolSettings { weight, min_size, ..PoolSettings::default() };
    let ratio = |first, second| {
        let mut contest = Contest::under(8);
        contest.pool(20, 0, first);
        contest.pool(20, 0, second);
        let served = contest.run(5_000);
        served[0].transactions as f64 / served[1].transactions as f64
    };
    let cases = [
        (of_weight(1, 0), of_weight(1, 0), 1.0),
        (of_weight(3, 0), of_weight(1, 0), 3.0),
        (of_weight(2, 0), of_weight(6, 0), 1.0 / 3.0),
        (of_weight(100, 0), of_weight(1, 4), 1.0),
    ];
    for (first, second, expected) in cases {
        let ratio = ratio(first.clone(), second.clone());
        assert!((ratio / expected).ln().abs() < 0.25, "{ratio}, not {expected}: {first:?} {second:?}");
    }
}
