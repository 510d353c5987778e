//! SHOW WAITS: the line of each pool, the next one first; behind it that of clients who would be one more than max_pins.

use super::Rows;
use super::pins::address;
use super::time::{Now, parts};
use crate::admin::realm::Realm;
use crate::admin::table::Type::{Int4, Text};
use crate::admin::table::{Column, row};
use std::collections::HashMap;

pub(super) const COLUMNS: [Column; 10] = [
    ("database", Text),
    ("user", Text),
    ("position", Int4),
    ("client_id", Int4),
    ("addr", Text),
    ("port", Int4),
    ("since", Text),
    ("wait", Int4),
    ("wait_us", Int4),
    ("waits_for", Text),
];

/// The user is the pool's. Who waits at login has a number, but no address here yet.
pub(super) fn rows(realm: &dyn Realm) -> Rows {
    let clients: HashMap<_, _> = realm.clients().list().into_iter().map(|entry| (entry.id, entry)).collect();
    let now = Now::read();
    let mut rows = Vec::new();
    for view in realm.views() {
        let (key, waiters) = (view.pool.key(), view.pool.waiters());
        let waits_for = if waiters.is_empty() { None } else { view.metrics.in_the_way() };
        let in_line = waiters.into_iter().enumerate().map(|waiter| (waiter, &waits_for));
        let crowd = view.crowd.line.iter().copied().enumerate().map(|waiter| (waiter, &view.crowd.waits_for));
        for ((at, waiter), waits_for) in in_line.chain(crowd) {
            let known = clients.get(&waiter.client.0).map(|entry| address(entry.address()));
            let (addr, port) = known.map_or((None, None), |(addr, port)| (Some(addr), Some(port)));
            let (wait, wait_us) = parts(now.instant.saturating_duration_since(waiter.since));
            rows.push(row![
                &*key.database,
                &*key.user,
                at + 1,
                waiter.client.0,
                addr,
                port,
                now.date(waiter.since),
                wait,
                wait_us,
                waits_for.as_deref(),
            ]);
        }
    }
    rows
}
