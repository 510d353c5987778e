//! Statements by definition: text and parameter types. Process-wide; an id is never used twice.

use super::name_sets::NameSets;
use crate::params::traces::Traces;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Prefix of every statement name pgweir gives PostgreSQL.
pub const PREFIX: &str = "pgweir_";

/// A name of [`PREFIX`] that is never given to a statement.
pub const NOBODYS: &[u8] = b"pgweir_0";

/// Identifies a definition for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatementId(u64);

/// A definition shared by every client that prepared it under the same parse context (the values of the session
/// parameters that parsing depends on: PostgreSQL folds literals and resolves names at Parse).
#[derive(Debug)]
pub struct Statement {
    id: StatementId,
    server_name: Box<str>,
    definition: Box<[u8]>,
    /// `None`: nobody knows it, and only one client has the statement.
    context: Option<Box<[u8]>>,
    traces: Traces,
    /// Of the registry when it was made.
    shape: u64,
    stale: AtomicBool,
}

impl Statement {
    fn new(id: u64, context: Option<&[u8]>, definition: &[u8], traces: Traces, shape: u64) -> Self {
        Self {
            id: StatementId(id),
            server_name: format!("{PREFIX}{id}").into_boxed_str(),
            definition: definition.into(),
            context: context.map(Box::from),
            traces,
            shape,
            stale: AtomicBool::new(false),
        }
    }

    /// Its id.
    pub fn id(&self) -> StatementId {
        self.id
    }

    /// Its name on servers, [`PREFIX`] and the id.
    pub fn server_name(&self) -> &[u8] {
        self.server_name.as_bytes()
    }

    /// The body of its Parse behind the name: text, zero byte, parameter types.
    pub fn definition(&self) -> &[u8] {
        &self.definition
    }

    /// PostgreSQL has said that its result type has changed: servers that have it can only fail.
    pub fn set_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    /// Whether PostgreSQL has said that its result type has changed.
    #[inline]
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// What executing it may leave behind that its command tag doesn't show.
    pub fn traces(&self) -> Traces {
        self.traces
    }
}

/// All definitions some client holds.
#[derive(Debug)]
pub struct Registry {
    /// The names clients have for them.
    pub names: NameSets,
    known: Mutex<Known>,
    /// How often tables and what else statements depend on have changed, as far as that was seen.
    shape: AtomicU64,
}

#[derive(Debug)]
struct Known {
    statements: HashMap<Box<[u8]>, Weak<Statement>>,
    last_id: u64,
    purge_at: usize,
}

const PURGE_FROM: usize = 1024;

impl Default for Registry {
    fn default() -> Self {
        let known = Known { statements: HashMap::new(), last_id: 0, purge_at: PURGE_FROM };
        Self { names: NameSets::default(), known: Mutex::new(known), shape: AtomicU64::new(0) }
    }
}

impl Registry {
    /// The statement of this definition in this parse context; `traces` is asked when it is new.
    pub fn intern(
        &self,
        context: &[u8],
        definition: &[u8],
        traces: impl FnOnce() -> Traces,
    ) -> Arc<Statement> {
        let key = if context.is_empty() {
            Cow::Borrowed(definition)
        } else {
            Cow::Owned([definition, context].concat())
        };
        let mut known = self.known.lock();
        if let Some(statement) = known.statements.get(&*key).and_then(Weak::upgrade)
            && !self.is_outdated(&statement)
        {
            return statement;
        }
        if known.statements.len() >= known.purge_at {
            known.statements.retain(|_, s| s.strong_count() > 0);
            known.purge_at = (known.statements.len() * 2).max(PURGE_FROM);
        }
        known.last_id += 1;
        let id = known.last_id;
        let statement = Arc::new(Statement::new(id, Some(context), definition, traces(), self.shape()));
        known.statements.insert(key.into(), Arc::downgrade(&statement));
        statement
    }

    fn shape(&self) -> u64 {
        self.shape.load(Ordering::Relaxed)
    }

