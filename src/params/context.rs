//! The parse context: parameters that change what PostgreSQL makes of a text when it parses or plans it. Literals are read and
//! folded, names are resolved then, and the statement keeps what came of it.

use super::traces::{Traces, Words, is_local, names_a_literal, runs_text};

/// What literals are read by, and what functions depend on that PostgreSQL takes for immutable, by name.
const FOLDING: [&str; 14] = [
    "array_nulls",
    "backslash_quote",
    "bytea_output",
    "client_encoding",
    "datestyle",
    "extra_float_digits",
    "intervalstyle",
    "lc_monetary",
    "quote_all_identifiers",
    "standard_conforming_strings",
    "timezone",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmloption",
];

/// What names and rights are resolved by. PostgreSQL itself analyses a statement anew when one of these has changed.
const RESOLVING: [&str; 4] =
    ["restrict_nonsystem_relation_kind", "role", "search_path", "session_authorization"];

/// Whether a parameter (lower case) belongs to the parse context.
pub fn has(name: &str) -> bool {
    FOLDING.contains(&name) || RESOLVING.contains(&name)
}

/// [`Traces::CONTEXT`] if running the text may change the parse context in a way that isn't told at once. Errs towards that.
/// [`Traces::LOCAL_CONTEXT`] if it changes nothing but a search_path or a role, to the end of the transaction: many do in each, so
/// statements are shared by those that do it in the same words.
#[cold]
pub fn moved_by(text: &[u8]) -> Traces {
    if text.windows(3).any(|w| w.eq_ignore_ascii_case(b"u&\"")) {
        return Traces::CONTEXT;
    }
    let text = text.to_ascii_lowercase();
    let (mut sets, mut local, mut folding, mut resolving) = (false, true, false, false);
    let (mut words, mut before) = (Words::new(&text), &b""[..]);
    while let Some((word, behind)) = words.next_with_rest() {
        match (before, word) {
            (_, b"call" | b"execute") => return Traces::CONTEXT,
            (_, b"do") if runs_text(behind) => return Traces::CONTEXT,
            (_, b"set_config") if !names_a_literal(behind) => return Traces::CONTEXT,
            (_, b"set_config") => (sets, local) = (true, local && is_local(behind)),
            (_, b"set" | b"reset" | b"discard") => sets = true,
            (b"time", b"zone") | (b"set" | b"session" | b"local", b"names") | (b"xml", b"option") => {
                folding = true;
            }
            (b"reset" | b"discard", b"all") => folding = true,
            (b"set" | b"session", b"schema" | b"authorization") => resolving = true,
            (_, word) => {
                folding |= FOLDING.iter().any(|name| name.as_bytes() == word);
                resolving |= RESOLVING.iter().any(|name| name.as_bytes() == word);
            }
        }
        local &= !matches!(before, b"set" | b"reset") || word == b"local";
        before = word;
    }
    match (sets, folding, resolving) {
        (false, ..) | (_, false, false) => Traces::NONE,
        (_, false, true) if local => Traces::LOCAL_CONTEXT,
        _ => Traces::CONTEXT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_parse_context() {
        for (text, moves) in [
            ("SET DateStyle = 'ISO, DMY'", true),
            ("set local \"TimeZone\" to 'CET'", true),
            ("SET TIME ZONE 'CET'", true),
            ("SET NAMES 'latin1'", true),
            ("SET XML OPTION DOCUMENT", true),
            ("SET SCHEMA 'x'", true),
            ("SET search_path = a", true),
            ("SET SESSION ROLE a", true),
            ("BEGIN; SET ROLE a", true),
            ("RESET ALL", true),
            ("RESET role", true),
            ("DISCARD ALL", true),
            ("SET SESSION AUTHORIZATION a", true),
            ("SELECT set_config('TimeZone', $1, true)", true),
            ("SELECT set_config($1, $2, true)", true),
            ("SELECT set_config('search_path', $1, false)", true),
            ("UPDATE pg_settings SET setting = 'CET' WHERE name = 'TimeZone'", true),
            ("DO $$BEGIN END$$", true),
            ("CALL p()", true),
            ("SET U&\"d\\0061testyle\" = 'DMY'", true),
            ("SET LOCAL search_path = a", false),
            ("SET LOCAL ROLE a", false),
            ("SELECT set_config('search_path', $1, true), set_config('role', $2, true)", false),
            ("SELECT set_config('app.tenant', $1, false)", false),
            ("SET work_mem = '7MB'", false),
            ("SET statement_timeout TO 3; SELECT 1", false),
            ("SELECT a AT TIME ZONE 'CET'; SELECT 2", false),
            ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO NOTHING; SELECT 1", false),
            ("DEALLOCATE ALL", false),
        ] {
            assert_eq!(moved_by(text.as_bytes()) == Traces::CONTEXT, moves, "{text}");
        }
        for text in ["SET LOCAL search_path = a", "SELECT set_config('search_path', $1, true)"] {
            assert_eq!(moved_by(text.as_bytes()), Traces::LOCAL_CONTEXT, "{text}");
        }
    }
}
