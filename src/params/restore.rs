//! RESET goes to the server's own value; for the client that is the one it began with.

use super::custom_names::is_custom;
use super::difference::{identifier, literal};
use super::set::Set;
use memchr::memmem;

/// Which of the parameters that a client began with may have been reset.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Resets {
    /// None.
    #[default]
    None,
    /// These were, surely, if the statement succeeded; to the end of the transaction (`true`) or for the session.
    These(Vec<Box<str>>, bool),
    /// Any. Custom ones that are empty where nobody knows what they were before: these.
    Unknown(Vec<Box<str>>),
}

impl Resets {
    /// What a text resets that can, of the parameters in `first`.
    pub fn of_text(text: &[u8], first: &Set) -> Self {
        let text = text.split(|b| *b == 0).next().unwrap_or_default();
        let text = text.trim_ascii().to_ascii_lowercase();
        let plain = text.iter().all(|b| b.is_ascii_alphanumeric() || b"_. \n\t;".contains(b));
        let words: Vec<_> = text.split(|b| !b.is_ascii_alphanumeric() && !b"_.".contains(b)).collect();
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let one = plain && memmem::find_iter(&text, b";").all(|at| at + 1 == text.len());
        let own = |names: &[&[u8]]| {
            let own = first.iter().filter(|(name, _)| names.contains(&name.as_bytes()));
            own.map(|(name, _)| Box::from(name)).collect::<Vec<Box<str>>>()
        };
        let (these, local) = match words.as_slice() {
            _ if !one => return Self::of_words(&text, first),
            [b"reset", b"all"] => {
                (first.iter().map(|(name, _)| name).filter(|n| *n != "role").map(Box::from).collect(), false)
            }
            [b"discard", b"all"] => (first.iter().map(|(name, _)| Box::from(name)).collect(), false),
            [b"discard", _] => return Self::None,
            [b"reset", b"time", b"zone"] => (own(&[b"timezone"]), false),
            // The role goes back with it.
            [b"reset", b"session", b"authorization"] => (own(&[b"role", b"session_authorization"]), false),
            [b"set", scope @ .., b"session", b"authorization", b"default"] if scope.len() < 2 => {
                (own(&[b"role", b"session_authorization"]), scope == [b"local"])
            }
            [b"reset", name] => (own(&[*name]), false),
            [b"set", scope @ .., name, b"to", b"default"] if scope.len() < 2 => {
                (own(&[*name]), scope == [b"local"])
            }
            [b"set", scope @ .., b"time", b"zone", b"default" | b"local"] if scope.len() < 2 => {
                (own(&[b"timezone"]), scope == [b"local"])
            }
            _ => return Self::of_words(&text, first),
        };
        if these.is_empty() { Self::None } else { Self::These(these, local) }
    }

    /// Nothing is known of what was.
    pub const UNKNOWN: Self = Self::Unknown(Vec::new());

    /// As far as a look at the words tells: none, if it names none.
    fn of_words(text: &[u8], first: &Set) -> Self {
        let text: Vec<u8> = text.iter().copied().filter(|b| *b != b'"').collect();
        let has = |word: &[u8]| memmem::find(&text, word).is_some();
        let named = |(name, _): &(&str, &str)| has(name.as_bytes());
        let others = [&b"all"[..], b"zone", b"names", b"role", b"schema", b"$"];
        if !others.into_iter().any(has) && !first.iter().any(|pair| named(&pair)) {
            return Self::None;
        }
        let all = has(b"reset all") || has(b"discard all");
        let customs = first.iter().filter(|pair| is_custom(pair.0.as_bytes()) && (all || named(pair)));
        Self::Unknown(customs.map(|(name, _)| name.into()).collect())
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, one) | (one, Self::None) => one,
            (
                Self::These(mut names, _) | Self::Unknown(mut names),
                Self::These(more, _) | Self::Unknown(more),
            ) => {
                names.extend(more);
                Self::Unknown(names)
            }
        }
    }
}

/// Statements that give the parameters which were reset the values in `first` that the session began with. A custom one that `now`, what it
/// had before, doesn't have a value for, is as it was; without `now` one that is empty has been reset if its name was said. Plain ASCII.
///
/// In a transaction it is SETs where those can say it: a SELECT would end the time in which its isolation level may be set.
pub fn restore(first: &Set, now: Option<&Set>, resets: &Resets, in_transaction: bool) -> Vec<String> {
    if *resets == Resets::None {
        return Vec::new();
    }
    if let Resets::These(names, local) = resets
        && (in_transaction || *local)
    {
        let values = names.iter().filter_map(|name| first.value(name).map(|value| (&**name, value)));
        let scope = if *local { "SET LOCAL " } else { "SET SESSION " };
        let sets: Option<Vec<_>> = values.map(|(name, value)| set(scope, name, value)).collect();
        if let Some(sets) = sets {
            return sets;
        }
    }
    let local = matches!(resets, Resets::These(_, true));
    let of_these = |name: &str| match resets {
        Resets::These(names, _) => names.iter().any(|n| **n == *name),
        _ if !is_custom(name.as_bytes()) => true,
        Resets::Unknown(named) if now.is_none() => named.iter().any(|n| **n == *name),
        _ => now.and_then(|now| now.value(name)).is_some_and(|value| !value.is_empty()),
    };
    Vec::from_iter(select(first.iter().filter(|(name, _)| of_these(name)), local))
}

