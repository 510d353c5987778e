//! Spans of time: a bare number, or text with a unit such as "250ms".
use std::time::Duration;

use serde::Deserialize;

use super::{Refusal, Unit};

/// Far beyond any use, and safe to add to any clock.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
/// Linux takes no longer keepalive times.
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(32_767);

/// A time as TOML may have it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(in crate::config) enum Written {
    /// `5`
    Whole(i64),
    /// `0.5`
    Fraction(f64),
    /// `"250ms"`
    Text(String),
}

impl Written {
    /// The duration, a number without unit counting in `bare` (per second: 1 for seconds, 1000 for milliseconds).
    fn duration(&self, bare: f64) -> Result<Duration, Refusal> {
        let seconds = match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "what is large enough to lose precision is refused"
            )]
            Self::Whole(number) => *number as f64 / bare,
            Self::Fraction(number) => number / bare,
            Self::Text(text) => seconds(text.trim(), bare).ok_or_else(Refusal::plain)?,
        };
        Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= LONGEST).ok_or_else(Refusal::plain)
    }
}

fn seconds(text: &str, bare: f64) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    match unit.trim_start() {
        "" => Some(number / bare),
        "ms" => Some(number / 1000.0),
        "s" => Some(number),
        "m" | "min" => Some(number * 60.0),
        "h" => Some(number * 3600.0),
        "d" => Some(number * 86_400.0),
        _ => None,
    }
}

fn show(time: Duration, bare: f64) -> String {
    let amount = time.as_secs_f64() * bare;
    if amount.fract() == 0.0 { format!("{amount:.0}") } else { format!("{amount}") }
}

/// A time in seconds, where 0 is no time at all.
pub(in crate::config) struct Seconds;

impl Unit for Seconds {
    type Written = Written;
    type Value = Duration;

    fn allowed() -> String {
        r#"a time in seconds, or text such as "250ms", "5s", "1m", "1h""#.to_owned()
    }

    fn accept(written: Written) -> Result<Duration, Refusal> {
        written.duration(1.0)
    }

    fn show(value: &Duration) -> String {
        show(*value, 1.0)
    }
}

/// A time in seconds; 0 becomes `None`.
pub(in crate::config) struct SecondsOrOff;

impl Unit for SecondsOrOff {
    type Written = Written;
    type Value = Option<Duration>;

    fn allowed() -> String {
        format!("{}; 0 is off", Seconds::allowed())
    }

    fn accept(written: Written) -> Result<Option<Duration>, Refusal> {
        written.duration(1.0).map(|time| Some(time).filter(|time| !time.is_zero()))
    }

    fn show(value: &Option<Duration>) -> String {
        show(value.unwrap_or_default(), 1.0)
    }
}

/// Longer than anything lasts: to the end of the session.
pub const WHOLE_SESSION: Duration = Duration::MAX;

/// A time in seconds, or "session", which becomes [`WHOLE_SESSION`]; 0 becomes `None`.
pub(in crate::config) struct SecondsOrSession;

impl Unit for SecondsOrSession {
    type Written = Written;
    type Value = Option<Duration>;

    fn allowed() -> String {
        format!(r#"{}; "session" to its end"#, SecondsOrOff::allowed())
    }

    fn accept(written: Written) -> Result<Option<Duration>, Refusal> {
        match &written {
            Written::Text(text) if text.trim() == "session" => Ok(Some(WHOLE_SESSION)),
            _ => SecondsOrOff::accept(written),
        }
    }

    fn show(value: &Option<Duration>) -> String {
        if *value == Some(WHOLE_SESSION) { r#""session""#.to_owned() } else { SecondsOrOff::show(value) }
    }
}

/// A time in milliseconds, as `PgBouncer` and Linux count `tcp_user_timeout`; 0 becomes `None`.
pub(in crate::config) struct MillisecondsOrOff;

impl Unit for MillisecondsOrOff {
    type Written = Written;
    type Value = Option<Duration>;

    fn allowed() -> String {
        r#"a time in milliseconds, or text such as "250ms", "5s", "1m", "1h"; 0 is off"#.to_owned()
    }

    fn accept(written: Written) -> Result<Option<Duration>, Refusal> {
        match written.duration(1000.0)? {
            Duration::ZERO => Ok(None),
            // The kernel takes a C int of milliseconds, and 0 would turn it off.
            time if (1..=i32::MAX as u128).contains(&time.as_millis()) => Ok(Some(time)),
            _ => Err(Refusal::plain()),
        }
    }

    fn show(value: &Option<Duration>) -> String {
        show(value.unwrap_or_default(), 1000.0)
    }
}

/// Whole seconds for a TCP keepalive option; 0, the system's own value, becomes `None`.
pub(in crate::config) struct KeepaliveSeconds;

impl Unit for KeepaliveSeconds {
    type Written = Written;
    type Value = Option<Duration>;

    fn allowed() -> String {
        format!(
            r#"whole seconds up to {}, or text such as "30s", "1m"; 0 is the system's default"#,
            LONGEST_KEEPALIVE.as_secs()
        )
    }

    fn accept(written: Written) -> Result<Option<Duration>, Refusal> {
        match written.duration(1.0)? {
            Duration::ZERO => Ok(None),
            time if time.subsec_nanos() == 0 && time <= LONGEST_KEEPALIVE => Ok(Some(time)),
            _ => Err(Refusal::plain()),
        }
    }

    fn show(value: &Option<Duration>) -> String {
        show(value.unwrap_or_default(), 1.0)
    }
}
