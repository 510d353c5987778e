//! What a server is sent before its next client's first bytes: a reset when it is dirty, the client's parameters when
//! they differ.

use super::conversation::Conversation;
use super::exchange::Reply;
use crate::params::difference;
use crate::params::set::Set;
use crate::params::traces::Traces;
use crate::params::tracked;
use crate::wire::frontend;
use std::sync::Arc;

/// How the prelude and the client's bytes go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prelude {
    /// Nothing was needed.
    None,
    /// The client's bytes may follow in the same write: should it fail, only how values look is at stake.
    Glued,
    /// The client's bytes may follow in the same write: should it fail, PostgreSQL ends the session before it comes to them.
    Guarded,
    /// The client's bytes have to wait until it has succeeded: should it fail, they must not run in this session.
    Awaited,
}

impl Conversation {
    /// Appends what it takes to give this session to a client that wants `wanted`. `reset` is the reset query if the
    /// session has to be reset first.
    ///
    /// What has to succeed is guarded by `exit_on_error`, under which any error ends the session, if `may_guard` and nothing in the session
    /// could keep the guard itself from working: no timeout is set, and what is set is known.
    pub fn prelude(
        &mut self,
        out: &mut Vec<u8>,
        reset: Option<&str>,
        (wanted, may_guard): (&Arc<Set>, bool),
        defaults: &Arc<Set>,
    ) -> Prelude {
        let mut prelude = Prelude::None;
        let guards = may_guard
            && self.traces.within(Traces::SHOWN).is_empty()
            && TIMEOUTS.iter().all(|t| self.parameters.value(t).is_none());
        let awaited = if guards { Prelude::Guarded } else { Prelude::Awaited };
        if let Some(query) = reset {
            if guards {
                self.ask_prelude(out, GUARD);
            }
            self.ask_prelude(out, query);
            self.reset(Arc::clone(defaults));
            prelude = awaited;
        }
        if Arc::ptr_eq(&self.parameters, wanted) {
            return prelude;
        }
        let mut replay = difference::listens(&self.parameters, wanted);
        let listens = !replay.is_empty();
        let settings = difference::replay(&self.parameters, wanted);
        replay.push_str(&settings);
        if !replay.is_empty() {
            let harmless = !listens && difference::names(&self.parameters, wanted).all(tracked::is_harmless);
            if guards && !harmless {
                self.ask_prelude(out, GUARD);
                replay.push_str(if settings.is_empty() { "SELECT " } else { ", " });
                replay.push_str(UNGUARD);
            }
            self.ask_prelude(out, &replay);
            if prelude == Prelude::None {
                prelude = if harmless { Prelude::Glued } else { awaited };
            }
        }
        self.parameters = Arc::clone(wanted);
        prelude
    }

    /// Appends a query that only has to be answered.
    pub fn check(&mut self, out: &mut Vec<u8>, query: &str) {
        self.ask_prelude(out, query);
    }

    /// Appends what makes the session forget another client's values of sequences.
    pub fn forget_sequences(&mut self, out: &mut Vec<u8>) {
        self.ask_prelude(out, DISCARD_SEQUENCES);
        self.foreign_sequences = false;
    }

    fn ask_prelude(&mut self, out: &mut Vec<u8>, sql: &str) {
        frontend::query(out, sql.as_bytes());
        self.expect_prelude(Reply::Query);
        self.unnamed = None;
    }
}

/// Makes the session forget which values of sequences it had.
pub const DISCARD_SEQUENCES: &str = "DISCARD SEQUENCES";

/// From here on any error ends the session. DISCARD ALL takes it back.
const GUARD: &str = "SET exit_on_error = on";

/// Takes the guard back when all calls before it have succeeded.
const UNGUARD: &str = "pg_catalog.set_config('exit_on_error', NULL, false)";

/// With one of these the guard itself could be cut short.
const TIMEOUTS: [&str; 3] = ["lock_timeout", "statement_timeout", "transaction_timeout"];
