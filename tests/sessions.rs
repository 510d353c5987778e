//! The life of sessions at its edges: servers lost before they are fit, late cancels, logins nobody waits for any more,
//! clients that don't read, reloads, and what a client is told at login compared with PostgreSQL itself.

mod support;

use std::io;
use std::time::Duration;

use rustix::process::Signal;
use support::cluster::{Cluster, Version};
use support::fake_server::FakeServer;
use support::messages::{
    self, backend, bind, close_statement, copy_data, copy_done, execute, flush, parse, query, startup, sync,
    terminate,
};
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
    let pgweir = Pgweir::start(&to_fake(&server).set("session_state", "discard"));
    let (mut first, mut second) = (pgweir.client(), pgweir.client());
    first.query("SELECT dblink_disconnect('x')");
    assert_eq!(second.value("SELECT 1"), "1");
    assert_eq!(server.connections(), 2);
    server.finish();
}

/// Bytes that complete a row the server broke off would pass for the row's.
#[test]
fn no_error_is_put_into_a_row_broken_off() {
    let row = backend::data_row(&["a value of some length"]);
    let broken = row[..12].to_vec();
    let sent = [backend::row_description(1), broken.clone()].concat();
    let server = FakeServer::start(move |conn| {
        conn.welcome()?;
        conn.serve_until("marker")?;
        conn.send(&sent)?;
        hang_up()
    });
    let pgweir = Pgweir::start(&to_fake(&server));
    let mut client = pgweir.client();
    client.send(&query("SELECT 'marker'"));
    client.expect(&["T…"]);
    assert_eq!(client.drain().escape_ascii().to_string(), broken.escape_ascii().to_string());
    server.finish();
}

/// A cancel that PostgreSQL answers too late may still come: no other client's query is there for it to hit.
#[test]
fn a_cancel_that_comes_late_hits_nobody_else() {
    let cluster = Cluster::start(Version::V15);
    let config = Config::new(&cluster).set("default_pool_size", 1).set("cancel_wait_timeout", "100ms");
    let pgweir = Pgweir::start(&config.set("auth_type", "trust"));
    let (mut first, mut second) = (pgweir.client(), pgweir.client());
    assert_eq!(second.value("SELECT 1"), "1");
    first.send(&query("SELECT pg_sleep(1)"));
    eventually("it runs", || pgweir.clients("active") == 1);
    cluster.freeze();
    first.cancel();
    second.send(&query("SELECT pg_sleep(2), 'mine'"));
    assert_eq!(first.read_until_ready().last().expect("a reply").to_string(), "Z I");
    std::thread::sleep(Duration::from_millis(100));
    cluster.thaw();
    let replies = second.read_until_ready();
    assert_eq!(replies[1].to_string(), "D [Some(\"\"), Some(\"mine\")]", "{replies:?}");
}

/// Who left while its parameters waited for a server is in nobody's way.
#[test]
fn a_login_that_is_given_up_leaves_the_line() {
    let (_, pgweir, target) = one_server("given_up", |config| config);
    let mut holder = Client::connect(&target);
    holder.query("BEGIN");
    let mut newcomer = Client::open(&target.address).expect("it listens");
    let parameters = [("user", "app"), ("database", "given_up"), ("work_mem", "5MB")];
    newcomer.send(&startup(V3_0, &parameters));
    pgweir.wait_for_waiting(1);
    drop(newcomer);
    pgweir.wait_for_waiting(0);
}

