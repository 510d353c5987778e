//! Both sides in memory: any cuts, any sizes, any bytes.
use super::channel::Progress;
use super::*;
use crate::config::{self, Config};
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use std::path::PathBuf;

/// A certificate for localhost and its key, in files for as long as the directory is kept.
fn written() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let (certificate, key_file) = (dir.path().join("c"), dir.path().join("k"));
    std::fs::write(&certificate, params.self_signed(&key).expect("a certificate").pem()).expect("our file");
    std::fs::write(&key_file, key.serialize_pem()).expect("our file");
    (dir, certificate, key_file)
}

/// What the configuration with these lines has of TLS; a certificate for localhost, which is trusted.
fn tls(lines: &str) -> Result<Tls, FileError> {
    let (_dir, certificate, key_file) = written();
    let text = format!(
        "[pgweir]\nclient_tls_sslmode = \"allow\"\nclient_tls_cert_file = {certificate:?}\n\
         client_tls_key_file = {key_file:?}\nserver_tls_sslmode = \"verify-full\"\n\
         server_tls_ca_file = {certificate:?}\n{lines}\n[databases.a]\n"
    );
    Tls::new(&parsed(&text))
}

/// What is wrong with the files, where clients are shown a certificate.
fn own_certificate(lines: &str) -> Option<String> {
    let (_dir, certificate, key_file) = written();
    let files = format!("client_tls_cert_file = {certificate:?}\nclient_tls_key_file = {key_file:?}");
    Tls::new(&parsed(&format!("[pgweir]\n{files}\n{lines}\n[databases.a]\n"))).err().map(|e| e.to_string())
}

fn parsed(text: &str) -> Config {
    config::parse(text, "f").unwrap_or_else(|errors| panic!("{errors}")).0
}

/// A client and a server that have not begun.
fn pair(tls: &Tls) -> (Channel, Channel) {
    let connector = tls.connectors.values().next().cloned().flatten().expect("one database, with TLS");
    let client = connector.channel("localhost").expect("a name");
    (client, tls.acceptor().expect("TLS with clients").channel().expect("a server"))
}

/// Both after their handshake, of which no more than `cut` bytes arrived at once; what the client has left to send goes first.
fn connected(tls: &Tls, cut: usize) -> (Channel, Channel) {
    let (mut client, mut server) = pair(tls);
    let mut to_server = Vec::new();
    let mut to_client = Vec::new();
    let mut done = (false, false);
    for _ in 0..10_000 {
        let arrived: Vec<u8> = to_client.drain(..cut.min(to_client.len())).collect();
        done.0 |= client.shake_hands(&arrived).expect("a good server") == Progress::Done;
        to_server.extend(client.take_control());
        let arrived: Vec<u8> = to_server.drain(..cut.min(to_server.len())).collect();
        done.1 |= server.shake_hands(&arrived).expect("a good client") == Progress::Done;
        to_client.extend(server.take_control());
        if done == (true, true) && to_server.is_empty() && to_client.is_empty() {
            return (client, server);
        }
    }
    panic!("the handshake has no end");
}

/// What arrives of `bytes`, cut and read in pieces of these sizes.
fn read(channel: &mut Channel, bytes: &[u8], (cut, room): (usize, usize)) -> Result<Vec<u8>, TlsError> {
    let (mut all, mut into, mut cipher) = (Vec::new(), vec![0; room], Vec::new());
    for piece in bytes.chunks(cut) {
        let held = channel.take_incoming(&mut cipher);
        cipher.truncate(held);
        cipher.extend_from_slice(piece);
        let mut n = channel.open(&mut cipher, &mut into)?;
        while n > 0 {
            all.extend_from_slice(&into[..n]);
            n = if channel.holds_plain() {
                channel.take_plain(&mut into)
            } else {
                let held = channel.take_incoming(&mut cipher);
                channel.open(&mut cipher[..held], &mut into)?
            };
        }
    }
    Ok(all)
}

fn sealed(channel: &mut Channel, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let n = channel.seal(bytes, &mut out).expect("an open channel");
    out.truncate(n);
    out
}

