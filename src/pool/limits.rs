//! How many servers a pool may have, and the caps that pools share. Pure but for locks; decides who gets a freed place under
//! a cap, never opens or closes anything itself.
use crate::clock::Instant;
use std::{
    collections::VecDeque,
    fmt,
    num::NonZeroU32,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};

use super::{
    coming::Coming,
    evict::Idle,
    permit::{Slot, Slots},
    share::{self, Share, Standing},
};

/// Whose servers a shared cap counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CapKind {
    /// All servers of one database.
    Database,
    /// All servers of one user.
    User,
    /// All servers.
    All,
}

impl CapKind {
    /// The setting that bounds it.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Database => "max_db_connections",
            Self::User => "max_user_connections",
            Self::All => "max_server_connections",
        }
    }
}

/// Names a shared cap; no two caps that a pool is under may have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CapName {
    /// Whose servers.
    pub kind: CapKind,
    /// Which database or user; empty for all.
    pub of: Arc<str>,
}

impl fmt::Display for CapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.setting())?;
        if self.of.is_empty() { Ok(()) } else { write!(f, " {}", self.of) }
    }
}

/// A pool as its shared caps see it.
pub(super) trait Member: Send + Sync {
    /// Its longest-idle server.
    fn longest_idle(&self) -> Option<Idle>;
    /// Closes its longest-idle server, if one is idle.
    fn evict_longest_idle(&self, kind: CapKind);
    /// Looks again whether it can open; if `first_on` is a cap's name, its turn has come there.
    fn look_again(&self, first_on: Option<&CapName>);
    /// The same at that time, which it may not know of.
    fn look_at(&self, now: Instant);
}

/// A bound on the servers of several pools together.
///
/// Every place is taken under the cap's lock, and a pool that finds no place is noted as starving under the same
/// lock. A place that comes back is offered to the starving until it is taken or nobody starves any more, and as long
/// as somebody starves others don't take. So no free place is left beside a pool that waits for one.
///
/// The neediest of the starving is first, as [`share`] says, and of equals the longest. A pool that has more than its share owes
/// them the servers that come back to it, though clients of its own wait: each of the starving is promised one at a time. A server
/// that isn't owed to them and idles is spared for about as long as a connect takes ([`Share::spares_for`]). A pool
/// whose opens fail is behind the others, and nobody owes it its last server.
///
/// No more servers are closed for the starving than they would take: what is being closed already counts as theirs
/// ([`SharedCap::is_short`]), for a place is free only when PostgreSQL has let go of it.
///
/// While more places are lent than there are, since the cap was made smaller, nobody opens, nothing is promised, and servers are
/// closed until the rest fits: the idle ones, and those that come back to the pools that have most (`excess`).
#[derive(Debug)]
pub struct SharedCap {
    name: CapName,
    slots: Slots,
    roll: Mutex<Roll>,
    /// How many starve, and one more while more places are lent than there are; a hint that may be read without the lock.
    pressed: AtomicUsize,
    /// Places of servers that are being closed.
    coming: Coming,
    /// Places promised to connections beside the pools'.
    beside: AtomicUsize,
    /// When who starves looks again for servers that may go.
    look: Mutex<Option<Instant>>,
}

#[derive(Default)]
pub(super) struct Roll {
    pub(super) members: Vec<(Weak<dyn Member>, Arc<Share>)>,
    /// The longest first.
    starving: VecDeque<Starving>,
    /// More places may be lent than there are.
    over: bool,
}

/// A pool that waits for a place.
struct Starving {
    pool: Weak<dyn Member>,
    share: Arc<Share>,
    /// Until then a place may be on its way that another pool gives up for it.
    promised: Option<Instant>,
}

impl Roll {
    /// The pool gives up a place: of its equals it comes last, though it may have wanted more all the time.
    fn begins_again(&mut self, pool: &Weak<dyn Member>) {
        if let Some(at) = self.starving.iter().position(|starving| starving.pool.ptr_eq(pool)) {
            let starving = self.starving.remove(at);
            self.starving.extend(starving);
        }
    }
}

