//! What replies tell of the session: state that commands left, parameters that changed.

use super::super::exchange::{Fate, Status};
use super::super::login::{LONGEST_PARAMETERS, MOST_PARAMETERS};
use super::{Conversation, Heard, Prepared, Promise};
use crate::params::statement::{self, Effect};
use crate::params::traces::Traces;
use crate::prepared::client_statements::ClientStatements;
use crate::wire::backend;
use memchr::memmem;

impl Conversation {
    #[inline]
    pub(super) fn note_effect(&mut self, body: &[u8], client: &mut ClientStatements) {
        let tag = body.strip_suffix(&[0]).unwrap_or(body);
        if self.watches_sequences() && statement::advances(tag) {
            self.note_sequences(Traces::ADVANCES);
        }
        if tag == b"ROLLBACK" {
            self.take_back_local_sets();
        }
        let made = statement::remakes(tag);
        if !made.is_empty() {
            self.note_made(tag, made);
        }
        match statement::effect(tag) {
            Effect::None => self.note(statement::ends(tag).within(self.held)),
            Effect::Left(Traces::SETTINGS) => self.note_set(tag == b"RESET"),
            Effect::Left(traces) => {
                if tag == b"PREPARE" {
                    self.prepared = Prepared::BySqlToo;
                }
                self.note(traces);
            }
            Effect::StatementsGone => {
                self.deallocate_all(client);
                self.note(self.held.within(Traces::STATEMENTS));
            }
            Effect::SequencesGone => self.sequences_are_gone(),
            Effect::AllGone => {
                self.note_all_reset();
                self.deallocate_all(client);
                self.sequences_are_gone();
                self.want_startup_values();
                self.note(Traces::SHOWN);
            }
        }
    }

    /// A temporary table is used by few, and made and dropped often; what is altered may be a table of everybody's.
    #[cold]
    fn note_made(&mut self, tag: &[u8], made: Traces) {
        match tag {
            b"CREATE TABLE" if self.has_temporary() => {}
            b"DROP TABLE" if self.has_temporary() => {
                self.note(made.without(Traces::RESHAPED.and(Traces::CONTEXT)));
            }
            _ => self.note(made),
        }
    }

    /// Whether there are temporary tables, as PostgreSQL has said or as a statement told. One that may do anything tells nothing.
    pub(super) fn has_temporary(&self) -> bool {
        let told = self.traces.has(Traces::TEMPORARY) && !self.traces.has(Traces::LOCKS);
        told || self.held.has(Traces::TEMPORARY)
    }

    /// A SET was done, or a RESET. One of a custom parameter whose name nobody knows could be neither asked for nor taken back.
    fn note_set(&mut self, reset: bool) {
        let told = self.exchange.front_promises().find_map(|p| match p {
            Promise::Set(told) => Some(*told),
            _ => None,
        });
        // Of one whose text was seen it is known what it resets.
        if reset && told.is_none() {
            self.want_startup_values();
        }
        let told = told.unwrap_or_default();
        if reset
            && told.has(Traces::ALL_RESET)
            && !told.has(Traces::NAMELESS)
            && self.exchange.status() == Status::Idle
        {
            self.note_all_reset();
        }
        if !told.has(Traces::LOCAL_SET) {
            self.note(Traces::SETTINGS);
        }
        if !told.has(Traces::LOCAL_SET.and(Traces::NAMED_SET)) {
            self.note(Traces::HIDDEN);
        }
    }

    /// All parameters are at their defaults, unless that is taken back, or what the client has sent meanwhile sets some.
    fn note_all_reset(&mut self) {
        if self.exchange.is_last() {
            self.traces = self.traces.and(Traces::ALL_RESET);
        }
    }

