//! Passwords looked up in PostgreSQL by auth_query: who gets in, what keeps others out, and what it costs.

mod support;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use support::certificates::{Certificates, Kind};
use support::cluster::Cluster;
use support::directory::Directory;
use support::eventually;
use support::fake_server::FakeServer;
use support::messages::{self, Message};
use support::pgweir::{Config, Pgweir};
use support::raw::{Client, V3_0};

/// Nobody is listed; `postgres`, whom PostgreSQL trusts, asks.
fn config(cluster: &Cluster) -> Config {
    let users = ["app", "md5user", "plainuser", "trusty"];
    let none =
        users.iter().fold(Config::new(cluster), |config, user| config.without(&format!("users.{user}")));
    none.set("auth_user", "postgres").set("server_connect_timeout", 5)
}

/// A function that leaves a row for each question, and one user of each kind of secret.
fn counting(cluster: &Cluster, function: &str) -> String {
    cluster.sql(
        "app",
        &format!(
            "CREATE TABLE asked_{function} (who text);
         CREATE FUNCTION {function}(who text, OUT text, OUT text) LANGUAGE sql SECURITY DEFINER AS $$
           INSERT INTO asked_{function} VALUES (who);
           SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = who AND rolcanlogin $$"
        ),
    );
    format!("SELECT * FROM {function}($1)")
}

fn asked(cluster: &Cluster, function: &str) -> usize {
    cluster.value("app", &format!("SELECT count(*) FROM asked_{function}")).parse().expect("a count")
}

#[track_caller]
fn refusal(pgweir: &Pgweir, user: &str, password: &str, database: &str) -> Message {
    let target = pgweir.target(user, database).password(password);
    Client::try_connect(&target).map(|_| ()).expect_err("it must be refused").error()
}

fn may_log_in(pgweir: &Pgweir, user: &str, password: &str) -> bool {
    let target = pgweir.target(user, "app").password(password);
    Client::try_connect(&target).is_ok_and(|mut client| client.value("SELECT current_user") == user)
}

/// Each kind of secret gets its user in, and on to PostgreSQL.
#[test]
fn secrets_of_postgresql() {
    let cluster = Cluster::shared();
    for (method, users) in [
        ("scram-sha-256", &["app"][..]),
        ("md5", &["app", "md5user", "trusty"]),
        ("plain", &["app", "md5user", "plainuser"]),
        ("trust", &["trusty"]),
    ] {
        let pgweir = Pgweir::start(&config(cluster).set("auth_type", method));
        for user in users {
            assert!(
                may_log_in(&pgweir, user, &format!("secret-{user}")),
                "{method}: {user}\n{}",
                pgweir.log()
            );
            assert_eq!(pgweir.client_of(user).value("SELECT 1"), "1", "the answer is remembered");
            let wrong = (method != "trust").then(|| refusal(&pgweir, user, "wrong", "app").sqlstate());
            assert!(wrong.is_none_or(|code| code == "28P01"), "{method}: {user}");
        }
    }
}

trait ClientOf {
    fn client_of(&self, user: &str) -> Client;
}

impl ClientOf for Pgweir {
    fn client_of(&self, user: &str) -> Client {
        Client::connect(&self.target(user, "app"))
    }
}

/// CVE-2025-2291, and all others who may not log in: in the same words as for a wrong password.
#[test]
fn who_must_not_get_in() {
    let cluster = Cluster::shared();
    cluster.sql("postgres", "CREATE ROLE expired LOGIN PASSWORD 'secret-expired' VALID UNTIL '2020-01-01'");
    cluster.sql("postgres", "CREATE ROLE empty LOGIN");
    cluster.sql("postgres", "CREATE ROLE nologin PASSWORD 'secret-nologin'");
    for method in ["scram-sha-256", "md5", "plain"] {
        let pgweir = Pgweir::start(&config(cluster).set("auth_type", method).set("auth_dbname", "app"));
        let known = refusal(&pgweir, "app", "wrong", "app").to_string();
        for user in ["expired", "empty", "nologin", "nobody", "o'; DROP TABLE x; --"] {
            let other = refusal(&pgweir, user, &format!("secret-{user}"), "app");
            assert_eq!(other.to_string().replace(user, "app"), known, "{method}: {user}");
        }
        let other = refusal(&pgweir, "app", "wrong", "missing").to_string();
        assert_eq!(other, known, "{method}: a database that doesn't exist");
        assert_eq!(refusal(&pgweir, "app", "secret-app", "missing").sqlstate(), "3D000");
    }
}

