//! Parse, Bind, Describe and Close: one name space per client over many servers.
//!
//! Errors are left to PostgreSQL wherever it can raise them, so that the transaction's status is right: a name nobody
//! knows is sent as it is, a Parse of a name that is taken is sent under the name of the statement that has it.

use super::{Feed, Message, Names, Pause, Step, by_name::ends_transaction};
use crate::params::traces::Traces;
use crate::prepared::client_statements::{KEPT, Unnamed, significant};
use crate::prepared::registry::{NOBODYS, PREFIX, Statement, TAKEN};
use crate::server::conversation::Promise;
use crate::server::exchange::{Action, Exchange, Reply, Status};
use crate::wire::frame::HEADER;
use crate::wire::frontend::{self, BindNames, Parse, Target};
use std::borrow::Cow;
use std::sync::Arc;

/// Longest front of a Bind that may hold its two names, in bytes.
pub(super) const LONGEST_NAMES: usize = 16 * 1024;

impl<'a, 'b> Feed<'a, 'b> {
    pub(super) fn parse(&mut self, message: Message<'b>) -> Step {
        if self.rules.names == Names::Passed {
            self.parse_passed(message.body);
            return Step::Forward;
        }
        if !message.is_whole() {
            if message.header.size < KEPT {
                return Step::Pause(Pause::More);
            }
            return self.parse_large(message);
        }
        let Ok(parse) = Parse::read(message.body) else { return self.parse_malformed() };
        if parse.name.is_empty() {
            let traces = self.traces(parse.query);
            if traces.has(Traces::NAMES) {
                return self.parse_by_name(parse, traces);
            }
            if let Err(pause) = self.own_sequences(traces) {
                return Step::Pause(pause);
            }
            self.parse_unnamed(parse.definition, traces);
            return Step::Forward;
        }
        self.parse_named(parse)
    }

    /// PostgreSQL reads it to its end by the same rule before it does anything, and says what is wrong.
    #[cold]
    fn parse_malformed(&mut self) -> Step {
        self.server.exchange.expect(Reply::Parse, Action::Forward);
        Step::Forward
    }

    pub(super) fn parse_unnamed(&mut self, definition: &[u8], traces: Traces) {
        let previous = self.replaced_unnamed();
        let exchange = &mut self.server.exchange;
        let generation = self.client.set_unnamed(definition, traces);
        self.server.unnamed = Some((self.rules.client, generation));
        exchange.expect(Reply::Parse, Action::Forward);
        exchange.promise(Promise::ClientUnnamed(previous));
    }

    /// The client's unnamed statement, taken out to be put back if what replaces it is skipped.
    fn replaced_unnamed(&mut self) -> Option<Unnamed> {
        let kept = self.client.unnamed().is_some() && !self.server.exchange.is_drained();
        kept.then(|| self.client.take_unnamed())
    }

    /// A Query ends the unnamed statement, unless it is skipped for an earlier failure.
    #[inline]
    pub(super) fn query_drops_unnamed(&mut self) {
        let skippable = !self.server.exchange.is_drained();
        let any = skippable
            && (self.server.unnamed.is_some()
                || self.client.unnamed().is_some()
                || self.server.exchange.promises().any(|p| matches!(p, Promise::ClientUnnamed(_))));
        let replaced = if skippable { self.replaced_unnamed() } else { None };
        self.client.drop_unnamed();
        self.server.unnamed = None;
        self.server.exchange.expect(Reply::Query, Action::Forward);
        if any {
            self.server.exchange.promise(Promise::ClientUnnamed(replaced));
        }
    }

