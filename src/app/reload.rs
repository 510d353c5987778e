//! HUP: reads the configuration again, all or nothing.

use super::error::AppError;
use super::logging::{self, Level};
use super::{load, secrets};
use crate::cli::Source;
use crate::client::context::Shared;
use crate::config::change::diff;
use crate::config::{Effect, Overrides};
use crate::pool::CapKind;
use std::sync::Arc;

/// Applies what the configuration says now. A problem changes nothing.
pub(super) fn reload(
    shared: &Shared,
    source: &Source,
    overrides: &Overrides,
    level: &Level,
) -> Result<(), AppError> {
    let (config, warnings) = load(source)?;
    let config = config.with(overrides)?;
    let store = secrets::store(&config)?;
    warnings.iter().for_each(|w| tracing::warn!("{w}"));
    let changes = diff(&shared.config.load(), &config);
    for change in &changes {
        let note = if change.effect == Effect::Restart { "; takes effect at the next start" } else { "" };
        tracing::info!("reload: {change}{note}");
    }
    let _ = level.reload(logging::filter(config.general.log_level));
    shared.config.store(Arc::new(config));
    shared.store.store(Arc::new(store));
    apply_to_pools(shared);
    tracing::info!(changes = changes.len(), "configuration reloaded");
    Ok(())
}

fn apply_to_pools(shared: &Shared) {
    let config = shared.config.load_full();
    let contexts: Vec<_> = shared.contexts.lock().values().cloned().collect();
    for context in &contexts {
        let key = context.pool.key();
        let Some(database) = config.database(&key.database) else { continue };
        let settings = config.pool_settings(&database, &key.user);
        shared.pools.cap(CapKind::Database, &key.database, settings.max_db_connections.max());
        shared.pools.cap(CapKind::User, &key.user, settings.max_user_connections.max());
    }
    contexts.iter().for_each(|context| context.follow(&config));
}
