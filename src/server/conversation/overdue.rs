//! A query that takes too long and is being cancelled: the error that ends it names the timeout instead of a user's request.

use super::{Conversation, Decided};
use crate::clock::Instant;
use crate::wire::backend::{Report, Severity};
use crate::wire::frame::HEADER;
use crate::wire::sqlstate;
use crate::wire::tag::backend::ERROR;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A cancel by pgweir itself.
#[derive(Debug)]
pub struct Overdue {
    /// What the client is told.
    pub words: &'static str,
    /// When the cancel was begun.
    pub since: Instant,
    /// The number of the reply that is its answer.
    pub last: u64,
    /// Whether it can't reach anything later any more.
    pub settled: Arc<AtomicBool>,
}

impl Conversation {
    /// Whether the request that pgweir has cancelled is answered, with what pgweir asks behind it.
    #[cold]
    pub fn has_answered_cancel(&self) -> bool {
        let answered = |it: &Overdue| self.exchange.has_answered(it.last) && !self.exchange.is_behind();
        self.overdue.as_deref().is_none_or(answered)
    }

    /// What the client gets for an error of this SQLSTATE, if that comes of a cancel by pgweir. `beyond` is what of the
    /// message isn't the part of its body that is here: one that didn't come whole is passed on as it is.
    #[cold]
    pub(super) fn overdue_words(&self, told: &[u8; 5], beyond: usize) -> Option<Decided> {
        let (severity, code) = (Severity::Error, sqlstate::QUERY_CANCELED);
        let message = self.overdue.as_ref().filter(|_| told == code.as_bytes() && beyond == HEADER)?.words;
        let mut error = Vec::new();
        Report { severity, code, message, detail: None, hint: None }.encode(&mut error);
        Some(Decided::Instead(ERROR, error.split_off(HEADER)))
    }
}
