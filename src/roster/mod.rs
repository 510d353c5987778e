//! Who is connected: the keys clients can be cancelled by, and a way to speak to each session from outside.
//! Knows nothing of pools or sockets.

mod arrivals;
mod caps;
mod entry;
mod key;
mod limits;
mod names;
mod told;
mod watch;

pub use caps::ClientCap;
pub use entry::{ClientAddress, Entry, Kick, Newcomer, Phase, Place};
pub use key::SecretSize;
pub use limits::Limits;
pub use names::Named;
pub use told::{ServerTold, Told};

use crate::clock::Instant;
use arrivals::Arrivals;
use key::Key;
use parking_lot::Mutex;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Everybody who has logged in.
#[derive(Debug)]
pub struct Roster {
    clients: Mutex<HashSet<ByPid>>,
    connected: AtomicUsize,
    departed: AtomicU64,
    last_id: AtomicU64,
    start: Instant,
    arrivals: Mutex<Arrivals>,
    answers: told::Answers,
    counts: caps::Counts,
    /// Clients here that have set a timeout of their own.
    own_limits: AtomicUsize,
    watch: watch::Watch,
}

impl Default for Roster {
    fn default() -> Self {
        Self {
            clients: Mutex::default(),
            connected: AtomicUsize::new(0),
            departed: AtomicU64::new(0),
            last_id: AtomicU64::new(0),
            start: Instant::now(),
            arrivals: Mutex::default(),
            answers: Default::default(),
            counts: caps::Counts::default(),
            own_limits: AtomicUsize::new(0),
            watch: watch::Watch::default(),
        }
    }
}

/// An entry found by its process ID: a set of these takes half the room of a map.
#[derive(Debug)]
struct ByPid(Arc<Entry>);

impl Borrow<u32> for ByPid {
    fn borrow(&self) -> &u32 {
        &self.0.pid
    }
}

impl Hash for ByPid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.pid.hash(state);
    }
}

impl PartialEq for ByPid {
    fn eq(&self, other: &Self) -> bool {
        self.0.pid == other.0.pid
    }
}

impl Eq for ByPid {}

/// The right to be one of max_client_conn clients; given back when dropped.
#[derive(Debug)]
pub struct Admission {
    /// Until it goes on as that of a [`Membership`].
    roster: Option<Arc<Roster>>,
    counted: Option<caps::Counted>,
}

impl Admission {
    /// Enters a client under a key of its own, in the roster of its place, which is the one that admitted it.
    pub fn enter(mut self, newcomer: Newcomer) -> Membership {
        let roster = Arc::clone(&newcomer.place.roster);
        let mut clients = roster.clients.lock();
        let mut key = Key::random(newcomer.size);
        while clients.contains(&key.pid) {
            key = Key::random(newcomer.size);
        }
        let entry = Arc::new(Entry::new(newcomer, key));
        clients.insert(ByPid(Arc::clone(&entry)));
        drop(clients);
        let now = roster.at(Instant::now());
        roster.arrivals.lock().note(entry.id, now);
        entry.set_phase(Phase::Idle, now);
        (self.roster, self.counted) = (None, None);
        Membership { entry }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.uncount();
        if let Some(roster) = &self.roster {
            roster.connected.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A place in the roster, and the right to it; taken out when dropped.
#[derive(Debug)]
pub struct Membership {
    entry: Arc<Entry>,
}

impl Membership {
    /// The client's entry.
    #[inline]
    pub fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let roster = &self.entry.place.roster;
        roster.clients.lock().remove(&self.entry.pid);
        self.entry.limit_idle(None);
        roster.counts.less(&self.entry.place.database, &self.entry.place.login);
        self.entry.forgive();
        roster.departed.fetch_add(1, Ordering::Release);
        roster.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Roster {
    /// One more client, unless `limit` are here.
    pub fn admit(self: &Arc<Self>, limit: usize) -> Option<Admission> {
        let before = self.connected.fetch_add(1, Ordering::Relaxed);
        let admission = Admission { roster: Some(Arc::clone(self)), counted: None };
        (before < limit).then_some(admission)
    }

    /// A number no other client of this process has or had.
    pub fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The client a CancelRequest means, if its secret is right.
    pub fn find(&self, pid: u32, secret: &[u8]) -> Option<Arc<Entry>> {
        let entry = self.clients.lock().get(&pid).map(|found| Arc::clone(&found.0))?;
        entry.has_secret(secret).then_some(entry)
    }

    /// Clients connected, those about to be told that there are too many included.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// How many have left so far; who is counted is no longer listed.
    pub fn departed(&self) -> u64 {
        self.departed.load(Ordering::Acquire)
    }

    /// All who have logged in, in no order.
    pub fn list(&self) -> Vec<Arc<Entry>> {
        self.clients.lock().iter().map(|found| Arc::clone(&found.0)).collect()
    }

    /// When about a client came, by the roster's clock; for recent ones to the second.
    pub fn came(&self, id: u64) -> u64 {
        self.arrivals.lock().of(id)
    }

    /// A moment by the roster's clock: nanoseconds since the start.
    #[inline]
    pub fn at(&self, now: Instant) -> u64 {
        now.nanos_since(self.start)
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
    use std::task::Waker;

    pub(super) fn enter(roster: &Arc<Roster>, size: SecretSize) -> Membership {
        let place = Place {
            database: "db".into(),
            user: "user".into(),
            login: "user".into(),
            roster: Arc::clone(roster),
            ..Place::default()
        };
        roster.admit(10).unwrap().enter(Newcomer {
            id: roster.next_id(),
            address: ClientAddress::Unix,
            place: Arc::new(place),
            size,
            waker: Waker::noop().clone(),
        })
    }

    #[test]
    fn only_the_right_secret_finds_a_client() {
        let roster = Arc::new(Roster::default());
        let (a, b) = (enter(&roster, SecretSize::Short), enter(&roster, SecretSize::Long));
        assert_eq!((a.entry().secret().len(), b.entry().secret().len()), (4, 32));
        let find = |pid, secret: &[u8]| roster.find(pid, secret).map(|e| e.id);
        assert_eq!(find(a.entry().pid(), a.entry().secret()), Some(a.entry().id));
        assert_eq!(find(a.entry().pid(), b.entry().secret()), None);
        assert_eq!(find(b.entry().pid(), &b.entry().secret()[..4]), None);
        let pid = a.entry().pid();
        let secret = a.entry().secret().to_vec();
        assert_eq!(roster.connected(), 2);
        drop(a);
        assert_eq!(find(pid, &secret), None);
        assert_eq!((roster.connected(), roster.departed()), (1, 1));
    }

    #[test]
    fn the_limit_is_exact() {
        let roster = Arc::new(Roster::default());
        let first = roster.admit(1);
        assert!(first.is_some() && roster.admit(1).is_none());
        drop(first);
        assert!(roster.admit(1).is_some());
    }
}
