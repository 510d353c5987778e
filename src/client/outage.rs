//! Why a pool can have no servers, whatever its size: one sentence that says what, since when, who waits and what ends it, for
//! whoever is woken by it.

use super::pool_context::PoolContext;
use crate::admin;
use crate::pool::{CapKind, Hindrance, Numbers, OpenError, OpenFailure};
use std::fmt::Write as _;
use std::time::Duration;

/// What is the matter, and who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outage {
    matter: Matter,
    /// Clients in line, and for how long the first has been.
    waiting: usize,
    longest: Duration,
    /// DISABLE
    disabled: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Matter {
    /// PAUSE
    Paused,
    /// No open has succeeded since then.
    Failing { why: Why, error: String, since: String, lasts: Duration, servers: usize },
    /// Nothing has come of the first open of all, of a server at one of these addresses.
    Unanswered(String),
    /// Other pools have all places under a cap.
    Cap(CapKind, Option<u32>),
    /// DISABLE alone.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Unreachable,
    /// 53300 and the like.
    Full,
    /// 57P03 and the like.
    NotReady,
    Refused,
}

impl Why {
    fn of(error: &OpenError) -> Self {
        match error {
            OpenError::Transient(_) => Self::Unreachable,
            OpenError::Passing(said) | OpenError::Final(said) => match said.sqlstate.get(..2) {
                Some("08") => Self::Unreachable,
                Some("53") => Self::Full,
                Some("57") => Self::NotReady,
                _ => Self::Refused,
            },
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Unreachable => "PostgreSQL can't be reached",
            Self::Full => "PostgreSQL takes no more connections",
            Self::NotReady => "PostgreSQL is starting or stopping,",
            Self::Refused => "PostgreSQL refuses the login",
        }
    }
}

impl Outage {
    pub(super) fn now(context: &PoolContext) -> Option<Self> {
        let numbers = context.pool.numbers();
        let disabled = context.shared.desk.disabled.lock().contains(&*context.pool.key().database);
        let matter = Matter::of(context, &numbers);
        if matter == Matter::None && !disabled {
            return None;
        }
        let longest = numbers.oldest_wait_since.map(|since| since.elapsed()).unwrap_or_default();
        Some(Self { matter, waiting: numbers.waiting, longest, disabled })
    }

    /// The whole of it.
    pub(super) fn sentence(&self, database: &str) -> String {
        let mut text = match &self.matter {
            Matter::None => String::new(),
            Matter::Paused => format!("Paused, until RESUME {database}"),
            Matter::Failing { why, error, since, lasts, servers } => {
                let left = match servers {
                    0 => String::new(),
                    n => format!("; {n} opened before still serve"),
                };
                format!("{} since {since} ({}): {error}{left}", why.words(), span(*lasts))
            }
            Matter::Unanswered(places) => format!("PostgreSQL at {places} hasn't answered yet"),
            Matter::Cap(kind, places) => {
                let places = places.map(|n| format!("{n} ")).unwrap_or_default();
                format!("Other pools have all {places}places under {} (SHOW SERVERS)", kind.setting())
            }
        };
        if self.disabled {
            text.push_str(if text.is_empty() { "Disabled" } else { "; disabled" });
            let _ = write!(text, ", so that nobody may log in until ENABLE {database}");
        }
        match self.waiting {
            0 => {}
            1 => {
                let _ = write!(text, "; 1 client waits, for {}", span(self.longest));
            }
            n => {
                let _ = write!(text, "; {n} clients wait, the first for {}", span(self.longest));
            }
        }
        text.push('.');
        text
    }
}

impl Matter {
    fn of(context: &PoolContext, numbers: &Numbers) -> Self {
        let only_opening = numbers.opening > 0 && numbers.connections == numbers.opening;
        match (numbers.hindered.last, context.pool.open_failure()) {
            _ if numbers.paused => Self::Paused,
            (_, Some(failure)) => Self::failing(&failure, numbers),
            _ if numbers.waiting == 0 => Self::None,
            (Some(Hindrance::Cap(kind)), _) if numbers.connections == 0 => {
                Self::Cap(kind, context.pool.places_under(kind))
            }
            // What a connect takes anyway is no outage.
            _ if only_opening && numbers.oldest_wait_since.is_some_and(|since| since.elapsed() >= SLOW) => {
                Self::Unanswered(context.opener.places())
            }
            _ => Self::None,
        }
    }

    fn failing(failure: &OpenFailure, numbers: &Numbers) -> Self {
        Self::Failing {
            why: Why::of(&failure.error),
            error: failure.error.to_string(),
            since: admin::date(failure.since),
            lasts: failure.since.elapsed(),
            servers: numbers.active + numbers.idle + numbers.dirty_idle,
        }
    }
}

/// An open that takes longer is told of.
const SLOW: Duration = Duration::from_secs(1);

/// A time as people say it.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::ServerError;

    fn failing(sqlstate: Option<&str>, servers: usize) -> Matter {
        let said = |sqlstate: &str| ServerError {
            sqlstate: sqlstate.to_owned(),
            message: "no".to_owned(),
            detail: None,
            hint: None,
        };
        let error = sqlstate.map_or_else(
            || OpenError::Transient("connection refused".into()),
            |sqlstate| said(sqlstate).into(),
        );
        Matter::Failing {
            why: Why::of(&error),
            error: error.to_string(),
            since: "2026-11-22 03:00:00 UTC".to_owned(),
            lasts: Duration::from_secs(300),
            servers,
        }
    }

    #[test]
    fn sentences() {
        let since = "since 2026-11-22 03:00:00 UTC (5 min):";
        for (matter, waiting, disabled, expected) in [
            (
                failing(None, 0),
                7,
                false,
                &*format!(
                    "PostgreSQL can't be reached {since} connection refused; 7 clients wait, the first for 2 min."
                ),
            ),
            (
                failing(Some("53300"), 2),
                1,
                false,
                &format!(
                    "PostgreSQL takes no more connections {since} no (SQLSTATE 53300); 2 opened before still serve; 1 client waits, for 2 min."
                ),
            ),
            (
                failing(Some("28P01"), 0),
                0,
                false,
                &format!("PostgreSQL refuses the login {since} no (SQLSTATE 28P01)."),
            ),
            (
                failing(Some("57P03"), 0),
                0,
                false,
                &format!("PostgreSQL is starting or stopping, {since} no (SQLSTATE 57P03)."),
            ),
            (Matter::Paused, 2, false, "Paused, until RESUME db; 2 clients wait, the first for 2 min."),
            (
                Matter::Paused,
                0,
                true,
                "Paused, until RESUME db; disabled, so that nobody may log in until ENABLE db.",
            ),
            (Matter::None, 0, true, "Disabled, so that nobody may log in until ENABLE db."),
            (
                Matter::Cap(CapKind::Database, Some(3)),
                2,
                false,
                "Other pools have all 3 places under max_db_connections (SHOW SERVERS); 2 clients wait, the first for 2 min.",
            ),
            (
                Matter::Unanswered("10.0.0.1:5432".to_owned()),
                1,
                false,
                "PostgreSQL at 10.0.0.1:5432 hasn't answered yet; 1 client waits, for 2 min.",
            ),
        ] {
            let outage = Outage { matter, waiting, longest: Duration::from_secs(130), disabled };
            assert_eq!(outage.sentence("db"), expected);
        }
    }
}
