//! The public key in a certificate, whatever else is in there.

use super::der::{FIRST_FIELD, INTEGER, SEQUENCE, element, expect};

/// SubjectPublicKeyInfo in DER, of a certificate of any version.
///
/// ```text
/// Certificate    ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signature }
/// TBSCertificate ::= SEQUENCE { [0] version DEFAULT v1, serialNumber, signature, issuer, validity, subject,
///                               subjectPublicKeyInfo, … }
/// ```
pub(super) fn of(certificate: &[u8]) -> Option<&[u8]> {
    let (whole, _) = expect(certificate, SEQUENCE)?;
    let (fields, _) = expect(whole, SEQUENCE)?;
    let mut rest = expect(fields, FIRST_FIELD).map_or(fields, |(_, rest)| rest);
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        (_, rest) = expect(rest, tag)?;
    }
    let (tag, _, behind) = element(rest)?;
    (tag == SEQUENCE).then(|| &rest[..rest.len() - behind.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};

    #[test]
    fn the_key_is_found() {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        assert_eq!(of(certificate.der()), Some(&*key.subject_public_key_info()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = of(&bytes);
            let _ = of(&[&[SEQUENCE, 0x78, SEQUENCE, 0x70][..], &bytes].concat());
        }
    }
}
