//! A crowd comes and goes a few at a time. Logins and farewells take turns, so many between two looks of the reactor: the
//! transactions that came meanwhile don't wait for all of the crowd. Whoever comes alone passes without noticing.

use crate::clock::Instant;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Poll, Waker};
use tokio::runtime::RuntimeMetrics;

/// Turns between two looks: with some 25 µs each a twentieth of a millisecond.
const TURNS: usize = 2;
/// Turns in a second at least, where looks are rare since transactions keep the workers busy: a thousand logins.
const A_SECOND: u64 = 8_000;

/// Where turns are taken.
#[derive(Debug)]
pub struct Turnstile {
    workers: RuntimeMetrics,
    line: Mutex<Line>,
}

/// Whose turn it is. Pure: the caller wakes, and knows what time it is.
#[derive(Debug)]
struct Line {
    /// Turns left until the reactor has looked.
    left: usize,
    /// How often the workers had nothing to do when that was known last: each time the reactor has looked since.
    rests: u64,
    waiting: VecDeque<Waker>,
    /// How many of those who waited have been let through.
    passed: u64,
}

impl Default for Line {
    fn default() -> Self {
        Self { left: TURNS, rests: 0, waiting: VecDeque::new(), passed: 0 }
    }
}

impl Line {
    /// Whether somebody has its turn at once; else its number. Who has a number asks by [`Self::has_passed`].
    fn enter(&mut self, rests: u64, waker: &Waker) -> Result<(), u64> {
        if rests != self.rests && self.waiting.is_empty() {
            (self.rests, self.left) = (rests, TURNS);
        }
        if let Some(left) = self.left.checked_sub(1).filter(|_| self.waiting.is_empty()) {
            self.left = left;
            return Ok(());
        }
        let number = self.passed + self.waiting.len() as u64;
        self.waiting.push_back(waker.clone());
        Err(number)
    }

    fn has_passed(&self, number: u64) -> bool {
        number < self.passed
    }

    /// The reactor has looked, so many nanoseconds after it did before: who has its turn now.
    fn looked(&mut self, nanos: u64) -> Vec<Waker> {
        let owed = usize::try_from(nanos.saturating_mul(A_SECOND) / 1_000_000_000).unwrap_or(usize::MAX);
        let turns = TURNS.max(owed);
        let next: Vec<_> = self.waiting.drain(..turns.min(self.waiting.len())).collect();
        self.passed += next.len() as u64;
        self.left = TURNS.saturating_sub(next.len());
        next
    }
}

/// Somebody's place in the line, if it waits there.
#[derive(Debug, Default)]
pub struct Place(Option<u64>);

impl Turnstile {
    /// For the tasks of the runtime whose numbers these are.
    pub fn new(workers: RuntimeMetrics) -> Arc<Self> {
        Arc::new(Self { workers, line: Mutex::default() })
    }

    /// Whether it is the turn of the task with this waker: once for each time it answers `Ready`. Else the task is woken when it
    /// is. Cancel safe: the turn of a place that is dropped is nobody's.
    pub fn poll_turn(self: &Arc<Self>, waker: &Waker, place: &mut Place) -> Poll<()> {
        let mut line = self.line.lock();
        if let Some(number) = place.0 {
            if !line.has_passed(number) {
                return Poll::Pending;
            }
            place.0 = None;
            return Poll::Ready(());
        }
        let Err(number) = line.enter(self.rests(), waker) else { return Poll::Ready(()) };
        let is_first = line.waiting.len() == 1;
        drop(line);
        place.0 = Some(number);
        if is_first {
            tokio::spawn(Arc::clone(self).keep());
        }
        Poll::Pending
    }

    /// Waits for a turn. Cancel safe.
    pub async fn turn(self: &Arc<Self>) {
        let mut place = Place::default();
        std::future::poll_fn(|cx| self.poll_turn(cx.waker(), &mut place)).await;
    }

