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
    pub(crate) fn admit(&self, client: usize, op: &Op, session: &Session) -> bool {
        if let Op::Reconnect = op {
            // What a lost session's server still has is gone a moment later only.
            return !self.hold(client);
        }
        let others = (0..CLIENTS).filter(|other| *other != client && self.hold(*other)).count();
        self.hold(client) || others < self.limit || !self.may_hold(client, op, session)
    }

    fn may_hold(&self, client: usize, op: &Op, session: &Session) -> bool {
        let begins = |text: &&str| ["BEGIN", "START", "CHAIN"].iter().any(|word| text.contains(word));
        op.texts().iter().any(begins) || op.uses() || self.may_keep(client, op, session)
    }

    fn may_keep(&self, client: usize, op: &Op, session: &Session) -> bool {
        keeps(op) || op.uses() && self.prepared[client] || listens(op) && may_be_told_otherwise(op, session)
    }

    /// What the client has done, and how its session is now.
    pub(crate) fn note(&mut self, client: usize, op: &Op, replies: &[String], session: &Session) {
        if let Op::Reconnect = op {
            self.prepared[client] = false;
        }
        self.prepared[client] |= !matches!(op, Op::Query(_)) && (keeps(op) || listens(op));
        self.kept[client] |= self.may_keep(client, op, session);
        self.in_transaction[client] = session.status != b'I';
        let failed = replies.iter().any(|reply| reply.starts_with("E "));
        let all_gone = matches!(op, Op::Query(sql) if sql == LET_GO || sql == "DISCARD ALL");
        if all_gone && !failed && !self.in_transaction[client] {
            self.kept[client] = false;
        }
    }
}

fn listens(op: &Op) -> bool {
    op.texts().iter().any(|text| text.to_lowercase().replace("unlisten", "").contains("listen"))
}

/// Whether the client may want what it is told in another encoding than the listening server's: then it keeps its own.
fn may_be_told_otherwise(op: &Op, session: &Session) -> bool {
    const WORDS: [&str; 4] = ["names", "client_encoding", "reset", "discard"];
    let changes = op.texts().iter().any(|text| WORDS.iter().any(|word| text.to_lowercase().contains(word)));
    changes || session.reported.get("client_encoding").is_some_and(|encoding| encoding != "UTF8")
}

/// Whether it may leave something that outlives its transaction and lives in one server only.
fn keeps(op: &Op) -> bool {
    const WORDS: [&str; 7] =
        ["temp ", "temporary", "pg_temp", "with hold", "advisory_lock", "prepare ", "hidden_"];
    op.texts().iter().any(|text| WORDS.iter().any(|word| text.to_lowercase().contains(word)))
}
