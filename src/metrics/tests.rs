//! The registry and its cells as other modules use them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use super::*;

struct Fixed(AtomicUsize);

impl Gauges for Fixed {
    fn gauges(&self) -> PoolGauges {
        self.0.fetch_add(1, Ordering::Relaxed);
        PoolGauges { servers_idle: 3, size_limit: Some(20), ..PoolGauges::default() }
    }
}

fn observed(pool: &PoolMetrics) -> Arc<Fixed> {
    let fixed = Arc::new(Fixed(AtomicUsize::new(0)));
    let gauges: Arc<dyn Gauges> = fixed.clone();
    pool.observe(Arc::downgrade(&gauges));
    fixed
}

#[test]
fn cells_of_all_workers_are_summed() {
    const WORKERS: usize = 3;
    let metrics = Metrics::new(WORKERS);
    let pool = metrics.pool("app", "alice");
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let cells = pool.worker(worker);
            scope.spawn(move || {
                for _ in 0..10_000 {
                    cells.transaction(1_000_000);
                    cells.query(50_000);
                    cells.queries(2);
                    cells.assigned();
                    cells.wait(7);
                    cells.client_bytes(10, 20);
                    cells.server_bytes(30, 40);
                    cells.server_error(*b"23");
                    cells.pinned(PinReason::TempTable);
                }
            });
        }
        pool.main_thread().reset();
    });
    let totals = pool.totals();
    let n = 10_000 * WORKERS as u64;
    assert_eq!((totals.transactions(), totals.queries(), totals.assignments()), (n, 3 * n, 2 * n));
    assert_eq!((totals.client_in, totals.client_out), (10 * n, 20 * n));
    assert_eq!((totals.server_in, totals.server_out), (30 * n, 40 * n));
    assert_eq!((totals.transaction.sum(), totals.wait.sum()), (1_000_000 * n, 7 * n));
    assert_eq!(totals.errors.by_postgresql().collect::<Vec<_>>(), [("23", n)]);
    assert_eq!(
        totals.pins().find(|(reason, _)| *reason == PinReason::TempTable),
        Some((PinReason::TempTable, n))
    );
    assert_eq!(totals.resets, 1);
}

fn numbers(totals: &Totals) -> [u64; 10] {
    [
        totals.transactions(),
        totals.queries(),
        totals.assignments(),
        totals.resets,
        totals.replays,
        totals.client_parses,
        totals.server_parses,
        totals.parse_hits,
        totals.binds,
        totals.evicted_statements,
    ]
}

type Method = fn(&Cells);

#[test]
fn every_cell_method_counts_its_own_number_only() {
    let cases: &[(usize, Method)] = &[
        (0, |cells| cells.transaction(1)),
        (1, |cells| cells.query(1)),
        (1, |cells| cells.queries(1)),
        (2, |cells| cells.wait(1)),
        (2, Cells::assigned),
        (3, Cells::reset),
        (4, Cells::replay),
        (5, |c| c.statements(1, 0, 0, 0)),
        (6, |c| c.statements(0, 1, 0, 0)),
        (7, |c| c.statements(0, 0, 1, 0)),
        (8, |c| c.statements(0, 0, 0, 1)),
        (9, Cells::statement_evicted),
    ];
    for (at, count) in cases {
        let pool = Metrics::new(1).pool("d", "u");
        count(pool.worker(0));
        let mut expected = [0; 10];
        expected[*at] = 1;
        assert_eq!(numbers(&pool.totals()), expected, "number {at}");
    }
}

#[test]
fn a_pool_is_made_once_and_can_be_removed() {
    let metrics = Metrics::new(1);
    let first = metrics.pool("app", "alice");
    first.worker(0).assigned();
    assert!(Arc::ptr_eq(&first, &metrics.pool("app", "alice")));
    assert!(!Arc::ptr_eq(&first, &metrics.pool("app", "bob")));
    assert_eq!(metrics.pools().iter().map(|p| p.user().to_owned()).collect::<Vec<_>>(), ["alice", "bob"]);
    metrics.remove("app", "alice");
    first.worker(0).assigned();
    assert_eq!(metrics.pools().len(), 1);
    assert_eq!(metrics.pool("app", "alice").totals().assignments(), 0);
}

