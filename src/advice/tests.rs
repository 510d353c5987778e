//! The queue against simulated ones, and the advice on measurements whose answer is known.

use super::*;
use crate::clock::Instant;
use crate::metrics::{HeldUp, Metrics};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// How times are distributed, all with the mean 1.
#[derive(Clone, Copy, Debug)]
enum Times {
    Fixed,
    Exponential,
    /// Nine of ten are short, the tenth is 5.5 times as long as the mean.
    Mixed,
}

impl Times {
    fn scv(self) -> f64 {
        match self {
            Self::Fixed => 0.0,
            Self::Exponential => 1.0,
            Self::Mixed => 0.9 * 0.5 * 0.5 + 0.1 * 5.5 * 5.5 - 1.0,
        }
    }

    fn draw(self, random: &mut StdRng) -> f64 {
        match self {
            Self::Fixed => 1.0,
            Self::Exponential => -(1.0 - random.random::<f64>()).ln(),
            Self::Mixed if random.random::<f64>() < 0.1 => 5.5,
            Self::Mixed => 0.5,
        }
    }
}

/// The mean wait and its 99th percentile of a real queue: `clients` that pause exponentially and are served in order.
fn simulate(demand: &Demand, servers: usize, times: Times) -> (f64, f64) {
    const TRANSACTIONS: usize = 100_000;
    let mut random = StdRng::seed_from_u64(42);
    let nanos = |seconds: f64| (seconds * 1e9) as u64;
    let mut arrivals: BinaryHeap<_> = (0..demand.clients)
        .map(|_| Reverse(nanos(demand.pause * Times::Exponential.draw(&mut random))))
        .collect();
    let mut free_at: BinaryHeap<_> = (0..servers).map(|_| Reverse(0_u64)).collect();
    let mut waits = Vec::with_capacity(TRANSACTIONS);
    for _ in 0..TRANSACTIONS + TRANSACTIONS / 10 {
        let Some((Reverse(came), Reverse(free))) = arrivals.pop().zip(free_at.pop()) else { unreachable!() };
        let begun = came.max(free);
        let done = begun + nanos(demand.service * times.draw(&mut random));
        free_at.push(Reverse(done));
        arrivals.push(Reverse(done + nanos(demand.pause * Times::Exponential.draw(&mut random))));
        waits.push(begun - came);
    }
    let mut waits = waits.split_off(TRANSACTIONS / 10);
    waits.sort_unstable();
    let mean = waits.iter().sum::<u64>() as f64 / waits.len() as f64;
    (mean / 1e9, waits[waits.len() * 99 / 100] as f64 / 1e9)
}

#[test]
fn waits_are_those_of_a_simulated_queue() {
    let ms = 0.001;
    // Clients, pause, servers; how far the mean and the percentile may be off, as a share of the simulated one.
    let table = [
        (2_000, 1_000.0, 3, Times::Exponential, (0.06, 0.10)),
        (2_000, 1_000.0, 3, Times::Mixed, (0.15, 0.25)),
        (2_000, 1_000.0, 3, Times::Fixed, (0.15, 0.25)),
        (2_000, 120.0, 20, Times::Exponential, (0.10, 0.15)),
        (2_000, 120.0, 20, Times::Mixed, (0.20, 0.30)),
        (30, 20.0, 2, Times::Exponential, (0.05, 0.10)),
        (30, 20.0, 2, Times::Mixed, (0.25, 0.35)),
        (200, 0.01, 20, Times::Exponential, (0.03, 0.10)),
        (200, 5.0, 20, Times::Fixed, (0.03, 0.10)),
        (30, 0.5, 20, Times::Mixed, (0.30, 0.35)),
    ];
    let mut off = Vec::new();
    for (clients, pause, servers, times, (of_mean, of_p99)) in table {
        let demand =
            Demand { clients, pause: pause * ms, service: ms, variability: f64::midpoint(1.0, times.scv()) };
        let (told, (mean, p99)) = (demand.with(servers), simulate(&demand, servers, times));
        let case = format!(
            "{clients} clients, pause {pause}, {servers} servers, {times:?}: {:.4} {:.4} ms, simulated {:.4} {:.4}",
            told.mean / ms,
            told.p99 / ms,
            mean / ms,
            p99 / ms
        );
        if (told.mean - mean).abs() > of_mean * mean || (told.p99 - p99).abs() > of_p99 * p99 {
            off.push(case);
        }
    }
    assert!(off.is_empty(), "{off:#?}");
}

/// Erlang's C by its sums, for many clients: the share that waits.
#[test]
fn many_clients_are_erlangs_queue() {
    for (servers, load) in [(1_usize, 0.5), (4, 3.0), (20, 17.0)] {
        let term = |n: usize| (1..=n).fold(1.0, |product, i| product * load / i as f64);
        let all: f64 = (0..servers).map(term).sum();
        let full = term(servers) * servers as f64 / (servers as f64 - load);
        let erlang = full / (all + full);
        let demand = Demand::of(usize::MAX, load / 0.01, 0.01, 0.0);
        let told = demand.with(servers);
        assert!((told.waiting - erlang).abs() < 0.03 * erlang, "{servers}: {} {erlang}", told.waiting);
        let mean = erlang * 0.01 / (servers as f64 - load);
        assert!((told.mean - mean).abs() < 0.05 * mean, "{servers}: {} {mean}", told.mean);
    }
}

