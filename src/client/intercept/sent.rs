//! The names statements are sent under, and what is to be known should PostgreSQL refuse them.

use super::Feed;
use crate::prepared::client_statements::is_cut;
use crate::prepared::registry::{NOBODYS, Statement};
use crate::server::conversation::Promise;
use std::sync::Arc;

/// The name a statement is sent under.
pub(super) enum SentName {
    Server(Arc<Statement>),
    Nobodys,
    /// Nobody's either: the client would not be told that what it executes gives something else now.
    Outdated,
}

impl SentName {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Server(statement) => statement.server_name(),
            Self::Nobodys | Self::Outdated => NOBODYS,
        }
    }
}

impl Feed<'_, '_> {
    /// What has to be known of a Bind, or Describe, should it fail.
    #[inline(always)]
    pub(super) fn note_sent(&mut self, called: &[u8], sent: &SentName) {
        if let SentName::Server(statement) = sent {
            self.server.note_bind(statement.id());
            return self.note_name(called, false);
        }
        match sent {
            SentName::Outdated => self.server.exchange.promise(Promise::Outdated),
            _ => self.note_name(called, true),
        }
    }

    /// Keeps what the client calls a statement for the error its request may bring, unless the statement tells.
    #[inline]
    pub(super) fn note_name(&mut self, name: &[u8], nobodys: bool) {
        if nobodys || is_cut(name) || self.client.names.is_aliased() {
            self.server.exchange.promise(Promise::Called(name.into()));
        }
    }
}
