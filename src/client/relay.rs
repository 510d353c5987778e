//! A client with a server: bytes both ways until the server is free again. No message is copied that can be passed on as
//! it is, none is held that can be streamed; a slow reader stops only its own server.

use super::inspect::tell_others;
use super::intercept::{self, Fed, Pause, Refuses, Rules};
use super::session::{End, Link, Session, Turn};
use super::transaction::{Active, Step};
use crate::clock::Instant;
use crate::config::WHOLE_SESSION;
use crate::metrics::Cells;
use crate::net::buffers::{Buffers, HELD_SIZE, READ_SIZE};
use crate::net::stream;
use crate::params::traces::Traces;
use crate::roster::Phase;
use crate::server::Server;
use crate::server::bulk::LARGE_READ;
use crate::server::exchange::Status;
use crate::wire::outgoing::Outgoing;
use std::io;
use std::task::{Context, Poll};

/// Chunks one client may move each way before others of its worker have their turn.
const ROUNDS: usize = 8;

/// Counts the bytes that were moved since this was called last.
#[inline]
pub(super) fn count_traffic(cells: &Cells, server: &mut Server) {
    let traffic = std::mem::take(&mut server.traffic);
    cells.client_bytes(traffic.from_client, traffic.to_client);
    cells.server_bytes(traffic.from_server, traffic.to_server);
}

impl Session {
    pub(super) fn write_server(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let server = &mut *active.lease;
        match server.stream.write_or_keep(cx, bytes, &mut server.outbound) {
            Ok(()) => Turn::Again,
            Err(_) => self.server_lost(),
        }
    }

    /// Gives bytes of the client to the server, behind `front`. Returns how many were used.
    pub(super) fn feed(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
        front: &[u8],
        scratch: &mut Vec<u8>,
    ) -> (usize, Turn) {
        let Link::Active(active) = &mut self.link else { return (0, Turn::Again) };
        let context = &self.context;
        let server = &mut *active.lease;
        let refuses = context.refuses(&server.talk, self.member.entry().id);
        if front.is_empty()
            && matches!(refuses, Refuses::Nothing)
            && intercept::feed_lone_query(
                context.looks(),
                &mut self.state.statements,
                &mut server.talk,
                input,
            )
        {
            server.traffic.to_server += input.len() as u64;
            active.step = Step::Relay;
            let sent = server.stream.write_or_keep(cx, input, &mut server.outbound);
            return (input.len(), if sent.is_ok() { Turn::Again } else { self.server_lost() });
        }
        let rules = Rules {
            registry: &context.shared.registry,
            scope: &context.scope,
            looks: context.looks(),
            refuses,
            names: context.names,
            client: self.member.entry().id,
            parse_context: self.state.wanted.parse_context(),
        };
        server.talk.retry.begin(!front.is_empty() || server.talk.is_free());
        let mut out = Outgoing::new(input, scratch);
        if !front.is_empty() {
            out.inject(|v| v.extend_from_slice(front));
        }
        let fed = match intercept::feed(rules, &mut self.state.statements, &mut server.talk, input, &mut out)
        {
            Ok(fed) => fed,
            Err(e) => Fed { used: input.len(), pause: Pause::Wrong(e), flush: false },
        };
        let bytes = out.bytes();
        let sent = server.stream.write_or_keep(cx, bytes, &mut server.outbound);
        server.traffic.to_server += bytes.len() as u64;
        active.step = match fed.pause {
            Pause::More => Step::Relay,
            Pause::Stall => Step::Stall,
            Pause::Terminate => Step::Leave,
            Pause::Wrong(error) => Step::Refuse(error),
        };
        if sent.is_err() {
            return (fed.used, self.server_lost());
        }
        let ending = matches!(active.step, Step::Leave | Step::Refuse(_));
        let whole = fed.used == input.len() && server.talk.sending == 0;
        // What is kept has an answer coming, and those of pgweir with it.
        let kept = whole && fed.pause == Pause::More && server.talk.retry.keep(input);
        if (fed.flush && !kept || ending)
            && let end @ Turn::End(_) = self.answer_locally(cx)
        {
            return (fed.used, end);
        }
        (fed.used, if ending { self.leave_if_done() } else { self.finish_if_silent(cx) })
    }

    /// What was sent may have been all there is, with no answer to come: the rest of COPY data that failed before, or what the
    /// server skips until a Sync.
    #[inline]
    fn finish_if_silent(&mut self, cx: &mut Context<'_>) -> Turn {
        let Link::Active(active) = &self.link else { return Turn::Again };
        let Active { lease, step } = active;
        if !lease.talk.exchange.is_drained() || *step != Step::Relay {
            return Turn::Again;
        }
        if lease.talk.exchange.needs_sync() && lease.talk.sending == 0 {
            self.batch_pauses();
            return Turn::Again;
        }
        let free = lease.talk.is_free() && lease.inbound.is_empty() && lease.outbound.is_empty();
        if free { self.finish(cx) } else { Turn::Again }
    }