#[test]
fn extremes_of_the_queue() {
    let demand = Demand { clients: 10, pause: 0.0, service: 0.01, variability: 1.0 };
    assert_eq!(demand.with(10), Outcome { rate: 1000.0, busy: 10.0, ..Outcome::default() });
    let one = demand.with(1);
    assert!(
        (one.mean - 0.09).abs() < 1e-9 && (one.rate - 100.0).abs() < 1e-6 && one.waiting == 1.0,
        "{one:?}"
    );
    assert_eq!((demand.servers_for(0.0), demand.servers_for(1.0)), (10, 1));
    // Little's law asks for more clients than there are now, and a million are as five thousand.
    assert_eq!(Demand::of(0, 100.0, 0.1, 0.4).clients, 50);
    let many = Demand::of(1_000_000, 100.0, 0.1, 0.0);
    assert!(many.clients == 5_000 && (many.with(100).rate - 100.0).abs() < 0.1, "{many:?}");
    assert!(many.with(1).rate <= 10.0);
}

fn standing(clients: usize, size: usize) -> Standing {
    Standing { clients, size: Some(size), ..Standing::default() }
}

/// A minute of so many transactions a second that take so many ms and have waited so many.
fn minute(rate: f64, service: f64, wait: f64, end: Standing) -> Measured {
    let transactions = (rate * 60.0) as u64;
    Measured {
        seconds: 60.0,
        transactions,
        service: service / 1e3,
        scv: 1.0,
        assignments: transactions,
        waited: if wait > 0.0 { transactions } else { 0 },
        wait: wait / 1e3,
        wait_p99: wait * 4.0 / 1e3,
        end,
        ..Measured::default()
    }
}

#[test]
fn what_is_advised() {
    use Verdict::{Right, TooBig, TooSmall, Unknown};
    let pinned = Standing { pinned: 9, ..standing(200, 10) };
    let session = Standing { session_mode: true, wanting: 12, waiting: 2, ..standing(12, 10) };
    let stuck = Standing { wanting: 9, waiting: 4, ..standing(9, 5) };
    let gave_up = Measured { timeouts: 1, ..minute(0.0, 0.0, 0.0, standing(9, 5)) };
    let unlimited = Standing { size: None, ..standing(500, 0) };
    let table = [
        ("nothing", Measured::default(), Unknown, None..=None),
        ("as it should be", minute(1600.0, 10.0, 0.2, standing(500, 20)), Right, Some(20)..=Some(20)),
        ("hardly any load", minute(10.0, 5.0, 0.0, standing(500, 100)), TooBig, Some(2)..=Some(2)),
        ("some load", minute(300.0, 10.0, 0.0, standing(500, 40)), TooBig, Some(5)..=Some(7)),
        ("a small pool with little load", minute(1.0, 5.0, 0.0, standing(5, 3)), Right, Some(3)..=Some(3)),
        ("close to full", minute(1900.0, 10.0, 7.5, standing(500, 20)), TooSmall, Some(22)..=Some(26)),
        ("never pausing", minute(6400.0, 3.1, 28.0, standing(200, 20)), TooSmall, Some(40)..=Some(40)),
        ("harmless waits", minute(400.0, 0.2, 0.09, standing(50, 2)), Right, Some(2)..=Some(2)),
        ("waits from elsewhere", minute(100.0, 1.0, 50.0, standing(500, 20)), Right, Some(20)..=Some(20)),
        ("pinned clients", minute(150.0, 10.0, 30.0, pinned), TooSmall, Some(12)..=Some(14)),
        ("sessions", minute(150.0, 10.0, 30.0, session), TooSmall, Some(12)..=Some(12)),
        ("nothing ends", minute(0.0, 0.0, 0.0, stuck), TooSmall, Some(9)..=Some(9)),
        ("nothing ended", gave_up, TooSmall, Some(6)..=Some(6)),
        ("unlimited", minute(1600.0, 10.0, 0.0, unlimited), Right, Some(18)..=Some(20)),
    ];
    for (case, measured, verdict, recommended) in table {
        let advice = advise(&measured);
        assert_eq!(advice.verdict, verdict, "{case}: {advice:?}");
        assert!(recommended.contains(&advice.recommended), "{case}: {advice:?}");
        if let (TooSmall, Some(now), Some(then)) = (verdict, advice.now, advice.then) {
            assert!(then.mean < now.mean && then.rate >= now.rate, "{case}: {advice:?}");
        }
    }
}

