//! A client that listens: how its channels go over from its own server to the listening one, and how it is told.

use super::super::relay::count_traffic;
use super::super::session::{End, Link, Session, Turn};
use super::super::transaction::{Active, Step};
use crate::metrics::PinReason;
use crate::params::inspection::MARKER;
use crate::params::traces::Traces;
use crate::server::conversation::Cut;
use crate::server::exchange::{Action, Reply};
use crate::wire::backend;
use crate::wire::frontend;
use std::mem;
use std::sync::Arc;
use std::task::Context;

impl Session {
    /// Takes note of the channels its server was found to listen to for it; whether there are some that only its server does.
    pub(in super::super) fn take_channels(&mut self, found: &[String]) -> bool {
        let Link::Active(active) = &mut self.link else { return false };
        let talk = &mut active.lease.talk;
        if found.is_empty() && self.state.wanted.channels().is_empty() && !talk.held.has(Traces::CHANNELS) {
            return false;
        }
        let context = &self.context;
        if !context.may_listen_for(&self.state.wanted) && self.state.wanted.channels().is_empty() {
            if !found.is_empty() && !talk.held.has(Traces::CHANNELS) {
                context.cells().pinned(PinReason::Listen);
            }
            return !found.is_empty();
        }
        context.hub.set(context, self.member.entry(), found);
        let live =
            found.iter().map(|name| &**name).filter(|name| self.state.wanted.listens_to(name.as_bytes()));
        let live: Vec<_> = live.collect();
        let sets = &context.shared.sets;
        talk.parameters = sets.listening(&talk.parameters, live.iter().copied());
        self.state.wanted = sets.listening(&self.state.wanted, live.iter().copied());
        talk.listened = found.to_vec();
        live.len() < found.len()
    }

    /// Between two transactions on a server the client keeps: nobody wakes it for what has come during the first.
    #[cold]
    pub(in super::super) fn stay(&mut self, cx: &mut Context<'_>) -> Turn {
        match self.answer_knock(cx) {
            end @ Turn::End(_) => end,
            _ => self.hand_over(cx),
        }
    }

    /// Has the listening server take over what only the client's own listens to, if it is ready to.
    #[cold]
    pub(in super::super) fn hand_over(&mut self, cx: &mut Context<'_>) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let server = &mut *active.lease;
        let is_idle = server.talk.is_free() && server.inbound.is_empty() && server.talk.is_sound();
        if !server.talk.held.has(Traces::CHANNELS) || !is_idle {
            return Turn::Again;
        }
        let Some(marker) = self.context.hub.begin_cut(self.member.entry().id) else {
            return self.give_away();
        };
        let talk = &mut server.talk;
        let mut bytes = Vec::new();
        for sql in [format!("LISTEN {MARKER}; NOTIFY {MARKER}, '{marker}'"), format!("UNLISTEN {MARKER}")] {
            frontend::query(&mut bytes, sql.as_bytes());
            talk.exchange.expect(Reply::Query, Action::Prelude);
        }
        talk.unnamed = None;
        talk.cut = Cut::At(marker);
        talk.inspection = Some(Vec::new());
        active.step = Step::Cut;
        self.write_server(cx, &bytes)
    }

    /// Gives the server away to be the listening server, if one is wanted and it has nothing else of the client's.
    fn give_away(&mut self) -> Turn {
        let next = if self.inbound.is_empty() { Link::Idle } else { Link::Wanting };
        let Link::Active(mut active) = mem::replace(&mut self.link, next) else { return Turn::Again };
        if active.lease.talk.held != Traces::CHANNELS {
            self.link = Link::Active(active);
            return Turn::Again;
        }
        count_traffic(self.cells(), &mut active.lease);
        let channels = active.lease.talk.listened.clone();
        match self.context.hub.adopt(self.id(), active.lease, &channels) {
            Err(lease) => self.link = Link::Active(Active { lease, ..active }),
            Ok(()) => {
                let sets = &self.context.shared.sets;
                let channels = channels.iter().map(|name| &**name);
                self.state.wanted = sets.listening(&self.state.wanted, channels);
                self.context.pins.release(self.member.entry().id);
            }
        }
        Turn::Again
    }

    /// The marker has gone and come: the client needs its server no more for what it listens to.
    #[cold]
    pub(in super::super) fn cut_done(&mut self, cx: &mut Context<'_>, scratch: &mut Vec<u8>) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let talk = &mut active.lease.talk;
        talk.inspection = None;
        let passed = mem::take(&mut talk.cut) == Cut::Passed;
        let error = talk.heard.prelude_error.take();
        active.step = Step::Between;
        if passed {
            let sets = &self.context.shared.sets;
            let channels = || talk.listened.iter().map(|name| &**name);
            talk.parameters = sets.listening(&talk.parameters, channels());
            self.state.wanted = sets.listening(&self.state.wanted, channels());
            let before = talk.held;
            talk.held = before.without(Traces::CHANNELS);
            talk.dirty = !talk.held.is_empty() || !talk.traces.is_empty();
            talk.listened = Vec::new();
            let (client, now) = (self.member.entry().id, talk.held);
            self.context.pins.change(client, &active.lease, (before, now));
        } else {
            self.context.hub.cut_failed(self.member.entry().id, &talk.listened);
            let why =
                error.as_deref().and_then(|error| backend::field(error, b'M')).unwrap_or(b"no marker came");
            let why = String::from_utf8_lossy(why);
            tracing::warn!(
                client = self.member.entry().id,
                "the client keeps its server, which listens for it: {why}"
            );
        }
        self.go_on(cx, scratch)
    }

    /// Something waits for the client in the hub: a notification, or the time to hand over.
    pub(in super::super) fn answer_knock(&mut self, cx: &mut Context<'_>) -> Turn {
        let entry = Arc::clone(self.member.entry());
        let may_be_told = match &self.link {
            Link::Idle | Link::Wanting | Link::Queued(..) | Link::Crowded(..) => true,
            Link::Active(active) => {
                active.step == Step::Between && active.lease.talk.is_free() && active.lease.inbound.is_empty()
            }
        };
        if !entry.has_mail() || !may_be_told || !self.outbound.is_empty() {
            return Turn::Again;
        }
        entry.answer_knock();
        self.let_go();
        let mail = self.context.hub.take_mail(entry.id);
        self.cells().client_bytes(0, mail.len() as u64);
        if let Err(error) = self.stream.write_or_keep(cx, &mail, &mut self.outbound) {
            return Turn::end(End::Lost(error));
        }
        self.hand_over(cx)
    }
}
