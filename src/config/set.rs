//! One setting changed in a configuration that is in force, and all of them as text: what the console's SET and SHOW CONFIG do.
use toml::Spanned;
use toml::de::DeValue;

use super::error::Report;
use super::general::General;
use super::metrics::Metrics;
use super::resolve::Sections;
use super::section::{Effect, Read, Section, Setting};
use super::units::{Refusal, nearest};
use super::{Config, check};
use std::sync::Arc;

pub(super) fn set(config: &Config, key: &str, value: &str) -> Result<Config, String> {
    let Some(setting) = General::SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(key))
    else {
        if let Some(advice) = super::foreign::advice(key) {
            return Err(format!("{key} is PgBouncer's, not pgweir's: {advice}"));
        }
        let meant = nearest(key, General::SETTINGS.iter().map(|setting| setting.name));
        let hint = meant.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
        return Err(format!("unknown setting {key:?}{hint}"));
    };
    if setting.effect == Effect::Restart {
        return Err(format!("{} can't be changed while pgweir runs: a change needs a restart", setting.name));
    }
    let mut general = config.general.clone();
    if let Err(Refusal { hint }) = put(&mut general, setting.name, value) {
        let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        let given = if setting.secret { String::new() } else { format!(", not {value:?}") };
        return Err(format!("{} must be {}{given}{hint}", setting.name, (setting.allowed)()));
    }
    fits(config, &general, setting.name)?;
    Ok(Config { general, ..config.clone() })
}

impl Config {
    /// This configuration as a process can follow it that runs with another: what needs a restart is as there. What the
    /// other doesn't have is as here.
    #[must_use]
    pub fn keeping(mut self, running: &Self) -> Self {
        self.general.keep(&running.general);
        self.metrics_listen = running.metrics_listen;
        for (name, database) in &mut self.databases {
            if let Some(running) = running.databases.get(name) {
                Arc::make_mut(database).keep(running);
            }
        }
        if let (Some(fallback), Some(running)) = (&mut self.fallback, &running.fallback) {
            Arc::make_mut(fallback).keep(running);
        }
        for (name, user) in &mut self.users {
            if let Some(running) = running.users.get(name) {
                Arc::make_mut(user).keep(running);
            }
        }
        self
    }
}

/// Whether a setting by this name may hold a secret: one that there isn't may be one misspelt.
pub(super) fn may_be_secret(key: &str) -> bool {
    let setting = General::SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(key));
    setting.is_none_or(|setting| setting.secret)
}

/// The value as TOML, and if that isn't right as text.
fn put(general: &mut General, key: &str, value: &str) -> Result<(), Refusal> {
    let as_is = DeValue::parse(value).ok().and_then(|value| general.set(key, value).ok());
    if as_is.is_some() {
        return Ok(());
    }
    general.set(key, Spanned::new(0..0, DeValue::String(value.to_owned().into())))
}

/// The checks of a file, for what this setting has to do with.
fn fits(config: &Config, general: &General, key: &'static str) -> Result<(), String> {
    let title = |group: &str, name: &str| format!("[{group}.{}]", super::raw::key_text(name));
    let databases = config.databases.values().chain(&config.fallback);
    let sections = Sections {
        general: Read::changed(general.clone(), key),
        metrics: Read::untouched(Metrics { listen: config.metrics_listen }, Metrics::TITLE.to_owned()),
        databases: databases
            .map(|it| Read::untouched((**it).clone(), title("databases", &it.name)))
            .collect(),
        users: config
            .users
            .values()
            .map(|it| Read::untouched((**it).clone(), title("users", &it.name)))
            .collect(),
    };
    let mut report = Report::new("SET", "");
    check::check(&sections, &mut report);
    let problems = |errors: super::Errors| {
        let messages: Vec<_> = errors.problems().iter().map(|problem| problem.message.clone()).collect();
        messages.join("; ")
    };
    report.finish(()).map(drop).map_err(problems)
}

pub(super) fn values(general: &General) -> Vec<(&'static Setting, String, String)> {
    let presets = General::default().values().into_iter().map(|(_, preset)| plain(&preset));
    let values = general.values().into_iter().zip(presets);
    values.map(|((setting, value), preset)| (setting, plain(&value), preset)).collect()
}

