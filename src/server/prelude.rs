//! What a server is sent before its next client's first bytes: a reset when it is dirty, the client's parameters when
//! they differ.

use super::conversation::Conversation;
use super::exchange::{Action, Reply};
use crate::params::difference;
use crate::params::set::Set;
use crate::params::tracked;
use crate::wire::frontend;
use std::sync::Arc;

/// How the prelude and the client's bytes go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prelude {
    /// Nothing was needed, or nothing that could fail.
    None,
    /// The client's bytes may follow in the same write: should it fail, only how values look is at stake.
    Glued,
    /// The client's bytes may follow in the same write, up to the first that bring a ReadyForQuery: should it fail, PostgreSQL skips
    /// them.
    Chained,
    /// The client's bytes have to wait until it has succeeded: should it fail, they must not run in this session.
    Awaited,
}

/// What a session needs for its next client.
#[derive(Debug)]
pub struct Needs<'a> {
    /// The reset query if it has to be reset first.
    pub reset: Option<&'a str>,
    /// The parameters the client wants.
    pub wanted: &'a Arc<Set>,
    /// Those of a session that has been reset.
    pub defaults: &'a Arc<Set>,
    /// Whether it has to forget another client's values of sequences.
    pub forgets_sequences: bool,
    /// Whether the client's bytes may be sent behind what has to succeed.
    pub may_chain: bool,
}

impl Conversation {
    /// Appends what it takes to give this session to its next client.
    ///
    /// What has to succeed is one chain, if it may be: messages of the extended protocol without a Sync, of which DISCARD ALL commits by
    /// itself and the rest is one transaction. After an error anywhere in it, whatever raised it, PostgreSQL skips everything up to a Sync.
    /// Behind the COMMIT nothing can undo it, and an empty Query brings the replies at once, with what parameters have become.
    pub fn prelude(&mut self, out: &mut Vec<u8>, needs: &Needs<'_>) -> Prelude {
        let chains = needs.may_chain && needs.reset.is_none_or(is_discard_all);
        if let Some(query) = needs.reset {
            if chains {
                self.chain(out, query);
            } else {
                self.ask_prelude(out, query);
            }
            self.reset(Arc::clone(needs.defaults));
        }
        let (forgets, wanted) = (needs.forgets_sequences && self.foreign_sequences, needs.wanted);
        let listens = difference::listens(&self.parameters, wanted);
        let settings = difference::replay(&self.parameters, wanted);
        let harmless =
            listens.is_empty() && difference::names(&self.parameters, wanted).all(tracked::is_harmless);
        self.parameters = Arc::clone(wanted);
        let replay =
            listens.into_iter().chain((!settings.is_empty()).then_some(settings)).collect::<Vec<_>>();
        let matters = needs.reset.is_some() || !harmless || forgets;
        if matters && chains {
            // One statement alone is a transaction by itself.
            let block = needs.reset.is_some() || !replay.is_empty();
            let statements = block
                .then_some("BEGIN")
                .into_iter()
                .chain(replay.iter().map(String::as_str))
                .chain(forgets.then_some(DISCARD_SEQUENCES))
                .chain(block.then_some("COMMIT"));
            statements.for_each(|statement| self.chain(out, statement));
            frontend::query(out, b"");
            self.exchange.expect(Reply::Query, Action::PreludeEnd);
        } else {
            if !replay.is_empty() {
                self.ask_prelude(out, &replay.join("; "));
            }
            if forgets {
                self.ask_prelude(out, DISCARD_SEQUENCES);
            }
        }
        self.foreign_sequences &= !forgets;
        match (matters, chains) {
            (true, true) => Prelude::Chained,
            (true, false) => Prelude::Awaited,
            (false, _) if replay.is_empty() => Prelude::None,
            (false, _) => Prelude::Glued,
        }
    }

    /// Appends a query that only has to be answered.
    pub fn check(&mut self, out: &mut Vec<u8>, query: &str) {
        self.ask_prelude(out, query);
        self.checked = Some(self.exchange.newest());
    }

    fn chain(&mut self, out: &mut Vec<u8>, sql: &str) {
        frontend::execute_unnamed(out, sql.as_bytes());
        for reply in [Reply::Parse, Reply::Bind, Reply::Execute] {
            self.exchange.expect(reply, Action::Prelude);
        }
        self.unnamed = None;
    }

    fn ask_prelude(&mut self, out: &mut Vec<u8>, sql: &str) {
        frontend::query(out, sql.as_bytes());
        self.expect_prelude(Reply::Query);
        self.unnamed = None;
    }
}

/// Makes the session forget which values of sequences it had.
pub const DISCARD_SEQUENCES: &str = "DISCARD SEQUENCES";

/// Whether the reset is known to be one statement.
fn is_discard_all(query: &str) -> bool {
    query.trim_end_matches(';').trim().eq_ignore_ascii_case("DISCARD ALL")
}
