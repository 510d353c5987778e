//! A login that rests on a secret which was looked up. Who answers there may say what he likes, be it only for the database that he
//! owns; so PostgreSQL itself has to let the user in by what the client has proved, before the client gets servers that were
//! opened by what others have.

use super::greeting::lease;
use super::opener::{Opener, told};
use super::pool_context::PoolContext;
use super::report::Trouble;
use crate::clock::Instant;
use crate::metrics;
use crate::pool::{CloseReason, Lease, OpenError, WaitError};
use crate::server::Server;
use crate::server::connect::hang_up;
use crate::server::login::ServerSecret;
use std::sync::Arc;

/// Waits until PostgreSQL has let the pool's user in by this secret; at once, if it has before. Cancel safe.
///
/// # Errors
/// When PostgreSQL hasn't, or couldn't be asked.
pub(super) async fn agree(
    context: &Arc<PoolContext>,
    client: u64,
    secret: ServerSecret,
) -> Result<(), Trouble> {
    let opener = &context.opener;
    let has_taken = || opener.secrets.lock().has_taken(&secret);
    if has_taken() {
        return Ok(());
    }
    let _one = opener.agreeing.lock().await;
    if has_taken() {
        return Ok(());
    }
    opener.secrets.lock().consider(secret.clone());
    let _trial = Trial { opener, secret: &secret };
    let lease = lease(context, client).await?;
    // It may have been opened by this very secret.
    if has_taken() {
        lease.release(Instant::now());
        return Ok(());
    }
    let trying = open_in_its_place(Arc::clone(context), lease, secret.clone());
    // By a task of its own: nobody has two servers where one is allowed, however early the client leaves.
    let tried = context.shared.runtime.spawn(trying).await;
    let tried = tried.unwrap_or_else(|_| Err(OpenError::Transient("the login broke off".into())));
    tried.map_err(|error| Trouble::NoServer(WaitError::Open(told(error)), None))
}

/// While this lives, the secret may be tried.
struct Trial<'a> {
    opener: &'a Opener,
    secret: &'a ServerSecret,
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.opener.secrets.lock().forget(self.secret);
    }
}

/// Ends the server, and opens another by this secret alone, which is closed again: the lease is the right to one.
async fn open_in_its_place(
    context: Arc<PoolContext>,
    mut lease: Lease<Server>,
    secret: ServerSecret,
) -> Result<(), OpenError> {
    hang_up(&mut lease).await;
    let opened = context.opener.open_by(&context.shared, &secret).await;
    if let Ok(server) = opened {
        context.metrics.server_closed(metrics::CloseReason::Reconnect);
        *lease = server;
        lease.close(CloseReason::Obsolete);
        return Ok(());
    }
    lease.close(CloseReason::Obsolete);
    opened.map(drop)
}