impl fmt::Debug for Roll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} members, {} starving", self.members.len(), self.starving.len())
    }
}

/// A pool asks for one place under each of its caps.
pub(super) struct Claim<'a> {
    pub(super) pool: &'a Weak<dyn Member>,
    /// What it has.
    pub(super) share: &'a Arc<Share>,
    /// The cap that has offered its place to this pool.
    pub(super) first_on: Option<&'a CapName>,
    /// Whether to be noted as starving if there is no place.
    pub(super) urgent: bool,
}

/// A server that has come back to its pool.
pub(super) struct Returned<'a> {
    pub(super) pool: &'a Weak<dyn Member>,
    pub(super) share: &'a Share,
    pub(super) opened: Instant,
    pub(super) now: Instant,
    /// Clients of the pool wait for it.
    pub(super) waited_for: bool,
}

/// Which of the caps had no place, and whether the pool has just become one of its starving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoPlace {
    pub(super) cap: usize,
    pub(super) newly: bool,
}

impl SharedCap {
    /// `limit` in servers; `None` is unlimited.
    pub fn new(name: CapName, limit: Option<NonZeroU32>) -> Arc<Self> {
        let slots = Slots::new(limit.map(NonZeroU32::get));
        let none = || AtomicUsize::new(0);
        let (pressed, beside) = (none(), none());
        let (roll, coming) = (Mutex::default(), Coming::default());
        Arc::new(Self { name, slots, roll, pressed, coming, beside, look: Mutex::default() })
    }

    /// Its name.
    pub fn name(&self) -> &CapName {
        &self.name
    }

    /// Connections under it, opening ones included.
    pub fn in_use(&self) -> usize {
        self.slots.lent()
    }

    /// Its bound; `None` is unlimited.
    pub fn limit(&self) -> Option<u32> {
        self.slots.limit()
    }

    /// Changes the bound. For a smaller one idle servers are closed at once, and busy ones as they come back.
    pub fn resize(&self, limit: Option<NonZeroU32>) {
        let mut roll = self.roll.lock();
        self.slots.resize(limit.map(NonZeroU32::get));
        self.note_excess(&mut roll);
        // What was promised before may be withheld.
        roll.starving.iter_mut().for_each(|starving| starving.promised = None);
        drop(roll);
        self.shed_idle();
        self.offer();
    }

