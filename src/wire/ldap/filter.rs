//! A search's filter: text (RFC 4515) to what is sent.

use super::ber::{OCTET_STRING, SEQUENCE, Writer};
use super::request::FilterError;

/// How deep it may be nested.
const DEEPEST: usize = 32;

const AND: u8 = 0xa0;
const OR: u8 = 0xa1;
const NOT: u8 = 0xa2;
const EQUAL: u8 = 0xa3;
const SUBSTRINGS: u8 = 0xa4;
const GREATER_OR_EQUAL: u8 = 0xa5;
const LESS_OR_EQUAL: u8 = 0xa6;
const PRESENT: u8 = 0x87;
const APPROXIMATE: u8 = 0xa8;
const EXTENSIBLE: u8 = 0xa9;

/// Parts of [`SUBSTRINGS`].
const INITIAL: u8 = 0x80;
const ANY: u8 = 0x81;
const FINAL: u8 = 0x82;

/// Parts of [`EXTENSIBLE`].
const RULE: u8 = 0x81;
const TYPE: u8 = 0x82;
const VALUE: u8 = 0x83;
const NAMES_TOO: u8 = 0x84;

/// Writes a filter in parentheses.
pub(super) fn write(out: &mut Writer, text: &str) -> Result<(), FilterError> {
    match filter(out, text.as_bytes(), 0)? {
        [] => Ok(()),
        _ => Err(FilterError),
    }
}

/// One, and what is behind it.
fn filter<'a>(out: &mut Writer, text: &'a [u8], depth: usize) -> Result<&'a [u8], FilterError> {
    let inner = text.strip_prefix(b"(").filter(|_| depth < DEEPEST).ok_or(FilterError)?;
    let rest = match inner {
        [b'&', list @ ..] => out.nested(AND, |out| filters(out, list, depth + 1))?,
        [b'|', list @ ..] => out.nested(OR, |out| filters(out, list, depth + 1))?,
        [b'!', one @ ..] => out.nested(NOT, |out| filter(out, one, depth + 1))?,
        _ => {
            let end = inner.iter().position(|b| b"()".contains(b)).ok_or(FilterError)?;
            let (assertion, rest) = inner.split_at(end);
            item(out, assertion)?;
            rest
        }
    };
    rest.strip_prefix(b")").ok_or(FilterError)
}

fn filters<'a>(out: &mut Writer, mut text: &'a [u8], depth: usize) -> Result<&'a [u8], FilterError> {
    while text.starts_with(b"(") {
        text = filter(out, text, depth)?;
    }
    Ok(text)
}

fn item(out: &mut Writer, text: &[u8]) -> Result<(), FilterError> {
    let (name, value) = split(text, b'=').ok_or(FilterError)?;
    match name {
        [name @ .., b'>'] => compared(out, GREATER_OR_EQUAL, name, value),
        [name @ .., b'<'] => compared(out, LESS_OR_EQUAL, name, value),
        [name @ .., b'~'] => compared(out, APPROXIMATE, name, value),
        [name @ .., b':'] => extensible(out, name, value),
        _ if value == b"*" => {
            out.bytes(PRESENT, attribute(name)?);
            Ok(())
        }
        _ if value.contains(&b'*') => substrings(out, name, value),
        _ => compared(out, EQUAL, name, value),
    }
}

fn compared(out: &mut Writer, tag: u8, name: &[u8], value: &[u8]) -> Result<(), FilterError> {
    let (name, value) = (attribute(name)?, unescaped(value)?);
    out.nested(tag, |out| {
        out.bytes(OCTET_STRING, name);
        out.bytes(OCTET_STRING, &value);
    });
    Ok(())
}

fn substrings(out: &mut Writer, name: &[u8], value: &[u8]) -> Result<(), FilterError> {
    let name = attribute(name)?;
    let parts = value.split(|b| *b == b'*').map(unescaped).collect::<Result<Vec<_>, _>>()?;
    let last = parts.len() - 1;
    if parts.iter().enumerate().any(|(at, part)| part.is_empty() && (1..last).contains(&at)) {
        return Err(FilterError);
    }
    out.nested(SUBSTRINGS, |out| {
        out.bytes(OCTET_STRING, name);
        out.nested(SEQUENCE, |out| {
            for (at, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
                let tag = if at == 0 { INITIAL } else { ANY };
                out.bytes(if at == last { FINAL } else { tag }, part);
            }
        });
    });
    Ok(())
}

/// `[attribute][:dn][:rule]:=value`
fn extensible(out: &mut Writer, text: &[u8], value: &[u8]) -> Result<(), FilterError> {
    let parts: Vec<_> = text.split(|b| *b == b':').collect();
    let (name, with_names, rule) = match parts[..] {
        [name] => (name, false, None),
        [name, b"dn"] => (name, true, None),
        [name, rule] => (name, false, Some(rule)),
        [name, b"dn", rule] => (name, true, Some(rule)),
        _ => return Err(FilterError),
    };
    if name.is_empty() && rule.is_none() {
        return Err(FilterError);
    }
    let rule = rule.map(attribute).transpose()?;
    let name = if name.is_empty() { None } else { Some(attribute(name)?) };
    let value = unescaped(value)?;
    out.nested(EXTENSIBLE, |out| {
        if let Some(rule) = rule {
            out.bytes(RULE, rule);
        }
        if let Some(name) = name {
            out.bytes(TYPE, name);
        }
        out.bytes(VALUE, &value);
        if with_names {
            out.bytes(NAMES_TOO, &[0xff]);
        }
    });
    Ok(())
}