    pub(super) fn parse_named(&mut self, parse: Parse<'_>) -> Step {
        let name = significant(parse.name);
        if self.is_unsettled_name(name) {
            return Step::Pause(Pause::Stall);
        }
        if let Some(taken) = self.client.names.find(name).map(Arc::clone) {
            if !self.server.exchange.is_status_known() {
                return Step::Pause(Pause::Stall);
            }
            return self.parse_taken(taken, parse);
        }
        let (registry, looks) = (self.rules.registry, self.rules.looks);
        // Looked at though others may have it: what it names is learned by each pool.
        let traces = looks.of_words(parse.query);
        if traces.has(Traces::NAMES)
            && let Some(definition) = self.disowned(parse.definition)
        {
            let query = definition.split(|b| *b == 0).next().unwrap_or_default();
            return self.parse_named(Parse { name: parse.name, query, definition: &definition });
        }
        let statement = match self.context() {
            Some(context) if !traces.has(Traces::LASTING) => {
                registry.intern(self.rules.scope, &context, parse.definition, || traces)
            }
            _ => registry.unshared(self.rules.scope, parse.definition, traces),
        };
        // At its Bind this Parse is owed.
        if self.server.foreign_sequences
            && let Err(pause) = self.own_sequences(self.rules.looks.of_statement(&statement))
        {
            return Step::Pause(pause);
        }
        let known = self.server.names.touch(statement.id());
        if self.is_unsettled_statement(&statement) || known && !self.server.exchange.is_status_known() {
            return Step::Pause(Pause::Stall);
        }
        if statement.traces().has(Traces::NAMES)
            && let Err(pause) = self.declare_in_batch(parse.query)
        {
            return Step::Pause(pause);
        }
        if self.server.may_have_names() {
            self.try_name(&parse);
        }
        self.server.tally.client_parses += 1;
        if known {
            self.parse_known(&statement, parse);
        } else {
            self.inject_parse(statement.server_name(), parse.definition, Reply::Parse, Action::Forward);
            self.now_has(&statement);
        }
        self.server.exchange.promise(Promise::ClientNamed(name.into()));
        if !known {
            self.ask_what_it_made_of(&statement);
        }
        self.client.names.share(name, statement, &self.rules.registry.names);
        self.evict();
        Step::Replaced
    }

    /// A Parse of a name that is taken: it fails by that, or because the transaction has failed, or by its text.
    fn parse_taken(&mut self, taken: Arc<Statement>, parse: Parse<'_>) -> Step {
        let failed = self.server.exchange.status() == Status::Failed;
        if failed && !self.is_within_batch() && !ends_transaction(parse.query) {
            // What is looked at before the name says all.
            self.inject_parse(NOBODYS, parse.definition, Reply::DuplicateParse, Action::Forward);
            return Step::Replaced;
        }
        if self.is_unsettled_statement(&taken) {
            return Step::Pause(Pause::Stall);
        }
        if self.server.names.touch(taken.id()) {
            self.inject_parse(taken.server_name(), parse.definition, Reply::DuplicateParse, Action::Forward);
            self.note_name(parse.name, false);
            return Step::Replaced;
        }
        // What the name stands for may not be there to be parsed in today's session: any statement of any name will do.
        self.out.inject(|v| frontend::close_statement(v, TAKEN));
        self.server.exchange.expect(Reply::Close, Action::Swallow);
        self.inject_parse(TAKEN, b"\0\0\0", Reply::Parse, Action::Swallow);
        self.inject_parse(TAKEN, parse.definition, Reply::DuplicateParse, Action::Forward);
        self.note_name(parse.name, true);
        Step::Replaced
    }

    /// Whether what was asked before in the batch may have ended the transaction, or yet end it: a Parse may succeed in spite of the
    /// status known last.
    fn is_within_batch(&self) -> bool {
        self.server.exchange.needs_sync() || !self.server.exchange.is_drained()
    }

    /// The server has the statement already. In a failed transaction PostgreSQL refuses a Parse all the same, unless
    /// it ends the transaction; so whether this is one must be known.
    fn parse_known(&mut self, statement: &Arc<Statement>, parse: Parse<'_>) {
        let failed = self.server.exchange.status() == Status::Failed && !ends_transaction(parse.query);
        if failed && self.is_within_batch() {
            self.out.inject(|v| frontend::close_statement(v, statement.server_name()));
            self.server.exchange.expect(Reply::Close, Action::Swallow);
            self.server.exchange.promise(Promise::ServerLacks(Arc::clone(statement)));
            self.inject_parse(statement.server_name(), parse.definition, Reply::Parse, Action::Forward);
            self.server.exchange.promise(Promise::ServerHas(statement.id()));
        } else if failed {
            self.inject_parse(
                statement.server_name(),
                parse.definition,
                Reply::DuplicateParse,
                Action::Forward,
            );
        } else {
            self.server.exchange.expect(Reply::Parse, Action::Local);
            self.server.tally.hits += 1;
        }
    }

