//! How long clients wait, and whether all wait alike.

use std::time::{Duration, Instant};

use super::{Measured, Outcome, Trouble};
use crate::Bench;
use crate::load::{Plan, Seen, Shape, Stage};
use crate::poolers::Kind;

/// Requests a second, far below what each of the poolers can do.
const RATE: u32 = 2_000;
const CLIENTS: u32 = 32;

/// A fixed rate, whether or not earlier requests are answered; a wait begins when the request was due.
pub(super) fn latency(bench: &Bench, kind: &Kind) -> Outcome {
    let stage = Stage::set(kind, Plan { stamped: true, ..Plan::default() })?;
    let mut load = stage.load(CLIENTS, Shape::Simple)?;
    let seen = load.run(Duration::from_secs(bench.seconds().into()), Some(RATE), &mut || Ok(()))?;
    let values = vec![seen.quantile(0.5), seen.quantile(0.99), seen.quantile_within(0.99)];
    Ok(Measured { values, beside: format!("{:.0} a second", seen.per_second()) })
}

/// Clients that come at once.
const RUSH: u32 = 2_000;
/// How long their leaving is looked at.
const LEAVE: Duration = Duration::from_secs(1);
/// Those whose transactions are looked at.
const ACTIVE: u32 = 8;

/// A fleet of clients connects, all at once, and leaves so.
pub(super) fn storm(bench: &Bench, kind: &Kind) -> Outcome {
    if !kind.pools() {
        return Err(Trouble::Skipped("it would only pass TLS on".into()));
    }
    let plan = Plan { clients: RUSH + ACTIVE, tls: true, stamped: true, ..Plan::default() };
    let stage = Stage::set(kind, plan)?;
    let mut load = stage.load(ACTIVE, Shape::Simple)?;
    let time = Duration::from_secs(bench.seconds().into());
    let before = load.run(time, Some(RATE), &mut || Ok(()))?;
    let waited = stage.pooler.waited();
    let storm = stage.storm(RUSH as usize);
    let coming = load.run_while(RATE, &mut || storm.goes_on())?;
    let waited = stage.pooler.waited().saturating_sub(waited).as_secs_f64() * 1e3;
    let crowd = storm.end()?;
    let logins = f64::from(RUSH) / crowd.took.as_secs_f64();
    let left = Instant::now();
    let leaving = crowd.leave();
    let going = load.run_while(RATE, &mut || left.elapsed() < LEAVE)?;
    leaving.join().map_err(|_| "the crowd can't leave".to_owned())??;
    let [within, seen] = [Seen::quantile_within, Seen::quantile]
        .map(|p99| [&before, &coming, &going].map(|when| p99(when, 0.99)));
    let beside = format!(
        "p99 before, while they come and while they leave: in the pooler {:.0}, {:.0}, {:.0} µs, to the clients {:.0}, {:.0}, {:.0} µs; \
         it waited for its core for {waited:.1} ms while they came",
        within[0], within[1], within[2], seen[0], seen[1], seen[2]
    );
    let values = vec![within[1] / within[0], within[2] / within[0], seen[1] / seen[0], logins];
    Ok(Measured { values, beside })
}

const CROWD: u32 = 200;
const SERVERS: u32 = 5;
const ANSWER: Duration = Duration::from_millis(2);
/// Long enough for a hundred turns of each client.
const AT_LEAST: u32 = 8;

/// Many clients queue for few servers. The wait is what is beyond the server's own time.
pub(super) fn fair(bench: &Bench, kind: &Kind) -> Outcome {
    if !kind.pools() {
        return Err(Trouble::Skipped("it has no pools".into()));
    }
    let stage = Stage::set(kind, Plan { servers: SERVERS, delay: ANSWER, ..Plan::default() })?;
    let mut load = stage.load(CROWD, Shape::Simple)?;
    let seconds = bench.seconds().max(AT_LEAST);
    let seen = load.run(Duration::from_secs(seconds.into()), None, &mut || Ok(()))?;
    let answer = ANSWER.as_secs_f64() * 1e6;
    let [p50, p99] = [0.5, 0.99].map(|share| seen.quantile(share) - answer);
    let slowest = seen.shares.iter().min().copied().unwrap_or(0);
    let fastest = seen.shares.iter().max().copied().unwrap_or(0);
    if slowest == 0 {
        return Err(format!("a client got no answer in {seconds} s").into());
    }
    let possible = f64::from(SERVERS) / ANSWER.as_secs_f64();
    let values = vec![p99 / p50, slowest as f64 / fastest as f64, seen.per_second() / possible * 100.0];
    Ok(Measured { values, beside: format!("wait p50 {:.1} ms, p99 {:.1} ms", p50 / 1e3, p99 / 1e3) })
}
