//! What goes wrong around pgweir: servers that die, lie or fall silent, clients that vanish at the worst moment,
//! PostgreSQL killed and restarted. Whoever is not concerned notices nothing; nobody ever gets another's reply.

mod support;

use std::io;
use std::net::Ipv4Addr;

use support::cluster::{Cluster, Version};
use support::eventually;
use support::fake_server::{self, Conn, FakeServer};
use support::messages::{self, backend, bind, copy_data, execute, parse, query, sync};
use support::pgweir::{Config, Pgweir};
use support::raw::Client;

/// pgweir with one server connection, to a scripted server.
fn scripted(act: impl Fn(&mut Conn) -> io::Result<()> + Send + Sync + 'static) -> (FakeServer, Pgweir) {
    let server = FakeServer::scripted(act);
    let pgweir = Pgweir::start(&to_fake(&server));
    (server, pgweir)
}

fn to_fake(server: &FakeServer) -> Config {
    Config::to(server.address()).set("default_pool_size", 1).set("server_login_retry", "100ms")
}

fn assert_next_client_is_served(pgweir: &Pgweir) {
    assert_eq!(pgweir.client().value("SELECT 'next'"), "1");
}

fn hang_up<T>() -> io::Result<T> {
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// The client must learn that its server is gone, and be closed, since nobody knows its transaction.
fn assert_server_lost(client: &mut Client) {
    let replies = client.read_to_end();
    let last = replies.last().expect("an ErrorResponse");
    assert_eq!((last.tag, last.sqlstate().as_str()), (b'E', "08006"), "{replies:?}");
    assert_eq!(last.field(b'S').as_deref(), Some("FATAL"));
}

#[test]
fn the_server_dies_in_a_row() {
    let (server, pgweir) = scripted(|conn| {
        let row = backend::data_row(&["a long value that never ends"]);
        conn.send(
            &[backend::row_description(1), backend::data_row(&["whole"]), row[..12].to_vec()].concat(),
        )?;
        hang_up()
    });
    let mut client = pgweir.client();
    client.send(&query("SELECT 'marker'"));
    client.expect(&["T…", "D [Some(\"whole\")]"]);
    // What was forwarded of the second row can't be taken back: no error fits in the middle of it.
    let rest = client.drain();
    assert!(rest.is_empty() || rest[0] == b'D' || rest[0] == b'E', "{}", rest.escape_ascii());
    assert_next_client_is_served(&pgweir);
    server.finish();
}

#[test]
fn the_server_dies_between_messages() {
    let (server, pgweir) = scripted(|conn| {
        conn.send(&[backend::row_description(1), backend::data_row(&["whole"])].concat())?;
        hang_up()
    });
    let mut client = pgweir.client();
    client.send(&query("SELECT 'marker'"));
    client.expect(&["T…", "D [Some(\"whole\")]"]);
    assert_server_lost(&mut client);
    assert_next_client_is_served(&pgweir);
    server.finish();
}

#[test]
fn the_server_says_why_it_dies() {
    let (server, pgweir) = scripted(|conn| {
        conn.send(&backend::error("FATAL", "57P01", "terminating connection due to administrator command"))?;
        hang_up()
    });
    let mut client = pgweir.client();
    client.send(&query("SELECT 'marker'"));
    client.expect(&["E SFATAL|VFATAL|C57P01|Mterminating connection due to administrator command"]);
    client.drain();
    assert_next_client_is_served(&pgweir);
    server.finish();
}

/// Bytes that are no reply to what was asked, or begin one that never ends. The connection they came on must never serve anyone else.
#[test]
fn nonsense_is_never_reused() {
    let cases: &[(&str, Vec<u8>)] = &[
        ("an unknown message", messages::message(0xfe, b"what?")),
        ("a length below four", vec![b'D', 0, 0, 0, 3]),
        ("a negative length", vec![b'D', 0xff, 0xff, 0xff, 0xf0]),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("a BindComplete for nobody", [messages::message(b'2', &[]), backend::one_value("1")].concat()),
        ("a ReadyForQuery without status", messages::message(b'Z', &[])),
        ("a ReadyForQuery with a strange status", messages::message(b'Z', b"X")),
        ("an authentication request", messages::message(b'R', &[0, 0, 0, 3])),
        ("a CopyInResponse", messages::message(b'G', &[0, 0, 0])),
        ("a CopyOutResponse", messages::message(b'H', &[0, 0, 0])),
        ("a CopyBothResponse", messages::message(b'W', &[0, 0, 0])),
        ("a row of 2 GiB", vec![b'D', 0x7f, 0xff, 0xff, 0xff, 0, 1]),
    ];
    for (name, bytes) in cases {
        let bytes = bytes.clone();
        let (server, pgweir) = scripted(move |conn| {
            conn.send(&bytes)?;
            conn.stall()
        });
        let mut client = pgweir.client();
        client.send(&query("SELECT 'marker'"));
        eventually("it was asked", || server.seen().iter().any(|words| words.contains("marker")));
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(client);
        assert_next_client_is_served(&pgweir);
        assert!(server.connections() >= 2, "{name}: the same connection again");
        server.finish();
    }
}

#[test]
fn ready_for_query_twice() {
    let (server, pgweir) = scripted(|conn| {
        conn.send(&[backend::one_value("first"), backend::ready(b'I')].concat())?;
        conn.serve()
    });
    let mut client = pgweir.client();
    assert_eq!(client.value("SELECT 'marker'"), "first");
    assert_eq!(client.value("SELECT 'other'"), "1");
    assert_next_client_is_served(&pgweir);
    assert!(server.connections() >= 2, "a server that says too much was reused");
    server.finish();
}

#[test]
fn replies_may_come_byte_by_byte() {
    let reply = || {
        [
            messages::message(b'1', &[]),
            messages::message(b'2', &[]),
            backend::parameter_status("TimeZone", "UTC"),
            backend::data_row(&["one", ""]),
            messages::message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0"),
            backend::command_complete("SELECT 1"),
            backend::ready(b'I'),
        ]
        .concat()
    };
    let (server, pgweir) = scripted(move |conn| {
        while conn.read()?.tag != b'S' {}
        conn.dribble(&reply())
    });
    let mut client = pgweir.client();
    for _ in 0..3 {
        client.send(&[parse("", "SELECT 'marker'"), bind("", "", &[]), execute("", 0), sync()].concat());
        client.expect(&[
            "1",
            "2",
            "S TimeZone|UTC",
            "D [Some(\"one\"), Some(\"\")]",
            "N SNOTICE…",
            "C SELECT 1",
            "Z I",
        ]);
    }
    server.finish();
}

#[test]
fn floods_of_asynchronous_messages_pass() {
    let (server, pgweir) = scripted(|conn| {
        for n in 0..2_000 {
            conn.send(&messages::message(
                b'N',
                format!("SNOTICE\0VNOTICE\0C00000\0Mnumber {n}\0\0").as_bytes(),
            ))?;
            conn.send(&backend::parameter_status("TimeZone", "UTC"))?;
        }
        conn.send(&backend::one_value("after"))
    });
    assert_eq!(pgweir.client().value("SELECT 'marker'"), "after");
    assert_next_client_is_served(&pgweir);
    server.finish();
}

/// Each way a server can fail at login. The client gets an error in time, and pgweir goes on.
#[test]
fn servers_that_fail_at_login() {
    type Act = fn(&mut Conn) -> io::Result<()>;
    let acts: &[(&str, Act)] = &[
        ("hangs up", |_| hang_up()),
        ("stalls", Conn::stall),
        ("says garbage", |conn| conn.send(&[0xff; 100]).and_then(|()| conn.stall())),
        ("refuses", |conn| conn.send(&backend::error("FATAL", "3D000", "database \"app\" does not exist"))),
        ("refuses without words", |conn| conn.send(&messages::message(b'E', b"\0"))),
        ("refuses without terminator", |conn| conn.send(&messages::message(b'E', b"SFATAL\0C3D000\0Mno"))),
        ("refuses emptily", |conn| conn.send(&messages::message(b'E', b""))),
        ("asks for an unknown method", |conn| conn.send(&messages::message(b'R', &[0, 0, 0, 99]))),
        ("sends a short authentication", |conn| conn.send(&messages::message(b'R', &[0]))),
        ("is ready at once", |conn| conn.send(&backend::ready(b'I')).and_then(|()| conn.stall())),
        ("offers no known mechanism", |conn| conn.send(&messages::message(b'R', b"\0\0\0\x0aOTHER\0\0"))),
        ("wants endless iterations", |conn| scram_challenge(conn, "s=c2FsdHNhbHQ=,i=2147483647")),
        ("wants no iterations", |conn| scram_challenge(conn, "s=c2FsdHNhbHQ=,i=0")),
        ("has a long nonce", |conn| {
            scram_challenge(conn, &format!("{},s=c2FsdA==,i=4096", "n".repeat(60_000)))
        }),
        ("has a long salt", |conn| scram_challenge(conn, &format!("s={},i=4096", "QUFB".repeat(15_000)))),
        ("has no salt", |conn| scram_challenge(conn, "i=4096")),
        ("sends a wrong final", |conn| {
            scram_challenge(conn, "s=c2FsdHNhbHQ=,i=4096")?;
            conn.send(&messages::message(b'R', b"\0\0\0\x0cv=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="))?;
            conn.stall()
        }),
    ];
    for (name, act) in acts {
        let act = *act;
        let server = FakeServer::start(act);
        let config = to_fake(&server).set("server_connect_timeout", 1).set("query_wait_timeout", 2);
        let mut pgweir = Pgweir::start(&config.set("client_login_timeout", 3));
        let refusal = Client::try_connect(&pgweir.target("app", "app")).map(|_| ()).expect_err(name);
        let error = refusal.error();
        assert_eq!(error.field(b'S').as_deref(), Some("FATAL"), "{name}: {error}");
        assert_eq!(error.sqlstate().len(), 5, "{name}: {error}");
        if *name == "refuses" {
            assert_eq!(error.sqlstate(), "3D000");
        }
        assert!(pgweir.is_alive(), "{name}");
    }
}

/// The server's half of SCRAM up to server-first, with the client's nonce continued by `rest`.
fn scram_challenge(conn: &mut Conn, rest: &str) -> io::Result<()> {
    conn.send(&messages::message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"))?;
    let first = conn.read()?;
    let text = String::from_utf8_lossy(&first.body).into_owned();
    let nonce = text.rsplit("r=").next().unwrap_or_default().to_owned();
    let separator = if rest.starts_with('n') { "" } else { "server," };
    conn.send(&messages::message(
        b'R',
        &[b"\0\0\0\x0b", format!("r={nonce}{separator}{rest}").as_bytes()].concat(),
    ))?;
    conn.read().map(drop)
}

/// A server that refuses at first; the waiting client is served when it has recovered, or has a connection to spare.
#[test]
fn a_starting_server_is_waited_for() {
    for (code, why) in [
        ("57P03", "the database system is starting up"),
        ("57P03", "the database system is in recovery mode"),
        ("53300", "sorry, too many clients already"),
    ] {
        let server = FakeServer::start(move |conn| {
            if conn.number < 3 {
                return conn.send(&backend::error("FATAL", code, why));
            }
            conn.welcome()?;
            conn.serve()
        });
        let pgweir = Pgweir::start(&to_fake(&server));
        assert_eq!(pgweir.client().value("SELECT 1"), "1", "{why}");
        assert!(server.connections() >= 4);
        server.finish();
    }
}

/// A new welcome carries what an old one did: nothing is mixed up when the fake server's own bytes are dribbled.
#[test]
fn login_may_come_byte_by_byte() {
    let server = FakeServer::start(|conn| {
        conn.dribble(&fake_server::welcome(conn.number))?;
        conn.serve()
    });
    let pgweir = Pgweir::start(&to_fake(&server));
    let client = pgweir.client();
    assert_eq!(client.parameter("server_version"), Some("15.18"));
    server.finish();
}

/// A cluster with a table `t` of its own, and a pgweir with a single server in front of it.
fn one_server(database: &str) -> (&'static Cluster, Pgweir, support::raw::Target) {
    let cluster = Cluster::shared();
    cluster.create_database(database);
    cluster.sql(database, "CREATE TABLE t (id int); GRANT ALL ON t TO PUBLIC");
    let config = Config::new(cluster).database(database, cluster.address());
    let pgweir = Pgweir::start(&config.set("default_pool_size", 1));
    let target = pgweir.target("app", database);
    (cluster, pgweir, target)
}

/// What a client may have sent when it vanishes. The next one finds a clean server and nothing committed.
#[test]
fn clients_lost_at_the_worst_moment() {
    let (cluster, _pgweir, target) = one_server("lost");
    let insert = || query("INSERT INTO t VALUES (1)");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("in a transaction", [query("BEGIN"), insert()].concat()),
        ("in a failed transaction", [query("BEGIN"), query("SELECT 1/0")].concat()),
        ("with a query running", [query("BEGIN"), insert(), query("SELECT pg_sleep(60)")].concat()),
        ("after Parse", parse("s", "SELECT 1")),
        ("after Execute, before Sync", {
            [parse("", "INSERT INTO t VALUES (1)"), bind("", "", &[]), execute("", 0)].concat()
        }),
        ("after Flush, before Sync", [parse("s", "SELECT 1"), messages::flush()].concat()),
        ("in COPY in", [query("COPY t FROM STDIN"), copy_data(b"1\n")].concat()),
        ("in COPY in by the extended protocol", {
            [parse("", "COPY t FROM STDIN"), bind("", "", &[]), execute("", 0), sync(), copy_data(b"1\n")]
                .concat()
        }),
        ("in COPY out", query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT")),
        ("in a large result", query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)")),
        ("in the middle of a message", [query("BEGIN"), insert(), query("SELECT 1")[..4].to_vec()].concat()),
        ("in the middle of copy data", {
            [query("COPY t FROM STDIN"), copy_data(&[b'1'; 100_000])[..50_000].to_vec()].concat()
        }),
        ("after an error in a pipeline", [parse("", "SELEKT"), parse("s", "SELECT 1")].concat()),
    ];
    for (name, bytes) in cases {
        let mut client = Client::connect(&target);
        client.send(&bytes);
        // Let it arrive: whether or not it has, the outcome must be the same.
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(client);
        let mut next = Client::connect(&target);
        let replies: Vec<String> =
            next.query("SELECT count(*), 'next' FROM t").iter().map(ToString::to_string).collect();
        assert_eq!(replies[1..], ["D [Some(\"0\"), Some(\"next\")]", "C SELECT 1", "Z I"], "{name}");
        next.send(&[bind("", "s", &[]), sync()].concat());
        assert_eq!(next.read_until_ready()[0].sqlstate(), "26000", "{name}");
    }
    eventually("one server is left, and it is idle", || {
        cluster.connections("datname = 'lost'") <= 1
            && cluster.connections("datname = 'lost' AND state <> 'idle'") == 0
    });
}

#[test]
fn a_backend_terminated_while_idle_goes_unnoticed() {
    let (cluster, _pgweir, target) = one_server("idle_kill");
    let mut client = Client::connect(&target);
    for _ in 0..5 {
        assert_eq!(client.value("SELECT 1"), "1");
        let backends = "FROM pg_stat_activity WHERE datname = 'idle_kill'";
        cluster.sql("postgres", &format!("SELECT pg_terminate_backend(pid, 5000) {backends}"));
    }
    assert_eq!(client.value("SELECT 2"), "2");
}

#[test]
fn a_backend_terminated_in_a_transaction_is_reported() {
    let (cluster, pgweir, target) = one_server("tx_kill");
    let mut client = Client::connect(&target);
    client.query("BEGIN");
    cluster
        .sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'tx_kill'");
    let replies = client.read_to_end();
    assert_eq!(replies.first().map(messages::Message::sqlstate).as_deref(), Some("57P01"), "{replies:?}");
    assert_eq!(Client::connect(&target).value("SELECT 1"), "1");
    pgweir.wait_for_waiting(0);
}

#[test]
fn postgresql_is_killed_and_comes_back() {
    let mut cluster = Cluster::start(Version::V15);
    let config = Config::new(&cluster).set("default_pool_size", 2).set("server_login_retry", "200ms");
    let pgweir = Pgweir::start(&config);
    let mut idle: Vec<Client> = (0..5).map(|_| pgweir.client()).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.value("SELECT 1"), "1"));
    let mut busy = pgweir.client();
    busy.query("BEGIN");
    cluster.stop_immediate();
    let replies = busy.read_to_end();
    assert!(
        replies.iter().any(|message| ["57P01", "57P02", "08006"].contains(&message.sqlstate().as_str())),
        "{replies:?}"
    );
    // Asked while it is down: the query was not sent yet, so it waits.
    idle[0].send(&query("SELECT 'patient'"));
    pgweir.wait_for_waiting(1);
    cluster.start_again();
    assert_eq!(idle[0].read_until_ready()[1].to_string(), "D [Some(\"patient\")]");
    idle.iter_mut().for_each(|client| assert_eq!(client.value("SELECT 2"), "2"));
    assert_eq!(pgweir.client().value("SELECT 3"), "3");
}

