//! Real drivers doing real work: straight to PostgreSQL, which proves the script, then through pgweir in transaction
//! and in session mode, with fewer servers than the script has connections.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::cluster::{self, Cluster, test_tools};
use support::pgweir::{Config, Pgweir};
use support::raw::{Address, Target};

/// Below the twelve connections the scripts use at a time.
const SERVERS: i64 = 5;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(name)
}

/// A program of `tests/tools/install`, or what to do.
fn tool(path: &str, part: &str) -> PathBuf {
    let path = test_tools().join(path);
    assert!(path.exists(), "{} is not there; run tests/tools/install {part}", path.display());
    path
}

/// Runs a command against each way to PostgreSQL. `session` servers are held as long as a connection lives, so there
/// the pool is as large as the script needs.
fn everywhere(command: impl Fn(&Target) -> Command) {
    let cluster = Cluster::shared();
    cluster::run(command(&cluster.target("app", "app")).stdin(Stdio::null()));
    for (mode, servers) in [("transaction", SERVERS), ("session", 16)] {
        let pgweir =
            Pgweir::start(&Config::new(cluster).set("pool_mode", mode).set("default_pool_size", servers));
        cluster::run(command(&pgweir.target("app", "app")).stdin(Stdio::null()));
        assert_eq!(pgweir.metric("pgweir_pool_clients", &["state=\"waiting\""]), 0.0);
    }
}

fn python(name: &str) {
    everywhere(|target| {
        let mut command = Command::new(tool("venv/bin/python", "python"));
        command.arg(script(name)).arg(target.url());
        command
    });
}

#[test]
fn psycopg2() {
    python("psycopg2_work.py");
}

#[test]
fn psycopg3() {
    python("psycopg3_work.py");
}

#[test]
fn asyncpg() {
    python("asyncpg_work.py");
}

#[test]
fn sqlalchemy() {
    python("sqlalchemy_work.py");
}

#[test]
fn node_postgres() {
    everywhere(|target| {
        let mut command = Command::new("node");
        command
            .env("NODE_PATH", tool("node/node_modules", "node"))
            .arg(script("pg_work.js"))
            .arg(target.url());
        command
    });
}

#[test]
fn pgjdbc() {
    everywhere(|target| {
        let Address::Tcp(address) = &target.address else { panic!("TCP only") };
        let mut command = Command::new("java");
        command.arg("-cp").arg(tool("pgjdbc.jar", "java")).arg(script("PgjdbcWork.java"));
        command.arg(format!("jdbc:postgresql://{address}/{}", target.database));
        command.args([&target.user, &target.password]);
        command
    });
}

/// psql prints the same through pgweir as it does straight.
#[test]
fn psql() {
    let cluster = Cluster::shared();
    let commands = r"
\set ON_ERROR_STOP 1
CREATE TABLE IF NOT EXISTS psql_t (id int PRIMARY KEY, word text); TRUNCATE psql_t; INSERT INTO psql_t VALUES (1, 'one');
\d psql_t
\dt psql_t
\df+ textlen
\copy psql_t FROM PROGRAM 'printf ''2\ttwo\n3\tthree\n'''
\copy psql_t TO STDOUT
SELECT 1 \; SELECT 2 \; SELECT 3;
BEGIN; SELECT count(*) FROM psql_t; ROLLBACK;
\set FETCH_COUNT 100
SELECT n FROM generate_series(1, 1000) n;
DROP TABLE psql_t;
";
    let psql = |target: &Target| {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), commands).expect("writable");
        let mut command = Command::new("psql");
        command.arg("-X").arg(target.url()).arg("-f").arg(file.path()).env("PAGER", "cat");
        cluster::run(&mut command).replace(&file.path().display().to_string(), "FILE")
    };
    let expected = psql(&cluster.target("app", "app"));
    assert!(expected.contains("three"), "{expected}");
    for mode in ["transaction", "session"] {
        let pgweir = Pgweir::start(&Config::new(cluster).set("pool_mode", mode).set("default_pool_size", 1));
        assert_eq!(psql(&pgweir.target("app", "app")), expected, "{mode}");
    }
}

/// pgbench in each query mode: nothing fails, and the balances add up.
#[test]
fn pgbench() {
    let cluster = Cluster::shared();
    cluster.create_database("bench");
    let program = cluster.bin().join("pgbench");
    let program = if program.exists() { program } else { PathBuf::from("pgbench") };
    let pgbench = |target: &Target, arguments: &[&str]| {
        let Address::Tcp(address) = &target.address else { panic!("TCP only") };
        let mut command = Command::new(&program);
        command.args([
            "-h",
            &address.ip().to_string(),
            "-p",
            &address.port().to_string(),
            "-U",
            &target.user,
        ]);
        command.env("PGPASSWORD", &target.password).args(arguments).arg("bench");
        cluster::run(&mut command)
    };
    let straight = cluster.target("app", "bench");
    pgbench(&straight, &["-i", "-q", "-s", "1"]);
    let config = Config::new(cluster).database("bench", cluster.address()).set("default_pool_size", SERVERS);
    let pgweir = Pgweir::start(&config);
    let mut expected = 0;
    // A thread each: pgbench prepares with blocking calls, and so would itself keep back the clients that hold the
    // servers others of its thread wait for.
    for mode in ["simple", "extended", "prepared"] {
        for (script, clients) in [("select-only", "30"), ("tpcb-like", "30")] {
            let out = pgbench(
                &pgweir.target("app", "bench"),
                &["-n", "-b", script, "-M", mode, "-c", clients, "-j", clients, "-t", "20"],
            );
            assert!(
                out.contains("number of transactions actually processed: 600/600"),
                "{mode} {script}: {out}"
            );
            expected += if script == "tpcb-like" { 600 } else { 0 };
        }
    }
    let sums = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history) \
                AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(tbalance) FROM pgbench_tellers)";
    assert_eq!(cluster.value("bench", sums), "t");
    assert_eq!(cluster.value("bench", "SELECT count(*) FROM pgbench_history"), expected.to_string());
}