fn any_version() -> impl Strategy<Value = Tls> {
    prop_oneof![Just("tlsv1.2"), Just("tlsv1.3")].prop_map(|version| {
        tls(&format!("client_tls_protocols = {version:?}")).unwrap_or_else(|e| panic!("{e}"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_is_sent_arrives(
        tls in any_version(),
        cuts in (1usize..300, 1usize..40_000, 1usize..40_000),
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30_000), 1..4),
    ) {
        let (mut client, mut server) = connected(&tls, cuts.0);
        for text in &texts {
            let there = sealed(&mut client, text);
            prop_assert_eq!(&read(&mut server, &there, (cuts.1, cuts.2)).expect("good bytes"), text);
            let back = sealed(&mut server, text);
            prop_assert_eq!(&read(&mut client, &back, (cuts.1, cuts.2)).expect("good bytes"), text);
            prop_assert!(!client.holds() && !server.holds());
        }
        let mut goodbye = Vec::new();
        client.say_goodbye(&mut goodbye);
        prop_assert!(read(&mut server, &goodbye, (cuts.1, cuts.2)).expect("good bytes").is_empty());
        prop_assert!(server.has_ended());
    }

    #[test]
    fn a_changed_byte_ends_it(tls in any_version(), at in 0usize..2000, by in 1u8..=255, cut in 1usize..3000) {
        let (mut client, mut server) = connected(&tls, usize::MAX);
        let mut there = sealed(&mut client, &[b'x'; 2000]);
        let at = 5 + at;
        there[at] ^= by;
        prop_assert!(read(&mut server, &there, (cut, 500)).is_err());
        // From then on nothing is asked of rustls, and nothing panics.
        prop_assert!(read(&mut server, &there, (cut, 500)).is_err());
        prop_assert!(server.seal(b"x", &mut Vec::new()).is_err());
        let mut goodbye = Vec::new();
        server.say_goodbye(&mut goodbye);
        prop_assert!(!goodbye.is_empty(), "an alert");
    }

    #[test]
    fn any_bytes_are_survived(
        tls in any_version(),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        header in any::<bool>(),
        cut in 1usize..600,
    ) {
        let length = u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
        let bytes = if header { [&[0x16, 3, 1], &length[..], &bytes].concat() } else { bytes };
        let (client, server) = pair(&tls);
        for mut channel in [client, server] {
            let _ = channel.shake_hands(&[]);
            for piece in bytes.chunks(cut) {
                if channel.shake_hands(piece).is_err() {
                    channel.take_control();
                }
            }
            channel.say_goodbye(&mut Vec::new());
        }
    }
}

#[test]
fn versions_are_those_asked_for() {
    for (client, server, version) in [
        ("secure", "secure", Some("TLSv1.3")),
        ("tlsv1.2", "secure", Some("TLSv1.2")),
        ("tlsv1.2", "tlsv1.3", None),
    ] {
        let lines = format!("client_tls_protocols = {client:?}\nserver_tls_protocols = {server:?}");
        let tls = tls(&lines).unwrap_or_else(|e| panic!("{e}"));
        if let Some(version) = version {
            let (client, server) = connected(&tls, usize::MAX);
            assert_eq!((client.version(), server.version()), (version, version));
            assert_eq!(client.end_point(), server.end_point());
            assert!(client.end_point().is_some() && server.alpn() == Some(ALPN));
        } else {
            let (mut client, mut server) = pair(&tls);
            client.shake_hands(&[]).expect("a ClientHello");
            let error = server.shake_hands(&client.take_control()).expect_err("no common version");
            assert!(error.is_final(), "{error}");
            let told = client.shake_hands(&server.take_control()).expect_err("an alert");
            assert_eq!(told.to_string(), "the other side refused: no common version of TLS");
        }
    }
}

/// A server that takes keys of the last group only, which no client sends before it is asked to.
fn choosy() -> Channel {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let mut provider = CryptoProvider::clone(&provider());
    provider.kx_groups.drain(..provider.kx_groups.len() - 1);
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[&TLS13]).expect("ciphers").with_no_client_auth();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let mut config = builder.with_single_cert(vec![certificate], key).expect("a pair");
    config.alpn_protocols = vec![ALPN.to_vec()];
    let config = Arc::new(config);
    Channel::server(rustls::server::UnbufferedServerConnection::new(config).expect("a server"), None, false)
}

#[test]
fn a_hello_that_has_to_be_said_again_is_no_first_step() {
    let tls = tls("").unwrap_or_else(|e| panic!("{e}"));
    for (mut server, is_hard_at_first_only) in [(pair(&tls).1, true), (choosy(), false)] {
        let (mut client, _) = pair(&tls);
        client.shake_hands(&[]).expect("a ClientHello");
        assert!(!server.is_hard_at_first_only(), "nothing has come");
        assert_eq!(server.shake_hands(&client.take_control()).expect("a good hello"), Progress::Waits);
        assert_eq!(server.version(), "TLSv1.3");
        assert_eq!(server.is_hard_at_first_only(), is_hard_at_first_only);
    }
}

/// Whatever length a ClientHello announces, be it by its records or by itself.
#[test]
fn little_is_held_of_strangers() {
    let tls = tls("").unwrap_or_else(|e| panic!("{e}"));
    for size in [20_000_u32, 60_000, 16_000_000] {
        let mut server = pair(&tls).1;
        let mut hello = [&[1][..], &size.to_be_bytes()[1..], &[3, 3]].concat();
        hello.resize(60_000, 0);
        let (mut failed, mut held) = (false, 0);
        for part in hello.chunks(4096) {
            let size = u16::try_from(part.len()).expect("short").to_be_bytes();
            failed |= server.shake_hands(&[&[0x16, 3, 1], &size[..], part].concat()).is_err();
            held = held.max(server.room());
            if failed {
                break;
            }
        }
        assert!(failed && held <= 17 * 1024, "{size}: {held} bytes");
    }
    let server = pair(&tls).1;
    for (bytes, waits) in [
        (&[][..], true),
        (&[0x16, 3, 1][..], true),
        (&[0x16, 3, 1, 0x40, 0][..], true),
        (&[0x16, 3, 1, 0x41, 0][..], false),
        (&[0x16, 3, 1, 0xff, 0xff][..], false),
        (&[0x15][..], false),
        (&[0x16, 3, 1, 0, 1, 1][..], false),
    ] {
        assert_eq!(server.is_begun_only(bytes), waits, "{bytes:?}");
    }
}

#[test]
fn an_idle_channel_holds_nothing() {
    let (mut client, mut server) = connected(&tls("").unwrap_or_else(|e| panic!("{e}")), usize::MAX);
    let there = sealed(&mut client, &[b'x'; 50_000]);
    assert_eq!(read(&mut server, &there, (70_000, 1000)).expect("good bytes").len(), 50_000);
    assert_eq!(server.room(), 0);
    // rustls's own, and all that it points to, comes to some 3 KiB more.
    assert!(size_of::<Channel>() <= 1536, "{} bytes", size_of::<Channel>());
}

/// Wrapped in DER.
pub(super) fn wrapped(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).expect("short").to_be_bytes();
    let length = match (high, low) {
        (0, ..0x80) => vec![low],
        (0, _) => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag], &length[..], contents].concat()
}

