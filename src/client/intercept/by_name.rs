//! DEALLOCATE and EXECUTE of statements that the client has by the protocol: for PostgreSQL both are one name space, and
//! servers know such a statement under another name, or not at all.

use super::{ANY_SET, Feed, Names, Pause, Step};
use crate::params::custom_names::Where;
use crate::params::traces::Traces;
use crate::prepared::by_name::{self, ByName, Verb};
use crate::prepared::client_statements::significant;
use crate::prepared::registry::Statement;
use crate::server::conversation::Promise;
use crate::server::exchange::{Action, Reply, Status};
use crate::wire::frontend::{self, Parse, SYNC};
use std::sync::Arc;

impl Feed<'_, '_> {
    /// A Query that is nothing but one of these commands; `None` when PostgreSQL is to have it as it is.
    #[cold]
    pub(super) fn query_by_name(&mut self, text: &[u8]) -> Option<Step> {
        let command = self.command(text)?;
        if self.is_unsettled_name(significant(&command.name)) {
            return Some(Step::Pause(Pause::Stall));
        }
        let mut statement = self.client.names.find(significant(&command.name)).map(Arc::clone)?;
        if command.verb == Verb::Execute && !self.server.names.touch(statement.id()) {
            let exchange = &self.server.exchange;
            // Of what was asked since the last Sync nothing is answered before this Query is.
            let in_batch = exchange.needs_sync();
            let is_ready = if in_batch { exchange.is_status_known() } else { exchange.is_drained() };
            if !is_ready {
                return Some(Step::Pause(Pause::Stall));
            }
            if exchange.status() == Status::Failed {
                return None;
            }
            statement = self.provide(significant(&command.name), statement, None).ok()?;
            if !in_batch {
                self.out.inject(|v| v.extend_from_slice(SYNC));
                self.server.exchange.expect(Reply::Sync, Action::Swallow);
            }
        }
        let instead = self.in_place(text, &command, &statement);
        self.query_drops_unnamed();
        if command.verb == Verb::Deallocate {
            self.server.exchange.promise(Promise::Deallocates(significant(&command.name).into()));
        }
        self.out.inject(|v| frontend::query(v, &instead));
        Some(Step::Replaced)
    }

    /// What PostgreSQL is to have of a text, or of a definition, in place of names that others have by pgweir.
    #[cold]
    pub(super) fn disowned(&self, text: &[u8]) -> Option<Vec<u8>> {
        if self.rules.names != Names::Kept {
            return None;
        }
        by_name::disown(text, |name| self.client.names.find(significant(name)).is_some())
    }

    /// A Parse of the unnamed statement with such a text.
    #[cold]
    pub(super) fn parse_by_name(&mut self, parse: Parse<'_>, traces: Traces) -> Step {
        if let Some(definition) = self.disowned(parse.definition) {
            let query = definition.split(|b| *b == 0).next().unwrap_or_default();
            if let Err(pause) = self.declare_in_batch(query) {
                return Step::Pause(pause);
            }
            self.parse_unnamed(&definition, traces);
            self.out.inject(|v| Parse::encode(v, b"", &definition));
            return Step::Replaced;
        }
        let traces = traces.and(self.of_executed(parse.query));
        let renamed = match self.renamed(parse.definition) {
            Ok(renamed) => renamed,
            Err(pause) => return Step::Pause(pause),
        };
        if renamed.is_none()
            && let Err(pause) = self.declare_in_batch(parse.query)
        {
            return Step::Pause(pause);
        }
        self.parse_unnamed(parse.definition, traces);
        let Some(definition) = renamed else { return Step::Forward };
        self.out.inject(|v| Parse::encode(v, b"", &definition));
        Step::Replaced
    }

