//! Places under a cap that are on their way: those of servers that are being closed.
use crate::clock::Instant;
use std::time::Duration;

use parking_lot::Mutex;

/// How long PostgreSQL is waited for to let go of a connection before another is closed in its stead.
const PATIENCE: Duration = Duration::from_secs(1);

/// Since when each has been on its way.
#[derive(Debug, Default)]
pub(super) struct Coming(Mutex<Vec<Instant>>);

impl Coming {
    /// A server is being closed.
    pub(super) fn begins(&self, at: Instant) {
        self.0.lock().push(at);
    }

    /// One that has been closed since then is gone.
    pub(super) fn ends(&self, since: Instant) {
        let mut all = self.0.lock();
        if let Some(found) = all.iter().position(|at| *at == since) {
            all.swap_remove(found);
        }
    }

    /// All of them, however long they have been on their way.
    pub(super) fn all(&self) -> usize {
        self.0.lock().len()
    }

    /// Those that may be here any moment.
    pub(super) fn now(&self) -> usize {
        self.count(Instant::now())
    }

    fn count(&self, now: Instant) -> usize {
        self.0.lock().iter().filter(|since| now.saturating_duration_since(**since) < PATIENCE).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_not_counted_on() {
        let (coming, start) = (Coming::default(), Instant::now());
        let later = start + PATIENCE / 2;
        coming.begins(start);
        coming.begins(later);
        assert_eq!((coming.count(later), coming.count(start + PATIENCE)), (2, 1));
        coming.ends(later);
        assert_eq!((coming.count(later), coming.count(start + PATIENCE)), (1, 0));
        coming.ends(start);
        coming.ends(start);
        assert_eq!(coming.count(start), 0);
    }
}
