//! Many threads at once: bounds exact at every instant, nobody forgotten, nothing lost. No janitor runs unless a test says
//! so: every wake-up must come from the event that made it possible.
use crate::clock::Instant;
use std::{num::NonZeroU32, thread};

use tokio::{runtime, task};

use super::*;

/// Opens after a few turns of the runtime, sometimes fails, and counts every connection from its first moment.
struct Shaky {
    runtime: runtime::Handle,
    /// Each with the most that may live.
    gauges: Vec<(Arc<Gauge>, usize)>,
    made: AtomicUsize,
    /// One in so many opens fails; zero is never.
    fail_one_in: usize,
}

impl Connector<Fake> for Shaky {
    fn connect(&self, _: &Arc<Pool<Fake>>) -> BoxFuture<Result<Fake, OpenError>> {
        let id = self.made.fetch_add(1, SeqCst);
        let counted: Vec<Counted> = self.gauges.iter().map(|(gauge, _)| gauge.up()).collect();
        for (gauge, bound) in &self.gauges {
            assert!(gauge.most() <= *bound, "{} connections, at most {bound} allowed", gauge.most());
        }
        let fails = self.fail_one_in > 0 && id.is_multiple_of(self.fail_one_in);
        Box::pin(async move {
            for _ in 0..id % 4 {
                task::yield_now().await;
            }
            if fails {
                drop(counted);
                return Err(OpenError::Transient("now and then".into()));
            }
            let alive = Arc::new(AtomicBool::new(true));
            Ok(Fake { id, dirty: false, alive, holder: None, lets_go: Arc::default(), _counted: counted })
        })
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.runtime.spawn(task);
    }

    fn later(&self, at: Instant, then: Box<dyn FnOnce(Instant) + Send>) {
        self.runtime.spawn(async move {
            tokio::time::sleep(at.saturating_duration_since(Instant::now())).await;
            then(Instant::now());
        });
    }
}

struct Scene {
    workers: runtime::Runtime,
    pools: Vec<Arc<Pool<Fake>>>,
    gauges: Vec<(Arc<Gauge>, usize)>,
}

impl Scene {
    /// Pools of these sizes, all under a cap of `together`.
    fn new(sizes: &[u32], together: u32, fail_one_in: usize) -> Self {
        let workers = runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        let name = |kind| CapName { kind, of: "x".into() };
        let cap = SharedCap::new(name(CapKind::All), NonZeroU32::new(together));
        let all = (Arc::new(Gauge::default()), together as usize);
        let mut scene = Self { workers, pools: Vec::new(), gauges: vec![all.clone()] };
        for &size in sizes {
            let own = (Arc::new(Gauge::default()), size as usize);
            let connector = Shaky {
                runtime: scene.workers.handle().clone(),
                gauges: vec![own.clone(), all.clone()],
                made: AtomicUsize::new(1),
                fail_one_in,
            };
            let user_cap = SharedCap::new(name(CapKind::User), NonZeroU32::new(size + 1));
            let settings = PoolSettings {
                size: NonZeroU32::new(size),
                login_retry: Duration::ZERO,
                ..PoolSettings::default()
            };
            let parts = Parts {
                key: PoolKey::new("db", &scene.pools.len().to_string()),
                settings,
                caps: vec![Arc::clone(&cap), user_cap],
                connector: Arc::new(connector),
                observer: Arc::new(()),
            };
            scene.pools.push(Pool::new(parts, Instant::now()));
            scene.gauges.push(own);
        }
        scene
    }

    /// Lets `clients` clients run `turns` turns each and waits until all have finished.
    fn run(&self, clients: u64, turns: u64) {
        let tasks: Vec<_> = (0..clients)
            .map(|client| {
                let pools = self.pools.clone();
                self.workers.spawn(run_client(pools, client, turns))
            })
            .collect();
        self.workers.block_on(async {
            for (client, task) in tasks.into_iter().enumerate() {
                let ended = tokio::time::timeout(secs(120), task).await;
                let numbers: Vec<_> = self.pools.iter().map(|pool| pool.numbers()).collect();
                ended.unwrap_or_else(|_| panic!("client {client} was forgotten: {numbers:?}")).unwrap();
            }
        });
    }

