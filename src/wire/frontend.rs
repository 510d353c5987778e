//! Messages a client sends: the parts the relay has to understand, and those pgweir sends itself.

use super::cursor::Cursor;
use super::encode::{cstr, message};
use super::error::WireError;
use super::frame::{self, HEADER};
use super::tag::frontend as f;

/// A Parse message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name, empty for the unnamed statement.
    pub name: &'a [u8],
    /// Everything behind the name: text, zero byte, parameter types. Equal bytes mean an equal statement.
    pub definition: &'a [u8],
    /// The text.
    pub query: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Types of the first parameters; 0 is one that isn't known.
    ///
    /// # Errors
    /// None for one that has been read.
    pub fn kinds(&self) -> Result<Vec<u32>, WireError> {
        let mut c = Cursor::new(&self.definition[self.query.len() + 1..]);
        (0..c.u16()?).map(|_| c.i32().map(i32::cast_unsigned)).collect()
    }

    /// Reads a message body; checks it to its end.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut c = Cursor::new(body);
        let name = c.cstr()?;
        let definition = c.rest();
        let query = c.cstr()?;
        let types = c.u16()?;
        c.bytes(usize::from(types) * 4)?;
        c.end()?;
        Ok(Self { name, definition, query })
    }

    /// Appends a Parse of `definition` under `name`.
    pub fn encode(out: &mut Vec<u8>, name: &[u8], definition: &[u8]) {
        message(out, f::PARSE, |out| {
            cstr(out, name);
            out.extend_from_slice(definition);
        });
    }
}

/// The two names at the front of a Bind message; the rest is relayed unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindNames<'a> {
    /// The portal's name.
    pub portal: &'a [u8],
    /// The statement's name.
    pub statement: &'a [u8],
    /// Bytes of the body both names and their zero bytes take.
    pub size: usize,
}

impl<'a> BindNames<'a> {
    /// Reads the names, `None` while `body` doesn't yet hold both.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut c = Cursor::new(body);
        let portal = c.cstr().ok()?;
        let statement = c.cstr().ok()?;
        Some(Self { portal, statement, size: body.len() - c.rest().len() })
    }
}

/// How many formats of results the body of a Bind names: none or one for all columns, or one for each; `None` if it isn't whole.
pub fn result_formats(bind: &[u8]) -> Option<u16> {
    let mut c = Cursor::new(bind);
    c.cstr().ok()?;
    c.cstr().ok()?;
    let formats = c.u16().ok()?;
    c.bytes(2 * usize::from(formats)).ok()?;
    for _value in 0..c.u16().ok()? {
        if let Ok(size) = usize::try_from(c.i32().ok()?) {
            c.bytes(size).ok()?;
        }
    }
    c.u16().ok()
}

/// What Describe and Close name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal.
    Portal(&'a [u8]),
}

impl<'a> Target<'a> {
    /// Reads the body of Describe or Close.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut c = Cursor::new(body);
        let kind = c.u8()?;
        let name = c.cstr()?;
        c.end()?;
        match kind {
            b'S' => Ok(Self::Statement(name)),
            b'P' => Ok(Self::Portal(name)),
            _ => Err(WireError::Trailing),
        }
    }
}

/// Appends Describe of a statement.
pub fn describe_statement(out: &mut Vec<u8>, name: &[u8]) {
    target(out, f::DESCRIBE, name);
}

/// Appends Flush: the server sends what it has answered.
pub fn flush(out: &mut Vec<u8>) {
    message(out, f::FLUSH, |_| ());
}

/// Appends Close of a statement.
pub fn close_statement(out: &mut Vec<u8>, name: &[u8]) {
    target(out, f::CLOSE, name);
}

fn target(out: &mut Vec<u8>, tag: u8, name: &[u8]) {
    message(out, tag, |out| {
        out.push(b'S');
        cstr(out, name);
    });
}

/// Appends the front of a Bind: header and names. `rest` is how many bytes of the body follow.
pub fn bind_names(out: &mut Vec<u8>, portal: &[u8], statement: &[u8], rest: usize) {
    let front = portal.len() + 1 + statement.len() + 1;
    let len = u32::try_from(4 + front + rest).expect("a Bind is at most 1 GiB and a name at most that");
    let [a, b, c, d] = len.to_be_bytes();
    out.reserve(HEADER + front);
    out.extend_from_slice(&[f::BIND, a, b, c, d]);
    cstr(out, portal);
    cstr(out, statement);
}

/// Appends the front of a Parse: header and name. `rest` is how many bytes of the body follow.
pub fn parse_name(out: &mut Vec<u8>, name: &[u8], rest: usize) {
    out.push(f::PARSE);
    let len =
        u32::try_from(4 + name.len() + 1 + rest).expect("a Parse is at most 1 GiB and a name at most that");
    out.extend_from_slice(&len.to_be_bytes());
    cstr(out, name);
}

/// Appends a simple Query.
pub fn query(out: &mut Vec<u8>, text: &[u8]) {
    message(out, f::QUERY, |out| cstr(out, text));
}

