//! Why a server could not be opened.

use crate::tls::TlsError;
use std::fmt::Display;
use std::io;

/// Fields of an ErrorResponse that matter to whoever waits for the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// SQLSTATE.
    pub sqlstate: String,
    /// Primary message.
    pub message: String,
    /// Detail.
    pub detail: Option<String>,
    /// Hint.
    pub hint: Option<String>,
}

/// Why connecting or logging in failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host's name has no address.
    #[error("cannot look up host \"{0}\": {1}")]
    Lookup(String, io::Error),
    /// The socket could not be connected, or broke.
    #[error("cannot connect to {0}: {1}")]
    Io(String, io::Error),
    /// There was to be TLS, and it failed.
    #[error("cannot connect to {0}: TLS: {1}")]
    Tls(String, io::Error),
    /// There has to be TLS, and the server has none.
    #[error("cannot connect to {0}: server does not support SSL, but SSL was required")]
    NoTls(String),
    /// server_connect_timeout
    #[error("connect timeout")]
    Timeout,
    /// PostgreSQL answered with an error.
    #[error("{} (SQLSTATE {})", .0.message, .0.sqlstate)]
    Refused(Refusal),
    /// PostgreSQL asks for something pgweir can't give with what it has.
    #[error("server login failed: {0}")]
    Credentials(String),
    /// The bytes weren't the protocol.
    #[error("server login failed: {0}")]
    Protocol(&'static str),
}

impl ConnectError {
    /// The connection broke within the login. By TLS 1.3 that is when a server refuses a certificate: its handshake is over for
    /// the client before the server has seen it.
    pub(super) fn within_login(server: &impl Display, error: io::Error) -> Self {
        let of = if TlsError::of(&error).is_some() { Self::Tls } else { Self::Io };
        of(server.to_string(), error)
    }
}
