//! Deadlines and upkeep, so that no transaction needs a timer: waits, reserve, age, idleness, minimum, servers left dirty.

use crate::clock::Instant;
use crate::pool::{ClientId, Lease, Pool, PoolSet};
use crate::roster::{Kick, Roster};
use crate::server::Server;
use crate::timer::sleep;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Between turns while somebody waits.
const BUSY: Duration = Duration::from_millis(100);
/// Between turns otherwise.
const QUIET: Duration = Duration::from_millis(1000);
/// Between reminders.
const REMIND: Duration = Duration::from_secs(60);

/// What the janitor looks after.
pub trait House: Send + Sync {
    /// Who is connected.
    fn roster(&self) -> &Arc<Roster>;
    /// The pools.
    fn pools(&self) -> &PoolSet<Server>;
    /// Ends logins that take too long; whether one is about to.
    fn end_logins(&self, now: Instant) -> bool;
    /// Whether clients may take too long for something that isn't waiting for a server.
    fn has_timeouts(&self) -> bool;
    /// Whether clients may take too long for anything before so much time has passed.
    fn has_limit_below(&self, time: Duration) -> bool;
    /// query_wait_notify.
    fn query_wait_notify(&self) -> Option<Duration>;
    /// Whether there is a reset query at all.
    fn resets(&self) -> bool;
    /// Wakes those who wait for something else than a server, to look at the clock; whether there are any.
    fn wake_crowds(&self) -> bool;
    /// Who of those has waited since then or before, and since when.
    fn crowded_since(&self, since: Instant) -> Vec<(ClientId, Instant)>;
    /// Has passwords towards PostgreSQL asked for again that are about to end.
    fn renew_passwords(&self, now: Instant);
    /// It is time to look again at what others may have changed.
    fn remind(&self);
    /// Resets a dirty server whose client has left, on a thread that serves clients.
    fn reset(&self, pool: &Arc<Pool<Server>>, lease: Lease<Server>);
}

/// When abandoned servers were last looked for. While nobody leaves and no server becomes dirty there are no new ones, so
/// that clients who are merely connected cost nothing.
struct Looked {
    at: Instant,
    /// How many clients had left by then.
    departed: u64,
}

/// Works until dropped.
pub async fn run(house: Arc<dyn House>) {
    let mut looked = Looked { at: Instant::now(), departed: 0 };
    let mut reminded = Instant::now();
    let mut told = Told::new();
    loop {
        let now = Instant::now();
        let brief = house.has_limit_below(QUIET) || house.roster().has_own_limits();
        house.roster().expect_beginnings(brief);
        let mut waiting = turn(&*house, now, &mut looked);
        let may_be_overdue = house.has_timeouts() || house.roster().has_own_limits();
        waiting |= may_be_overdue && house.roster().tick(now);
        tell_who_waits(&*house, now, &mut told);
        house.renew_passwords(now);
        if now.saturating_duration_since(reminded) >= REMIND {
            reminded = now;
            house.remind();
        }
        match waiting {
            true => sleep(BUSY).await,
            false => house.roster().rest(QUIET, BUSY).await,
        }
    }
}

/// One turn; whether somebody waits for a server, or a deadline for its login.
fn turn(house: &dyn House, now: Instant, looked: &mut Looked) -> bool {
    let mut waiting = house.end_logins(now);
    waiting |= house.wake_crowds();
    let (resets, departed) = (house.resets(), house.roster().departed());
    let mut connected: Option<HashSet<u64>> = None;
    for pool in house.pools().snapshot() {
        waiting |= pool.tick(now).waiting > 0;
        let news = |dirty_since| departed != looked.departed || dirty_since >= looked.at;
        if !resets || !pool.dirty_idle_since().is_some_and(news) {
            continue;
        }
        let here = connected.get_or_insert_with(|| house.roster().list().iter().map(|e| e.id).collect());
        for lease in pool.take_dirty_abandoned(|ClientId(client)| here.contains(&client)) {
            house.reset(&pool, lease);
        }
    }
    if resets {
        *looked = Looked { at: now, departed };
    }
    waiting
}

/// Clients that have been told that they wait, each with since when: a longer wait has another beginning.
type Told = HashMap<u64, Instant>;

/// Has those told once who have been in line for query_wait_notify. While nobody waits that long it costs a look at each
/// pool's first.
fn tell_who_waits(house: &dyn House, now: Instant, told: &mut Told) {
    let since = house.query_wait_notify().and_then(|limit| now.checked_sub(limit));
    let waiters = |since| {
        let in_line = house.pools().snapshot().into_iter().flat_map(move |pool| pool.waiting_since(since));
        in_line.chain(house.crowded_since(since))
    };
    let late: Told = since.into_iter().flat_map(waiters).map(|(ClientId(id), since)| (id, since)).collect();
    let new: HashSet<u64> =
        late.iter().filter(|(id, since)| told.get(id) != Some(since)).map(|(id, _)| *id).collect();
    if !new.is_empty() {
        house.roster().kick_these(&new, Kick::Notify);
    }
    *told = late;
}
