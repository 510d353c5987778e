//! Timeouts: what takes too long is cancelled first, and ends alone.

mod support;

use std::time::{Duration, Instant};

use support::cluster::Cluster;
use support::eventually;
use support::fake_server::FakeServer;
use support::messages::{self, Message};
use support::pgweir::{Config, Pgweir};
use support::raw::Client;

fn config() -> Config {
    Config::new(Cluster::shared()).set("default_pool_size", 2)
}

fn short(message: &Message) -> String {
    let field = |code| message.field(code).unwrap_or_default();
    format!("{} {} {}", field(b'S'), message.sqlstate(), field(b'M'))
}

/// The error of a query, and the transaction status behind it.
fn error(client: &mut Client, sql: &str) -> (String, String) {
    let mut replies = client.query(sql);
    let ready = replies.pop().expect("ReadyForQuery").to_string();
    (short(replies.last().expect("an error")), ready)
}

fn fatal(client: &mut Client) -> String {
    short(client.read_to_end().first().expect("a last word"))
}

const QUERY: &str = "ERROR 57014 canceling statement due to query_timeout";

/// Limits of less than a second are noticed in time also by a process that has rested.
#[test]
fn brief_limits_are_noticed_after_a_rest() {
    let pgweir = Pgweir::start(&config().set("query_timeout", "200ms"));
    let mut client = pgweir.client();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(250));
        let began = Instant::now();
        assert_eq!(error(&mut client, "SELECT pg_sleep(5)").0, QUERY);
        assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
    }
}

/// The query is cancelled on its server, the client goes on, and so does the server.
#[test]
fn a_query_that_takes_too_long_is_cancelled() {
    let pgweir = Pgweir::start(&config().set("query_timeout", "900ms"));
    let mut client = pgweir.client();
    let backend = client.value("SELECT pg_backend_pid()");
    let began = Instant::now();
    assert_eq!(error(&mut client, "SELECT pg_sleep(60)"), (QUERY.to_owned(), "Z I".to_owned()));
    assert!(began.elapsed() >= Duration::from_millis(900) && began.elapsed() < Duration::from_secs(30));
    assert_eq!(client.value("SELECT pg_backend_pid()"), backend);

    client.query("BEGIN");
    assert_eq!(error(&mut client, "SELECT pg_sleep(60)"), (QUERY.to_owned(), "Z E".to_owned()));
    client.query("ROLLBACK");
    client.query("BEGIN");
    client.query("SELECT 1");
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(client.value("SELECT 2"), "2", "being idle in a transaction is no query");
    client.query("COMMIT");

    client.send(&[messages::parse("", "SELECT pg_sleep(60)"), messages::bind("", "", &[])].concat());
    client.send(&[messages::execute("", 0), messages::sync()].concat());
    let replies = client.read_until_ready();
    assert!(replies.iter().any(|reply| reply.tag == b'E' && short(reply) == QUERY), "{replies:?}");
    assert_eq!(client.value("SELECT 3"), "3");

    client
        .send(&messages::query("COPY (SELECT 1) TO STDOUT; CREATE TEMP TABLE t (x int); COPY t FROM STDIN"));
    let replies = client.read_until_ready();
    assert!(replies.iter().any(|reply| reply.tag == b'E' && short(reply) == QUERY), "{replies:?}");
    client.send(&[messages::copy_data(b"1\n"), messages::copy_done()].concat());
    assert_eq!(client.value("SELECT 4"), "4", "COPY that comes late is ignored");
}