/// Which databases there are, the console among them, isn't told by what is asked.
#[test]
fn what_is_asked_does_not_tell_databases_apart() {
    let cluster = Cluster::shared();
    for (method, known) in [("md5", "app"), ("md5", "md5user"), ("scram-sha-256", "app")] {
        let pgweir = Pgweir::start(&config(cluster).set("auth_type", method));
        let asked = |user: &str, database: &str| {
            let mut client = Client::open(&pgweir.target(user, database).address).expect("a connection");
            client.send(&messages::startup(V3_0, &[("user", user), ("database", database)]));
            client.read().body[..4].to_vec()
        };
        let expected = asked(known, "app");
        for (user, database) in
            [("nobody", "app"), (known, "missing"), ("nobody", "missing"), ("nobody", "pgweir")]
        {
            assert_eq!(asked(user, database), expected, "{method}: {user} in {database}");
        }
    }
}

/// CVE-2015-6817: nobody gets in when there is no answer.
#[test]
fn no_answer_lets_nobody_in() {
    let cluster = Cluster::shared();
    let nowhere: SocketAddr = ([127, 0, 0, 1], support::process::free_port()).into();
    let base = config(cluster).database("nowhere", nowhere).set("server_connect_timeout", 1);
    for (method, key, value, code, words) in [
        ("scram-sha-256", "auth_query", "SELECT nonsense($1)", "F0000", "bouncer config error"),
        ("plain", "auth_query", "SELECT $1::text", "F0000", "bouncer config error"),
        ("trust", "auth_query", "SELECT 'other', $1::text", "F0000", "bouncer config error"),
        ("trust", "auth_dbname", "nowhere", "08001", "the server that keeps the passwords cannot be asked"),
    ] {
        let pgweir = Pgweir::start(&base.clone().set("auth_type", method).set(key, value));
        let error = refusal(&pgweir, "app", "secret-app", "app");
        let told = (error.sqlstate(), error.field(b'M').unwrap_or_default());
        assert_eq!(told, (code.to_owned(), words.to_owned()), "{method} {value}\n{}", pgweir.log());
        assert_eq!(error.field(b'S').as_deref(), Some("FATAL"));
    }
}

/// Who asks for databases that don't exist leaves none of auth_user's pools behind.
#[test]
fn invented_databases_are_forgotten() {
    let cluster = Cluster::shared();
    let pgweir = Pgweir::start(&config(cluster).database("\"*\"", cluster.address()));
    for name in ["invented1", "invented2"] {
        assert_eq!(refusal(&pgweir, "app", "secret-app", name).sqlstate(), "28P01");
    }
    assert!(!pgweir.http("/metrics").1.contains("invented"));
}

/// A lookup that is given up doesn't end those of others in a database that nobody knows yet.
#[test]
fn who_has_gone_takes_no_pool_along() {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().expect("nobody else");
    let opened = Arc::clone(&gate);
    let server = FakeServer::start(move |conn| {
        drop(opened.lock());
        conn.welcome()?;
        conn.serve()
    });
    let base = Config::to(server.address()).database("\"*\"", server.address()).set("auth_type", "plain");
    let pgweir = Pgweir::start(&base.set("auth_user", "asker").set("server_connect_timeout", 20));
    let come = |user: &str| {
        let mut client = Client::open(&pgweir.target("app", "fresh").address).expect("a connection");
        client.send(&messages::startup(V3_0, &[("user", user), ("database", "fresh")]));
        client
    };
    let mut others: Vec<_> = (0..3).map(|n| come(&format!("other{n}"))).collect();
    eventually("all places of names not known are taken", || {
        pgweir.metric("pgweir_pool_clients", &["state=\"waiting\"", "user=\"asker\""]) == 3.0
    });
    drop((0..20).map(|n| come(&format!("ghost{n}"))).collect::<Vec<_>>());
    assert!(!pgweir.http("/metrics").1.is_empty());
    drop(closed);
    for other in &mut others {
        assert_eq!(other.read().tag, b'R', "a password is asked for\n{}", pgweir.log());
    }
}

