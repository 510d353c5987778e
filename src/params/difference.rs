//! The SQL that turns the parameters a server has into those a client wants.

use super::set::Set;
use super::tracked::is_harmless;
use std::fmt::Write;

/// One SELECT of `set_config` calls, empty when nothing differs. A parameter the client doesn't have goes back to the
/// session's default (`set_config` with NULL). The text is plain ASCII whatever the values hold.
///
/// Rights depend on the role: everything is set as the user who logged in, so an assumed identity is left first, and
/// assumed last. Session authorization comes before the role, since it changes the role too.
///
/// `set_config` takes list parameters (search_path) as a startup packet does, which SET would not.
pub fn replay(server: &Set, client: &Set) -> String {
    let mut sql = String::new();
    // Those may be set by anybody.
    let stays = names(server, client).all(is_harmless);
    for first in [AUTHORIZATION, ROLE].into_iter().filter(|name| !stays && server.value(name).is_some()) {
        call(&mut sql, first, None);
    }
    let gone = server.iter().filter(|(name, _)| !is_identity(name) && client.value(name).is_none());
    gone.for_each(|(name, _)| call(&mut sql, name, None));
    let other = client.iter().filter(|(name, value)| !is_identity(name) && server.value(name) != Some(value));
    other.for_each(|(name, value)| call(&mut sql, name, Some(value)));
    for last in [AUTHORIZATION, ROLE].into_iter().filter(|_| !stays) {
        if let Some(value) = client.value(last) {
            call(&mut sql, last, Some(value));
        }
    }
    sql
}

/// The statements that make a session that listens to the server's channels listen to the client's, to go before [`replay`]'s. Plain
/// ASCII, too.
pub fn listens(server: &Set, client: &Set) -> Vec<String> {
    let mut statements = Vec::new();
    if server.channels() == client.channels() {
        return statements;
    }
    let lacks = |channel: &str| !server.listens_to(channel.as_bytes());
    let keeps = server.channels().iter().all(|channel| client.listens_to(channel.as_bytes()));
    if !keeps {
        statements.push("UNLISTEN *".to_owned());
    }
    for channel in client.channels().iter().filter(|channel| !keeps || lacks(channel)) {
        let mut sql = String::from("LISTEN ");
        identifier(&mut sql, channel);
        statements.push(sql);
    }
    statements
}

const ROLE: &str = "role";
const AUTHORIZATION: &str = "session_authorization";

fn is_identity(name: &str) -> bool {
    matches!(name, AUTHORIZATION | ROLE)
}

/// The names [`replay`] changes.
pub fn names<'a>(server: &'a Set, client: &'a Set) -> impl Iterator<Item = &'a str> {
    let gone = server.iter().filter(|(name, _)| client.value(name).is_none());
    let other = client.iter().filter(|(name, value)| server.value(name) != Some(value));
    gone.chain(other).map(|(name, _)| name)
}

fn call(sql: &mut String, name: &str, value: Option<&str>) {
    sql.push_str(if sql.is_empty() { "SELECT " } else { ", " });
    sql.push_str("pg_catalog.set_config(");
    literal(sql, name);
    sql.push_str(", ");
    match value {
        Some(value) => literal(sql, value),
        None => sql.push_str("NULL"),
    }
    sql.push_str(", false)");
}

/// A text literal that reads the same under every client_encoding and setting of standard_conforming_strings.
pub(super) fn literal(sql: &mut String, text: &str) {
    if text.bytes().all(|b| b.is_ascii() && b != b'\\' && b != 0) {
        sql.push('\'');
        sql.push_str(&text.replace('\'', "''"));
        sql.push('\'');
        return;
    }
    sql.push_str("pg_catalog.convert_from(pg_catalog.decode('");
    text.bytes().for_each(|b| write!(sql, "{b:02x}").expect("writing to a String succeeds"));
    sql.push_str("', 'hex'), 'UTF8')");
}

