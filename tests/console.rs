//! The console: who gets in, what is to be seen in which columns, what each command does and who may.

mod support;

use std::process::Command;

use support::cluster::{self, Cluster, test_tools};
use support::eventually;
use support::messages::{self, Message};
use support::pgweir::{Config, Pgweir};
use support::raw::{Client, Target, V3_0, V3_2};

/// `trusty` may do everything, `plainuser` may look, the others are nobody here.
fn config() -> Config {
    let config = Config::new(Cluster::shared()).set("default_pool_size", 2);
    config.set("admin_users", "trusty").set("stats_users", "somebody, plainuser")
}

fn admin(pgweir: &Pgweir) -> Client {
    Client::connect(&pgweir.target("trusty", "pgweir"))
}

/// A simple query's answer in words, without its ReadyForQuery.
fn words(client: &mut Client, sql: &str) -> String {
    let mut replies = client.query(sql);
    assert_eq!(replies.pop().map(|message| message.tag), Some(b'Z'));
    replies.iter().map(short).collect::<Vec<_>>().join(" / ")
}

/// SQLSTATE and text of an error or notice; others as they are.
fn short(message: &Message) -> String {
    match message.tag {
        b'E' | b'N' => format!("{} {}", message.sqlstate(), message.field(b'M').unwrap_or_default()),
        _ => message.to_string(),
    }
}

/// Names and types of a RowDescription, such as `name text`.
fn columns(message: &Message) -> Vec<String> {
    assert_eq!(message.tag, b'T', "{message}");
    let (mut rest, mut found) = (&message.body[2..], Vec::new());
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let oid = u32::from_be_bytes(rest[end + 7..end + 11].try_into().expect("four bytes"));
        let kind = match oid {
            25 => "text",
            23 => "int4",
            20 => "int8",
            1700 => "numeric",
            _ => "?",
        };
        found.push(format!("{} {kind}", String::from_utf8_lossy(&rest[..end])));
        rest = &rest[end + 19..];
    }
    found
}

/// The rows of a SHOW as (column, value), nulls as `-`.
fn show(client: &mut Client, what: &str) -> Vec<Vec<(String, String)>> {
    let replies = client.query(&format!("SHOW {what}"));
    let names = columns(&replies[0]);
    let row = |message: &Message| {
        let values = message.columns().into_iter().map(|value| value.unwrap_or_else(|| "-".to_owned()));
        let bare = names.iter().map(|name| name.split(' ').next().unwrap_or_default().to_owned());
        bare.zip(values).collect()
    };
    replies.iter().filter(|message| message.tag == b'D').map(row).collect()
}

/// The values of some columns, of the rows where one column is as given.
fn pick(rows: &[Vec<(String, String)>], (key, is): (&str, &str), wanted: &[&str]) -> Vec<String> {
    let value = |row: &[(String, String)], name: &str| {
        row.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_else(|| panic!("no {name}"))
    };
    let of = |row: &Vec<(String, String)>| wanted.iter().map(|w| value(row, w)).collect::<Vec<_>>().join(" ");
    rows.iter().filter(|row| value(row, key) == is).map(of).collect()
}

fn select(client: &mut Client, what: &str, key: (&str, &str), wanted: &[&str]) -> Vec<String> {
    pick(&show(client, what), key, wanted)
}

#[test]
fn who_gets_in() {
    let pgweir = Pgweir::start(&config().set("max_client_conn", 1));
    let _only_one = pgweir.client();
    let mut consoles: Vec<Client> = ["pgweir", "pgbouncer"]
        .iter()
        .flat_map(|database| [("trusty", database), ("plainuser", database)])
        .map(|(user, database)| Client::connect(&pgweir.target(user, database).version(V3_2)))
        .collect();
    for (name, value) in [
        ("server_version", "1.26.1/bouncer"),
        ("client_encoding", "UTF8"),
        ("server_encoding", "UTF8"),
        ("DateStyle", "ISO"),
        ("TimeZone", "GMT"),
        ("standard_conforming_strings", "on"),
        ("is_superuser", "on"),
    ] {
        assert_eq!(consoles[0].parameter(name), Some(value));
    }
    assert_eq!(consoles[3].key.len(), 32, "protocol 3.2");
    assert_eq!(consoles[3].value("SHOW timezone"), "GMT");
    let lists = show(&mut consoles[0], "LISTS");
    assert_eq!(pick(&lists, ("list", "used_clients"), &["items"]), ["5"]);
    let refused = |target: Target| Client::try_connect(&target).unwrap_err().error();
    let nobody = refused(pgweir.target("app", "pgweir"));
    assert_eq!(
        (short(&nobody), nobody.field(b'S')),
        ("08P01 not allowed".to_owned(), Some("FATAL".to_owned()))
    );
    assert_eq!(refused(pgweir.target("trusty", "pgweir").password("no")).sqlstate(), "28P01");
    assert_eq!(refused(pgweir.target("stranger", "pgweir")).sqlstate(), "28P01");
    assert_eq!(refused(pgweir.target("trusty", "app")).sqlstate(), "53300");
    assert_eq!(refused(pgweir.target("trusty", "pgweir").parameter("replication", "on")).sqlstate(), "0A000");
}