    pub(super) fn bind(&mut self, message: Message<'b>) -> Step {
        let exchange = &mut self.server.exchange;
        let names = if self.rules.names == Names::Kept { BindNames::read(message.body) } else { None };
        let Some(names) = names else {
            if self.rules.names == Names::Kept && !message.is_whole() && message.body.len() < LONGEST_NAMES {
                return Step::Pause(Pause::More);
            }
            exchange.expect(Reply::Bind, Action::Forward);
            return Step::Forward;
        };
        if let Some(instead) = self.refused_bind(names.statement) {
            return self.bind_instead(&names, &instead);
        }
        let body = (message.end - message.body.len(), message.end);
        let (server_name, traces) = match self.use_statement(names.statement, Some(body)) {
            Ok(used) => used,
            Err(pause) => return Step::Pause(pause),
        };
        if traces.has(Traces::NAMES)
            && let Err(pause) = self.declare_for_bind(names.statement)
        {
            return Step::Pause(pause);
        }
        self.note_portal(names.portal, names.statement, traces);
        if traces.has(Traces::LOCAL_CONTEXT) {
            // Behind the statement's text come the values it is given.
            let told = [&self.text_of(names.statement), &message.body[names.size..]].concat();
            self.server.note_local_set(&told);
        }
        if traces.has(Traces::HIDDEN) && traces.has(Traces::SETTINGS) {
            let text = self.text_of(names.statement);
            if !self.rules.looks.customs.learn_bound(&text, message.body) {
                self.server.note(Traces::UNREAD);
            }
        }
        self.server.exchange.expect(Reply::Bind, Action::Forward);
        self.server.tally.binds += 1;
        let Some(server_name) = server_name else { return Step::Forward };
        self.note_sent(names.statement, &server_name);
        let rest = message.header.size - HEADER - names.size;
        self.out.inject(|v| frontend::bind_names(v, names.portal, server_name.bytes(), rest));
        Step::Front(names.size)
    }

    pub(super) fn describe(&mut self, message: Message<'b>) -> Step {
        if !message.is_whole() {
            return Step::Pause(Pause::More);
        }
        let (mut renamed, mut called) = (None, &b""[..]);
        if self.rules.names == Names::Kept
            && let Ok(Target::Statement(name)) = Target::read(message.body)
        {
            called = name;
            match self.use_statement(name, None) {
                Ok((server_name, _)) => renamed = server_name,
                Err(pause) => return Step::Pause(pause),
            }
        }
        self.server.exchange.expect(Reply::Describe, Action::Forward);
        let Some(server_name) = renamed else { return Step::Forward };
        self.note_sent(called, &server_name);
        self.out.inject(|v| frontend::describe_statement(v, server_name.bytes()));
        Step::Replaced
    }

    pub(super) fn close(&mut self, message: Message<'b>) -> Step {
        if !message.is_whole() {
            return Step::Pause(Pause::More);
        }
        let exchange = &mut self.server.exchange;
        let target = if self.rules.names == Names::Kept {
            Target::read(message.body)
        } else {
            Ok(Target::Portal(b""))
        };
        let Ok(Target::Statement(name)) = target else {
            exchange.expect(Reply::Close, Action::Forward);
            return Step::Forward;
        };
        let name = significant(name);
        if self.is_unsettled_name(name) {
            return Step::Pause(Pause::Stall);
        }
        let exchange = &mut self.server.exchange;
        if let Some(statement) = self.client.names.remove(name) {
            exchange.expect(Reply::Close, Action::Local);
            exchange.promise(Promise::ClientClosed(name.into(), statement));
            return Step::Replaced;
        }
        exchange.expect(Reply::Close, Action::Forward);
        if !name.is_empty() && self.server.held.has(Traces::STATEMENTS) {
            self.server.note(Traces::STATEMENTS);
        }
        let exchange = &mut self.server.exchange;
        if name.is_empty() {
            self.server.unnamed = None;
            let closed = self.client.take_unnamed();
            exchange.promise(Promise::ClientUnnamed(Some(closed)));
        } else if name.starts_with(PREFIX.as_bytes()) {
            self.out.inject(|v| frontend::close_statement(v, NOBODYS));
            return Step::Replaced;
        }
        Step::Forward
    }

