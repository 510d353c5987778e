//! What differs between two configurations, in words for a log. Decides nothing and shows no secret.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::metrics::Metrics;
use super::raw::key_text;
use super::section::{Effect, Section};
use super::{Config, FALLBACK};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The section it is in, such as `[databases.app]`.
    pub section: String,
    /// What happened there.
    pub what: What,
    /// What it takes to make it count.
    pub effect: Effect,
}

/// What happened to a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// One of its settings changed; the values are TOML, or `(secret)`, or `unset`.
    Setting {
        /// The setting's key.
        name: &'static str,
        /// What it was.
        old: String,
        /// What it is.
        new: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Added => write!(f, "{} added", self.section)?,
            What::Removed => write!(f, "{} removed", self.section)?,
            What::Setting { name, old, new } if old == new => {
                write!(f, "{name} in {} changed", self.section)?;
            }
            What::Setting { name, old, new } => {
                write!(f, "{name} in {} changed from {old} to {new}", self.section)?;
            }
        }
        match self.effect {
            Effect::Reload => Ok(()),
            Effect::Restart => f.write_str(" (needs a restart)"),
        }
    }
}

/// All differences, in the order of the documentation; empty when there is none.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = settings("[pgweir]", &old.general, &new.general);
    changes.extend(entries("databases", &with_fallback(old), &with_fallback(new)));
    changes.extend(entries("users", &old.users, &new.users));
    let metrics = |config: &Config| Metrics { listen: config.metrics_listen };
    changes.extend(settings("[metrics]", &metrics(old), &metrics(new)));
    changes
}

fn with_fallback(config: &Config) -> BTreeMap<String, Arc<super::Database>> {
    let fallback = config.fallback.iter().map(|entry| (FALLBACK.to_owned(), Arc::clone(entry)));
    config.databases.iter().map(|(name, entry)| (name.clone(), Arc::clone(entry))).chain(fallback).collect()
}

fn settings<S: Section>(section: &str, old: &S, new: &S) -> Vec<Change> {
    let change = |difference: super::section::Difference| Change {
        section: section.to_owned(),
        what: What::Setting { name: difference.setting.name, old: difference.old, new: difference.new },
        effect: difference.setting.effect,
    };
    old.differences(new).into_iter().map(change).collect()
}

fn entries<S: Section>(
    group: &str,
    old: &BTreeMap<String, Arc<S>>,
    new: &BTreeMap<String, Arc<S>>,
) -> Vec<Change> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changes = names.into_iter().flat_map(|name| {
        let section = format!("[{group}.{}]", key_text(name));
        let whole = |what| vec![Change { section: section.clone(), what, effect: Effect::Reload }];
        match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) => settings(&section, &**old, &**new),
            (None, _) => whole(What::Added),
            (_, None) => whole(What::Removed),
        }
    });
    changes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn config(text: &str) -> Config {
        parse(text, "f").unwrap_or_else(|errors| panic!("{errors}")).0
    }

    #[test]
    fn every_kind_of_change() {
        let old = config(
            "[pgweir]\nlisten_port = 6432\nquery_wait_timeout = 5\n[databases.gone]\n[databases.app]\n\
             password = \"hunter2\"\nport = 1\n[users.u]\npassword = \"hunter2\"\n",
        );
        let new = config(
            "[pgweir]\nlisten_port = 6433\nquery_wait_timeout = \"500ms\"\nworkers = 2\n[databases.app]\n\
             password = \"hunter3\"\nport = 2\npool_size = 0\n[databases.\"*\"]\n[users.u]\n[users.\"a b\"]\n\
             [metrics]\nlisten = \"\"\n",
        );
        let lines: Vec<String> = diff(&old, &new).iter().map(ToString::to_string).collect();
        let expected = [
            "listen_port in [pgweir] changed from 6432 to 6433 (needs a restart)",
            "workers in [pgweir] changed from 0 to 2 (needs a restart)",
            "query_wait_timeout in [pgweir] changed from 5 to 0.5",
            "[databases.\"*\"] added",
            "port in [databases.app] changed from 1 to 2",
            "password in [databases.app] changed",
            "pool_size in [databases.app] changed from unset to 0",
            "[databases.gone] removed",
            "[users.\"a b\"] added",
            "password in [users.u] changed from (secret) to unset",
            "listen in [metrics] changed from \"127.0.0.1:9127\" to \"\" (needs a restart)",
        ];
        assert_eq!(lines, expected);
        assert!(diff(&old, &old.clone()).is_empty());
    }

    #[test]
    fn what_is_bound_at_start_needs_a_restart() {
        let restart: Vec<&str> = crate::config::sections()
            .iter()
            .flat_map(|(_, settings)| settings.iter())
            .filter(|setting| setting.effect == Effect::Restart)
            .map(|setting| setting.name)
            .collect();
        let expected = [
            "listen_addr",
            "listen_port",
            "listen_backlog",
            "so_reuseport",
            "unix_socket_dir",
            "unix_socket_mode",
            "unix_socket_group",
            "workers",
            "pool_mode",
            "session_state",
            "max_pins",
            "max_pins_reached",
            "sequence_hold",
            "server_reset_query",
            "server_reset_query_always",
            "max_prepared_statements",
            "log_format",
            "tcp_socket_buffer",
            "pool_mode",
            "pool_mode",
            "listen",
        ];
        assert_eq!(restart, expected);
    }
}
