//! The life of one lease: made fit by its prelude, query by query, and given back. What moves the bytes is the relay.

use super::check;
use super::cleanup;
use super::fit;
use super::inspect::tell_others;
use super::relay::count_traffic;
use super::report::Trouble;
use super::session::{End, Link, Session, Turn};
use crate::clock::Instant;
use crate::config::PoolMode;
use crate::params::traces::Traces;
use crate::pool::{CloseReason, Lease};
use crate::roster::Phase;
use crate::server::conversation::{Prepared, Tally};
use crate::server::exchange::Status;
use crate::server::prelude::{Needs, Prelude};
use crate::server::{NOBODY, Server};
use crate::wire::error::WireError;
use crate::wire::frontend;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;

/// Servers in a row that could not be made fit before the client is told.
pub(super) const UNFIT_LIMIT: u8 = 3;

/// A lease and how far it is.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) lease: Lease<Server>,
    pub(super) step: Step,
}

/// What the client's bytes wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Relay,
    /// The prelude has to succeed first.
    Prelude,
    /// Replies have to come first that the next message depends on.
    Stall,
    /// The client has said goodbye: the server finishes what it was asked.
    Leave,
    /// The client has broken the protocol: it is told when what it asked before is answered.
    Refuse(WireError),
    /// Between two queries of a transaction, or two transactions on a server the client is tied to: the next begins with
    /// the client's next bytes.
    Between,
    /// The server is being asked what session state the transaction has left.
    Inspect,
    /// The server is being asked which of the client's statements it still has under the client's own names.
    Names,
    /// The marker is on its way behind which the listening server listens for the client.
    Cut,
    /// What runs takes too long and is being cancelled; whether the client's next message stalls.
    Overdue(bool),
    /// It has been answered, but the cancel could still reach what the client would run next.
    Settling(bool),
}

impl Active {
    /// Whether nothing of a transaction is under way, though the server is held (session mode).
    pub(super) fn is_between_transactions(&self) -> bool {
        self.lease.talk.is_free()
    }

    /// Whether the client would take what it is told now for the rest of a message.
    pub(super) fn is_within_message(&self) -> bool {
        self.lease.talk.is_forwarding_part()
    }

    /// Whether no reply is to come by itself.
    pub(super) fn owes_nothing(&self) -> bool {
        let exchange = &self.lease.talk.exchange;
        exchange.is_drained() || exchange.needs_sync()
    }

    /// The lease, and whether the server got only whole messages.
    pub(super) fn into_lease(mut self) -> (Lease<Server>, bool) {
        self.lease.end_bulk();
        let whole = self.lease.talk.sending == 0;
        (self.lease, whole)
    }
}

