//! What the clients do: pgbench's SELECT in the three ways of the protocol, in a transaction, and with a login before it.
//! Every step says what must come back, byte by byte.

use super::support::messages::{
    Message, backend, bind, describe_portal, execute, message, parse, query, sync,
};

/// What counts as one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// A simple query.
    Simple,
    /// Bind, Describe, Execute, Sync on a named statement every client has parsed at its beginning.
    Prepared,
    /// Parse, Bind, Describe, Execute, Sync on the unnamed statement.
    Extended,
    /// BEGIN, two SELECTs, COMMIT: four simple queries, each waiting for its reply.
    Tx,
    /// Connect, log in with SCRAM, one simple query, leave.
    Login,
}

/// The parameterised SELECT, as pgbench sends it.
pub(crate) const SELECT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = $1;";

/// The name of the prepared statement, the same for all clients, as pgbench has it.
const STATEMENT: &str = "P_0";

/// Something to send, and all that must be answered.
pub(crate) struct Step {
    pub(crate) request: Vec<u8>,
    pub(crate) reply: Vec<Message>,
}

impl Workload {
    pub(crate) const ALL: [Self; 5] = [Self::Simple, Self::Prepared, Self::Extended, Self::Tx, Self::Login];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Prepared => "prepared",
            Self::Extended => "extended",
            Self::Tx => "tx",
            Self::Login => "login",
        }
    }

    /// What a client sends once, before its first transaction.
    pub(crate) fn preparation(self) -> Option<Step> {
        (self == Self::Prepared).then(|| Step {
            request: [parse(STATEMENT, SELECT), sync()].concat(),
            reply: vec![empty(b'1'), ready(b'I')],
        })
    }

    /// The round trips of one transaction, which reads these accounts.
    pub(crate) fn steps(self, aid: u32) -> Vec<Step> {
        match self {
            Self::Simple | Self::Login => vec![select(aid, b'I')],
            Self::Prepared => vec![extended(&[], &[], STATEMENT, aid)],
            Self::Extended => vec![extended(&parse("", SELECT), &[empty(b'1')], "", aid)],
            Self::Tx => vec![
                command("BEGIN", b'T'),
                select(aid, b'T'),
                select(aid + 1, b'T'),
                command("COMMIT", b'I'),
            ],
        }
    }
}

/// The SELECT with its parameter written into it.
pub(crate) fn literal(aid: &str) -> String {
    SELECT.replace("$1", aid)
}

/// What the table has for this account; any two neighbours differ.
pub(crate) fn balance(aid: u32) -> String {
    (aid.wrapping_mul(7919) % 100_003).to_string()
}

/// The row of one account and the end of its command.
pub(crate) fn found(aid: u32) -> [Vec<u8>; 2] {
    [backend::data_row(&[&balance(aid)]), backend::command_complete("SELECT 1")]
}

fn select(aid: u32, status: u8) -> Step {
    let [row, end] = found(aid);
    Step {
        request: query(&literal(&aid.to_string())),
        reply: [backend::row_description(1), row, end, backend::ready(status)].map(whole).into(),
    }
}

fn command(word: &str, status: u8) -> Step {
    Step {
        request: query(word),
        reply: [backend::command_complete(word), backend::ready(status)].map(whole).into(),
    }
}

fn extended(ahead: &[u8], answered: &[Message], statement: &str, aid: u32) -> Step {
    let bound = bind("", statement, &[Some(&aid.to_string())]);
    let [row, end] = found(aid);
    let mut reply = answered.to_vec();
    reply.push(empty(b'2'));
    reply.extend([backend::row_description(1), row, end].map(whole));
    reply.push(ready(b'I'));
    Step { request: [ahead, &bound, &describe_portal(""), &execute("", 0), &sync()].concat(), reply }
}

fn empty(tag: u8) -> Message {
    whole(message(tag, &[]))
}

fn ready(status: u8) -> Message {
    whole(backend::ready(status))
}

/// A message apart from its length.
fn whole(bytes: Vec<u8>) -> Message {
    Message { tag: bytes[0], body: bytes[5..].to_vec() }
}
