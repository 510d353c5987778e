//! What has to be asked behind a client's request before the client hears that the server is ready.

use super::session::{Link, Session, Turn};
use crate::config::PoolMode;
use crate::params::restore::{self, Resets};
use crate::server::exchange::{Action, Reply, Status};
use crate::wire::frontend::{self, SYNC};
use std::task::Context;

/// The statement and portal by which it is asked: those without names are the client's.
const NAME: &[u8] = b"pgweir_startup";

/// What [`frontend::execute_once`] is answered by.
const REPLIES: [Reply; 6] =
    [Reply::Close, Reply::Close, Reply::Parse, Reply::Bind, Reply::Execute, Reply::Close];

impl Session {
    /// Parameters that were reset have to have the values the client began with.
    #[cold]
    pub(super) fn ask_behind(&mut self, cx: &mut Context<'_>, resets: &Resets) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let talk = &mut active.lease.talk;
        let mut bytes = Vec::new();
        let in_transaction = talk.exchange.status() == Status::Transaction;
        // In session mode nobody keeps count of what the client sets.
        let now = if self.context.mode == PoolMode::Session { None } else { Some(&*talk.parameters) };
        for statement in restore::restore(talk.parameters.first(), now, resets, in_transaction) {
            frontend::execute_once(&mut bytes, NAME, statement.as_bytes());
            REPLIES.into_iter().for_each(|reply| talk.exchange.expect(reply, Action::Behind));
        }
        bytes.extend_from_slice(SYNC);
        talk.exchange.expect(Reply::Sync, Action::BehindAndReady);
        self.write_server(cx, &bytes)
    }
}
