//! What the memory of clients, servers and all that is kept for them comes to, for SHOW MEMORY. Computed from numbers that are
//! there anyway; ARCHITECTURE.md says where an idle client's bytes are.

use super::context::{PoolContext, Shared};
use crate::admin::Holding;
use crate::net::buffers::READ_SIZE;
use crate::pool::Pool;
use crate::roster::{Entry, Told};
use crate::server::Server;
use std::collections::HashMap;

/// A client's task, as the allocator rounds it up.
const TASK: usize = 256;
/// What the reactor keeps of a socket.
const REGISTRATION: usize = 256;
/// An entry's place in the roster, and the counts in front of it.
const PLACE: usize = 15 + 16;
/// What TLS keeps of a connection, its keys mostly.
const TLS: usize = 3_700;
/// A name in a set of statements, and a server's place in the books of its pool.
const NAME: usize = 64;
const SEAT: usize = 400;

impl Shared {
    /// Of each kind of object how many there are and what they take.
    pub(super) fn memory(&self, told: &HashMap<u64, Told>) -> Vec<Holding> {
        let count = self.roster.connected() + self.consoles.connected();
        let encrypted = told.values().filter(|client| !client.tls.is_empty()).count();
        let client = TASK + REGISTRATION + size_of::<Entry>() + PLACE;
        let of = |name, objects: usize, bytes: usize, description| Holding {
            name,
            objects: objects as u64,
            bytes: bytes as u64,
            description,
        };
        let contexts: Vec<_> = self.contexts.lock().values().cloned().collect();
        let (servers, of_servers) = servers(&contexts);
        let (statements, of_statements) = self.registry.memory();
        let (metrics, of_metrics) = self.metrics.memory();
        let workers = self.runtime.metrics().num_workers();
        let pool = size_of::<Pool<Server>>() + size_of::<PoolContext>();
        vec![
            of("clients", count, count * client, "sessions: task, socket, entry in the roster"),
            of("clients' TLS", encrypted, encrypted * TLS, "keys and the beginnings of records"),
            of(
                "servers",
                servers,
                of_servers,
                "connections to PostgreSQL, TLS and statement names with them",
            ),
            of(
                "statements",
                statements,
                of_statements,
                "texts of prepared statements, each once for all clients",
            ),
            of("pools", contexts.len(), contexts.len() * pool, "books, settings, what is known beside them"),
            of("metrics", metrics, of_metrics, "counters and histograms of pools, a block for each worker"),
            of("buffers", workers, workers * READ_SIZE, "what workers read into, once each is in use"),
        ]
    }
}

/// How many there are, and what they take.
fn servers(contexts: &[std::sync::Arc<PoolContext>]) -> (usize, usize) {
    let own = size_of::<Server>() + REGISTRATION + SEAT;
    let more = |server: &Server| {
        let tls = if server.stream.tls().is_some() { TLS } else { 0 };
        tls + server.inbound.capacity() + server.outbound.len() + server.talk.names.len() * NAME
    };
    let views = contexts.iter().flat_map(|context| context.pool.servers(more));
    views.fold((0, 0), |(count, bytes), view| (count + 1, bytes + own + view.look.unwrap_or(0)))
}
