//! The life of sessions at its edges: servers lost before they are fit, late cancels, logins nobody waits for any more,
//! clients that don't read, reloads, and what a client is told at login compared with PostgreSQL itself.

mod support;

use std::io;
use std::time::Duration;

use rustix::process::Signal;
use support::cluster::{Cluster, Version};
use support::fake_server::FakeServer;
use support::messages::{self, backend, close_statement, flush, parse, query, startup, sync};
use support::pgweir::{Config, Pgweir};
use support::raw::{Address, Client, Target, V3_0};
use support::{eventually, process};

fn hang_up<T>() -> io::Result<T> {
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn to_fake(server: &FakeServer) -> Config {
    Config::to(server.address()).set("default_pool_size", 1).set("server_login_retry", "100ms")
}

/// A database of that name with a single server, without passwords.
fn one_server(database: &str, settings: impl FnOnce(Config) -> Config) -> (&'static Cluster, Pgweir, Target) {
    let cluster = Cluster::shared();
    cluster.create_database(database);
    let config = Config::new(cluster).database(database, cluster.address()).set("auth_type", "trust");
    let pgweir = Pgweir::start(&settings(config.set("default_pool_size", 1)));
    let target = pgweir.target("app", database);
    (cluster, pgweir, target)
}

/// Nothing of the client's was sent yet, so another server serves it, without a further byte of the client.
#[test]
fn a_server_lost_at_its_reset_is_replaced() {
    let server = FakeServer::start(|conn| {
        conn.welcome()?;
        if conn.number > 0 {
            return conn.serve();
        }
        conn.serve_until("DISCARD").and_then(|_| hang_up())
    });
    let pgweir = Pgweir::start(&to_fake(&server));
    let (mut first, mut second) = (pgweir.client(), pgweir.client());
    first.query("LISTEN a");
    assert_eq!(second.value("SELECT 1"), "1");
    assert_eq!(server.connections(), 2);
    server.finish();
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
