//! Lookups under way: whoever asks for the same user waits for the same answer, which outlives who asked first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::cache::{Advice, Cache, Found, Key};
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
    flights: Mutex<HashMap<Key, watch::Receiver<Option<Outcome>>>>,
}

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

    /// Forgets everything: the configuration has changed.
    pub fn clear(&self) {
        self.cache.lock().clear();
    }

    /// How somebody unknown should be asked so as to look like most users.
    pub fn most_look_like(&self) -> Mock {
        self.cache.lock().most_look_like()
    }

    fn board(self: &Arc<Self>, key: &Key) -> (Waiting, Option<Flight>) {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(key) {
            return (Waiting(flight.clone()), None);
        }
        let (told, hears) = watch::channel(None);
        flights.insert(key.clone(), hears.clone());
        (Waiting(hears), Some(Flight { lookups: Arc::clone(self), key: key.clone(), told }))
    }
}

/// The duty to ask for one user; dropped without an answer, those who wait are told that there is none.
#[derive(Debug)]
pub struct Flight {
    lookups: Arc<Lookups>,
    key: Key,
    told: watch::Sender<Option<Outcome>>,
}

impl Flight {
    /// Who is asked for, and where.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// PostgreSQL has answered: the text of the secret if there is any, or why it is not known.
    pub fn land(self, answer: Result<Option<Zeroizing<String>>, LookupError>, now: Instant) {
        let outcome = answer.map(|text| self.lookups.cache.lock().learn(&self.key, text, now));
        self.lookups.flights.lock().remove(&self.key);
        self.told.send_replace(Some(outcome));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.told.borrow().is_none() {
            self.lookups.flights.lock().remove(&self.key);
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

    const KEEP: Duration = Duration::from_secs(30);

    fn key() -> Key {
        Key { database: "d".into(), by: "b".into(), query: "q".into(), user: "u".into() }
    }

    #[tokio::test]
    async fn one_asks_for_all() {
        let (lookups, key, now) = (Arc::new(Lookups::default()), key(), Instant::now());
        let Look::Begin(flight, first) = lookups.look(&key, now, KEEP) else { panic!("nothing is known") };
        let Look::Wait(second) = lookups.look(&key, now, KEEP) else { panic!("it is being asked for") };
        flight.land(Ok(Some(Zeroizing::new("x".to_owned()))), now);
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
}
