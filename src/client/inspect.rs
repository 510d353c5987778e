//! After a transaction that may have left session state: the server is asked what there is, so that the client finds it on
//! every server it gets, and stays with this one as long as it has what can't be moved.

use super::pins::REASONS;
use super::pool_context::PoolContext;
use super::session::{Link, Session, Turn};
use super::transaction::Step;
use crate::clock::Instant;
use crate::params::custom_names;
use crate::params::inspection::{self, Found, Question};
use crate::params::set::Set;
use crate::params::traces::Traces;
use crate::params::tracked;
use crate::pool::CloseReason;
use crate::prepared::registry::PREFIX;
use crate::roster::Phase;
use crate::server::conversation::{AskedNames, Conversation, Prepared};
use crate::server::exchange::{Action, Reply};
use crate::server::{NOBODY, SEVERAL};
use crate::wire::backend;
use crate::wire::frontend;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;

/// How often a question that was cancelled is asked again.
const ASKED_AGAIN: u8 = 2;

/// What a transaction that is over has changed for everybody: functions, roles, tables. Before its client hears of its end, who could
/// make another client use what has changed. Traces of the transactions behind it, whose replies have come with its own, stay.
#[cold]
pub(super) fn tell_others(context: &PoolContext, talk: &mut Conversation) {
    if talk.traces.has(Traces::REMADE) {
        context.routines.outdate();
        context.shared.roles_made.fetch_add(1, Ordering::Relaxed);
    }
    if talk.traces.has(Traces::RESHAPED) {
        context.scope.reshaped();
    }
    if talk.is_free() {
        talk.traces = talk.traces.without(Traces::OTHERS);
    }
}

impl Session {
    /// The transaction is over and may have left something: what that makes to be done before the server goes back.
    #[cold]
    pub(super) fn look_behind(&mut self, cx: &mut Context<'_>) -> Option<Turn> {
        if self.needs_inspection() {
            return Some(self.inspect(cx));
        }
        self.is_beyond_reset().then(|| {
            self.unfit = 0;
            self.count_transaction();
            self.close_spent()
        })
    }

    /// Whether there may be something to ask for, and an answer would be of use.
    #[cold]
    fn needs_inspection(&mut self) -> bool {
        let Link::Active(active) = &mut self.link else { return false };
        let talk = &mut active.lease.talk;
        tell_others(&self.context, talk);
        if talk.traces.has(Traces::REPORTED) {
            talk.traces = talk.traces.without(Traces::REPORTED);
            // Only PostgreSQL knows whether it is the session's. What is as it was before was set for the transaction.
            let same = |before| Arc::ptr_eq(before, &self.state.wanted);
            if !talk.reported_since.as_ref().is_none_or(same) {
                talk.note(Traces::SETTINGS);
            }
        }
        talk.traces.has(Traces::SHOWN.and(Traces::LASTING))
            && self.context.is_transparent()
            && talk.is_sound()
    }

    /// Whether the server, which the client would give back, has what no reset takes: another would meet it.
    #[cold]
    pub(super) fn is_beyond_reset(&self) -> bool {
        let Link::Active(active) = &self.link else { return false };
        let talk = &active.lease.talk;
        talk.traces.has(Traces::FOREVER) && talk.held.without(Traces::SEQUENCES).is_empty()
    }

    /// Closes a server that is beyond reset.
    #[cold]
    pub(super) fn close_spent(&mut self) -> Turn {
        self.close_for_another(CloseReason::ClientGone);
        self.link = Link::Idle;
        Turn::Again
    }

    /// Asks. The client has its ReadyForQuery; what it sends meanwhile is kept.
    #[cold]
    pub(super) fn inspect(&mut self, cx: &mut Context<'_>) -> Turn {
        let counted = matches!(&self.link, Link::Active(active) if active.step == Step::Between);
        if !counted {
            self.count_transaction();
        }
        let (client, mut custom) = (self.id(), self.customs());
        let own = self.state.wanted.iter().map(|(name, _)| name);
        let mut set_before: Vec<_> = own.filter(|name| custom_names::is_custom(name.as_bytes())).collect();
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let version = active.lease.version();
        active.lease.key.aim.at_prelude();
        if active.lease.talk.traces.has(Traces::TEMPORARY) {
            let first = matches!(active.lease.temporary_by, NOBODY) || active.lease.temporary_by == client;
            active.lease.temporary_by = if first { client } else { SEVERAL };
        }
        let talk = &mut active.lease.talk;
        if talk.asked == AskedNames::Ascii && !custom.iter().all(|name| name.is_ascii()) {
            custom.retain(|name| name.is_ascii());
            set_before.retain(|name| name.is_ascii());
            talk.note(Traces::HIDDEN);
        }
        let mut kinds = talk.traces.and(talk.held).within(Traces::SHOWN);
        if kinds.has(Traces::SETTINGS) {
            // With a new search_path, what was created behind it may have been temporary.
            kinds = kinds.and(Traces::TEMPORARY);
        }
        let user = &self.context.pool.key().user;
        let question = Question {
            kinds,
            user,
            custom: &custom,
            set_before: &set_before,
            began_with_role: self.state.wanted.first().value("role").is_some(),
            grants_parameters: version >= 15,
            statements: (!talk.names.is_empty()).then_some(PREFIX),
        };
        let mut bytes = Vec::new();
        frontend::query(&mut bytes, question.query().as_bytes());
        talk.exchange.expect(Reply::Query, Action::Prelude);
        talk.unnamed = None;
        talk.inspection = Some(Vec::new());
        active.step = Step::Inspect;
        self.write_server(cx, &bytes)
    }