/// PgBouncer 1.26's columns, from its documentation and from the wire: types, each with the names that have it.
const COLUMNS: [(&str, &str); 20] = [
    (
        "STATS",
        "text database; numeric total_server_assignment_count total_xact_count total_query_count total_received \
         total_sent total_xact_time total_query_time total_wait_time total_client_parse_count \
         total_server_parse_count total_bind_count total_client_login_count avg_server_assignment_count \
         avg_xact_count avg_query_count avg_recv avg_sent avg_xact_time avg_query_time avg_wait_time \
         avg_client_parse_count avg_server_parse_count avg_bind_count avg_client_login_count",
    ),
    (
        "STATS_TOTALS",
        "text database; numeric server_assignment_count xact_count query_count bytes_received bytes_sent xact_time \
         query_time wait_time client_parse_count server_parse_count bind_count client_login_count",
    ),
    (
        "STATS_AVERAGES",
        "text database; numeric server_assignment_count xact_count query_count bytes_received bytes_sent xact_time \
         query_time wait_time avg_client_parse_count avg_server_parse_count avg_bind_count avg_client_login_count",
    ),
    ("TOTALS", "text name; numeric value"),
    (
        "POOLS",
        "text database user; int4 cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active \
         sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us; \
         text pool_mode load_balance_hosts",
    ),
    (
        "DATABASES",
        "text name host; int4 port; text database force_user; int4 pool_size min_pool_size reserve_pool_size \
         server_lifetime; text pool_mode load_balance_hosts; int4 max_connections current_connections \
         max_client_connections current_client_connections paused disabled",
    ),
    (
        "USERS",
        "text name pool_size reserve_pool_size pool_mode; int4 max_user_connections current_connections \
         max_user_client_connections current_client_connections",
    ),
    ("CLIENTS", SOCKET),
    ("SERVERS", SOCKET),
    ("SOCKETS", "+ recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail"),
    ("ACTIVE_SOCKETS", "+ recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail"),
    ("LISTS", "text list; int4 items"),
    ("CONFIG", "text key value default changeable"),
    ("MEM", "text name; int4 size used free memtotal"),
    ("VERSION", "text version"),
    ("STATE", "text key value"),
    ("PEERS", "int4 peer_id; text host; int4 port pool_size"),
    ("PEER_POOLS", "int4 peer_id cl_active_cancel_req cl_waiting_cancel_req sv_active_cancel sv_login"),
    ("DNS_HOSTS", "text hostname; int8 ttl; text addrs"),
    ("DNS_ZONES", "text zonename; int8 serial; int4 count"),
];
const SOCKET: &str = "text type user database replication state addr; int4 port; text local_addr; int4 local_port; \
    text connect_time request_time; int4 wait wait_us close_needed; text ptr link; int4 remote_pid; \
    text tls application_name; int4 prepared_statements id";

#[test]
fn columns_are_pgbouncers() {
    let pgweir = Pgweir::start(&config());
    let _client = pgweir.client();
    let mut looker = Client::connect(&pgweir.target("plainuser", "pgweir"));
    for (what, specified) in COLUMNS {
        let specified = specified.replace("+ ", &format!("{SOCKET}; int4 "));
        let expected: Vec<String> = specified
            .split("; ")
            .filter_map(|group| group.split_once(' '))
            .flat_map(|(kind, names)| names.split(' ').map(move |name| format!("{name} {kind}")))
            .collect();
        let replies = looker.query(&format!("SHOW {what};"));
        assert_eq!(columns(&replies[0]), expected, "{what}");
        assert!(
            replies.iter().all(|message| matches!(message.tag, b'T' | b'D' | b'C' | b'Z')),
            "{replies:?}"
        );
        looker
            .send(&[messages::parse("", &format!("SHOW {what}")), messages::describe_statement("")].concat());
        looker.send(&messages::sync());
        assert_eq!(columns(&looker.read_until_ready()[2]), expected, "{what}, described");
    }
    assert_eq!(show(&mut looker, "TOTALS").len(), 24);
    assert_eq!(words(&mut looker, "SHOW HELP"), "00000 Console usage / C SHOW");
}

#[test]
fn what_is_shown_is_true() {
    let pgweir = Pgweir::start(&config());
    let cluster = Cluster::shared();
    let mut looker =
        Client::connect(&pgweir.target("plainuser", "pgweir").parameter("application_name", "look"));
    let mut client = Client::connect(&pgweir.target("app", "app").parameter("application_name", "first"));
    client.query("SELECT 1");
    client.query("SET application_name = 'second'");
    client.send(
        &[messages::parse("s1", "SELECT 2"), messages::parse("s2", "SELECT 3"), messages::sync()].concat(),
    );
    client.read_until_ready();
    client.query("BEGIN");
    let backend = client.value("SELECT pg_backend_pid()");
    let clients = show(&mut looker, "CLIENTS");
    let mine = ["user", "state", "application_name", "prepared_statements", "addr", "local_port", "tls"];
    let port = pgweir.port.to_string();
    assert_eq!(
        pick(&clients, ("database", "app"), &mine),
        [format!("app active second 2 127.0.0.1 {port} ")]
    );
    let console = ["user", "state", "application_name", "addr", "local_port"];
    assert_eq!(
        pick(&clients, ("database", "pgweir"), &console),
        [format!("plainuser active look 127.0.0.1 {port}")]
    );
    let named = pick(&clients, ("database", "app"), &["ptr", "link", "id"]).remove(0);
    let (ptr, rest) = named.split_once(' ').expect("three");
    let link = rest.split(' ').next().expect("a server");
    let server = ["state", "link", "remote_pid", "application_name", "prepared_statements", "port"];
    assert_eq!(
        select(&mut looker, "SERVERS", ("ptr", link), &server),
        [format!("active {ptr} {backend} second 2 {}", cluster.port)]
    );
    let pools = |looker: &mut Client| {
        select(looker, "POOLS", ("database", "app"), &["cl_active", "cl_waiting", "sv_active", "sv_idle"])
    };
    assert_eq!(pools(&mut looker), ["1 0 1 0"]);
    client.query("COMMIT");
    let stats =
        ["total_xact_count", "total_client_login_count", "total_client_parse_count", "avg_xact_count"];
    eventually("the server is back", || pools(&mut looker) == ["1 0 0 1"]);
    assert_eq!(select(&mut looker, "CLIENTS", ("database", "app"), &["state", "link"]), ["idle "]);
    assert_eq!(select(&mut looker, "STATS", ("database", "app"), &stats), ["4 1 2 0"]);
    let database = ["force_user", "pool_size", "current_connections", "current_client_connections", "paused"];
    assert_eq!(select(&mut looker, "DATABASES", ("name", "app"), &database), ["- 2 1 1 0"]);
    let user = ["pool_size", "pool_mode", "current_connections", "current_client_connections"];
    assert_eq!(select(&mut looker, "USERS", ("name", "app"), &user), [" - 1 1"]);
    let setting = ["value", "default", "changeable"];
    assert_eq!(select(&mut looker, "CONFIG", ("key", "default_pool_size"), &setting), ["2 20 yes"]);
    assert_eq!(select(&mut looker, "CONFIG", ("key", "listen_port"), &setting), [format!("{port} 6432 no")]);
}

