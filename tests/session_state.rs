//! Transaction mode without surprises: what a client has set up in its session it finds on every server, and nobody else
//! ever does.

mod support;

use std::io;
use std::time::{Duration, Instant};
use support::cluster::{Cluster, Version};
use support::eventually;
use support::fake_server::{Conn, FakeServer};
use support::messages::{
    Message, backend, bind, close_statement, copy_data, copy_done, describe_portal, describe_statement,
    execute, flush, function_call, message, parse, query, sync,
};
use support::pgweir::{Config, Pgweir};
use support::raw::{Client, Target};

/// Two servers, idle both, and a client gets the one it didn't have last.
fn two_servers(cluster: &Cluster) -> Pgweir {
    let config = Config::new(cluster).set("default_pool_size", 2).environment("PGWEIR_SWITCH_SERVERS", "1");
    let pgweir = Pgweir::start(&config);
    open_servers(&pgweir, 2);
    pgweir
}

/// Makes the pool open so many servers.
fn open_servers(pgweir: &Pgweir, count: usize) {
    let mut clients: Vec<_> = (0..count).map(|_| pgweir.client()).collect();
    clients.iter_mut().for_each(|client| drop(client.query("BEGIN")));
    clients.iter_mut().for_each(|client| drop(client.query("COMMIT")));
    clients.into_iter().for_each(Client::terminate);
    eventually("all are given back", || {
        pgweir.metric("pgweir_pool_servers", &["state=\"idle\""]) == count as f64
    });
}

/// Where a client's transactions run.
fn pid(client: &mut Client) -> String {
    client.value("SELECT pg_backend_pid()")
}

#[test]
fn a_client_s_settings_follow_it() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE SCHEMA tenant; GRANT USAGE ON SCHEMA tenant TO PUBLIC");
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    assert_ne!(pid(&mut client), pid(&mut client), "the servers are switched");
    for sql in [
        "SET search_path = tenant, \"$user\"",
        "SELECT set_config('app.tenant', 'it''s seven', false)",
        "\n  SET app.spaced = 'five'",
        "/* by hand */ SET app.remarked = 'six'",
        "SET statement_timeout = '17s'; SET lock_timeout TO 3000",
        "BEGIN; SET work_mem = '7MB'; COMMIT",
        "DO $$BEGIN PERFORM set_config('app.hidden', 'é', false); SET geqo = off; END$$",
        "SET TIME ZONE 'Asia/Tokyo'",
    ] {
        client.query(sql);
    }
    let show = "SELECT current_setting('search_path'), current_setting('app.tenant', true), \
        current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('work_mem'), \
        current_setting('app.hidden', true), current_setting('geqo'), current_setting('timezone'), \
        current_setting('app.spaced', true), current_setting('app.remarked', true)";
    let own =
        ["tenant, \"$user\"", "it's seven", "17s", "3s", "7MB", "é", "off", "Asia/Tokyo", "five", "six"];
    for _ in 0..3 {
        let row = client.rows(show).expect("a row").remove(0);
        assert_eq!(row.iter().flatten().collect::<Vec<_>>(), own);
        let others = other.rows(show).expect("a row").remove(0);
        assert!(
            own.iter().zip(others.iter()).all(|(own, other)| other.as_deref() != Some(own)),
            "{others:?}"
        );
    }
    client.query("RESET ALL");
    for _ in 0..3 {
        let row = client.rows(show).expect("a row").remove(0);
        assert!(own.iter().zip(row.iter()).all(|(own, now)| now.as_deref() != Some(own)), "{row:?}");
    }
}

/// However a statement is run that calls what sets parameters: its own text isn't what names the function.
#[test]
fn what_statements_set_that_are_run_by_name() {
    let cluster = Cluster::start(Version::V15);
    let function = "FUNCTION set_tenant(t text) RETURNS text LANGUAGE plpgsql AS $$BEGIN \
        RETURN set_config('app.tenant', t, false); END$$";
    cluster.sql("app", &format!("CREATE {function}"));
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    let show = "SELECT coalesce(current_setting('app.tenant', true), '')";
    let by_protocol = |text: &str| [parse("", text), bind("", "", &[]), execute("", 0), sync()].concat();
    client.query("PREPARE by_sql(text) AS SELECT set_tenant($1)");
    client.query("EXECUTE by_sql('sql'); DEALLOCATE by_sql");
    for _ in 0..2 {
        assert_eq!((client.value(show), other.value(show)), ("sql".into(), String::new()));
    }
    let statements =
        [("called", "SELECT set_tenant($1)"), ("set", "SELECT set_config('app.tenant', $1, false)")];
    for (i, (name, text)) in statements.into_iter().enumerate() {
        client.send(&[parse(name, text), sync()].concat());
        client.read_until_ready();
        for (j, run) in [
            query(&format!("EXECUTE {name}('{i}0')")),
            by_protocol(&format!("EXECUTE {name}('{i}1')")),
            query(&format!("SELECT 1; EXECUTE {name}('{i}2')")),
            by_protocol(&format!("EXPLAIN ANALYZE EXECUTE {name}('{i}3')")),
            query(&format!("EXPLAIN ANALYZE EXECUTE {name}('{i}4')")),
        ]
        .iter()
        .enumerate()
        {
            client.send(run);
            let replies = client.read_until_ready();
            assert!(replies.iter().all(|m| m.tag != b'E'), "{replies:?}");
            for _ in 0..2 {
                assert_eq!(other.value(show), "", "{name} {j}");
                assert_eq!(client.value(show), format!("{i}{j}"), "{name}");
            }
        }
    }
    client.send(&[parse("named", "SELECT set_config($1, $2, false)"), sync()].concat());
    client.read_until_ready();
    client.query("EXECUTE named('app.' || 'tenant', 'computed')");
    assert_eq!((other.value(show), client.value(show)), (String::new(), "computed".into()));
}

/// A batch that ends a failed transaction goes on with statements the server may have, or whose names are taken.
#[test]
fn a_batch_goes_on_behind_the_end_of_a_failed_transaction() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let mut direct = Client::connect(&cluster.target("app", "app"));
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    let run = |name: &str| [bind("", name, &[]), execute("", 0)].concat();
    for ends in ["ROLLBACK", "COMMIT", "ROLLBACK TO a", "SELECT 1"] {
        let end = [parse("", ends), run("")].concat();
        let named = [parse("s1", ends), run("s1")].concat();
        let new = |name: &str| [parse(name, "SELECT 'new'"), run(name)].concat();
        for batch in [
            vec![[end.clone(), new("s2")].concat()],
            vec![[end.clone(), new("s0")].concat()],
            vec![[end.clone(), close_statement("s0"), new("s0")].concat()],
            vec![[named.clone(), new("s1")].concat()],
            vec![[named.clone(), close_statement("s1"), new("s1")].concat()],
            vec![end.clone(), new("s2")],
            vec![end.clone(), new("s0")],
            vec![end.clone(), new("s2"), new("s2")],
        ] {
            let mut told = Vec::new();
            for client in [&mut direct, &mut client] {
                for sql in ["ROLLBACK", "DEALLOCATE ALL"] {
                    client.query(sql);
                }
                client.send(&[parse("s0", "SELECT 'old'"), parse("s3", "SELECT 'new'"), sync()].concat());
                client.read_until_ready();
                client.query("BEGIN; SAVEPOINT a");
                client.error("SELECT 1/0");
                let mut goes_on = true;
                for (i, part) in batch.iter().enumerate() {
                    client.send(&[&**part, &flush()].concat());
                    // What is skipped has no answer.
                    if goes_on && i + 1 < batch.len() {
                        let last = client.read_until(|m| matches!(m.tag, b'C' | b'E')).pop();
                        goes_on = last.is_some_and(|m| m.tag == b'C');
                    }
                }
                client.send(&sync());
                let mut replies: Vec<_> = client.read_until_ready().iter().map(Message::to_string).collect();
                replies.push(client.query("SELECT 7")[0].to_string());
                told.push(replies);
            }
            let through = told.pop();
            assert_eq!(through, told.pop(), "{ends}");
            assert_eq!(other.value("SELECT 'new'"), "new");
        }
    }
}

#[test]
fn what_is_rolled_back_or_local_is_gone() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let mut client = pgweir.client();
    for sql in [
        "BEGIN; SET work_mem = '7MB'; ROLLBACK",
        "BEGIN; SET LOCAL work_mem = '7MB'; COMMIT",
        "SET work_mem = '7MB'; SELECT 1/0",
        "BEGIN; SAVEPOINT s; SET work_mem = '7MB'; ROLLBACK TO s; COMMIT",
        "SELECT set_config('work_mem', '7MB', true)",
    ] {
        client.query(sql);
        assert_eq!(client.value("SHOW work_mem"), "4MB", "{sql}");
        assert_eq!(client.value("SHOW work_mem"), "4MB", "{sql}");
    }
    client.query("BEGIN; SAVEPOINT s; SET work_mem = '7MB'; RELEASE s; COMMIT");
    assert_eq!(client.value("SHOW work_mem"), "7MB");
}

#[test]
fn reset_goes_back_to_the_startup_value() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let target = pgweir
        .target("app", "app")
        .parameter("TimeZone", "Asia/Tokyo")
        .parameter("options", "-c work_mem=6MB -c app.tenant=5");
    let mut client = Client::connect(&target);
    client.query("SET TimeZone = 'UTC'; SET work_mem = '7MB'; SET app.tenant = '6'");
    let show = "SELECT current_setting('TimeZone') || ' ' || current_setting('work_mem') || ' ' || current_setting('app.tenant')";
    assert_eq!(client.value(show), "UTC 7MB 6");
    for reset in ["RESET work_mem", "RESET ALL", "DISCARD ALL"] {
        client.query("SET work_mem = '7MB'");
        client.query(reset);
        let expected = if reset == "RESET work_mem" { "UTC 6MB 6" } else { "Asia/Tokyo 6MB 5" };
        assert_eq!(client.value(show), expected, "{reset}");
        assert_eq!(client.value(show), expected, "{reset}");
    }
}

/// PostgreSQL alone goes back to its own value; the client is not to be told, nor to see it in the same transaction.
#[test]
fn a_reset_is_one_to_the_startup_value_at_once() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let target = pgweir
        .target("app", "app")
        .parameter("TimeZone", "Asia/Tokyo")
        .parameter("DateStyle", "German, DMY")
        .parameter("options", "-c work_mem=6MB -c app.tenant=5");
    let mut client = Client::connect(&target);
    let told = |messages: &[Message]| -> Vec<String> {
        let statuses = messages.iter().filter(|m| m.tag == b'S');
        let text = |m: &Message| String::from_utf8_lossy(&m.body).trim_end_matches('\0').replace('\0', "=");
        statuses.map(text).filter(|status| !status.starts_with("application_name")).collect()
    };
    client.query("SET TimeZone = 'UTC'");
    for (sql, statuses) in [
        ("RESET work_mem", &[][..]),
        ("SET TimeZone TO DEFAULT", &["TimeZone=Asia/Tokyo"]),
        ("SET TimeZone = 'UTC'; SET work_mem = '7MB'", &["TimeZone=UTC"]),
        ("RESET ALL", &["TimeZone=Asia/Tokyo"]),
        ("RESET ALL; SET DateStyle = 'ISO, DMY'", &["DateStyle=ISO, DMY"]),
        ("DISCARD ALL", &["DateStyle=German, DMY"]),
        ("RESET ALL; SELECT 1/0", &[]),
        ("BEGIN; RESET ALL; SET LOCAL work_mem = '8MB'", &[]),
        ("SET LOCAL work_mem TO DEFAULT", &[]),
        ("ROLLBACK", &[]),
    ] {
        let messages = client.query(sql);
        assert_eq!(told(&messages), statuses, "{sql}: {messages:?}");
    }
    let show = "SELECT current_setting('TimeZone') || ' ' || current_setting('work_mem') || ' ' || current_setting('app.tenant')";
    client.query("BEGIN; SET app.tenant = '6'; SET work_mem = '7MB'");
    assert_eq!(client.value(show), "Asia/Tokyo 7MB 6");
    for part in [parse("", "RESET ALL"), bind("", "", &[]), execute("", 0), sync()] {
        client.send(&part);
    }
    client.read_until_ready();
    assert_eq!(client.value(show), "Asia/Tokyo 6MB 5");
    client.query("ROLLBACK");
    assert_eq!(client.value(show), "Asia/Tokyo 6MB 5");
}

/// What a request wanted asked behind it is nobody's once its client is gone, and takes COPY data for what it is.
#[test]
fn an_afterword_is_its_request_s_own() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE TABLE copied (n int); GRANT ALL ON copied TO PUBLIC");
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    let target = pgweir.target("app", "app").parameter("TimeZone", "Asia/Tokyo");
    for last in ["SELECT pg_sleep(60); RESET TimeZone", "BEGIN; RESET TimeZone; SELECT pg_sleep(60)"] {
        let mut gone = Client::connect(&target);
        gone.query("BEGIN");
        gone.send(&query(last));
        eventually("it runs", || {
            cluster.value("app", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
        });
        drop(gone);
        let mut next = pgweir.client();
        let rows = next.query("SELECT repeat('x', 1000) FROM generate_series(1, 1000)");
        assert_eq!(rows.iter().filter(|m| m.tag == b'D').count(), 1000);
        assert_eq!(next.value("SHOW TimeZone"), "Etc/UTC");
        next.terminate();
    }
    let mut client = Client::connect(&target);
    for (data, ends) in [("1\n2\n", b"CZ"), ("1\nx\n", b"EZ")] {
        client.send(&query("RESET TimeZone; COPY copied FROM STDIN"));
        client.read_until(|m| m.tag == b'G');
        client.send(&[message(b'd', data.as_bytes()), message(b'c', b"")].concat());
        let tags: Vec<_> =
            client.read_until_ready().iter().map(|m| m.tag).filter(|tag| *tag != b'S').collect();
        assert_eq!(tags, ends);
        assert_eq!(client.value("SHOW TimeZone"), "Asia/Tokyo");
    }
    // Nothing is asked where nothing can have been reset, so that the isolation level may still be set.
    client.query("BEGIN; SET LOCAL ROLE postgres");
    client.query("ROLLBACK; BEGIN; SET LOCAL search_path = names /* all */");
    assert_eq!(client.query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")[0].tag, b'C');
    client.query("ROLLBACK");
}

#[test]
fn roles_follow_too() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE ROLE tenant_a; CREATE ROLE tenant_b; GRANT tenant_a, tenant_b TO app");
    let pgweir = two_servers(&cluster);
    let (mut a, mut b, mut plain) = (pgweir.client(), pgweir.client(), pgweir.client());
    a.query("SET ROLE tenant_a");
    b.query("SELECT set_config('role', 'tenant_b', false)");
    for _ in 0..3 {
        assert_eq!(a.value("SELECT current_user"), "tenant_a");
        assert_eq!(b.value("SELECT current_user"), "tenant_b");
        assert_eq!(plain.value("SELECT current_user"), "app");
    }
    a.query("RESET ROLE");
    assert_eq!(a.value("SELECT current_user"), "app");
    assert_eq!(a.value("SELECT current_user"), "app");
}

/// No role, and nothing in a custom parameter, is a value as any other where the default is another.
#[test]
fn none_and_nothing_are_the_client_s_own_too() {
    let cluster = Cluster::start(Version::V18);
    cluster.sql("app", "CREATE ROLE low; CREATE ROLE lent; GRANT low, lent TO app");
    cluster.sql(
        "app",
        "ALTER ROLE app IN DATABASE app SET role = 'low'; ALTER DATABASE app SET app.tenant = 'default'",
    );
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    let show = "SELECT current_user || ' ' || quote_nullable(current_setting('app.tenant', true))";
    for (sql, own) in [
        ("SET ROLE NONE", "app 'default'"),
        ("SET app.tenant = ''", "app ''"),
        ("SET app.tenant = 'seven'; RESET ROLE", "low 'seven'"),
        ("SET app.tenant = ''; SET ROLE lent", "lent ''"),
        ("DO $$BEGIN RESET app.tenant; SET ROLE NONE; END$$", "app 'default'"),
        ("RESET ALL; RESET ROLE", "low 'default'"),
    ] {
        client.query(sql);
        for _ in 0..2 {
            assert_eq!(other.value(show), "low 'default'", "{sql}");
            assert_eq!(client.value(show), own, "{sql}");
        }
    }
    let mut lent = Client::connect(&pgweir.target("app", "other").parameter("options", "-c role=lent"));
    let mut other = Client::connect(&pgweir.target("app", "other"));
    for (sql, own) in [
        ("SET work_mem = '7MB'", "lent"),
        ("SET ROLE NONE", "app"),
        ("RESET ROLE", "lent"),
        ("SET ROLE NONE; SET app.tenant = 'x'", "app"),
        ("SET SESSION AUTHORIZATION DEFAULT", "lent"),
    ] {
        lent.query(sql);
        assert_eq!(other.value("SELECT current_user"), "app", "{sql}");
        assert_eq!(lent.value("SELECT current_user"), own, "{sql}");
    }
}

