//! How many clients a database and a user have, those about to be entered included, and how many they may.

use super::Admission;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::num::NonZeroU32;

/// A bound on clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCap {
    /// max_db_client_connections
    Database,
    /// max_user_client_connections
    User,
}

/// The names that a client counts under.
#[derive(Debug)]
pub(super) struct Counted {
    database: Box<str>,
    user: Box<str>,
}

/// Clients by database and by user.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<[HashMap<Box<str>, u32>; 2]>);

impl Counts {
    /// A client of these is gone. Of who isn't counted, as those of the console, nothing is known here.
    pub(super) fn less(&self, database: &str, user: &str) {
        let mut by = self.0.lock();
        for (counts, name) in by.iter_mut().zip([database, user]) {
            let Some(count) = counts.get_mut(name) else { continue };
            *count -= 1;
            if *count == 0 {
                counts.remove(name);
            }
        }
    }
}

impl Admission {
    /// Counts the client for its database and the user it has logged in as, unless one of them has as many as it may. Once:
    /// whoever enters a roster that counts has been counted.
    ///
    /// # Errors
    /// The bound that is reached; nothing is counted then.
    pub fn count(
        &mut self,
        (database, max_db): (&str, Option<NonZeroU32>),
        (user, max_user): (&str, Option<NonZeroU32>),
    ) -> Result<(), ClientCap> {
        let Some(roster) = &self.roster else { return Ok(()) };
        let mut by = roster.counts.0.lock();
        let names = [(database, max_db, ClientCap::Database), (user, max_user, ClientCap::User)];
        for (counts, (name, max, cap)) in by.iter().zip(names) {
            let now = counts.get(name).copied().unwrap_or(0);
            if max.is_some_and(|max| now >= max.get()) {
                return Err(cap);
            }
        }
        for (counts, (name, ..)) in by.iter_mut().zip(names) {
            match counts.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(counts.insert(name.into(), 1)),
            }
        }
        drop(by);
        self.counted = Some(Counted { database: database.into(), user: user.into() });
        Ok(())
    }

    /// The client isn't coming after all.
    pub(super) fn uncount(&mut self) {
        if let (Some(roster), Some(counted)) = (&self.roster, self.counted.take()) {
            roster.counts.less(&counted.database, &counted.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ClientAddress, Newcomer, Place, Roster, SecretSize};
    use super::*;
    use std::sync::Arc;
    use std::task::Waker;

    #[test]
    fn caps_are_exact_and_given_back() {
        let roster = Arc::new(Roster::default());
        let (one, two) = (NonZeroU32::new(1), NonZeroU32::new(2));
        let come = |database: &str, user: &str| {
            let mut admission = roster.admit(10).expect("room");
            admission.count((database, two), (user, one)).map(|()| admission)
        };
        let first = come("d", "a").expect("room for one");
        assert_eq!(come("d", "a").err(), Some(ClientCap::User));
        let second = come("d", "b").expect("room for two");
        assert_eq!(come("d", "c").err(), Some(ClientCap::Database));
        drop(second);
        let place = Place {
            database: "d".into(),
            user: "pool".into(),
            login: "c".into(),
            roster: Arc::clone(&roster),
            ..Place::default()
        };
        let third = come("d", "c").expect("the second has left").enter(Newcomer {
            id: 1,
            address: ClientAddress::Unix,
            place: Arc::new(place),
            size: SecretSize::Short,
            waker: Waker::noop().clone(),
        });
        assert_eq!(come("d", "e").err(), Some(ClientCap::Database), "who is entered counts on");
        drop(third);
        assert!(come("d", "e").is_ok());
        drop(first);
        assert!(roster.counts.0.lock().iter().all(HashMap::is_empty));
    }
}