/// What the client sent behind the request that was cancelled runs, and has its own time.
#[test]
fn pipelines_survive_a_query_that_takes_too_long() {
    let pgweir = Pgweir::start(&config().set("query_timeout", "900ms"));
    let errors =
        |replies: &[Message]| replies.iter().filter(|r| r.tag == b'E').map(short).collect::<Vec<_>>();
    let mut client = pgweir.client();
    let batch =
        |sql| [messages::parse("", sql), messages::bind("", "", &[]), messages::execute("", 0)].concat();
    // The second batch's Sync comes late.
    client.send(&[batch("SELECT pg_sleep(60)"), messages::sync(), batch("SELECT 2")].concat());
    assert_eq!(errors(&client.read_until_ready()), [QUERY]);
    client.send(&messages::sync());
    assert_eq!(errors(&client.read_until_ready()), [""; 0]);

    // Each takes too long, one after the other.
    let queries = messages::query("SELECT pg_sleep(60)").repeat(2);
    client.send(&[queries, messages::query("SELECT 3")].concat());
    assert_eq!(errors(&client.read_until_ready()), [QUERY]);
    // PostgreSQL signals a cancel twice, the process and then its group: the second may hit what the client has sent behind.
    let second = errors(&client.read_until_ready());
    assert!(
        second == [QUERY] || second == ["ERROR 57014 canceling statement due to user request"],
        "{second:?}"
    );
    assert_eq!(errors(&client.read_until_ready()), [""; 0]);
    assert_eq!(client.value("SELECT 4"), "4");
}

/// A batch whose Sync doesn't come: what runs is cancelled; what has run is told, for it isn't the server that takes its time.
/// In either case the client goes on.
#[test]
fn batches_left_open() {
    let pgweir = Pgweir::start(&config().set("query_timeout", "900ms"));
    let mut client = pgweir.client();
    let batch =
        |sql| [messages::parse("", sql), messages::bind("", "", &[]), messages::execute("", 0)].concat();
    client.send(&batch("SELECT pg_sleep(60)"));
    let replies = client.read_until(|reply| reply.tag == b'E');
    assert_eq!(short(replies.last().expect("an error")), QUERY);
    client.send(&messages::sync());
    assert_eq!(client.read_until_ready().pop().expect("ReadyForQuery").to_string(), "Z I");
    client.send(&batch("SELECT 5"));
    let tags: Vec<_> = client.read_until(|reply| reply.tag == b'C').iter().map(|reply| reply.tag).collect();
    assert_eq!(tags, b"12DC");
    client.send(&[batch("SELECT 6"), messages::sync()].concat());
    let tags: Vec<_> = client.read_until_ready().iter().map(|reply| reply.tag).collect();
    assert_eq!(tags, b"12DCZ");
    assert_eq!(client.value("SELECT 7"), "7");
}

/// While a batch is open and all of it is answered the server waits for the client, and what follows has its own time.
#[test]
fn batches_left_open_and_answered() {
    let own = config().set("query_timeout", "900ms").set("idle_transaction_timeout", "3s");
    let pgweir = Pgweir::start(&own);
    let mut client = pgweir.client();
    let batch =
        |sql| [messages::parse("", sql), messages::bind("", "", &[]), messages::execute("", 0)].concat();
    client.send(&[batch("SELECT 1"), messages::flush()].concat());
    client.read_until(|reply| reply.tag == b'C');
    std::thread::sleep(Duration::from_millis(1100));
    client.send(&[batch("SELECT pg_sleep(0.4)"), messages::sync()].concat());
    let tags: Vec<_> = client.read_until_ready().iter().map(|reply| reply.tag).collect();
    assert_eq!(tags, b"12DCZ");

    let mut skipping = pgweir.client();
    client.send(&batch("SELECT 2"));
    skipping.send(&[messages::parse("", "wrong"), messages::flush()].concat());
    skipping.read_until(|reply| reply.tag == b'E');
    skipping.send(&batch("SELECT 3"));
    for (client, tags) in [(&mut client, &b"12DCE"[..]), (&mut skipping, b"E")] {
        let replies = client.read_to_end();
        assert_eq!(replies.iter().map(|reply| reply.tag).collect::<Vec<_>>(), tags);
        assert_eq!(short(replies.last().expect("a last word")), "FATAL 25P03 idle transaction timeout");
    }
    assert_eq!(pgweir.client().value("SELECT 4"), "4");
}