/// A larger pool gets no more where a shared limit is in the way, and an outage says nothing of it.
#[test]
fn waits_for_other_things_than_servers() {
    let held_up =
        |by_size, by_limits, by_outage| HeldUp { by_size, by_limits, by_outage, limit: "max_db_connections" };
    let busy = minute(6400.0, 3.1, 28.0, standing(200, 20));
    let verdict = |held_up| advise(&Measured { held_up, ..busy }).verdict;
    assert_eq!(verdict(held_up(90, 10, 0)), Verdict::TooSmall);
    assert_eq!(verdict(held_up(10, 90, 0)), Verdict::Right);
    let measured = Measured { held_up: held_up(0, 9, 0), ..busy };
    let told = words::sentence(&measured, &advise(&measured));
    let expected = "Right: 20 of 20 servers busy, waits 28.0 ms on average, p99 0.11 s; max_db_connections is what keeps it from more servers, not its size.";
    assert_eq!(told, expected);
    assert!(Measured { held_up: held_up(9, 0, 1), ..busy }.is_of_an_outage() && !busy.is_of_an_outage());
}

/// Waits longer than random arrivals make them tell that arrivals come in bursts, and more servers are needed.
#[test]
fn bursts_ask_for_more() {
    let calm = advise(&minute(1800.0, 10.0, 3.0, standing(5_000, 20)));
    let bursty = advise(&minute(1800.0, 10.0, 9.0, standing(5_000, 20)));
    assert_eq!((calm.verdict, bursty.verdict), (Verdict::TooSmall, Verdict::TooSmall));
    assert!(bursty.recommended > calm.recommended, "{calm:?} {bursty:?}");
    let mean = |advice: &Advice| advice.now.map_or(0.0, |now| now.mean);
    assert!((mean(&bursty) - 0.009).abs() < 0.001, "what was measured is what the queue says: {bursty:?}");
}

#[test]
fn sentences() {
    let told = |measured: &Measured| words::sentence(measured, &advise(measured));
    let pinned = Standing { pinned: 2, reserve: 5, reserve_in_use: 1, ..standing(500, 20) };
    for (measured, sentence) in [
        (Measured::default(), "Nothing measured yet: it takes a stats_period in which the pool is used."),
        (minute(0.0, 0.0, 0.0, standing(5, 20)), "Nothing was asked of it in the last hour."),
        (
            minute(1600.0, 10.0, 0.2, standing(500, 20)),
            "Right: 16 of 20 servers busy, waits 0.20 ms on average, p99 0.80 ms.",
        ),
        (
            minute(10.0, 5.0, 0.0, standing(500, 100)),
            "Too big: 0.1 of 100 servers busy, waits 0 ms on average, p99 0 ms; \
             2 would have done in the last hour, with waits of 0.00 ms on average, p99 0 ms.",
        ),
        (
            minute(6400.0, 3.1, 28.0, standing(200, 20)),
            "Too small: 20 of 20 servers busy, waits 28.0 ms on average, p99 0.11 s; its clients hardly pause and use \
             what there is: 40 would make it 12.2 ms on average, p99 14.6 ms, if PostgreSQL has cores for them.",
        ),
        (
            minute(100.0, 1.0, 50.0, standing(500, 20)),
            "Right: 0.1 of 20 servers busy, waits 50.0 ms on average, p99 0.20 s; the load doesn't explain such waits: \
             look at transactions that stay open, at shared limits, at connecting to PostgreSQL and at bursts.",
        ),
        (
            Measured {
                timeouts: 2,
                ..minute(0.0, 0.0, 0.0, Standing { wanting: 6, waiting: 1, ..standing(9, 5) })
            },
            "Too small: 5 of 5 servers taken; no transaction ended while 1 wait, 2 gave up waiting; see which \
             transactions stay open (SHOW WAITS, idle_transaction_timeout), or try 6.",
        ),
        (
            minute(1800.0, 10.0, 30.0, pinned),
            "Too small: 18 of 20 servers busy, waits 30.0 ms on average, p99 0.12 s, 1 of the reserve in use, 2 kept by \
             pinned clients; ",
        ),
    ] {
        let told = told(&measured);
        assert!(told.starts_with(sentence), "{told}");
    }
}

#[test]
fn the_busiest_period_of_the_hour_counts() {
    let (metrics, book, start) = (Metrics::new(1), Book::default(), Instant::now());
    let pool = metrics.pool("db", "user");
    let minute = Duration::from_secs(60);
    let mut now = start;
    let mut turn = |transactions: u64| {
        (0..transactions).for_each(|_| {
            pool.worker(0).transaction(2_000_000);
            pool.worker(0).assigned();
        });
        book.turn(&metrics, now);
        now += minute;
        book.advice(&metrics).remove(0)
    };
    assert_eq!(turn(500).measured.transactions, 0, "the first turn only begins");
    assert_eq!(turn(100).measured.transactions, 100);
    assert_eq!(turn(7_000).measured.transactions, 7_000);
    assert_eq!(turn(10).measured.transactions, 7_000);
    let told = turn(0);
    assert_eq!((&*told.database, &*told.user), ("db", "user"));
    assert!((told.measured.busy() - 7_000.0 * 0.002 / 60.0).abs() < 1e-6 && told.measured.scv < 0.05);
    let later = (0..60).map(|_| turn(1)).last();
    assert_eq!(later.map(|told| told.measured.transactions), Some(1), "an hour later it is forgotten");
    metrics.remove("db", "user");
    assert!(book.advice(&metrics).is_empty());
}
