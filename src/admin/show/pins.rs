//! SHOW PINS: clients that keep their server for session state that can't follow them, since when and for what.

use super::Rows;
use super::time::Now;
use crate::admin::realm::Realm;
use crate::admin::table::Type::{Int4, Text};
use crate::admin::table::{Column, row};
use crate::roster::ClientAddress;
use std::collections::HashMap;

pub(super) const COLUMNS: [Column; 10] = [
    ("database", Text),
    ("user", Text),
    ("client_id", Int4),
    ("addr", Text),
    ("port", Int4),
    ("server_id", Int4),
    ("remote_pid", Int4),
    ("reasons", Text),
    ("since", Text),
    ("seconds", Int4),
];

/// Those tied longest first.
pub(super) fn rows(realm: &dyn Realm) -> Rows {
    let now = Now::read();
    let clients: HashMap<_, _> = realm.clients().list().into_iter().map(|entry| (entry.id, entry)).collect();
    let mut pins: Vec<_> = realm.views().into_iter().flat_map(|view| view.pins).collect();
    pins.sort_by_key(|pin| (pin.since, pin.client));
    let mut rows = Vec::new();
    for pin in pins {
        // One that has just left.
        let Some(entry) = clients.get(&pin.client) else { continue };
        let (addr, port) = address(entry.address());
        rows.push(row![
            &*entry.place.database,
            &*entry.place.login,
            pin.client,
            addr,
            port,
            pin.server,
            pin.backend,
            pin.reasons.join(", "),
            now.date(pin.since),
            now.instant.saturating_duration_since(pin.since).as_secs(),
        ]);
    }
    rows
}

/// An address and a port for two columns.
pub(super) fn address(address: ClientAddress) -> (String, u32) {
    match address {
        ClientAddress::Tcp(address) => (address.ip().to_string(), address.port().into()),
        ClientAddress::Unix => ("unix".to_owned(), 0),
    }
}