/// What pgweir answers itself is bounded like what it passes on.
#[test]
fn answers_nobody_reads_take_no_memory() {
    let (_, pgweir, target) = one_server("answers", |config| config);
    let mut client = Client::connect(&target);
    client.send(&[query("BEGIN"), parse("s", "SELECT 1"), close_statement("s"), sync()].concat());
    client.read_until_ready();
    client.read_until_ready();
    let batch = [parse("s", "SELECT 1"), close_statement("s"), flush()].concat().repeat(1000);
    client.give_up_sending_after(Duration::from_secs(2));
    let before = resident_kib(pgweir.pid());
    let mut sent = 0;
    while sent < 200_000_000 && client.try_send(&batch).is_ok() {
        sent += batch.len();
    }
    let grown = resident_kib(pgweir.pid()).saturating_sub(before);
    assert!(grown < 20_000, "{grown} KiB more after {sent} bytes");
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// A client's words can't make lines of their own in the log.
#[test]
fn the_log_has_one_line_an_event() {
    let (_, pgweir, target) = one_server("log", |config| config);
    for (name, value) in
        [("options", "x\nforged"), ("nothing", "\nforged"), ("work_mem", "\u{1b}[31m\nforged")]
    {
        Client::try_connect(&target.clone().parameter(name, value)).map(|_| ()).expect_err(name);
    }
    let nowhere = Target { database: "no\nforged".to_owned(), ..target.clone() };
    Client::try_connect(&nowhere).map(|_| ()).expect_err("no such database");
    eventually("it is logged", || {
        pgweir.log().contains("no such database") || pgweir.log().matches("refused").count() >= 4
    });
    assert!(!pgweir.log().contains("\nforged") && !pgweir.log().contains('\u{1b}'));
}

/// Everything but the order.
#[test]
fn the_login_tells_what_postgresql_tells() {
    let (cluster, pgweir, target) = one_server("tells", |config| config);
    let sets: &[&[(&str, &str)]] = &[
        &[],
        &[("application_name", "psql")],
        &[("application_name", "naïve ✓")],
        &[("application_name", "tab\tand newline\n")],
        &[("application_name", &"long ".repeat(20))],
        &[("client_encoding", "latin1")],
        &[("client_encoding", "SQL_ASCII"), ("application_name", "é")],
        &[("options", "-c datestyle=german -c search_path=a,b"), ("TimeZone", "europe/berlin")],
        &[("datestyle", "dmy")],
        &[("options", "-c application_name=from\\ options")],
        &[("extra_float_digits", "3"), ("intervalstyle", "ISO_8601")],
        &[("standard_conforming_strings", "off"), ("default_transaction_read_only", "on")],
    ];
    for set in sets {
        let told = |target: Target| {
            let target = set.iter().fold(target, |target, (name, value)| target.parameter(name, value));
            let mut parameters = Client::connect(&target).parameters.clone();
            parameters.sort();
            parameters
        };
        let plain = Target { database: "tells".into(), ..cluster.target("app", "tells") };
        assert_eq!(told(target.clone()), told(plain), "{set:?}");
    }
    drop(pgweir);
}

/// What was remembered of a set of parameters holds though the database's own have changed.
#[test]
fn the_login_tells_the_client_s_values_whatever_the_defaults() {
    let (cluster, _pgweir, target) = one_server("defaults", |config| config);
    let zone = |target: &Target| Client::connect(target).parameter("TimeZone").map(str::to_owned);
    let set = |zone| cluster.sql("postgres", &format!("ALTER DATABASE defaults SET timezone = '{zone}'"));
    set("UTC");
    let chosen = target.clone().parameter("TimeZone", "UTC");
    assert_eq!(zone(&chosen).as_deref(), Some("UTC"));
    set("Europe/Berlin");
    let backends = "FROM pg_stat_activity WHERE datname = 'defaults'";
    cluster.sql("postgres", &format!("SELECT pg_terminate_backend(pid, 5000) {backends}"));
    let mut client = Client::connect(&target);
    assert_eq!(client.value("SHOW timezone"), "Europe/Berlin");
    assert_eq!(zone(&target).as_deref(), Some("Europe/Berlin"));
    assert_eq!(zone(&chosen).as_deref(), Some("UTC"));
    assert_eq!(Client::connect(&chosen).value("SHOW timezone"), "UTC");
}

/// The error is PostgreSQL's, and costs no server.
#[test]
fn wrong_parameters_are_refused_as_by_postgresql() {
    let (cluster, _pgweir, target) = one_server("wrong", |config| config);
    let mut client = Client::connect(&target);
    let backend = client.value("SELECT pg_backend_pid()");
    for (name, value) in [
        ("work_mem", "much"),
        ("nonsense", "1"),
        ("client_min_messages", "loud"),
        ("client_encoding", "klingon"),
        ("TimeZone", "Mars/Olympus"),
        ("datestyle", "never"),
        ("options", "-c statement_timeout=x"),
    ] {
        let refused = |target: Target| {
            let refusal = Client::try_connect(&target.parameter(name, value)).map(|_| ()).expect_err(name);
            let error = refusal.error();
            b"SVCMDH".map(|field| error.field(field))
        };
        assert_eq!(refused(target.clone()), refused(cluster.target("app", "wrong")), "{name}={value}");
        assert_eq!(client.value("SELECT pg_backend_pid()"), backend, "after {name}={value}");
    }
}

/// New servers go where the file says now; sessions follow.
#[test]
fn a_reload_moves_a_database() {
    let (old, new) = (Cluster::start(Version::V15), Cluster::start(Version::V15));
    let config = Config::new(&old).set("auth_type", "trust");
    let pgweir = Pgweir::start(&config);
    let mut client = pgweir.client();
    let port = |client: &mut Client| client.value("SHOW port");
    assert_eq!(port(&mut client), old.port.to_string());
    let mut busy = pgweir.client();
    busy.query("BEGIN");
    pgweir.reload(&config.database("app", new.address()));
    eventually("it is read", || pgweir.log().contains("configuration reloaded"));
    assert_eq!(port(&mut busy), old.port.to_string());
    busy.query("COMMIT");
    assert_eq!(port(&mut busy), new.port.to_string());
    assert_eq!(port(&mut client), new.port.to_string());
    assert_eq!(port(&mut pgweir.client()), new.port.to_string());
}

/// A password changed in PostgreSQL and in the file: the old one lets nobody in, the new one opens servers.
#[test]
fn a_reload_changes_a_password() {
    for auth_type in ["scram-sha-256", "password"] {
        let cluster = Cluster::start(Version::V15);
        let config = Config::new(&cluster).set("auth_type", auth_type).set("server_login_retry", "100ms");
        let pgweir = Pgweir::start(&config);
        let mut session = pgweir.client();
        assert_eq!(session.value("SELECT 1"), "1");
        cluster.sql("postgres", "ALTER ROLE app PASSWORD 'changed'");
        pgweir.reload(&config.clone().put("users.app", "password", "changed").without("users.plainuser"));
        eventually("it is read", || pgweir.log().contains("configuration reloaded"));
        let old =
            Client::try_connect(&pgweir.target("app", "app")).map(|_| ()).expect_err("the old password");
        assert_eq!(old.error().sqlstate(), "28P01");
        let gone = Client::try_connect(&pgweir.target("plainuser", "app")).map(|_| ()).expect_err("no user");
        assert_eq!(gone.error().sqlstate(), "28P01");
        cluster.sql(
            "postgres",
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'app'",
        );
        let mut client = Client::connect(&pgweir.target("app", "app").password("changed"));
        assert_eq!(client.value("SELECT 2"), "2", "{auth_type}");
        assert_eq!(session.value("SELECT 3"), "3", "{auth_type}");
    }
}

/// Stopped at once, pgweir leaves no query behind that nobody waits for.
#[test]
fn nothing_runs_on_after_a_stop() {
    let (cluster, pgweir, target) = one_server("stop", |config| config);
    let mut client = Client::connect(&target);
    client.send(&query("SELECT pg_sleep(60)"));
    let running = || cluster.connections("datname = 'stop' AND query LIKE '%pg_sleep%'");
    eventually("it runs", || running() == 1);
    process::signal(pgweir.pid(), Signal::INT);
    let goodbye = client.read_to_end();
    assert!(goodbye.iter().all(|message| message.sqlstate() == "57P01"), "{goodbye:?}");
    assert!(pgweir.stop().success());
    eventually("it is cancelled", || running() == 0);
}

/// PgBouncer's signals for PAUSE and RESUME.
#[test]
fn usr1_pauses_and_usr2_resumes() {
    let (_, pgweir, target) = one_server("usr", |config| config);
    let mut client = Client::connect(&target);
    client.query("BEGIN; SELECT 1");
    let signal = |signal, word: &str| {
        process::signal(pgweir.pid(), signal);
        eventually(word, || pgweir.log().contains(word));
    };
    signal(Signal::USR2, "USR2: there is no pause of all databases to end");
    signal(Signal::USR1, "USR1: all databases are paused: ");
    signal(Signal::USR1, "USR1: all databases are paused already");
    assert_eq!(client.value("SELECT 2"), "2", "a transaction goes on");
    client.query("COMMIT");
    client.send(&query("SELECT 3"));
    let waiting = || pgweir.metric("pgweir_pool_clients", &["database=\"usr\"", "state=\"waiting\""]);
    eventually("it waits", || waiting() == 1.0);
    signal(Signal::USR2, "USR2: the pause is over");
    assert_eq!(client.read_until_ready()[1].to_string(), "D [Some(\"3\")]");
}

/// What a client sends behind its password is not lost.
#[test]
fn a_query_may_follow_the_password() {
    let (_, pgweir, _) = one_server("behind", |config| config.set("auth_type", "password"));
    let mut client = Client::open(&Address::Tcp(pgweir.address())).expect("it listens");
    client.send(&startup(V3_0, &[("user", "app"), ("database", "behind")]));
    client.expect(&["R…"]);
    client.send(&[messages::password("secret-app"), query("SELECT 'behind'")].concat());
    client.read_until_ready();
    client.expect(&["T…", "D [Some(\"behind\")]", "C SELECT 1", "Z I"]);
}

/// A glued replay that failed concerns the client it was for; what follows on that server is judged by itself.
#[test]
fn a_replay_that_failed_is_not_held_against_the_next() {
    let server = FakeServer::start(|conn| {
        conn.welcome()?;
        conn.serve_until("first name")?;
        conn.send(&[backend::error("ERROR", "57014", "canceled"), backend::ready(b'I')].concat())?;
        conn.serve()
    });
    let pgweir = Pgweir::start(&to_fake(&server));
    let named =
        |name: &str| Client::connect(&pgweir.target("app", "app").parameter("application_name", name));
    assert_eq!(named("first name").value("SELECT 1"), "1");
    let mut client = named("first name");
    client.query("SELECT dblink_disconnect('x')");
    assert_eq!(named("second").value("SELECT 2"), "1");
    let seen = server.seen();
    assert_eq!(
        seen.iter().filter(|words| words.contains("set_config") && words.contains("first name")).count(),
        2,
        "{seen:#?}"
    );
    server.finish();
}

/// TERM under load: nobody loses a transaction, everybody is told, and it ends well.
#[test]
fn term_under_load_cuts_no_transaction() {
    let (cluster, pgweir, target) = one_server("drain", |config| config.set("default_pool_size", 4));
    cluster.sql("drain", "CREATE TABLE t (n int); GRANT ALL ON t TO PUBLIC");
    let work = || {
        let mut client = Client::connect(&target);
        let mut committed = 0;
        loop {
            let sent = client.try_send(&[query("BEGIN"), query("INSERT INTO t VALUES (1)")].concat());
            let mut replies = Vec::new();
            while sent.is_ok() && replies.iter().filter(|tag| **tag == b'Z').count() < 2 {
                match client.try_read().expect("whole messages") {
                    Some(message) if message.tag == b'E' => {
                        assert_eq!(message.sqlstate(), "57P01");
                        assert!(replies.is_empty(), "cut after {replies:?}");
                        return (committed, true);
                    }
                    Some(message) => replies.push(message.tag),
                    None => return (committed, false),
                }
            }
            if sent.is_err() {
                return (committed, false);
            }
            let commit = client.query("COMMIT");
            assert_eq!(commit[0].to_string(), "C COMMIT");
            committed += 1;
        }
    };
    let committed: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..20).map(|_| scope.spawn(work)).collect();
        eventually("they work", || {
            pgweir.metric("pgweir_pool_transactions_total", &["database=\"drain\""]) > 200.0
        });
        process::signal(pgweir.pid(), Signal::TERM);
        workers.into_iter().map(|worker| worker.join().expect("no transaction was cut").0).sum()
    });
    assert!(pgweir.stop().success());
    assert_eq!(cluster.value("drain", "SELECT count(*) FROM t"), committed.to_string());
}

