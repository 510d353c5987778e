//! The numbers at the beginning and at the end of the last period, so that the console can tell what went on a second.

use crate::clock::Instant;
use crate::metrics::{Metrics, PoolMetrics};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::{AddAssign, Sub};
use std::time::Duration;

/// What SHOW STATS counts, in its order. Times are in µs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) assignments: u64,
    pub(super) transactions: u64,
    pub(super) queries: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) transaction_time: u64,
    pub(super) query_time: u64,
    pub(super) wait_time: u64,
    pub(super) client_parses: u64,
    pub(super) server_parses: u64,
    pub(super) binds: u64,
    pub(super) logins: u64,
}

impl Sums {
    /// How many there are.
    const COUNT: usize = 12;

    /// Of one pool since it exists.
    pub(super) fn of(pool: &PoolMetrics) -> Self {
        let totals = pool.totals();
        Self {
            assignments: totals.assignments(),
            transactions: totals.transactions(),
            queries: totals.queries(),
            received: totals.client_in,
            sent: totals.client_out,
            transaction_time: totals.transaction.sum() / 1000,
            query_time: totals.query.sum() / 1000,
            wait_time: totals.wait.sum() / 1000,
            client_parses: totals.client_parses,
            server_parses: totals.server_parses,
            binds: totals.binds,
            logins: pool.events().login.count(),
        }
    }

    /// All of them, in SHOW STATS's order.
    pub(super) fn all(&self) -> [u64; Self::COUNT] {
        [
            self.assignments,
            self.transactions,
            self.queries,
            self.received,
            self.sent,
            self.transaction_time,
            self.query_time,
            self.wait_time,
            self.client_parses,
            self.server_parses,
            self.binds,
            self.logins,
        ]
    }

    fn from_all(all: [u64; Self::COUNT]) -> Self {
        let [assignments, transactions, queries, received, sent, transaction_time, query_time, ..] = all;
        let [.., wait_time, client_parses, server_parses, binds, logins] = all;
        Self {
            assignments,
            transactions,
            queries,
            received,
            sent,
            transaction_time,
            query_time,
            wait_time,
            client_parses,
            server_parses,
            binds,
            logins,
        }
    }

    fn zip(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let (own, others) = (self.all(), other.all());
        Self::from_all(std::array::from_fn(|at| with(own[at], others[at])))
    }

    /// What it comes to a second, and for the times of transactions and queries, each. Wait time is a second's, as in
    /// PgBouncer.
    fn average(self, period: Duration) -> Self {
        let micros = period.as_micros().max(1);
        let a_second = |n: u64| u64::try_from(u128::from(n) * 1_000_000 / micros).unwrap_or(u64::MAX);
        let rates = Self::from_all(self.all().map(a_second));
        Self {
            transaction_time: self.transaction_time.checked_div(self.transactions).unwrap_or(0),
            query_time: self.query_time.checked_div(self.queries).unwrap_or(0),
            ..rates
        }
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        *self = self.zip(other, u64::wrapping_add);
    }
}

/// Never below zero: a pool may have been forgotten and made again.
impl Sub for Sums {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }
}

/// The last period.
#[derive(Debug, Default)]
pub struct Averages(Mutex<Periods>);

#[derive(Debug, Default)]
struct Periods {
    /// At the end of the last period, by database.
    latest: HashMap<Box<str>, Sums>,
    taken: Option<Instant>,
    averages: HashMap<Box<str>, Sums>,
    /// Of all databases together: each transaction weighs the same.
    whole: Sums,
}

impl Averages {
    /// A period is over and the next begins. The first call only begins, and returns false.
    pub fn turn(&self, metrics: &Metrics, now: Instant) -> bool {
        let latest = by_database(metrics);
        let mut periods = self.0.lock();
        if let Some(begun) = periods.taken {
            let before = |name: &str| periods.latest.get(name).copied().unwrap_or_default();
            let of_period = latest.iter().map(|(name, sums)| (name, *sums - before(name)));
            let (mut whole, mut averages) = (Sums::default(), HashMap::new());
            for (name, sums) in of_period {
                whole += sums;
                averages.insert(name.clone(), sums.average(now - begun));
            }
            periods.whole = whole.average(now - begun);
            periods.averages = averages;
        }
        periods.latest = latest;
        periods.taken.replace(now).is_some()
    }

