//! Making a server ready for a statement its client names: it is parsed there first if need be, and never gives anything else than
//! the client was told.

use super::sent::SentName;
use super::{Feed, Pause};
use crate::params::traces::Traces;
use crate::prepared::client_statements::{KEPT, significant};
use crate::prepared::registry::{PREFIX, Statement};
use crate::server::conversation::Promise;
use crate::server::exchange::{Action, Reply, Status};
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend;
use crate::wire::tag::frontend as f;
use memchr::memmem;
use std::sync::Arc;

/// Where the body of a Bind lies in the input, as far as it is here.
pub(super) type Body = (usize, usize);

/// Why a statement can't be used on the server.
pub(super) enum Lacks {
    /// It isn't known yet whether it can.
    Later,
    /// It would not give what the client was told.
    Outdated,
}

impl Feed<'_, '_> {
    /// Makes the server ready for a statement the client names; the name to send, `None` for the client's own.
    /// Also what executing it leaves behind. A Bind of it is `bound`, else it is a Describe.
    #[inline]
    pub(super) fn use_statement(
        &mut self,
        name: &[u8],
        bound: Option<Body>,
    ) -> Result<(Option<SentName>, Traces), Pause> {
        if name.is_empty() {
            return self.use_unnamed().map(|traces| (None, traces));
        }
        let name = significant(name);
        match self.client.names.find(name).map(Arc::clone) {
            Some(mut statement) => {
                if self.server.exchange.is_drained() {
                    self.server.bound.clear();
                    self.server.gone.clear();
                    self.server.knows_context();
                }
                if statement.is_outdated() {
                    if self.depends_on_rest(bound) {
                        return Err(Pause::More);
                    }
                    let Some(todays) = self.todays(name, statement, bound) else {
                        return Ok((Some(SentName::Outdated), Traces::NONE));
                    };
                    statement = todays;
                }
                if self.is_unsettled_name(name) {
                    return Err(Pause::Stall);
                }
                let traces = self.rules.looks.of_statement(&statement);
                self.own_sequences(traces)?;
                let statement = match self.provide(name, statement, bound) {
                    Ok(statement) => statement,
                    Err(Lacks::Later) => return Err(Pause::Stall),
                    Err(Lacks::Outdated) => return Ok((Some(SentName::Outdated), Traces::NONE)),
                };
                if self.is_described(bound) {
                    self.server.retry.tells();
                }
                self.server.note(traces);
                self.evict();
                Ok((Some(SentName::Server(statement)), traces))
            }
            None if self.is_unsettled_name(name) => Err(Pause::Stall),
            None if memmem::find(name, PREFIX.as_bytes()).is_some() => {
                Ok((Some(SentName::Nobodys), Traces::NONE))
            }
            None => Ok((None, Traces::NONE)),
        }
    }

    /// What is to be used of an outdated statement, by the Bind `bound` or by a Describe; `None`: nothing, since nobody
    /// may get other columns than it believes in.
    #[cold]
    fn todays(
        &mut self,
        name: &[u8],
        statement: Arc<Statement>,
        bound: Option<Body>,
    ) -> Option<Arc<Statement>> {
        let registry = self.rules.registry;
        let instead = if self.is_told(bound) {
            registry.suited(&registry.renew(&statement), self.context().as_deref(), true)
        } else if statement.is_stale() {
            // In the context it has come back to it may be what it was.
            registry.suited(&statement, self.context().as_deref(), false)
        } else {
            return Some(statement);
        };
        if Arc::ptr_eq(&instead, &statement) {
            return (self.server.exchange.status() == Status::Failed).then_some(statement);
        }
        // What was sent before may fail under its old name.
        self.server.note_gone(name, statement);
        self.client.names.share(name, Arc::clone(&instead), &self.rules.registry.names);
        Some(instead)
    }

    /// Whether it isn't known yet what follows a Bind. Of one that is too long to be waited for it never is.
    #[cold]
    fn depends_on_rest(&self, bound: Option<Body>) -> bool {
        let Some((begin, end)) = bound.filter(|(_, end)| *end == self.input.len()) else { return false };
        let header =
            begin.checked_sub(HEADER).and_then(|at| frame::header(&self.input[at..end]).ok().flatten());
        header.is_some_and(|header| header.size < KEPT)
    }

    /// Whether a Describe follows, unless this is one.
    #[inline]
    fn is_described(&self, bound: Option<Body>) -> bool {
        bound.is_none_or(|(_, end)| self.input.get(end) == Some(&f::DESCRIBE))
    }

    /// Whether the client is about to be told what the statement gives, and takes whatever that is. Who names a format for each column
    /// (pgx) goes by those it was told before, though it asks again.
    fn is_told(&self, bound: Option<Body>) -> bool {
        let takes_any = |(begin, end): Body| {
            self.input.get(begin..end).and_then(frontend::result_formats).is_some_and(|formats| formats <= 1)
        };
        self.is_described(bound) && bound.is_none_or(takes_any)
    }

    /// Parses the client's statement of this name on the server unless it has it, for the Bind `bound` or a Describe.
    #[inline]
    pub(super) fn provide(
        &mut self,
        name: &[u8],
        statement: Arc<Statement>,
        bound: Option<Body>,
    ) -> Result<Arc<Statement>, Lacks> {
        if self.is_unsettled_statement(&statement) {
            return Err(Lacks::Later);
        }
        if self.server.names.touch(statement.id()) {
            return Ok(statement);
        }
        self.provide_anew(name, statement, bound)
    }

    /// Where the parse context isn't the one it was made for, another takes its place: others that share it must get what they meant.
    /// Who goes by what it was told before has to wait until the server has said the same.
    #[cold]
    fn provide_anew(
        &mut self,
        name: &[u8],
        mut statement: Arc<Statement>,
        bound: Option<Body>,
    ) -> Result<Arc<Statement>, Lacks> {
        let (told, failed) = (self.is_told(bound), self.server.exchange.status() == Status::Failed);
        let suited = self.rules.registry.suited(&statement, self.context().as_deref(), told);
        let mut has = false;
        if !Arc::ptr_eq(&suited, &statement) {
            self.server.note_gone(name, statement);
            statement = suited;
            self.client.names.share(name, Arc::clone(&statement), &self.rules.registry.names);
            if self.is_unsettled_statement(&statement) {
                return Err(Lacks::Later);
            }
            has = self.server.names.touch(statement.id());
        }
        if statement.is_stale() && !told && !failed {
            return Err(Lacks::Outdated);
        }
        if has {
            return Ok(statement);
        }
        let waits = !told && statement.is_known() && statement.is_analyzed();
        let fixed = if bound.is_some() { statement.fixed() } else { statement.definition().into() };
        self.inject_parse(statement.server_name(), &fixed, Reply::Parse, Action::Swallow);
        self.now_has(&statement);
        self.ask_what_it_made_of(&statement);
        if waits {
            self.out.inject(frontend::flush);
            self.server.described.awaited = self.server.exchange.newest();
            return Err(Lacks::Later);
        }
        Ok(statement)
    }

    /// Behind a Parse.
    pub(super) fn ask_what_it_made_of(&mut self, statement: &Arc<Statement>) {
        if !statement.is_analyzed() {
            return;
        }
        self.out.inject(|v| frontend::describe_statement(v, statement.server_name()));
        self.server.exchange.expect(Reply::Describe, Action::Swallow);
        self.server.exchange.promise(Promise::Described(Arc::clone(statement)));
    }
}