/// Session mode counts as the others do.
#[test]
fn session_mode_counts_transactions() {
    let (_, pgweir, target) = one_server("counts", |config| config.set("pool_mode", "session"));
    let mut client = Client::connect(&target);
    for _ in 0..3 {
        client.query("BEGIN");
        client.query("SELECT 1");
        client.query("COMMIT");
    }
    client.query("SELECT 2");
    let metric = |name: &str| pgweir.metric(name, &["database=\"counts\""]);
    // The client may have its answer a moment before it is counted.
    eventually("ten queries and four transactions are counted", || {
        metric("pgweir_pool_queries_total") == 10.0 && metric("pgweir_pool_transactions_total") == 4.0
    });
}

/// Idle for less than the timeouts allow, again and again, at any moment of the janitor's round.
#[test]
fn idle_timeouts_never_come_early() {
    let (_, _pgweir, target) = one_server("early", |config| {
        config.set("client_idle_timeout", 2).set("idle_transaction_timeout", 2).put(
            "databases.early",
            "pool_size",
            20,
        )
    });
    let work = |number: u64| {
        let mut client = Client::connect(&target);
        let pause = || std::thread::sleep(Duration::from_millis(1300));
        std::thread::sleep(Duration::from_millis(number * 70));
        for _ in 0..2 {
            client.query("BEGIN");
            pause();
            client.query("COMMIT");
            pause();
        }
        let replies = client.read_to_end();
        assert_eq!(replies[0].sqlstate(), "57P05", "{replies:?}");
    };
    std::thread::scope(|scope| (0..10).for_each(|number| drop(scope.spawn(move || work(number)))));
}

