//! What must not depend on how many threads serve the clients: every count is exact, and cancel, reload, timeouts and
//! shutdown do what they do with one.

mod support;

use std::sync::Barrier;
use std::time::Duration;

use support::cluster::Cluster;
use support::eventually;
use support::messages::query;
use support::pgweir::{Config, Pgweir};
use support::raw::{Client, Target};

use pgweir::timer;
use tokio::runtime::Builder;

const CLIENTS: usize = 24;
const ROUNDS: usize = 100;

/// Each client's round: two transactions, four queries.
const ROUND: [&str; 4] = ["BEGIN", "SELECT 1", "COMMIT", "SELECT 2"];

fn load(target: &Target) -> Vec<Client> {
    let begin = Barrier::new(CLIENTS);
    let work = || {
        let mut client = Client::connect(target);
        begin.wait();
        for sql in (0..ROUNDS).flat_map(|_| ROUND) {
            client.query(sql);
        }
        client
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        clients.into_iter().map(|client| client.join().expect("no error")).collect()
    })
}

fn counts_are_exact(pgweir: &Pgweir) {
    let total = |name: &str, label: &str| {
        pgweir.metric(&format!("pgweir_pool_{name}_total"), &["database=\"workers\"", "user=\"app\"", label])
    };
    let rounds = (CLIENTS * ROUNDS) as f64;
    let bytes: usize = ROUND.iter().map(|sql| query(sql).len()).sum();
    eventually("all are counted", || total("transactions", "") >= 2.0 * rounds);
    assert_eq!(total("transactions", ""), 2.0 * rounds);
    assert_eq!(total("queries", ""), 4.0 * rounds);
    assert_eq!(total("client_bytes", "direction=\"in\""), rounds * bytes as f64);
    assert_eq!(total("client_bytes", "direction=\"out\""), total("server_bytes", "direction=\"in\""));
}

fn a_cancel_reaches_its_query(client: &mut Client, cluster: &Cluster, workers: i64) {
    client.send(&query(&format!("SELECT pg_sleep(60) /* by {workers} */")));
    eventually("it runs", || {
        cluster.connections(&format!("state = 'active' AND query LIKE '%/* by {workers} */%'")) == 1
    });
    client.cancel();
    let replies = client.read_until_ready();
    assert!(replies.iter().any(|reply| reply.tag == b'E' && reply.sqlstate() == "57014"), "{replies:?}");
}

/// The whole life of a process with that many workers.
fn live(workers: i64) {
    let cluster = Cluster::start(support::cluster::Version::V15);
    cluster.create_database("workers");
    let config = Config::new(&cluster).database("workers", cluster.address()).set("auth_type", "trust");
    let config = config.set("workers", workers).set("default_pool_size", 5);
    let pgweir = Pgweir::start(&config);
    // What pgweir asks for itself when a database's first server opens is counted with the servers' bytes.
    Client::connect(&pgweir.target("trusty", "workers")).query("SELECT 1");
    let mut clients = load(&pgweir.target("app", "workers"));
    counts_are_exact(&pgweir);
    a_cancel_reaches_its_query(&mut clients[0], &cluster, workers);

    clients[0].query("BEGIN");
    pgweir.reload(&config.set("default_pool_size", 1).set("client_idle_timeout", 1));
    eventually("the janitor has sent the idle away and closed what is too much", || {
        let gauge = |name: &str| {
            pgweir.metric(&format!("pgweir_pool_{name}"), &["database=\"workers\"", "user=\"app\""])
        };
        gauge("clients") == 1.0 && gauge("servers") == 1.0
    });
    clients[0].query("COMMIT");
    assert!(pgweir.stop().success());
}

#[test]
fn one_worker() {
    live(1);
}

#[test]
fn two_workers() {
    live(2);
}

#[test]
fn four_workers() {
    live(4);
}

#[test]
fn a_runtime_without_timers_can_wait() {
    let keeper = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let worker = Builder::new_multi_thread().worker_threads(1).enable_io().build().expect("a runtime");
    timer::keep(keeper.handle());
    let (moment, long) = (Duration::from_millis(1), Duration::from_secs(3600));
    let waits = worker.spawn(async move {
        timer::sleep(moment).await;
        assert!(timer::timeout(moment, std::future::pending::<()>()).await.is_err());
        assert_eq!(timer::timeout(long, async { 1 }).await.ok(), Some(1));
        // As libraries do it.
        let late = async { tokio::time::timeout(moment, std::future::pending::<()>()).await.is_err() };
        timer::with_keeper(late).await
    });
    assert!(keeper.block_on(waits).expect("no panic"));
}
