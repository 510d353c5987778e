//! The relay against PostgreSQL as the oracle: the same bytes straight and through pgweir, in both pool modes, give the
//! same replies, message by message.

mod malformed;
mod pipelines;
#[path = "../support/mod.rs"]
mod support;

use malformed::malformed;
use pipelines::{copies, extended, others, portals, simple, statements};
use support::cluster::{Cluster, Version};
use support::eventually;
use support::messages::{bind, copy_data, copy_fail, execute, message, parse, query, sync};
use support::oracle::{self, Pipeline};
use support::pgweir::{Config, Pgweir};
use support::raw::{Client, Target};

/// What each mode promises. Session mode first: it has less to get wrong, so its failure is told first.
fn compare_all(pipelines: Vec<Pipeline>) {
    let cluster = Cluster::start(Version::V15);
    let straight = cluster.target("app", "app");
    let mut problems = Vec::new();
    for mode in ["session", "transaction"] {
        let pgweir = Pgweir::start(&Config::new(&cluster).set("pool_mode", mode).set("default_pool_size", 1));
        let pooled = pgweir.target("app", "app");
        for pipeline in &pipelines {
            let one =
                std::panic::AssertUnwindSafe(|| oracle::compare(&cluster, &straight, &pooled, pipeline));
            if let Err(panic) = std::panic::catch_unwind(one) {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                problems.push(format!("[{mode}] {}: {text}", pipeline.name));
            }
        }
    }
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), 2 * pipelines.len(), problems.join("\n\n"));
}

#[test]
fn simple_queries() {
    compare_all(simple());
}

#[test]
fn extended_queries() {
    compare_all(extended());
}

#[test]
fn statements_and_their_names() {
    compare_all(statements());
}

#[test]
fn portals_with_row_limits() {
    compare_all(portals());
}

#[test]
fn copy_in_and_out() {
    compare_all(copies());
}

#[test]
fn everything_else() {
    compare_all(others());
}

#[test]
fn malformed_messages() {
    compare_all(malformed());
}

/// The table is only as good as its pipelines: played straight, twice, each must agree with itself.
#[test]
fn the_pipelines_are_deterministic() {
    let cluster = Cluster::shared();
    let straight = cluster.target("app", "app");
    for pipeline in
        [simple(), extended(), statements(), portals(), copies(), others(), malformed()].into_iter().flatten()
    {
        oracle::compare(cluster, &straight, &straight, &pipeline);
    }
}

/// A session's pipeline cut into two writes at every byte gives what one write gives.
#[test]
fn a_pipeline_may_be_cut_anywhere() {
    let cluster = Cluster::shared();
    let pgweir = Pgweir::start(&Config::new(cluster).set("default_pool_size", 1));
    let bytes =
        [parse("", "SELECT $1::text"), bind("", "", &[Some("x")]), execute("", 0), sync(), query("SELECT 2")]
            .concat();
    let mut client = pgweir.client();
    let mut play = |cut: usize| {
        client.send(&bytes[..cut]);
        std::thread::sleep(std::time::Duration::from_millis(1));
        client.send(&bytes[cut..]);
        [client.read_until_ready(), client.read_until_ready()].concat()
    };
    let expected = play(0);
    for cut in 1..bytes.len() {
        assert_eq!(play(cut), expected, "cut after {cut} bytes");
    }
}