/// Clients that have gone before their turn are not asked for.
#[test]
fn who_has_gone_is_not_asked_for() {
    let cluster = Cluster::shared();
    cluster.sql(
        "app",
        "CREATE TABLE asked_slowly (who text);
         CREATE FUNCTION slowly(who text, OUT text, OUT text) LANGUAGE sql SECURITY DEFINER AS $$
           INSERT INTO asked_slowly VALUES (who);
           SELECT pg_sleep(0.5) WHERE who LIKE 'ghost%';
           SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = who $$",
    );
    let pgweir = Pgweir::start(&config(cluster).set("auth_query", "SELECT * FROM slowly($1)"));
    let ghosts = (0..60).map(|n| {
        let mut ghost = Client::open(&pgweir.target("app", "app").address).expect("a connection");
        ghost.send(&messages::startup(V3_0, &[("user", &format!("ghost{n}")), ("database", "app")]));
        ghost
    });
    drop(ghosts.collect::<Vec<_>>());
    assert!(may_log_in(&pgweir, "app", "secret-app"));
    let asked = asked(cluster, "slowly");
    assert!(asked < 30, "{asked}");
}

/// A crowd of logins is one question, and so are wrong passwords as long as they come within a second.
#[test]
fn few_questions() {
    let cluster = Cluster::shared();
    let query = counting(cluster, "few");
    let config = config(cluster).set("auth_query", query.as_str()).set("failed_login_delay", 0);
    let pgweir = Pgweir::start(&config);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert!(may_log_in(&pgweir, "app", "secret-app")));
        }
    });
    assert_eq!(asked(cluster, "few"), 1);
    let begun = std::time::Instant::now();
    for n in 0..40 {
        let user = if n % 2 == 0 { "app" } else { "nobody" };
        assert_eq!(refusal(&pgweir, user, "wrong", "app").sqlstate(), "28P01");
    }
    let most = 1 + 2 * (1 + begun.elapsed().as_secs() as usize);
    assert!(asked(cluster, "few") <= most, "{} questions, {most} allowed", asked(cluster, "few"));
}

/// A new password counts as soon as somebody tries it, long before the old answer is out of date.
#[test]
fn a_changed_password() {
    let cluster = Cluster::shared();
    cluster.sql(
        "postgres",
        "CREATE ROLE changing LOGIN PASSWORD 'first'; GRANT ALL ON SCHEMA public TO changing",
    );
    cluster.hba("host all changing 127.0.0.1/32 scram-sha-256");
    for (method, first, second) in [("plain", "first", "second"), ("scram-sha-256", "second", "third")] {
        let long = config(cluster).set("auth_query_cache", 3600).set("auth_type", method);
        let pgweir = Pgweir::start(&long.set("server_lifetime", 0));
        eventually("PostgreSQL has read its rules", || may_log_in(&pgweir, "changing", first));
        cluster.sql("postgres", &format!("ALTER ROLE changing PASSWORD '{second}'"));
        eventually("the new password counts", || may_log_in(&pgweir, "changing", second));
        eventually("the old password doesn't", || !may_log_in(&pgweir, "changing", first));
        assert!(may_log_in(&pgweir, "changing", second));
    }
}

/// However long answers may be used: VALID UNTIL comes first.
#[test]
fn no_answer_is_used_beyond_valid_until() {
    let cluster = Cluster::shared();
    cluster.sql(
        "postgres",
        "CREATE ROLE expiring LOGIN PASSWORD 'secret-expiring' VALID UNTIL 'infinity'; GRANT ALL ON SCHEMA public TO expiring",
    );
    cluster.hba("host all expiring 127.0.0.1/32 scram-sha-256");
    let long = config(cluster).set("auth_query_cache", 3600).set("server_idle_timeout", 0);
    {
        let pgweir = Pgweir::start(&long);
        eventually("PostgreSQL has read its rules", || may_log_in(&pgweir, "expiring", "secret-expiring"));
        assert!(may_log_in(&pgweir, "expiring", "secret-expiring"), "it has no end");
    }
    let pgweir = Pgweir::start(&long);
    let until = cluster.value("postgres", "SELECT now() + '3 seconds'");
    cluster.sql("postgres", &format!("ALTER ROLE expiring VALID UNTIL '{until}'"));
    assert!(may_log_in(&pgweir, "expiring", "secret-expiring"), "it is remembered");
    eventually("it has expired", || !may_log_in(&pgweir, "expiring", "secret-expiring"));
    assert_eq!(cluster.value("postgres", &format!("SELECT now() >= '{until}'")), "t");
    assert_eq!(refusal(&pgweir, "expiring", "secret-expiring", "app").sqlstate(), "28P01");
}

