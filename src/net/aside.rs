//! Work that is much for a CPU, on threads of its own that give way to those that carry transactions.

use std::io;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

/// What is added to the nice value of these threads. Where all cores are busy with transactions this leaves a tenth of one; a
/// worker that has something to do goes first at once, where without it the kernel would let either run for milliseconds.
const NICER: i32 = 10;

/// The threads, and whose turn it is.
#[derive(Debug)]
pub struct Aside {
    turns: Arc<Semaphore>,
    /// Only its blocking threads are used; until it is dropped.
    runtime: Option<Runtime>,
}

impl Aside {
    /// At most so many threads, which come when they are needed.
    ///
    /// # Errors
    /// The kernel has nothing left for a runtime.
    pub fn new(most: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .thread_name("aside")
            .max_blocking_threads(most.max(1))
            .on_thread_start(give_way)
            .build()?;
        Ok(Self { turns: Arc::new(Semaphore::new(most.max(1))), runtime: Some(runtime) })
    }

    /// Does the work when it is its turn, in the order in which it is asked for. Cancel safe: what has begun goes on and is dropped
    /// afterwards; what hasn't is never begun.
    ///
    /// # Errors
    /// The work has panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(io::Error::other)?;
        let runtime = self.runtime.as_ref().expect("there until it is dropped");
        let work = runtime.spawn_blocking(move || {
            let outcome = work();
            drop(turn);
            outcome
        });
        work.await.map_err(io::Error::other)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Whoever drops it last may be a worker, which mustn't wait.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Makes the calling thread, and to Linux that is not the process, nicer than it was.
fn give_way() {
    let Ok(now) = rustix::process::getpriority_process(None) else { return };
    let _ = rustix::process::setpriority_process(None, (now + NICER).min(19));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    #[tokio::test]
    async fn work_gives_way_and_waits_for_its_turn() {
        let aside = Aside::new(1).unwrap();
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let here = nice();
        assert_eq!(aside.run(nice).await.unwrap(), (here + NICER).min(19));
        assert_eq!(nice(), here, "only those threads");

        let (go, gone) = std::sync::mpsc::channel::<()>();
        let mut first = std::pin::pin!(aside.run(move || gone.recv().is_ok()));
        let mut second = Box::pin(aside.run(|| panic!("nobody has waited for it")));
        std::future::poll_fn(|cx| {
            assert!(first.as_mut().poll(cx).is_pending() && second.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(second);
        go.send(()).unwrap();
        assert!(first.await.unwrap());
        assert!(aside.run(|| true).await.unwrap());
    }
}