#[test]
fn postgresql_is_down_at_the_start() {
    let mut cluster = Cluster::start(Version::V15);
    cluster.stop_fast();
    let config = Config::new(&cluster).set("server_login_retry", "200ms").set("query_wait_timeout", 1);
    let pgweir = Pgweir::start(&config);
    let refusal = Client::try_connect(&pgweir.target("app", "app")).map(|_| ()).expect_err("nobody answers");
    assert_eq!(refusal.error().field(b'S').as_deref(), Some("FATAL"));
    cluster.start_again();
    eventually("it can be used", || {
        Client::try_connect(&pgweir.target("app", "app"))
            .is_ok_and(|mut client| client.value("SELECT 1") == "1")
    });
}

/// A postmaster that accepts and never answers must not hold a client beyond its deadline.
#[test]
fn postgresql_is_frozen() {
    let cluster = Cluster::start(Version::V15);
    let config = Config::new(&cluster).set("server_connect_timeout", 1).set("query_wait_timeout", 2);
    let pgweir = Pgweir::start(&config.set("server_login_retry", "200ms"));
    cluster.freeze();
    let refusal = Client::try_connect(&pgweir.target("app", "app")).map(|_| ()).expect_err("nobody answers");
    assert_eq!(refusal.error().field(b'S').as_deref(), Some("FATAL"));
    cluster.thaw();
    eventually("it can be used", || Client::try_connect(&pgweir.target("app", "app")).is_ok());
}

