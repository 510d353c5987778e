//! LISTEN in transaction mode: one server listens for all clients of a pool, who keep none of their own.

mod support;

use std::time::Duration;

use support::cluster::Cluster;
use support::eventually;
use support::messages::{Message, bind, execute, message, parse, query, sync};
use support::pgweir::{Config, Pgweir};
use support::raw::Client;

const CHANNELS: &str = "SELECT string_agg(c, ',' ORDER BY c COLLATE \"C\") FROM pg_listening_channels() c";

const LISTENING: &str =
    "FROM pg_stat_activity WHERE application_name = 'pgweir listens' AND datname = current_database()";

/// A pool of a database of its own, since channels are a database's.
struct Bench {
    pgweir: Pgweir,
    database: &'static str,
}

impl Bench {
    /// So many servers, and the listening one.
    fn start(database: &'static str, servers: i64) -> Self {
        let config = Config::new(Cluster::shared()).set("default_pool_size", servers);
        Self::with(database, config)
    }

    fn with(database: &'static str, config: Config) -> Self {
        let cluster = Cluster::shared();
        cluster.create_database(database);
        Self { pgweir: Pgweir::start(&config.database(database, cluster.address())), database }
    }

    fn client(&self) -> Client {
        Client::connect(&self.pgweir.target("app", self.database))
    }

    fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.pgweir.metric(name, labels)
    }

    /// By somebody who isn't pgweir's client.
    fn sql(&self, sql: &str) {
        Cluster::shared().sql(self.database, sql);
    }

    /// Until a client's channels are listened to by the listening server, its own server does it.
    fn wait_until_handed_over(&self) {
        eventually("nobody has a server", || {
            self.metric("pgweir_pool_servers", &["state=\"active\""]) == 0.0
        });
    }
}