impl Session {
    /// Starts on a server: makes it fit if needed, and sends it what the client has sent so far.
    #[inline(always)]
    pub(super) fn begin(
        &mut self,
        cx: &mut Context<'_>,
        (mut lease, now): (Lease<Server>, Instant),
        input: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Turn {
        if lease.temporary_by != NOBODY && fit::is_spoilt(&lease, self.id(), input) {
            return self.begin_elsewhere(lease, input);
        }
        let (context, slot) = (&self.context, lease.slot());
        let server = &mut *lease;
        let unused_for = now.nanos_since(server.began);
        let is_stale = unused_for >= context.check_after.load(Ordering::Relaxed)
            && (server.owner != NOBODY || unused_for >= check::FRESH);
        (server.began, server.query_began) = (now, now);
        let owner = std::mem::replace(&mut server.owner, self.member.entry().id);
        let stranger = owner != self.member.entry().id;
        // A server the client had before others has older values than the last.
        let own = self.hint == Some(slot) && !stranger;
        let mut must_reset = context.reset_always || (stranger && server.talk.dirty);
        if self.state.wanted.is_peculiar() {
            must_reset |= fit::is_someone_else(context, &self.state.wanted, server) && !own;
        }
        if stranger {
            server.talk.prepared = Prepared::default();
        }
        server.talk.foreign_sequences = !own && context.mode != PoolMode::Session;
        server.talk.sequences = context.sequences_at_begin();
        server.talk.forget_context();
        let (mut prelude, mut front) = (Prelude::None, Vec::new());
        if is_stale {
            // Any number of servers may have died since they served.
            self.unfit = 0;
            check::ask(context, server, self.member.entry(), &mut front);
        }
        let differ = !Arc::ptr_eq(&server.talk.parameters, &self.state.wanted);
        let forgets_sequences = server.talk.foreign_sequences && context.customs.asks_sequences();
        if must_reset || differ || forgets_sequences {
            must_reset |= self.unfit > 0 && fit::starts_anew(&mut self.unfit, &self.state.wanted, owner);
            let reset = context.reset_query.as_deref().filter(|_| must_reset);
            let (wanted, defaults) = (&self.state.wanted, &context.defaults);
            let may_chain = context.may_chain() && !is_stale;
            let needs = Needs { reset, wanted, defaults, forgets_sequences, may_chain };
            prelude = server.talk.prelude(&mut front, &needs);
            if reset.is_some() {
                self.cells().reset();
            }
            if differ && prelude != Prelude::None {
                self.cells().replay();
            }
        }
        prelude = if is_stale { Prelude::Awaited } else { prelude };
        server.key.aim.at_client();
        if context.mode != PoolMode::Session {
            server.talk.pids.1 = self.member.entry().pid();
        }
        self.hint = Some(slot);
        self.set_phase(Phase::Active, now);
        let step = if prelude == Prelude::Awaited { Step::Prelude } else { Step::Relay };
        self.link = Link::Active(Active { lease, step });
        if matches!(prelude, Prelude::Awaited | Prelude::Chained) {
            return self.begin_behind(cx, (prelude, &front), input, scratch);
        }
        let (used, turn) = self.feed(cx, input, &front, scratch);
        if used < input.len() {
            self.inbound = input[used..].into();
        }
        turn
    }

    /// Starts on a server whose prelude has to succeed.
    #[cold]
    fn begin_behind(
        &mut self,
        cx: &mut Context<'_>,
        (prelude, front): (Prelude, &[u8]),
        input: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        active.lease.key.aim.at_prelude();
        if prelude == Prelude::Awaited {
            self.inbound = input.into();
            return self.write_server(cx, front);
        }
        active.lease.talk.chained = input.to_vec();
        let first = frontend::first_batch(input);
        let (used, turn) = self.feed(cx, &input[..first], front, scratch);
        if used < input.len()
            && let Link::Active(active) = &mut self.link
        {
            self.inbound = input[used..].into();
            if first < input.len() && active.step == Step::Relay {
                active.step = Step::Stall;
            }
        }
        turn
    }

    /// How a chained prelude stands; `None`: its replies are in, the client's bytes behind it have had the session they were meant for.
    #[cold]
    pub(super) fn await_chained(&mut self) -> Option<Turn> {
        let Link::Active(active) = &mut self.link else { return None };
        if active.lease.talk.heard.prelude_error.is_some() {
            return Some(self.chain_broke());
        }
        if active.lease.talk.exchange.is_prelude_next() {
            return Some(Turn::Again);
        }
        active.lease.talk.chained = Vec::new();
        active.lease.key.aim.at_client();
        self.unfit = 0;
        None
    }

    /// What replies make possible: the client's waiting bytes, the end of the lease.
    #[inline(always)]
    pub(super) fn after_replies(&mut self, cx: &mut Context<'_>, scratch: &mut Vec<u8>, whole: bool) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        if !active.lease.talk.chained.is_empty()
            && let Some(turn) = self.await_chained()
        {
            return turn;
        }
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let talk = &active.lease.talk;
        if !talk.exchange.is_drained() {
            return match active.step {
                Step::Stall => self.feed_waiting(cx, scratch),
                Step::Leave | Step::Refuse(_) => self.leave_if_done(),
                Step::Overdue(_) | Step::Settling(_) if talk.has_answered_cancel() => {
                    self.overdue_answered(cx, scratch, whole)
                }
                _ => Turn::Again,
            };
        }
        active.lease.end_bulk();
        let talk = &active.lease.talk;
        match active.step {
            // A part of the next message is in hand: its rest comes, and then there is nothing to lose.
            Step::Prelude | Step::Inspect | Step::Names | Step::Cut | Step::Stall if !whole => {
                return Turn::Again;
            }
            Step::Prelude => return self.prelude_done(cx, scratch),
            Step::Inspect => return self.inspected(cx, scratch),
            Step::Names => return self.names_known(cx),
            Step::Cut => return self.cut_done(cx, scratch),
            Step::Overdue(_) | Step::Settling(_) => return self.overdue_answered(cx, scratch, whole),
            Step::Stall => return self.feed_waiting(cx, scratch),
            Step::Leave => return Turn::end(End::Closed),
            Step::Refuse(error) => return error.into(),
            Step::Relay | Step::Between => {}
        }
        if talk.heard.fatal {
            return Turn::end(End::ServerFatal);
        }
        match talk.exchange.needs_sync() {
            true => self.batch_pauses(),
            false => self.query_done(),
        }
        let Link::Active(active) = &self.link else { return Turn::Again };
        if whole && active.lease.talk.is_free() {
            return self.finish(cx);
        }
        if self.context.mode == PoolMode::Statement && active.lease.talk.exchange.status() != Status::Idle {
            return Turn::end(End::Told(Trouble::TransactionInStatementMode));
        }
        Turn::Again
    }

    /// The prelude is answered: go on, or try another server.
    fn prelude_done(&mut self, cx: &mut Context<'_>, scratch: &mut Vec<u8>) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let Some(error) = active.lease.talk.heard.prelude_error.take() else {
            self.unfit = 0;
            active.lease.check = None;
            active.step = Step::Relay;
            active.lease.key.aim.at_client();
            return self.feed_waiting(cx, scratch);
        };
        // Each that fails its check is closed, and a fresh one isn't asked: sooner or later one will do.
        if std::mem::take(&mut active.lease.talk.heard.check_failed) {
            self.close_for_another(CloseReason::CheckFailed);
            return Turn::Again;
        }
        self.unfit += 1;
        self.close_for_another(CloseReason::ResetFailed);
        if self.unfit >= UNFIT_LIMIT {
            return Turn::end(End::Told(fit::replay_refused(&error)));
        }
        Turn::Again
    }

