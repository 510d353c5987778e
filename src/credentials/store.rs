//! All users known without asking a server, and their secrets; built once per configuration and shared.
//! Looks nothing up anywhere and reads no file.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::users_file::Users;
use crate::auth::login::Mock;
use crate::auth::secret::{Form, Secret, SecretError, StoredSecret};

/// User name to secret. A secret made from a plain password for SCRAM is kept here, so it is made once per store.
#[derive(Debug, Default)]
pub struct Store {
    users: HashMap<String, Arc<StoredSecret>>,
}

/// Malformed passwords in the configuration, sorted by user. Never quotes one.
#[derive(Debug, Error, PartialEq, Eq)]
pub struct StoreError {
    /// At least one: the user and what is wrong.
    pub problems: Vec<(String, SecretError)>,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (user, problem)) in self.problems.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}[users.{user:?}] password: {problem}")?;
        }
        Ok(())
    }
}

impl Store {
    /// From the users of the auth_file and the `password` of each `[users.NAME]`, which wins.
    pub fn new<N, S>(file: Users, configured: impl IntoIterator<Item = (N, S)>) -> Result<Self, StoreError>
    where
        N: Into<String>,
        S: AsRef<str>,
    {
        let mut secrets = file;
        let mut problems = Vec::new();
        for (user, text) in configured {
            match Secret::parse(text.as_ref()) {
                Ok(secret) => {
                    secrets.insert(user.into(), secret);
                }
                Err(error) => problems.push((user.into(), error)),
            }
        }
        if !problems.is_empty() {
            problems.sort_by(|a, b| a.0.cmp(&b.0));
            return Err(StoreError { problems });
        }
        let share = |(user, secret)| (user, Arc::new(StoredSecret::new(secret)));
        Ok(Self { users: secrets.into_iter().map(share).collect() })
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

#[cfg(test)]
mod tests {
    use super::super::users_file;
    use super::*;

    const MD5: &str = "md5e10adc3949ba59abbe56e057f20f883e";
    const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn file() -> Users {
        users_file::parse("f", format!("\"a\" \"in file\"\n\"b\" \"{MD5}\"").as_bytes()).unwrap()
    }

    #[test]
    fn the_configuration_wins() {
        let store = Store::new(file(), [("b", "in config"), ("c", SCRAM)]).unwrap();
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
        let error = Store::new(file(), configured).unwrap_err();
        let problems = [("a".to_owned(), SecretError::Iterations), ("z".to_owned(), SecretError::Shape)];
        assert_eq!(error.problems, problems);
        let shown = error.to_string();
        assert!(shown.starts_with("[users.\"a\"] password: the SCRAM secret's iteration count"), "{shown}");
        assert!(shown.contains("\n[users.\"z\"] password: ") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_derived_secret_is_shared_by_all_logins() {
        let store = Store::new(file(), [("a", "x")]).unwrap();
        let derive = || store.secret("a").unwrap().verifier(1, b"salt").unwrap();
        assert!(Arc::ptr_eq(&derive(), &derive()));
    }

    #[test]
    fn strangers_look_like_the_majority() {
        let none: [(&str, &str); 0] = [];
        assert_eq!(Store::default().most_look_like(), Mock::Md5);
        assert_eq!(Store::new(file(), none).unwrap().most_look_like(), Mock::Md5);
        assert_eq!(Store::new(file(), [("c", SCRAM), ("d", SCRAM)]).unwrap().most_look_like(), Mock::Md5);
        assert_eq!(Store::new(file(), [("b", SCRAM), ("c", SCRAM)]).unwrap().most_look_like(), Mock::Scram);
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", Store::new(file(), [("c", SCRAM)]).unwrap());
        assert!(shown.contains("\"c\""), "{shown}");
        for leak in ["in file", "e10adc", "W22Z", "WG5d"] {
            assert!(!shown.contains(leak), "{shown}");
        }
    }
}