/// A session runs as a role by its number: a server that still does so as the dropped one of the same name is of no use.
#[test]
fn a_role_made_anew_is_the_new_one_on_every_server() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "ALTER ROLE app SUPERUSER; CREATE ROLE worker");
    let config = Config::new(&cluster).set("default_pool_size", 3).environment("PGWEIR_SWITCH_SERVERS", "1");
    let pgweir = Pgweir::start(&config);
    open_servers(&pgweir, 3);
    // Another pool: roles are everybody's.
    let (mut client, mut elsewhere) = (pgweir.client(), Client::connect(&pgweir.target("app", "other")));
    let everywhere = |client: &mut Client| {
        let users: Vec<_> =
            (0..6).map(|_| client.value("SELECT current_user::text || pg_backend_pid()")).collect();
        assert!(users.iter().all(|user| user.starts_with("worker")), "{users:?}");
        assert_eq!(users.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "{users:?}");
    };
    client.query("SET ROLE worker");
    everywhere(&mut client);
    client.query("RESET ROLE");
    for sql in ["DROP ROLE worker", "BEGIN; CREATE ROLE worker; COMMIT"] {
        elsewhere.query(sql);
    }
    client.query("SET ROLE worker");
    everywhere(&mut client);
}

/// In session mode nobody keeps count of what the client had set before.
#[test]
fn in_session_mode_a_custom_parameter_goes_back_to_its_startup_value_too() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = Pgweir::start(&Config::new(&cluster).set("pool_mode", "session"));
    let options = "-c app.tenant=five -c app.other=six";
    let mut client = Client::connect(&pgweir.target("app", "app").parameter("options", options));
    let show = "SELECT current_setting('app.tenant') || ' ' || current_setting('app.other')";
    client.query("SET app.other = ''");
    for sql in [
        "DO $$BEGIN RESET app.tenant; END$$",
        "SET app.tenant = 'x'; RESET app.tenant",
        "SET app.tenant = 'x'; RESET \"app\".\"tenant\"",
    ] {
        client.query(sql);
        assert_eq!(client.value(show), "five ", "{sql}");
    }
    client.query("SELECT 1; RESET ALL");
    assert_eq!(client.value(show), "five six");
}

/// A role's settings are what its servers began with: those that began with others go.
#[test]
fn a_role_s_new_settings_are_those_of_all_servers() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    for value in ["7MB", "9MB"] {
        client.query(&format!("ALTER ROLE app SET work_mem = '{value}'"));
        eventually("all servers have it", || {
            (0..3).all(|_| client.value("SHOW work_mem") == value && other.value("SHOW work_mem") == value)
        });
    }
    client.query("ALTER ROLE app RESET work_mem");
    cluster.sql("app", "ALTER DATABASE app OWNER TO app");
    other.query("ALTER DATABASE app SET search_path = elsewhere");
    eventually("all servers have it", || {
        (0..3).all(|_| {
            client.value("SHOW search_path") == "elsewhere" && client.value("SHOW work_mem") == "4MB"
        })
    });
}

/// Whatever role a server was left in and the client goes on in: what only a superuser may set is set as the user who logged in.
#[test]
fn what_only_a_superuser_may_set_follows_a_lesser_role() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "ALTER ROLE app SUPERUSER; CREATE ROLE lesser");
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    let show = "SELECT current_user || ' ' || current_setting('lo_compat_privileges')";
    for identity in ["SESSION AUTHORIZATION", "ROLE"] {
        for value in ["on", "off"] {
            // Keeps one server away from all of this.
            other.query("BEGIN");
            client.query(&format!("SET lo_compat_privileges = {value}"));
            client.query(&format!("SET {identity} lesser"));
            other.query("COMMIT");
            for _ in 0..3 {
                assert_eq!(client.value(show), format!("lesser {value}"), "{identity}");
            }
            other.query("BEGIN");
            client.query(&format!("RESET {identity}"));
            client.query("RESET lo_compat_privileges");
            client.query(&format!("SET {identity} lesser"));
            other.query("COMMIT");
            assert_eq!(client.value(show), "lesser off", "{identity}");
            client.query(&format!("RESET {identity}"));
        }
    }
}

/// Of what servers report, a configuration that was read again is nobody's own; what a function sets that pgweir doesn't know is.
#[test]
fn what_is_reported_is_the_client_s_own_only_if_it_is() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    cluster.sql("app", "CREATE FUNCTION zone() RETURNS text LANGUAGE sql AS $$SELECT set_config('TimeZone', 'Asia/Tokyo', false)$$");
    client.query("SELECT zone()");
    for value in ["on", "off"] {
        cluster.sql("app", &format!("ALTER SYSTEM SET default_transaction_read_only = {value}"));
        cluster.sql("app", "SELECT pg_reload_conf()");
        for who in [&mut client, &mut other] {
            // On both servers.
            for _ in 0..2 {
                eventually(value, || who.value("SHOW default_transaction_read_only") == value);
            }
            assert_eq!(who.value("SHOW default_transaction_read_only"), value);
        }
        assert_eq!(pgweir.client().parameter("default_transaction_read_only"), Some(value));
    }
    for _ in 0..3 {
        assert_eq!(client.value("SHOW TimeZone"), "Asia/Tokyo");
        assert_eq!(other.value("SHOW TimeZone"), "Etc/UTC");
    }
}

/// A function may set for its caller what that may not set itself, on no other server.
#[test]
fn what_the_user_may_not_set_holds_the_server() {
    let cluster = Cluster::start(Version::V15);
    for (name, value) in [("loose", "on"), ("strict", "off")] {
        let set = format!("SELECT set_config('lo_compat_privileges', '{value}', false)");
        cluster.sql(
            "app",
            &format!("CREATE FUNCTION {name}() RETURNS text LANGUAGE sql SECURITY DEFINER AS $${set}$$"),
        );
    }
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    let show = "SHOW lo_compat_privileges";
    for end in ["RESET ALL", "DISCARD ALL"] {
        client.query("SELECT loose()");
        let home = pid(&mut client);
        for _ in 0..3 {
            assert_eq!((client.value(show), pid(&mut client)), ("on".to_owned(), home.clone()));
            assert_eq!(other.value(show), "off");
        }
        client.query(end);
        eventually(end, || pid(&mut client) != pid(&mut client));
        assert_eq!(client.value(show), "off");
    }
    assert_eq!(pgweir.metric("pgweir_pool_pins_total", &["reason=\"setting\""]), 2.0);
    client.query("SELECT loose()");
    client.query("SELECT strict(); SET work_mem = '7MB'");
    let home = pid(&mut client);
    assert_eq!(pid(&mut client), home, "it is off, and still not the user's to set");
    client.terminate();
    for _ in 0..4 {
        assert_eq!(
            other.value("SELECT current_setting('lo_compat_privileges') || current_setting('work_mem')"),
            "off4MB"
        );
    }
}

/// Whatever others have left behind that can't be undone: who set nothing is served.
#[test]
fn what_others_left_is_not_a_client_s_fault() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "GRANT SET ON PARAMETER lo_compat_privileges TO app");
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 4));
    let (mut clients, mut other) = (Vec::from_iter((0..4).map(|_| pgweir.client())), pgweir.client());
    clients.iter_mut().for_each(|client| drop(client.query("BEGIN; SET lo_compat_privileges = on")));
    clients.iter_mut().for_each(|client| drop(client.query("COMMIT")));
    cluster.sql("app", "REVOKE SET ON PARAMETER lo_compat_privileges FROM app");
    for _ in 0..2 {
        assert_eq!(other.value("SHOW lo_compat_privileges"), "off");
    }
}

/// Where anybody has had a temporary table temp_buffers can't be set: the client gets a server on which nobody has.
#[test]
fn temp_buffers_follow_to_unused_servers() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 5));
    let mut clients = Vec::from_iter((0..5).map(|_| pgweir.client()));
    clients.iter_mut().for_each(|client| drop(client.query("BEGIN")));
    let mut own = clients.pop().expect("five");
    for client in &mut clients {
        client.query("CREATE TEMP TABLE t (n int); INSERT INTO t VALUES (1); DROP TABLE t");
    }
    own.query("COMMIT");
    own.query("SET temp_buffers = '16MB'");
    let mut busy = pgweir.client();
    busy.query("BEGIN");
    clients.iter_mut().for_each(|client| drop(client.query("COMMIT")));
    assert_eq!(own.value("SHOW temp_buffers"), "16MB");
    busy.query("COMMIT");
}

/// Names that the database can't hold tie nobody to its server: not who has said them, and nobody else.
#[test]
fn a_name_beyond_the_encoding_ties_nobody() {
    let cluster = Cluster::start(Version::V15);
    cluster
        .sql("app", "CREATE DATABASE latin ENCODING 'latin1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    let pgweir = Pgweir::start(
        &Config::new(&cluster).database("latin", cluster.address()).set("default_pool_size", 1),
    );
    let target = pgweir.target("app", "latin").parameter("client_encoding", "UTF8");
    let (mut client, mut other) = (Client::connect(&target), Client::connect(&target));
    assert_eq!(client.error("SELECT set_config('app.user', 'zażółć.łódź', false)").sqlstate(), "22P05");
    for size in ["6MB", "7MB"] {
        client.query(&format!("SET work_mem = '{size}'"));
        assert_eq!(other.value("SHOW work_mem"), "4MB");
        assert_eq!(client.value("SHOW work_mem"), size);
    }
}

/// An inspection that fails with names beyond ASCII in it is tried without them.
#[test]
fn an_inspection_is_tried_without_doubtful_names() {
    let server = FakeServer::start(|conn| {
        conn.welcome()?;
        loop {
            let message = conn.serve_until("/* pgweir */")?;
            // The name, in hexadecimal digits.
            let named = message.body.windows(8).any(|part| part == b"c3a92e78");
            let refused = backend::error("ERROR", "22P05", "no such character");
            let end = if named { refused } else { backend::command_complete("SELECT 0") };
            conn.send(&[end, backend::ready(b'I')].concat())?;
        }
    });
    let pgweir = Pgweir::start(&Config::to(server.address()).set("default_pool_size", 1));
    let mut client = Client::connect(&pgweir.target("app", "app").parameter("options", "-c é.x=1"));
    client.query("SET work_mem = '7MB'");
    let discarded = |server: &FakeServer| server.seen().iter().any(|seen| seen.contains("DISCARD ALL"));
    assert!(!discarded(&server));
    assert_eq!(pgweir.client().value("SELECT 1"), "1");
    assert!(discarded(&server), "what couldn't be asked for is nobody else's");
    server.finish();
}

/// A cancel that comes when the client has its answer finds nothing, though pgweir asks what the client has left.
#[test]
fn an_inspection_is_not_the_client_s_to_cancel() {
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let server = FakeServer::start(move |conn| {
        conn.welcome()?;
        conn.serve_until("/* pgweir */")?;
        held.lock().expect("one connection").recv().map_err(io::Error::other)?;
        conn.send(&[backend::command_complete("SELECT 0"), backend::ready(b'I')].concat())?;
        conn.serve()
    });
    let pgweir = Pgweir::start(&Config::to(server.address()).set("default_pool_size", 1));
    let mut client = pgweir.client();
    client.query("SET work_mem = '7MB'");
    std::thread::scope(|scope| {
        scope.spawn(|| client.cancel());
        // Time enough for the request to come through, if it does.
        (0..50).for_each(|_| drop(pgweir.metrics()));
        go_on.send(()).expect("the server is there");
    });
    assert!(!server.seen().iter().any(|seen| seen.starts_with("cancel")), "{:?}", server.seen());
    assert_eq!(client.value("SELECT 1"), "1");
    server.finish();
}

/// A cancel that PostgreSQL hears late meets the question: it is asked again. What has no end isn't.
#[test]
fn an_inspection_that_is_canceled_is_tried_again() {
    for (canceled, kept) in [(1, false), (2, false), (100, true)] {
        let server = FakeServer::start(move |conn| {
            conn.welcome()?;
            for nth in 1.. {
                conn.serve_until("/* pgweir */")?;
                let late = backend::error("ERROR", "57014", "canceling statement due to user request");
                let end = if nth <= canceled { late } else { backend::command_complete("SELECT 0") };
                conn.send(&[end, backend::ready(b'I')].concat())?;
            }
            Ok(())
        });
        let config =
            Config::to(server.address()).set("default_pool_size", 1).set("query_wait_timeout", "400ms");
        let pgweir = Pgweir::start(&config);
        let mut client = pgweir.client();
        client.query("SET work_mem = '7MB'");
        let mut other = pgweir.client();
        match kept {
            true => assert_eq!(other.error("SELECT 1").sqlstate(), "57014"),
            false => assert_eq!(other.value("SELECT 1"), "1"),
        }
        server.finish();
    }
}

/// Whether one more answer comes to a Sync sent ahead of COPY data is known of most that may fail. Of what isn't, the client that keeps
/// its server is told rather than left without what it keeps it for.
#[test]
fn a_copy_that_fails_takes_nothing_away_unsaid() {
    let cluster = Cluster::start(Version::V15);
    let refuse = "FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'refused'; END$$";
    for sql in [
        "CREATE TABLE parent (n int PRIMARY KEY); CREATE TABLE child (n int REFERENCES parent)",
        &format!("CREATE TABLE rowwise (n int); CREATE TABLE late (n int); CREATE {refuse}"),
        "CREATE TRIGGER t BEFORE INSERT ON rowwise FOR EACH ROW EXECUTE FUNCTION refuse()",
        "CREATE TRIGGER t AFTER INSERT ON late EXECUTE FUNCTION refuse()",
        "GRANT ALL ON parent, child, rowwise, late TO PUBLIC",
    ] {
        cluster.sql("app", sql);
    }
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    client.query("SELECT pg_advisory_lock(7)");
    let copy = |client: &mut Client, table: &str| {
        let begin =
            [parse("", &format!("COPY {table} FROM STDIN")), bind("", "", &[]), execute("", 0), sync()];
        client.send(&begin.concat());
        client.read_until(|m| m.tag == b'G');
        client.send(&[copy_data(b"1\n"), copy_done(), sync()].concat());
    };
    let lock = "SELECT pg_try_advisory_lock(7)";
    for table in ["child", "rowwise"] {
        copy(&mut client, table);
        assert_eq!(client.read_until_ready()[0].tag, b'E', "{table}");
        assert_eq!(
            client.value("SELECT count(*) FROM pg_locks WHERE objid = 7 AND pid = pg_backend_pid()"),
            "1"
        );
        assert_eq!(other.value(lock), "f", "{table}");
    }
    copy(&mut client, "late");
    let end = client.read_to_end();
    let told: Vec<_> = end.iter().filter(|m| m.tag == b'E').map(Message::sqlstate).collect();
    assert_eq!(told, ["P0001", "57P01"], "{end:?}");
    eventually("it is free", || other.value(lock) == "t");
}

/// What can't be moved keeps the client on its server until it is gone.
#[test]
fn what_cannot_be_moved_holds_the_server() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE TABLE shared (datname name, datdba oid); ALTER TABLE shared OWNER TO app");
    let pgweir = two_servers(&cluster);
    let mut client = pgweir.client();
    for (make, end) in [
        ("CREATE TEMP TABLE t (a int)", "DROP TABLE t"),
        ("SELECT 1 AS a INTO TEMPORARY t", "DISCARD TEMP"),
        ("CREATE SEQUENCE pg_temp.s", "DROP SEQUENCE pg_temp.s"),
        ("CREATE TYPE pg_temp.e AS ENUM ('a')", "DROP TYPE pg_temp.e"),
        ("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION pg_temp.f()"),
        ("CREATE STATISTICS pg_temp.s ON datname, datdba FROM shared", "DROP STATISTICS pg_temp.s"),
        (
            "CREATE TEXT SEARCH CONFIGURATION pg_temp.c (COPY = simple)",
            "DROP TEXT SEARCH CONFIGURATION pg_temp.c",
        ),
        ("SELECT pg_advisory_lock(7)", "SELECT pg_advisory_unlock(7)"),
        ("BEGIN; SELECT pg_try_advisory_lock(7); COMMIT", "SELECT pg_advisory_unlock_all()"),
        ("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT", "CLOSE c"),
        ("PREPARE p AS SELECT 1", "DEALLOCATE p"),
        ("CREATE TEMP TABLE t (a int); SELECT pg_advisory_lock(7)", "DISCARD ALL"),
    ] {
        client.query(make);
        let home = pid(&mut client);
        assert_eq!(pid(&mut client), home, "{make}");
        assert_eq!(pid(&mut client), home, "{make}");
        client.query(end);
        eventually(end, || pid(&mut client) != pid(&mut client));
    }
    client.query("BEGIN; CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1; COMMIT");
    let pids = [pid(&mut client), pid(&mut client)];
    assert_ne!(pids[0], pids[1], "a table dropped at commit holds nothing");
}

/// A client that leaves takes its locks and tables with it at once.
#[test]
fn a_client_that_leaves_leaves_nothing() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let mut client = pgweir.client();
    client
        .query("SELECT pg_advisory_lock(7); CREATE TEMP TABLE t (a int); LISTEN news; SET work_mem = '7MB'");
    let locks = || cluster.value("app", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'");
    assert_eq!(locks(), "1");
    client.terminate();
    eventually("the lock is gone", || locks() == "0");
    let mut next = pgweir.client();
    for _ in 0..3 {
        assert_eq!(next.value("SELECT count(*) FROM pg_class WHERE relname = 't'"), "0");
        assert_eq!(next.value("SHOW work_mem"), "4MB");
    }
}

