//! The file as it is: sections of keys and values with their places, nothing interpreted.
//! Mirrors TOML; every value may still be nonsense.
use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Report;
use super::section::kind;
use super::units::nearest;

/// A section before anyone has looked at its values.
pub(super) struct RawSection<'t> {
    /// As a message calls it: `[databases.app]`.
    pub(super) title: String,
    /// Where it begins.
    pub(super) at: usize,
    pub(super) entries: DeTable<'t>,
}

/// A section with a name: one database or one user.
pub(super) struct Named<'t> {
    pub(super) name: String,
    pub(super) raw: RawSection<'t>,
}

/// The sections of a file; absent ones are empty.
pub(super) struct RawFile<'t> {
    pub(super) general: RawSection<'t>,
    pub(super) metrics: RawSection<'t>,
    pub(super) databases: Vec<Named<'t>>,
    pub(super) users: Vec<Named<'t>>,
}

const SECTIONS: [&str; 4] = ["pgweir", "databases", "users", "metrics"];

/// What to do with a pgbouncer.ini.
pub(super) const OF_PGBOUNCER: &str = "this is a file of PgBouncer's; pgweir's are TOML: [pgbouncer] becomes [pgweir] with the same names, \
    each line of [databases] and of [users] a section [databases.NAME] with its parameters on lines of their own, \
    texts stand in double quotes, comments begin with #; see docs/settings.md";

/// Where a file that is no TOML says that it is PgBouncer's.
pub(super) fn is_of_pgbouncer(text: &str) -> Option<usize> {
    let (_, errors) = DeTable::parse_recoverable(text);
    let mut at = 0;
    let found = text.split_inclusive('\n').find_map(|line| {
        let begins = at;
        at += line.len();
        (line.trim() == "[pgbouncer]").then_some(begins)
    });
    found.filter(|_| !errors.is_empty())
}

impl<'t> RawFile<'t> {
    /// Reads as much as can be read; all that can't is reported.
    pub(super) fn read(text: &'t str, report: &mut Report<'_>) -> Self {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            let message = match error.message() {
                "duplicate key" => format!("duplicate key {}", report.quote(span.clone())),
                message => format!("not TOML: {message}"),
            };
            report.syntax(span.start, message);
        }
        let mut file = Self {
            general: empty("[pgweir]"),
            metrics: empty("[metrics]"),
            databases: Vec::new(),
            users: Vec::new(),
        };
        for (key, value) in document.into_inner() {
            match &**key.get_ref() {
                "pgweir" => file.general = section(key.span().start, "[pgweir]".to_owned(), value, report),
                "metrics" => file.metrics = section(key.span().start, "[metrics]".to_owned(), value, report),
                "databases" => file.databases = named(&key, value, report),
                "users" => file.users = named(&key, value, report),
                _ => report.problem(key.span().start, unknown_section(key.as_ref(), value.get_ref())),
            }
        }
        file
    }
}

fn empty<'t>(title: &str) -> RawSection<'t> {
    RawSection { title: title.to_owned(), at: 0, entries: DeTable::new() }
}

fn section<'t>(
    at: usize,
    title: String,
    value: Spanned<DeValue<'t>>,
    report: &mut Report<'_>,
) -> RawSection<'t> {
    let entries = match value.get_ref() {
        DeValue::Table(_) => match value.into_inner() {
            DeValue::Table(entries) => entries,
            _ => DeTable::new(),
        },
        _ => {
            report.problem(at, format!("{title} must be a section of its own, not {}", kind(&value)));
            DeTable::new()
        }
    };
    RawSection { title, at, entries }
}

fn named<'t>(
    group: &Spanned<Cow<'t, str>>,
    value: Spanned<DeValue<'t>>,
    report: &mut Report<'_>,
) -> Vec<Named<'t>> {
    let all = section(group.span().start, format!("[{}.NAME]", group.as_ref()), value, report);
    let each = all.entries.into_iter().map(|(key, value)| {
        let name: &str = key.as_ref();
        let title = format!("[{}.{}]", group.as_ref(), key_text(name));
        Named { name: name.to_owned(), raw: section(key.span().start, title, value, report) }
    });
    each.collect()
}

/// A key as TOML wants it written.
pub(super) fn key_text(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { format!("{name:?}") }
}

fn unknown_section(key: &str, value: &DeValue<'_>) -> String {
    if !matches!(value, DeValue::Table(_) | DeValue::Array(_)) {
        let belongs = super::sections_with(key);
        let place = if belongs.is_empty() {
            String::new()
        } else {
            format!("; it belongs in {}", belongs.join(" or "))
        };
        return format!("key {key:?} outside any section{place}");
    }
    if key == "peers" {
        return "there are no [peers]: one process uses all cores, see workers".to_owned();
    }
    let meant = if key == "pgbouncer" { Some("pgweir") } else { nearest(key, SECTIONS) };
    match meant {
        Some(meant) => format!("unknown section [{}]; did you mean [{meant}]?", key_text(key)),
        None => {
            format!(
                "unknown section [{}]; known are [pgweir], [databases.NAME], [users.NAME], [metrics]",
                key_text(key)
            )
        }
    }
}
