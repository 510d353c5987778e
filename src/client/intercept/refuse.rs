//! Statements that are refused for the session state they would leave. PostgreSQL itself raises the error in their place, so
//! that the transaction's status and whatever is pipelined behind are right.

use super::{Feed, Step};
use crate::params::statement::Scanner;
use crate::params::traces::{self, Traces};
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend::Parse;
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

/// Whether a chunk begins with a statement that would tie its client to a server.
pub fn would_pin(scanner: &Scanner, input: &[u8]) -> bool {
    let Ok(Some(header)) = frame::header(input) else { return false };
    let body = &input[HEADER..input.len().min(header.size)];
    let text = match header.tag {
        f::QUERY => body,
        f::PARSE => body.splitn(2, |b| *b == 0).nth(1).unwrap_or_default(),
        _ => return false,
    };
    let text = text.split(|b| *b == 0).next().unwrap_or_default();
    !scanner.is_plain(text) && traces::of_statements(text).has(Traces::PINS)
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
    #[cold]
    pub(super) fn instead_of(self, text: &[u8]) -> Option<String> {
        let kinds = traces::of_statements(text).within(self.kinds());
        let (hint, what) = match self {
            _ if kinds.is_empty() => return None,
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
            "DO $pgweir$BEGIN RAISE EXCEPTION USING ERRCODE = '0A000', MESSAGE = 'the statement \"{words}\" {what}', HINT = '{hint}'; END$pgweir$"
        ))
    }
}

/// How a text begins, fit to stand in a literal.
fn beginning(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text.split(|b| *b == 0).next().unwrap_or_default());
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, '\\' | '$') || c == ' ' { c } else { '?' };
    let begin: String = words.chars().take(SHOWN).map(plain).collect();
    let more = if words.chars().count() > SHOWN { "..." } else { "" };
    format!("{}{more}", begin.replace('\'', "''"))
}

/// Characters of a statement that an error shows.
const SHOWN: usize = 60;

impl Feed<'_, '_> {
    /// A statement that raises an error when it is executed, in place of the client's.
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
