//! Settings that are one word of a few, and switches.
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserialize;

use super::{Refusal, Unit, nearest};

/// A type whose values have names in the file, the first name of a value being its own.
pub(in crate::config) trait Words: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// When a server goes back to its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// When the client disconnects.
    Session,
    /// When a transaction ends.
    Transaction,
    /// After each query; transaction blocks are refused.
    Statement,
}

impl PoolMode {
    /// Its word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Statement => "statement",
        }
    }
}

impl Words for PoolMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("transaction", Self::Transaction), ("session", Self::Session), ("statement", Self::Statement)];
}

/// What becomes of session state in transaction and statement mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// A client finds it on every server, or keeps its server.
    Transparent,
    /// Statements that would leave some are refused.
    Strict,
    /// It stays behind; the server is reset before somebody else gets it.
    Discard,
}

impl Words for SessionState {
    const WORDS: &'static [(&'static str, Self)] =
        &[("transparent", Self::Transparent), ("strict", Self::Strict), ("discard", Self::Discard)];
}

/// What becomes of a statement that would tie one client more to its server than max_pins allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PinsReached {
    /// It fails.
    Refuse,
    /// It waits for another client to let its server go, within a transaction it fails.
    Wait,
}

impl Words for PinsReached {
    const WORDS: &'static [(&'static str, Self)] = &[("refuse", Self::Refuse), ("wait", Self::Wait)];
}

/// Which of a database's hosts a new connection is tried at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoadBalanceHosts {
    /// The next one.
    RoundRobin,
    /// The one where the last connection went well.
    Disable,
}

impl LoadBalanceHosts {
    /// Its word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Disable => "disable",
        }
    }
}

impl Words for LoadBalanceHosts {
    const WORDS: &'static [(&'static str, Self)] =
        &[("round-robin", Self::RoundRobin), ("disable", Self::Disable)];
}

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthType {
    /// They needn't.
    Trust,
    /// With the password in clear.
    Password,
    /// With MD5, or with SCRAM where only a SCRAM secret is stored.
    Md5,
    /// With SCRAM-SHA-256.
    ScramSha256,
    /// As auth_hba_file says.
    Hba,
    /// With the password in clear, which a directory knows.
    Ldap,
    /// With the password in clear, which this machine's PAM modules know.
    Pam,
    /// With a certificate of the user's.
    Cert,
    /// By running as that user on this machine.
    Peer,
    /// They needn't, and who they say they are doesn't count.
    Any,
    /// With a token of somebody who is trusted.
    OAuth,
}

impl AuthType {
    /// Its name in the file.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(name, _)| name)
    }
}

impl Words for AuthType {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("scram-sha-256", Self::ScramSha256),
        ("md5", Self::Md5),
        ("password", Self::Password),
        ("plain", Self::Password),
        ("trust", Self::Trust),
        ("hba", Self::Hba),
        ("ldap", Self::Ldap),
        ("pam", Self::Pam),
        ("cert", Self::Cert),
        ("peer", Self::Peer),
        ("any", Self::Any),
        ("oauth", Self::OAuth),
    ];
}

/// How much is logged; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// What needs somebody.
    Error,
    /// What may need somebody.
    Warn,
    /// What happens.
    Info,
    /// Why it happens.
    Debug,
    /// Every step.
    Trace,
}

impl Words for LogLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl LogLevel {
    /// Its word in the file, which is also `tracing`'s.
    pub fn as_str(self) -> &'static str {
        word(self)
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        OneOf::<Self>::accept(text.to_owned()).map_err(|_| format!("must be {}", OneOf::<Self>::allowed()))
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Words for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// Series beside pgweir's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricsCompat {
    /// None.
    None,
    /// Those of prometheus-community's pgbouncer_exporter.
    PgbouncerExporter,
}

impl Words for MetricsCompat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("pgbouncer_exporter", Self::PgbouncerExporter)];
}

/// syslog's facilities, with their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are syslog's")]
pub enum SyslogFacility {
    Kern = 0,
    User = 1,
    Daemon = 3,
    Auth = 4,
    Authpriv = 10,
    Local0 = 16,
    Local1 = 17,
    Local2 = 18,
    Local3 = 19,
    Local4 = 20,
    Local5 = 21,
    Local6 = 22,
    Local7 = 23,
}

impl Words for SyslogFacility {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("daemon", Self::Daemon),
        ("auth", Self::Auth),
        ("authpriv", Self::Authpriv),
        ("kern", Self::Kern),
        ("user", Self::User),
        ("local0", Self::Local0),
        ("local1", Self::Local1),
        ("local2", Self::Local2),
        ("local3", Self::Local3),
        ("local4", Self::Local4),
        ("local5", Self::Local5),
        ("local6", Self::Local6),
        ("local7", Self::Local7),
    ];
}

/// On or off; `true`, `false`, 1 or 0 in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Switch {
    /// false, 0
    Off,
    /// true, 1
    On,
}

impl Switch {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// A switch as TOML may have it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(in crate::config) enum SwitchWritten {
    /// `true`
    Bool(bool),
    /// `1`, as in a `PgBouncer` file
    Number(i64),
}

impl Unit for Switch {
    type Written = SwitchWritten;
    type Value = Self;

    fn allowed() -> String {
        "true or false (1 or 0)".to_owned()
    }

    fn accept(written: SwitchWritten) -> Result<Self, Refusal> {
        match written {
            SwitchWritten::Bool(true) | SwitchWritten::Number(1) => Ok(Self::On),
            SwitchWritten::Bool(false) | SwitchWritten::Number(0) => Ok(Self::Off),
            SwitchWritten::Number(_) => Err(Refusal::plain()),
        }
    }

    fn show(value: &Self) -> String {
        value.is_on().to_string()
    }
}

/// One of a type's words, in any case.
pub(in crate::config) struct OneOf<W>(PhantomData<W>);

impl<W: Words> Unit for OneOf<W> {
    type Written = String;
    type Value = W;

    fn allowed() -> String {
        let words: Vec<String> = W::WORDS.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("one of {}", words.join(", "))
    }

    fn accept(written: String) -> Result<W, Refusal> {
        let found = W::WORDS.iter().find(|(word, _)| written.eq_ignore_ascii_case(word));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let meant = nearest(&written, W::WORDS.iter().map(|(word, _)| *word));
            meant.map_or_else(Refusal::plain, |word| Refusal::because(format!("did you mean {word:?}?")))
        })
    }

    fn show(value: &W) -> String {
        format!("{:?}", word(*value))
    }
}

pub(super) fn word<W: Words>(value: W) -> &'static str {
    W::WORDS.iter().find(|(_, candidate)| *candidate == value).map_or("", |(word, _)| word)
}