    /// Promises a place to a connection beside the pools', unless that leaves none to them.
    pub(super) fn promise_beside(&self) -> bool {
        let fits = |promised: usize| self.limit().is_none_or(|limit| promised + 1 < limit as usize);
        let promise = |promised: usize| fits(promised).then_some(promised + 1);
        self.beside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, promise).is_ok()
    }

    /// A promised place isn't needed any more.
    pub(super) fn unpromise_beside(&self) {
        self.beside.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the pools have a place left beside those promised to others.
    pub(super) fn has_place_for_pools(&self) -> bool {
        self.limit().is_none_or(|limit| self.beside.load(Ordering::Relaxed) < limit as usize)
    }

    /// True if a pool may be waiting for a place, or more may be lent than there are.
    #[inline(always)]
    pub(super) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed) > 0
    }

    fn note_pressure(&self, roll: &Roll) {
        self.pressed.store(roll.starving.len() + usize::from(roll.over), Ordering::Relaxed);
    }

    /// Places are taken under this lock: once no more are lent than there are, that stays so until the next resize.
    fn note_excess(&self, roll: &mut Roll) {
        roll.over = self.limit().is_some_and(|limit| self.in_use() > limit as usize);
        self.note_pressure(roll);
    }

    pub(super) fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock()
    }

    /// The places of servers that are being closed.
    pub(super) fn coming(&self) -> &Coming {
        &self.coming
    }

    /// Whether the starving would take more places than are free or on their way, so that another server has to be closed for
    /// them. Asked by several pools at the same instant, it may have one too many closed.
    pub(super) fn is_short(&self) -> bool {
        self.is_pressed() && self.lacks(self.lacking(&self.roll.lock(), None))
    }

    /// Whether this pool has starved longest.
    pub(super) fn has_starved_longest(&self, pool: &Weak<dyn Member>) -> bool {
        self.roll.lock().starving.front().is_some_and(|first| first.pool.ptr_eq(pool))
    }

    /// Whether a server of this pool has to go rather than idle: others would take its place, or there are too many.
    #[inline(always)]
    pub(super) fn presses(&self, pool: &Weak<dyn Member>) -> bool {
        self.is_pressed() && self.has_use_for_places_of(pool)
    }

    #[cold]
    fn has_use_for_places_of(&self, pool: &Weak<dyn Member>) -> bool {
        let mut roll = self.roll.lock();
        if roll.over {
            self.note_excess(&mut roll);
        }
        (roll.over && self.surplus() > 0) || self.lacks(self.lacking(&roll, Some(pool)))
    }

    fn lacking(&self, roll: &Roll, but: Option<&Weak<dyn Member>>) -> usize {
        let counts = |starving: &&Starving| !but.is_some_and(|pool| starving.pool.ptr_eq(pool));
        roll.starving.iter().filter(counts).map(|starving| starving.share.lacking().max(1)).sum()
    }

    /// Whether so many places are more than are free or on their way.
    pub(super) fn lacks(&self, places: usize) -> bool {
        let coming = || self.coming.now();
        places > 0 && self.limit().is_some_and(|limit| self.in_use() + places > limit as usize + coming())
    }

    pub(super) fn enroll(&self, pool: &Weak<dyn Member>, share: &Arc<Share>) {
        self.roll.lock().members.push((Weak::clone(pool), Arc::clone(share)));
    }

    pub(super) fn leave(&self, pool: &Weak<dyn Member>) {
        let mut roll = self.roll.lock();
        roll.members.retain(|(member, _)| !member.ptr_eq(pool));
        self.strike(&mut roll, pool);
    }

    /// The pool no longer waits for a place.
    pub(super) fn forget(&self, pool: &Weak<dyn Member>) {
        self.strike(&mut self.roll.lock(), pool);
    }

    /// The pools under the cap.
    pub(super) fn members(&self) -> Vec<Arc<dyn Member>> {
        self.roll.lock().members.iter().filter_map(|(member, _)| member.upgrade()).collect()
    }

    /// The pools under the cap, but for the asking one.
    pub(super) fn others(&self, pool: &Weak<dyn Member>) -> Vec<Arc<dyn Member>> {
        let roll = self.roll.lock();
        let others = roll.members.iter().filter(|(member, _)| !member.ptr_eq(pool));
        others.filter_map(|(member, _)| member.upgrade()).collect()
    }

    /// Whether a server that has just come back goes to a pool that starves. If clients of its own wait for it, that pool is
    /// promised the place, so that no other server goes for the same.
    pub(super) fn owes(&self, back: &Returned<'_>) -> bool {
        let mut roll = self.roll.lock();
        if !self.lacks(self.lacking(&roll, Some(back.pool))) {
            return false;
        }
        let kept = |it: &Starving| back.waited_for && it.promised.is_some_and(|until| until > back.now);
        let others = roll.starving.iter_mut().filter(|it| !it.pool.ptr_eq(back.pool) && !kept(it));
        let neediest = others.min_by(|a, b| a.share.standing().by_need(&b.share.standing()));
        let for_a_turn = share::is_for_a_turn(back.opened, back.now);
        let Some(due) = neediest.filter(|due| back.share.standing().owes(&due.share.standing(), for_a_turn))
        else {
            return false;
        };
        if back.waited_for {
            due.promised = back.now.checked_add(share::ON_ITS_WAY);
        }
        roll.begins_again(back.pool);
        true
    }

    /// How well the neediest of the starving is served.
    pub(super) fn neediest(&self) -> Option<Standing> {
        self.roll.lock().starving.iter().map(|starving| starving.share.standing()).min_by(Standing::by_need)
    }

    pub(super) fn longest_starving(&self) -> Option<Weak<dyn Member>> {
        self.roll.lock().starving.front().map(|first| Weak::clone(&first.pool))
    }

    /// Whether a look at that time is still to be arranged.
    pub(super) fn plans_look(&self, at: Instant) -> bool {
        let mut look = self.look.lock();
        let planned = look.is_some_and(|planned| planned <= at);
        if !planned {
            *look = Some(at);
        }
        !planned
    }

    /// A look that was planned.
    pub(super) fn begins_look(&self, now: Instant) {
        self.look.lock().take_if(|planned| *planned <= now);
    }

    /// Offers free places to the starving, the neediest first. Call it after a place came back, with no lock held.
    pub(super) fn offer(&self) {
        while let Some(pool) = self.next_starving() {
            if let Some(pool) = pool.upgrade() {
                pool.look_again(Some(&self.name));
            }
        }
    }

    fn next_starving(&self) -> Option<Weak<dyn Member>> {
        let mut roll = self.roll.lock();
        let neediest = roll.starving.iter().min_by(|a, b| a.share.standing().by_need(&b.share.standing()));
        let next = Weak::clone(&neediest?.pool);
        // Taken and put back under the lock: nobody can see that it was gone.
        drop(self.slots.take()?);
        self.strike(&mut roll, &next);
        Some(next)
    }

    fn strike(&self, roll: &mut Roll, pool: &Weak<dyn Member>) {
        roll.starving.retain(|starving| !starving.pool.ptr_eq(pool));
        self.note_pressure(roll);
    }

    /// Returns true if the pool was not among the starving yet.
    fn enlist(&self, roll: &mut Roll, claim: &Claim<'_>) -> bool {
        if roll.starving.iter().any(|starving| starving.pool.ptr_eq(claim.pool)) {
            return false;
        }
        let (pool, share) = (Weak::clone(claim.pool), Arc::clone(claim.share));
        roll.starving.push_back(Starving { pool, share, promised: None });
        self.note_pressure(roll);
        true
    }
}