/// A client that leaves while its server is being reset, or while its next message has to wait for replies, is missed.
#[test]
fn clients_that_leave_while_they_are_held_up() {
    let server = FakeServer::start(|conn| {
        conn.welcome()?;
        if conn.number > 0 {
            return conn.serve();
        }
        conn.serve_until("DISCARD").and_then(|_| conn.stall())
    });
    let pgweir = Pgweir::start(&to_fake(&server).set("session_state", "discard"));
    let (mut first, mut second) = (pgweir.client(), pgweir.client());
    first.query("SELECT dblink_disconnect('x')");
    second.send(&query("SELECT 'never seen'"));
    eventually("it is reset", || server.seen().iter().any(|words| words.contains("DISCARD")));
    drop(second);
    assert_eq!(first.value("SELECT 1"), "1");
    server.finish();

    let (cluster, _pgweir, target) = one_server("held_up", |config| config);
    let mut client = Client::connect(&target);
    let slow = [parse("", "SELECT pg_sleep(60)"), bind("", "", &[]), execute("", 0), sync()];
    let next = [close_statement("s"), parse("s", "SELECT 2"), sync()];
    client.send(&[parse("s", "SELECT 1"), slow.concat(), next.concat()].concat());
    let running =
        || cluster.connections("datname = 'held_up' AND state = 'active' AND query LIKE '%pg_sleep%'");
    eventually("it runs", || running() == 1);
    drop(client);
    eventually("it is cancelled", || running() == 0);
}