    /// A query has been answered whole.
    #[inline]
    fn query_done(&mut self) {
        let Link::Active(active) = &mut self.link else { return };
        if active.step == Step::Between {
            return;
        }
        let status = active.lease.talk.exchange.status();
        let stays = self.context.mode == PoolMode::Session || !active.lease.talk.held.is_empty();
        if status != Status::Idle || stays {
            let now = Instant::now();
            let took = now.nanos_since(active.lease.query_began);
            if status == Status::Idle {
                let whole = now.nanos_since(active.lease.began);
                self.context.cells().transaction(whole);
            }
            active.step = if active.step == Step::Relay { Step::Between } else { active.step };
            let cells = self.context.cells();
            cells.query(took);
            count_traffic(cells, &mut active.lease);
            self.set_phase(if status == Status::Idle { Phase::Idle } else { Phase::IdleInTransaction }, now);
        }
    }

    /// The transaction is over: the server goes back, unless the client is tied to it or it has to be asked for that.
    #[inline(always)]
    pub(super) fn finish(&mut self, cx: &mut Context<'_>) -> Turn {
        let Link::Active(active) = &self.link else { return Turn::Again };
        let talk = &active.lease.talk;
        if self.context.mode == PoolMode::Session {
            if talk.traces.has(Traces::OTHERS)
                && let Link::Active(active) = &mut self.link
            {
                tell_others(&self.context, &mut active.lease.talk);
            }
            return Turn::Again;
        }
        if !talk.traces.within(Traces::LOOKED_BEHIND).is_empty()
            && let Some(turn) = self.look_behind(cx)
        {
            return turn;
        }
        let Link::Active(active) = &self.link else { return Turn::Again };
        let talk = &active.lease.talk;
        if !talk.held.is_empty() && talk.is_sound() {
            return self.stay(cx);
        }
        if talk.may_be_asked() && self.may_hold() {
            return self.hold();
        }
        self.unfit = 0;
        let now = self.count_transaction();
        self.give_back(now)
    }

