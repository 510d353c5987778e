//! A `[users.NAME]` section: a user's secret and what is different for it.
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::password::Password;
use super::section::{Difference, Effect, Preset, Section, Setting, difference, section};
use super::units::{
    CommandLine, FilePath, Limit, Maybe, Number, OneOf, PoolMode, Refusal, Seconds, SecondsOrOff, Secret,
    Size, Unit,
};
use Preset::{Is, Like, Unset};

section! {
    /// One user. What is `None` is as in the database, or else as in `[pgweir]`; see [`super::PoolSettings`].
    pub struct User as "[users.NAME]", named by /** What clients call it. */ name;

    /// Password in clear, md5 followed by 32 digits, or SCRAM-SHA-256$...
    pub password: Option<Password> as Maybe<Secret> = Unset(r#""secret""#);
    /// A second one that clients may use while it is being changed; PostgreSQL is given the first, or this if it refuses that.
    pub second_password: Option<Password> as Maybe<Secret> = Unset(r#""new secret""#);
    /// Where clients prove another password, or none: ask this program for the one towards PostgreSQL, as in a database's section.
    pub(super) server_password_command: Option<Vec<String>> as Maybe<CommandLine> = Unset(r#"["get-password", "%u"]"#);
    /// Or read it from this file, at each login to the server.
    pub(super) server_password_file: Option<Option<PathBuf>> as Maybe<FilePath> = Unset(r#""/run/secrets/app""#);
    /// How long such a password is good for.
    pub(super) server_password_lifetime: Option<Duration> as Maybe<Seconds> = Like("server_password_lifetime");
    /// When a server of this user goes back to its pool.
    pub pool_mode: Option<PoolMode> as Maybe<OneOf<PoolMode>> = Like("pool_mode"), Restart;
    /// Most servers of each pool of this user.
    pub pool_size: Option<Limit> as Maybe<Size> = Like("default_pool_size");
    /// Servers each pool of this user may open beyond its size.
    pub reserve_pool_size: Option<u32> as Maybe<Number<0, 1_000_000>> = Like("reserve_pool_size");
    /// Most servers of this user, over all its pools.
    pub max_user_connections: Option<Limit> as Maybe<Size> = Like("max_user_connections");
    /// Of pools that wait for a place under the same cap, one of twice the weight is due twice as many. A pool's weight is its user's times its database's.
    pub(super) weight: u32 as Number<1, 1000> = Is("1");
    /// Most clients that have logged in as this user.
    pub max_user_client_connections: Option<Limit> as Maybe<Size> = Like("max_user_client_connections");
    /// How long clients of this user may wait for a server before they get an error.
    pub query_wait_timeout: Option<Option<Duration>> as Maybe<SecondsOrOff> = Like("query_wait_timeout");
    /// How long a query of this user may take before it is cancelled.
    pub query_timeout: Option<Option<Duration>> as Maybe<SecondsOrOff> = Like("query_timeout");
    /// How long a transaction of this user may take.
    pub transaction_timeout: Option<Option<Duration>> as Maybe<SecondsOrOff> = Like("transaction_timeout");
    /// How long clients of this user may be idle inside a transaction.
    pub idle_transaction_timeout: Option<Option<Duration>> as Maybe<SecondsOrOff> = Like("idle_transaction_timeout");
    /// How long clients of this user may be idle outside a transaction.
    pub client_idle_timeout: Option<Option<Duration>> as Maybe<SecondsOrOff> = Like("client_idle_timeout");
}