/// Drivers that use the extended protocol for everything.
#[test]
fn settings_by_the_extended_protocol() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let mut client = pgweir.client();
    let mut run = |sql: &str, values: &[Option<&str>]| {
        client.send(&[parse("", sql), bind("", "", values), execute("", 0), sync()].concat());
        client
            .read_until_ready()
            .iter()
            .filter(|m| m.tag == b'D')
            .flat_map(|m| m.columns())
            .flatten()
            .collect::<Vec<_>>()
    };
    run("SET work_mem = '7MB'", &[]);
    assert_eq!(run("SHOW work_mem", &[]), ["7MB"]);
    run("SET LOCAL work_mem = '8MB'", &[]);
    assert_eq!(run("SHOW work_mem", &[]), ["7MB"]);
    run("SELECT set_config('app.tenant', $1, false)", &[Some("seven")]);
    for _ in 0..2 {
        assert_eq!(run("SELECT current_setting('app.tenant', true)", &[]), ["seven"]);
    }
}

/// A notification comes to who listens, between its transactions too.
#[test]
fn notifications_come_by_themselves() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let (mut listener, mut speaker) = (pgweir.client(), pgweir.client());
    listener.query("LISTEN news");
    speaker.query("NOTIFY news, 'hello'");
    let heard = listener.read();
    assert_eq!(heard.tag, b'A');
    assert!(heard.body.ends_with(b"news\0hello\0"));
}

/// What is asked after a transaction is never in the way of what the client sends at once.
#[test]
fn a_client_need_not_wait() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let mut client = pgweir.client();
    for round in 0..50 {
        let set = format!("SET work_mem = '{}MB'", 5 + round % 3);
        client.send(&[query(&set), query("SHOW work_mem"), query("CREATE TEMP TABLE t (a int)")].concat());
        client.send(
            &[query("INSERT INTO t VALUES (1)"), query("DROP TABLE t"), query("SELECT 'end'")].concat(),
        );
        let replies: Vec<_> = (0..6).flat_map(|_| client.read_until_ready()).collect();
        assert!(replies.iter().all(|m| m.tag != b'E'), "{replies:?}");
        let values: Vec<_> =
            replies.iter().filter(|m| m.tag == b'D').flat_map(|m| m.columns()).flatten().collect();
        assert_eq!(values, [format!("{}MB", 5 + round % 3), "end".to_owned()]);
    }
    client.send(&[query("SET work_mem = '9MB'"), message(b'X', b"")].concat());
    assert_eq!(pgweir.client().value("SHOW work_mem"), "4MB");
    eventually("nothing is leased", || pgweir.metric("pgweir_pool_servers", &["state=\"active\""]) == 0.0);
}

/// Reads up to the client's own message, one that contains "marked"; the login's questions are answered.
fn read_marked(conn: &mut Conn) -> io::Result<Vec<Message>> {
    let mut pending = Vec::new();
    loop {
        let message = conn.read()?;
        let marked = message.body.windows(6).any(|w| w == b"marked");
        if pending.is_empty() && message.tag == b'Q' && !marked {
            conn.agree(&message)?;
            continue;
        }
        pending.push(message);
        if marked {
            return Ok(pending);
        }
    }
}

/// Whatever is executed has left nothing.
fn answer(conn: &mut Conn, message: &Message) -> io::Result<()> {
    match message.tag {
        b'E' => conn.send(&backend::command_complete("SELECT 1")),
        _ => conn.agree(message),
    }
}

/// Reset and replay go out with the client's first bytes: the server has seen all of it before it answers any.
#[test]
fn a_prelude_takes_no_round_trip() {
    let server = FakeServer::start(|conn| {
        conn.welcome()?;
        loop {
            let pending = read_marked(conn)?;
            let tags: Vec<_> = pending.iter().map(|m| char::from(m.tag)).collect();
            let tags = String::from_iter(tags);
            // (DISCARD ALL), BEGIN, the parameters, COMMIT, the empty Query, the client's. A server that has served nobody has nothing
            // to change for a client whose parameters are its own.
            if !["PBEPBEPBEQQ", "PBEPBEPBEPBEQQ", "Q"].contains(&&*tags) {
                return Err(io::Error::other(tags));
            }
            pending.iter().try_for_each(|message| answer(conn, message))?;
        }
    });
    let config =
        Config::to(server.address()).set("default_pool_size", 1).set("server_reset_query_always", true);
    let pgweir = Pgweir::start(&config);
    let target = |zone| {
        let target = pgweir.target("app", "app").parameter("TimeZone", zone);
        ["5s", "7MB", "2s", "public"]
            .into_iter()
            .zip(["statement_timeout", "work_mem", "lock_timeout", "search_path"])
            .fold(target, |target, (value, name)| target.parameter(name, value))
    };
    let (mut a, mut b) = (Client::connect(&target("UTC")), Client::connect(&target("CET")));
    for round in 0..5 {
        a.query(&format!("SELECT 'marked {round}'"));
        b.query(&format!("SELECT 'marked {round}'"));
    }
    server.finish();
}

/// Of a prelude that fails the client hears nothing: what it sent is skipped with it, and another server gets it. Nothing is sent behind
/// the first Sync, where the skipping would end.
#[test]
fn a_failed_prelude_runs_nothing() {
    let server = FakeServer::start(|conn| {
        conn.welcome()?;
        let pending = read_marked(conn)?;
        if conn.number == 0 {
            while conn.read()?.tag != b'S' {}
            let refused = backend::error("ERROR", "42501", "refused");
            conn.send(&[message(b'1', &[]), refused, backend::ready(b'E')].concat())?;
            return match conn.read()?.tag {
                b'X' => Ok(()),
                tag => Err(io::Error::other(format!("then came {}", char::from(tag)))),
            };
        }
        pending.iter().try_for_each(|message| answer(conn, message))?;
        loop {
            let message = conn.read()?;
            answer(conn, &message)?;
        }
    });
    let config = Config::to(server.address()).set("default_pool_size", 1);
    let pgweir = Pgweir::start(&config);
    let _first = Client::connect(&pgweir.target("app", "app").parameter("TimeZone", "CET"));
    let mut client = pgweir.client();
    let batch = |text: &str| [parse("", text), bind("", "", &[]), execute("", 0), sync()].concat();
    client.send(&[batch("SELECT 'marked'"), batch("SELECT 2")].concat());
    for _ in 0..2 {
        let tags: Vec<_> = client.read_until_ready().iter().map(|m| m.tag).collect();
        assert_eq!(tags, b"12CZ");
    }
    assert_eq!(server.connections(), 2);
    server.finish();
}

/// A server lost during its prelude doesn't keep its place from the next.
#[test]
fn a_server_lost_in_its_prelude_leaves_its_place() {
    let server = FakeServer::start(|conn| {
        conn.welcome()?;
        if conn.number == 0 { conn.serve_until("RESET a.b").map(drop) } else { conn.serve() }
    });
    let config = Config::to(server.address())
        .set("default_pool_size", 1)
        .set("server_reset_query", "DISCARD ALL; RESET a.b")
        .set("server_reset_query_always", true);
    let pgweir = Pgweir::start(&config);
    let began = Instant::now();
    assert_eq!(pgweir.client().value("SELECT 2"), "1");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(server.connections(), 2);
    server.finish();
}

/// A server that can't forget another client's sequences answers nothing of the client's.
#[test]
fn sequences_have_to_be_forgotten() {
    let server = FakeServer::start(|conn| {
        conn.welcome()?;
        let pending = read_marked(conn)?;
        let tags = String::from_iter(pending.iter().map(|m| char::from(m.tag)));
        match (conn.number, &*tags) {
            (0, "PBEQQ") => {
                let refused = backend::error("ERROR", "53200", "out of memory");
                conn.send(&[message(b'1', &[]), message(b'2', &[]), refused].concat())?;
                while !matches!(conn.read()?.tag, b'S' | b'X') {}
                return Ok(());
            }
            // Nobody had this one before; it isn't known for that.
            (1, "PBEQQ") => {}
            _ => return Err(io::Error::other(tags)),
        }
        pending.iter().try_for_each(|message| answer(conn, message))?;
        conn.serve()
    });
    let config = Config::to(server.address()).set("default_pool_size", 1).set("sequence_hold", 0);
    let pgweir = Pgweir::start(&config);
    pgweir.client().value("SELECT lastval()");
    assert_eq!(pgweir.client().value("SELECT 'marked'"), "1");
    assert_eq!(server.connections(), 2);
    server.finish();
}

/// Whatever may come first behind a prelude, on a server that was another client's.
#[test]
fn a_prelude_goes_ahead_of_anything() {
    for version in [Version::V15, Version::V18] {
        let cluster = Cluster::start(version);
        cluster.sql("app", "CREATE ROLE lent; GRANT lent TO app; CREATE TABLE t (n int); GRANT ALL ON t TO PUBLIC, lent; ALTER ROLE app CREATEDB");
        let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
        let mut other = Client::connect(&pgweir.target("app", "app").parameter("TimeZone", "Asia/Tokyo"));
        let mut client = Client::connect(
            &pgweir.target("app", "app").parameter("options", "-c statement_timeout=7s -c work_mem=6MB"),
        );
        other.query("SET statement_timeout = '9s'; SET ROLE lent");
        client.query("SET DateStyle = 'German, DMY'; SET app.tenant = '5'");
        let lone = |sql: &str| [parse("", sql), bind("", "", &[]), execute("", 0), sync()].concat();
        for (request, tags) in [
            (query("SELECT 1"), &b"TDCZ"[..]),
            (query(""), b"IZ"),
            (query("SELECT 1/0"), b"EZ"),
            (query("VACUUM t"), b"CZ"),
            (query("CREATE DATABASE made"), b"CZ"),
            (query("DROP DATABASE made"), b"CZ"),
            (lone("CREATE DATABASE made"), b"12CZ"),
            (lone("DROP DATABASE made"), b"12CZ"),
            (query("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; SELECT 1; COMMIT"), b"CTDCCZ"),
            (query("SET work_mem = '6MB'; SELECT 1"), b"CTDCZ"),
            (lone("SELECT 1"), b"12DCZ"),
            (lone("SELECT 1/0"), b"1EZ"),
            ([lone("SELECT 1"), lone("SELECT 2/0"), lone("SELECT 3")].concat(), b"12DCZ1EZ12DCZ"),
            ([query("SELECT 1"), lone("SELECT 2")].concat(), b"TDCZ12DCZ"),
            ([parse("", "SELECT 1"), query("SELECT 2"), query("SELECT 3")].concat(), b"1TDCZTDCZ"),
            ([parse("", "SELECT 1"), sync(), bind("", "", &[]), execute("", 0), sync()].concat(), b"1Z2DCZ"),
            ([query("COPY t FROM STDIN"), copy_data(b"1\n"), copy_done()].concat(), b"GCZ"),
            ([query("COPY t FROM STDIN"), copy_data(b"x\n"), copy_done()].concat(), b"GEZ"),
            (function_call(177, &["1", "2"]), b"VZ"),
        ] {
            other.query("SELECT 1");
            client.send(&request);
            let ends = tags.iter().filter(|tag| **tag == b'Z').count();
            let messages: Vec<_> = (0..ends).flat_map(|_| client.read_until_ready()).collect();
            let heard: Vec<_> = messages.iter().map(|m| m.tag).filter(|tag| *tag != b'N').collect();
            let context = format!("{version:?} {:?}: {messages:?}", request.escape_ascii().to_string());
            assert!(heard == tags, "{context}");
            other.query("SELECT 1");
            let show = "SELECT concat_ws(' ', current_setting('statement_timeout'), current_setting('work_mem'), \
                current_setting('DateStyle'), nullif(current_setting('app.tenant', true), ''), current_user)";
            assert_eq!(client.value(show), "7s 6MB German, DMY 5 app", "{context}");
            assert_eq!(other.value(show), "9s 4MB ISO, MDY lent", "{context}");
        }
    }
}

/// A client that listens, and one whose server was told to forget another's sequences.
#[test]
fn channels_and_sequences_are_part_of_the_chain() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE SEQUENCE s; GRANT ALL ON s TO PUBLIC");
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1).set("sequence_hold", 0));
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    assert_eq!(client.error("SELECT currval('s')").sqlstate(), "55000");
    client.query("LISTEN \"it's\"; SET work_mem = '7MB'");
    for _ in 0..3 {
        other.query("SELECT nextval('s')");
        assert_eq!(client.error("SELECT currval('s')").sqlstate(), "55000");
        assert_eq!(other.value("SELECT count(*) FROM pg_listening_channels()"), "0");
        assert_eq!(client.value("SELECT pg_listening_channels()"), "it's");
    }
}

/// What a server refuses concerns only who wants it; the query behind never runs without it.
#[test]
fn a_refused_replay_is_its_client_s_alone() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql(
        "app",
        "CREATE ROLE lent; GRANT lent TO app; CREATE TABLE ran (n int); GRANT ALL ON ran TO PUBLIC",
    );
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    client.query("SET ROLE lent");
    assert_eq!(other.value("SELECT current_user"), "app");
    cluster.sql("app", "REVOKE lent FROM app");
    client.send(&query("INSERT INTO ran VALUES (1)"));
    let end = client.read_to_end();
    let error = end.last().expect("a last word");
    assert_eq!((error.tag, error.sqlstate().as_str()), (b'E', "42501"), "{end:?}");
    assert!(error.field(b'D').is_some_and(|detail| detail.contains("set earlier in its session")), "{error}");
    assert_eq!(other.value("SELECT count(*) FROM ran"), "0");
    assert_eq!(other.value("SELECT current_user"), "app");
}

/// Strict: nothing is left because nothing that would leave something is run, and the error says what to do.
#[test]
fn strict_refuses_what_leaves_session_state() {
    let cluster = Cluster::start(Version::V15);
    let config = Config::new(&cluster).set("session_state", "strict").set("default_pool_size", 1);
    let pgweir = Pgweir::start(&config);
    let mut client = pgweir.client();
    for sql in [
        "SET work_mem = '7MB'",
        "SELECT 1; LISTEN news",
        "CREATE TEMP TABLE t (a int)",
        "SELECT set_config('app.x', 'y', false)",
        "PREPARE p AS SELECT 1",
        "SELECT pg_advisory_lock(1)",
    ] {
        let error = client.error(sql);
        assert_eq!(error.sqlstate(), "0A000", "{sql}");
        let hint = error.field(b'H').expect("a hint");
        assert!(hint.contains("SET LOCAL"), "{hint}");
    }
    client.query("BEGIN; SET LOCAL work_mem = '7MB'; SELECT pg_advisory_xact_lock(1); COMMIT");
    client.send(&[parse("", "SET work_mem = '7MB'"), bind("", "", &[]), execute("", 0), sync()].concat());
    let replies = client.read_until_ready();
    assert!(replies.iter().any(|m| m.tag == b'E' && m.sqlstate() == "0A000"), "{replies:?}");
    assert_eq!(client.value("SHOW work_mem"), "4MB");
}

/// What drivers say at each connection is no state to be refused: it follows its client.
#[test]
fn strict_lets_drivers_in() {
    let cluster = Cluster::start(Version::V15);
    let config = Config::new(&cluster).set("session_state", "strict").set("default_pool_size", 1);
    let pgweir = Pgweir::start(&config);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    for (sql, name, value) in [
        ("SET extra_float_digits = 3", "extra_float_digits", "3"),
        ("SET application_name = 'PostgreSQL JDBC Driver'", "application_name", "PostgreSQL JDBC Driver"),
        ("SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new", "jit", "off"),
        ("SELECT set_config('TimeZone', 'CET', false)", "TimeZone", "CET"),
        ("SET SESSION timezone TO 'Asia/Tokyo'", "TimeZone", "Asia/Tokyo"),
        ("SET datestyle TO 'German'", "DateStyle", "German, DMY"),
        ("SET SESSION intervalstyle = iso_8601", "IntervalStyle", "iso_8601"),
        (
            "SET standard_conforming_strings=on;SET client_min_messages TO warning",
            "client_min_messages",
            "warning",
        ),
        ("SET NAMES 'LATIN1'", "client_encoding", "LATIN1"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "default_transaction_read_only", "on"),
    ] {
        let show = format!("SHOW {name}");
        if let Some(error) = client.query(sql).iter().find(|m| m.tag == b'E') {
            panic!("{sql}: {error}");
        }
        assert_ne!(other.value(&show), value, "{sql}");
        assert_eq!(client.value(&show), value, "{sql}");
    }
    assert_eq!(client.error("SET jit = on; SET search_path = s").sqlstate(), "0A000");
    assert_eq!(pgweir.metric("pgweir_pool_pinned_clients", &[]), 0.0);
}

