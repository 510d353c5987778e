//! Deadlines and upkeep, so that no transaction needs a timer: waits, reserve, age, idleness, minimum, servers left dirty.

use crate::pool::{ClientId, Lease, Pool, PoolSet};
use crate::roster::Roster;
use crate::server::Server;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Between turns while somebody waits.
const BUSY: Duration = Duration::from_millis(100);
/// Between turns otherwise.
const QUIET: Duration = Duration::from_millis(1000);

/// What the janitor looks after.
pub trait House: Send + Sync {
    /// Who is connected.
    fn roster(&self) -> &Arc<Roster>;
    /// The pools.
    fn pools(&self) -> &PoolSet<Server>;
    /// client_idle_timeout and idle_transaction_timeout.
    fn limits(&self) -> (Option<Duration>, Option<Duration>);
    /// Whether there is a reset query at all.
    fn resets(&self) -> bool;
    /// Resets a dirty server whose client has left, on a thread that serves clients.
    fn reset(&self, pool: &Arc<Pool<Server>>, lease: Lease<Server>);
}

/// Works until dropped.
pub async fn run(house: Arc<dyn House>) {
    loop {
        let waiting = turn(&*house, Instant::now());
        sleep(if waiting { BUSY } else { QUIET }).await;
    }
}

/// One turn; whether somebody waits for a server.
fn turn(house: &dyn House, now: Instant) -> bool {
    let (idle, in_transaction) = house.limits();
    house.roster().tick(now, idle, in_transaction);
    let mut connected: Option<HashSet<u64>> = None;
    let mut waiting = false;
    for pool in house.pools().list() {
        waiting |= pool.tick(now).waiting > 0;
        if pool.numbers().dirty_idle == 0 || !house.resets() {
            continue;
        }
        let here = connected.get_or_insert_with(|| house.roster().list().iter().map(|e| e.who.id).collect());
        for lease in pool.take_dirty_abandoned(|ClientId(client)| here.contains(&client)) {
            house.reset(&pool, lease);
        }
    }
    waiting
}
