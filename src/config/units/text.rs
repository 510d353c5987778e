//! Text: names, SQL, paths, lists and secrets. None of them may hold a NUL, which ends a string in PostgreSQL's protocol.
use std::path::PathBuf;

use serde::Deserialize;

use super::{Refusal, Unit};
use crate::auth::secret;
use crate::config::Password;
use crate::config::server_password::is_template;

/// `NAMEDATALEN - 1`: PostgreSQL cuts longer names, so two of them could be one.
pub(in crate::config) const LONGEST_NAME: usize = 63;
/// Leaves room for `/.s.PGSQL.65535` in a Unix socket address of 108 bytes.
const LONGEST_SOCKET_DIR: usize = 90;

fn clean(text: String) -> Result<String, Refusal> {
    if text.contains('\0') { Err(Refusal::plain()) } else { Ok(text) }
}

fn not_empty(text: String) -> Result<String, Refusal> {
    clean(text).and_then(|text| if text.is_empty() { Err(Refusal::plain()) } else { Ok(text) })
}

/// Whether a path can hold `PostgreSQL`'s Unix sockets.
pub(super) fn is_socket_dir(path: &str) -> bool {
    path.starts_with('/') && path.len() <= LONGEST_SOCKET_DIR && !path.contains('\0')
}

/// The name of a database or role.
pub(in crate::config) struct Name;

impl Unit for Name {
    type Written = String;
    type Value = String;

    fn allowed() -> String {
        format!("a name of 1 to {LONGEST_NAME} bytes without NUL")
    }

    fn accept(written: String) -> Result<String, Refusal> {
        let name = not_empty(written)?;
        if name.len() > LONGEST_NAME {
            return Err(Refusal::because(format!("it has {} bytes", name.len())));
        }
        Ok(name)
    }

    fn show(value: &String) -> String {
        format!("{value:?}")
    }
}

/// The name of a database or role; empty becomes `None`.
pub(in crate::config) struct NameOrNone;

impl Unit for NameOrNone {
    type Written = String;
    type Value = Option<String>;

    fn allowed() -> String {
        format!("{}, or \"\" for none", Name::allowed())
    }

    fn accept(written: String) -> Result<Option<String>, Refusal> {
        if written.is_empty() { Ok(None) } else { Name::accept(written).map(Some) }
    }

    fn show(value: &Option<String>) -> String {
        format!("{:?}", value.as_deref().unwrap_or_default())
    }
}

/// A query.
pub(in crate::config) struct Sql;

impl Unit for Sql {
    type Written = String;
    type Value = String;

    fn allowed() -> String {
        "SQL text without NUL, not empty".to_owned()
    }

    fn accept(written: String) -> Result<String, Refusal> {
        not_empty(written)
    }

    fn show(value: &String) -> String {
        format!("{value:?}")
    }
}

/// A query; empty becomes `None`.
pub(in crate::config) struct SqlOrNone;

impl Unit for SqlOrNone {
    type Written = String;
    type Value = Option<String>;

    fn allowed() -> String {
        r#"SQL text without NUL, or "" for none"#.to_owned()
    }

    fn accept(written: String) -> Result<Option<String>, Refusal> {
        clean(written).map(|text| Some(text).filter(|text| !text.trim().is_empty()))
    }

    fn show(value: &Option<String>) -> String {
        format!("{:?}", value.as_deref().unwrap_or_default())
    }
}

/// Text; empty becomes `None`.
pub(in crate::config) struct TextOrNone;

impl Unit for TextOrNone {
    type Written = String;
    type Value = Option<String>;

    fn allowed() -> String {
        SecretOrNone::allowed()
    }

    fn accept(written: String) -> Result<Option<String>, Refusal> {
        SqlOrNone::accept(written)
    }

    fn show(value: &Option<String>) -> String {
        SqlOrNone::show(value)
    }
}

/// A file; empty becomes `None`.
pub(in crate::config) struct FilePath;

impl Unit for FilePath {
    type Written = String;
    type Value = Option<PathBuf>;

    fn allowed() -> String {
        r#"the path of a file, or "" for none"#.to_owned()
    }

    fn accept(written: String) -> Result<Option<PathBuf>, Refusal> {
        clean(written).map(|path| Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty()))
    }

    fn show(value: &Option<PathBuf>) -> String {
        format!("{:?}", value.clone().unwrap_or_default())
    }
}