/// What drivers say when they give a connection back, and what only looks like it, is refused by nobody.
#[test]
fn what_leaves_nothing_is_not_refused() {
    let cluster = Cluster::start(Version::V15);
    let config = Config::new(&cluster).set("default_pool_size", 3);
    let strict = Pgweir::start(&config.clone().set("session_state", "strict"));
    let bounded = Pgweir::start(&config.set("max_pins", 1));
    let mut holder = bounded.client();
    holder.query("SELECT pg_advisory_lock(1)");
    for pgweir in [&strict, &bounded] {
        let mut client = pgweir.client();
        for sql in [
            "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
            "RESET work_mem",
            "SET work_mem TO DEFAULT",
            "BEGIN; CREATE TEMP TABLE t (a int) ON COMMIT DROP; COMMIT",
            "DROP TABLE IF EXISTS pg_temp.x",
            "SELECT 'create temp table t (); SET a = 1' /* LISTEN x */",
            "SELECT set_config('work_mem', '5MB', true)",
            "DO $$BEGIN PERFORM 1; END$$",
        ] {
            assert!(client.query(sql).iter().all(|m| m.tag != b'E'), "{sql}");
            client.send(
                &[parse("", "SELECT $1::int"), bind("", "", &[Some("1")]), execute("", 0), sync()].concat(),
            );
            assert!(client.read_until_ready().iter().any(|m| m.tag == b'D'), "behind {sql}");
        }
    }
    let mut late = bounded.client();
    assert_eq!(late.error("DO $$BEGIN CREATE TEMP TABLE t (); END$$").sqlstate(), "0A000");
}

/// Functions that keep a server are refused as the text would be; what nothing tells beforehand is logged.
#[test]
fn functions_count_for_what_is_refused() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql(
        "app",
        "CREATE FUNCTION take_lock(k int) RETURNS void LANGUAGE sql AS $$SELECT pg_advisory_lock(k)$$; \
         CREATE FUNCTION made() RETURNS void LANGUAGE plpgsql AS $$BEGIN CREATE TEMP TABLE ftt (a int); END$$; \
         CREATE FUNCTION gone() RETURNS void LANGUAGE plpgsql AS $$BEGIN CREATE TEMP TABLE gtt (a int) ON COMMIT DROP; END$$; \
         CREATE FUNCTION runs(q text) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE q; END$$",
    );
    let config = Config::new(&cluster).set("default_pool_size", 4);
    let pgweir = Pgweir::start(&config.clone().set("max_pins", 1));
    let (mut holder, mut second, mut third) = (pgweir.client(), pgweir.client(), pgweir.client());
    holder.query("SELECT take_lock(1)");
    for sql in ["SELECT \"take_lock\"(2)", "SELECT 1; SELECT public.made()", "SELECT take_lock (2) -- gone()"]
    {
        assert_eq!(second.error(sql).sqlstate(), "0A000", "{sql}");
    }
    for sql in ["SELECT gone()", "SELECT runs('SELECT 1')", "SELECT 'take_lock(2)'", "SELECT 1 AS take_lock"]
    {
        assert!(second.query(sql).iter().all(|m| m.tag != b'E'), "{sql}");
    }
    assert_eq!(pgweir.metric("pgweir_pool_pinned_clients", &[]), 1.0);
    third.query("SELECT runs('CREATE TEMP TABLE unseen ()')");
    eventually("it is logged", || pgweir.log().contains("than max_pins allows"));

    let pgweir = Pgweir::start(&config.set("session_state", "strict"));
    let mut client = pgweir.client();
    assert_eq!(client.value("SELECT 1"), "1");
    assert_eq!(client.error("SELECT take_lock(1)").sqlstate(), "0A000");
    assert_eq!(client.error("SELECT made()").sqlstate(), "0A000");
}

/// Functions that keep a server can be made, changed, granted, explained and dropped by who may not call them.
#[test]
fn what_only_names_a_function_is_not_refused() {
    let cluster = Cluster::start(Version::V15);
    let lock =
        "CREATE OR REPLACE FUNCTION f_lock() RETURNS void LANGUAGE sql AS $$SELECT pg_advisory_lock(1)$$";
    cluster.sql("app", lock);
    cluster.sql(
        "app",
        "CREATE FUNCTION f_trigger() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_lock(1); RETURN NEW; END$$; \
         CREATE TABLE t (a int); CREATE SCHEMA s; CREATE TABLE s.f_lock (a int); GRANT ALL ON SCHEMA public, s TO app; \
         ALTER FUNCTION f_lock OWNER TO app; ALTER FUNCTION f_trigger OWNER TO app; ALTER TABLE t OWNER TO app; ALTER TABLE s.f_lock OWNER TO app",
    );
    let config = Config::new(&cluster).set("default_pool_size", 3);
    let strict = Pgweir::start(&config.clone().set("session_state", "strict"));
    let bounded = Pgweir::start(&config.set("max_pins", 1));
    let mut holder = bounded.client();
    holder.query("SELECT pg_advisory_lock(2)");
    for pgweir in [&strict, &bounded] {
        let mut client = pgweir.client();
        assert_eq!(client.value("SELECT 1"), "1");
        for sql in [
            "COMMENT ON FUNCTION f_lock() IS 'x'",
            "ALTER FUNCTION f_lock() STABLE",
            "ALTER FUNCTION f_lock() VOLATILE",
            "GRANT EXECUTE ON FUNCTION f_lock() TO app",
            "REVOKE EXECUTE ON FUNCTION f_lock() FROM PUBLIC",
            "CREATE OR REPLACE FUNCTION calls() RETURNS void LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT f_lock(); END",
            "DROP FUNCTION calls()",
            "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f_trigger()",
            "DROP TRIGGER g ON t",
            "EXPLAIN SELECT f_lock()",
            "INSERT INTO s.f_lock (a) VALUES (1)",
            "WITH f_lock (a) AS (SELECT 1) SELECT a FROM f_lock",
        ] {
            if let Some(error) = client.query(sql).iter().find(|m| m.tag == b'E') {
                panic!("{sql}: {error}");
            }
        }
        for sql in [
            "COMMENT ON FUNCTION f_lock() IS 'y'; SELECT f_lock()",
            "CREATE TABLE filled AS SELECT f_lock()",
            "EXPLAIN ANALYZE SELECT f_lock()",
        ] {
            assert_eq!(client.error(sql).sqlstate(), "0A000", "{sql}");
        }
        for sql in [
            "CREATE OR REPLACE FUNCTION f_lock() RETURNS void LANGUAGE sql AS $$SELECT 1$$",
            "DROP FUNCTION f_lock()",
            lock,
        ] {
            assert!(client.query(sql).iter().all(|m| m.tag != b'E'), "{sql}");
        }
    }
}

/// What is refused of a statement of the protocol is refused of EXECUTE by SQL, too.
#[test]
fn execute_of_what_is_refused() {
    let cluster = Cluster::start(Version::V15);
    let config = Config::new(&cluster).set("default_pool_size", 3);
    let strict = Pgweir::start(&config.clone().set("session_state", "strict"));
    let bounded = Pgweir::start(&config.clone().set("max_pins", 1));
    let waiting = Pgweir::start(&config.set("max_pins", 1).set("max_pins_reached", "wait"));
    for (pgweir, waits) in [(&strict, false), (&bounded, false), (&waiting, true)] {
        let (mut holder, mut client) = (pgweir.client(), pgweir.client());
        holder.send(&query("SELECT pg_advisory_lock(7)"));
        holder.read_until_ready();
        let lock = "SELECT pg_advisory_lock($1)";
        client.send(&[parse("l", lock), parse("p", "SELECT $1::int"), sync()].concat());
        client.read_until_ready();
        assert_eq!(client.value("EXECUTE p(3)"), "3");
        if waits {
            client.send(&query("EXECUTE l(5)"));
            eventually("it waits", || pgweir.metric("pgweir_pool_clients_waiting_for_pins", &[]) == 1.0);
            holder.query("SELECT pg_advisory_unlock_all()");
            assert!(client.read_until_ready().iter().any(|m| m.tag == b'D'));
            continue;
        }
        for sql in ["EXECUTE l(5)", "/* so */ execute \"l\" (6);"] {
            assert_eq!(client.error(sql).sqlstate(), "0A000", "{sql}");
        }
        client.send(&[parse("", "EXECUTE l(5)"), bind("", "", &[]), execute("", 0), sync()].concat());
        let replies = client.read_until_ready();
        assert!(replies.iter().any(|m| m.tag == b'E' && m.sqlstate() == "0A000"), "{replies:?}");
        assert_eq!(client.value("EXECUTE p(4)"), "4");
    }
}

/// The error shows the statement as it is, in the client's encoding, and is counted as pgweir's.
#[test]
fn a_refusal_shows_what_is_refused() {
    let cluster = Cluster::start(Version::V15);
    cluster
        .sql("app", "CREATE FUNCTION \"Take\"() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_lock(1)'");
    let pgweir = Pgweir::start(&Config::new(&cluster).set("session_state", "strict"));
    let mut client = pgweir.client();
    assert_eq!(client.value("SELECT 1"), "1");
    let long = format!("SET app.x = '{}'", "ü".repeat(80));
    let cut = format!("SET app.x = '{}...", "ü".repeat(47));
    for (sql, shown) in [
        ("DO $$begin set app.x = 1; end$$", "DO $$begin set app.x = 1; end$$"),
        ("SET  app.x\n= 'grüße $pgweir$'", "SET app.x = 'grüße $pgweir$'"),
        ("SET app.x = 'a\\'", "SET app.x = 'a\\'"),
        (&long, &cut),
        (
            "SET standard_conforming_strings = off; SET app.x = '\\\\'",
            "SET standard_conforming_strings = off; SET app.x = '\\\\'",
        ),
    ] {
        for wanted in ["on", "off"] {
            client.query(&format!("SET standard_conforming_strings = {wanted}"));
            let error = client.error(sql);
            let says = "leaves session state, which session_state = strict refuses";
            assert_eq!(error.sqlstate(), "0A000", "{error}");
            assert_eq!(error.field(b'M'), Some(format!("the statement \"{shown}\" {says}")), "{sql}");
        }
    }
    client.query("RESET standard_conforming_strings; SET client_encoding = 'LATIN1'");
    assert!(client.error("SET app.x = 'ü'").field(b'M').is_some_and(|said| said.contains("'ü'")));
    client.query("SET client_encoding = 'SJIS'");
    assert_eq!(client.error("SET app.x = 'ü\u{2014}\\'").sqlstate(), "0A000");
    client.query("RESET client_encoding");
    let error = client.error("SELECT \"Take\"()");
    assert!(
        error.field(b'M').is_some_and(|said| said.contains("leaves session state by calling Take(), ")),
        "{error}"
    );
    let errors = |source| pgweir.metric("pgweir_pool_errors_total", &[source, "class=\"0A\""]);
    eventually("they are counted", || errors("source=\"pgweir\"") == 13.0);
    assert_eq!(errors("source=\"postgresql\""), 0.0);
}

/// A statement is refused when it is to run, whatever it is told, and as pgweir's own word; preparing it is nothing.
#[test]
fn statements_with_parameters_are_refused_when_they_run() {
    let cluster = Cluster::start(Version::V15);
    let config = Config::new(&cluster).set("default_pool_size", 3).set("max_pins", 1);
    let lock = "SELECT pg_advisory_lock($1)";
    for config in [
        config.clone().set("session_state", "strict"),
        config.clone(),
        config.set("max_pins_reached", "wait"),
    ] {
        let pgweir = Pgweir::start(&config);
        let (mut holder, mut client) = (pgweir.client(), pgweir.client());
        holder.send(&query("SELECT pg_advisory_lock(7)"));
        holder.read_until_ready();
        for name in ["", "named"] {
            client.send(&[parse(name, lock), describe_statement(name), sync()].concat());
            let tags: Vec<_> = client.read_until_ready().iter().map(|m| m.tag).collect();
            assert_eq!(tags, b"1tTZ", "prepared as ever");
            client.query("BEGIN");
            let again = if name.is_empty() { parse(name, lock) } else { Vec::new() };
            client.send(&[again, bind("", name, &[Some("1")]), execute("", 0), sync()].concat());
            let replies = client.read_until_ready();
            let error = replies.iter().find(|m| m.tag == b'E').unwrap_or_else(|| panic!("{replies:?}"));
            assert_eq!(error.sqlstate(), "0A000");
            assert!(error.field(b'H').is_some() && error.field(b'W').is_none(), "{error}");
            client.query("ROLLBACK");
        }
        client.send(&[bind("", "", &[]), execute("", 0), sync()].concat());
        assert_eq!(client.read_until_ready()[0].sqlstate(), "26000", "pgweir's own isn't the client's");
        assert_eq!(client.value("SELECT 1"), "1");
    }
}

/// A custom parameter whose name nothing tells keeps its client on its server.
#[test]
fn custom_parameters_of_computed_names() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql(
        "app",
        "CREATE FUNCTION put(k text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN set_config('app.' || k, '1', false); END$$; \
         CREATE FUNCTION tenant() RETURNS text LANGUAGE sql AS $$SELECT set_config('app.dyn', '1', false)$$; \
         CREATE FUNCTION calls_tenant() RETURNS text LANGUAGE sql AS $$SELECT tenant()$$; \
         CREATE FUNCTION calls_put() RETURNS text LANGUAGE sql AS $$SELECT put('dyn')$$; \
         CREATE FUNCTION given(k text) RETURNS text LANGUAGE sql AS $$SELECT set_config(k, '1', false)$$",
    );
    let pgweir = two_servers(&cluster);
    let seen = "SELECT coalesce(current_setting('app' || '.dyn', true), '')";
    let mut other = pgweir.client();
    for (sql, ties) in [
        ("SELECT set_config('ap' || 'p.dyn', '1', false)", true),
        ("SELECT set_config(key, value, false) FROM json_each_text('{\"app.dyn\": \"1\"}')", true),
        ("SELECT set_config(E'app\\056dyn', '1', false)", true),
        ("SET U&\"\\0061pp.dyn\" = '1'", true),
        ("DO $$DECLARE k text := 'app'; BEGIN PERFORM set_config(k || '.dyn', '1', false); END$$", true),
        ("SELECT put('dyn')", true),
        ("SELECT calls_put()", true),
        ("SELECT calls_tenant()", false),
        ("SELECT pg_catalog.set_config('app.dyn', '1', false)", false),
        ("SELECT given('app.dyn')", false),
    ] {
        let mut client = pgweir.client();
        client.query(sql);
        for _ in 0..3 {
            assert_eq!((client.value(seen), other.value(seen)), ("1".into(), String::new()), "{sql}");
        }
        assert_eq!(pgweir.metric("pgweir_pool_pinned_clients", &[]), f64::from(u8::from(ties)), "{sql}");
        client.terminate();
        eventually("it is gone", || pgweir.metric("pgweir_pool_pinned_clients", &[]) == 0.0);
    }
}

/// A client that has read the name of another's statement can neither run nor drop it.
#[test]
fn names_of_others_statements_are_nobodys() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    let (mut owner, mut other) = (pgweir.client(), pgweir.client());
    owner.send(&[parse("s", "SELECT 'of the owner'"), sync()].concat());
    owner.read_until_ready();
    let name = other.value("SELECT name FROM pg_prepared_statements");
    let lacks = format!("prepared statement \"{name}\" does not exist");
    for sql in ["EXECUTE", "DEALLOCATE", "DEALLOCATE PREPARE", "EXPLAIN EXECUTE", "SELECT 1; DEALLOCATE"] {
        let sql = format!("{sql} {name}");
        let mut errors = vec![other.error(&sql)];
        if !sql.contains(';') {
            for statement in ["", "named"] {
                let close = close_statement(statement);
                other.send(
                    &[close, parse(statement, &sql), bind("", statement, &[]), execute("", 0), sync()]
                        .concat(),
                );
                errors.extend(other.read_until_ready().into_iter().filter(|m| m.tag == b'E'));
            }
            assert_eq!(errors.len(), 3, "{sql}");
        }
        for error in errors {
            assert_eq!(
                (error.sqlstate().as_str(), error.field(b'M').unwrap()),
                ("26000", lacks.clone()),
                "{sql}"
            );
        }
        assert_eq!(
            other.error(&format!("DO $$BEGIN EXECUTE 'DEALLOCATE {name}'; END$$")).sqlstate(),
            "26000"
        );
        owner.send(&[bind("", "s", &[]), execute("", 0), sync()].concat());
        assert!(owner.read_until_ready().iter().any(|m| m.tag == b'D'), "{sql}");
    }
}

/// idle_session_timeout is the client's own, not only that of the servers it was set on.
#[test]
fn a_client_is_ended_by_its_own_idle_session_timeout() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let target = || pgweir.target("app", "app");
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    let mut by_option = Client::connect(&target().parameter("options", "-c idle_session_timeout=400ms"));
    let mut reset = Client::connect(&target().parameter("options", "-c idle_session_timeout=1min"));
    client.query("SET idle_session_timeout = '0.4s'");
    reset.query("SET idle_session_timeout = '400ms'");
    reset.query("RESET idle_session_timeout");
    for client in [&mut client, &mut by_option] {
        let end = client.read_to_end();
        let error = end.last().expect("a last word");
        assert_eq!(error.sqlstate(), "57P05", "{end:?}");
        assert_eq!(error.field(b'M').unwrap(), "terminating connection due to idle-session timeout");
    }
    assert_eq!(
        (reset.value("SHOW idle_session_timeout"), other.value("SELECT 1")),
        ("1min".into(), "1".into())
    );
}

