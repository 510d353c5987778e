//! All users known without asking a server, and their secrets; built once per configuration and shared.
//! Looks nothing up anywhere and reads no file.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::users_file::Users;
use crate::auth::login::Mock;
use crate::auth::secret::{Form, Mismatch, Secret, SecretError, StoredSecret};

/// User name to secret. A secret made from a plain password for SCRAM is kept here, so it is made once per store.
#[derive(Debug, Default)]
pub struct Store {
    users: HashMap<String, Arc<StoredSecret>>,
}

/// Malformed passwords in the configuration, sorted by user. Never quotes one.
#[derive(Debug, Error, PartialEq, Eq)]
pub struct StoreError {
    /// At least one: the user, the key, and what is wrong.
    pub problems: Vec<(String, &'static str, Problem)>,
}

/// What is wrong with a password.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// It is malformed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It doesn't go with the other one.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// What the configuration says of a user.
#[derive(Clone, Copy, Debug)]
pub struct Configured<'a> {
    /// Whose.
    pub user: &'a str,
    /// `password`; without it, the auth_file's.
    pub password: Option<&'a str>,
    /// `second_password`
    pub second_password: Option<&'a str>,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (user, key, problem)) in self.problems.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}[users.{user:?}] {key}: {problem}")?;
        }
        Ok(())
    }
}

impl Store {
    /// From the users of the auth_file and the passwords of each `[users.NAME]`, which win.
    pub fn new<'a>(
        file: Users,
        configured: impl IntoIterator<Item = Configured<'a>>,
    ) -> Result<Self, StoreError> {
        let share = |(user, secret)| (user, StoredSecret::new(secret));
        let mut users: HashMap<_, _> = file.into_iter().map(share).collect();
        let mut problems = Vec::new();
        for Configured { user, password, second_password } in configured {
            let mut problem = |key, problem| problems.push((user.to_owned(), key, problem));
            match password.map(Secret::parse).transpose() {
                Ok(secret) => drop(secret.map(|s| users.insert(user.to_owned(), StoredSecret::new(s)))),
                Err(error) => problem("password", error.into()),
            }
            let Some(second) = second_password else { continue };
            if let Err(error) = add_second(&mut users, user, second) {
                problem("second_password", error);
            }
        }
        if !problems.is_empty() {
            problems.sort_by(|a, b| a.0.cmp(&b.0));
            return Err(StoreError { problems });
        }
        Ok(Self { users: users.into_iter().map(|(user, secret)| (user, Arc::new(secret))).collect() })
    }

    /// The user's secret; `None` if there is no such user.
    pub fn secret(&self, user: &str) -> Option<Arc<StoredSecret>> {
        self.users.get(user).cloned()
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.users.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// How somebody unknown should be asked so as to look like most users here.
    pub fn most_look_like(&self) -> Mock {
        let scram = self.users.values().filter(|user| user.secret().form() == Form::Scram).count();
        if scram * 2 > self.users.len() { Mock::Scram } else { Mock::Md5 }
    }
}

fn add_second(users: &mut HashMap<String, StoredSecret>, user: &str, text: &str) -> Result<(), Problem> {
    let second = Secret::parse(text)?;
    let both = match users.remove(user) {
        Some(first) => first.with_second(second)?,
        None => StoredSecret::new(second),
    };
    users.insert(user.to_owned(), both);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::users_file;
    use super::*;

    const MD5: &str = "md5e10adc3949ba59abbe56e057f20f883e";
    const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn new<const N: usize>(file: Users, configured: [(&str, &str); N]) -> Result<Store, StoreError> {
        let only = |(user, password)| Configured { user, password: Some(password), second_password: None };
        Store::new(file, configured.map(only))
    }

    fn file() -> Users {
        users_file::parse("f", format!("\"a\" \"in file\"\n\"b\" \"{MD5}\"").as_bytes()).unwrap()
    }

    #[test]
    fn the_configuration_wins() {
        let store = new(file(), [("b", "in config"), ("c", SCRAM)]).unwrap();
        let form = |user: &str| store.secret(user).map(|stored| stored.secret().form());
        assert_eq!(form("a"), Some(Form::Plain));
        assert_eq!(form("b"), Some(Form::Plain));
        assert_eq!(form("c"), Some(Form::Scram));
        assert_eq!(form("d"), None);
        assert!(store.secret("b").unwrap().secret().is_of("b", b"in config"));
    }

    #[test]
    fn malformed_secrets_are_told_at_once_without_them() {
        let configured =
            [("z", "SCRAM-SHA-256$hunter2"), ("ok", "x"), ("a", "SCRAM-SHA-256$0:W22Z$hunter2:x")];
        let error = new(file(), configured).unwrap_err();
        let problems = [
            ("a".to_owned(), "password", SecretError::Iterations.into()),
            ("z".to_owned(), "password", SecretError::Shape.into()),
        ];
        assert_eq!(error.problems, problems);
        let shown = error.to_string();
        assert!(shown.starts_with("[users.\"a\"] password: the SCRAM secret's iteration count"), "{shown}");
        assert!(shown.contains("\n[users.\"z\"] password: ") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_derived_secret_is_shared_by_all_logins() {
        let store = new(file(), [("a", "x")]).unwrap();
        let derive = || store.secret("a").unwrap().verifier(1, b"salt").unwrap();
        assert!(Arc::ptr_eq(&derive(), &derive()));
    }

    #[test]
    fn strangers_look_like_the_majority() {
        assert_eq!(Store::default().most_look_like(), Mock::Md5);
        assert_eq!(new(file(), []).unwrap().most_look_like(), Mock::Md5);
        assert_eq!(new(file(), [("c", SCRAM), ("d", SCRAM)]).unwrap().most_look_like(), Mock::Md5);
        assert_eq!(new(file(), [("b", SCRAM), ("c", SCRAM)]).unwrap().most_look_like(), Mock::Scram);
    }

    #[test]
    fn second_passwords() {
        let second = |user, password, second_password| {
            let both = Configured { user, password, second_password: Some(second_password) };
            Store::new(file(), [both]).map(|store| store.secret(user).unwrap())
        };
        let both = second("a", None, "new").unwrap();
        assert!(both.is_of("a", b"in file") && both.is_of("a", b"new"), "the first is the auth_file's");
        let both = second("a", Some("x"), "new").unwrap();
        assert!(!both.is_of("a", b"in file") && both.is_of("a", b"x") && both.is_of("a", b"new"));
        assert!(second("c", None, "new").unwrap().is_of("c", b"new"));
        let error = second("a", Some(MD5), SCRAM).unwrap_err().to_string();
        assert!(error.starts_with("[users.\"a\"] second_password: can't be used beside password"), "{error}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", new(file(), [("c", SCRAM)]).unwrap());
        assert!(shown.contains("\"c\""), "{shown}");
        for leak in ["in file", "e10adc", "W22Z", "WG5d"] {
            assert!(!shown.contains(leak), "{shown}");
        }
    }
}
