//! TLS with servers and with clients: every mode, whose certificates count, what a record may do to a message, and bytes
//! nobody honest sends.

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use base64::Engine as _;
use support::certificates::{Certificates, Files, Kind, text};
use support::cluster::{self, Cluster, Version};
use support::eventually;
use support::messages;
use support::pgweir::{Config, Pgweir};
use support::raw::{Address, Client, Refusal, Target, V3_0};
use support::tunnel::{self, Tunnel};

const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
const ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// The CA of all tests, and a certificate of it for localhost.
fn certificates() -> &'static (Certificates, Files) {
    static ALL: OnceLock<(Certificates, Files)> = OnceLock::new();
    ALL.get_or_init(|| {
        let all = Certificates::new();
        let localhost = all.issue("localhost", &Kind::of(&["localhost"]));
        (all, localhost)
    })
}

fn with_tls(version: Version) -> Cluster {
    let settings = certificates().1.settings();
    Cluster::with_settings(version, &settings.each_ref().map(String::as_str))
}

/// PostgreSQL 15 with TLS.
fn encrypted() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| with_tls(Version::V15))
}

/// A database reached by host name with a mode and the tests' CA.
fn reach(config: Config, name: &str, (host, port): (&str, u16), mode: &str) -> Config {
    let table = format!("databases.{name}");
    let config = config
        .put(&table, "host", host)
        .put(&table, "port", i64::from(port))
        .put(&table, "dbname", "app")
        .put(&table, "server_tls_sslmode", mode);
    if mode.starts_with("verify") {
        config.put(&table, "server_tls_ca_file", text(&certificates().0.ca()))
    } else {
        config
    }
}

#[track_caller]
fn logged(pgweir: &Pgweir, what: &str) {
    eventually(&format!("the log says {what}"), || pgweir.log().contains(what));
}

fn error_of(pgweir: &Pgweir, database: &str) -> (String, String) {
    match Client::try_connect(&pgweir.target("app", database)) {
        Err(Refusal::Server(message)) => (message.sqlstate(), message.field(b'M').unwrap_or_default()),
        Err(Refusal::Connection(what)) => panic!("{database}: {what}"),
        Ok(_) => panic!("{database}: it works"),
    }
}

#[test]
fn every_mode_with_and_without_tls_at_the_server() {
    let places = [("tls", encrypted().port), ("plain", Cluster::shared().port)];
    let mut config = Config::new(encrypted());
    for (place, port) in places {
        for mode in MODES {
            config = reach(config, &format!("{place}_{mode}"), ("localhost", port), mode);
        }
    }
    let pgweir = Pgweir::start(&config);
    for mode in MODES {
        let name = format!("tls_{mode}");
        let mut client = Client::connect(&pgweir.target("app", &name));
        assert_eq!(client.value(ENCRYPTED), if mode == "disable" { "f" } else { "t" }, "{name}");
        let name = format!("plain_{mode}");
        if ["disable", "allow", "prefer"].contains(&mode) {
            let mut client = Client::connect(&pgweir.target("app", &name));
            assert_eq!(client.value(ENCRYPTED), "f", "{name}");
        } else {
            let (code, message) = error_of(&pgweir, &name);
            assert_eq!(code, "08006", "{name}");
            assert!(message.ends_with("server does not support SSL, but SSL was required"), "{message}");
        }
    }
    logged(&pgweir, "tls=\"TLSv1.3\"");
}

/// What a server of the test's own does with a connection that has asked for TLS.
#[derive(Clone)]
enum Manner {
    /// A handshake with this certificate, and then nothing.
    Shows(Files),
    /// Says this to SSLRequest and hangs up.
    Says(&'static [u8]),
    /// The same handshake without having been asked.
    Begins(Files),
}

/// Such a server; the port.
fn server(manner: Manner) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let manner = manner.clone();
            std::thread::spawn(move || {
                let asked = !matches!(manner, Manner::Begins(_));
                if asked {
                    socket.read_exact(&mut [0; 8])?;
                }
                match manner {
                    Manner::Says(what) => socket.write_all(what),
                    Manner::Shows(files) | Manner::Begins(files) => {
                        if asked {
                            socket.write_all(b"S")?;
                        }
                        let mut connection =
                            rustls::ServerConnection::new(shows(&files)).map_err(std::io::Error::other)?;
                        connection.complete_io(&mut socket).map(drop)
                    }
                }
            });
        }
    });
    port
}

fn shows(files: &Files) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject as _;
    let chain = rustls::pki_types::CertificateDer::pem_file_iter(&files.certificate).expect("a file");
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(&files.key).expect("a key");
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain.map(|c| c.expect("a certificate")).collect(), key)
            .expect("a pair");
    Arc::new(config)
}

/// Of a certificate that nobody trusted has signed: who has, and what mends it.
#[test]
fn who_signed_a_certificate_is_told() {
    let (ours, _) = certificates();
    let here = || Kind::of(&["localhost"]);
    let stranger = Certificates::new().issue_in(ours, "stranger", &here());
    let authority = ours.issue_signed_by_itself("authority", &here().authority());
    let itself = ours.issue_signed_by_itself("self_signed", &here());
    let mut config = Config::new(encrypted());
    for (name, shown) in
        [("stranger", &stranger), ("authority", &authority), ("itself", &itself), ("system", &itself)]
    {
        config = reach(config, name, ("localhost", server(Manner::Shows(shown.clone()))), "verify-full");
    }
    let config = config.put("databases.system", "server_tls_ca_file", "system");
    let pgweir = Pgweir::start(&config.environment("SSL_CERT_FILE", text(&ours.ca())));
    let not_in_file =
        "it is self-signed, and not in server_tls_ca_file; if it is the right server, put a copy of it there";
    for (name, what) in [
        ("stranger", "TLS: certificate verify failed: it is signed by \"CA of /"),
        (
            "stranger",
            "which leads to no CA in server_tls_ca_file; if it is the right server, put its CA's certificate",
        ),
        ("authority", not_in_file),
        ("itself", not_in_file),
        (
            "system",
            "and this machine doesn't trust it; if it is the right server, name a copy of it as server_tls_ca",
        ),
    ] {
        let (code, message) = error_of(&pgweir, name);
        assert!(code == "08006" && message.contains(what), "{message}");
        logged(&pgweir, what);
    }
}

