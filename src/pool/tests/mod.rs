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
    task::{Context, Poll, Wake, Waker},
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

/// A server that is nothing but its number and what the test makes of it. One that lingers is gone only when the test says so.
struct Fake<const LINGERS: bool = false> {
    id: usize,
    dirty: bool,
    alive: Arc<AtomicBool>,
    /// Present while leased, to see that nobody else has it.
    holder: Option<ClientId>,
    lets_go: Arc<AtomicBool>,
    _counted: Vec<Counted>,
}

impl<const LINGERS: bool> Pooled for Fake<LINGERS> {
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

    const HANGS_UP: bool = LINGERS;

    fn hang_up(&mut self) -> impl Future<Output = ()> + Send {
        let lets_go = Arc::clone(&self.lets_go);
        std::future::poll_fn(move |_| match lets_go.load(SeqCst) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
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
    /// Whether servers that linger go.
    lets_go: Arc<AtomicBool>,
    later: Mutex<Vec<Later>>,
}

type Later = (Instant, Box<dyn FnOnce(Instant) + Send>);

impl<const LINGERS: bool> Connector<Fake<LINGERS>> for Scripted {
    fn connect(&self, _: &Arc<Pool<Fake<LINGERS>>>) -> BoxFuture<Result<Fake<LINGERS>, OpenError>> {
        if let Some(error) = self.results.lock().pop_front() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let alive = Arc::new(AtomicBool::new(true));
        self.alive.lock().push(Arc::clone(&alive));
        let id = self.made.fetch_add(1, SeqCst);
        let counted = vec![self.gauge.up()];
        let lets_go = Arc::clone(&self.lets_go);
        let fake = Fake { id, dirty: false, alive, holder: None, lets_go, _counted: counted };
        Box::pin(std::future::ready(Ok(fake)))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.tasks.lock().push_back(task);
    }

    fn later(&self, at: Instant, then: Box<dyn FnOnce(Instant) + Send>) {
        self.later.lock().push((at, then));
    }
}

impl Scripted {
    /// Lets all opens under way finish, and those servers go that don't linger; returns how many there were.
    fn finish_opens(&self) -> usize {
        let (mut finished, mut lingering) = (0, VecDeque::new());
        loop {
            let Some(mut task) = self.tasks.lock().pop_front() else { break };
            match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(()) => finished += 1,
                Poll::Pending => lingering.push_back(task),
            }
        }
        self.tasks.lock().append(&mut lingering);
        finished
    }

    /// Does what was to be done by then.
    fn pass_to(&self, now: Instant) {
        let due: Vec<Later> = self.later.lock().extract_if(.., |(at, _)| *at <= now).collect();
        due.into_iter().for_each(|(_, then)| then(now));
    }

    fn fail_next(&self, error: OpenError) {
        self.results.lock().push_back(error);
    }

    /// Opens under way, and servers that are being closed and linger.
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