/// A third column that says no time may mean one.
#[test]
fn what_says_no_time_lets_nobody_in() {
    let cluster = Cluster::shared();
    for (column, may) in [
        ("'NaN'::float8", false),
        ("NULL::text", true),
        ("'infinity'::timestamptz", true),
        ("'-infinity'::timestamptz", false),
        ("now() + '1 day'", false),
        ("rolsuper", false),
    ] {
        let query = format!("SELECT rolname, rolpassword, {column} FROM pg_authid WHERE rolname = $1");
        let pgweir = Pgweir::start(&config(cluster).set("auth_query", &*query));
        assert_eq!(may_log_in(&pgweir, "app", "secret-app"), may, "{column}\n{}", pgweir.log());
        let is_told = || pgweir.log().contains("third column is neither NULL nor a number of seconds");
        if may || column.starts_with("'-inf") {
            assert!(!is_told(), "{column}\n{}", pgweir.log());
        } else {
            eventually(&format!("{column} is told"), is_told);
        }
    }
}

/// CVE-2025-12819: nothing that a client has set is there when auth_query runs, neither what it brings along nor what a client
/// that is auth_user itself has left in the very session.
#[test]
fn sessions_of_lookups_are_clean() {
    let cluster = Cluster::shared();
    let query = "SELECT rolname, CASE current_setting('search_path') WHEN '\"$user\", public' THEN rolpassword END \
                 FROM pg_authid WHERE rolname = $1";
    for mode in ["transaction", "session"] {
        let asks =
            config(cluster).set("auth_query", query).set("pool_mode", mode).set("default_pool_size", 1);
        let pgweir =
            Pgweir::start(&asks.set("server_reset_query", "").put("users.postgres", "password", "x"));
        let mut evil = Client::connect(&pgweir.target("postgres", "app").password("x"));
        evil.query("SET search_path = evil");
        evil.query("CREATE TEMP TABLE pg_authid (rolname text, rolpassword text)");
        evil.query("DROP TABLE pg_temp.pg_authid");
        evil.terminate();
        let path = pgweir.target("app", "app").parameter("search_path", "evil");
        let mut client = Client::connect(&path);
        assert_eq!(client.value("SHOW search_path"), "evil");
    }
}

/// Who owns a database says in which order names are looked for there; nothing of his runs as auth_user for that.
#[test]
fn nothing_of_a_database_s_owner_runs_as_auth_user() {
    let cluster = Cluster::shared();
    let name = "mallory_s";
    cluster.sql("postgres", "CREATE ROLE mallory");
    cluster.sql("postgres", "CREATE DATABASE mallory_s OWNER mallory");
    let mut own = String::from("SET ROLE mallory; CREATE SCHEMA evil;");
    for (function, operator, of) in
        [("eq", "=", "name"), ("eqt", "=", "text"), ("lt", "<", "timestamptz"), ("ne", "<>", "name")]
    {
        own += &format!(
            "CREATE FUNCTION evil.{function}({of}, {of}) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
               IF current_user OPERATOR(pg_catalog.=) 'postgres' THEN ALTER ROLE mallory SUPERUSER; END IF;
               RETURN $1 OPERATOR(pg_catalog.{operator}) $2; END $$;
             CREATE OPERATOR evil.{operator} (LEFTARG = {of}, RIGHTARG = {of}, FUNCTION = evil.{function});"
        );
    }
    cluster.sql(name, &own);
    cluster.sql(name, "ALTER DATABASE mallory_s SET search_path = evil, pg_catalog");
    let pgweir = Pgweir::start(&config(cluster).database(name, cluster.address()));
    assert_eq!(refusal(&pgweir, "app", "a guess", name).sqlstate(), "28P01", "{}", pgweir.log());
    let mut client = Client::connect(&pgweir.target("app", name));
    assert_eq!(client.value("SELECT current_user"), "app");
    assert_eq!(cluster.value("postgres", "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'"), "f");
}