/// A description of an attribute, or an OID.
fn attribute(name: &[u8]) -> Result<&[u8], FilterError> {
    let is_one = !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-.;".contains(b));
    is_one.then_some(name).ok_or(FilterError)
}

/// A value in which `\` and two hexadecimal digits stand for a byte.
fn unescaped(value: &[u8]) -> Result<Vec<u8>, FilterError> {
    let digit = |b: u8| char::from(b).to_digit(16).ok_or(FilterError);
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value);
    loop {
        rest = match rest {
            [] => return Ok(bytes),
            [b'\\', high, low, rest @ ..] => {
                bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
                rest
            }
            [b'\\' | b'*' | 0, ..] => return Err(FilterError),
            [plain, rest @ ..] => {
                bytes.push(*plain);
                rest
            }
        }
    }
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(at, text)?;
    Some((&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> Result<Vec<u8>, FilterError> {
        let mut out = Writer::new(text.len());
        write(&mut out, text)?;
        Ok(out.finish().to_vec())
    }

    #[test]
    fn filters_as_they_are_sent() {
        for (text, sent) in [
            ("(uid=joe)", &b"\xa3\x0a\x04\x03uid\x04\x03joe"[..]),
            ("(a=b=c)", b"\xa3\x08\x04\x01a\x04\x03b=c"),
            ("(a=)", b"\xa3\x05\x04\x01a\x04\x00"),
            ("(objectClass=*)", b"\x87\x0bobjectClass"),
            ("(a=\\2a\\28\\5C\\00)", b"\xa3\x09\x04\x01a\x04\x04*(\\\0"),
            ("(&(a=b)(!(c=d)))", b"\xa0\x12\xa3\x06\x04\x01a\x04\x01b\xa2\x08\xa3\x06\x04\x01c\x04\x01d"),
            ("(|(a=b)(c=*))", b"\xa1\x0b\xa3\x06\x04\x01a\x04\x01b\x87\x01c"),
            ("(&)", b"\xa0\x00"),
            ("(a=b*)", b"\xa4\x08\x04\x01a\x30\x03\x80\x01b"),
            ("(a=*b)", b"\xa4\x08\x04\x01a\x30\x03\x82\x01b"),
            ("(a=*b*)", b"\xa4\x08\x04\x01a\x30\x03\x81\x01b"),
            ("(a=b*c*d)", b"\xa4\x0e\x04\x01a\x30\x09\x80\x01b\x81\x01c\x82\x01d"),
            ("(a>=b)", b"\xa5\x06\x04\x01a\x04\x01b"),
            ("(a<=b)", b"\xa6\x06\x04\x01a\x04\x01b"),
            ("(a~=b)", b"\xa8\x06\x04\x01a\x04\x01b"),
            ("(a;x-y:=b)", b"\xa9\x0a\x82\x05a;x-y\x83\x01b"),
            ("(a:dn:1.2:=b)", b"\xa9\x0e\x81\x031.2\x82\x01a\x83\x01b\x84\x01\xff"),
            ("(:dn:r:=b)", b"\xa9\x09\x81\x01r\x83\x01b\x84\x01\xff"),
            ("(a:r:=b)", b"\xa9\x09\x81\x01r\x82\x01a\x83\x01b"),
        ] {
            assert_eq!(written(text).as_deref(), Ok(sent), "{text}");
        }
        let long = format!("(a={})", "b".repeat(300));
        assert_eq!(&written(&long).unwrap()[..12], b"\xa3\x82\x01\x33\x04\x01a\x04\x82\x01\x2cb");
    }

    #[test]
    fn what_is_no_filter() {
        let deep = "(!".repeat(DEEPEST) + "(a=b)" + &")".repeat(DEEPEST);
        for text in [
            "",
            "a=b",
            "()",
            "(a)",
            "(=b)",
            "(a=b",
            "(a=b))",
            "(a=b)c",
            "(a=(b))",
            "(a=b**c)",
            "(a=**)",
            "(a=\\2)",
            "(a=\\zz)",
            "(a=b\0)",
            "(a>=*)",
            "(!)",
            "(!(a=b)(c=d))",
            "(& (a=b))",
            "(a b=c)",
            "(:=b)",
            "(:dn:=b)",
            "(a:b:c:=d)",
            &deep,
        ] {
            assert_eq!(written(text), Err(FilterError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[(&|!a=*\\\\0-3:<>~)é]{0,64}") {
            let _ = written(&text);
        }
    }
}
