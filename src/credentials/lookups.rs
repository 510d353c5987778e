//! Lookups under way: whoever asks for the same user waits for the same answer, which outlives who asked first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::cache::{self, Advice, Answer, Cache, Found, Key};
use crate::auth::login::Mock;
use crate::clock::Instant;

/// Why nothing was found out. The log has the details.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// PostgreSQL could not be asked.
    #[error("cannot ask for the user's password: {0}")]
    Unreachable(Arc<str>),
    /// It was asked, and what it said is of no use: auth_query is wrong.
    #[error("auth_query failed: {0}")]
    Query(Arc<str>),
}

/// What a lookup came to.
pub type Outcome = Result<Found, LookupError>;

/// What to do for somebody who logs in.
#[derive(Debug)]
pub enum Look {
    /// That is it.
    Known(Found),
    /// That is it, and the flight is to be begun for those to come.
    Aging(Found, Flight),
    /// It is being asked for.
    Wait(Waiting),
    /// It is to be asked for by the flight.
    Begin(Flight, Waiting),
}

/// All lookups of the process.
#[derive(Debug, Default)]
pub struct Lookups {
    cache: Mutex<Cache>,
    /// Locked before the cache where both are.
    flights: Mutex<HashMap<Key, Board>>,
}

/// Where a flight tells what it came to.
type Board = Arc<watch::Sender<Option<Outcome>>>;

impl Lookups {
    /// What is known of a user, or who finds out. `keep` is how long answers count.
    pub fn look(self: &Arc<Self>, key: &Key, now: Instant, keep: Duration) -> Look {
        let advice = self.cache.lock().advice(key, now, keep);
        match advice {
            Advice::Use(found) => Look::Known(found),
            Advice::Refresh(found) => match self.board(key) {
                (_, None) => Look::Known(found),
                (_, Some(flight)) => Look::Aging(found, flight),
            },
            Advice::Ask => match self.board(key) {
                (waiting, None) => Look::Wait(waiting),
                (waiting, Some(flight)) => Look::Begin(flight, waiting),
            },
        }
    }

    /// A login failed by what was known of this user.
    pub fn doubt(&self, key: &Key) {
        self.cache.lock().doubt(key);
    }

    /// Forgets everything: the configuration has changed. What is being asked for isn't remembered either, and tells only those
    /// who wait for it already.
    pub fn clear(&self) {
        let mut flights = self.flights.lock();
        flights.clear();
        self.cache.lock().clear();
    }

    /// How somebody unknown should be asked so as to look like most users.
    pub fn most_look_like(&self) -> Mock {
        self.cache.lock().most_look_like()
    }

    fn board(self: &Arc<Self>, key: &Key) -> (Waiting, Option<Flight>) {
        let mut flights = self.flights.lock();
        if let Some(board) = flights.get(key) {
            return (Waiting(board.subscribe()), None);
        }
        let board = Board::new(watch::Sender::new(None));
        let waiting = Waiting(board.subscribe());
        flights.insert(key.clone(), Arc::clone(&board));
        let is_known = self.cache.lock().has_known(key);
        (waiting, Some(Flight { lookups: Arc::clone(self), key: key.clone(), board, is_known }))
    }
}

/// The duty to ask for one user; dropped without an answer, those who wait are told that there is none.
#[derive(Debug)]
pub struct Flight {
    lookups: Arc<Lookups>,
    key: Key,
    board: Board,
    is_known: bool,
}

impl Flight {
    /// Whether there is such a user, as far as is known: the name isn't one that a stranger has invented.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// Who is asked for, and where.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Waits until nobody waits for it any more. Then nobody will: the next one begins a flight of its own. Cancel safe.
    pub async fn abandoned(&self) {
        loop {
            self.board.closed().await;
            let mut flights = self.lookups.flights.lock();
            if self.board.receiver_count() == 0 {
                self.leave(&mut flights);
                return;
            }
        }
    }

    /// PostgreSQL has answered: with a secret if there is any, or why it is not known.
    pub fn land(self, answer: Result<Option<Answer>, LookupError>, now: Instant) {
        let mut flights = self.lookups.flights.lock();
        let counts = self.leave(&mut flights);
        let outcome = answer.map(|answer| match counts {
            true => self.lookups.cache.lock().learn(&self.key, answer, now),
            false => cache::found(answer.as_ref().map(|answer| answer.text.as_str())),
        });
        drop(flights);
        self.board.send_replace(Some(outcome));
    }