/// Nobody waits for a login that waits for a server: it is told at once, and so is whoever it keeps waiting too long.
#[test]
fn a_login_in_vain_is_told_why() {
    let nowhere: std::net::SocketAddr = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    };
    let pgweir = Pgweir::start(&Config::to(nowhere).set("client_login_timeout", 1));
    let error = Client::try_connect(&pgweir.target("app", "app")).map(drop).expect_err("no server");
    let error = error.error();
    assert_eq!(error.field(b'M').as_deref(), Some("client_login_timeout"));
    let detail = error.field(b'D').expect("the reason");
    assert!(detail.contains(&nowhere.to_string()) && detail.contains("refused"), "{detail}");

    let patient = Pgweir::start(&Config::to(nowhere));
    let target = patient.target("app", "app");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Client::try_connect(&target).map(drop).expect_err("no server"));
        eventually("it waits", || patient.log().contains("cannot open a server"));
        patient.stop();
        let told = waiting.join().expect("the client").error().clone();
        assert_eq!(told.sqlstate(), "57P01");
    });
    pgweir.stop();
}

/// A Sync in front of COPY data is ignored, unless the COPY fails before the server comes to it: then it is answered, when
/// the client has been told of the failure and somebody else waits for its server.
#[test]
fn a_ready_that_comes_late_is_its_clients() {
    let (late, awaited) = std::sync::mpsc::channel::<()>();
    let awaited = std::sync::Mutex::new(awaited);
    let server = FakeServer::scripted(move |conn| {
        while conn.read()?.tag != b'S' {}
        conn.send(&[messages::message(b'1', &[]), messages::message(b'2', &[])].concat())?;
        conn.send(&messages::message(b'G', &[0, 0, 0]))?;
        while conn.read()?.tag != b'S' {}
        conn.send(&[backend::error("ERROR", "42809", "no table"), backend::ready(b'I')].concat())?;
        awaited.lock().expect("one connection").recv().map_err(io::Error::other)?;
        conn.send(&backend::ready(b'I'))
    });
    let pgweir = Pgweir::start(&to_fake(&server));
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    client.send(&[parse("", "COPY marker"), bind("", "", &[]), execute("", 0), sync()].concat());
    client.expect(&["1…", "2…", "G…"]);
    other.send(&query("SELECT 'other'"));
    pgweir.wait_for_waiting(1);
    client.send(&[copy_data(b"1\n"), copy_done(), sync()].concat());
    client.expect(&["E…", "Z…"]);
    late.send(()).expect("the server is there");
    client.expect(&["Z…"]);
    other.expect(&["T…", "D…", "C…", "Z…"]);
    assert_eq!(client.value("SELECT 1"), "1");
    server.finish();
}