/// Its own certificate, which the server refuses: by TLS 1.3 after what is for us the end of the handshake.
#[test]
fn a_server_that_refuses_our_certificate_is_told_of_at_once() {
    let (ours, localhost) = certificates();
    let named = || Kind { subject: "app".to_owned(), ..Kind::of(&["client"]) };
    let expired = ours.issue("app_expired", &named().expired());
    let foreign = Certificates::new().issue_in(ours, "app_foreign", &named());
    let [on, certificate, key] = localhost.settings();
    let roots = format!("ssl_ca_file={}", text(&ours.ca()));
    let cluster = Cluster::with_settings(Version::V15, &[&on, &certificate, &key, &roots]);
    let mut config = Config::new(&cluster);
    let mut cases = Vec::new();
    for version in ["tlsv1.2", "tlsv1.3"] {
        for (files, what) in [
            (&expired, "it says that the certificate in server_tls_cert_file has expired"),
            (&foreign, "it doesn't trust the CA of the certificate in server_tls_cert_file"),
        ] {
            let name = format!("d{}", cases.len());
            let table = format!("databases.{name}");
            config = reach(config, &name, ("localhost", cluster.port), "require")
                .put(&table, "server_tls_protocols", version)
                .put(&table, "server_tls_cert_file", text(&files.certificate))
                .put(&table, "server_tls_key_file", text(&files.key));
            cases.push((name, what));
        }
    }
    let pgweir = Pgweir::start(&config);
    for (name, what) in cases {
        let (code, message) = error_of(&pgweir, &name);
        assert!(code == "08006" && message.contains(what), "{name}: {code} {message}");
    }
}

/// And, CVE-2021-43767, a server (or who is between) that says more than its answer before TLS begins.
#[test]
fn certificates_that_do_not_fit_are_told_apart() {
    let (ours, localhost) = certificates();
    let expired = ours.issue("expired", &Kind::of(&["localhost"]).expired());
    let itself = ours.issue_signed_by_itself("itself", &Kind::of(&["localhost"]).authority());
    let outlived = ours.issue_signed_by_itself("outlived", &Kind::of(&["localhost"]).authority().expired());
    let mut config = Config::new(encrypted());
    for (name, host, manner, mode) in [
        ("expired", "localhost", Manner::Shows(expired), "verify-ca"),
        ("wrong_host", "127.0.0.1", Manner::Shows(localhost.clone()), "verify-full"),
        ("itself", "127.0.0.1", Manner::Shows(itself.clone()), "verify-full"),
        ("outlived", "localhost", Manner::Shows(outlived.clone()), "verify-ca"),
        ("stuffed", "localhost", Manner::Says(b"SE\0\0\0\x08oops"), "require"),
        ("neither", "localhost", Manner::Says(b"E\0\0\0\x08oops"), "prefer"),
    ] {
        config = reach(config, name, (host, server(manner)), mode);
    }
    for (name, own) in [("itself", &itself), ("outlived", &outlived)] {
        config = config.put(&format!("databases.{name}"), "server_tls_ca_file", text(&own.certificate));
    }
    config = reach(config, "any_host", ("127.0.0.1", encrypted().port), "verify-ca");
    let pgweir = Pgweir::start(&config.set("client_login_timeout", 1));
    for (name, what) in [
        ("expired", "TLS: certificate verify failed: certificate has expired"),
        ("outlived", "TLS: certificate verify failed: certificate has expired"),
        ("itself", "TLS: certificate verify failed: certificate not valid for name \"127.0.0.1\""),
        ("wrong_host", "TLS: certificate verify failed: certificate not valid for name \"127.0.0.1\""),
    ] {
        let (code, message) = error_of(&pgweir, name);
        assert_eq!(code, "08006", "{message}");
        assert!(message.contains(what), "{message}");
        logged(&pgweir, what);
    }
    for (name, what) in [
        ("stuffed", "received unencrypted data after SSL response"),
        ("neither", "received invalid response to SSL negotiation"),
    ] {
        assert_eq!(error_of(&pgweir, name).1, "client_login_timeout");
        logged(&pgweir, what);
    }
    let mut client = Client::connect(&pgweir.target("app", "any_host"));
    assert_eq!(client.value(ENCRYPTED), "t");
}

/// Forwards connections, remembers what clients send, and cuts what servers send to pieces.
struct Proxy {
    address: SocketAddr,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Proxy {
    /// `pieces` is the size of the pieces in either direction.
    fn start(to: SocketAddr, pieces: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = Self { address: listener.local_addr().expect("bound"), sent: Arc::default() };
        let sent = Arc::clone(&proxy.sent);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(to) else { continue };
                let number = {
                    let mut all = sent.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(Vec::new());
                    all.len() - 1
                };
                let (back, forth) = (near.try_clone().expect("a handle"), far.try_clone().expect("a handle"));
                std::thread::spawn(move || forward(far, back, pieces, |_| {}));
                let sent = Arc::clone(&sent);
                std::thread::spawn(move || {
                    forward(near, forth, pieces, |bytes| {
                        let mut all = sent.lock().unwrap_or_else(PoisonError::into_inner);
                        all[number].extend_from_slice(bytes);
                    });
                });
            }
        });
        proxy
    }

    fn sent(&self) -> Vec<Vec<u8>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, pieces: usize, see: impl Fn(&[u8])) {
    to.set_nodelay(true).ok();
    let mut chunk = vec![0; 65536];
    while let Ok(n @ 1..) = from.read(&mut chunk) {
        see(&chunk[..n]);
        if chunk[..n].chunks(pieces).any(|piece| to.write_all(piece).is_err()) {
            break;
        }
    }
    to.shutdown(std::net::Shutdown::Write).ok();
}

