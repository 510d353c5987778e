//! The replies a server owes, in order, and what becomes of each. Pure: tags in, decisions out.

mod kinds;
mod owed;
mod pass;
mod promised;

use crate::wire::tag::backend as b;
pub use kinds::{Action, Fate, Reply, Status};
use owed::{Owed, OwedQueue};
use std::collections::VecDeque;

/// A promise that won't be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken<P> {
    /// The promise.
    pub promise: P,
    /// Whether its request ran and failed, or was skipped for an earlier failure.
    pub ran: bool,
}

/// How requests and replies of one server stand.
///
/// ```text
///            expect(..)                      on_message(tag)
/// client ───────────────▶ owed: [front … back] ◀─────────────── server
///                          │ answered: promises kept
///                          └ ErrorResponse: up to the next Sync dropped, promises broken, newest first
/// ```
/// `P` is a promise: what a request, once answered well, will have changed.
#[derive(Debug)]
pub struct Exchange<P> {
    owed: OwedQueue,
    promises: VecDeque<(u64, P)>,
    /// Number of the front entry; entries are numbered from 1 as they come.
    front: u64,
    /// Number of the last Sync, Query or FunctionCall expected: what is before it is an earlier batch.
    batch: u64,
    status: Status,
    phase: Phase,
    doubt: Option<&'static str>,
    /// Number of the last request that began to copy behind which a Sync had been sent already.
    ignored_sync: u64,
}

/// A COPY failed before or after the server came to a Sync that it ignores within the data: it may be answered or not.
const LATE_READY: &str = "a Sync may be answered that was sent before COPY data";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing since the last ReadyForQuery but whole simple queries.
    Synced,
    /// Extended-protocol messages were sent since the last Sync.
    Unsynced,
    /// The server failed in a batch whose Sync has not been sent: it ignores everything until then.
    Skipping,
    /// The server awaits COPY data.
    CopyIn,
}

impl<P> Default for Exchange<P> {
    fn default() -> Self {
        Self {
            owed: OwedQueue::default(),
            promises: VecDeque::new(),
            front: 1,
            batch: 0,
            status: Status::Idle,
            phase: Phase::Synced,
            doubt: None,
            ignored_sync: 0,
        }
    }
}

impl<P> Exchange<P> {
    /// A request is sent that will be answered so (or, with [`Action::Local`], is answered here).
    #[inline]
    pub fn expect(&mut self, reply: Reply, action: Action) {
        match reply {
            Reply::Query | Reply::FunctionCall | Reply::Sync => {
                self.batch = self.front + self.owed.len() as u64;
                self.phase = Phase::Synced;
            }
            // Were it kept, it would pass for the end of the next COPY of the same Query.
            Reply::CopyEnd if self.phase == Phase::CopyIn => {
                self.phase = self.phase_of_back();
                return;
            }
            Reply::CopyEnd => {
                if self.owed.is_empty() {
                    return;
                }
            }
            _ => self.phase = Phase::Unsynced,
        }
        self.owed.push(Owed { reply, action });
    }

    /// Number of replies owed, those pgweir gives itself included.
    #[inline]
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// Whether nothing is owed.
    #[inline]
    pub fn is_drained(&self) -> bool {
        self.owed.is_empty()
    }

    /// Whether PostgreSQL itself is to answer anything more.
    #[cold]
    pub fn owes(&self) -> bool {
        let asked =
            |o: Owed| o.action != Action::Local && !matches!(o.reply, Reply::CopyEnd | Reply::Nothing);
        self.owed.iter().any(asked)
    }

    /// Whether what is answered next is the last thing asked, but for the Sync behind it.
    #[cold]
    pub fn is_last(&self) -> bool {
        let behind = self.owed.iter().nth(1);
        self.owed.len() == 1 || self.owed.len() == 2 && behind.is_some_and(|o| o.reply == Reply::Sync)
    }