    /// Custom parameters that the session may have set.
    fn customs(&self) -> Vec<Box<str>> {
        let own = self.state.wanted.iter().map(|(name, _)| name);
        let own = own.filter(|name| custom_names::is_custom(name.as_bytes())).map(Box::from);
        let (known, functions) = (self.context.customs.names(), self.context.routines.customs());
        known.into_iter().chain(functions).chain(own).collect()
    }

    /// A cancel that was under way when its query ended may have met the question instead: another one is answered. What
    /// statement_timeout has ended, it ends again.
    fn may_ask_again(&mut self) -> bool {
        let Link::Active(active) = &mut self.link else { return false };
        let talk = &mut active.lease.talk;
        talk.asked_in_vain += 1;
        let may = talk.asked_in_vain <= ASKED_AGAIN && talk.is_sound();
        if may {
            active.step = Step::Between;
        }
        may
    }

    /// Whether it is worth it to ask once more, without names that the database may be unable to hold.
    fn may_ask_less(&mut self) -> bool {
        let doubtful = !self.customs().iter().all(|name| name.is_ascii());
        let Link::Active(active) = &mut self.link else { return false };
        let talk = &mut active.lease.talk;
        let may = doubtful && talk.asked == AskedNames::All && talk.is_sound();
        if may {
            talk.asked = AskedNames::Ascii;
            // The transaction has been counted.
            active.step = Step::Between;
        }
        may
    }

    /// The answer is in.
    #[cold]
    pub(super) fn inspected(&mut self, cx: &mut Context<'_>, scratch: &mut Vec<u8>) -> Turn {
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        let talk = &mut active.lease.talk;
        let reply = talk.inspection.take().unwrap_or_default();
        let kinds = talk.traces.and(talk.held);
        let error = talk.heard.prelude_error.take();
        let canceled = error.as_deref().is_some_and(|error| backend::sqlstate(error) == *b"57014");
        let found = match error {
            None => inspection::read(&reply).map_err(|e| e.to_string()),
            Some(error) => {
                Err(String::from_utf8_lossy(backend::field(&error, b'M').unwrap_or(b"?")).into_owned())
            }
        };
        active.lease.key.aim.at_client();
        match found {
            Ok(found) => self.settle(kinds, found),
            Err(_) if canceled && self.may_ask_again() => return self.inspect(cx),
            Err(_) if self.may_ask_less() => return self.inspect(cx),
            Err(why) => self.stay_unsettled(kinds, &why),
        }
        if let turn @ Turn::End(_) = self.hand_over(cx) {
            return turn;
        }
        self.go_on(cx, scratch)
    }

    /// What pgweir had to ask is answered: the server goes back, or on with what the client has sent meanwhile.
    #[cold]
    pub(super) fn go_on(&mut self, cx: &mut Context<'_>, scratch: &mut Vec<u8>) -> Turn {
        let now = Instant::now();
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        if active.step == Step::Cut {
            return Turn::Again;
        }
        if active.lease.talk.held.is_empty() {
            // Whoever has sent its next already finds the last values of its sequences here.
            let keeps = active.lease.talk.may_be_asked() && self.may_hold();
            if !keeps {
                let turn = self.give_back(now);
                if !self.inbound.is_empty() {
                    self.link = Link::Wanting;
                }
                return turn;
            }
            if self.inbound.is_empty() {
                return self.hold_from(now);
            }
        }
        let Link::Active(active) = &mut self.link else { return Turn::Again };
        active.step = Step::Between;
        if self.inbound.is_empty() {
            return self.answer_knock(cx);
        }
        (active.lease.began, active.lease.query_began) = (now, now);
        active.lease.talk.had_its_sequences();
        active.step = Step::Relay;
        self.set_phase(Phase::Active, now);
        self.feed_waiting(cx, scratch)
    }

