//! The common name of a certificate's subject: whom it is for, as PostgreSQL's `cert` has it.

use super::der::{OBJECT_IDENTIFIER, SEQUENCE, SET, element, expect, from_issuer};

/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;

/// The first common name of a certificate in DER. `None` if it has none, or one with a zero byte, which could seem to be a
/// shorter one, or one in an encoding without use.
pub(super) fn common_name(certificate: &[u8]) -> Option<&str> {
    text(common_name_in(subject(certificate)?)?)
}

/// Whether that common name has a zero byte, for which PostgreSQL refuses a client whatever it is to prove.
pub(super) fn has_zero_byte(certificate: &[u8]) -> bool {
    let contents = subject(certificate).and_then(common_name_in).and_then(element);
    contents.is_some_and(|(_, contents, _)| contents.contains(&0))
}

fn subject(certificate: &[u8]) -> Option<&[u8]> {
    // Issuer, validity; then the subject.
    let (_, rest) = expect(from_issuer(certificate)?, SEQUENCE)?;
    let (_, rest) = expect(rest, SEQUENCE)?;
    Some(expect(rest, SEQUENCE)?.0)
}

/// The same of who signed it.
pub(super) fn issuer_name(certificate: &[u8]) -> Option<&str> {
    text(common_name_in(expect(from_issuer(certificate)?, SEQUENCE)?.0)?)
}

/// The first common name among names, still with its encoding.
fn common_name_in(mut names: &[u8]) -> Option<&[u8]> {
    while let Some((mut set, behind)) = expect(names, SET) {
        names = behind;
        while let Some((pair, more)) = expect(set, SEQUENCE) {
            set = more;
            let (kind, value) = expect(pair, OBJECT_IDENTIFIER)?;
            if kind == COMMON_NAME {
                return Some(value);
            }
        }
    }
    None
}

fn text(value: &[u8]) -> Option<&str> {
    let (tag, contents, _) = element(value)?;
    let fits = match tag {
        UTF8_STRING => true,
        PRINTABLE_STRING | IA5_STRING | TELETEX_STRING => contents.is_ascii(),
        _ => false,
    };
    let name = std::str::from_utf8(contents).ok().filter(|_| fits)?;
    (!name.is_empty() && !name.contains('\0')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair};

    fn certificate(names: &[(DnType, DnValue)]) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        names.iter().for_each(|(kind, value)| params.distinguished_name.push(kind.clone(), value.clone()));
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn the_first_common_name_counts() {
        let utf8 = |text: &str| DnValue::Utf8String(text.to_owned());
        let printable = DnValue::PrintableString("joe".try_into().expect("printable"));
        let bmp = DnValue::BmpString("joe".try_into().expect("in Unicode"));
        let company = (DnType::OrganizationName, utf8("mallory"));
        for (names, expected, has_zero) in [
            (vec![(DnType::CommonName, utf8("joe"))], Some("joe"), false),
            (vec![company.clone(), (DnType::CommonName, utf8("jürgen"))], Some("jürgen"), false),
            (vec![(DnType::CommonName, printable)], Some("joe"), false),
            (vec![(DnType::CommonName, bmp)], None, true),
            (vec![(DnType::CommonName, utf8("joe\0x"))], None, true),
            (vec![(DnType::CommonName, utf8("joe\0"))], None, true),
            (vec![(DnType::OrganizationName, utf8("joe\0x"))], None, false),
            (vec![(DnType::CommonName, utf8(""))], None, false),
            (vec![company], None, false),
            (vec![], None, false),
        ] {
            let made = certificate(&names);
            assert_eq!((common_name(&made), has_zero_byte(&made)), (expected, has_zero), "{names:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(at in 0_usize..400, byte: u8, cut in 0_usize..400) {
            let mut whole = certificate(&[(DnType::CommonName, DnValue::Utf8String("joe".to_owned()))]);
            let at = at % whole.len();
            whole[at] = byte;
            let _ = common_name(&whole);
            whole.truncate(cut);
            let _ = common_name(&whole);
        }
    }
}
