//! What becomes of a client's messages on their way to a server: passed as they are, renamed, preceded by a Parse, or
//! answered here. Pure: bytes of the client in, bytes for the server out, expectations into the exchange.

mod by_name;
mod declare;
mod execute;
mod large;
#[cfg(test)]
mod model;
mod needed;
mod refuse;
mod sent;
mod statements;
#[cfg(test)]
mod tests;

pub use declare::ALL;
pub use refuse::{Admits, Refuses, would_pin};

use crate::params::custom::Customs;
use crate::params::custom_names::Where;
use crate::params::routines::Routines;
use crate::params::statement::{LONGEST_SCAN, Scanner};
use crate::params::traces::{self, Traces};
use crate::prepared::client_statements::ClientStatements;
use crate::prepared::registry::{Registry, Statement};
use crate::prepared::shape::Scope;
use crate::server::conversation::{Conversation, Promise};
use crate::server::exchange::{Action, Fate, Reply, Status};
use crate::server::prelude::DISCARD_SEQUENCES;
use crate::wire::error::WireError;
use crate::wire::frame::{self, HEADER, Header};
use crate::wire::frontend;
use crate::wire::outgoing::Outgoing;
use crate::wire::scan::{self, Stop};
use crate::wire::tag::frontend as f;
use std::sync::Arc;

/// What a text tells about the SETs in it.
const ANY_SET: Traces = Traces::LOCAL_SET.and(Traces::NAMED_SET).and(Traces::RESETS).and(Traces::LOOKED_AT);

/// Most replies left unanswered by pgweir itself before they are sent without waiting for the server's next bytes.
const LOCAL_BACKLOG: usize = 1024;

/// What deciding needs that isn't the client's or the server's.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// All statements of the process.
    pub registry: &'a Registry,
    /// Who shares statements: the pool.
    pub scope: &'a Arc<Scope>,
    /// Tells what statements leave.
    pub looks: Looks<'a>,
    /// Statements that are refused.
    pub refuses: Refuses<'a>,
    /// Whether statement names are the client's own (transaction and statement mode) or PostgreSQL's (session mode).
    pub names: Names,
    /// Identifies the client, never reused.
    pub client: u64,
    /// The values parsing depends on.
    pub parse_context: &'a [u8],
}

/// What tells from a text which session state it leaves.
#[derive(Debug, Clone, Copy)]
pub struct Looks<'a> {
    /// By its words.
    pub scanner: &'a Scanner,
    /// By the functions it runs.
    pub routines: &'a Routines,
    /// Learns the names of custom parameters.
    pub customs: &'a Customs,
}

impl Looks<'_> {
    /// What running a text leaves behind, functions included.
    #[inline]
    fn traces(self, text: &[u8]) -> Traces {
        self.asking(self.of_words(text).and(self.of_functions(text)))
    }

    /// The same of a statement whose words have been looked at.
    #[inline]
    fn of_statement(self, statement: &Statement) -> Traces {
        self.asking(statement.traces().and(self.of_functions(statement.definition())))
    }

    /// What functions leave behind that a text may call. The parameters they set may be named only in what they are told.
    #[inline]
    fn of_functions(self, text: &[u8]) -> Traces {
        let mut traces = self.routines.traces(text);
        if traces.has(Traces::STATEMENTS) {
            // What it is told to run may name statements.
            traces = traces.and(traces::of_text(text).within(Traces::NAMES));
        }
        if traces.has(Traces::SETTINGS) && !self.customs.learn(text, Where::Quoted) {
            return traces.and(Traces::UNREAD);
        }
        traces
    }

    /// Has the pool's servers forget their sequences from now on if a client asks for its own.
    #[inline]
    fn asking(self, traces: Traces) -> Traces {
        if traces.has(Traces::SEQUENCES) && !self.customs.asks_sequences() {
            self.customs.ask_sequences();
            self.routines.want_sequences();
        }
        traces
    }

    /// What a text leaves behind by its words alone; what it tells about custom parameters is learned.
    #[inline]
    fn of_words(self, text: &[u8]) -> Traces {
        let traces = self.scanner.traces(text);
        if traces.is_empty() { traces } else { self.learned(text, traces) }
    }

    #[cold]
    fn learned(self, text: &[u8], traces: Traces) -> Traces {
        if text.len() > LONGEST_SCAN {
            return if self.customs.learn_piece(text) { traces } else { traces.and(Traces::UNREAD) };
        }
        let runs = traces.has(Traces::HIDDEN.and(Traces::NAMES).and(Traces::LOCKS).and(Traces::TEMPORARY));
        let searched = if runs { Where::Quoted } else { Where::Set };
        if self.customs.learn(text, searched) || traces.has(Traces::LOCAL_SET) {
            return traces;
        }
        traces.without(Traces::NAMED_SET).and(Traces::UNREAD)
    }
}

/// Who keeps a client's statement names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// pgweir: the statements work on any server.
    Kept,
    /// PostgreSQL: the client stays on one server.
    Passed,
}