/// What went on a second, in the last period.
#[test]
fn averages() {
    let pgweir = Pgweir::start(&config().set("stats_period", 1));
    let (mut looker, mut client) = (admin(&pgweir), pgweir.client());
    let wanted = ["avg_xact_count", "avg_query_count", "avg_xact_time", "avg_sent"];
    eventually("every average is above 0", || {
        (0..20).for_each(|_| drop(client.query("SELECT pg_sleep(0.001)")));
        let found = select(&mut looker, "STATS", ("database", "app"), &wanted).remove(0);
        found.split(' ').all(|average| average.parse().is_ok_and(|average: u64| average > 0))
    });
    let columns = ["xact_count", "bytes_received"];
    assert!(!select(&mut looker, "STATS_AVERAGES", ("database", "app"), &columns)[0].starts_with("0 "));
}

/// As an operator sees it.
#[test]
fn psql_prints_tables() {
    let pgweir = Pgweir::start(&config());
    let _client = pgweir.client();
    let psql = |command: &str| {
        let mut psql = Command::new("psql");
        psql.args([
            "-X",
            "-v",
            "VERBOSITY=verbose",
            &pgweir.target("trusty", "pgbouncer").url(),
            "-c",
            command,
        ]);
        let output = psql.output().expect("psql");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert_eq!(
        psql("SHOW STATE"),
        "  key   | value \n--------+-------\n active | yes\n paused | no\n(2 rows)\n\n"
    );
    let pools = psql("SHOW POOLS");
    let line = |start: &str| pools.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or("");
    let cells = |start| line(start).split('|').map(str::trim).collect::<Vec<_>>().join(",");
    assert_eq!(cells("app "), "app,app,1,0,0,0,0,0,0,1,0,0,0,0,0,transaction,", "{pools}");
    assert_eq!(cells("pgweir "), "pgweir,pgweir,1,0,0,0,0,0,0,0,0,0,0,0,0,statement,", "{pools}");
    assert_eq!(psql("RELOAD"), "RELOAD\n");
    assert_eq!(psql("SELECT nothing"), "ERROR:  08P01: invalid command 'SELECT nothing', use SHOW HELP;\n");
    assert!(psql("SHOW HELP").contains("NOTICE:  00000: Console usage\nDETAIL:  \n\tSHOW HELP|CONFIG"));
}

#[test]
fn drivers() {
    let pgweir = Pgweir::start(&config());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers/console.py");
    let python = test_tools().join("venv/bin/python");
    cluster::run(Command::new(python).arg(script).arg(pgweir.target("trusty", "pgweir").url()));
}

#[test]
fn extended_protocol() {
    let pgweir = Pgweir::start(&config());
    let mut client = admin(&pgweir);
    let bind = messages::bind("", "s", &[]);
    client.send(
        &[
            messages::parse("s", "SHOW STATE"),
            bind.clone(),
            messages::describe_portal(""),
            messages::execute("", 1),
            messages::execute("", 0),
            messages::flush(),
        ]
        .concat(),
    );
    client.expect(&["1", "2", "T…", "D [Some(\"active\"), Some(\"yes\")]", "s", "D…", "C SHOW"]);
    client.send(&[messages::parse("bad", "SHOW ME"), bind.clone(), messages::sync()].concat());
    client.expect(&["E…", "Z I"]);
    client.send(&[messages::bind("", "s", &[Some("x")]), messages::sync()].concat());
    client.expect(&["E…", "Z I"]);
    client.send(&[messages::close_statement("s"), bind, messages::sync()].concat());
    client.expect(&["3", "E…", "Z I"]);
    client.send(&messages::function_call(1, &[]));
    client.expect(&["E…", "Z I"]);
    client.send(&messages::query(&"x".repeat(70_000)));
    assert!(short(&client.read_to_end()[0]).starts_with("08P01"));
}

/// CVE-2026-6667: every command, by somebody who may and by somebody who may only look; nobody else gets in.
#[test]
fn commands_and_rights() {
    let pgweir = Pgweir::start(&config());
    let (mut admin, mut looker) = (admin(&pgweir), Client::connect(&pgweir.target("plainuser", "pgbouncer")));
    for (command, answer) in [
        ("RELOAD", "C RELOAD"),
        ("SET max_client_conn = 900", "C SET max_client_conn=900"),
        ("SET pool_mode = 'session'", "08P01 SET failed"),
        ("SET log_level TO 'loud'", "08P01 SET failed"),
        ("PAUSE app", "C PAUSE"),
        ("PAUSE pgweir", "08P01 cannot pause admin db: pgweir"),
        ("PAUSE nowhere", "08P01 no such database: nowhere"),
        ("RESUME app", "C RESUME"),
        ("RESUME app", "08P01 database app is not paused"),
        ("RESUME", "08P01 pooler is not paused"),
        ("PAUSE", "C PAUSE"),
        ("PAUSE", "08P01 already paused"),
        ("PAUSE app", "08P01 already paused"),
        ("RESUME", "C RESUME"),
        ("DISABLE app", "C DISABLE"),
        ("DISABLE pgbouncer", "08P01 cannot disable admin db: pgbouncer"),
        ("DISABLE", "08P01 a database is required"),
        ("ENABLE app", "C ENABLE"),
        ("ENABLE nowhere", "08P01 no such database: nowhere"),
        ("RECONNECT", "C RECONNECT"),
        ("RECONNECT app", "C RECONNECT"),
        ("KILL other", "C KILL"),
        ("RESUME other", "C RESUME"),
        ("KILL", "C KILL"),
        ("RESUME", "C RESUME"),
        ("KILL_CLIENT 99999", "08P01 client not found"),
        ("KILL_CLIENT x", "08P01 invalid client pointer supplied"),
        ("WAIT_CLOSE", "C WAIT_CLOSE"),
        ("WAIT_CLOSE app", "C WAIT_CLOSE"),
        ("SHUTDOWN sometime", "08P01 invalid command 'SHUTDOWN sometime', use SHOW HELP;"),
        ("SUSPEND", "08P01 invalid command 'SUSPEND', use SHOW HELP;"),
        ("SHOW FDS", "08P01 invalid command 'SHOW FDS', use SHOW HELP;"),
        (";", "I"),
        ("SET datestyle = 'ISO'", "00000 SET ignored / C SET"),
        ("BEGIN; ", "C BEGIN"),
        ("COMMIT", "C COMMIT"),
    ] {
        assert_eq!(words(&mut admin, command), answer, "{command}");
        let told = words(&mut looker, command);
        let anybodys = [";", "SET datestyle = 'ISO'", "BEGIN; ", "COMMIT"].contains(&command);
        let told_first = answer.contains("invalid command");
        let expected = if anybodys || told_first { answer } else { "08P01 admin access needed" };
        assert_eq!(told, expected, "{command} by a stats user");
    }
    assert_eq!(words(&mut looker, "SHUTDOWN"), "08P01 admin access needed");
    let detail = |client: &mut Client, sql: &str| client.error(sql).field(b'D').unwrap_or_default();
    assert_eq!(
        detail(&mut admin, "SET pool_mode = 'session'"),
        "pool_mode can't be changed while pgweir runs: a change needs a restart."
    );
    assert!(detail(&mut admin, "SET default_pool_sise = 3").ends_with("did you mean \"default_pool_size\"?"));
}

/// Who waits for max_pins waits as others do: it is counted once, stands in SHOW WAITS, and is told.
#[test]
fn who_waits_for_max_pins_is_seen() {
    let own = config().set("max_pins", 1).set("max_pins_reached", "wait").set("query_wait_notify", "300ms");
    let pgweir = Pgweir::start(&own);
    let mut console = admin(&pgweir);
    let (mut holder, mut waiter, mut canceled) = (pgweir.client(), pgweir.client(), pgweir.client());
    holder.query("SELECT pg_advisory_lock(41)");
    waiter.send(&messages::query("SELECT pg_advisory_lock(42)"));
    pgweir.wait_for_waiting(1);
    canceled.send(&messages::query("SELECT pg_advisory_lock(43)"));
    pgweir.wait_for_waiting(2);
    let notice = waiter.read();
    assert_eq!(
        short(&notice),
        "00000 No server connection available in postgres backend, client being queued"
    );
    assert!(notice.field(b'H').is_some_and(|hint| hint.contains("max_pins")), "{notice:?}");
    let waits = show(&mut console, "WAITS");
    let why = "max_pins is reached: 1 client keeps its server, see SHOW PINS";
    assert_eq!(
        pick(&waits, ("database", "app"), &["position", "user", "addr", "waits_for"]),
        [format!("1 app 127.0.0.1 {why}"), format!("2 app 127.0.0.1 {why}")]
    );
    assert_eq!(select(&mut console, "POOLS", ("database", "app"), &["cl_active", "cl_waiting"]), ["1 2"]);
    let waited = || {
        let pools = show(&mut admin(&pgweir), "POOLS");
        let micros: Vec<_> = pick(&pools, ("database", "app"), &["maxwait", "maxwait_us"]);
        micros[0] != "0 0"
    };
    assert!(waited());
    let told = pgweir.http("/pools.json").1;
    assert!(told.contains(&format!("\"in_the_way\":\"{why}\"")), "{told}");
    assert!(pgweir.metric("pgweir_pool_max_wait_seconds", &[]) > 0.0);
    canceled.cancel();
    canceled.read_until_ready();
    holder.query("SELECT pg_advisory_unlock(41)");
    let replies = waiter.read_until_ready();
    assert!(replies.iter().all(|reply| reply.tag != b'N'), "told once: {replies:?}");
    assert_eq!(select(&mut console, "POOLS", ("database", "app"), &["cl_active", "cl_waiting"]), ["3 0"]);
    assert!(!waited() && show(&mut console, "WAITS").is_empty());
}

/// Work in flight ends, everybody else waits; a cancelled PAUSE is none.
#[test]
fn pause_and_resume() {
    let pgweir = Pgweir::start(&config());
    let mut console = admin(&pgweir);
    let (mut busy, mut idle) = (pgweir.client(), pgweir.client());
    busy.query("BEGIN");
    idle.query("SELECT 1");
    let mut pausing = admin(&pgweir);
    pausing.send(&messages::query("PAUSE"));
    eventually("paused", || {
        select(&mut console, "STATE", ("key", "paused"), &["value"]) == ["yes"]
            && select(&mut console, "SERVERS", ("database", "app"), &["state", "close_needed"])
                == ["active 1"]
    });
    idle.send(&messages::query("SELECT 2"));
    pgweir.wait_for_waiting(1);
    let mut newcomer = pgweir.client();
    newcomer.send(&messages::query("SELECT 3"));
    pgweir.wait_for_waiting(2);
    let waits = show(&mut console, "WAITS");
    assert_eq!(
        pick(&waits, ("database", "app"), &["position", "user", "addr"]),
        ["1 app 127.0.0.1", "2 app 127.0.0.1"]
    );
    let why = "paused: RESUME ends that";
    assert_eq!(pick(&waits, ("position", "1"), &["waits_for"]), [why]);
    let page = pgweir.http("/pools.json").1;
    assert!(page.contains("\"in_the_way\":\"Paused, until RESUME app; 2 clients wait"), "{page}");
    let ids = pick(&waits, ("database", "app"), &["client_id"]);
    assert_eq!(select(&mut console, "CLIENTS", ("id", &ids[0]), &["state"]), ["waiting"]);
    assert_eq!(busy.value("SELECT 'still'"), "still");
    busy.query("COMMIT");
    assert_eq!(pausing.read_until_ready()[0].to_string(), "C PAUSE");
    assert_eq!(select(&mut console, "SERVERS", ("database", "app"), &["state"]), Vec::<String>::new());
    assert_eq!(select(&mut console, "LISTS", ("list", "used_servers"), &["items"]), ["0"]);
    assert_eq!(words(&mut console, "RESUME"), "C RESUME");
    assert_eq!(idle.read_until_ready()[1].columns(), [Some("2".to_owned())]);
    assert_eq!(newcomer.read_until_ready()[1].columns(), [Some("3".to_owned())]);

    busy.query("BEGIN");
    pausing.send(&messages::query("PAUSE app"));
    eventually("paused", || select(&mut console, "DATABASES", ("name", "app"), &["paused"]) == ["1"]);
    pausing.cancel();
    assert_eq!(short(&pausing.read_until_ready()[0]), "57014 canceling statement due to user request");
    assert_eq!(select(&mut console, "DATABASES", ("name", "app"), &["paused"]), ["0"]);
    assert_eq!(idle.value("SELECT 4"), "4");
    pausing.cancel();
    busy.query("COMMIT");
    assert_eq!(
        words(&mut pausing, "WAIT_CLOSE"),
        "C WAIT_CLOSE",
        "one that waits for nothing can't be cancelled"
    );

    busy.query("BEGIN");
    pausing.send(&messages::query("PAUSE"));
    eventually("paused", || select(&mut console, "STATE", ("key", "paused"), &["value"]) == ["yes"]);
    assert_eq!(words(&mut console, "RESUME app"), "C RESUME");
    assert_eq!(pausing.read_until_ready()[0].to_string(), "C PAUSE", "of all others");
}

/// Who comes during a PAUSE is let in whatever parameters it wants; they hold when there are servers again.
#[test]
fn logins_during_a_pause() {
    let pgweir = Pgweir::start(&config().set("client_login_timeout", 5));
    let (mut console, mut client) = (admin(&pgweir), pgweir.client());
    client.query("SELECT 1");
    assert_eq!(words(&mut console, "PAUSE"), "C PAUSE");
    let german = pgweir.target("app", "app").parameter("DateStyle", "German, DMY");
    let mut newcomer = Client::connect(&german);
    assert_eq!(newcomer.parameter("DateStyle"), Some("German, DMY"));
    assert_eq!(words(&mut console, "RESUME"), "C RESUME");
    assert_eq!(newcomer.value("SHOW datestyle"), "German, DMY");
    assert_eq!(client.value("SHOW datestyle"), "ISO, MDY");
}

/// What a reload takes away ends, says why, and leaves nothing behind for what comes by that name later.
#[test]
fn databases_that_are_removed() {
    let cluster = Cluster::shared();
    let without = config().set("query_wait_timeout", 0).set("max_db_connections", 3);
    let with = without.clone().database("extra", cluster.address()).put("databases.extra", "dbname", "app");
    let forced = with.clone().put("databases.extra", "user", "plainuser");
    let pgweir = Pgweir::start(&with);
    let mut console = admin(&pgweir);
    let extra = || Client::connect(&pgweir.target("app", "extra"));
    let (mut idle, mut busy, mut waiting, mut other) = (extra(), extra(), extra(), pgweir.client());
    busy.query("BEGIN");
    idle.query("SELECT 1");
    assert_eq!(words(&mut console, "DISABLE extra"), "C DISABLE");
    let mut pausing = admin(&pgweir);
    pausing.send(&messages::query("PAUSE extra"));
    eventually("paused", || select(&mut console, "DATABASES", ("name", "extra"), &["paused"]) == ["1"]);
    waiting.send(&messages::query("SELECT 1"));
    pgweir.wait_for_waiting(1);
    pgweir.write_config(&without);
    assert_eq!(words(&mut console, "RELOAD"), "C RELOAD");
    for client in [&mut idle, &mut busy, &mut waiting] {
        assert_eq!(short(&client.read_to_end()[0]), "57P01 database removed");
    }
    assert_eq!(other.value("SELECT 1"), "1");
    pausing.read_until_ready();
    assert!(words(&mut console, "KILL extra").ends_with("no such database: extra"));
    assert_eq!(select(&mut console, "POOLS", ("database", "extra"), &["user"]), Vec::<String>::new());
    pgweir.write_config(&with);
    assert_eq!(words(&mut console, "RELOAD"), "C RELOAD");
    let mut again = extra();
    assert_eq!(again.value("SELECT current_user"), "app", "neither paused nor disabled");
    pgweir.write_config(&forced);
    assert_eq!(words(&mut console, "RELOAD"), "C RELOAD");
    assert_eq!(short(&again.read_to_end()[0]), "57P01 the user of the database was changed");
    assert_eq!(extra().value("SELECT current_user"), "plainuser");
    pgweir.write_config(&forced.put("databases.other", "user", "plainuser").put(
        "databases.other",
        "min_pool_size",
        2,
    ));
    assert_eq!(words(&mut console, "RELOAD"), "C RELOAD");
    eventually("the minimum without clients", || {
        select(&mut console, "POOLS", ("database", "other"), &["user", "sv_idle"]) == ["plainuser 2"]
    });
}

/// The server that listens for a pool's clients is closed, too, and listens again after it.
#[test]
fn pause_ends_the_listening_server() {
    let pgweir = Pgweir::start(&config());
    let (mut console, mut client) = (admin(&pgweir), pgweir.client());
    let listening = || pgweir.metric("pgweir_pool_listening_servers", &[]);
    client.query("LISTEN console_news");
    eventually("a listening server", || listening() == 1.0);
    assert_eq!(words(&mut console, "PAUSE"), "C PAUSE");
    assert_eq!(listening(), 0.0);
    assert_eq!(words(&mut console, "RESUME"), "C RESUME");
    let told = "01000 notifications may have been lost on channels \"console_news\"";
    assert_eq!(short(&client.read()), told, "it listens again");
    assert_eq!(words(&mut console, "RECONNECT"), "C RECONNECT");
    assert_eq!(short(&client.read()), told, "and again");
    Cluster::shared().sql("app", "NOTIFY console_news, 'after'");
    client.read_until(|message| message.tag == b'A' && message.to_string().contains("after"));
}

/// KILL sends clients away and pauses, RESUME ends that; DISABLE is for those who come.
#[test]
fn kill_and_disable() {
    let pgweir = Pgweir::start(&config());
    let mut console = admin(&pgweir);
    let (mut client, mut other) = (pgweir.client(), Client::connect(&pgweir.target("app", "other")));
    client.query("BEGIN");
    let fatal = |client: &mut Client| {
        let last = client.read_to_end();
        format!("{} {}", last[0].field(b'S').unwrap_or_default(), short(&last[0]))
    };
    assert_eq!(words(&mut console, "KILL app"), "C KILL");
    assert_eq!(fatal(&mut client), "FATAL 57P01 database removed");
    assert_eq!(other.value("SELECT 1"), "1");
    let mut client = pgweir.client();
    client.send(&messages::query("SELECT 2"));
    pgweir.wait_for_waiting(1);
    assert_eq!(words(&mut console, "RESUME app"), "C RESUME");
    assert_eq!(client.read_until_ready()[1].columns(), [Some("2".to_owned())]);

    assert_eq!(words(&mut console, "KILL"), "C KILL");
    assert_eq!(fatal(&mut client), "FATAL 57P01 database removed");
    assert_eq!(fatal(&mut other), "FATAL 57P01 database removed");
    assert_eq!(words(&mut console, "RESUME app"), "C RESUME", "by name, as PgBouncer wants it");
    let mut client = pgweir.client();
    assert_eq!(client.value("SELECT 3"), "3");
    assert_eq!(words(&mut console, "RESUME"), "C RESUME", "or all at once");
    assert_eq!(Client::connect(&pgweir.target("app", "other")).value("SELECT 4"), "4");

    let id = select(&mut console, "CLIENTS", ("database", "app"), &["id"]).remove(0);
    assert_eq!(words(&mut console, &format!("KILL_CLIENT {id}")), "C KILL_CLIENT");
    assert_eq!(fatal(&mut client), "FATAL 57P01 admin forced disconnect");
    let mut second = admin(&pgweir);
    let id = select(&mut second, "CLIENTS", ("database", "pgweir"), &["id"]).pop().expect("the second");
    assert_eq!(words(&mut console, &format!("KILL_CLIENT {id}")), "C KILL_CLIENT");
    assert_eq!(fatal(&mut second), "FATAL 57P01 admin forced disconnect");

    let mut client = pgweir.client();
    assert_eq!(words(&mut console, "DISABLE app"), "C DISABLE");
    let refused = Client::try_connect(&pgweir.target("app", "app")).unwrap_err().error();
    assert_eq!(short(&refused), "55000 database \"app\" is disabled");
    assert_eq!(client.value("SELECT 5"), "5");
    assert_eq!(words(&mut console, "ENABLE app"), "C ENABLE");
    assert_eq!(pgweir.client().value("SELECT 6"), "6");
}

#[test]
fn reconnect_and_wait_close() {
    let pgweir = Pgweir::start(&config());
    let (mut console, mut client) = (admin(&pgweir), pgweir.client());
    client.query("BEGIN");
    let backend = client.value("SELECT pg_backend_pid()");
    assert_eq!(words(&mut console, "RECONNECT"), "C RECONNECT");
    assert_eq!(select(&mut console, "SERVERS", ("remote_pid", &backend), &["close_needed"]), ["1"]);
    let mut waiting = admin(&pgweir);
    waiting.send(&messages::query("WAIT_CLOSE app"));
    assert_eq!(client.value("SELECT pg_backend_pid()"), backend);
    client.query("COMMIT");
    assert_eq!(waiting.read_until_ready()[0].to_string(), "C WAIT_CLOSE");
    assert_ne!(client.value("SELECT pg_backend_pid()"), backend);
}

/// SET holds until RELOAD; a RELOAD that fails changes nothing and says so.
#[test]
fn settings() {
    let pgweir = Pgweir::start(&config());
    let mut console = admin(&pgweir);
    let value =
        |console: &mut Client, key: &str| select(console, "CONFIG", ("key", key), &["value"]).remove(0);
    let mut clients = [pgweir.client(), pgweir.client()];
    clients.iter_mut().for_each(|client| drop(client.query("BEGIN")));
    let mut third = pgweir.client();
    third.send(&messages::query("SELECT 1"));
    pgweir.wait_for_waiting(1);
    assert_eq!(words(&mut console, "SET default_pool_size = 3"), "C SET default_pool_size=3");
    assert_eq!(third.read_until_ready()[1].columns(), [Some("1".to_owned())]);
    assert_eq!(value(&mut console, "default_pool_size"), "3");
    assert_eq!(words(&mut console, "SET query_wait_timeout = '250ms'"), "C SET query_wait_timeout=250ms");
    assert_eq!(value(&mut console, "query_wait_timeout"), "0.25");
    assert_eq!(words(&mut console, "SET default_pool_size = -1"), "08P01 SET failed");
    assert_eq!(words(&mut console, "RELOAD"), "C RELOAD");
    assert_eq!(value(&mut console, "default_pool_size"), "2");
    pgweir.write_config(&config().set("default_pool_sise", 4));
    let error = console.error("RELOAD");
    assert_eq!(short(&error), "F0000 RELOAD failed, see logs for additional details");
    assert!(error.field(b'D').is_some_and(|detail| detail.contains("did you mean \"default_pool_size\"?")));
    pgweir.write_config(&config().set("admin_users", ""));
    assert_eq!(words(&mut console, "RELOAD"), "C RELOAD");
    let refused = Client::try_connect(&pgweir.target("trusty", "pgweir")).unwrap_err().error();
    assert_eq!(short(&refused), "08P01 not allowed");
    assert_eq!(value(&mut console, "admin_users"), "", "who is in stays in");
}

/// It isn't half in force, and each RELOAD tells it.
#[test]
fn settings_that_wait_for_a_restart() {
    let pgweir = Pgweir::start(&config());
    let mut console = admin(&pgweir);
    pgweir.write_config(&config().set("pool_mode", "session").set("workers", 3).set("query_timeout", 7));
    for _ in 0..2 {
        let answer = console.query("RELOAD");
        assert_eq!(short(&answer[0]), "00000 some changes wait for a restart");
        let expected = "workers in [pgweir] changed from 0 to 3 (needs a restart)\n\
                        pool_mode in [pgweir] changed from \"transaction\" to \"session\" (needs a restart)";
        assert_eq!(answer[0].field(b'D').as_deref(), Some(expected));
        assert_eq!(answer[1].to_string(), "C RELOAD");
    }
    drop(pgweir.client());
    assert_eq!(select(&mut console, "POOLS", ("database", "app"), &["pool_mode"]), ["transaction"]);
    assert_eq!(select(&mut console, "CONFIG", ("key", "pool_mode"), &["value"]), ["transaction"]);
    assert_eq!(select(&mut console, "CONFIG", ("key", "query_timeout"), &["value"]), ["7"]);
    pgweir.write_config(&config());
    assert_eq!(words(&mut console, "RELOAD"), "C RELOAD");
    assert_eq!(words(&mut console, "PAUSE other"), "C PAUSE");
    let error = console.error("RESUME");
    assert_eq!(short(&error), "08P01 pooler is not paused");
    assert_eq!(error.field(b'D').as_deref(), Some("Paused by name: other."));
}

/// Pools that a new section would have made in another mode keep theirs, and each RELOAD tells which.
#[test]
fn pools_of_another_mode() {
    let with_fallback = config().database("\"*\"", Cluster::shared().address());
    let pgweir = Pgweir::start(&with_fallback.clone().without("databases.other"));
    let mut console = admin(&pgweir);
    let _client = Client::connect(&pgweir.target("app", "other"));
    let modes = |console: &mut Client| select(console, "POOLS", ("database", "other"), &["pool_mode"]);
    pgweir.write_config(&with_fallback.put("databases.other", "pool_mode", "session"));
    for _ in 0..2 {
        let answer = console.query("RELOAD");
        assert_eq!(short(&answer[0]), "00000 some changes wait for a restart");
        let expected = "pool_mode in the pool of database \"other\" and user \"app\" changed from \"transaction\" to \
                        \"session\" (needs a restart)";
        assert_eq!(answer[0].field(b'D').as_deref(), Some(expected));
        assert_eq!(modes(&mut console), ["transaction"]);
    }
}

/// Which clients keep their server, and for what.
#[test]
fn pins() {
    let pgweir = Pgweir::start(&config());
    let (mut console, mut client) = (admin(&pgweir), pgweir.client());
    let pinned = |console: &mut Client| {
        select(console, "PINS", ("database", "app"), &["user", "reasons", "remote_pid", "seconds"])
    };
    let backend = client.value("SELECT pg_backend_pid()");
    client.query("SELECT pg_advisory_lock(7)");
    eventually("a pin", || pinned(&mut console) == [format!("app advisory_lock {backend} 0")]);
    client.query("CREATE TEMP TABLE t (x int)");
    eventually("two reasons", || pinned(&mut console)[0].starts_with("app temp_table, advisory_lock"));
    let linked = select(&mut console, "PINS", ("database", "app"), &["server_id", "client_id"]).remove(0);
    let server = select(&mut console, "SERVERS", ("database", "app"), &["id", "link"]).remove(0);
    assert_eq!(server.replace('C', ""), linked);
    client.query("SELECT pg_advisory_unlock(7)");
    client.query("DROP TABLE t");
    eventually("no pin", || pinned(&mut console).is_empty());
    client.query("SELECT pg_advisory_lock(7)");
    eventually("a pin again", || pinned(&mut console).len() == 1);
    client.terminate();
    eventually("gone with the client", || pinned(&mut console).is_empty());
}

/// WAIT_FOR_CLIENTS serves on, WAIT_FOR_SERVERS lets transactions finish, each until a plain SHUTDOWN.
#[test]
fn shutdown() {
    let start = || {
        let pgweir = Pgweir::start(&config());
        let (console, client) = (admin(&pgweir), pgweir.client());
        (pgweir, console, client)
    };
    let (mut pgweir, mut console, mut client) = start();
    assert_eq!(words(&mut console, "SHUTDOWN WAIT_FOR_CLIENTS"), "C SHUTDOWN");
    eventually("unready", || pgweir.http("/readyz").0 == 503);
    assert_eq!(client.value("SELECT 1"), "1");
    assert_eq!(words(&mut console, "PAUSE"), "08P01 pooler is shutting down");
    assert!(pgweir.is_alive());
    client.terminate();
    assert_eq!(short(&console.read_to_end()[0]), "57P01 terminating connection due to administrator command");
    eventually("the end", || !pgweir.is_alive());

    let (mut pgweir, mut console, mut client) = start();
    client.query("BEGIN");
    assert_eq!(words(&mut console, "SHUTDOWN WAIT_FOR_SERVERS"), "C SHUTDOWN");
    eventually("unready", || pgweir.http("/readyz").0 == 503);
    assert_eq!(client.value("SELECT 1"), "1");
    client.query("COMMIT");
    assert_eq!(short(&client.read_to_end()[0]), "57P01 terminating connection due to administrator command");
    eventually("the end", || !pgweir.is_alive());

    let (mut pgweir, mut console, mut client) = start();
    client.query("BEGIN");
    assert_eq!(words(&mut console, "SHUTDOWN WAIT_FOR_CLIENTS"), "C SHUTDOWN");
    assert_eq!(words(&mut console, "SHUTDOWN"), "C SHUTDOWN");
    assert_eq!(short(&client.read_to_end()[0]), "57P01 terminating connection due to administrator command");
    eventually("the end", || !pgweir.is_alive());
}

/// A console that doesn't read is ended all the same, and one that says goodbye while a command waits.
#[test]
fn consoles_that_do_not_listen() {
    let pgweir = Pgweir::start(&config());
    let (mut console, mut deaf, mut leaving) = (admin(&pgweir), admin(&pgweir), admin(&pgweir));
    let consoles = |console: &mut Client| select(console, "CLIENTS", ("database", "pgweir"), &["id"]);
    assert_eq!(consoles(&mut console).len(), 3);
    let id = consoles(&mut deaf).remove(1);
    deaf.give_up_sending_after(std::time::Duration::from_millis(300));
    let many = messages::query("SHOW CONFIG").repeat(64);
    while deaf.try_send(&many).is_ok() {}
    assert_eq!(words(&mut console, &format!("KILL_CLIENT {id}")), "C KILL_CLIENT");
    eventually("the deaf one is gone", || consoles(&mut console).len() == 2);
    assert_eq!(
        words(&mut console, "KILL_CLIENT -1"),
        "08P01 invalid command 'KILL_CLIENT -1', use SHOW HELP;"
    );

    let mut client = pgweir.client();
    client.query("BEGIN");
    leaving.send(&messages::query("PAUSE app"));
    eventually("paused", || select(&mut console, "DATABASES", ("name", "app"), &["paused"]) == ["1"]);
    leaving.send(&messages::terminate());
    eventually("the leaving one is gone", || consoles(&mut console).len() == 1);
    assert_eq!(select(&mut console, "DATABASES", ("name", "app"), &["paused"]), ["1"], "in force");
    let error = console.error("SET workers = 2");
    let detail = "workers can't be changed while pgweir runs: a change needs a restart.";
    assert_eq!(error.field(b'D').as_deref(), Some(detail));
}

/// Who leaves before its login gets a server doesn't hold its place until the login's deadline.
#[test]
fn who_says_goodbye_during_login_is_gone() {
    let pgweir = Pgweir::start(&config().set("auth_type", "trust"));
    let mut console = admin(&pgweir);
    assert_eq!(words(&mut console, "PAUSE"), "C PAUSE");
    let mut socket = std::net::TcpStream::connect(pgweir.address()).expect("a connection");
    let startup = messages::startup(V3_0, &[("user", "trusty"), ("database", "app")]);
    std::io::Write::write_all(&mut socket, &startup).expect("room");
    let logging_in =
        |console: &mut Client| pick(&show(console, "LISTS"), ("list", "login_clients"), &["items"]);
    eventually("it logs in", || logging_in(&mut console) == ["1"]);
    std::io::Write::write_all(&mut socket, &messages::terminate()).expect("room");
    eventually("it is gone", || logging_in(&mut console) == ["0"]);
}

/// SELECT over the tables of SHOW, by both protocols, for who may look.
#[test]
fn selects() {
    let pgweir = Pgweir::start(&config());
    let mut looking = Client::connect(&pgweir.target("plainuser", "pgweir"));
    let (mut client, _idle) = (pgweir.client(), pgweir.client());
    client.query("BEGIN");
    let mut rows = |sql: &str| -> Vec<Vec<Option<String>>> { looking.rows(sql).expect("rows") };
    let some = |values: &[&str]| values.iter().map(|value| Some((*value).to_owned())).collect::<Vec<_>>();
    let pools = "SELECT database, sv_active FROM pools WHERE user = 'app' AND sv_active > 0 ORDER BY database LIMIT 5";
    assert_eq!(rows(pools), [some(&["app", "1"])]);
    let clients = "SELECT user, count(*) AS n FROM clients GROUP BY user ORDER BY n DESC LIMIT 1";
    assert_eq!(rows(clients), [some(&["app", "2"])]);
    assert_eq!(rows("SELECT value FROM config WHERE key = 'default_pool_size'"), [some(&["2"])]);
    assert_eq!(rows("SELECT 1"), [some(&["1"])]);
    assert!(rows("SELECT version()")[0][0].as_ref().is_some_and(|version| version.starts_with("pgweir ")));
    assert_eq!(
        rows("SELECT count(*) FROM servers WHERE state = 'active' AND link IS NOT NULL"),
        [some(&["1"])]
    );

    let sql = "SELECT avg(pool_size) FROM databases WHERE force_user IS NULL";
    let asked = [
        messages::parse("", sql),
        messages::describe_statement(""),
        messages::bind("", "", &[]),
        messages::execute("", 0),
        messages::sync(),
    ];
    looking.send(&asked.concat());
    let tags: String = looking.read_until_ready().iter().map(|message| char::from(message.tag)).collect();
    assert_eq!(tags, "1tT2DCZ");
    let error = looking.error("SELECT upper(user) FROM pools");
    assert_eq!(short(&error), "0A000 not supported by the console: function upper");
    assert!(error.field(b'D').is_some_and(|detail| detail.contains("LIKE")));
    assert_eq!(
        short(&looking.error("SELECT nothing")),
        "08P01 invalid command 'SELECT nothing', use SHOW HELP;"
    );
}

/// The rows of SHOW MEMORY add up to the process as the system sees it.
#[test]
fn memory_adds_up() {
    let pgweir = Pgweir::start(&config());
    let mut console = Client::connect(&pgweir.target("plainuser", "pgweir"));
    let clients: Vec<_> = (0..200).map(|_| pgweir.client()).collect();
    let rows = show(&mut console, "MEMORY");
    let status = std::fs::read_to_string(format!("/proc/{}/status", pgweir.pid())).expect("procfs");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let resident: f64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    let bytes = |row: &[(String, String)]| row[2].1.parse::<f64>().expect("a number");
    let sum: f64 = rows.iter().map(|row| bytes(row)).sum();
    assert!((sum / (resident * 1024.0) - 1.0).abs() < 0.1, "{sum} of {resident} kB: {rows:?}");
    let of = |name| pick(&rows, ("name", name), &["objects", "bytes"]).remove(0);
    let (objects, bytes) =
        of("clients").split_once(' ').map(|(n, b)| (n.to_owned(), b.to_owned())).expect("two");
    assert_eq!(objects, (clients.len() + 1).to_string());
    assert!((500 * 201..800 * 201).contains(&bytes.parse().expect("a number")), "{bytes}");
    assert!(!of("servers").starts_with("0 ") && !of("code").ends_with(" 0"), "{rows:?}");
}