    /// Tables, or what else statements depend on, may have changed: whoever parses a statement from now on gets a new one, as
    /// from PostgreSQL, and not one that servers made before.
    pub fn reshaped(&self) {
        self.shape.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the statement's result type may have changed since it was made, or is known to have.
    #[inline]
    pub fn is_outdated(&self, statement: &Statement) -> bool {
        statement.shape != self.shape() || statement.is_stale()
    }

    /// What takes the place of an outdated statement: the same definition, to be parsed anew wherever it is used.
    pub fn renew(&self, stale: &Statement) -> Arc<Statement> {
        match &stale.context {
            Some(context) => self.intern(context, &stale.definition, || stale.traces),
            None => self.unshared(&stale.definition, stale.traces),
        }
    }

    /// A statement of this definition that nobody else gets: it isn't known in which parse context it is parsed.
    #[cold]
    pub fn unshared(&self, definition: &[u8], traces: Traces) -> Arc<Statement> {
        let mut known = self.known.lock();
        known.last_id += 1;
        Arc::new(Statement::new(known.last_id, None, definition, traces, self.shape()))
    }

    /// What takes the place of a statement where it has to be parsed in this parse context; `None`: in one that isn't known.
    #[cold]
    pub fn suited(&self, statement: &Arc<Statement>, context: Option<&[u8]>) -> Arc<Statement> {
        let (definition, traces) = (&statement.definition, statement.traces);
        match (&statement.context, context) {
            (None, _) => Arc::clone(statement),
            (Some(_), None) => self.unshared(definition, traces),
            (Some(own), Some(context)) if **own == *context => Arc::clone(statement),
            (Some(_), Some(context)) => self.intern(context, definition, || traces),
        }
    }

    /// Number of definitions remembered, those no client holds any more included until they are purged.
    pub fn len(&self) -> usize {
        self.known.lock().statements.len()
    }

    /// Number of definitions remembered, and the bytes they take.
    pub fn memory(&self) -> (usize, usize) {
        let known = self.known.lock();
        let each = size_of::<Statement>() + size_of::<(Box<[u8]>, Weak<Statement>)>() + 32;
        let texts: usize = known.statements.keys().map(|text| 2 * text.len()).sum();
        (known.statements.len(), texts + known.statements.capacity() * each)
    }

    /// Whether no definition is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_definitions_share_until_nobody_holds_them() {
        let registry = Registry::default();
        let a = registry.intern(b"", b"SELECT 1\0\0\0", || Traces::NONE);
        let b = registry.intern(b"", b"SELECT 1\0\0\0", || unreachable!("known already"));
        let c = registry.intern(b"", b"SELECT 1\0\0\x01\0\0\0\x17", || Traces::ALL);
        assert!(Arc::ptr_eq(&a, &b) && a.id() != c.id() && !c.traces().is_empty());
        assert_eq!(a.server_name(), format!("pgweir_{}", a.id().0).as_bytes());
        let elsewhere = registry.intern(b"timezone=UTC", b"SELECT 1\0\0\0", || Traces::NONE);
        assert_ne!(elsewhere.id(), a.id());
        let c_again = registry.intern(b"", b"SELECT 1\0\0\x01\0\0\0\x17", || Traces::NONE);
        c.set_stale();
        let renewed = registry.renew(&c_again);
        assert!(Arc::ptr_eq(&c, &c_again) && renewed.id() != c.id() && !renewed.traces().is_empty());
        assert!(Arc::ptr_eq(&renewed, &registry.renew(&c)));
        let suited = |statement, context| registry.suited(statement, context);
        assert!(Arc::ptr_eq(&suited(&a, Some(b"timezone=UTC")), &elsewhere));
        assert!(Arc::ptr_eq(&suited(&a, Some(b"")), &a));
        let own = suited(&a, None);
        assert!(own.id() != a.id() && Arc::ptr_eq(&suited(&own, Some(b"")), &own));
        assert!(!Arc::ptr_eq(&suited(&a, None), &own) && registry.renew(&own).id() != own.id());
        registry.reshaped();
        let reshaped = registry.intern(b"", b"SELECT 1\0\0\0", || Traces::NONE);
        assert!(reshaped.id() != a.id() && registry.is_outdated(&a) && !registry.is_outdated(&reshaped));
        assert!(Arc::ptr_eq(&registry.renew(&a), &reshaped) && !a.is_stale());
        let old = reshaped.id();
        drop((a, b, reshaped));
        assert_ne!(registry.intern(b"", b"SELECT 1\0\0\0", || Traces::NONE).id(), old);
    }

    #[test]
    fn forgotten_definitions_are_purged() {
        let registry = Registry::default();
        for i in 0..10 * PURGE_FROM {
            registry.intern(b"", i.to_string().as_bytes(), || Traces::NONE);
        }
        assert!(registry.len() <= PURGE_FROM);
    }
}
