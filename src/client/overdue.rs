//! Queries and transactions that take too long, by query_timeout and transaction_timeout: cancelled on their server first,
//! ended together with it only if it doesn't answer.

use super::report::{HINT_OF_PINS, Trouble};
use super::session::{End, Link, Session, Turn};
use super::transaction::{Active, Step};
use crate::cancel;
use crate::clock::Instant;
use crate::config::PoolMode;
use crate::pool::{CancelOutcome, ClientId};
use crate::roster::{Entry, Kick, Phase, Roster};
use crate::server::Server;
use crate::server::conversation::Overdue;
use crate::server::exchange::{Action, Reply, Status};
use crate::wire::backend::{Report, Severity};
use crate::wire::encode::message;
use crate::wire::sqlstate;
use crate::wire::tag::frontend::{COPY_FAIL, FLUSH};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// How long a server may take to answer a cancel, and a client to roll back what was cancelled.
const GRACE: Duration = Duration::from_secs(5);

impl Active {
    /// What follows in a batch that has paused has its own time.
    #[cold]
    pub(super) fn batch_goes_on(&mut self, entry: &Entry, roster: &Roster) {
        let now = Instant::now();
        self.lease.query_began = now;
        entry.set_phase(Phase::Active, roster.at(now));
    }
}

impl Session {
    /// The janitor has seen that the query, or the transaction, may have taken too long.
    #[cold]
    pub(super) fn overdue(&mut self, cx: &mut Context<'_>, kick: Kick) -> Option<End> {
        let entry = self.member.entry();
        entry.forgive();
        let limit = entry.place.limits.of(kick);
        let Link::Active(active) = &mut self.link else { return None };
        let (now, lease) = (Instant::now(), &mut active.lease);
        let began = if kick == Kick::Query { lease.query_began } else { lease.began };
        let lasted = now.nanos_since(began);
        if lasted < limit {
            return None;
        }
        if lease.talk.exchange.is_drained() {
            return self.is_idle_too_long(kick, now).then_some(End::Told(Trouble::Kicked(kick)));
        }
        let unanswered = match &lease.talk.overdue {
            // What was cancelled isn't what runs any more.
            Some(overdue) if lease.talk.has_answered_cancel() => {
                if overdue.settled.load(Ordering::Acquire) {
                    lease.talk.overdue = None;
                    self.next_runs(now);
                }
                false
            }
            Some(overdue) => now.saturating_duration_since(overdue.since) >= GRACE,
            None if matches!(active.step, Step::Relay | Step::Stall | Step::Leave | Step::Refuse(_)) => {
                self.cancel_overdue(cx, kick, now);
                false
            }
            // A statement of pgweir's own.
            None => lasted >= limit.saturating_add(GRACE.as_nanos() as u64),
        };
        unanswered.then_some(End::Told(Trouble::Kicked(kick)))
    }

    /// Whether a transaction in which nothing runs has to end; who was told to roll back has some time for it.
    fn is_idle_too_long(&self, kick: Kick, now: Instant) -> bool {
        let Link::Active(active) = &self.link else { return false };
        let exchange = &active.lease.talk.exchange;
        let (_, since) = self.member.entry().phase();
        let idle = self.context.shared.roster.at(now).saturating_sub(since);
        kick == Kick::Transaction
            && match exchange.status() {
                Status::Idle => exchange.needs_sync(),
                Status::Failed => idle >= GRACE.as_nanos() as u64,
                _ => !matches!(active.step, Step::Settling(_)),
            }
    }

    /// Cancels what runs, and reads nothing of the client until that is answered.
    fn cancel_overdue(&mut self, cx: &mut Context<'_>, kick: Kick, now: Instant) {
        let entry = Arc::clone(self.member.entry());
        let Link::Active(active) = &mut self.link else { return };
        let talk = &mut active.lease.talk;
        let words = match kick {
            Kick::Query => "canceling statement due to query_timeout",
            _ => "canceling statement due to transaction_timeout",
        };
        let (client, place) = (entry.id, &entry.place);
        tracing::warn!(client, database = &*place.database, user = &*place.user, "{words}");
        let settled = Arc::new(AtomicBool::new(false));
        let last = talk.exchange.end_of_request();
        talk.overdue = Some(Box::new(Overdue { words, since: now, last, settled: Arc::clone(&settled) }));
        active.step = match active.step {
            Step::Relay => Step::Overdue(false),
            Step::Stall => Step::Overdue(true),
            ending => ending,
        };
        if talk.sending == 0 {
            self.have_replies_sent(cx);
        }
        // What is to be cancelled is looked up now: later it may be the client's next.
        let outcome = self.context.pool.cancel(ClientId(entry.id));
        tokio::spawn(send(outcome, entry, settled));
    }

    /// Without a Sync PostgreSQL may have done everything and keep the replies to itself: then a cancel finds nothing that runs.
    fn have_replies_sent(&mut self, cx: &mut Context<'_>) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let exchange = &active.lease.talk.exchange;
        if exchange.is_copy_in() || !exchange.needs_sync() {
            return self.fail_copy(cx);
        }
        let mut flush = Vec::new();
        message(&mut flush, FLUSH, |_| {});
        self.write_server(cx, &flush)
    }

