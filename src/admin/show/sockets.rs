//! SHOW SOCKETS and ACTIVE_SOCKETS, and the columns they share with SHOW CLIENTS and SERVERS.

use super::Rows;
use super::time::parts;
use crate::admin::table::Type::{Int4, Text};
use crate::admin::table::{Column, Value, row};
use std::net::SocketAddr;
use std::time::Duration;

pub(super) const SHORT: [Column; 21] = short_columns();
pub(super) const LONG: [Column; 28] = long_columns();

const fn short_columns() -> [Column; 21] {
    [
        ("type", Text),
        ("user", Text),
        ("database", Text),
        ("replication", Text),
        ("state", Text),
        ("addr", Text),
        ("port", Int4),
        ("local_addr", Text),
        ("local_port", Int4),
        ("connect_time", Text),
        ("request_time", Text),
        ("wait", Int4),
        ("wait_us", Int4),
        ("close_needed", Int4),
        ("ptr", Text),
        ("link", Text),
        ("remote_pid", Int4),
        ("tls", Text),
        ("application_name", Text),
        ("prepared_statements", Int4),
        ("id", Int4),
    ]
}

const fn long_columns() -> [Column; 28] {
    let mut all = [("", Int4); 28];
    let short = short_columns();
    let mut at = 0;
    while at < short.len() {
        all[at] = short[at];
        at += 1;
    }
    let buffers = ["recv_pos", "pkt_pos", "pkt_remain", "send_pos", "send_remain", "pkt_avail", "send_avail"];
    while at < all.len() {
        all[at].0 = buffers[at - short.len()];
        at += 1;
    }
    all
}

/// One connection, of a client (C) or to PostgreSQL (S).
#[derive(Debug, Clone, Default)]
pub(super) struct Socket {
    pub(super) kind: &'static str,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) state: &'static str,
    pub(super) peer: Option<SocketAddr>,
    /// In place of `peer` where there is none.
    pub(super) place: String,
    pub(super) local: Option<SocketAddr>,
    pub(super) connected: String,
    pub(super) requested: String,
    pub(super) waited: Duration,
    pub(super) close_needed: bool,
    /// What it is called here, such as `C12`, and what it is linked to.
    pub(super) name: String,
    pub(super) link: String,
    pub(super) remote_pid: u32,
    pub(super) tls: &'static str,
    /// Empty: none.
    pub(super) replication: &'static str,
    pub(super) application_name: String,
    pub(super) prepared_statements: usize,
    pub(super) id: u64,
}

impl Socket {
    fn row(self) -> Vec<Value> {
        let (wait, wait_us) = parts(self.waited);
        let port = |address: Option<SocketAddr>| u32::from(address.map_or(0, |a| a.port()));
        let ip = |address: Option<SocketAddr>, otherwise: String| {
            address.map_or(otherwise, |address| address.ip().to_string())
        };
        row![
            self.kind,
            self.user,
            self.database,
            if self.replication.is_empty() { "none" } else { self.replication },
            self.state,
            ip(self.peer, self.place.clone()),
            port(self.peer),
            ip(self.local, self.place),
            port(self.local),
            self.connected,
            self.requested,
            wait,
            wait_us,
            self.close_needed,
            self.name,
            self.link,
            self.remote_pid,
            self.tls,
            self.application_name,
            self.prepared_statements,
            self.id,
        ]
    }
}

pub(super) fn short(sockets: Vec<Socket>) -> Rows {
    sockets.into_iter().map(Socket::row).collect()
}

/// As PgBouncer, which names states by kind here; positions in buffers are 0, since idle sockets have none.
pub(super) fn all(sockets: Vec<Socket>, only_active: bool) -> Rows {
    let wanted =
        sockets.into_iter().filter(|socket| !only_active || matches!(socket.state, "active" | "waiting"));
    let row = |mut socket: Socket| {
        socket.state = state(socket.kind, socket.state);
        let mut row = socket.row();
        row.extend((SHORT.len()..LONG.len()).map(|_| Value::Number(0)));
        row
    };
    wanted.map(row).collect()
}

fn state(kind: &str, state: &'static str) -> &'static str {
    match (kind, state) {
        ("C", "waiting") => "cl_waiting",
        ("C", _) => "cl_active",
        (_, "new") => "sv_login",
        (_, "used") => "sv_used",
        (_, "idle") => "sv_idle",
        (_, "being_canceled") => "sv_being_canceled",
        _ => "sv_active",
    }
}

/// The state PgBouncer has for a phase.
pub(super) fn phase(phase: crate::roster::Phase) -> &'static str {
    use crate::roster::Phase;
    match phase {
        Phase::Idle => "idle",
        Phase::Waiting => "waiting",
        Phase::Active | Phase::IdleInTransaction => "active",
    }
}
