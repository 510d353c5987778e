//! The numbers of the whole process and the list of pools that have some. Knows names and counters, never a live pool
//! other than weakly.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::RwLock;

use super::cell::Count;
use super::pool::PoolMetrics;
use super::process::{Certificate, Process};
use super::reasons::{LoginFailure, Refusal};

/// Pools listed by name. Clients of a `*` database choose names, so past this many all share one entry without name.
pub const POOLS_MAX: usize = 10_000;

type Name = (Box<str>, Box<str>);

/// Everything pgweir counts. Made once, handed down.
pub struct Metrics {
    workers: usize,
    started: SystemTime,
    pub(super) process: Arc<Process>,
    pools: RwLock<BTreeMap<Name, Arc<PoolMetrics>>>,
    /// Stands for the pools that found no place; made when the first one doesn't.
    unlisted: OnceLock<Arc<PoolMetrics>>,
}

impl Metrics {
    /// For `workers` worker threads, numbered from 0, and the main thread.
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            started: SystemTime::now(),
            process: Arc::default(),
            pools: RwLock::default(),
            unlisted: OnceLock::new(),
        }
    }

    /// The numbers of one pool, made at the first call.
    ///
    /// When [`POOLS_MAX`] pools are listed, further ones share an entry whose names are empty, which PostgreSQL's
    /// never are.
    pub fn pool(&self, database: &str, user: &str) -> Arc<PoolMetrics> {
        let name = (database.into(), user.into());
        if let Some(known) = self.pools.read().get(&name) {
            return Arc::clone(known);
        }
        let mut pools = self.pools.write();
        if pools.len() >= POOLS_MAX && !pools.contains_key(&name) {
            return Arc::clone(self.unlisted.get_or_init(|| self.make("", "")));
        }
        Arc::clone(pools.entry(name).or_insert_with(|| self.make(database, user)))
    }

    fn make(&self, database: &str, user: &str) -> Arc<PoolMetrics> {
        Arc::new(PoolMetrics::new(database, user, self.workers, Arc::clone(&self.process)))
    }

    /// Forgets a pool; its series end. Whoever still holds its numbers may go on counting, unseen.
    pub fn remove(&self, database: &str, user: &str) {
        self.pools.write().remove(&(database.into(), user.into()));
    }

    /// The listed pools, sorted by database and user.
    pub fn pools(&self) -> Vec<Arc<PoolMetrics>> {
        self.pools.read().values().cloned().collect()
    }

    /// The listed pools, then the shared entry if there ever was need of one.
    pub(super) fn scraped(&self) -> Vec<Arc<PoolMetrics>> {
        let mut pools = self.pools();
        pools.extend(self.unlisted.get().cloned());
        pools
    }

    /// Number of pools listed, and the bytes that their counters take.
    pub fn memory(&self) -> (usize, usize) {
        let pools = self.pools.read();
        (pools.len(), pools.values().map(|pool| pool.memory()).sum())
    }

    /// When the process started counting.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// A client's connection was accepted.
    pub fn client_accepted(&self) {
        self.process.accepted.add(1);
    }

    /// A client's connection was turned away before login.
    pub fn client_refused(&self, reason: Refusal) {
        self.process.refused.add(reason);
    }

    /// A client did not get in, and no pool is known for it.
    pub fn login_failed(&self, reason: LoginFailure) {
        self.process.login_failures.add(reason);
    }

    /// A CancelRequest came in, whatever its key.
    pub fn cancel_request(&self) {
        self.process.cancel_requests.add(1);
    }

    /// The certificates that pgweir shows from now on; told with the next scrape.
    pub fn set_certificates(&self, certificates: Vec<Certificate>) {
        self.process.set_certificates(certificates);
    }

    /// Whether clients are welcome; told with the next scrape.
    pub fn set_ready(&self, ready: bool) {
        self.process.set_ready(ready);
    }
}
