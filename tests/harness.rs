//! The harness against PostgreSQL itself: what it reports must be true before it judges pgweir.

mod support;

use support::cluster::{Cluster, Version};
use support::eventually;
use support::fake_server::FakeServer;
use support::messages::{self, backend};
use support::oracle::{self, Piece, Pipeline, Until};
use support::raw::{Client, Target, V3_2};

#[test]
fn each_user_logs_in_by_his_method() {
    let cluster = Cluster::shared();
    for user in ["app", "md5user", "plainuser", "trusty"] {
        let mut client = Client::connect(&cluster.target(user, "app"));
        assert_eq!(client.value("SELECT current_user"), user);
    }
    let wrong = cluster.target("app", "app").password("wrong");
    assert_eq!(Client::try_connect(&wrong).expect_err("refused").error().sqlstate(), "28P01");
}

#[test]
fn connections_are_counted_and_the_cluster_restarts() {
    let mut cluster = Cluster::start(Version::V15);
    let target = cluster.target("app", "app").parameter("application_name", "counted");
    let clients: Vec<Client> = (0..3).map(|_| Client::connect(&target)).collect();
    assert_eq!(cluster.connections("usename = 'app' AND application_name = 'counted'"), 3);
    drop(clients);
    eventually("they leave", || cluster.connections("usename = 'app'") == 0);
    let mut client = Client::connect(&target);
    cluster.restart();
    assert!(client.read_to_end().iter().any(|message| message.sqlstate() == "57P01"));
    assert_eq!(Client::connect(&target).value("SELECT 1"), "1");
    cluster.stop_immediate();
    assert!(Client::try_connect(&target).is_err());
}

#[test]
fn version_18_has_long_cancel_keys() {
    let cluster = Cluster::start(Version::V18);
    let client = Client::connect(&cluster.target("app", "app").version(V3_2));
    assert_eq!(client.key.len(), 32);
}

#[test]
fn the_oracle_sees_a_difference() {
    let cluster = Cluster::shared();
    let target = cluster.target("app", "app");
    let same = Pipeline::once("now", &[messages::query("SELECT 1")]);
    oracle::compare(cluster, &target, &target, &same);
    let pid =
        Pipeline::new("pid", "", vec![Piece(messages::query("SELECT pg_backend_pid()"), Until::Ready(1))]);
    let twice = [(); 2].map(|()| oracle::transcript(cluster, &target, &pid));
    let text = oracle::difference(&twice[0], &twice[1]).expect("two backends");
    assert!(text.contains(" - D") && text.contains(" + D"), "{text}");
}

#[test]
fn a_cancel_reaches_its_query() {
    let cluster = Cluster::shared();
    let mut client = Client::connect(&cluster.target("app", "app"));
    client.send(&messages::query("SELECT pg_sleep(60)"));
    eventually("it runs", || {
        cluster.connections("query LIKE 'SELECT pg_sleep(60)%' AND state = 'active'") > 0
    });
    client.cancel();
    assert!(client.read_until_ready().iter().any(|message| message.sqlstate() == "57014"));
}

#[test]
fn the_fake_server_plays_its_script() {
    let server = FakeServer::start(|conn| {
        conn.welcome()?;
        conn.serve_until("marker")?;
        conn.dribble(&backend::one_value("42"))?;
        conn.serve()
    });
    let mut client = Client::connect(&Target::tcp(server.address(), "app", "app"));
    assert_eq!(client.parameter("server_version"), Some("15.18"));
    assert_eq!(client.value("SELECT 'other'"), "1");
    assert_eq!(client.value("SELECT 'marker'"), "42");
    drop(client);
    assert_eq!(server.connections(), 1);
    server.finish();
}

#[test]
fn a_failing_script_is_reported() {
    let server = FakeServer::start(|_| Err(std::io::Error::other("planted")));
    Client::try_connect(&Target::tcp(server.address(), "app", "app")).expect_err("no welcome");
    assert_eq!(server.problems(), ["planted"]);
}
