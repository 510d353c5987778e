//! Why a server could not be opened, why a wait ended without one, why one was closed. Words follow PgBouncer where
//! it has them, since people's tools match them. Never decides what a client is told.
use crate::clock::Instant;
use std::{borrow::Cow, fmt, sync::Arc};

use thiserror::Error;

use super::limits::CapKind;

/// An ErrorResponse that PostgreSQL sent while a server was logging in.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message} (SQLSTATE {sqlstate})")]
pub struct ServerError {
    /// Five characters; empty when the server sent none.
    pub sqlstate: String,
    /// Primary message.
    pub message: String,
    /// Detail, if there was one.
    pub detail: Option<String>,
    /// Hint, if there was one.
    pub hint: Option<String>,
}

impl ServerError {
    /// True when trying again with the same settings can't help. Connection trouble (08), lack of resources (53, among
    /// them 53300 too many connections), operators' interventions (57P: starting, stopping) and I/O errors (58) pass.
    pub fn is_final(&self) -> bool {
        let passing = ["08", "53", "57P", "58"];
        !self.sqlstate.is_empty() && !passing.iter().any(|class| self.sqlstate.starts_with(class))
    }
}

/// Why a server could not be opened.
#[derive(Clone, Debug, Error)]
pub enum OpenError {
    /// Worth another try: waiters keep waiting to their own deadlines.
    #[error("{0}")]
    Transient(Cow<'static, str>),
    /// The same in PostgreSQL's own words: it was reached.
    #[error("{0}")]
    Passing(Arc<ServerError>),
    /// PostgreSQL's own final word: all who wait now get it.
    #[error("{0}")]
    Final(Arc<ServerError>),
}

impl From<ServerError> for OpenError {
    fn from(error: ServerError) -> Self {
        if error.is_final() { Self::Final(Arc::new(error)) } else { Self::Passing(Arc::new(error)) }
    }
}

/// Why no open has succeeded of late.
#[derive(Clone, Debug)]
pub struct OpenFailure {
    /// What the last one came to.
    pub error: OpenError,
    /// When the first one failed after the last that succeeded.
    pub since: Instant,
}

/// Why a wait ended without a server.
#[derive(Clone, Debug, Error)]
pub enum WaitError {
    /// query_wait_timeout; [`super::Pool::last_open_error`] may say what was behind it.
    #[error("query_wait_timeout")]
    Timeout,
    /// query_wait_timeout, for another client to let its server go under max_pins; never the pool's own word.
    #[error("query_wait_timeout")]
    Pins,
    /// The client's CancelRequest found it waiting.
    #[error("canceling statement due to user request")]
    Canceled,
    /// The pool is shutting down.
    #[error("server shutting down")]
    Shutdown,
    /// PostgreSQL refused the login for good.
    #[error("{0}")]
    Open(Arc<ServerError>),
}

/// Why a server was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Older than server_lifetime.
    Lifetime,
    /// Idle longer than server_idle_timeout.
    IdleTimeout,
    /// Made room for a pool that a shared cap blocked, or under a cap that was made smaller.
    Evicted(CapKind),
    /// The pool was made smaller.
    Excess,
    /// Closed by its peer, or said something unasked, while idle.
    Dead,
    /// Closed by its peer during a lease.
    Lost,
    /// RECONNECT, or its address is no longer good.
    Obsolete,
    /// Where or how to connect was changed by a reload.
    ConfigChanged,
    /// The database was removed by a reload.
    Removed,
    /// The pool is shutting down.
    Shutdown,
    /// Idle for long, and server_check_query failed or was not answered in time.
    CheckFailed,
    /// The reset query failed or took too long.
    ResetFailed,
    /// Its client went away in the middle of a message or a query that could not be ended in time.
    ClientGone,
    /// The client reached query_timeout, transaction_timeout or idle_transaction_timeout.
    ClientTimeout,
    /// Its protocol state is not known for certain.
    Doubt,
    /// PAUSE, or KILL.
    Paused,
    /// The lease was dropped without a word.
    Dropped,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lifetime => "server lifetime over",
            Self::IdleTimeout => "server idle timeout",
            Self::Evicted(kind) => return write!(f, "evicted for {}", kind.setting()),
            Self::Excess => "too many servers in the pool",
            Self::Dead => "server closed while idle",
            Self::Lost => "server conn crashed?",
            Self::Obsolete => "obsolete connection",
            Self::ConfigChanged => "database configuration changed",
            Self::Removed => "database removed",
            Self::Shutdown => "server shutting down",
            Self::CheckFailed => "test query failed",
            Self::ResetFailed => "reset query failed",
            Self::ClientGone => "client disconnect while server was not ready",
            Self::ClientTimeout => "client timeout with query in progress",
            Self::Doubt => "server state in doubt",
            Self::Paused => "pause mode",
            Self::Dropped => "lease dropped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_is_what_another_try_cannot_mend() {
        let table = [
            ("28P01", true),
            ("28000", true),
            ("3D000", true),
            ("42501", true),
            ("57014", true),
            ("57P03", false),
            ("57P01", false),
            ("53300", false),
            ("53200", false),
            ("08006", false),
            ("58030", false),
            ("", false),
        ];
        for (sqlstate, is_final) in table {
            let error =
                ServerError { sqlstate: sqlstate.into(), message: "m".into(), detail: None, hint: None };
            assert_eq!(error.is_final(), is_final, "{sqlstate}");
            assert_eq!(matches!(OpenError::from(error), OpenError::Final(_)), is_final, "{sqlstate}");
        }
    }

    #[test]
    fn evictions_name_the_setting() {
        assert_eq!(CloseReason::Evicted(CapKind::Database).to_string(), "evicted for max_db_connections");
        assert_eq!(CloseReason::Evicted(CapKind::User).to_string(), "evicted for max_user_connections");
    }
}