    /// Counts the transaction that has just ended, and says when that was.
    #[inline(always)]
    pub(super) fn count_transaction(&mut self) -> Instant {
        let now = Instant::now();
        let Link::Active(active) = &mut self.link else { return now };
        let cells = self.context.cells();
        count_traffic(cells, &mut active.lease);
        let tally = std::mem::take(&mut active.lease.talk.tally);
        if tally != Tally::default() {
            cells.statements(tally.client_parses, tally.server_parses, tally.hits, tally.binds);
        }
        if active.lease.began == active.lease.query_began {
            cells.transaction_of_one_query(now.nanos_since(active.lease.began));
        } else {
            cells.transaction(now.nanos_since(active.lease.began));
            cells.query(now.nanos_since(active.lease.query_began));
        }
        self.set_phase(Phase::Idle, now);
        now
    }

    /// Gives the server back, or closes it if it is of no more use; with what the client keeps it for it ends the client.
    #[inline(always)]
    pub(super) fn give_back(&mut self, now: Instant) -> Turn {
        let Link::Active(mut active) = std::mem::replace(&mut self.link, Link::Idle) else {
            return Turn::Again;
        };
        if self.context.may_refuse {
            self.context.pins.dismiss(self.member.entry().id);
        }
        active.lease.talk.overdue = None;
        active.lease.talk.reported_since = None;
        active.lease.end_bulk();
        let unfit = active.lease.talk.heard.prelude_error.is_some();
        if unfit || active.lease.talk.exchange.doubt().is_some() {
            if !active.lease.talk.held.without(Traces::SEQUENCES).is_empty() {
                // Whoever believes that it still has a lock is better told.
                self.link = Link::Active(active);
                return Turn::end(End::Told(Trouble::StateLost));
            }
            if !unfit && active.lease.talk.exchange.take_late_ready() {
                return self.linger(active, now);
            }
            active.lease.close(if unfit { CloseReason::ResetFailed } else { CloseReason::Doubt });
        } else if self.context.routines.is_due() {
            active.lease.key.aim.at_nobody();
            tokio::spawn(cleanup::learn(active.lease, Arc::clone(&self.context)));
        } else {
            active.lease.key.aim.at_nobody();
            active.lease.release_to(&self.context.pool, now);
        }
        Turn::Again
    }

    /// The server is gone. While the client's bytes are still here, another will do.
    #[cold]
    pub(super) fn server_lost(&mut self) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        if !active.lease.talk.chained.is_empty() && active.lease.talk.heard.prelude_error.is_some() {
            return self.chain_broke();
        }
        if active.lease.talk.heard.fatal && active.lease.talk.heard.prelude_error.is_none() {
            return Turn::end(End::ServerFatal);
        }
        if active.step != Step::Prelude {
            return Turn::end(End::Told(Trouble::ServerLost));
        }
        self.close_for_another(CloseReason::Lost);
        self.unfit += 1;
        if self.unfit >= UNFIT_LIMIT {
            return Turn::end(End::Told(Trouble::ServerLost));
        }
        Turn::Again
    }

    /// The prelude failed and PostgreSQL skips what is behind it: nothing of the client's was run, another server will do.
    fn chain_broke(&mut self) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let talk = &mut active.lease.talk;
        talk.abandon(&mut self.state.statements);
        self.inbound = std::mem::take(&mut talk.chained).into();
        let error = talk.heard.prelude_error.take().unwrap_or_default();
        self.close_for_another(CloseReason::ResetFailed);
        self.unfit += 1;
        if self.unfit >= UNFIT_LIMIT {
            return Turn::end(End::Told(fit::replay_refused(&error)));
        }
        Turn::Again
    }

    /// Takes note of what the server told by the way.
    #[cold]
    pub(super) fn listen(&mut self) {
        let Link::Active(active) = &mut self.link else { return };
        let heard = &mut active.lease.talk.heard;
        let cells = self.context.cells();
        for code in heard.errors.drain(..) {
            cells.server_error([code[0], code[1]]);
        }
        (0..std::mem::take(&mut heard.refused)).for_each(|_| cells.client_error(*b"0A"));
        (0..std::mem::take(&mut heard.evicted)).for_each(|_| cells.statement_evicted());
        for (channel, payload) in std::mem::take(&mut heard.own) {
            self.context.hub.told(self.member.entry().id, active.lease.key.pid, &channel, &payload);
        }
        self.hear_parameters();
    }
}
