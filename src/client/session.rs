//! A logged-in client: idle, in line for a server, or with one. One small future without buffers of its own.

use super::context::PoolContext;
use super::in_the_way::InTheWay;
use super::report::Trouble;
use super::transaction::Active;
use super::triage::{Next, Triage};
use crate::clock::Instant;
use crate::net::buffers::{self, Buffers, HELD_SIZE};
use crate::net::kept::Kept;
use crate::net::stream::Stream;
use crate::params::set::Set;
use crate::pool::{ClientId, Request, SlotIndex, Take, Ticket, WaitError};
use crate::prepared::client_statements::ClientStatements;
use crate::roster::{Membership, Phase};
use crate::server::Server;
use crate::wire::backend::Severity;
use crate::wire::error::WireError;
use crate::wire::frontend;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Everything about a session that outlives its transactions: what another process would need to go on with it.
#[derive(Debug)]
pub struct State {
    /// Its prepared statements.
    pub statements: ClientStatements,
    /// The parameters it wants.
    pub wanted: Arc<Set>,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    pub(super) stream: Stream,
    pub(super) state: State,
    pub(super) context: Arc<PoolContext>,
    pub(super) member: Membership,
    pub(super) link: Link,
    /// Bytes of the client not yet dealt with: the beginning of a message, or what waits for a server.
    pub(super) inbound: Kept,
    /// What the client's socket has not taken yet.
    pub(super) outbound: Kept,
    pub(super) triage: Triage,
    pub(super) hint: Option<SlotIndex>,
    /// Servers that failed to be made fit in a row.
    pub(super) unfit: u8,
    /// Times it didn't ask for the last value of a sequence though its server was held for that, since it last did.
    pub(super) unasked: u8,
}

/// How a client stands to servers.
#[derive(Debug)]
pub(super) enum Link {
    /// It has none and wants none.
    Idle,
    /// It has none, and what it has sent needs one: it has to ask again.
    Wanting,
    /// In line, since then.
    Queued(Ticket<Server>, Instant),
    /// In line since then for another client to let its server go; whether a CancelRequest came.
    Crowded(Instant, bool),
    /// It has one.
    Active(Active),
}

/// Why a session ended.
#[derive(Debug)]
pub enum End {
    /// Terminate, or the end of its stream between transactions.
    Closed,
    /// Its socket failed, or ended within a transaction.
    Lost(io::Error),
    /// It has been told why.
    Told(Trouble),
    /// The server ended the session and the client has its word for it.
    ServerFatal,
}

/// What a step of the session came to.
#[derive(Debug)]
pub(super) enum Turn {
    /// Something happened: look again.
    Again,
    /// Nothing more can happen now.
    Wait,
    /// Nor here, until its socket wakes the task.
    Asleep,
    /// It is over.
    End(Box<End>),
}

impl Turn {
    #[cold]
    pub(super) fn end(end: End) -> Self {
        Self::End(Box::new(end))
    }
}

impl From<io::Error> for Turn {
    fn from(error: io::Error) -> Self {
        Self::end(End::Lost(error))
    }
}

impl From<WireError> for Turn {
    fn from(error: WireError) -> Self {
        Self::end(End::Told(Trouble::Protocol(error)))
    }
}

impl Session {
    /// A session that has been told that it is ready.
    pub fn new(stream: Stream, state: State, context: Arc<PoolContext>, member: Membership) -> Self {
        Self {
            stream,
            state,
            context,
            member,
            link: Link::Idle,
            inbound: Kept::default(),
            outbound: Kept::default(),
            triage: Triage::default(),
            hint: None,
            unfit: 0,
            unasked: 0,
        }
    }

    /// The client has sent these bytes already.
    pub fn having_sent(self, early: Vec<u8>) -> Self {
        Self { inbound: early.into(), link: Link::Wanting, ..self }
    }

    /// From now on the client counts; [`Self::farewell`] ends that.
    pub(super) fn begin_service(&self) {
        self.context.count_client(true);
        self.note_idle_timeout();
    }

