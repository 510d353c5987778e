//! What texts are parsed by, and how far the messages under way are.

use super::{Afterword, Conversation, Cut, Prepared};
use crate::params::set::Set;
use crate::params::traces::Traces;
use crate::server::exchange::{Fate, Status};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU64;
use std::sync::Arc;

/// What the values are that PostgreSQL parses by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseContext {
    /// The client's.
    Known,
    /// The client's, but for what SETs have changed for the transaction: a number for their texts.
    Local(NonZeroU64),
    /// A request, or the transaction, may have changed them.
    Moved,
}

impl Conversation {
    /// The reset was sent: everything but the unnamed statement will be gone.
    pub fn reset(&mut self, defaults: Arc<Set>) {
        (self.dirty, self.traces, self.held) = (false, Traces::NONE, Traces::NONE);
        (self.prepared, self.foreign_sequences) = (Prepared::default(), false);
        self.context = ParseContext::Known;
        self.after = Afterword::default();
        (self.cut, self.overdue) = (Cut::None, None);
        self.names.clear();
        self.parameters = defaults;
    }

    #[cold]
    pub(super) fn note_beside(&mut self, traces: Traces) {
        if traces.has(Traces::CONTEXT) {
            self.context = ParseContext::Moved;
        }
        self.traces = self.traces.and(traces.within(Traces::RESHAPED));
        if traces.has(Traces::NAMELESS) {
            self.traces = self.traces.without(Traces::ALL_RESET);
        }
        if traces.has(Traces::SEQUENCES.and(Traces::ADVANCES)) {
            self.note_sequences(traces);
        }
    }

    /// Whether what is sent now is parsed with the parameters the client is known to have: no request is under way that may
    /// change them, and no transaction that may have.
    #[inline]
    pub fn knows_context(&mut self) -> bool {
        if self.context != ParseContext::Known && self.exchange.is_free() {
            self.forget_context();
        }
        self.context == ParseContext::Known
    }

    /// Where the context isn't known: whether it is but for SETs that end with the transaction under way, by their number.
    pub fn local_context(&self) -> Option<NonZeroU64> {
        let within = self.exchange.is_status_known() && self.exchange.status() == Status::Transaction;
        match self.context {
            ParseContext::Local(sets) if within => Some(sets),
            _ => None,
        }
    }

    /// A SET is sent that ends with its transaction and changes what names are resolved by. Several add up.
    #[cold]
    pub fn note_local_set(&mut self, text: &[u8]) {
        let before = match self.context {
            ParseContext::Known => 0,
            ParseContext::Local(sets) => sets.get(),
            ParseContext::Moved => return,
        };
        let mut hasher = DefaultHasher::new();
        (before, text).hash(&mut hasher);
        self.context = NonZeroU64::new(hasher.finish()).map_or(ParseContext::Moved, ParseContext::Local);
    }

    /// The transaction was rolled back, or a part of it: then what SETs it had is taken back, too.
    pub(super) fn take_back_local_sets(&mut self) {
        self.traces = self.traces.without(Traces::ALL_RESET);
        if matches!(self.context, ParseContext::Local(_)) {
            self.context = ParseContext::Moved;
        }
    }

    /// No request is under way: what the client has counts, unless the server was left with what nobody has asked for.
    #[inline]
    pub fn forget_context(&mut self) {
        if !self.traces.has(Traces::SETTINGS) {
            self.context = ParseContext::Known;
        }
    }

    /// Whether nothing is owed, and the next message of the client begins a batch.
    #[inline]
    pub fn is_between_batches(&self) -> bool {
        self.sending == 0 && self.exchange.is_drained() && !self.exchange.needs_sync()
    }

    /// Whether the client has got the beginning of a message whose rest is still to come.
    pub fn is_forwarding_part(&self) -> bool {
        self.receiving > 0 && self.receiving_fate == Fate::Forward
    }

    /// Bytes of the message that is being passed on that are still to come.
    pub fn still_to_come(&self) -> usize {
        self.receiving
    }

    /// Whether the server is between two messages in both directions.
    pub fn is_whole(&self) -> bool {
        self.sending == 0 && self.receiving == 0
    }
}
