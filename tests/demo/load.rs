//! The load: clients that move money between accounts, each on a connection of its own for all the time. Money is
//! neither made nor lost, so the end shows whether transactions were kept apart.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, LocalSet};
use tokio_postgres::{Client, NoTls, Statement};

use super::PORT;
use super::options::Options;
use super::support::cluster::Cluster;
use super::support::raw;

const ACCOUNTS: i32 = 10_000;

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) clients: usize,
    pub(crate) elapsed: Duration,
    pub(crate) transactions: u64,
    /// One line each, for the first few.
    pub(crate) errors: Vec<String>,
    pub(crate) error_count: usize,
    pub(crate) most_servers: usize,
    /// Times of whole transactions as the clients saw them, sorted.
    pub(crate) times: Vec<Duration>,
    pub(crate) balanced: bool,
    pub(crate) interrupted: bool,
}

#[derive(Default)]
struct Tally {
    connected: Cell<usize>,
    transactions: Cell<u64>,
    error_count: Cell<usize>,
    errors: RefCell<Vec<String>>,
    times: RefCell<Vec<Duration>>,
    over: Cell<bool>,
}

impl Tally {
    fn error(&self, error: &tokio_postgres::Error) {
        self.error_count.set(self.error_count.get() + 1);
        if self.errors.borrow().len() < 5 {
            let text = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
            self.errors.borrow_mut().push(text);
        }
    }
}

/// Runs until the time is over or somebody presses Ctrl-C.
pub(crate) async fn drive(cluster: &Cluster, options: &Options) -> Result<Outcome, String> {
    cluster.sql(
        "app",
        &format!(
            "CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL) WITH (fillfactor = 50); GRANT ALL ON \
             account TO PUBLIC; INSERT INTO account SELECT n, 0 FROM generate_series(0, {ACCOUNTS} - 1) n"
        ),
    );
    let watch = Watch::start(cluster);
    let tally = Rc::new(Tally::default());
    let started = Instant::now();
    let interrupted = LocalSet::new().run_until(run_clients(options, &tally, &watch)).await;
    let elapsed = started.elapsed();
    if std::io::stdout().is_terminal() {
        println!();
    }
    let most_servers = watch.stop();
    let mut times = tally.times.take();
    times.sort_unstable();
    Ok(Outcome {
        clients: tally.connected.get(),
        elapsed,
        transactions: tally.transactions.get(),
        errors: tally.errors.take(),
        error_count: tally.error_count.get(),
        most_servers,
        times,
        balanced: cluster.value("app", "SELECT sum(balance) FROM account") == "0",
        interrupted,
    })
}

/// True if it was interrupted.
async fn run_clients(options: &Options, tally: &Rc<Tally>, watch: &Watch) -> bool {
    let mut clients = JoinSet::new();
    for number in 0..options.clients {
        let tally = Rc::clone(tally);
        clients.spawn_local(async move {
            if let Err(error) = run_client(number, &tally).await {
                tally.error(&error);
            }
        });
    }
    let mut interrupt = std::pin::pin!(interrupted());
    let mut interrupted = false;
    for second in 1..=options.seconds {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => progress(second, tally, watch),
            () = &mut interrupt => {
                interrupted = true;
                break;
            }
        }
    }
    tally.over.set(true);
    let everyone_left = async { while clients.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(30), everyone_left).await.is_err() {
        tally.error_count.set(tally.error_count.get() + 1);
        tally.errors.borrow_mut().push("some clients were not served within 30 s".to_owned());
    }
    interrupted
}

fn progress(second: u64, tally: &Tally, watch: &Watch) {
    let total = tally.transactions.get();
    let line = format!(
        "{second:>4} s  {:>5} clients  {:>3} servers  {total:>9} transactions  {:>7} /s  {} errors",
        tally.connected.get(),
        watch.now.load(Ordering::Relaxed),
        total / second,
        tally.error_count.get(),
    );
    if std::io::stdout().is_terminal() {
        print!("\r{line}");
        std::io::stdout().flush().ok();
    } else {
        println!("{line}");
    }
}

async fn run_client(number: usize, tally: &Tally) -> Result<(), tokio_postgres::Error> {
    let url =
        format!("host=127.0.0.1 port={PORT} user=app password=secret-app dbname=app application_name=demo");
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    let connection = tokio::task::spawn_local(connection);
    tally.connected.set(tally.connected.get() + 1);
    let update = client.prepare("UPDATE account SET balance = balance + $2 WHERE id = $1").await?;
    let mut random = Random(number as u64 + 1);
    while !tally.over.get() {
        let started = Instant::now();
        transfer(&mut client, &update, &mut random).await?;
        tally.times.borrow_mut().push(started.elapsed());
        tally.transactions.set(tally.transactions.get() + 1);
    }
    drop(client);
    connection.await.expect("the connection's task does not panic")
}

/// One transaction by a prepared statement; accounts are locked in the order of their ids, so nobody deadlocks.
async fn transfer(
    client: &mut Client,
    update: &Statement,
    random: &mut Random,
) -> Result<(), tokio_postgres::Error> {
    let (a, b) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
    let amount = random.below(100);
    let transaction = client.transaction().await?;
    let (low, high) = (a.min(b), a.max(b));
    transaction.execute(update, &[&low, &amount]).await?;
    transaction.execute(update, &[&high, &-amount]).await?;
    transaction.commit().await
}

/// Xorshift: the load needs no better.
struct Random(u64);

impl Random {
    fn below(&mut self, end: i32) -> i32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i32::try_from(self.0 % u64::from(end.unsigned_abs())).expect("below an i32")
    }
}

/// Ends at Ctrl-C or TERM.
pub(crate) async fn interrupted() {
    let mut term = signal(SignalKind::terminate()).expect("signals can be awaited");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}

/// Counts, several times a second, the connections PostgreSQL itself sees.
struct Watch {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Watch {
    fn start(cluster: &Cluster) -> Self {
        let (now, most, done) = (Arc::default(), Arc::default(), Arc::default());
        let thread = std::thread::spawn({
            let mut client = raw::Client::connect(&cluster.target("postgres", "postgres"));
            let (now, most, done): (Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicBool>) =
                (Arc::clone(&now), Arc::clone(&most), Arc::clone(&done));
            move || {
                while !done.load(Ordering::Relaxed) {
                    let count = client.value("SELECT count(*) FROM pg_stat_activity WHERE datname = 'app'");
                    now.store(count.parse().unwrap_or(usize::MAX), Ordering::Relaxed);
                    most.fetch_max(now.load(Ordering::Relaxed), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        });
        Self { now, most, done, thread }
    }

    fn stop(self) -> usize {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch does not panic");
        self.most.load(Ordering::Relaxed)
    }
}
