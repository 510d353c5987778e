//! The table at the end, and whether all was right.

use std::collections::BTreeMap;
use std::time::Duration;

use super::load::Outcome;

/// Prints the table; true if there was no error, money was kept and the bound held.
pub(crate) fn print(outcome: &Outcome, metrics: &BTreeMap<String, f64>, servers: usize) -> bool {
    let rate = outcome.transactions as f64 / outcome.elapsed.as_secs_f64();
    let rows = [
        ("clients", outcome.clients.to_string()),
        ("servers at most", format!("{} of {servers}", outcome.most_servers)),
        ("transactions", outcome.transactions.to_string()),
        ("transactions/s", format!("{rate:.0}")),
        ("wait p50 / p99", quantiles(metrics, "pgweir_pool_wait_seconds")),
        ("query p50 / p99", quantiles(metrics, "pgweir_pool_query_seconds")),
        ("transaction p50 / p99, as clients saw it", {
            format!("{} / {}", milliseconds(at(&outcome.times, 0.5)), milliseconds(at(&outcome.times, 0.99)))
        }),
        ("balances", if outcome.balanced { "add up".to_owned() } else { "DO NOT ADD UP".to_owned() }),
        ("errors", outcome.error_count.to_string()),
    ];
    println!();
    for (name, value) in rows {
        println!("  {name:<42}{value}");
    }
    for error in &outcome.errors {
        println!("    {error}");
    }
    outcome.error_count == 0
        && outcome.balanced
        && outcome.transactions > 0
        && (1..=servers).contains(&outcome.most_servers)
}

fn at(sorted: &[Duration], quantile: f64) -> Option<Duration> {
    let index = (sorted.len() as f64 * quantile) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied()
}

fn milliseconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.2} ms", time.as_secs_f64() * 1e3))
}

fn quantiles(metrics: &BTreeMap<String, f64>, name: &str) -> String {
    let buckets = buckets(metrics, name);
    let one = |quantile| milliseconds(quantile_of(&buckets, quantile));
    format!("{} / {}", one(0.5), one(0.99))
}

/// Upper bounds in seconds with their cumulated counts over all pools, ascending.
fn buckets(metrics: &BTreeMap<String, f64>, name: &str) -> Vec<(f64, f64)> {
    let prefix = format!("{name}_bucket{{");
    let mut found: Vec<(f64, f64)> = Vec::new();
    for (key, count) in metrics.iter().filter(|(key, _)| key.starts_with(&prefix)) {
        let bound = key.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let Ok(bound) = bound.replace("+Inf", "inf").parse::<f64>() else { continue };
        match found.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, sum)) => *sum += count,
            None => found.push((bound, *count)),
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found
}

/// Within its bucket by proportion, as Prometheus does it.
fn quantile_of(buckets: &[(f64, f64)], quantile: f64) -> Option<Duration> {
    let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let rank = total * quantile;
    let (mut lower, mut below) = (0.0, 0.0);
    for (upper, count) in buckets {
        if *count >= rank {
            let part = if *count > below { (rank - below) / (count - below) } else { 0.0 };
            let seconds = if upper.is_finite() { lower + (upper - lower) * part } else { lower };
            return Duration::try_from_secs_f64(seconds).ok();
        }
        (lower, below) = (*upper, *count);
    }
    None
}