#[test]
fn no_worker_index_panics_or_meets_a_worker() {
    let pool = Metrics::new(2).pool("d", "u");
    pool.worker(usize::MAX).assigned();
    assert!(std::ptr::eq(pool.worker(2), pool.main_thread()));
    assert!(std::ptr::eq(pool.worker(99), pool.main_thread()));
    assert!(!std::ptr::eq(pool.worker(1), pool.main_thread()));
    Metrics::new(0).pool("d", "u").worker(0).transaction(1);
}

#[test]
fn past_the_bound_pools_share_one_nameless_entry() {
    let metrics = Arc::new(Metrics::new(1));
    for i in 0..POOLS_MAX {
        metrics.pool("d", &i.to_string());
    }
    let (one, two) = (metrics.pool("late", "a"), metrics.pool("late", "b"));
    assert!(Arc::ptr_eq(&one, &two));
    assert_eq!((one.database(), one.user()), ("", ""));
    let fixed = observed(&one);
    assert_eq!(one.gauges(), None);
    assert_eq!(fixed.0.load(Ordering::Relaxed), 0);
    assert_eq!((metrics.pools().len(), metrics.scraped().len()), (POOLS_MAX, POOLS_MAX + 1));
    assert_eq!(metrics.pool("d", "17").user(), "17");
}

#[test]
fn a_failed_login_counts_for_the_pool_and_the_process() {
    let metrics = Metrics::new(1);
    let pool = metrics.pool("app", "alice");
    pool.login_failed(LoginFailure::Timeout);
    metrics.login_failed(LoginFailure::Timeout);
    let of = |mut it: Box<dyn Iterator<Item = (LoginFailure, u64)> + '_>| {
        it.find(|(reason, _)| *reason == LoginFailure::Timeout).unwrap().1
    };
    assert_eq!(of(Box::new(pool.events().login_failures())), 1);
    assert_eq!(of(Box::new(metrics.process.login_failures())), 2);
}

#[test]
fn a_pool_that_is_gone_has_no_gauges() {
    let pool = Metrics::new(1).pool("app", "alice");
    assert_eq!(pool.gauges(), None);
    let fixed = observed(&pool);
    assert_eq!(pool.gauges().unwrap().servers_idle, 3);
    drop(fixed);
    assert_eq!(pool.gauges(), None);
    let never: Weak<Fixed> = Weak::new();
    pool.observe(never);
    assert_eq!(pool.gauges(), None);
}

#[test]
fn a_scrape_asks_each_pool_once_and_makes_no_cells() {
    let metrics = Arc::new(Metrics::new(2));
    let exposition = Exposition::new(Arc::clone(&metrics));
    let pools: Vec<_> = (0..1_000).map(|i| metrics.pool("app", &format!("user{i}"))).collect();
    let fixed: Vec<_> = pools.iter().map(|pool| observed(pool)).collect();
    pools[0].worker(1).transaction(1);
    let lines = exposition.render().unwrap().lines().count();
    assert!(fixed.iter().all(|f| f.0.load(Ordering::Relaxed) == 1));
    assert_eq!(pools.iter().map(|pool| pool.blocks_in_use()).sum::<usize>(), 1);
    // Two lines of HELP and TYPE a family, and what a pool costs.
    assert!(lines < 1_000 * 165 + 2 * FAMILIES.len() + 50, "{lines}");
}

#[test]
fn labels_are_legal_and_distinct() {
    fn check(labels: Vec<&str>) {
        let distinct: std::collections::BTreeSet<_> = labels.iter().collect();
        assert_eq!(distinct.len(), labels.len());
        assert!(labels.iter().all(|l| l.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')), "{labels:?}");
    }
    check(LoginFailure::ALL.iter().map(|l| l.label()).collect());
    check(Refusal::ALL.iter().map(|l| l.label()).collect());
    check(CloseReason::ALL.iter().map(|l| l.label()).collect());
    check(PinReason::ALL.iter().map(|l| l.label()).collect());
    check(CancelOutcome::ALL.iter().map(|l| l.label()).collect());
}
