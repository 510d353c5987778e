//! What counting costs a transaction, and what a scrape of many pools costs the main thread.

use criterion::Criterion;
use pgweir::metrics::{Exposition, Metrics};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const WORKERS: usize = 2;
const POOLS: usize = 1000;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    updates(&mut criterion);
    scrape(&mut criterion);
    criterion.final_summary();
}

fn updates(criterion: &mut Criterion) {
    let metrics = Metrics::new(WORKERS);
    let pool = metrics.pool("db", "user");
    let mut group = criterion.benchmark_group("count");
    group.bench_function("bytes", |bencher| {
        bencher.iter(|| pool.worker(black_box(0)).client_bytes(black_box(64), 0));
    });
    group.bench_function("a time", |bencher| {
        let mut ns = 1;
        bencher.iter(|| {
            ns = ns * 5 % 1_000_003;
            pool.worker(black_box(0)).transaction(ns * 1_000);
        });
    });
    group.finish();
}

fn scrape(criterion: &mut Criterion) {
    let metrics = Arc::new(Metrics::new(WORKERS));
    for number in 0..POOLS {
        let pool = metrics.pool(&format!("database_{}", number / 10), &format!("user_{}", number % 10));
        for worker in 0..WORKERS {
            let cells = pool.worker(worker);
            for ns in [50_000, 200_000, 3_000_000] {
                cells.transaction(ns);
                cells.query(ns);
                cells.wait(ns);
            }
            cells.client_bytes(1_000, 10_000);
            cells.server_bytes(10_000, 1_000);
        }
        pool.login_ok(2_000_000);
        pool.server_connected(5_000_000);
    }
    let exposition = Exposition::new(metrics);
    let mut group = criterion.benchmark_group("scrape");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    group.bench_function(format!("{POOLS} pools"), |bencher| {
        bencher.iter(|| exposition.render().expect("the table of families is valid"));
    });
    group.finish();
}
