//! A CancelRequest on its way from a client's key to what the client does now.

use crate::pool::{CancelGuard, CancelOutcome, ClientId, PoolKey, PoolSet};
use crate::roster::{Entry, Kick, Roster};
use crate::server::Server;
use crate::server::cancel::{CancelKey, cancel as cancel_server};
use crate::timer::timeout;
use std::sync::Arc;
use std::time::Duration;

/// What became of a request whose key was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// PostgreSQL has signalled the server.
    Sent,
    /// PostgreSQL could not be reached in time.
    Failed,
    /// The client was in line, and is no more.
    Waiting,
    /// The client does nothing.
    Nothing,
}

/// Finds the client and cancels what it does. Returns when that is settled; until then the server it was aimed at goes to
/// nobody else. `None`: the key is nobody's.
pub async fn cancel(
    roster: &Roster,
    pools: &PoolSet<Server>,
    (pid, secret): (u32, &[u8]),
    limit: Option<Duration>,
) -> Option<(Arc<Entry>, Outcome)> {
    let entry = roster.find(pid, secret)?;
    let key = PoolKey { database: Arc::clone(&entry.place.database), user: Arc::clone(&entry.place.user) };
    let outcome = match pools.find(&key).map(|pool| pool.cancel(ClientId(entry.id))) {
        None | Some(CancelOutcome::Nothing) => {
            // It may wait for something else than a server.
            entry.kick(Kick::Cancel);
            Outcome::Nothing
        }
        Some(CancelOutcome::Waiting) => Outcome::Waiting,
        Some(CancelOutcome::Running(guard)) => send(guard, limit).await,
    };
    Some((entry, outcome))
}

/// Cancels what a server runs. Returns when that is settled, one way or the other.
pub async fn send(mut guard: CancelGuard<Server>, limit: Option<Duration>) -> Outcome {
    guard.sending();
    let sending = cancel_server(guard.key());
    let sent = match limit {
        Some(limit) => timeout(limit, sending).await.unwrap_or_else(|late| Err(late.into())),
        None => sending.await,
    };
    if let Err(error) = sent {
        let CancelKey { address, pid, .. } = guard.key();
        tracing::warn!(server = %address, pid, "a cancel request could not be sent: {error}");
        return Outcome::Failed;
    }
    guard.settled();
    Outcome::Sent
}
