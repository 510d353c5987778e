//! Many clients through few servers: the bounds hold at every instant, nobody is forgotten in the queue, and what one
//! client did to its session is invisible to the next. Each test has a database of its own to count in.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::cluster::Cluster;
use support::fake_server::FakeServer;
use support::messages::{backend, bind, describe_portal, execute, parse, query, startup, sync};
use support::pgweir::{Config, Pgweir};
use support::raw::{Client, Target, V3_0};
use support::{PATIENCE, eventually};

/// A database of that name, and pgweir in front of it; clients need no password, to save the machine the hashing.
fn start(database: &str, settings: impl FnOnce(Config) -> Config) -> (&'static Cluster, Pgweir, Target) {
    let cluster = Cluster::shared();
    cluster.create_database(database);
    let config = Config::new(cluster).database(database, cluster.address()).set("auth_type", "trust");
    let pgweir = Pgweir::start(&settings(config));
    let target = pgweir.target("app", database);
    (cluster, pgweir, target)
}

fn servers(cluster: &Cluster, database: &str) -> usize {
    cluster.connections(&format!("datname = '{database}' AND usename <> 'postgres'"))
}

/// Runs `load` while sampling how many servers the database has; the most there ever were.
fn most_servers_during(cluster: &Cluster, database: &str, load: impl FnOnce()) -> usize {
    let (done, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut watcher = Client::connect(&cluster.target("postgres", "postgres"));
            let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(watcher.value(&sql).parse().expect("a count"), Ordering::Relaxed);
            }
        });
        load();
        done.store(true, Ordering::Relaxed);
    });
    most.into_inner()
}

#[test]
fn three_hundred_clients_over_ten_servers() {
    let (cluster, pgweir, target) = start("many", |config| config.set("default_pool_size", 10));
    let client = |number: usize| {
        let mut client = Client::connect(&target);
        for round in 0..10 {
            client.query("BEGIN");
            assert_eq!(
                client.value(&format!("SELECT {number} * 100 + {round}")),
                (number * 100 + round).to_string()
            );
            client.query("COMMIT");
            client.send(
                &[parse("s", "SELECT $1::text"), bind("", "s", &[Some("mine")]), execute("", 0)].concat(),
            );
            client.send(&[support::messages::close_statement("s"), sync()].concat());
            let words: Vec<String> = client.read_until_ready().iter().map(ToString::to_string).collect();
            assert_eq!(words, ["1", "2", "D [Some(\"mine\")]", "C SELECT 1", "3", "Z I"]);
        }
        client.terminate();
    };
    let most = most_servers_during(cluster, "many", || {
        std::thread::scope(|scope| {
            (0..300).for_each(|number| drop(scope.spawn(move || client(number))));
        });
    });
    assert!((1..=10).contains(&most), "{most} servers");
    eventually("all have left", || pgweir.metric("pgweir_pool_clients", &["database=\"many\""]) == 0.0);
    assert_eq!(pgweir.metric("pgweir_pool_transactions_total", &["database=\"many\""]), 6000.0);
}

#[test]
fn waiters_are_served_in_the_order_they_came() {
    let (_, pgweir, target) = start("fifo", |config| config.set("default_pool_size", 1));
    let mut holder = Client::connect(&target);
    holder.query("CREATE SEQUENCE turn");
    holder.query("BEGIN");
    let mut waiters: Vec<Client> = (0..20).map(|_| Client::connect(&target)).collect();
    for (before, waiter) in waiters.iter_mut().enumerate() {
        waiter.send(&query("SELECT nextval('turn')"));
        pgweir.wait_for_waiting(before + 1);
    }
    holder.query("COMMIT");
    for (turn, waiter) in waiters.iter_mut().enumerate() {
        let replies = waiter.read_until_ready();
        assert_eq!(replies[1].columns()[0].as_deref(), Some((turn + 1).to_string().as_str()));
    }
}

#[test]
fn the_reserve_serves_a_patient_waiter_only() {
    let (cluster, pgweir, target) = start("reserve", |config| {
        config.set("default_pool_size", 2).set("reserve_pool_size", 2).set("reserve_pool_timeout", "300ms")
    });
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(&target)).collect();
    for client in &mut clients[..2] {
        client.query("BEGIN");
    }
    assert_eq!(servers(cluster, "reserve"), 2);
    for client in &mut clients[2..4] {
        client.query("BEGIN");
    }
    assert_eq!(servers(cluster, "reserve"), 4);
    clients[4].send(&query("SELECT 5"));
    pgweir.wait_for_waiting(1);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(servers(cluster, "reserve"), 4, "the reserve has its own bound");
    clients[0].query("COMMIT");
    assert_eq!(clients[4].read_until_ready().last().expect("a reply").to_string(), "Z I");
}

