//! The statement names one client has, as PostgreSQL would keep them for its session.

use super::registry::Statement;
use std::sync::Arc;

/// Names to statements, sorted by name: few for most clients, and small while idle.
#[derive(Debug, Default)]
pub struct ClientNames {
    named: Vec<(Box<[u8]>, Arc<Statement>)>,
    aliased: bool,
}

impl ClientNames {
    /// The statement of a name.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.position(name).ok().map(|i| &self.named[i].1)
    }

    /// Gives a name a statement and returns the one it had.
    pub fn insert(&mut self, name: &[u8], statement: Arc<Statement>) -> Option<Arc<Statement>> {
        match self.position(name) {
            Ok(i) => Some(std::mem::replace(&mut self.named[i].1, statement)),
            Err(i) => {
                self.aliased |= self.named.iter().any(|(_, s)| Arc::ptr_eq(s, &statement));
                if self.named.len() == self.named.capacity() {
                    let more = (self.named.len() / 2).max(1);
                    self.named.reserve_exact(more);
                }
                self.named.insert(i, (name.into(), statement));
                None
            }
        }
    }

    /// Takes a name away.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<Statement>> {
        self.position(name).ok().map(|i| self.named.remove(i).1)
    }

    /// Forgets all names but those `keep` is true for.
    pub fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        self.named.retain(|(name, _)| keep(name));
        self.named.shrink_to_fit();
    }

    /// Whether two names may have had one statement, so that a statement doesn't tell its name.
    #[inline]
    pub fn is_aliased(&self) -> bool {
        self.aliased
    }

    /// The name the client gave the statement that servers know by `server_name`.
    pub fn by_server_name(&self, server_name: &[u8]) -> Option<&[u8]> {
        self.named.iter().find(|(_, s)| s.server_name() == server_name).map(|(name, _)| &**name)
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    #[inline]
    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.named.binary_search_by(|(n, _)| (**n).cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::Registry;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn behaves_like_a_map(ops in prop::collection::vec((0u8..3, "[ab]{0,3}", "[xy]{1,2}"), 0..40)) {
            let registry = Registry::default();
            let (mut names, mut model) = (ClientNames::default(), BTreeMap::new());
            for (op, name, text) in ops {
                let name = name.as_bytes();
                match op {
                    0 => {
                        let s = registry.intern(b"", text.as_bytes(), || false);
                        let old = names.insert(name, Arc::clone(&s)).map(|s| s.id());
                        prop_assert_eq!(old, model.insert(name.to_vec(), s.id()));
                    }
                    1 => prop_assert_eq!(names.remove(name).map(|s| s.id()), model.remove(name)),
                    _ => prop_assert_eq!(names.find(name).map(|s| s.id()), model.get(name).copied()),
                }
                prop_assert_eq!(names.len(), model.len());
            }
        }
    }
}
