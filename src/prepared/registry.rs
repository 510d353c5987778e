//! Statements by definition: text and parameter types. Process-wide; an id is never used twice.

use super::name_sets::NameSets;
use super::shape::{Scope, Shape};
use crate::params::traces::{self, Traces};
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// Prefix of every statement name pgweir gives PostgreSQL.
pub const PREFIX: &str = "pgweir_";

/// A name of [`PREFIX`] that is never given to a statement.
pub const NOBODYS: &[u8] = b"pgweir_0";

/// A name under which a server gets an empty statement, so that another of that name is refused.
pub const TAKEN: &[u8] = b"pgweir_18446744073709551615";

/// Identifies a definition for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatementId(u64);

/// A definition shared by every client of a pool that prepared it under the same parse context (the values of the session
/// parameters that parsing depends on: PostgreSQL folds literals and resolves names at Parse).
#[derive(Debug)]
pub struct Statement {
    id: StatementId,
    server_name: Box<str>,
    definition: Box<[u8]>,
    /// `None`: nobody knows it, and only one client has the statement.
    context: Option<Box<[u8]>>,
    traces: Traces,
    scope: Arc<Scope>,
    /// Changes in the scope when it was made.
    changes: u64,
    /// What the first server that was asked made of it; no other may make anything else.
    shape: OnceLock<Shape>,
    /// Whether it came in place of one that was made in another context, whose shape it has to have.
    inherited: bool,
    /// In whose place it came where the context wasn't known.
    origin: Option<Arc<Self>>,
    stale: AtomicBool,
}

impl Statement {
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

    /// The same for who goes by the types its parameters were found to have.
    pub fn fixed(&self) -> Cow<'_, [u8]> {
        match self.shape.get() {
            Some(shape) => Cow::Owned(shape.fix(&self.definition)),
            None => Cow::Borrowed(&self.definition),
        }
    }

    /// Whether it is known what it takes and gives.
    pub fn is_known(&self) -> bool {
        self.shape.get().is_some()
    }

    /// Whether PostgreSQL looks again at what its names stand for when it is executed: it is no utility command.
    pub fn is_analyzed(&self) -> bool {
        let text = traces::behind_blank(&self.definition);
        let word = text.split(|b| !b.is_ascii_alphabetic()).next().unwrap_or_default();
        let kinds = [&b"select"[..], b"insert", b"update", b"delete", b"with", b"values", b"table", b"merge"];
        text.first() == Some(&b'(') || kinds.iter().any(|kind| kind.eq_ignore_ascii_case(word))
    }

    /// A server says what it has made of it. Whether that is what others have; if not, it is stale.
    pub fn learn(&self, shape: Shape) -> bool {
        let same = *self.shape.get_or_init(|| shape.clone()) == shape;
        if !same {
            self.set_stale();
        }
        same
    }

    /// Whether another shape than it should have tells of nothing but another context.
    pub fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// Whether it was made in this context. One of an unknown context never was.
    pub fn is_of(&self, context: &[u8]) -> bool {
        self.context.as_deref() == Some(context)
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

    /// Whether its result type may have changed since it was made, or is known to have.
    #[inline]
    pub fn is_outdated(&self) -> bool {
        self.changes != self.scope.changes() || self.is_stale()
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
        Self { names: NameSets::default(), known: Mutex::new(known) }
    }
}

impl Known {
    fn make(&mut self, of: Recipe<'_>, shape: Option<&Shape>) -> Arc<Statement> {
        self.last_id += 1;
        let (id, changes) = (self.last_id, of.changes.unwrap_or_else(|| of.scope.changes()));
        Arc::new(Statement {
            id: StatementId(id),
            server_name: format!("{PREFIX}{id}").into_boxed_str(),
            definition: of.definition.into(),
            context: of.context.map(Box::from),
            traces: of.traces,
            scope: Arc::clone(of.scope),
            changes,
            shape: shape.cloned().map_or_else(OnceLock::new, OnceLock::from),
            inherited: shape.is_some(),
            origin: of.origin.cloned(),
            stale: AtomicBool::new(false),
        })
    }

    fn find(&self, key: &[u8]) -> Option<Arc<Statement>> {
        self.statements.get(key).and_then(Weak::upgrade)
    }

    fn remember(&mut self, key: Vec<u8>, statement: &Arc<Statement>) {
        if self.statements.len() >= self.purge_at {
            self.statements.retain(|_, s| s.strong_count() > 0);
            self.purge_at = (self.statements.len() * 2).max(PURGE_FROM);
        }
        self.statements.insert(key.into(), Arc::downgrade(statement));
    }
}

