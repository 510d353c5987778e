//! Waiting for a time to pass. Timers are kept by one runtime that has little to do, whoever waits: a runtime that keeps
//! timers reads the clock and turns its wheel at every look for ready sockets, which workers do for every transaction.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Sleep, Timeout};

static KEEPER: OnceLock<Handle> = OnceLock::new();

/// From now on all timers of the process are this runtime's, which outlives the others. Without a keeper they are the
/// runtime's that waits.
pub fn keep(runtime: &Handle) {
    let _ = KEEPER.set(runtime.clone());
}

/// Over when so much time has passed. Cancel safe.
pub fn sleep(time: Duration) -> Sleep {
    let _entered = KEEPER.get().map(Handle::enter);
    tokio::time::sleep(time)
}

/// What the future comes to, or an error when that takes longer. As cancel safe as the future.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    let _entered = KEEPER.get().map(Handle::enter);
    tokio::time::timeout(limit, future)
}

/// Runs it in the keeper's runtime, beside whoever starts it.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    match KEEPER.get() {
        Some(keeper) => drop(keeper.spawn(task)),
        None => drop(tokio::spawn(task)),
    }
}

/// Polls a future as one of the keeper's: what is started in it (timers, tasks, sockets, lookups of names) is the keeper's.
pub async fn with_keeper<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let _entered = KEEPER.get().map(Handle::enter);
        future.as_mut().poll(context)
    })
    .await
}