/// The server has a part of a message; it gets the rest before the COPY fails.
#[test]
fn copy_that_takes_too_long_within_a_message() {
    let pgweir = Pgweir::start(&config().set("query_timeout", "900ms"));
    let mut client = pgweir.client();
    client.send(&messages::query("CREATE TEMP TABLE t (x text); COPY t FROM STDIN"));
    client.read_until(|message| message.tag == b'G');
    let data = messages::copy_data(&b"something\n".repeat(10_000));
    let (front, rest) = data.split_at(50_000);
    client.send(front);
    eventually("the cancel", || pgweir.log().contains("canceling statement due to query_timeout"));
    client.send(&[rest, &messages::copy_data(b"more\n")].concat());
    let replies = client.read_until_ready();
    assert!(replies.iter().any(|reply| reply.tag == b'E' && short(reply) == QUERY), "{replies:?}");
    client.send(&messages::copy_done());
    assert_eq!(client.value("SELECT 5"), "5");
}

/// Who has sent the beginning of a message is as idle as who has sent nothing, whether or not the server has got it.
#[test]
fn half_a_message_is_no_work() {
    const IN_TRANSACTION: &str = "FATAL 25P03 idle transaction timeout";
    const OUTSIDE: &str = "FATAL 57P05 client_idle_timeout";
    let own = config().set("idle_transaction_timeout", "900ms").set("client_idle_timeout", "900ms");
    let pgweir = Pgweir::start(&own.set("default_pool_size", 1));
    let message = messages::query(&format!("SELECT 1 /* {} */", "x".repeat(1_000_000)));
    let bind = messages::bind("", "", &[Some(&"x".repeat(1_000_000))]);
    let parse = messages::parse("", "SELECT $1");
    for (whole, begun) in [
        (None, &message[..1]),
        (None, &message[..12]),
        (None, &message[..200_000]),
        (Some(&parse), &bind[..200_000]),
    ] {
        for begins in [true, false] {
            let mut client = pgweir.client();
            if begins {
                client.query("BEGIN");
            }
            if let Some(batch) = whole {
                client.send(&[&**batch, &messages::sync()].concat());
                client.read_until_ready();
            }
            client.send(begun);
            let told = fatal(&mut client);
            assert_eq!(told, if begins { IN_TRANSACTION } else { OUTSIDE }, "{}", begun.len());
        }
    }
    assert_eq!(pgweir.client().value("SELECT 5"), "5");
}

/// Also of who keeps a server, outside a transaction.
#[test]
fn idle_clients_end_though_they_have_a_server() {
    let own = config().set("client_idle_timeout", "900ms");
    let transaction = Pgweir::start(&own);
    let session = Pgweir::start(&config().set("client_idle_timeout", "900ms").set("pool_mode", "session"));
    for pgweir in [&transaction, &session] {
        let mut client = pgweir.client();
        client.query("CREATE TEMP TABLE t (n int)");
        assert_eq!(fatal(&mut client), "FATAL 57P05 client_idle_timeout");
        let mut busy = pgweir.client();
        busy.query("CREATE TEMP TABLE t (n int)");
        busy.query("BEGIN");
        busy.query("SELECT pg_sleep(1.5)");
        busy.query("COMMIT");
    }
}

/// A user's own CancelRequest is still the user's.
#[test]
fn other_cancels_keep_their_words() {
    let pgweir = Pgweir::start(&config().set("query_timeout", 30));
    let mut client = pgweir.client();
    client.send(&messages::query("SELECT pg_sleep(60)"));
    eventually("it runs", || {
        Cluster::shared().connections("query = 'SELECT pg_sleep(60)' AND state = 'active'") > 0
    });
    client.cancel();
    let replies = client.read_until_ready();
    let words = "ERROR 57014 canceling statement due to user request";
    assert!(replies.iter().any(|reply| reply.tag == b'E' && short(reply) == words), "{replies:?}");
}

