//! SHOW DATABASES: where each database is, what its pools may have and how it stands.

use super::pools::mode;
use super::{Rows, and};
use crate::admin::DATABASE;
use crate::admin::realm::{PoolView, Realm};
use crate::admin::table::Type::{Int4, Text};
use crate::admin::table::{Column, Value, row};
use crate::config::{Config, Database, Limit, PoolMode};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub(super) const COLUMNS: [Column; 17] = [
    ("name", Text),
    ("host", Text),
    ("port", Int4),
    ("database", Text),
    ("force_user", Text),
    ("pool_size", Int4),
    ("min_pool_size", Int4),
    ("reserve_pool_size", Int4),
    ("server_lifetime", Int4),
    ("pool_mode", Text),
    ("load_balance_hosts", Text),
    ("max_connections", Int4),
    ("current_connections", Int4),
    ("max_client_connections", Int4),
    ("current_client_connections", Int4),
    ("paused", Int4),
    ("disabled", Int4),
];

/// As DATABASES, with the name that a column had up to PgBouncer 1.23 and that prometheus-pgbouncer-exporter 1.7 asks for.
pub(super) const OLD: [Column; 18] = and(COLUMNS, ("reserve_pool", Int4));

/// With that.
pub(super) fn rows_old(realm: &dyn Realm) -> Rows {
    let reserve = COLUMNS.iter().position(|(name, _)| *name == "reserve_pool_size");
    let with = |mut row: Vec<Value>| {
        row.extend(reserve.map(|at| row[at].clone()));
        row
    };
    rows(realm).into_iter().map(with).collect()
}

/// A bound as a number; none is 0.
pub(super) fn bound(limit: Limit) -> u32 {
    limit.max().map_or(0, std::num::NonZeroU32::get)
}

/// Those of the configuration, and those of the fallback that have a pool.
pub(super) fn all(config: &Config, views: &[PoolView]) -> BTreeMap<String, Arc<Database>> {
    let used = views.iter().map(|view| &*view.pool.key().database);
    let used = used.filter_map(|name| Some((name.to_owned(), config.database(name)?)));
    config.databases.iter().map(|(name, entry)| (name.clone(), Arc::clone(entry))).chain(used).collect()
}

pub(super) fn rows(realm: &dyn Realm) -> Rows {
    rows_of(realm, &realm.views())
}

/// With these pools.
pub(super) fn rows_of(realm: &dyn Realm, views: &[PoolView]) -> Rows {
    let config = realm.config();
    // Servers and clients; looked up, since there may be as many databases as pools.
    let mut connected: HashMap<&str, (usize, usize)> = HashMap::new();
    for view in views {
        let (servers, clients) = connected.entry(&view.pool.key().database).or_default();
        *servers += view.pool.numbers().connections;
        *clients += view.clients;
    }
    let row = |(name, database): (String, Arc<Database>)| {
        let connected = connected.get(&*name).copied().unwrap_or_default();
        database_row(realm, &config, (&name, &database), connected)
    };
    let mut rows: Rows = all(&config, views).into_iter().map(row).collect();
    let port = u32::from(config.general.listen_port);
    let lifetime = config.general.server_lifetime.as_secs();
    let mut own = row![DATABASE, None::<&str>, port, DATABASE, DATABASE, 2_u32, 0_u32, 0_u32, lifetime];
    let consoles = realm.consoles().connected();
    own.extend(row![mode(PoolMode::Statement), None::<&str>, 0_u32, 0_u32, 0_u32, consoles, 0_u32, 0_u32]);
    rows.push(own);
    rows
}

/// Where there is a choice.
pub(super) fn load_balance(database: &Database) -> Option<&'static str> {
    database.host.are_several().then(|| database.load_balance_hosts.name())
}

fn database_row(
    realm: &dyn Realm,
    config: &Config,
    (name, database): (&str, &Database),
    (servers, clients): (usize, usize),
) -> Vec<Value> {
    // As for a user without settings of its own.
    let settings = config.pool_settings(database, database.user.as_deref().unwrap_or_default());
    row![
        name,
        database.host.to_string(),
        u32::from(database.port),
        database.dbname(),
        database.user.as_deref(),
        bound(settings.pool_size),
        settings.min_pool_size,
        settings.reserve_pool_size,
        settings.server_lifetime.as_secs(),
        database.pool_mode.map(mode),
        load_balance(database),
        bound(settings.max_db_connections),
        servers,
        bound(config.max_db_clients(database)),
        clients,
        realm.pools().is_paused(name),
        realm.desk().disabled.lock().contains(name),
    ]
}
