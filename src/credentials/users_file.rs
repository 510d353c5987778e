//! PgBouncer's auth_file (`userlist.txt`): lines of `"user" "secret"`, the rest of a line ignored, `;` comments.
//! Pure: text in, users out. Unlike PgBouncer's reader it refuses the whole file if one line is broken.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::auth::secret::{Secret, SecretError};

/// The users of one file.
pub type Users = HashMap<String, Secret>;

/// Every problem of a file, one a line, in its order.
#[derive(Debug, Error, PartialEq, Eq)]
pub struct UsersFileError {
    /// The file's name, as given.
    pub file: String,
    /// At least one: the line, counted from 1, and what is wrong there.
    pub problems: Vec<(usize, Problem)>,
}

impl fmt::Display for UsersFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (line, problem)) in self.problems.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{line}: {problem}", self.file)?;
        }
        Ok(())
    }
}

/// What is wrong with a line. Never quotes a secret, nor a name where misplaced quotes may have made one part of it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// Bytes that aren't UTF-8.
    #[error("the line isn't UTF-8")]
    NotUtf8,
    /// A zero byte can't be part of a name or a password in PostgreSQL's protocol.
    #[error("the line holds a zero byte")]
    ZeroByte,
    /// Something else than `"`, `;` or nothing.
    #[error("expected \"user\" \"secret\" in double quotes (a comment begins with ;)")]
    NoUser,
    /// The name has no end.
    #[error("the user name's closing quote is missing")]
    OpenUser,
    /// A name of no characters.
    #[error("the user name is empty")]
    EmptyUser,
    /// No second quoted text.
    #[error("expected the secret in double quotes after the user name and a space")]
    NoSecret,
    /// The secret has no end.
    #[error("the secret's closing quote is missing")]
    OpenSecret,
    /// A malformed secret.
    #[error("user {0:?}: {1}")]
    Secret(String, SecretError),
    /// The name was there before: which of its secrets counts would be a guess.
    #[error("user {0:?} is already on line {1}")]
    Twice(String, usize),
}

/// Reads a whole file; `file` names it in errors. Users up to the first broken line are not kept, so that nobody is
/// locked out unnoticed.
pub fn parse(file: &str, text: &[u8]) -> Result<Users, UsersFileError> {
    let mut users: HashMap<String, (usize, Secret)> = HashMap::new();
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.split(|b| *b == b'\n')) {
        let added = match parse_line(line) {
            Ok(None) => Ok(()),
            Ok(Some((user, secret))) => add(&mut users, user, number, secret),
            Err(problem) => Err(problem),
        };
        problems.extend(added.err().map(|problem| (number, problem)));
    }
    if problems.is_empty() {
        Ok(users.into_iter().map(|(user, (_, secret))| (user, secret)).collect())
    } else {
        Err(UsersFileError { file: file.to_owned(), problems })
    }
}

fn add(
    users: &mut HashMap<String, (usize, Secret)>,
    user: String,
    line: usize,
    secret: Secret,
) -> Result<(), Problem> {
    match users.entry(user) {
        Entry::Occupied(earlier) => Err(Problem::Twice(earlier.key().clone(), earlier.get().0)),
        Entry::Vacant(free) => {
            free.insert((line, secret));
            Ok(())
        }
    }
}

/// One line without its end; `None` for a blank line or a comment.
fn parse_line(line: &[u8]) -> Result<Option<(String, Secret)>, Problem> {
    let line = std::str::from_utf8(line).map_err(|_| Problem::NotUtf8)?.trim_ascii_start();
    if line.is_empty() || line.starts_with(';') {
        return Ok(None);
    }
    if line.contains('\0') {
        return Err(Problem::ZeroByte);
    }
    let rest = line.strip_prefix('"').ok_or(Problem::NoUser)?;
    let (user, rest) = quoted(rest).ok_or(Problem::OpenUser)?;
    let user = user.to_string();
    if user.is_empty() {
        return Err(Problem::EmptyUser);
    }
    let Some(rest) = rest.trim_ascii_start().strip_prefix('"') else { return Err(Problem::NoSecret) };
    let Some((secret, _)) = quoted(rest) else { return Err(Problem::OpenSecret) };
    match Secret::parse(&secret) {
        Ok(secret) => Ok(Some((user, secret))),
        Err(error) => Err(Problem::Secret(user, error)),
    }
}