/// Why no more was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Everything is taken, or what is left is the beginning of a message that needs its rest.
    More,
    /// The next message depends on replies still owed; it comes again when they are in.
    Stall,
    /// Terminate.
    Terminate,
    /// The next message isn't the protocol's.
    Wrong(WireError),
}

/// What was done with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// Bytes used.
    pub used: usize,
    /// Why it stopped.
    pub pause: Pause,
    /// Whether answers of pgweir itself shall not wait for the server's next bytes.
    pub flush: bool,
}

/// One chunk's way through.
struct Feed<'a, 'b> {
    rules: Rules<'a>,
    client: &'a mut ClientStatements,
    server: &'a mut Conversation,
    input: &'b [u8],
    out: &'a mut Outgoing<'b>,
}

/// A whole or partial message within the input.
#[derive(Clone, Copy)]
struct Message<'b> {
    header: Header,
    /// Its body as far as it is here.
    body: &'b [u8],
    /// Where in the input what is here of it ends.
    end: usize,
}

impl Message<'_> {
    fn is_whole(&self) -> bool {
        HEADER + self.body.len() == self.header.size
    }
}

/// How a message was dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Passed as it is, or as far as it is here.
    Forward,
    /// Replaced by what was injected; nothing of the message itself is to be sent.
    Replaced,
    /// The first bytes of its body were replaced; the rest passes.
    Front(usize),
    /// Not dealt with yet.
    Pause(Pause),
}

/// Takes bytes of the client.
///
/// # Errors
/// When they aren't the protocol: nothing of the offending message was sent, the client is to be told and dropped.
#[inline]
pub fn feed<'b>(
    rules: Rules<'_>,
    client: &mut ClientStatements,
    server: &mut Conversation,
    input: &'b [u8],
    out: &mut Outgoing<'b>,
) -> Result<Fed, WireError> {
    let mut feed = Feed { rules, client, server, input, out };
    feed.run()
}

/// Takes a chunk that is one whole Query, to a server that owes nothing: what nearly every chunk of the simple protocol is,
/// and what [`feed`] would forward as it is. `false`: it is something else, and nothing was done.
#[inline]
pub fn feed_lone_query(
    looks: Looks<'_>,
    client: &mut ClientStatements,
    server: &mut Conversation,
    input: &[u8],
) -> bool {
    let lone = input.first() == Some(&f::QUERY)
        && matches!(frame::header(input), Ok(Some(header)) if header.size == input.len())
        && server.is_between_batches();
    if lone {
        let traces = looks.traces(&input[HEADER..]);
        const LOOKED_INTO: Traces =
            Traces::NAMES.and(Traces::SEQUENCES).and(Traces::RESETS).and(Traces::LOCAL_CONTEXT);
        if traces.has(LOOKED_INTO) {
            return false;
        }
        server.note(traces);
        client.drop_unnamed();
        server.unnamed = None;
        server.exchange.expect(Reply::Query, Action::Forward);
        if traces.has(ANY_SET) {
            server.exchange.promise(Promise::Set(traces));
        }
    }
    lone
}