/// What a statement is made of. `changes`: those its client knew of, if not of all.
#[derive(Clone, Copy)]
struct Recipe<'a> {
    origin: Option<&'a Arc<Statement>>,
    scope: &'a Arc<Scope>,
    context: Option<&'a [u8]>,
    definition: &'a [u8],
    traces: Traces,
    changes: Option<u64>,
}

fn key(scope: &Scope, context: &[u8], definition: &[u8]) -> Vec<u8> {
    [definition, context, &scope.id().to_be_bytes()].concat()
}

impl Registry {
    /// The statement of this definition in this parse context of a pool; `traces` is asked when it is new.
    pub fn intern(
        &self,
        scope: &Arc<Scope>,
        context: &[u8],
        definition: &[u8],
        traces: impl FnOnce() -> Traces,
    ) -> Arc<Statement> {
        let key = key(scope, context, definition);
        let mut known = self.known.lock();
        if let Some(statement) = known.find(&key)
            && !statement.is_outdated()
        {
            return statement;
        }
        let context = Some(context);
        let recipe = Recipe { origin: None, scope, context, definition, traces: traces(), changes: None };
        let statement = known.make(recipe, None);
        known.remember(key, &statement);
        statement
    }

    /// What takes the place of an outdated statement: the same definition, to be parsed anew wherever it is used.
    pub fn renew(&self, stale: &Statement) -> Arc<Statement> {
        match &stale.context {
            Some(context) => self.intern(&stale.scope, context, &stale.definition, || stale.traces),
            None => self.unshared(&stale.scope, &stale.definition, stale.traces),
        }
    }

    /// A statement of this definition that nobody else gets: it isn't known in which parse context it is parsed.
    #[cold]
    pub fn unshared(&self, scope: &Arc<Scope>, definition: &[u8], traces: Traces) -> Arc<Statement> {
        let recipe = Recipe { origin: None, scope, context: None, definition, traces, changes: None };
        self.known.lock().make(recipe, None)
    }