/// temp_buffers can't be set where somebody has had a temporary table: that must not be another client's.
#[test]
fn temp_buffers_are_set_where_nobody_had_a_temporary_table() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    for _ in 0..2 {
        other.query("BEGIN; CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1; COMMIT");
    }
    assert!(client.query("SET temp_buffers = '9MB'").iter().all(|m| m.tag != b'E'));
    for _ in 0..3 {
        assert_eq!(
            (client.value("SHOW temp_buffers"), other.value("SHOW temp_buffers")),
            ("9MB".into(), "8MB".into())
        );
    }
}

/// `options` is read as PostgreSQL reads it, and refused by the same code.
#[test]
fn options_in_every_form() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = Pgweir::start(&Config::new(&cluster));
    let shown = "SELECT string_agg(current_setting(n), ' ') FROM unnest('{datestyle,work_mem,enable_seqscan,enable_hashjoin}'::text[]) n";
    let said = |target: Target, options: &str| {
        let client = Client::try_connect(&target.parameter("options", options));
        client.map(|mut client| client.value(shown)).map_err(|refusal| refusal.error().sqlstate())
    };
    for options in [
        "-e -fs -S 5000",
        "-S5000 -W 0",
        "-neT -fh",
        "-c work_mem=5MB --enable-seqscan=off",
        "-t pa",
        "-d 1",
        "-F",
        "-N 5",
        "-x",
        "-f z",
        "-fs word",
        "-S",
        "-S nonsense",
        "-C x -E -r y -v 3 -b -j",
    ] {
        let (theirs, ours) =
            (said(cluster.target("app", "app"), options), said(pgweir.target("app", "app"), options));
        assert_eq!(theirs, ours, "{options}");
    }
}

/// Discard: what a client sets is gone once somebody else has had the server, and nobody else sees it.
#[test]
fn discard_leaves_it_behind() {
    let cluster = Cluster::start(Version::V15);
    let config = Config::new(&cluster).set("session_state", "discard").set("default_pool_size", 1);
    let pgweir = Pgweir::start(&config);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    client.query("SET work_mem = '7MB'; CREATE TEMP TABLE t (a int)");
    assert_eq!(other.value("SHOW work_mem"), "4MB");
    assert_eq!(client.value("SHOW work_mem"), "4MB");
    assert_eq!(client.error("SELECT * FROM t").sqlstate(), "42P01");
}

/// What no reset takes back goes with its server, which nobody else gets; what one does take costs no server. In session mode, too.
#[test]
fn discard_closes_what_it_cannot_reset() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql(
        "app",
        "ALTER ROLE app SUPERUSER;
         CREATE FUNCTION seeded() RETURNS void LANGUAGE sql AS 'SELECT setseed(0.5)';
         CREATE FUNCTION tenant(name text) RETURNS text LANGUAGE sql AS $$SELECT set_config(name, 'x', false)$$;
         SELECT pg_replication_origin_create('o')",
    );
    let config = Config::new(&cluster).set("default_pool_size", 1);
    let discard = Pgweir::start(&config.clone().set("session_state", "discard"));
    let session = Pgweir::start(&config.set("pool_mode", "session"));
    for left in [
        "LOAD '$libdir/plpgsql'",
        "DO $$BEGIN LOAD '$libdir/plpgsql'; END$$",
        "SELECT setseed(0.5)",
        "SELECT seeded()",
        "SELECT pg_replication_origin_session_setup('o')",
        "SELECT pg_backup_start('x', true)",
        "SELECT pg_create_physical_replication_slot('s', true, true)",
        "SET SEED = 0.5",
    ] {
        let (mut client, mut other) = (discard.client(), discard.client());
        let home = pid(&mut client);
        client.query(left);
        assert_ne!(pid(&mut other), home, "{left}");
        eventually("the server is closed", || cluster.connections(&format!("pid = {home}")) == 0);
        let home = pid(&mut client);
        client.send(&[parse("", left), bind("", "", &[]), execute("", 0), sync()].concat());
        client.read_until_ready();
        assert_ne!(pid(&mut other), home, "{left}, by the extended protocol");
        // Functions aren't looked for in session mode.
        if !left.contains("seeded") {
            let mut client = session.client();
            let home = pid(&mut client);
            client.query(left);
            assert_eq!(pid(&mut client), home, "{left}");
            client.terminate();
            assert_ne!(pid(&mut session.client()), home, "{left}, in session mode");
        }
    }
    let (mut client, mut other) = (discard.client(), discard.client());
    let home = pid(&mut client);
    for reset in ["SELECT tenant('a.b')", "SELECT set_config('a.' || 'b', 'x', false)", "DO 'BEGIN END'"] {
        client.query(reset);
        assert_eq!(pid(&mut other), home, "{reset}");
        assert_eq!(other.value("SELECT coalesce(current_setting('a.b', true), '')"), "");
    }
    let mut first = session.client();
    let home = pid(&mut first);
    first.query("SELECT set_config('a.b', 'x', false)");
    first.terminate();
    assert_eq!(pid(&mut session.client()), home);
}

/// One client too many is refused before it keeps a server, and may come again when there is room.
#[test]
fn pins_are_bounded() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = Pgweir::start(&Config::new(&cluster).set("max_pins", 1).set("default_pool_size", 3));
    let (mut first, mut second) = (pgweir.client(), pgweir.client());
    first.query("CREATE TEMP TABLE t (a int)");
    let error = second.error("CREATE TEMP TABLE t (a int)");
    assert_eq!(error.sqlstate(), "0A000");
    assert!(error.field(b'H').is_some_and(|hint| hint.contains("max_pins")), "{error:?}");
    second.query("SET work_mem = '7MB'");
    first.query("CREATE TEMP TABLE u (a int)");
    assert_eq!(pgweir.metric("pgweir_pool_pins_total", &["reason=\"temp_table\""]), 1.0);
    first.terminate();
    eventually("there is room", || second.query("CREATE TEMP TABLE t (a int)").iter().all(|m| m.tag != b'E'));
}

/// What is asked behind a DISCARD ALL, before its end is known, fails by the name the client gave.
#[test]
fn a_statement_discarded_on_the_way_is_called_by_its_name() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let mut client = pgweir.client();
    let again = [bind("", "mine", &[]), execute("", 0), sync()].concat();
    for drops in ["DISCARD ALL", "SELECT 1; DEALLOCATE ALL", "/* all */ deallocate all"] {
        client.send(&[parse("mine", "SELECT 1"), sync()].concat());
        client.read_until_ready();
        client.send(&[query(drops), again.clone(), again.clone()].concat());
        client.read_until_ready();
        for _ in 0..2 {
            let error = client.read_until_ready().remove(0);
            assert!(error.to_string().contains("prepared statement \"mine\" does not exist"), "{error}");
        }
    }
}

/// psycopg 3, Rails and PDO drop by SQL what they have prepared by the protocol: for PostgreSQL it is one name space.
#[test]
fn sql_drops_and_runs_statements_of_the_protocol() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    let prepare = [parse("Mine", "SELECT 5 + $1::int"), sync()].concat();
    let run = [bind("", "Mine", &[Some("1")]), execute("", 0), sync()].concat();
    let said = |client: &mut Client, bytes: &[u8]| -> Vec<String> {
        client.send(bytes);
        client.read_until_ready().iter().map(ToString::to_string).collect()
    };
    let lacks = |lines: &[String]| lines[0].contains("C26000|Mprepared statement \"Mine\" does not exist");
    for by_protocol in [false, true] {
        let command = |sql: &str| {
            if by_protocol {
                [parse("", sql), bind("", "", &[]), execute("", 0), sync()].concat()
            } else {
                query(sql)
            }
        };
        said(&mut client, &prepare);
        said(&mut other, &prepare);
        for _ in 0..2 {
            let ran = said(&mut client, &command("EXECUTE \"Mine\"(2)"));
            assert!(ran.iter().any(|l| l.contains("Some(\"7\")")), "{ran:?}");
        }
        client.query("BEGIN; SELECT 1/0");
        assert!(said(&mut client, &command("DEALLOCATE \"Mine\"")).iter().any(|l| l.contains("C25P02")));
        client.query("ROLLBACK");
        assert!(said(&mut client, &run).iter().any(|l| l.contains("Some(\"6\")")), "it is still there");
        let dropped = said(&mut client, &command("DEALLOCATE PREPARE \"Mine\";"));
        assert!(dropped.iter().any(|l| l == "C DEALLOCATE"), "{dropped:?}");
        assert!(lacks(&said(&mut client, &run)));
        let twice = said(&mut client, &command("DEALLOCATE \"Mine\""));
        assert!(twice.iter().any(|l| l.contains("C26000")), "{twice:?}");
        assert!(said(&mut other, &run).iter().any(|l| l.contains("Some(\"6\")")), "others keep theirs");
        said(&mut client, &prepare);
        client.send(&[command("DEALLOCATE \"Mine\""), run.clone()].concat());
        client.read_until_ready();
        assert!(lacks(&client.read_until_ready().iter().map(ToString::to_string).collect::<Vec<_>>()));
        said(&mut other, &command("DEALLOCATE \"Mine\""));
    }
}

/// A function that drops all statements drops its client's, also where the server has none of them, and those of others come back
/// with their next use.
#[test]
fn what_a_function_drops_is_made_again() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql(
        "app",
        "CREATE FUNCTION run(q text) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE q; END$$;
         CREATE FUNCTION forget() RETURNS void LANGUAGE plpgsql AS $$BEGIN DEALLOCATE ALL; END$$",
    );
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    let prepare = |text: &str| [parse("s", text), bind("", "s", &[]), execute("", 0), sync()].concat();
    let run = [bind("", "s", &[]), execute("", 0), sync()].concat();
    let said = |client: &mut Client, bytes: &[u8]| -> String {
        client.send(bytes);
        let tag =
            |m: &Message| if m.tag == b'E' { m.sqlstate().to_owned() } else { char::from(m.tag).to_string() };
        client.read_until_ready().iter().map(tag).collect()
    };
    for drops in ["SELECT run('DEALLOCATE ALL')", "SELECT forget()", "DO $$BEGIN PERFORM forget(); END$$"] {
        assert_eq!(said(&mut client, &prepare("SELECT 1")), "12DCZ", "{drops}");
        assert_eq!(said(&mut other, &prepare("SELECT 2")), "12DCZ", "{drops}");
        client.query(drops);
        assert_eq!(said(&mut other, &run), "2DCZ", "{drops}");
        assert_eq!(said(&mut client, &run), "26000Z", "{drops}");
        assert_eq!(said(&mut client, &prepare("SELECT 1")), "12DCZ", "{drops}");
        client.query("DEALLOCATE ALL");
        other.query("DEALLOCATE ALL");
    }
    let pgweir = two_servers(&cluster);
    let mut client = pgweir.client();
    for drops in ["SELECT run('DEALLOCATE ALL')", "DO $$BEGIN DEALLOCATE PREPARE ALL; END$$"] {
        for drops in [query(drops), [parse("", drops), bind("", "", &[]), execute("", 0), sync()].concat()] {
            assert_eq!(said(&mut client, &prepare("SELECT 1")), "12DCZ");
            let dropped = said(&mut client, &drops);
            assert_eq!(said(&mut client, &run), "26000Z", "{dropped} {}", String::from_utf8_lossy(&drops));
            client.query("SELECT 'the next comes to the other server'");
        }
    }
    for text in ["SELECT 1", "SELECT 2"] {
        assert_eq!(said(&mut client, &prepare("SELECT 1")), "12DCZ");
        client.query("BEGIN; CREATE TEMP TABLE t ()");
        client.query("SELECT run('DEALLOCATE ALL')");
        assert_eq!(said(&mut client, &prepare(text)), "12DCZ", "what is prepared behind it stays");
        client.query("COMMIT");
        assert_eq!(said(&mut client, &run), "2DCZ");
        client.query("DROP TABLE t");
        client.query("DEALLOCATE s");
    }
}

/// Also where a server is come back to that has it still.
#[test]
fn an_unnamed_statement_that_is_closed_is_gone() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let mut client = pgweir.client();
    let run = [bind("", "", &[]), execute("", 0), sync()].concat();
    client.send(&[parse("", "SELECT 1"), run.clone()].concat());
    client.read_until_ready();
    client.send(&[close_statement(""), sync()].concat());
    client.read_until_ready();
    client.send(&run);
    assert_eq!(client.read_until_ready()[0].sqlstate(), "26000");
}

/// PostgreSQL looks at the text, then at the transaction, and at the name last.
#[test]
fn a_name_that_is_taken_in_a_failed_transaction() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let mut client = pgweir.client();
    let prepare = |text: &str| [parse("s", text), sync()].concat();
    client.send(&prepare("SELECT 1"));
    client.read_until_ready();
    client.query("SELECT 'the next comes to the other server'");
    client.query("BEGIN; SELECT 1/0");
    for (text, code) in
        [("SELECT 1; SELECT 2", "42601"), ("SELEC", "42601"), ("SELECT 1", "25P02"), ("ROLLBACK", "42P05")]
    {
        client.send(&prepare(text));
        assert_eq!(client.read_until_ready()[0].sqlstate(), code, "{text}");
    }
    client.query("ROLLBACK");
    // What it stands for can't be parsed any more where it would have to be.
    cluster.sql("app", "CREATE TABLE m (a int); GRANT SELECT ON m TO PUBLIC");
    client.send(&[parse("m", "SELECT * FROM m"), sync()].concat());
    client.read_until_ready();
    client.query("SET search_path = nowhere");
    for _ in 0..2 {
        for (text, code) in
            [("SELECT 1; SELECT 2", "42601"), ("SELECT * FROM m", "42P01"), ("SELECT 1", "42P05")]
        {
            client.send(&[parse("m", text), sync()].concat());
            let error = client.read_until_ready().swap_remove(0);
            assert_eq!(error.sqlstate(), code, "{text}");
            assert!(code != "42P05" || error.to_string().contains("\"m\" already exists"), "{error}");
        }
    }
}

/// Functions that set a tenant, and the ways to them.
const TENANTS: &str = "CREATE FUNCTION set_tenant(t text) RETURNS void LANGUAGE plpgsql AS
           $$BEGIN PERFORM set_config('app.tenant', t, false); END$$;
         CREATE FUNCTION \"Enter\"(t text) RETURNS void LANGUAGE sql AS 'SELECT set_tenant(t)';
         CREATE FUNCTION run(q text) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE q; END$$;
         CREATE TABLE visits (id int); GRANT ALL ON visits TO PUBLIC;
         CREATE FUNCTION visited() RETURNS trigger LANGUAGE plpgsql AS
           $$BEGIN PERFORM set_tenant('visitor'); RETURN NEW; END$$;
         CREATE TRIGGER t AFTER INSERT ON visits FOR EACH ROW EXECUTE FUNCTION visited();
         CREATE FUNCTION checked(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
           $$BEGIN PERFORM set_tenant('checker'); RETURN i; END$$;
         CREATE FUNCTION each(i int) RETURNS int LANGUAGE plpgsql AS
           $$BEGIN PERFORM set_tenant('checker'); RETURN i; END$$;
         CREATE DOMAIN dom AS int CHECK (each(VALUE) > 0);
         CREATE TABLE with_dom (d dom); GRANT ALL ON with_dom TO PUBLIC;
         CREATE TABLE indexed (i int); CREATE INDEX ON indexed (checked(i)); GRANT ALL ON indexed TO PUBLIC;
         CREATE TABLE defaulted (i int DEFAULT checked(3)); GRANT ALL ON defaulted TO PUBLIC;
         ALTER TABLE defaulted OWNER TO app;
         CREATE FUNCTION evented() RETURNS event_trigger LANGUAGE plpgsql AS
           $$BEGIN IF tg_tag = 'CREATE SEQUENCE' THEN PERFORM set_tenant('event'); END IF; END$$;
         CREATE EVENT TRIGGER evented ON ddl_command_end EXECUTE FUNCTION evented();
         CREATE VIEW entered AS SELECT set_tenant('viewer')::text;
         GRANT ALL ON entered TO PUBLIC";

/// PostgreSQL knows one name space of statements, whoever prepared them.
#[test]
fn sql_and_the_protocol_share_their_names() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let mut client = pgweir.client();
    let prepare = |client: &mut Client, name: &str| {
        client.send(&[parse(name, "SELECT $1::int + 1"), sync()].concat());
        client.read_until_ready()
    };
    let rows = |client: &mut Client, sql: &str| {
        let rows = client.query(sql).into_iter().filter(|m| m.tag == b'D');
        rows.count()
    };
    for name in ["a", "B", "s_3"] {
        assert_eq!(prepare(&mut client, name)[0].tag, b'1');
    }
    assert!(rows(&mut client, "EXPLAIN EXECUTE a(1)") > 0);
    assert_eq!(rows(&mut client, "EXECUTE a(1); EXECUTE \"B\"(2)"), 2);
    assert_eq!(client.query("CREATE TEMP TABLE made AS EXECUTE s_3(6)")[0].tag, b'C');
    assert_eq!(client.value("TABLE made"), "7");
    client.query("DROP TABLE made");
    let code = |message: &Message| message.field(b'C').unwrap_or_default();
    assert_eq!(code(&client.error("PREPARE a AS SELECT 1")), "42P05");
    // Dropped though the transaction is rolled back, as PostgreSQL does; known again once it is over.
    client.query("BEGIN");
    client.query("DEALLOCATE \"B\"; SELECT 1/0");
    client.query("ROLLBACK");
    assert_eq!(code(&client.error("EXECUTE \"B\"(1)")), "26000");
    client.query("DO $$BEGIN EXECUTE 'DEALLOCATE s_3'; END$$");
    assert_eq!(code(&client.error("EXECUTE s_3(1)")), "26000");
    client.query("DEALLOCATE a; PREPARE a AS SELECT 'of SQL'");
    assert_eq!(client.value("EXECUTE a"), "of SQL");
    assert_eq!(code(&prepare(&mut client, "a")[0]), "42P05");
    client.query("DEALLOCATE a");
    assert_eq!(prepare(&mut client, "a")[0].tag, b'1');
    eventually("nothing keeps its server", || {
        pgweir.metric("pgweir_pool_servers", &["state=\"active\""]) == 0.0
    });
    assert_eq!(client.value("EXECUTE a(1)"), "2");
}