#[test]
fn without_reserve_the_pool_size_is_the_bound() {
    let (cluster, pgweir, target) = start("bound", |config| config.set("default_pool_size", 2));
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&target)).collect();
    clients[0].query("BEGIN");
    clients[1].query("BEGIN");
    clients[2].send(&query("SELECT 3"));
    pgweir.wait_for_waiting(1);
    assert_eq!(servers(cluster, "bound"), 2);
    clients[1].query("ROLLBACK");
    clients[2].read_until_ready();
    assert_eq!(servers(cluster, "bound"), 2);
}

/// All waiters time out: each is told so, and the server they waited for is not lost.
#[test]
fn waiting_too_long_is_an_error_and_costs_nothing() {
    let (_, pgweir, target) =
        start("timeout", |config| config.set("default_pool_size", 1).set("query_wait_timeout", 1));
    let mut holder = Client::connect(&target);
    holder.query("BEGIN");
    let mut waiters: Vec<Client> = (0..5).map(|_| Client::connect(&target)).collect();
    waiters.iter_mut().for_each(|waiter| waiter.send(&query("SELECT 1")));
    for waiter in &mut waiters {
        let error = waiter.read();
        assert_eq!((error.tag, error.sqlstate().as_str()), (b'E', "57014"), "{error}");
        assert!(error.field(b'M').expect("a text").contains("query_wait_timeout"), "{error}");
    }
    assert_eq!(holder.value("SELECT 2"), "2");
    holder.query("COMMIT");
    pgweir.wait_for_waiting(0);
    assert_eq!(Client::connect(&target).value("SELECT 3"), "3");
    assert_eq!(pgweir.metric("pgweir_pool_wait_timeouts_total", &["database=\"timeout\""]), 5.0);
}

/// A waiter that leaves is skipped; the next in line is served.
#[test]
fn a_waiter_that_leaves_is_skipped() {
    let (_, pgweir, target) = start("skipped", |config| config.set("default_pool_size", 1));
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&target)).collect();
    clients[0].query("BEGIN");
    for (before, client) in clients[1..].iter_mut().enumerate() {
        client.send(&query("SELECT 1"));
        pgweir.wait_for_waiting(before + 1);
    }
    drop(clients.remove(1));
    pgweir.wait_for_waiting(1);
    clients[0].query("COMMIT");
    assert_eq!(clients[1].read_until_ready().last().expect("a reply").to_string(), "Z I");
}

#[test]
fn forty_clients_vanish_at_once() {
    let (cluster, pgweir, target) = start("vanish", |config| config.set("default_pool_size", 5));
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(&target)).collect();
    clients.iter_mut().for_each(|client| client.send(&query("SELECT pg_sleep(30) /* vanish */")));
    pgweir.wait_for_waiting(35);
    drop(clients);
    eventually("nobody is left", || pgweir.metric("pgweir_pool_clients", &["database=\"vanish\""]) == 0.0);
    eventually("their queries are cancelled", || {
        cluster.connections("datname = 'vanish' AND state = 'active' AND query LIKE '%pg_sleep%'") == 0
    });
    let mut next: Vec<Client> = (0..5).map(|_| Client::connect(&target)).collect();
    for client in &mut next {
        assert!(client.query("BEGIN").iter().all(|message| message.tag != b'E'));
    }
    assert!(servers(cluster, "vanish") <= 5);
}

#[test]
fn idle_servers_are_closed() {
    let (cluster, _pgweir, target) = start("idle", |config| config.set("server_idle_timeout", 1));
    let mut client = Client::connect(&target);
    assert_eq!(client.value("SELECT 1"), "1");
    assert_eq!(servers(cluster, "idle"), 1);
    eventually("the idle server is closed", || servers(cluster, "idle") == 0);
    assert_eq!(client.value("SELECT 2"), "2");
}