#[test]
fn nothing_goes_to_the_server_in_clear() {
    let proxy = Proxy::start(encrypted().address(), 65536);
    let config = reach(Config::new(encrypted()), "app", ("localhost", proxy.address.port()), "verify-full");
    let pgweir = Pgweir::start(&config);
    let mut client = pgweir.client();
    client.send(&messages::query("SELECT pg_sleep(60) AS plaintext"));
    eventually("the query runs", || encrypted().connections("query LIKE '%AS plaintext'") == 1);
    client.cancel();
    let error = client.read_until_ready().into_iter().find(|message| message.tag == b'E');
    assert_eq!(error.expect("an error").sqlstate(), "57014");
    let sent = proxy.sent();
    assert_eq!(sent.len(), 2, "the server's connection and that of the cancel request");
    for bytes in sent {
        assert_eq!(bytes[..8], *pgweir::wire::startup::SSL_REQUEST);
        assert_eq!(bytes[8], 0x16, "a ClientHello");
        let clear = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        assert!(!clear(b"plaintext") && !clear(b"database") && !clear(&[0x04, 0xd2, 0x16, 0x2e]));
        assert!(clear(b"localhost"), "the name is indicated");
    }
}

/// TLS with clients, too, by the certificate for localhost.
fn for_clients(config: Config, mode: &str) -> Config {
    let (all, localhost) = certificates();
    let config = config
        .set("client_tls_sslmode", mode)
        .set("client_tls_cert_file", text(&localhost.certificate))
        .set("client_tls_key_file", text(&localhost.key));
    if mode.starts_with("verify") { config.set("client_tls_ca_file", text(&all.ca())) } else { config }
}

/// TLS on both legs; database `app`, whose server is only known by its CA.
fn both_legs(to: u16) -> Config {
    let config = reach(Config::new(encrypted()), "app", ("localhost", to), "verify-full");
    for_clients(config, "require")
}