/// What runs is cancelled, who is idle is told and leaves; the server stays.
#[test]
fn a_transaction_that_takes_too_long_ends() {
    let pgweir = Pgweir::start(&config().set("transaction_timeout", "1500ms"));
    let mut client = pgweir.client();
    let backend = client.value("SELECT pg_backend_pid()");
    client.query("BEGIN");
    client.query("SELECT pg_sleep(0.4)");
    let cancelled = "ERROR 57014 canceling statement due to transaction_timeout";
    let began = Instant::now();
    assert_eq!(error(&mut client, "SELECT pg_sleep(60)"), (cancelled.to_owned(), "Z E".to_owned()));
    assert!(began.elapsed() < Duration::from_secs(30), "not the whole query");
    client.query("ROLLBACK");
    assert_eq!(client.value("SELECT 1"), "1");

    client.query("BEGIN");
    client.query("SELECT 1");
    assert_eq!(fatal(&mut client), "FATAL 25P04 transaction timeout");
    let mut other = pgweir.client();
    eventually("the server is back", || other.value("SELECT pg_backend_pid()") == backend);
    for _ in 0..4 {
        other.query("SELECT pg_sleep(0.5)");
    }
    assert_eq!(other.value("SELECT 5"), "5", "transactions of their own");
}

/// A server that doesn't answer the cancel is closed, with its client.
#[test]
fn a_server_that_does_not_answer_is_closed() {
    let server = FakeServer::start(|conn| {
        conn.welcome()?;
        conn.serve_until("hang")?;
        conn.stall()
    });
    let pgweir = Pgweir::start(&Config::to(server.address()).set("query_timeout", "200ms"));
    let mut client = pgweir.client();
    client.send(&messages::query("SELECT 'hang'"));
    assert_eq!(fatal(&mut client), "FATAL 57014 query timeout");
    let active = || pgweir.metric("pgweir_pool_servers", &["state=\"active\""]);
    eventually("the server is closed", || active() == 0.0);
}

/// The user's word before the database's before all; times below a second; RELOAD counts for who is connected.
#[test]
fn whose_timeout_it_is() {
    let own = config()
        .set("query_timeout", 60)
        .set("client_idle_timeout", 60)
        .put("databases.other", "query_timeout", "200ms")
        .put("users.trusty", "query_timeout", 0)
        .put("users.plainuser", "client_idle_timeout", "300ms");
    let pgweir = Pgweir::start(&own);
    let connect = |user: &str, database: &str| Client::connect(&pgweir.target(user, database));
    let mut of_database = connect("app", "other");
    assert_eq!(error(&mut of_database, "SELECT pg_sleep(60)").0, QUERY);
    let mut of_user = connect("trusty", "other");
    assert_eq!(of_user.value("SELECT 7 FROM pg_sleep(0.6)"), "7");
    let mut of_all = connect("app", "app");
    assert_eq!(of_all.value("SELECT 8 FROM pg_sleep(0.6)"), "8");
    assert_eq!(fatal(&mut connect("plainuser", "app")), "FATAL 57P05 client_idle_timeout");
    assert_eq!(of_all.value("SELECT 9"), "9", "nobody else's");

    pgweir.reload(&own.clone().set("query_timeout", "200ms"));
    assert_eq!(error(&mut of_all, "SELECT pg_sleep(60)").0, QUERY);
}

