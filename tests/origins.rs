//! Where clients come from: addresses that load balancers tell in front, and what is kept of who logged in from where.

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use support::cluster::Cluster;
use support::pgweir::{Config, Pgweir};
use support::raw::{Client, V3_0};
use support::{eventually, messages};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What pgweir answers to these bytes, up to the end or the first message of the login.
fn answer(pgweir: &Pgweir, parts: &[&[u8]]) -> Vec<u8> {
    let mut socket = TcpStream::connect(pgweir.address()).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout above zero");
    for part in parts {
        socket.write_all(part).expect("sent");
    }
    let mut said = vec![0; 1024];
    let size = socket.read(&mut said).unwrap_or(0);
    said.truncate(size);
    said
}

#[test]
fn balancers_tell_whom_they_connect_for() {
    let cluster = Cluster::shared();
    let balanced =
        Config::new(cluster).set("proxy_protocol_from", "127.0.0.0/8").set("admin_users", "trusty");
    let pgweir = Pgweir::start(&balanced.clone().set("auth_type", "trust"));
    let startup = messages::startup(V3_0, &[("user", "app"), ("database", "app")]);
    let four = [1, 2, 3, 4, 5, 6, 7, 8, 0x04, 0xd2, 0, 80];
    let v2 = [SIGNATURE, &[0x21, 0x11, 0, 12], &four].concat();
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    for (header, from) in [
        (&b"PROXY TCP4 192.0.2.1 5.6.7.8 1234 80\r\n"[..], "address=192.0.2.1:1234"),
        (b"PROXY TCP6 2001:db8::1 ::1 4321 80\r\n", "address=[2001:db8::1]:4321"),
        (&v2, "address=1.2.3.4:1234"),
        (&local, "address=127.0.0.1:"),
        // Whose loopback that is, only the balancer knows.
        (b"PROXY TCP4 127.7.7.7 5.6.7.8 1234 80\r\n", "address=127.0.0.1:"),
        (b"PROXY TCP6 ::ffff:127.7.7.7 ::1 1234 80\r\n", "address=127.0.0.1:"),
    ] {
        for parts in [&[header, &startup[..]][..], &[&[header, &startup[..]].concat()]] {
            let said = answer(&pgweir, parts);
            assert_eq!(said.first(), Some(&b'R'), "{}", header.escape_ascii());
        }
        eventually(from, || pgweir.log().contains(from));
    }
    assert!(!pgweir.log().contains("127.7.7.7"));
    for not_one in [&startup[..], b"PROXY TCP4 192.0.2.1 5.6.7.8 1234\r\n"] {
        let said = answer(&pgweir, &[not_one]);
        assert_eq!(said.first(), Some(&b'E'), "{}", not_one.escape_ascii());
    }
    eventually("the balancer is named", || pgweir.log().contains("no PROXY protocol header [08P01]"));
    pgweir.reload(&balanced.set("proxy_protocol_from", "10.0.0.0/8").set("auth_type", "trust"));
    eventually("nobody else may tell", || Client::try_connect(&pgweir.target("app", "app")).is_ok());
    let said = answer(&pgweir, &[b"PROXY TCP4 192.0.2.1 5.6.7.8 1234 80\r\n", &startup]);
    assert_ne!(said.first(), Some(&b'R'), "a header from elsewhere is none");
}

/// One object for each event, with what an auditor asks for and no secret.
#[test]
fn what_an_auditor_reads() {
    let cluster = Cluster::shared();
    let quiet =
        Config::new(cluster).set("log_level", "error").set("log_format", "json").set("admin_users", "app");
    let audited = quiet.clone().set("log_audit", true);
    let pgweir = Pgweir::start(&audited);
    drop(pgweir.client());
    let wrong = pgweir.target("app", "app").password("hunter2");
    assert!(Client::try_connect(&wrong).is_err());
    let mut console = Client::connect(&pgweir.target("app", "pgweir"));
    console.query("SET server_lifetime = 1234");
    console.query("SHOW NONSENSE; KILL missing");
    pgweir.reload(&audited.clone().put("users.app", "password", "changed-secret").set("max_client_conn", 77));
    for (audit, words) in [
        (
            "login",
            &[
                "\"user\":\"app\"",
                "\"kind\":\"session\"",
                "\"method\":\"scram-sha-256\"",
                "\"address\":\"127.",
            ][..],
        ),
        ("login", &["\"kind\":\"console\""]),
        ("login refused", &["\"reason\":\"credentials\"", "wrong password"]),
        ("command", &["audit: SET server_lifetime = 1234\"", "\"outcome\":\"done\""]),
        ("change", &["\"by\":\"SET\"", "server_lifetime"]),
        ("change", &["\"by\":\"reload\"", "max_client_conn in [pgweir] changed from 1000 to 77"]),
        ("change", &["password in [users.app] changed"]),
    ] {
        let field = format!("\"audit\":\"{audit}\"");
        let is_it = |line: &str| line.contains(&field) && words.iter().all(|word| line.contains(word));
        eventually(&format!("{audit} {words:?}"), || pgweir.log().lines().any(is_it));
    }
    let log = pgweir.log();
    assert!(["hunter2", "secret-app", "changed-secret"].iter().all(|secret| !log.contains(secret)), "{log}");
    let rules = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(rules.path(), "# one\nhost all all all password\n").expect("our file");
    let path = rules.path().to_str().expect("a path");
    pgweir.reload(&audited.set("auth_type", "hba").set("auth_hba_file", path));
    eventually("the rules", || Client::try_connect(&pgweir.target("app", "app")).is_ok());
    drop(Client::connect(&pgweir.target("app", "pgweir")));
    for kind in ["session", "console"] {
        let words = [
            format!("\"kind\":\"{kind}\""),
            "\"method\":\"password\"".to_owned(),
            format!("\"rule\":\"{path}:2\""),
        ];
        let is_it = |line: &str| words.iter().all(|word| line.contains(word));
        eventually(&format!("{words:?}"), || pgweir.log().lines().any(is_it));
    }
    let silent = Pgweir::start(&quiet);
    drop(silent.client());
    assert!(!silent.log().contains("audit"), "{}", silent.log());
}

/// By both protocols.
#[test]
fn commands_are_audited_in_their_askers_words() {
    let config = Config::new(Cluster::shared()).set("log_format", "json").set("admin_users", "app");
    let pgweir = Pgweir::start(&config.set("log_level", "error").set("log_audit", true));
    let mut console = Client::connect(&pgweir.target("app", "pgweir"));
    console.query("kill_client\n  7777;");
    console.query("SET auth_ldap_options = 'ldapbindpasswd=hunter2'");
    console.send(
        &[
            messages::parse("", "SELECT name FROM databases WHERE port = $1"),
            messages::bind("", "", &[Some("1")]),
            messages::execute("", 0),
            messages::sync(),
        ]
        .concat(),
    );
    console.read_until_ready();
    for words in [
        ["audit: kill_client\\\\n  7777;\"", "\"outcome\":\"client not found\""],
        ["audit: SET auth_ldap_options = (secret)\"", "\"outcome\":\"SET failed\""],
        ["audit: SELECT name FROM databases WHERE port = $1\"", "\"outcome\":\"done\""],
    ] {
        let is_it = |line: &str| words.iter().all(|word| line.contains(word));
        eventually(&format!("{words:?}"), || pgweir.log().lines().any(is_it));
    }
    assert!(!pgweir.log().contains("hunter2"), "{}", pgweir.log());
}
