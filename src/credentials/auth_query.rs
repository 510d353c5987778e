//! The messages of an auth_query and what its reply says. Pure.

use std::time::Duration;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::wire::cursor::Cursor;
use crate::wire::encode;
use crate::wire::error::WireError;
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend::SYNC;
use crate::wire::tag::{backend as b, frontend as f};

/// Why a reply is of no use. Quotes no secret.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Unusable {
    /// The query is wrong.
    #[error("auth_query response contains less than 2 columns")]
    Columns,
    /// It speaks of another user.
    #[error("auth_query returned another user")]
    OtherUser,
    /// The bytes aren't the protocol, or no UTF-8.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// A secret that isn't text.
    #[error("auth_query returned a password that isn't UTF-8")]
    NotUtf8,
    /// A third column that doesn't say for how long the secret is good.
    #[error("its third column is neither NULL nor a number of seconds nor infinity")]
    NoTime,
}

/// Appends Parse, Bind, Execute for one row, and Sync; `user` is bound to `$1`. Neither may hold a zero byte.
pub fn encode(out: &mut Vec<u8>, query: &str, user: &str) {
    encode::message(out, f::PARSE, |out| {
        out.push(0);
        encode::cstr(out, query.as_bytes());
        out.extend_from_slice(&[0, 0]);
    });
    encode::message(out, f::BIND, |out| {
        out.extend_from_slice(&[0, 0, 0, 0, 0, 1]);
        let size = u32::try_from(user.len()).expect("a name is part of a small packet");
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(user.as_bytes());
        out.extend_from_slice(&[0, 0]);
    });
    encode::message(out, f::EXECUTE, |out| out.extend_from_slice(&[0, 0, 0, 0, 1]));
    out.extend_from_slice(SYNC);
}

/// What a row says of a user.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// His secret.
    pub secret: Zeroizing<String>,
    /// How long from the question on PostgreSQL lets him in by it; `None`: it says nothing of an end.
    pub good_for: Option<Duration>,
}

/// What the first row of the reply says. `None` without a row, with NULL for the name or for the secret, or with a secret that is good no more.
///
/// # Errors
/// When the row isn't what a row has to be.
pub fn read(mut reply: &[u8], user: &str) -> Result<Option<Row>, Unusable> {
    while let Some(header) = frame::header(reply)? {
        let (message, rest) = reply.split_at_checked(header.size).ok_or(WireError::Short)?;
        if header.tag == b::DATA_ROW {
            return read_row(&message[HEADER..], user);
        }
        reply = rest;
    }
    Ok(None)
}

fn read_row(body: &[u8], user: &str) -> Result<Option<Row>, Unusable> {
    let mut cursor = Cursor::new(body);
    let columns = cursor.u16()?;
    if columns < 2 {
        return Err(Unusable::Columns);
    }
    let mut next = || -> Result<Option<&[u8]>, WireError> {
        let size = cursor.i32()?;
        if size < 0 {
            return Ok(None);
        }
        cursor.bytes(usize::try_from(size).map_err(|_| WireError::Short)?).map(Some)
    };
    let (name, secret) = (next()?, next()?);
    let good_for = if columns > 2 { next()? } else { None };
    let Some(name) = name else { return Ok(None) };
    if name != user.as_bytes() {
        return Err(Unusable::OtherUser);
    }
    let text = |secret| String::from_utf8(Vec::from(secret)).map(Zeroizing::new);
    let secret = secret.map(text).transpose().map_err(|_| Unusable::NotUtf8)?;
    let Some(secret) = secret else { return Ok(None) };
    let good_for = good_for.map(seconds).transpose()?.flatten();
    Ok((good_for != Some(Duration::ZERO)).then_some(Row { secret, good_for }))
}