fn plain(toml: &str) -> String {
    match DeValue::parse(toml).map(Spanned::into_inner) {
        Ok(DeValue::String(text)) => text.into_owned(),
        Ok(DeValue::Boolean(is_on)) => u8::from(is_on).to_string(),
        _ => toml.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    #[test]
    fn what_needs_a_restart_is_kept() {
        let config = |text| parse(text, "f").unwrap().0;
        let running = config(
            "[pgweir]\nlisten_port = 1\nquery_timeout = 1\n[databases.app]\n[databases.\"*\"]\n[users.u]\n",
        );
        let file = config(
            "[pgweir]\nlisten_port = 2\nquery_timeout = 2\npool_mode = \"session\"\n\
             [databases.app]\npool_mode = \"session\"\npool_size = 2\n[databases.new]\npool_mode = \"session\"\n\
             [databases.\"*\"]\npool_mode = \"session\"\n[users.u]\npool_mode = \"session\"\npool_size = 2\n\
             [metrics]\nlisten = \"\"\n",
        );
        let expected = config(
            "[pgweir]\nlisten_port = 1\nquery_timeout = 2\n\
             [databases.app]\npool_size = 2\n[databases.new]\npool_mode = \"session\"\n\
             [databases.\"*\"]\n[users.u]\npool_size = 2\n",
        );
        assert_eq!(file.clone().keeping(&running), expected);
        assert_eq!(file.clone().keeping(&file), file);
    }

    #[test]
    fn one_setting_is_held_to_what_the_file_is() {
        let config = parse("[pgweir]\nmin_pool_size = 2\n[databases.app]\npool_size = 5\n", "f").unwrap().0;
        let set = |key, value| config.with_setting(key, value);
        assert_eq!(set("max_client_conn", "7").unwrap().general.max_client_conn, 7);
        assert_eq!(set("MAX_CLIENT_CONN", "8").unwrap().general.max_client_conn, 8);
        assert!(set("log_connections", "0").is_ok_and(|c| !c.general.log_connections.is_on()));
        assert!(set("log_connections", "false").is_ok_and(|c| !c.general.log_connections.is_on()));
        assert_eq!(
            set("query_wait_timeout", "250ms").unwrap().general.query_wait_timeout.unwrap().as_millis(),
            250
        );
        assert_eq!(
            set("query_wait_timeout", "1.5").unwrap().general.query_wait_timeout.unwrap().as_millis(),
            1500
        );
        assert_eq!(set("admin_users", "a, b").unwrap().general.admin_users, ["a", "b"]);
        assert!(set("server_reset_query", "x").unwrap_err().contains("needs a restart"));
        assert_eq!(
            set("max_client_con", "7").unwrap_err(),
            "unknown setting \"max_client_con\"; did you mean \"max_client_conn\"?"
        );
        let refused = set("log_level", "infoo").unwrap_err();
        assert!(refused.ends_with("not \"infoo\"; did you mean \"info\"?"), "{refused}");
        assert_eq!(
            set("default_pool_size", "1").unwrap_err(),
            "min_pool_size 2 in [pgweir] is above default_pool_size 1"
        );
        assert!(set("reserve_pool_timeout", "0").is_ok());
        assert!(
            set("max_client_conn", "").is_err() && set("", "").is_err() && set("auth_type", "'").is_err()
        );
    }

    #[test]
    fn values_are_told_without_quotes() {
        let config = parse("[pgweir]\nadmin_users = [\"a\", \"b\"]\n[databases.app]\n", "f").unwrap().0;
        let values = config.general_values();
        let of =
            |name: &str| values.iter().find(|(s, ..)| s.name == name).map(|(_, v, d)| (&**v, &**d)).unwrap();
        assert_eq!(of("admin_users"), ("a, b", ""));
        assert_eq!(of("pool_mode"), ("transaction", "transaction"));
        assert_eq!(of("tcp_keepalive"), ("1", "1"));
        assert_eq!(of("server_lifetime"), ("3600", "3600"));
    }
}