/// A tenant set by a function, as many applications do: it follows its client, and nobody else meets it.
#[test]
fn what_functions_set_follows_too() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", TENANTS);
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    let show = "SELECT coalesce(current_setting('app.tenant', true), '')";
    let mut follows = |sql: &str, tenant: &str| {
        client.query(sql);
        for _ in 0..3 {
            assert_eq!(client.value(show), tenant, "{sql}");
            assert_eq!(other.value(show), "", "{sql}");
        }
    };
    for (sql, tenant) in [
        ("SELECT set_tenant('one')", "one"),
        ("SELECT \"Enter\"('two')", "two"),
        ("SELECT run('SET app.tenant = three')", "three"),
        ("INSERT INTO visits VALUES (1)", "visitor"),
        ("INSERT INTO with_dom VALUES (3)", "checker"),
        ("SELECT set_tenant('one')", "one"),
        ("SELECT 3::dom", "checker"),
        ("SELECT set_tenant('one')", "one"),
        ("INSERT INTO indexed VALUES (1)", "checker"),
        ("SELECT set_tenant('one')", "one"),
        ("ALTER TABLE defaulted RENAME TO anew", "one"),
        ("INSERT INTO anew DEFAULT VALUES", "checker"),
        ("CREATE SEQUENCE pg_temp.s; DROP SEQUENCE pg_temp.s", "event"),
        ("SELECT * FROM entered", "viewer"),
        ("CREATE FUNCTION enter_late() RETURNS void LANGUAGE sql AS 'SELECT set_tenant(''late'')'", "viewer"),
        ("SELECT enter_late()", "late"),
        (
            "DO $$BEGIN CREATE FUNCTION later() RETURNS void LANGUAGE sql AS 'SELECT set_tenant(''later'')'; END$$",
            "late",
        ),
        ("SELECT later()", "later"),
    ] {
        follows(sql, tenant);
    }
    client.send(&[parse("s", "SELECT set_tenant($1)"), sync()].concat());
    client.read_until_ready();
    for tenant in ["five", "six", "seven"] {
        client.send(&[bind("", "s", &[Some(tenant)]), execute("", 0), sync()].concat());
        client.read_until_ready();
        assert_eq!(client.value(show), tenant);
        assert_eq!(other.value(show), "");
    }
}

/// What an EXECUTE leaves is found though its text says nothing.
#[test]
fn a_statement_prepared_by_sql_leaves_what_it_runs() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    client.query("PREPARE p AS SELECT set_config('app.tenant', $1, false)");
    client.query("EXECUTE p('mine')");
    client.query("DEALLOCATE p");
    let show = "SELECT coalesce(current_setting('app.tenant', true), '')";
    for _ in 0..3 {
        assert_eq!(client.value(show), "mine");
        assert_eq!(other.value(show), "");
    }
}

/// What a client is told of sequences is its own, whoever had the server before.
#[test]
fn last_values_of_sequences_are_the_client_s_own() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE TABLE t (id serial); GRANT ALL ON t, t_id_seq TO PUBLIC");
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    let (mut first, mut second) = (pgweir.client(), pgweir.client());
    let undefined = |client: &mut Client, sql: &str| {
        let error = client.rows(sql).expect_err("it has none");
        assert!(error.to_string().contains("55000"), "{sql}: {error}");
    };
    first.query("INSERT INTO t DEFAULT VALUES");
    assert_eq!(first.value("SELECT lastval()"), "1");
    undefined(&mut second, "SELECT lastval()");
    first.query("INSERT INTO t DEFAULT VALUES");
    assert_eq!(first.value("SELECT lastval()"), "2");
    assert_eq!(first.value("SELECT currval('t_id_seq')"), "2");
    second.query("BEGIN");
    undefined(&mut second, "SELECT currval('t_id_seq')");
    second.query("ROLLBACK; BEGIN; INSERT INTO t DEFAULT VALUES");
    assert_eq!(second.value("SELECT lastval()"), "3");
    second.query("COMMIT");
    assert_eq!(second.value("SELECT lastval()"), "3");
    first.send(&[parse("", "SELECT lastval()"), bind("", "", &[]), execute("", 0), sync()].concat());
    assert!(first.read_until_ready().iter().any(|m| m.to_string().contains("C55000")));
}

/// The same where clients ask by named statements only, from the first on.
#[test]
fn last_values_asked_for_by_name_are_the_client_s_own() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE SEQUENCE s; GRANT ALL ON s TO PUBLIC");
    let ask = [bind("", "s1", &[]), execute("", 0), sync()].concat();
    let is_undefined = |client: &mut Client| {
        let replies = client.read_until_ready();
        assert!(replies.iter().any(|m| m.to_string().contains("C55000")), "{replies:?}");
    };

    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1).set("sequence_hold", 0));
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    other.query("SELECT nextval('s')");
    client.send(&[parse("s1", "SELECT lastval()"), ask.clone()].concat());
    is_undefined(&mut client);
    other.query("SELECT nextval('s')");
    client.send(&ask);
    is_undefined(&mut client);
}

/// The first of its pool to ask is told nobody else's value, though there is a prelude in front; what it takes itself behind that stays.
#[test]
fn who_is_the_first_to_ask_is_told_no_one_else_s_value() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE SEQUENCE s; GRANT ALL ON s TO PUBLIC");
    let lone = |name| [parse(name, "SELECT lastval()"), bind("", name, &[]), execute("", 0), sync()].concat();
    let own = [query("SELECT nextval('s')"), query("SELECT lastval()")].concat();
    let asks = [(query("SELECT lastval()"), &b"TEZ"[..]), (lone(""), b"12EZ"), (lone("s1"), b"12EZ")];
    let config = Config::new(&cluster).set("default_pool_size", 1).set("sequence_hold", 0);
    for (parameter, owns) in
        [(("application_name", "b"), Some((own, &b"TDCZTDCZ"[..]))), (("search_path", "public"), None)]
    {
        for (request, tags) in asks.iter().chain(&owns) {
            let pgweir = Pgweir::start(&config);
            let mut other = pgweir.client();
            let target = pgweir.target("app", "app").parameter(parameter.0, parameter.1);
            let mut client = Client::connect(&target);
            other.query("SELECT nextval('s')");
            client.send(request);
            let ends = tags.iter().filter(|tag| **tag == b'Z').count();
            let replies: Vec<_> = (0..ends).flat_map(|_| client.read_until_ready()).collect();
            let heard: Vec<_> = replies.iter().map(|m| m.tag).filter(|tag| *tag != b'S').collect();
            assert_eq!(heard, *tags, "{parameter:?} {:?}: {replies:?}", request.escape_ascii().to_string());
        }
    }
}

/// A client that took its last value elsewhere isn't told the one before, though the server was nobody else's meanwhile.
#[test]
fn an_older_value_of_a_sequence_is_no_answer() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE SEQUENCE s; GRANT ALL ON s TO PUBLIC");
    let config = Config::new(&cluster).set("default_pool_size", 2).set("sequence_hold", 0);
    let pgweir = Pgweir::start(&config.environment("PGWEIR_SWITCH_SERVERS", "1"));
    open_servers(&pgweir, 2);
    let mut client = pgweir.client();
    for _ in 0..2 {
        client.query("SELECT nextval('s')");
        let newest = client.value("SELECT nextval('s')");
        // While one server is asked what functions there are, the client has to stay on the other.
        match client.rows("SELECT currval('s')") {
            Ok(rows) => assert_eq!(rows, [[Some(newest)]]),
            Err(error) => assert_eq!(error.sqlstate(), "55000"),
        }
    }
}

/// Once a client of the pool has asked for the last value of a sequence, who has just taken one can ask for it, whoever waits.
#[test]
fn who_has_just_inserted_may_ask_for_the_value() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql(
        "app",
        "CREATE TABLE numbered (id serial, v text); GRANT ALL ON numbered, numbered_id_seq TO PUBLIC",
    );
    let config = Config::new(&cluster).set("default_pool_size", 1);
    let pgweir = Pgweir::start(&config.set("sequence_hold", 60));
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    client.query("SELECT lastval()");
    for (takes, asks) in [
        ("INSERT INTO numbered (v) VALUES ('a')", "SELECT lastval()"),
        ("SELECT nextval('numbered_id_seq')", "SELECT currval('numbered_id_seq')"),
        // What else it may have left has to be asked for first.
        ("SELECT set_config('app.x', '1', false), nextval('numbered_id_seq')", "SELECT lastval()"),
    ] {
        client.query(takes);
        other.send(&query("INSERT INTO numbered (v) VALUES ('b')"));
        eventually("the other waits", || pgweir.metric("pgweir_pool_clients", &["state=\"waiting\""]) == 1.0);
        let (first, again) = (client.value(asks), client.value(asks));
        assert_eq!(first, again);
        // Neither takes nor asks: the server is the other's.
        client.query("SELECT 1");
        other.read_until_ready();
        assert_ne!(other.value(asks), first);
        other.query("SELECT 1");
    }
    let pgweir =
        Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1).set("sequence_hold", "1ms"));
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    client.query("SELECT lastval()");
    client.query("INSERT INTO numbered (v) VALUES ('c')");
    assert_eq!(other.value("SELECT 1"), "1");
}

/// With sequence_hold = "session" it may ask whenever it likes, for what it took in vain, too.
#[test]
fn who_has_taken_a_value_may_keep_it_for_the_session() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql(
        "app",
        "CREATE TABLE numbered (id serial, v text CHECK (v <> 'b')); GRANT ALL ON numbered, numbered_id_seq TO PUBLIC;
         CREATE FUNCTION take_one() RETURNS int LANGUAGE plpgsql AS $$
             DECLARE taken int; BEGIN INSERT INTO numbered DEFAULT VALUES RETURNING id INTO taken; RETURN taken; END$$",
    );
    let config = Config::new(&cluster).set("default_pool_size", 2).set("sequence_hold", "session");
    let pgweir = Pgweir::start(&config.environment("PGWEIR_SWITCH_SERVERS", "1"));
    open_servers(&pgweir, 2);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    client.query("INSERT INTO numbered (v) VALUES ('a')");
    for sql in ["SELECT 1", "SET work_mem = '7MB'", "SELECT 1"] {
        client.query(sql);
        other.query("INSERT INTO numbered (v) VALUES ('a')");
        assert_eq!(client.value("SELECT lastval()"), "1", "{sql}");
        other.query("DISCARD SEQUENCES");
    }
    assert_eq!(client.error("INSERT INTO numbered (v) VALUES ('b')").sqlstate(), "23514");
    client.query("SELECT 1");
    assert_eq!(client.value("SELECT currval('numbered_id_seq')"), "5");
    let pinned = |count| pgweir.metric("pgweir_pool_pins", &["reason=\"sequence\""]) == count;
    eventually("one client keeps a server", || pinned(1.0));
    assert_ne!(pid(&mut other), pid(&mut client));
    client.query("DISCARD SEQUENCES");
    assert_eq!(client.error("SELECT lastval()").sqlstate(), "55000");
    client.query("DISCARD ALL");
    eventually("no client does", || pinned(0.0));
    // The text of a SELECT tells nothing, but the catalogs do.
    let taken = client.value("SELECT take_one()");
    client.query("SELECT 1");
    assert_eq!(client.value("SELECT lastval()"), taken);
    client.query("DISCARD ALL");
    eventually("no client does", || pinned(0.0));
    assert_ne!(pid(&mut client), pid(&mut client));
}

/// A library stays loaded and a connection of dblink open: the client keeps its server, and nobody gets it afterwards.
#[test]
fn what_nothing_takes_back_goes_with_its_client() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql(
        "app",
        "ALTER ROLE app SUPERUSER;
         CREATE FUNCTION far() RETURNS void LANGUAGE plpgsql AS $$BEGIN LOAD '$libdir/plpgsql'; END$$",
    );
    let pgweir = two_servers(&cluster);
    for sql in ["LOAD '$libdir/plpgsql'", "SELECT far()"] {
        let mut client = pgweir.client();
        client.query(sql);
        let home = pid(&mut client);
        client.query("DISCARD ALL");
        assert_eq!([pid(&mut client), pid(&mut client)], [home.clone(), home.clone()], "{sql}");
        assert!(pgweir.metric("pgweir_pool_pins_total", &["reason=\"other\""]) >= 1.0);
        client.terminate();
        eventually("its server is closed", || cluster.connections(&format!("pid = {home}")) == 0);
    }
    // Who leaves within its transaction hasn't been asked for anything yet.
    let mut client = pgweir.client();
    client.query("BEGIN; SELECT setseed(0.5)");
    let home = pid(&mut client);
    client.terminate();
    eventually("its server is closed, too", || cluster.connections(&format!("pid = {home}")) == 0);
}

/// With max_pins_reached = "wait" who would be one too many waits for another to let go, as long as query_wait_timeout.
#[test]
fn who_would_keep_one_server_more_may_wait() {
    let cluster = Cluster::start(Version::V15);
    let config = Config::new(&cluster)
        .set("default_pool_size", 3)
        .set("max_pins", 1)
        .set("max_pins_reached", "wait")
        .set("query_wait_timeout", 1);
    let pgweir = Pgweir::start(&config);
    let (mut holder, mut waiter, mut other) = (pgweir.client(), pgweir.client(), pgweir.client());
    holder.query("SELECT pg_advisory_lock(1)");
    waiter.send(&query("SELECT pg_advisory_lock(2)"));
    eventually("it waits", || pgweir.metric("pgweir_pool_clients", &["state=\"waiting\""]) == 1.0);
    assert_eq!(other.value("SELECT 1"), "1", "others don't");
    holder.query("SELECT pg_advisory_unlock(1)");
    assert!(waiter.read_until_ready().iter().any(|m| m.to_string() == "C SELECT 1"));
    let error = holder.rows("SELECT pg_advisory_lock(1)").expect_err("the wait is too long");
    assert!(error.to_string().contains("query_wait_timeout"), "{error}");
    holder.query("BEGIN");
    let error = holder.rows("SELECT pg_advisory_lock(1)").expect_err("in a transaction it can't wait");
    assert!(error.to_string().contains("0A000"), "{error}");
    holder.query("ROLLBACK");
    holder.send(&query("SELECT pg_advisory_lock(1)"));
    waiter.terminate();
    assert!(holder.read_until_ready().iter().any(|m| m.to_string() == "C SELECT 1"));
}

/// A table is temporary also by search_path alone.
#[test]
fn tables_made_temporary_by_search_path_hold_the_server() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE TABLE orders AS SELECT 1 AS i; GRANT ALL ON orders TO PUBLIC");
    let pgweir = two_servers(&cluster);
    let by_option = pgweir.target("app", "app").parameter("options", "-csearch_path=pg_temp,public");
    for how in
        ["SET search_path = pg_temp, public; CREATE TABLE orders (i int)", "SELECT 666 AS i INTO orders"]
    {
        let mut client = if how.starts_with("SET") { pgweir.client() } else { Client::connect(&by_option) };
        let mut other = pgweir.client();
        client.query(how);
        client.query("DELETE FROM orders; INSERT INTO orders VALUES (666)");
        for _ in 0..3 {
            assert_eq!(other.value("SELECT i FROM orders"), "1", "{how}");
            assert_eq!(client.value("SELECT i FROM orders"), "666", "{how}");
        }
        client.terminate();
        for _ in 0..3 {
            assert_eq!(other.value("SELECT i FROM orders"), "1", "{how}");
        }
    }
}