/// Who waits is told so once; a user of a shared pool may have less patience than the pool.
#[test]
fn waits() {
    let own = config()
        .set("default_pool_size", 1)
        .set("query_wait_notify", "300ms")
        .put("databases.app", "user", "app")
        .put("users.trusty", "query_wait_timeout", "2s");
    let pgweir = Pgweir::start(&own);
    let (mut holder, mut waiting) = (pgweir.client(), pgweir.client());
    let mut impatient = Client::connect(&pgweir.target("trusty", "app"));
    holder.query("BEGIN");
    waiting.send(&messages::query("SELECT 1"));
    impatient.send(&messages::query("SELECT 2"));
    let notice = "NOTICE 00000 No server connection available in postgres backend, client being queued";
    let replies = impatient.read_until_ready();
    assert_eq!(short(&replies[0]), notice);
    assert_eq!(short(&replies[1]), "ERROR 57014 query_wait_timeout");
    let hint = "All server connections of the pool were busy, 1 for clients idle in a transaction: see \
                idle_transaction_timeout and default_pool_size.";
    assert_eq!(replies[1].field(b'H').as_deref(), Some(hint));
    holder.query("COMMIT");
    let replies = waiting.read_until_ready();
    assert_eq!(short(&replies[0]), notice);
    assert_eq!(replies.iter().filter(|reply| reply.tag == b'N').count(), 1, "{replies:?}");
    assert_eq!(impatient.value("SELECT 3"), "3");
}

/// That there is no place for a listening server is logged once, however often one is tried for.
#[test]
fn no_place_to_listen_is_told_once() {
    let own = config().set("log_level", "debug").set("max_db_connections", 1);
    let pgweir = Pgweir::start(&own);
    let mut client = pgweir.client();
    client.query("LISTEN no_place_to_listen_is_told_once");
    let lines = |of: &str| pgweir.log().lines().filter(|line| line.contains(of)).count();
    eventually("it was tried for three times", || {
        lines("listening server: no place under max_db_connections") >= 3
    });
    let warned = |line: &&str| line.contains(" WARN ") && line.contains("no listening server");
    assert_eq!(pgweir.log().lines().filter(warned).count(), 1, "{}", pgweir.log());
}

/// Who has waited in vain is told for what.
#[test]
fn what_a_wait_was_for() {
    let own = config()
        .set("default_pool_size", 1)
        .set("query_wait_timeout", "300ms")
        .set("admin_users", "trusty")
        .put("databases.app", "max_db_connections", 1);
    let pgweir = Pgweir::start(&own);
    let (mut holder, mut same) = (pgweir.client(), pgweir.client());
    let mut other = Client::connect(&pgweir.target("plainuser", "app"));
    let mut console = Client::connect(&pgweir.target("trusty", "pgweir"));
    let hint = |client: &mut Client| {
        let error = client.error("SELECT 1");
        assert_eq!(short(&error), "ERROR 57014 query_wait_timeout");
        error.field(b'H').unwrap_or_default()
    };
    holder.query("BEGIN");
    let busy = hint(&mut same);
    assert!(busy.starts_with("All server connections of the pool were busy"), "{busy}");
    assert_eq!(hint(&mut other), "All places under max_db_connections were taken, also by other pools.");
    holder.query("COMMIT");
    holder.query("SELECT pg_advisory_lock(1)");
    let kept = hint(&mut same);
    assert!(kept.contains("busy, 1 for clients that keep theirs for session state: see SHOW PINS"), "{kept}");
    holder.query("SELECT pg_advisory_unlock(1)");
    console.query("PAUSE app");
    assert_eq!(hint(&mut same), "The database is paused: the console's RESUME ends that.");
}

/// A server out of use for longer than server_check_delay answers a query first; one that doesn't is replaced, and the
/// client notices nothing.
#[test]
fn servers_are_checked() {
    let server = FakeServer::start(|conn| {
        conn.welcome()?;
        if conn.number == 0 {
            conn.serve_until("check me")?;
            return conn.stall();
        }
        conn.serve()
    });
    let own = Config::to(server.address())
        .set("server_check_query", "SELECT 'check me'")
        .set("server_check_delay", "1s")
        .set("server_connect_timeout", "500ms");
    let pgweir = Pgweir::start(&own);
    let mut client = pgweir.client();
    client.query("SELECT 'first'");
    std::thread::sleep(Duration::from_millis(1200));
    client.query("SELECT 'second'");
    std::thread::sleep(Duration::from_millis(1200));
    client.query("SELECT 'third'");
    let asked = |text: &str| server.seen().iter().filter(|seen| seen.contains(text)).count();
    assert_eq!([asked("first"), asked("second"), asked("third"), asked("check me")], [1, 1, 1, 2]);
    assert_eq!(server.connections(), 2);
    assert_eq!(pgweir.metric("pgweir_pool_server_closes_total", &["reason=\"check_failed\""]), 1.0);

    pgweir.reload(&own.set("server_check_query", ""));
    std::thread::sleep(Duration::from_millis(1200));
    client.query("SELECT 'fourth'");
    assert_eq!(asked("check me"), 2);
}

