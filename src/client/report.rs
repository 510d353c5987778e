//! The one place where a problem becomes words and an SQLSTATE for a client.
//!
//! Texts are PostgreSQL's where PostgreSQL has the case, else PgBouncer's, since people's tools match them.

use super::in_the_way::{InTheWay, Lent};
pub use crate::audit::printable;
use crate::auth::hba::EntryError;
use crate::auth::login::LoginError;
use crate::auth::oauth::Malformed;
use crate::credentials::lookups::LookupError;
use crate::pool::WaitError;
use crate::roster::{ClientCap, Kick};
use crate::server::error::Refusal;
use crate::wire::backend::{Report, Severity};
use crate::wire::error::WireError;
use crate::wire::proxy::ProxyError;
use crate::wire::sqlstate::{self, SqlState};
use crate::wire::startup::{OptionsError, StartupError};

/// Where to look who is in the way of one client more that keeps its server.
pub(super) const HINT_OF_PINS: &str =
    "max_pins of the pool is reached: see which clients keep their servers with SHOW PINS.";

/// Everything that can be told to a client.
#[derive(Debug)]
pub enum Trouble {
    /// The startup packet is wrong.
    Startup(StartupError),
    /// What a load balancer sent is no PROXY protocol header.
    Proxy(ProxyError),
    /// The options parameter is wrong.
    Options(OptionsError),
    /// The options parameter names what is no setting.
    NoSetting(String),
    /// A message is wrong.
    Protocol(WireError),
    /// Something else than a password message while one was awaited.
    ExpectedPassword,
    /// The login failed.
    Login(LoginError),
    /// The user's secret could not be looked up.
    Lookup(LookupError),
    /// The rules, or what they ask for beside a password, are against it.
    Entry(EntryError),
    /// What should bring a token doesn't.
    Token(Malformed),
    /// No such database.
    NoDatabase(String),
    /// max_client_conn
    TooManyClients,
    /// The cap of the database or the user of this name.
    ClientCap(ClientCap, String),
    /// The console is not for this user.
    NotAllowed,
    /// DISABLE
    DatabaseDisabled(String),
    /// Too many connections are logging in.
    TooManyLogins,
    /// Too few open files are left for another client.
    TooManyFiles,
    /// Too many wrong passwords have come from the client's address.
    TooManyFailures,
    /// client_tls_sslmode
    TlsRequired,
    /// client_tls_sslmode asks for a certificate since a reload.
    CertificateRequired,
    /// Nobody replicates from the console.
    Replication,
    /// The startup parameter replication is none that there is.
    NoKindOfReplication(String),
    /// The shared caps leave no place for a connection beside the pool.
    NoPlace,
    /// client_login_timeout, and what it waited for if that kept failing.
    LoginTimeout(Option<String>),
    /// No server was to be had, and what was in the way.
    NoServer(WaitError, Option<InTheWay>),
    /// The server refused the client's parameters.
    Refused(Refusal),
    /// The server was lost in a transaction.
    ServerLost,
    /// The server has to be closed with what the client kept it for.
    StateLost,
    /// The client's own idle_session_timeout is over.
    IdleSession,
    /// BEGIN in statement mode.
    TransactionInStatementMode,
    /// The session has to end.
    Kicked(Kick),
}

/// As PostgreSQL says it to whom a rule asks for one.
const NO_CERTIFICATE: &str = "connection requires a valid client certificate";
const STATE_LOST: &str = "terminating connection because the server that holds its session state is in doubt";

impl Trouble {
    /// Appends the ErrorResponse.
    pub fn encode(&self, out: &mut Vec<u8>, severity: Severity) {
        let (code, message, detail, hint) = self.words();
        Report { severity, code: &code, message: &message, detail: detail.as_deref(), hint: hint.as_deref() }
            .encode(out);
    }

    /// The class of its SQLSTATE.
    pub fn class(&self) -> [u8; 2] {
        let (code, ..) = self.words();
        code.as_bytes().first_chunk().copied().unwrap_or(*b"XX")
    }

