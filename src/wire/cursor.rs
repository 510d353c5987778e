//! Bounds-checked reading of one message body.

use super::error::WireError;

/// Where the first zero byte of eight is: the ends of names are found sooner so than by a search for long texts.
#[inline]
fn first_zero(bytes: [u8; 8]) -> Option<usize> {
    let word = u64::from_le_bytes(bytes);
    let zeros = word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
    (zeros != 0).then_some(zeros.trailing_zeros() as usize / 8)
}

/// Reads fields from the front of a message body; every read is checked.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte of `body` (after the length).
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// What has not been read yet.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Exactly `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.bytes(1).map(|b| b[0])
    }

    /// Int16, unsigned.
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.bytes(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// Int32.
    pub fn i32(&mut self) -> Result<i32, WireError> {
        self.bytes(4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A string up to its zero byte, which is consumed and not part of the result.
    #[inline]
    pub fn cstr(&mut self) -> Result<&'a [u8], WireError> {
        let near = self.rest.first_chunk().and_then(|front| first_zero(*front));
        let end = near.or_else(|| memchr::memchr(0, self.rest)).ok_or(WireError::Unterminated)?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    /// Succeeds when nothing is left.
    pub fn end(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_stops_at_the_end() {
        let mut c = Cursor::new(b"ab\0\x00\x07\xff\xff\xff\xfe!");
        assert_eq!(c.cstr(), Ok(&b"ab"[..]));
        assert_eq!(c.u16(), Ok(7));
        assert_eq!(c.i32(), Ok(-2));
        assert_eq!(c.end(), Err(WireError::Trailing));
        assert_eq!(c.u8(), Ok(b'!'));
        assert_eq!(c.end(), Ok(()));
        assert_eq!(c.u8(), Err(WireError::Short));
        for length in [0, 1, 6, 7, 8, 9, 100] {
            let text = vec![b'x'; length];
            let mut c = Cursor::new(&text);
            assert_eq!(c.cstr(), Err(WireError::Unterminated));
            let ended = [&text[..], b"\0y\0"].concat();
            c = Cursor::new(&ended);
            assert_eq!((c.cstr(), c.cstr()), (Ok(&*text), Ok(&b"y"[..])));
        }
        for at in 0..8 {
            let mut bytes = [1, 0x80, 0xff, 0x7f, 1, 2, 0x81, 1];
            assert_eq!(first_zero(bytes), None);
            bytes[at] = 0;
            bytes[7] = 0;
            assert_eq!(first_zero(bytes), Some(at));
        }
        assert_eq!(c.cstr(), Err(WireError::Unterminated));
    }
}
