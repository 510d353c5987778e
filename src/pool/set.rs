//! The pools and shared caps of the process, by name. Creates pools through a closure; knows nothing of settings files.
use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use parking_lot::{Mutex, RwLock};

use super::{CapKind, CapName, CloseReason, Pool, PoolKey, Pooled, SharedCap};

/// All pools of the process.
pub struct PoolSet<S: Pooled> {
    pools: RwLock<HashMap<PoolKey, Arc<Pool<S>>>>,
    caps: Mutex<HashMap<CapName, Arc<SharedCap>>>,
}

impl<S: Pooled> Default for PoolSet<S> {
    fn default() -> Self {
        Self { pools: RwLock::default(), caps: Mutex::default() }
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
        Arc::clone(self.pools.write().entry(key.clone()).or_insert_with(make))
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
    /// limit set later is exact.
    pub fn cap(&self, kind: CapKind, of: &str, limit: Option<NonZeroU32>) -> Arc<SharedCap> {
        let name = CapName { kind, of: of.into() };
        let mut caps = self.caps.lock();
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
