//! Parameters that drivers set for themselves, most of them at each connection: how they and the server talk. Whoever refuses session
//! state lets these through, else drivers couldn't connect; they follow their client to whichever server it gets, and keep none.

use super::traces::Words;

/// Their names: pgjdbc sets extra_float_digits and application_name, asyncpg jit, Django and Rails TimeZone, psycopg2 DateStyle, Rails
/// and Sequelize client_min_messages and standard_conforming_strings, Rails IntervalStyle, PDO and others client_encoding.
const PARAMETERS: [&str; 11] = [
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "DateStyle",
    "extra_float_digits",
    "IntervalStyle",
    "jit",
    "standard_conforming_strings",
    "TimeZone",
    "xmloption",
];

/// Whether a parameter is one of them.
pub fn are_own(name: &[u8]) -> bool {
    PARAMETERS.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether a SET, in lower case, is of one of them, or of what transactions begin with (HikariCP gives connections back so).
pub fn are_set(statement: &[u8]) -> bool {
    let mut words = Words::new(statement);
    let mut behind_set =
        std::iter::from_fn(|| words.next_with_rest()).skip(1).skip_while(|(word, _)| *word == b"session");
    let Some((name, behind)) = behind_set.next() else { return false };
    match (name, Words::new(behind).next()) {
        (b"characteristics", Some(b"as")) | (b"time", Some(b"zone")) | (b"xml", Some(b"option")) => true,
        (b"names", _) => true,
        _ => are_own(name) && !behind.trim_ascii_start().starts_with(b"."),
    }
}

/// Whether a call of set_config with this behind its name is of one of them.
pub fn are_configured(behind: &[u8]) -> bool {
    let arguments = behind.trim_ascii_start().strip_prefix(b"(").map(<[u8]>::trim_ascii_start);
    let literal = arguments.and_then(|arguments| arguments.strip_prefix(b"'"));
    literal.is_some_and(|text| are_own(text.split(|b| *b == b'\'').next().unwrap_or_default()))
}
