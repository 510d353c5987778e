//! Asking PostgreSQL what session state there is: the query, and what its rows say.

use super::difference::literal;
use super::traces::Traces;
use crate::wire::cursor::Cursor;
use crate::wire::error::WireError;
use crate::wire::frame::{self, HEADER};
use crate::wire::tag::backend as b;
use std::fmt::Write;

/// What a session was found to have.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Parameters the session has set, by name, that the user may set on another server.
    pub settings: Vec<(String, String)>,
    /// Kinds of state that tie the client to this server; parameters that its user may not set are one.
    pub held: Traces,
    /// Channels it listens to.
    pub channels: Vec<String>,
    /// Which of pgweir's statements the server has, by their names, where that was asked.
    pub statements: Option<Vec<Box<str>>>,
}

/// What to ask.
#[derive(Debug)]
pub struct Question<'a> {
    /// Kinds of state asked for.
    pub kinds: Traces,
    /// The user the server logged in as.
    pub user: &'a str,
    /// Custom parameters that may have been set: PostgreSQL lists no custom parameter it wasn't asked for by name.
    pub custom: &'a [Box<str>],
    /// Those that count as set also when empty, which is what PostgreSQL makes of one that was reset.
    pub set_before: &'a [&'a str],
    /// Whether the client began with a role, so that none is a choice of its own.
    pub began_with_role: bool,
    /// Whether the right to set a parameter may have been granted, as from PostgreSQL 15 on.
    pub grants_parameters: bool,
    /// What the names of pgweir's statements begin with, if the server is to have any, which a function may have dropped.
    pub statements: Option<&'a str>,
}

/// A channel of pgweir's own: what a client listens to goes over to another server behind a notification of it.
pub const MARKER: &str = "pgweir_marker";

/// Held kinds by the letter their rows begin with, and when there are any.
const HELD: [(Traces, &str, &str); 4] = [
    (
        Traces::LOCKS,
        "l",
        "EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND granted \
         AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
    ),
    (
        Traces::TEMPORARY,
        "t",
        // Whatever kind of object: PostgreSQL itself finds by this what to drop when the session ends.
        "EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() \
         AND refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass)",
    ),
    (Traces::CURSORS, "c", "EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)"),
    (Traces::STATEMENTS, "s", "EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql)"),
];

/// What PostgreSQL shows of its parameters.
const SETTINGS: &str = "WITH s AS (SELECT name, setting, source, context FROM pg_catalog.pg_settings) ";

/// Names and values travel as the hexadecimal digits of their UTF-8: client_encoding may be any.
const HEX: &str = "pg_catalog.encode(pg_catalog.convert_to(";
const AS_HEX: &str = ", 'UTF8'), 'hex')";