/// The function that the manual has looks up, and gives who may call it no more than that.
#[test]
fn the_manual_s_function() {
    let cluster = Cluster::shared();
    let manual = include_str!("../docs/authentication.md");
    let sql = manual.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).expect("its SQL");
    cluster.create_database("manual");
    cluster.sql("manual", sql);
    cluster.hba("host all pgweir 127.0.0.1/32 trust");
    let query = manual.split("auth_query = \"").nth(1).and_then(|rest| rest.split('"').next());
    let asks = config(cluster).set("auth_user", "pgweir").put("users.pgweir", "password", "secret");
    let asks = asks.set("auth_dbname", "manual").set("auth_query", query.expect("its query"));
    let pgweir = Pgweir::start(&asks.database("manual", cluster.address()));
    eventually("PostgreSQL has read its rules", || may_log_in(&pgweir, "app", "secret-app"));
    assert_eq!(refusal(&pgweir, "postgres", "secret", "app").sqlstate(), "28P01", "superusers are left out");

    let mut evil = Client::connect(&cluster.target("pgweir", "manual"));
    evil.query(
        "CREATE FUNCTION pg_temp.f() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
           IF current_user = 'postgres' THEN ALTER ROLE pgweir SUPERUSER; END IF; RETURN true; END $$;
         CREATE TEMP VIEW pg_authid AS SELECT 'x'::name AS rolname, NULL::timestamptz AS rolvaliduntil,
           'x'::text AS rolpassword, pg_temp.f() AS rolcanlogin, false AS rolsuper;
         SELECT * FROM public.user_lookup('x')",
    );
    assert_eq!(cluster.value("postgres", "SELECT rolsuper FROM pg_roles WHERE rolname = 'pgweir'"), "f");
}

/// Who owns a database answers as he likes where the lookup asks in it; that lets nobody have servers that others' proofs opened.
#[test]
fn a_looked_up_secret_has_to_be_postgresql_s() {
    let cluster = Cluster::shared();
    cluster.sql("postgres", "CREATE ROLE alice LOGIN PASSWORD 'alice'; CREATE ROLE asker LOGIN");
    cluster.hba("host all asker 127.0.0.1/32 trust");
    cluster.hba("host all alice 127.0.0.1/32 scram-sha-256");
    cluster.create_database("tenant");
    let truth =
        "CREATE OR REPLACE FUNCTION lookup(name text, OUT text, OUT text) LANGUAGE sql SECURITY DEFINER AS
         $$ SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = $1 $$";
    let hers = cluster.value("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'alice'");
    let (_, secret) = tool(&["hash", "--like", &hers], "mallory");
    let lie = truth.replace(
        "SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = $1",
        &format!("SELECT $1, '{}'::text", secret.trim()),
    );
    for (mode, caps) in [("transaction", 0), ("session", 0), ("transaction", 1)] {
        cluster.sql("tenant", truth);
        let asks = config(cluster).database("tenant", cluster.address()).set("auth_user", "asker");
        let asks = asks.set("auth_query", "SELECT * FROM lookup($1)").set("auth_query_cache", 0);
        let pgweir = Pgweir::start(&asks.set("pool_mode", mode).set("max_db_connections", caps));
        let come = |password: &str| {
            Client::try_connect(&pgweir.target("alice", "tenant").password(password))
                .map_err(|refusal| refusal.error().sqlstate())
        };
        eventually("PostgreSQL has read its rules", || come("alice").is_ok());
        cluster.sql("tenant", &lie);
        for _ in 0..2 {
            assert_eq!(come("mallory").err().as_deref(), Some("28P01"), "{mode}\n{}", pgweir.log());
        }
        cluster.sql("tenant", truth);
        assert_eq!(come("alice").expect("her own").value("SELECT current_user"), "alice", "{}", pgweir.log());
        // Hers by now: PostgreSQL takes it, and the one from before no more.
        cluster.sql("postgres", "ALTER ROLE alice PASSWORD 'changed'");
        let crowd: Vec<_> = std::thread::scope(|scope| {
            let crowd: Vec<_> =
                (0..8).map(|_| scope.spawn(|| come("changed").map(Client::terminate))).collect();
            crowd.into_iter().map(|one| one.join().expect("no panic")).collect()
        });
        assert!(crowd.iter().all(Result::is_ok), "{mode} {crowd:?}\n{}", pgweir.log());
        cluster.sql("postgres", &format!("ALTER ROLE alice PASSWORD '{hers}'"));
    }
}