    /// Whether it has no server and wants none.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.link, Link::Idle)
    }

    /// Serves the client until it or somebody else ends the session.
    #[inline(always)]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Box<End>> {
        let mut lent = buffers::lend();
        let buffers = lent.get();
        loop {
            if self.member.entry().is_called()
                && let Some(end) = self.called(cx)
            {
                return Poll::Ready(end);
            }
            let turn = match &mut self.link {
                Link::Active(_) => self.poll_active(cx, buffers),
                Link::Idle => self.poll_idle(cx, buffers),
                Link::Queued(..) => self.poll_queued(cx, buffers),
                Link::Wanting => self.ask_again(cx, buffers),
                Link::Crowded(..) => self.poll_crowded(cx, buffers),
            };
            match turn {
                Turn::Again => {}
                Turn::Wait | Turn::Asleep => return Poll::Pending,
                Turn::End(end) => return Poll::Ready(end),
            }
        }
    }

    #[inline]
    fn poll_idle(&mut self, cx: &mut Context<'_>, Buffers { read, scratch }: &mut Buffers) -> Turn {
        if !self.outbound.is_empty() {
            match self.stream.poll_drain(cx, &mut self.outbound) {
                Poll::Ready(Ok(())) => return Turn::Again,
                Poll::Ready(Err(e)) => return e.into(),
                Poll::Pending => return Turn::Wait,
            }
        }
        match self.stream.poll_read(cx, &mut read[..HELD_SIZE]) {
            Poll::Pending => Turn::Wait,
            Poll::Ready(Err(e)) => e.into(),
            Poll::Ready(Ok(0)) => Turn::end(End::Closed),
            Poll::Ready(Ok(n)) => {
                self.count_read(n);
                if self.inbound.is_empty() {
                    return self.sort(cx, &read[..n], scratch);
                }
                self.inbound.extend_from_slice(&read[..n]);
                let input = std::mem::take(&mut self.inbound);
                self.sort(cx, &input, scratch)
            }
        }
    }

    /// The server it had is gone before it got the client's bytes.
    #[cold]
    fn ask_again(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Turn {
        self.link = Link::Idle;
        let input = std::mem::take(&mut self.inbound);
        self.sort(cx, &input, &mut buffers.scratch)
    }

    /// Deals with bytes of a client without a server.
    #[inline(always)]
    pub(super) fn sort(&mut self, cx: &mut Context<'_>, input: &[u8], scratch: &mut Vec<u8>) -> Turn {
        if self.triage.is_work(input) {
            return self.want_server(cx, input, scratch);
        }
        self.sort_thoroughly(cx, input, scratch)
    }

    fn sort_thoroughly(&mut self, cx: &mut Context<'_>, input: &[u8], scratch: &mut Vec<u8>) -> Turn {
        let mut answer = Vec::new();
        let sorted = self.triage.sort(input, &mut answer);
        if !answer.is_empty()
            && let Err(e) = self.stream.write_or_keep(cx, &answer, &mut self.outbound)
        {
            return e.into();
        }
        let (used, next) = match sorted {
            Ok(sorted) => sorted,
            Err(e) => return e.into(),
        };
        let rest = &input[used..];
        match next {
            Next::Work => self.want_server(cx, rest, scratch),
            Next::Terminate => Turn::end(End::Closed),
            Next::More => {
                self.inbound = rest.into();
                Turn::Again
            }
        }
    }

    #[inline(always)]
    fn want_server(&mut self, cx: &mut Context<'_>, input: &[u8], scratch: &mut Vec<u8>) -> Turn {
        if self.context.may_refuse && self.is_crowded_out(input) {
            return self.wait_for_pins(cx, input);
        }
        self.take_server(cx, input, scratch)
    }

    #[inline(always)]
    pub(super) fn take_server(&mut self, cx: &mut Context<'_>, input: &[u8], scratch: &mut Vec<u8>) -> Turn {
        let now = Instant::now();
        let request = Request { client: ClientId(self.id()), hint: self.hint, now };
        match self.context.pool.take(&request, cx.waker()) {
            Take::Leased(lease) => {
                self.cells().assigned();
                self.begin(cx, (lease, now), input, scratch)
            }
            Take::Queued(ticket) => {
                self.inbound = input.into();
                self.link = Link::Queued(ticket, now);
                self.set_phase(Phase::Waiting, now);
                Turn::Again
            }
        }
    }

    fn poll_queued(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Turn {
        if let Poll::Ready(Err(e)) = self.stream.poll_drain(cx, &mut self.outbound) {
            return e.into();
        }
        let Link::Queued(ticket, since) = &mut self.link else { return Turn::Again };
        match ticket.poll_lease(cx.waker()) {
            Poll::Ready(Ok(lease)) => {
                let now = Instant::now();
                let waited = now.nanos_since(*since);
                self.cells().wait(waited);
                let input = std::mem::take(&mut self.inbound);
                self.begin(cx, (lease, now), &input, &mut buffers.scratch)
            }
            Poll::Ready(Err(error)) => self.without_server(cx, buffers, error),
            Poll::Pending if self.inbound.len() >= HELD_SIZE => Turn::Wait,
            Poll::Pending => self.keep_more(cx, &mut buffers.read),
        }
    }

    /// A client that is held up may send more, or leave.
    pub(super) fn keep_more(&mut self, cx: &mut Context<'_>, read: &mut [u8]) -> Turn {
        match self.stream.poll_read(cx, &mut read[..HELD_SIZE]) {
            Poll::Pending => Turn::Wait,
            Poll::Ready(Err(e)) => e.into(),
            // What it asked before it said so is still to be done.
            Poll::Ready(Ok(0)) if frontend::says_goodbye(&self.inbound) => Turn::Wait,
            Poll::Ready(Ok(0)) => Turn::end(End::Closed),
            Poll::Ready(Ok(n)) => {
                self.count_read(n);
                self.inbound.extend_from_slice(&read[..n]);
                Turn::Again
            }
        }
    }

    /// The wait ended without a server: the query fails, the session goes on.
    pub(super) fn without_server(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        error: WaitError,
    ) -> Turn {
        let behind = InTheWay::of(&self.context, &error);
        let shutdown = matches!(error, WaitError::Shutdown);
        self.context.pins.dismiss(self.id());
        if matches!(error, WaitError::Timeout | WaitError::Pins) {
            self.context.metrics.wait_timed_out();
        }
        let trouble = Trouble::NoServer(error, behind);
        if shutdown {
            return Turn::end(End::Told(trouble));
        }
        self.cells().client_error(trouble.class());
        if self.context.shared.config.load().general.log_pooler_errors.is_on() {
            let (client, place) = (self.id(), &self.member.entry().place);
            let line = trouble.log_line();
            tracing::warn!(client, database = &*place.database, user = &*place.user, "pooler error: {line}");
        }
        let mut message = Vec::new();
        trouble.encode(&mut message, Severity::Error);
        let input = std::mem::take(&mut self.inbound);
        let mut answer = Vec::new();
        let used = self.triage.refuse(&input, &message, &mut answer);
        if let Err(e) = self.stream.keep(&answer, &mut self.outbound) {
            return e.into();
        }
        self.link = Link::Idle;
        self.set_phase(Phase::Idle, Instant::now());
        self.sort(cx, &input[used..], &mut buffers.scratch)
    }

    /// Identifies the client, never reused.
    #[inline]
    pub(super) fn id(&self) -> u64 {
        self.member.entry().id
    }

    #[inline]
    pub(super) fn set_phase(&self, phase: Phase, now: Instant) {
        let roster = &self.context.shared.roster;
        self.member.entry().set_phase(phase, roster.at(now));
        if phase != Phase::Idle {
            roster.begins();
        }
    }

    #[inline]
    pub(super) fn cells(&self) -> &crate::metrics::Cells {
        self.context.cells()
    }

    #[inline]
    pub(super) fn count_read(&self, n: usize) {
        self.cells().client_bytes(n as u64, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every idle client costs. May only grow for a reason.
    #[test]
    fn a_session_is_small() {
        assert!(size_of::<Session>() <= 152, "{} bytes", size_of::<Session>());
    }
}
