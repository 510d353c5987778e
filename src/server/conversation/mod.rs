//! What is known of one PostgreSQL session: the replies it owes, its statements and parameters, whether it is dirty.
//! Pure: bytes of the server in, bytes for the client out.

mod afterword;
mod answer;
mod context;
mod described;
mod effects;
mod errors;
mod heard;
mod notifications;
mod overdue;
mod promises;
mod retry;
mod sequences;

use super::exchange::{Action, Exchange, Fate, Reply};
use crate::params::set::Set;
use crate::params::statement;
use crate::params::traces::Traces;
use crate::prepared::by_name;
use crate::prepared::client_statements::ClientStatements;
use crate::prepared::rewrite::Gone;
use crate::prepared::server_names::ServerNames;
use crate::wire::backend;
use crate::wire::encode;
use crate::wire::error::WireError;
use crate::wire::frame::{HEADER, Header};
use crate::wire::outgoing::Outgoing;
use crate::wire::scan::{self, Stop};
use crate::wire::tag::backend as b;
pub use afterword::{Afterword, Prepared};
use answer::LONGEST_ANSWER;
pub use answer::LONGEST_OF_FUNCTIONS;
pub use context::ParseContext;
pub use described::Described;
use effects::tells_of_copy_data;
pub use errors::Bound;
pub use heard::Heard;
pub use notifications::Cut;
pub use overdue::Overdue;
pub use promises::{Promise, REFUSED, SOMEBODY, UnnamedOwner};
pub use retry::{Retry, prepares as retry_prepares};
pub use sequences::Sequences;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Messages that are looked at are waited for whole up to this size; longer ones are streamed.
const LOOKED_AT: usize = 64 * 1024;

/// What became of statements, counted for the metrics; taken when the server is given back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Parse messages of the client for named statements.
    pub client_parses: u32,
    /// Those and those injected, as far as the server had to do them.
    pub server_parses: u32,
    /// Those the server needn't do, having the statement.
    pub hits: u32,
    /// Bind messages to named statements.
    pub binds: u32,
}

/// Which names of custom parameters inspections ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedNames {
    /// All that may have been set.
    All,
    /// None beyond ASCII: an inspection with such names failed, and the database may be unable to hold them.
    Ascii,
}

/// A portal whose Execute promises something.
#[derive(Debug)]
pub struct Portal {
    /// The client's name for it; empty for the unnamed one.
    pub name: Box<[u8]>,
    /// What the text of its statement tells about SETs in it, and whether it names statements.
    pub set: Traces,
    /// That text, if it may reset parameters or names statements.
    pub text: Vec<u8>,
    /// Whether that is the unnamed statement's: what it names has been renamed, not declared.
    pub unnamed: bool,
}

/// One PostgreSQL session as far as it is known.
#[derive(Debug)]
pub struct Conversation {
    /// The replies owed.
    pub exchange: Exchange<Promise>,
    /// The number of the last [`Self::check`]'s reply.
    pub checked: Option<u64>,
    /// Statements the server has under pgweir's names.
    pub names: ServerNames,
    /// Whether it is known what texts are parsed by.
    pub context: ParseContext,
    /// Whose unnamed statement it holds.
    pub unnamed: Option<UnnamedOwner>,
    /// Parameters replayed to it.
    pub parameters: Arc<Set>,
    /// What its client had when this lease's first change of a parameter was reported.
    pub reported_since: Option<Arc<Set>>,
    /// Whether it carries session state that its next client must not see.
    pub dirty: bool,
    /// Kinds of state that may have changed since it was last known.
    pub traces: Traces,
    /// Kinds of state that tie its client to it.
    pub held: Traces,
    /// Portals whose statements change parameters or statements when they are executed.
    pub portals: Vec<Portal>,
    /// What the client sent behind a chained prelude, until that has succeeded.
    pub chained: Vec<u8>,
    /// The reply to an inspection under way, as it comes.
    pub inspection: Option<Vec<u8>>,
    /// Most bytes of it.
    longest_answer: usize,
    /// Which names inspections ask for.
    pub asked: AskedNames,
    /// How often in a row an inspection was cancelled.
    pub asked_in_vain: u8,
    /// Who may have prepared statements since it was last known what there is.
    pub prepared: Prepared,
    /// Whether the last values of sequences it remembers may be another client's.
    pub foreign_sequences: bool,
    /// What the client has done with sequences.
    pub sequences: Sequences,
    /// The channels it was last found to listen to while its client keeps it for them.
    pub listened: Vec<String>,
    /// Which notifications are still the client's.
    pub cut: Cut,
    /// The process, and what its client takes it for; 0: the same.
    pub pids: (u32, u32),
    /// Bytes of the client's current message not yet sent.
    pub sending: usize,
    /// Whether they are sent, or swallowed since another message was put in the place of theirs.
    pub sending_fate: Fate,
    /// The last bytes sent of a text that comes in pieces and is looked through for names.
    pub read_up_to: Option<Box<[u8]>>,
    /// Told by the last chunks.
    pub heard: Heard,
    /// Statements bound since nothing was owed last, by the number of the request.
    pub bound: Vec<(u64, Bound)>,
    /// What it is about to say of a statement it was given.
    pub described: Described,
    /// Names of statements the client has dropped, or whose statement was replaced, since nothing was owed last.
    pub gone: Gone,
    /// What to ask behind the request under way.
    pub after: Afterword,
    /// Counts since the server was taken.
    pub tally: Tally,
    /// pgweir cancels what runs: it takes too long.
    pub overdue: Option<Box<Overdue>>,
    /// The client's last batch, as long as it may be sent once more.
    pub retry: Retry,
    receiving: usize,
    receiving_fate: Fate,
}

