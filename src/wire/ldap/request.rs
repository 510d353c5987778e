//! What a directory is asked.

use thiserror::Error;
use zeroize::Zeroizing;

use super::ber::{BOOLEAN, ENUMERATED, INTEGER, OCTET_STRING, SEQUENCE, Writer};
use super::filter;

const BIND: u8 = 0x60;
const UNBIND: u8 = 0x42;
const SEARCH: u8 = 0x63;
const EXTENDED: u8 = 0x77;

/// Of a bind: its password.
const SIMPLE: u8 = 0x80;
/// Of an extended request: its name.
const NAME: u8 = 0x80;
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// It can't be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the filter of the search is none")]
pub struct FilterError;

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// That entry only.
    Base,
    /// Those below it.
    One,
    /// All below it.
    Sub,
}

/// A search. Aliases aren't followed.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Where it begins.
    pub base: &'a str,
    /// How far it goes.
    pub scope: Scope,
    /// The most entries wanted; 0: all.
    pub most: u32,
    /// Which, as RFC 4515 has it, in parentheses.
    pub filter: &'a str,
    /// What each is to tell of itself.
    pub attributes: &'a [String],
}

fn message<T>(id: u32, content: usize, operation: impl FnOnce(&mut Writer) -> T) -> (Zeroizing<Vec<u8>>, T) {
    let mut out = Writer::new(content);
    let made = out.nested(SEQUENCE, |out| {
        out.number(INTEGER, id);
        operation(out)
    });
    (out.finish(), made)
}

/// To be somebody, by a password.
pub fn bind(id: u32, name: &str, password: &str) -> Zeroizing<Vec<u8>> {
    let (message, ()) = message(id, name.len() + password.len(), |out| {
        out.nested(BIND, |out| {
            out.number(INTEGER, 3);
            out.bytes(OCTET_STRING, name.as_bytes());
            out.bytes(SIMPLE, password.as_bytes());
        });
    });
    message
}

/// To be told entries.
///
/// # Errors
/// If the filter isn't one.
pub fn search(id: u32, query: &Query<'_>) -> Result<Zeroizing<Vec<u8>>, FilterError> {
    let (message, filtered) = message(id, query.base.len() + query.filter.len(), |out| {
        out.nested(SEARCH, |out| {
            let scope = match query.scope {
                Scope::Base => 0,
                Scope::One => 1,
                Scope::Sub => 2,
            };
            out.bytes(OCTET_STRING, query.base.as_bytes());
            out.number(ENUMERATED, scope);
            // Aliases: never.
            out.number(ENUMERATED, 0);
            out.number(INTEGER, query.most);
            // Seconds: any.
            out.number(INTEGER, 0);
            // Names of attributes without their values: no.
            out.bytes(BOOLEAN, &[0]);
            filter::write(out, query.filter)?;
            out.nested(SEQUENCE, |out| {
                query.attributes.iter().for_each(|name| out.bytes(OCTET_STRING, name.as_bytes()));
            });
            Ok(())
        })
    });
    filtered.map(|()| message)
}

/// To go on over TLS.
pub fn start_tls(id: u32) -> Zeroizing<Vec<u8>> {
    let (message, ()) =
        message(id, START_TLS.len(), |out| out.nested(EXTENDED, |out| out.bytes(NAME, START_TLS)));
    message
}

/// To end the connection; it isn't answered.
pub fn unbind(id: u32) -> Zeroizing<Vec<u8>> {
    message(id, 0, |out| out.bytes(UNBIND, &[])).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_as_they_are_sent() {
        assert_eq!(
            &*bind(1, "cn=a", "pw"),
            b"\x30\x12\x02\x01\x01\x60\x0d\x02\x01\x03\x04\x04cn=a\x80\x02pw"
        );
        assert_eq!(&*unbind(200), b"\x30\x06\x02\x02\x00\xc8\x42\x00");
        assert_eq!(&*start_tls(1), b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037");
        let query = Query {
            base: "dc=x",
            scope: Scope::Sub,
            most: 2,
            filter: "(a=*)",
            attributes: &["a".into(), "b".into()],
        };
        assert_eq!(
            search(3, &query).unwrap()[..],
            *b"\x30\x25\x02\x01\x03\x63\x20\x04\x04dc=x\x0a\x01\x02\x0a\x01\x00\x02\x01\x02\x02\x01\x00\x01\x01\x00\
               \x87\x01a\x30\x06\x04\x01a\x04\x01b"
        );
        assert_eq!(search(3, &Query { filter: "a", ..query }), Err(FilterError));
        let long = bind(1, &"n".repeat(70_000), "pw");
        assert_eq!(&long[..8], b"\x30\x83\x01\x11\x84\x02\x01\x01");
    }
}