/// What is left of a message that was replaced by an error is no message.
#[test]
fn the_rest_of_a_refused_query_goes_nowhere() {
    let (_cluster, _pgweir, target) =
        one_server("refused_rest", |config| config.set("session_state", "strict"));
    let (mut client, mut other) = (Client::connect(&target), Client::connect(&target));
    let inner = [query("SET work_mem = '7MB'"), query("SELECT 'smuggled'")].concat();
    let text = [b"SET work_mem = '1MB'; SELECT '".to_vec(), vec![b'x'; 70_000]].concat();
    let length = u32::try_from(4 + text.len() + inner.len()).expect("short");
    client.send(&[&b"Q"[..], &length.to_be_bytes(), &text].concat());
    client.send(&inner);
    let replies = client.read_until_ready();
    assert_eq!(replies[0].sqlstate(), "0A000", "{replies:?}");
    assert_eq!(client.value("SELECT 'client'"), "client");
    assert_eq!(other.value("SHOW work_mem"), "4MB");
    let large = format!("SET work_mem = '5MB'; --{}", "x".repeat(1_200_000));
    client.send(&[parse("", &large), bind("", "", &[]), execute("", 0), sync()].concat());
    let replies = client.read_until_ready();
    assert!(replies.iter().any(|it| it.tag == b'E' && it.sqlstate() == "0A000"), "{replies:?}");
    assert_eq!(other.value("SHOW work_mem"), "4MB");
}

/// PostgreSQL takes a SET LOCAL back as the transaction ends, and says so when nobody listens.
#[test]
fn a_client_that_leaves_behind_a_set_local() {
    let (_cluster, _pgweir, target) = one_server("left_local", |config| config);
    let mut settled = Client::connect(&target);
    settled.query("SET datestyle = 'ISO, DMY'");
    for set in ["SET LOCAL datestyle = 'ISO, DMY'", "SELECT set_config('datestyle', 'ISO, DMY', true)"] {
        let mut leaving = Client::connect(&target);
        leaving.query("BEGIN");
        leaving.query(set);
        leaving.terminate();
        for _ in 0..2 {
            assert_eq!(
                settled.value("SELECT to_char('01/02/2020'::date, 'YYYY-MM-DD')"),
                "2020-02-01",
                "{set}"
            );
        }
    }
}

/// The reset of the session it would have got is cancelled with whatever else is under way for it.
#[test]
fn a_client_that_leaves_during_a_reset() {
    let reset = "SELECT pg_sleep(1); DISCARD ALL";
    let (cluster, _pgweir, target) = one_server("left_reset", |config| {
        config.set("session_state", "discard").set("server_reset_query", reset)
    });
    let mut first = Client::connect(&target);
    let (mut leaving, mut last) = (Client::connect(&target), Client::connect(&target));
    first.query("SET my.tenant = 'first'");
    leaving.send(&query("SELECT 1"));
    eventually("the reset runs", || {
        cluster.connections("query LIKE '%pg_sleep(1)%' AND state = 'active' AND datname = 'left_reset'") == 1
    });
    drop(leaving);
    assert_eq!(last.value("SELECT coalesce(current_setting('my.tenant', true), '')"), "");
}