/// Channel and payload.
fn words(message: &Message) -> (String, String) {
    assert_eq!(message.tag, b'A', "{message}");
    let mut parts =
        message.body[4..].split(|b| *b == 0).map(|part| String::from_utf8_lossy(part).into_owned());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

fn sender(message: &Message) -> u32 {
    u32::from_be_bytes(message.body[..4].try_into().expect("four bytes"))
}

/// The payload of the next message, which must be a notification.
fn heard(client: &mut Client) -> String {
    words(&client.read()).1
}

/// Nothing has come: a round trip answered by pgweir, behind whatever was on its way.
fn hears_nothing(client: &mut Client) {
    client.send(&sync());
    client.expect(&["Z I"]);
}

#[test]
fn listeners_keep_no_server() {
    let bench = Bench::start("listeners_keep_no_server", 1);
    let (mut a, mut b, mut other) = (bench.client(), bench.client(), bench.client());
    a.query("LISTEN one");
    b.query("LISTEN one; LISTEN two");
    assert_eq!(other.value("SELECT 1"), "1");
    other.query("NOTIFY one, 'x'; NOTIFY two, 'y'");
    assert_eq!(heard(&mut a), "x");
    assert_eq!([heard(&mut b), heard(&mut b)], ["x", "y"]);
    bench.wait_until_handed_over();
    bench.sql("NOTIFY two, 'z'");
    assert_eq!(heard(&mut b), "z");
    assert_eq!(a.value(CHANNELS), "one");
    assert_eq!(b.value(CHANNELS), "one,two");
    assert_eq!(other.value("SELECT count(*) FROM pg_listening_channels()"), "0");
    assert_eq!(bench.metric("pgweir_pool_listening_servers", &[]), 1.0);
    assert_eq!(bench.metric("pgweir_pool_subscriptions", &[]), 3.0);
    assert_eq!(bench.metric("pgweir_pool_pins_total", &["reason=\"listen\""]), 0.0);
    hears_nothing(&mut a);
    hears_nothing(&mut b);
    assert!(bench.pgweir.stop().success());
}

#[test]
fn a_thousand_in_order() {
    let bench = Bench::start("a_thousand_in_order", 2);
    let (mut listener, mut speaker) = (bench.client(), bench.client());
    listener.query("LISTEN news");
    for round in 0..10 {
        let sql = format!(
            "SELECT pg_notify('news', n::text) FROM generate_series({}, {}) n",
            round * 100,
            round * 100 + 99
        );
        speaker.query(&sql);
        if round % 3 == 0 {
            listener.send(&query("SELECT 1"));
        }
    }
    let mut seen = Vec::new();
    while seen.len() < 1000 {
        let message = listener.read();
        if message.tag == b'A' {
            seen.push(words(&message).1);
        }
    }
    assert!(seen.iter().enumerate().all(|(at, payload)| *payload == at.to_string()), "{seen:?}");
}

/// What PostgreSQL has at the end of each transaction is what counts.
#[test]
fn only_what_is_committed_counts() {
    let bench = Bench::start("only_what_is_committed_counts", 1);
    let (mut client, mut speaker) = (bench.client(), bench.client());
    let mut after = |sql: &[&str], channels: &str| {
        sql.iter().for_each(|sql| drop(client.query(sql)));
        speaker.query("NOTIFY a, 'a'; NOTIFY b, 'b'");
        for channel in channels.split(',').filter(|c| !c.is_empty()) {
            assert_eq!(heard(&mut client), channel, "{sql:?}");
        }
        hears_nothing(&mut client);
        assert_eq!(client.rows(CHANNELS).expect("a row")[0][0].as_deref().unwrap_or(""), channels, "{sql:?}");
    };
    after(&["BEGIN; LISTEN a; ROLLBACK"], "");
    after(&["BEGIN", "LISTEN a", "SAVEPOINT s", "LISTEN b", "ROLLBACK TO s", "COMMIT"], "a");
    after(&["BEGIN; UNLISTEN a; ROLLBACK"], "a");
    after(&["BEGIN", "LISTEN b", "SELECT 1/0", "COMMIT"], "a");
    after(&["LISTEN b"], "a,b");
    after(&["BEGIN", "SAVEPOINT s", "UNLISTEN *", "ROLLBACK TO s", "UNLISTEN a", "COMMIT"], "b");
    after(&["DISCARD ALL"], "");
    after(&["LISTEN a; LISTEN b; UNLISTEN a", "LISTEN a"], "a,b");
    after(&["UNLISTEN *"], "");
}

#[test]
fn the_extended_protocol() {
    let bench = Bench::start("the_extended_protocol", 1);
    let (mut client, mut speaker) = (bench.client(), bench.client());
    for sql in ["LISTEN a", "SELECT pg_notify('a', 'own')"] {
        client.send(&[parse("", sql), bind("", "", &[]), execute("", 0), sync()].concat());
        client.read_until(|message| message.tag == b'Z');
    }
    client.query("UNLISTEN a; LISTEN b");
    speaker.query("NOTIFY a, 'no'; NOTIFY b, 'yes'");
    assert_eq!(heard(&mut client), "yes");
}

/// Somebody sends all the time: whatever is sent after LISTEN is answered comes, once, in order, nothing left out.
#[test]
fn nothing_is_lost_or_doubled_when_listening_begins() {
    let bench = Bench::start("nothing_is_lost_or_doubled_when_listenin", 3);
    let mut busy = bench.client();
    for round in 0..20 {
        let mut client = bench.client();
        // The stream runs on while the client begins to listen.
        busy.send(&(0..200).flat_map(|n| query(&format!("NOTIFY always, '{n}'"))).collect::<Vec<_>>());
        let mut told = client.query("LISTEN always");
        (0..200).for_each(|_| drop(busy.read_until_ready()));
        busy.query("NOTIFY always, '200'");
        told.extend(client.read_until(|m| m.tag == b'A' && words(m).1 == "200"));
        let told =
            told.iter().filter(|m| m.tag == b'A').map(|m| words(m).1.parse::<u32>().expect("a number"));
        let seen: Vec<_> = told.collect();
        let first = seen[0];
        assert!(seen.iter().copied().eq(first..=200), "round {round}: {seen:?}");
        client.query("NOTIFY always, '7'");
        hears_nothing(&mut client);
    }
}

#[test]
fn own_notifications_come_before_ready_and_with_the_own_pid() {
    let bench = Bench::start("own_notifications_come_before_ready_and_", 1);
    let mut client = bench.client();
    let own = client.pid;
    for sql in ["BEGIN; LISTEN a; NOTIFY a, 'x'; COMMIT", "NOTIFY a, 'x'", "BEGIN; NOTIFY a, 'x'; COMMIT"] {
        let replies = client.query(sql);
        let told: Vec<_> =
            replies.iter().filter(|m| m.tag == b'A').map(|m| (sender(m), words(m).1)).collect();
        assert_eq!(told, [(own, "x".to_owned())], "{sql}");
        hears_nothing(&mut client);
    }
    let mut other = bench.client();
    other.query("NOTIFY a, 'x'");
    let heard = client.read();
    assert!(words(&heard).1 == "x" && sender(&heard) != own);
    hears_nothing(&mut client);
}

#[test]
fn in_a_transaction_they_wait_for_its_end() {
    let bench = Bench::start("in_a_transaction_they_wait_for_its_end", 2);
    let (mut client, mut speaker) = (bench.client(), bench.client());
    client.query("LISTEN a");
    bench.wait_until_handed_over();
    client.query("BEGIN");
    speaker.query("NOTIFY a, 'x'");
    let told = || bench.metric("pgweir_pool_notifications_total", &[]);
    eventually("it has come to pgweir", || told() == 1.0);
    assert!(client.query("SELECT 1").iter().all(|m| m.tag != b'A'));
    client.send(&query("COMMIT"));
    let replies = client.read_until(|m| m.tag == b'A');
    assert_eq!(words(replies.last().expect("a message")).1, "x");
}

#[test]
fn a_client_that_leaves_is_listened_for_no_more() {
    let bench = Bench::start("a_client_that_leaves_is_listened_for_no_", 1);
    let (mut a, mut b) = (bench.client(), bench.client());
    a.query("LISTEN a");
    b.query("LISTEN b");
    bench.wait_until_handed_over();
    b.terminate();
    eventually("one is left", || bench.metric("pgweir_pool_subscriptions", &[]) == 1.0);
    let asked = || Cluster::shared().value(bench.database, &format!("SELECT query {LISTENING}"));
    eventually("the channel is let go", || asked().ends_with("UNLISTEN \"b\""));
    bench.sql("NOTIFY b; NOTIFY a, 'x'");
    assert_eq!(heard(&mut a), "x");
}

#[test]
fn names_of_any_kind() {
    let bench = Bench::start("names_of_any_kind", 1);
    let (mut client, mut speaker) = (bench.client(), bench.client());
    let long = "x".repeat(63);
    for name in ["\"Up per\"", "\"quo\"\"te\"", "\"back\\slash\"", "\"é-ü-漢😀\"", &long, "select_"] {
        client.query(&format!("LISTEN {name}"));
        speaker.query(&format!("NOTIFY {name}, 'x'"));
        assert_eq!(heard(&mut client), "x", "{name}");
        client.query("SELECT 1");
        speaker.query(&format!("NOTIFY {name}, 'y'"));
        assert_eq!(heard(&mut client), "y", "{name}");
    }
    assert_eq!(client.value("SELECT count(*) FROM pg_listening_channels()"), "6");
}

#[test]
fn a_lost_listening_server_is_told_and_replaced() {
    let bench = Bench::start("a_lost_listening_server_is_told_and_repl", 1);
    let (mut client, mut second) = (bench.client(), bench.client());
    client.query("LISTEN a; LISTEN b");
    second.query("LISTEN a");
    bench.wait_until_handed_over();
    bench.sql(&format!("SELECT pg_terminate_backend(pid) {LISTENING}"));
    for (client, channels) in [(&mut client, "\"a\", \"b\""), (&mut second, "\"a\"")] {
        let notice = client.read();
        assert_eq!((notice.tag, notice.sqlstate().as_str()), (b'N', "01000"), "{notice}");
        assert_eq!(notice.field(b'S').as_deref(), Some("WARNING"));
        assert!(notice.field(b'M').expect("a message").ends_with(channels), "{notice}");
    }
    bench.sql("NOTIFY a, 'x'");
    assert_eq!([heard(&mut client), heard(&mut second)], ["x", "x"]);
    assert_eq!(client.value(CHANNELS), "a,b");
    assert_eq!(bench.metric("pgweir_pool_notification_gaps_total", &[]), 2.0);
    assert!(bench.pgweir.log().contains("no listening server"), "{}", bench.pgweir.log());
}

#[test]
fn a_slow_reader_is_bounded_and_costs_others_nothing() {
    let bench = Bench::start("a_slow_reader_is_bounded_and_costs_other", 2);
    let (mut slow, mut quick) = (bench.client(), bench.client());
    slow.query("LISTEN flood");
    quick.query("LISTEN flood");
    bench.wait_until_handed_over();
    let dropped = || bench.metric("pgweir_pool_notifications_dropped_total", &[]);
    let mut sent = 0;
    while dropped() == 0.0 {
        bench.sql(&format!(
            "SELECT pg_notify('flood', {sent} || repeat('.', 7000) || n) FROM generate_series(1, 20) n"
        ));
        (0..20).for_each(|_| assert!(heard(&mut quick).starts_with(&sent.to_string())));
        sent += 20;
    }
    let mut came = 0;
    let notice = loop {
        let message = slow.read();
        match message.tag {
            b'A' => came += 1,
            _ => break message,
        }
    };
    assert_eq!((notice.tag, notice.sqlstate().as_str()), (b'N', "01000"), "{notice}");
    assert!(f64::from(came) + dropped() >= f64::from(sent) && came < sent, "{came} of {sent}");
    quick.query("NOTIFY flood, 'end'");
    assert_eq!(heard(&mut slow), "end");
}

/// There is no place for a listening server: the client keeps its own, as if it held a temporary table.
#[test]
fn without_a_place_the_client_keeps_its_server() {
    let config = Config::new(Cluster::shared()).set("default_pool_size", 2).set("max_db_connections", 1);
    let bench = Bench::with("no_place", config);
    let (mut client, mut other) = (bench.client(), bench.client());
    client.query("LISTEN a");
    client.query("BEGIN");
    client.query("COMMIT");
    bench.sql("NOTIFY a, 'x'");
    assert_eq!(heard(&mut client), "x");
    other.send(&query("SELECT 1"));
    bench.pgweir.wait_for_waiting(1);
    client.query("UNLISTEN a");
    assert_eq!(other.read_until_ready().len(), 4);
    assert_eq!(other.value("SELECT 1"), "1");
}

/// The listening server takes a place under the cap, and never the last.
#[test]
fn under_a_cap() {
    let config = Config::new(Cluster::shared()).set("default_pool_size", 3).set("max_db_connections", 2);
    let bench = Bench::with("under_a_cap", config);
    let mut clients: Vec<_> = (0..4).map(|_| bench.client()).collect();
    clients.iter_mut().take(2).for_each(|client| drop(client.query("BEGIN")));
    clients.iter_mut().take(2).for_each(|client| drop(client.query("COMMIT")));
    clients.iter_mut().for_each(|client| drop(client.query("LISTEN a")));
    bench.wait_until_handed_over();
    let condition = format!("datname = '{}' AND usename = 'app'", bench.database);
    assert_eq!(Cluster::shared().connections(&condition), 2);
    clients[0].query("NOTIFY a, 'x'");
    clients[1..].iter_mut().for_each(|client| assert_eq!(heard(client), "x"));
}

/// Who listens to pgweir's own channel disturbs nobody, and hears nothing.
#[test]
fn the_markers_are_pgweirs_own() {
    let bench = Bench::start("markers", 1);
    let (mut curious, mut client) = (bench.client(), bench.client());
    curious.query("LISTEN pgweir_marker; LISTEN a");
    bench.wait_until_handed_over();
    client.query("LISTEN a");
    curious.query("UNLISTEN pgweir_marker");
    curious.query("LISTEN pgweir_marker");
    curious.terminate();
    for channel in ["b", "c"] {
        client.query(&format!("LISTEN {channel}"));
        bench.wait_until_handed_over();
        bench.sql(&format!("NOTIFY {channel}, 'x'; NOTIFY pgweir_marker, 'x'; NOTIFY a, 'y'"));
        assert_eq!([heard(&mut client), heard(&mut client)], ["x", "y"]);
    }
}

/// A client tied to its server for something else is told between its transactions, too.
#[test]
fn beside_a_temporary_table() {
    let bench = Bench::start("beside_a_temporary_table", 2);
    let (mut client, mut speaker) = (bench.client(), bench.client());
    client.query("CREATE TEMP TABLE t (a int); LISTEN a");
    eventually("the listening server listens", || bench.metric("pgweir_pool_listening_servers", &[]) == 1.0);
    for round in 0..20 {
        speaker.query(&format!("NOTIFY a, '{round}'"));
        assert_eq!(heard(&mut client), round.to_string());
        client.query("INSERT INTO t VALUES (1)");
    }
    client.set_timeout(Duration::from_secs(10));
    // What has come during a transaction, whether there is something to ask behind it or not.
    for last in ["SELECT 1", "SET work_mem = '7MB'"] {
        client.query("BEGIN");
        let told = bench.metric("pgweir_pool_notifications_total", &[]);
        speaker.query("NOTIFY a, 'within'");
        eventually("it has come to pgweir", || bench.metric("pgweir_pool_notifications_total", &[]) > told);
        client.query(last);
        client.send(&query("COMMIT"));
        client.read_until(|m| m.tag == b'A' && words(m).1 == "within");
        hears_nothing(&mut client);
    }
    client.query("DROP TABLE t");
    bench.wait_until_handed_over();
    speaker.query("NOTIFY a, 'end'");
    assert_eq!(heard(&mut client), "end");
    client.send(&message(b'X', b""));
}
