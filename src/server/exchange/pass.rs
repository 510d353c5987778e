//! The trodden path through the replies: whole messages that answer what the client asked and are passed on as they are.

use super::{Action, Exchange, Owed, Reply};
use crate::wire::frame::HEADER;
use crate::wire::tag::backend as b;

impl<P> Exchange<P> {
    /// Goes over the messages at the front of `input` that [`Self::on_message`] and [`Self::on_ready`] would have forwarded,
    /// with the same outcome; returns where they end. Stops at whatever else there is: a message that isn't whole or
    /// isn't the client's, errors, notices, parameters, COPY, a command tag that `is_clean` doesn't know.
    #[inline]
    pub fn pass(&mut self, input: &[u8], is_clean: impl Fn(&[u8]) -> bool) -> usize {
        if self.doubt.is_some() {
            return 0;
        }
        let (mut rest, mut front) = (input, self.owed.front());
        while let Some(Owed { reply, action: Action::Forward }) = front
            && let Some((&[tag, a, b, c, d], behind)) = rest.split_first_chunk::<HEADER>()
            && let Some(length) = u32::from_be_bytes([a, b, c, d]).checked_sub(4)
            && let Some((body, next)) = behind.split_at_checked(length as usize)
        {
            match (tag, reply) {
                (b::DATA_ROW, _) | (b::ROW_DESCRIPTION, Reply::Query) => {}
                (b::COMMAND_COMPLETE, Reply::Query) if is_clean(body) => {}
                (b::COMMAND_COMPLETE, Reply::Execute) if is_clean(body) => front = self.complete_and_look(),
                (b::BIND_COMPLETE, Reply::Bind)
                | (b::PARSE_COMPLETE, Reply::Parse)
                | (b::ROW_DESCRIPTION | b::NO_DATA, Reply::Describe) => front = self.complete_and_look(),
                (b::READY, Reply::Query | Reply::Sync) if matches!(body, b"I" | b"T" | b"E") => {
                    self.on_ready(body[0]);
                    front = self.owed.front();
                }
                _ => break,
            }
            rest = next;
        }
        input.len() - rest.len()
    }

    #[inline]
    fn complete_and_look(&mut self) -> Option<Owed> {
        self.complete();
        self.owed.front()
    }
}
