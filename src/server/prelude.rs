//! What a server is sent before its next client's first bytes: a reset when it is dirty, the client's parameters when
//! they differ.

use super::conversation::Conversation;
use super::exchange::Reply;
use crate::params::difference;
use crate::params::set::Set;
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
    /// The client's bytes have to wait until it has succeeded: should it fail, they must not run in this session.
    Awaited,
}

impl Conversation {
    /// Appends what it takes to give this session to a client that wants `wanted`. `reset` is the reset query if the
    /// session has to be reset first.
    pub fn prelude(
        &mut self,
        out: &mut Vec<u8>,
        reset: Option<&str>,
        wanted: &Arc<Set>,
        defaults: &Arc<Set>,
    ) -> Prelude {
        let mut prelude = Prelude::None;
        if let Some(query) = reset {
            frontend::query(out, query.as_bytes());
            self.expect_prelude(Reply::Query);
            self.unnamed = None;
            self.reset(Arc::clone(defaults));
            prelude = Prelude::Awaited;
        }
        if Arc::ptr_eq(&self.parameters, wanted) {
            return prelude;
        }
        let replay = difference::replay(&self.parameters, wanted);
        if !replay.is_empty() {
            frontend::query(out, replay.as_bytes());
            self.expect_prelude(Reply::Query);
            self.unnamed = None;
            let harmless = difference::names(&self.parameters, wanted).all(tracked::is_harmless);
            if prelude == Prelude::None {
                prelude = if harmless { Prelude::Glued } else { Prelude::Awaited };
            }
        }
        self.parameters = Arc::clone(wanted);
        prelude
    }
}
