//! What pgweir costs beside PgBouncer on this machine: CPU time of a transaction and of a login, memory of an idle client.
//! A throwaway PostgreSQL, pgbench as the load, both poolers in turn with the same settings. `make bench` runs it.

mod options;
mod pgbench;
mod pgbouncer;
mod pooler;
mod process;
mod report;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;

use options::Options;
use pgbench::{CLIENTS, Pgbench, Workload};
use pgbouncer::Program;
use pooler::{Kind, Pooler};
use report::Row;
use rustix::process::{Resource, getrlimit};
use support::cluster::{Cluster, Version};
use support::raw::{Client, Target};

/// Server connections of the one pool.
const SERVERS: u32 = 20;
/// max_prepared_statements
const STATEMENTS: u32 = 200;
/// server_lifetime in seconds: no server is replaced meanwhile.
const LIFETIME: u32 = 86_400;
/// Idle clients whose memory is measured.
const IDLE: u32 = 2_000;
/// File descriptors that are not idle clients', in each process.
const FILES: u32 = 200;

/// What both poolers are started with.
struct Setup<'a> {
    cluster: &'a Cluster,
    /// The SCRAM secret of user `app` as PostgreSQL stores it: neither pooler knows the password.
    verifier: String,
    /// max_client_conn
    clients: u32,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("compare: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let options = Options::from_arguments()?;
    let kinds = kinds()?;
    println!("Starting a throwaway PostgreSQL …");
    let cluster = Cluster::with_settings(Version::V15, &["shared_buffers=256MB"]);
    let pgbench = Pgbench::of(&cluster);
    pgbench.fill(&cluster);
    let verifier = cluster.value("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'");
    let setup = Setup { cluster: &cluster, verifier, clients: IDLE + 2 * CLIENTS };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "PostgreSQL {}, {cores} cores, {CLIENTS} clients, {SERVERS} servers, rounds: {}, each measurement {} s.\n",
        cluster.value("postgres", "SHOW server_version"),
        options.rounds,
        options.seconds,
    );
    let mut rows = rounds(&kinds, &setup, &pgbench, &options);
    rows.push(idle_memory(&kinds, &setup));
    report::table(&kinds, &rows);
    Ok(())
}

/// PgBouncer, if there is one, and pgweir.
fn kinds() -> Result<Vec<Kind>, String> {
    let mut kinds = Vec::new();
    match Program::find() {
        Ok(program) => {
            println!("{} ({})", program.version, program.path.display());
            if !program.keeps_statements() {
                println!(
                    "It is too old to keep prepared statements: `prepared` is measured for pgweir only."
                );
            }
            kinds.push(Kind::PgBouncer(program));
        }
        Err(why) => println!("{why}.\nMeasuring pgweir alone."),
    }
    kinds.push(Kind::own()?);
    println!("pgweir {}", env!("CARGO_PKG_VERSION"));
    Ok(kinds)
}

/// All workloads in every round, the poolers one right after the other, in turns the first.
fn rounds(kinds: &[Kind], setup: &Setup<'_>, pgbench: &Pgbench, options: &Options) -> Vec<Row> {
    let poolers: Vec<Pooler> = kinds.iter().map(|kind| kind.start(setup)).collect();
    for pooler in &poolers {
        pgbench.run(Workload::Simple, pooler.port(), 1);
    }
    let mut rows = Workload::ALL.map(|workload| Row::new(workload.name(), "µs", kinds.len()));
    for round in 1..=options.rounds {
        for (workload, row) in Workload::ALL.into_iter().zip(&mut rows) {
            for turn in 0..kinds.len() {
                let at = (turn + round as usize) % kinds.len();
                if workload == Workload::Prepared && !kinds[at].keeps_statements() {
                    continue;
                }
                let (each, transactions) = measure(&poolers[at], pgbench, workload, options.seconds);
                row.values[at].push(each);
                println!(
                    "round {round}/{}  {:<9} {:<10} {each:>8.2} µs  {transactions:>7} transactions",
                    options.rounds,
                    workload.name(),
                    kinds[at].name(),
                );
            }
        }
    }
    rows.into()
}

/// CPU time a transaction, in µs, and the number of transactions.
fn measure(pooler: &Pooler, pgbench: &Pgbench, workload: Workload, seconds: u32) -> (f64, u64) {
    let before = process::cpu_time(pooler.pid());
    let transactions = pgbench.run(workload, pooler.port(), seconds);
    let used = process::cpu_time(pooler.pid()).saturating_sub(before);
    (used.as_secs_f64() * 1e6 / transactions as f64, transactions)
}

/// What clients add to a fresh process that log in and say nothing more.
fn idle_memory(kinds: &[Kind], setup: &Setup<'_>) -> Row {
    let files =
        getrlimit(Resource::Nofile).current.map_or(u32::MAX, |n| u32::try_from(n).unwrap_or(u32::MAX));
    let clients = IDLE.min(files.saturating_sub(FILES));
    let mut row = Row::new("idle client", "KiB", kinds.len());
    for (kind, values) in kinds.iter().zip(&mut row.values) {
        let pooler = kind.start(setup);
        let target = Target::tcp(([127, 0, 0, 1], pooler.port()).into(), "app", "app");
        Client::connect(&target).query("SELECT 1");
        let before = process::resident(pooler.pid());
        let idle: Vec<Client> = (0..clients).map(|_| Client::connect(&target)).collect();
        let grown = process::resident(pooler.pid()).saturating_sub(before);
        values.push(grown as f64 / f64::from(clients.max(1)));
        println!("idle       {clients} clients {:<10} {grown:>8} KiB more", kind.name());
        drop(idle);
    }
    row
}
