//! The messages of an auth_query and what its reply says. Pure.

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

/// The secret in the reply: that of its first row. `None` without a row, or with NULL for the name or for the secret.
///
/// # Errors
/// When the row isn't what a row has to be.
pub fn read(mut reply: &[u8], user: &str) -> Result<Option<Zeroizing<String>>, Unusable> {
    while let Some(header) = frame::header(reply)? {
        let (message, rest) = reply.split_at_checked(header.size).ok_or(WireError::Short)?;
        if header.tag == b::DATA_ROW {
            return read_row(&message[HEADER..], user);
        }
        reply = rest;
    }
    Ok(None)
}

fn read_row(body: &[u8], user: &str) -> Result<Option<Zeroizing<String>>, Unusable> {
    let mut cursor = Cursor::new(body);
    if cursor.u16()? < 2 {
        return Err(Unusable::Columns);
    }
    let mut columns = [None; 2];
    for column in &mut columns {
        let size = cursor.i32()?;
        if size >= 0 {
            *column = Some(cursor.bytes(usize::try_from(size).map_err(|_| WireError::Short)?)?);
        }
    }
    let [Some(name), secret] = columns else { return Ok(None) };
    if name != user.as_bytes() {
        return Err(Unusable::OtherUser);
    }
    let text = |secret| String::from_utf8(Vec::from(secret)).map(Zeroizing::new);
    secret.map(text).transpose().map_err(|_| Unusable::NotUtf8)
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
        let some = |text: &str| Ok(Some(Zeroizing::new(text.to_owned())));
        for (columns, expected) in [
            (&[Some(&b"u"[..]), Some(&b"x"[..])][..], some("x")),
            (&[Some(b"u"), Some(b""), Some(b"more")], some("")),
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