    /// Everything at rest: nothing leased, nobody waiting, nothing beyond what is idle or opening.
    fn check(&self) {
        for (gauge, bound) in &self.gauges {
            assert!(gauge.most() <= *bound, "{} of {bound}", gauge.most());
        }
        for pool in &self.pools {
            let numbers = pool.numbers();
            assert_eq!((numbers.active, numbers.waiting, numbers.canceling), (0, 0, 0), "{numbers:?}");
        }
    }
}

/// Small, quick and the same every time for a client.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

async fn run_client(pools: Vec<Arc<Pool<Fake>>>, client: u64, turns: u64) {
    let mut dice = Dice(client + 1);
    let (mut hint, mut turn) = (None, 0);
    while turn < turns {
        let pool = &pools[dice.roll(pools.len() as u64) as usize];
        let now = Instant::now();
        let request = Request { client: ClientId(client), hint, now };
        if dice.roll(10) == 0 {
            give_up_waiting(pool, &request, dice.roll(3)).await;
            continue;
        }
        if dice.roll(10) == 0 {
            // Somebody else's cancel, which may find it anywhere.
            let target = ClientId(dice.roll(16));
            let outcome = pool.cancel(target);
            task::yield_now().await;
            drop(outcome);
        }
        match pool.acquire(request).await {
            Ok(lease) => hint = Some(use_lease(lease, ClientId(client), &mut dice).await),
            Err(WaitError::Canceled) => {}
            Err(other) => panic!("{other}"),
        }
        turn += 1;
    }
}

async fn use_lease(mut lease: Lease<Fake>, client: ClientId, dice: &mut Dice) -> SlotIndex {
    assert_eq!(lease.holder.replace(client), None, "two have one server");
    let slot = lease.slot();
    for _ in 0..dice.roll(3) {
        task::yield_now().await;
    }
    lease.dirty = dice.roll(4) == 0;
    assert_eq!(lease.holder.take(), Some(client));
    match dice.roll(30) {
        0 => lease.close(CloseReason::Lost),
        1 => drop(lease),
        _ => lease.release(Instant::now()),
    }
    slot
}

/// Drops a ticket at some point of its life.
async fn give_up_waiting(pool: &Arc<Pool<Fake>>, request: &Request, after: u64) {
    match pool.take(request, Waker::noop()) {
        Take::Leased(lease) => lease.release(Instant::now()),
        Take::Queued(ticket) => {
            for _ in 0..after {
                task::yield_now().await;
            }
            drop(ticket);
        }
    }
}

#[test]
fn one_pool_many_clients() {
    let scene = Scene::new(&[3], 100, 0);
    scene.run(60, 300);
    scene.check();
}

#[test]
fn pools_under_one_cap() {
    let scene = Scene::new(&[3, 4, 2, 3], 5, 0);
    scene.run(60, 300);
    scene.check();
}

#[test]
fn more_pools_than_places() {
    let scene = Scene::new(&[2; 6], 2, 0);
    scene.run(40, 150);
    scene.check();
}

#[test]
fn opens_that_fail() {
    let scene = Scene::new(&[3, 3], 4, 3);
    scene.run(40, 200);
    scene.check();
}

#[test]
fn resized_and_retired_meanwhile() {
    let scene = Scene::new(&[6, 6], 8, 0);
    let done = Arc::new(AtomicBool::new(false));
    let janitor = {
        let (pools, done) = (scene.pools.clone(), Arc::clone(&done));
        thread::spawn(move || {
            let mut dice = Dice(7);
            while !done.load(SeqCst) {
                for pool in &pools {
                    let size = NonZeroU32::new(1 + dice.roll(6) as u32);
                    pool.reconfigure(PoolSettings { size, min_size: 1, ..pool.settings() });
                    pool.keep_minimum(dice.roll(2) == 0);
                    pool.tick(Instant::now());
                    if dice.roll(8) == 0 {
                        pool.retire(CloseReason::Obsolete);
                    }
                    pool.take_dirty_abandoned(|_| false).into_iter().for_each(|l| l.release(Instant::now()));
                }
                thread::yield_now();
            }
        })
    };
    scene.run(40, 200);
    done.store(true, SeqCst);
    janitor.join().unwrap();
    scene.check();
}
