//! Answers to questions of pgweir's own, and how long they may be.

use super::Conversation;
use crate::params::traces::Traces;

/// Most bytes of an answer to a question of pgweir's own: parameters of a session, whose values can be long, and names. Every server of
/// a pool may be asked at the same time.
pub(super) const LONGEST_ANSWER: usize = 8 * 1024 * 1024;

/// The same of what is asked about all functions of a database, by one server of a pool at a time, and where a client listens, whose
/// notifications come between.
pub const LONGEST_OF_FUNCTIONS: usize = 64 * 1024 * 1024;

impl Conversation {
    /// Takes the answer to the question that goes out next, of so many bytes at most; beyond them the server is in doubt.
    pub fn begin_long_answer(&mut self, most: usize) {
        self.inspection = Some(Vec::new());
        self.longest_answer = most;
    }

    /// The answer so far. Those to come are of the usual length.
    pub fn take_long_answer(&mut self) -> Vec<u8> {
        self.longest_answer = LONGEST_ANSWER;
        self.inspection.take().unwrap_or_default()
    }

    /// Keeps what is among the answer to pgweir's own question.
    #[inline]
    pub(super) fn tap(&mut self, bytes: &[u8]) {
        if let Some(reply) = &mut self.inspection {
            let length = reply.len() + bytes.len();
            let listens = || self.traces.has(Traces::CHANNELS) || self.held.has(Traces::CHANNELS);
            if length <= self.longest_answer || length <= LONGEST_OF_FUNCTIONS && listens() {
                reply.extend_from_slice(bytes);
            } else {
                self.exchange.set_doubt("the server's answer to a question of pgweir's has no end");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepared::client_statements::ClientStatements;
    use crate::server::exchange::{Action, Reply};
    use crate::wire::encode;
    use crate::wire::frame::HEADER;
    use crate::wire::outgoing::Outgoing;
    use crate::wire::tag::backend as b;
    use std::num::NonZeroUsize;
    use std::sync::Arc;

    #[test]
    fn an_answer_to_our_own_question_has_an_end() {
        let mut talk = Conversation::new(NonZeroUsize::MIN, Arc::default());
        talk.exchange.expect(Reply::Query, Action::Swallow);
        let takes = |talk: &mut Conversation, size: usize| {
            let mut row = Vec::new();
            encode::message(&mut row, b::DATA_ROW, |v| v.resize(v.len() + size, b'x'));
            let (mut client, mut scratch) = (ClientStatements::default(), Vec::new());
            let mut out = Outgoing::new(&row, &mut scratch);
            assert_eq!(talk.receive(&row, &mut client, &mut out), Ok(row.len()));
            talk.is_sound()
        };
        talk.begin_long_answer(LONGEST_OF_FUNCTIONS);
        assert!(takes(&mut talk, LONGEST_ANSWER) && takes(&mut talk, LONGEST_ANSWER));
        assert_eq!(talk.take_long_answer().len(), 2 * (LONGEST_ANSWER + HEADER));
        talk.inspection = Some(Vec::new());
        assert!(takes(&mut talk, LONGEST_ANSWER / 3) && takes(&mut talk, LONGEST_ANSWER / 3));
        talk.held = Traces::CHANNELS;
        assert!(takes(&mut talk, LONGEST_ANSWER / 3), "notifications are among it");
        talk.held = Traces::NONE;
        assert!(!takes(&mut talk, 1), "no other question has so long an answer");
        assert_eq!(talk.inspection.map(|answer| answer.len()), Some(3 * (LONGEST_ANSWER / 3 + HEADER)));
    }
}
