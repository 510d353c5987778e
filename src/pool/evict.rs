//! Whose idle server makes room when a shared cap blocks a pool. Pure; it never looks at a pool, only at what is told.
use crate::clock::Instant;

/// The pool whose server has been idle longest, of those that have an idle one; the earlier named one if two are equal.
pub(super) fn choose<P>(candidates: impl IntoIterator<Item = (P, Option<Instant>)>) -> Option<P> {
    let idle = candidates.into_iter().filter_map(|(pool, since)| Some((pool, since?)));
    idle.min_by_key(|(_, since)| *since).map(|(pool, _)| pool)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_longest_idle_goes() {
        let start = Instant::now();
        let at = |seconds| Some(start + Duration::from_secs(seconds));
        assert_eq!(choose::<char>([]), None);
        assert_eq!(choose([('a', None), ('b', None)]), None);
        assert_eq!(choose([('a', None), ('b', at(9))]), Some('b'));
        assert_eq!(choose([('a', at(3)), ('b', at(2)), ('c', at(4))]), Some('b'));
        assert_eq!(choose([('a', at(2)), ('b', at(2))]), Some('a'));
    }
}
