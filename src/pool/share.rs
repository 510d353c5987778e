//! Who is due a place under a cap that has none left: the least well served pool, by weight, and what the others owe it. Pure but
//! for counters; looks at what is told, never at a pool.
use crate::clock::Instant;
use std::{
    cmp::Ordering as Order,
    sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// How long a pool may keep its last server while it has work for it and another pool has none: with more pools than
/// places they take turns, and a turn is worth the connect.
pub(super) const TURN: Duration = Duration::from_millis(100);
/// For how long at least a server that idles is spared.
const SPARED: Duration = Duration::from_millis(2);
/// How long a place that one pool gives up for another may be on its way, that is how long a server may take to hang up.
pub(super) const ON_ITS_WAY: Duration = Duration::from_secs(6);

/// What one pool has of the places under its caps, and what it may claim.
#[derive(Debug)]
pub(super) struct Share {
    held: AtomicUsize,
    /// Of those, of servers that are being closed.
    leaving: AtomicUsize,
    /// While it starves: more places that it would take now.
    lacking: AtomicUsize,
    /// Of those held, servers that RECONNECT or a reload has made obsolete and that are being closed.
    outdated: AtomicUsize,
    failing: AtomicBool,
    /// What a connect takes, as lately measured, in microseconds.
    connect: AtomicU32,
    weight: AtomicU32,
    guaranteed: AtomicU32,
}

impl Share {
    pub(super) fn new(weight: u32, guaranteed: u32) -> Self {
        let none = || AtomicUsize::new(0);
        let (weight, guaranteed) = (AtomicU32::new(weight), AtomicU32::new(guaranteed));
        let (failing, connect) = (AtomicBool::new(false), AtomicU32::new(0));
        let (held, leaving, lacking, outdated) = (none(), none(), none(), none());
        Self { held, leaving, lacking, outdated, failing, connect, weight, guaranteed }
    }

    /// `guaranteed` is in servers.
    pub(super) fn set(&self, weight: u32, guaranteed: u32) {
        self.weight.store(weight, Relaxed);
        self.guaranteed.store(guaranteed, Relaxed);
    }

    /// A place is taken.
    pub(super) fn takes(&self) {
        self.held.fetch_add(1, Relaxed);
    }

    /// A place is given back, of a server that was being closed or of one that wasn't.
    pub(super) fn gives_back(&self, left: bool) {
        self.held.fetch_sub(1, Relaxed);
        if left {
            self.leaving.fetch_sub(1, Relaxed);
        }
    }

    /// A server is being closed.
    pub(super) fn leaves(&self) {
        self.leaving.fetch_add(1, Relaxed);
    }

    /// An obsolete server is being closed, or is closed.
    pub(super) fn count_outdated(&self, being_closed: bool) {
        match being_closed {
            true => self.outdated.fetch_add(1, Relaxed),
            false => self.outdated.fetch_sub(1, Relaxed),
        };
    }

    pub(super) fn outdated(&self) -> usize {
        self.outdated.load(Relaxed)
    }

    /// How many places more it would take.
    pub(super) fn set_lacking(&self, lacking: usize) {
        self.lacking.store(lacking, Relaxed);
    }

    pub(super) fn lacking(&self) -> usize {
        self.lacking.load(Relaxed)
    }

    /// Whether the pool's opens have failed of late.
    pub(super) fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Relaxed);
    }

    /// A connect of the pool took so long.
    pub(super) fn note_connect(&self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let before = self.connect.load(Relaxed);
        let mean = if before == 0 { took } else { before - before / 4 + took / 4 };
        self.connect.store(mean, Relaxed);
    }

    /// For how long a server that idles isn't closed for a pool that it isn't owed to: closing it sooner costs more than the
    /// place is worth, a turn at the most.
    pub(super) fn spares_for(&self) -> Duration {
        Duration::from_micros(self.connect.load(Relaxed).into()).clamp(SPARED, TURN)
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            held: self.held.load(Relaxed).saturating_sub(self.leaving.load(Relaxed)),
            weight: self.weight.load(Relaxed).max(1),
            guaranteed: self.guaranteed.load(Relaxed) as usize,
            failing: self.failing.load(Relaxed),
        }
    }
}

/// How well a pool is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Places it has.
    pub(super) held: usize,
    /// Of two pools that want more, one of twice the weight is due twice as many.
    pub(super) weight: u32,
    /// Places it is due, if it wants them, before others get more than theirs.
    pub(super) guaranteed: usize,
    /// Its opens have failed of late: what it got would likely serve nobody.
    pub(super) failing: bool,
}