impl<'b> Feed<'_, 'b> {
    #[inline]
    fn run(&mut self) -> Result<Fed, WireError> {
        let mut at = self.server.sending.min(self.input.len());
        if at > 0 && self.server.read_up_to.is_some() {
            self.read_on(at);
        }
        if self.server.sending_fate == Fate::Forward {
            self.out.forward(0..at);
        }
        self.server.sending -= at;
        if self.server.sending > 0 {
            return Ok(Fed { used: at, pause: Pause::More, flush: false });
        }
        self.server.sending_fate = Fate::Forward;
        let mut flush = false;
        let pause = loop {
            let run = self.plain_run(at);
            self.out.forward(at..run);
            at = run;
            let (end, stop) = scan::frontend(self.input, at)?;
            self.out.forward(at..end);
            at = end;
            let header = match stop {
                Stop::Split => break Pause::More,
                Stop::Through(more) => {
                    self.server.sending = more;
                    break Pause::More;
                }
                Stop::Decision(header) => header,
            };
            frame::check_frontend(header)?;
            let here = header.size.min(self.input.len() - at);
            let message = Message { header, body: &self.input[at + HEADER..at + here], end: at + here };
            match self.message(message) {
                Step::Pause(pause) => break pause,
                Step::Replaced if here < header.size => self.server.sending_fate = Fate::Swallow,
                Step::Replaced => {}
                Step::Forward => self.out.forward(at..at + here),
                Step::Front(size) => self.out.forward(at + HEADER + size..at + here),
            }
            flush |= header.tag == f::FLUSH;
            at += here;
            self.server.sending = header.size - here;
            if self.server.sending > 0 {
                break Pause::More;
            }
        };
        flush |= self.server.exchange.owed() > LOCAL_BACKLOG;
        Ok(Fed { used: at, pause, flush })
    }

    /// Takes the whole messages from `at` on that [`Self::message`] would forward whatever they say, the tail of nearly every
    /// batch: Describe of a portal, Execute, Sync. Returns where they end.
    #[inline]
    fn plain_run(&mut self, mut at: usize) -> usize {
        let exchange = &mut self.server.exchange;
        if exchange.is_skipping() || exchange.is_copy_in() || !self.server.portals.is_empty() {
            return at;
        }
        while let Some(&[tag, a, b, c, d]) = self.input[at..].first_chunk::<HEADER>() {
            let length = u32::from_be_bytes([a, b, c, d]);
            let end = at + 1 + length as usize;
            if !(4..=frame::SMALL).contains(&length) || end > self.input.len() {
                break;
            }
            let reply = match tag {
                f::EXECUTE => Reply::Execute,
                f::SYNC => Reply::Sync,
                f::DESCRIBE if length > 4 && self.input[at + HEADER] == b'P' => Reply::Describe,
                _ => break,
            };
            exchange.expect(reply, Action::Forward);
            at = end;
        }
        at
    }

    #[inline]
    fn message(&mut self, message: Message<'b>) -> Step {
        if self.server.is_held_back() || self.server.exchange.is_crowded() {
            return Step::Pause(Pause::Stall);
        }
        let exchange = &mut self.server.exchange;
        if exchange.is_skipping() && message.header.tag != f::SYNC && message.header.tag != f::TERMINATE {
            return Step::Forward;
        }
        match message.header.tag {
            f::QUERY => return self.query(message),
            f::PARSE => return self.parse(message),
            f::BIND => return self.bind(message),
            f::DESCRIBE => return self.describe(message),
            f::CLOSE => return self.close(message),
            f::EXECUTE => return self.execute(message),
            f::FLUSH if message.header.size > HEADER && !exchange.is_copy_in() => {
                exchange.expect(Reply::BadFlush, Action::Forward);
            }
            f::SYNC if exchange.is_copy_in() => exchange.sync_in_copy(),
            f::SYNC => exchange.expect(Reply::Sync, Action::Forward),
            f::COPY_DONE | f::COPY_FAIL => exchange.expect(Reply::CopyEnd, Action::Forward),
            f::FUNCTION_CALL => {
                exchange.expect(Reply::FunctionCall, Action::Forward);
                self.server.note(Traces::ALL);
            }
            f::TERMINATE => return Step::Pause(Pause::Terminate),
            _ => {}
        }
        Step::Forward
    }

    #[inline]
    fn refused(&self, text: &[u8]) -> Option<String> {
        match self.rules.refuses {
            Refuses::Nothing => None,
            refuses => refuses.instead_of(self.rules.looks, self.client, text),
        }
    }

    /// Whoever asks for the last value it had of a sequence must not be told that of the server's last client. Within a
    /// transaction it is too late, but then it is known from the next one on that there are such clients. Before anything but
    /// the prelude has been asked it's not, but that has to be answered first.
    fn own_sequences(&mut self, traces: Traces) -> Result<(), Pause> {
        let server = &mut self.server;
        if !traces.has(Traces::SEQUENCES) || !server.foreign_sequences {
            return Ok(());
        }
        if server.exchange.owes_only_prelude() {
            return Err(Pause::Stall);
        }
        if server.is_between_batches() && server.exchange.status() == Status::Idle {
            self.out.inject(|v| frontend::query(v, DISCARD_SEQUENCES.as_bytes()));
            server.exchange.expect(Reply::Query, Action::Swallow);
            server.unnamed = None;
            server.foreign_sequences = false;
        }
        Ok(())
    }

    #[inline]
    fn traces(&self, text: &[u8]) -> Traces {
        self.rules.looks.traces(text)
    }

    #[inline]
    fn query(&mut self, message: Message<'b>) -> Step {
        if !message.is_whole() && message.body.len() < LONGEST_SCAN {
            return Step::Pause(Pause::More);
        }
        if let Some(instead) = self.refused(message.body) {
            self.query_drops_unnamed();
            self.out.inject(|v| frontend::query(v, instead.as_bytes()));
            return Step::Replaced;
        }
        let traces =
            if message.is_whole() { self.traces(message.body) } else { self.begin_long(message.body) };
        if traces.has(Traces::NAMES)
            && message.is_whole()
            && let Some(step) = self.query_by_name(message.body)
        {
            return step;
        }
        if traces.has(Traces::NAMES)
            && message.is_whole()
            && let Some(pause) = self.declare_for_query(message.body)
        {
            return Step::Pause(pause);
        }
        if let Err(pause) = self.own_sequences(traces) {
            return Step::Pause(pause);
        }
        self.server.note(traces);
        if traces.has(Traces::LOCAL_CONTEXT) {
            self.server.note_local_set(message.body);
        }
        self.query_drops_unnamed();
        if traces.has(Traces::NAMES) {
            self.server.exchange.promise(Promise::Drops);
        }
        if traces.has(ANY_SET) {
            self.server.exchange.promise(Promise::Set(traces));
        }
        if traces.has(Traces::RESETS) {
            self.server.hold_back(message.body);
        }
        if traces.has(Traces::NAMES)
            && message.is_whole()
            && let Some(other) = self.disowned(message.body)
        {
            self.out.inject(|v| frontend::query(v, other.strip_suffix(&[0]).unwrap_or(&other)));
            return Step::Replaced;
        }
        Step::Forward
    }
}
