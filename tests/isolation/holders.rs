//! Who may hold a server across steps: a transaction, or state that keeps its client on its server. Such steps of a
//! client too many are left out on both sides, so that nobody ever has to wait for a server.

use crate::play::Session;
use crate::script::{CLIENTS, Op};
use crate::texts::LET_GO;

/// Known by what PostgreSQL, asked directly, has said; never too few.
pub(crate) struct Holders {
    limit: usize,
    in_transaction: [bool; CLIENTS],
    kept: [bool; CLIENTS],
    /// Whether a prepared statement of the client may make such state.
    prepared: [bool; CLIENTS],
}

impl Holders {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, in_transaction: [false; CLIENTS], kept: [false; CLIENTS], prepared: [false; CLIENTS] }
    }

    fn hold(&self, client: usize) -> bool {
        self.in_transaction[client] || self.kept[client]
    }

    /// Whether the client may do that now.
    pub(crate) fn admit(&self, client: usize, op: &Op) -> bool {
        if let Op::Reconnect = op {
            // What a lost session's server still has is gone a moment later only.
            return !self.hold(client);
        }
        let others = (0..CLIENTS).filter(|other| *other != client && self.hold(*other)).count();
        self.hold(client) || others < self.limit || !self.may_hold(client, op)
    }

    fn may_hold(&self, client: usize, op: &Op) -> bool {
        let begins = |text: &&str| ["BEGIN", "START", "CHAIN"].iter().any(|word| text.contains(word));
        op.texts().iter().any(begins) || op.uses() || self.may_keep(client, op)
    }

    fn may_keep(&self, client: usize, op: &Op) -> bool {
        keeps(op) || op.uses() && self.prepared[client]
    }

    /// What the client has done, and how its session is now.
    pub(crate) fn note(&mut self, client: usize, op: &Op, replies: &[String], session: &Session) {
        if let Op::Reconnect = op {
            self.prepared[client] = false;
        }
        self.prepared[client] |= !matches!(op, Op::Query(_)) && keeps(op);
        self.kept[client] |= self.may_keep(client, op);
        self.in_transaction[client] = session.status != b'I';
        let failed = replies.iter().any(|reply| reply.starts_with("E "));
        let all_gone = matches!(op, Op::Query(sql) if sql == LET_GO || sql == "DISCARD ALL");
        if all_gone && !failed && !self.in_transaction[client] {
            self.kept[client] = false;
        }
    }
}

/// Whether it may leave something that outlives its transaction and lives in one server only.
fn keeps(op: &Op) -> bool {
    const WORDS: [&str; 7] =
        ["temp ", "temporary", "pg_temp", "with hold", "advisory_lock", "prepare ", "hidden_"];
    op.texts().iter().any(|text| WORDS.iter().any(|word| text.to_lowercase().contains(word)))
}
