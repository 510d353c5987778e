//! SHOW VERSION, STATE, MEM, and the tables of what pgweir doesn't have.

use super::Rows;
use crate::admin::realm::Realm;
use crate::admin::table::Type::{Int4, Int8, Text};
use crate::admin::table::{Column, row};
use crate::lifecycle::Phase;
use crate::pool::Pool;
use crate::roster::Entry;
use crate::server::Server;

pub(super) const VERSION: [Column; 1] = [("version", Text)];
pub(super) const STATE: [Column; 2] = [("key", Text), ("value", Text)];
pub(super) const MEM: [Column; 5] =
    [("name", Text), ("size", Int4), ("used", Int4), ("free", Int4), ("memtotal", Int4)];
pub(super) const DNS_HOSTS: [Column; 3] = [("hostname", Text), ("ttl", Int8), ("addrs", Text)];
pub(super) const DNS_ZONES: [Column; 3] = [("zonename", Text), ("serial", Int8), ("count", Int4)];
pub(super) const PEERS: [Column; 4] =
    [("peer_id", Int4), ("host", Text), ("port", Int4), ("pool_size", Int4)];
pub(super) const PEER_POOLS: [Column; 5] = [
    ("peer_id", Int4),
    ("cl_active_cancel_req", Int4),
    ("cl_waiting_cancel_req", Int4),
    ("sv_active_cancel", Int4),
    ("sv_login", Int4),
];

/// Tools take the first version they find for PgBouncer's.
pub(super) fn version() -> Rows {
    vec![row![format!("PgBouncer 1.26.1 compatible (pgweir {})", env!("CARGO_PKG_VERSION"))]]
}

pub(super) fn state(realm: &dyn Realm) -> Rows {
    let word = |yes: bool| if yes { "yes" } else { "no" };
    let (paused, running) = (realm.pools().is_all_paused(), realm.phase() == Phase::Running);
    vec![row!["active", word(running && !paused)], row!["paused", word(paused)]]
}

/// Objects by their own size; what they point to isn't counted here, but in the last row, the process as the system sees it,
/// in kilobytes.
pub(super) fn mem(realm: &dyn Realm) -> Rows {
    let views = realm.views();
    let servers: usize = views.iter().map(|view| view.pool.numbers().connections).sum();
    let clients = realm.clients().connected() + realm.consoles().connected();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    let objects = [
        ("pool_cache", size_of::<Pool<Server>>(), views.len()),
        ("server_cache", size_of::<Server>(), servers),
        ("client_cache", size_of::<Entry>(), clients),
        ("process", 1024, kilobytes),
    ];
    objects.into_iter().map(|(name, size, used)| row![name, size, used, 0_u32, size * used]).collect()
}
