//! Replication through pgweir, by PostgreSQL's own tools and byte by byte.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use support::cluster::{Cluster, Version, run};
use support::pgweir::{Config, Pgweir};
use support::raw::{Client, Target};
use support::{eventually, messages};

fn cluster() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| {
        let settings = ["wal_level=logical", "max_wal_senders=8", "max_replication_slots=4"];
        let cluster = Cluster::with_settings(Version::V15, &settings);
        cluster.sql("postgres", "ALTER ROLE app REPLICATION");
        cluster.hba("host replication app 127.0.0.1/32 scram-sha-256");
        let target = cluster.target("app", "app").parameter("replication", "true");
        eventually("PostgreSQL goes by its new rules", || Client::try_connect(&target).is_ok());
        cluster
    })
}

fn config(cluster: &Cluster) -> Config {
    Config::new(cluster).database("replication", cluster.address())
}

fn tool(cluster: &Cluster, name: &str, pgweir: &Pgweir) -> Command {
    let mut command = Command::new(cluster.bin().join(name));
    let port = pgweir.port.to_string();
    command
        .args(["-h", "127.0.0.1", "-U", "app", "-p", &port, "--no-password"])
        .env("PGPASSWORD", "secret-app");
    command
}

fn walsenders(cluster: &Cluster) -> String {
    cluster.value("postgres", "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'")
}

fn lsn(cluster: &Cluster) -> String {
    cluster.value("app", "SELECT pg_current_wal_insert_lsn()")
}

fn as_text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn postgresql_s_own_tools() {
    let cluster = cluster();
    let pgweir = Pgweir::start(&config(cluster));
    let dir = tempfile::tempdir().expect("a directory");
    let backup = as_text(&dir.path().join("backup"));
    run(tool(cluster, "pg_basebackup", &pgweir).args(["-D", &backup, "-X", "stream", "--checkpoint=fast"]));
    run(Command::new(cluster.bin().join("pg_verifybackup")).arg(&backup));

    let wal = dir.path().join("wal");
    std::fs::create_dir(&wal).expect("our directory");
    let end = lsn(cluster);
    cluster.sql("app", "CREATE TABLE streamed AS SELECT generate_series(1, 1000) n");
    run(tool(cluster, "pg_receivewal", &pgweir).args(["-D", &as_text(&wal), "--no-loop", "--endpos", &end]));
    assert!(std::fs::read_dir(&wal).expect("our directory").count() > 0);

    let logical = || {
        let mut command = tool(cluster, "pg_recvlogical", &pgweir);
        command.args(["-d", "app", "--slot", "decoded"]);
        command
    };
    run(logical().args(["--create-slot", "-P", "test_decoding"]));
    cluster.sql("app", "INSERT INTO streamed VALUES (4711)");
    let end = lsn(cluster);
    cluster.sql("app", "INSERT INTO streamed VALUES (4712)");
    let decoded = run(logical().args(["--start", "-f", "-", "--no-loop", "--endpos", &end]));
    assert!(decoded.contains("table public.streamed: INSERT: n[integer]:4711"), "{decoded}");
    run(logical().arg("--drop-slot"));
    eventually("PostgreSQL is left alone", || walsenders(cluster) == "0");
}

fn logical(pgweir: &Pgweir) -> Target {
    pgweir.target("app", "app").parameter("replication", "database")
}

/// It has a connection of its own, with its own parameters, and is known and sent away as any client.
#[test]
fn a_client_as_others() {
    let cluster = cluster();
    let pgweir = Pgweir::start(&config(cluster).set("admin_users", "app").set("default_pool_size", 1));
    let mut client = Client::connect(
        &logical(&pgweir).parameter("search_path", "mine").parameter("application_name", "copier"),
    );
    assert_eq!(client.value("SHOW search_path"), "mine");
    let system = client.rows("IDENTIFY_SYSTEM").expect("a row");
    assert_eq!(system[0][3].as_deref(), Some("app"));
    let mut other = pgweir.client();
    assert_eq!(other.value("SELECT 1"), "1", "it takes no server of the pool");

    client.send(&messages::query("SELECT pg_sleep(60)"));
    eventually("it runs", || {
        cluster.value("postgres", "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep'")
            == "1"
    });
    client.cancel();
    let reply = client.read_until_ready();
    assert!(reply.iter().any(|m| m.tag == b'E' && m.sqlstate() == "57014"), "{reply:?}");

    let mut console = Client::connect(&pgweir.target("app", "pgweir"));
    let clients = console.rows("SHOW CLIENTS").expect("rows");
    let shown = |kind: &str| clients.iter().filter(|row| row[3].as_deref() == Some(kind)).count();
    assert_eq!((shown("logical"), shown("none")), (1, 2), "{clients:?}");

    let servers = console.rows("SELECT link, remote_pid FROM servers WHERE application_name = 'copier'");
    let servers = servers.expect("rows");
    let walsender =
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender' AND application_name = 'copier'";
    let pid = cluster.value("postgres", walsender);
    assert_eq!(servers.len(), 1, "{servers:?}");
    assert_eq!(servers[0][1].as_deref(), Some(&*pid), "{servers:?}");
    assert!(servers[0][0].as_deref().is_some_and(|link| link.starts_with('C')), "{servers:?}");

    pgweir.stop();
    let last = client.read_to_end();
    assert!(last.iter().any(|m| m.tag == b'E' && m.sqlstate() == "57P01"), "{last:?}");
}

#[test]
fn who_gets_none() {
    let cluster = cluster();
    let pgweir = Pgweir::start(&config(cluster).put("databases.app", "max_db_connections", 2));
    let first = Client::connect(&logical(&pgweir));
    let refused =
        |target: &Target| Client::try_connect(target).map(|_| ()).expect_err("it must be refused").error();
    let full = refused(&logical(&pgweir));
    assert_eq!(full.sqlstate(), "53300", "one place is the pool's: {full}");
    assert_eq!(pgweir.client().value("SELECT 1"), "1");
    drop(first);
    eventually("its place is free", || Client::try_connect(&logical(&pgweir)).is_ok());
    assert_eq!(refused(&logical(&pgweir).password("wrong")).sqlstate(), "28P01");
    assert_eq!(refused(&pgweir.target("app", "app").parameter("replication", "maybe")).sqlstate(), "22023");
    let trusty = pgweir.target("trusty", "app").parameter("replication", "true");
    assert_eq!(refused(&trusty).sqlstate(), "28000", "PostgreSQL's own word");
    for other in ["user=postgres", "database=postgres", "replication=true"] {
        let smuggled = logical(&pgweir).parameter("options", &format!("-c {other}"));
        assert_eq!(refused(&smuggled).sqlstate(), "42704", "{other}");
    }
    let console = pgweir.target("app", "pgweir").parameter("replication", "true");
    assert!(Client::try_connect(&console).is_err());
}

/// No timeout of queries or transactions is about a connection that is meant to last.
#[test]
fn timeouts_leave_replication_alone() {
    let cluster = cluster();
    let own = config(cluster).set("query_timeout", "100ms").set("transaction_timeout", "100ms");
    let pgweir = Pgweir::start(&own);
    let mut client = Client::connect(&pgweir.target("app", "app").parameter("replication", "true"));
    client.query("IDENTIFY_SYSTEM");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(client.query("IDENTIFY_SYSTEM").last().map(ToString::to_string).as_deref(), Some("Z I"));
}
