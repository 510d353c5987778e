//! As much of DER as it takes to find something in a certificate that rustls has accepted already, or needn't.

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const SET: u8 = 0x31;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const FIRST_FIELD: u8 = 0xa0;

/// The tag at the front, the contents of its element, and what is behind it.
pub(super) fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// The contents of the element at the front, if it has this tag, and what is behind it.
pub(super) fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, contents, rest) = element(der)?;
    (found == tag).then_some((contents, rest))
}

/// The fields of a certificate from its issuer on.
///
/// ```text
/// Certificate    ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signature }
/// TBSCertificate ::= SEQUENCE { [0] version DEFAULT v1, serialNumber, signature, issuer, validity, subject,
///                               subjectPublicKeyInfo, … }
/// ```
pub(super) fn from_issuer(certificate: &[u8]) -> Option<&[u8]> {
    let (whole, _) = expect(certificate, SEQUENCE)?;
    let (fields, _) = expect(whole, SEQUENCE)?;
    let rest = expect(fields, FIRST_FIELD).map_or(fields, |(_, rest)| rest);
    let (_, rest) = expect(rest, INTEGER)?;
    Some(expect(rest, SEQUENCE)?.1)
}

/// Whether a certificate names itself as the one who signed it.
pub(super) fn is_for_its_own_issuer(certificate: &[u8]) -> Option<bool> {
    let (issuer, rest) = expect(from_issuer(certificate)?, SEQUENCE)?;
    let (_, rest) = expect(rest, SEQUENCE)?;
    Some(expect(rest, SEQUENCE)?.0 == issuer)
}