/// What psql says, and whether it succeeded.
fn psql(port: u16, parameters: &str) -> (bool, String) {
    let output = Command::new(Version::V15.bin().expect("psql").join("psql"))
        .args(["-XAtc", "SELECT 'fine'"])
        .arg(format!("host=localhost port={port} user=app password=secret-app dbname=app {parameters}"))
        .output()
        .expect("psql starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).trim().to_owned())
}

#[test]
fn every_mode_with_and_without_tls_at_the_client() {
    let (all, _) = certificates();
    let own = all.issue("client", &Kind::of(&["somebody"]));
    let verified = format!("sslmode=verify-full sslrootcert={}", text(&all.ca()));
    let shown = format!("{verified} sslcert={} sslkey={}", text(&own.certificate), text(&own.key));
    for mode in MODES {
        let pgweir = Pgweir::start(&for_clients(Config::new(Cluster::shared()), mode));
        for (parameters, in_modes) in [
            ("sslmode=disable", &["disable", "allow", "prefer"][..]),
            ("sslmode=prefer", &["disable", "allow", "prefer", "require"]),
            ("sslmode=require", &["allow", "prefer", "require"]),
            (&verified, &["allow", "prefer", "require"]),
            (&shown, &["allow", "prefer", "require", "verify-ca", "verify-full"]),
        ] {
            let (fine, said) = psql(pgweir.port, parameters);
            assert_eq!(fine, in_modes.contains(&mode), "{mode}, {parameters}: {said}\n{}", pgweir.log());
            if parameters == "sslmode=disable" && !fine {
                assert!(said.contains("FATAL:  SSL required"), "{said}");
            }
        }
        if mode != "disable" {
            logged(&pgweir, "tls=\"TLSv1.3\"");
        }
    }
}

#[test]
fn who_has_to_use_tls_is_told() {
    let pgweir = Pgweir::start(&both_legs(encrypted().port));
    let error = Client::try_connect(&pgweir.target("app", "app")).expect_err("SSL required").error();
    assert_eq!((error.sqlstate().as_str(), error.field(b'M').as_deref()), ("28000", Some("SSL required")));
    // Old clients cancel in clear, whatever they use for the rest.
    let mut canceller = Client::open(&pgweir.target("app", "app").address).expect("a connection");
    canceller.send(&messages::cancel_request(1, &[0; 4]));
    assert!(canceller.drain().is_empty());
    assert!(pgweir.metric("pgweir_pool_client_login_failures_total", &["tls_required"]) <= 1.0);
}

/// What a client was let begin by isn't enough any more when it has sent its password.
#[test]
fn a_login_that_a_stricter_mode_overtakes() {
    let plain = |mode| for_clients(Config::new(Cluster::shared()), mode).set("auth_type", "plain");
    let asked = |client: &mut Client| {
        client.send(&messages::startup(V3_0, &[("user", "app"), ("database", "app")]));
        assert_eq!(client.read().body, [0, 0, 0, 3], "it is asked for the password");
    };
    for (mode, by_tls, refused) in [
        ("prefer", false, None),
        ("require", false, Some("SSL required")),
        ("verify-full", false, Some("SSL required")),
        ("require", true, None),
        ("verify-full", true, Some("connection requires a valid client certificate")),
    ] {
        let pgweir = Pgweir::start(&plain("allow"));
        let tunnel = by_tls.then(|| through_tls(&pgweir, 1 << 14, tunnel::V13));
        let target =
            tunnel.as_ref().map_or_else(|| pgweir.target("app", "app"), |(_, target)| target.clone());
        let mut client = Client::open(&target.address).expect("a connection");
        asked(&mut client);
        pgweir.reload(&plain(mode));
        logged(&pgweir, "configuration reloaded");
        client.send(&messages::password("secret-app"));
        let answer = client.read();
        let told = (answer.tag == b'E').then(|| (answer.sqlstate(), answer.field(b'M').unwrap_or_default()));
        assert_eq!(told, refused.map(|text| ("28000".to_owned(), text.to_owned())), "{mode}, TLS {by_tls}");
    }
}

/// A client of pgweir through TLS, in pieces of this size, by the versions of TLS given.
fn through_tls(pgweir: &Pgweir, pieces: usize, version: &'static tunnel::Version) -> (Tunnel, Target) {
    let proxy = Proxy::start(pgweir.address(), pieces);
    let tunnel = Tunnel::start(proxy.address, &certificates().0.ca(), version);
    let target = Target::tcp(tunnel.address, "app", "app");
    (tunnel, target)
}

#[test]
fn records_may_be_cut_anywhere() {
    for version in [tunnel::V12, tunnel::V13] {
        let servers = Proxy::start(encrypted().address(), 1);
        let pgweir = Pgweir::start(&both_legs(servers.address.port()));
        let (_tunnel, target) = through_tls(&pgweir, 1, version);
        let mut client = Client::connect(&target);
        assert_eq!(client.value(ENCRYPTED), "t");
        for n in 0..20 {
            assert_eq!(
                client.value(&format!("SELECT {n} || repeat('x', 100)")).len(),
                100 + n.to_string().len()
            );
        }
    }
}

#[test]
fn much_and_many_pass_through_both_legs() {
    for version in [tunnel::V12, tunnel::V13] {
        let pgweir = Pgweir::start(&both_legs(encrypted().port));
        let (_tunnel, target) = through_tls(&pgweir, 65536, version);
        let mut client = Client::connect(&target);
        // Many messages in few records, both ways.
        let mut batch = messages::parse("s", "SELECT $1 || 'y'");
        for n in 0..2000 {
            batch.extend(messages::bind("", "s", &[Some(&n.to_string())]));
            batch.extend(messages::execute("", 0));
        }
        batch.extend(messages::sync());
        client.send(&batch);
        let answers = client.read_until_ready();
        let rows: Vec<_> = answers.iter().filter(|m| m.tag == b'D').flat_map(|m| m.columns()).collect();
        assert_eq!(rows.len(), 2000);
        assert!(rows.iter().enumerate().all(|(n, row)| row.as_deref() == Some(&*format!("{n}y"))));
        // 40 MB at once, long messages.
        let rows =
            client.rows("SELECT repeat(md5(n::text), 31250) FROM generate_series(1, 40) n").expect("rows");
        assert_eq!(rows.iter().map(|row| row[0].as_ref().map_or(0, String::len)).sum::<usize>(), 40_000_000);
        // COPY there and back.
        client.rows("CREATE TEMP TABLE t (a text)").expect("a table");
        client.send(&messages::query("COPY t FROM STDIN"));
        client.read_until(|message| message.tag == b'G');
        let line = "0123456789".repeat(20) + "\n";
        let data = messages::copy_data(line.repeat(300).as_bytes());
        for _ in 0..200 {
            client.send(&data);
        }
        client.send(&messages::copy_done());
        client.expect(&["C COPY 60000", "Z I"]);
        client.send(&messages::query("COPY t TO STDOUT"));
        let copied = client.read_until_ready();
        let bytes: usize = copied.iter().filter(|m| m.tag == b'd').map(|m| m.body.len()).sum();
        assert_eq!(bytes, 60_000 * line.len());
        client.terminate();
    }
}

#[test]
fn a_cancel_request_comes_through_both_legs() {
    let pgweir = Pgweir::start(&both_legs(encrypted().port));
    let (_tunnel, target) = through_tls(&pgweir, 65536, tunnel::V13);
    let mut client = Client::connect(&target);
    client.send(&messages::query("SELECT pg_sleep(60) AS through_both"));
    eventually("the query runs", || encrypted().connections("query LIKE '%AS through_both'") == 1);
    client.cancel();
    let error = client.read_until_ready().into_iter().find(|message| message.tag == b'E');
    assert_eq!(error.expect("an error").sqlstate(), "57014");
    assert_eq!(client.value("SELECT 'alive'"), "alive");
    let mut leaving = Client::connect(&target);
    leaving.send(&messages::query("SELECT pg_sleep(60) AS left_alone"));
    eventually("the query runs", || encrypted().connections("query LIKE '%AS left_alone'") == 1);
    drop(leaving);
    eventually("it is cancelled", || {
        encrypted().connections("query LIKE '%AS left_alone' AND state = 'active'") == 0
    });
}

/// The CA has changed under a session that goes on: its cancel goes by the one that counts now.
#[test]
fn a_cancel_request_follows_the_certificates() {
    let (own, next) = (Certificates::new(), Certificates::new());
    let kind = Kind::of(&["localhost"]);
    let settings = own.issue("server", &kind).settings();
    let cluster = Cluster::with_settings(Version::V15, &settings.each_ref().map(String::as_str));
    let roots = own.path("roots.pem");
    std::fs::copy(own.ca(), &roots).expect("our directory");
    let config = reach(Config::new(&cluster), "app", ("localhost", cluster.port), "verify-full").put(
        "databases.app",
        "server_tls_ca_file",
        text(&roots),
    );
    let pgweir = Pgweir::start(&config);
    let mut client = pgweir.client();
    client.send(&messages::query("SELECT pg_sleep(60) AS goes_on"));
    eventually("the query runs", || cluster.connections("query LIKE '%AS goes_on'") == 1);
    std::fs::copy(next.ca(), &roots).expect("our directory");
    next.issue_in(&own, "server", &kind);
    cluster.value("postgres", "SELECT pg_reload_conf()");
    pgweir.reload(&config);
    logged(&pgweir, "configuration reloaded");
    assert_eq!(pgweir.client().value("SELECT 'trusted'"), "trusted");
    client.cancel();
    let error = client.read_until_ready().into_iter().find(|message| message.tag == b'E');
    assert_eq!(error.expect("an error").sqlstate(), "57014");
}

/// CVE-2021-3935, CVE-2021-43766: nothing that came in clear is taken for what came over TLS.
#[test]
fn hostile_handshakes_harm_nobody() {
    let config = both_legs(encrypted().port).set("client_login_timeout", 1);
    let pgweir = Pgweir::start(&config);
    let open = || Client::open(&pgweir.target("app", "app").address).expect("a connection");
    let after_s = |bytes: &[u8]| {
        let mut client = open();
        client.send(&messages::ssl_request());
        assert_eq!(client.read_byte(), b'S');
        client.send(bytes);
        client
    };
    let mut stuffed = open();
    stuffed.send(&[messages::ssl_request(), messages::startup(3 << 16, &[("user", "app")])].concat());
    let end = stuffed.read_to_end();
    assert_eq!(end[0].field(b'M').as_deref(), Some("received unencrypted data after SSL request"));
    let hello = tunnel::client_hello(&[]);
    for (what, mut client) in [
        ("a StartupMessage in clear", after_s(&messages::startup(3 << 16, &[("user", "app")]))),
        ("another SSLRequest", after_s(&messages::ssl_request())),
        ("nonsense", after_s(b"GET / HTTP/1.1\r\n\r\n")),
        ("an empty record", after_s(&[0x16, 3, 1, 0, 0])),
        ("a record too long", after_s(&[&[0x16, 3, 1, 0xff, 0xff][..], &[0; 70_000]].concat())),
    ] {
        let said = client.drain();
        assert!(said.first().is_none_or(|b| *b == 0x15), "{what}: an alert or nothing, not {said:?}");
    }
    // Half of a handshake: ends with its client.
    let cut = after_s(&hello[..hello.len() / 2]);
    cut.shutdown_write();
    let mut cut = cut;
    assert!(cut.drain().len() < 8);
    // Half of a handshake, and then nothing: ends with client_login_timeout.
    let halves = [&hello[..hello.len() / 2], &hello[..], &hello[..1]].map(after_s);
    halves.into_iter().for_each(|mut half| drop(half.drain()));
    // Direct TLS needs to say what for.
    let mut direct = open();
    direct.send(&hello);
    direct.set_timeout(Duration::from_secs(5));
    direct.drain();
    logged(&pgweir, "TLS handshake failed: ");
    let (_tunnel, target) = through_tls(&pgweir, 65536, tunnel::V13);
    // Within that second, which a busy machine may be too slow for.
    eventually("alive", || Client::try_connect(&target).is_ok());
    assert!(!pgweir.log().contains("panicked"), "{}", pgweir.log());
}

/// Handshakes that don't go on keep neither other handshakes out nor clients without TLS.
#[test]
fn stalled_handshakes_are_in_nobody_s_way() {
    let (all, _) = certificates();
    let ca = text(&all.ca()).to_owned();
    let pgweir = Pgweir::start(
        &for_clients(Config::new(Cluster::shared()), "prefer").set("client_tls_ca_file", ca.as_str()),
    );
    let hello = tunnel::client_hello(&[]);
    let mut stalled: Vec<_> = (0..80)
        .map(|n| {
            let mut client = Client::open(&pgweir.target("app", "app").address).expect("a connection");
            client.send(&messages::ssl_request());
            assert_eq!(client.read_byte(), b'S');
            client.send(if n % 2 == 0 { &hello } else { &hello[..9] });
            client
        })
        .collect();
    let answered = stalled.iter_mut().step_by(2).all(|client| client.read_byte() == 0x16);
    assert!(answered, "each handshake has come to where it waits for its client");
    for version in [tunnel::V13, tunnel::V12] {
        let (_tunnel, target) = through_tls(&pgweir, 65536, version);
        assert_eq!(Client::connect(&target).value("SELECT 'in'"), "in");
    }
    assert_eq!(pgweir.client().value("SELECT 'in'"), "in");
    assert!(!pgweir.log().contains("TLS handshake failed"), "they are still there: {}", pgweir.log());
}

#[test]
fn direct_tls_without_alpn_is_refused() {
    let pgweir = Pgweir::start(&both_legs(encrypted().port));
    let ca = certificates().0.ca();
    assert!(tunnel::direct(pgweir.address(), &ca, &[b"postgresql"]).is_ok());
    assert!(tunnel::direct(pgweir.address(), &ca, &[]).is_err());
    assert!(tunnel::direct(pgweir.address(), &ca, &[b"h2"]).is_err());
    logged(&pgweir, "received direct SSL connection request without ALPN");
}

#[test]
fn sessions_are_resumed_and_certificates_reloaded() {
    let own = Certificates::new();
    let files = own.issue("mine", &Kind::of(&["localhost"]));
    let config = for_clients(Config::new(Cluster::shared()), "require")
        .set("client_tls_cert_file", text(&files.certificate))
        .set("client_tls_key_file", text(&files.key));
    let pgweir = Pgweir::start(&config);
    let mut visitor = tunnel::Visitor::new(&own.ca());
    let first = visitor.visit(pgweir.address());
    assert!(!first.resumed);
    let again = visitor.visit(pgweir.address());
    assert!(again.resumed && again.certificate == first.certificate);

    let bad = |what: &str, complaint: &str| {
        pgweir.reload(&config);
        eventually(what, || pgweir.log().contains(complaint));
        let after = tunnel::Visitor::new(&own.ca()).visit(pgweir.address());
        assert_eq!(after.certificate, first.certificate, "{what}");
    };
    let key = std::fs::read_to_string(&files.key).expect("a key");
    std::fs::write(&files.certificate, "nonsense").expect("our file");
    let place = text(&files.certificate);
    bad("no certificate", &format!("cannot use client_tls_cert_file {place}: no certificate in PEM form"));
    let newer = own.issue("mine", &Kind::of(&["localhost"]));
    std::fs::write(&files.key, key).expect("our file");
    bad("another key", "it is not the key of the certificate in");
    std::fs::remove_file(&newer.key).expect("our file");
    bad("no key", &format!("cannot use client_tls_key_file {}: No such file", text(&files.key)));

    own.issue("mine", &Kind::of(&["localhost"]));
    pgweir.reload(&config);
    eventually("the reload", || pgweir.log().contains("configuration reloaded"));
    let renewed = tunnel::Visitor::new(&own.ca()).visit(pgweir.address());
    assert_ne!(renewed.certificate, first.certificate);
    let after = visitor.visit(pgweir.address());
    assert!(!after.resumed && after.certificate == renewed.certificate, "old tickets are of no use");
}

/// A certificate is verified each time, so that it is good for no longer than it is valid.
#[test]
fn sessions_of_who_may_show_a_certificate_are_not_resumed() {
    let (all, localhost) = certificates();
    let pgweir = Pgweir::start(&for_clients(Config::new(Cluster::shared()), "verify-full"));
    for version in [tunnel::V12, tunnel::V13] {
        let mut visitor = tunnel::Visitor::showing(&all.ca(), localhost, version);
        for _ in 0..3 {
            assert!(!visitor.visit(pgweir.address()).resumed);
        }
    }
}

#[test]
fn logins_are_bound_to_tls() {
    let (all, localhost) = certificates();
    let verifier = encrypted().value("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'");
    // Between pgweir and PostgreSQL somebody may sit where no certificate is verified.
    let tunnel = Tunnel::start(encrypted().address(), &all.ca(), tunnel::V13);
    let intruder =
        tunnel::eavesdrop(shows(&all.issue("intruder", &Kind::of(&["localhost"]))), tunnel.address);
    let twin = tunnel::eavesdrop(shows(localhost), tunnel.address);
    for secret in ["secret-app", &verifier] {
        let mut config = both_legs(encrypted().port).put("users.app", "password", secret);
        for (name, port) in [("intruder", intruder), ("twin", twin)] {
            config = reach(config, name, ("localhost", port), "require");
        }
        let pgweir = Pgweir::start(&config);
        let bound = format!("sslmode=verify-full sslrootcert={} channel_binding=require", text(&all.ca()));
        assert_eq!(psql(pgweir.port, &bound), (true, "fine".to_owned()));
        assert_eq!(psql(pgweir.port, "sslmode=require channel_binding=disable"), (true, "fine".to_owned()));
        let through = |name: &str| psql(pgweir.port, &format!("{bound} dbname={name}"));
        assert_eq!(through("twin"), (true, "fine".to_owned()), "who has the certificate is the server");
        let (fine, said) = through("intruder");
        assert!(!fine && said.contains("SCRAM channel binding check failed"), "{said}");
    }
}

#[test]
fn every_kind_of_certificate_can_be_bound_to() {
    let (all, _) = certificates();
    for (name, algorithm) in
        [("p384", &rcgen::PKCS_ECDSA_P384_SHA384), ("p256", &rcgen::PKCS_ECDSA_P256_SHA256)]
    {
        let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        let own = all.issue_signed_by_itself(name, &Kind::of(&["localhost"]).with_key(key));
        let config = for_clients(Config::new(Cluster::shared()), "require")
            .set("client_tls_cert_file", text(&own.certificate))
            .set("client_tls_key_file", text(&own.key));
        let pgweir = Pgweir::start(&config);
        assert_eq!(psql(pgweir.port, "sslmode=require channel_binding=require"), (true, "fine".to_owned()));
    }
}

/// libpq 17 (psycopg2's) begins TLS without asking and binds its login to it; the server's leg, to PostgreSQL 18, does the same.
#[test]
fn direct_tls_and_channel_binding_by_libpq() {
    let pgweir = Pgweir::start(
        &both_legs(newer().port)
            .put("databases.app", "server_tls_sslnegotiation", "direct")
            .set("server_require_auth", "scram-sha-256"),
    );
    let script = "import psycopg2, sys\n\
                  assert psycopg2.__libpq_version__ >= 170000\n\
                  cursor = psycopg2.connect(sys.argv[1]).cursor()\n\
                  cursor.execute('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')\n\
                  assert cursor.fetchone() == (True,)";
    let target = format!(
        "host=localhost port={} user=app password=secret-app dbname=app sslmode=verify-full sslrootcert={}",
        pgweir.port,
        text(&certificates().0.ca())
    );
    let python = cluster::test_tools().join("venv/bin/python");
    let parameters = "sslnegotiation=direct channel_binding=require";
    cluster::run(Command::new(python).args(["-c", script, &format!("{target} {parameters}")]));
}

/// What people look at certificates with.
#[test]
fn openssl_s_client_is_answered() {
    let pgweir = Pgweir::start(&for_clients(Config::new(Cluster::shared()), "require"));
    for begin in [["-starttls", "postgres"], ["-alpn", "postgresql"]] {
        let output = Command::new("openssl")
            .args(["s_client", "-brief", "-verify_return_error", "-verify_hostname", "localhost"])
            .args(["-connect", &format!("localhost:{}", pgweir.port), "-CAfile"])
            .arg(certificates().0.ca())
            .args(begin)
            .stdin(Stdio::null())
            .output()
            .expect("openssl starts");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains("Verification: OK"), "{begin:?}: {said}");
    }
}

