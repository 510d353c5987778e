//! When a pool may try again to open a server, and how many opens at a time. Pure; told the time.
use crate::clock::Instant;
use std::time::Duration;

/// When the next open may be tried.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
    /// Until then no other pool closes its last server for this one.
    failing_until: Option<Instant>,
    /// Until then the last open that succeeded says that others will.
    proven_until: Option<Instant>,
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How long a server that has logged in speaks for those to come.
const PROVEN: Duration = Duration::from_secs(5);
/// An open that takes longer is taken for one that will fail, as long as it lasts.
pub(super) const HANGING: Duration = Duration::from_secs(1);
/// How many pauses a pool counts as failing: for ever would leave it with nothing under a cap that others keep full, though its
/// host is back.
const FAILING: u32 = 4;

impl Backoff {
    /// An open failed that took so long. Others that were under way when the pause began don't lengthen it. Returns what is
    /// left of it.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        took: Duration,
        longest: Duration,
        random: u16,
    ) -> Duration {
        if let Some(until) = self.until.filter(|until| *until > now) {
            return until - now;
        }
        self.failures = self.failures.saturating_add(1);
        let doubled = FIRST_PAUSE.saturating_mul(1 << (self.failures - 1).min(20)).min(longest);
        // Between half and all of it, so that pools of one host don't come back together.
        let pause = doubled / 2 + doubled / 2 / 65_536 * u32::from(random);
        self.until = now.checked_add(pause);
        self.failing_until = now.checked_add(pause.saturating_mul(FAILING).max(took));
        self.proven_until = None;
        pause
    }

    /// An open succeeded.
    pub(super) fn succeeded(&mut self, now: Instant) {
        *self = Self { proven_until: now.checked_add(PROVEN), ..Self::default() };
    }

    /// True while the pool must not open.
    pub(super) fn is_pausing(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }

    /// True for some time after a failure, the pause and more, unless an open succeeds.
    pub(super) fn is_failing(&self, now: Instant) -> bool {
        self.failing_until.is_some_and(|until| until > now)
    }

    /// True from a failure until an open succeeds.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// How many opens may be under way: after a failure one, to try the ground. So also if what they hold is `shared` with
    /// other pools and none has succeeded of late: a host that hangs shall not hold their places.
    pub(super) fn at_once(&self, max_opening: u32, shared: bool, now: Instant) -> usize {
        let proven = !shared || self.proven_until.is_some_and(|until| until > now);
        if self.failures > 0 || !proven { 1 } else { max_opening.max(1) as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let start = Instant::now();
        let (mut backoff, longest) = (Backoff::default(), Duration::from_secs(15));
        let mut now = start;
        for expected in [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000] {
            let pause = backoff.failed(now, Duration::ZERO, longest, u16::MAX);
            let full = Duration::from_millis(expected);
            assert!(pause <= full && pause > full * 99 / 100, "{pause:?} of {full:?}");
            assert!(backoff.is_pausing(now) && !backoff.is_pausing(now + pause));
            assert!(backoff.is_failing(now + pause * 3) && !backoff.is_failing(now + pause * 4));
            assert!(
                backoff.failed(now, Duration::ZERO, longest, 0) <= pause,
                "one that began before doesn't lengthen it"
            );
            assert_eq!(backoff.at_once(8, false, now), 1);
            now += pause;
        }
        assert_eq!(backoff.failed(now, Duration::ZERO, longest, 0), longest / 2);
        let hung = Duration::from_secs(90);
        now += longest;
        backoff.failed(now, hung, longest, 0);
        assert!(backoff.is_failing(now + hung / 2), "for as long as it was tried in vain");
        backoff.succeeded(now);
        assert!(!backoff.is_pausing(now) && !backoff.is_failing(now) && backoff.at_once(8, true, now) == 8);
        let later = now + PROVEN;
        assert_eq!((backoff.at_once(8, true, later), backoff.at_once(8, false, later)), (1, 8));
    }
}
