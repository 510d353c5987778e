//! The right to have one server connection: deadpool objects, held from before the connect starts until after the socket
//! is closed. A permit that comes back makes those look again who wait for one. Never waits itself.
use crate::clock::Instant;
use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use deadpool::managed::{Manager, Metrics, Object, Pool, RecycleResult, Timeouts};
use parking_lot::Mutex;

use super::{
    books::Bounds,
    limits::{Member, SharedCap},
    share::Share,
};

/// Makes slots, which are nothing but their number.
#[derive(Debug)]
pub(super) struct Numbering;

impl Manager for Numbering {
    type Type = ();
    type Error = ();

    fn create(&self) -> impl Future<Output = Result<(), ()>> + Send {
        std::future::ready(Ok(()))
    }

    fn recycle(&self, (): &mut (), _: &Metrics) -> impl Future<Output = RecycleResult<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// One place; dropping it gives it back.
pub(super) type Slot = Object<Numbering>;

/// A number of places that never lends more than its limit, whatever is resized when.
///
/// deadpool's own `resize` bounds objects, not permits: made smaller before its objects exist, or larger again while more
/// than the old bound are lent, it lends too many. So its pool only ever grows here, and a smaller limit is reached by
/// withholding objects.
#[derive(Debug)]
pub(super) struct Slots {
    pool: Pool<Numbering>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: Option<usize>,
    /// Of the deadpool pool: grown in steps, since deadpool sets memory aside for all.
    made: usize,
    withheld: Vec<Slot>,
}

const STEP: usize = 8;

impl State {
    fn surplus(&self) -> usize {
        self.limit.map_or(0, |limit| self.made.saturating_sub(limit))
    }
}

impl Slots {
    /// `None` is unlimited.
    pub(super) fn new(limit: Option<u32>) -> Self {
        let state = State { limit: limit.map(|l| l as usize), made: 0, withheld: Vec::new() };
        let pool = Pool::builder(Numbering).max_size(0).build();
        Self { pool: pool.expect("only timeouts can be refused, and none is set"), state: Mutex::new(state) }
    }

    /// A place, if one is free.
    pub(super) fn take(&self) -> Option<Slot> {
        let mut state = self.state.lock();
        while state.withheld.len() < state.surplus() {
            let slot = self.at_once()?;
            state.withheld.push(slot);
        }
        if let Some(slot) = self.at_once() {
            return Some(slot);
        }
        let room = state.limit.map_or(STEP, |limit| limit.saturating_sub(state.made).min(STEP));
        if room == 0 {
            return None;
        }
        state.made += room;
        self.pool.resize(state.made);
        self.at_once()
    }

    /// Places lent. One that is being given back may already be left out while it can't be taken yet.
    pub(super) fn lent(&self) -> usize {
        let state = self.state.lock();
        let status = self.pool.status();
        (status.size - status.available).saturating_sub(state.withheld.len())
    }

    pub(super) fn limit(&self) -> Option<u32> {
        self.state.lock().limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX))
    }

    pub(super) fn resize(&self, limit: Option<u32>) {
        let mut state = self.state.lock();
        state.limit = limit.map(|l| l as usize);
        let surplus = state.surplus();
        state.withheld.truncate(surplus);
    }

    fn at_once(&self) -> Option<Slot> {
        let no_wait = Timeouts { wait: Some(Duration::ZERO), create: None, recycle: None };
        match pin!(self.pool.timeout_get(&no_wait)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(slot)) => Some(slot),
            Poll::Ready(Err(_)) | Poll::Pending => None,
        }
    }
}

/// The right to one server connection under all bounds. Drop it after the connection is closed, with no lock held.
pub(super) struct Permit {
    own: Option<Slot>,
    shared: Vec<Slot>,
    caps: Arc<[Arc<SharedCap>]>,
    pool: Weak<dyn Member>,
    share: Arc<Share>,
    /// Since when its connection is being closed, as its caps know.
    leaving: Option<Instant>,
    /// It is counted as obsolete until it is closed.
    outdated: bool,
}