/// Whose signature would count is looked at though nobody verifies: at the start, by --check and by a reload.
#[test]
fn a_ca_file_that_is_gone_is_told_where_nobody_verifies() {
    let config = |ca: &str| Config::new(Cluster::shared()).set("server_tls_ca_file", ca);
    let good = config(text(&certificates().0.ca()));
    let pgweir = Pgweir::start(&good);
    let bad = config("/nonexistent");
    let why = "cannot use server_tls_ca_file /nonexistent: No such file or directory";
    pgweir.reload(&bad);
    logged(&pgweir, &format!("reload failed, nothing was changed: {why}"));
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pgweir.toml");
    std::fs::write(&path, bad.render()).expect("our file");
    for arguments in [&["--check"][..], &[]] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_pgweir")).args(arguments).arg(&path).output().expect("it runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success() && said.contains(why), "{arguments:?}: {said}");
    }
}

/// PostgreSQL 18 with TLS 1.2 alone.
fn newer() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| {
        let settings = certificates().1.settings();
        let mut settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        settings.push("ssl_max_protocol_version=TLSv1.2");
        Cluster::with_settings(Version::V18, &settings)
    })
}

/// TLS that isn't asked for first, of connections and of cancel requests; who can't do it, or speaks something else within, is no server.
#[test]
fn direct_tls_to_servers() {
    let proxy = Proxy::start(newer().address(), 65536);
    let mut config = Config::new(newer());
    for (name, port, mode) in [
        ("app", proxy.address.port(), "verify-full"),
        ("too_old", encrypted().port, "require"),
        ("in_clear", Cluster::shared().port, "require"),
        ("other", server(Manner::Begins(certificates().1.clone())), "require"),
    ] {
        let table = format!("databases.{name}");
        config =
            reach(config, name, ("localhost", port), mode).put(&table, "server_tls_sslnegotiation", "direct");
    }
    let pgweir = Pgweir::start(&config.set("client_login_timeout", 1));
    let mut client = pgweir.client();
    assert_eq!(client.value(ENCRYPTED), "t");
    client.send(&messages::query("SELECT pg_sleep(60) AS directly"));
    eventually("the query runs", || newer().connections("query LIKE '%AS directly'") == 1);
    client.cancel();
    let error = client.read_until_ready().into_iter().find(|message| message.tag == b'E');
    assert_eq!(error.expect("an error").sqlstate(), "57014");
    let sent = proxy.sent();
    let hello = |bytes: &Vec<u8>| bytes.starts_with(&[0x16, 3]);
    assert!(sent.len() >= 2 && sent.iter().all(hello), "{} connections", sent.len());
    let (code, message) = error_of(&pgweir, "other");
    assert_eq!(code, "08006");
    let no_alpn = "direct SSL connection was established without ALPN protocol negotiation extension";
    assert!(message.ends_with(no_alpn), "{message}");
    for (name, what) in [
        ("too_old", "TLS: the server takes no direct TLS, which PostgreSQL does since 17"),
        ("in_clear", "server does not support SSL, but SSL was required"),
    ] {
        let (code, message) = error_of(&pgweir, name);
        assert!(code == "08006" && message.contains(what), "{name}: {code} {message}");
    }
}