    /// Takes what was found for what the client wants and what the server has.
    fn settle(&mut self, kinds: Traces, found: Found) {
        if kinds.has(Traces::SETTINGS) {
            self.take_settings(&found);
        }
        let gone = if kinds.has(Traces::ALL_RESET) { Traces::NAMELESS } else { Traces::NONE };
        let mut held = found.held.and(kinds.within(Traces::LASTING).without(gone));
        if self.keeps_sequences()
            && matches!(&self.link, Link::Active(active) if active.lease.talk.may_be_asked())
        {
            held = held.and(Traces::SEQUENCES);
        }
        if kinds.has(Traces::CHANNELS) && !self.take_channels(&found.channels) {
            held = held.without(Traces::CHANNELS);
        }
        self.tie(held);
        let Link::Active(active) = &mut self.link else { return };
        let talk = &mut active.lease.talk;
        (talk.foreign_sequences, talk.asked_in_vain) = (false, 0);
        talk.prepared = Prepared::default();
        if let Some(left) = found.statements {
            talk.has_statements(&left, &mut self.state.statements);
        }
        talk.traces = kinds.within(Traces::HIDDEN);
        talk.dirty = !held.is_empty() || !talk.traces.is_empty();
    }

    /// From now on it is `held` that ties the client to its server.
    pub(super) fn tie(&mut self, held: Traces) {
        let client = self.id();
        let Link::Active(active) = &mut self.link else { return };
        let before = std::mem::replace(&mut active.lease.talk.held, held);
        self.context.pins.change(client, &active.lease, (before, held));
        if held.has(Traces::PINS) && !before.has(Traces::PINS) {
            self.context.tell_if_crowded(client, held);
        }
        let new = REASONS.iter().filter(|(kind, _)| held.has(*kind) && !before.has(*kind));
        let (cells, key) = (self.context.cells(), self.context.pool.key());
        for (kind, reason) in new.filter(|(kind, _)| *kind != Traces::CHANNELS) {
            cells.pinned(*reason);
            if self.context.pins.is_first(client, *kind) {
                let (database, user, reason) = (&*key.database, &*key.user, reason.label());
                tracing::info!(client, database, user, reason, "client keeps its server");
            }
        }
    }

    /// RESET has gone to the server's own value; the client's is the one it began with. What it has set counts though it is the
    /// default here: it needn't be the default of another server.
    fn take_settings(&mut self, found: &Found) {
        let sets = &self.context.shared.sets;
        let first = Arc::clone(self.state.wanted.first());
        let set = || found.settings.iter().map(|(name, value)| (&**name, &**value));
        let channels =
            |set: &Arc<Set>, of: &Set| sets.listening(set, of.channels().iter().map(|name| &**name));
        let has = sets.since(&first, set());
        let wanted = sets.since(&first, first.iter().chain(set()));
        let wanted = channels(&wanted, &self.state.wanted);
        let reported = std::mem::replace(&mut self.state.wanted, wanted);
        self.note_idle_timeout();
        let Link::Active(active) = &mut self.link else { return };
        let talk = &mut active.lease.talk;
        talk.parameters = channels(&has, &talk.parameters);
        let Some(before) = talk.reported_since.take() else { return };
        // What was reported and isn't the session's is the server's: its configuration was read again.
        let news = reported.iter().filter(|(name, value)| {
            before.value(name) != Some(value) && has.value(name).is_none() && first.value(name).is_none()
        });
        for (name, value) in news {
            active.lease.default_changed(name, value);
            self.context.default_changed(name, value);
        }
    }

    /// Parameters were reported. Whether they are the client's own, the inspection tells for sure.
    pub(super) fn hear_parameters(&mut self) {
        let Link::Active(active) = &mut self.link else { return };
        for (name, value, own) in std::mem::take(&mut active.lease.talk.heard.parameters) {
            if !tracked::follows_client(&name) {
                continue;
            }
            if own {
                self.hear_default(&name, &value);
                continue;
            }
            let Link::Active(active) = &mut self.link else { return };
            let sets = &self.context.shared.sets;
            let value = active.lease.reported(&name, &value, &self.state.wanted).then_some(&*value);
            let talk = &mut active.lease.talk;
            talk.parameters = sets.with(&talk.parameters, &name, value);
            self.state.wanted = sets.with(&self.state.wanted, &name, value);
            if self.context.is_transparent() {
                talk.traces = talk.traces.and(Traces::REPORTED);
            }
        }
    }

    /// A parameter was reported behind what pgweir asked: one that was not replayed is at the server's default.
    fn hear_default(&mut self, name: &str, value: &str) {
        let Link::Active(active) = &mut self.link else { return };
        let replayed = active.lease.talk.parameters.value(&name.to_ascii_lowercase()).is_some();
        if !replayed && !active.lease.began_with(name, value) {
            active.lease.default_changed(name, value);
            self.context.default_changed(name, value);
        }
    }

    /// It can't be known what there is: the client keeps the server, and it is asked again after the next transaction.
    fn stay_unsettled(&mut self, kinds: Traces, why: &str) {
        let (client, kinds) = (self.id(), kinds.without(Traces::ALL_RESET));
        tracing::warn!(client, "session state could not be read, the client keeps its server: {why}");
        if let Link::Active(active) = &mut self.link {
            self.context.pins.change(client, &active.lease, (active.lease.talk.held, kinds));
            active.lease.talk.held = kinds;
            active.lease.talk.asked_in_vain = 0;
        }
    }
}