/// Servers behind a partition, one while its query runs, one while it is idle: no FIN and no RST tells of it, TCP's own limits do.
#[test]
fn servers_behind_a_partition() {
    let (server, pgweir) = {
        let server = FakeServer::scripted(|conn| {
            if conn.number > 0 {
                conn.send(&backend::one_value("the last"))?;
            }
            conn.vanish()
        });
        let config = to_fake(&server).set("default_pool_size", 2).set("server_login_retry", "100ms");
        let config = config.set("tcp_keepidle", 1).set("tcp_keepintvl", 1).set("tcp_user_timeout", 1500);
        let pgweir = Pgweir::start(&config);
        (server, pgweir)
    };
    let (mut running, mut idle) = (pgweir.client(), pgweir.client());
    running.send(&query("SELECT 'marker'"));
    eventually("it runs", || server.seen().iter().any(|seen| seen.contains("marker")));
    assert_eq!(idle.value("SELECT 'marker'"), "the last");
    let begun = std::time::Instant::now();
    idle.send(&query("SELECT 'lost'"));
    assert_server_lost(&mut running);
    assert_server_lost(&mut idle);
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_next_client_is_served(&pgweir);
    assert_eq!(server.connections(), 3);
}

/// A connect_query that begins a transaction: nobody's statements are to run in it.
#[test]
fn connect_query_leaves_no_transaction_open() {
    let server = FakeServer::start(|conn| {
        conn.welcome()?;
        conn.serve()
    });
    let config = to_fake(&server).put("databases.app", "connect_query", "BEGIN").set("query_wait_timeout", 1);
    let pgweir = Pgweir::start(&config);
    let refusal = Client::try_connect(&pgweir.target("app", "app")).map(|_| ()).expect_err("no server");
    let detail = refusal.error().field(b'D').unwrap_or_default();
    assert!(detail.ends_with("connect_query leaves a transaction open"), "{detail}");
}

