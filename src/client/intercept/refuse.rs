//! Statements that are refused for the session state they would leave. PostgreSQL itself raises the error in their place, so
//! that the transaction's status and whatever is pipelined behind are right.

use super::{Feed, Looks, Pause, Step};
use crate::params::custom_names::{self, Where};
use crate::params::refusable;
use crate::params::traces::Traces;
use crate::prepared::by_name::{self, Verb};
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
    let ties = |text: &[u8]| surely_leaves(looks, client, text, Traces::PINS).is_some();
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

/// What leaves session state.
enum By {
    /// The text itself.
    Text,
    /// A function that it calls, of this name.
    Call(Vec<u8>),
}

/// Whether a text of this client's surely leaves one of these kinds, functions that are known included, and by what.
#[inline]
fn surely_leaves(looks: Looks<'_>, client: &ClientStatements, text: &[u8], kinds: Traces) -> Option<By> {
    if looks.scanner.is_plain(text) && !looks.routines.may_be_called(text) {
        return None;
    }
    let text = text.split(|b| *b == 0).next().unwrap_or_default();
    look_closely(looks, text, kinds).or_else(|| look_closely(looks, executed(client, text)?, kinds))
}

/// The statement of the protocol that an EXECUTE by SQL runs.
#[cold]
fn executed<'a>(client: &'a ClientStatements, text: &[u8]) -> Option<&'a [u8]> {
    let command = if client.names.is_empty() { None } else { by_name::read(text) };
    client.text(&command.filter(|command| command.verb == Verb::Execute)?.name)
}

#[cold]
fn look_closely(looks: Looks<'_>, text: &[u8], kinds: Traces) -> Option<By> {
    let code = refusable::code_of(text);
    let sets = refusable::of_code(&code);
    let unread = sets.has(Traces::SETTINGS) && !custom_names::in_text(text, Where::Set, |_| ());
    let sets = if unread { sets.and(Traces::UNREAD) } else { sets };
    if sets.has(kinds) { Some(By::Text) } else { looks.routines.called(&code, kinds).map(By::Call) }
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
    pub(super) fn instead_of(
        self,
        looks: Looks<'_>,
        client: &ClientStatements,
        text: &[u8],
    ) -> Option<String> {
        let by = surely_leaves(looks, client, text, self.kinds())?;
        self.error_of(text, by)
    }

    #[cold]
    fn error_of(self, text: &[u8], by: By) -> Option<String> {
        let (hint, what, why) = match self {
            Self::Pins(bound, client) if bound.admit(client) => return None,
            Self::Pins(..) => (
                "max_pins of the pool is reached; end what other clients keep, raise max_pins, or use session mode",
                "would tie one more client to its server",
                "",
            ),
            _ => (
                "use SET LOCAL within a transaction, session mode, or session_state = transparent",
                "leaves session state",
                ", which session_state = strict refuses",
            ),
        };
        let by = match by {
            By::Text => Vec::new(),
            By::Call(function) => [b" by calling ", &*function, b"()"].concat(),
        };
        let words = beginning(text);
        let message = [b"the statement \"", &*words, b"\" ", what.as_bytes(), &*by, why.as_bytes()].concat();
        Some(raising(&message, hint))
    }
}

/// A statement that raises the error. What is no text in the client's encoding is shown without letters other than ASCII's.
fn raising(message: &[u8], hint: &str) -> String {
    let raise = format!(
        "RAISE EXCEPTION USING ERRCODE = '0A000', MESSAGE = said, HINT = '{hint}', CONSTRAINT = '{REFUSED}'; END$pgweir$"
    );
    let all = expression(message);
    if message.is_ascii() {
        return format!("DO $pgweir$DECLARE said text := {all}; BEGIN {raise}");
    }
    let ascii: Vec<u8> = message.iter().map(|b| if b.is_ascii() { *b } else { b'?' }).collect();
    let ascii = expression(&ascii);
    format!(
        "DO $pgweir$DECLARE said text; BEGIN BEGIN said := {all}; EXCEPTION WHEN OTHERS THEN said := {ascii}; END; {raise}"
    )
}

/// An expression of these bytes of the client's, which reads the same under every client_encoding and setting of
/// standard_conforming_strings, and doesn't end the body it stands in.
fn expression(text: &[u8]) -> String {
    let is_plain = |b: &u8| b.is_ascii() && !matches!(b, b'\\' | b'$');
    match str::from_utf8(text) {
        Ok(plain) if text.iter().all(is_plain) => format!("'{}'", plain.replace('\'', "''")),
        _ => {
            let digits: String = text.iter().map(|b| format!("{b:02x}")).collect();
            format!(
                "pg_catalog.convert_from(pg_catalog.decode('{digits}', 'hex'), pg_catalog.pg_client_encoding())"
            )
        }
    }
}

/// How a text begins, in the client's encoding: spaces are single, and no character is cut that is one in UTF8.
fn beginning(text: &[u8]) -> Vec<u8> {
    let text = text.split(|b| *b == 0).next().unwrap_or_default().trim_ascii();
    let head = &text[..text.len().min(LOOKED_AT)];
    let letters: Vec<&[u8]> = match str::from_utf8(head) {
        Ok(head) => head.split("").map(str::as_bytes).collect(),
        Err(e) if e.error_len().is_none() => str::from_utf8(&head[..e.valid_up_to()])
            .unwrap_or_default()
            .split("")
            .map(str::as_bytes)
            .collect(),
        Err(_) => head.chunks(1).collect(),
    };
    let (mut begin, mut shown, mut gap) = (Vec::new(), 0, false);
    for letter in letters.into_iter().filter(|letter| !letter.is_empty()) {
        if letter.trim_ascii().is_empty() {
            gap = true;
            continue;
        }
        if shown + usize::from(gap) >= SHOWN {
            begin.extend_from_slice(b"...");
            return begin;
        }
        if std::mem::take(&mut gap) {
            begin.push(b' ');
            shown += 1;
        }
        begin.extend_from_slice(if letter[0].is_ascii_control() { b"?" } else { letter });
        shown += 1;
    }
    if head.len() < text.len() {
        begin.extend_from_slice(b"...");
    }
    begin
}

/// Characters of a statement that an error shows.
const SHOWN: usize = 60;

/// Bytes of a statement in which they are looked for.
const LOOKED_AT: usize = 1024;

/// The rest of a Bind without formats and values.
const NO_VALUES: [u8; 6] = [0; 6];

impl Feed<'_, '_> {
    /// What is executed in place of a statement that is refused: preparing it and describing it change nothing.
    #[inline]
    pub(super) fn refused_bind(&self, name: &[u8]) -> Option<String> {
        match self.rules.refuses {
            Refuses::Nothing => None,
            refuses => refuses.instead_of(self.rules.looks, self.client, self.client.text(name)?),
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