/// A quoted identifier that reads the same under every client_encoding.
pub fn identifier(sql: &mut String, name: &str) {
    if name.is_ascii() {
        sql.push('"');
        sql.push_str(&name.replace('"', "\"\""));
        sql.push('"');
        return;
    }
    sql.push_str("U&\"");
    for c in name.chars() {
        match c {
            '"' => sql.push_str("\"\""),
            '\\' => sql.push_str("\\\\"),
            c if c.is_ascii() => sql.push(c),
            c => write!(sql, "\\+{:06x}", u32::from(c)).expect("writing to a String succeeds"),
        }
    }
    sql.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::set::Sets;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_differs() {
        let sets = Sets::default();
        let server = sets.intern([("a", "1"), ("b", "2"), ("c", "3")]);
        let client = sets.intern([("b", "2"), ("c", "it's"), ("d", "é\\")]);
        assert_eq!(
            replay(&server, &client),
            "SELECT pg_catalog.set_config('a', NULL, false), pg_catalog.set_config('c', 'it''s', false), \
             pg_catalog.set_config('d', pg_catalog.convert_from(pg_catalog.decode('c3a95c', 'hex'), 'UTF8'), false)"
        );
        assert_eq!(replay(&client, &client), "");
        let (a, b) = (sets.intern([("a", "1"), ("role", "a")]), sets.intern([("a", "2"), ("role", "b")]));
        let calls =
            ["'role', NULL", "'a', '2'", "'role', 'b'"].map(|c| format!("pg_catalog.set_config({c}, false)"));
        assert_eq!(replay(&a, &b), format!("SELECT {}", calls.join(", ")));
    }

    #[test]
    fn settings_change_as_the_user_who_logged_in() {
        let sets = Sets::default();
        let server = sets.intern([("a", "1"), ("c", "2"), ("role", "r"), ("session_authorization", "s")]);
        let client = sets.intern([("a", "3"), ("role", "r"), ("session_authorization", "s")]);
        let calls = [
            "'session_authorization', NULL",
            "'role', NULL",
            "'c', NULL",
            "'a', '3'",
            "'session_authorization', 's'",
            "'role', 'r'",
        ];
        let calls = calls.map(|c| format!("pg_catalog.set_config({c}, false)"));
        assert_eq!(replay(&server, &client), format!("SELECT {}", calls.join(", ")));
        let named = sets.intern([
            ("a", "3"),
            ("application_name", "n"),
            ("role", "r"),
            ("session_authorization", "s"),
        ]);
        assert_eq!(replay(&client, &named), "SELECT pg_catalog.set_config('application_name', 'n', false)");
        assert_eq!(replay(&client, &client), "");
    }

    #[test]
    fn channels_that_differ() {
        let sets = Sets::default();
        let set = |channels: &[&'static str]| sets.listening(&sets.empty(), channels.iter().copied());
        let sql = |from: &[&'static str], to: &[&'static str]| listens(&set(from), &set(to)).join("; ");
        assert_eq!(sql(&["a"], &["a"]), "");
        assert_eq!(sql(&["a"], &["a", "B\"c"]), "LISTEN \"B\"\"c\"");
        assert_eq!(sql(&["a", "b"], &["b"]), "UNLISTEN *; LISTEN \"b\"");
        assert_eq!(sql(&["a"], &[]), "UNLISTEN *");
        assert_eq!(sql(&[], &["é\\\""]), "LISTEN U&\"\\+0000e9\\\\\"\"\"");
    }

    proptest! {
        #[test]
        fn the_text_is_ascii_and_quotes_balance(name in "\\PC{1,8}", value in "\\PC{0,20}") {
            let sets = Sets::default();
            let sql = replay(&sets.empty(), &sets.intern([(&*name, &*value)]));
            prop_assert!(sql.is_ascii());
            prop_assert_eq!(sql.matches('\'').count() % 2, 0);
        }
    }
}
