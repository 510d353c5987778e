//! What a provider of passwords gives, and when such a password says itself that it ends: tokens of AWS RDS are signed
//! addresses, those of Azure JSON Web Tokens. Anything else is a password like any other.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Longest password taken, in bytes: PostgreSQL takes 65,535 at most, and tokens have some thousands.
pub const LONGEST: usize = 32 * 1024;

/// Why what a provider gave is no password. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPassword {
    /// There is nothing, or nothing but an end of line.
    #[error("gave nothing")]
    Empty,
    /// More than [`LONGEST`].
    #[error("gave more than {LONGEST} bytes")]
    TooLong,
    /// It can't be sent as a password.
    #[error("gave what is no single line of UTF-8 text")]
    NoText,
}

/// The password in what a provider gave: all of it without the end of its line.
///
/// # Errors
/// When that can't be one.
pub fn password(given: &[u8]) -> Result<Zeroizing<String>, NoPassword> {
    if given.len() > LONGEST {
        return Err(NoPassword::TooLong);
    }
    let text = str::from_utf8(given).map_err(|_| NoPassword::NoText)?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line {
        "" => Err(NoPassword::Empty),
        line if line.contains(['\0', '\n', '\r']) => Err(NoPassword::NoText),
        line => Ok(Zeroizing::new(line.to_owned())),
    }
}

/// When a password ends by its own word, in seconds since 1970.
pub fn expires(password: &str) -> Option<u64> {
    of_signed_address(password).or_else(|| of_json_web_token(password))
}

/// `…?…&X-Amz-Date=20260101T120000Z&X-Amz-Expires=900&…`
fn of_signed_address(password: &str) -> Option<u64> {
    let (_, query) = password.split_once('?')?;
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let lasts: u64 = value("X-Amz-Expires")?.parse().ok()?;
    timestamp(value("X-Amz-Date")?)?.checked_add(lasts)
}

/// Seconds since 1970 at a moment such as `20260101T120000Z`.
fn timestamp(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let digits = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(date, 8) || !digits(time, 6) {
        return None;
    }
    let number = |text: &str| text.parse::<u64>().ok();
    let (year, month, day) = (number(&date[..4])?, number(&date[4..6])?, number(&date[6..])?);
    let (hour, minute, second) = (number(&time[..2])?, number(&time[2..4])?, number(&time[4..])?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin with March: the leap day is the last.
    let shifted = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[derive(Deserialize)]
struct Claims {
    exp: f64,
}

fn of_json_web_token(password: &str) -> Option<u64> {
    let mut parts = password.split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    // Past the bounds, it saturates.
    (exp > 0.0).then_some(exp as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn passwords() {
        let table: [(&[u8], Result<&str, NoPassword>); 9] = [
            (b"secret", Ok("secret")),
            (b"secret\n", Ok("secret")),
            (b"secret\r\n", Ok("secret")),
            (b" two words ", Ok(" two words ")),
            (b"", Err(NoPassword::Empty)),
            (b"\n", Err(NoPassword::Empty)),
            (b"a\nb\n", Err(NoPassword::NoText)),
            (b"a\0b", Err(NoPassword::NoText)),
            (b"\xff", Err(NoPassword::NoText)),
        ];
        for (given, expected) in table {
            let found = password(given);
            assert_eq!(found.as_ref().map(|text| text.as_str()).map_err(|e| *e), expected, "{given:?}");
        }
        assert!(password(&vec![b'a'; LONGEST]).is_ok());
        assert_eq!(password(&vec![b'a'; LONGEST + 1]), Err(NoPassword::TooLong));
    }

    #[test]
    fn ends() {
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let signed = |date: &str, lasts: &str| {
            format!(
                "db.example.com:5432/?Action=connect&X-Amz-Date={date}&X-Amz-Expires={lasts}&X-Amz-Signature=0"
            )
        };
        let table = [
            (signed("20260101T120000Z", "900"), Some(1_767_268_800 + 900)),
            (signed("20240229T235959Z", "1"), Some(1_709_251_200)),
            (signed("19700101T000000Z", "0"), Some(0)),
            (signed("20261301T000000Z", "900"), None),
            (signed("2026010T1200000Z", "900"), None),
            (signed("20260101T120000Z", "soon"), None),
            (token(r#"{"exp":1767268800,"sub":"x"}"#), Some(1_767_268_800)),
            (token(r#"{"exp":1767268800.5}"#), Some(1_767_268_800)),
            (token(r#"{"sub":"x"}"#), None),
            (token(r#"{"exp":-1}"#), None),
            (format!("{}.d", token(r#"{"exp":1767268800}"#)), None),
            ("secret".to_owned(), None),
        ];
        for (text, expected) in table {
            assert_eq!(expires(&text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(given in proptest::collection::vec(any::<u8>(), 0..80), text in ".{0,20}[?].*[TZ.]{0,3}") {
            let _ = password(&given).map(|text| expires(&text));
            let _ = expires(&text);
            let _ = timestamp(&text);
        }
    }
}
