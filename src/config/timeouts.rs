//! How long clients may take: the user's word before the database's before `[pgweir]`'s. As in PgBouncer, what a server is
//! held for goes by the user of the pool, what only the client does by the user it has logged in as.
use std::sync::Arc;
use std::time::Duration;

use super::database::Database;
use super::general::General;
use super::user::User;

/// The timeouts of the clients of one pool that have logged in as one user; `None` is for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// query_wait_timeout
    pub query_wait: Option<Duration>,
    /// query_timeout
    pub query: Option<Duration>,
    /// transaction_timeout
    pub transaction: Option<Duration>,
    /// idle_transaction_timeout
    pub idle_transaction: Option<Duration>,
    /// client_idle_timeout
    pub client_idle: Option<Duration>,
}

type Own<S> = fn(&S) -> Option<Option<Duration>>;

impl Timeouts {
    pub(super) fn of(
        general: &General,
        database: &Database,
        pool_user: Option<&User>,
        login: Option<&User>,
    ) -> Self {
        let pick = |user: Option<&User>, of_user: Own<User>, of_database: Own<Database>, all| {
            user.and_then(of_user).or(of_database(database)).unwrap_or(all)
        };
        Self {
            query_wait: pick(
                login,
                |user| user.query_wait_timeout,
                |database| database.query_wait_timeout,
                general.query_wait_timeout,
            ),
            query: pick(
                pool_user,
                |user| user.query_timeout,
                |database| database.query_timeout,
                general.query_timeout,
            ),
            transaction: pick(
                pool_user,
                |user| user.transaction_timeout,
                |database| database.transaction_timeout,
                general.transaction_timeout,
            ),
            idle_transaction: pick(
                pool_user,
                |user| user.idle_transaction_timeout,
                |database| database.idle_transaction_timeout,
                general.idle_transaction_timeout,
            ),
            client_idle: pick(
                login,
                |user| user.client_idle_timeout,
                |database| database.client_idle_timeout,
                general.client_idle_timeout,
            ),
        }
    }

    /// Those set that somebody has to look after who isn't the pool.
    pub(super) fn all<'a>(
        general: &General,
        databases: impl Iterator<Item = &'a Arc<Database>>,
        users: impl Iterator<Item = &'a Arc<User>>,
    ) -> impl Iterator<Item = Duration> {
        let all = [
            general.query_timeout,
            general.transaction_timeout,
            general.idle_transaction_timeout,
            general.client_idle_timeout,
        ];
        let databases = databases.flat_map(|it| {
            [it.query_timeout, it.transaction_timeout, it.idle_transaction_timeout, it.client_idle_timeout]
        });
        let users = users.flat_map(|it| {
            let of_pool = [it.query_timeout, it.transaction_timeout, it.idle_transaction_timeout];
            of_pool.into_iter().chain([it.client_idle_timeout, it.query_wait_timeout])
        });
        all.into_iter().flatten().chain(databases.chain(users).flatten().flatten())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    #[test]
    fn the_user_comes_before_the_database_before_all() {
        let text = "[pgweir]\nquery_timeout = 1\nclient_idle_timeout = 2\ntransaction_timeout = 3\n\
                    [databases.app]\nquery_timeout = 10\ntransaction_timeout = \"1500ms\"\n\
                    [databases.forced]\nuser = \"pool\"\n\
                    [users.me]\nquery_timeout = 100\nclient_idle_timeout = 0\nquery_wait_timeout = 7\n\
                    [users.pool]\nquery_timeout = 0\n";
        let config = parse(text, "f").unwrap_or_else(|errors| panic!("{errors}")).0;
        let of = |database: &str, pool_user: &str, login: &str| {
            let timeouts = config.timeouts(&config.database(database).unwrap(), pool_user, login);
            let ms = |it: Option<std::time::Duration>| it.map_or(0, |it| it.as_millis());
            (ms(timeouts.query), ms(timeouts.transaction), ms(timeouts.client_idle), ms(timeouts.query_wait))
        };
        assert_eq!(of("app", "you", "you"), (10_000, 1500, 2000, 120_000));
        assert_eq!(of("app", "me", "me"), (100_000, 1500, 0, 7000));
        assert_eq!(of("forced", "pool", "me"), (0, 3000, 0, 7000), "of the pool, and of who has logged in");
        assert!(config.has_timeouts());
        let quiet = |more: &str| {
            let text = format!("[databases.app]\n{more}");
            parse(&text, "f").unwrap_or_else(|errors| panic!("{errors}")).0
        };
        assert!(!quiet("").has_timeouts());
        assert!(
            quiet("query_timeout = 1").has_timeouts()
                && quiet("[users.x]\nquery_wait_timeout = 1").has_timeouts()
        );
    }

    #[test]
    fn limits_that_are_brief() {
        let brief = |text: &str| {
            let text = format!("[databases.app]\n{text}");
            let config = parse(&text, "f").unwrap_or_else(|errors| panic!("{errors}")).0;
            config.has_limit_below(std::time::Duration::from_secs(1))
        };
        for text in [
            "[pgweir]\nquery_wait_timeout = 0.3",
            "[pgweir]\nquery_wait_notify = 0.9",
            "[pgweir]\nreserve_pool_timeout = 0.2",
            "[pgweir]\nclient_login_timeout = 0.5",
            "[pgweir]\ntransaction_timeout = 0.5",
            "query_wait_timeout = 0.5",
            "query_timeout = 0.5",
            "[users.x]\nidle_transaction_timeout = 0.5",
        ] {
            assert!(brief(text), "{text}");
        }
        assert!(!brief("") && !brief("[pgweir]\nquery_timeout = 1\nquery_wait_notify = 0"));
    }
}
