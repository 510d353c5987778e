//! SHOW POOLS: clients and servers of each pool by state.

use super::Rows;
use super::databases::load_balance;
use super::time::parts;
use crate::admin::DATABASE;
use crate::admin::realm::{PoolView, Realm};
use crate::admin::table::Type::{Int4, Text};
use crate::admin::table::{Column, Value, row};
use crate::config::{Config, PoolMode};

pub(super) const COLUMNS: [Column; 17] = [
    ("database", Text),
    ("user", Text),
    ("cl_active", Int4),
    ("cl_waiting", Int4),
    ("cl_active_cancel_req", Int4),
    ("cl_waiting_cancel_req", Int4),
    ("sv_active", Int4),
    ("sv_active_cancel", Int4),
    ("sv_being_canceled", Int4),
    ("sv_idle", Int4),
    ("sv_used", Int4),
    ("sv_tested", Int4),
    ("sv_login", Int4),
    ("maxwait", Int4),
    ("maxwait_us", Int4),
    ("pool_mode", Text),
    ("load_balance_hosts", Text),
];

/// A pool's mode in the configuration's word.
pub(super) fn mode(mode: PoolMode) -> &'static str {
    mode.name()
}

/// As in PgBouncer, a client that wants nothing is active; servers that carry their last client's state are used.
fn pool(view: &PoolView, config: &Config) -> Vec<Value> {
    let (key, numbers) = (view.pool.key(), view.pool.numbers());
    let cancels: u32 = view.pool.servers(|_| ()).iter().map(|server| server.cancels).sum();
    let line = &view.crowd.line;
    let oldest = numbers.oldest_wait_since.into_iter().chain(line.first().map(|first| first.since)).min();
    let waiting = numbers.waiting + line.len();
    let (wait, wait_us) = parts(oldest.map(|since| since.elapsed()).unwrap_or_default());
    row![
        &*key.database,
        &*key.user,
        view.clients.saturating_sub(waiting),
        waiting,
        cancels,
        0_u32,
        numbers.active,
        cancels,
        numbers.canceling,
        numbers.idle,
        numbers.dirty_idle,
        0_u32,
        numbers.opening,
        wait,
        wait_us,
        mode(view.mode),
        config.database(&key.database).and_then(|database| load_balance(&database)),
    ]
}

pub(super) fn rows(realm: &dyn Realm) -> Rows {
    rows_of(realm, &realm.views())
}

/// Those of these pools.
pub(super) fn rows_of(realm: &dyn Realm, views: &[PoolView]) -> Rows {
    let config = realm.config();
    let mut rows: Rows = views.iter().map(|view| pool(view, &config)).collect();
    let consoles = realm.consoles().connected();
    let mut own = row![DATABASE, DATABASE, consoles];
    own.extend((3..15).map(|_| Value::Number(0)));
    own.extend(row![mode(PoolMode::Statement), None::<&str>]);
    rows.push(own);
    rows
}
