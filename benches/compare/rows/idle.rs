//! What clients cost that do nothing, and what they cost the others.

use std::time::Duration;

use super::{Measured, Outcome, Trouble};
use crate::load::{Plan, Shape, Stage, log_in};
use crate::poolers::Kind;
use crate::{Bench, limits};

const MANY: u32 = 10_000;
/// Requests a second of the active clients.
const RATE: u32 = 2_000;
const ACTIVE: u32 = 8;
/// How long nothing is done.
const QUIET: Duration = Duration::from_secs(3);

pub(super) fn measure(bench: &Bench, kind: &Kind) -> Outcome {
    if !kind.keeps_statements() {
        return Err(Trouble::Skipped("this version keeps no prepared statements".into()));
    }
    let many = limits::fitting(kind, MANY, bench.files);
    let stage = Stage::set(kind, Plan { clients: many, stamped: true, ..Plan::default() })?;
    let pooler = &stage.pooler;
    drop(log_in(&pooler.target(0), Shape::Prepared)?);
    let fresh = pooler.resident()?;
    let mut idle = stage.idlers(many / 2)?;
    let half = (pooler.resident()? - fresh) / f64::from(many / 2);

    let mut load = stage.load(ACTIVE, Shape::Simple)?;
    let seen = load.run(Duration::from_secs(bench.seconds().into()), Some(RATE), &mut || Ok(()))?;
    drop(load);

    idle.extend(stage.idlers(many - many / 2)?);
    let whole = (pooler.resident()? - fresh) / f64::from(many);
    // What the last logins have left to do is not idleness.
    std::thread::sleep(Duration::from_millis(500));
    let before = pooler.cpu_time()?;
    std::thread::sleep(QUIET);
    let share = (pooler.cpu_time()? - before).as_secs_f64() / QUIET.as_secs_f64() * 100.0;
    for client in idle {
        client.terminate();
    }
    let beside = format!("{many} clients");
    Ok(Measured { values: vec![half, whole, share, seen.quantile(0.99), seen.quantile_within(0.99)], beside })
}
