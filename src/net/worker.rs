//! Which worker thread this is.

use std::cell::Cell;
use tokio::runtime::{Handle, RuntimeFlavor, worker_index};

/// What a thread has that is no worker, or has not asked yet.
const NONE: usize = usize::MAX;

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(NONE) };
    static ALONE: Cell<Option<bool>> = const { Cell::new(None) };
}

/// The number of the worker that this is called on, from 0; [`usize::MAX`] on a thread that is none.
///
/// No two threads of a runtime have the same, and none changes its own: that takes `block_in_place`, which nothing here uses.
#[inline]
pub fn index() -> usize {
    match INDEX.get() {
        NONE => ask(),
        index => index,
    }
}

#[cold]
fn ask() -> usize {
    let index = worker_index().unwrap_or(NONE);
    INDEX.set(index);
    index
}

/// Whether this is the only worker, so that no task of its runtime ever runs on another thread.
#[inline]
pub fn is_alone() -> bool {
    ALONE.get().unwrap_or_else(look)
}

#[cold]
fn look() -> bool {
    let Ok(runtime) = Handle::try_current() else { return false };
    let alone = runtime.runtime_flavor() == RuntimeFlavor::CurrentThread;
    ALONE.set(Some(alone));
    alone
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Barrier};
    use tokio::runtime::Builder;

    #[test]
    fn each_worker_has_its_own_and_others_have_none() {
        const WORKERS: usize = 4;
        let runtime = Builder::new_multi_thread().worker_threads(WORKERS).build().expect("a runtime");
        let all_at_once = Arc::new(Barrier::new(WORKERS));
        let tasks = (0..WORKERS).map(|_| {
            let all_at_once = Arc::clone(&all_at_once);
            runtime.spawn(async move {
                // No worker gets a second task before each has its first.
                all_at_once.wait();
                assert!(!is_alone());
                (index(), index())
            })
        });
        let tasks: Vec<_> = tasks.collect();
        let mut seen = Vec::new();
        for task in tasks {
            let (first, again) = runtime.block_on(task).expect("no panic");
            assert_eq!(first, again);
            seen.push(first);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
        assert_eq!(runtime.block_on(async { index() }), NONE, "not a worker's thread");
    }

    #[tokio::test]
    async fn the_only_worker_is_the_first() {
        assert_eq!((index(), is_alone()), (0, true));
    }
}
