//! SHOW CLIENTS: everybody who has logged in, the console's users included.

use super::sockets::{Socket, phase};
use super::time::Now;
use crate::admin::realm::Realm;
use crate::pool::{ClientId, ServerState};
use crate::roster::{ClientAddress, Entry, Phase, Roster, Told};
use std::collections::HashMap;

/// What each client has, by its number: a server's.
fn links(realm: &dyn Realm) -> HashMap<u64, (u64, u32)> {
    let mut links = HashMap::new();
    for pool in realm.pools().snapshot() {
        for server in pool.servers(|_| ()) {
            if let (ServerState::Leased(ClientId(client)), Some(about)) = (server.state, server.about) {
                links.insert(client, (about.id, about.pid));
            }
        }
    }
    links
}

/// `told` is what the sessions have said of themselves.
pub(super) fn sockets(realm: &dyn Realm, told: &HashMap<u64, Told>) -> Vec<Socket> {
    let (links, now) = (links(realm), Now::read());
    let (clients, consoles) = (realm.clients(), realm.consoles());
    let mut all = Vec::new();
    for entry in clients.list() {
        let told = told.get(&entry.id).cloned().unwrap_or_default();
        let link = links.get(&entry.id).map(|(server, _)| format!("S{server}"));
        all.push(Socket { link: link.unwrap_or_default(), ..client(clients, &entry, told, now) });
    }
    let guests = realm.desk().guests.lock().clone();
    for entry in consoles.list() {
        let told = guests.get(&entry.id).cloned().unwrap_or_default();
        all.push(Socket { state: "active", ..client(consoles, &entry, told, now) });
    }
    all.sort_by_key(|socket| socket.id);
    all
}

fn client(roster: &Roster, entry: &Entry, told: Told, now: Now) -> Socket {
    let (doing, since) = entry.phase();
    let (peer, place) = match entry.address() {
        ClientAddress::Tcp(address) => (Some(address), ""),
        ClientAddress::Unix => (None, "unix"),
    };
    let waited = if doing == Phase::Waiting { now.since_in(roster, since) } else { Default::default() };
    Socket {
        kind: "C",
        user: entry.place.login.to_string(),
        database: entry.place.database.to_string(),
        state: phase(doing),
        peer,
        place: place.to_owned(),
        local: told.local,
        tls: told.tls,
        replication: told.replication,
        connected: now.date_in(roster, roster.came(entry.id)),
        requested: now.date_in(roster, since),
        waited,
        name: format!("C{}", entry.id),
        application_name: told.application_name,
        prepared_statements: told.prepared_statements,
        id: entry.id,
        ..Socket::default()
    }
}
