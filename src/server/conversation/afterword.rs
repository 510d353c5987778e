//! What pgweir asks behind a request of the client's before the client is told that the server is ready: the session is not what
//! PostgreSQL alone would have left.

use super::super::exchange::{Fate, Status};
use super::{Conversation, Decided};
use crate::params::restore::Resets;
use crate::params::set::Set;
use crate::params::traces::Traces;
use crate::wire::backend;
use crate::wire::encode;
use crate::wire::tag::backend as b;

/// Who has prepared statements.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// Clients by the protocol: the server has them under pgweir's names.
    #[default]
    ByProtocol,
    /// The client by SQL, too: the server has those under the client's own.
    BySqlToo,
}

/// What is to be asked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Afterword {
    /// Parameters that went back to the server's own values, and have to go on to those the client began with.
    resets: Resets,
    /// Statements that the server has under the client's own names while a request runs that may mean them.
    declared: Vec<Box<str>>,
    due: bool,
    /// What the client sends behind the request under way has to wait for what is asked then.
    holds: bool,
    /// ParameterStatus that the client needn't get if the value it knows comes back.
    withheld: Vec<(String, String)>,
}

impl Afterword {
    /// Whether replies have to be looked at for what is to be asked or told behind them.
    #[inline]
    pub fn is_pending(&self) -> bool {
        self.is_wanted() || !self.withheld.is_empty()
    }

    /// Whether something is to be asked.
    #[inline]
    fn is_wanted(&self) -> bool {
        self.resets != Resets::None || !self.declared.is_empty()
    }
}

impl Conversation {
    /// The values the client began with, if it had any.
    pub fn startup_values(&self) -> Option<&Set> {
        Some(&**self.parameters.first()).filter(|first| !first.is_empty())
    }

    /// Parameters may have been reset, nobody knows which.
    #[cold]
    pub(super) fn want_startup_values(&mut self) {
        if self.startup_values().is_some() && self.after.resets == Resets::None {
            self.after.resets = Resets::UNKNOWN;
        }
    }

    /// The request just expected may reset parameters: nothing is to come between it and what is asked behind it.
    #[cold]
    pub fn hold_back(&mut self, text: &[u8]) {
        let Some(first) = self.startup_values() else { return };
        let resets = Resets::of_text(text, first);
        self.after.resets = std::mem::take(&mut self.after.resets).and(resets);
        self.after.holds = self.after.is_wanted();
    }

    /// Whether the client's next message has to wait, if it begins a batch.
    #[inline]
    pub fn is_held_back(&mut self) -> bool {
        self.after.holds &= !self.exchange.is_drained();
        self.awaits_description() || self.after.holds && !self.exchange.needs_sync()
    }

    /// ReadyForQuery: kept back if something is to be asked first, and nothing that follows could be ahead of it.
    #[inline]
    pub(super) fn ready(&mut self, status: u8) -> Decided {
        let fate = self.exchange.on_ready(status);
        self.heard.settled += u32::from(status == b'I' && self.traces.has(Traces::OTHERS));
        if self.after.is_pending() {
            return self.ready_behind(fate, status);
        }
        Decided::Pass(fate)
    }

    #[cold]
    fn ready_behind(&mut self, fate: Fate, status: u8) -> Decided {
        if fate != Fate::Forward {
            return Decided::Pass(fate);
        }
        // Behind the end of COPY data nothing is owed; the rest of a message that failed is still to be sent.
        let is_last = !self.exchange.owes();
        let can = is_last && self.sending == 0 && self.exchange.status() != Status::Failed;
        if can && self.after.is_wanted() {
            self.after.due = true;
            return Decided::Pass(Fate::Swallow);
        }
        let is_ahead = self.after.holds && !is_last;
        if !is_ahead {
            self.after.holds = false;
            // The values come with the next transaction's prelude.
            self.after.resets = Resets::None;
        }
        let mut bytes = Vec::new();
        for (name, value) in std::mem::take(&mut self.after.withheld) {
            backend::parameter_status(&mut bytes, name.as_bytes(), value.as_bytes());
            self.heard.hear_parameter(&name, &value, false);
        }
        encode::message(&mut bytes, b::READY, |v| v.push(status));
        Decided::Bytes(bytes)
    }

