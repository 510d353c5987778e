//! SHOW USERS: what is different for each user, and what it has.

use super::Rows;
use super::databases::bound;
use super::pools::mode;
use crate::admin::realm::Realm;
use crate::admin::table::Type::{Int4, Text};
use crate::admin::table::{Column, row};
use std::collections::{BTreeSet, HashMap};

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

/// Those with a secret, and those whose servers or clients there are.
pub(super) fn rows(realm: &dyn Realm) -> Rows {
    let config = realm.config();
    let (mut servers, mut clients) = (HashMap::new(), HashMap::new());
    for view in realm.views() {
        *servers.entry(view.pool.key().user.to_string()).or_insert(0) += view.pool.numbers().connections;
    }
    for entry in realm.clients().list() {
        *clients.entry(entry.place.login.to_string()).or_insert(0_usize) += 1;
    }
    let mut names: BTreeSet<String> = realm.users().into_iter().collect();
    names.extend(config.users.keys().chain(servers.keys()).chain(clients.keys()).cloned());
    let row = |name: String| {
        let user = config.users.get(&name);
        let most = user.and_then(|user| user.max_user_connections);
        row![
            &*name,
            padded(user.and_then(|user| user.pool_size).map(bound)),
            padded(user.and_then(|user| user.reserve_pool_size)),
            user.and_then(|user| user.pool_mode).map(mode),
            bound(most.unwrap_or(config.general.max_user_connections)),
            servers.get(&name).copied().unwrap_or(0),
            bound(config.max_user_clients(&name)),
            clients.get(&name).copied().unwrap_or(0),
        ]
    };
    names.into_iter().map(row).collect()
}
