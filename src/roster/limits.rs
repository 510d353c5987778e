//! How long clients may be in a phase, and the janitor's look at all of them.

use super::{ByPid, Entry, Kick, Phase, Roster};
use crate::clock::Instant;
use crate::config::Timeouts;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A deadline this close is to be looked for more often.
const SOON: Duration = Duration::from_secs(2);

/// The timeouts of clients, to be changed while they are connected. Nanoseconds; the largest is for ever.
#[derive(Debug)]
pub struct Limits {
    client_idle: AtomicU64,
    idle_transaction: AtomicU64,
    query: AtomicU64,
    transaction: AtomicU64,
    query_wait: AtomicU64,
    /// idle_session_timeout of the few clients that have set it, by client.
    own_idle: Mutex<HashMap<u64, u64>>,
    has_own: AtomicBool,
}

impl Default for Limits {
    fn default() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        Self {
            client_idle: never(),
            idle_transaction: never(),
            query: never(),
            transaction: never(),
            query_wait: never(),
            own_idle: Mutex::default(),
            has_own: AtomicBool::new(false),
        }
    }
}

impl Limits {
    /// These from now on.
    pub fn set(&self, timeouts: &Timeouts) {
        let put = |cell: &AtomicU64, limit: Option<Duration>| {
            let nanos = limit.and_then(|limit| u64::try_from(limit.as_nanos()).ok());
            cell.store(nanos.unwrap_or(u64::MAX), Ordering::Relaxed);
        };
        put(&self.client_idle, timeouts.client_idle);
        put(&self.idle_transaction, timeouts.idle_transaction);
        put(&self.query, timeouts.query);
        put(&self.transaction, timeouts.transaction);
        put(&self.query_wait, timeouts.query_wait);
    }

    /// The limit behind a kick of this client in nanoseconds.
    pub fn of_client(&self, client: u64, kick: Kick) -> u64 {
        let limit = self.of(kick);
        if kick != Kick::ClientIdle || !self.has_own.load(Ordering::Relaxed) {
            return limit;
        }
        self.own_idle.lock().get(&client).map_or(limit, |own| limit.min(*own))
    }

    /// The limit behind a kick in nanoseconds; of one that isn't a timeout, for ever.
    pub fn of(&self, kick: Kick) -> u64 {
        let cell = match kick {
            Kick::ClientIdle => &self.client_idle,
            Kick::IdleInTransaction => &self.idle_transaction,
            Kick::Query => &self.query,
            Kick::Transaction => &self.transaction,
            Kick::QueryWait => &self.query_wait,
            _ => return u64::MAX,
        };
        cell.load(Ordering::Relaxed)
    }
}