    /// What a server is sent for the unnamed statement `definition`, if not that. Its names have to be known.
    pub(super) fn renamed(&mut self, definition: &[u8]) -> Result<Option<Vec<u8>>, Pause> {
        let end = memchr::memchr(0, definition).unwrap_or(definition.len());
        let (text, types) = definition.split_at(end);
        let Some(command) = self.command(text) else { return Ok(None) };
        let name = significant(&command.name);
        if self.is_unsettled_name(name) {
            return Err(Pause::Stall);
        }
        let Some(mut statement) = self.client.names.find(name).map(Arc::clone) else { return Ok(None) };
        if command.verb == Verb::Execute {
            statement = self.provide(name, statement, None).map_err(|_| Pause::Stall)?;
        }
        Ok(Some([&*self.in_place(text, &command, &statement), types].concat()))
    }

    /// A Parse where PostgreSQL keeps the client's names: only what it may reset is of interest.
    pub(super) fn parse_passed(&mut self, body: &[u8]) {
        self.server.note(Traces::ALL);
        self.server.exchange.expect(Reply::Parse, Action::Forward);
        if self.server.startup_values().is_none() {
            return;
        }
        let text = body.split(|b| *b == 0).nth(1).unwrap_or_default();
        if self.rules.looks.of_words(text).has(Traces::RESETS) {
            self.server.hold_back(text);
        }
    }

    /// The text of a statement of the client's.
    #[cold]
    pub(super) fn text_of(&self, name: &[u8]) -> Vec<u8> {
        let definition = match self.client.names.find(significant(name)) {
            Some(statement) => Some(statement.definition()),
            None => self.client.unnamed().map(|(definition, ..)| definition),
        };
        definition.and_then(|d| d.split(|b| *b == 0).next()).unwrap_or_default().to_vec()
    }

    /// What a statement means that is about to be bound, unless it was renamed.
    #[cold]
    pub(super) fn declare_for_bind(&mut self, name: &[u8]) -> Result<(), Pause> {
        let text = self.text_of(name);
        let renamed = name.is_empty()
            && self.command(&text).is_some_and(|c| self.client.names.find(significant(&c.name)).is_some());
        if renamed { Ok(()) } else { self.declare_in_batch(&text) }
    }

    pub(super) fn command(&self, text: &[u8]) -> Option<ByName> {
        let may = self.rules.names == Names::Kept && !self.client.names.is_empty();
        if may { by_name::read(text) } else { None }
    }

    /// What running one of the client's statements by a SQL text leaves behind: the text may tell it the names of parameters.
    pub(super) fn executes(&self, statement: &Statement, text: &[u8]) -> Traces {
        let traces = self.rules.looks.of_statement(statement);
        let is_told = traces.has(Traces::SETTINGS) && traces.has(Traces::HIDDEN);
        let is_read = !is_told || self.rules.looks.customs.learn(text, Where::Quoted);
        if is_read { traces } else { traces.and(Traces::UNREAD) }
    }

    /// The same of a text that will be bound, if it executes one. What its portal promises isn't among it.
    fn of_executed(&self, text: &[u8]) -> Traces {
        let command = self.command(text).filter(|command| command.verb == Verb::Execute);
        let statement = command.and_then(|c| self.client.names.find(significant(&c.name)));
        let traces = statement.map_or(Traces::NONE, |statement| self.executes(statement, text));
        traces.without(ANY_SET.and(Traces::NAMES))
    }

    /// What the server gets for the command.
    fn in_place(&mut self, text: &[u8], command: &ByName, statement: &Statement) -> Vec<u8> {
        if command.verb == Verb::Deallocate {
            return by_name::IN_PLACE.to_vec();
        }
        let traces = self.executes(statement, text);
        self.server.note(traces);
        let text = text.strip_suffix(&[0]).unwrap_or(text);
        [&text[..command.place.start], statement.server_name(), &text[command.place.end..]].concat()
    }
}

/// Whether PostgreSQL takes this text in a failed transaction.
pub(super) fn ends_transaction(query: &[u8]) -> bool {
    let word = query.trim_ascii_start().split(|b| !b.is_ascii_alphabetic()).next().unwrap_or_default();
    ["commit", "rollback", "abort", "end", "prepare"].iter().any(|w| word.eq_ignore_ascii_case(w.as_bytes()))
}
