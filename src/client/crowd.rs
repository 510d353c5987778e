//! Waiting until another client lets its server go, when `max_pins` of them keep theirs and one more would.

use super::intercept::{self, Admits as _};
use super::session::{Link, Session, Turn};
use crate::clock::Instant;
use crate::net::buffers::{Buffers, HELD_SIZE};
use crate::pool::WaitError;
use crate::roster::{Kick, Phase};
use std::task::{Context, Poll};

impl Session {
    /// Whether what the client wants has to wait.
    #[cold]
    pub(super) fn is_crowded_out(&self, input: &[u8]) -> bool {
        let context = &self.context;
        context.waits_for_pins()
            && intercept::would_pin(context.looks(), &self.state.statements, input)
            && !(context.pins.is_next(self.id()) && context.admit(self.id()))
    }

    /// Gets in line.
    #[cold]
    pub(super) fn wait_for_pins(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Turn {
        let now = Instant::now();
        self.context.pins.wait(self.id(), now, cx.waker());
        self.inbound = input.into();
        self.link = Link::Crowded(now, false);
        self.set_phase(Phase::Waiting, now);
        Turn::Again
    }

    pub(super) fn poll_crowded(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Turn {
        if let Poll::Ready(Err(e)) = self.stream.poll_drain(cx, &mut self.outbound) {
            return e.into();
        }
        let Link::Crowded(since, canceled) = self.link else { return Turn::Again };
        let (context, client) = (&self.context, self.member.entry().id);
        context.pins.wait(client, since, cx.waker());
        let limit = self.member.entry().place.limits.of(Kick::QueryWait);
        if canceled {
            context.pins.stop_waiting(client);
            return self.without_server(cx, buffers, WaitError::Canceled);
        }
        if context.pins.is_next(client) && context.admit(client) {
            context.pins.stop_waiting(client);
            let input = std::mem::take(&mut self.inbound);
            self.link = Link::Idle;
            return self.take_server(cx, &input, &mut buffers.scratch);
        }
        if Instant::now().nanos_since(since) >= limit {
            context.pins.stop_waiting(client);
            return self.without_server(cx, buffers, WaitError::Pins);
        }
        if self.inbound.len() >= HELD_SIZE { Turn::Wait } else { self.keep_more(cx, &mut buffers.read) }
    }
}
