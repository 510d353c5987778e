//! Who logged in or was refused, what was commanded and what was changed: events under the tracing target `audit`, each with the
//! field `audit` that says what it is of. Secrets are never among them. A flood is cut off, and told.

use crate::clock::Instant;
use parking_lot::Mutex;
use std::fmt::Display;
use std::time::Duration;

/// Events of one kind in a period.
const MOST: u32 = 200;
const PERIOD: Duration = Duration::from_secs(1);

/// A login.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// Number of the client, as in other lines.
    pub client: u64,
    /// Whom it said it was.
    pub user: &'a str,
    /// What it asked for.
    pub database: &'a str,
    /// The version of TLS; `None` without.
    pub tls: Option<&'static str>,
    /// How it had to prove that: auth_type, or what the rule says.
    pub method: &'a str,
    /// File and line of the rule, if it went by one.
    pub rule: Option<&'a str>,
    /// What kind of session it is: `session`, `console`, `replication`.
    pub kind: &'static str,
}

/// The rule by which somebody was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it asks for, in its words.
    pub method: &'static str,
    /// Its file and line.
    pub place: String,
}

impl<'a> Login<'a> {
    /// The method and the place of the rule, if there is one; else auth_type's.
    pub fn method(rule: Option<&'a Rule>, auth_type: &'a str) -> (&'a str, Option<&'a str>) {
        rule.map_or((auth_type, None), |rule| (rule.method, Some(&*rule.place)))
    }
}

static LOGINS: Gate = Gate::new();
static REFUSALS: Gate = Gate::new();
static COMMANDS: Gate = Gate::new();

/// Somebody has logged in.
pub fn login(address: impl Display, login: &Login<'_>) {
    let Some(left_out) = passes(&LOGINS) else { return };
    let Login { client, user, database, tls, method, rule, kind } = *login;
    tracing::info!(target: "audit", audit = "login", client, %address, user, database, method, rule, tls, kind, left_out, "audit: login");
}

/// Somebody was refused.
pub fn refused(address: impl Display, (user, database): (&str, &str), reason: &str, why: &str) {
    let Some(left_out) = passes(&REFUSALS) else { return };
    tracing::info!(target: "audit", audit = "login refused", %address, user, database, reason, left_out, "audit: login refused: {why}");
}

/// Somebody has given a command in the console, in these words and with this outcome.
pub fn command(address: impl Display, (client, user): (u64, &str), command: &str, outcome: &str) {
    let Some(left_out) = passes(&COMMANDS) else { return };
    tracing::info!(target: "audit", audit = "command", client, %address, user, outcome, left_out, "audit: {}", printable(command));
}

/// A setting was changed, by a reload or by SET.
pub fn change(by: &str, change: impl Display) {
    tracing::info!(target: "audit", audit = "change", by, "audit: {change}");
}

/// The text without control characters, so that nobody else's words make lines of the log or command a terminal.
pub fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(escaped).collect()
}

/// Not even the clock is read when nobody wants to know.
fn passes(gate: &Gate) -> Option<u64> {
    let is_on = tracing::enabled!(target: "audit", tracing::Level::INFO);
    is_on.then(|| gate.pass(Instant::now())).flatten()
}

/// Lets so many through in each period, and counts the others.
#[derive(Debug)]
struct Gate(Mutex<Option<Window>>);

#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    passed: u32,
    left_out: u64,
}

impl Gate {
    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// How many were left out since the last that passed; `None`: this one is left out.
    fn pass(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock();
        let old = window.unwrap_or(Window { since: now, passed: 0, left_out: 0 });
        let is_over = now.saturating_duration_since(old.since) >= PERIOD;
        let current = if is_over { Window { since: now, passed: 0, ..old } } else { old };
        let passes = current.passed < MOST;
        *window = Some(match passes {
            true => Window { passed: current.passed + 1, left_out: 0, ..current },
            false => Window { left_out: current.left_out + 1, ..current },
        });
        passes.then_some(current.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_told() {
        let (gate, now) = (Gate::new(), Instant::now());
        let passed = (0..MOST + 50).filter(|_| gate.pass(now).is_some()).count();
        assert_eq!(passed, MOST as usize);
        assert_eq!(gate.pass(now + PERIOD), Some(50));
        assert_eq!(gate.pass(now + PERIOD), Some(0));
    }
}
