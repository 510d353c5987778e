//! What a session is asked from outside, and how it ends.

use super::cleanup;
use super::relay::count_traffic;
use super::report::Trouble;
use super::session::{End, Link, Session, Turn};
use super::transaction::{Active, Step};
use crate::clock::Instant;
use crate::params::set::Set;
use crate::params::traces::Traces;
use crate::params::tracked;
use crate::pool::{ClientId, CloseReason};
use crate::roster::{Kick, Phase, ServerTold, Told};
use crate::server::exchange::Status;
use crate::timer::timeout;
use crate::tls::Channel;
use crate::wire::backend::Severity;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

/// How long a parting word may take to be sent.
const FAREWELL: Duration = Duration::from_secs(2);

impl Session {
    /// Somebody wants something of the session.
    #[cold]
    pub(super) fn called(&mut self, cx: &mut Context<'_>) -> Option<Box<End>> {
        let asked = match self.member.entry().kicked() {
            Some(Kick::Notify) => self.tell_that_it_waits(cx),
            Some(Kick::Unanswered) => self.give_up_unanswered(),
            Some(kick @ (Kick::Query | Kick::Transaction)) => {
                self.overdue(cx, kick).map_or(Turn::Again, Turn::end)
            }
            Some(Kick::IdleInTransaction) if self.member.entry().phase().0 == Phase::Active => {
                self.may_have_stopped(cx).map_or(Turn::Again, Turn::end)
            }
            Some(kick) => self.kicked(kick).map_or(Turn::Again, Turn::end),
            None => Turn::Again,
        };
        let end = |turn| if let Turn::End(end) = turn { Some(end) } else { None };
        end(asked).or_else(|| end(self.go_on_settled(cx))).or_else(|| end(self.answer_knock(cx)))
    }

    fn kicked(&mut self, kick: Kick) -> Option<End> {
        if let (Kick::Cancel, Link::Crowded(_, canceled)) = (kick, &mut self.link) {
            *canceled = true;
        }
        let told = || Some(End::Told(Trouble::Kicked(kick)));
        match (kick, &self.link) {
            (Kick::Now | Kick::Killed | Kick::Moved | Kick::Forced, _)
            | (Kick::Shutdown, Link::Idle | Link::Wanting | Link::Queued(..) | Link::Crowded(..)) => told(),
            (Kick::Shutdown, Link::Active(active)) if active.is_between_transactions() => told(),
            (Kick::ClientIdle, Link::Idle | Link::Active(_)) if self.is_overdue_by_itself() => {
                Some(End::Told(Trouble::IdleSession))
            }
            (Kick::ClientIdle, Link::Idle | Link::Active(_)) | (Kick::IdleInTransaction, Link::Active(_))
                if self.is_overdue(kick) =>
            {
                told()
            }
            (Kick::Shutdown, Link::Active(_)) => None,
            (Kick::Ask, _) => {
                self.tell();
                self.member.entry().forgive();
                None
            }
            (Kick::QueryWait, _) => {
                self.has_waited_too_long();
                None
            }
            (
                Kick::ClientIdle
                | Kick::IdleInTransaction
                | Kick::Cancel
                | Kick::Query
                | Kick::Transaction
                | Kick::Notify
                | Kick::Unanswered,
                _,
            ) => {
                self.member.entry().forgive();
                None
            }
        }
    }

    /// Answers an operator who asks what only the session knows.
    #[cold]
    fn tell(&self) {
        let roster = &self.context.shared.roster;
        if roster.asks_for_names() {
            let name = self.state.wanted.value("application_name").unwrap_or_default();
            // Only a server changes what it wants, and it gets one only in another phase.
            return roster.tell_name(self.member.entry(), name, matches!(self.link, Link::Idle));
        }
        let name = |set: &Set| set.value("application_name").unwrap_or_default().to_owned();
        let server = match &self.link {
            Link::Active(active) => Some(ServerTold {
                id: active.lease.id,
                application_name: name(&active.lease.talk.parameters),
                prepared_statements: active.lease.talk.names.len(),
            }),
            _ => None,
        };
        roster.tell(
            self.id(),
            Told {
                application_name: name(&self.state.wanted),
                prepared_statements: self.state.statements.names.len(),
                local: self.stream.local_address(),
                tls: self.stream.tls().map_or("", Channel::version),
                replication: "",
                server,
            },
        );
    }

    /// Says why, if there is a why, and takes care of the server.
    pub(super) async fn farewell(mut self, end: End) {
        self.context.hub.leave(self.id());
        self.context.pins.forget(self.id());
        // Also of who was let in and is gone before it got its server.
        self.context.pins.dismiss(self.id());
        let speechless = matches!(&self.link, Link::Active(active) if active.is_within_message());
        match std::mem::replace(&mut self.link, Link::Idle) {
            Link::Idle | Link::Wanting => {}
            Link::Crowded(..) => self.context.pins.stop_waiting(self.id()),
            Link::Queued(ticket, _) => drop(ticket),
            Link::Active(active) => self.part(active, &end),
        }
        if let End::Told(trouble) = &end
            && !speechless
        {
            let mut words = Vec::new();
            trouble.encode(&mut words, Severity::Fatal);
            let _ = self.stream.keep(&words, &mut self.outbound);
        }
        if !matches!(end, End::Lost(_)) && !self.outbound.is_empty() {
            let pending = std::mem::take(&mut self.outbound);
            let _ = timeout(FAREWELL, self.stream.drain(pending)).await;
        }
        if !matches!(end, End::Closed) {
            self.stream.shutdown();
        }
        self.context.count_client(false);
        self.log(&end);
    }