/// Appends what runs a text without parameters by the unnamed statement and portal: Parse, Bind, Execute. No Sync.
pub fn execute_unnamed(out: &mut Vec<u8>, text: &[u8]) {
    message(out, f::PARSE, |out| {
        out.push(0);
        cstr(out, text);
        out.extend_from_slice(&[0; 2]);
    });
    message(out, f::BIND, |out| out.extend_from_slice(&[0; 8]));
    message(out, f::EXECUTE, |out| out.extend_from_slice(&[0; 5]));
}

/// Where the first message ends that brings a ReadyForQuery, or all there is, if none does. Behind a failure in the extended
/// protocol PostgreSQL skips at least that much.
pub fn first_batch(input: &[u8]) -> usize {
    let mut at = 0;
    while let Ok(Some(header)) = frame::header(&input[at..]) {
        at += header.size;
        if at >= input.len() {
            break;
        }
        if matches!(header.tag, f::QUERY | f::FUNCTION_CALL | f::SYNC) {
            return at;
        }
    }
    input.len()
}

/// Whether one of the whole messages of `input`, which begins with one, is a Terminate.
pub fn says_goodbye(mut input: &[u8]) -> bool {
    while let Ok(Some(header)) = frame::header(input) {
        if header.tag == f::TERMINATE {
            return true;
        }
        let Some(rest) = input.get(header.size..) else { return false };
        input = rest;
    }
    false
}

/// Appends what runs a text without parameters once, under a name of its own for statement and portal, whatever had it before: Close of
/// both, Parse, Bind, Execute, and Close of the statement. No Sync.
pub fn execute_once(out: &mut Vec<u8>, name: &[u8], text: &[u8]) {
    close_statement(out, name);
    message(out, f::CLOSE, |out| {
        out.push(b'P');
        cstr(out, name);
    });
    message(out, f::PARSE, |out| {
        cstr(out, name);
        cstr(out, text);
        out.extend_from_slice(&[0; 2]);
    });
    bind_names(out, name, name, 6);
    out.extend_from_slice(&[0; 6]);
    message(out, f::EXECUTE, |out| {
        cstr(out, name);
        out.extend_from_slice(&[0; 4]);
    });
    close_statement(out, name);
}

/// Sync, whole.
pub const SYNC: &[u8] = b"S\0\0\0\x04";
/// Terminate, whole.
pub const TERMINATE: &[u8] = b"X\0\0\0\x04";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parse_round_trip() {
        let mut m = Vec::new();
        Parse::encode(&mut m, b"s1", b"SELECT $1\0\0\x01\0\0\0\x17");
        assert_eq!(m.len(), u32::from_be_bytes([m[1], m[2], m[3], m[4]]) as usize + 1);
        let p = Parse::read(&m[5..]).unwrap();
        assert_eq!((p.name, p.query), (&b"s1"[..], &b"SELECT $1"[..]));
        assert_eq!(Parse::read(b"s\0q\0\0\x01\0"), Err(WireError::Short));
        assert_eq!(Parse::read(b"s\0q\0\0\0x"), Err(WireError::Trailing));
        assert_eq!(Parse::read(b"s\0q"), Err(WireError::Unterminated));
    }

    #[test]
    fn bind_front() {
        let mut m = Vec::new();
        bind_names(&mut m, b"p", b"st", 6);
        m.extend_from_slice(&[0; 6]);
        assert_eq!(u32::from_be_bytes([m[1], m[2], m[3], m[4]]) as usize + 1, m.len());
        let names = BindNames::read(&m[5..]).unwrap();
        assert_eq!((names.portal, names.statement, names.size), (&b"p"[..], &b"st"[..], 5));
        assert_eq!(BindNames::read(b"p\0st"), None);
    }

    #[test]
    fn batches() {
        let mut unsynced = Vec::new();
        execute_unnamed(&mut unsynced, b"SELECT 1");
        assert_eq!(first_batch(&unsynced), unsynced.len());
        let batch = [&unsynced[..], SYNC].concat();
        assert_eq!(first_batch(&batch), batch.len());
        assert_eq!(first_batch(&[&batch[..], &batch].concat()), batch.len());
        assert_eq!(first_batch(&[&batch[..], b"Q\0"].concat()), batch.len());
        let mut simple = Vec::new();
        query(&mut simple, b"SELECT 1");
        assert_eq!(first_batch(&[&simple[..], &batch].concat()), simple.len());
        assert_eq!(first_batch(&[&unsynced[..], &simple, TERMINATE].concat()), unsynced.len() + simple.len());
        for part in [&b""[..], b"Q", &simple[..simple.len() - 1]] {
            assert_eq!(first_batch(part), part.len());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Parse::read(&body);
            let _ = BindNames::read(&body);
            let _ = result_formats(&body);
            let _ = Target::read(&body);
            prop_assert!(first_batch(&body) <= body.len());
        }
    }
}
