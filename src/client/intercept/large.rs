//! Parse messages too large to be kept.

use super::statements::LONGEST_NAMES;
use super::{Feed, Message, Pause, Step};
use crate::params::traces::Traces;
use crate::prepared::client_statements::significant;
use crate::server::exchange::{Action, Reply};
use crate::wire::frame::HEADER;
use crate::wire::frontend;
use std::sync::Arc;

impl<'b> Feed<'_, 'b> {
    /// A statement too large to be kept: it is streamed to this server and good for as long as the client has it.
    pub(super) fn parse_large(&mut self, message: Message<'b>) -> Step {
        let Some(end) = memchr::memchr(0, message.body) else {
            if message.body.len() < LONGEST_NAMES {
                return Step::Pause(Pause::More);
            }
            self.server.exchange.expect(Reply::Parse, Action::Forward);
            return Step::Forward;
        };
        if let Some(instead) = self.refused(&message.body[end + 1..]) {
            return self.parse_instead(&message.body[..end], instead);
        }
        let name = significant(&message.body[..end]);
        if name.is_empty() {
            self.parse_unnamed(&[], Traces::ALL);
        } else if self.is_unsettled_name(name) {
            return Step::Pause(Pause::Stall);
        } else if let Some(taken) = self.client.names.find(name).map(Arc::clone) {
            let Ok(taken) = self.provide(name, taken, None) else {
                return Step::Pause(Pause::Stall);
            };
            let rest = message.header.size - HEADER - (end + 1);
            self.out.inject(|v| frontend::parse_name(v, taken.server_name(), rest));
            self.server.exchange.expect(Reply::DuplicateParse, Action::Forward);
            self.note_name(&message.body[..end], false);
            return Step::Front(end + 1);
        } else {
            self.server.exchange.expect(Reply::Parse, Action::Forward);
        }
        self.server.note(Traces::HIDDEN);
        Step::Forward
    }
}
