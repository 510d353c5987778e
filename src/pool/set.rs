//! The pools and shared caps of the process, by name. Creates pools through a closure; knows nothing of settings files.
use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};

use super::{CapKind, CapName, CloseReason, Pool, PoolKey, Pooled, SharedCap};

/// All pools of the process.
pub struct PoolSet<S: Pooled> {
    pools: RwLock<HashMap<PoolKey, Arc<Pool<S>>>>,
    caps: Mutex<HashMap<CapName, Arc<SharedCap>>>,
    /// Held while pools are paused and resumed, so that a pool is paused exactly when this says so.
    pauses: Mutex<Pauses>,
}

/// Which databases' servers are not handed out.
#[derive(Debug, Default)]
struct Pauses {
    /// All databases, but for those named here.
    all: Option<HashSet<Box<str>>>,
    databases: HashSet<Box<str>>,
}

impl Pauses {
    fn has(&self, database: &str) -> bool {
        self.databases.contains(database)
            || self.all.as_ref().is_some_and(|excepted| !excepted.contains(database))
    }
}

impl<S: Pooled> Default for PoolSet<S> {
    fn default() -> Self {
        Self { pools: RwLock::default(), caps: Mutex::default(), pauses: Mutex::default() }
    }
}

impl<S: Pooled> PoolSet<S> {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The pool of that key, if it exists.
    pub fn find(&self, key: &PoolKey) -> Option<Arc<Pool<S>>> {
        self.pools.read().get(key).cloned()
    }

    /// The pool of that key, made by `make` if it doesn't exist. `make` may ask the set for caps, not for pools.
    pub fn obtain(&self, key: &PoolKey, make: impl FnOnce() -> Arc<Pool<S>>) -> Arc<Pool<S>> {
        if let Some(pool) = self.find(key) {
            return pool;
        }
        let pool = Arc::clone(self.pools.write().entry(key.clone()).or_insert_with(make));
        let pauses = self.pauses.lock();
        if pauses.has(&key.database) {
            pool.pause();
        }
        drop(pauses);
        pool
    }

    /// No server of this database, or of any, is handed out until [`Self::resume`]; see [`Pool::pause`].
    pub fn pause(&self, database: Option<&str>) {
        let mut pauses = self.pauses.lock();
        match database {
            Some(name) => drop(pauses.databases.insert(name.into())),
            None => pauses.all = Some(HashSet::new()),
        }
        self.of(database).iter().for_each(|pool| pool.pause());
    }

    /// Ends the pause of a database, or that of all: databases that were paused by name stay so. False if there was none.
    pub fn resume(&self, database: Option<&str>) -> bool {
        let mut pauses = self.pauses.lock();
        let was = match database {
            Some(name) => {
                let was = pauses.has(name);
                pauses.databases.remove(name);
                if let Some(excepted) = &mut pauses.all {
                    excepted.insert(name.into());
                }
                was
            }
            None => pauses.all.take().is_some(),
        };
        let pools = self.of(database).into_iter();
        pools.filter(|pool| !pauses.has(&pool.key().database)).for_each(|pool| pool.resume());
        was
    }

    /// Forgets what is said of databases that are gone: one of that name that comes later isn't paused.
    pub fn forget_pauses(&self, exists: impl Fn(&str) -> bool) {
        self.pauses.lock().databases.retain(|name| exists(name));
    }

    /// Whether a database is paused, by its name or with all.
    pub fn is_paused(&self, database: &str) -> bool {
        self.pauses.lock().has(database)
    }

    /// Whether all databases are paused, those resumed since by name aside.
    pub fn is_all_paused(&self) -> bool {
        self.pauses.lock().all.is_some()
    }

    /// The pools of a database, or all.
    pub fn of(&self, database: Option<&str>) -> Vec<Arc<Pool<S>>> {
        let mut pools = self.snapshot();
        pools.retain(|pool| database.is_none_or(|name| *pool.key().database == *name));
        pools
    }

    /// Takes a pool out of the set and shuts it down.
    pub fn remove(&self, key: &PoolKey, reason: CloseReason) -> Option<Arc<Pool<S>>> {
        let pool = self.pools.write().remove(key)?;
        pool.shutdown(reason);
        Some(pool)
    }

    /// All pools, in no order.
    pub fn snapshot(&self) -> Vec<Arc<Pool<S>>> {
        self.pools.read().values().cloned().collect()
    }

    /// All pools, by key.
    pub fn list(&self) -> Vec<Arc<Pool<S>>> {
        let mut pools = self.snapshot();
        pools.sort_by(|a, b| a.key().cmp(b.key()));
        pools
    }

    /// The cap of that name, with this limit in servers from now on; `None` is unlimited, but keeps the count, so that a
    /// limit set later is exact. Who makes one of a new name drops those that no pool and no server is under any more: names
    /// may be invented, and what is kept for them doesn't add up.
    pub fn cap(&self, kind: CapKind, of: &str, limit: Option<NonZeroU32>) -> Arc<SharedCap> {
        let name = CapName { kind, of: of.into() };
        let mut caps = self.caps.lock();
        if !caps.contains_key(&name) {
            // Pools hold theirs, and so do servers until they are closed; others are got here alone, under this lock.
            caps.retain(|_, cap| Arc::strong_count(cap) > 1);
        }
        let cap = caps.entry(name).or_insert_with_key(|name| SharedCap::new(name.clone(), limit));
        let cap = Arc::clone(cap);
        drop(caps);
        if cap.limit() != limit.map(NonZeroU32::get) {
            cap.resize(limit);
        }
        cap
    }

    /// All caps, by name.
    pub fn caps(&self) -> Vec<Arc<SharedCap>> {
        let mut caps: Vec<_> = self.caps.lock().values().cloned().collect();
        caps.sort_by(|a, b| a.name().cmp(b.name()));
        caps
    }

    /// Shuts all pools down; the set keeps them, to be counted until their last server is closed.
    pub fn shutdown(&self) {
        for pool in self.list() {
            pool.shutdown(CloseReason::Shutdown);
        }
    }
}
