//! How single values are written in the file and what they become: one small type a unit, read by serde.
//! A unit knows neither the setting it serves nor other values.
mod address;
mod duration;
mod network;
mod number;
mod require_auth;
mod text;
mod tls;
mod words;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

pub use address::{Host, Hosts, ListenAddr, MetricsListen};
pub(super) use address::{HostName, HostNames, ListenAddrs, SocketAddress};
pub use duration::WHOLE_SESSION;
pub(super) use duration::{
    KeepaliveSeconds, MillisecondsOrOff, Seconds, SecondsOrOff, SecondsOrSession, Written as TimeWritten,
};
pub use network::Network;
pub(super) use network::Networks;
pub use number::Limit;
pub(super) use number::{FileMode, Number, PositiveOrNone, Size, TcpPort};
pub use require_auth::{RequireAuth, ServerAuth};
pub(super) use text::{
    CommandLine, FilePath, Name, NameOrNone, Secret, SecretOrNone, SocketDir, Sql, SqlOrNone, TextList,
    TextOrNone,
};
pub(super) use tls::RootCerts;
pub use tls::{Roots, SslMode, SslNegotiation, TlsProtocols};
pub(super) use words::OneOf;
pub use words::{
    AuthType, LoadBalanceHosts, LogFormat, LogLevel, MetricsCompat, PinsReached, PoolMode, SessionState,
    Switch, SyslogFacility,
};

/// Nothing longer is compared with the words that are known: it is none of them.
const LONGEST_MISSPELT: usize = 64;

/// A way to write a value.
pub(super) trait Unit {
    /// The TOML types it may be written as.
    type Written: DeserializeOwned;
    /// What the rest of the program gets.
    type Value: Clone + PartialEq;
    /// Whether a value may never be quoted.
    const SECRET: bool = false;

    /// Ends the sentence "… must be".
    fn allowed() -> String;

    /// Takes what was written, if it is allowed.
    fn accept(written: Self::Written) -> Result<Self::Value, Refusal>;

    /// The value as it could stand in the file; for reports of changes.
    fn show(value: &Self::Value) -> String;

    /// Reads a TOML value.
    fn from_toml(value: Spanned<DeValue<'_>>) -> Result<Self::Value, Refusal> {
        let written =
            Self::Written::deserialize(ValueDeserializer::from(value)).map_err(|_| Refusal::plain())?;
        Self::accept(written)
    }

    /// What a setting that isn't in the file is, given its default as TOML.
    fn unset(default: Option<&str>) -> Self::Value {
        default
            .and_then(|toml| DeValue::parse(toml).ok())
            .and_then(|value| Self::from_toml(value).ok())
            .expect("every default can be read: general, database and metrics defaults are made in a test")
    }
}

/// A value isn't allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What more could help, e.g. `did you mean "session"?`.
    pub(super) hint: Option<String>,
}

impl Refusal {
    pub(super) fn plain() -> Self {
        Self { hint: None }
    }

    pub(super) fn because(hint: String) -> Self {
        Self { hint: Some(hint) }
    }
}

/// A setting that may be left out, and then says nothing.
pub(super) struct Maybe<U>(std::marker::PhantomData<U>);

impl<U: Unit> Unit for Maybe<U> {
    type Written = U::Written;
    type Value = Option<U::Value>;
    const SECRET: bool = U::SECRET;

    fn allowed() -> String {
        U::allowed()
    }

    fn accept(written: U::Written) -> Result<Self::Value, Refusal> {
        U::accept(written).map(Some)
    }

    fn show(value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| "unset".to_owned(), U::show)
    }

    fn from_toml(value: Spanned<DeValue<'_>>) -> Result<Self::Value, Refusal> {
        U::from_toml(value).map(Some)
    }

    fn unset(_default: Option<&str>) -> Self::Value {
        None
    }
}

/// The candidate nearest to a misspelt word, if one is near enough to be meant.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if word.len() > LONGEST_MISSPELT {
        return None;
    }
    let word = word.to_lowercase();
    let bound = 1 + word.chars().count() / 4;
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests;
