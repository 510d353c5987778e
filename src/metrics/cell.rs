//! The two kinds of counter everything here is made of. `Cell` has one writing thread and costs a load and a store;
//! `Shared` may be written by anyone and is for rare events.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What can be added to and read; each increment is visible to a reader sooner or later, in no particular order.
pub(super) trait Count: Default {
    fn add(&self, n: u64);
    fn value(&self) -> u64;
}

/// A counter that exactly one thread writes and any thread may read.
///
/// A second writer would lose increments; nothing worse.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Count for Cell {
    #[inline]
    fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline]
    fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter that any thread may write.
#[derive(Debug, Default)]
pub(super) struct Shared(AtomicU64);

impl Count for Shared {
    fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