/// A directory for Unix sockets; empty becomes `None`.
pub(in crate::config) struct SocketDir;

impl Unit for SocketDir {
    type Written = String;
    type Value = Option<PathBuf>;

    fn allowed() -> String {
        format!(r#"an absolute directory of at most {LONGEST_SOCKET_DIR} bytes, or "" for none"#)
    }

    fn accept(written: String) -> Result<Option<PathBuf>, Refusal> {
        match written.as_str() {
            "" => Ok(None),
            path if is_socket_dir(path) => Ok(Some(PathBuf::from(written))),
            _ => Err(Refusal::plain()),
        }
    }

    fn show(value: &Option<PathBuf>) -> String {
        FilePath::show(value)
    }
}

/// A program and its arguments. They may hold secrets: only the program is ever shown.
pub(in crate::config) struct CommandLine;

impl Unit for CommandLine {
    type Written = Vec<String>;
    type Value = Vec<String>;
    const SECRET: bool = true;

    fn allowed() -> String {
        r#"a program and its arguments such as ["get-password", "%u"], where %h, %p, %d and %u stand for host, port, database and user, %% for %"#.to_owned()
    }

    fn accept(written: Vec<String>) -> Result<Vec<String>, Refusal> {
        let arguments: Vec<_> = written.into_iter().map(clean).collect::<Result<_, _>>()?;
        if arguments.first().is_none_or(|program| program.is_empty() || program.contains('%')) {
            return Err(Refusal::plain());
        }
        match arguments.iter().position(|argument| !is_template(argument)) {
            Some(at) => Err(Refusal::because(format!("argument {at} has a % that stands for nothing"))),
            None => Ok(arguments),
        }
    }

    fn show(value: &Vec<String>) -> String {
        match &**value {
            [program] => format!("[{program:?}]"),
            [program, ..] => format!("[{program:?}, …]"),
            [] => "[]".to_owned(),
        }
    }
}

/// A password or what is stored of one.
pub(in crate::config) struct Secret;

impl Unit for Secret {
    type Written = String;
    type Value = Password;
    const SECRET: bool = true;

    fn allowed() -> String {
        "text without NUL, not empty (leave the key out for no password)".to_owned()
    }

    fn accept(written: String) -> Result<Password, Refusal> {
        let written = not_empty(written)?;
        // What is wrong is told without any of the secret.
        secret::Secret::parse(&written).map_err(|e| Refusal::because(e.to_string()))?;
        Ok(Password::new(written))
    }

    fn show(_value: &Password) -> String {
        "(secret)".to_owned()
    }
}

/// Text with a password in it; empty becomes `None`.
pub(in crate::config) struct SecretOrNone;

impl Unit for SecretOrNone {
    type Written = String;
    type Value = Option<Password>;
    const SECRET: bool = true;

    fn allowed() -> String {
        r#"text without NUL, or "" for none"#.to_owned()
    }

    fn accept(written: String) -> Result<Option<Password>, Refusal> {
        clean(written).map(|text| Some(text).filter(|text| !text.is_empty()).map(Password::new))
    }

    fn show(value: &Option<Password>) -> String {
        if value.is_some() { "(secret)" } else { r#""""# }.to_owned()
    }
}

/// A list as TOML may have it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(in crate::config) enum ListWritten {
    /// `"a, b"`
    Commas(String),
    /// `["a", "b"]`
    Array(Vec<String>),
}

impl ListWritten {
    /// The items, trimmed; an empty item of a comma list is none.
    pub(super) fn items(self) -> Vec<String> {
        match self {
            Self::Commas(text) => {
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
            }
            Self::Array(items) => items.iter().map(|item| item.trim().to_owned()).collect(),
        }
    }
}

/// Names in an array or separated by commas.
pub(in crate::config) struct TextList;

impl Unit for TextList {
    type Written = ListWritten;
    type Value = Vec<String>;

    fn allowed() -> String {
        r#"a list such as ["a", "b"] or "a, b""#.to_owned()
    }

    fn accept(written: ListWritten) -> Result<Vec<String>, Refusal> {
        written.items().into_iter().map(not_empty).collect()
    }

    fn show(value: &Vec<String>) -> String {
        format!("{:?}", value.join(", "))
    }
}
