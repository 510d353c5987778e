//! A `[databases.NAME]` section: where a database's servers are and what is different for it.
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::password::Password;
use super::section::{Difference, Effect, Preset, Section, Setting, difference, section};
use super::units::{
    CommandLine, FilePath, HostNames, Hosts, Limit, LoadBalanceHosts, Maybe, Name, NameOrNone, Number, OneOf,
    PoolMode, Refusal, RequireAuth, RootCerts, Roots, Seconds, SecondsOrOff, Secret, Size, Sql, SslMode,
    SslNegotiation, TcpPort, TlsProtocols, Unit,
};
use Preset::{Is, Like, Unset};

section! {
    /// One database that clients can ask for. What is `None` is as in `[pgweir]`; see [`super::PoolSettings`].
    pub struct Database as "[databases.NAME]", named by /** What clients call it. */ name;

    /// Host of the server, or of several that have the same database; a name beginning with "/" is the directory of its Unix socket.
    pub host: Hosts as HostNames = Is(r#""127.0.0.1""#);
    /// At which of several hosts a new connection is tried first: the next one, or the one where the last went well. Where that fails the others are.
    pub load_balance_hosts: LoadBalanceHosts as OneOf<LoadBalanceHosts> = Is(r#""round-robin""#);
    /// Port of the server.
    pub port: u16 as TcpPort = Is("5432");
    /// What the server calls the database; the name of this section when left out.
    pub(super) dbname: Option<String> as Maybe<Name> = Unset(r#""app""#);
    /// Log in to the server as this user, whoever the client is.
    pub user: Option<String> as Maybe<Name> = Unset(r#""app""#);
    /// Password of that user.
    pub password: Option<Password> as Maybe<Secret> = Unset(r#""secret""#);
    /// Ask this program for the password, each time anew when it has ended; it runs without a shell and prints it.
    pub(super) server_password_command: Option<Vec<String>> as Maybe<CommandLine> = Unset(r#"["get-password", "%u"]"#);
    /// Or read the password from this file, at each login to the server.
    pub(super) server_password_file: Option<Option<PathBuf>> as Maybe<FilePath> = Unset(r#""/run/secrets/app""#);
    /// How long such a password is good for.
    pub(super) server_password_lifetime: Option<Duration> as Maybe<Seconds> = Like("server_password_lifetime");
    /// Who looks up the secrets of users without one here, in place of [pgweir]'s.
    pub(super) auth_user: Option<Option<String>> as Maybe<NameOrNone> = Like("auth_user");
    /// What is asked.
    pub(super) auth_query: Option<String> as Maybe<Sql> = Like("auth_query");
    /// The database to ask in; this one when neither here nor in [pgweir] there is any.
    pub(super) auth_dbname: Option<Option<String>> as Maybe<NameOrNone> = Like("auth_dbname");
    /// Most servers of each pool of this database.
    pub pool_size: Option<Limit> as Maybe<Size> = Like("default_pool_size");
    /// Servers each pool of this database keeps connected even when idle.
    pub min_pool_size: Option<u32> as Maybe<Number<0, 1_000_000>> = Like("min_pool_size");
    /// Servers each pool of this database may open beyond its size.
    pub reserve_pool_size: Option<u32> as Maybe<Number<0, 1_000_000>> = Like("reserve_pool_size");
    /// When a server of this database goes back to its pool.
    pub pool_mode: Option<PoolMode> as Maybe<OneOf<PoolMode>> = Like("pool_mode"), Restart;
    /// Most servers of this database, over all its pools.
    pub max_db_connections: Option<Limit> as Maybe<Size> = Like("max_db_connections");
    /// Of pools that wait for a place under the same cap, one of twice the weight is due twice as many. A pool's weight is its user's times its database's.
    pub(super) weight: u32 as Number<1, 1000> = Is("1");
    /// Most clients of this database.
    pub max_db_client_connections: Option<Limit> as Maybe<Size> = Like("max_db_client_connections");
    /// How long clients of this database may wait for a server before they get an error.
    pub query_wait_timeout: Option<Option<Duration>> as Maybe<SecondsOrOff> = Like("query_wait_timeout");
    /// How long a query of this database may take before it is cancelled.
    pub query_timeout: Option<Option<Duration>> as Maybe<SecondsOrOff> = Like("query_timeout");
    /// How long a transaction of this database may take.
    pub transaction_timeout: Option<Option<Duration>> as Maybe<SecondsOrOff> = Like("transaction_timeout");
    /// How long clients of this database may be idle inside a transaction.
    pub idle_transaction_timeout: Option<Option<Duration>> as Maybe<SecondsOrOff> = Like("idle_transaction_timeout");
    /// How long clients of this database may be idle outside a transaction.
    pub client_idle_timeout: Option<Option<Duration>> as Maybe<SecondsOrOff> = Like("client_idle_timeout");
    /// How old a server of this database may get before it is closed; 0 lets each be used once.
    pub server_lifetime: Option<Duration> as Maybe<Seconds> = Like("server_lifetime");
    /// What each new server runs before its first client.
    pub connect_query: Option<String> as Maybe<Sql> = Unset(r#""SELECT 1""#);
    /// client_encoding that its servers' sessions begin with.
    pub(super) client_encoding: Option<String> as Maybe<Name> = Unset(r#""UTF8""#);
    /// DateStyle that its servers' sessions begin with.
    pub(super) datestyle: Option<String> as Maybe<Name> = Unset(r#""ISO, DMY""#);
    /// TimeZone that its servers' sessions begin with.
    pub(super) timezone: Option<String> as Maybe<Name> = Unset(r#""UTC""#);
    /// application_name that its servers' sessions begin with.
    pub(super) application_name: Option<String> as Maybe<Name> = Unset(r#""pgweir""#);
    /// TLS with servers of this database: whether it must be, and how far a server's certificate is verified.
    pub(super) server_tls_sslmode: Option<SslMode> as Maybe<OneOf<SslMode>> = Like("server_tls_sslmode");
    /// How TLS is begun with servers of this database, as in libpq's sslnegotiation.
    pub(super) server_tls_sslnegotiation: Option<SslNegotiation> as Maybe<OneOf<SslNegotiation>> = Like("server_tls_sslnegotiation");
    /// Certificates of the CAs that may sign the certificate of this database's server.
    pub(super) server_tls_ca_file: Option<Option<Roots>> as Maybe<RootCerts> = Like("server_tls_ca_file");
    /// Certificate to show to servers of this database; goes with the next.
    pub(super) server_tls_cert_file: Option<Option<PathBuf>> as Maybe<FilePath> = Like("server_tls_cert_file");
    /// Private key of that certificate.
    pub(super) server_tls_key_file: Option<Option<PathBuf>> as Maybe<FilePath> = Like("server_tls_key_file");
    /// Versions of TLS to speak with servers of this database.
    pub(super) server_tls_protocols: Option<TlsProtocols> as Maybe<TlsProtocols> = Like("server_tls_protocols");
    /// What servers of this database may ask a login for, as in libpq's require_auth.
    pub(super) server_require_auth: Option<RequireAuth> as Maybe<RequireAuth> = Like("server_require_auth");
}

impl Database {
    /// The parameters that its servers' sessions begin with.
    pub fn startup_parameters(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("client_encoding", &self.client_encoding),
            ("datestyle", &self.datestyle),
            ("timezone", &self.timezone),
            ("application_name", &self.application_name),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }

    /// What the server calls the database.
    pub fn dbname(&self) -> &str {
        self.dbname.as_deref().unwrap_or(&self.name)
    }
}
