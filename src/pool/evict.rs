//! Whose idle server makes room when a shared cap blocks a pool. Pure; it never looks at a pool, only at what is told.
use crate::clock::Instant;

use super::share::{Standing, is_for_a_turn};

/// The longest-idle server of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    pub(super) since: Instant,
    pub(super) opened: Instant,
    /// Until then a client of its pool may well come back sooner than another could be opened.
    pub(super) spared_until: Instant,
    /// Of its pool.
    pub(super) standing: Standing,
}

impl Idle {
    /// Whether it may be closed for the neediest of those that starve.
    fn may_go(&self, neediest: &Standing, now: Instant) -> bool {
        now >= self.spared_until || self.standing.owes(neediest, is_for_a_turn(self.opened, now))
    }
}

/// What there is for a pool that starves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice<P> {
    /// This pool's longest-idle server.
    Close(P),
    /// None yet; look again then.
    Later(Instant),
    /// No server is idle.
    None,
}

/// The pool whose server has been idle longest, of those that have an idle one; the earlier named one if two are equal.
pub(super) fn longest<P>(candidates: impl IntoIterator<Item = (P, Idle)>) -> Option<P> {
    candidates.into_iter().min_by_key(|(_, idle)| idle.since).map(|(pool, _)| pool)
}

/// As [`longest`], but a server that was used just now goes only if its pool owes it: else pools that pause for an instant and
/// one that never does would have servers closed and opened for each other at every transaction.
pub(super) fn choose<P>(
    candidates: impl IntoIterator<Item = (P, Idle)>,
    neediest: &Standing,
    now: Instant,
) -> Choice<P> {
    let (mut chosen, mut later): (Option<(P, Instant)>, Option<Instant>) = (None, None);
    for (pool, idle) in candidates {
        if !idle.may_go(neediest, now) {
            later = later.into_iter().chain([idle.spared_until]).min();
        } else if chosen.as_ref().is_none_or(|(_, since)| idle.since < *since) {
            chosen = Some((pool, idle.since));
        }
    }
    match (chosen, later) {
        (Some((pool, _)), _) => Choice::Close(pool),
        (None, Some(at)) => Choice::Later(at),
        (None, None) => Choice::None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const fn has(held: usize) -> Standing {
        Standing { held, weight: 1, guaranteed: 0, failing: false }
    }

    #[test]
    fn who_goes() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        // Idle since then, of a pool that has so many, opened at the start; spared for 5 ms.
        let idle = |since, held| Idle {
            since: at(since),
            opened: start,
            spared_until: at(since + 5),
            standing: has(held),
        };
        let (three, one) = (|since| idle(since, 3), |since| idle(since, 1));
        let cases = [
            (vec![], 0, 90, Choice::None, "nobody is idle"),
            (vec![('a', one(10)), ('b', one(20))], 9, 90, Choice::Close('a'), "the longest idle"),
            (
                vec![('a', one(30)), ('b', one(20)), ('c', one(40))],
                9,
                90,
                Choice::Close('b'),
                "wherever it is",
            ),
            (vec![('a', one(20)), ('b', one(20))], 9, 90, Choice::Close('a'), "the first of equals"),
            (vec![('a', one(86)), ('b', one(87))], 2, 90, Choice::Later(at(91)), "both were used just now"),
            (vec![('a', one(87)), ('b', one(85))], 2, 90, Choice::Close('b'), "one of them no longer"),
            (vec![('a', one(89)), ('b', three(90))], 1, 90, Choice::Close('b'), "it has more than its share"),
            (vec![('a', three(90))], 2, 90, Choice::Later(at(95)), "no more even than before"),
            (vec![('a', one(90))], 0, 90, Choice::Later(at(95)), "its last, before its turn is over"),
            (vec![('a', one(100))], 0, 100, Choice::Close('a'), "its turn is over"),
            (vec![('a', one(100))], 1, 100, Choice::Later(at(105)), "turns are for who has nothing"),
        ];
        for (candidates, needs, now, choice, why) in cases {
            assert_eq!(choose(candidates, &has(needs), at(now)), choice, "{why}");
        }
        assert_eq!(longest([('a', one(90)), ('b', one(89))]), Some('b'), "spared or not");
    }
}
