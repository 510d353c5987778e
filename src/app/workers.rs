//! The worker threads: each a current-thread runtime that serves its clients until the process stops.

use std::io;
use std::sync::mpsc;
use std::thread;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// The workers' runtimes and the means to stop them.
#[derive(Debug)]
pub(super) struct Workers {
    pub(super) handles: Box<[Handle]>,
    stop: watch::Sender<bool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` workers.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count.max(1) {
            let (ready, receive) = mpsc::channel();
            let mut stopped = stopped.clone();
            let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build();
                match runtime {
                    Ok(runtime) => {
                        let _ = ready.send(Ok(runtime.handle().clone()));
                        let _ = runtime.block_on(stopped.wait_for(|stop| *stop));
                        runtime.shutdown_background();
                    }
                    Err(e) => drop(ready.send(Err(e))),
                }
            })?;
            handles.push(receive.recv().map_err(io::Error::other)??);
            threads.push(thread);
        }
        Ok(Self { handles: handles.into(), stop, threads })
    }

    /// Ends all of them. Sockets of one may be used by another, so all go together.
    pub(super) fn stop(self) {
        let _ = self.stop.send(true);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}