    fn log(&self, end: &End) {
        if !self.context.shared.config.load().general.log_disconnections.is_on() {
            return;
        }
        let (entry, client) = (self.member.entry(), self.id());
        let (address, database, user) = (entry.address(), &*entry.place.database, &*entry.place.user);
        match end {
            End::Closed => tracing::info!(client, %address, database, user, "disconnect: client closed"),
            End::Lost(error) => {
                tracing::info!(client, %address, database, user, "disconnect: client lost: {error}");
            }
            End::ServerFatal => {
                tracing::warn!(client, %address, database, user, "disconnect: server ended the session");
            }
            End::Told(trouble) => {
                tracing::warn!(client, %address, database, user, "disconnect: {}", trouble.log_line());
            }
        }
    }

    fn part(&self, active: Active, end: &End) {
        let (mut lease, whole) = active.into_lease();
        count_traffic(self.cells(), &mut lease);
        // What the last transaction has left may not have been asked for; in session mode it never is.
        let forever = lease.talk.held.and(lease.talk.traces).has(Traces::FOREVER);
        let held = std::mem::take(&mut lease.talk.held);
        self.context.pins.change(self.id(), &lease, (held, Traces::NONE));
        match end {
            // Nothing takes it back.
            _ if forever => lease.close(CloseReason::ClientGone),
            End::ServerFatal | End::Told(Trouble::ServerLost) => lease.close(CloseReason::Lost),
            // It has not answered the cancel.
            End::Told(Trouble::Kicked(Kick::Query | Kick::Transaction))
                if !lease.talk.exchange.is_drained() =>
            {
                lease.close(CloseReason::ClientTimeout);
            }
            _ if !whole => lease.close(CloseReason::ClientGone),
            _ => {
                let client = ClientId(self.id());
                tokio::spawn(cleanup::clean_up(lease, Arc::clone(&self.context), client));
            }
        }
    }

    /// The client has said goodbye and the server owes nothing, or nothing it would answer without a Sync or the rest of
    /// COPY data.
    pub(super) fn leave_if_done(&mut self) -> Turn {
        match &self.link {
            Link::Active(active) if active.owes_nothing() => match active.step {
                Step::Leave => Turn::end(End::Closed),
                Step::Refuse(error) => error.into(),
                _ => Turn::Again,
            },
            _ => Turn::Again,
        }
    }

    /// It has had a server for long: if it has only begun to send a message, it is idle as if it had sent nothing.
    fn may_have_stopped(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let entry = self.member.entry();
        let Link::Active(active) = &self.link else { return None };
        let exchange = &active.lease.talk.exchange;
        let is_begun = active.lease.talk.sending > 0 && exchange.owed() == 1 && !exchange.is_copy_in();
        if active.step == Step::Relay && (is_begun || exchange.is_drained()) {
            let within = exchange.status() != Status::Idle || exchange.is_drained() && exchange.needs_sync();
            let kick = if within { Kick::IdleInTransaction } else { Kick::ClientIdle };
            if self.lasted() >= entry.place.limits.of_client(entry.id, kick) {
                return Some(End::Told(Trouble::Kicked(kick)));
            }
        }
        self.overdue(cx, Kick::Transaction)
    }

    /// How long it has been doing what it does, in nanoseconds.
    fn lasted(&self) -> u64 {
        self.context.shared.roster.at(Instant::now()).saturating_sub(self.member.entry().phase().1)
    }

    /// Whether the timeout behind a kick is still over: the session may have gone on since the janitor looked.
    fn is_overdue(&self, kick: Kick) -> bool {
        let entry = self.member.entry();
        let idle = if kick == Kick::ClientIdle { Phase::Idle } else { Phase::IdleInTransaction };
        entry.phase().0 == idle && self.lasted() >= entry.place.limits.of_client(entry.id, kick)
    }

    /// Whether it is the client's own idle_session_timeout that is over.
    fn is_overdue_by_itself(&self) -> bool {
        let (entry, kick) = (self.member.entry(), Kick::ClientIdle);
        let limits = &entry.place.limits;
        limits.of_client(entry.id, kick) < limits.of(kick) && self.is_overdue(kick)
    }

    /// Takes note of how long the client wants to be idle at most.
    pub(super) fn note_idle_timeout(&self) {
        let wanted = self.state.wanted.value("idle_session_timeout");
        self.member.entry().limit_idle(wanted.and_then(tracked::idle_session_timeout));
    }
}
