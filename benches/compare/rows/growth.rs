//! How the cost of a transaction grows: with the cores, with the clients that are connected, with the pools.

use super::{Measured, Outcome, Trouble};
use crate::load::{Plan, Seen, Shape, Stage};
use crate::poolers::Kind;
use crate::{Bench, limits};

/// Clients that ask, each with a server of its own.
const ACTIVE: u32 = 32;

/// One worker alone on a core, then two on all cores: with the load, where there are only two. PgBouncer has two
/// processes then, with half of the servers each.
pub(super) fn cores(bench: &Bench, kind: &Kind) -> Outcome {
    let run = |workers| -> Result<(f64, Seen), Trouble> {
        let stage = Stage::set(kind, Plan { workers, ..Plan::default() })?;
        let mut load = stage.load(ACTIVE, Shape::Simple)?;
        Ok(stage.cost(&mut load, bench.seconds().into())?)
    };
    let ((one, seen), (two, seen_by_two)) = (run(1)?, run(2)?);
    let (rate, rate_of_two) = (seen.per_second(), seen_by_two.per_second());
    let beside = format!("{one:.2} µs, {rate:.0} a second; {two:.2} µs, {rate_of_two:.0} a second");
    Ok(Measured { values: vec![two / one, rate_of_two / rate], beside })
}

const FEW: u32 = 100;
const MANY: u32 = 10_000;

/// The same clients ask; the others have asked once and stay.
pub(super) fn clients(bench: &Bench, kind: &Kind) -> Outcome {
    let many = limits::fitting(kind, MANY, bench.files);
    let stage = Stage::set(kind, Plan { clients: many, servers: ACTIVE, ..Plan::default() })?;
    let mut load = stage.load(ACTIVE, Shape::Simple)?;
    let mut idle = stage.idlers(FEW - ACTIVE)?;
    let (few, _) = stage.cost(&mut load, bench.seconds().into())?;
    idle.extend(stage.idlers(many - FEW)?);
    let (cost, _) = stage.cost(&mut load, bench.seconds().into())?;
    for client in idle {
        client.terminate();
    }
    let beside = format!("{FEW} clients {few:.2} µs, {many} clients {cost:.2} µs");
    Ok(Measured { values: vec![cost / few], beside })
}

const POOLS: u32 = 1_000;

/// Each pool has a client and a server of its own.
pub(super) fn pools(bench: &Bench, kind: &Kind) -> Outcome {
    if !kind.pools() {
        return Err(Trouble::Skipped("it has no pools".into()));
    }
    let run = |databases: u32| -> Result<f64, Trouble> {
        let plan =
            Plan { databases, servers: ACTIVE, clients: databases.max(ACTIVE) + ACTIVE, ..Plan::default() };
        let stage = Stage::set(kind, plan)?;
        let _idle = stage.idlers(databases.max(ACTIVE))?;
        let mut load = stage.load(ACTIVE, Shape::Simple)?;
        Ok(stage.cost(&mut load, bench.seconds().into())?.0)
    };
    // A client and a server of each pool are both ours here.
    let pools = POOLS.min(bench.files.saturating_sub(300) / 2);
    let (one, many) = (run(1)?, run(pools)?);
    let beside = format!("1 pool {one:.2} µs, {pools} pools {many:.2} µs");
    Ok(Measured { values: vec![many / one], beside })
}
