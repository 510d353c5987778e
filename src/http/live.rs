//! `/pools.json`: how all pools stand, and what they did since the look before. Made at most once in a while however many look; nothing
//! is measured while nobody does.

use axum::extract;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::page::GUARDS;
use super::server::{State, rendered};
use crate::advice::Verdict;
use crate::clock::Instant;
use crate::metrics::{PinReason, PoolGauges, PoolMetrics, Snapshot};

/// Two looks less than this apart are shown the same.
const PACE: Duration = Duration::from_millis(900);

/// Times are in seconds.
#[derive(Serialize)]
struct Report {
    version: &'static str,
    uptime: f64,
    ready: bool,
    /// Why not.
    reason: Option<String>,
    /// What rates and percentiles are of.
    interval: f64,
    totals: Figures,
    pools: Vec<PoolReport>,
}

#[derive(Serialize)]
struct PoolReport {
    database: String,
    user: String,
    mode: &'static str,
    paused: bool,
    /// What keeps clients from a server, or did when one was opened last.
    in_the_way: Option<String>,
    #[serde(flatten)]
    figures: Figures,
    /// Clients by what pins them.
    pins: BTreeMap<&'static str, usize>,
    advice: Told,
}

#[derive(Serialize)]
struct Told {
    verdict: Verdict,
    recommended: Option<usize>,
    advice: String,
}

#[derive(Serialize, Clone, Copy, Default)]
struct Clients {
    active: usize,
    waiting: usize,
    idle: usize,
    pinned: usize,
}

/// Those of the reserve are among the others; `size` is without it, and none where there is no limit.
#[derive(Serialize, Clone, Copy, Default)]
struct Servers {
    active: usize,
    idle: usize,
    used: usize,
    login: usize,
    canceling: usize,
    reserve: usize,
    size: Option<usize>,
    reserve_size: usize,
}

#[derive(Serialize)]
struct Figures {
    clients: Clients,
    servers: Servers,
    max_wait: f64,
    transactions_per_second: f64,
    queries_per_second: f64,
    errors_per_second: f64,
    wait_p50: f64,
    wait_p99: f64,
    transaction_p50: f64,
    transaction_p99: f64,
}

/// What was counted up to a moment, or between two.
#[derive(Default, Clone)]
struct Work {
    transaction: Snapshot,
    wait: Snapshot,
    assignments: u64,
    queries: u64,
    errors: u64,
}

impl Work {
    fn of(pool: &PoolMetrics) -> Self {
        let totals = pool.totals();
        let errors = totals.errors.by_postgresql().chain(totals.errors.by_pgweir()).map(|(_, n)| n).sum();
        let (assignments, queries) = (totals.assignments(), totals.queries());
        Self { transaction: totals.transaction, wait: totals.wait, assignments, queries, errors }
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            transaction: self.transaction.since(&earlier.transaction),
            wait: self.wait.since(&earlier.wait),
            assignments: self.assignments.saturating_sub(earlier.assignments),
            queries: self.queries.saturating_sub(earlier.queries),
            errors: self.errors.saturating_sub(earlier.errors),
        }
    }

    fn add(&mut self, other: &Self) {
        self.transaction.add(&other.transaction);
        self.wait.add(&other.wait);
        self.assignments += other.assignments;
        self.queries += other.queries;
        self.errors += other.errors;
    }

    fn figures(&self, (clients, servers, max_wait): (Clients, Servers, Duration), seconds: f64) -> Figures {
        let rate = |n: u64| n as f64 / seconds.max(1e-3);
        let assignments = self.assignments.max(self.wait.count());
        let wait = |q| self.wait.quantile_among(assignments, q) as f64 / 1e9;
        let transaction = |q| self.transaction.quantile(q).unwrap_or(0) as f64 / 1e9;
        Figures {
            clients,
            servers,
            max_wait: max_wait.as_secs_f64(),
            transactions_per_second: rate(self.transaction.count()),
            queries_per_second: rate(self.queries),
            errors_per_second: rate(self.errors),
            wait_p50: wait(0.5),
            wait_p99: wait(0.99),
            transaction_p50: transaction(0.5),
            transaction_p99: transaction(0.99),
        }
    }
}

/// What the last look saw, and what it told.
#[derive(Default)]
pub(super) struct Live(Mutex<Option<Look>>);

struct Look {
    at: Instant,
    counted: HashMap<(Box<str>, Box<str>), Work>,
    told: Arc<str>,
}

