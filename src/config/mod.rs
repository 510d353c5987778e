//! Configuration: data that can't be wrong, never live objects. Reading is pure; only [`load`] touches a file.
//!
//! text → `raw` (sections, keys, places) → one typed section a file, declared by `section!` in a table → `resolve`
//! (what the sections mean together, `check` whether they fit) → [`Config`].
mod auth_query;
mod check;
mod database;
mod error;
mod foreign;
mod general;
mod metrics;
mod overrides;
mod password;
mod pool_settings;
mod raw;
mod resolve;
mod section;
mod server_password;
mod set;
mod timeouts;
mod tls;
mod units;
mod url;
mod user;

pub mod change;
pub mod load;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use self::auth_query::AuthQuery;
pub use self::database::Database;
pub use self::error::{Error, Errors, Problem, Warning};
pub use self::general::General;
pub use self::metrics::Metrics;
pub use self::overrides::Overrides;
pub use self::password::Password;
pub use self::pool_settings::PoolSettings;
pub use self::section::{Effect, Preset, Setting};
pub use self::server_password::{PasswordSource, ServerPassword};
pub use self::timeouts::Timeouts;
pub use self::tls::{ClientTls, ServerTls, Trusted};
pub use self::units::{
    AuthType, Host, Hosts, Limit, ListenAddr, LoadBalanceHosts, LogFormat, LogLevel, MetricsCompat,
    MetricsListen, Network, PinsReached, PoolMode, RequireAuth, Roots, ServerAuth, SessionState, SslMode,
    SslNegotiation, Switch, SyslogFacility, TlsProtocols, WHOLE_SESSION,
};
pub use self::url::from_database_url;
pub use self::user::User;

use self::section::Section;

/// Names no database may have: clients reach the console by them.
pub const RESERVED_DATABASES: [&str; 2] = crate::auth::hba::CONSOLE;
/// The entry that stands for all databases without one of their own.
const FALLBACK: &str = "*";

/// All settings, defaults filled in. What is in one has passed every check.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[pgweir]`.
    pub general: General,
    /// `[databases.NAME]` by name, without the fallback; use [`Config::database`] to find the one for a client.
    pub databases: BTreeMap<String, Arc<Database>>,
    /// `[databases."*"]`.
    pub fallback: Option<Arc<Database>>,
    /// `[users.NAME]` by name.
    pub users: BTreeMap<String, Arc<User>>,
    /// Where to serve metrics; `None` is nowhere.
    pub metrics_listen: Option<SocketAddr>,
}

impl Config {
    /// The database a client means by `name`: the entry, or else the fallback under that name.
    /// Reserved names are no database.
    pub fn database(&self, name: &str) -> Option<Arc<Database>> {
        if RESERVED_DATABASES.contains(&name) {
            return None;
        }
        self.databases.get(name).cloned().or_else(|| {
            let fallback = self.fallback.as_deref()?.clone();
            Some(Arc::new(Database { name: name.to_owned(), ..fallback }))
        })
    }

    /// The settings of the pool of a database and a user: the database's forced user, else the client's.
    pub fn pool_settings(&self, database: &Database, user: &str) -> PoolSettings {
        PoolSettings::of(&self.general, database, self.users.get(user).map(|user| &**user))
    }

    /// How long clients of a pool may take for something, who have logged in as `login`.
    pub fn timeouts(&self, database: &Database, pool_user: &str, login: &str) -> Timeouts {
        let user = |name: &str| self.users.get(name).map(|user| &**user);
        Timeouts::of(&self.general, database, user(pool_user), user(login))
    }

    /// Most clients of a database.
    pub fn max_db_clients(&self, database: &Database) -> Limit {
        database.max_db_client_connections.unwrap_or(self.general.max_db_client_connections)
    }

    /// Most clients that have logged in as this user.
    pub fn max_user_clients(&self, login: &str) -> Limit {
        let own = self.users.get(login).and_then(|user| user.max_user_client_connections);
        own.unwrap_or(self.general.max_user_client_connections)
    }

    /// query_wait_timeout of whoever may wait longest in the pool of this user: of a forced user's, that may be anybody.
    pub fn longest_query_wait(&self, database: &Database, pool_user: &str) -> Option<Duration> {
        let own = self.timeouts(database, pool_user, pool_user).query_wait;
        let all = self.timeouts(database, "", "").query_wait;
        let users = self.users.values().map(|user| user.query_wait_timeout.unwrap_or(all));
        // None, which is for ever, is the longest.
        let key = |wait: &Option<Duration>| wait.unwrap_or(Duration::MAX);
        match database.user {
            Some(_) => users.chain([all]).max_by_key(key).flatten(),
            None => own,
        }
    }

    /// Whether any client may take too long for something that isn't waiting for a server.
    pub fn has_timeouts(&self) -> bool {
        self.timeouts_of_clients().next().is_some()
    }