    /// Lets some through at each look of the reactor, as long as anybody waits.
    async fn keep(self: Arc<Self>) {
        let mut before = Instant::now();
        loop {
            tokio::task::yield_now().await;
            let now = Instant::now();
            let mut line = self.line.lock();
            let next = line.looked(now.nanos_since(before));
            let is_over = line.waiting.is_empty();
            drop(line);
            next.into_iter().for_each(Waker::wake);
            if is_over {
                return;
            }
            before = now;
        }
    }

    /// How often the workers have run out of tasks.
    fn rests(&self) -> u64 {
        (0..self.workers.num_workers()).map(|worker| self.workers.worker_park_count(worker)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::runtime::Handle;

    const MILLISECOND: u64 = 1_000_000;

    fn crowd(line: &mut Line, rests: u64, size: usize) -> Vec<Result<(), u64>> {
        (0..size).map(|_| line.enter(rests, Waker::noop())).collect()
    }

    #[test]
    fn so_many_pass_at_a_look_in_the_order_they_came() {
        let mut line = Line::default();
        let came = crowd(&mut line, 1, 3 * TURNS);
        assert!(came[..TURNS].iter().all(Result::is_ok));
        let numbers: Vec<_> = came[TURNS..].iter().map(|came| came.unwrap_err()).collect();
        let waiting = 2 * TURNS as u64;
        assert_eq!(numbers, (0..waiting).collect::<Vec<_>>());
        // Who comes later doesn't overtake them, though the workers have rested.
        assert_eq!(line.enter(2, Waker::noop()), Err(waiting));

        assert_eq!(line.looked(0).len(), TURNS);
        let passed = |line: &Line| (0..=waiting).filter(|n| line.has_passed(*n)).count();
        assert_eq!(passed(&line), TURNS);
        assert_eq!(line.looked(0).len(), TURNS);
        assert_eq!(line.looked(0).len(), 1);
        assert_eq!(passed(&line), 2 * TURNS + 1);
        // What that look has left over.
        let came = crowd(&mut line, 1, TURNS);
        assert_eq!(came.iter().filter(|came| came.is_ok()).count(), TURNS - 1);
    }

    #[test]
    fn whoever_comes_after_a_rest_passes() {
        let mut line = Line::default();
        for rests in 1..100 {
            assert!(crowd(&mut line, rests, TURNS).iter().all(Result::is_ok));
        }
        assert_eq!(line.enter(99, Waker::noop()), Err(0));
    }

    /// However long transactions keep the reactor from looking.
    #[test]
    fn the_crowd_gets_on_beside_busy_transactions() {
        let mut line = Line::default();
        let _ = crowd(&mut line, 0, TURNS + 1000);
        assert_eq!(line.looked(10 * MILLISECOND).len(), 80);
        assert_eq!(line.looked(u64::MAX).len(), 1000 - 80);
    }

    /// Many tasks that are ready at once, and one whose turn comes with every look of the reactor.
    #[tokio::test]
    async fn nobody_waits_for_a_crowd() {
        const CROWD: usize = 20_000;
        let stile = Turnstile::new(Handle::current().metrics());
        let order = Arc::new(Mutex::new(Vec::new()));
        for i in 0..CROWD {
            let (stile, order) = (Arc::clone(&stile), Arc::clone(&order));
            tokio::spawn(async move {
                stile.turn().await;
                order.lock().push(i);
            });
        }
        let (mut before, mut most) = (0, 0);
        while before < CROWD {
            tokio::task::yield_now().await;
            let now = order.lock().len();
            most = most.max(now - before);
            before = now;
        }
        assert!(order.lock().is_sorted());
        // Where they don't take turns all but a few are through before.
        assert!(most < CROWD / 2, "{most} at once");
    }

    #[tokio::test]
    async fn a_place_that_is_given_up_stops_nobody() {
        let stile = Turnstile::new(Handle::current().metrics());
        let mut places: Vec<_> = (0..20).map(|_| Place::default()).collect();
        let mut waits = Vec::new();
        poll_fn(|cx| {
            waits = places.iter_mut().map(|p| stile.poll_turn(cx.waker(), p).is_pending()).collect();
            Poll::Ready(())
        })
        .await;
        assert_eq!(waits.iter().filter(|waits| **waits).count(), 20 - TURNS);
        drop(places);
        stile.turn().await;
    }
}
