//! SHOW LISTS: how many there are of everything.

use super::{Rows, databases};
use crate::admin::realm::{PoolView, Realm};
use crate::admin::table::Type::{Int4, Text};
use crate::admin::table::{Column, row};
use crate::roster::Entry;
use std::sync::Arc;

pub(super) const COLUMNS: [Column; 2] = [("list", Text), ("items", Int4)];

/// pgweir keeps no unused objects, peers or names of hosts: those are 0. The console's own database and pool count, as in
/// PgBouncer.
pub(super) fn rows(realm: &dyn Realm) -> Rows {
    rows_of(realm, &realm.views(), &realm.clients().list())
}

/// With these pools and clients.
pub(super) fn rows_of(realm: &dyn Realm, views: &[PoolView], listed: &[Arc<Entry>]) -> Rows {
    let servers: usize = views.iter().map(|view| view.pool.numbers().connections).sum();
    let clients = realm.clients().connected() + realm.consoles().connected();
    let lists = [
        ("databases", databases::all(&realm.config(), views).len() + 1),
        ("users", super::users::count(realm, views, listed)),
        ("peers", 0),
        ("pools", views.len() + 1),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", clients),
        ("login_clients", realm.logging_in()),
        ("free_servers", 0),
        ("used_servers", servers),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ];
    lists.into_iter().map(|(list, items)| row![list, items]).collect()
}