/// How long a number of seconds is; `None`: without end, which is Infinity and what comes near it. Who has written something else there
/// means an end that nobody keeps.
fn seconds(text: &[u8]) -> Result<Option<Duration>, Unusable> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    let number = number.filter(|number| !number.is_nan()).ok_or(Unusable::NoTime)?;
    Ok(if number <= 0.0 { Some(Duration::ZERO) } else { Duration::try_from_secs_f64(number).ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[Option<&[u8]>]) -> Vec<u8> {
        let mut out = vec![b'2', 0, 0, 0, 4];
        encode::message(&mut out, b::DATA_ROW, |v| {
            v.extend_from_slice(&(columns.len() as u16).to_be_bytes());
            for column in columns {
                v.extend_from_slice(&column.map_or(-1, |c| c.len() as i32).to_be_bytes());
                v.extend_from_slice(column.unwrap_or_default());
            }
        });
        out
    }

    #[test]
    fn rows() {
        let for_as_long =
            |text: &str, good_for| Ok(Some(Row { secret: Zeroizing::new(text.to_owned()), good_for }));
        let some = |text: &str| for_as_long(text, None);
        let lasting = |millis| for_as_long("x", Some(Duration::from_millis(millis)));
        for (columns, expected) in [
            (&[Some(&b"u"[..]), Some(&b"x"[..])][..], some("x")),
            (&[Some(b"u"), Some(b""), None, Some(b"more")], some("")),
            (&[Some(b"u"), Some(b"x"), None], some("x")),
            (&[Some(b"u"), Some(b"x"), Some(b"12.5")], lasting(12_500)),
            (&[Some(b"u"), Some(b"x"), Some(b"1e1"), Some(b"3")], lasting(10_000)),
            (&[Some(b"u"), Some(b"x"), Some(b"0")], Ok(None)),
            (&[Some(b"u"), Some(b"x"), Some(b"-0.000001")], Ok(None)),
            (&[Some(b"u"), Some(b"x"), Some(b"-Infinity")], Ok(None)),
            (&[Some(b"u"), Some(b"x"), Some(b"Infinity")], some("x")),
            (&[Some(b"u"), Some(b"x"), Some(b"infinity")], some("x")),
            (&[Some(b"u"), Some(b"x"), Some(b"1e300")], some("x")),
            (&[Some(b"u"), Some(b"x"), Some(b"NaN")], Err(Unusable::NoTime)),
            (&[Some(b"u"), Some(b"x"), Some(b"2030-01-01 00:00:00+00")], Err(Unusable::NoTime)),
            (&[Some(b"u"), Some(b"x"), Some(b"\0\0\0\x01")], Err(Unusable::NoTime)),
            (&[Some(b"u"), Some(b"x"), Some(b"t")], Err(Unusable::NoTime)),
            (&[Some(b"u"), Some(b"x"), Some(b"")], Err(Unusable::NoTime)),
            (&[Some(b"u"), None, Some(b"12.5")], Ok(None)),
            (&[Some(b"u"), None, Some(b"t")], Ok(None)),
            (&[Some(b"u"), None], Ok(None)),
            (&[None, Some(b"x")], Ok(None)),
            (&[Some(b"v"), Some(b"x")], Err(Unusable::OtherUser)),
            (&[Some(b"u")], Err(Unusable::Columns)),
            (&[Some(b"u"), Some(b"\xff")], Err(Unusable::NotUtf8)),
        ] {
            assert_eq!(read(&row(columns), "u"), expected, "{columns:?}");
        }
        assert_eq!(read(b"", "u"), Ok(None));
        let whole = row(&[Some(b"u"), Some(b"x")]);
        assert!(
            (6..whole.len()).all(|end| read(&whole[..end], "u").is_ok_and(|f| f.is_none())
                || read(&whole[..end], "u").is_err())
        );
    }

    #[test]
    fn the_user_is_bound_and_never_part_of_the_text() {
        let mut out = Vec::new();
        encode(&mut out, "SELECT $1", "o'; DROP");
        let text = String::from_utf8_lossy(&out);
        assert!(
            text.starts_with("P\0\0\0\x11\0SELECT $1\0\0\0B") && text.ends_with("S\0\0\0\x04"),
            "{text:?}"
        );
        assert_eq!(text.matches("DROP").count(), 1);
    }
}