impl Live {
    /// The JSON; a new look is taken if the last one was some time ago.
    fn look(&self, state: &State, now: Instant) -> Result<Arc<str>, String> {
        let mut last = self.0.lock();
        if let Some(look) = last.as_ref()
            && now.saturating_duration_since(look.at) < PACE
        {
            return Ok(Arc::clone(&look.told));
        }
        let since = last.as_ref().map(|look| now.saturating_duration_since(look.at));
        let uptime = SystemTime::now().duration_since(state.metrics().started()).unwrap_or_default();
        let seconds = since.unwrap_or(uptime).as_secs_f64();
        let before = last.take().map(|look| look.counted).unwrap_or_default();
        let (mut all, mut counted, mut pools) = (All::default(), HashMap::new(), Vec::new());
        for pool in state.metrics().pools() {
            let key = (pool.database().into(), pool.user().into());
            let work = Work::of(&pool);
            let done = before.get(&key).map_or_else(|| work.clone(), |earlier| work.since(earlier));
            pools.push(all.pool(state, &pool, &done, seconds));
            counted.insert(key, work);
        }
        let ready = state.ready();
        let totals = all.work.figures((all.clients, all.servers(), all.max_wait), seconds);
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            uptime: uptime.as_secs_f64(),
            ready: ready.is_ok(),
            reason: ready.err(),
            interval: seconds,
            totals,
            pools,
        };
        let told: Arc<str> = serde_json::to_string(&report).map_err(|error| error.to_string())?.into();
        *last = Some(Look { at: now, counted, told: Arc::clone(&told) });
        Ok(told)
    }
}

/// The sums over pools.
#[derive(Default)]
struct All {
    clients: Clients,
    servers: Servers,
    unlimited: bool,
    max_wait: Duration,
    work: Work,
}

impl All {
    fn servers(&self) -> Servers {
        Servers {
            size: if self.unlimited { None } else { Some(self.servers.size.unwrap_or(0)) },
            ..self.servers
        }
    }

    /// Adds one, and says what is to be told of it.
    fn pool(&mut self, state: &State, pool: &Arc<PoolMetrics>, done: &Work, seconds: f64) -> PoolReport {
        let now = pool.gauges().unwrap_or_default();
        let (clients, servers) = standing(&now);
        self.add(&clients, &servers);
        self.max_wait = self.max_wait.max(now.max_wait);
        self.work.add(done);
        let told = state.book().of(pool);
        let is_beside_the_point = told.outage.is_some() && told.advice.verdict == Verdict::Unknown;
        let size = if is_beside_the_point { String::new() } else { told.sentence };
        let pins = PinReason::ALL.iter().zip(now.pins).filter(|(_, n)| *n > 0);
        PoolReport {
            database: pool.database().to_owned(),
            user: pool.user().to_owned(),
            mode: now.mode,
            paused: now.paused,
            advice: Told { verdict: told.advice.verdict, recommended: told.advice.recommended, advice: size },
            in_the_way: told.outage.or_else(|| pool.in_the_way()),
            figures: done.figures((clients, servers, now.max_wait), seconds),
            pins: pins.map(|(reason, n)| (reason.label(), n)).collect(),
        }
    }

    fn add(&mut self, clients: &Clients, servers: &Servers) {
        self.clients.active += clients.active;
        self.clients.waiting += clients.waiting;
        self.clients.idle += clients.idle;
        self.clients.pinned += clients.pinned;
        self.servers.active += servers.active;
        self.servers.idle += servers.idle;
        self.servers.used += servers.used;
        self.servers.login += servers.login;
        self.servers.canceling += servers.canceling;
        self.servers.reserve += servers.reserve;
        self.servers.reserve_size += servers.reserve_size;
        self.unlimited |= servers.size.is_none();
        self.servers.size = Some(self.servers.size.unwrap_or(0) + servers.size.unwrap_or(0));
    }
}

fn standing(now: &PoolGauges) -> (Clients, Servers) {
    let clients = Clients {
        active: now.clients_active,
        waiting: now.clients_waiting,
        idle: now.clients_idle,
        pinned: now.clients_pinned,
    };
    let servers = Servers {
        active: now.servers_active,
        idle: now.servers_idle,
        used: now.servers_used,
        login: now.servers_login,
        canceling: now.servers_being_canceled,
        reserve: now.reserve_in_use,
        size: now.size_limit,
        reserve_size: now.reserve_limit,
    };
    (clients, servers)
}

pub(super) async fn pools(extract::State(state): extract::State<State>) -> Response {
    let told = rendered(state, |state| state.live().look(state, Instant::now()).map(|told| told.to_string()));
    match told.await {
        Ok(json) => {
            let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            (GUARDS, kind, json).into_response()
        }
        Err(failed) => failed,
    }
}
