//! Room under a shared cap for a pool that starves: idle servers of others are closed, at once or when they have been spared for
//! long enough.
use crate::clock::Instant;
use std::sync::{Arc, Weak};

use super::{
    CloseReason, Event, Pool, Pooled, SharedCap,
    evict::{self, Choice, Idle},
    limits::CapKind,
};

impl<S: Pooled> Pool<S> {
    /// Evicts idle servers of other pools, no more than the cap is short of, or until none may go. From then on they
    /// see that it is short, and close what they owe. Looks into one pool at a time.
    pub(super) fn make_room(&self, at: usize, newly: bool) {
        let cap = &self.bounds.caps[at];
        // One of those that starve looks again and again for all: it means a look at every pool under the cap.
        if !newly && !cap.has_starved_longest(&self.bounds.pool) {
            return;
        }
        while cap.is_short()
            && let Some(neediest) = cap.neediest()
            && let Some(now) = self.starves_now(at)
        {
            let others = cap.others(&self.bounds.pool);
            let candidates = others.iter().filter_map(|pool| Some((pool, pool.longest_idle()?)));
            match evict::choose(candidates, &neediest, now) {
                Choice::Close(chosen) => chosen.evict_longest_idle(cap.name().kind),
                Choice::Later(at) => return self.look_later(cap, at),
                Choice::None if newly => return self.tell(Event::Blocked(cap.name())),
                Choice::None => return,
            }
        }
    }

    fn starves_now(&self, at: usize) -> Option<Instant> {
        let books = self.books.lock();
        books.starves_on(at).then(|| books.clock())
    }

    /// A server of this pool idles now, though others would take its place: who starves looks again when it may go.
    #[cold]
    pub(super) fn idles_under_pressure(&self, now: Instant) {
        let until = now + self.bounds.share.spares_for();
        for cap in self.bounds.caps.iter().filter(|cap| cap.is_pressed()) {
            self.look_later(cap, until);
        }
    }

    fn look_later(&self, cap: &Arc<SharedCap>, at: Instant) {
        if !cap.plans_look(at) {
            return;
        }
        let cap: Weak<SharedCap> = Arc::downgrade(cap);
        let look = move |now| {
            let Some(cap) = cap.upgrade() else { return };
            cap.begins_look(now);
            if let Some(pool) = cap.longest_starving().and_then(|pool| pool.upgrade()) {
                pool.look_at(now);
            }
        };
        self.connector().later(at, Box::new(look));
    }

    pub(super) fn longest_idle_server(&self) -> Option<Idle> {
        let (idle, opened) = {
            let books = self.books.lock();
            let idle = books.ledger.longest_idle()?;
            (idle, books.ledger.opened_at(idle.slot)?)
        };
        let share = &self.bounds.share;
        let (spared_until, standing) = (idle.since + share.spares_for(), share.standing());
        Some(Idle { since: idle.since, opened, spared_until, standing })
    }

    pub(super) fn evict(&self, kind: CapKind) {
        let mut books = self.books.lock();
        let Some(idle) = books.ledger.longest_idle() else { return };
        let mut seat = books.ledger.remove_idle(idle.slot);
        seat.leaves();
        drop(books);
        self.close(seat, CloseReason::Evicted(kind));
    }
}
