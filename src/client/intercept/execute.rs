//! Execute of what changes parameters or statements: what it promises was told when its portal was bound.

use super::statements::LONGEST_NAMES;
use super::{ANY_SET, Feed, Message, Pause, Step};
use crate::params::traces::Traces;
use crate::prepared::by_name::{self, ByName, Verb};
use crate::prepared::client_statements::significant;
use crate::server::conversation::{Portal, Promise};
use crate::server::exchange::{Action, Reply};

/// Most portals remembered.
const PORTALS_KEPT: usize = 1024;

impl<'b> Feed<'_, 'b> {
    /// Takes note of what a portal that is about to be bound will do to the session.
    #[inline]
    pub(super) fn note_portal(&mut self, portal: &[u8], statement: &[u8], traces: Traces) {
        let set = traces.within(ANY_SET.and(Traces::NAMES));
        if !set.is_empty() || !self.server.portals.is_empty() {
            self.replace_portal(portal, statement, traces);
        }
    }

    #[cold]
    fn replace_portal(&mut self, portal: &[u8], statement: &[u8], traces: Traces) {
        if self.server.exchange.is_free() {
            self.server.portals.clear();
        }
        self.server.portals.retain(|other| *other.name != *portal);
        let set = traces.within(ANY_SET.and(Traces::NAMES));
        if set.is_empty() || self.server.portals.len() >= PORTALS_KEPT {
            return;
        }
        let resets = traces.has(Traces::RESETS) && self.server.startup_values().is_some();
        let is_read = resets || traces.has(Traces::NAMES);
        let text = if is_read { self.text_of(statement) } else { Vec::new() };
        self.server.portals.push(Portal { name: portal.into(), set, text, unnamed: statement.is_empty() });
    }

    #[inline]
    pub(super) fn execute(&mut self, message: Message<'b>) -> Step {
        if !self.server.portals.is_empty() {
            return self.execute_noted(message);
        }
        self.server.exchange.expect(Reply::Execute, Action::Forward);
        Step::Forward
    }

    #[cold]
    fn execute_noted(&mut self, message: Message<'b>) -> Step {
        let end = memchr::memchr(0, message.body);
        if end.is_none() && !message.is_whole() && message.body.len() < LONGEST_NAMES {
            return Step::Pause(Pause::More);
        }
        self.server.exchange.expect(Reply::Execute, Action::Forward);
        let name = end.map(|end| &message.body[..end]);
        let Some(at) = self.server.portals.iter().position(|portal| Some(&*portal.name) == name) else {
            return Step::Forward;
        };
        let portal = &mut self.server.portals[at];
        let (set, text, unnamed) = (portal.set, std::mem::take(&mut portal.text), portal.unnamed);
        if set.has(ANY_SET) {
            self.server.exchange.promise(Promise::Set(set));
        }
        if set.has(Traces::RESETS) {
            self.server.hold_back(&text);
        }
        if set.has(Traces::NAMES) {
            self.execute_by_name(&text, unnamed);
        }
        Step::Forward
    }

    /// What is executed drops statements, or may. Those that it surely drops are gone for what follows in the batch.
    fn execute_by_name(&mut self, text: &[u8], unnamed: bool) {
        if by_name::drops_all(text) {
            self.server.exchange.promise(Promise::Drops);
            return self.server.drop_all(self.client);
        }
        let command = if unnamed { self.command(text) } else { None };
        let Some(ByName { verb: Verb::Deallocate, name, .. }) = command else {
            return self.server.exchange.promise(Promise::Drops);
        };
        let name = significant(&name);
        self.server.exchange.promise(Promise::Deallocates(name.into()));
        if let Some(statement) = self.client.names.remove(name) {
            self.server.exchange.promise(Promise::ClientClosed(name.into(), statement));
        }
    }
}
