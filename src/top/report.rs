//! What `/pools.json` says, as far as a terminal shows it. Times are in seconds.

use serde::Deserialize;
use std::collections::BTreeMap;

/// All pools at one look.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    pub(super) version: String,
    pub(super) uptime: f64,
    pub(super) ready: bool,
    pub(super) reason: Option<String>,
    pub(super) totals: Figures,
    pub(super) pools: Vec<Pool>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Pool {
    pub(super) database: String,
    pub(super) user: String,
    pub(super) paused: bool,
    /// Other versions don't tell.
    #[serde(default)]
    pub(super) in_the_way: Option<String>,
    #[serde(flatten)]
    pub(super) figures: Figures,
    pub(super) pins: BTreeMap<String, usize>,
    pub(super) advice: Advice,
}

#[derive(Debug, Deserialize)]
pub(super) struct Advice {
    pub(super) verdict: String,
    pub(super) advice: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Figures {
    pub(super) clients: Clients,
    pub(super) servers: Servers,
    pub(super) max_wait: f64,
    pub(super) transactions_per_second: f64,
    pub(super) errors_per_second: f64,
    pub(super) wait_p50: f64,
    pub(super) wait_p99: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Clients {
    pub(super) active: usize,
    pub(super) waiting: usize,
    pub(super) idle: usize,
    pub(super) pinned: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct Servers {
    pub(super) active: usize,
    pub(super) idle: usize,
    pub(super) used: usize,
    pub(super) login: usize,
    pub(super) canceling: usize,
    pub(super) reserve: usize,
    pub(super) size: Option<usize>,
    pub(super) reserve_size: usize,
}

impl Servers {
    /// All there are.
    pub(super) fn all(&self) -> usize {
        self.active + self.idle + self.used + self.login + self.canceling
    }
}
