//! TLS with servers and with clients: every mode, whose certificates count, what a record may do to a message, and bytes
//! nobody honest sends.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use support::certificates::{Certificates, Files, Kind, text};
use support::cluster::{Cluster, Version};
use support::eventually;
use support::pgweir::{Config, Pgweir};
use support::raw::{Client, Refusal};

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
    assert!(pgweir.log().contains("tls=\"TLSv1.3\""));
}

/// What a server of the test's own does with a connection that has asked for TLS.
#[derive(Clone)]
enum Manner {
    /// A handshake with this certificate, and then nothing.
    Shows(Files),
    /// Says this to SSLRequest and hangs up.
    Says(&'static [u8]),
}

/// Such a server; the port.
fn server(manner: Manner) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let manner = manner.clone();
            std::thread::spawn(move || {
                socket.read_exact(&mut [0; 8])?;
                match manner {
                    Manner::Says(what) => socket.write_all(what),
                    Manner::Shows(files) => {
                        socket.write_all(b"S")?;
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

#[test]
fn certificates_that_do_not_fit_are_told_apart() {
    let (ours, localhost) = certificates();
    let expired = ours.issue("expired", &Kind::of(&["localhost"]).expired());
    let stranger = Certificates::new().issue_in(ours, "stranger", &Kind::of(&["localhost"]));
    let mut config = Config::new(encrypted());
    for (name, host, manner, mode) in [
        ("expired", "localhost", Manner::Shows(expired), "verify-ca"),
        ("stranger", "localhost", Manner::Shows(stranger), "verify-ca"),
        ("wrong_host", "127.0.0.1", Manner::Shows(localhost.clone()), "verify-full"),
        ("stuffed", "localhost", Manner::Says(b"SE\0\0\0\x08oops"), "require"),
        ("neither", "localhost", Manner::Says(b"E\0\0\0\x08oops"), "prefer"),
    ] {
        config = reach(config, name, (host, server(manner)), mode);
    }
    config = reach(config, "any_host", ("127.0.0.1", encrypted().port), "verify-ca");
    let pgweir = Pgweir::start(&config.set("client_login_timeout", 1));
    for (name, what) in [
        ("expired", "TLS: certificate verify failed: certificate has expired"),
        ("stranger", "TLS: certificate verify failed: no trusted CA has signed the certificate"),
        ("wrong_host", "TLS: certificate verify failed: certificate not valid for name \"127.0.0.1\""),
    ] {
        let (code, message) = error_of(&pgweir, name);
        assert_eq!(code, "08006", "{message}");
        assert!(message.contains(what), "{message}");
        assert!(pgweir.log().contains(what), "the log tells, too");
    }
    for (name, what) in [
        ("stuffed", "received unencrypted data after SSL response"),
        ("neither", "received invalid response to SSL negotiation"),
    ] {
        assert_eq!(error_of(&pgweir, name).1, "client_login_timeout");
        assert!(pgweir.log().contains(what), "{name}");
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
    client.send(&support::messages::query("SELECT pg_sleep(60) AS plaintext"));
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