#[test]
fn old_servers_are_replaced_but_never_in_a_transaction() {
    let (cluster, _pgweir, target) =
        start("old", |config| config.set("server_lifetime", 1).set("default_pool_size", 1));
    let mut client = Client::connect(&target);
    client.query("BEGIN");
    let backend = client.value("SELECT pg_backend_pid()");
    client.query("SELECT pg_sleep(1.5)");
    assert_eq!(client.value("SELECT pg_backend_pid()"), backend);
    client.query("COMMIT");
    eventually("it is replaced or closed", || cluster.connections(&format!("pid = {backend}")) == 0);
    assert_ne!(client.value("SELECT pg_backend_pid()"), backend);
}

#[test]
fn a_statement_survives_its_server() {
    let (_, _pgweir, target) =
        start("rotate", |config| config.set("server_lifetime", 0).set("default_pool_size", 1));
    let mut client = Client::connect(&target);
    client.send(&[parse("s", "SELECT $1::text || pg_backend_pid()"), sync()].concat());
    client.read_until_ready();
    let mut run = || {
        client.send(&[bind("", "s", &[Some("on ")]), execute("", 0), sync()].concat());
        client.read_until_ready()[1].to_string()
    };
    let seen: std::collections::BTreeSet<String> = (0..5).map(|_| run()).collect();
    assert!(seen.iter().all(|row| row.starts_with("D [Some(\"on ")), "{seen:?}");
    assert!(seen.len() > 1, "each server is used once: {seen:?}");
}

#[test]
fn the_minimum_is_kept_open() {
    let (cluster, _pgweir, target) = start("minimum", |config| config.set("min_pool_size", 3));
    let mut client = Client::connect(&target);
    assert_eq!(client.value("SELECT 1"), "1");
    eventually("three servers", || servers(cluster, "minimum") == 3);
    cluster
        .sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'minimum'");
    eventually("three servers again", || servers(cluster, "minimum") == 3);
}

/// Two users share a database whose cap is one: the idle server of one makes room for the other.
#[test]
fn a_shared_cap_evicts_the_idle() {
    let (cluster, _pgweir, target) = start("cap", |config| config.set("max_db_connections", 1));
    let other = Target { user: "trusty".to_owned(), ..target.clone() };
    let (mut first, mut second) = (Client::connect(&target), Client::connect(&other));
    let most = most_servers_during(cluster, "cap", || {
        for _ in 0..20 {
            assert_eq!(first.value("SELECT current_user"), "app");
            assert_eq!(second.value("SELECT current_user"), "trusty");
        }
    });
    // A backend that was told to leave may still be seen for a moment.
    assert!(most <= 2, "{most} servers");
}

/// A cap that is made smaller closes idle servers at once, and busy ones as they come back though others wait.
#[test]
fn a_shared_cap_lowered_is_kept() {
    let mut own = None;
    let (cluster, pgweir, target) = start("lowered", |config| {
        own.insert(config.set("default_pool_size", 6).set("admin_users", "trusty")).clone()
    });
    let own = own.expect("a configuration");
    let mut console = Client::connect(&pgweir.target("trusty", "pgweir"));
    let mut clients: Vec<_> = (0..6).map(|_| Client::connect(&target)).collect();
    let mut all = |sql| clients.iter_mut().for_each(|client| drop(client.query(sql)));
    for cap in ["max_db_connections", "max_user_connections", "max_server_connections"] {
        all("BEGIN");
        all("COMMIT");
        assert_eq!(servers(cluster, "lowered"), 6);
        console.query(&format!("SET {cap} = 2"));
        eventually("the idle are closed", || servers(cluster, "lowered") == 2);
        console.query(&format!("SET {cap} = 0"));
    }
    let mut other = Client::connect(&Target { user: "trusty".to_owned(), ..target.clone() });
    all("BEGIN");
    pgweir.reload(&own.put("databases.lowered", "max_db_connections", 2));
    eventually("it is in force", || pgweir.log().contains("changed from unset to 2"));
    other.send(&query("SELECT 1"));
    all("COMMIT");
    other.read_until_ready();
    eventually("the busy are closed", || servers(cluster, "lowered") == 2);
}

/// Under the same cap nobody starves while the other user has work without end.
#[test]
fn a_shared_cap_starves_nobody() {
    let (_, _pgweir, target) = start("starve", |config| config.set("max_db_connections", 1));
    let other = Target { user: "trusty".to_owned(), ..target.clone() };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut busy = Client::connect(&target);
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(busy.value("SELECT 1"), "1");
                }
            });
        }
        let mut patient = Client::connect(&other);
        patient.set_timeout(PATIENCE);
        let served = patient.rows("SELECT 1").is_ok();
        done.store(true, Ordering::Relaxed);
        assert!(served);
    });
}

