//! Made by `openssl x509 -req` and `openssl ca`, valid from 2020 to 2100, or here by the keys of rcgen.
use super::super::connector::Connector;
use super::super::{der, verify};
use super::*;
use crate::config::{self, ServerTls};
use crate::tls::{TlsError, provider};
use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData as _, SigningKey as _};
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::time::Duration;

const CA: &str = include_str!("ca.pem");
const LEAF: &str = include_str!("leaf.pem");
const OWN: &str = include_str!("own.pem");
const KEY: &str = include_str!("leaf.key");

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

fn settings(mode: &str, ca: &str, version: &str) -> (tempfile::TempDir, ServerTls) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, ca).expect("our file");
    let text = format!(
        "[pgweir]\nserver_tls_protocols = {version:?}\n[databases.a]\nserver_tls_sslmode = {mode:?}\nserver_tls_ca_file = {file:?}\n"
    );
    let config = config::parse(&text, "f").unwrap_or_else(|errors| panic!("{errors}")).0;
    let settings = config.server_tls(&config.database("a").expect("it"));
    (dir, settings)
}

/// What comes of a handshake with a server that shows this with the key of [`LEAF`].
fn handshake(shown: &str, ca: &str, (host, mode, version): (&str, &str, &str)) -> Result<(), TlsError> {
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("a key");
    let signer = provider().key_provider.load_private_key(key).expect("a key");
    let shown = rustls::sign::CertifiedKey::new(vec![certificate(shown)], signer);
    let (_dir, settings) = settings(mode, ca, version);
    crate::tls::tests::shakes_hands(shown, &Connector::new(&settings).expect("its file").expect("TLS"), host)
}

#[test]
fn what_openssl_makes_is_verified() {
    for version in ["tlsv1.2", "tlsv1.3"] {
        for (shown, ca, host, mode, error) in [
            (LEAF, CA, "localhost", "verify-full", None),
            (LEAF, CA, "LocalHost", "verify-full", None),
            (LEAF, CA, "other", "verify-ca", None),
            (OWN, OWN, "localhost", "verify-full", None),
            (LEAF, CA, "other", "verify-full", Some("certificate not valid for name \"other\"")),
            (LEAF, CA, "127.0.0.1", "verify-full", Some("certificate not valid for name \"127.0.0.1\"")),
            (OWN, CA, "localhost", "verify-ca", Some("it is self-signed, and not in server_tls_ca_file")),
            (LEAF, OWN, "localhost", "verify-ca", Some("it is signed by \"A CA\", which leads to no CA")),
        ] {
            let came = handshake(shown, ca, (host, mode, version)).map_err(|error| error.to_string());
            match (&came, error) {
                (Ok(()), None) => {}
                (Err(told), Some(expected)) if told.contains(expected) => {}
                _ => panic!("{host} {mode} {version}: {came:?}"),
            }
        }
    }
}

/// A certificate of any make.
struct Make<'a> {
    name: &'a str,
    from: &'a [u8],
    until: &'a [u8],
    issuer: &'a CertificateDer<'a>,
    signer: &'a KeyPair,
    /// Behind the key, as from version 2 on.
    more: &'a [u8],
    inner_algorithm: &'a [u8],
}

const ECDSA_SHA256: &[u8] = &[der::OBJECT_IDENTIFIER, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_SHA1: &[u8] = &[der::OBJECT_IDENTIFIER, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];

impl Make<'_> {
    fn certificate(&self, algorithm: &[u8]) -> CertificateDer<'static> {
        use crate::tls::tests::wrapped;
        let subject_of = |certificate: &[u8]| {
            let (_, rest) = expect(der::from_issuer(certificate)?, SEQUENCE)?;
            let (_, rest) = expect(rest, SEQUENCE)?;
            Some(wrapped(SEQUENCE, expect(rest, SEQUENCE)?.0))
        };
        let pair =
            [wrapped(der::OBJECT_IDENTIFIER, &[0x55, 4, 3]), wrapped(0x0c, self.name.as_bytes())].concat();
        let fields = [
            wrapped(INTEGER, &[1]),
            wrapped(SEQUENCE, self.inner_algorithm),
            subject_of(self.issuer).expect("a subject"),
            wrapped(SEQUENCE, &[self.from, self.until].concat()),
            wrapped(SEQUENCE, &wrapped(der::SET, &wrapped(SEQUENCE, &pair))),
            self.signer.subject_public_key_info(),
            self.more.to_vec(),
        ];
        let signed = wrapped(SEQUENCE, &fields.concat());
        let signature = [&[0][..], &self.signer.sign(&signed).expect("a signature")].concat();
        let parts = [signed, wrapped(SEQUENCE, algorithm), wrapped(BIT_STRING, &signature)];
        wrapped(SEQUENCE, &parts.concat()).into()
    }
}