    /// Whether it was still the one to ask for this user; it no longer is.
    fn leave(&self, flights: &mut HashMap<Key, Board>) -> bool {
        let is_ours = flights.get(&self.key).is_some_and(|board| Arc::ptr_eq(board, &self.board));
        if is_ours {
            flights.remove(&self.key);
        }
        is_ours
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let is_over = self.board.borrow().is_some();
        if !is_over {
            self.leave(&mut self.lookups.flights.lock());
            let given_up = LookupError::Unreachable("the lookup was given up".into());
            self.board.send_replace(Some(Err(given_up)));
        }
    }
}

/// A wait for an answer.
#[derive(Debug)]
pub struct Waiting(watch::Receiver<Option<Outcome>>);

impl Waiting {
    /// The answer. Cancel safe.
    pub async fn answer(mut self) -> Outcome {
        match self.0.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            _ => Err(LookupError::Unreachable("the lookup was given up".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    const KEEP: Duration = Duration::from_secs(30);

    fn key() -> Key {
        Key { database: "d".into(), by: "b".into(), query: "q".into(), user: "u".into() }
    }

    #[tokio::test]
    async fn one_asks_for_all() {
        let (lookups, key, now) = (Arc::new(Lookups::default()), key(), Instant::now());
        let Look::Begin(flight, first) = lookups.look(&key, now, KEEP) else { panic!("nothing is known") };
        let Look::Wait(second) = lookups.look(&key, now, KEEP) else { panic!("it is being asked for") };
        flight.land(Ok(Some(Answer::of("x"))), now);
        let (first, second) =
            (first.answer().await.unwrap().unwrap(), second.answer().await.unwrap().unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert!(matches!(lookups.look(&key, now, KEEP), Look::Known(Some(_))));
        let later = now + Duration::from_secs(20);
        let Look::Aging(Some(_), refresh) = lookups.look(&key, later, KEEP) else { panic!("it is aging") };
        assert!(matches!(lookups.look(&key, later, KEEP), Look::Known(Some(_))), "it is being refreshed");
        drop(refresh);
        assert!(matches!(lookups.look(&key, later, KEEP), Look::Aging(..)));
    }

    #[tokio::test]
    async fn a_failure_is_told_and_not_kept() {
        let (lookups, key, now) = (Arc::new(Lookups::default()), key(), Instant::now());
        let Look::Begin(flight, waiting) = lookups.look(&key, now, KEEP) else { panic!("nothing is known") };
        let error = LookupError::Query("x".into());
        flight.land(Err(error.clone()), now);
        assert_eq!(waiting.answer().await.unwrap_err(), error);
        let Look::Begin(flight, waiting) = lookups.look(&key, now, KEEP) else { panic!("nothing is known") };
        drop(flight);
        assert!(matches!(waiting.answer().await, Err(LookupError::Unreachable(_))));
        assert!(lookups.flights.lock().is_empty());
    }

    #[tokio::test]
    async fn what_was_asked_before_a_reload_is_not_remembered() {
        let (lookups, key, now) = (Arc::new(Lookups::default()), key(), Instant::now());
        let Look::Begin(old, waiting) = lookups.look(&key, now, KEEP) else { panic!("nothing is known") };
        lookups.clear();
        let Look::Begin(new, _waits) = lookups.look(&key, now, KEEP) else {
            panic!("the old one is too old")
        };
        old.land(Ok(Some(Answer::of("old"))), now);
        assert!(waiting.answer().await.unwrap().is_some(), "it came before the reload, too");
        assert!(matches!(lookups.look(&key, now, KEEP), Look::Wait(_)), "the new one is under way");
        new.land(Ok(None), now);
        assert!(matches!(lookups.look(&key, now, KEEP), Look::Known(None)));
        assert!(lookups.flights.lock().is_empty());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_given_up() {
        let (lookups, key, now) = (Arc::new(Lookups::default()), key(), Instant::now());
        let Look::Begin(flight, first) = lookups.look(&key, now, KEEP) else { panic!("nothing is known") };
        let Look::Wait(second) = lookups.look(&key, now, KEEP) else { panic!("it is being asked for") };
        let mut abandoned = Box::pin(flight.abandoned());
        drop(first);
        let still_wanted = std::future::poll_fn(|cx| Poll::Ready(abandoned.as_mut().poll(cx).is_pending()));
        assert!(still_wanted.await);
        drop(second);
        abandoned.await;
        let Look::Begin(other, waiting) = lookups.look(&key, now, KEEP) else { panic!("it was given up") };
        drop(flight);
        assert_eq!(lookups.flights.lock().len(), 1, "the other goes on");
        other.land(Ok(None), now);
        assert!(waiting.answer().await.unwrap().is_none());
    }
}
