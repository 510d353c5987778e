//! Connections beside those of a pool: they count under the caps it shares, and not as one of pool_size. They keep nobody
//! waiting: while somebody waits for a place there is none for them, and of each cap's places one at least is the pools'.
use std::{
    fmt,
    sync::{Arc, Weak},
};

use super::{
    Pool, Pooled, SharedCap, evict,
    lease::Seat,
    limits::{Claim, Member, NoPlace, take_all},
    permit::Permit,
};

/// A place under shared caps for a connection that is none of the pool's. Drop it after the connection is closed, with no
/// lock held.
pub struct Place {
    /// Present until dropped.
    permit: Option<Permit>,
    _promises: Promises,
}

/// Under these caps a place is promised.
struct Promises(Vec<Arc<SharedCap>>);

impl Drop for Promises {
    fn drop(&mut self) {
        self.0.iter().for_each(|cap| cap.unpromise_beside());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permit = None;
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

impl<S: Pooled> Pool<S> {
    /// A place for a connection beside those of the pool. Where there is none, the server that has been idle longest is closed
    /// for it, so that another try may succeed.
    pub fn place_beside(&self) -> Option<Place> {
        let promises = self.promise_beside()?;
        let nobody: Weak<dyn Member> = Weak::<Self>::new();
        let claim = Claim { pool: &nobody, share: &self.bounds.share, first_on: None, urgent: false };
        match take_all(&self.bounds.caps, &claim) {
            Ok(shared) => {
                let permit = Permit::beside(shared, &self.bounds);
                Some(Place { permit: Some(permit), _promises: promises })
            }
            Err(NoPlace { cap, .. }) => {
                self.make_room_beside(cap);
                None
            }
        }
    }

    /// The server leaves the pool for good.
    pub(super) fn detach(&self, seat: Box<Seat<S>>) -> Result<(S, Place), Box<Seat<S>>> {
        let Some(promises) = self.promise_beside() else { return Err(seat) };
        self.books.lock().ledger.remove(seat.slot);
        let (server, mut permit) = seat.into_parts();
        permit.leave_pool();
        Ok((server, Place { permit: Some(permit), _promises: promises }))
    }

    fn promise_beside(&self) -> Option<Promises> {
        let mut promises = Promises(Vec::new());
        for cap in self.bounds.caps.iter() {
            if !cap.promise_beside() {
                return None;
            }
            promises.0.push(Arc::clone(cap));
        }
        Some(promises)
    }

    fn make_room_beside(&self, at: usize) {
        let cap = &self.bounds.caps[at];
        if cap.is_pressed() || !cap.lacks(1) {
            return;
        }
        let members = cap.members();
        let candidates = members.iter().filter_map(|pool| Some((pool, pool.longest_idle()?)));
        if let Some(chosen) = evict::longest(candidates) {
            chosen.evict_longest_idle(cap.name().kind);
        }
    }

    /// Whether the caps, which may have become smaller, still leave the pools a place beside those of others.
    pub fn may_stand_beside(&self) -> bool {
        self.bounds.caps.iter().all(|cap| cap.has_place_for_pools())
    }
}
