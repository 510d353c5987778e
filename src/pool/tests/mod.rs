//! Tests of the pool: the ledger against a model, the pool step by step, and many threads at once.
mod model;
mod shares;
mod steps;
mod stress;

use crate::clock::Instant;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use parking_lot::Mutex;

use super::*;

/// How many connections live, and the most that ever did.
#[derive(Debug, Default)]
struct Gauge {
    live: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn up(self: &Arc<Self>) -> Counted {
        let live = self.live.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(live, SeqCst);
        Counted(Arc::clone(self))
    }

    fn live(&self) -> usize {
        self.live.load(SeqCst)
    }

    fn most(&self) -> usize {
        self.most.load(SeqCst)
    }
}

/// Counts as a connection until dropped.
struct Counted(Arc<Gauge>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, SeqCst);
    }
}

/// A server that is nothing but its number and what the test makes of it.
struct Fake {
    id: usize,
    dirty: bool,
    alive: Arc<AtomicBool>,
    /// Present while leased, to see that nobody else has it.
    holder: Option<ClientId>,
    _counted: Vec<Counted>,
}

impl Pooled for Fake {
    type CancelKey = usize;
    type About = ();

    fn about(&self) {}
    fn is_dirty(&self) -> bool {
        self.dirty
    }
    fn is_alive(&mut self) -> bool {
        self.alive.load(SeqCst)
    }
    fn cancel_key(&self) -> usize {
        self.id
    }
}

/// Opens when the test says so, with the result that it says.
#[derive(Default)]
struct Scripted {
    tasks: Mutex<VecDeque<BoxFuture<()>>>,
    results: Mutex<VecDeque<OpenError>>,
    made: AtomicUsize,
    gauge: Arc<Gauge>,
    alive: Mutex<Vec<Arc<AtomicBool>>>,
}

impl Connector<Fake> for Scripted {
    fn connect(&self, _: &Arc<Pool<Fake>>) -> BoxFuture<Result<Fake, OpenError>> {
        if let Some(error) = self.results.lock().pop_front() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let alive = Arc::new(AtomicBool::new(true));
        self.alive.lock().push(Arc::clone(&alive));
        let id = self.made.fetch_add(1, SeqCst);
        let counted = vec![self.gauge.up()];
        let fake = Fake { id, dirty: false, alive, holder: None, _counted: counted };
        Box::pin(std::future::ready(Ok(fake)))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.tasks.lock().push_back(task);
    }
}

impl Scripted {
    /// Lets all opens under way finish; returns how many there were.
    fn finish_opens(&self) -> usize {
        let mut finished = 0;
        loop {
            let Some(mut task) = self.tasks.lock().pop_front() else { return finished };
            assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
            finished += 1;
        }
    }

    fn fail_next(&self, error: OpenError) {
        self.results.lock().push_back(error);
    }

    fn opening(&self) -> usize {
        self.tasks.lock().len()
    }
}

/// Keeps what it hears, as text.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Observer for Log {
    fn event(&self, pool: &PoolKey, event: Event<'_>) {
        let text = match event {
            Event::Opened => "opened".to_owned(),
            Event::OpenFailed { error, .. } => format!("failed: {error}"),
            Event::ReserveTaken => "reserve".to_owned(),
            Event::Blocked(cap) => format!("blocked: {cap}"),
            Event::Closed { reason, .. } => format!("closed: {reason}"),
        };
        self.0.lock().push(format!("{} {text}", pool.user));
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(SeqCst)
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn request(client: u64, now: Instant) -> Request {
    Request { client: ClientId(client), hint: None, now }
}

fn refusal(sqlstate: &str) -> OpenError {
    let message = "no".to_owned();
    ServerError { sqlstate: sqlstate.into(), message, detail: None, hint: None }.into()
}