#[test]
fn session_mode_keeps_the_server_and_cleans_it() {
    let (cluster, _pgweir, target) =
        start("session", |config| config.set("pool_mode", "session").set("default_pool_size", 1));
    let mut client = Client::connect(&target);
    let backend = client.value("SELECT pg_backend_pid()");
    client.query("SET work_mem = '7MB'; CREATE TEMP TABLE mine (); PREPARE p AS SELECT 1; LISTEN a");
    client.query("SELECT pg_advisory_lock(7)");
    assert_eq!(client.value("SELECT pg_backend_pid()"), backend);
    client.terminate();
    let mut next = Client::connect(&target);
    assert_eq!(next.value("SELECT pg_backend_pid()"), backend);
    assert_eq!(next.value("SHOW work_mem"), "4MB");
    assert_eq!(next.value("SELECT count(*) FROM pg_class WHERE relname = 'mine'"), "0");
    assert_eq!(next.value("SELECT count(*) FROM pg_prepared_statements WHERE name = 'p'"), "0");
    assert_eq!(next.value("SELECT count(*) FROM pg_listening_channels()"), "0");
    assert_eq!(cluster.value("session", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");
}

/// In transaction mode, with a single server: what one client leaves behind, the next does not see.
#[test]
fn nothing_of_a_session_leaks_to_the_next() {
    let (_, _pgweir, target) = start("leak", |config| config.set("default_pool_size", 1));
    let residue = "SELECT current_setting('work_mem') || (SELECT count(*) FROM pg_prepared_statements WHERE name = 'p') || \
                   (SELECT count(*) FROM pg_listening_channels()) || (SELECT count(*) FROM pg_cursors) || \
                   (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) || \
                   (SELECT count(*) FROM pg_class WHERE relpersistence = 't') || current_user || \
                   coalesce(current_setting('my.own', true), '')";
    for dirt in [
        "SET work_mem = '7MB'",
        "BEGIN; SET work_mem = '7MB'; COMMIT",
        "SELECT set_config('work_mem', '7MB', false)",
        "DO $$BEGIN PERFORM set_config('work_mem', '7MB', false); END$$",
        "PREPARE p AS SELECT 1",
        "LISTEN a",
        "SELECT pg_advisory_lock(7)",
        "CREATE TEMP TABLE mine ()",
        "SELECT 1 INTO TEMP mine",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "SET ROLE pg_monitor",
        "SET my.own = 'x'",
    ] {
        let mut clean = Client::connect(&target);
        let before = clean.value(residue);
        let mut client = Client::connect(&target);
        client.query(dirt);
        // In the meantime it must have left, for what cannot be handed on keeps its server.
        client.terminate();
        assert_eq!(clean.value(residue), before, "after {dirt}");
    }
}

/// Two clients with different settings alternate on one server; each sees its own.
#[test]
fn settings_follow_their_client() {
    let (_, _pgweir, target) = start("settings", |config| config.set("default_pool_size", 1));
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&target)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.query(&format!("SET application_name = 'client {number}'"));
        client.query(&format!("SET statement_timeout = {}", 60_000 + number));
    }
    for _ in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.value("SHOW application_name"), format!("client {number}"));
        }
    }
    clients[1].query("BEGIN");
    clients[1].query("SET application_name = 'undone'");
    clients[1].query("ROLLBACK");
    assert_eq!(clients[1].value("SHOW application_name"), "client 1");
    clients[2].query("RESET application_name");
    assert_eq!(clients[2].value("SHOW application_name"), "");
    assert_eq!(clients[0].value("SHOW application_name"), "client 0");
}

/// The same names for different statements, on one server.
#[test]
fn statement_names_are_each_client_s_own() {
    let (_, _pgweir, target) = start("names", |config| config.set("default_pool_size", 1));
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(&target)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&[parse("s", &format!("SELECT {number}")), sync()].concat());
        client.expect(&["1", "Z I"]);
    }
    for _ in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&[bind("", "s", &[]), execute("", 0), sync()].concat());
            client.expect(&["2", &format!("D [Some(\"{number}\")]"), "C SELECT 1", "Z I"]);
        }
    }
}

