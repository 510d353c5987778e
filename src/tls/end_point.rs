//! `tls-server-end-point` (RFC 5929): the hash of the server's certificate by the hash function of its own signature, or
//! SHA-256 where that is MD5 or SHA-1.

use super::der::{FIRST_FIELD, OBJECT_IDENTIFIER, SEQUENCE, expect};
use crate::auth::scram::messages::EndPoint;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

/// 1.2.840.113549.1.1: RSA, with the hash in the last number.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.2.840.10045.4: ECDSA.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
/// 2.16.840.1.101.3.4.2: hashes by themselves.
const HASHES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

/// What a certificate in DER binds to; `None` where its signature has no hash function of its own, as Ed25519's hasn't.
pub(super) fn of(certificate: &[u8]) -> Option<EndPoint> {
    match hash_of(certificate)? {
        Hash::Sha224 => EndPoint::new(&Sha224::digest(certificate)),
        Hash::Sha256 => EndPoint::new(&Sha256::digest(certificate)),
        Hash::Sha384 => EndPoint::new(&Sha384::digest(certificate)),
        Hash::Sha512 => EndPoint::new(&Sha512::digest(certificate)),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID, parameters }, signature }
fn hash_of(certificate: &[u8]) -> Option<Hash> {
    let (whole, _) = expect(certificate, SEQUENCE)?;
    let (_, rest) = expect(whole, SEQUENCE)?;
    let (algorithm, _) = expect(rest, SEQUENCE)?;
    let (name, parameters) = expect(algorithm, OBJECT_IDENTIFIER)?;
    if let Some(last) = name.strip_prefix(RSA) {
        return match last {
            [4 | 5 | 11] => Some(Hash::Sha256),
            [14] => Some(Hash::Sha224),
            [12] => Some(Hash::Sha384),
            [13] => Some(Hash::Sha512),
            [10] => of_pss(parameters),
            _ => None,
        };
    }
    match name.strip_prefix(ECDSA)? {
        [1] | [3, 2] => Some(Hash::Sha256),
        [3, 1] => Some(Hash::Sha224),
        [3, 3] => Some(Hash::Sha384),
        [3, 4] => Some(Hash::Sha512),
        _ => None,
    }
}

/// RSASSA-PSS-params ::= SEQUENCE { [0] SEQUENCE { OID } DEFAULT SHA-1, … }
fn of_pss(parameters: &[u8]) -> Option<Hash> {
    let (parameters, _) = expect(parameters, SEQUENCE)?;
    let Some((hash, _)) = expect(parameters, FIRST_FIELD) else { return Some(Hash::Sha256) };
    let (algorithm, _) = expect(hash, SEQUENCE)?;
    let (name, _) = expect(algorithm, OBJECT_IDENTIFIER)?;
    match name.strip_prefix(HASHES)? {
        [1] => Some(Hash::Sha256),
        [2] => Some(Hash::Sha384),
        [3] => Some(Hash::Sha512),
        [4] => Some(Hash::Sha224),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};
    use std::sync::LazyLock;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn the_hash_is_the_signatures() {
        let p256 = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(of(&p256).expect("a hash").as_bytes(), &Sha256::digest(&p256)[..]);
        let p384 = certificate(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(of(&p384).expect("a hash").as_bytes(), &Sha384::digest(&p384)[..]);
        assert!(of(&certificate(&rcgen::PKCS_ED25519)).is_none());
    }

    /// A certificate with nothing in it but the name of its signature's algorithm.
    fn signed_by(name: &[u8], parameters: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, parts: &[&[u8]]| {
            let contents = parts.concat();
            let length = u8::try_from(contents.len()).expect("short");
            [&[tag, length], &contents[..]].concat()
        };
        let algorithm = wrap(SEQUENCE, &[&wrap(OBJECT_IDENTIFIER, &[name]), parameters]);
        wrap(SEQUENCE, &[&wrap(SEQUENCE, &[]), &algorithm, &[3, 1, 0]])
    }

    #[test]
    fn every_signature() {
        let with_null = [5, 0];
        for (last, hash) in [
            (4, Some(Hash::Sha256)),
            (5, Some(Hash::Sha256)),
            (11, Some(Hash::Sha256)),
            (12, Some(Hash::Sha384)),
            (13, Some(Hash::Sha512)),
            (14, Some(Hash::Sha224)),
            (99, None),
        ] {
            assert_eq!(hash_of(&signed_by(&[RSA, &[last]].concat(), &with_null)), hash);
        }
        for (last, hash) in [(&[1][..], Hash::Sha256), (&[3, 2], Hash::Sha256), (&[3, 4], Hash::Sha512)] {
            assert_eq!(hash_of(&signed_by(&[ECDSA, last].concat(), &[])), Some(hash));
        }
        let pss = [RSA, &[10]].concat();
        assert_eq!(hash_of(&signed_by(&pss, &[SEQUENCE, 0])), Some(Hash::Sha256), "SHA-1 by default");
        let name = [&[OBJECT_IDENTIFIER, 9], HASHES, &[3]].concat();
        let sha512 = [&[SEQUENCE, 15, FIRST_FIELD, 13, SEQUENCE, 11], &name[..]].concat();
        assert_eq!(hash_of(&signed_by(&pss, &sha512)), Some(Hash::Sha512));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..80), cut in 0usize..300) {
            let _ = of(&bytes);
            static REAL: LazyLock<Vec<u8>> = LazyLock::new(|| certificate(&rcgen::PKCS_ECDSA_P256_SHA256));
            let _ = of(&REAL[..cut.min(REAL.len())]);
        }
    }
}
