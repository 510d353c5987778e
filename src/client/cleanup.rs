//! What becomes of a server whose client is gone: whatever runs is cancelled, a transaction rolled back, the session
//! reset, and the server given back, if all that is certain and done in time; else it is closed.

use super::context::PoolContext;
use super::fit::{self, FitError};
use super::routines;
use crate::clock::Instant;
use crate::config::PoolMode;
use crate::params::tracked;
use crate::pool::{CancelOutcome, ClientId, CloseReason, Lease};
use crate::server::Server;
use crate::server::cancel::cancel;
use crate::server::connect::refusal;
use crate::server::exchange::{Action, Reply, Status};
use crate::timer::timeout;
use crate::wire::encode::message;
use crate::wire::frontend::{self, SYNC};
use crate::wire::tag::frontend as f;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long a cleanup may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Cleans up after `client` and gives the server back, or closes it. Runs in a task of its own.
pub async fn clean_up(mut lease: Lease<Server>, context: Arc<PoolContext>, client: ClientId) {
    if !lease.talk.is_whole() && lease.talk.sending > 0
        || lease.talk.exchange.doubt().is_some()
        || lease.talk.heard.fatal
    {
        lease.close(CloseReason::ClientGone);
        return;
    }
    match timeout(LIMIT, quiet(&mut lease, &context, client)).await {
        Ok(Ok(())) if lease.talk.is_free() && lease.talk.exchange.doubt().is_none() => {
            give_back(lease);
        }
        _ => lease.close(CloseReason::ClientGone),
    }
}

/// Resets a dirty server nobody will come back to.
pub async fn reset(mut lease: Lease<Server>, context: Arc<PoolContext>) {
    match timeout(LIMIT, scrub(&mut lease, &context)).await {
        Ok(Ok(())) => give_back(lease),
        _ => lease.close(CloseReason::ResetFailed),
    }
}

/// Learns by a server nobody has which functions leave session state.
pub async fn learn(mut lease: Lease<Server>, context: Arc<PoolContext>) {
    let database = &context.pool.key().database;
    let learned = routines::learn(&mut lease, &context.routines, database).await;
    if let Ok(true) = learned {
        tracing::info!(%database, "settings of roles or of the database have changed: servers are replaced");
        context.shared.replace_servers(database);
    }
    if learned.is_ok() && lease.talk.is_free() && lease.talk.is_sound() {
        give_back(lease);
    } else {
        lease.close(CloseReason::Lost);
    }
}

fn give_back(lease: Lease<Server>) {
    lease.key.aim.at_nobody();
    lease.release(Instant::now());
}

async fn quiet(lease: &mut Lease<Server>, context: &PoolContext, client: ClientId) -> Result<(), FitError> {
    lease.key.aim.at_client();
    lease.talk.chained = Vec::new();
    lease.talk.overdue = None;
    lease.talk.cut = Default::default();
    lease.talk.after = Default::default();
    let pending = std::mem::take(&mut lease.outbound);
    lease.stream.drain(pending).await?;
    let exchange = &lease.talk.exchange;
    if !exchange.is_drained() && !exchange.is_copy_in() && lease.talk.inspection.take().is_none() {
        settle(context, client).await?;
    }
    let mut ending = Vec::new();
    end_copy(lease, &mut ending);
    let exchange = &mut lease.talk.exchange;
    if exchange.needs_sync() {
        // A Sync alone would commit what the client never meant to be committed without it.
        message(&mut ending, f::EXECUTE, |v| v.extend_from_slice(b"client disconnected\0\0\0\0\0"));
        exchange.expect(Reply::Execute, Action::Swallow);
        ending.extend_from_slice(SYNC);
        exchange.expect(Reply::Sync, Action::Swallow);
    }
    lease.stream.write_all(&ending).await?;
    // A COPY may begin only now: what waits for data hears no cancel.
    loop {
        fit::drain_until(lease, |server| server.talk.exchange.is_copy_in()).await?;
        let mut ending = Vec::new();
        if !end_copy(lease, &mut ending) {
            break;
        }
        lease.stream.write_all(&ending).await?;
    }
    if lease.talk.exchange.status() != Status::Idle {
        let mut rollback = Vec::new();
        frontend::query(&mut rollback, b"ROLLBACK");
        lease.talk.exchange.expect(Reply::Query, Action::Swallow);
        lease.stream.write_all(&rollback).await?;
        fit::drain(lease).await?;
    }
    // Of what its last requests wanted behind them nothing was asked.
    lease.talk.after = Default::default();
    scrub(lease, context).await
}

/// The data the server waits for won't come. Whether it waits for any.
fn end_copy(lease: &mut Lease<Server>, out: &mut Vec<u8>) -> bool {
    let exchange = &mut lease.talk.exchange;
    let waits = exchange.is_copy_in();
    if waits {
        message(out, f::COPY_FAIL, |v| v.extend_from_slice(b"client disconnected\0"));
        exchange.expect(Reply::CopyEnd, Action::Swallow);
    }
    waits
}

async fn scrub(lease: &mut Lease<Server>, context: &PoolContext) -> Result<(), FitError> {
    let heard = std::mem::take(&mut lease.talk.heard);
    if let Some(error) = heard.prelude_error {
        return Err(FitError::Refused(refusal(&error)));
    }
    // A rollback has taken SETs back, or what was cancelled had made some: nobody knew of them.
    for (name, value, own) in heard.parameters {
        if !own && tracked::follows_client(&name) {
            let value = (!lease.began_with(&name, &value)).then_some(&*value);
            lease.talk.parameters = context.shared.sets.with(&lease.talk.parameters, &name, value);
            lease.talk.dirty = true;
        }
    }
    let reset = context
        .reset_query
        .as_deref()
        .filter(|_| lease.talk.dirty || context.reset_always || context.mode == PoolMode::Session);
    let parameters = Arc::clone(&lease.talk.parameters);
    let listens = !parameters.channels().is_empty();
    let wanted = if reset.is_some() || listens { &context.defaults } else { &parameters };
    fit::fit(lease, reset, wanted, &context.defaults).await
}

/// Cancels what the server runs for the client, and waits until the cancel can't reach anything later.
async fn settle(context: &PoolContext, client: ClientId) -> io::Result<()> {
    match context.pool.cancel(client) {
        CancelOutcome::Running(guard) => cancel(guard.key()).await,
        CancelOutcome::Waiting | CancelOutcome::Nothing => Ok(()),
    }
}
