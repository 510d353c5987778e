//! What a directory answers: read only as deep as LDAP itself goes, whatever is in it.

use std::fmt;

use thiserror::Error;

use super::ber::{self, Broken, ENUMERATED, Elements, INTEGER, OCTET_STRING, SEQUENCE, SET};

/// The longest message that is taken, in bytes. Entries are asked for their names and an attribute or two.
pub const LONGEST: usize = 256 << 10;
/// The most characters of a directory's own words that are kept.
const LONGEST_TEXT: usize = 200;

const BIND: u8 = 0x61;
const ENTRY: u8 = 0x64;
const DONE: u8 = 0x65;
const REFERENCE: u8 = 0x73;
const EXTENDED: u8 = 0x78;
const INTERMEDIATE: u8 = 0x79;

/// It can't be taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AnswerError {
    /// It is something else.
    #[error("its answer is not one of LDAP")]
    Malformed,
    /// Nobody needs as much.
    #[error("its answer is longer than {} KiB", LONGEST >> 10)]
    TooLong,
}

impl From<Broken> for AnswerError {
    fn from(_: Broken) -> Self {
        Self::Malformed
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The request's; 0 for what answers none.
    pub id: u32,
    /// What it says.
    pub said: Said<'a>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// To a bind.
    Bound(Outcome),
    /// One that a search has found.
    Entry(Entry<'a>),
    /// Where a search could go on, elsewhere.
    Reference,
    /// To a search, in the end.
    Done(Outcome),
    /// To an extended request, or by itself.
    Extended(Outcome),
    /// In between.
    Intermediate,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// 0: well.
    pub code: u32,
    /// In the directory's own words, at most 200 characters of them.
    pub text: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it answers {} ({})", self.code, name(self.code))?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {:?}", self.text) }
    }
}

/// An entry of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its distinguished name.
    pub name: &'a str,
    attributes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The values of all its attributes that it tells.
    pub fn values(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let attributes = Elements(self.attributes).flatten();
        let sets = attributes.filter_map(|(_, attribute)| Elements(attribute).flatten().nth(1));
        sets.flat_map(|(_, set)| Elements(set).flatten()).map(|(_, value)| value)
    }
}

/// The size of the message that begins so, in bytes, its header included; `None` if these are too few to say.
///
/// # Errors
/// If it is none, or longer than [`LONGEST`].
pub fn size(start: &[u8]) -> Result<Option<usize>, AnswerError> {
    if start.first().is_some_and(|tag| *tag != SEQUENCE) {
        return Err(AnswerError::Malformed);
    }
    let Some(header) = ber::header(start)? else { return Ok(None) };
    let size = header.size.saturating_add(header.content);
    if size > LONGEST { Err(AnswerError::TooLong) } else { Ok(Some(size)) }
}

/// Reads a whole message. What may be behind its operation (controls) isn't looked at.
///
/// # Errors
/// If it isn't one that answers a request of ours.
pub fn parse(message: &[u8]) -> Result<Answer<'_>, AnswerError> {
    let mut outer = Elements(message);
    let mut parts = Elements(outer.take_one(SEQUENCE)?);
    let id = ber::number(parts.take_one(INTEGER)?)?;
    let (tag, content) = parts.next().ok_or(Broken)??;
    let said = match tag {
        BIND => Said::Bound(outcome(content)?),
        ENTRY => Said::Entry(entry(content)?),
        DONE => Said::Done(outcome(content)?),
        REFERENCE => Said::Reference,
        EXTENDED => Said::Extended(outcome(content)?),
        INTERMEDIATE => Said::Intermediate,
        _ => return Err(AnswerError::Malformed),
    };
    if outer.next().is_some() { Err(AnswerError::Malformed) } else { Ok(Answer { id, said }) }
}

fn outcome(content: &[u8]) -> Result<Outcome, Broken> {
    let mut parts = Elements(content);
    let code = ber::number(parts.take_one(ENUMERATED)?)?;
    // How much of a name there is.
    parts.take_one(OCTET_STRING)?;
    let text = String::from_utf8_lossy(parts.take_one(OCTET_STRING)?);
    Ok(Outcome { code, text: text.chars().take(LONGEST_TEXT).collect() })
}

fn entry(content: &[u8]) -> Result<Entry<'_>, Broken> {
    let mut parts = Elements(content);
    let name = str::from_utf8(parts.take_one(OCTET_STRING)?).map_err(|_| Broken)?;
    let attributes = parts.take_one(SEQUENCE)?;
    let mut each = Elements(attributes);
    while !each.0.is_empty() {
        let mut attribute = Elements(each.take_one(SEQUENCE)?);
        attribute.take_one(OCTET_STRING)?;
        let mut values = Elements(attribute.take_one(SET)?);
        while !values.0.is_empty() {
            values.take_one(OCTET_STRING)?;
        }
    }
    Ok(Entry { name, attributes })
}