/// The text up to the closing quote, a doubled one standing for itself, and what follows. `text` begins after the
/// opening quote.
fn quoted(text: &str) -> Option<(Zeroizing<String>, &str)> {
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    loop {
        let (piece, after) = rest.split_once('"')?;
        value.push_str(piece);
        let Some(more) = after.strip_prefix('"') else { return Some((value, after)) };
        value.push('"');
        rest = more;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(file: &str) -> Vec<(String, String)> {
        let users = parse("users.txt", file.as_bytes()).unwrap();
        let mut pairs: Vec<_> = users
            .into_iter()
            .map(|(user, secret)| match secret {
                Secret::Plain(password) => (user, password.to_string()),
                other => (user, format!("{other:?}")),
            })
            .collect();
        pairs.sort();
        pairs
    }

    fn problems(file: &[u8]) -> Vec<(usize, Problem)> {
        parse("users.txt", file).unwrap_err().problems
    }

    #[test]
    fn lines_pgbouncer_reads() {
        for (line, user, password) in [
            (r#""joe" "secret""#, "joe", "secret"),
            (r#"  "joe"	"secret"  "#, "joe", "secret"),
            (r#""joe" "secret" ignored "as well"#, "joe", "secret"),
            ("\"joe\" \"secret\"\r", "joe", "secret"),
            (r#""joe" """#, "joe", ""),
            (r#""j""o""e" "se""cret""""#, "j\"o\"e", "se\"cret\""),
            (r#""""""" "; no comment""#, "\"\"", "; no comment"),
            (r#""jö" "pass wörd ""#, "jö", "pass wörd "),
            (r#""joe" "md5e10adc3949ba59abbe56e057f20f883e""#, "joe", "Md5(..)"),
        ] {
            assert_eq!(plain(line), [(user.to_owned(), password.to_owned())], "{line}");
        }
    }

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        assert_eq!(plain(""), []);
        assert_eq!(plain("\n \t\n; \"joe\" \"x\"\n  ;\r\n\r\n"), []);
        let two = plain("; two\n\"a\" \"1\"\n\n\"b\" \"2\"");
        assert_eq!(two, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn broken_lines_are_named() {
        let joe = || "joe".to_owned();
        for (line, problem) in [
            (&b"joe secret"[..], Problem::NoUser),
            (b"# comment", Problem::NoUser),
            (b"\xef\xbb\xbf\"joe\" \"x\"", Problem::NoUser),
            (b"\"joe", Problem::OpenUser),
            (b"\"joe\"\"", Problem::OpenUser),
            (b"\"\" \"x\"", Problem::EmptyUser),
            (b"\"joe\"", Problem::NoSecret),
            (b"\"joe\" secret", Problem::NoSecret),
            (b"\"joe\"\"secret\"", Problem::NoSecret),
            (b"\"joe\" \"secret", Problem::OpenSecret),
            (b"\"joe\" \"", Problem::OpenSecret),
            (b"\"joe\" \"\xff\"", Problem::NotUtf8),
            (b"\"joe\" \"a\0b\"", Problem::ZeroByte),
            (b"\"joe\" \"SCRAM-SHA-256$x\"", Problem::Secret(joe(), SecretError::Shape)),
        ] {
            assert_eq!(problems(line), [(1, problem)], "{}", line.escape_ascii());
        }
    }

    #[test]
    fn all_problems_are_told_at_once_and_no_secret() {
        let file =
            b"\"a\" \"1\"\nhunter2\n\n\"b\" \"hunter2\n\"a\" \"hunter2\"\n\"c\" \"SCRAM-SHA-256$hunter2\"\n\"d\"\"hunter2\"\n";
        let error = parse("etc/users.txt", file).unwrap_err().to_string();
        let lines: Vec<_> = error.lines().collect();
        assert_eq!(lines.len(), 5, "{error}");
        assert!(lines[0].starts_with("etc/users.txt:2: expected"), "{error}");
        assert_eq!(lines[1], "etc/users.txt:4: the secret's closing quote is missing");
        assert_eq!(lines[2], "etc/users.txt:5: user \"a\" is already on line 1");
        assert!(lines[3].starts_with("etc/users.txt:6: user \"c\": a SCRAM secret must read"), "{error}");
        assert!(!error.contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse("f", &bytes);
        }

        #[test]
        fn quoting_is_undone(user in "[^\0\n]{1,20}", password in "[^\0\n]{0,20}") {
            prop_assume!(!password.starts_with("md5") && !password.starts_with("SCRAM"));
            let double = |text: &str| text.replace('"', "\"\"");
            let line = format!("\"{}\" \"{}\" rest", double(&user), double(&password));
            prop_assert_eq!(plain(&line), [(user, password)]);
        }
    }
}