impl Entry {
    /// The client itself wants to be ended when it has been idle for so many milliseconds, or no more.
    pub fn limit_idle(&self, millis: Option<u64>) {
        let limits = &self.place.limits;
        if millis.is_none() && !limits.has_own.load(Ordering::Relaxed) {
            return;
        }
        let mut own = limits.own_idle.lock();
        let before = match millis {
            Some(millis) => own.insert(self.id, millis.saturating_mul(1_000_000)),
            None => own.remove(&self.id),
        };
        let count = &self.place.roster.own_limits;
        match (before, millis) {
            (None, Some(_)) => drop(count.fetch_add(1, Ordering::Relaxed)),
            (Some(_), None) => drop(count.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        limits.has_own.store(!own.is_empty(), Ordering::Relaxed);
    }
}

impl Roster {
    /// The janitor's turn: kicks those who have been in a phase too long, and those who may have. Whether somebody will
    /// have been soon.
    pub fn tick(&self, now: Instant) -> bool {
        let now = self.at(now);
        let mut soon = false;
        for ByPid(entry) in self.clients.lock().iter() {
            let (phase, since) = entry.phase();
            soon |= look(entry, phase, now.saturating_sub(since));
        }
        soon
    }

    /// Whether a client that is here has set a timeout of its own: then there is something to look for.
    pub fn has_own_limits(&self) -> bool {
        self.own_limits.load(Ordering::Relaxed) > 0
    }

    /// Clients of a pool that have been idle in a transaction since then or longer. Looks at every client.
    pub fn lingering(&self, database: &str, user: &str, since: Instant) -> usize {
        let since = self.at(since);
        let lingers = |ByPid(entry): &&ByPid| {
            let (phase, began) = entry.phase();
            let is_here = || *entry.place.database == *database && *entry.place.user == *user;
            phase == Phase::IdleInTransaction && began <= since && is_here()
        };
        self.clients.lock().iter().filter(lingers).count()
    }

    /// Kicks those of these clients who are here.
    pub fn kick_these(&self, clients: &HashSet<u64>, kick: Kick) {
        let here = self.clients.lock();
        here.iter().filter(|found| clients.contains(&found.0.id)).for_each(|found| found.0.kick(kick));
    }
}

/// Whether this client's time is over soon.
fn look(entry: &Entry, phase: Phase, lasted: u64) -> bool {
    let limits = &entry.place.limits;
    let own = match phase {
        Phase::Idle => Kick::ClientIdle,
        Phase::IdleInTransaction => Kick::IdleInTransaction,
        Phase::Active => Kick::Query,
        Phase::Waiting => Kick::QueryWait,
    };
    let has_server = matches!(phase, Phase::Active | Phase::IdleInTransaction);
    let limit = |kick| limits.of_client(entry.id, kick);
    if lasted >= limit(own) {
        entry.kick(own);
    } else if phase == Phase::Active && lasted >= limit(Kick::IdleInTransaction).min(limit(Kick::ClientIdle))
    {
        // It may have sent the beginning of a message, and nothing since.
        entry.kick(Kick::IdleInTransaction);
    } else if has_server && limits.of(Kick::Transaction) < u64::MAX {
        // The phase is younger than the transaction, or as old.
        entry.kick(Kick::Transaction);
    }
    let near = |kick, lasted: u64| limit(kick) <= lasted.saturating_add(SOON.as_nanos() as u64);
    let next =
        has_server && [Kick::IdleInTransaction, Kick::ClientIdle].into_iter().any(|kick| near(kick, 0));
    near(own, lasted) || next || has_server && near(Kick::Transaction, lasted)
}

#[cfg(test)]
mod tests {
    use super::super::{ClientAddress, Membership, Newcomer, Place, SecretSize};
    use super::*;
    use std::sync::Arc;
    use std::task::Waker;

    fn client(roster: &Arc<Roster>, timeouts: Timeouts) -> Membership {
        let place = Place { roster: Arc::clone(roster), ..Place::default() };
        place.limits.set(&timeouts);
        roster.admit(10).unwrap().enter(Newcomer {
            id: roster.next_id(),
            address: ClientAddress::Unix,
            place: Arc::new(place),
            size: SecretSize::Short,
            waker: Waker::noop().clone(),
        })
    }

    #[test]
    fn who_is_kicked_and_how_near_it_is() {
        use Phase::{Active, Idle, IdleInTransaction, Waiting};
        let (one, five) = (Some(Duration::from_secs(1)), Some(Duration::from_secs(5)));
        let none = Timeouts::default();
        for (timeouts, phase, seconds, kick, soon) in [
            (none, Idle, 1000, None, false),
            (Timeouts { client_idle: five, ..none }, Idle, 1, None, false),
            (Timeouts { client_idle: five, ..none }, Idle, 3, None, true),
            (Timeouts { client_idle: five, ..none }, Idle, 5, Some(Kick::ClientIdle), true),
            (Timeouts { query: five, ..none }, Active, 5, Some(Kick::Query), true),
            (Timeouts { query: five, ..none }, IdleInTransaction, 5, None, false),
            (
                Timeouts { idle_transaction: five, ..none },
                IdleInTransaction,
                5,
                Some(Kick::IdleInTransaction),
                true,
            ),
            (Timeouts { idle_transaction: one, ..none }, Active, 0, None, true),
            (Timeouts { idle_transaction: five, ..none }, Active, 4, None, false),
            (Timeouts { idle_transaction: five, ..none }, Active, 5, Some(Kick::IdleInTransaction), false),
            (Timeouts { client_idle: five, ..none }, Active, 4, None, false),
            (Timeouts { client_idle: five, ..none }, Active, 5, Some(Kick::IdleInTransaction), false),
            (Timeouts { transaction: five, ..none }, Active, 1, Some(Kick::Transaction), false),
            (Timeouts { transaction: five, ..none }, IdleInTransaction, 9, Some(Kick::Transaction), true),
            (Timeouts { transaction: five, ..none }, Waiting, 9, None, false),
            (Timeouts { query_wait: five, ..none }, Waiting, 5, Some(Kick::QueryWait), true),
        ] {
            let roster = Arc::new(Roster::default());
            let member = client(&roster, timeouts);
            let start = Instant::now();
            member.entry().set_phase(phase, roster.at(start));
            let found = roster.tick(start + Duration::from_secs(seconds));
            assert_eq!((member.entry().kicked(), found), (kick, soon), "{timeouts:?} {phase:?} {seconds}");
        }
    }
    #[test]
    fn own_limits_are_there_until_the_last_client_that_has_one_drops_it_or_leaves() {
        let roster = Arc::new(Roster::default());
        let clients = [client(&roster, Timeouts::default()), client(&roster, Timeouts::default())];
        let limit = |client: usize, millis| {
            clients[client].entry().limit_idle(millis);
            roster.has_own_limits()
        };
        assert!(!roster.has_own_limits() && !limit(0, None));
        assert!(limit(0, Some(5)) && limit(0, Some(7)) && limit(1, Some(5)));
        assert!(limit(1, None) && limit(1, None));
        assert!(limit(1, Some(9)) && limit(0, None));
        let [first, second] = clients;
        drop(first);
        assert!(roster.has_own_limits());
        drop(second);
        assert!(!roster.has_own_limits());
    }
}