/// However clients come by what ties them, no more than max_pins are tied; who waits for that can be cancelled.
#[test]
fn max_pins_is_exact() {
    let cluster = Cluster::start(Version::V15);
    let config = Config::new(&cluster).set("default_pool_size", 6).set("max_pins", 1);
    let table = "CREATE TEMP TABLE x (i int)";
    let pgweir = Pgweir::start(&config.clone().set("max_pins_reached", "wait"));
    let (mut holder, mut canceled) = (pgweir.client(), pgweir.client());
    let mut waiters: Vec<_> = (0..3).map(|_| pgweir.client()).collect();
    let waiting = |n: f64| {
        eventually("they wait", || pgweir.metric("pgweir_pool_clients", &["state=\"waiting\""]) == n);
    };
    holder.query(table);
    canceled.send(&query(table));
    waiting(1.0);
    for (client, n) in waiters.iter_mut().zip([2.0, 3.0, 4.0]) {
        client.send(&query(table));
        waiting(n);
    }
    canceled.cancel();
    assert!(canceled.read_until_ready().iter().any(|m| m.to_string().contains("C57014")));
    holder.terminate();
    waiting(2.0);
    let mut piped = pgweir.client();
    let batch = |sql: &str| [parse("", sql), bind("", "", &[]), execute("", 0)].concat();
    piped.send(&[batch("SELECT 1"), batch(table), sync()].concat());
    assert!(piped.read_until_ready().iter().any(|m| m.to_string().contains("C0A000")), "behind another");
    let made =
        |client: &mut Client| client.read_until_ready().iter().any(|m| m.to_string() == "C CREATE TABLE");
    for (mut client, left) in waiters.into_iter().zip([1.0, 0.0, 0.0]) {
        assert!(made(&mut client), "first come, first served");
        client.terminate();
        waiting(left);
    }

    let pgweir = Pgweir::start(&config);
    let mut clients: Vec<_> = (0..6).map(|_| pgweir.client()).collect();
    clients.iter_mut().for_each(|client| client.send(&query(table)));
    assert_eq!(clients.iter_mut().filter_map(|client| made(client).then_some(())).count(), 1);
    let errors: Vec<_> =
        clients.iter_mut().map(|client| client.rows(table).expect_err("again").to_string()).collect();
    let refused =
        errors.iter().filter(|e| e.contains("the statement \"CREATE TEMP TABLE x (i int)\" would tie"));
    assert_eq!(refused.count(), 5, "{errors:?}");
}

/// Who was let in under max_pins, and leaves in line for a server, leaves its place to others.
#[test]
fn a_place_is_given_back_by_who_never_got_a_server() {
    let cluster = Cluster::start(Version::V15);
    let config =
        Config::new(&cluster).set("default_pool_size", 1).set("max_pins", 1).set("max_pins_reached", "wait");
    let pgweir = Pgweir::start(&config.set("query_wait_timeout", 5));
    let (mut busy, mut gone, mut next) = (pgweir.client(), pgweir.client(), pgweir.client());
    busy.query("BEGIN");
    gone.send(&query("SELECT pg_advisory_lock(1)"));
    let waiting = |n: f64| pgweir.metric("pgweir_pool_clients", &["state=\"waiting\""]) == n;
    eventually("it is in line for a server", || waiting(1.0));
    gone.terminate();
    eventually("it is gone", || waiting(0.0));
    busy.query("COMMIT");
    assert!(next.rows("SELECT pg_advisory_lock(1)").is_ok());
}

/// PostgreSQL reads literals by parameters at Parse: who has others must not share what came of it, whenever they were set.
#[test]
fn statements_are_shared_by_those_who_mean_the_same() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    let named = |text: &str| [parse("s", text), bind("", "s", &[]), execute("", 0), sync()].concat();
    let value = |messages: Vec<Message>| {
        let row = messages.iter().rfind(|m| m.tag == b'D').unwrap_or_else(|| panic!("{messages:?}"));
        String::from_utf8_lossy(&row.body[6..]).into_owned()
    };
    let (day, null) =
        ("SELECT to_char('01/02/2020'::date, 'MM')", "SELECT count(*) FROM (SELECT 1 WHERE NULL = NULL) x");
    let dmy = "SET DateStyle = 'ISO, DMY'";
    for (nth, (sets, text, own, others)) in [
        (&[dmy][..], day, "02", "01"),
        (&["BEGIN; SET LOCAL TRANSFORM_NULL_EQUALS = on"], null, "1", "0"),
        (&["BEGIN", "SELECT set_config('transform_null_equals', 'on', true)"], null, "1", "0"),
        (&["SET transform_null_equals = on", "SELECT 1"], null, "1", "0"),
        (&["BEGIN; SET DateStyle = 'ISO, DMY'", "ROLLBACK"], day, "01", "01"),
        (&["SET array_nulls = off", "SELECT 1"], "SELECT ('{NULL}'::text[])[1] IS NULL", "f", "t"),
        (
            &["SET extra_float_digits = -10", "SELECT 1"],
            "SELECT (1::float8 / 3)::text",
            "0.33333",
            "0.3333333333333333",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        for waits in [true, false] {
            let text = format!("{text} /* {nth} {waits} */");
            let (mut client, mut other) = (pgweir.client(), pgweir.client());
            let mut batches: Vec<_> = sets.iter().map(|sql| query(sql)).collect();
            batches.push(named(&text));
            let mut answer = Vec::new();
            if waits {
                for batch in &batches {
                    client.send(batch);
                    answer = client.read_until_ready();
                }
            } else {
                client.send(&batches.concat());
                batches.iter().for_each(|_| answer = client.read_until_ready());
            }
            assert_eq!(value(answer), own, "{text}");
            client.query("COMMIT");
            other.send(&named(&text));
            assert_eq!(value(other.read_until_ready()), others, "another's {text}");
            client.terminate();
        }
    }
}

/// Parsed on another server than where it was set up, a statement is nobody else's either.
#[test]
fn statements_that_move_are_shared_by_those_who_mean_the_same() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    let text = "SELECT to_char('01/02/2020'::date, 'MM')";
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    other.send(&[parse("s", text), sync()].concat());
    other.read_until_ready();
    other.query("DISCARD PLANS");
    client.send(&[parse("s", text), sync()].concat());
    client.read_until_ready();
    client.query("SET DateStyle = 'ISO, DMY'");
    cluster.sql("app", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    eventually("the server is gone", || cluster.connections("usename = 'app'") == 0);
    let bound = [bind("", "s", &[]), execute("", 0), sync()].concat();
    for (who, expected) in [(&mut client, "02"), (&mut other, "01")] {
        who.send(&bound);
        let replies = who.read_until_ready();
        let row = replies.iter().find(|m| m.tag == b'D').unwrap_or_else(|| panic!("{replies:?}"));
        assert_eq!(row.columns(), [Some(expected.to_owned())]);
    }
}

/// What one server has by itself another may not.
#[test]
fn what_was_set_counts_though_it_is_the_default_here() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 2));
    let (mut old, mut new, mut client) = (pgweir.client(), pgweir.client(), pgweir.client());
    old.query("BEGIN");
    cluster.sql("app", "ALTER DATABASE app SET timezone = 'CET'");
    assert_eq!(new.value("SHOW timezone"), "CET");
    client.query("SET timezone = 'CET'");
    let mut on_the_old = |client: &mut Client, zone: &str| {
        new.query("BEGIN");
        old.query("COMMIT");
        assert_eq!(client.value("SHOW timezone"), zone);
        old.query("BEGIN");
        new.query("COMMIT");
    };
    on_the_old(&mut client, "CET");
    client.query("BEGIN; SET LOCAL timezone = 'Asia/Tokyo'; COMMIT");
    on_the_old(&mut client, "CET");
    client.query("SET timezone = 'Asia/Tokyo'; RESET timezone");
    on_the_old(&mut client, "Etc/UTC");
    client.query("BEGIN; SET LOCAL timezone = 'Asia/Tokyo'; COMMIT");
    on_the_old(&mut client, "Etc/UTC");
}

/// Statements dropped by the extended protocol, however it is cut and portals are called, and used again at once.
#[test]
fn what_a_batch_drops_it_may_make_again() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    let tags = |messages: &[Message]| -> String { messages.iter().map(|m| char::from(m.tag)).collect() };
    let (mut client, mut direct) = (pgweir.client(), Client::connect(&cluster.target("app", "app")));
    for portal in ["", "p"] {
        for client in [&mut client, &mut direct] {
            client.send(&[parse("s", "SELECT 1"), sync()].concat());
            client.read_until_ready();
            let ends = [execute(portal, 0), sync()].concat();
            let begins = [parse("", "DEALLOCATE s"), bind(portal, "", &[]), message(b'H', b"")].concat();
            client.send(&[&begins, &ends[..5]].concat());
            assert_eq!(tags(&client.read_until(|m| m.tag == b'2')), "12");
            client.send(&ends[5..]);
            let dropped = client.read_until_ready();
            assert_eq!(tags(&dropped), "CZ");
            assert_eq!(dropped[0].body, b"DEALLOCATE\0");
            for drops in ["DEALLOCATE s", "DEALLOCATE ALL"] {
                client.send(&[parse("s", "SELECT 1"), parse("t", "SELECT 5"), sync()].concat());
                client.read_until_ready();
                let drops = [parse("", drops), bind(portal, "", &[]), execute(portal, 0)].concat();
                let batch =
                    [drops.clone(), parse("s", "SELECT 1"), bind("", "s", &[]), execute("", 0), sync()];
                client.send(&batch.concat());
                assert_eq!(tags(&client.read_until_ready()), "12C12DCZ");
                client.send(&[bind("", "s", &[]), execute("", 0), sync()].concat());
                assert_eq!(tags(&client.read_until_ready()), "2DCZ");
                // What fails drops nothing.
                client.send(
                    &[
                        parse("", "SELECT 1 / (random() * 0)::int"),
                        bind("", "", &[]),
                        execute("", 0),
                        drops,
                        sync(),
                    ]
                    .concat(),
                );
                assert_eq!(tags(&client.read_until_ready()), "12EZ");
                client.send(&[bind("", "s", &[]), execute("", 0), sync()].concat());
                assert_eq!(tags(&client.read_until_ready()), "2DCZ");
                client.query("DEALLOCATE ALL");
            }
        }
    }
}

/// PostgreSQL answers nothing of an open batch by itself: what a Query needs must not wait for it.
#[test]
fn a_query_within_a_batch_finds_its_statements() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let mut client = pgweir.client();
    client.send(&[parse("s", "SELECT 41"), sync()].concat());
    client.read_until_ready();
    for sql in ["EXECUTE s", "EXPLAIN EXECUTE s"] {
        client.send(&[parse("", "SELECT 1"), bind("", "", &[]), execute("", 0), query(sql)].concat());
        let tags: String = client.read_until_ready().iter().map(|m| char::from(m.tag)).collect();
        assert!(tags.starts_with("12DCTD") && tags.ends_with("CZ") && !tags.contains('E'), "{sql}: {tags}");
    }
}

/// A statement that another pool's clients have prepared before tells this pool its parameter, too.
#[test]
fn a_statement_known_from_another_pool_hides_no_parameter() {
    let cluster = Cluster::start(Version::V15);
    let config = Config::new(&cluster).set("default_pool_size", 1);
    let config = config.database("other", cluster.address()).put("databases.other", "dbname", "app");
    let pgweir = Pgweir::start(&config);
    let set = |client: &mut Client, value: &str, parse_it: bool| {
        let text = "SELECT set_config('app.tenant_id', $1, false)";
        let parse_it = if parse_it { parse("s", text) } else { Vec::new() };
        client.send(&[parse_it, bind("", "s", &[Some(value)]), execute("", 0), sync()].concat());
        client.read_until_ready();
    };
    set(&mut Client::connect(&pgweir.target("app", "other")), "x", true);
    let (mut a, mut b) = (pgweir.client(), pgweir.client());
    let tenant = "SELECT coalesce(current_setting('app.tenant_id', true), '')";
    for (round, parse_it) in [(1, true), (2, false)] {
        set(&mut a, &format!("a{round}"), parse_it);
        assert_eq!(b.value(tenant), if parse_it { String::new() } else { "b1".to_owned() });
        set(&mut b, &format!("b{round}"), parse_it);
        assert_eq!((a.value(tenant), b.value(tenant)), (format!("a{round}"), format!("b{round}")));
    }
}

/// Custom parameters whose names are written so that they can't be read, or are too many to be kept: their client stays where they are.
#[test]
fn names_that_cannot_be_read_hide_no_parameter() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 2));
    let is_kept = |set: &str, name: &str| {
        let (mut client, mut other) = (pgweir.client(), pgweir.client());
        client.query(set);
        let show = format!("SELECT coalesce(current_setting('{name}', true), '')");
        assert_eq!(other.value(&show), "", "{set}");
        assert_eq!(client.value(&show), "x", "{set}");
        client.terminate();
    };
    is_kept("SET app .spaced = 'x'", "app.spaced");
    is_kept("SET app.größe = 'x'", "app.größe");
    let long = format!("app.{}", "x".repeat(130));
    is_kept(&format!("SELECT set_config('{long}', 'x', false)"), &long);
    let mut client = pgweir.client();
    for i in 0..260 {
        client.query(&format!("SELECT set_config('app.user', 'user{i}.name', false)"));
    }
    is_kept("SET app.fresh = 'x'", "app.fresh");
    for i in 0..260 {
        client.query(&format!("SET LOCAL app.name{i} = 'x'"));
    }
    is_kept("SET app.last = 'x'", "app.last");
}

/// Statements are shared by those whose names mean the same tables: not by tenants of a transaction's search_path, nor by whoever
/// has a temporary table of that name.
#[test]
fn tenants_share_no_statement_whose_tables_differ() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql(
        "app",
        "CREATE SCHEMA one; CREATE TABLE one.t (a int); CREATE SCHEMA two; CREATE TABLE two.t (a int, b text); \
         INSERT INTO one.t VALUES (1); INSERT INTO two.t VALUES (1, 'x'); \
         GRANT ALL ON SCHEMA one, two TO PUBLIC; GRANT ALL ON one.t, two.t TO PUBLIC",
    );
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    let columns = |client: &mut Client| {
        let batch = [parse("s", "SELECT * FROM t"), bind("", "s", &[]), execute("", 0), sync()];
        client.send(&batch.concat());
        let replies = client.read_until_ready();
        client.send(&[close_statement("s"), sync()].concat());
        client.read_until_ready();
        let row = replies.iter().find(|m| m.tag == b'D').unwrap_or_else(|| panic!("{replies:?}"));
        row.body[1]
    };
    let (mut first, mut second) = (pgweir.client(), pgweir.client());
    for set in ["SET LOCAL search_path = ", "CREATE TEMPORARY TABLE t (a int"] {
        let tenant = |client: &mut Client, number: usize| {
            client.query("BEGIN");
            let told = match (set.starts_with("SET"), number) {
                (true, number) => format!("{set}{}", ["one", "two"][number - 1]),
                (false, 1) => format!("{set}) ON COMMIT DROP"),
                (false, _) => format!("{set}, b text) ON COMMIT DROP"),
            };
            client.query(&told);
            client.query("INSERT INTO t VALUES (1)");
            let columns = columns(client);
            client.query("COMMIT");
            columns
        };
        for _ in 0..3 {
            assert_eq!((tenant(&mut first, 1), tenant(&mut second, 2)), (1, 2), "{set}");
        }
    }
    // Taken back with a part of the transaction.
    first.query("BEGIN; SET LOCAL search_path = one; SAVEPOINT s; SET LOCAL search_path = two");
    assert_eq!(columns(&mut first), 2);
    first.query("ROLLBACK TO s");
    assert_eq!(columns(&mut first), 1);
    first.query("COMMIT");
}

/// What relations do by functions of PostgreSQL's own, without any of a user's, is known as if the text showed it.
#[test]
fn relations_that_call_built_in_functions_hide_nothing() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql(
        "app",
        "CREATE VIEW viewed AS SELECT set_config('app.viewed', 'x', false); \
         CREATE TABLE ruled (a int); CREATE RULE r AS ON INSERT TO ruled DO ALSO SELECT set_config('app.ruled', 'x', false); \
         CREATE TABLE checked (a int CHECK (pg_try_advisory_lock(a) IS NOT NULL)); \
         CREATE SEQUENCE numbers; CREATE TABLE child (parent int DEFAULT currval('numbers')); \
         CREATE TABLE guarded (a int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; INSERT INTO guarded VALUES (1); \
         CREATE POLICY p ON guarded USING (set_config('app.guarded', 'x', false) = 'x'); \
         CREATE DOMAIN d AS text DEFAULT set_config('app.domain', 'x', false) CHECK (VALUE = 'x' OR set_config('app.constraint', 'x', false) = 'x'); \
         CREATE TABLE of_domain (a d); \
         CREATE FUNCTION with_default(a text DEFAULT set_config('app.argument', 'x', false)) RETURNS text LANGUAGE sql AS 'SELECT a'; \
         GRANT ALL ON viewed, ruled, checked, child, guarded, numbers, of_domain TO PUBLIC",
    );
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 2));
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    for (sql, name) in [
        ("SELECT * FROM viewed", "app.viewed"),
        ("INSERT INTO ruled VALUES (1)", "app.ruled"),
        ("SELECT * FROM guarded", "app.guarded"),
        ("INSERT INTO of_domain DEFAULT VALUES", "app.domain"),
        ("INSERT INTO of_domain VALUES ('c')", "app.constraint"),
        ("SELECT with_default()", "app.argument"),
    ] {
        client.query(sql);
        let show = format!("SELECT coalesce(current_setting('{name}', true), '')");
        assert_eq!((other.value(&show), client.value(&show)), (String::new(), "x".to_owned()), "{sql}");
    }
    client.query("INSERT INTO checked VALUES (7)");
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
    assert_eq!((other.value(held), client.value(held)), ("0".to_owned(), "1".to_owned()));
    let mut third = pgweir.client();
    assert_eq!(third.value("SELECT nextval('numbers')"), "1");
    let refused = other.query("INSERT INTO child DEFAULT VALUES");
    let told = refused.iter().find(|m| m.tag == b'E').map(Message::sqlstate);
    assert_eq!(told.as_deref(), Some("55000"), "{refused:?}");
}

