//! SHOW USERS: what is different for each user, and what it has.

use super::Rows;
use super::databases::bound;
use super::pools::mode;
use crate::admin::realm::{PoolView, Realm};
use crate::admin::table::Type::{Int4, Text};
use crate::admin::table::{Column, row};
use crate::config::Config;
use crate::roster::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub(super) const COLUMNS: [Column; 8] = [
    ("name", Text),
    ("pool_size", Text),
    ("reserve_pool_size", Text),
    ("pool_mode", Text),
    ("max_user_connections", Int4),
    ("current_connections", Int4),
    ("max_user_client_connections", Int4),
    ("current_client_connections", Int4),
];

/// As PgBouncer writes a size here.
fn padded(size: Option<u32>) -> String {
    size.map(|size| format!("{size:>9}")).unwrap_or_default()
}

/// How many servers and clients each user has.
struct Connected<'a> {
    servers: HashMap<&'a str, usize>,
    clients: HashMap<&'a str, usize>,
}

impl<'a> Connected<'a> {
    fn of(views: &'a [PoolView], listed: &'a [Arc<Entry>]) -> Self {
        let (mut servers, mut clients) = (HashMap::new(), HashMap::new());
        for view in views {
            *servers.entry(&*view.pool.key().user).or_insert(0) += view.pool.numbers().connections;
        }
        for entry in listed {
            *clients.entry(&*entry.place.login).or_insert(0) += 1;
        }
        Self { servers, clients }
    }

    /// Those with a secret, and those whose servers or clients there are.
    fn names(&self, known: &'a [String], config: &'a Config) -> BTreeSet<&'a str> {
        let known = known.iter().chain(config.users.keys()).map(String::as_str);
        known.chain(self.servers.keys().copied()).chain(self.clients.keys().copied()).collect()
    }
}

/// How many SHOW USERS has.
pub(super) fn count(realm: &dyn Realm, views: &[PoolView], listed: &[Arc<Entry>]) -> usize {
    Connected::of(views, listed).names(&realm.users(), &realm.config()).len()
}

pub(super) fn rows(realm: &dyn Realm) -> Rows {
    let (config, known) = (realm.config(), realm.users());
    let (views, listed) = (realm.views(), realm.clients().list());
    let connected = Connected::of(&views, &listed);
    let row = |name: &str| {
        let user = config.users.get(name);
        let most = user.and_then(|user| user.max_user_connections);
        row![
            name,
            padded(user.and_then(|user| user.pool_size).map(bound)),
            padded(user.and_then(|user| user.reserve_pool_size)),
            user.and_then(|user| user.pool_mode).map(mode),
            bound(most.unwrap_or(config.general.max_user_connections)),
            connected.servers.get(name).copied().unwrap_or(0),
            bound(config.max_user_clients(name)),
            connected.clients.get(name).copied().unwrap_or(0),
        ]
    };
    connected.names(&known, &config).into_iter().map(row).collect()
}