    /// The client's unnamed statement, on whatever server it was parsed; without one, PostgreSQL must not have one.
    pub(super) fn use_unnamed(&mut self) -> Result<Traces, Pause> {
        let unnamed = |p: &Promise| matches!(p, Promise::ClientUnnamed(_) | Promise::ServerUnnamed);
        if self.server.exchange.is_newest_unsettled(unnamed) {
            return Err(Pause::Stall);
        }
        let exchange = &mut self.server.exchange;
        let Some((definition, generation, traces)) = self.client.unnamed() else {
            let own = (self.rules.client, self.client.unnamed_generation());
            if self.server.unnamed.is_some_and(|owner| owner != own) {
                self.out.inject(|v| frontend::close_statement(v, b""));
                exchange.expect(Reply::Close, Action::Swallow);
                exchange.promise(Promise::ServerUnnamed);
                self.server.unnamed = None;
            }
            return Ok(Traces::NONE);
        };
        let owner = Some((self.rules.client, generation));
        if self.server.unnamed != owner {
            if traces.has(Traces::NAMES) {
                let definition = definition.to_vec();
                let sent = self.renamed(&definition)?.unwrap_or(definition);
                self.out.inject(|v| Parse::encode(v, b"", &sent));
            } else {
                self.out.inject(|v| Parse::encode(v, b"", definition));
            }
            self.server.exchange.expect(Reply::Parse, Action::Swallow);
            self.server.exchange.promise(Promise::ServerUnnamed);
            self.server.unnamed = owner;
        }
        self.server.note(traces);
        Ok(traces)
    }

    /// The values what is sent now is parsed by, if they are known. Temporary tables hide others of their names.
    #[inline]
    pub(super) fn context(&mut self) -> Option<Cow<'a, [u8]>> {
        if self.server.traces.and(self.server.held).has(Traces::TEMPORARY) {
            return None;
        }
        if self.server.knows_context() {
            return Some(Cow::Borrowed(self.rules.parse_context));
        }
        let sets = self.server.local_context()?.get().to_be_bytes();
        Some(Cow::Owned([self.rules.parse_context, b"\0local", &sets].concat()))
    }

    pub(super) fn inject_parse(&mut self, name: &[u8], definition: &[u8], reply: Reply, action: Action) {
        self.out.inject(|v| Parse::encode(v, name, definition));
        self.server.exchange.expect(reply, action);
        self.server.tally.server_parses += 1;
    }

    pub(super) fn now_has(&mut self, statement: &Arc<Statement>) {
        self.server.exchange.promise(Promise::ServerHas(statement.id()));
        self.server.names.insert(Arc::clone(statement));
    }

    /// Closes what exceeds `max_prepared_statements`, in stream order: what the batch still needs is parsed again. What an
    /// earlier batch may still change stays until that is settled.
    pub(super) fn evict(&mut self) {
        loop {
            let exchange = &self.server.exchange;
            let may_go = |s: &Statement| !is_unsettled(exchange, s);
            let Some(statement) = self.server.names.evict(may_go) else { return };
            self.out.inject(|v| frontend::close_statement(v, statement.server_name()));
            self.server.exchange.expect(Reply::Close, Action::Swallow);
            self.server.exchange.promise(Promise::ServerLacks(statement));
            self.server.heard.evicted += 1;
        }
    }

    pub(super) fn is_unsettled_name(&self, name: &[u8]) -> bool {
        self.server.exchange.unsettled().any(|p| match p {
            Promise::ClientNamed(n) | Promise::ClientClosed(n, _) | Promise::Deallocates(n) => **n == *name,
            Promise::Drops => true,
            _ => false,
        })
    }

    pub(super) fn is_unsettled_statement(&self, statement: &Statement) -> bool {
        is_unsettled(&self.server.exchange, statement)
    }
}

fn is_unsettled(exchange: &Exchange<Promise>, statement: &Statement) -> bool {
    exchange.unsettled().any(|p| match p {
        Promise::ServerHas(id) => *id == statement.id(),
        Promise::ServerLacks(s) => s.id() == statement.id(),
        _ => false,
    })
}
