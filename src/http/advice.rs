//! `/advice`: what each pool's size should be, as JSON, or as text for people where `Accept` says text/plain first or the query is `text`.

use axum::extract;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::fmt::Write as _;

use super::server::{State, rendered};
use crate::advice::{ASSUMPTIONS, Outcome, PoolAdvice, Verdict};
use crate::metrics::Metrics;

/// Times are in seconds.
#[derive(Serialize)]
struct Report<'a> {
    assumptions: &'static str,
    pools: Vec<Told<'a>>,
}

/// One pool's.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    database: &'a str,
    user: &'a str,
    verdict: Verdict,
    pool_size: Option<usize>,
    recommended: Option<usize>,
    advice: &'a str,
    /// The same, if that is no servers to be had.
    outage: Option<&'a str>,
    evidence: Evidence,
    /// By the queue: what waits should be with the size there is, and what they would be with the recommended one.
    expected: Option<Waits>,
    with_recommended: Option<Waits>,
}

#[derive(Serialize)]
struct Evidence {
    period: f64,
    transactions: u64,
    transactions_per_second: f64,
    transaction_mean: f64,
    transaction_scv: f64,
    servers_busy: f64,
    assignments: u64,
    waited: u64,
    wait_mean: f64,
    wait_p99: f64,
    wait_timeouts: u64,
    clients: usize,
    reserve_in_use: usize,
    pinned: usize,
}

#[derive(Serialize)]
struct Waits {
    servers_busy: f64,
    waiting_share: f64,
    wait_mean: f64,
    wait_p99: f64,
}

impl From<Outcome> for Waits {
    fn from(outcome: Outcome) -> Self {
        Self {
            servers_busy: outcome.busy,
            waiting_share: outcome.waiting,
            wait_mean: outcome.mean,
            wait_p99: outcome.p99,
        }
    }
}

impl<'a> From<&'a PoolAdvice> for Told<'a> {
    fn from(told: &'a PoolAdvice) -> Self {
        let (m, advice) = (&told.measured, &told.advice);
        let evidence = Evidence {
            period: m.seconds,
            transactions: m.transactions,
            transactions_per_second: m.rate(),
            transaction_mean: m.service,
            transaction_scv: m.scv,
            servers_busy: m.busy(),
            assignments: m.assignments,
            waited: m.waited,
            wait_mean: m.wait,
            wait_p99: m.wait_p99,
            wait_timeouts: m.timeouts,
            clients: m.end.clients,
            reserve_in_use: m.end.reserve_in_use,
            pinned: m.end.pinned,
        };
        Self {
            database: &told.database,
            user: &told.user,
            verdict: advice.verdict,
            pool_size: m.end.size,
            recommended: advice.recommended,
            advice: told.words(),
            outage: told.outage.as_deref(),
            evidence,
            expected: advice.now.map(Waits::from),
            with_recommended: advice.then.map(Waits::from),
        }
    }
}

pub(super) async fn advice(
    extract::State(state): extract::State<State>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let text = uri.query() == Some("text") || accepts.starts_with("text/plain");
    let answer = rendered(state, move |state| {
        let told = state.book().advice(state.metrics());
        if text { in_words(state.metrics(), &told) } else { json(&told) }
    });
    let kind = if text { "text/plain; charset=utf-8" } else { "application/json" };
    match answer.await {
        Ok(body) => ([(header::CONTENT_TYPE, kind)], body).into_response(),
        Err(failed) => failed,
    }
}

fn json(told: &[PoolAdvice]) -> Result<String, String> {
    let report = Report { assumptions: ASSUMPTIONS, pools: told.iter().map(Told::from).collect() };
    serde_json::to_string(&report).map_err(|error| error.to_string())
}

/// Those that can have no servers first, then those of a wrong size.
fn in_words(metrics: &Metrics, told: &[PoolAdvice]) -> Result<String, String> {
    let mut text = String::new();
    let mut line = |pool: &PoolAdvice| {
        let _ = writeln!(text, "{} {}: {}", plain(&pool.database), plain(&pool.user), plain(pool.words()));
    };
    told.iter().filter(|pool| pool.outage.is_some()).for_each(&mut line);
    let order = [Verdict::TooSmall, Verdict::TooBig, Verdict::Right, Verdict::Unknown];
    for verdict in order {
        let of_it = |pool: &&PoolAdvice| pool.outage.is_none() && pool.advice.verdict == verdict;
        told.iter().filter(of_it).for_each(&mut line);
    }
    let _ = writeln!(
        text,
        "{}{} pools.\n\n{ASSUMPTIONS}",
        if text.is_empty() { "" } else { "\n" },
        metrics.pools().len()
    );
    Ok(text)
}

/// A name for a terminal: what could be an escape sequence is shown as its escape.
fn plain(name: &str) -> String {
    name.chars()
        .flat_map(|c| {
            if c.is_control() { c.escape_default().to_string().chars().collect::<Vec<_>>() } else { vec![c] }
        })
        .collect()
}