impl Question<'_> {
    /// The query; its rows are for [`read`].
    ///
    /// What is at its default needn't be told. What the default is of a custom parameter that is empty, and of the role where there is
    /// none, no view shows, but setting it to NULL does, which to the end of the transaction only is nothing that stays.
    pub fn query(&self) -> String {
        let mut sql = String::from("/* pgweir */ ");
        let settings = self.kinds.has(Traces::SETTINGS);
        sql.push_str(if settings { SETTINGS } else { "" });
        sql.push_str("SELECT 'none'::text, ''::text, ''::text WHERE false");
        if settings {
            self.ask_settings(&mut sql);
        }
        for (_, letter, condition) in HELD.iter().filter(|(kind, ..)| self.kinds.has(*kind)) {
            write!(sql, " UNION ALL SELECT '{letter}', '', '' WHERE {condition}")
                .expect("strings take everything");
        }
        if self.kinds.has(Traces::STATEMENTS)
            && let Some(prefix) = self.statements
        {
            write!(
                sql,
                " UNION ALL SELECT 'p', coalesce(pg_catalog.string_agg(name, ','), ''), '' \
                 FROM pg_catalog.pg_prepared_statements \
                 WHERE NOT from_sql AND name OPERATOR(pg_catalog.~) '^{prefix}[0-9]+$'"
            )
            .expect("strings take everything");
        }
        if self.kinds.has(Traces::CHANNELS) {
            let from = "FROM pg_catalog.pg_listening_channels() n WHERE n OPERATOR(pg_catalog.<>)";
            write!(sql, " UNION ALL SELECT 'n', {HEX}n{AS_HEX}, '' {from} '{MARKER}'")
                .expect("strings take everything");
        }
        if settings {
            self.ask_role(&mut sql);
        }
        sql
    }

    /// What the role's default is only setting it tells, to the end of the query: so this is the last that is looked at.
    fn ask_role(&self, sql: &mut String) {
        sql.push_str(" UNION ALL SELECT 'g', 'role', ");
        [HEX, "v", AS_HEX].iter().for_each(|part| sql.push_str(part));
        sql.push_str(" FROM (SELECT pg_catalog.current_setting('role') v OFFSET 0) r");
        if !self.began_with_role {
            sql.push_str(
                " WHERE CASE WHEN v OPERATOR(pg_catalog.<>) 'none' THEN true \
                 ELSE pg_catalog.set_config('role', NULL, true) OPERATOR(pg_catalog.<>) 'none' END",
            );
        }
    }

    fn ask_settings(&self, sql: &mut String) {
        sql.push_str(
            " UNION ALL SELECT CASE WHEN context OPERATOR(pg_catalog.=) 'user' OR (SELECT rolsuper \
                      FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) ",
        );
        literal(sql, self.user);
        sql.push(')');
        if self.grants_parameters {
            sql.push_str(" OR pg_catalog.has_parameter_privilege(");
            literal(sql, self.user);
            sql.push_str("::pg_catalog.name, name, 'SET')");
        }
        let mut add = |text: &str| sql.push_str(text);
        add(" THEN 'g' ELSE 'u' END, ");
        [HEX, "name", AS_HEX, ", ", HEX, "setting", AS_HEX].iter().for_each(|part| add(part));
        add(" FROM s WHERE source OPERATOR(pg_catalog.=) 'session' AND name NOT IN \
             ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')");
        add(" UNION ALL SELECT 'g', 'session_authorization', ");
        [HEX, "v", AS_HEX].iter().for_each(|part| add(part));
        add(" FROM (SELECT session_user::text v) a WHERE v OPERATOR(pg_catalog.<>) ");
        literal(sql, self.user);
        if self.custom.is_empty() {
            return;
        }
        let mut add = |text: &str| sql.push_str(text);
        add(" UNION ALL SELECT 'g', ");
        [HEX, "n", AS_HEX, ", ", HEX, "v", AS_HEX].iter().for_each(|part| add(part));
        add(" FROM (SELECT n, pg_catalog.current_setting(n, true) v FROM pg_catalog.unnest(ARRAY[");
        list(sql, self.custom.iter().map(|name| &**name));
        sql.push_str("]) n OFFSET 0) c WHERE CASE WHEN v IS NULL THEN false");
        sql.push_str(" WHEN v OPERATOR(pg_catalog.<>) '' THEN true");
        if !self.set_before.is_empty() {
            sql.push_str(" WHEN n OPERATOR(pg_catalog.=) ANY (ARRAY[");
            list(sql, self.set_before.iter().copied());
            sql.push_str("]) THEN true");
        }
        // A library's own may be set by nobody but a superuser.
        sql.push_str(
            " WHEN n OPERATOR(pg_catalog.=) ANY (SELECT pg_catalog.lower(name) FROM s) THEN false \
             ELSE pg_catalog.set_config(n, NULL, true) OPERATOR(pg_catalog.<>) '' END",
        );
    }
}

fn list<'a>(sql: &mut String, names: impl Iterator<Item = &'a str>) {
    for (at, name) in names.enumerate() {
        if at > 0 {
            sql.push_str(", ");
        }
        literal(sql, name);
        sql.push_str("::text");
    }
}

/// Reads the rows out of the server's reply to [`Question::query`]; whatever else is in it doesn't matter.
///
/// # Errors
/// When a row isn't what was asked for.
pub fn read(mut reply: &[u8]) -> Result<Found, WireError> {
    let mut found = Found::default();
    while let Some(header) = frame::header(reply)? {
        let (message, rest) = reply.split_at_checked(header.size).ok_or(WireError::Short)?;
        if header.tag == b::DATA_ROW {
            read_row(&message[HEADER..], &mut found)?;
        }
        reply = rest;
    }
    Ok(found)
}

/// Asks which of these names are those of prepared statements, and of SQL's PREPARE; its rows are for [`read_names`].
pub fn names_query(names: &[Box<str>]) -> String {
    let mut sql = String::from("SELECT 'p', ''::text, false UNION ALL SELECT 'p', ");
    [HEX, "name", AS_HEX].iter().for_each(|part| sql.push_str(part));
    sql.push_str(
        ", from_sql FROM pg_catalog.pg_prepared_statements WHERE name OPERATOR(pg_catalog.=) ANY (ARRAY[",
    );
    list(&mut sql, names.iter().map(|name| &**name));
    sql.push_str("])");
    sql
}

/// A prepared statement's name, and whether SQL's PREPARE has made it.
pub type Prepared = (Vec<u8>, bool);