impl Conversation {
    /// A session fresh from its login, at the server's defaults.
    pub fn new(max_prepared_statements: NonZeroUsize, defaults: Arc<Set>) -> Self {
        Self {
            exchange: Exchange::default(),
            checked: None,
            names: ServerNames::new(max_prepared_statements),
            context: ParseContext::Known,
            unnamed: None,
            parameters: defaults,
            reported_since: None,
            dirty: false,
            traces: Traces::NONE,
            held: Traces::NONE,
            portals: Vec::new(),
            chained: Vec::new(),
            inspection: None,
            longest_answer: LONGEST_ANSWER,
            asked: AskedNames::All,
            asked_in_vain: 0,
            prepared: Prepared::default(),
            foreign_sequences: false,
            sequences: Sequences::default(),
            listened: Vec::new(),
            cut: Cut::None,
            pids: (0, 0),
            sending: 0,
            sending_fate: Fate::Forward,
            read_up_to: None,
            heard: Heard::default(),
            bound: Vec::new(),
            described: Described::default(),
            gone: Gone::new(),
            after: Afterword::default(),
            tally: Tally::default(),
            overdue: None,
            retry: Retry::default(),
            receiving: 0,
            receiving_fate: Fate::Forward,
        }
    }

    /// State of these kinds may have changed.
    #[inline]
    pub fn note(&mut self, traces: Traces) {
        let left = traces.within(Traces::ALL.and(Traces::REMADE).and(Traces::LASTING));
        if !left.is_empty() {
            self.traces = self.traces.and(left);
            self.dirty = true;
        }
        const BESIDE: Traces = Traces::SEQUENCES
            .and(Traces::ADVANCES)
            .and(Traces::CONTEXT)
            .and(Traces::RESHAPED)
            .and(Traces::NAMELESS);
        if traces.has(BESIDE) {
            self.note_beside(traces);
        }
    }

