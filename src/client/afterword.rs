//! What has to be asked behind a client's request before the client hears that the server is ready.

use super::intercept::ALL;
use super::session::{Link, Session, Turn};
use super::transaction::Step;
use crate::config::PoolMode;
use crate::params::inspection;
use crate::params::restore;
use crate::server::conversation::Conversation;
use crate::server::exchange::{Action, Reply, Status};
use crate::wire::frontend::{self, SYNC};
use std::task::Context;

/// The statement and portal by which it is asked: those without names are the client's.
const NAME: &[u8] = b"pgweir_afterword";

/// What [`frontend::execute_once`] is answered by.
const REPLIES: [Reply; 6] =
    [Reply::Close, Reply::Close, Reply::Parse, Reply::Bind, Reply::Execute, Reply::Close];

fn ask(talk: &mut Conversation, bytes: &mut Vec<u8>, sql: &str) {
    frontend::execute_once(bytes, NAME, sql.as_bytes());
    REPLIES.into_iter().for_each(|reply| talk.exchange.expect(reply, Action::Behind));
}

impl Session {
    /// Statements that SQL may have dropped have to be known.
    #[cold]
    pub(super) fn ask_behind(&mut self, cx: &mut Context<'_>) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        if matches!(active.step, Step::Leave | Step::Refuse(_)) {
            return self.leave_if_done();
        }
        let talk = &mut active.lease.talk;
        let mut bytes = Vec::new();
        if talk.declared().is_empty() {
            return self.settle_behind(cx, bytes);
        }
        let sql = inspection::names_query(talk.declared());
        ask(talk, &mut bytes, &sql);
        bytes.extend_from_slice(SYNC);
        talk.exchange.expect(Reply::Sync, Action::Behind);
        talk.inspection = Some(Vec::new());
        active.step = Step::Names;
        self.write_server(cx, &bytes)
    }

    /// They are: the client has lost those that are gone, or are SQL's now, and the server is to have the others under pgweir's
    /// names only.
    #[cold]
    pub(super) fn names_known(&mut self, cx: &mut Context<'_>) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let talk = &mut active.lease.talk;
        let reply = talk.inspection.take().unwrap_or_default();
        let found = inspection::read_names(&reply).ok().flatten();
        let mut bytes = Vec::new();
        for name in talk.take_declared() {
            let name = name.as_bytes();
            let from_sql = found.iter().flatten().find(|(n, _)| *n == name).map(|(_, from_sql)| *from_sql);
            if name == ALL.as_bytes() && found.is_some() && from_sql.is_none() {
                talk.deallocate_all(&mut self.state.statements);
            }
            if found.is_some() && from_sql != Some(false) {
                self.state.statements.names.remove(name);
            }
            if from_sql != Some(true) {
                frontend::close_statement(&mut bytes, name);
                talk.exchange.expect(Reply::Close, Action::Behind);
            }
        }
        let waits = !self.inbound.is_empty();
        active.step = match (&talk.overdue, waits) {
            (Some(_), _) => Step::Overdue(waits),
            (None, true) => Step::Stall,
            (None, false) => Step::Relay,
        };
        self.settle_behind(cx, bytes)
    }

    /// Behind `bytes`, parameters that were reset get the values the client began with; then it hears that the server is ready.
    fn settle_behind(&mut self, cx: &mut Context<'_>, mut bytes: Vec<u8>) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let talk = &mut active.lease.talk;
        let in_transaction = talk.exchange.status() == Status::Transaction;
        let resets = talk.take_resets();
        // In session mode nobody keeps count of what the client sets.
        let now = if self.context.mode == PoolMode::Session { None } else { Some(&*talk.parameters) };
        for statement in restore::restore(talk.parameters.first(), now, &resets, in_transaction) {
            ask(talk, &mut bytes, &statement);
        }
        bytes.extend_from_slice(SYNC);
        talk.exchange.expect(Reply::Sync, Action::BehindAndReady);
        self.write_server(cx, &bytes)
    }
}
