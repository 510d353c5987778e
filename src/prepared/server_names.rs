//! The statements one server has been given, least recently used first out.

use super::registry::{Statement, StatementId};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Most statements that are looked at for one that may go: where none of the oldest may, requests under way will be answered first.
const LOOKS: usize = 16;

/// What PostgreSQL's side of one connection has prepared under pgweir's names.
#[derive(Debug)]
pub struct ServerNames {
    known: LruCache<StatementId, Arc<Statement>>,
    /// The one used last, if it is still there: it needs no look-up.
    newest: Option<StatementId>,
    limit: NonZeroUsize,
}

impl ServerNames {
    /// Keeps at most `limit` statements (`max_prepared_statements`).
    pub fn new(limit: NonZeroUsize) -> Self {
        Self { known: LruCache::unbounded(), newest: None, limit }
    }

    /// Whether the server has the statement; counts as a use.
    #[inline]
    pub fn touch(&mut self, id: StatementId) -> bool {
        self.newest == Some(id) || self.find(id)
    }

    fn find(&mut self, id: StatementId) -> bool {
        let found = self.known.get(&id).is_some();
        if found {
            self.newest = Some(id);
        }
        found
    }

    /// The statement, if the server has it; doesn't count as a use.
    pub fn peek(&self, id: StatementId) -> Option<&Arc<Statement>> {
        self.known.peek(&id)
    }

    /// The server is being given the statement.
    pub fn insert(&mut self, statement: Arc<Statement>) {
        self.newest = Some(statement.id());
        self.known.put(statement.id(), statement);
    }

    /// Takes out one of the least recently used statements, if one of them may go, never the one used last, while more than the
    /// limit are there.
    #[inline]
    pub fn evict(&mut self, may_go: impl Fn(&Statement) -> bool) -> Option<Arc<Statement>> {
        if self.known.len() <= self.limit.get() {
            return None;
        }
        self.evict_oldest(may_go)
    }

    #[cold]
    fn evict_oldest(&mut self, may_go: impl Fn(&Statement) -> bool) -> Option<Arc<Statement>> {
        let older = (self.known.len() - 1).min(LOOKS);
        let id = self.known.iter().rev().take(older).find(|(_, s)| may_go(s)).map(|(id, _)| *id)?;
        self.known.pop(&id)
    }

    /// Takes out all statements.
    pub fn take_all(&mut self) -> Vec<Arc<Statement>> {
        self.newest = None;
        std::iter::from_fn(|| self.known.pop_lru()).map(|(_, statement)| statement).collect()
    }

    /// The server no longer has the statement.
    pub fn remove(&mut self, id: StatementId) {
        self.forget_newest(id);
        self.known.pop(&id);
    }

    /// The server has none any more but those `keep` is true for.
    pub fn retain(&mut self, keep: impl Fn(StatementId) -> bool) {
        drop(self.lost(|statement| keep(statement.id())));
    }

    /// Takes out those `has` is false for: the server has them no more.
    pub fn lost(&mut self, has: impl Fn(&Statement) -> bool) -> Vec<Arc<Statement>> {
        let lost: Vec<_> = self.known.iter().filter(|(_, s)| !has(s)).map(|(_, s)| Arc::clone(s)).collect();
        lost.iter().for_each(|statement| self.remove(statement.id()));
        lost
    }

    fn forget_newest(&mut self, gone: StatementId) {
        self.newest = self.newest.filter(|id| *id != gone);
    }

    /// The server has none any more.
    pub fn clear(&mut self) {
        self.newest = None;
        self.known.clear();
    }

    /// Number of statements.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::Registry;
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let registry = Registry::default();
        let s: Vec<_> = ["a", "b", "c"]
            .map(|t| {
                registry
                    .intern(&Default::default(), b"", t.as_bytes(), || crate::params::traces::Traces::NONE)
            })
            .into();
        let mut names = ServerNames::new(NonZeroUsize::new(2).unwrap());
        names.insert(Arc::clone(&s[0]));
        names.insert(Arc::clone(&s[1]));
        assert!(names.evict(|_| true).is_none() && names.touch(s[0].id()));
        names.insert(Arc::clone(&s[2]));
        assert!(names.evict(|_| false).is_none());
        assert_eq!(names.evict(|_| true).map(|s| s.id()), Some(s[1].id()));
        assert!(names.evict(|_| true).is_none() && !names.touch(s[1].id()) && names.touch(s[0].id()));
    }
}
