//! SHOW SERVERS: every connection to PostgreSQL, those being opened included.

use super::sockets::Socket;
use super::time::Now;
use crate::admin::realm::{Realm, Replica};
use crate::pool::{ClientId, PoolKey, ServerState, ServerView};
use crate::roster::{ServerTold, Told};
use crate::server::connect::Address;
use crate::server::{About, Server};
use std::collections::HashMap;
use std::sync::Arc;

/// What can be told of a server by looking at it.
fn look(server: &Server) -> ServerTold {
    let name = server.talk.parameters.value("application_name").unwrap_or_default();
    ServerTold {
        id: server.id,
        application_name: name.to_owned(),
        prepared_statements: server.talk.names.len(),
    }
}

/// `told` is what the sessions have said of themselves and of the servers they have.
pub(super) fn sockets(realm: &dyn Realm, told: &HashMap<u64, Told>) -> Vec<Socket> {
    // By the server's number: one may have changed hands since it was told of.
    let told: HashMap<u64, ServerTold> =
        told.values().filter_map(|told| told.server.clone()).map(|server| (server.id, server)).collect();
    let roster = realm.clients();
    let since: HashMap<u64, u64> = roster.list().iter().map(|entry| (entry.id, entry.phase().1)).collect();
    let now = Now::read();
    let mut all = Vec::new();
    for pool in realm.pools().list() {
        for view in pool.servers(look) {
            let mut socket = server(pool.key(), &view, &told, now);
            if let ServerState::Leased(ClientId(client)) = view.state {
                let begun = since.get(&client).map(|since| now.date_in(roster, *since));
                socket.requested = begun.unwrap_or(socket.requested);
            }
            all.push(socket);
        }
    }
    let replicas = realm.desk().replicas.lock();
    all.extend(replicas.iter().map(|(client, replica)| of_replica(*client, replica, now)));
    all
}

/// It is its client's for good, and no pool's.
fn of_replica(client: u64, replica: &Replica, now: Now) -> Socket {
    let Replica { key, about, opened, application_name } = replica;
    Socket {
        kind: "S",
        user: key.user.to_string(),
        database: key.database.to_string(),
        state: "active",
        peer: about.peer,
        place: place(&about.address),
        local: about.local,
        connected: now.date(*opened),
        requested: now.date(*opened),
        name: format!("S{}", about.id),
        link: format!("C{client}"),
        tls: about.tls,
        remote_pid: about.pid,
        application_name: application_name.clone(),
        id: about.id,
        ..Socket::default()
    }
}

fn place(address: &Address) -> String {
    match address {
        Address::Unix(path) => path.display().to_string(),
        _ => String::new(),
    }
}

fn server(
    key: &PoolKey,
    view: &ServerView<Arc<About>, ServerTold>,
    told: &HashMap<u64, ServerTold>,
    now: Now,
) -> Socket {
    let about = view.about.as_deref();
    let id = about.map_or(0, |about| about.id);
    let known = view.look.clone().or_else(|| told.get(&id).cloned()).unwrap_or_default();
    let link = match view.state {
        ServerState::Leased(client) if client != ClientId::POOLER => format!("C{}", client.0),
        _ => String::new(),
    };
    let place = about.map(|about| place(&about.address)).unwrap_or_default();
    Socket {
        kind: "S",
        user: key.user.to_string(),
        database: key.database.to_string(),
        state: state(view),
        peer: about.and_then(|about| about.peer),
        place,
        local: about.and_then(|about| about.local),
        connected: now.date(view.opened),
        requested: now.date(view.idle_since.unwrap_or(view.opened)),
        close_needed: view.obsolete,
        name: format!("S{id}"),
        link,
        tls: about.map_or("", |about| about.tls),
        remote_pid: about.map_or(0, |about| about.pid),
        application_name: known.application_name,
        prepared_statements: known.prepared_statements,
        id,
        ..Socket::default()
    }
}

fn state<A, L>(view: &ServerView<A, L>) -> &'static str {
    match view.state {
        ServerState::Opening => "new",
        ServerState::Idle => "idle",
        ServerState::Dirty => "used",
        ServerState::Leased(_) => "active",
        ServerState::Parked => "being_canceled",
    }
}
