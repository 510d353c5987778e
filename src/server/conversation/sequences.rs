//! The last values of sequences that a session remembers, for currval and lastval: who may ask for them.

use super::Conversation;
use crate::params::traces::Traces;

/// What the client has done with sequences since it got the server.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Sequences {
    /// Nobody looks: no client of the pool has ever asked for a last value.
    #[default]
    Unwatched,
    /// Nothing.
    Untouched,
    /// It may have taken a value, and may ask for it.
    Advanced,
    /// It has asked, and may ask for another.
    Asked,
}

impl Conversation {
    /// Whether the client may want to find this session again, as it is.
    #[inline]
    pub fn may_be_asked(&self) -> bool {
        matches!(self.sequences, Sequences::Advanced | Sequences::Asked)
    }

    /// The client goes on where its values are.
    #[cold]
    pub fn had_its_sequences(&mut self) {
        if !self.held.has(Traces::SEQUENCES) {
            self.forget_sequences();
        }
    }

    /// There is no last value any more, or none that matters.
    #[cold]
    pub(super) fn forget_sequences(&mut self) {
        if self.watches_sequences() {
            self.sequences = Sequences::Untouched;
        }
    }

    /// DISCARD has taken all last values: one that the client keeps the server for is looked after as any other state.
    #[cold]
    pub(super) fn sequences_are_gone(&mut self) {
        self.forget_sequences();
        if self.held.has(Traces::SEQUENCES) {
            self.note(Traces::LOCKS);
        }
    }

    /// Whether command tags are looked at for what takes values.
    #[inline]
    pub(super) fn watches_sequences(&self) -> bool {
        self.sequences != Sequences::Unwatched
    }

    /// The client is told of an error. What has failed may have taken a value, and that stays taken.
    #[cold]
    pub(super) fn hear_error(&mut self, code: [u8; 5]) {
        self.heard.errors.push(code);
        self.note_sequences(Traces::ADVANCES);
    }

    /// A text tells that it takes a value, or asks for one.
    #[cold]
    pub(super) fn note_sequences(&mut self, traces: Traces) {
        if self.watches_sequences() {
            let asks = traces.has(Traces::SEQUENCES) || self.sequences == Sequences::Asked;
            self.sequences = if asks { Sequences::Asked } else { Sequences::Advanced };
        }
    }
}