    /// Whether the server could serve somebody else: nothing owed, no batch open, no transaction.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.owed.is_empty() && self.status == Status::Idle && self.phase == Phase::Synced
    }

    /// Whether the server ignores everything until a Sync.
    #[inline]
    pub fn is_skipping(&self) -> bool {
        self.phase == Phase::Skipping
    }

    /// Whether the server awaits COPY data; it ignores Sync and Flush meanwhile.
    #[inline]
    pub fn is_copy_in(&self) -> bool {
        self.phase == Phase::CopyIn
    }

    /// The number of the reply with which the request being answered ends: that of its ReadyForQuery, or of the last owed if
    /// none is to come by itself. The prelude is no part of it.
    pub fn end_of_request(&self) -> u64 {
        let ends = |o: Owed| {
            matches!(o.reply, Reply::Query | Reply::FunctionCall | Reply::Sync)
                && !matches!(o.action, Action::Prelude | Action::PreludeEnd)
        };
        let at = self.owed.iter().position(ends).unwrap_or(self.owed.len().saturating_sub(1));
        self.front + at as u64
    }

    /// Whether the reply of this number is in.
    pub fn has_answered(&self, number: u64) -> bool {
        self.owed.is_empty() || self.front > number
    }

    /// Whether a Sync is needed before the server can be asked anything of ours.
    pub fn needs_sync(&self) -> bool {
        self.phase != Phase::Synced
    }

    /// Whether no ReadyForQuery is owed, so that [`Self::status`] is that of the requests to come.
    #[inline]
    pub fn is_status_known(&self) -> bool {
        self.batch < self.front
    }

    /// Transaction status of the last ReadyForQuery.
    #[inline]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Why the server must not be used again, if so.
    pub fn doubt(&self) -> Option<&'static str> {
        self.doubt
    }

    /// The server has come to the data of a COPY, and so to the Sync in front of them, which it ignored.
    #[cold]
    pub fn copy_data_was_read(&mut self) {
        self.ignored_sync = 0;
    }

    /// Whether one more ReadyForQuery than is owed may come, so that the server should be its client's for some time still.
    /// Says so once.
    #[cold]
    pub fn take_late_ready(&mut self) -> bool {
        let is_late = self.doubt == Some(LATE_READY);
        if is_late {
            self.doubt = Some("a Sync may have been answered that was sent before COPY data");
        }
        is_late
    }

    /// From now on the server must not be used again.
    #[cold]
    pub fn set_doubt(&mut self, why: &'static str) {
        self.doubt.get_or_insert(why);
    }

    /// Whether [`Self::take_local`] has something to do.
    #[inline]
    pub fn is_local_next(&self) -> bool {
        self.owed
            .front()
            .is_some_and(|o| o.action == Action::Local || matches!(o.reply, Reply::CopyEnd | Reply::Nothing))
    }

    /// Takes off the front entry if pgweir answers it itself. To be called until `None` before a server's messages are
    /// handled, after each that completes something, and at a Flush.
    #[inline]
    pub fn take_local(&mut self) -> Option<Reply> {
        while let Some(Owed { reply, action }) = self.owed.front() {
            if action != Action::Local && !matches!(reply, Reply::CopyEnd | Reply::Nothing) {
                return None;
            }
            self.complete();
            if action == Action::Local {
                return Some(reply);
            }
        }
        None
    }

    /// Where a message goes that completes nothing: rows, notices, parameters.
    #[inline]
    pub fn passing(&self) -> Fate {
        match self.owed.front() {
            Some(Owed {
                action: Action::Prelude | Action::PreludeEnd | Action::Behind | Action::BehindAndReady,
                ..
            }) => Fate::Swallow,
            _ => Fate::Forward,
        }
    }

    /// Whether what comes next answers the prelude.
    #[cold]
    pub fn is_prelude_next(&self) -> bool {
        matches!(self.owed.front(), Some(Owed { action: Action::Prelude | Action::PreludeEnd, .. }))
    }

    /// Whether the prelude is still to be answered, and nothing was asked behind it.
    #[cold]
    pub fn owes_only_prelude(&self) -> bool {
        let newest = self.owed.iter().next_back();
        newest.is_some_and(|o| matches!(o.action, Action::Prelude | Action::PreludeEnd))
    }

    /// Whether what comes next answers what pgweir asked behind the client's request.
    #[inline]
    pub fn is_behind(&self) -> bool {
        matches!(self.owed.front(), Some(Owed { action: Action::Behind | Action::BehindAndReady, .. }))
    }

    /// A message that isn't rows, COPY data, notice, notification, parameter, error or ReadyForQuery.
    #[inline]
    pub fn on_message(&mut self, tag: u8) -> Fate {
        let Some(Owed { reply, action }) = self.owed.front() else {
            return self.unasked("the server sent a reply nobody asked for");
        };
        let completes = match (reply, tag) {
            (
                Reply::Query,
                b::ROW_DESCRIPTION | b::COMMAND_COMPLETE | b::EMPTY_QUERY | b::COPY_OUT | b::COPY_DONE,
            ) => false,
            (Reply::Execute, b::COPY_OUT | b::COPY_DONE) => false,
            (Reply::FunctionCall, b::FUNCTION_CALL) | (Reply::Describe, b::PARAMETER_DESCRIPTION) => false,
            (Reply::Query | Reply::Execute, b::COPY_IN) => {
                self.enter_copy_in();
                false
            }
            (Reply::Execute, b::COMMAND_COMPLETE | b::EMPTY_QUERY | b::PORTAL_SUSPENDED)
            | (Reply::Describe, b::ROW_DESCRIPTION | b::NO_DATA)
            | (Reply::Parse, b::PARSE_COMPLETE)
            | (Reply::Bind, b::BIND_COMPLETE)
            | (Reply::Close, b::CLOSE_COMPLETE) => true,
            (Reply::DuplicateParse, b::PARSE_COMPLETE) => {
                self.set_doubt("a statement the server should have had was not there");
                true
            }
            _ => {
                self.set_doubt("the server sent a reply that does not fit the request");
                return Fate::Forward;
            }
        };
        if completes {
            self.complete();
        }
        if action == Action::Forward { Fate::Forward } else { Fate::Swallow }
    }

    /// ReadyForQuery with its status byte.
    #[inline(always)]
    pub fn on_ready(&mut self, status: u8) -> Fate {
        self.status = match status {
            b'I' => Status::Idle,
            b'T' => Status::Transaction,
            b'E' => Status::Failed,
            _ => {
                self.set_doubt("the server sent an unknown transaction status");
                Status::Failed
            }
        };
        let Some(Owed { reply: Reply::Query | Reply::FunctionCall | Reply::Sync, action }) =
            self.owed.front()
        else {
            self.owed.clear();
            self.phase = Phase::Synced;
            return self.unasked("the server became ready out of turn");
        };
        self.complete();
        self.phase = if self.owed.is_empty() { Phase::Synced } else { self.phase_of_back() };
        if matches!(action, Action::Forward | Action::BehindAndReady) { Fate::Forward } else { Fate::Swallow }
    }

    /// What nobody asked for goes nowhere, unless the books were in doubt before: then the client knows better.
    #[cold]
    fn unasked(&mut self, why: &'static str) -> Fate {
        let fate = if self.doubt.is_some() { Fate::Forward } else { Fate::Swallow };
        self.set_doubt(why);
        fate
    }

    /// ErrorResponse: what becomes of it, and the promises it breaks, newest first.
    ///
    /// In the extended protocol the server ignores everything up to the next Sync. Behind a chained prelude no message of the client's
    /// follows a Sync: none is run, and the server is of no more use.
    #[cold]
    pub fn on_error(&mut self) -> (Fate, Vec<Broken<P>>) {
        let Some(Owed { reply, action }) = self.owed.front() else {
            self.set_doubt("the server reported an error nobody asked for");
            return (Fate::Forward, Vec::new());
        };
        if self.phase == Phase::CopyIn {
            self.phase = Phase::Synced;
        }
        let fate = match action {
            Action::Prelude => Fate::PreludeFailed,
            Action::PreludeEnd => Fate::Swallow,
            _ => Fate::Forward,
        };
        if self.ignored_sync == self.front {
            self.set_doubt(LATE_READY);
        }
        if matches!(reply, Reply::Query | Reply::FunctionCall | Reply::Sync) {
            return (fate, Vec::new());
        }
        if self.owed.iter().any(|o| o.action == Action::PreludeEnd) {
            self.phase = Phase::Skipping;
            self.set_doubt("a chained prelude failed");
            return (fate, self.break_all());
        }
        let sync = self.owed.iter().position(|o| o.reply == Reply::Sync);
        if sync.is_none() {
            self.phase = Phase::Skipping;
        }
        let dropped = sync.unwrap_or(self.owed.len());
        self.owed.drop_front(dropped);
        let failed = self.front;
        self.front += dropped as u64;
        let broken = self.promises.iter().take_while(|(number, _)| *number < self.front).count();
        let broken = self.promises.drain(..broken).rev();
        (fate, broken.map(|(number, promise)| Broken { promise, ran: number == failed }).collect())
    }

    /// A batch has failed, and nobody shall hear of its end. False if its Sync hasn't been sent.
    #[cold]
    pub fn swallow_end(&mut self) -> bool {
        let ends = matches!(self.owed.front(), Some(Owed { reply: Reply::Sync, action: Action::Forward }));
        if ends {
            self.owed.swallow_front();
        }
        ends
    }

    /// Nothing will be answered: all promises, newest first.
    pub fn break_all(&mut self) -> Vec<Broken<P>> {
        self.owed.clear();
        self.promises.drain(..).rev().map(|(_, promise)| Broken { promise, ran: false }).collect()
    }

    /// The front entry is answered; its promises are kept.
    #[inline]
    fn complete(&mut self) {
        self.owed.pop();
        self.front += 1;
        if !self.promises.is_empty() {
            self.keep_promises();
        }
    }

    fn keep_promises(&mut self) {
        while self.promises.front().is_some_and(|(number, _)| *number < self.front) {
            self.promises.pop_front();
        }
    }

    /// In copy-in mode the server ignores a Sync or Flush it finds before the end of the data. One Query may copy several times.
    #[cold]
    fn enter_copy_in(&mut self) {
        let ended = self.owed.iter().position(|o| o.reply == Reply::CopyEnd);
        let before = self.owed.iter().take(ended.map_or(usize::MAX, |at| at + 1)).enumerate();
        let ignored =
            before.filter(|(_, o)| matches!(o.reply, Reply::Sync | Reply::BadFlush | Reply::CopyEnd));
        for (at, owed) in ignored.collect::<Vec<_>>() {
            self.owed.set_reply(at, Reply::Nothing);
            if owed.reply == Reply::Sync {
                self.ignored_sync = self.front;
            }
        }
        self.phase = if ended.is_some() { self.phase_of_back() } else { Phase::CopyIn };
    }

    fn phase_of_back(&self) -> Phase {
        let asked = self.owed.iter().rfind(|o| !matches!(o.reply, Reply::CopyEnd | Reply::Nothing));
        match asked {
            None | Some(Owed { reply: Reply::Query | Reply::FunctionCall | Reply::Sync, .. }) => {
                Phase::Synced
            }
            Some(_) => Phase::Unsynced,
        }
    }

    /// A Sync in copy-in mode: ignored by the server unless it has failed meanwhile, which can't be known here.
    #[cold]
    pub fn sync_in_copy(&mut self) {
        self.set_doubt("a Sync was sent within COPY data");
    }
}

#[cfg(test)]
mod tests;