    /// Whether something has to be asked now, before anything else; once. The client is owed a ReadyForQuery.
    #[inline]
    pub fn is_afterword_due(&mut self) -> bool {
        std::mem::take(&mut self.after.due)
    }

    /// What was reset.
    pub fn take_resets(&mut self) -> Resets {
        std::mem::take(&mut self.after.resets)
    }

    /// The names under which the server has got statements.
    pub fn declared(&self) -> &[Box<str>] {
        &self.after.declared
    }

    /// What has become of them is known.
    pub fn take_declared(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.after.declared)
    }

    /// Whether the server has got a statement under this name.
    pub fn is_declared(&self, name: &str) -> bool {
        self.after.declared.iter().any(|declared| **declared == *name)
    }

    /// Whether the client may have prepared statements by SQL, which the server has under the client's own names.
    pub fn may_have_names(&self) -> bool {
        self.prepared == Prepared::BySqlToo || self.held.has(Traces::STATEMENTS)
    }

    pub(super) fn is_not_declared(&mut self, name: &str) {
        self.after.declared.retain(|declared| **declared != *name);
    }

    /// The server gets statements under these names, ahead of the request that is about to be expected.
    #[cold]
    pub fn has_declared(&mut self, names: impl Iterator<Item = Box<str>>) {
        self.after.declared.extend(names);
        self.after.holds = true;
        self.dirty = true;
    }

    /// Whether ParameterStatus of a request of the client's is not for it yet: the value it knows may come back.
    pub(super) fn withhold(&mut self, name: &str, value: &str) -> bool {
        let first = self.parameters.first().value(&name.to_ascii_lowercase());
        let withholds = self.after.is_wanted() && first.is_some();
        if withholds {
            // One for each of the client's parameters at most, however often the server reports them.
            self.after.withheld.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            self.after.withheld.push((name.to_owned(), value.to_owned()));
        }
        withholds
    }

    /// Whether a parameter that got its value back has the one the client knows.
    pub(super) fn came_back(&mut self, name: &str, value: &str) -> bool {
        let withheld = self.after.withheld.len();
        self.after.withheld.retain(|(other, _)| other != name);
        let known = self.parameters.value(&name.to_ascii_lowercase()) == Some(value);
        known && withheld > self.after.withheld.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepared::client_statements::ClientStatements;
    use crate::server::exchange::{Action, Reply};
    use crate::wire::outgoing::Outgoing;
    use std::num::NonZeroUsize;
    use std::sync::Arc;

    /// An ALTER in a transaction: others are to be told with the reply to its COMMIT, though that is passed on as it is, and again
    /// with each that follows while there are traces.
    #[test]
    fn others_are_told_with_the_end_of_the_transaction() {
        let mut talk = Conversation::new(NonZeroUsize::MIN, Arc::default());
        let mut replies = |tags: &[&str], status: u8| {
            let mut said = Vec::new();
            for tag in tags {
                talk.exchange.expect(Reply::Query, Action::Forward);
                encode::message(&mut said, b::COMMAND_COMPLETE, |v| {
                    v.extend_from_slice(tag.as_bytes());
                    v.push(0);
                });
                encode::message(&mut said, b::READY, |v| v.push(status));
            }
            let passed = talk.pass(&said);
            let (mut client, mut scratch) = (ClientStatements::default(), Vec::new());
            let mut out = Outgoing::new(&said, &mut scratch);
            assert_eq!(talk.receive_behind(passed, &said, &mut client, &mut out), Ok(said.len()));
            assert_eq!(out.bytes(), said);
            (passed == said.len(), std::mem::take(&mut talk.heard.settled))
        };
        assert_eq!(replies(&["SELECT 1"], b'I'), (true, 0));
        assert_eq!(replies(&["BEGIN"], b'T'), (false, 0));
        assert_eq!(replies(&["ALTER TABLE"], b'T'), (false, 0));
        assert_eq!(replies(&["SELECT 1"], b'T'), (false, 0));
        assert_eq!(replies(&["COMMIT"], b'I'), (false, 1));
        assert_eq!(replies(&["SELECT 1", "SELECT 1"], b'I'), (false, 2), "what came with it isn't lost");
    }
}