/// Takes a place under every cap, or under none. `caps` are sorted by name, which is the order of their locks.
pub(super) fn take_all(caps: &[Arc<SharedCap>], claim: &Claim<'_>) -> Result<Vec<Slot>, NoPlace> {
    let mut rolls: Vec<MutexGuard<'_, Roll>> = caps.iter().map(|cap| cap.roll.lock()).collect();
    let mut slots = Vec::with_capacity(caps.len());
    for (at, cap) in caps.iter().enumerate() {
        let others_first = claim.first_on != Some(&cap.name)
            && rolls[at].starving.iter().any(|s| !s.pool.ptr_eq(claim.pool));
        match if others_first { None } else { cap.slots.take() } {
            Some(slot) => slots.push(slot),
            None => {
                // Before the locks are: what this claim held meanwhile can't have turned anybody else away.
                drop(slots);
                let newly = claim.urgent && note_starving(caps, &mut rolls, at, claim);
                return Err(NoPlace { cap: at, newly });
            }
        }
    }
    for (cap, roll) in caps.iter().zip(&mut rolls) {
        cap.strike(roll, claim.pool);
    }
    Ok(slots)
}

fn note_starving(
    caps: &[Arc<SharedCap>],
    rolls: &mut [MutexGuard<'_, Roll>],
    blocked: usize,
    claim: &Claim<'_>,
) -> bool {
    for (at, (cap, roll)) in caps.iter().zip(rolls.iter_mut()).enumerate() {
        if at != blocked {
            cap.strike(roll, claim.pool);
        }
    }
    caps[blocked].enlist(&mut rolls[blocked], claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bystander;

    impl Member for Bystander {
        fn longest_idle(&self) -> Option<Idle> {
            None
        }
        fn evict_longest_idle(&self, _: CapKind) {}
        fn look_again(&self, _: Option<&CapName>) {}
        fn look_at(&self, _: Instant) {}
    }

    type Known = (Weak<dyn Member>, Arc<Share>);

    fn member() -> (Arc<dyn Member>, Known) {
        let member: Arc<dyn Member> = Arc::new(Bystander);
        let weak = Arc::downgrade(&member);
        (member, (weak, Arc::new(Share::new(1, 0))))
    }

    fn cap(kind: CapKind, limit: u32) -> Arc<SharedCap> {
        SharedCap::new(CapName { kind, of: "x".into() }, NonZeroU32::new(limit))
    }

    fn claim((pool, share): &Known) -> Claim<'_> {
        Claim { pool, share, first_on: None, urgent: true }
    }

    #[test]
    fn what_is_given_up_is_for_the_neediest_and_promised_once() {
        let caps = [cap(CapKind::Database, 4)];
        let ((_a, a), (_b, b), (_c, c)) = (member(), member(), member());
        let mut held: Vec<_> = (0..4).map(|_| take_all(&caps, &claim(&a)).unwrap()).collect();
        (0..4).for_each(|_| a.1.takes());
        for pool in [&a, &b, &c] {
            assert!(take_all(&caps, &claim(pool)).is_err());
        }
        c.1.takes();
        let now = Instant::now();
        let owes = |(pool, share): &Known, at| {
            let owes = caps[0].owes(&Returned { pool, share, opened: now, now: at, waited_for: true });
            (0..usize::from(owes)).for_each(|_| share.leaves());
            owes
        };
        assert!(owes(&a, now) && owes(&a, now) && !owes(&a, now), "one each, and two are left");
        assert!(!owes(&b, now), "it has nothing");
        a.1.takes();
        assert!(owes(&a, now + share::ON_ITS_WAY), "the promise was not kept");
        drop(held.pop());
        let next = caps[0].next_starving().unwrap();
        assert!(next.ptr_eq(&b.0) && !next.ptr_eq(&a.0), "not the one that came first");
    }

    #[test]
    fn a_freed_place_waits_for_the_longest_starving() {
        let caps = [cap(CapKind::Database, 1)];
        let ((_a, a), (_b, b)) = (member(), member());
        let held = take_all(&caps, &claim(&b)).unwrap();
        let turned_away = |pool| take_all(&caps, &claim(pool)).unwrap_err();
        assert_eq!(turned_away(&a), NoPlace { cap: 0, newly: true });
        assert_eq!(turned_away(&a), NoPlace { cap: 0, newly: false });
        drop(held);
        assert_eq!(turned_away(&b), NoPlace { cap: 0, newly: true }, "no overtaking");
        let first_on = Some(caps[0].name());
        let turn = take_all(&caps, &Claim { first_on, ..claim(&a) }).unwrap();
        assert!(caps[0].is_pressed(), "the other");
        drop(turn);
        caps[0].offer();
        assert!(!caps[0].is_pressed(), "offered to all, though they did not want it");
    }

    #[test]
    fn a_place_under_all_caps_or_under_none() {
        let caps = [cap(CapKind::Database, 2), cap(CapKind::User, 1)];
        let ((_a, a), (_b, b)) = (member(), member());
        let held = take_all(&caps, &claim(&a)).unwrap();
        assert_eq!(take_all(&caps, &claim(&b)).unwrap_err(), NoPlace { cap: 1, newly: true });
        assert_eq!(caps.each_ref().map(|cap| (cap.in_use(), cap.is_pressed())), [(1, false), (1, true)]);
        let hurried = Claim { urgent: false, ..claim(&a) };
        assert_eq!(take_all(&caps, &hurried).unwrap_err(), NoPlace { cap: 1, newly: false });
        drop(held);
        caps[1].forget(&b.0);
        assert!(take_all(&caps, &claim(&a)).is_ok());
    }

    #[test]
    fn one_place_is_left_to_the_pools() {
        let cap = cap(CapKind::Database, 2);
        assert!(cap.promise_beside() && !cap.promise_beside() && cap.has_place_for_pools());
        cap.resize(NonZeroU32::new(1));
        assert!(!cap.has_place_for_pools());
        cap.resize(None);
        assert!(cap.promise_beside() && cap.has_place_for_pools());
        (0..2).for_each(|_| cap.unpromise_beside());
        cap.resize(NonZeroU32::new(1));
        assert!(!cap.promise_beside() && cap.has_place_for_pools());
    }
}