    /// The last period in PgBouncer's words, for the log.
    pub fn line(&self) -> String {
        let whole = self.whole();
        format!(
            "stats: {} xacts/s, {} queries/s, in {} B/s, out {} B/s, xact {} us, query {} us, wait {} us",
            whole.transactions,
            whole.queries,
            whole.received,
            whole.sent,
            whole.transaction_time,
            whole.query_time,
            whole.wait_time,
        )
    }

    /// Of all databases.
    pub(super) fn whole(&self) -> Sums {
        self.0.lock().whole
    }

    /// Of a database.
    pub(super) fn of(&self, database: &str) -> Sums {
        self.0.lock().averages.get(database).copied().unwrap_or_default()
    }
}

/// What each database's pools have counted.
pub(super) fn by_database(metrics: &Metrics) -> HashMap<Box<str>, Sums> {
    let mut databases: HashMap<Box<str>, Sums> = HashMap::new();
    for pool in metrics.pools() {
        *databases.entry(pool.database().into()).or_default() += Sums::of(&pool);
    }
    databases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_the_last_period() {
        let (metrics, averages, start) = (Metrics::new(1), Averages::default(), Instant::now());
        let cells = |user| {
            let pool = metrics.pool("db", user);
            move |n: u64| {
                (0..n).for_each(|_| pool.worker(0).transaction_of_one_query(30_000));
                pool.worker(0).wait(2_000_000);
                pool.worker(0).client_bytes(100 * n, 300 * n);
                pool.login_ok(1);
            }
        };
        let (one, other) = (cells("one"), cells("other"));
        one(1000);
        averages.turn(&metrics, start);
        assert_eq!(averages.of("db"), Sums::default(), "the first turn only begins");
        one(30);
        other(10);
        averages.turn(&metrics, start + Duration::from_secs(10));
        let told = averages.of("db");
        assert_eq!((told.transactions, told.queries, told.assignments, told.logins), (4, 4, 0, 0));
        assert_eq!((told.transaction_time, told.query_time), (30, 30));
        assert_eq!((told.received, told.sent, told.wait_time), (400, 1200, 400));
        assert_eq!((averages.of("none"), averages.whole()), (Sums::default(), told));
        averages.turn(&metrics, start + Duration::from_secs(20));
        assert_eq!(averages.of("db"), Sums::default(), "nothing since");
        let all = by_database(&metrics)["db"];
        assert_eq!((all.transactions, all.wait_time, all.logins), (1040, 6000, 3));
    }

    #[test]
    fn times_of_all_are_those_of_a_transaction() {
        let (metrics, averages, start) = (Metrics::new(1), Averages::default(), Instant::now());
        averages.turn(&metrics, start);
        for (database, transactions, nanos) in [("quick", 30, 1_000), ("slow", 10, 9_000), ("idle", 0, 0)] {
            let pool = metrics.pool(database, "u");
            (0..transactions).for_each(|_| pool.worker(0).transaction_of_one_query(nanos));
        }
        averages.turn(&metrics, start + Duration::from_secs(100));
        let whole = averages.whole();
        assert_eq!((whole.transaction_time, whole.query_time, whole.transactions), (3, 3, 0));
        assert!(averages.line().contains("xact 3 us, query 3 us"), "{}", averages.line());
    }

    #[test]
    fn sums_keep_their_order() {
        let sums = Sums::from_all(std::array::from_fn(|at| at as u64));
        assert_eq!((sums.assignments, sums.query_time, sums.wait_time, sums.logins), (0, 6, 7, 11));
        assert_eq!(Sums::from_all(sums.all()), sums);
    }
}
