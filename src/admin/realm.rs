//! What the console sees of the process, and how it speaks to it. Whoever wires the process implements it.

use super::averages::Averages;
use crate::advice::Book;
use crate::clock::Instant;
use crate::config::{Config, PoolMode};
use crate::lifecycle::{Command, Phase};
use crate::metrics::{Metrics, PoolMetrics};
use crate::pool::{Pool, PoolKey, PoolSet, Waiter};
use crate::roster::{Roster, Told};
use crate::server::{About, Server};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The process as the console sees it.
pub trait Realm: Send + Sync {
    /// Settings in force.
    fn config(&self) -> Arc<Config>;
    /// The numbers.
    fn metrics(&self) -> &Arc<Metrics>;
    /// Who is connected.
    fn clients(&self) -> &Arc<Roster>;
    /// Who is connected to the console.
    fn consoles(&self) -> &Arc<Roster>;
    /// Connections that have not logged in yet.
    fn logging_in(&self) -> usize;
    /// The pools.
    fn pools(&self) -> &PoolSet<Server>;
    /// Each pool with what is known beside it, by database and user.
    fn views(&self) -> Vec<PoolView>;
    /// Names of all users with a secret, sorted.
    fn users(&self) -> Vec<String>;
    /// What the console keeps.
    fn desk(&self) -> &Desk;
    /// Whether the process is about to stop.
    fn phase(&self) -> Phase;
    /// Connections to PostgreSQL that are left of a paused database, or of all. A listening server is sent away when it is
    /// the last of its pool.
    fn connections_paused(&self, database: Option<&str>) -> usize;
    /// Servers of a database, or all, are replaced by new ones as they come back.
    fn reconnect(&self, database: Option<&str>);
    /// What memory is held by, with what sessions have said when asked.
    fn holdings(&self, told: &HashMap<u64, Told>) -> Vec<Holding>;
    /// Hands an order to the process.
    fn order(&self, order: Order);
}

/// A pool.
pub struct PoolView {
    /// Itself.
    pub pool: Arc<Pool<Server>>,
    /// When its servers go back.
    pub mode: PoolMode,
    /// Clients that have logged in.
    pub clients: usize,
    /// Its numbers.
    pub metrics: Arc<PoolMetrics>,
    /// Clients tied to their servers.
    pub pins: Vec<Pin>,
    /// Who may not become one yet.
    pub crowd: Crowd,
}

/// Clients in line for others to let their servers go, which stand in no line for a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Crowd {
    /// The next one first.
    pub line: Vec<Waiter>,
    /// What they wait for, in words; `None` without any.
    pub waits_for: Option<String>,
}

/// A client tied to its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The client.
    pub client: u64,
    /// The server.
    pub server: u64,
    /// The server's backend.
    pub backend: u32,
    /// By what, as the metrics call it.
    pub reasons: Vec<&'static str>,
    /// Since when.
    pub since: Instant,
}

/// Objects of one kind, and what they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// What they are.
    pub name: &'static str,
    /// How many.
    pub objects: u64,
    /// All together.
    pub bytes: u64,
    /// What is counted.
    pub description: &'static str,
}

/// What the console keeps between its sessions.
#[derive(Default)]
pub struct Desk {
    /// The numbers of the last period.
    pub averages: Averages,
    /// What was measured of pools' sizes.
    pub advice: Arc<Book>,
    /// Databases nobody may log in to.
    pub disabled: Mutex<BTreeSet<String>>,
    /// Connections to PostgreSQL that replicate, by the number of the client that has each.
    pub replicas: Mutex<BTreeMap<u64, Replica>>,
    /// What is to be told of the console's own clients, by number.
    pub(super) guests: Mutex<HashMap<u64, Told>>,
}

/// A connection to PostgreSQL beside those of the pool, for one client that replicates.
#[derive(Debug)]
pub struct Replica {
    /// The pool it stands beside.
    pub key: PoolKey,
    /// What it is.
    pub about: About,
    /// Since when.
    pub opened: Instant,
    /// What the client calls itself.
    pub application_name: String,
}

/// A command for the process as a whole, and where to say what became of it.
#[derive(Debug)]
pub struct Order {
    /// What to do.
    pub command: Command,
    /// What of it waits for a restart, in words; `Err`: nothing was done, and why. The asker may be gone.
    pub reply: oneshot::Sender<Result<Vec<String>, String>>,
}