    /// What takes the place of a statement where it has to be parsed in this parse context; `None`: in one that isn't known. For a
    /// client that goes by what it was told before it takes and gives the same, or it is stale: PostgreSQL would look again at what
    /// its names stand for, and find that.
    #[cold]
    pub fn suited(&self, statement: &Arc<Statement>, context: Option<&[u8]>, told: bool) -> Arc<Statement> {
        let (own, shape) = (statement.context.as_deref(), statement.shape.get().filter(|_| !told));
        if let (Some(origin), Some(_)) = (&statement.origin, context) {
            return self.suited(origin, context, told);
        }
        if own.is_none() || own == context {
            return Arc::clone(statement);
        }
        let Statement { definition, scope, traces, .. } = &**statement;
        let (traces, changes) = (*traces, Some(statement.changes));
        let origin = context.is_none().then_some(statement);
        let recipe = Recipe { origin, scope, context, definition, traces, changes };
        let (Some(context), Some(shape)) = (context, shape) else {
            return match context {
                Some(context) => self.intern(scope, context, definition, || traces),
                None => self.known.lock().make(recipe, shape),
            };
        };
        let key = key(scope, context, definition);
        let mut known = self.known.lock();
        let same = |found: &Arc<Statement>| found.shape.get() == Some(shape);
        if let Some(found) = known.find(&key).filter(|found| same(found) && !found.is_stale()) {
            return found;
        }
        let mut hasher = DefaultHasher::new();
        shape.hash(&mut hasher);
        let key = [&*key, b"\0of", &hasher.finish().to_be_bytes()].concat();
        let moot = |found: &Arc<Statement>| found.is_stale() && found.changes != scope.changes();
        if let Some(found) = known.find(&key).filter(|found| same(found) && !moot(found)) {
            return found;
        }
        let made = known.make(recipe, Some(shape));
        known.remember(key, &made);
        made
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

    /// A pool's, of a database nothing else is seen to change.
    fn scope() -> Arc<Scope> {
        Arc::default()
    }

    #[test]
    fn equal_definitions_share_until_nobody_holds_them() {
        let (registry, scope) = (Registry::default(), scope());
        let intern = |context: &[u8], definition: &[u8], traces| {
            registry.intern(&scope, context, definition, || traces)
        };
        let a = intern(b"", b"SELECT 1\0\0\0", Traces::NONE);
        let b = registry.intern(&scope, b"", b"SELECT 1\0\0\0", || unreachable!("known already"));
        let c = intern(b"", b"SELECT 1\0\0\x01\0\0\0\x17", Traces::ALL);
        assert!(Arc::ptr_eq(&a, &b) && a.id() != c.id() && !c.traces().is_empty());
        assert_eq!(a.server_name(), format!("pgweir_{}", a.id().0).as_bytes());
        let elsewhere = intern(b"timezone=UTC", b"SELECT 1\0\0\0", Traces::NONE);
        assert_ne!(elsewhere.id(), a.id());
        let c_again = intern(b"", b"SELECT 1\0\0\x01\0\0\0\x17", Traces::NONE);
        c.set_stale();
        let renewed = registry.renew(&c_again);
        assert!(Arc::ptr_eq(&c, &c_again) && renewed.id() != c.id() && !renewed.traces().is_empty());
        assert!(Arc::ptr_eq(&renewed, &registry.renew(&c)));
        let suited = |statement, context| registry.suited(statement, context, false);
        assert!(Arc::ptr_eq(&suited(&a, Some(b"timezone=UTC")), &elsewhere));
        assert!(Arc::ptr_eq(&suited(&a, Some(b"")), &a));
        let own = suited(&a, None);
        assert!(own.id() != a.id() && Arc::ptr_eq(&suited(&own, Some(b"")), &a));
        assert!(!Arc::ptr_eq(&suited(&a, None), &own) && registry.renew(&own).id() != own.id());
        scope.reshaped();
        let reshaped = intern(b"", b"SELECT 1\0\0\0", Traces::NONE);
        assert!(reshaped.id() != a.id() && a.is_outdated() && !reshaped.is_outdated());
        assert!(Arc::ptr_eq(&registry.renew(&a), &reshaped) && !a.is_stale());
        let old = reshaped.id();
        drop((a, b, reshaped));
        assert_ne!(intern(b"", b"SELECT 1\0\0\0", Traces::NONE).id(), old);
    }

    #[test]
    fn pools_share_nothing_that_servers_make() {
        let registry = Registry::default();
        let changes = Arc::<std::sync::atomic::AtomicU64>::default();
        let [one, two] = [1, 2].map(|id| Arc::new(Scope::new(id, Arc::clone(&changes))));
        let [a, b] =
            [&one, &two].map(|scope| registry.intern(scope, b"", b"SELECT 1\0\0\0", || Traces::NONE));
        assert_ne!(a.id(), b.id());
        one.reshaped();
        assert!(b.is_outdated(), "their database is the same");
    }

    /// In another context a statement has to take and give what its client was told, as PostgreSQL has it.
    #[test]
    fn a_statement_keeps_its_shape_over_contexts() {
        let (registry, scope) = (Registry::default(), scope());
        let shape =
            |columns: &'static [u8]| Shape::new(Box::from(&b"\0\0"[..]), Some((columns, columns.len())));
        let intern = |context: &[u8]| registry.intern(&scope, context, b"SELECT v\0\0\0", || Traces::NONE);
        let (here, there) = (intern(b"one"), intern(b"two"));
        assert!(here.learn(shape(b"int")) && here.learn(shape(b"int")) && there.learn(shape(b"text")));
        let suited = registry.suited(&here, Some(b"two"), false);
        assert!(suited.id() != there.id() && suited.is_inherited() && suited.is_known());
        assert!(Arc::ptr_eq(&suited, &registry.suited(&here, Some(b"two"), false)));
        assert!(Arc::ptr_eq(&there, &registry.suited(&here, Some(b"two"), true)), "it will be told");
        assert!(!suited.learn(shape(b"text")) && suited.is_stale() && !here.is_stale() && !there.is_stale());
        assert!(Arc::ptr_eq(&here, &registry.suited(&suited, Some(b"one"), false)), "it goes back");
        assert!(suited.is_of(b"two") && !registry.suited(&here, None, false).is_of(b"two"));
        let somewhere = registry.suited(&here, None, false);
        assert!(!somewhere.learn(shape(b"text")) && somewhere.is_stale(), "where is unknown");
        assert!(Arc::ptr_eq(&here, &registry.suited(&somewhere, Some(b"one"), false)), "out of there again");
        assert!(!here.learn(shape(b"text")) && here.is_outdated());
    }

    #[test]
    fn utility_commands_are_never_analyzed_again() {
        let (registry, scope) = (Registry::default(), scope());
        for (text, analyzed) in [
            ("SELECT 1", true),
            (" /* x */ with a as (select 1) table a", true),
            ("(VALUES (1))", true),
            ("FETCH 1 FROM c", false),
            ("SHOW work_mem", false),
            ("", false),
        ] {
            let definition = [text.as_bytes(), b"\0\0\0"].concat();
            let statement = registry.intern(&scope, b"", &definition, || Traces::NONE);
            assert_eq!(statement.is_analyzed(), analyzed, "{text}");
        }
    }

    #[test]
    fn forgotten_definitions_are_purged() {
        let (registry, scope) = (Registry::default(), scope());
        for i in 0..10 * PURGE_FROM {
            registry.intern(&scope, b"", i.to_string().as_bytes(), || Traces::NONE);
        }
        assert!(registry.len() <= PURGE_FROM);
    }
}