    /// Whether anything a client does or waits for may be over in less than `time`.
    pub fn has_limit_below(&self, time: Duration) -> bool {
        let general = &self.general;
        let waits = [
            general.query_wait_timeout,
            general.query_wait_notify,
            general.reserve_pool_timeout,
            general.client_login_timeout,
        ];
        let databases = self.databases.values().chain(&self.fallback);
        let of_databases = databases.filter_map(|database| database.query_wait_timeout.flatten());
        let waits = waits.into_iter().flatten().chain(of_databases);
        waits.chain(self.timeouts_of_clients()).any(|limit| limit < time)
    }

    fn timeouts_of_clients(&self) -> impl Iterator<Item = Duration> {
        Timeouts::all(&self.general, self.databases.values().chain(&self.fallback), self.users.values())
    }

    /// The same with one setting of `[pgweir]` changed; `value` as in the file, the quotes around text may be missing.
    ///
    /// # Errors
    /// Why not, in words: no such setting, not allowed, not while pgweir runs, not with what the others are.
    pub fn with_setting(&self, key: &str, value: &str) -> Result<Self, String> {
        set::set(self, key, value)
    }

    /// Whether a setting of `[pgweir]` by this name may hold a secret: one that there isn't may be one misspelt.
    pub fn may_be_secret(key: &str) -> bool {
        set::may_be_secret(key)
    }

    /// Every setting of `[pgweir]` with its value and its default, as text without quotes; switches are 1 and 0, as
    /// PgBouncer shows them.
    pub fn general_values(&self) -> Vec<(&'static Setting, String, String)> {
        set::values(&self.general)
    }

    /// Who is asked for the password of a pool's user towards PostgreSQL, if it isn't written down.
    pub fn server_password(&self, database: &Database, user: &str) -> Option<ServerPassword> {
        ServerPassword::of(&self.general, database, self.users.get(user).map(|user| &**user), user)
    }

    /// Files that passwords towards PostgreSQL are read from.
    pub fn server_password_files(&self) -> impl Iterator<Item = &Path> {
        let of_databases = self.databases.values().chain(&self.fallback).map(|it| &it.server_password_file);
        let of_users = self.users.values().map(|it| &it.server_password_file);
        of_databases.chain(of_users).filter_map(|file| file.as_ref()?.as_deref())
    }

    /// How to speak TLS with clients.
    pub fn client_tls(&self) -> ClientTls {
        ClientTls::of(&self.general)
    }

    /// How to speak TLS with the servers of a database.
    pub fn server_tls(&self, database: &Database) -> ServerTls {
        ServerTls::of(&self.general, database)
    }

    /// What a database's servers may ask a login for.
    pub fn require_auth(&self, database: &Database) -> RequireAuth {
        database.server_require_auth.unwrap_or(self.general.server_require_auth)
    }

    /// Every way in which TLS is spoken with some server.
    pub fn all_server_tls(&self) -> impl Iterator<Item = ServerTls> {
        self.databases.values().chain(&self.fallback).map(|database| self.server_tls(database))
    }

    /// The same with what the command line says instead.
    ///
    /// # Errors
    /// When clients and metrics would share a port.
    pub fn with(self, overrides: &Overrides) -> Result<Self, Error> {
        let changed = overrides.applied_to(self);
        match check::shared_port(&changed.general, changed.metrics_listen) {
            Some(port) => Err(Error::SharedPort(port)),
            None => Ok(changed),
        }
    }
}

/// Reads a configuration file's text; `file_name` is only for messages.
///
/// # Errors
/// Everything that is wrong with it, in one go.
pub fn parse(text: &str, file_name: &str) -> Result<(Config, Vec<Warning>), Errors> {
    let mut report = error::Report::new(file_name, text);
    if let Some(at) = raw::is_of_pgbouncer(text) {
        report.problem(at, raw::OF_PGBOUNCER.to_owned());
        return Err(report.refuse());
    }
    let file = raw::RawFile::read(text, &mut report);
    let config = resolve::resolve(file, &mut report);
    report.finish(config)
}

/// Every section of the file with its settings, in the order of the documentation.
pub fn sections() -> [(&'static str, &'static [Setting]); 4] {
    [
        (General::TITLE, General::SETTINGS),
        (Database::TITLE, Database::SETTINGS),
        (User::TITLE, User::SETTINGS),
        (Metrics::TITLE, Metrics::SETTINGS),
    ]
}

/// The sections that have a setting of this name.
fn sections_with(name: &str) -> Vec<&'static str> {
    let has = |settings: &[Setting]| settings.iter().any(|setting| setting.name == name);
    sections().into_iter().filter(|(_, settings)| has(settings)).map(|(title, _)| title).collect()
}
