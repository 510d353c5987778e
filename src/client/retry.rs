//! Sending a batch once more whose statement's columns had changed: the client hears only of the second try.

use super::session::{Link, Session, Turn};
use super::transaction::Step;
use crate::server::conversation::retry_prepares;
use crate::server::exchange::{Action, Reply};
use crate::wire::frontend;
use std::task::Context;

impl Session {
    /// The server has refused the client's batch before it did anything of it, and the statement has been found outdated: what the
    /// client sent comes again, in front of what it has sent since.
    #[cold]
    pub(super) fn try_again(
        &mut self,
        cx: &mut Context<'_>,
        mut batch: Vec<u8>,
        scratch: &mut Vec<u8>,
    ) -> Turn {
        self.listen();
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let talk = &mut active.lease.talk;
        // What it prepared is known to PostgreSQL, and will be prepared again.
        retry_prepares(&batch).for_each(|name| drop(self.state.statements.names.remove(name)));
        batch.extend_from_slice(&self.inbound);
        self.inbound = batch.into();
        if !talk.chained.is_empty()
            && let Some(turn) = self.await_chained()
        {
            return turn;
        }
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        active.step = Step::Stall;
        let exchange = &mut active.lease.talk.exchange;
        if exchange.is_drained() && !exchange.needs_sync() {
            return self.feed_waiting(cx, scratch);
        }
        if exchange.swallow_end() {
            return Turn::Again;
        }
        exchange.expect(Reply::Sync, Action::Swallow);
        self.write_server(cx, frontend::SYNC)
    }
}
