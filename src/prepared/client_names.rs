//! The statement names one client has, as PostgreSQL would keep them for its session.

use super::name_sets::{NameSets, Names, Pair};
use super::registry::Statement;
use std::sync::Arc;

/// Names to statements: one pointer, to a set that clients with the same names and statements share.
#[derive(Debug, Default, Clone)]
pub struct ClientNames(Option<Arc<Names>>);

impl ClientNames {
    /// The statement of a name.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        let names = self.0.as_deref()?;
        names.position(name).ok().map(|i| &names.pairs[i].statement)
    }

    /// Gives a name a statement, and the client the set of `sets` that is the same then.
    pub fn share(&mut self, name: &[u8], statement: Arc<Statement>, sets: &NameSets) {
        let nothing = Names::default();
        match sets.with(self.0.as_deref().unwrap_or(&nothing), name, &statement) {
            Some(names) => self.0 = Some(names),
            None => drop(self.insert(name, statement)),
        }
    }

    /// Gives a name a statement, in a set of the client's own, and returns the one it had.
    pub fn insert(&mut self, name: &[u8], statement: Arc<Statement>) -> Option<Arc<Statement>> {
        let names = self.own();
        names.aliased |= names.has(&statement);
        match names.position(name) {
            Ok(i) => Some(std::mem::replace(&mut names.pairs[i].statement, statement)),
            Err(i) => {
                if names.pairs.len() == names.pairs.capacity() {
                    let more = (names.pairs.len() / 2).max(1);
                    names.pairs.reserve_exact(more);
                }
                names.pairs.insert(i, Pair { name: name.into(), statement });
                None
            }
        }
    }

    /// Takes a name away.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<Statement>> {
        let names = self.0.as_deref()?;
        let position = names.position(name).ok()?;
        if names.pairs.len() > 1 {
            return Some(self.own().pairs.remove(position).statement);
        }
        let removed = Arc::clone(&names.pairs[position].statement);
        self.0 = None;
        Some(removed)
    }

    /// Forgets all names but those `keep` is true for.
    pub fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        if self.0.as_deref().is_none_or(|names| names.pairs.iter().all(|pair| !keep(&pair.name))) {
            self.0 = None;
            return;
        }
        let pairs = &mut self.own().pairs;
        pairs.retain(|pair| keep(&pair.name));
        pairs.shrink_to_fit();
    }

    /// Whether two names may have one statement, so that a statement doesn't tell its name.
    #[inline]
    pub fn is_aliased(&self) -> bool {
        self.0.as_deref().is_some_and(|names| names.aliased)
    }

    /// The name the client gave the statement that servers know by `server_name`.
    pub fn by_server_name(&self, server_name: &[u8]) -> Option<&[u8]> {
        let mut pairs = self.0.iter().flat_map(|names| &names.pairs);
        pairs.find(|pair| pair.statement.server_name() == server_name).map(|pair| &*pair.name)
    }

    /// All names and their statements.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Arc<Statement>)> {
        self.0.iter().flat_map(|names| &names.pairs).map(|pair| (&*pair.name, &pair.statement))
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.0.as_deref().map_or(0, |names| names.pairs.len())
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The client's own set, copied if it is shared.
    fn own(&mut self) -> &mut Names {
        let names = Arc::make_mut(self.0.get_or_insert_default());
        names.shared = None;
        names
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::Registry;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Two clients, so that one changes a set that the other has too.
        #[test]
        fn behaves_like_maps(ops in prop::collection::vec((0u8..5, 0usize..2, "[ab]{0,3}", "[xy]{1,2}"), 0..60)) {
            let (registry, sets) = (Registry::default(), NameSets::default());
            let mut clients = [(); 2].map(|()| (ClientNames::default(), BTreeMap::new()));
            for (op, who, name, text) in ops {
                let name = name.as_bytes();
                let (names, model) = &mut clients[who];
                let statement = registry.intern(&Default::default(), b"", text.as_bytes(), || crate::params::traces::Traces::NONE);
                match op {
                    0 => {
                        let id = statement.id();
                        let old = names.insert(name, statement).map(|s| s.id());
                        prop_assert_eq!(old, model.insert(name.to_vec(), id));
                    }
                    1 | 2 => {
                        model.insert(name.to_vec(), statement.id());
                        names.share(name, statement, &sets);
                    }
                    3 => prop_assert_eq!(names.remove(name).map(|s| s.id()), model.remove(name)),
                    _ => {
                        names.retain(|n| n < name);
                        model.retain(|n, _| &**n < name);
                    }
                }
                for (names, model) in &clients {
                    prop_assert_eq!(names.len(), model.len());
                    for (name, id) in model {
                        prop_assert_eq!(names.find(name).map(|s| s.id()), Some(*id));
                    }
                    let mut ids: Vec<_> = model.values().collect();
                    ids.sort();
                    ids.dedup();
                    prop_assert!(names.is_aliased() || ids.len() == model.len());
                }
            }
        }
    }

    #[test]
    fn clients_with_the_same_names_share_them() {
        let (registry, sets) = (Registry::default(), NameSets::default());
        let [x, y] = [b"x", b"y"].map(|text| {
            registry.intern(&Default::default(), b"", text, || crate::params::traces::Traces::NONE)
        });
        let (mut a, mut b) = (ClientNames::default(), ClientNames::default());
        a.share(b"S_1", Arc::clone(&x), &sets);
        a.share(b"S_2", Arc::clone(&y), &sets);
        b.share(b"S_2", Arc::clone(&y), &sets);
        b.share(b"S_1", Arc::clone(&x), &sets);
        assert!(is_one(&a, &b) && !a.is_aliased());
        a.remove(b"S_1");
        assert_eq!((a.len(), b.len()), (1, 2));
        a.share(b"S_1", Arc::clone(&x), &sets);
        assert!(!is_one(&a, &b));
        b.share(b"S_3", y, &sets);
        assert!(b.is_aliased());
        b.retain(|_| false);
        a.retain(|_| false);
        a.share(b"S_1", Arc::clone(&x), &sets);
        b.share(b"S_1", x, &sets);
        assert!(is_one(&a, &b));
    }

    fn is_one(a: &ClientNames, b: &ClientNames) -> bool {
        a.0.as_ref().zip(b.0.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b))
    }
}