    /// What the log says, which may be more than the client is told. One line, whatever names and values it quotes.
    pub fn log_line(&self) -> String {
        let line = match self {
            Self::Login(e) => e.to_string(),
            Self::Lookup(e) => e.to_string(),
            Self::Entry(e) => e.to_string(),
            _ => {
                let (code, message, detail, _) = self.words();
                let detail = detail.map(|d| format!(" ({d})")).unwrap_or_default();
                format!("{message}{detail} [{code}]")
            }
        };
        printable(&line)
    }

    fn words(&self) -> (String, String, Option<String>, Option<String>) {
        let plain = |code: SqlState, message: &str| (code.to_owned(), message.to_owned(), None, None);
        match self {
            Self::Startup(StartupError::NoUser) => {
                plain(sqlstate::INVALID_AUTHORIZATION, &StartupError::NoUser.to_string())
            }
            Self::Startup(StartupError::Version(..)) => plain(sqlstate::FEATURE_NOT_SUPPORTED, &self.text()),
            Self::Startup(StartupError::Encoding) => {
                plain(sqlstate::CHARACTER_NOT_IN_REPERTOIRE, &self.text())
            }
            Self::Startup(_) | Self::Proxy(_) | Self::Protocol(_) => {
                plain(sqlstate::PROTOCOL_VIOLATION, &self.text())
            }
            Self::Options(_) => plain("42601", &self.text()),
            Self::NoSetting(name) => {
                plain("42704", &format!("unrecognized configuration parameter \"{name}\""))
            }
            Self::ExpectedPassword => plain(sqlstate::PROTOCOL_VIOLATION, "expected password response"),
            Self::Login(e) => plain(e.sqlstate(), &e.client_message()),
            Self::Lookup(error) => no_lookup(error),
            Self::Replication | Self::NoKindOfReplication(_) | Self::NoPlace => self.of_replication(),
            Self::Entry(e) => not_let_in(e),
            Self::Token(e) => no_token(e),
            Self::NoDatabase(name) => {
                plain(sqlstate::INVALID_CATALOG_NAME, &format!("database \"{name}\" does not exist"))
            }
            Self::ClientCap(cap, name) => client_cap(*cap, name),
            Self::TooManyClients => too_many_clients("no more connections allowed (max_client_conn)"),
            Self::NotAllowed => plain(sqlstate::PROTOCOL_VIOLATION, "not allowed"),
            Self::DatabaseDisabled(name) => {
                plain(sqlstate::NOT_IN_PREREQUISITE_STATE, &format!("database \"{name}\" is disabled"))
            }
            Self::TooManyLogins => too_many_clients("too many connections are logging in"),
            Self::TooManyFiles => too_many_clients("no more connections allowed (limit on open files)"),
            Self::TooManyFailures => too_many_failures(),
            Self::TlsRequired => plain(sqlstate::INVALID_AUTHORIZATION, "SSL required"),
            Self::CertificateRequired => plain(sqlstate::INVALID_AUTHORIZATION, NO_CERTIFICATE),
            Self::LoginTimeout(behind) => {
                let words = plain(sqlstate::QUERY_CANCELED, "client_login_timeout");
                (words.0, words.1, behind.as_deref().map(last_attempt), words.3)
            }
            Self::NoServer(error, behind) => no_server(error, behind.as_ref()),
            Self::Refused(r) => (r.sqlstate.clone(), r.message.clone(), r.detail.clone(), r.hint.clone()),
            Self::ServerLost => {
                plain(sqlstate::CONNECTION_FAILURE, "server closed the connection unexpectedly")
            }
            Self::StateLost => plain(sqlstate::ADMIN_SHUTDOWN, STATE_LOST),
            Self::IdleSession => {
                plain(sqlstate::IDLE_SESSION_TIMEOUT, "terminating connection due to idle-session timeout")
            }
            Self::TransactionInStatementMode => plain(
                sqlstate::FEATURE_NOT_SUPPORTED,
                "transaction blocks not allowed in statement pooling mode",
            ),
            Self::Kicked(kick) => {
                let (code, message) = kicked(*kick);
                plain(code, message)
            }
        }
    }

