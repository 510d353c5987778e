//! Parameters of prepared statements, `$1` and so on: where a SELECT has them, and what it says with their values. They are put
//! into the text as literals, which the reading of SELECT gives a type by what stands beside them, as PostgreSQL does. Pure.

use super::command::{Command, Failure};
use super::said::said;
use crate::wire::cursor::Cursor;
use crate::wire::error::WireError;
use crate::wire::sqlstate;
use std::ops::Range;
use std::sync::Arc;

const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
/// name, text, unknown, varchar and none: in binary they are as in text.
const TEXTS: [u32; 5] = [19, TEXT, 705, 1043, 0];
/// No query has as many columns to compare, and no table longer words.
const MOST: usize = 64;
const LONGEST: usize = 1024;

/// What Parse has made known.
#[derive(Debug)]
pub(super) struct Statement {
    /// What it is; with parameters, as if all were null.
    pub(super) command: Command,
    /// The text as it was sent, for logs.
    pub(super) said: Arc<str>,
    /// The text, if it has parameters.
    text: String,
    /// Their types.
    kinds: Vec<u32>,
}

/// A parameter's value as a text; `None` is null.
pub(super) type Given = Option<String>;

impl Statement {
    /// Reads a statement's text; `declared` are types of its first parameters, 0 for those that aren't known. Only a SELECT may
    /// have any.
    pub(super) fn of(
        text: &str,
        declared: &[u32],
        read: impl Fn(&str) -> Result<Command, Failure>,
    ) -> Result<Self, Failure> {
        let count = places(text).iter().map(|(_, number)| *number).max().unwrap_or(0);
        if count > MOST {
            let message = format!("a SELECT has {MOST} parameters at most here, not {count}");
            return Err(Failure { code: sqlstate::PROGRAM_LIMIT_EXCEEDED, ..Failure::new(message) });
        }
        let kind = |at| declared.get(at).copied().filter(|kind| *kind != 0).unwrap_or(TEXT);
        let statement = |command, with_places: &str, count| Self {
            said: said(text, &command),
            command,
            text: with_places.to_owned(),
            kinds: (0..count).map(kind).collect(),
        };
        if count == 0 {
            return Ok(statement(read(text)?, "", 0));
        }
        match read(&filled(text, &vec![None; count])) {
            Ok(command @ Command::Select(_)) => Ok(statement(command, text, count)),
            Err(failure) if failure.code == sqlstate::FEATURE_NOT_SUPPORTED => Err(failure),
            _ => Ok(statement(read(text)?, "", 0)),
        }
    }

    /// Types of the parameters.
    pub(super) fn kinds(&self) -> &[u32] {
        &self.kinds
    }

    /// What it is with these values, as many as there are parameters.
    pub(super) fn with(
        &self,
        values: &[Given],
        read: impl Fn(&str) -> Result<Command, Failure>,
    ) -> Result<Command, Failure> {
        if values.is_empty() { Ok(self.command.clone()) } else { read(&filled(&self.text, values)) }
    }

    /// The values of a Bind message, where their formats have been read. Inner errors are the statement's, outer ones the message's.
    pub(super) fn values(
        &self,
        cursor: &mut Cursor<'_>,
        formats: &[u16],
    ) -> Result<Result<Vec<Given>, Failure>, WireError> {
        let mut values = Vec::new();
        for (at, kind) in self.kinds.iter().enumerate() {
            let Ok(size) = usize::try_from(cursor.i32()?) else {
                values.push(None);
                continue;
            };
            let bytes = cursor.bytes(size)?;
            let format = formats.get(at).or(formats.first().filter(|_| formats.len() == 1));
            match value(*kind, format.copied().unwrap_or(0), bytes) {
                Ok(value) => values.push(Some(value)),
                Err(failure) => return Ok(Err(failure)),
            }
        }
        Ok(Ok(values))
    }
}

