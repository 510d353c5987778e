//! What keeps clients from a server, in words: for who has waited in vain, and for operators while somebody waits.

use super::pool_context::PoolContext;
use crate::clock::Instant;
use crate::config::PoolMode;
use crate::pool::{CapKind, Hindrance, Numbers, WaitError};
use parking_lot::Mutex;
use std::time::Duration;

/// Who has been idle in a transaction for less may well go on at once.
const LINGERS: Duration = Duration::from_secs(1);
/// A count of those is good for so long: it looks at every client.
const COUNT_LASTS: Duration = Duration::from_millis(500);

/// What keeps, or has kept, a pool's clients from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InTheWay {
    /// The last open failed, in these words.
    Failed(String),
    /// Nothing has come of the first open of all, of a server at one of these addresses.
    Unanswered(String),
    /// The pool is paused.
    Paused,
    /// A cap that it shares with others has no place.
    Cap(CapKind),
    /// All servers it may have are lent.
    Busy(Lent),
    /// As many clients keep their servers as max_pins allows: so many.
    Pins(usize),
}

/// To whom a pool's servers are lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lent {
    /// All of them.
    pub servers: usize,
    /// To clients that have been idle in a transaction for a second or longer.
    pub in_transaction: usize,
    /// To clients that keep theirs for session state.
    pub pinned: usize,
    /// To clients for as long as these stay.
    pub to_sessions: bool,
}

/// How many of a pool's clients were idle in a transaction when that was counted last.
#[derive(Debug, Default)]
pub struct Lingering(Mutex<Option<(Instant, usize)>>);

impl Lingering {
    fn count(&self, context: &PoolContext) -> usize {
        let (now, key) = (Instant::now(), context.pool.key());
        let mut known = self.0.lock();
        if let Some((at, count)) = *known
            && now.saturating_duration_since(at) < COUNT_LASTS
        {
            return count;
        }
        let count = now
            .checked_sub(LINGERS)
            .map_or(0, |since| context.shared.roster.lingering(&key.database, &key.user, since));
        *known = Some((now, count));
        count
    }
}

impl InTheWay {
    /// Of who has waited in this pool, if the wait has ended so.
    pub fn of(context: &PoolContext, error: &WaitError) -> Option<Self> {
        matches!(error, WaitError::Timeout).then(|| Self::found(context, &context.pool.numbers())).flatten()
    }

    /// Of those who wait now; without any, why no server could be opened when that was tried last.
    pub fn now(context: &PoolContext) -> Option<Self> {
        let numbers = context.pool.numbers();
        match numbers.waiting {
            0 if context.pins.waiting() > 0 => Some(Self::pins(context)),
            0 => Self::failed(context),
            _ => Self::found(context, &numbers),
        }
    }

    fn found(context: &PoolContext, numbers: &Numbers) -> Option<Self> {
        let only_opening = numbers.opening > 0 && numbers.connections == numbers.opening;
        match numbers.hindered.last {
            Some(Hindrance::Size | Hindrance::Failing) | None if only_opening => {
                Self::failed(context).or_else(|| Some(Self::Unanswered(context.opener.places())))
            }
            Some(Hindrance::Failing) | None => Self::failed(context),
            Some(Hindrance::Paused) => Some(Self::Paused),
            Some(Hindrance::Cap(cap)) => Some(Self::Cap(cap)),
            Some(Hindrance::Size) => Some(Self::Busy(Lent {
                servers: numbers.active,
                in_transaction: context.lingering.count(context),
                pinned: context.pins.count().0,
                to_sessions: context.mode == PoolMode::Session,
            })),
        }
    }

    /// Of those who wait in that line.
    pub fn pins(context: &PoolContext) -> Self {
        Self::Pins(context.pins.taken())
    }

    fn failed(context: &PoolContext) -> Option<Self> {
        context.pool.last_open_error().map(|error| Self::Failed(error.to_string()))
    }

    /// For an operator: a sentence without its beginning and end.
    pub fn sentence(&self) -> String {
        match self {
            Self::Failed(error) => format!("the last attempt to open a server failed: {error}"),
            Self::Unanswered(places) => format!("PostgreSQL at {places} hasn't answered yet"),
            Self::Paused => "paused: RESUME ends that".to_owned(),
            Self::Cap(cap) => format!("all places under {} are taken, also by other pools", cap.setting()),
            Self::Busy(lent) if lent.to_sessions => format!("all {} servers have a session", lent.servers),
            Self::Busy(Lent { servers, in_transaction, pinned, .. }) => {
                let parts =
                    [(in_transaction, "by clients idle in a transaction"), (pinned, "by pinned clients")];
                let parts = parts.iter().filter(|(n, _)| **n > 0).map(|(n, whom)| format!(", {n} {whom}"));
                format!("all {servers} servers are taken{}", parts.collect::<String>())
            }
            Self::Pins(1) => "max_pins is reached: 1 client keeps its server, see SHOW PINS".to_owned(),
            Self::Pins(n) => format!("max_pins is reached: {n} clients keep their servers, see SHOW PINS"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        let lent = Lent { servers: 3, in_transaction: 0, pinned: 0, to_sessions: false };
        for (found, expected) in [
            (InTheWay::Failed("x".into()), "the last attempt to open a server failed: x"),
            (
                InTheWay::Cap(CapKind::Database),
                "all places under max_db_connections are taken, also by other pools",
            ),
            (InTheWay::Pins(1), "max_pins is reached: 1 client keeps its server, see SHOW PINS"),
            (InTheWay::Pins(2), "max_pins is reached: 2 clients keep their servers, see SHOW PINS"),
            (InTheWay::Busy(lent), "all 3 servers are taken"),
            (
                InTheWay::Busy(Lent { in_transaction: 2, pinned: 1, ..lent }),
                "all 3 servers are taken, 2 by clients idle in a transaction, 1 by pinned clients",
            ),
            (InTheWay::Busy(Lent { to_sessions: true, ..lent }), "all 3 servers have a session"),
        ] {
            assert_eq!(found.sentence(), expected);
        }
    }
}