/// A client that says what it wants, and goodbye, doesn't wait for the outcome; it is done all the same.
#[test]
fn what_was_asked_before_goodbye_is_done() {
    let (cluster, pgweir, target) = one_server("goodbye", |config| config);
    cluster.sql("goodbye", "CREATE TABLE t (n int)");
    cluster.sql("goodbye", "GRANT ALL ON t TO PUBLIC");
    let functions = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.2); RETURN new; END'";
    cluster.sql("goodbye", functions);
    cluster.sql("goodbye", "CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION slow()");
    let mut holding = Client::connect(&target);
    holding.query("BEGIN");
    let mut queued = Client::connect(&target);
    queued.send(&[query("INSERT INTO t VALUES (1)"), terminate()].concat());
    drop(queued);
    pgweir.wait_for_waiting(1);
    holding.query("COMMIT");
    let mut inspected = Client::connect(&target);
    inspected.query("SET work_mem = '5MB'");
    inspected.send(&[query("INSERT INTO t VALUES (2)"), terminate()].concat());
    drop(inspected);
    let mut copying = Client::connect(&target);
    copying.send(&query("COPY t FROM STDIN"));
    copying.expect(&["G…"]);
    copying.send(&[copy_data(b"3\n"), copy_done(), terminate()].concat());
    drop(copying);
    eventually("all three rows are there", || cluster.value("goodbye", "SELECT count(*) FROM t") == "3");
}

/// The rest of its COPY data never comes: nothing of it stays, and the server serves the next client.
#[test]
fn a_client_that_leaves_within_its_copy() {
    let (cluster, _pgweir, target) = one_server("copy_left", |config| config);
    cluster.sql("copy_left", "CREATE TABLE t (n int); GRANT ALL ON t TO PUBLIC");
    let copy = "COPY t FROM STDIN";
    let extended = [parse("", copy), bind("", "", &[]), execute("", 0), sync()].concat();
    for (begin, ending) in [
        (query(copy), terminate()),
        (query(copy), Vec::new()),
        (query("BEGIN; COPY t FROM STDIN"), terminate()),
        (
            query("COPY t FROM STDIN; COPY t FROM STDIN"),
            [copy_data(b"1\n"), copy_done(), terminate()].concat(),
        ),
        (extended, terminate()),
    ] {
        for waits in [false, true] {
            for data in [Vec::new(), copy_data(b"1\n")] {
                let mut client = Client::connect(&target);
                let server = client.value("SELECT pg_backend_pid()");
                if waits {
                    client.send(&begin);
                    client.read_until(|m| m.tag == b'G');
                    client.send(&[data, ending.clone()].concat());
                } else {
                    client.send(&[&*begin, &data, &ending].concat());
                }
                drop(client);
                let mut next = Client::connect(&target);
                let again = next.value("SELECT pg_backend_pid()");
                // Of a Sync ahead of the data nobody knows whether it is still to be answered.
                assert!(again == server || begin[0] == b'P', "{begin:?} {ending:?} {waits}");
                assert_eq!(next.value("SELECT count(*) FROM t"), "0", "{begin:?} {ending:?} {waits}");
            }
        }
    }
}

/// What the first query is told doesn't wait until the others have waited in vain, too.
#[test]
fn each_query_that_waits_in_vain_is_told_at_once() {
    let (_cluster, pgweir, target) = one_server("in_vain", |config| config.set("query_wait_timeout", 1));
    let mut holding = Client::connect(&target);
    holding.query("BEGIN");
    let mut waiting = Client::connect(&target);
    waiting.send(&[query("SELECT 1"), query("SELECT 2"), query("SELECT 3")].concat());
    let told = waiting.read_until_ready();
    assert_eq!(told[0].tag, b'E', "{told:?}");
    pgweir.wait_for_waiting(1);
    holding.query("COMMIT");
    for expected in ["2", "3"] {
        let replies = waiting.read_until_ready();
        assert_eq!(replies[1].columns(), [Some(expected.to_owned())], "{replies:?}");
    }
}
