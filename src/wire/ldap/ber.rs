//! BER with LDAP's restrictions (RFC 4511, 5.1): lengths are definite, tags are of one byte.

use zeroize::Zeroizing;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// In a tag: its number is in the bytes that follow.
const LONG_TAG: u8 = 0x1f;
/// In a length's first byte: so many bytes of it follow.
const LONG_LENGTH: u8 = 0x80;
/// The most bytes of a length, leading zeros among them.
const LENGTH_BYTES: usize = 8;

/// It isn't such BER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// What an element begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) tag: u8,
    /// Its own size, in bytes.
    pub(super) size: usize,
    /// The announced size of what follows, in bytes; `usize::MAX` for what is beyond that.
    pub(super) content: usize,
}

/// The header `bytes` begin with; `None` if they are too few to say.
pub(super) fn header(bytes: &[u8]) -> Result<Option<Header>, Broken> {
    let [tag, first, rest @ ..] = bytes else { return Ok(None) };
    if tag & LONG_TAG == LONG_TAG {
        return Err(Broken);
    }
    if *first < LONG_LENGTH {
        return Ok(Some(Header { tag: *tag, size: 2, content: usize::from(*first) }));
    }
    let count = usize::from(first ^ LONG_LENGTH);
    if !(1..=LENGTH_BYTES).contains(&count) {
        return Err(Broken);
    }
    let Some(length) = rest.get(..count) else { return Ok(None) };
    let length = length.iter().fold(0, |length: u64, byte| length << 8 | u64::from(*byte));
    Ok(Some(Header { tag: *tag, size: 2 + count, content: usize::try_from(length).unwrap_or(usize::MAX) }))
}

/// The elements of a content, one behind the other. What is within one isn't looked at, so nothing grows with how deep they
/// are nested. It ends behind what is broken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements<'a>(pub(super) &'a [u8]);

impl<'a> Elements<'a> {
    fn first(self) -> Result<(u8, &'a [u8], &'a [u8]), Broken> {
        let header = header(self.0)?.ok_or(Broken)?;
        let behind = self.0.get(header.size..).ok_or(Broken)?;
        let (content, rest) = behind.split_at_checked(header.content).ok_or(Broken)?;
        Ok((header.tag, content, rest))
    }

    /// The content of the next, which has to have this tag.
    pub(super) fn take_one(&mut self, tag: u8) -> Result<&'a [u8], Broken> {
        match self.next() {
            Some(Ok((found, content))) if found == tag => Ok(content),
            _ => Err(Broken),
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<(u8, &'a [u8]), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let first = self.first();
        self.0 = first.map_or(&[], |(_, _, rest)| rest);
        Some(first.map(|(tag, content, _)| (tag, content)))
    }
}

/// A number from 0 to 2³¹ - 1, as all are in LDAP.
pub(super) fn number(content: &[u8]) -> Result<u32, Broken> {
    match content {
        [0..0x80, rest @ ..] if rest.len() < 4 => {
            Ok(content.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
        }
        _ => Err(Broken),
    }
}

/// Writes elements. What is written may be secret.
pub(super) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    /// For so many bytes of content, names and numbers aside.
    pub(super) fn new(content: usize) -> Self {
        // Bytes that move to make room would leave a copy behind.
        Self(Zeroizing::new(Vec::with_capacity(content + 256)))
    }

    pub(super) fn finish(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    pub(super) fn bytes(&mut self, tag: u8, content: &[u8]) {
        self.nested(tag, |out| out.0.extend_from_slice(content));
    }

    pub(super) fn number(&mut self, tag: u8, number: u32) {
        let bytes = u64::from(number).to_be_bytes();
        let zeros = bytes.windows(2).take_while(|pair| pair[0] == 0 && pair[1] < 0x80).count();
        self.bytes(tag, &bytes[zeros..]);
    }

    /// An element with what `within` writes.
    pub(super) fn nested<T>(&mut self, tag: u8, within: impl FnOnce(&mut Self) -> T) -> T {
        self.0.push(tag);
        let at = self.0.len();
        let made = within(self);
        let length = (self.0.len() - at).to_be_bytes();
        let zeros = length.iter().take_while(|byte| **byte == 0).count();
        let length = &length[zeros..];
        match length {
            [] => self.0.push(0),
            [short @ 0..LONG_LENGTH] => self.0.insert(at, *short),
            long => {
                let first = LONG_LENGTH | (8 - zeros.min(8)) as u8;
                self.0.splice(at..at, [first].into_iter().chain(long.iter().copied()));
            }
        }
        made
    }
}
