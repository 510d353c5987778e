//! Errors about prepared statements: what they tell of one, and how the client is told.

use super::{Conversation, ParseContext, Promise, REFUSED};
use crate::params::traces::Traces;
use crate::prepared::client_statements::ClientStatements;
use crate::prepared::registry::{NOBODYS, PREFIX, StatementId};
use crate::prepared::rewrite;
use crate::wire::backend;
use memchr::memmem;

/// A statement that is used.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    statement: StatementId,
    /// Whether what texts are parsed by was known.
    settled: bool,
}

/// Most statements remembered as bound while replies are owed.
const BOUND_KEPT: usize = 1024;

/// The name of the routine that finds a result type changed: unlike the message it isn't translated, and drivers go by it.
const REVALIDATES: &[u8] = b"RevalidateCachedQuery";

/// What PostgreSQL says of a statement whose result type has changed since it was made, as far as clients look at it.
const STALE: &[u8] =
    b"SERROR\0VERROR\0C0A000\0Mcached plan must not change result type\0Fplancache.c\0RRevalidateCachedQuery\0\0";

/// Whether an error with this code may name a statement, or be pgweir's own.
pub(super) fn may_be_worded(code: &[u8; 5]) -> bool {
    matches!(code, b"26000" | b"42P05" | b"08P01" | b"42601" | b"0A000")
}

/// The body of an error that pgweir has raised itself without what tells where it was raised.
fn refusal(body: &[u8]) -> Option<Vec<u8>> {
    if backend::field(body, b'n') != Some(REFUSED.as_bytes()) {
        return None;
    }
    let told = backend::fields(body).filter(|(kind, _)| !b"nWFLR".contains(kind));
    let mut fields: Vec<u8> = told.flat_map(|(kind, text)| [&[kind], text, b"\0"].concat()).collect();
    fields.push(0);
    Some(fields)
}

impl Conversation {
    /// The newest request binds a statement, or describes it.
    #[inline]
    pub fn note_bind(&mut self, statement: StatementId) {
        if self.bound.len() < BOUND_KEPT {
            let bound = Bound { statement, settled: self.context == ParseContext::Known };
            self.bound.push((self.exchange.newest(), bound));
        }
    }

    /// The request with this number failed. Had its statement's result type changed though nothing has that it was parsed by,
    /// servers that have it can only fail, and whatever changed it, past pgweir as it seems, may have changed others'.
    pub(super) fn hear_of_stale(&mut self, code: &[u8; 5], body: &[u8], failed: u64) {
        if code != b"0A000" || backend::field(body, b'R') != Some(REVALIDATES) || self.has_temporary() {
            return;
        }
        let context = self.parameters.parse_context();
        let bound = self.bound.iter().filter(|(number, bound)| *number == failed && bound.settled);
        let bound = bound.filter_map(|(_, bound)| self.names.peek(bound.statement));
        let changed =
            bound.filter(|statement| statement.is_of(context)).map(|statement| statement.set_stale());
        if changed.count() > 0 {
            self.retry.found_stale();
            self.note(Traces::RESHAPED);
        }
    }

    /// The body of an error about a statement's name, if the client has to be told something else than the server says.
    pub(super) fn in_the_clients_words(
        &mut self,
        code: &[u8; 5],
        body: &[u8],
        called: Option<Promise>,
        client: &ClientStatements,
    ) -> Option<Vec<u8>> {
        if code == b"0A000" {
            let refusal = refusal(body)?;
            self.heard.errors.pop();
            self.heard.refused += 1;
            return Some(refusal);
        }
        let called = match called {
            Some(Promise::Outdated) if code == b"26000" => return Some(STALE.to_vec()),
            Some(Promise::Called(name)) => Some(name),
            _ => self.called_until_closed(body),
        };
        let ours = memmem::find(body, PREFIX.as_bytes()).is_some() && memmem::find(body, NOBODYS).is_none();
        if code == b"26000" && ours && !self.names.is_empty() {
            self.names.clear();
            self.exchange.set_doubt("the server had lost a prepared statement");
        }
        rewrite::restore_names(body, called.as_deref(), &client.names, &self.gone)
    }
}
