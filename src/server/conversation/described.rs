//! What servers make of the statements they are given.

use super::{Conversation, Promise};
use crate::params::traces::Traces;
use crate::prepared::shape::Shape;
use crate::wire::frame::{HEADER, Header};
use crate::wire::tag::backend as b;
use std::sync::Arc;

/// An answer on its way.
#[derive(Debug, Default)]
pub struct Described {
    /// The request for whose answer waits what the client sends next; 0: none.
    pub awaited: u64,
    /// The body of the ParameterDescription of the statement whose columns come next, unless it is too long.
    parameters: Option<Box<[u8]>>,
}

impl Conversation {
    /// What the server has made of a statement it was given: others must have made the same, or some client would take for a
    /// number what is none.
    #[cold]
    pub(super) fn note_description(&mut self, header: Header, body: &[u8]) {
        let of = |p: &Promise| {
            if let Promise::Described(statement) = p { Some(Arc::clone(statement)) } else { None }
        };
        let Some(statement) = self.exchange.front_promises().find_map(of) else { return };
        if header.tag == b::PARAMETER_DESCRIPTION {
            self.described.parameters = (header.size == HEADER + body.len()).then(|| body.into());
            return;
        }
        let columns = (header.tag == b::ROW_DESCRIPTION).then_some((body, header.size - HEADER));
        let Some(parameters) = self.described.parameters.take() else { return };
        let shape = Shape::new(parameters, columns);
        if !statement.learn(shape) && !statement.is_inherited() {
            self.note(Traces::RESHAPED);
        }
    }

    /// Whether the client's next message has to wait for what the server makes of a statement.
    #[inline]
    pub(super) fn awaits_description(&mut self) -> bool {
        let awaited = self.described.awaited;
        if awaited > 0 && self.exchange.has_answered(awaited) {
            self.described.awaited = 0;
        }
        self.described.awaited > 0
    }
}
