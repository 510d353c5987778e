//! A connection that doesn't become a session: why, and how it is told.

use super::context::Shared;
use super::guesses::hold_back;
use super::login::LoginEnd;
use super::report::{Trouble, printable};
use super::startup::{StartupEnd, Wish};
use crate::audit;
use crate::metrics::LoginFailure;
use crate::net::stream::Stream;
use crate::roster::ClientAddress;
use crate::timer::timeout;
use crate::wire::backend::Severity;
use std::time::Duration;

/// How long a refusal may take to be sent.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection that doesn't become a session.
pub(super) struct Refused {
    trouble: Option<Box<Trouble>>,
    failure: LoginFailure,
    wish: Option<(String, String)>,
    /// Why there is no TLS.
    handshake: Option<String>,
    /// How long the answer is held back, if that has been found out.
    delay: Option<Duration>,
}

impl Refused {
    pub(super) fn tell(trouble: Trouble, failure: LoginFailure) -> Self {
        Self { trouble: Some(Box::new(trouble)), ..Self::silently(failure, None) }
    }

    pub(super) fn silently(failure: LoginFailure, handshake: Option<String>) -> Self {
        Self { trouble: None, failure, wish: None, handshake, delay: None }
    }

    /// Adds how long the answer to a guess is held back.
    pub(super) fn later(self, delay: Duration) -> Self {
        Self { delay: Some(delay), ..self }
    }

    /// Adds whose login it was and, if it waited in vain, what kept it waiting.
    pub(super) fn of(mut self, shared: &Shared, wish: &Wish) -> Self {
        if let Some(Trouble::LoginTimeout(behind)) = self.trouble.as_deref_mut() {
            *behind = shared.last_open_error(&wish.database, &wish.user);
        }
        Self { wish: Some((wish.database.clone(), wish.user.clone())), ..self }
    }

    pub(super) fn lost() -> Self {
        Self::silently(LoginFailure::ClientLost, None)
    }
}

/// Its patience is exhausted.
impl From<Trouble> for Refused {
    fn from(trouble: Trouble) -> Self {
        let failure = match trouble {
            Trouble::Kicked(_) => LoginFailure::Unavailable,
            Trouble::TooManyLogins => LoginFailure::Limit,
            _ => LoginFailure::Timeout,
        };
        Self::tell(trouble, failure)
    }
}

impl From<LoginEnd> for Refused {
    fn from(end: LoginEnd) -> Self {
        let failure = |trouble: &Trouble| match trouble {
            Trouble::Login(_) => LoginFailure::Credentials,
            Trouble::Lookup(_) => LoginFailure::NoServer,
            Trouble::Entry(_) | Trouble::CertificateRequired => LoginFailure::Rejected,
            Trouble::TlsRequired => LoginFailure::TlsRequired,
            Trouble::TooManyFailures => LoginFailure::Limit,
            _ => LoginFailure::Protocol,
        };
        match end {
            LoginEnd::Tell(trouble) => {
                let failure = failure(&trouble);
                Self::tell(trouble, failure)
            }
            LoginEnd::Guessed(trouble, delay) => Self::from(LoginEnd::Tell(*trouble)).later(delay),
            LoginEnd::Lost(_) => Self::lost(),
        }
    }
}

impl From<StartupEnd> for Refused {
    fn from(end: StartupEnd) -> Self {
        match end {
            StartupEnd::Tell(trouble @ Trouble::TlsRequired) => {
                Self::tell(trouble, LoginFailure::TlsRequired)
            }
            StartupEnd::Tell(trouble) => Self::tell(trouble, LoginFailure::Protocol),
            StartupEnd::Lost(_) => Self::lost(),
            StartupEnd::DirectTls => Self::silently(LoginFailure::Protocol, None),
            StartupEnd::Handshake(why) => Self::silently(LoginFailure::TlsHandshake, Some(why.to_string())),
        }
    }
}

/// Tells the client why, those who fail often later.
pub(super) async fn refuse(stream: &mut Stream, address: ClientAddress, shared: &Shared, refused: &Refused) {
    let (database, user) = refused.wish.as_ref().map_or(("(nodb)", "(nouser)"), |(d, u)| (&**d, &**u));
    match shared.known_metrics(database, user) {
        Some(pool) => pool.login_failed(refused.failure),
        None => shared.metrics.login_failed(refused.failure),
    }
    if let Some(why) = &refused.handshake {
        tracing::info!(%address, "TLS handshake failed: {}", printable(why));
        audit::refused(address, (user, database), refused.failure.label(), &printable(why));
        return;
    }
    let Some(trouble) = &refused.trouble else {
        tracing::debug!(%address, database, user, "login ended: {}", refused.failure.label());
        return;
    };
    let mut out = Vec::new();
    trouble.encode(&mut out, Severity::Fatal);
    let why = trouble.log_line();
    let delay = refused.delay.or_else(|| shared.delay_after(trouble, address));
    let delay = delay.filter(|delay| !delay.is_zero());
    if shared.config.load().general.log_pooler_errors.is_on() {
        let held_ms = delay.map(|delay| delay.as_millis() as u64);
        tracing::warn!(%address, database, user, held_ms, "login refused: {why}");
    }
    audit::refused(address, (user, database), refused.failure.label(), &why);
    if let Some(delay) = delay {
        hold_back(stream, address, shared, delay).await;
    }
    let _ = timeout(FAREWELL, stream.write_all(&out)).await;
    stream.shutdown();
}