    #[cold]
    fn answer_locally(&mut self, cx: &mut Context<'_>) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let mut own = Vec::new();
        let mut out = Outgoing::new(&[], &mut own);
        active.lease.talk.answer_locally(&mut out);
        match self.stream.write_or_keep(cx, out.bytes(), &mut self.outbound) {
            Ok(()) => Turn::Again,
            Err(e) => e.into(),
        }
    }

    pub(super) fn poll_active(
        &mut self,
        cx: &mut Context<'_>,
        Buffers { read, scratch }: &mut Buffers,
    ) -> Turn {
        // A socket that was found empty isn't looked at again before it has woken this task. The server stays the same here.
        let (mut server_sleeps, mut client_sleeps) = (false, false);
        for _ in 0..ROUNDS {
            match self.flush(cx) {
                Turn::Again => {}
                other => return other,
            }
            let mut is_over = true;
            if !server_sleeps {
                match self.read_server(cx, read, scratch) {
                    Turn::Asleep => server_sleeps = true,
                    Turn::Wait => {}
                    Turn::Again if matches!(self.link, Link::Active(_)) => is_over = false,
                    other => return other,
                }
            }
            if !client_sleeps {
                match self.read_client(cx, read, scratch) {
                    Turn::Asleep => client_sleeps = true,
                    Turn::Wait => {}
                    Turn::Again if matches!(self.link, Link::Active(_)) => is_over = false,
                    other => return other,
                }
            }
            if is_over {
                return if matches!(self.link, Link::Active(_)) { Turn::Wait } else { Turn::Again };
            }
        }
        stream::yield_to_others(cx);
        Turn::Wait
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let server = &mut *active.lease;
        if !server.outbound.is_empty() {
            match server.stream.poll_drain(cx, &mut server.outbound) {
                Poll::Ready(Err(_)) => return self.server_lost(),
                Poll::Ready(Ok(())) if self.outbound.is_empty() => return self.finish_if_silent(cx),
                _ => {}
            }
        }
        if !self.outbound.is_empty() {
            match self.stream.poll_drain(cx, &mut self.outbound) {
                Poll::Ready(Err(e)) => return e.into(),
                // What waits for the client elsewhere has waited for this.
                Poll::Ready(Ok(())) if self.member.entry().is_called() => cx.waker().wake_by_ref(),
                _ => {}
            }
        }
        Turn::Again
    }

