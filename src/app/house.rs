//! The process as the janitor and the health page see it.

use crate::admin;
use crate::client::cleanup;
use crate::client::context::Shared;
use crate::clock::Instant;
use crate::config::MetricsCompat;
use crate::http::{Health, More};
use crate::lifecycle::Phase;
use crate::pool::{ClientId, CloseReason, Lease, Pool, PoolSet};
use crate::roster::Roster;
use crate::server::Server;
use crate::tasks::janitor::House;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

impl House for Shared {
    fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    fn pools(&self) -> &PoolSet<Server> {
        &self.pools
    }

    fn end_logins(&self, now: Instant) -> bool {
        self.logins.tick(now)
    }

    fn has_timeouts(&self) -> bool {
        self.config.load().has_timeouts()
    }

    fn has_limit_below(&self, time: Duration) -> bool {
        self.config.load().has_limit_below(time)
    }

    fn query_wait_notify(&self) -> Option<Duration> {
        self.config.load().general.query_wait_notify
    }

    fn resets(&self) -> bool {
        self.config.load().general.server_reset_query.is_some()
    }

    fn wake_crowds(&self) -> bool {
        self.wake_crowds()
    }

    fn crowded_since(&self, since: Instant) -> Vec<(ClientId, Instant)> {
        self.crowded_since(since)
    }

    fn renew_passwords(&self, now: Instant) {
        self.tokens.upkeep(now, || self.asking());
    }

    fn remind(&self) {
        self.remind_routines();
    }

    fn reset(&self, pool: &Arc<Pool<Server>>, lease: Lease<Server>) {
        let context = self.contexts.lock().get(pool.key()).cloned();
        match context {
            Some(context) => drop(self.runtime.spawn(cleanup::reset(lease, context))),
            None => lease.close(CloseReason::ResetFailed),
        }
    }
}

impl Health for Shared {
    fn ready(&self) -> Result<(), String> {
        match self.lifecycle.phase() {
            Phase::Starting => Err("pgweir is starting".to_owned()),
            Phase::Running => Ok(()),
            Phase::Draining => Err("pgweir is shutting down".to_owned()),
        }
    }
}

impl More for Shared {
    fn series(self: Arc<Self>) -> Pin<Box<dyn Future<Output = String> + Send>> {
        Box::pin(async {
            match self.config.load().general.metrics_compat {
                MetricsCompat::None => {
                    self.roster.forget_names();
                    String::new()
                }
                MetricsCompat::PgbouncerExporter => admin::exporter_series(self).await,
            }
        })
    }
}
