//! Statements that are refused for the session state they would leave. PostgreSQL itself raises the error in their place, so
//! that the transaction's status and whatever is pipelined behind are right.

use super::{Feed, Looks, Pause, Step};
use crate::params::custom_names::{self, Where};
use crate::params::refusable;
use crate::params::traces::Traces;
use crate::prepared::client_statements::{ClientStatements, significant};
use crate::server::conversation::{Promise, REFUSED, SOMEBODY};
use crate::server::exchange::{Action, Reply};
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend::{self, BindNames, Parse};
use crate::wire::tag::frontend as f;

/// Bounds how many clients keep their servers.
pub trait Admits: std::fmt::Debug + Sync {
    /// Whether this client may keep its server; if so, a place is kept for it until its lease ends.
    fn admit(&self, client: u64) -> bool;
}

/// Which kinds of state are refused, and why.
#[derive(Debug, Clone, Copy)]
pub enum Refuses<'a> {
    /// None.
    Nothing,
    /// All: `session_state = "strict"`.
    All,
    /// What would tie this client to its server, if `max_pins` is reached.
    Pins(&'a dyn Admits, u64),
}

/// Whether a chunk begins with a request that would tie its client to a server: a statement that is only prepared doesn't.
pub fn would_pin(looks: Looks<'_>, client: &ClientStatements, input: &[u8]) -> bool {
    let ties = |text: &[u8]| surely_left(looks, text).has(Traces::PINS);
    let (mut rest, mut parsed) = (input, Vec::new());
    while let Ok(Some(header)) = frame::header(rest) {
        let body = &rest[HEADER..rest.len().min(header.size)];
        match header.tag {
            f::QUERY => return ties(body),
            f::PARSE => {
                let mut strings = body.split(|b| *b == 0);
                parsed.push((strings.next().unwrap_or_default(), strings.next().unwrap_or_default()));
            }
            f::BIND => {
                let Some(names) = BindNames::read(body) else { return false };
                let newest = parsed.iter().rev().find(|(name, _)| *name == names.statement);
                return newest
                    .map_or_else(|| client.text(names.statement).is_some_and(ties), |(_, t)| ties(t));
            }
            f::DESCRIBE | f::CLOSE | f::FLUSH | f::SYNC => {}
            _ => return false,
        }
        rest = rest.get(header.size..).unwrap_or_default();
    }
    false
}

/// What a text surely leaves, functions that are known included.
#[inline]
fn surely_left(looks: Looks<'_>, text: &[u8]) -> Traces {
    if looks.scanner.is_plain(text) && !looks.routines.may_be_called(text) {
        return Traces::NONE;
    }
    look_closely(looks, text)
}

#[cold]
fn look_closely(looks: Looks<'_>, text: &[u8]) -> Traces {
    let text = text.split(|b| *b == 0).next().unwrap_or_default();
    let code = refusable::code_of(text);
    let sets = refusable::of_code(&code);
    let unread = sets.has(Traces::SETTINGS) && !custom_names::in_text(text, Where::Set, |_| ());
    let sets = if unread { sets.and(Traces::UNREAD) } else { sets };
    sets.and(looks.routines.called(&code))
}

impl Refuses<'_> {
    fn kinds(self) -> Traces {
        match self {
            Self::Nothing => Traces::NONE,
            Self::All => Traces::ALL,
            Self::Pins(..) => Traces::PINS,
        }
    }

    /// What to send in place of a text that is refused.
    #[inline]
    pub(super) fn instead_of(self, looks: Looks<'_>, text: &[u8]) -> Option<String> {
        let kinds = surely_left(looks, text).within(self.kinds());
        if kinds.is_empty() { None } else { self.error_of(text) }
    }

    #[cold]
    fn error_of(self, text: &[u8]) -> Option<String> {
        let (hint, what) = match self {
            Self::Pins(bound, client) if bound.admit(client) => return None,
            Self::Pins(..) => (
                "max_pins of the pool is reached; end what other clients keep, raise max_pins, or use session mode",
                "would tie one more client to its server",
            ),
            _ => (
                "use SET LOCAL within a transaction, session mode, or session_state = transparent",
                "leaves session state, which session_state = strict refuses",
            ),
        };
        let words = beginning(text);
        Some(format!(
            "DO $pgweir$BEGIN RAISE EXCEPTION USING ERRCODE = '0A000', MESSAGE = 'the statement \"{words}\" {what}', HINT = '{hint}', CONSTRAINT = '{REFUSED}'; END$pgweir$"
        ))
    }
}

/// How a text begins, fit to stand in a literal.
fn beginning(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text.split(|b| *b == 0).next().unwrap_or_default());
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (mut begin, mut chars) = (String::new(), words.chars().peekable());
    while let Some(c) = chars.next().filter(|_| begin.len() < SHOWN) {
        // What is quoted by dollars mustn't end here.
        let ends = c == '\\' || c == '$' && !chars.peek().is_some_and(char::is_ascii_digit);
        begin.push(if (c.is_ascii_graphic() || c == ' ') && !ends { c } else { '?' });
    }
    let more = if words.chars().count() > SHOWN { "..." } else { "" };
    format!("{}{more}", begin.replace('\'', "''"))
}

/// Characters of a statement that an error shows.
const SHOWN: usize = 60;

/// The rest of a Bind without formats and values.
const NO_VALUES: [u8; 6] = [0; 6];

impl Feed<'_, '_> {
    /// What is executed in place of a statement that is refused: preparing it and describing it change nothing.
    #[inline]
    pub(super) fn refused_bind(&self, name: &[u8]) -> Option<String> {
        match self.rules.refuses {
            Refuses::Nothing => None,
            refuses => refuses.instead_of(self.rules.looks, self.client.text(name)?),
        }
    }

    /// A portal that raises an error when it is executed, in place of the client's, whatever that is told.
    #[cold]
    pub(super) fn bind_instead(&mut self, names: &BindNames<'_>, text: &str) -> Step {
        let is_unsettled = if names.statement.is_empty() {
            let unnamed = |p: &Promise| matches!(p, Promise::ClientUnnamed(_) | Promise::ServerUnnamed);
            self.server.exchange.is_newest_unsettled(unnamed)
        } else {
            self.is_unsettled_name(significant(names.statement))
        };
        if is_unsettled {
            return Step::Pause(Pause::Stall);
        }
        let exchange = &mut self.server.exchange;
        exchange.expect(Reply::Parse, Action::Swallow);
        exchange.promise(Promise::ServerUnnamed);
        exchange.expect(Reply::Bind, Action::Forward);
        self.server.unnamed = Some(SOMEBODY);
        self.note_portal(names.portal, names.statement, Traces::NONE);
        self.out.inject(|v| {
            Parse::encode(v, b"", &[text.as_bytes(), b"\0\0\0"].concat());
            frontend::bind_names(v, names.portal, b"", NO_VALUES.len());
            v.extend_from_slice(&NO_VALUES);
        });
        Step::Replaced
    }

    /// A statement too large to be kept that raises an error when it is executed, in place of the client's.
    pub(super) fn parse_instead(&mut self, name: &[u8], text: String) -> Step {
        let mut definition = text.into_bytes();
        definition.extend_from_slice(b"\0\0\0");
        if name.is_empty() {
            self.parse_unnamed(&definition, Traces::NONE);
            self.out.inject(|v| Parse::encode(v, b"", &definition));
            return Step::Replaced;
        }
        let query = &definition[..definition.len() - 3];
        self.parse_named(Parse { name, query, definition: &definition })
    }
}