/// Lookups are under the caps that all servers of the database are under, and wait in line for them.
#[test]
fn lookups_count() {
    let cluster = Cluster::shared();
    let pgweir = Pgweir::start(&config(cluster).set("max_db_connections", 1));
    let mut client = Client::connect(&pgweir.target("app", "app"));
    client.query("BEGIN");
    let late = std::thread::scope(|scope| {
        let late = scope.spawn(|| may_log_in(&pgweir, "trusty", "secret-trusty"));
        let waits = "pgweir_pool_clients";
        eventually("the lookup waits", || {
            pgweir.metric(waits, &["state=\"waiting\"", "user=\"postgres\""]) == 1.0
        });
        client.query("COMMIT");
        late.join().expect("no panic")
    });
    assert!(late, "{}", pgweir.log());
}

#[test]
fn the_console_and_a_database_of_its_own() {
    let cluster = Cluster::shared();
    let both = config(cluster).set("auth_user", "").put("databases.app", "auth_user", "postgres");
    let pgweir = Pgweir::start(&both.clone().set("admin_users", "app"));
    assert!(may_log_in(&pgweir, "app", "secret-app"));
    assert_eq!(refusal(&pgweir, "app", "secret-app", "other").sqlstate(), "28P01");
    assert_eq!(refusal(&pgweir, "app", "secret-app", "pgweir").sqlstate(), "28P01");
    drop(pgweir);
    let all = both.set("auth_user", "postgres").set("auth_dbname", "other").set("admin_users", "app");
    let pgweir = Pgweir::start(&all);
    let mut console = Client::connect(&pgweir.target("app", "pgweir"));
    assert!(!console.rows("SHOW VERSION").expect("rows").is_empty());
}

/// Both passwords are good for clients, and whichever PostgreSQL has is found for the servers.
#[test]
fn two_passwords() {
    let cluster = Cluster::shared();
    let made = |password: &str| {
        cluster.sql("postgres", &format!("CREATE ROLE made PASSWORD '{password}'"));
        let secret = cluster.value("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'made'");
        cluster.sql("postgres", "DROP ROLE made");
        secret
    };
    let scram = made("next");
    for (method, first, second) in [
        ("scram-sha-256", "secret-app", "next"),
        ("scram-sha-256", "next", "secret-app"),
        ("scram-sha-256", "secret-app", scram.as_str()),
        ("md5", "next", "secret-app"),
        ("plain", "next", "secret-app"),
    ] {
        let both = Config::new(cluster).put("users.app", "password", first).set("auth_type", method);
        let pgweir =
            Pgweir::start(&both.put("users.app", "second_password", second).set("server_lifetime", 0));
        for password in ["secret-app", "next"] {
            assert!(may_log_in(&pgweir, "app", password), "{method} {first} {second}: {password}");
        }
        assert_eq!(refusal(&pgweir, "app", "other", "app").sqlstate(), "28P01");
    }
}

/// With two SCRAM secrets only clients' keys get to PostgreSQL: whoever comes last with the one that it doesn't have keeps nobody out.
#[test]
fn two_scram_secrets() {
    let cluster = Cluster::shared();
    let (_, old) = tool(&["hash"], "old");
    let (_, new) = tool(&["hash", "--like", old.trim()], "new");
    cluster.sql("postgres", &format!("CREATE ROLE rotating LOGIN PASSWORD '{}'", old.trim()));
    cluster.hba("host all rotating 127.0.0.1/32 scram-sha-256");
    let listed = Config::new(cluster).put("users.rotating", "password", old.trim());
    let pgweir =
        Pgweir::start(&listed.put("users.rotating", "second_password", new.trim()).set("server_lifetime", 0));
    let come = |password: &str| {
        let target = pgweir.target("rotating", "app").password(password);
        Client::try_connect(&target).unwrap_or_else(|error| panic!("{password}: {error}\n{}", pgweir.log()))
    };
    eventually("PostgreSQL has read its rules", || may_log_in(&pgweir, "rotating", "old"));
    let mut clients = [come("old"), come("new"), come("old"), come("new")];
    for change in [None, Some(&new), Some(&old)] {
        change.into_iter().for_each(|secret| {
            cluster.sql("postgres", &format!("ALTER ROLE rotating PASSWORD '{}'", secret.trim()));
        });
        clients.iter_mut().for_each(|client| assert_eq!(client.value("SELECT 1"), "1"));
        ["new", "old"].iter().for_each(|password| assert_eq!(come(password).value("SELECT 1"), "1"));
    }
}