fn authority(key: &KeyPair, name: &str) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.self_signed(key).expect("a certificate").der().clone()
}

/// `now` in seconds since 1970.
fn verified(
    shown: &CertificateDer<'_>,
    root: &CertificateDer<'_>,
    (host, now): (&'static str, u64),
) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("a root");
    let verifier = verify::Verifier {
        provider: provider(),
        roots: Some((roots, Source::File)),
        by_name: verify::ByName::Yes,
    };
    let host = ServerName::try_from(host).expect("a name");
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    verifier.verify_server_cert(shown, &[], &host, &[], now).map(drop)
}

/// 2020-01-01 and 2100-01-01, and a time between.
const FROM: &[u8] = b"\x17\x0d200101000000Z";
const UNTIL: &[u8] = b"\x18\x0f21000101000000Z";
const BETWEEN: u64 = 2_000_000_000;

#[test]
fn whatever_is_wrong_is_refused() {
    let (key, other) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
    let root = authority(&key, "root");
    let good = || Make {
        name: "db.example",
        from: FROM,
        until: UNTIL,
        issuer: &root,
        signer: &key,
        more: &[],
        inner_algorithm: ECDSA_SHA256,
    };
    let stranger = authority(&key, "stranger");
    let extensions = [0xa3, 2, SEQUENCE, 0];
    for (what, make, algorithm, now, expected) in [
        ("good", good(), ECDSA_SHA256, BETWEEN, ""),
        ("its first second", good(), ECDSA_SHA256, 1_577_836_800, ""),
        ("before", good(), ECDSA_SHA256, 1_577_836_799, "not yet valid"),
        ("its last second", good(), ECDSA_SHA256, 4_102_444_800, ""),
        ("behind", good(), ECDSA_SHA256, 4_102_444_801, "has expired"),
        ("another's key", Make { signer: &other, ..good() }, ECDSA_SHA256, BETWEEN, "signature failure"),
        ("another's name", Make { issuer: &stranger, ..good() }, ECDSA_SHA256, BETWEEN, "leads to no CA"),
        (
            "for another",
            Make { name: "db.example.org", ..good() },
            ECDSA_SHA256,
            BETWEEN,
            "not valid for name",
        ),
        ("extensions", Make { more: &extensions, ..good() }, ECDSA_SHA256, BETWEEN, "version 1"),
        ("SHA-1", Make { inner_algorithm: ECDSA_SHA1, ..good() }, ECDSA_SHA1, BETWEEN, "no longer safe"),
        ("two algorithms", Make { inner_algorithm: ECDSA_SHA1, ..good() }, ECDSA_SHA256, BETWEEN, ""),
        ("no date", Make { until: b"\x17\x01Z", ..good() }, ECDSA_SHA256, BETWEEN, "bad encoding"),
    ] {
        let came = verified(&make.certificate(algorithm), &root, ("db.example", now))
            .map_err(|e| TlsError::from(e).to_string());
        match &came {
            Ok(()) => assert!(expected.is_empty() && what != "two algorithms", "{what}"),
            Err(told) => {
                assert!(
                    told.contains(expected) && (!expected.is_empty() || what == "two algorithms"),
                    "{what}: {told}"
                );
            }
        }
    }
}

#[test]
fn names_count_as_in_libpq() {
    for (name, host, expected) in [
        ("db.example.com", "db.example.com", true),
        ("DB.example.com", "db.EXAMPLE.com", true),
        ("*.example.com", "db.Example.com", true),
        ("*.example.com", "a.db.example.com", false),
        ("*.example.com", "example.com", false),
        ("*", "localhost", false),
        ("*.", "localhost", false),
        ("*example.com", "example.com", false),
        ("d*.example.com", "db.example.com", false),
        ("127.0.0.1", "127.0.0.1", true),
        ("::1", "0::1", true),
        ("*.0.0.1", "127.0.0.1", false),
        ("example.com", "db.example.com", false),
        ("", "db.example.com", false),
    ] {
        let host = ServerName::try_from(host).expect("a name");
        assert_eq!(is_for(name, &host), expected, "{name} {host:?}");
    }
}

proptest! {
    /// A byte changed anywhere, or an end: nobody gets in, nothing panics.
    #[test]
    fn nothing_changed_passes(at in 0_usize..1000, by in 1_u8..=255, cut: bool) {
        let (mut whole, root, where_and_when) = (certificate(LEAF).to_vec(), certificate(CA), ("localhost", BETWEEN));
        prop_assert_eq!(verified(&whole.clone().into(), &root, where_and_when), Ok(()));
        let at = at % whole.len();
        if cut { whole.truncate(at) } else { whole[at] ^= by }
        prop_assert!(verified(&whole.into(), &root, where_and_when).is_err());
    }
}