impl Standing {
    fn lacks_guaranteed(&self) -> bool {
        self.held < self.guaranteed
    }

    /// The needier first: who has nothing, then who has less than is guaranteed, then who has least for its weight. Those whose
    /// opens fail come behind all others.
    pub(super) fn by_need(&self, other: &Self) -> Order {
        let first = |it: &Self| (it.failing, it.held > 0, !it.lacks_guaranteed());
        let weighed = |it: &Self, against: &Self| it.held as u64 * u64::from(against.weight);
        first(self).cmp(&first(other)).then_with(|| weighed(self, other).cmp(&weighed(other, self)))
    }

    /// Whether a server that comes back has to go to the other, though clients of this pool wait for it. Never so that the
    /// other would owe one in return, turns aside; `for_a_turn` says that this server has been here for [`TURN`]. Turns are not
    /// for who fails to open.
    pub(super) fn owes(&self, other: &Self, for_a_turn: bool) -> bool {
        if other.held == 0 && for_a_turn && !other.failing {
            return true;
        }
        if self.held <= self.guaranteed.max(1) {
            return false;
        }
        let (left, gained) = (self.held as u64 - 1, other.held as u64 + 1);
        other.lacks_guaranteed() || left * u64::from(other.weight) >= gained * u64::from(self.weight)
    }

    /// Whether one of `surplus` places that all of them have too many is this pool's: they go from who has most for its weight,
    /// what is guaranteed last. `all` may have this pool among them.
    pub(super) fn has_one_of(&self, surplus: usize, all: impl Iterator<Item = Self>) -> bool {
        self.held > 0 && all.map(|it| it.places_above_last_of(self)).sum::<usize>() < surplus
    }

    /// How many places would go before the other's last one.
    fn places_above_last_of(&self, other: &Self) -> usize {
        let level = other.held as u64 * u64::from(self.weight) / u64::from(other.weight);
        let level = usize::try_from(level).unwrap_or(usize::MAX);
        let spared = match other.held > other.guaranteed {
            true => self.guaranteed.max(level),
            false => self.guaranteed.min(level),
        };
        self.held.saturating_sub(spared)
    }
}