/// As with libpq, "prefer" does without TLS where the server's isn't good enough; who requires it is told.
#[test]
fn without_a_common_version() {
    let old = newer();
    let mut config = Config::new(old);
    for (name, mode, protocols) in [
        ("preferred", "prefer", "tlsv1.3"),
        ("required", "require", "tlsv1.3"),
        ("common", "verify-full", "tlsv1.2"),
    ] {
        let table = format!("databases.{name}");
        config =
            reach(config, name, ("localhost", old.port), mode).put(&table, "server_tls_protocols", protocols);
    }
    let pgweir = Pgweir::start(&config);
    for (name, encrypted) in [("preferred", "f"), ("common", "t")] {
        assert_eq!(Client::connect(&pgweir.target("app", name)).value(ENCRYPTED), encrypted, "{name}");
    }
    logged(&pgweir, "tls=\"TLSv1.2\"");
    let clear = "TLS failed, going on in clear text (see server_tls_sslmode): the other side refused: no common version of TLS";
    logged(&pgweir, clear);
    let (code, message) = error_of(&pgweir, "required");
    assert_eq!(code, "08006");
    assert!(message.ends_with("the other side refused: no common version of TLS"), "{message}");
}

/// As with libpq, "prefer" does without TLS where the server lets its user in only without; but a password is shown once.
#[test]
fn without_a_rule_for_tls() {
    let server = with_tls(Version::V15);
    server
        .hba("hostssl all app,plainuser 127.0.0.1/32 reject\nhostssl all md5user 127.0.0.1/32 scram-sha-256");
    server.hba("host all plainuser 127.0.0.1/32 reject\nhostnossl all md5user 127.0.0.1/32 trust");
    let mut config = Config::new(&server);
    for mode in ["allow", "prefer", "require"] {
        config = reach(config, mode, ("127.0.0.1", server.port), mode);
    }
    let pgweir = Pgweir::start(&config);
    for mode in ["allow", "prefer"] {
        let mut client = Client::connect(&pgweir.target("app", mode));
        assert_eq!(client.value(ENCRYPTED), "f", "{mode}");
        client.send(&messages::query("SELECT pg_sleep(60) AS in_clear"));
        eventually("the query runs", || {
            server.connections("query LIKE '%AS in_clear' AND state = 'active'") == 1
        });
        client.cancel();
        client.expect(&["T…", "E SERROR|VERROR|C57014…", "Z I"]);
    }
    logged(
        &pgweir,
        "the login over TLS was refused, going on in clear text (see server_tls_sslmode): pg_hba.conf rejects connection for \
         host \"127.0.0.1\", user \"app\", database \"app\", SSL encryption (SQLSTATE 28000)",
    );
    let refused = |user: &str, mode: &str| match Client::try_connect(&pgweir.target(user, mode)) {
        Err(Refusal::Server(message)) => (message.sqlstate(), message.field(b'M').unwrap_or_default()),
        _ => panic!("{user}, {mode}"),
    };
    for (user, mode) in [("app", "require"), ("plainuser", "prefer")] {
        let (code, message) = refused(user, mode);
        assert!(code == "28000" && message.ends_with("SSL encryption"), "{user}, {mode}: {message}");
    }
    // PostgreSQL has no SCRAM secret of it, and would let it in without TLS.
    assert_eq!(refused("md5user", "prefer").0, "28P01");
    assert!(login_test(&config, "prefer").contains("without TLS: pg_hba.conf rejects connection"));
}