    fn of_replication(&self) -> (String, String, Option<String>, Option<String>) {
        let (code, message, detail, hint) = match self {
            Self::NoKindOfReplication(value) => (
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"replication\": \"{value}\""),
                None,
                Some(r#"Valid values are: "false", 0, "true", 1, "database"."#),
            ),
            Self::NoPlace => (
                sqlstate::TOO_MANY_CONNECTIONS,
                "sorry, too many clients already".to_owned(),
                Some(
                    "no place for a replication connection (max_db_connections, max_user_connections or max_server_connections)",
                ),
                None,
            ),
            _ => (
                sqlstate::FEATURE_NOT_SUPPORTED,
                "the console has nothing to replicate".to_owned(),
                None,
                None,
            ),
        };
        (code.to_owned(), message, detail.map(str::to_owned), hint.map(str::to_owned))
    }

    fn text(&self) -> String {
        match self {
            Self::Startup(e) => e.to_string(),
            Self::Options(e) => e.to_string(),
            Self::Protocol(e) => e.to_string(),
            Self::Proxy(e) => e.to_string(),
            _ => String::new(),
        }
    }
}

/// Who isn't let in yet learns no address and no text of the configuration.
fn no_lookup(error: &LookupError) -> (String, String, Option<String>, Option<String>) {
    let (code, message) = match error {
        LookupError::Unreachable(_) => {
            (sqlstate::UNABLE_TO_CONNECT, "the server that keeps the passwords cannot be asked")
        }
        LookupError::Query(_) => (sqlstate::CONFIG_FILE_ERROR, "bouncer config error"),
    };
    (code.to_owned(), message.to_owned(), None, None)
}