/// Servers that fail their check are closed for that, however many; a fresh one isn't asked, and serves.
#[test]
fn servers_that_fail_their_check_are_replaced() {
    let cluster = Cluster::shared();
    cluster.sql("app", "CREATE TABLE unfit (server int); GRANT SELECT ON unfit TO public");
    let own = config()
        .set("server_check_query", "SELECT 1 / (1 - count(*)) FROM (SELECT FROM unfit LIMIT 1) AS u")
        .set("server_check_delay", 0)
        .set("default_pool_size", 5);
    let pgweir = Pgweir::start(&own);
    let mut clients: Vec<_> = (0..5).map(|_| pgweir.client()).collect();
    for sql in ["BEGIN", "COMMIT"] {
        clients.iter_mut().for_each(|client| drop(client.query(sql)));
    }
    cluster.sql("app", "INSERT INTO unfit VALUES (1)");
    assert_eq!(clients[0].value("SELECT 7"), "7");
    assert_eq!(pgweir.metric("pgweir_pool_server_closes_total", &["reason=\"check_failed\""]), 5.0);
    assert!(pgweir.log().contains("server closed: test query failed"), "{}", pgweir.log());
    cluster.sql("app", "DROP TABLE unfit");
}

/// Client caps count who has proved who it is, exactly, and not for admin_users.
#[test]
fn clients_of_a_database_and_of_a_user() {
    let own = config()
        .set("max_db_client_connections", 3)
        .set("max_user_client_connections", 2)
        .set("admin_users", "trusty")
        .put("databases.other", "max_db_client_connections", 1)
        .put("users.plainuser", "max_user_client_connections", 0);
    let pgweir = Pgweir::start(&own);
    let connect = |user: &str, database: &str| Client::try_connect(&pgweir.target(user, database));
    let refused = |user: &str, database: &str| connect(user, database).expect_err("a cap").error();
    let mut apps: Vec<Client> = (0..2).map(|_| connect("app", "app").expect("room")).collect();
    let error = refused("app", "app");
    assert_eq!(short(&error), "FATAL 53300 too many connections for role \"app\"");
    assert_eq!(
        error.field(b'D').as_deref(),
        Some("client connections exceeded (max_user_client_connections)")
    );
    assert_eq!(connect("app", "app").map(drop).expect_err("a cap").error().sqlstate(), "53300");
    let wrong = Client::try_connect(&pgweir.target("app", "app").password("no")).expect_err("wrong");
    assert_eq!(wrong.error().sqlstate(), "28P01", "nobody learns of caps before that");
    let _third = connect("plainuser", "app").expect("room");
    let error = refused("plainuser", "app");
    assert_eq!(short(&error), "FATAL 53300 too many connections for database \"app\"");
    assert_eq!(error.field(b'D').as_deref(), Some("client connections exceeded (max_db_client_connections)"));
    connect("trusty", "app").expect("an operator always gets in").terminate();
    let _other = connect("plainuser", "other").expect("room");
    assert_eq!(refused("plainuser", "other").sqlstate(), "53300", "the database's own cap");
    apps.pop().expect("two").terminate();
    eventually("room again", || connect("app", "app").is_ok());
}

