//! What is counted for one pool: a block of cells for each worker, and shared counters for what is rare. Holds the
//! pool itself only weakly, so that a pool in use elsewhere is all that keeps it alive.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use super::cell::{Count, Shared};
use super::cells::{Cells, Totals};
use super::gauges::{Gauges, PoolGauges};
use super::histogram::{SharedHistogram, Snapshot};
use super::process::Process;
use super::reasons::{ByLabel, CancelOutcome, CloseReason, LoginFailure};

/// The numbers of one (database, user).
///
/// Blocks of cells come into being when their worker first counts, so an unused pool costs little.
pub struct PoolMetrics {
    database: Box<str>,
    user: Box<str>,
    /// One a worker, and one for the main thread.
    blocks: Box<[OnceLock<Box<Cells>>]>,
    gauges: Mutex<Option<Weak<dyn Gauges>>>,
    process: Arc<Process>,
    login_failures: ByLabel<Shared, { LoginFailure::ALL.len() }>,
    closes: ByLabel<Shared, { CloseReason::ALL.len() }>,
    cancels: ByLabel<Shared, { CancelOutcome::ALL.len() }>,
    connect_failures: Shared,
    wait_timeouts: Shared,
    login: SharedHistogram,
    connect: SharedHistogram,
}

impl PoolMetrics {
    pub(super) fn new(database: &str, user: &str, workers: usize, process: Arc<Process>) -> Self {
        Self {
            database: database.into(),
            user: user.into(),
            blocks: (0..=workers).map(|_| OnceLock::new()).collect(),
            gauges: Mutex::default(),
            process,
            login_failures: ByLabel::default(),
            closes: ByLabel::default(),
            cancels: ByLabel::default(),
            connect_failures: Shared::default(),
            wait_timeouts: Shared::default(),
            login: SharedHistogram::default(),
            connect: SharedHistogram::default(),
        }
    }

    /// The pool's database; empty for the pool that stands for all beyond the registry's bound.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The pool's user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The cells of worker `index`, for that worker's thread alone; an index that is no worker's gets the main thread's.
    #[inline]
    pub fn worker(&self, index: usize) -> &Cells {
        let last = self.blocks.len() - 1;
        self.blocks[index.min(last)].get_or_init(Box::default)
    }

    /// The cells of the main thread, for what the janitor does.
    pub fn main_thread(&self) -> &Cells {
        self.worker(usize::MAX)
    }

    /// From now on `pool` is asked how it stands, for as long as it lives. The entry shared by several pools asks
    /// none.
    pub fn observe(&self, pool: Weak<dyn Gauges>) {
        if !self.database.is_empty() {
            *self.gauges.lock() = Some(pool);
        }
    }

    /// A client is in, `ns` after it connected.
    pub fn login_ok(&self, ns: u64) {
        self.login.record(ns);
    }

    /// A client of this pool did not get in. Counts for the process too; a failure that belongs to no pool goes to
    /// [`super::Metrics::login_failed`].
    pub fn login_failed(&self, reason: LoginFailure) {
        self.login_failures.add(reason);
        self.process.login_failures.add(reason);
    }

    /// A server is ready for use, `ns` after its connect began.
    pub fn server_connected(&self, ns: u64) {
        self.connect.record(ns);
    }

    /// A server could not be connected or did not let us in.
    pub fn server_connect_failed(&self) {
        self.connect_failures.add(1);
    }

    /// A server that was ready for use is no more.
    pub fn server_closed(&self, reason: CloseReason) {
        self.closes.add(reason);
    }

    /// A client left the queue without a server because query_wait_timeout was over.
    pub fn wait_timed_out(&self) {
        self.wait_timeouts.add(1);
    }

    /// A CancelRequest for one of the pool's clients has been dealt with.
    pub fn cancel(&self, outcome: CancelOutcome) {
        self.cancels.add(outcome);
    }

    /// What all workers have counted.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for block in self.blocks.iter().filter_map(OnceLock::get) {
            block.add_to(&mut totals);
        }
        totals
    }

    /// What is rare.
    pub fn events(&self) -> Events {
        let mut events = Events {
            login_failures: self.login_failures.values(),
            closes: self.closes.values(),
            cancels: self.cancels.values(),
            connect_failures: self.connect_failures.value(),
            wait_timeouts: self.wait_timeouts.value(),
            login: Snapshot::default(),
            connect: Snapshot::default(),
        };
        self.login.add_to(&mut events.login);
        self.connect.add_to(&mut events.connect);
        events
    }

    /// Clients that have left the queue for query_wait_timeout.
    pub fn wait_timeouts(&self) -> u64 {
        self.wait_timeouts.value()
    }

    /// Clients that have logged in.
    pub fn logins(&self) -> u64 {
        let mut logins = Snapshot::default();
        self.login.add_to(&mut logins);
        logins.count()
    }

    /// How the pool stands; `None` if nothing is observed or it is gone.
    pub fn gauges(&self) -> Option<PoolGauges> {
        // The lock is not held while the pool is asked, since that takes the pool's own.
        let pool = self.gauges.lock().as_ref().and_then(Weak::upgrade)?;
        Some(pool.gauges())
    }

    /// What keeps its clients from a server, for people.
    pub fn in_the_way(&self) -> Option<String> {
        let pool = self.gauges.lock().as_ref().and_then(Weak::upgrade)?;
        pool.in_the_way()
    }

    /// Why it can have no servers, whatever its size, in one sentence for people.
    pub fn outage(&self) -> Option<String> {
        let pool = self.gauges.lock().as_ref().and_then(Weak::upgrade)?;
        pool.outage()
    }

    /// Bytes of all its counters.
    pub(super) fn memory(&self) -> usize {
        let used = self.blocks.iter().filter(|block| block.get().is_some()).count();
        size_of::<Self>() + used * size_of::<Cells>() + size_of_val(&*self.blocks)
    }

    #[cfg(test)]
    pub(super) fn blocks_in_use(&self) -> usize {
        self.blocks.iter().filter(|block| block.get().is_some()).count()
    }
}

/// What is rare, counted in one pool since it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    login_failures: [u64; LoginFailure::ALL.len()],
    closes: [u64; CloseReason::ALL.len()],
    cancels: [u64; CancelOutcome::ALL.len()],
    /// Server connects that failed.
    pub connect_failures: u64,
    /// Clients that waited too long.
    pub wait_timeouts: u64,
    /// Times of the logins that went well.
    pub login: Snapshot,
    /// Times of the server connects that went well.
    pub connect: Snapshot,
}

impl Events {
    /// Logins that failed, by reason.
    pub fn login_failures(&self) -> impl Iterator<Item = (LoginFailure, u64)> {
        LoginFailure::ALL.iter().copied().zip(self.login_failures)
    }

    /// Servers closed or lost, by reason.
    pub fn closes(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        CloseReason::ALL.iter().copied().zip(self.closes)
    }

    /// CancelRequests by what became of them.
    pub fn cancels(&self) -> impl Iterator<Item = (CancelOutcome, u64)> {
        CancelOutcome::ALL.iter().copied().zip(self.cancels)
    }
}