fn kicked(kick: Kick) -> (SqlState, &'static str) {
    match kick {
        Kick::Shutdown | Kick::Now => {
            (sqlstate::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
        }
        Kick::Killed => (sqlstate::ADMIN_SHUTDOWN, "database removed"),
        Kick::Moved => (sqlstate::ADMIN_SHUTDOWN, "the user of the database was changed"),
        Kick::Forced | Kick::Ask | Kick::Cancel | Kick::Notify | Kick::Unanswered => {
            (sqlstate::ADMIN_SHUTDOWN, "admin forced disconnect")
        }
        Kick::ClientIdle => (sqlstate::IDLE_SESSION_TIMEOUT, "client_idle_timeout"),
        Kick::IdleInTransaction => (sqlstate::IDLE_IN_TRANSACTION_TIMEOUT, "idle transaction timeout"),
        Kick::Query | Kick::QueryWait => (sqlstate::QUERY_CANCELED, "query timeout"),
        Kick::Transaction => (sqlstate::TRANSACTION_TIMEOUT, "transaction timeout"),
    }
}

fn client_cap(cap: ClientCap, name: &str) -> (String, String, Option<String>, Option<String>) {
    let (message, setting) = match cap {
        ClientCap::Database => {
            (format!("too many connections for database \"{name}\""), "max_db_client_connections")
        }
        ClientCap::User => {
            (format!("too many connections for role \"{name}\""), "max_user_client_connections")
        }
    };
    let detail = format!("client connections exceeded ({setting})");
    (sqlstate::TOO_MANY_CONNECTIONS.to_owned(), message, Some(detail), None)
}

fn too_many_clients(detail: &str) -> (String, String, Option<String>, Option<String>) {
    let message = "sorry, too many clients already".to_owned();
    (sqlstate::TOO_MANY_CONNECTIONS.to_owned(), message, Some(detail.to_owned()), None)
}

fn too_many_failures() -> (String, String, Option<String>, Option<String>) {
    let detail = "passwords from there are looked at again when their answers are out (failed_login_delay)";
    let message = "too many failed logins from your address".to_owned();
    (sqlstate::TOO_MANY_CONNECTIONS.to_owned(), message, Some(detail.to_owned()), None)
}

fn not_let_in(error: &EntryError) -> (String, String, Option<String>, Option<String>) {
    let hint = error.client_hint().map(str::to_owned);
    (sqlstate::INVALID_AUTHORIZATION.to_owned(), error.client_message(), None, hint)
}

fn no_token(error: &Malformed) -> (String, String, Option<String>, Option<String>) {
    let (code, detail) = match error {
        Malformed::Identity => (sqlstate::FEATURE_NOT_SUPPORTED, None),
        Malformed::Message(why) => (sqlstate::PROTOCOL_VIOLATION, Some((*why).to_owned())),
        Malformed::Initial | Malformed::Mechanism => (sqlstate::PROTOCOL_VIOLATION, None),
    };
    (code.to_owned(), error.to_string(), detail, None)
}

fn last_attempt(error: &str) -> String {
    format!("The last attempt to open a server connection failed: {error}")
}

fn detail_of_timeout(behind: Option<&InTheWay>) -> Option<String> {
    match behind {
        Some(InTheWay::Failed(error)) => Some(last_attempt(error)),
        _ => None,
    }
}

fn hint_of_timeout(behind: Option<&InTheWay>) -> Option<String> {
    let hint = match behind {
        Some(InTheWay::Failed(_)) => return None,
        Some(InTheWay::Unanswered(places)) => format!("PostgreSQL at {places} hasn't answered yet."),
        Some(InTheWay::Paused) => "The database is paused: the console's RESUME ends that.".to_owned(),
        Some(InTheWay::Cap(cap)) => {
            format!("All places under {} were taken, also by other pools.", cap.setting())
        }
        Some(InTheWay::Busy(Lent { in_transaction: n @ 1.., .. })) => format!(
            "All server connections of the pool were busy, {n} for clients idle in a transaction: see \
             idle_transaction_timeout and default_pool_size."
        ),
        Some(InTheWay::Busy(Lent { pinned: n @ 1.., to_sessions: false, .. })) => format!(
            "All server connections of the pool were busy, {n} for clients that keep theirs for session state: see \
             SHOW PINS on the console, max_pins and default_pool_size."
        ),
        Some(InTheWay::Busy(_)) | None => {
            "All server connections of the pool were busy: see default_pool_size.".to_owned()
        }
        Some(InTheWay::Pins(_)) => HINT_OF_PINS.to_owned(),
    };
    Some(hint)
}

fn no_server(
    error: &WaitError,
    behind: Option<&InTheWay>,
) -> (String, String, Option<String>, Option<String>) {
    match error {
        WaitError::Timeout => (
            sqlstate::QUERY_CANCELED.to_owned(),
            "query_wait_timeout".to_owned(),
            detail_of_timeout(behind),
            hint_of_timeout(behind),
        ),
        WaitError::Pins => (
            sqlstate::QUERY_CANCELED.to_owned(),
            "query_wait_timeout".to_owned(),
            None,
            Some(HINT_OF_PINS.to_owned()),
        ),
        WaitError::Canceled => (
            sqlstate::QUERY_CANCELED.to_owned(),
            "canceling statement due to user request".to_owned(),
            None,
            None,
        ),
        WaitError::Shutdown => (
            sqlstate::ADMIN_SHUTDOWN.to_owned(),
            "terminating connection due to administrator command".to_owned(),
            None,
            None,
        ),
        WaitError::Open(e) => (
            if e.sqlstate.len() == 5 { e.sqlstate.clone() } else { sqlstate::UNABLE_TO_CONNECT.to_owned() },
            e.message.clone(),
            e.detail.clone(),
            e.hint.clone(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::ServerError;
    use std::sync::Arc;

    #[test]
    fn errors_are_counted_by_the_class_that_clients_are_told() {
        let refused = |code: &str| {
            let error = ServerError { sqlstate: code.into(), message: "no".into(), detail: None, hint: None };
            Trouble::NoServer(WaitError::Open(Arc::new(error)), None).class()
        };
        assert_eq!((refused("28000"), refused("")), (*b"28", *b"08"));
        assert_eq!(Trouble::NoServer(WaitError::Timeout, None).class(), *b"57");
    }
}