#[test]
fn more_statements_than_a_server_keeps() {
    let (cluster, _pgweir, target) =
        start("evicted", |config| config.set("default_pool_size", 1).set("max_prepared_statements", 10));
    let mut client = Client::connect(&target);
    for round in 0..3 {
        let batch: Vec<u8> = (0..50)
            .flat_map(|n| {
                let name = format!("s{n}");
                let parse = if round == 0 { parse(&name, &format!("SELECT {n}")) } else { Vec::new() };
                [parse, bind("", &name, &[]), execute("", 0)].concat()
            })
            .collect();
        client.send(&[batch, sync()].concat());
        let rows: Vec<String> =
            client.read_until_ready().iter().filter(|m| m.tag == b'D').map(ToString::to_string).collect();
        assert_eq!(rows, (0..50).map(|n| format!("D [Some(\"{n}\")]")).collect::<Vec<_>>(), "round {round}");
    }
    let kept: usize = client.value("SELECT count(*) FROM pg_prepared_statements").parse().expect("a count");
    assert!(kept <= 10, "{kept} statements");
    assert_eq!(servers(cluster, "evicted"), 1);
}

#[test]
fn a_reload_changes_the_pool_size() {
    let cluster = Cluster::shared();
    cluster.create_database("reload");
    let config = Config::new(cluster).database("reload", cluster.address()).set("auth_type", "trust");
    let pgweir = Pgweir::start(&config.clone().set("default_pool_size", 1));
    let target = pgweir.target("app", "reload");
    let (mut first, mut second) = (Client::connect(&target), Client::connect(&target));
    first.query("BEGIN");
    second.send(&query("SELECT 2"));
    pgweir.wait_for_waiting(1);
    pgweir.reload(&config.set("default_pool_size", 2));
    assert_eq!(second.read_until_ready().last().expect("a reply").to_string(), "Z I");
    first.query("COMMIT");
}

#[test]
fn term_lets_a_transaction_end() {
    let (_, pgweir, target) = start("term", |config| config);
    let (mut busy, mut idle) = (Client::connect(&target), Client::connect(&target));
    busy.query("BEGIN");
    support::process::signal(pgweir.pid(), rustix::process::Signal::TERM);
    let goodbye = idle.read_to_end();
    assert!(goodbye.iter().all(|message| message.sqlstate() == "57P01"), "{goodbye:?}");
    assert_eq!(busy.value("SELECT 1"), "1");
    let committed = busy.query("COMMIT");
    assert_eq!(committed[0].to_string(), "C COMMIT");
    assert!(pgweir.stop().success());
}

/// The statement `s` run: how many columns there were, or the error. The client is told of the columns, or goes by what it knows.
fn run_prepared(client: &mut Client, parse_it: bool, told: bool) -> Result<u8, String> {
    let parse_it = if parse_it { parse("s", "SELECT * FROM t") } else { Vec::new() };
    let describe = if told { describe_portal("") } else { Vec::new() };
    client.send(&[parse_it, bind("", "s", &[]), describe, execute("", 0), sync()].concat());
    let replies = client.read_until_ready();
    if let Some(error) = replies.iter().find(|m| m.tag == b'E') {
        return Err(error.sqlstate().to_owned());
    }
    let columns = |tag| replies.iter().find(|m| m.tag == tag).map(|m| m.body[1]);
    assert!(!told || columns(b'T') == columns(b'D'), "{replies:?}");
    Ok(columns(b'D').expect("a row"))
}

/// A table is altered through pgweir under prepared statements: nothing fails where the client is told of its columns, or
/// prepares the statement anew, also within the transaction that altered it.
#[test]
fn an_altered_table_fails_nobody() {
    let (cluster, pgweir, target) = start("altered_here", |config| {
        config
            .set("default_pool_size", 2)
            .database("migrations", Cluster::shared().address())
            .put("databases.migrations", "dbname", "altered_here")
            .put("databases.migrations", "pool_mode", "session")
    });
    cluster
        .sql("altered_here", "CREATE TABLE t (a int); INSERT INTO t VALUES (1); ALTER TABLE t OWNER TO app");
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(&target)).collect();
    // Each on a server of its own.
    clients.iter_mut().for_each(|client| drop(client.query("BEGIN")));
    clients.iter_mut().for_each(|client| assert_eq!(run_prepared(client, true, true), Ok(1)));
    clients.iter_mut().for_each(|client| drop(client.query("COMMIT")));
    for (columns, database) in [(2, "altered_here"), (3, "migrations"), (4, "altered_here")] {
        let mut altering = Client::connect(&pgweir.target("app", database));
        altering.query("BEGIN");
        altering.query(&format!("ALTER TABLE t ADD b{columns} int"));
        assert_eq!(run_prepared(&mut altering, true, false), Ok(columns));
        altering.query("COMMIT");
        clients.iter_mut().for_each(|client| drop(client.query("BEGIN")));
        clients.iter_mut().for_each(|client| assert_eq!(run_prepared(client, false, true), Ok(columns)));
        let mut newcomer = Client::connect(&target);
        clients.iter_mut().for_each(|client| drop(client.query("COMMIT")));
        assert_eq!(run_prepared(&mut newcomer, true, false), Ok(columns));
    }
}

