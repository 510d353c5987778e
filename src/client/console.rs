//! The console's door, and the process as the console sees it.

use super::context::{PoolContext, Shared};
use super::in_the_way::InTheWay;
use super::refused::Refused;
use super::report::Trouble;
use crate::admin::{Crowd, Desk, Holding, Order, PoolView, Realm, Rights};
use crate::config::{Config, RESERVED_DATABASES};
use crate::lifecycle::Phase;
use crate::metrics::{LoginFailure, Metrics};
use crate::pool::PoolSet;
use crate::roster::{Roster, Told};
use crate::server::Server;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Whether a client that asks for this database wants the console.
pub(super) fn is_console(database: &str) -> bool {
    RESERVED_DATABASES.contains(&database)
}

/// What a user who has proved who it is may do there.
pub(super) fn rights(config: &Config, user: &str) -> Result<Rights, Refused> {
    let among = |users: &[String]| users.iter().any(|name| name == user);
    if among(&config.general.admin_users) {
        Ok(Rights::Admin)
    } else if among(&config.general.stats_users) {
        Ok(Rights::Stats)
    } else {
        Err(Refused::tell(Trouble::NotAllowed, LoginFailure::Rejected))
    }
}

/// Who waits for others to let their servers go.
fn crowd(context: &PoolContext) -> Crowd {
    let line = context.pins.line();
    let waits_for = (!line.is_empty()).then(|| InTheWay::pins(context).sentence());
    Crowd { line, waits_for }
}

impl Realm for Shared {
    fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn clients(&self) -> &Arc<Roster> {
        &self.roster
    }

    fn consoles(&self) -> &Arc<Roster> {
        &self.consoles
    }

    fn logging_in(&self) -> usize {
        self.opening.load(Ordering::Relaxed)
    }

    fn pools(&self) -> &PoolSet<Server> {
        &self.pools
    }

    fn views(&self) -> Vec<PoolView> {
        let mut contexts = self.contexts_of(None);
        contexts.sort_by(|a, b| a.pool.key().cmp(b.pool.key()));
        let view = |context: Arc<PoolContext>| PoolView {
            pool: Arc::clone(&context.pool),
            mode: context.mode,
            clients: context.clients(),
            metrics: Arc::clone(&context.metrics),
            pins: context.pins.list(),
            crowd: crowd(&context),
        };
        contexts.into_iter().map(view).collect()
    }

    fn users(&self) -> Vec<String> {
        self.store.load().names()
    }

    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn phase(&self) -> Phase {
        self.lifecycle.phase()
    }

    fn connections_paused(&self, database: Option<&str>) -> usize {
        let left = |context: &Arc<PoolContext>| {
            let (own, listens) = (context.pool.numbers().connections, context.hub.numbers().0);
            if own == 0 && listens {
                // Not earlier: a client may have to hand over to it what its own server listens to.
                context.hub.retire();
            }
            own + usize::from(listens)
        };
        // One resumed by its name meanwhile goes on.
        let is_paused = |it: &&Arc<PoolContext>| self.pools.is_paused(&it.pool.key().database);
        self.contexts_of(database).iter().filter(is_paused).map(left).sum()
    }

    fn reconnect(&self, database: Option<&str>) {
        for context in self.contexts_of(database) {
            context.replace_servers();
            context.hub.retire();
        }
    }

    fn holdings(&self, told: &HashMap<u64, Told>) -> Vec<Holding> {
        self.memory(told)
    }

    fn order(&self, order: Order) {
        // Whoever gave the order hears that nobody takes it by the end of its reply.
        let _ = self.orders.send(order);
    }
}

impl Shared {
    /// As RECONNECT, but for the servers that listen: to them it is all one how a session begins.
    pub(super) fn replace_servers(&self, database: &str) {
        self.contexts_of(Some(database)).iter().for_each(|context| context.replace_servers());
    }

    fn contexts_of(&self, database: Option<&str>) -> Vec<Arc<PoolContext>> {
        let contexts = self.contexts.lock();
        let wanted =
            |context: &&Arc<PoolContext>| database.is_none_or(|name| *context.pool.key().database == *name);
        contexts.values().filter(wanted).cloned().collect()
    }
}
