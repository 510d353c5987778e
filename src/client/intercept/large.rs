//! Parse messages too large to be kept.

use super::statements::LONGEST_NAMES;
use super::{Feed, Message, Pause, Step};
use crate::params::statement::of_long;
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
        let traces = self.begin_long(&message.body[end + 1..]);
        self.server.note(traces);
        Step::Forward
    }

    /// What a text may leave behind that comes in pieces, of which this is the first.
    #[cold]
    pub(super) fn begin_long(&mut self, piece: &[u8]) -> Traces {
        self.server.read_up_to = Some(last(piece).into());
        let traces = of_long(piece);
        if self.rules.looks.customs.learn_piece(piece) { traces } else { traces.and(Traces::UNREAD) }
    }

    /// So many bytes more of it are here.
    #[cold]
    pub(super) fn read_on(&mut self, more: usize) {
        let Some(before) = self.server.read_up_to.take() else { return };
        let piece = [&before[..], &self.input[..more]].concat();
        if !self.rules.looks.customs.learn_piece(&piece) {
            self.server.note(Traces::UNREAD);
        }
        if more < self.server.sending {
            self.server.read_up_to = Some(last(&piece).into());
        }
    }
}

/// What has to be read again with what follows: a word and a name may be cut.
fn last(piece: &[u8]) -> &[u8] {
    &piece[piece.len().saturating_sub(CUT)..]
}

/// How many bytes that are at most.
const CUT: usize = 512;