/// RFC 4511's names of what a bind, a search or StartTLS may end by.
fn name(code: u32) -> &'static str {
    match code {
        0 => "success",
        1 => "operationsError",
        2 => "protocolError",
        3 => "timeLimitExceeded",
        4 => "sizeLimitExceeded",
        7 => "authMethodNotSupported",
        8 => "strongerAuthRequired",
        10 => "referral",
        11 => "adminLimitExceeded",
        12 => "unavailableCriticalExtension",
        13 => "confidentialityRequired",
        14 => "saslBindInProgress",
        16 => "noSuchAttribute",
        17 => "undefinedAttributeType",
        18 => "inappropriateMatching",
        32 => "noSuchObject",
        33 => "aliasProblem",
        34 => "invalidDNSyntax",
        36 => "aliasDereferencingProblem",
        48 => "inappropriateAuthentication",
        49 => "invalidCredentials",
        50 => "insufficientAccessRights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwillingToPerform",
        54 => "loopDetect",
        80 => "other",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FOUND: &[u8] =
        b"\x30\x1d\x02\x01\x02\x64\x18\x04\x04cn=a\x30\x10\x30\x0e\x04\x02cn\x31\x08\x04\x01a\x04\x03\xff\xfeb";

    fn ended(code: u32, text: &str) -> Outcome {
        Outcome { code, text: text.to_owned() }
    }

    /// So many sequences in each other.
    fn nested(depth: u32) -> Vec<u8> {
        let header = |within: u32| [&[0x30, 0x84][..], &(within * 6).to_be_bytes()].concat();
        (0..depth).rev().flat_map(header).collect()
    }

    #[test]
    fn answers_as_they_are_meant() {
        for (bytes, id, said) in [
            (&b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x31\x04\x00\x04\x00"[..], 1, Said::Bound(ended(49, ""))),
            (
                b"\x30\x84\0\0\0\x12\x02\x01\x02\x65\x84\0\0\0\x09\x0a\x01\x04\x04\x00\x04\x02no",
                2,
                Said::Done(ended(4, "no")),
            ),
            (
                b"\x30\x0e\x02\x01\x02\x65\x07\x0a\x01\x00\x04\x00\x04\x00\xa0\x00",
                2,
                Said::Done(ended(0, "")),
            ),
            (b"\x30\x05\x02\x01\x7f\x73\x00", 127, Said::Reference),
            (b"\x30\x06\x02\x02\x00\x80\x79\x00", 128, Said::Intermediate),
            // The notice of disconnection as Active Directory has it, its name where controls belong.
            (
                b"\x30\x0f\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00\x8a\x01x",
                0,
                Said::Extended(ended(52, "")),
            ),
        ] {
            assert_eq!(parse(bytes), Ok(Answer { id, said }), "{}", bytes.escape_ascii());
            assert_eq!(size(&bytes[..6]), Ok(Some(bytes.len())), "{}", bytes.escape_ascii());
        }
        let Ok(Answer { id: 2, said: Said::Entry(entry) }) = parse(FOUND) else {
            panic!("{:?}", parse(FOUND))
        };
        assert_eq!(entry.name, "cn=a");
        assert_eq!(entry.values().collect::<Vec<_>>(), [&b"a"[..], b"\xff\xfeb"]);
        assert_eq!(ended(53, "no\n").to_string(), "it answers 53 (unwillingToPerform): \"no\\n\"");
    }

    #[test]
    fn what_is_no_answer() {
        for bytes in [
            &b""[..],
            b"\x30\x00",
            b"\x30\x80\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00\x00\x00",
            b"\x30\x03\x02\x01\x01",
            b"\x30\x05\x02\x01\x01\x60\x00",
            b"\x30\x05\x02\x01\x01\x61\x00",
            b"\x30\x05\x02\x01\xff\x73\x00",
            b"\x30\x09\x02\x05\x01\0\0\0\0\x73\x00",
            b"\x30\x05\x02\x01\x01\x73\x01",
            b"\x30\x05\x02\x01\x01\x73\x00\x00",
            b"\x30\x0b\x02\x01\x01\x64\x06\x04\x02\xff\xfe\x30\x00",
            b"\x30\x0d\x02\x01\x01\x64\x08\x04\x00\x30\x04\x30\x02\x04\x00",
            b"\x31\x05\x02\x01\x01\x73\x00",
            &nested(20_000),
        ] {
            assert_eq!(parse(bytes), Err(AnswerError::Malformed), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn sizes_are_looked_at_before_they_are_believed() {
        for (start, expected) in [
            (&b""[..], Ok(None)),
            (b"\x30", Ok(None)),
            (b"\x30\x84\0\0", Ok(None)),
            (b"\x30\x83\x03\xff\xfb", Ok(Some(LONGEST))),
            (b"\x30\x83\x03\xff\xfc", Err(AnswerError::TooLong)),
            (b"\x30\x84\x7f\xff\xff\xff", Err(AnswerError::TooLong)),
            (b"\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff", Err(AnswerError::TooLong)),
            (b"\x30\x80", Err(AnswerError::Malformed)),
            (b"\x30\x89", Err(AnswerError::Malformed)),
            (b"\x15", Err(AnswerError::Malformed)),
        ] {
            assert_eq!(size(start), expected, "{}", start.escape_ascii());
        }
        assert_eq!(size(&nested(50_000)), Err(AnswerError::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(at in 0..FOUND.len(), bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let changed = [&FOUND[..at], &bytes].concat();
            let _ = size(&changed);
            if let Ok(Answer { said: Said::Entry(entry), .. }) = parse(&changed) {
                prop_assert!(entry.values().map(<[u8]>::len).sum::<usize>() < changed.len());
            }
        }
    }
}
