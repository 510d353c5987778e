//! The worker threads: one runtime, which serves all clients until the process stops.

use std::io;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// How long what a worker is about at the end may take. A worker that outlived the keeper of timers would panic at its next one; what
/// blocks (a name server, a module of PAM) isn't waited for longer.
const LAST_WORK: Duration = Duration::from_millis(500);

/// The workers' runtime and the means to stop it.
#[derive(Debug)]
pub(super) struct Workers {
    pub(super) runtime: Handle,
    pub(super) count: usize,
    stop: oneshot::Sender<()>,
    keeper: thread::JoinHandle<()>,
}

impl Workers {
    /// Starts `count` workers. A single one has a current-thread runtime, in which no task ever moves.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let several = count > 1;
        let mut builder = if several { Builder::new_multi_thread() } else { Builder::new_current_thread() };
        // Without timers, which are `crate::timer`'s.
        let runtime = builder.worker_threads(count.max(1)).thread_name("worker").enable_io().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        // The single worker itself; of several, a thread that only waits.
        let name = if several { "keeper" } else { "worker" };
        let keeper = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(LAST_WORK);
        })?;
        Ok(Self { runtime: handle, count, stop, keeper })
    }

    /// Ends all of them.
    pub(super) fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.keeper.join();
    }
}
