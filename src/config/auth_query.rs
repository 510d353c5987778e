//! How the secrets of users that aren't listed are looked up: the database's word before `[pgweir]`'s.
use std::sync::Arc;

use super::Config;
use super::database::Database;

/// Where and what to ask for users of one database.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthQuery {
    /// Where; its servers are logged in to as `user`, whatever user the database is forced to.
    pub database: Arc<Database>,
    /// As whom.
    pub user: String,
    /// What is asked; `$1` is the name of who logs in.
    pub query: String,
}

impl Config {
    /// How the users of a database, which needn't exist, are looked up; `None` if they aren't.
    pub fn auth_query(&self, database: &str) -> Option<AuthQuery> {
        let entry = self.database(database);
        let own = entry.as_deref();
        let user = own.and_then(|own| own.auth_user.as_ref()).unwrap_or(&self.general.auth_user).as_ref()?;
        let query = own.and_then(|own| own.auth_query.as_ref()).unwrap_or(&self.general.auth_query);
        let place = own.and_then(|own| own.auth_dbname.as_ref()).unwrap_or(&self.general.auth_dbname);
        let place = place.as_deref().unwrap_or(database);
        Some(AuthQuery {
            database: self.place_to_ask(place, user)?,
            user: user.clone(),
            query: query.clone(),
        })
    }

    /// Whether users of any database are looked up.
    pub fn looks_up(&self) -> bool {
        let mut own =
            self.databases.values().chain(&self.fallback).filter_map(|entry| entry.auth_user.as_ref());
        self.general.auth_user.is_some() || own.any(Option::is_some)
    }

    /// Whether the pool of this database and user is one for lookups; then, the database as they see it.
    pub fn lookups_of(&self, database: &str, user: &str) -> Option<Arc<Database>> {
        let own = self.databases.values().chain(&self.fallback).filter_map(|entry| entry.auth_user.as_ref());
        let is_one = own.chain([&self.general.auth_user]).any(|name| name.as_deref() == Some(user));
        if is_one { self.place_to_ask(database, user) } else { None }
    }

    fn place_to_ask(&self, database: &str, user: &str) -> Option<Arc<Database>> {
        let entry = self.database(database)?;
        if entry.user.as_deref().is_none_or(|forced| forced == user) {
            return Some(entry);
        }
        // What proves who that user is would be told to others.
        Some(Arc::new(Database {
            user: None,
            password: None,
            server_password_command: None,
            server_password_file: None,
            ..(*entry).clone()
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    fn ask(text: &str, database: &str) -> Option<(String, Option<String>, String, String)> {
        let (config, _) = parse(text, "t").unwrap_or_else(|e| panic!("{e}"));
        let found = config.auth_query(database)?;
        Some((found.database.name.clone(), found.database.user.clone(), found.user, found.query))
    }

    fn found(
        database: &str,
        user: Option<&str>,
        by: &str,
        query: &str,
    ) -> Option<(String, Option<String>, String, String)> {
        Some((database.to_owned(), user.map(str::to_owned), by.to_owned(), query.to_owned()))
    }

    #[test]
    fn the_database_s_word_counts_first() {
        let text = "[pgweir]\nauth_user = 'g'\nauth_query = 'q'\n[databases.a]\n[databases.b]\n\
            auth_user = 'o'\nauth_query = 'p'\nauth_dbname = 'a'\n[databases.c]\nuser = 'f'\n[databases.d]\nuser = 'g'";
        assert_eq!(ask(text, "a"), found("a", None, "g", "q"));
        assert_eq!(ask(text, "b"), found("a", None, "o", "p"));
        assert_eq!(ask(text, "c"), found("c", None, "g", "q"));
        assert_eq!(ask(text, "d"), found("d", Some("g"), "g", "q"));
        assert_eq!(ask(text, "nowhere"), None);
        assert_eq!(ask(text, "pgweir"), None, "the console has no place of its own to ask in");
        let all = text.replacen("auth_query", "auth_dbname = 'a'\nauth_query", 1);
        assert_eq!(ask(&all, "nowhere"), found("a", None, "g", "q"));
        assert_eq!(ask(&all, "pgweir"), found("a", None, "g", "q"));
        assert_eq!(ask("[databases.a]", "a"), None);
        assert_eq!(ask("[pgweir]\nauth_user = 'g'\n[databases.a]\nauth_user = ''", "a"), None);
    }

    #[test]
    fn a_forced_user_s_password_is_nobody_else_s() {
        for own in ["server_password_command = ['x', '%u']", "server_password_file = '/x'"] {
            let text = format!(
                "[pgweir]\nauth_user = 'g'\n[databases.a]\nuser = 'f'\n{own}\n[databases.b]\nuser = 'g'\n{own}\n[users.g]\npassword = 'x'"
            );
            let (config, _) = parse(&text, "t").unwrap_or_else(|e| panic!("{e}"));
            let places = |database| {
                [config.auth_query(database).map(|asked| asked.database), config.lookups_of(database, "g")]
            };
            for (database, has) in [("a", false), ("b", true)] {
                for place in places(database) {
                    let place = place.expect("a place to ask in");
                    assert_eq!(config.server_password(&place, "g").is_some(), has, "{database} {own}");
                }
            }
        }
    }

    #[test]
    fn places_have_to_be_there() {
        for place in ["nowhere", "pgweir"] {
            let text = format!("[pgweir]\nauth_user = 'g'\nauth_dbname = '{place}'\n[databases.a]");
            let errors = parse(&text, "t").unwrap_err().to_string();
            assert!(errors.contains("t:3:15: auth_dbname") && errors.contains(place), "{errors}");
        }
        assert!(parse("[databases.a]\nauth_dbname = 'b'", "t").is_err());
        assert!(parse("[databases.a]\nauth_dbname = 'b'\n[databases.\"*\"]", "t").is_ok());
    }
}