fn value(kind: u32, format: u16, bytes: &[u8]) -> Result<String, Failure> {
    let wrong = |code, message: String| Failure { code, ..Failure::new(message) };
    let text = || {
        let sound = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
        sound
            .map(str::to_owned)
            .ok_or_else(|| wrong("22021", "invalid byte sequence for encoding".to_owned()))
    };
    match (format, kind, bytes) {
        _ if bytes.len() > LONGEST => {
            let message = format!("a parameter has {LONGEST} bytes at most here, not {}", bytes.len());
            Err(wrong(sqlstate::PROGRAM_LIMIT_EXCEEDED, message))
        }
        (0, ..) => text(),
        (1, kind, _) if TEXTS.contains(&kind) => text(),
        (1, INT2, [a, b]) => Ok(i16::from_be_bytes([*a, *b]).to_string()),
        (1, INT4, [a, b, c, d]) => Ok(i32::from_be_bytes([*a, *b, *c, *d]).to_string()),
        (1, INT8, bytes) if bytes.len() == 8 => {
            Ok(bytes.iter().fold(0_i64, |n, byte| (n << 8) | i64::from(*byte)).to_string())
        }
        (1, INT2 | INT4 | INT8, _) => {
            Err(wrong("22P03", "incorrect binary data format in bind parameter".to_owned()))
        }
        _ => {
            let message = format!("not supported by the console: binary parameters of type {kind}");
            Err(wrong(sqlstate::FEATURE_NOT_SUPPORTED, message))
        }
    }
}

/// Where a text has parameters, and which.
fn places(text: &str) -> Vec<(Range<usize>, usize)> {
    let (bytes, mut at, mut found) = (text.as_bytes(), 0, Vec::new());
    let behind = |from: usize, end: &str| text[from..].find(end).map_or(text.len(), |n| from + n + end.len());
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'\'' => behind(at + 1, "'"),
            b'"' => behind(at + 1, "\""),
            b'-' if text[at..].starts_with("--") => behind(at, "\n"),
            b'/' if text[at..].starts_with("/*") => behind(at + 2, "*/"),
            b'$' => {
                let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let end = at + 1 + digits;
                // Number 0, and one that is none, are left for the reading of SELECT to refuse.
                if let Some(number) = text[at + 1..end].parse().ok().filter(|number| *number > 0) {
                    found.push((at..end, number));
                }
                end
            }
            byte if byte.is_ascii_alphanumeric() || *byte == b'_' => {
                let word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
                at + bytes[at..].iter().take_while(word).count()
            }
            byte if byte.is_ascii() => at + 1,
            _ => at + text[at..].chars().next().map_or(1, char::len_utf8),
        };
    }
    found
}

/// The text with its parameters as literals.
fn filled(text: &str, values: &[Given]) -> String {
    let (mut out, mut done) = (String::new(), 0);
    for (place, number) in places(text) {
        out.push_str(&text[done..place.start]);
        match values.get(number - 1).and_then(Option::as_ref) {
            Some(value) => {
                out.push('\'');
                out.push_str(&value.replace('\'', "''"));
                out.push('\'');
            }
            None => out.push_str("NULL"),
        }
        done = place.end;
    }
    out + &text[done..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_where_they_are() {
        for (text, filled_in) in [
            ("SELECT $1", "SELECT 'a'"),
            ("x=$2 AND y=$1 AND z=$2", "x='it''s' AND y='a' AND z='it''s'"),
            ("'$1' \"$1\" $3", "'$1' \"$1\" NULL"),
            ("-- $1\n$1 /* $1 */ a$1 $0 $x $", "-- $1\n'a' /* $1 */ a$1 $0 $x $"),
            ("é$1é", "é'a'é"),
            ("'open $1", "'open $1"),
        ] {
            let values = [Some("a".to_owned()), Some("it's".to_owned()), None];
            assert_eq!(filled(text, &values), filled_in);
        }
    }

    #[test]
    fn values_in_either_format() {
        let code = |result: Result<String, Failure>| result.map_err(|failure| failure.code);
        for (kind, format, bytes, is) in [
            (TEXT, 0, &b"7"[..], Ok("7")),
            (1043, 1, b"app", Ok("app")),
            (INT4, 1, b"\xff\xff\xff\xfe", Ok("-2")),
            (INT2, 1, b"\x01\x00", Ok("256")),
            (INT8, 1, b"\0\0\0\0\0\0\0\x05", Ok("5")),
            (INT4, 1, b"\0", Err("22P03")),
            (701, 1, b"\0\0\0\0\0\0\0\0", Err("0A000")),
            (TEXT, 2, b"x", Err("0A000")),
            (TEXT, 0, b"\xff", Err("22021")),
        ] {
            assert_eq!(code(value(kind, format, bytes)), is.map(str::to_owned), "{kind} {format}");
        }
    }
}
