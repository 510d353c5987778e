//! Whoever looks after deadlines rests while no client has one that is near; a client whose limits are brief ends the rest.
use super::Roster;
use crate::timer::{sleep, timeout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Between those who have deadlines and the one who looks after them.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Whether beginnings are to be told.
    wants_to_know: AtomicBool,
    told: Notify,
}

impl Roster {
    /// A client begins something that may take too long.
    #[inline(always)]
    pub fn begins(&self) {
        if self.watch.wants_to_know.load(Ordering::Relaxed) {
            self.tell_beginning();
        }
    }

    #[cold]
    fn tell_beginning(&self) {
        if self.watch.wants_to_know.swap(false, Ordering::Relaxed) {
            self.watch.told.notify_one();
        }
    }

    /// From now on the first beginning ends a rest early. Say so before looking at the clients, so that none is missed.
    pub fn expect_beginnings(&self, briefly: bool) {
        self.watch.wants_to_know.store(briefly, Ordering::Relaxed);
    }

    /// Over when `quiet` has passed, or `busy` after the first beginning that was expected. Cancel safe.
    pub async fn rest(&self, quiet: Duration, busy: Duration) {
        if timeout(quiet, self.watch.told.notified()).await.is_ok() {
            sleep(busy).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_beginning_ends_the_rest() {
        let (moment, long) = (Duration::from_millis(1), Duration::from_secs(3600));
        let roster = Roster::default();
        roster.begins();
        roster.rest(moment, long).await;
        roster.expect_beginnings(true);
        roster.rest(moment, long).await;
        roster.begins();
        roster.begins();
        roster.rest(long, moment).await;
        roster.rest(moment, long).await;
    }
}
