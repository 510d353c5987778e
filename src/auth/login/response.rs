//! The bodies of `p` messages: PasswordMessage and SASLInitialResponse.
//! No length in them is believed before it is compared with what is there.

use super::Detail;
use crate::auth::scram::{MECHANISM, MECHANISM_PLUS};

/// The text of a PasswordMessage: exactly one terminator, at its end, and something before it.
pub(super) fn password(body: &[u8]) -> Result<&[u8], Detail> {
    match body.split_last() {
        Some((0, text)) if text.contains(&0) => Err(Detail::Protocol("invalid password packet size")),
        Some((0, [])) => Err(Detail::EmptyPassword),
        Some((0, text)) => Ok(text),
        _ => Err(Detail::Protocol("invalid password packet size")),
    }
}

/// Which of our mechanisms a client chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    /// Without channel binding.
    Bare,
    /// With it.
    Plus,
}

/// The mechanism and the data of a SASLInitialResponse; `None` if it has none (length -1), which is not the same as empty
/// data.
pub(super) fn sasl_initial(body: &[u8]) -> Result<(Mechanism, Option<&[u8]>), Detail> {
    const BROKEN: Detail = Detail::Protocol("invalid SASLInitialResponse");
    let end = body.iter().position(|b| *b == 0).ok_or(BROKEN)?;
    let mechanism = match &body[..end] {
        name if name == MECHANISM.as_bytes() => Mechanism::Bare,
        name if name == MECHANISM_PLUS.as_bytes() => Mechanism::Plus,
        _ => return Err(Detail::Mechanism),
    };
    let (length, data) = body[end + 1..].split_first_chunk::<4>().ok_or(BROKEN)?;
    match i32::from_be_bytes(*length) {
        -1 if data.is_empty() => Ok((mechanism, None)),
        length if usize::try_from(length) == Ok(data.len()) => Ok((mechanism, Some(data))),
        _ => Err(BROKEN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_one_terminator_at_its_end() {
        let broken = Err(Detail::Protocol("invalid password packet size"));
        for (body, expected) in [
            (&b"secret\0"[..], Ok(&b"secret"[..])),
            (b"\xff\xfe\0", Ok(b"\xff\xfe")),
            (b"\0", Err(Detail::EmptyPassword)),
            (b"", broken.clone()),
            (b"secret", broken.clone()),
            (b"sec\0ret\0", broken.clone()),
            (b"secret\0\0", broken.clone()),
            (b"\0\0", broken),
        ] {
            assert_eq!(password(body), expected, "{}", body.escape_ascii());
        }
    }

    /// CVE-2026-6664: lengths that lie, in the one message before authentication that has a length inside.
    #[test]
    fn lengths_that_lie_are_refused() {
        let with = |length: u32, data: &[u8]| [b"SCRAM-SHA-256\0", &length.to_be_bytes()[..], data].concat();
        for length in [0, 1, 2, 4, u32::MAX - 1, 1 << 31, (1 << 31) - 1, (1 << 31) + 3, 1 << 24] {
            let body = with(length, b"n,,");
            assert_eq!(sasl_initial(&body), Err(Detail::Protocol("invalid SASLInitialResponse")), "{length}");
        }
        assert!(sasl_initial(&with(u32::MAX, b"n,,")).is_err());
        assert_eq!(sasl_initial(&with(3, b"n,,")), Ok((Mechanism::Bare, Some(&b"n,,"[..]))));
        assert_eq!(sasl_initial(&with(0, b"")), Ok((Mechanism::Bare, Some(&b""[..]))));
        assert_eq!(sasl_initial(&with(u32::MAX, b"")), Ok((Mechanism::Bare, None)));
        let plus = [b"SCRAM-SHA-256-PLUS\0", &u32::MAX.to_be_bytes()[..]].concat();
        assert_eq!(sasl_initial(&plus), Ok((Mechanism::Plus, None)));
    }

    #[test]
    fn a_cut_message_is_refused() {
        let whole = b"SCRAM-SHA-256\0\0\0\0\x03n,,";
        for end in 0..whole.len() {
            assert!(sasl_initial(&whole[..end]).is_err(), "{end}");
        }
        assert!(sasl_initial(whole).is_ok());
    }

    #[test]
    fn only_known_mechanisms_are_accepted() {
        for name in ["", "SCRAM-SHA-256-PLU", "scram-sha-256", "SCRAM-SHA-1", "PLAIN"] {
            let body = [name.as_bytes(), b"\0\0\0\0\x03n,,"].concat();
            assert_eq!(sasl_initial(&body), Err(Detail::Mechanism), "{name}");
        }
    }
}
