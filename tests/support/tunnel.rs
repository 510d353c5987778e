//! TLS for clients that have none: a local port whose connections go on to pgweir through rustls.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

use super::certificates::Files;
use super::{PATIENCE, messages};

pub type Version = SupportedProtocolVersion;
pub const V12: &Version = &rustls::version::TLS12;
pub const V13: &Version = &rustls::version::TLS13;

/// Trusts `ca`, if there is one; shows no certificate.
pub fn config(ca: Option<&Path>, versions: &[&'static Version], alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        roots.add(CertificateDer::from_pem_file(path).expect("a certificate")).expect("a CA");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// Whom certificates have to be for.
pub fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(to)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn ask(socket: &mut TcpStream) -> io::Result<()> {
    socket.write_all(&messages::ssl_request())?;
    let mut answer = [0];
    socket.read_exact(&mut answer)?;
    if answer == *b"S" { Ok(()) } else { Err(io::Error::other("no TLS")) }
}

/// The port.
pub struct Tunnel {
    pub address: SocketAddr,
}

impl Tunnel {
    /// Verifies the certificate of `to` for localhost.
    pub fn start(to: SocketAddr, ca: &Path, version: &'static Version) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let config = Arc::new(config(Some(ca), &[version], &[b"postgresql"]));
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let config = Arc::clone(&config);
                std::thread::spawn(move || pass(near, to, config));
            }
        });
        Self { address }
    }
}

fn pass(near: TcpStream, to: SocketAddr, config: Arc<ClientConfig>) -> io::Result<()> {
    let mut far = connect(to)?;
    ask(&mut far)?;
    let mut connection = ClientConnection::new(config, localhost()).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut far)?;
    }
    far.set_read_timeout(None)?;
    both_ways(connection.into(), near, far)
}

/// Between `near`, in clear, and `far`.
fn both_ways(mut connection: Connection, mut near: TcpStream, far: TcpStream) -> io::Result<()> {
    // What came with the end of the handshake.
    let mut early =
        vec![0; connection.process_new_packets().map_err(io::Error::other)?.plaintext_bytes_to_read()];
    connection.reader().read_exact(&mut early)?;
    near.write_all(&early)?;
    let connection = Arc::new(Mutex::new(connection));
    let forth = {
        let (connection, near, far) = (Arc::clone(&connection), near.try_clone()?, far.try_clone()?);
        std::thread::spawn(move || encrypt(&connection, near, far))
    };
    let back = decrypt(&connection, near, far);
    forth.join().ok();
    back
}

/// Reads along: a server that shows a certificate of its own and passes on to `to` what it hears, in clear.
pub fn eavesdrop(shown: Arc<ServerConfig>, to: SocketAddr) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut victim in listener.incoming().map_while(Result::ok) {
            let shown = Arc::clone(&shown);
            std::thread::spawn(move || {
                victim.read_exact(&mut [0; 8])?;
                victim.write_all(b"S")?;
                let mut connection = ServerConnection::new(shown).map_err(io::Error::other)?;
                while connection.is_handshaking() {
                    connection.complete_io(&mut victim)?;
                }
                both_ways(connection.into(), connect(to)?, victim)
            });
        }
    });
    port
}

fn encrypt(connection: &Mutex<Connection>, mut near: TcpStream, mut far: TcpStream) -> io::Result<()> {
    let mut chunk = vec![0; 65536];
    let lock = || connection.lock().unwrap_or_else(PoisonError::into_inner);
    while let Ok(n @ 1..) = near.read(&mut chunk) {
        let mut connection = lock();
        let mut rest = &chunk[..n];
        while !rest.is_empty() {
            let taken = connection.writer().write(rest)?;
            rest = &rest[taken..];
            while connection.wants_write() {
                connection.write_tls(&mut far)?;
            }
        }
    }
    lock().send_close_notify();
    lock().write_tls(&mut far)?;
    far.shutdown(Shutdown::Write)
}

fn decrypt(connection: &Mutex<Connection>, mut near: TcpStream, mut far: TcpStream) -> io::Result<()> {
    let (mut chunk, mut plain) = (vec![0; 65536], vec![0; 65536]);
    while let Ok(n @ 1..) = far.read(&mut chunk) {
        let mut rest = &chunk[..n];
        while !rest.is_empty() {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            connection.read_tls(&mut rest)?;
            let state = connection.process_new_packets().map_err(io::Error::other)?;
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let n = connection.reader().read(&mut plain)?;
                near.write_all(&plain[..n])?;
                left -= n;
            }
        }
    }
    near.shutdown(Shutdown::Both)
}

/// The bytes a client begins with.
pub fn client_hello(alpn: &[&[u8]]) -> Vec<u8> {
    let config = Arc::new(config(None, &[V13], alpn));
    let mut connection = ClientConnection::new(config, localhost()).expect("a client");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("a vector takes all");
    hello
}

/// TLS from the first byte, and a StartupMessage in it; `Ok` when that is answered.
pub fn direct(to: SocketAddr, ca: &Path, alpn: &[&[u8]]) -> io::Result<()> {
    let config = Arc::new(config(Some(ca), &[V12, V13], alpn));
    let connection = ClientConnection::new(config, localhost()).map_err(io::Error::other)?;
    let mut stream = rustls::StreamOwned::new(connection, connect(to)?);
    stream.write_all(&messages::startup(3 << 16, &[("user", "app")]))?;
    stream.read_exact(&mut [0])
}

/// A client that remembers sessions.
pub struct Visitor(Arc<ClientConfig>);

/// What it has seen.
pub struct Visit {
    pub resumed: bool,
    pub certificate: Vec<u8>,
}

impl Visitor {
    pub fn new(ca: &Path) -> Self {
        Self(Arc::new(config(Some(ca), &[V13], &[b"postgresql"])))
    }

    /// Shows this certificate.
    pub fn showing(ca: &Path, files: &Files, version: &'static Version) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).expect("a certificate")).expect("a CA");
        let chain = vec![CertificateDer::from_pem_file(&files.certificate).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
        let builder = builder.expect("a version").with_root_certificates(roots);
        Self(Arc::new(builder.with_client_auth_cert(chain, key).expect("a pair")))
    }

    /// Connects and asks to log in, which brings a ticket.
    pub fn visit(&mut self, to: SocketAddr) -> Visit {
        let mut socket = connect(to).expect("a connection");
        ask(&mut socket).expect("TLS");
        let connection = ClientConnection::new(Arc::clone(&self.0), localhost()).expect("a client");
        let mut stream = rustls::StreamOwned::new(connection, socket);
        stream.write_all(&messages::startup(3 << 16, &[("user", "app")])).expect("sent");
        stream.read_exact(&mut [0]).expect("an answer");
        let shown = stream.conn.peer_certificates().and_then(|all| all.first());
        Visit {
            resumed: stream.conn.handshake_kind() == Some(HandshakeKind::Resumed),
            certificate: shown.expect("a certificate").to_vec(),
        }
    }
}
