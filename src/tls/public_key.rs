//! The public key in a certificate, whatever else is in there.

use super::der::{BIT_STRING, SEQUENCE, element, expect, from_issuer};

/// SubjectPublicKeyInfo in DER, of a certificate of any version.
pub(super) fn of(certificate: &[u8]) -> Option<&[u8]> {
    let mut rest = from_issuer(certificate)?;
    // Issuer, validity, subject.
    for _ in 0..3 {
        (_, rest) = expect(rest, SEQUENCE)?;
    }
    let (tag, _, behind) = element(rest)?;
    (tag == SEQUENCE).then(|| &rest[..rest.len() - behind.len()])
}

/// SubjectPublicKeyInfo ::= SEQUENCE { algorithm SEQUENCE { … }, subjectPublicKey BIT STRING }: of its contents, what is in the two.
pub(super) fn parts(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (kind, rest) = expect(key, SEQUENCE)?;
    let (bits, _) = expect(rest, BIT_STRING)?;
    Some((kind, bits.strip_prefix(&[0])?))
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
