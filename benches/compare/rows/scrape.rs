//! What a scrape of /metrics costs where there is much to tell.

use super::{Measured, Outcome, Trouble};
use crate::load::{Plan, Stage};
use crate::poolers::Kind;
use crate::{Bench, limits};

const CLIENTS: u32 = 10_000;
const POOLS: u32 = 1_000;
const SCRAPES: u32 = 10;

/// Idle clients, each pool with ten of them and a server.
pub(super) fn measure(bench: &Bench, kind: &Kind) -> Outcome {
    if !matches!(kind, Kind::Pgweir(_)) {
        return Err(Trouble::Skipped("it has no numbers by HTTP".into()));
    }
    let clients = limits::fitting(kind, CLIENTS, bench.files.saturating_sub(2 * POOLS));
    let (own, lines) = scrape(kind, clients, "none")?;
    let (both, lines_of_both) = scrape(kind, clients, "pgbouncer_exporter")?;
    let beside = format!("{clients} clients, {POOLS} pools; {lines} and {lines_of_both} lines");
    Ok(Measured { values: vec![own, both], beside })
}

/// CPU time of one in ms, and its lines.
fn scrape(kind: &Kind, clients: u32, compat: &'static str) -> Result<(f64, usize), Trouble> {
    let plan = Plan { databases: POOLS, clients, metrics: Some(compat), ..Plan::default() };
    let stage = Stage::set(kind, plan)?;
    let idle = stage.idlers(clients)?;
    let lines = stage.pooler.http("/metrics")?.lines().count();
    let before = stage.pooler.cpu_time()?;
    for _ in 0..SCRAPES {
        stage.pooler.http("/metrics")?;
    }
    let used = (stage.pooler.cpu_time()? - before).as_secs_f64() * 1e3 / f64::from(SCRAPES);
    for client in idle {
        client.terminate();
    }
    Ok((used, lines))
}