    pub(super) fn note_parameter(&mut self, body: &[u8]) -> Fate {
        let mut fate = self.exchange.passing();
        if let Ok((name, value)) = backend::parameter(body)
            && let (Ok(name), Ok(value)) = (str::from_utf8(name), str::from_utf8(value))
        {
            if self.exchange.is_behind() {
                fate = if self.came_back(name, value) { Fate::Swallow } else { Fate::Forward };
            } else if fate == Fate::Forward && self.withhold(name, value) {
                return Fate::Swallow;
            }
            if !self.heard.hear_parameter(name, value, fate != Fate::Forward) {
                self.exchange.set_doubt("the server reports too many parameters");
            }
        }
        fate
    }
}

impl Heard {
    /// Takes a ParameterStatus; of a name that was reported before only the last value counts. False if it is beyond what a server
    /// may report: what is heard is taken when a question of pgweir's is answered, and a server may not end its answer.
    pub(super) fn hear_parameter(&mut self, name: &str, value: &str, own: bool) -> bool {
        self.parameters.retain(|(other, _, others)| other != name || *others != own);
        let heard: usize = self.parameters.iter().map(|(name, value, _)| name.len() + value.len()).sum();
        let fits =
            self.parameters.len() < MOST_PARAMETERS && heard + name.len() + value.len() <= LONGEST_PARAMETERS;
        if fits {
            self.parameters.push((name.to_owned(), value.to_owned(), own));
        }
        fits
    }
}

/// Whether an error, if it is one of COPY, was raised by its data or by their end. Its context is translated: in another language the
/// answer is no, and the server is not used again.
///
/// What a trigger raises for a row has COPY as the outermost line of its context, the last. A constraint that is checked behind the
/// data has no context; violated by what a trigger does before them, it has that of the trigger.
pub(super) fn tells_of_copy_data(body: &[u8]) -> bool {
    let Some(context) = backend::field(body, b'W') else {
        return backend::sqlstate(body).starts_with(b"23");
    };
    let last = context.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    [context, last].into_iter().filter(|part| part.starts_with(b"COPY ")).any(|part| {
        memmem::find(part, b", line ").is_some() || backend::field(body, b'R') == Some(b"CopyGetData")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_parameters_are_bounded_in_number_and_size() {
        let mut heard = Heard::default();
        let mut flood = |name: &dyn Fn(usize) -> String, value: &str| {
            heard.parameters.clear();
            (0..2 * MOST_PARAMETERS).take_while(|nth| heard.hear_parameter(&name(*nth), value, true)).count()
        };
        assert_eq!(flood(&|nth| format!("p{nth}"), "v"), MOST_PARAMETERS);
        assert_eq!(flood(&|nth| format!("p{nth:03}"), &"v".repeat(9_996)), LONGEST_PARAMETERS / 10_000);
        assert_eq!(flood(&|_| "TimeZone".to_owned(), "UTC"), 2 * MOST_PARAMETERS, "one entry a name");
        let ours = |value: &str, own| ("TimeZone".to_owned(), value.to_owned(), own);
        assert!(
            heard.hear_parameter("TimeZone", "GMT", false) && heard.hear_parameter("TimeZone", "CET", true)
        );
        assert_eq!(heard.parameters, [ours("GMT", false), ours("CET", true)], "the last is the last");
    }

    #[test]
    fn what_tells_of_copy_data() {
        for (fields, tells) in [
            ("C22P02\0WCOPY t, line 1, column n: \"x\"\0RNumericutils\0\0", true),
            ("C57014\0WCOPY t\0RCopyGetData\0\0", true),
            ("CP0001\0WPL/pgSQL function f() line 1 at RAISE\nCOPY t, line 1: \"1\"\0\0", true),
            ("C23503\0Rri_ReportViolation\0\0", true),
            ("C23503\0WSQL statement \"INSERT\"\nPL/pgSQL function f() line 1\0\0", false),
            ("CP0001\0WPL/pgSQL function f() line 1 at RAISE\0\0", false),
            ("CP0001\0WSQL statement \"SELECT 1\nCOPY t, line 1\"\nPL/pgSQL function f() line 1\0\0", false),
            ("C57014\0\0", false),
        ] {
            assert_eq!(tells_of_copy_data(fields.as_bytes()), tells, "{fields}");
        }
    }
}
