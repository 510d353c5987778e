//! The five bytes in front of every message after the startup, and the lengths PostgreSQL allows.

use super::error::WireError;
use super::tag::frontend as f;

/// Bytes of a message header: type and length.
pub const HEADER: usize = 5;

/// PostgreSQL's limit for a client's messages that carry data (`PQ_LARGE_MESSAGE_LIMIT`), length field included.
pub const LARGE: u32 = 0x3fff_fffe;

/// The longest message PostgreSQL itself can send: a body of `MaxAllocSize` and the length field.
pub const LONGEST: u32 = 0x4000_0003;

/// PostgreSQL's limit for all other messages of a client (`PQ_SMALL_MESSAGE_LIMIT`).
pub const SMALL: u32 = 10_000;

/// A message header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The type byte.
    pub tag: u8,
    /// Whole message in bytes: type, length and body. At least 5.
    pub size: usize,
}

/// The header at the front of `bytes`, `None` while fewer than five bytes are there.
///
/// Errors when the length field is below 4 or above [`LONGEST`].
#[inline]
pub fn header(bytes: &[u8]) -> Result<Option<Header>, WireError> {
    let Some(&[tag, a, b, c, d]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let len = u32::from_be_bytes([a, b, c, d]);
    if (4..=LONGEST).contains(&len) {
        Ok(Some(Header { tag, size: len as usize + 1 }))
    } else {
        Err(WireError::Length)
    }
}

/// Whether a client may send a message of this type and size; PostgreSQL ends the session otherwise.
pub fn check_frontend(header: Header) -> Result<(), WireError> {
    let limit = match header.tag {
        f::QUERY | f::PARSE | f::BIND | f::FUNCTION_CALL | f::COPY_DATA => LARGE,
        f::CLOSE
        | f::DESCRIBE
        | f::EXECUTE
        | f::FLUSH
        | f::SYNC
        | f::COPY_DONE
        | f::COPY_FAIL
        | f::TERMINATE => SMALL,
        other => return Err(WireError::Type(other)),
    };
    if header.size - 1 <= limit as usize { Ok(()) } else { Err(WireError::Length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_at_their_limits() {
        let with = |len: u32| {
            let mut m = vec![b'Q'];
            m.extend_from_slice(&len.to_be_bytes());
            header(&m)
        };
        for bad in [0, 1, 3, LONGEST + 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            assert_eq!(with(bad), Err(WireError::Length), "{bad}");
        }
        for good in [4, 5, LARGE, LONGEST] {
            assert_eq!(with(good), Ok(Some(Header { tag: b'Q', size: good as usize + 1 })));
        }
        assert_eq!(header(b"Q\0\0\0"), Ok(None));
    }

    #[test]
    fn frontend_types_and_sizes() {
        let check = |tag, len: usize| check_frontend(Header { tag, size: len + 1 });
        assert_eq!(check(b'Q', 1 << 29), Ok(()));
        assert_eq!(check(b'Q', LARGE as usize), Ok(()));
        assert_eq!(check(b'Q', LARGE as usize + 1), Err(WireError::Length));
        assert_eq!(check(b'D', 10_000), Ok(()));
        assert_eq!(check(b'D', 10_001), Err(WireError::Length));
        for tag in *b"TZRKv1\0" {
            assert_eq!(check(tag, 4), Err(WireError::Type(tag)));
        }
    }
}