/// What `pgweir login-test` says of user `app`.
fn login_test(config: &Config, database: &str) -> String {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(config.render().as_bytes()).expect("our file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
    command.arg("login-test").arg(file.path()).args(["--user", "app", "--database", database]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("piped").write_all(b"secret-app\n").expect("it reads");
    String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("text")
}

/// `openssl req -x509`, PostgreSQL's own recipe, makes a certificate that is a CA, too; with libpq its copy is the root that verifies it.
#[test]
fn a_certificate_that_is_its_own_ca() {
    let own = certificates().0.issue_signed_by_itself("own_ca", &Kind::of(&["localhost"]).authority());
    let settings = own.settings();
    let server = Cluster::with_settings(Version::V15, &settings.each_ref().map(String::as_str));
    let mut config = Config::new(&server);
    for (name, mode) in [("by_ca", "verify-ca"), ("in_full", "verify-full")] {
        let table = format!("databases.{name}");
        config = reach(config, name, ("localhost", server.port), mode).put(
            &table,
            "server_tls_ca_file",
            text(&own.certificate),
        );
    }
    let pgweir = Pgweir::start(&config);
    for name in ["by_ca", "in_full"] {
        assert_eq!(Client::connect(&pgweir.target("app", name)).value(ENCRYPTED), "t", "{name}");
    }
}

/// What every program asks for the date, moved by the seconds in a file.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *t) {
  int result = syscall(SYS_clock_gettime, id, t), file;
  if (id == CLOCK_REALTIME && (file = open(getenv("CLOCK_FILE"), O_RDONLY)) >= 0) {
    char text[32] = {0};
    if (read(file, text, 31) > 0) t->tv_sec += atoll(text);
    close(file);
  }
  return result;
}
"#;

/// The machine's clock jumps by decades, to and fro, also to before 1970: nobody is closed, nothing is taken for too old or too young,
/// and clients log in by TLS. What goes by the date, the server's certificate, goes by it.
#[test]
fn the_clock_jumps() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (source, library, file) =
        (dir.path().join("clock.c"), dir.path().join("clock.so"), dir.path().join("by"));
    std::fs::write(&source, CLOCK).expect("our directory");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    assert!(compiler.status().expect("a C compiler, which ring needs, too").success());
    let by = |years: i64| {
        // Moved into place, so that no half of it is read.
        let new = dir.path().join("new");
        std::fs::write(&new, (years * 31_556_952).to_string()).expect("our directory");
        std::fs::rename(&new, &file).expect("our directory");
    };
    by(0);
    let config = for_clients(Config::new(encrypted()), "allow").set("default_pool_size", 2);
    let config = reach(config, "verified", ("localhost", encrypted().port), "verify-ca");
    let config = config.environment("LD_PRELOAD", text(&library)).environment("CLOCK_FILE", text(&file));
    let pgweir = Pgweir::start(&config);
    let (mut inside, mut waiting) = (pgweir.client(), pgweir.client());
    inside.query("BEGIN");
    for years in [20, 0, -20, -100, 0] {
        by(years);
        waiting.send(&messages::query("SELECT 'asleep' FROM pg_sleep(0.2)"));
        assert_eq!(inside.value("SELECT 1"), "1", "{years}");
        assert_eq!(waiting.read_until_ready()[1].to_string(), "D [Some(\"asleep\")]", "{years}");
        let (_tunnel, target) = through_tls(&pgweir, 65536, tunnel::V13);
        assert_eq!(Client::connect(&target).value("SELECT 2"), "2", "{years}");
    }
    by(3000);
    assert!(error_of(&pgweir, "verified").1.contains("certificate has expired"), "{}", pgweir.log());
    by(0);
    eventually("it is valid again", || Client::try_connect(&pgweir.target("app", "verified")).is_ok());
    assert_eq!(inside.value("SELECT pg_backend_pid() = pg_backend_pid()"), "t");
    inside.query("COMMIT");
    let log = pgweir.log();
    assert!(!log.contains("panicked") && !log.contains("client_idle") && !log.contains("timeout"), "{log}");
}