impl Permit {
    pub(super) fn new(own: Slot, shared: Vec<Slot>, bounds: &Bounds) -> Self {
        bounds.share.takes();
        let mut permit = Self::beside(shared, bounds);
        permit.own = Some(own);
        permit
    }

    /// Its connection is being closed since it is obsolete.
    pub(super) fn outdate(&mut self) {
        if !self.outdated {
            self.outdated = true;
            self.share.count_outdated(true);
        }
    }

    /// Gives up the pool's own place and keeps those under the shared caps.
    pub(super) fn leave_pool(&mut self) {
        self.give_back_own();
        if let Some(pool) = self.pool.upgrade() {
            pool.look_again(None);
        }
    }

    /// The right to one beside those of the pool, under its shared caps alone.
    pub(super) fn beside(shared: Vec<Slot>, bounds: &Bounds) -> Self {
        let (caps, pool) = (Arc::clone(&bounds.caps), Weak::clone(&bounds.pool));
        Self {
            own: None,
            shared,
            caps,
            pool,
            share: Arc::clone(&bounds.share),
            leaving: None,
            outdated: false,
        }
    }

    /// Its connection is being closed: the starving need not have another closed for the place.
    pub(super) fn leaves(&mut self) {
        if self.leaving.is_none() {
            let now = Instant::now();
            self.leaving = Some(now);
            if self.own.is_some() {
                self.share.leaves();
            }
            self.caps.iter().for_each(|cap| cap.coming().begins(now));
        }
    }

    /// Its place under the shared caps is no longer one of the pool's share either.
    fn give_back_own(&mut self) {
        if self.own.take().is_some() {
            self.share.gives_back(self.leaving.is_some());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back_own();
        self.shared.clear();
        if self.outdated {
            self.share.count_outdated(false);
        }
        if let Some(since) = self.leaving {
            self.caps.iter().for_each(|cap| cap.coming().ends(since));
        }
        for cap in self.caps.iter() {
            cap.offer();
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.look_again(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn deadpools_own_resize_lends_too_many() {
        // The reason for `Slots`; when this fails, deadpool has mended it and `Slots` can be simpler.
        let pool = Pool::builder(Numbering).max_size(3).build().unwrap();
        pool.resize(1);
        let no_wait = Timeouts { wait: Some(Duration::ZERO), create: None, recycle: None };
        let mut lent: Vec<Slot> = Vec::new();
        while let Poll::Ready(Ok(slot)) =
            pin!(pool.timeout_get(&no_wait)).poll(&mut Context::from_waker(Waker::noop()))
        {
            lent.push(slot);
        }
        assert_eq!(lent.len(), 3);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take,
        Return(usize),
        Resize(Option<u32>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Take),
            3 => any::<usize>().prop_map(Step::Return),
            1 => prop_oneof![4 => (0u32..12).prop_map(Some), 1 => Just(None)].prop_map(Step::Resize),
        ]
    }

    proptest! {
        #[test]
        fn a_place_is_lent_exactly_when_fewer_than_the_limit_are(
            first in prop::option::of(0u32..12), steps in prop::collection::vec(step(), 0..200)
        ) {
            let slots = Slots::new(first);
            let (mut limit, mut lent) = (first, Vec::new());
            for step in steps {
                match step {
                    Step::Take => {
                        let may = limit.is_none_or(|limit| lent.len() < limit as usize);
                        let slot = slots.take();
                        prop_assert_eq!(slot.is_some(), may);
                        lent.extend(slot);
                    }
                    Step::Return(at) if !lent.is_empty() => drop(lent.swap_remove(at % lent.len())),
                    Step::Return(_) => {}
                    Step::Resize(to) => { slots.resize(to); limit = to; }
                }
                prop_assert_eq!(slots.lent(), lent.len());
                prop_assert_eq!(slots.limit(), limit);
            }
        }
    }
}
