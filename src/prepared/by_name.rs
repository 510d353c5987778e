//! DEALLOCATE and EXECUTE: SQL that names a prepared statement, which may be one of the protocol's.

use super::registry::{NOBODYS, PREFIX};
use crate::params::traces::{Words, behind_blank};
use std::ops::Range;

/// Sent in place of a DEALLOCATE, which the server must not see: others use the statement. Like it, it does nothing to the
/// transaction, and is refused in a failed one.
pub const IN_PLACE: &[u8] = b"UNLISTEN pgweir_deallocated";

/// Body of the CommandComplete it is answered by.
pub const IN_PLACE_TAG: &[u8] = b"UNLISTEN\0";

/// What is done to the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// DEALLOCATE: dropped.
    Deallocate,
    /// EXECUTE: run.
    Execute,
}

/// A text that is one such command.
#[derive(Debug, PartialEq, Eq)]
pub struct ByName {
    /// What it does.
    pub verb: Verb,
    /// The statement's name, without quotes and in the case PostgreSQL gives it.
    pub name: Vec<u8>,
    /// Where the name stands in the text, quotes included.
    pub place: Range<usize>,
}

/// Reads a text that is one DEALLOCATE of a name or one EXECUTE; `None` for all others, DEALLOCATE ALL among them.
pub fn read(text: &[u8]) -> Option<ByName> {
    let whole = text;
    let text = text.strip_suffix(&[0]).unwrap_or(text).trim_ascii_end();
    let text = text.strip_suffix(b";").unwrap_or(text).trim_ascii_end();
    let (verb, mut rest) = match word(behind_blank(text)) {
        (w, rest) if w.eq_ignore_ascii_case(b"deallocate") => (Verb::Deallocate, behind_blank(rest)),
        (w, rest) if w.eq_ignore_ascii_case(b"execute") => (Verb::Execute, behind_blank(rest)),
        _ => return None,
    };
    if let (w, more) = word(rest)
        && verb == Verb::Deallocate
        && w.eq_ignore_ascii_case(b"prepare")
        && !more.is_empty()
    {
        rest = behind_blank(more);
    }
    let (name, behind) = identifier(rest)?;
    let all = !rest.starts_with(b"\"") && name == b"all";
    let ends = match verb {
        Verb::Deallocate => behind.is_empty() && !all,
        Verb::Execute => !behind.contains(&b';'),
    };
    let at = rest.as_ptr().addr() - whole.as_ptr().addr();
    ends.then(|| ByName { verb, name, place: at..at + rest.len() - behind.len() })
}

/// A text in which EXECUTE and DEALLOCATE name statements of pgweir's that aren't the client's own, with names in their place that nobody
/// has; `None` for all others. [`super::rewrite`] gives an error the names back.
pub fn disown(text: &[u8], is_own: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let lower = text.to_ascii_lowercase();
    let (mut words, mut before) = (Words::new(&lower), [&b""[..]; 2]);
    let (mut other, mut done) = (Vec::new(), 0);
    while let Some((word, behind)) = words.next_with_rest() {
        let names = matches!(before, [_, b"execute" | b"deallocate"] | [b"deallocate", b"prepare"]);
        let id = word.strip_prefix(PREFIX.as_bytes()).filter(|_| names && !is_own(word));
        if let Some(id) = id.filter(|id| !id.is_empty() && id.iter().all(u8::is_ascii_digit)) {
            let end = text.len() - behind.len();
            other.extend_from_slice(&text[done..end - id.len()]);
            other.extend_from_slice(&NOBODYS[PREFIX.len()..]);
            other.push(b'_');
            done = end - id.len();
        }
        before = [before[1], word];
    }
    if done == 0 {
        return None;
    }
    other.extend_from_slice(&text[done..]);
    Some(other)
}

/// Whether a text is one DEALLOCATE ALL or DISCARD ALL.
pub fn drops_all(text: &[u8]) -> bool {
    let text = text.strip_suffix(&[0]).unwrap_or(text).trim_ascii_end();
    let text = text.strip_suffix(b";").unwrap_or(text).trim_ascii_end();
    let (verb, rest) = word(behind_blank(text));
    let (mut what, mut behind) = word(behind_blank(rest));
    if what.eq_ignore_ascii_case(b"prepare") && verb.eq_ignore_ascii_case(b"deallocate") {
        (what, behind) = word(behind_blank(behind));
    }
    let drops = [&b"deallocate"[..], b"discard"].iter().any(|drops| verb.eq_ignore_ascii_case(drops));
    drops && what.eq_ignore_ascii_case(b"all") && behind.is_empty()
}

fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|b| !in_identifier(*b)).unwrap_or(text.len());
    text.split_at(end)
}

fn identifier(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(mut quoted) = text.strip_prefix(b"\"") else {
        let (name, behind) = word(text);
        let begins = name.first().is_some_and(|b| !b.is_ascii_digit() && *b != b'$');
        return (begins && !behind.starts_with(b"\"") && !behind.starts_with(b"&"))
            .then(|| (name.to_ascii_lowercase(), behind));
    };
    let mut name = Vec::new();
    loop {
        let end = memchr::memchr(b'"', quoted)?;
        name.extend_from_slice(&quoted[..end]);
        quoted = &quoted[end + 1..];
        let Some(more) = quoted.strip_prefix(b"\"") else { return Some((name, quoted)) };
        name.push(b'"');
        quoted = more;
    }
}

fn in_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_name_a_statement() {
        for (text, verb, name, place) in [
            ("DEALLOCATE a1", Verb::Deallocate, "a1", "a1"),
            (
                " /* x */ deallocate Prepare  \"_PG3_\"\"5\" ;\0",
                Verb::Deallocate,
                "_PG3_\"5",
                "\"_PG3_\"\"5\"",
            ),
            ("DEALLOCATE PDO_stmt_1;", Verb::Deallocate, "pdo_stmt_1", "PDO_stmt_1"),
            ("DEALLOCATE \"all\"", Verb::Deallocate, "all", "\"all\""),
            ("DEALLOCATE prepare", Verb::Deallocate, "prepare", "prepare"),
            ("execute a(1, 'x')", Verb::Execute, "a", "a"),
            ("EXECUTE é", Verb::Execute, "é", "é"),
        ] {
            let read = read(text.as_bytes()).expect(text);
            assert_eq!((read.verb, &*read.name, &text[read.place]), (verb, name.as_bytes(), place), "{text}");
        }
    }

    #[test]
    fn names_of_others() {
        for (text, other) in [
            (
                "EXECUTE pgweir_12(1); deallocate prepare \"pgweir_3\"",
                Some("EXECUTE pgweir_0_12(1); deallocate prepare \"pgweir_0_3\""),
            ),
            ("EXPLAIN EXECUTE /* so */ PGWEIR_12", Some("EXPLAIN EXECUTE /* so */ PGWEIR_0_12")),
            ("EXECUTE pgweir_7", None),
            ("EXECUTE pgweir_0_12", None),
            ("EXECUTE pgweir_; SELECT pgweir_12", None),
            ("PREPARE pgweir_12 AS SELECT 1", None),
            ("DEALLOCATE ALL", None),
        ] {
            let found = disown(text.as_bytes(), |name| name == b"pgweir_7");
            assert_eq!(found.as_deref(), other.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn commands_that_drop_all() {
        for (text, drops) in [
            ("DEALLOCATE ALL", true),
            (" /* x */ deallocate Prepare all ;\0", true),
            ("discard all;", true),
            ("DISCARD PLANS", false),
            ("DISCARD PREPARE ALL", false),
            ("DEALLOCATE \"all\"", false),
            ("DEALLOCATE alle", false),
            ("DEALLOCATE ALL; SELECT 1", false),
        ] {
            assert_eq!(drops_all(text.as_bytes()), drops, "{text}");
        }
    }

    #[test]
    fn commands_that_name_none() {
        for text in [
            "",
            "DEALLOCATE",
            "DEALLOCATE ALL",
            "deallocate prepare all",
            "DEALLOCATE a; SELECT 1",
            "DEALLOCATE a b",
            "DEALLOCATE \"a",
            "DEALLOCATE u&\"a\"",
            "EXECUTE 1",
            "EXECUTE a; EXECUTE b",
            "EXECUTED a",
            "SELECT a",
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