/// The statements there are; `None` when the query failed.
///
/// # Errors
/// When a row isn't what was asked for.
pub fn read_names(mut reply: &[u8]) -> Result<Option<Vec<Prepared>>, WireError> {
    let mut names = None;
    while let Some(header) = frame::header(reply)? {
        let (message, rest) = reply.split_at_checked(header.size).ok_or(WireError::Short)?;
        if header.tag == b::DATA_ROW {
            let [_, name, from_sql] = columns(&message[HEADER..])?;
            let names = names.get_or_insert_with(Vec::new);
            if !name.is_empty() {
                names.push((from_hex(name)?, from_sql == b"t"));
            }
        }
        reply = rest;
    }
    Ok(names)
}

fn columns(body: &[u8]) -> Result<[&[u8]; 3], WireError> {
    let mut cursor = Cursor::new(body);
    let mut columns = [&b""[..]; 3];
    if cursor.u16()? != 3 {
        return Err(WireError::Trailing);
    }
    for column in &mut columns {
        let size = cursor.i32()?;
        *column = cursor.bytes(usize::try_from(size).map_err(|_| WireError::Short)?)?;
    }
    Ok(columns)
}

fn read_row(body: &[u8], found: &mut Found) -> Result<(), WireError> {
    let [kind, name, value] = columns(body)?;
    if kind == b"g" {
        let known = matches!(name, b"role" | b"session_authorization");
        let name = if known { name.to_vec() } else { from_hex(name)? };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| WireError::Trailing);
        found.settings.push((text(name)?, text(from_hex(value)?)?));
    }
    if kind == b"p" {
        let names = str::from_utf8(name).map_err(|_| WireError::Trailing)?.split(',');
        found.statements = Some(names.filter(|name| !name.is_empty()).map(Box::from).collect());
    }
    if kind == b"u" {
        found.held = found.held.and(Traces::SETTINGS);
    }
    if kind == b"n" {
        found.channels.push(String::from_utf8(from_hex(name)?).map_err(|_| WireError::Trailing)?);
        found.held = found.held.and(Traces::CHANNELS);
    }
    if let Some((held, ..)) = HELD.iter().find(|(_, letter, _)| letter.as_bytes() == kind) {
        found.held = found.held.and(*held);
    }
    Ok(())
}

pub(super) fn from_hex(digits: &[u8]) -> Result<Vec<u8>, WireError> {
    let digit = |b: u8| char::from(b).to_digit(16).ok_or(WireError::Trailing);
    let pairs = digits.as_chunks::<2>().0.iter();
    pairs.map(|[high, low]| Ok((digit(*high)? << 4 | digit(*low)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode;

    fn row(columns: [&str; 3]) -> Vec<u8> {
        let mut out = Vec::new();
        encode::message(&mut out, b::DATA_ROW, |v| {
            v.extend_from_slice(&3_u16.to_be_bytes());
            for column in columns {
                v.extend_from_slice(&(column.len() as u32).to_be_bytes());
                v.extend_from_slice(column.as_bytes());
            }
        });
        out
    }

    #[test]
    fn only_what_is_asked() {
        let question = Question {
            kinds: Traces::LOCKS,
            user: "me",
            custom: &[],
            set_before: &[],
            began_with_role: false,
            grants_parameters: false,
            statements: Some("ours_"),
        };
        assert!(question.query().contains("pg_locks") && !question.query().contains("pg_settings"));
        let custom = [Box::from("a.b")];
        let question = Question {
            kinds: Traces::SETTINGS,
            user: "o'me",
            custom: &custom,
            set_before: &["a.b"],
            began_with_role: true,
            grants_parameters: true,
            statements: None,
        };
        assert!(question.query().contains("'o''me'") && question.query().matches("'a.b'").count() == 2);
        assert!(!question.query().contains("set_config('role'"));
        assert!(
            Question { began_with_role: false, ..question }
                .query()
                .contains("set_config('role', NULL, true)")
        );
    }

    #[test]
    fn rows() {
        let reply = [
            row(["g", "54696d655a6f6e65", "c3a9"]),
            row(["g", "role", "78"]),
            row(["u", "6c6f", "6f6e"]),
            row(["l", "", ""]),
            row(["t", "", ""]),
            row(["n", "4e22", ""]),
            row(["p", "pgweir_1,pgweir_12", ""]),
        ]
        .concat();
        let settings = vec![("TimeZone".to_owned(), "é".to_owned()), ("role".to_owned(), "x".to_owned())];
        let held = Traces::LOCKS.and(Traces::TEMPORARY).and(Traces::CHANNELS).and(Traces::SETTINGS);
        assert_eq!(
            read(&reply),
            Ok(Found {
                settings,
                held,
                channels: vec!["N\"".to_owned()],
                statements: Some(vec!["pgweir_1".into(), "pgweir_12".into()])
            })
        );
        assert!(read(&reply[..10]).is_err() && read(&row(["g", "zz", ""])).is_err());
    }
}