/// Runs pgweir with a password on its standard input: whether it succeeded, and what it said.
fn tool(arguments: &[&str], password: &str) -> (bool, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pgweir"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // Who isn't asked for a password doesn't read one.
    let _ = writeln!(child.stdin.take().expect("piped"), "{password}");
    let output = child.wait_with_output().expect("our child");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("text"))
}

/// PostgreSQL takes what `pgweir hash` makes for the password's own secret.
#[test]
fn made_secrets() {
    let cluster = Cluster::shared();
    let (done, scram) = tool(&["hash", "--iterations", "5000"], "päss wörd");
    assert!(done && scram.starts_with("SCRAM-SHA-256$5000:"), "{scram}");
    cluster.sql("postgres", &format!("CREATE ROLE plainuser2 LOGIN PASSWORD '{}'", scram.trim()));
    cluster.hba("host all plainuser2 127.0.0.1/32 scram-sha-256");
    let target = cluster.target("plainuser2", "app").password("päss wörd");
    eventually("PostgreSQL lets it in", || Client::try_connect(&target).is_ok());
    let (done, md5) = tool(&["hash", "--md5", "md5user"], "secret-md5user");
    let stored = cluster.value("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'md5user'");
    assert!(done && md5.trim() == stored, "{md5}");
    assert!(!tool(&["hash"], "").0);
}

#[test]
fn each_leg_of_a_login() {
    let cluster = Cluster::shared();
    let dir = tempfile::tempdir().expect("a directory");
    let dead = SocketAddr::from(([127, 0, 0, 1], support::process::free_port()));
    let looked_up = config(cluster);
    let file = |config: &Config| {
        let path = dir.path().join("pgweir.toml");
        std::fs::write(&path, config.render()).expect("written");
        path.display().to_string()
    };
    let listed = Config::new(cluster).put("users.sectioned", "pool_size", 1);
    let two_hosts = listed.clone().put("databases.app", "host", "127.0.0.2, 127.0.0.1");
    let slow = looked_up.clone().set("auth_query", SLOW);
    let forced = listed.clone().set("auth_type", "any").put("databases.app", "user", "app");
    let required = listed.clone().set("server_require_auth", "md5");
    for (config, user, password, leg, words) in [
        (listed.clone(), "app", "secret-app", "", "server's login   ok"),
        (looked_up.clone(), "app", "secret-app", "", "by the key of the client's SCRAM login"),
        (listed.clone().set("nonsense", 1), "app", "x", "configuration", "unknown key"),
        (listed.clone(), "app", "wrong", "client's login", "wrong password"),
        (listed.clone(), "nobody", "x", "client's login", "isn't known"),
        (looked_up.set("auth_query", "SELECT nonsense"), "app", "x", "client's login", "nonsense"),
        (listed.clone().database("app", dead), "app", "secret-app", "server ", "cannot connect"),
        (
            listed.clone().put("users.app", "password", "other"),
            "app",
            "other",
            "server's login",
            "(SQLSTATE 28P01)",
        ),
        (
            listed.clone().put("databases.app", "dbname", "gone"),
            "app",
            "secret-app",
            "server's login",
            "3D000",
        ),
        (two_hosts, "app", "secret-app", "", "cannot connect to 127.0.0.2:"),
        (listed.clone().set("auth_type", "trust"), "sectioned", "", "server's login", "28000"),
        (listed.clone().set("auth_type", "trust"), "nobody", "", "client's login", "isn't known"),
        (listed.set("auth_type", "any"), "who", "", "client's login", "set user in [databases.NAME]"),
        (forced, "who", "", "", "server's login   ok"),
        (required, "app", "secret-app", "server's login", "see server_require_auth"),
        (slow, "slow", "x", "client's login", "iteration count must be a number from 1 to 1000000"),
    ] {
        let (done, said) =
            tool(&["login-test", &file(&config), "--user", user, "--database", "app"], password);
        assert_eq!(done, leg.is_empty(), "{said}");
        assert!(said.contains(words) && !said.contains("secret-app"), "{words}: {said}");
        let failed = said.lines().find(|line| line.contains("FAILED"));
        assert!(failed.is_none_or(|line| line.starts_with(leg)) && failed.is_some() != done, "{leg}: {said}");
    }
}

