//! Changes to the running process: the configuration read again, all or nothing, or one setting of it.

use super::error::AppError;
use super::logging::{self, Log};
use super::run::files_foreseen;
use super::{certificates, load, rights, rules, secrets};
use crate::audit;
use crate::cli::Source;
use crate::client::context::{PoolContext, Shared};
use crate::config::change::{Change as Difference, What, diff};
use crate::config::{Config, Effect, Overrides};
use crate::net::files;
use crate::pool::CapKind;
use crate::tls::Tls;
use std::sync::Arc;

/// Changes the process.
pub(super) struct Change<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) source: &'a Source,
    pub(super) overrides: &'a Overrides,
    pub(super) log: &'a Log,
}

impl Change<'_> {
    /// HUP, RELOAD: applies what the configuration says now. A problem changes nothing. Returns what is different but needs a
    /// restart, in words.
    pub(super) fn reload(&self) -> Result<Vec<String>, AppError> {
        let read = || -> Result<Vec<Difference>, AppError> {
            let (config, warnings) = load(self.source)?;
            let config = config.with(self.overrides)?;
            warnings.iter().for_each(|w| tracing::warn!("{w}"));
            rights::warnings_of(&config, self.source).iter().for_each(|w| tracing::warn!("{w}"));
            self.apply(config, "reload")
        };
        match read() {
            Ok(differences) => {
                let waits = |difference: &&Difference| difference.effect == Effect::Restart;
                let waiting: Vec<_> = differences.iter().filter(waits).map(ToString::to_string).collect();
                let changes = differences.len() - waiting.len();
                tracing::info!(changes, "configuration reloaded");
                Ok(waiting)
            }
            Err(error) => {
                self.reopen();
                for line in error.to_string().lines() {
                    tracing::error!("reload failed, nothing was changed: {line}");
                }
                Err(error)
            }
        }
    }

    /// HUP is also what rotates the log, whatever the configuration says meanwhile.
    fn reopen(&self) {
        let running = self.shared.config.load_full();
        match logging::prepare(&running) {
            Ok(to) => self.log.follow(&running, to),
            Err(error) => tracing::error!("{error}"),
        }
    }

    /// SET: changes one setting until the next reload.
    pub(super) fn set(&self, key: &str, value: &str) -> Result<(), String> {
        let config = self.shared.config.load().with_setting(key, value)?;
        self.apply(config, "SET").map(drop).map_err(|error| error.to_string())
    }

    /// Returns what is different. What needs a restart stays as it is, so that it isn't half in force; the next reload
    /// tells it again.
    fn apply(&self, config: Config, why: &str) -> Result<Vec<Difference>, AppError> {
        let shared = self.shared;
        let running = shared.config.load_full();
        let mut changes = diff(&running, &config);
        let asked = config.clone();
        let config = config.keeping(&running);
        changes.extend(other_modes(shared, &config, &asked));
        let store = secrets::store(&config)?;
        let tls = Tls::new(&config)?;
        let log = logging::prepare(&config)?;
        let (rules, doubts) = rules::rules(&config)?;
        doubts.iter().for_each(|w| tracing::warn!("{w}"));
        let directory_tls = rules::directory_tls(&rules)?;
        for change in &changes {
            let note = if change.effect == Effect::Restart { "; takes effect at the next start" } else { "" };
            tracing::info!("{why}: {change}{note}");
            audit::change(why, change);
        }
        certificates::note(&config, &shared.metrics);
        self.log.follow(&config, log);
        files::make_room(files_foreseen(&config));
        // Before the configuration: who goes by that finds what it asks for here.
        tls.follows(&shared.tls.load());
        shared.tls.store(Arc::new(tls));
        shared.directory_tls.store(directory_tls);
        shared.rules.store(Arc::new(rules));
        shared.config.store(Arc::new(config));
        // Who isn't in the new store is asked like most of those who are.
        shared.login.store(Arc::new(shared.login.load().asking(store.most_look_like())));
        shared.store.store(Arc::new(store));
        shared.lookups.clear();
        shared.issuers.remind();
        apply_to_pools(shared);
        Ok(changes)
    }
}

/// Pools there are that would be made in another mode now, by a section that came or went, and that a restart would change:
/// what their clients have been promised is the old one.
fn other_modes(shared: &Shared, config: &Config, asked: &Config) -> Vec<Difference> {
    let contexts: Vec<_> = shared.contexts.lock().values().cloned().collect();
    let difference = |context: &Arc<PoolContext>| {
        let key = context.pool.key();
        let mode_by = |config: &Config| {
            let database = config.database(&key.database)?;
            Some(config.pool_settings(&database, &key.user).pool_mode)
        };
        let (mode, later) = (mode_by(config)?, mode_by(asked)?);
        (mode != context.mode && later != context.mode).then(|| Difference {
            section: format!("the pool of database \"{}\" and user \"{}\"", key.database, key.user),
            what: What::Setting {
                name: "pool_mode",
                old: format!("\"{}\"", context.mode.name()),
                new: format!("\"{}\"", later.name()),
            },
            effect: Effect::Restart,
        })
    };
    contexts.iter().filter_map(difference).collect()
}

fn apply_to_pools(shared: &Arc<Shared>) {
    let config = shared.config.load_full();
    let contexts: Vec<_> = shared.contexts.lock().values().cloned().collect();
    for context in &contexts {
        let key = context.pool.key();
        let Some(database) = config.database(&key.database) else { continue };
        let settings = config.pool_settings(&database, &key.user);
        shared.pools.cap(CapKind::Database, &key.database, settings.max_db_connections.max());
        shared.pools.cap(CapKind::User, &key.user, settings.max_user_connections.max());
        shared.pools.cap(CapKind::All, "", settings.max_server_connections.max());
    }
    for context in &contexts {
        if let Err(why) = context.follow(&config) {
            shared.let_go(context, why);
        }
    }
    let exists = |name: &str| config.database(name).is_some();
    shared.pools.forget_pauses(exists);
    shared.desk.disabled.lock().retain(|name| exists(name));
    keep_minimums(shared);
}

/// Pools that keep min_pool_size servers without clients: those of a forced user, and those of the only user there is.
pub(super) fn keep_minimums(shared: &Arc<Shared>) {
    let config = shared.config.load_full();
    for database in config.databases.values() {
        let only = if config.users.len() == 1 { config.users.keys().next() } else { None };
        if let Some(user) = database.user.as_ref().or(only)
            && config.pool_settings(database, user).min_pool_size > 0
        {
            shared.context(database, user).keep_minimum_always();
        }
    }
}