/// Whether a server opened then has been in its pool for a turn.
pub(super) fn is_for_a_turn(opened: Instant, now: Instant) -> bool {
    now.saturating_duration_since(opened) >= TURN
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn of(held: usize, weight: u32, guaranteed: usize) -> Standing {
        Standing { held, weight, guaranteed, failing: false }
    }

    const fn failing(held: usize) -> Standing {
        Standing { failing: true, ..of(held, 1, 0) }
    }

    #[test]
    fn what_is_owed() {
        let cases = [
            (of(20, 1, 0), of(0, 1, 0), true, "all of it"),
            (of(2, 1, 0), of(0, 1, 0), true, "one each"),
            (of(3, 1, 0), of(2, 1, 0), false, "no more even than before"),
            (of(1, 1, 0), of(0, 1, 0), false, "its last, before its turn is over"),
            (of(8, 3, 0), of(2, 1, 0), false, "three quarters"),
            (of(9, 3, 0), of(1, 1, 0), true, "more than three quarters"),
            (of(4, 1, 4), of(1, 1, 0), false, "guaranteed"),
            (of(5, 1, 4), of(1, 1, 0), true, "more than guaranteed"),
            (of(5, 9, 0), of(1, 1, 3), true, "the other's guaranteed"),
            (of(2, 1, 2), of(1, 1, 3), false, "both have less"),
            (of(0, 1, 0), of(0, 1, 0), false, "nothing"),
        ];
        for (own, other, owed, why) in cases {
            assert_eq!(own.owes(&other, false), owed, "{why}: {own:?}, {other:?}");
        }
        assert!(of(1, 9, 9).owes(&of(0, 1, 0), true), "its turn is over");
        assert!(!of(2, 9, 9).owes(&of(1, 1, 0), true), "turns are for who has nothing");
        assert!(!of(1, 1, 0).owes(&failing(0), true), "nor for who could do nothing with it");
        assert!(
            of(2, 1, 0).owes(&failing(0), true) && failing(1).owes(&of(0, 1, 0), true),
            "all else is as it was"
        );
    }

    #[test]
    fn the_neediest() {
        let sound = [of(0, 1, 0), of(2, 1, 3), of(1, 2, 0), of(1, 1, 0), of(3, 2, 0), of(2, 1, 0)];
        let ordered = [&sound[..], &[failing(0), failing(1)]].concat();
        for (at, one) in ordered.iter().enumerate() {
            for other in &ordered[at + 1..] {
                assert_eq!((one.by_need(other), other.by_need(one)), (Order::Less, Order::Greater));
            }
        }
    }

    #[test]
    fn what_is_too_many() {
        let cases = [
            (of(6, 1, 0), 4, vec![of(0, 1, 0)], true, "the only one that has any"),
            (of(6, 1, 0), 1, vec![of(6, 1, 0)], true, "either"),
            (of(5, 1, 0), 1, vec![of(6, 1, 0)], false, "the other has one more"),
            (of(5, 1, 0), 2, vec![of(6, 1, 0)], true, "the second is from either"),
            (of(1, 1, 0), 15, vec![of(19, 1, 0)], false, "a quarter of twenty"),
            (of(1, 1, 0), 19, vec![of(19, 1, 0)], true, "one of twenty"),
            (of(6, 3, 0), 2, vec![of(3, 1, 0)], true, "twice its weight, and more than once that"),
            (of(6, 3, 0), 1, vec![of(3, 1, 0)], false, "two each, but for one"),
            (of(4, 1, 4), 3, vec![of(3, 1, 0)], false, "guaranteed"),
            (of(4, 1, 4), 4, vec![of(3, 1, 0)], true, "no longer"),
            (of(3, 1, 0), 1, vec![of(9, 1, 9)], true, "what the other has is guaranteed"),
            (of(0, 1, 0), 9, vec![of(1, 1, 0)], false, "nothing"),
        ];
        for (own, surplus, others, goes, why) in cases {
            assert_eq!(own.has_one_of(surplus, others.into_iter().chain([own])), goes, "{why}: {own:?}");
        }
    }

    proptest! {
        /// Whoever's server comes back first: what is too many goes, and leaves even shares.
        #[test]
        fn what_is_too_many_goes_evenly(
            held in prop::collection::vec((0usize..20, 1u32..4, 0usize..4), 1..6), kept in 0usize..30, turns in any::<u64>()
        ) {
            let mut pools: Vec<_> = held.iter().map(|(held, weight, due)| of(*held, *weight, *due)).collect();
            let before = pools.clone();
            let total = |pools: &[Standing]| pools.iter().map(|pool| pool.held).sum::<usize>();
            let mut turn = turns as usize;
            while total(&pools) > kept {
                let surplus = total(&pools) - kept;
                let goes: Vec<_> = (0..pools.len())
                    .filter(|at| pools[*at].has_one_of(surplus, pools.iter().copied())).collect();
                prop_assert!(!goes.is_empty(), "{pools:?}");
                turn = turn.wrapping_mul(31).wrapping_add(7);
                pools[goes[turn % goes.len()]].held -= 1;
            }
            prop_assert_eq!(total(&pools), kept.min(total(&before)));
            for (one, had) in pools.iter().zip(&before).filter(|(one, had)| one.held < had.held) {
                for other in pools.iter().filter(|other| other.held > other.guaranteed) {
                    prop_assert!(one.held + 1 > one.guaranteed, "{pools:?} of {before:?}");
                    let (lost, kept) = ((one.held + 1) as u64 * u64::from(other.weight), other.held as u64 * u64::from(one.weight));
                    prop_assert!(lost >= kept, "{one:?}, which had {had:?}, beside {other:?}");
                }
            }
        }

        /// Pools that want all they can get come to rest, within one place of what their weights are due, whoever had the
        /// places at first.
        #[test]
        fn places_come_to_rest_by_weight(weights in prop::collection::vec(1u32..8, 2..6), places in 10usize..60) {
            let mut pools: Vec<_> = weights.iter().map(|weight| of(0, *weight, 0)).collect();
            pools[0].held = places;
            let mut moves = 0;
            loop {
                let neediest = (0..pools.len()).min_by(|a, b| pools[*a].by_need(&pools[*b])).unwrap();
                let owing = (0..pools.len()).find(|at| *at != neediest && pools[*at].owes(&pools[neediest], false));
                let Some(owing) = owing else { break };
                pools[owing].held -= 1;
                pools[neediest].held += 1;
                moves += 1;
                prop_assert!(moves <= places * pools.len(), "{pools:?}");
            }
            let total: u32 = weights.iter().sum();
            for pool in &pools {
                let due = places as f64 * f64::from(pool.weight) / f64::from(total);
                let most = f64::from(*weights.iter().max().unwrap());
                prop_assert!((pool.held as f64 - due).abs() <= 1.0 + most, "{due} {pools:?}");
                prop_assert!(pool.held > 0 || places < pools.len() * 8, "{pools:?}");
            }
        }
    }
}
