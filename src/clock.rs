//! Monotonic time in one word: what is read and compared for every transaction. `std::time::Instant` keeps seconds and
//! nanoseconds apart, and its differences cost more than reading the clock.

use rustix::time::{ClockId, clock_gettime};
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

const NANOS: u64 = 1_000_000_000;

/// A moment, in nanoseconds of the system's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Now: one read of the clock, without a system call where the kernel offers that.
    #[inline]
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        Self((now.tv_sec as u64).wrapping_mul(NANOS).wrapping_add(now.tv_nsec as u64))
    }

    /// Nanoseconds since an earlier moment; 0 since a later one.
    #[inline]
    pub fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Time since an earlier moment; zero since a later one.
    #[inline]
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// Time since then.
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    /// A later moment, if there is one: the clock ends after some 580 years.
    #[inline]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(u64::try_from(duration.as_nanos()).ok()?).map(Self)
    }

    /// An earlier moment, if the clock had begun by then.
    #[inline]
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(u64::try_from(duration.as_nanos()).ok()?).map(Self)
    }
}

/// The last moment there is, if the sum is later.
impl Add<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn add(self, duration: Duration) -> Self {
        self.checked_add(duration).unwrap_or(Self(u64::MAX))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

/// Zero, if the other is later.
impl Sub for Instant {
    type Output = Duration;

    #[inline]
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_saturates() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let later = start + second;
        assert!(Instant::now() >= start && later > start);
        assert_eq!((later - start, start - later), (second, Duration::ZERO));
        assert_eq!(later.checked_sub(second), Some(start));
        assert_eq!(start.checked_add(Duration::MAX), None);
        assert_eq!(start + Duration::MAX, Instant(u64::MAX));
        assert_eq!(start.checked_sub(Duration::MAX), None);
    }
}