fn cancelled(target: &Target, cluster: &Cluster, tag: &str) {
    let sql = format!("SELECT pg_sleep(60) /* {tag} */");
    let mut client = Client::connect(target);
    client.send(&query(&sql));
    eventually("it runs", || cluster.connections(&format!("state = 'active' AND query LIKE '%{tag}%'")) == 1);
    client.cancel();
    client.expect(&["T…", "E SERROR|VERROR|C57014|Mcanceling statement due to user request…", "Z I"]);
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn cancel_reaches_the_running_query() {
    let cluster = Cluster::shared();
    cancelled(&cluster.target("app", "app"), cluster, "straight");
    for mode in ["session", "transaction"] {
        let pgweir = Pgweir::start(&Config::new(cluster).set("pool_mode", mode));
        cancelled(&pgweir.target("app", "app"), cluster, mode);
    }
}

/// With one server and a waiting second client: the cancel ends the wait, and the running query goes on.
#[test]
fn cancel_reaches_a_waiting_client() {
    let cluster = Cluster::shared();
    let pgweir = Pgweir::start(&Config::new(cluster).set("default_pool_size", 1));
    let (mut holder, mut waiter) = (pgweir.client(), pgweir.client());
    holder.query("BEGIN");
    waiter.send(&query("SELECT 1"));
    pgweir.wait_for_waiting(1);
    waiter.cancel();
    let replies = waiter.read_until(|message| matches!(message.tag, b'E'));
    assert_eq!(replies[0].sqlstate(), "57014");
    assert_eq!(holder.value("SELECT 2"), "2");
    holder.query("COMMIT");
}

/// A cancel with another session's old key, or for an idle session, changes nothing for whoever has the server now.
#[test]
fn a_cancel_never_reaches_another_client() {
    let cluster = Cluster::shared();
    let pgweir = Pgweir::start(&Config::new(cluster).set("default_pool_size", 1));
    let (mut idle, mut busy) = (pgweir.client(), pgweir.client());
    assert_eq!(idle.value("SELECT 1"), "1");
    busy.send(&query("SELECT pg_sleep(0.5), 'mine'"));
    eventually("it runs", || cluster.connections("state = 'active' AND query LIKE '%mine%'") == 1);
    idle.cancel();
    let replies = busy.read_until_ready();
    assert!(replies.iter().all(|message| message.tag != b'E'), "{replies:?}");
    assert_eq!(idle.value("SELECT 2"), "2");
}

/// What was asked before the client broke the protocol is answered, then it is told; as PostgreSQL does.
#[test]
fn a_broken_message_behind_good_ones() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    let broken = b"z\0\0\0\x04".to_vec();
    let sends: [(&str, Vec<u8>); 3] = [
        ("query", [query("SELECT 1"), broken.clone()].concat()),
        ("parse", [parse("s", "SELECT 1"), broken.clone()].concat()),
        ("known parse", [parse("t", "SELECT 1"), broken].concat()),
    ];
    for (name, bytes) in sends {
        let mut client = pgweir.client();
        client.send(&bytes);
        let end = client.read_to_end();
        let last = end.last().expect("an error");
        assert_eq!(last.sqlstate(), "08P01", "{name}: {end:?}");
        assert_eq!(end.iter().filter(|m| m.tag == b'Z').count(), usize::from(name == "query"), "{name}");
    }
    assert_eq!(pgweir.client().value("SELECT 'next'"), "next");
}

/// The end of a COPY that has failed comes in two pieces, the second behind ReadyForQuery: nothing answers it, and the server
/// must be free all the same.
#[test]
fn the_rest_of_a_message_that_nothing_answers() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("app", "CREATE TABLE numbers (n int); GRANT ALL ON numbers TO PUBLIC");
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    let mut copying = pgweir.client();
    let end = copy_fail("changed my mind");
    let (head, rest) = end.split_at(5);
    copying.send(&[&query("COPY numbers FROM STDIN"), &copy_data(b"no number\n"), head].concat());
    let replies = copying.read_until_ready();
    assert!(replies.iter().any(|m| m.tag == b'E' && m.sqlstate() == "22P02"), "{replies:?}");
    copying.send(rest);
    assert_eq!(pgweir.client().value("SELECT 'next'"), "next");
    assert_eq!(copying.value("SELECT 'still there'"), "still there");
}

/// Terminate behind a query that runs, in a transaction: the server comes back clean.
#[test]
fn goodbye_in_a_transaction() {
    let cluster = Cluster::start(Version::V15);
    let pgweir = Pgweir::start(&Config::new(&cluster).set("default_pool_size", 1));
    for script in ["BEGIN", "BEGIN; SELECT pg_sleep(0.1)", "SELECT 1"] {
        let mut client = pgweir.client();
        client.send(&[query(script), message(b'X', b"")].concat());
        assert_eq!(pgweir.client().value("SELECT 'next'"), "next", "{script}");
    }
}