    /// In COPY, PostgreSQL looks for a cancel only between two messages of the client.
    fn fail_copy(&mut self, cx: &mut Context<'_>) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let exchange = &mut active.lease.talk.exchange;
        if !exchange.is_copy_in() {
            return Turn::Again;
        }
        exchange.expect(Reply::CopyEnd, Action::Swallow);
        let mut fail = Vec::new();
        message(&mut fail, COPY_FAIL, |out| out.extend_from_slice(b"timeout\0"));
        self.write_server(cx, &fail)
    }

    /// COPY takes too long, and the server has a part of a message: it gets the rest, and no more.
    #[cold]
    pub(super) fn end_copy_data(&mut self, cx: &mut Context<'_>, read: &mut [u8]) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let server = &mut *active.lease;
        let most = server.talk.sending.min(read.len());
        let n = match self.stream.poll_read(cx, &mut read[..most]) {
            Poll::Pending => return Turn::Wait,
            Poll::Ready(Err(e)) => return e.into(),
            Poll::Ready(Ok(0)) => return io::Error::from(io::ErrorKind::UnexpectedEof).into(),
            Poll::Ready(Ok(n)) => n,
        };
        server.talk.sending -= n;
        server.traffic.from_client += n as u64;
        server.traffic.to_server += n as u64;
        let is_whole = server.talk.sending == 0;
        match self.write_server(cx, &read[..n]) {
            Turn::Again if is_whole => self.fail_copy(cx),
            turn => turn,
        }
    }

    /// The client's next request, which it sent before it heard of the cancel, has its own time.
    fn next_runs(&mut self, now: Instant) {
        let Link::Active(active) = &mut self.link else { return };
        active.lease.query_began = now;
        if active.lease.talk.exchange.status() == Status::Idle {
            active.lease.began = now;
        }
        self.set_phase(Phase::Active, now);
    }

    /// What was cancelled is answered. If the client keeps its server, nothing of it may run there before the cancel can't
    /// reach it any more.
    #[cold]
    pub(super) fn overdue_answered(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Vec<u8>,
        whole: bool,
    ) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let (Step::Overdue(stalled) | Step::Settling(stalled)) = active.step else { return Turn::Again };
        let talk = &mut active.lease.talk;
        let settled = talk.overdue.as_ref().is_none_or(|it| it.settled.load(Ordering::Acquire));
        let is_clean = talk.is_free() && talk.held.is_empty() && talk.traces.is_empty();
        let goes = is_clean && !(talk.may_be_asked() && self.may_hold());
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let talk = &mut active.lease.talk;
        if !settled && (stalled || !goes || self.context.mode == PoolMode::Session) {
            active.step = Step::Settling(stalled);
            return Turn::Again;
        }
        talk.overdue = None;
        let is_next = stalled || !talk.exchange.is_drained();
        active.step = if stalled { Step::Stall } else { Step::Relay };
        if is_next {
            self.next_runs(Instant::now());
        }
        self.after_replies(cx, scratch, whole)
    }

    /// The cancel may be settled.
    #[cold]
    pub(super) fn go_on_settled(&mut self, cx: &mut Context<'_>) -> Turn {
        match &self.link {
            Link::Active(Active { step: Step::Settling(_), .. }) => {
                self.overdue_answered(cx, &mut Vec::new(), true)
            }
            _ => Turn::Again,
        }
    }

    /// All of a batch that is still open has been answered so far: its server waits for the client, as in a transaction.
    #[cold]
    pub(super) fn batch_pauses(&self) {
        let (phase, _) = self.member.entry().phase();
        if phase == Phase::Active {
            self.set_phase(Phase::IdleInTransaction, Instant::now());
        }
    }

    /// query_wait_notify: tells the client that it waits, if it still does.
    #[cold]
    pub(super) fn tell_that_it_waits(&mut self, cx: &mut Context<'_>) -> Turn {
        self.member.entry().forgive();
        let hint = match self.link {
            Link::Queued(..) => None,
            Link::Crowded(..) => Some(HINT_OF_PINS),
            _ => return Turn::Again,
        };
        let mut notice = Vec::new();
        Report {
            severity: Severity::Notice,
            code: sqlstate::SUCCESSFUL_COMPLETION,
            message: "No server connection available in postgres backend, client being queued",
            detail: None,
            hint,
        }
        .encode(&mut notice);
        match self.stream.write_or_keep(cx, &notice, &mut self.outbound) {
            Ok(()) => Turn::Again,
            Err(error) => error.into(),
        }
    }

    /// query_wait_timeout of the user who has logged in, where the pool's is longer.
    #[cold]
    pub(super) fn has_waited_too_long(&self) {
        let entry = self.member.entry();
        entry.forgive();
        if let Link::Queued(_, since) = &self.link
            && Instant::now().nanos_since(*since) >= entry.place.limits.of(Kick::QueryWait)
        {
            self.context.pool.give_up(ClientId(entry.id));
        }
    }
}

/// Sends the cancel; wakes the session when it is settled.
async fn send(outcome: CancelOutcome<Server>, entry: Arc<Entry>, settled: Arc<AtomicBool>) {
    if let CancelOutcome::Running(guard) = outcome {
        cancel::send(guard, Some(GRACE)).await;
    }
    settled.store(true, Ordering::Release);
    entry.kick(Kick::Query);
}
