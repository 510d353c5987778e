//! Sets of statement names, shared: drivers number their statements, so most clients of an application come to have the
//! same names for the same statements, and a client that is idle need not keep them for itself.

use super::registry::Statement;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Weak};

/// The most names in a shared set. Each further name makes a set anew; a client with more has its own.
const SHARED_MOST: usize = 64;

const PURGE_FROM: usize = 1024;

/// A name and its statement.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) name: Box<[u8]>,
    pub(super) statement: Arc<Statement>,
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.statement, &other.statement) && self.name == other.name
    }
}

/// Pairs sorted by name: few for most clients.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) pairs: Vec<Pair>,
    /// Whether two names may have one statement.
    pub(super) aliased: bool,
    /// The sum of the pairs' hashes, if the set may be shared.
    pub(super) shared: Option<u64>,
}

impl Names {
    #[inline]
    pub(super) fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.pairs.binary_search_by(|pair| (*pair.name).cmp(name))
    }

    pub(super) fn has(&self, statement: &Arc<Statement>) -> bool {
        self.pairs.iter().any(|pair| Arc::ptr_eq(&pair.statement, statement))
    }
}

/// All shared sets some client has.
#[derive(Debug)]
pub struct NameSets {
    known: Mutex<Known>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Known {
    sets: HashMap<u64, Weak<Names>>,
    purge_at: usize,
}

impl Default for NameSets {
    fn default() -> Self {
        let known = Known { sets: HashMap::new(), purge_at: PURGE_FROM };
        Self { known: Mutex::new(known), hasher: RandomState::new() }
    }
}

impl NameSets {
    /// `names` with one name added or given another statement; `None` if that can't be shared.
    pub(super) fn with(&self, names: &Names, name: &[u8], statement: &Arc<Statement>) -> Option<Arc<Names>> {
        if names.pairs.len() >= SHARED_MOST || (names.shared.is_none() && !names.pairs.is_empty()) {
            return None;
        }
        let hash = |name: &[u8], statement: &Statement| self.hasher.hash_one((name, statement.id()));
        let mut sum = names.shared.unwrap_or_default().wrapping_add(hash(name, statement));
        let (before, after) = match names.position(name) {
            Ok(i) => {
                sum = sum.wrapping_sub(hash(name, &names.pairs[i].statement));
                (&names.pairs[..i], &names.pairs[i + 1..])
            }
            Err(i) => names.pairs.split_at(i),
        };
        let mut known = self.known.lock();
        if let Some(set) = known.sets.get(&sum).and_then(Weak::upgrade) {
            let same = set.pairs.len() == before.len() + 1 + after.len()
                && *set.pairs[before.len()].name == *name
                && Arc::ptr_eq(&set.pairs[before.len()].statement, statement)
                && set.pairs[..before.len()] == *before
                && set.pairs[before.len() + 1..] == *after;
            return same.then_some(set);
        }
        if known.sets.len() >= known.purge_at {
            known.sets.retain(|_, set| set.strong_count() > 0);
            known.purge_at = (known.sets.len() * 2).max(PURGE_FROM);
        }
        let pair = Pair { name: name.into(), statement: Arc::clone(statement) };
        let set = Arc::new(Names {
            pairs: before.iter().cloned().chain([pair]).chain(after.iter().cloned()).collect(),
            aliased: names.aliased || names.has(statement),
            shared: Some(sum),
        });
        known.sets.insert(sum, Arc::downgrade(&set));
        Some(set)
    }
}

#[cfg(test)]
mod tests {
    use super::super::client_names::ClientNames;
    use super::super::registry::Registry;
    use super::*;

    #[test]
    fn large_sets_are_not_shared_and_forgotten_ones_are_purged() {
        let (registry, sets) = (Registry::default(), NameSets::default());
        let statement =
            registry.intern(&Default::default(), b"", b"x", || crate::params::traces::Traces::NONE);
        let mut many = ClientNames::default();
        for i in 0..2 * SHARED_MOST {
            many.share(i.to_string().as_bytes(), Arc::clone(&statement), &sets);
        }
        assert_eq!((many.len(), sets.known.lock().sets.len()), (2 * SHARED_MOST, SHARED_MOST));
        for i in 0..10 * PURGE_FROM {
            ClientNames::default().share(i.to_string().as_bytes(), Arc::clone(&statement), &sets);
        }
        assert!(sets.known.lock().sets.len() <= PURGE_FROM);
    }
}