/// A table is altered past pgweir under a prepared statement. It works on, on every server, for
/// whoever is told of its columns or prepares it anew; whoever goes by the old ones is told so, as by PostgreSQL.
#[test]
fn an_altered_table_is_prepared_anew() {
    let (cluster, _pgweir, target) = start("altered", |config| config.set("default_pool_size", 2));
    cluster.sql("altered", "CREATE TABLE t (a int); INSERT INTO t VALUES (1); GRANT ALL ON t TO PUBLIC");
    let run = run_prepared;
    let refused = Err("0A000".to_owned());
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(&target)).collect();
    // Each on a server of its own.
    clients.iter_mut().for_each(|client| drop(client.query("BEGIN")));
    clients.iter_mut().for_each(|client| assert_eq!(run(client, true, false), Ok(1)));
    clients.iter_mut().for_each(|client| drop(client.query("COMMIT")));
    cluster.sql("altered", "ALTER TABLE t ADD b int");
    assert_eq!(run(&mut clients[0], false, true), Ok(2));
    for _ in 0..3 {
        clients.iter_mut().for_each(|client| drop(client.query("BEGIN")));
        assert_eq!(run(&mut clients[0], false, true), Ok(2));
        clients.iter_mut().for_each(|client| drop(client.query("COMMIT")));
        assert_eq!(run(&mut clients[1], false, false), refused);
        clients[1].query("SELECT 1");
    }
    assert_eq!(run(&mut clients[1], false, true), Ok(2));
    assert_eq!(run(&mut Client::connect(&target), true, false), Ok(2));
}

/// Names of databases that don't exist leave no pool behind.
#[test]
fn invented_databases_are_forgotten() {
    let cluster = Cluster::shared();
    let config = Config::new(cluster).set("auth_type", "trust").database("\"*\"", cluster.address());
    let pgweir = Pgweir::start(&config);
    for i in 0..5 {
        let refusal =
            Client::try_connect(&pgweir.target("app", &format!("invented{i}"))).map(drop).expect_err("none");
        assert_eq!(refusal.error().sqlstate(), "3D000");
    }
    assert!(!pgweir.http("/metrics").1.contains("invented"));
}

/// Nor do those whose client leaves before PostgreSQL has said so.
#[test]
fn invented_databases_of_who_has_left_are_forgotten() {
    let (asked, answer) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let server = FakeServer::start({
        let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
        move |conn| {
            asked.store(true, Ordering::SeqCst);
            eventually("the client has left", || answer.load(Ordering::SeqCst));
            conn.send(&backend::error("FATAL", "3D000", "database \"invented\" does not exist"))
        }
    });
    let config = Config::new(Cluster::shared()).set("auth_type", "trust").database("\"*\"", server.address());
    let pgweir = Pgweir::start(&config);
    let mut client = Client::open(&pgweir.target("app", "invented").address).expect("it listens");
    client.send(&startup(V3_0, &[("user", "app"), ("database", "invented")]));
    eventually("PostgreSQL is asked", || asked.load(Ordering::SeqCst));
    let waits = || {
        let metrics = pgweir.http("/metrics").1;
        let mut lines =
            metrics.lines().filter(|line| line.contains("state=\"waiting\"") && line.contains("invented"));
        lines.any(|line| !line.ends_with(" 0"))
    };
    assert!(waits());
    drop(client);
    eventually("nobody waits", || !waits());
    answer.store(true, Ordering::SeqCst);
    eventually("it is forgotten", || !pgweir.http("/metrics").1.contains("invented"));
    server.finish();
}
