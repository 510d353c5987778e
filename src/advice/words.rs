//! Advice as a sentence, with the figures it is made of.

use super::{Advice, Measured, Outcome, Verdict};
use std::fmt::Write as _;

/// A time as people say it.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s <= 0.0 => "0 ms".to_owned(),
        s if s < 0.001 => format!("{:.2} ms", s * 1e3),
        s if s < 0.1 => format!("{:.1} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.2} s"),
        s => format!("{s:.0} s"),
    }
}

fn number(n: f64) -> String {
    if n < 10.0 { format!("{n:.1}") } else { format!("{n:.0}") }
}

fn servers(n: usize) -> String {
    if n == 1 { "1 server".to_owned() } else { format!("{n} servers") }
}

fn waits(outcome: &Outcome) -> String {
    format!("{} on average, p99 {}", time(outcome.mean), time(outcome.p99))
}

/// The whole sentence.
pub(super) fn sentence(measured: &Measured, advice: &Advice) -> String {
    if measured.seconds <= 0.0 {
        return "Nothing measured yet: it takes a stats_period in which the pool is used.".to_owned();
    }
    if advice.verdict == Verdict::Unknown {
        return "Nothing was asked of it in the last hour.".to_owned();
    }
    let stands_still = measured.transactions == 0 && !measured.end.session_mode;
    // Little's law knows nothing of transactions that don't end.
    let (many, how) = match stands_still {
        true => (measured.end.wanting.saturating_sub(measured.end.waiting).to_string(), "taken"),
        false => (number(measured.busy()), "busy"),
    };
    let mut text = match measured.end.size {
        None => format!("Unlimited, {many} {how}"),
        Some(size) => format!("{}: {many} of {} {how}", head(advice.verdict), servers(size)),
    };
    if measured.end.session_mode {
        let end = &measured.end;
        let _ = write!(
            text,
            "; in session mode each client keeps one: {} do, {} wait",
            end.wanting - end.waiting,
            end.waiting
        );
    } else if stands_still {
        let _ = write!(text, "; no transaction ended while {} wait", measured.end.waiting);
    } else {
        let _ = write!(text, ", waits {} on average, p99 {}", time(measured.wait), time(measured.wait_p99));
    }
    text.push_str(&besides(measured));
    text.push_str(&then(measured, advice));
    text.push('.');
    text
}

fn head(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::TooSmall => "Too small",
        Verdict::TooBig => "Too big",
        Verdict::Right | Verdict::Unknown => "Right",
    }
}

fn besides(measured: &Measured) -> String {
    let (mut text, end) = (String::new(), &measured.end);
    if measured.timeouts > 0 {
        let _ = write!(text, ", {} gave up waiting", measured.timeouts);
    }
    if end.reserve_in_use > 0 {
        let _ = write!(text, ", {} of the reserve in use", end.reserve_in_use);
    }
    if end.pinned > 0 {
        let _ = write!(text, ", {} kept by pinned clients", end.pinned);
    }
    text
}

fn then(measured: &Measured, advice: &Advice) -> String {
    let Some(recommended) = advice.recommended else { return String::new() };
    let matters = measured.wait > (measured.service / 10.0).max(super::HARMLESS) || measured.end.waiting > 0;
    if let (Verdict::Right, true, Some(limit)) = (advice.verdict, matters, measured.limit_in_the_way()) {
        return format!("; {limit} is what keeps it from more servers, not its size");
    }
    match (advice.verdict, &advice.then) {
        (Verdict::TooSmall, Some(then)) if advice.saturated => format!(
            "; its clients hardly pause and use what there is: {recommended} would make it {}, if PostgreSQL has cores for them",
            waits(then)
        ),
        (Verdict::TooSmall, Some(then)) => format!("; {recommended} would make it {}", waits(then)),
        (Verdict::TooBig, Some(then)) => format!("; {recommended} would have done in the last hour, with waits of {}", waits(then)),
        (Verdict::TooSmall, None) if measured.transactions == 0 && !measured.end.session_mode => {
            format!("; see which transactions stay open (SHOW WAITS, idle_transaction_timeout), or try {recommended}")
        }
        (Verdict::TooSmall | Verdict::TooBig, None) => format!("; try {recommended}"),
        (_, Some(then)) if measured.end.size.is_none() => {
            format!("; {recommended} would have done in the last hour, with waits of {}", waits(then))
        }
        (_, Some(_)) if unexplained(measured, advice) => {
            "; the load doesn't explain such waits: look at transactions that stay open, at shared limits, at connecting to PostgreSQL and at bursts".to_owned()
        }
        _ => String::new(),
    }
}

/// Measured waits that matter and that the queue knows nothing of.
fn unexplained(measured: &Measured, advice: &Advice) -> bool {
    let model = advice.now.map_or(0.0, |now| now.mean);
    measured.wait > (measured.service / 10.0).max(super::HARMLESS) && measured.wait > model * 3.0
}
