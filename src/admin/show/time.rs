//! Moments of the process's clocks as dates, in UTC.

use crate::clock::Instant;
use crate::roster::Roster;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment by which others are dated.
#[derive(Debug, Clone, Copy)]
pub(in crate::admin) struct Now {
    pub(super) instant: Instant,
    /// Since 1970.
    wall: Duration,
}

impl Now {
    pub(in crate::admin) fn read() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), wall }
    }

    /// The date of an earlier moment.
    pub(in crate::admin) fn date(self, then: Instant) -> String {
        self.ago(self.instant.saturating_duration_since(then))
    }

    /// The same by a roster's clock.
    pub(super) fn date_in(self, roster: &Roster, then: u64) -> String {
        self.ago(self.since_in(roster, then))
    }

    /// How long ago a moment by a roster's clock is.
    pub(super) fn since_in(self, roster: &Roster, then: u64) -> Duration {
        Duration::from_nanos(roster.at(self.instant).saturating_sub(then))
    }

    fn ago(self, age: Duration) -> String {
        date(self.wall.saturating_sub(age).as_secs())
    }
}

/// `2026-11-21 17:00:00 UTC`
fn date(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Days since the first of March of the year 0, in eras of 400 years: after the leap day, all is regular.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Whole seconds, and the microseconds beyond them.
pub(super) fn parts(time: Duration) -> (u64, u32) {
    (time.as_secs(), time.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, told) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(seconds), told);
        }
    }
}