/// Those the session has a value of its own for stay as they are. Which those are PostgreSQL knows; of custom parameters and the
/// role, which pg_settings doesn't show, it knows that they have no value.
fn select<'a>(values: impl Iterator<Item = (&'a str, &'a str)>, local: bool) -> Option<String> {
    // The role last: what it may set is less.
    let (role, others): (Vec<_>, Vec<_>) = values.partition(|(name, _)| *name == "role");
    if role.is_empty() && others.is_empty() {
        return None;
    }
    let mut sql = format!("SELECT pg_catalog.set_config(n, v, {local}) FROM (VALUES ");
    for (at, (name, value)) in others.into_iter().chain(role).enumerate() {
        sql.push_str(if at > 0 { ", (" } else { "(" });
        literal(&mut sql, name);
        sql.push_str("::text, ");
        literal(&mut sql, value);
        sql.push_str("::text)");
    }
    sql.push_str(
        ") p (n, v) LEFT JOIN pg_catalog.pg_settings s ON pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) n \
         WHERE CASE WHEN s.name IS NULL THEN COALESCE(pg_catalog.current_setting(n, true), '') IN ('', 'none') \
         ELSE s.source OPERATOR(pg_catalog.<>) 'session' END",
    );
    Some(sql)
}

/// A SET that takes the value as a startup packet does.
fn set(scope: &str, name: &str, value: &str) -> Option<String> {
    const LISTS: [&str; 5] = [
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    ];
    let mut sql = scope.to_owned();
    for (at, part) in name.split('.').enumerate() {
        sql.push_str(if at > 0 { "." } else { "" });
        identifier(&mut sql, part);
    }
    sql.push_str(" TO ");
    if LISTS.contains(&name) {
        let plain =
            |part: &&str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let parts: Vec<_> = value.split(", ").take_while(plain).collect();
        // PostgreSQL writes the list anew.
        if parts.join(", ") != value {
            return None;
        }
        let parts: Vec<_> = parts.into_iter().map(|part| format!("\"{part}\"")).collect();
        sql.push_str(&parts.join(", "));
    } else if value.bytes().all(|b| b.is_ascii() && b != b'\\') {
        literal(&mut sql, value);
    } else {
        return None;
    }
    Some(sql)
}

#[cfg(test)]
mod tests {
    use super::super::set::Sets;
    use super::*;
    use std::sync::Arc;

    fn first() -> (Sets, Arc<Set>) {
        let sets = Sets::default();
        let first = [("role", "r"), ("timezone", "it's"), ("app.x", "1"), ("search_path", "s1, b")];
        let first = sets.intern(first);
        (sets, first)
    }

    #[test]
    fn what_texts_reset() {
        let (_, first) = first();
        let these =
            |names: &[&str], local| Resets::These(names.iter().map(|name| Box::from(*name)).collect(), local);
        let unknown =
            |customs: &[&str]| Resets::Unknown(customs.iter().map(|name| Box::from(*name)).collect());
        for (text, resets) in [
            ("DO $$BEGIN RESET app.x; END$$", unknown(&["app.x"])),
            ("SELECT 1; reset all", unknown(&["app.x"])),
            ("RESET TimeZone;\0", these(&["timezone"], false)),
            ("reset all", these(&["app.x", "search_path", "timezone"], false)),
            ("DISCARD ALL", these(&["app.x", "role", "search_path", "timezone"], false)),
            ("DISCARD PLANS", Resets::None),
            ("RESET ROLE", these(&["role"], false)),
            ("RESET SESSION AUTHORIZATION", these(&["role"], false)),
            ("SET LOCAL SESSION AUTHORIZATION DEFAULT", these(&["role"], true)),
            ("RESET work_mem", Resets::None),
            ("SET app.x TO DEFAULT", these(&["app.x"], false)),
            ("SET LOCAL search_path TO DEFAULT", these(&["search_path"], true)),
            ("SET SESSION TIME ZONE LOCAL", these(&["timezone"], false)),
            ("SET app.x = DEFAULT", unknown(&["app.x"])),
            ("SET \"TimeZone\" TO DEFAULT", unknown(&[])),
            ("RESET TimeZone; SELECT 1", unknown(&[])),
            ("SET NAMES", unknown(&[])),
            ("SELECT set_config('work_mem', NULL, false)", Resets::None),
            ("DO 'BEGIN RESET TimeZone; END'", unknown(&[])),
        ] {
            assert_eq!(Resets::of_text(text.as_bytes(), &first), resets, "{text}");
        }
    }

    #[test]
    fn what_gives_them_back() {
        let (sets, first) = first();
        let all = Resets::of_text(b"DISCARD ALL", &first);
        let values = "('app.x'::text, '1'::text), ('search_path'::text, 's1, b'::text), ('timezone'::text, 'it''s'::text), \
                      ('role'::text, 'r'::text)";
        let sql = restore(&first, Some(&first), &all, false).concat();
        assert!(sql.contains(&format!("set_config(n, v, false) FROM (VALUES {values})")), "{sql}");
        assert_eq!(
            restore(&first, Some(&first), &Resets::of_text(b"RESET ALL", &first), true),
            [
                "SET SESSION \"app\".\"x\" TO '1'",
                "SET SESSION \"search_path\" TO \"s1\", \"b\"",
                "SET SESSION \"timezone\" TO 'it''s'"
            ]
        );
        let unknown = Resets::of_text(b"DO 'BEGIN RESET app.x; END'", &first);
        let emptied = sets.with(&first, "app.x", Some(""));
        assert!(!restore(&first, Some(&emptied), &unknown, false).concat().contains("app.x"));
        let one = sets.with(&sets.intern([("app.x", "1")]), "app.x", Some(""));
        assert!(restore(one.first(), Some(&one), &unknown, false).is_empty());
        assert!(restore(&first, None, &unknown, false).concat().contains("app.x"));
        assert!(!restore(&first, None, &Resets::UNKNOWN, false).concat().contains("app.x"));
    }
}