/// The same without extensions, as of version 1; whose signature it has, nobody will ask.
fn of_version_1(certificate: &[u8]) -> Vec<u8> {
    let (whole, _) = der::expect(certificate, der::SEQUENCE).expect("a certificate");
    let (fields, signature) = der::expect(whole, der::SEQUENCE).expect("fields");
    let (_, fields) = der::expect(fields, der::FIRST_FIELD).expect("a version");
    let key = public_key::of(certificate).expect("a key");
    let end = fields.windows(key.len()).position(|window| window == key).expect("it") + key.len();
    let fields = wrapped(der::SEQUENCE, &fields[..end]);
    wrapped(der::SEQUENCE, &[&fields, signature].concat())
}

/// A server with such a certificate and this key; what comes of a handshake with it.
fn shake_hands_with_version_1(key: &KeyPair, of: &ServerTls) -> Result<(), TlsError> {
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = of_version_1(params.self_signed(key).expect("a certificate").der());
    let signer = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let signer = provider().key_provider.load_private_key(signer).expect("a key");
    let connector = Connector::new(of).expect("its files").expect("TLS");
    shakes_hands(rustls::sign::CertifiedKey::new(vec![certificate.into()], signer), &connector, "localhost")
}

/// What comes of a handshake with a server of that name that shows this.
pub(super) fn shakes_hands(
    shown: rustls::sign::CertifiedKey,
    connector: &Connector,
    host: &str,
) -> Result<(), TlsError> {
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(TlsProtocols::Secure))
        .expect("ciphers")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
    let server = rustls::server::UnbufferedServerConnection::new(Arc::new(config)).expect("a server");
    let mut server = Channel::server(server, None, false);
    let mut client = connector.channel(host).expect("a name");
    let mut arrived = Vec::new();
    for _ in 0..10 {
        let done = client.shake_hands(&arrived)? == Progress::Done;
        let _ = server.shake_hands(&client.take_control());
        if done {
            return Ok(());
        }
        arrived = server.take_control();
    }
    panic!("the handshake has no end");
}

