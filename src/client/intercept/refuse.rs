//! Statements that are refused for the session state they would leave. PostgreSQL itself raises the error in their place, so
//! that the transaction's status and whatever is pipelined behind are right.

use crate::params::traces::{self, Traces};
use crate::wire::frame::{self, HEADER};
use crate::wire::tag::frontend as f;

/// Which kinds of state are refused, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuses {
    /// None.
    Nothing,
    /// All: `session_state = "strict"`.
    All,
    /// What would tie one more client to its server: `max_pins` is reached.
    Pins,
}

/// Whether a chunk begins with a statement that would tie its client to a server.
pub fn would_pin(input: &[u8]) -> bool {
    let Ok(Some(header)) = frame::header(input) else { return false };
    let body = &input[HEADER..input.len().min(header.size)];
    let text = match header.tag {
        f::QUERY => body,
        f::PARSE => body.splitn(2, |b| *b == 0).nth(1).unwrap_or_default(),
        _ => return false,
    };
    let text = text.split(|b| *b == 0).next().unwrap_or_default();
    !traces::of_statements(text).within(Refuses::Pins.kinds()).is_empty()
}

impl Refuses {
    fn kinds(self) -> Traces {
        match self {
            Self::Nothing => Traces::NONE,
            Self::All => Traces::ALL,
            Self::Pins => Traces::PINS,
        }
    }

    /// What to send in place of a text that is refused.
    #[cold]
    pub(super) fn instead_of(self, text: &[u8]) -> Option<String> {
        let kinds = traces::of_statements(text).within(self.kinds());
        let (hint, what) = match self {
            _ if kinds.is_empty() => return None,
            Self::Pins => (
                "max_pins of the pool is reached; end what other clients keep, raise max_pins, or use session mode",
                "would tie one more client to its server",
            ),
            _ => (
                "use SET LOCAL within a transaction, session mode, or session_state = transparent",
                "leaves session state, which session_state = strict refuses",
            ),
        };
        let words: Vec<_> = text
            .split(|b| !b.is_ascii_alphanumeric() && *b != b'_')
            .filter(|w| !w.is_empty())
            .take(3)
            .collect();
        let words = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
        Some(format!(
            "DO $pgweir$BEGIN RAISE EXCEPTION USING ERRCODE = '0A000', MESSAGE = 'the statement \"{words}\" {what}', HINT = '{hint}'; END$pgweir$"
        ))
    }
}