/// Who waits for a server that says nothing at login isn't told that servers are busy.
#[test]
fn a_server_that_hasn_t_answered_yet() {
    let server = FakeServer::start(Conn::stall);
    let config = to_fake(&server).set("query_wait_timeout", "200ms").set("default_pool_size", 1);
    let pgweir = Pgweir::start(&config);
    let refusal = Client::try_connect(&pgweir.target("app", "app")).map(|_| ()).expect_err("no server");
    let hint = format!("PostgreSQL at {} hasn't answered yet.", server.address());
    assert_eq!(refusal.error().field(b'H'), Some(hint));
}

/// A client that does not read holds up nobody else, nor pgweir's memory.
#[test]
fn a_client_that_never_reads() {
    let (_, pgweir, target) = one_server("unread");
    let mut lazy = Client::connect(&target);
    lazy.send(&query("SELECT repeat('x', 1000000) FROM generate_series(1, 1000)"));
    let before = resident_kib(pgweir.pid());
    std::thread::sleep(std::time::Duration::from_millis(500));
    let grown = resident_kib(pgweir.pid()).saturating_sub(before);
    assert!(grown < 20_000, "{grown} KiB more");
    assert_eq!(Client::connect(&pgweir.target("app", "other")).value("SELECT 1"), "1");
    drop(lazy);
    assert_eq!(Client::connect(&target).value("SELECT 2"), "2");
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// A host that can't be reached is passed over, the others have the connections in turn, and when one of them goes, too, the
/// last serves alone.
#[test]
fn hosts_that_are_down() {
    let good = |conn: &mut Conn| {
        conn.welcome()?;
        conn.serve()
    };
    let first = FakeServer::start(good);
    let second = FakeServer::start_at((Ipv4Addr::new(127, 0, 0, 2), first.address().port()).into(), good);
    // At the first address nobody listens.
    let config = Config::to(first.address())
        .put("databases.app", "host", "127.0.0.3, 127.0.0.1, 127.0.0.2")
        .set("pool_mode", "session")
        .set("server_login_retry", "1h")
        .set("query_wait_timeout", "20s")
        .set("stats_users", "app");
    let pgweir = Pgweir::start(&config);
    let mut clients: Vec<_> = (0..4).map(|_| pgweir.client()).collect();
    assert!(clients.iter_mut().all(|client| client.value("SELECT 1") == "1"));
    let connections = [first.connections(), second.connections()];
    assert!(connections.iter().all(|n| *n >= 2), "{connections:?}");
    assert_eq!(pgweir.log().matches("cannot open a server").count(), 0, "{}", pgweir.log());
    first.finish();
    let mut more: Vec<_> = (0..4).map(|_| pgweir.client()).collect();
    assert!(more.iter_mut().all(|client| client.value("SELECT 2") == "1"));
    assert!(second.connections() >= connections[1] + 4);
    let mut console = Client::connect(&pgweir.target("app", "pgbouncer"));
    let pools = console.query("SHOW POOLS");
    let ways: Vec<_> =
        pools.iter().filter(|row| row.tag == b'D').map(|row| row.columns()[16].clone()).collect();
    assert!(ways.contains(&Some("round-robin".to_owned())), "{ways:?}");
}

/// Rows of 1,000 bytes, `bytes` or somewhat more of them.
fn rows(bytes: usize) -> Vec<u8> {
    let row = backend::data_row(&[&"x".repeat(1_000)]);
    row.repeat(bytes.div_ceil(row.len()))
}

/// The server sends one part after the other, each when the client has all of the one before: whatever pgweir waits for to
/// come with it, it may not wait for what isn't sent.
fn parts_arrive(parts: Vec<Vec<u8>>) {
    let (arrived, awaited) = std::sync::mpsc::channel();
    let awaited = std::sync::Mutex::new(awaited);
    let script = parts.clone();
    let (server, pgweir) = scripted(move |conn| {
        for part in &script {
            conn.send(part)?;
            awaited.lock().expect("one connection").recv().map_err(io::Error::other)?;
        }
        Ok(())
    });
    let mut client = pgweir.client();
    client.send(&query("SELECT 'marker'"));
    for part in &parts {
        let mut left = part.len();
        while left > 0 {
            left -= client.read().bytes().len();
        }
        arrived.send(()).expect("the server is there");
    }
    assert_next_client_is_served(&pgweir);
    server.finish();
}

#[test]
fn a_long_reply_that_pauses() {
    const MIB: usize = 1024 * 1024;
    let mut parts = vec![[backend::row_description(1), rows(12 * MIB)].concat()];
    for bytes in [1, 20_000, 1, 100_000, 200_000, 1, 12 * MIB, 5 * MIB, 1] {
        parts.push(rows(bytes));
    }
    parts.push([backend::command_complete("SELECT 1"), backend::ready(b'I')].concat());
    parts_arrive(parts);
}

#[test]
fn long_rows_and_pauses_between_them() {
    let mut parts = vec![backend::row_description(1)];
    for bytes in [100_000, 1_000_000, 33_000, 10, 9_000_000, 10, 500_000] {
        parts.push(backend::data_row(&[&"x".repeat(bytes)]));
    }
    parts.push([backend::command_complete("SELECT 1"), backend::ready(b'I')].concat());
    parts_arrive(parts);
}

#[test]
fn a_server_lost_in_a_long_reply() {
    for more in [0, 50_000] {
        let (server, pgweir) = scripted(move |conn| {
            let row = backend::data_row(&["cut"]);
            conn.send(&[backend::row_description(1), rows(10_000_000), rows(more)].concat())?;
            conn.send(&row[..row.len() - 1])?;
            hang_up()
        });
        let mut client = pgweir.client();
        client.send(&query("SELECT 'marker'"));
        let got = client.drain();
        assert!(got.len() >= 10_000_000 + more, "{} bytes", got.len());
        assert_next_client_is_served(&pgweir);
        server.finish();
    }
}

#[test]
fn a_client_leaves_a_long_reply() {
    let (server, pgweir) = scripted(|conn| {
        conn.send(&[backend::row_description(1), rows(10_000_000)].concat())?;
        // The cancel is another connection's; the reply ends as PostgreSQL ends it then.
        conn.send(&[backend::error("ERROR", "57014", "canceled"), backend::ready(b'I')].concat())
    });
    let mut client = pgweir.client();
    client.send(&query("SELECT 'marker'"));
    for _ in 0..9_000 {
        client.read();
    }
    drop(client);
    assert_next_client_is_served(&pgweir);
    server.finish();
}