/// Settings of a line each: what sessions begin with, what clients are called and told, what is logged.
#[test]
fn small_settings() {
    let own = config()
        .set("application_name_add_host", true)
        .set("login_notify_message", "maintenance at noon")
        .set("auth_type", "trust")
        .set("tcp_socket_buffer", 65536)
        .set("stats_period", 1)
        .set("log_pooler_errors", false)
        .put("databases.other", "timezone", "Asia/Tokyo")
        .put("databases.other", "datestyle", "SQL, DMY");
    let pgweir = Pgweir::start(&own);
    let mut client = Client::connect(&pgweir.target("app", "app").parameter("application_name", "shop"));
    assert!(client.value("SHOW application_name").starts_with("shop - 127.0.0.1:"));
    let mut other = Client::connect(&pgweir.target("app", "other"));
    assert_eq!(other.parameter("TimeZone"), Some("Asia/Tokyo"));
    assert_eq!(other.parameter("DateStyle"), Some("SQL, DMY"));
    assert_eq!(other.value("SHOW timezone"), "Asia/Tokyo");
    other.query("SET timezone = 'UTC'");
    other.query("RESET timezone");
    assert_eq!(other.value("SHOW timezone"), "Asia/Tokyo");
    eventually("numbers in the log", || pgweir.log().contains("stats: "));
    assert!(Client::try_connect(&pgweir.target("stranger", "app")).is_err());
    assert!(!pgweir.log().contains("login refused"));

    let mut raw = std::net::TcpStream::connect(pgweir.address()).expect("a connection");
    let startup = messages::startup(support::raw::V3_0, &[("user", "app"), ("database", "app")]);
    std::io::Write::write_all(&mut raw, &startup).expect("room");
    let mut told = Vec::new();
    while !told.windows(19).any(|bytes| bytes == b"maintenance at noon") {
        let mut more = [0; 4096];
        let n = std::io::Read::read(&mut raw, &mut more).expect("bytes");
        assert!(n > 0, "no notice: {}", String::from_utf8_lossy(&told));
        told.extend_from_slice(&more[..n]);
    }
}

/// A changed file is read without being asked to; a bad one changes nothing, and the next one counts.
#[test]
fn files_are_watched() {
    let own = config().set("reload_on_change", true).set("max_client_conn", 50).set("admin_users", "trusty");
    let pgweir = Pgweir::start(&own);
    let mut console = Client::connect(&pgweir.target("trusty", "pgweir"));
    let mut now = || {
        let rows = console.rows("SELECT value FROM config WHERE key = 'max_client_conn'").expect("rows");
        rows[0][0].clone().expect("a value")
    };
    std::thread::sleep(Duration::from_millis(1100));
    pgweir.write_config(&own.clone().set("max_client_conn", 51));
    eventually("the new value", || now() == "51");
    pgweir.write_config(&own.clone().set("max_client_con", 52));
    eventually("the bad file is told", || pgweir.log().contains("did you mean \"max_client_conn\"?"));
    assert_eq!(now(), "51");
    pgweir.write_config(&own.set("max_client_conn", 53));
    eventually("the next value", || now() == "53");
}

/// A pool whose clients never let a server idle leaves another one its share of a cap.
#[test]
fn a_cap_is_shared() {
    let own = config().set("default_pool_size", 4).put("databases.app", "max_db_connections", 2).put(
        "users.plainuser",
        "weight",
        3,
    );
    let pgweir = Pgweir::start(&own);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let mut greedy = pgweir.client();
            let over = &over;
            scope.spawn(move || {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    greedy.value("SELECT pg_sleep(0.01)");
                }
            });
        }
        pgweir.wait_for_waiting(4);
        let mut modest = ["plainuser", "trusty"].map(|user| Client::connect(&pgweir.target(user, "app")));
        for _ in 0..5 {
            for client in &mut modest {
                let began = Instant::now();
                assert_eq!(client.value("SELECT 1"), "1");
                assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
            }
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let evicted = pgweir.metric("pgweir_pool_server_closes_total", &["user=\"app\"", "reason=\"evicted\""]);
    assert!(evicted >= 1.0, "{}", pgweir.log());
}