    fn read_server(&mut self, cx: &mut Context<'_>, read: &mut [u8], scratch: &mut Vec<u8>) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        if !self.outbound.is_empty() {
            return Turn::Wait;
        }
        let server = &mut *active.lease;
        let mut found = server.stream.poll_read(cx, read);
        if found.is_pending() && server.bulk.is_stalled() {
            found = server.read_stalled(read);
        }
        let n = match found {
            Poll::Pending => return Turn::Asleep,
            Poll::Ready(Ok(n)) if n > 0 => n,
            Poll::Ready(_) => return self.server_lost(),
        };
        server.traffic.from_server += n as u64;
        if n == read.len() {
            count_traffic(self.context.cells(), server);
        }
        let turn = if server.inbound.is_empty() {
            let (used, turn) = self.receive(cx, &read[..n], scratch);
            if used < n
                && let Link::Active(active) = &mut self.link
            {
                active.lease.inbound = read[used..n].to_vec();
            }
            turn
        } else {
            server.inbound.extend_from_slice(&read[..n]);
            let mut input = std::mem::take(&mut server.inbound);
            let (used, turn) = self.receive(cx, &input, scratch);
            if used < input.len()
                && let Link::Active(active) = &mut self.link
            {
                input.drain(..used);
                active.lease.inbound = input;
            }
            turn
        };
        if let Link::Active(active) = &mut self.link
            && (n >= LARGE_READ || active.lease.bulk.is_begun())
        {
            active.lease.await_bulk(n, cx.waker());
        }
        turn
    }

    /// Gives bytes of the server to the client. Returns how many were used.
    #[inline]
    fn receive(&mut self, cx: &mut Context<'_>, input: &[u8], scratch: &mut Vec<u8>) -> (usize, Turn) {
        let Link::Active(active) = &mut self.link else { return (input.len(), Turn::Again) };
        let Server { talk, traffic, .. } = &mut *active.lease;
        let kept = talk.retry.end();
        let passed = talk.pass(input);
        if passed < input.len() || talk.has_own_answer() {
            return self.receive_behind(cx, (passed, kept), input, scratch);
        }
        traffic.to_client += input.len() as u64;
        if let Err(e) = self.stream.write_or_keep(cx, input, &mut self.outbound) {
            return (input.len(), e.into());
        }
        (input.len(), self.after_replies(cx, scratch, true))
    }

    fn receive_behind(
        &mut self,
        cx: &mut Context<'_>,
        (passed, kept): (usize, bool),
        input: &[u8],
        scratch: &mut Vec<u8>,
    ) -> (usize, Turn) {
        let Link::Active(active) = &mut self.link else { return (input.len(), Turn::Again) };
        let Server { talk, traffic, .. } = &mut *active.lease;
        let mut out = Outgoing::new(input, scratch);
        let received = talk.receive_behind(passed, input, &mut self.state.statements, &mut out);
        if kept
            && talk.retry.is_stale()
            && received == Ok(input.len())
            && matches!(active.step, Step::Relay | Step::Stall)
            && !talk.after.is_pending()
            && let Some(batch) = talk.retry.again(input)
        {
            return (input.len(), self.try_again(cx, batch, scratch));
        }
        if std::mem::take(&mut talk.heard.settled) > 0 {
            tell_others(&self.context, talk);
        }
        let bytes = out.bytes();
        if !bytes.is_empty() {
            traffic.to_client += bytes.len() as u64;
            if let Err(e) = self.stream.write_or_keep(cx, bytes, &mut self.outbound) {
                return (input.len(), e.into());
            }
        }
        let Ok(used) = received else {
            talk.exchange.set_doubt("the server broke the protocol");
            return (input.len(), self.server_lost());
        };
        let due = talk.is_afterword_due();
        if !talk.heard.is_silent() {
            self.listen();
        }
        if due {
            return (used, self.ask_behind(cx));
        }
        (used, self.after_replies(cx, scratch, used == input.len()))
    }

    pub(super) fn feed_waiting(&mut self, cx: &mut Context<'_>, scratch: &mut Vec<u8>) -> Turn {
        let mut input = std::mem::take(&mut self.inbound);
        let (used, turn) = self.feed(cx, &input, &[], scratch);
        input.drop_front(used);
        self.inbound = input;
        turn
    }

    fn read_client(&mut self, cx: &mut Context<'_>, read: &mut [u8], scratch: &mut Vec<u8>) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let moves = active.lease.outbound.is_empty() && self.outbound.len() < READ_SIZE;
        match active.step {
            _ if !active.lease.talk.chained.is_empty() => return Turn::Wait,
            Step::Relay | Step::Between if moves => {}
            Step::Prelude | Step::Inspect | Step::Cut | Step::Names | Step::Stall
                if self.inbound.len() < HELD_SIZE =>
            {
                return self.keep_more(cx, read);
            }
            Step::Overdue(false)
                if moves && active.lease.talk.sending > 0 && active.lease.talk.exchange.is_copy_in() =>
            {
                return self.end_copy_data(cx, read);
            }
            _ => return Turn::Wait,
        }
        let n = match self.stream.poll_read(cx, read) {
            Poll::Pending => return Turn::Asleep,
            Poll::Ready(Err(e)) => return e.into(),
            Poll::Ready(Ok(0)) if active.lease.talk.is_free() => return Turn::end(End::Closed),
            Poll::Ready(Ok(0)) => return io::Error::from(io::ErrorKind::UnexpectedEof).into(),
            Poll::Ready(Ok(n)) => n,
        };
        if active.step == Step::Between {
            active.lease.query_began = Instant::now();
            if active.lease.talk.exchange.status() == Status::Idle {
                active.lease.began = active.lease.query_began;
            }
            active.step = Step::Relay;
            if active.lease.talk.held == Traces::SEQUENCES
                && self.context.sequence_hold != Some(WHOLE_SESSION)
            {
                active.lease.talk.held = Traces::NONE;
            }
            let roster = &self.context.shared.roster;
            self.member.entry().set_phase(Phase::Active, roster.at(active.lease.query_began));
        } else if active.lease.talk.exchange.is_drained() && active.lease.talk.exchange.needs_sync() {
            active.batch_goes_on(self.member.entry(), &self.context.shared.roster);
        }
        active.lease.traffic.from_client += n as u64;
        if n == read.len() {
            count_traffic(self.context.cells(), &mut active.lease);
        }
        if self.inbound.is_empty() {
            let (used, turn) = self.feed(cx, &read[..n], &[], scratch);
            if used < n {
                self.inbound = read[used..n].into();
            }
            turn
        } else {
            self.inbound.extend_from_slice(&read[..n]);
            self.feed_waiting(cx, scratch)
        }
    }
}