/// Gives everybody a secret that would take too long.
const SLOW: &str = "SELECT $1::text, 'SCRAM-SHA-256$1000001:AAAAAAAAAAAAAAAAAAAAAA==$' || repeat('A', 43) || '=:' || repeat('A', 43) || '='";

#[test]
fn a_secret_of_no_use_is_told_in_the_log() {
    let pgweir = Pgweir::start(&config(Cluster::shared()).set("auth_query", SLOW));
    assert_eq!(refusal(&pgweir, "slow", "x", "app").sqlstate(), "28P01");
    let why = "the SCRAM secret's iteration count must be a number from 1 to 1000000";
    eventually("it is told", || pgweir.log().contains(why));
}

/// By rules: the one that is for such a client, and what it asks for.
#[test]
fn a_login_by_rules() {
    let cluster = Cluster::shared();
    let certificates = Certificates::new();
    let directory = Directory::start(&certificates.issue("localhost", &Kind::of(&["localhost"])));
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let hba = format!(
        "host app app 127.0.0.1/32 scram-sha-256\nhost app app 10.0.0.0/8 reject\nlocal app app peer\n\
         host app app 192.168.0.0/16 trust\nhost app app 172.16.0.0/16 ldap ldapserver=127.0.0.1 ldapport={} ldapprefix=\"uid=\" \
         ldapsuffix=\",ou=people,dc=example\"\n",
        directory.port
    );
    std::fs::write(path("hba"), hba).expect("our directory");
    let ruled = |config: Config| config.set("auth_type", "hba").set("auth_hba_file", &*path("hba"));
    let secret = cluster.value("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'");
    let stored = Config::new(cluster).put("users.app", "password", &*secret);
    for (config, from, password, good, words) in [
        (ruled(config(cluster)), "127.0.0.1", "secret-app", true, "by the key of the client's SCRAM login"),
        (ruled(stored), "127.0.0.1", "secret-app", true, "scram-sha-256 (/"),
        (ruled(Config::new(cluster)), "127.0.0.1", "wrong", false, "wrong password: scram-sha-256 (/"),
        (
            ruled(Config::new(cluster)),
            "10.1.2.3",
            "secret-app",
            false,
            "pg_hba.conf rejects connection for host \"10.1.2.3\"",
        ),
        (ruled(Config::new(cluster)), "::1", "secret-app", false, "no pg_hba.conf entry for host \"::1\""),
        (ruled(Config::new(cluster)), "local", "", true, "asks for whom it runs as"),
        (ruled(Config::new(cluster)), "192.168.1.1", "", true, "hba:4): nothing is asked"),
        (ruled(config(cluster)), "172.16.0.1", "secret-app", true, "ldap (/"),
        (ruled(config(cluster)), "172.16.0.1", "wrong", false, "the directory doesn't take the password"),
    ] {
        std::fs::write(path("pgweir.toml"), config.render()).expect("our directory");
        let file = path("pgweir.toml");
        let arguments = ["login-test", &file, "--user", "app", "--database", "app", "--from", from];
        let (done, said) = tool(&arguments, password);
        assert_eq!((done, said.contains(words)), (good, true), "{from} {words}: {said}");
        assert!(!said.contains("secret-app"), "{said}");
    }
}

/// The console has no server: a login to it is tested as far as it goes.
#[test]
fn a_login_to_the_console() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pgweir.toml");
    let base = Config::new(Cluster::shared());
    let (admin, stats) = (base.clone().set("admin_users", "app"), base.clone().set("stats_users", "app"));
    for (config, database, password, good, words) in [
        (&admin, "pgweir", "secret-app", true, "\"pgweir\" is pgweir's console, which no server is behind"),
        (&admin, "pgbouncer", "secret-app", true, "console          ok      user \"app\" may do everything"),
        (&stats, "pgweir", "secret-app", true, "console          ok      user \"app\" may look"),
        (&admin, "pgweir", "wrong", false, "client's login   FAILED  wrong password"),
        (&base, "pgweir", "secret-app", false, "console          FAILED  user \"app\" may not enter it"),
    ] {
        std::fs::write(&path, config.render()).expect("written");
        let file = path.display().to_string();
        let (done, said) = tool(&["login-test", &file, "--user", "app", "--database", database], password);
        assert_eq!((done, said.contains(words)), (good, true), "{words}: {said}");
        assert!(!said.contains("server's login"), "{said}");
    }
}
