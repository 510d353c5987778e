//! Making a leased server fit for somebody, and waiting until it is: at login, and when cleaning up. Cold paths only; a
//! session does the same by polling.

use super::pool_context::PoolContext;
use super::relay::count_traffic;
use super::report::Trouble;
use super::session::{Link, Session, Turn};
use crate::params::set::Set;
use crate::params::traces::Traces;
use crate::pool::{CloseReason, Lease};
use crate::prepared::client_statements::ClientStatements;
use crate::server::connect::refusal;
use crate::server::error::Refusal;
use crate::server::prelude::{Needs, Prelude};
use crate::server::{NOBODY, Server};
use crate::wire::outgoing::Outgoing;
use memchr::memmem;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Why a server could not be made fit.
#[derive(Debug)]
pub enum FitError {
    /// It refused.
    Refused(Refusal),
    /// It was lost.
    Lost(io::Error),
}

impl From<io::Error> for FitError {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// Whether the server still runs as a role that may be another by now, though of the name that the client wants. It also notes what the
/// client may do there unseen.
#[cold]
pub(super) fn is_someone_else(context: &PoolContext, wanted: &Set, server: &mut Server) -> bool {
    if wanted.makes_temporary() {
        server.talk.note(Traces::TEMPORARY);
    }
    let made = context.shared.roles_made.load(Ordering::Relaxed);
    let before = std::mem::replace(&mut server.roles_made, made);
    before != made && wanted.has_identity() && server.talk.parameters.has_identity()
}

/// Whether the server is to be reset first: another could not be made fit, and may not have let go of what others had set there. Only what
/// the client wants may fail then, for which it is told in the end.
///
/// temp_buffers can't be set where anybody has had a temporary table. Of that only a server nobody has used tells anything.
#[cold]
pub(super) fn starts_anew(unfit: &mut u8, wanted: &Set, owner: u64) -> bool {
    if owner != NOBODY && wanted.value("temp_buffers").is_some() {
        *unfit = 1;
    }
    owner != NOBODY
}

/// Bytes a client begins with that are looked at for a SET of temp_buffers.
const LOOKED_AT: usize = 256;

/// Whether others have had temporary tables on the server, which keeps this client from setting temp_buffers as it is about to.
#[inline]
pub(super) fn is_spoilt(server: &Server, client: u64, input: &[u8]) -> bool {
    let begin = &input[..input.len().min(LOOKED_AT)];
    let has = |word: &[u8]| memmem::find(begin, word).is_some();
    server.temporary_by != client && (has(b"_buffers") || has(b"_BUFFERS")) && sets_temp_buffers(begin)
}

#[cold]
fn sets_temp_buffers(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    memmem::find(&text, b"temp_buffers").is_some() && memmem::find(&text, b"set").is_some()
}

/// What a client is told when no server takes what it wants.
#[cold]
pub(super) fn replay_refused(error: &[u8]) -> Trouble {
    let mut refusal = refusal(error);
    let ours = "pgweir was repeating on another server what the client had set earlier in its session, or said at login; the statement that waited for it has not run.";
    refusal.detail =
        Some(refusal.detail.map_or_else(|| ours.to_owned(), |theirs| format!("{theirs}\n{ours}")));
    Trouble::Refused(refusal)
}

impl Session {
    /// Closes the server and wants another in its place.
    pub(super) fn close_for_another(&mut self, why: CloseReason) {
        self.context.pins.dismiss(self.member.entry().id);
        if let Link::Active(mut active) = std::mem::replace(&mut self.link, Link::Wanting) {
            count_traffic(self.cells(), &mut active.lease);
            active.lease.close(why);
        }
    }

    /// Has the server closed that was to be begun on, and wants another.
    #[cold]
    pub(super) fn begin_elsewhere(&mut self, lease: Lease<Server>, input: &[u8]) -> Turn {
        self.inbound = input.into();
        self.link = Link::Wanting;
        lease.close(CloseReason::ResetFailed);
        Turn::Again
    }
}

/// Resets the server if asked to, and gives it these parameters. Not cancel safe: dropped half way, the lease must be
/// closed. The caller bounds the time.
pub async fn fit(
    server: &mut Server,
    reset: Option<&str>,
    wanted: &Arc<Set>,
    defaults: &Arc<Set>,
) -> Result<(), FitError> {
    let mut bytes = Vec::new();
    let needs = Needs { reset, wanted, defaults, forgets_sequences: false, may_chain: false };
    if server.talk.prelude(&mut bytes, &needs) == Prelude::None {
        return Ok(());
    }
    server.stream.write_all(&bytes).await?;
    drain(server).await?;
    match server.talk.heard.prelude_error.take() {
        Some(body) => Err(FitError::Refused(refusal(&body))),
        None => Ok(()),
    }
}

/// Reads until the server owes nothing; what it says is for nobody. A server in doubt is of no more use and may have no end: that is an
/// error. Not cancel safe.
pub async fn drain(server: &mut Server) -> io::Result<()> {
    drain_until(server, |_| false).await
}

/// As [`drain`], or until `is_enough`, between two messages or within one.
pub async fn drain_until(server: &mut Server, is_enough: impl Fn(&Server) -> bool) -> io::Result<()> {
    let (mut nobody, mut scratch) = (ClientStatements::default(), Vec::new());
    while (!server.talk.exchange.is_drained() || !server.talk.is_whole()) && !is_enough(server) {
        let mut input = std::mem::take(&mut server.inbound);
        if server.stream.read_some(&mut input, 16 * 1024).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut out = Outgoing::new(&input, &mut scratch);
        let used = server
            .talk
            .receive(&input, &mut nobody, &mut out)
            .map_err(|e| io::Error::other(e.to_string()))?;
        input.drain(..used);
        server.inbound = input;
        server.talk.heard.errors.clear();
        server.talk.heard.own.clear();
        if let Some(why) = server.talk.exchange.doubt() {
            return Err(io::Error::other(why));
        }
        if server.talk.heard.fatal {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    }
    Ok(())
}
