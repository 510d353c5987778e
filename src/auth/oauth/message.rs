//! The messages of OAUTHBEARER, with PostgreSQL's words for what is wrong with one.

use serde_json::Value;
use thiserror::Error;

use super::MECHANISM;

/// What stands between and behind the pairs of a message.
const SEPARATOR: u8 = 1;
/// What a client answers to a failure.
pub(super) const HEARD: &[u8] = &[SEPARATOR];
/// What an issuer publishes of itself is behind that.
pub(super) const WELL_KNOWN: &str = "/.well-known/";

/// Why a message isn't one. SQLSTATE 08P01, but for [`Self::Identity`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// It isn't a SASLInitialResponse.
    #[error("invalid SASLInitialResponse")]
    Initial,
    /// It is for another mechanism.
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    /// It breaks the mechanism's own form.
    #[error("malformed OAUTHBEARER message")]
    Message(&'static str),
    /// It wants to act for somebody else.
    #[error("client uses authorization identity, but it is not supported")]
    Identity,
}

/// The data of a SASLInitialResponse; `None` if it has none (length -1), which is not the same as empty data.
pub(super) fn initial(body: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let end = body.iter().position(|b| *b == 0).ok_or(Malformed::Initial)?;
    if &body[..end] != MECHANISM.as_bytes() {
        return Err(Malformed::Mechanism);
    }
    let (length, data) = body[end + 1..].split_first_chunk::<4>().ok_or(Malformed::Initial)?;
    match i32::from_be_bytes(*length) {
        -1 if data.is_empty() => Ok(None),
        length if usize::try_from(length) == Ok(data.len()) => Ok(Some(data)),
        _ => Err(Malformed::Initial),
    }
}

/// The value of `auth` in a client's first message: `n,,^Aauth=Bearer …^A^A`, with other pairs around it, perhaps.
pub(super) fn auth(data: &[u8]) -> Result<&str, Malformed> {
    let broken = |why| Err(Malformed::Message(why));
    if data.is_empty() {
        return broken("The message is empty.");
    }
    if data.contains(&0) {
        return broken("Message length does not match input length.");
    }
    let rest = match data {
        [b'p', ..] => {
            return broken(
                "The server does not support channel binding for OAuth, but the client message includes channel binding data.",
            );
        }
        [b'n' | b'y', b',', rest @ ..] => rest,
        [b'n' | b'y', ..] => return broken("Comma expected after the channel-binding flag."),
        _ => return broken("Unexpected channel-binding flag."),
    };
    let pairs = match rest {
        [b'a', ..] => return Err(Malformed::Identity),
        [b',', SEPARATOR, pairs @ ..] => pairs,
        [b',', ..] => return broken("Key-value separator expected."),
        _ => return broken("Unexpected attribute in client-first-message."),
    };
    value(pairs)
}

fn value(mut pairs: &[u8]) -> Result<&str, Malformed> {
    let broken = |why| Err(Malformed::Message(why));
    let mut auth = None;
    while !pairs.is_empty() {
        let Some(end) = pairs.iter().position(|b| *b == SEPARATOR) else {
            return broken("Message contains an unterminated key/value pair.");
        };
        let (pair, rest) = (&pairs[..end], &pairs[end + 1..]);
        if pair.is_empty() {
            return match auth {
                None => broken("Message does not contain an auth value."),
                Some(_) if !rest.is_empty() => {
                    broken("Message contains additional data after the final terminator.")
                }
                Some(value) => Ok(value),
            };
        }
        match checked(pair)? {
            ("auth", _) if auth.is_some() => return broken("Message contains multiple auth values."),
            ("auth", value) => auth = Some(value),
            _ => {}
        }
        pairs = rest;
    }
    broken("Message did not contain a final terminator.")
}

/// Key and value of a pair.
fn checked(pair: &[u8]) -> Result<(&str, &str), Malformed> {
    let broken = |why| Err(Malformed::Message(why));
    let Some(sign) = pair.iter().position(|b| *b == b'=') else {
        return broken("Message contains a key without a value.");
    };
    let (key, value) = (&pair[..sign], &pair[sign + 1..]);
    if key.is_empty() {
        return broken("Message contains an empty key name.");
    }
    if !key.iter().all(u8::is_ascii_alphabetic) {
        return broken("Message contains an invalid key name.");
    }
    if !value.iter().all(|b| matches!(b, b'!'..=b'~' | b' ' | b'\t' | b'\r' | b'\n')) {
        return broken("Message contains an invalid value.");
    }
    match (str::from_utf8(key), str::from_utf8(value)) {
        (Ok(key), Ok(value)) => Ok((key, value)),
        _ => broken("Message contains an invalid value."),
    }
}

/// The token in the value of `auth`, if there is one in the right form (RFC 6750).
pub(super) fn bearer(value: &str) -> Option<&str> {
    const SCHEME: &str = "Bearer ";
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let token = token.trim_start_matches(' ');
    let body = token.trim_end_matches('=');
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    (scheme.eq_ignore_ascii_case(SCHEME) && !body.is_empty() && body.bytes().all(is_allowed)).then_some(token)
}

/// What a client is told that has failed.
pub(super) fn failure(issuer: &str, scope: &str) -> Vec<u8> {
    let published = if issuer.contains(WELL_KNOWN) { "" } else { "/.well-known/openid-configuration" };
    let (at, scope) = (Value::from(format!("{issuer}{published}")), Value::from(scope));
    format!("{{ \"status\": \"invalid_token\", \"openid-configuration\": {at}, \"scope\": {scope} }}")
        .into_bytes()
}
