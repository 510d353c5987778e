//! Taking a server and giving it back: alone, with somebody in line, and from two threads at once. No sockets.

use criterion::Criterion;
use pgweir::clock::Instant;
use pgweir::pool::{
    BoxFuture, ClientId, Connector, Lease, OpenError, Parts, Pool, PoolKey, PoolSettings, Pooled, Request,
    SlotIndex, Take, Ticket,
};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

const WORKERS: usize = 2;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("take and release");
    group.bench_function("alone", |bencher| {
        let bench = Bench::new(20);
        let (now, mut hint) = (Instant::now(), None);
        bencher.iter(|| hint = Some(bench.turn(0, hint, now)));
    });
    group.bench_function("with a waiter", |bencher| {
        let bench = Bench::new(1);
        let now = Instant::now();
        let (mut client, mut lease) = (0, Some(bench.take(0, None, now)));
        bencher.iter(|| {
            client ^= 1;
            let mut ticket = bench.queue(client, now);
            lease.take().expect("put back below").release(now);
            lease = Some(granted(&mut ticket));
        });
    });
    group.bench_function("from two threads", |bencher| {
        let bench = Bench::new(20);
        bench.open_one_each();
        bencher.iter_custom(|turns| from_two_threads(&bench, turns));
    });
    group.finish();
    criterion.final_summary();
}

/// A server that is nothing but that.
struct Fake;

impl Pooled for Fake {
    type CancelKey = ();
    type About = ();

    fn about(&self) {}

    fn is_dirty(&self) -> bool {
        false
    }
    fn is_alive(&mut self) -> bool {
        true
    }
    fn cancel_key(&self) {}
}

/// Opens at once, on the thread that asks.
struct AtOnce;

impl Connector<Fake> for AtOnce {
    fn connect(&self, _: &Arc<Pool<Fake>>) -> BoxFuture<Result<Fake, OpenError>> {
        Box::pin(std::future::ready(Ok(Fake)))
    }

    fn spawn(&self, mut task: BoxFuture<()>) {
        let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_ready(), "nothing in it waits");
    }

    fn later(&self, _: Instant, _: Box<dyn FnOnce(Instant) + Send>) {
        unreachable!("no cap is shared");
    }
}

struct Bench(Arc<Pool<Fake>>);

impl Bench {
    fn new(size: u32) -> Self {
        let parts = Parts {
            key: PoolKey::new("db", "user"),
            settings: PoolSettings { size: NonZeroU32::new(size), lifetime: None, ..PoolSettings::default() },
            caps: Vec::new(),
            connector: Arc::new(AtOnce),
            observer: Arc::new(()),
        };
        Self(Pool::new(parts, Instant::now()))
    }

    fn ask(&self, client: usize, hint: Option<SlotIndex>, now: Instant) -> Take<Fake> {
        let request = Request { client: ClientId(client as u64), hint, now };
        self.0.take(&request, Waker::noop())
    }

    /// The first time a new server comes by way of the line.
    fn take(&self, client: usize, hint: Option<SlotIndex>, now: Instant) -> Lease<Fake> {
        match self.ask(client, hint, now) {
            Take::Leased(lease) => lease,
            Take::Queued(mut ticket) => granted(&mut ticket),
        }
    }

    fn queue(&self, client: usize, now: Instant) -> Ticket<Fake> {
        match self.ask(client, None, now) {
            Take::Queued(ticket) => ticket,
            Take::Leased(_) => panic!("the only server is leased"),
        }
    }

    /// One transaction of a client; returns where its server is.
    fn turn(&self, client: usize, hint: Option<SlotIndex>, now: Instant) -> SlotIndex {
        let lease = black_box(self.take(client, hint, now));
        let slot = lease.slot();
        lease.release(now);
        slot
    }

    /// A server for each thread.
    fn open_one_each(&self) {
        let now = Instant::now();
        let leases: Vec<_> = (0..WORKERS).map(|client| self.take(client, None, now)).collect();
        leases.into_iter().for_each(|lease| lease.release(now));
    }
}

fn granted(ticket: &mut Ticket<Fake>) -> Lease<Fake> {
    match ticket.poll_lease(Waker::noop()) {
        Poll::Ready(Ok(lease)) => lease,
        other => panic!("a server was released for it, but: {other:?}"),
    }
}

/// The time until both threads have had `turns` turns.
fn from_two_threads(bench: &Bench, turns: u64) -> Duration {
    let (ready, done) = (Barrier::new(WORKERS + 1), Barrier::new(WORKERS + 1));
    thread::scope(|scope| {
        for client in 0..WORKERS {
            let (ready, done) = (&ready, &done);
            scope.spawn(move || {
                let (now, mut hint) = (Instant::now(), None);
                ready.wait();
                for _ in 0..turns {
                    hint = Some(bench.turn(client, hint, now));
                }
                done.wait();
            });
        }
        ready.wait();
        let begun = Instant::now();
        done.wait();
        begun.elapsed()
    })
}
