//! The load where pgbench is not enough: many clients on one thread, as fast as they can or at a fixed rate, and the
//! server they ask. Cheap, so that the pooler is what limits.

mod client;
mod fake;
mod fake_session;
mod poller;
mod stage;
mod stamps;
mod storm;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use client::{Shape, log_in};
pub(crate) use stage::{Plan, Stage};

use super::support::PATIENCE;
use super::support::raw::Target;
use client::Client;
use poller::Poller;
use stamps::Visits;

/// Time before the first figure is taken.
const WARM_UP: Duration = Duration::from_secs(1);

/// Between two looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// What was seen in the measured time.
pub(crate) struct Seen {
    pub(crate) seconds: f64,
    /// From request (or from when it was due) to the whole answer, in µs, sorted.
    pub(crate) waits: Vec<f64>,
    /// What of it was spent in the pooler, if the kernel stamps it (`stamps`), in µs, sorted.
    pub(crate) within: Vec<f64>,
    /// Answers each client got.
    pub(crate) shares: Vec<u64>,
}

impl Seen {
    pub(crate) fn transactions(&self) -> f64 {
        self.waits.len() as f64
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.transactions() / self.seconds
    }

    /// The wait that share of all waits is not longer than, in µs.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        quantile(&self.waits, share)
    }

    /// The same of what was spent in the pooler.
    pub(crate) fn quantile_within(&self, share: f64) -> f64 {
        quantile(&self.within, share)
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

pub(crate) struct Load {
    clients: Vec<Client>,
    poller: Poller,
    visits: Option<Arc<Visits>>,
    /// State of the keys' generator.
    keys: u64,
}

/// Who asks when.
struct Pace {
    /// Between two requests, if they come at a fixed rate; else each client asks when it has its answer.
    gap: Option<Duration>,
    due: Instant,
    /// Requests that are due and for which no client is free.
    waiting: VecDeque<Instant>,
    free: VecDeque<usize>,
}

impl Pace {
    /// A free client and the request that has been due longest.
    fn next(&mut self) -> Option<(usize, Instant)> {
        let due = self.waiting.front().copied()?;
        let client = self.free.pop_front()?;
        self.waiting.pop_front();
        Some((client, due))
    }
}

impl Load {
    /// Logs the clients in.
    pub(crate) fn connect(targets: impl Iterator<Item = Target>, shape: Shape) -> Result<Self, String> {
        let poller = Poller::new().map_err(|e| e.to_string())?;
        let mut clients = Vec::new();
        for target in targets {
            let client = Client::new(&target, shape)?;
            poller.add(&client.socket, clients.len()).map_err(|e| e.to_string())?;
            clients.push(client);
        }
        Ok(Self { clients, poller, visits: None, keys: 0x9E37_79B9_7F4A_7C15 })
    }

    /// Tells what is spent in the pooler, too, of a server that fills `visits`.
    pub(crate) fn stamped(mut self, visits: &Arc<Visits>) -> Result<Self, String> {
        self.clients.iter_mut().try_for_each(Client::ask_for_stamps)?;
        self.visits = Some(Arc::clone(visits));
        Ok(self)
    }

    /// Warms up, then measures for so long, calling `edge` when that begins and when it ends; `rate` is requests
    /// a second of all clients together.
    ///
    /// # Errors
    /// Any answer that isn't right.
    pub(crate) fn run(
        &mut self,
        duration: Duration,
        rate: Option<u32>,
        edge: &mut dyn FnMut() -> Result<(), String>,
    ) -> Result<Seen, String> {
        let from = Instant::now() + WARM_UP;
        let mut pace = self.begin(rate)?;
        self.drive(&mut pace, from, &mut |_, _, _| {})?;
        edge()?;
        let until = Instant::now() + duration;
        self.measure(&mut pace, until, &mut || false, edge)
    }

    /// Measures while something goes on, at that rate and without warming up.
    ///
    /// # Errors
    /// Any answer that isn't right, or if it goes on for ever.
    pub(crate) fn run_while(&mut self, rate: u32, going: &mut dyn FnMut() -> bool) -> Result<Seen, String> {
        let mut pace = self.begin(Some(rate))?;
        let until = Instant::now() + PATIENCE * 5;
        self.measure(&mut pace, until, &mut || !going(), &mut || Ok(()))
    }

    fn measure(
        &mut self,
        pace: &mut Pace,
        until: Instant,
        over: &mut dyn FnMut() -> bool,
        edge: &mut dyn FnMut() -> Result<(), String>,
    ) -> Result<Seen, String> {
        let (started, mut waits) = (Instant::now(), Vec::with_capacity(1 << 19));
        let mut within = Vec::new();
        let mut shares = vec![0; self.clients.len()];
        while !over() && Instant::now() < until {
            self.drive(pace, until.min(Instant::now() + LOOK), &mut |client, wait, inside| {
                waits.push(wait.as_secs_f64() * 1e6);
                within.extend(inside.map(|inside| inside.as_secs_f64() * 1e6));
                shares[client] += 1;
            })?;
        }
        let seconds = started.elapsed().as_secs_f64();
        edge()?;
        self.finish()?;
        waits.sort_by(f64::total_cmp);
        within.sort_by(f64::total_cmp);
        match waits.is_empty() {
            true => Err("no answer at all".into()),
            false => Ok(Seen { seconds, waits, within, shares }),
        }
    }

    fn begin(&mut self, rate: Option<u32>) -> Result<Pace, String> {
        let now = Instant::now();
        let everybody = 0..self.clients.len();
        let gap = rate.map(|rate| Duration::from_secs(1) / rate);
        let mut pace = Pace { gap, due: now, waiting: VecDeque::new(), free: VecDeque::new() };
        match gap {
            Some(_) => pace.free.extend(everybody),
            None => everybody.into_iter().try_for_each(|client| self.send(client, now))?,
        }
        Ok(pace)
    }

    fn drive(
        &mut self,
        pace: &mut Pace,
        until: Instant,
        answered: &mut dyn FnMut(usize, Duration, Option<Duration>),
    ) -> Result<(), String> {
        let (mut ready, mut chunk) = (Vec::new(), vec![0; 65536]);
        loop {
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            let mut wake = until;
            if let Some(gap) = pace.gap {
                while pace.due <= now {
                    pace.waiting.push_back(pace.due);
                    pace.due += gap;
                }
                while let Some((client, due)) = pace.next() {
                    self.send(client, due)?;
                }
                wake = until.min(pace.due);
            }
            self.poller.wait(Some(wake), &mut ready).map_err(|e| e.to_string())?;
            for client in &ready {
                let Some(since) = self.clients[*client].receive(&mut chunk)? else { continue };
                let now = Instant::now();
                let within = self.visits.as_ref().and_then(|visits| self.clients[*client].within(visits));
                answered(*client, now.duration_since(since), within);
                match pace.gap {
                    None => self.send(*client, now)?,
                    Some(_) => pace.free.push_back(*client),
                }
            }
        }
    }

    /// Waits for the answers that are still missing.
    fn finish(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let (mut ready, mut chunk) = (Vec::new(), vec![0; 65536]);
        while self.clients.iter().any(|client| client.since.is_some()) {
            if Instant::now() > deadline {
                return Err("an answer never came".into());
            }
            self.poller.wait(Some(deadline), &mut ready).map_err(|e| e.to_string())?;
            for client in &ready {
                self.clients[*client].receive(&mut chunk)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, client: usize, since: Instant) -> Result<(), String> {
        self.keys ^= self.keys << 13;
        self.keys ^= self.keys >> 7;
        self.keys ^= self.keys << 17;
        let key = 100_000 + (self.keys % 900_000) as u32;
        self.clients[client].send(key, since)
    }
}