    /// Whether the server could serve somebody else now; it may still be dirty.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.exchange.is_free() && self.sending == 0 && self.receiving == 0
    }

    /// Takes bytes of the server and says through `out` what the client gets; returns how many were used. The rest,
    /// the beginning of a message, has to come again with more behind it.
    ///
    /// # Errors
    /// When the bytes aren't the protocol; the server must be closed.
    pub fn receive(
        &mut self,
        input: &[u8],
        client: &mut ClientStatements,
        out: &mut Outgoing<'_>,
    ) -> Result<usize, WireError> {
        let passed = self.pass(input);
        self.receive_behind(passed, input, client, out)
    }

    /// Goes over the whole messages at the front of `input` that are to be forwarded as they are; returns where they end.
    /// The rest is for [`Self::receive_behind`], unless nothing is left and [`Self::has_own_answer`] is false.
    #[inline]
    pub fn pass(&mut self, input: &[u8]) -> usize {
        if self.receiving > 0
            || self.has_own_answer()
            || self.after.is_pending()
            || self.traces.has(Traces::OTHERS)
        {
            return 0;
        }
        let watches = self.watches_sequences();
        self.exchange
            .pass(input, |tag| statement::is_commonly_clean(tag) && !(watches && statement::advances(tag)))
    }

    /// Whether an answer of pgweir itself is due.
    #[inline]
    pub fn has_own_answer(&self) -> bool {
        self.exchange.is_local_next()
    }

    /// As [`Self::receive`], when [`Self::pass`] has gone over the first `passed` bytes of `input`.
    pub fn receive_behind(
        &mut self,
        passed: usize,
        input: &[u8],
        client: &mut ClientStatements,
        out: &mut Outgoing<'_>,
    ) -> Result<usize, WireError> {
        out.forward(0..passed);
        let mut at = if passed > 0 { passed } else { self.receive_rest(input, out) };
        self.answer_locally(out);
        if at == input.len() {
            self.tap(input);
            return Ok(at);
        }
        // What is behind `from` and before `at` is forwarded, and not said so yet.
        let mut from = at;
        let received = loop {
            let (end, stop) = match scan::backend(input, at) {
                Ok(scanned) => scanned,
                Err(e) => break Err(e),
            };
            if end > at {
                self.receiving_fate = self.exchange.passing();
                if self.receiving_fate != Fate::Forward {
                    out.forward(from..at);
                    from = end;
                }
                at = end;
            }
            let header = match stop {
                Stop::Split => break Ok(at),
                Stop::Through(more) => {
                    self.receiving = more;
                    break Ok(at);
                }
                Stop::Decision(header) => header,
            };
            let here = header.size.min(input.len() - at);
            if here < header.size && header.size <= LOOKED_AT {
                break Ok(at);
            }
            let decided = self.decide(header, &input[at + HEADER..at + here], client);
            self.receiving_fate = if let Decided::Pass(fate) = decided { fate } else { Fate::Swallow };
            if self.receiving_fate != Fate::Forward {
                out.forward(from..at);
                from = at + here;
            }
            match decided {
                Decided::Pass(_) => {}
                Decided::Instead(tag, body) => {
                    out.inject(|v| encode::message(v, tag, |v| v.extend_from_slice(&body)));
                }
                Decided::Bytes(bytes) => out.inject(|v| v.extend_from_slice(&bytes)),
            }
            at += here;
            self.receiving = header.size - here;
            if self.receiving > 0 || self.has_broken() {
                break Ok(at);
            }
            if self.exchange.is_local_next() {
                out.forward(from..at);
                from = at;
                self.answer_locally(out);
            }
        };
        out.forward(from..at);
        self.tap(&input[..at]);
        received
    }

    /// Whether a chained prelude has just failed: all that may follow is the answer to the client's Sync, which nobody wants.
    #[inline]
    fn has_broken(&self) -> bool {
        self.receiving_fate == Fate::PreludeFailed && self.exchange.is_skipping()
    }

    /// Sends the answers pgweir gives itself, as far as they are due: none before a message of the server is whole.
    #[inline]
    pub fn answer_locally(&mut self, out: &mut Outgoing<'_>) {
        while self.receiving == 0
            && let Some(reply) = self.exchange.take_local()
        {
            let answer =
                if reply == Reply::Close { backend::CLOSE_COMPLETE } else { backend::PARSE_COMPLETE };
            out.inject(|v| v.extend_from_slice(answer));
        }
    }

    fn receive_rest(&mut self, input: &[u8], out: &mut Outgoing<'_>) -> usize {
        let here = self.receiving.min(input.len());
        if here > 0 && self.receiving_fate == Fate::Forward {
            out.forward(0..here);
        }
        self.receiving -= here;
        here
    }

    #[inline]
    fn decide(&mut self, header: Header, body: &[u8], client: &mut ClientStatements) -> Decided {
        let fate = match header.tag {
            b::READY => return self.ready(body.first().copied().unwrap_or(0)),
            b::COMMAND_COMPLETE => {
                if self.exchange.passing() == Fate::Forward {
                    if body == by_name::IN_PLACE_TAG && self.deallocated(client) {
                        self.exchange.on_message(header.tag);
                        return Decided::Instead(b::COMMAND_COMPLETE, b"DEALLOCATE\0".to_vec());
                    }
                    self.note_effect(body, client);
                }
                self.exchange.on_message(header.tag)
            }
            b::NOTIFICATION => return self.notification(body),
            b::NOTICE => self.exchange.passing(),
            b::PARAMETER_STATUS => self.note_parameter(body),
            b::ERROR => return self.error(header, body, client),
            b::COPY_BOTH => {
                self.exchange.set_doubt("the server began to stream in both directions");
                Fate::Forward
            }
            tag => {
                if matches!(tag, b::PARAMETER_DESCRIPTION | b::ROW_DESCRIPTION | b::NO_DATA) {
                    self.note_description(header, body);
                }
                self.exchange.on_message(tag)
            }
        };
        Decided::Pass(fate)
    }

    #[cold]
    fn error(&mut self, header: Header, body: &[u8], client: &mut ClientStatements) -> Decided {
        if tells_of_copy_data(body) {
            self.exchange.copy_data_was_read();
        }
        let failed = self.exchange.oldest();
        self.heard.check_failed |= self.checked == Some(failed);
        let (fate, mut broken) = self.exchange.on_error();
        let called = broken.extract_if(.., |b| b.promise.is_of_words() && b.ran).next();
        broken.into_iter().for_each(|broken| self.break_promise(broken, client));
        self.heard.fatal |= backend::is_fatal(body);
        if fate == Fate::PreludeFailed || fate == Fate::Swallow && self.heard.fatal {
            self.heard.prelude_error.get_or_insert_with(|| body.to_vec());
        }
        if fate != Fate::Forward {
            return Decided::Pass(fate);
        }
        let code = backend::sqlstate(body);
        self.traces = self.traces.without(Traces::ALL_RESET);
        self.hear_error(code);
        if let (Some(instead), Fate::Forward) = (self.overdue_words(&code, header.size - body.len()), fate) {
            return instead;
        }
        self.hear_of_stale(&code, body, failed);
        if header.size > HEADER + body.len() || !errors::may_be_worded(&code) {
            return Decided::Pass(fate);
        }
        self.in_the_clients_words(&code, body, called.map(|b| b.promise), client)
            .map_or(Decided::Pass(fate), |body| Decided::Instead(b::ERROR, body))
    }

    /// Expects a reply to something pgweir sends to make the server fit for its next client.
    pub fn expect_prelude(&mut self, reply: Reply) {
        self.exchange.expect(reply, Action::Prelude);
    }
}