/// Runs statement `s` by what the client was told of it before.
fn run_untold(client: &mut Client) -> String {
    client.send(&[bind("", "s", &[]), execute("", 0), sync()].concat());
    let replies = client.read_until_ready();
    match replies.iter().find(|message| matches!(message.tag, b'E' | b'D')) {
        Some(message) if message.tag == b'E' => message.sqlstate().to_owned(),
        row => String::from_utf8_lossy(&row.expect("a row").body[6..]).into_owned(),
    }
}

/// Prepares `s`, and hears what it gives.
fn prepare_s(client: &mut Client, text: &str) {
    client.send(&[parse("s", text), describe_statement("s"), sync()].concat());
    assert!(client.read_until_ready().iter().any(|message| message.tag == b'T'));
}

/// A client that was told of an integer never gets anything else by that statement, whoever has changed the table, and whatever
/// server it comes to.
#[test]
fn columns_are_what_the_client_was_told() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE TABLE public.m AS SELECT 1::bigint AS v; ALTER TABLE public.m OWNER TO app");
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    for (change, past) in [
        ("ALTER TABLE m ALTER v TYPE float8", false),
        ("ALTER TABLE m ALTER v TYPE text", true),
        ("ALTER TABLE m RENAME v TO w; ALTER TABLE m ADD v int DEFAULT 3", false),
    ] {
        prepare_s(&mut client, "SELECT v FROM m");
        match past {
            true => drop(cluster.sql("app", change)),
            false => drop(other.query(change)),
        }
        for _ in 0..4 {
            assert_eq!(run_untold(&mut client), "0A000", "{change}");
        }
        client.send(&[close_statement("s"), sync()].concat());
        client.read_until_ready();
        prepare_s(&mut client, "SELECT v FROM m");
        for _ in 0..3 {
            assert_ne!(run_untold(&mut client), "0A000", "{change}");
        }
        client.send(&[close_statement("s"), sync()].concat());
        client.read_until_ready();
    }
}

/// What a batch brings, but for rows' values.
fn tags(client: &mut Client, batch: &[Vec<u8>]) -> String {
    client.send(&batch.concat());
    read_tags(client)
}

/// The same of what was asked before, up to one ReadyForQuery.
fn read_tags(client: &mut Client) -> String {
    client.read_until_ready().iter().map(|message| char::from(message.tag)).collect()
}

/// A table is altered past pgweir, and every server has the statement with the columns it had. Who is about to be told which there are is
/// told of those there are now, and never hears that PostgreSQL refused the old ones first.
#[test]
fn nobody_who_is_told_meets_a_change_past_pgweir() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE TABLE m AS SELECT 1 AS v; GRANT SELECT ON m TO PUBLIC");
    let pgweir = two_servers(&cluster);
    let text = "SELECT * FROM m";
    let told = || [bind("", "s", &[]), describe_portal(""), execute("", 0)];
    let mut old = pgweir.client();
    let mut settled = Client::connect(&pgweir.target("trusty", "app").parameter("work_mem", "7MB"));
    prepare_s(&mut old, text);
    prepare_s(&mut settled, text);
    for change in 0.. {
        let mut new = pgweir.client();
        (0..3).for_each(|_| assert_eq!(tags(&mut settled, &[told().concat(), sync()]), "2TDCZ"));
        (0..4).for_each(|_| drop(run_untold(&mut old)));
        cluster.sql("app", &format!("ALTER TABLE m ADD x{change} int"));
        match change {
            0 | 1 => assert_eq!(tags(&mut old, &[told().concat(), sync()]), "2TDCZ"),
            2 => assert_eq!(tags(&mut old, &[describe_statement("s"), told().concat(), sync()]), "tT2TDCZ"),
            3 => assert_eq!(tags(&mut new, &[parse("s", text), describe_statement("s"), sync()]), "1tTZ"),
            4 => {
                new.send(&[parse("s", text), describe_statement("s"), flush()].concat());
                new.expect(&["1", "t…", "T…"]);
                assert_eq!(tags(&mut new, &[bind("", "s", &[]), execute("", 0), sync()]), "2DCZ");
            }
            5 => assert_eq!(tags(&mut new, &[parse("s", text), told().concat(), sync()]), "12TDCZ"),
            6 => {
                prepare_s(&mut new, "SELECT 5");
                let batch =
                    [close_statement("s"), parse("t", "TABLE m"), parse("s", text), told().concat(), sync()];
                assert_eq!(tags(&mut new, &batch), "3112TDCZ");
                assert_eq!(tags(&mut new, &[parse("t", "TABLE m"), sync()]), "EZ", "it has the name");
            }
            7 | 8 => assert_eq!(tags(&mut settled, &[told().concat(), sync()]), "2TDCZ"),
            9 => assert_eq!(tags(&mut new, &[query("BEGIN")]), "CZ"),
            10 => {
                let reset = [bind("", "", &[]), execute("", 0)].concat();
                let batch = [parse("", "RESET work_mem"), told().concat(), reset, sync()];
                assert_eq!(tags(&mut settled, &batch), "12TDC2CZ");
                assert_eq!(settled.value("SHOW work_mem"), "7MB");
            }
            _ => break,
        }
        if change == 9 {
            assert_eq!(
                tags(&mut new, &[parse("s", text), told().concat(), sync()]),
                "1EZ",
                "in a transaction"
            );
        }
        for _ in 0..3 {
            assert_eq!(tags(&mut old, &[told().concat(), sync()]), "2TDCZ", "{change}");
        }
        assert_eq!(tags(&mut old, &[close_statement("s"), parse("s", text), sync()]), "31Z");
        new.terminate();
    }
}

/// A custom parameter whose name nobody knows ties its client until all parameters are reset for good.
#[test]
fn a_nameless_parameter_is_gone_when_all_are_reset() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    let shown =
        |client: &mut Client| client.value("SELECT coalesce(current_setting('app.nameless', true), '')");
    let moves = |client: &mut Client| pid(client) != pid(client);
    for (resets, gone) in [
        ("DISCARD ALL", true),
        ("RESET ALL", true),
        ("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;", true),
        ("RESET app.other", false),
        ("BEGIN; RESET ALL; ROLLBACK", false),
        ("RESET ALL; SELECT 1/0", false),
        ("RESET work_mem; SELECT 1 -- RESET ALL", false),
        ("RESET ALL; SELECT set_config('app.' || 'nameless', 'x', false)", false),
    ] {
        client.query("SELECT set_config('app.' || 'nameless', 'x', false)");
        assert!(!moves(&mut client), "{resets}");
        client.query(resets);
        assert_eq!(moves(&mut client), gone, "{resets}");
        (0..2).for_each(|_| assert_eq!(shown(&mut other), "", "{resets}"));
        (0..2).for_each(|_| assert_eq!(shown(&mut client), if gone { "" } else { "x" }, "{resets}"));
    }
    // In a transaction that is taken back later, and ahead of what sets it again.
    for (first, then) in [("BEGIN", "ROLLBACK"), ("BEGIN", "SELECT 1/0; COMMIT")] {
        client.query(first);
        client.query("RESET ALL");
        client.query(then);
        client.query("ROLLBACK");
        assert_eq!((moves(&mut client), shown(&mut client)), (false, "x".to_owned()), "{then}");
    }
    client.send(&[query("RESET ALL"), query("SELECT set_config('app.' || 'nameless', 'y', false)")].concat());
    client.read_until_ready();
    client.read_until_ready();
    assert_eq!((moves(&mut client), shown(&mut client)), (false, "y".to_owned()));
    client.query("DISCARD ALL");
    // What is set for a transaction is nobody's name to keep.
    for n in 0..300 {
        client.query(&format!("BEGIN; SET LOCAL app.l{n} = 'x'; COMMIT"));
    }
    client.query("SET app.after = 'x'");
    assert!(moves(&mut client));
}

/// A text that comes in pieces leaves what a short one does; what it only carries as data ties nobody.
#[test]
fn long_texts_leave_what_short_ones_do() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    let (long, longer) = ("x".repeat(100_000), "x".repeat(1_200_000));
    let shown = |client: &mut Client, name: &str| {
        client.value(&format!("SELECT left(current_setting('{name}', true), 1)"))
    };
    for (text, name) in [
        (format!("SET app.a = '{long}'"), "app.a"),
        (format!("SELECT length(set_config('app.b', '{long}', false))"), "app.b"),
        (format!("SELECT length('{long}'), set_config('app.c', 'x', false)"), "app.c"),
        (format!("/* {long} */ SET app.d = 'x'"), "app.d"),
        (format!("SELECT 1; SELECT length('{long}'); SET app.e = 'x'"), "app.e"),
    ] {
        client.query(&text);
        (0..2).for_each(|_| assert_eq!(shown(&mut client, name), "x", "{name}"));
        (0..2).for_each(|_| assert_ne!(shown(&mut other, name), "x", "{name}"));
        let batch = [parse("", &text.replace("app.", "app.p")), bind("", "", &[]), execute("", 0), sync()];
        if !text.contains("SELECT 1;") {
            client.send(&batch.concat());
            client.read_until_ready();
            (0..2)
                .for_each(|_| assert_eq!(shown(&mut client, &name.replace("app.", "app.p")), "x", "{name}"));
        }
    }
    let data = format!("SELECT length('we set e.g. foo.bar; the local U.S. ones too, john.doe {long}')");
    client.query(&data);
    assert_ne!(pid(&mut client), pid(&mut client), "nothing ties it");
    for (text, look, found) in [
        ("SET work_mem = '7MB'", "SHOW work_mem", "7MB"),
        ("SET app.long = 'y'", "SHOW app.long", "y"),
        ("CREATE TEMP TABLE t AS SELECT 5 AS n", "SELECT n FROM t", "5"),
        (
            "SELECT pg_advisory_lock(5)",
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
            "1",
        ),
    ] {
        let text = format!("{text} /* {longer} */");
        client.send(&[parse("", &text), bind("", "", &[]), execute("", 0), sync()].concat());
        client.read_until_ready();
        (0..2).for_each(|_| assert_eq!(client.value(look), found, "{look}"));
    }
}

/// Whether the client is about to be told can lie in what comes later than the Bind: a long one, or one that was sent by itself.
#[test]
fn what_follows_a_bind_of_an_outdated_statement_is_waited_for() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE TABLE m (a text, v int); ALTER TABLE m OWNER TO app");
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    let text = "INSERT INTO m (a) VALUES ($1) RETURNING *";
    assert_eq!(tags(&mut client, &[parse("s", text), describe_statement("s"), sync()]), "1tTZ");
    for (change, length) in [10, 70_000, 300_000].into_iter().enumerate() {
        let value = "x".repeat(length);
        let rest = [describe_portal(""), execute("", 0), sync()].concat();
        let bind = bind("", "s", &[Some(&value)]);
        assert_eq!(tags(&mut client, &[bind.clone(), rest.clone()]), "2TDCZ");
        other.query(&format!("ALTER TABLE m ADD x{change} int"));
        for cut in [bind.len() - 1, bind.len(), bind.len() + 1, bind.len() + 2] {
            let all = [bind.clone(), rest.clone()].concat();
            client.send(&all[..cut]);
            eventually("it is there", || pgweir.metric("pgweir_pool_clients", &["state=\"waiting\""]) == 0.0);
            client.send(&all[cut..]);
            assert_eq!(read_tags(&mut client), "2TDCZ", "{length} {cut}");
            other.query(&format!("ALTER TABLE m ADD x{change}_{cut} int"));
        }
        let untold = [bind, execute("", 0), sync()];
        assert_eq!(tags(&mut client, &untold), "EZ", "{length}");
        assert_eq!(
            tags(&mut client, &[close_statement("s"), parse("s", text), describe_statement("s"), sync()]),
            "31tTZ"
        );
    }
}

/// Who names a format for each column it was told of, as pgx does, gets PostgreSQL's own error though it asks for the columns, too:
/// another would leave it with its statement for good.
#[test]
fn formats_for_each_column_are_for_those_there_were() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE TABLE m AS SELECT 1 AS v, 'a' AS w, 2 AS x; ALTER TABLE m OWNER TO app");
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    for (change, past) in [("ADD y int", false), ("DROP x", false), ("ADD z int", true), ("DROP z", true)] {
        prepare_s(&mut client, "SELECT * FROM m");
        client.send(&[bind("", "s", &[]), execute("", 0), sync()].concat());
        let row = client.read_until_ready().swap_remove(1);
        let columns = row.body[1];
        let formats = [&[0, columns][..], &[0, 1].repeat(usize::from(columns))].concat();
        let bind = message(b'B', &[&b"\0s\0\0\0\0\0"[..], &formats].concat());
        match past {
            true => drop(cluster.sql("app", &format!("ALTER TABLE m {change}"))),
            false => drop(other.query(&format!("ALTER TABLE m {change}"))),
        }
        for _ in 0..4 {
            client.send(&[bind.clone(), describe_portal(""), execute("", 0), sync()].concat());
            let replies = client.read_until_ready();
            assert_eq!(replies[0].sqlstate(), "0A000", "{change}: {replies:?}");
        }
        client.send(&[close_statement("s"), sync()].concat());
        client.read_until_ready();
    }
}

/// What runs may have done something before it finds its own statement outdated: that is never run twice.
#[test]
fn nothing_is_run_twice() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql(
        "app",
        "CREATE TABLE m AS SELECT 1 AS v; CREATE SEQUENCE runs; GRANT ALL ON m, runs TO PUBLIC;
         CREATE FUNCTION one() RETURNS int LANGUAGE plpgsql AS $$DECLARE r record; BEGIN
           PERFORM nextval('runs'); EXECUTE 'EXECUTE inner_one' INTO r; RETURN 1; END$$",
    );
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    let mut client = pgweir.client();
    client.query("PREPARE inner_one AS SELECT * FROM m");
    prepare_s(&mut client, "SELECT one()");
    let told = [bind("", "s", &[]), describe_portal(""), execute("", 0), sync()];
    assert_eq!(tags(&mut client, &told), "2TDCZ");
    cluster.sql("app", "ALTER TABLE m ADD w int");
    assert_eq!(tags(&mut client, &told), "2TEZ");
    let runs = cluster.sql("app", "SELECT last_value FROM runs");
    assert_eq!(runs, [[Some("2".to_owned())]]);
}

/// A table that is altered in a session, or a transaction, that has temporary ones or may have is everybody's all the same.
#[test]
fn migrations_are_seen_beside_temporary_tables() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE TABLE public.m AS SELECT 1 AS v; ALTER TABLE public.m OWNER TO app");
    let pgweir = two_servers(&cluster);
    let mut client = pgweir.client();
    for (begin, end) in [
        ("BEGIN; CREATE TABLE w ()", "DROP TABLE w; COMMIT"),
        ("BEGIN; DO $$BEGIN PERFORM 1; END$$", "COMMIT"),
        ("BEGIN; CREATE TEMP TABLE w () ON COMMIT DROP", "COMMIT"),
        ("CREATE TEMP TABLE w ()", "DROP TABLE w"),
    ] {
        let mut migration = pgweir.client();
        (0..2).for_each(|_| drop(client.query("SELECT 1")));
        prepare_s(&mut client, "SELECT * FROM m");
        (0..2).for_each(|_| drop(run_untold(&mut client)));
        migration.query(begin);
        migration.query(&format!("ALTER TABLE m ADD x{} int", begin.len()));
        migration.query(end);
        assert_eq!(run_untold(&mut client), "0A000", "{begin}");
        for _ in 0..3 {
            client.send(&[close_statement("s"), sync()].concat());
            client.read_until_ready();
            prepare_s(&mut client, "SELECT * FROM m");
            assert_ne!(run_untold(&mut client), "0A000", "{begin}");
        }
        client.send(&[close_statement("s"), sync()].concat());
        client.read_until_ready();
        migration.terminate();
    }
}

/// Another search_path may find other tables: that is the affair of who has set it, for as long as it is set.
#[test]
fn a_search_path_breaks_no_statement_of_others() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql(
        "app",
        "CREATE SCHEMA t1; CREATE TABLE t1.s AS SELECT 1 AS x; CREATE SCHEMA t2; CREATE TABLE t2.s AS SELECT 'two'::text AS x;
         GRANT USAGE ON SCHEMA t1, t2 TO PUBLIC; GRANT SELECT ON t1.s, t2.s TO PUBLIC",
    );
    let pgweir = two_servers(&cluster);
    let (mut client, mut other) = (pgweir.client(), pgweir.client());
    for client in [&mut client, &mut other] {
        client.query("SET search_path = t1");
        prepare_s(client, "SELECT * FROM s");
        (0..2).for_each(|_| assert_eq!(run_untold(client), "1"));
    }
    for (there, back) in [
        ("SET search_path = t2", "SET search_path = t1"),
        ("BEGIN; SET search_path = t2", "ROLLBACK"),
        ("BEGIN; SET LOCAL search_path = t2", "ROLLBACK"),
        ("CREATE TEMP TABLE s AS SELECT 'mine'::text AS y", "DROP TABLE pg_temp.s"),
    ] {
        client.query(there);
        assert_eq!(run_untold(&mut client), "0A000", "{there}");
        (0..3).for_each(|_| assert_eq!(run_untold(&mut other), "1", "{there}"));
        client.query(back);
        (0..3).for_each(|_| assert_eq!(run_untold(&mut client), "1", "{back}"));
    }
}
