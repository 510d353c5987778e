//! What one pool did in one period, as the advice needs it.

use crate::metrics::{HeldUp, PoolGauges, Snapshot, Totals};

/// One pool in one period. Times are in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// How long the period was.
    pub seconds: f64,
    /// Transactions that ended.
    pub transactions: u64,
    /// How long they held their servers, on average.
    pub service: f64,
    /// The squared coefficient of variation of that: 0 if all took the same, 1 if exponential.
    pub scv: f64,
    /// Times a client got a server.
    pub assignments: u64,
    /// Of those, after a wait.
    pub waited: u64,
    /// The wait on average, 0 for those that didn't.
    pub wait: f64,
    /// What 99 of 100 didn't exceed.
    pub wait_p99: f64,
    /// Clients that gave up for query_wait_timeout.
    pub timeouts: u64,
    /// Clients that logged in.
    pub logins: u64,
    /// What clients waited for, and how often they did.
    pub held_up: HeldUp,
    /// How it stood at the end.
    pub end: Standing,
}

/// How a pool stands at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Clients connected.
    pub clients: usize,
    /// Clients with a server, and those in line.
    pub wanting: usize,
    /// Clients in line.
    pub waiting: usize,
    /// Clients that keep their servers for what can't follow them.
    pub pinned: usize,
    /// Servers the pool may have; `None` is no limit.
    pub size: Option<usize>,
    /// And in need.
    pub reserve: usize,
    /// Of which it has now.
    pub reserve_in_use: usize,
    /// Whether a client keeps its server for its session.
    pub session_mode: bool,
}

impl From<&PoolGauges> for Standing {
    fn from(now: &PoolGauges) -> Self {
        let wanting = now.clients_active + now.clients_waiting;
        Self {
            clients: wanting + now.clients_idle,
            wanting,
            waiting: now.clients_waiting,
            pinned: now.clients_pinned,
            size: now.size_limit,
            reserve: now.reserve_limit,
            reserve_in_use: now.reserve_in_use,
            session_mode: now.mode == "session",
        }
    }
}

/// What a pool had counted at a moment.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    transaction: Snapshot,
    wait: Snapshot,
    assignments: u64,
    timeouts: u64,
    logins: u64,
    held_up: HeldUp,
}

impl Counted {
    /// From its totals and what is rare.
    pub fn of(totals: &Totals, timeouts: u64, logins: u64) -> Self {
        let (transaction, wait, held_up) =
            (totals.transaction.clone(), totals.wait.clone(), HeldUp::default());
        Self { transaction, wait, assignments: totals.assignments(), timeouts, logins, held_up }
    }

    /// With what its clients had waited for.
    pub fn held_up(self, held_up: HeldUp) -> Self {
        Self { held_up, ..self }
    }

    /// Whether anybody ever wanted anything.
    pub fn is_nothing(&self) -> bool {
        self.assignments == 0 && self.timeouts == 0
    }

    /// What happened since `earlier`.
    pub fn since(&self, earlier: &Self, seconds: f64, end: Standing) -> Measured {
        let (transaction, wait) =
            (self.transaction.since(&earlier.transaction), self.wait.since(&earlier.wait));
        let assignments = self.assignments.saturating_sub(earlier.assignments).max(wait.count());
        Measured {
            seconds,
            transactions: transaction.count(),
            service: transaction.mean() / 1e9,
            scv: transaction.scv(),
            assignments,
            waited: wait.count(),
            wait: wait.sum() as f64 / 1e9 / assignments.max(1) as f64,
            wait_p99: wait.quantile_among(assignments, 0.99) as f64 / 1e9,
            timeouts: self.timeouts.saturating_sub(earlier.timeouts),
            logins: self.logins.saturating_sub(earlier.logins),
            held_up: HeldUp {
                by_size: self.held_up.by_size.saturating_sub(earlier.held_up.by_size),
                by_limits: self.held_up.by_limits.saturating_sub(earlier.held_up.by_limits),
                by_outage: self.held_up.by_outage.saturating_sub(earlier.held_up.by_outage),
                limit: self.held_up.limit,
            },
            end,
        }
    }
}

impl Measured {
    /// Whether clients waited for what is no matter of sizes: the end of a PAUSE, or a server that can be reached.
    pub fn is_of_an_outage(&self) -> bool {
        self.held_up.by_outage > 0
    }

    /// The limit shared with other pools that clients waited for, rather than for servers of a full pool.
    pub fn limit_in_the_way(&self) -> Option<&'static str> {
        (self.held_up.by_limits > self.held_up.by_size).then_some(self.held_up.limit)
    }

    /// Transactions a second.
    pub fn rate(&self) -> f64 {
        self.transactions as f64 / self.seconds.max(1e-9)
    }

    /// Servers busy on average, by Little's law.
    pub fn busy(&self) -> f64 {
        self.rate() * self.service
    }

    /// Clients with a server or in line, on average or at the end: what makes one period busier than another.
    pub fn wanted(&self) -> f64 {
        let in_line = self.wait * self.assignments as f64 / self.seconds.max(1e-9);
        (self.busy() + in_line).max(self.end.waiting as f64)
    }
}