enum Decided {
    Pass(Fate),
    /// The client gets a message of this tag and body instead.
    Instead(u8, Vec<u8>),
    /// The client gets these messages instead.
    Bytes(Vec<u8>),
}

#[cfg(test)]
mod tests {
    use super::super::prelude::{Needs, Prelude};
    use super::*;
    use crate::params::set::Sets;
    use crate::wire::tag::backend as b;

    /// Behind a chained prelude that fails PostgreSQL skips what the client sent; the answer to its Sync isn't for it.
    #[test]
    fn nothing_is_heard_of_a_chain_that_broke() {
        let (sets, mut sent) = (Sets::default(), Vec::new());
        let (defaults, wanted) = (sets.empty(), sets.intern([("work_mem", "7MB")]));
        for (error, heard) in [(b'1', &b""[..]), (b'Z', &b"Z"[..])] {
            let mut talk = Conversation::new(NonZeroUsize::MIN, Arc::clone(&defaults));
            let (reset, wanted, defaults) = (Some("DISCARD ALL"), &wanted, &defaults);
            let needs = Needs { reset, wanted, defaults, forgets_sequences: false, may_chain: true };
            assert_eq!(talk.prelude(&mut sent, &needs), Prelude::Chained);
            talk.exchange.expect(Reply::Parse, Action::Forward);
            talk.exchange.expect(Reply::Sync, Action::Forward);
            let mut said = Vec::new();
            let mut say = |tag, body: &[u8]| encode::message(&mut said, tag, |v| v.extend_from_slice(body));
            if error == b'Z' {
                // Cancelled behind the COMMIT, by an administrator.
                for _ in 0..4 {
                    say(b'1', b"");
                    say(b'2', b"");
                    say(b'C', b"X\0");
                }
            }
            say(b'E', b"SERROR\0VERROR\0C57014\0Mno\0\0");
            if error == b'Z' {
                say(b'Z', b"I");
                say(b'1', b"");
            }
            say(b'Z', b"I");
            let (mut client, mut scratch) = (ClientStatements::default(), Vec::new());
            let mut out = Outgoing::new(&said, &mut scratch);
            let used = talk.receive(&said, &mut client, &mut out);
            assert_eq!(used == Ok(said.len()), error == b'Z');
            let tags: Vec<_> = out.bytes().iter().copied().filter(|b| *b == b'Z' || *b == b'E').collect();
            assert_eq!(tags, heard);
            assert_eq!(talk.heard.prelude_error.is_some(), error != b'Z');
            assert_eq!(talk.is_free(), error == b'Z');
        }
    }

    /// A RowDescription too long to be waited for, behind it the answer to a Close the server never saw.
    #[test]
    fn own_answers_wait_for_the_end_of_a_streamed_message() {
        let mut talk = Conversation::new(NonZeroUsize::MIN, Arc::default());
        talk.exchange.expect(Reply::Describe, Action::Forward);
        talk.exchange.expect(Reply::Close, Action::Local);
        talk.exchange.expect(Reply::Sync, Action::Forward);
        let mut said = Vec::new();
        encode::message(&mut said, b::ROW_DESCRIPTION, |v| v.resize(v.len() + 2 * LOOKED_AT, b'x'));
        let description = said.len();
        encode::message(&mut said, b::READY, |v| v.push(b'I'));
        let mut heard = Vec::new();
        for chunk in said.chunks(LOOKED_AT / 2) {
            let (mut client, mut scratch) = (ClientStatements::default(), Vec::new());
            let mut out = Outgoing::new(chunk, &mut scratch);
            assert_eq!(talk.receive(chunk, &mut client, &mut out), Ok(chunk.len()));
            talk.answer_locally(&mut out);
            heard.extend_from_slice(out.bytes());
        }
        let ready = said.split_off(description);
        assert!(heard == [&said[..], backend::CLOSE_COMPLETE, &ready].concat(), "{} bytes", heard.len());
    }
}
