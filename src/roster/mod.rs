//! Who is connected: the keys clients can be cancelled by, and a way to speak to each session from outside.
//! Knows nothing of pools or sockets.

mod entry;
mod key;

pub use entry::{ClientAddress, Entry, Kick, Phase, Who};
pub use key::{ClientKey, SecretSize};

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Everybody who has logged in.
#[derive(Debug)]
pub struct Roster {
    clients: Mutex<HashMap<u32, Arc<Entry>>>,
    connected: AtomicUsize,
    last_id: AtomicU64,
    start: Instant,
}

impl Default for Roster {
    fn default() -> Self {
        Self {
            clients: Mutex::default(),
            connected: AtomicUsize::new(0),
            last_id: AtomicU64::new(0),
            start: Instant::now(),
        }
    }
}

/// The right to be one of max_client_conn clients; given back when dropped.
#[derive(Debug)]
pub struct Admission {
    roster: Arc<Roster>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.roster.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place in the roster; taken out when dropped.
#[derive(Debug)]
pub struct Membership {
    entry: Arc<Entry>,
    admission: Admission,
}

impl Membership {
    /// The client's entry.
    pub fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.admission.roster.clients.lock().remove(&self.entry.key.pid);
    }
}

impl Roster {
    /// One more client, unless `limit` are here.
    pub fn admit(self: &Arc<Self>, limit: usize) -> Option<Admission> {
        let before = self.connected.fetch_add(1, Ordering::Relaxed);
        let admission = Admission { roster: Arc::clone(self) };
        (before < limit).then_some(admission)
    }

    /// A number no other client of this process has or had.
    pub fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Enters a client under a key of its own.
    pub fn enter(&self, admission: Admission, who: Who, size: SecretSize) -> Membership {
        let mut clients = self.clients.lock();
        let mut key = ClientKey::random(size);
        while clients.contains_key(&key.pid) {
            key = ClientKey::random(size);
        }
        let entry = Arc::new(Entry::new(who, key));
        clients.insert(entry.key.pid, Arc::clone(&entry));
        drop(clients);
        entry.set_phase(Phase::Idle, self.at(Instant::now()));
        Membership { entry, admission }
    }

    /// The client a CancelRequest means, if its secret is right.
    pub fn find(&self, pid: u32, secret: &[u8]) -> Option<Arc<Entry>> {
        let entry = self.clients.lock().get(&pid).cloned()?;
        entry.key.is(secret).then_some(entry)
    }

    /// Clients connected, those about to be told that there are too many included.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// All who have logged in, in no order.
    pub fn list(&self) -> Vec<Arc<Entry>> {
        self.clients.lock().values().cloned().collect()
    }

    /// A moment by the roster's clock: milliseconds since the start.
    #[inline]
    pub fn at(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// The janitor's turn: ends those who have been in a phase too long.
    pub fn tick(&self, now: Instant, idle: Option<Duration>, in_transaction: Option<Duration>) {
        let now = self.at(now);
        if idle.is_none() && in_transaction.is_none() {
            return;
        }
        for entry in self.clients.lock().values() {
            let (phase, since) = entry.phase();
            let (limit, kick) = match phase {
                Phase::Idle => (idle, Kick::ClientIdle),
                Phase::IdleInTransaction => (in_transaction, Kick::IdleInTransaction),
                Phase::Waiting | Phase::Active => continue,
            };
            if limit.is_some_and(|limit| u128::from(now.saturating_sub(since)) >= limit.as_millis()) {
                entry.kick(kick);
            }
        }
    }

    /// Asks everybody to leave.
    pub fn kick_all(&self, kick: Kick) {
        for entry in self.list() {
            entry.kick(kick);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(roster: &Arc<Roster>, size: SecretSize) -> Membership {
        let admission = roster.admit(10).unwrap();
        let who = Who {
            id: roster.next_id(),
            address: ClientAddress::Unix,
            database: "db".into(),
            user: "user".into(),
        };
        roster.enter(admission, who, size)
    }

    #[test]
    fn only_the_right_secret_finds_a_client() {
        let roster = Arc::new(Roster::default());
        let (a, b) = (enter(&roster, SecretSize::Short), enter(&roster, SecretSize::Long));
        assert_eq!((a.entry().key.secret().len(), b.entry().key.secret().len()), (4, 32));
        let find = |pid, secret: &[u8]| roster.find(pid, secret).map(|e| e.who.id);
        assert_eq!(find(a.entry().key.pid, a.entry().key.secret()), Some(a.entry().who.id));
        assert_eq!(find(a.entry().key.pid, b.entry().key.secret()), None);
        assert_eq!(find(b.entry().key.pid, &b.entry().key.secret()[..4]), None);
        let pid = a.entry().key.pid;
        let secret = a.entry().key.secret().to_vec();
        drop(a);
        assert_eq!(find(pid, &secret), None);
        assert_eq!(roster.connected(), 1);
    }

    #[test]
    fn the_limit_is_exact() {
        let roster = Arc::new(Roster::default());
        let first = roster.admit(1);
        assert!(first.is_some() && roster.admit(1).is_none());
        drop(first);
        assert!(roster.admit(1).is_some());
    }

    #[test]
    fn phases_that_last_too_long_end() {
        let roster = Arc::new(Roster::default());
        let (idle, busy) = (enter(&roster, SecretSize::Short), enter(&roster, SecretSize::Short));
        busy.entry().set_phase(Phase::Active, 0);
        let limit = Some(Duration::from_secs(5));
        roster.tick(roster.start + Duration::from_millis(4999), limit, limit);
        assert_eq!(idle.entry().kicked(), None);
        roster.tick(roster.start + Duration::from_secs(5), limit, limit);
        assert_eq!(idle.entry().kicked(), Some(Kick::ClientIdle));
        assert_eq!(busy.entry().kicked(), None);
    }
}