/// `openssl x509 -req` makes them, and so do the recipes of many a manual.
#[test]
fn a_certificate_of_version_1_will_do_where_none_is_verified() {
    let keys = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
    for key in keys.map(|algorithm| KeyPair::generate_for(algorithm).expect("a key")) {
        for version in ["tlsv1.2", "tlsv1.3"] {
            let config = format!(
                "[pgweir]\nserver_tls_protocols = {version:?}\n[databases.a]\nserver_tls_sslmode = \"require\"\n\
                 [databases.b]\nserver_tls_sslmode = \"verify-full\"\n"
            );
            let config = parsed(&config);
            let of = |name| config.server_tls(&config.database(name).expect("it"));
            assert_eq!(shake_hands_with_version_1(&key, &of("a")), Ok(()), "{key:?} {version}");
            let error = shake_hands_with_version_1(&key, &of("b")).expect_err("nobody can verify it");
            assert!(error.to_string().contains("X.509 version 1; make one of version 3"), "{error}");
        }
    }
}

/// That the server has the key of its certificate counts all the same.
#[test]
fn a_key_of_somebody_else_s_is_refused_where_no_certificate_is_verified() {
    let (key, other) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(&other).expect("a certificate").der().clone();
    for version in ["tlsv1.2", "tlsv1.3"] {
        let config = parsed(&format!(
            "[pgweir]\nserver_tls_sslmode = \"require\"\nserver_tls_protocols = {version:?}\n[databases.a]\n"
        ));
        let signer = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let signer = provider().key_provider.load_private_key(signer).expect("a key");
        let pair = rustls::sign::CertifiedKey::new(vec![certificate.clone()], signer);
        let of = config.server_tls(&config.database("a").expect("it"));
        let connector = Connector::new(&of).expect("no files").expect("TLS");
        let error = shakes_hands(pair, &connector, "localhost").expect_err("another's key");
        assert!(error.to_string().contains("signature failure"), "{error}");
    }
}

/// Also where no certificate is verified: a typing error shows at once, not when the mode is made stricter.
#[test]
fn a_ca_file_that_can_not_be_used_is_told_in_every_mode() {
    let why = |text: &str| Tls::new(&parsed(text)).err().map(|error| error.to_string());
    let said =
        |setting| Some(format!("cannot use {setting} /nonexistent: No such file or directory (os error 2)"));
    for mode in ["allow", "prefer", "require", "verify-ca", "verify-full"] {
        let file = format!("server_tls_sslmode = \"{mode}\"\nserver_tls_ca_file = \"/nonexistent\"\n");
        let own = format!("[databases.a]\n{file}");
        let all = format!("[pgweir]\n{file}[databases.a]\n");
        let unused = format!("[pgweir]\n{file}[databases.a]\nserver_tls_sslmode = \"disable\"\n");
        let fallback = format!("[databases.\"*\"]\n{file}");
        for text in [own, all, unused, fallback] {
            assert_eq!(why(&text), said("server_tls_ca_file"), "{text}");
        }
    }
    let off = "[databases.a]\nserver_tls_sslmode = \"disable\"\nserver_tls_ca_file = \"/nonexistent\"\n";
    assert_eq!(why(off), None);
    for mode in ["allow", "prefer", "require", "verify-ca", "verify-full"] {
        let lines = "client_tls_ca_file = \"/nonexistent\"\nserver_tls_sslmode = \"disable\"";
        let text = own_certificate(&format!("client_tls_sslmode = \"{mode}\"\n{lines}"));
        assert_eq!(text, said("client_tls_ca_file"), "{mode}");
    }
}

/// Who is shown what can't be read gives up, whatever it verifies: no client of libpq's would get in.
#[test]
fn a_chain_is_read_to_its_end() {
    let (dir, certificate, key) = written();
    let leaf = std::fs::read_to_string(&certificate).expect("our file");
    let cut: String = {
        let lines: Vec<_> = leaf.lines().collect();
        lines.iter().enumerate().filter(|(n, _)| *n != 3).map(|(_, line)| format!("{line}\n")).collect()
    };
    let chain = dir.path().join("chain");
    let said = |text: &str| {
        std::fs::write(&chain, text).expect("our file");
        let files = format!("client_tls_cert_file = {chain:?}\nclient_tls_key_file = {key:?}");
        let config = format!("[pgweir]\nclient_tls_sslmode = \"allow\"\n{files}\n[databases.a]\n");
        Tls::new(&parsed(&config)).err().map(|e| e.to_string())
    };
    assert_eq!(said(&format!("{leaf}{leaf}")), None);
    let damaged = said(&format!("{leaf}{leaf}{cut}")).expect("a certificate without its third line");
    assert!(damaged.contains("certificate 3 in it can't be read"), "{damaged}");
    let half = said(&leaf[..leaf.len() / 2]).expect("a certificate without its end");
    assert!(half.contains("a section of it has no end"), "{half}");
}