/// The SQLSTATE by which an exchange is refused that begins with this mechanism and first message. Where the server goes on, `last`
/// makes the client's last message of the nonce.
fn sasl_refusal(to: SocketAddr, (mechanism, first): (&str, &str), last: impl Fn(&str) -> String) -> String {
    let mut client = Client::open(&Address::Tcp(to)).expect("it listens");
    client.send(&messages::startup(V3_0, &[("user", "app"), ("database", "app")]));
    assert_eq!(client.read().tag, b'R');
    let length = u32::try_from(first.len()).expect("short").to_be_bytes();
    let initial = [mechanism.as_bytes(), b"\0", &length, first.as_bytes()].concat();
    client.send(&messages::message(b'p', &initial));
    let mut answer = client.read();
    if answer.tag == b'R' {
        let text = String::from_utf8(answer.body[4..].to_vec()).expect("text");
        let nonce = text.split(',').find_map(|part| part.strip_prefix("r=")).expect("a nonce");
        client.send(&messages::message(b'p', last(nonce).as_bytes()));
        answer = client.read();
    }
    assert_eq!(answer.tag, b'E', "{first}");
    answer.sqlstate()
}

/// Whatever is wrong with an exchange, drivers are told by PostgreSQL's SQLSTATE.
#[test]
fn failed_exchanges_have_postgresqls_codes() {
    const BARE: &str = "SCRAM-SHA-256";
    const PLUS: &str = "SCRAM-SHA-256-PLUS";
    let ca = certificates().0.ca();
    let pgweir = Pgweir::start(&for_clients(Config::new(encrypted()), "allow"));
    let (near, far) = (
        Tunnel::start(pgweir.address(), &ca, tunnel::V13).address,
        Tunnel::start(encrypted().address(), &ca, tunnel::V13).address,
    );
    let clear = (pgweir.address(), encrypted().address());
    let base64 = |bytes: &[u8]| base64::prelude::BASE64_STANDARD.encode(bytes);
    let last = |c: &[u8], nonce: &str| format!("c={},r={nonce},p={}", base64(c), base64(&[0; 32]));
    let unbound = |nonce: &str| last(b"n,,", nonce);
    let misbound = |nonce: &str| last(&[b"p=tls-server-end-point,,", &[7; 32][..]].concat(), nonce);
    let other_header = |nonce: &str| last(b"y,,", nonce);
    let other_nonce = |nonce: &str| last(b"n,,", &format!("{nonce}x"));
    type Last<'a> = &'a dyn Fn(&str) -> String;
    for (tls, mechanism, first, last, code) in [
        (true, PLUS, "p=tls-server-end-point,,n=,r=abc", &misbound as Last<'_>, "28000"),
        (true, PLUS, "p=tls-server-end-point,,n=,r=abc", &unbound, "28000"),
        (true, BARE, "y,,n=,r=abc", &unbound, "28000"),
        (true, BARE, "p=tls-server-end-point,,n=,r=abc", &unbound, "08P01"),
        (true, PLUS, "n,,n=,r=abc", &unbound, "08P01"),
        (true, PLUS, "y,,n=,r=abc", &unbound, "08P01"),
        (true, PLUS, "p=tls-unique,,n=,r=abc", &misbound, "08P01"),
        (true, BARE, "n,,n=,r=abc", &unbound, "28P01"),
        (false, BARE, "n,a=app,n=,r=abc", &unbound, "0A000"),
        (false, BARE, "n,,m=x,n=,r=abc", &unbound, "0A000"),
        (false, BARE, "n,,n=,r=abc", &other_header, "08P01"),
        (false, BARE, "n,,n=,r=abc", &misbound, "08P01"),
        (false, BARE, "n,,n=,r=abc", &other_nonce, "08P01"),
        (false, BARE, "n,,r=abc", &unbound, "08P01"),
        (false, BARE, "", &unbound, "08P01"),
        (false, PLUS, "p=tls-server-end-point,,n=,r=abc", &misbound, "08P01"),
        (false, "PLAIN", "x", &unbound, "08P01"),
        (false, BARE, "y,,n=,r=abc", &other_header, "28P01"),
    ] {
        let (ours, theirs) = if tls { (near, far) } else { clear };
        let codes = [theirs, ours].map(|to| sasl_refusal(to, (mechanism, first), last));
        assert_eq!(codes, [code; 2], "PostgreSQL and pgweir: {tls} {mechanism} {first}");
    }
}
