//! Wrong passwords by address: who guesses is answered later and later. Bounded in memory whoever guesses; the clock is the
//! caller's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Instant;

/// What each failure adds to an address's debt, which time pays off: so many seconds apart they cost nothing.
const EACH: Duration = Duration::from_secs(6);
/// Debt without consequence: ten failures at once.
const FREE: Duration = Duration::from_secs(60);
/// The most debt there is, so that all is forgotten two minutes after the last failure.
const MOST: Duration = Duration::from_secs(120);
/// The first delay; each failure more doubles it.
const FIRST: Duration = Duration::from_millis(100);
/// Answers held back for one address at a time, those included whose clients haven't waited.
const HELD: usize = 32;
/// Addresses remembered. Who has guessed thousands of addresses' worth is forgotten first where least is owed.
const ADDRESSES: usize = 4096;

/// Failed logins of late.
#[derive(Debug, Default)]
pub struct Attempts {
    by_address: HashMap<IpAddr, Record>,
}

#[derive(Debug)]
struct Record {
    /// What was owed at this time.
    debt: Duration,
    at: Instant,
    /// When answers that are held back go out.
    held: Vec<Instant>,
}

impl Record {
    fn debt(&self, now: Instant) -> Duration {
        self.debt.saturating_sub(now.saturating_duration_since(self.at))
    }
}

impl Attempts {
    /// Nobody has failed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is anybody to remember.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// A login from this address has failed: how long its answer is to be held back, at most `longest`.
    pub fn failed(&mut self, address: IpAddr, now: Instant, longest: Duration) -> Duration {
        let address = net(address);
        if self.by_address.len() >= ADDRESSES && !self.by_address.contains_key(&address) {
            self.forget(now);
        }
        let fresh = || Record { debt: Duration::ZERO, at: now, held: Vec::new() };
        let record = self.by_address.entry(address).or_insert_with(fresh);
        (record.debt, record.at) = ((record.debt(now) + EACH).min(MOST), now);
        let beyond = record.debt.saturating_sub(FREE).as_secs().div_ceil(EACH.as_secs());
        let Some(doublings) = u32::try_from(beyond).unwrap_or(u32::MAX).checked_sub(1) else {
            return Duration::ZERO;
        };
        let delay = FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(longest);
        record.held.retain(|until| *until > now);
        if record.held.len() < HELD && !delay.is_zero() {
            record.held.push(now + delay);
        }
        delay
    }

    /// Whether so many answers to this address are held back that no password from there is looked at.
    pub fn is_full(&self, address: IpAddr, now: Instant) -> bool {
        let record = self.by_address.get(&net(address));
        record.is_some_and(|record| record.held.iter().filter(|until| **until > now).count() >= HELD)
    }

    /// Makes room: those who owe nothing go, or else who owes least.
    fn forget(&mut self, now: Instant) {
        self.by_address.retain(|_, record| !record.debt(now).is_zero());
        if self.by_address.len() >= ADDRESSES
            && let Some(least) =
                self.by_address.iter().min_by_key(|(_, record)| record.debt(now)).map(|(address, _)| *address)
        {
            self.by_address.remove(&least);
        }
    }
}

/// Whoever has an IPv6 address has all of its /64.
fn net(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONGEST: Duration = Duration::from_secs(5);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn who_fails_often_is_answered_later_and_later() {
        let (mut attempts, now) = (Attempts::new(), Instant::now());
        let mut fail = |address: &str, after| attempts.failed(ip(address), now + after, LONGEST).as_millis();
        let delays: Vec<_> = (0..20).map(|_| fail("10.0.0.1", seconds(0))).collect();
        let expected = [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000];
        assert_eq!(delays[..10], [0; 10]);
        assert_eq!(delays[10..], expected);
        assert_eq!(fail("10.0.0.2", seconds(0)), 0, "others aren't concerned");
        assert_eq!(fail("10.0.0.1", seconds(30)), 3200, "time pays off");
        assert_eq!(fail("10.0.0.1", seconds(150)), 0);
        assert!((0..50).all(|n| fail("10.0.0.3", seconds(6 * n)) == 0), "ten a minute are free");
        assert_eq!((0..11).map(|n| fail(&format!("2001:db8::{n}"), seconds(0))).max(), Some(100));
        assert_eq!(fail("2001:db8:0:1::1", seconds(0)), 0, "another net");
        assert_eq!((0..11).map(|_| fail("::ffff:10.0.0.9", seconds(0))).max(), Some(100));
        assert_eq!(fail("10.0.0.9", seconds(0)), 200);
    }

    #[test]
    fn nothing_is_delayed_where_nothing_may_be() {
        let (mut attempts, now) = (Attempts::new(), Instant::now());
        assert!((0..99).all(|_| attempts.failed(ip("::1"), now, Duration::ZERO).is_zero()));
        assert!(!attempts.is_full(ip("::1"), now));
    }

    #[test]
    fn no_more_is_looked_at_while_many_answers_are_held_back() {
        let (mut attempts, now) = (Attempts::new(), Instant::now());
        for n in 0..10 + HELD {
            assert!(!attempts.is_full(ip("10.0.0.1"), now), "{n}");
            attempts.failed(ip("10.0.0.1"), now, LONGEST);
        }
        assert!(attempts.is_full(ip("10.0.0.1"), now));
        assert!(!attempts.is_full(ip("10.0.0.2"), now));
        assert!(!attempts.is_full(ip("10.0.0.1"), now + Duration::from_millis(101)), "the first is answered");
    }

    #[test]
    fn memory_is_bounded_and_who_owes_most_is_remembered() {
        let (mut attempts, now) = (Attempts::new(), Instant::now());
        (0..20).for_each(|_| assert!(attempts.failed(ip("10.0.0.1"), now, LONGEST) <= LONGEST));
        for n in 0..2 * ADDRESSES {
            let address = std::net::Ipv4Addr::from_bits(0x0b00_0000 + n as u32);
            attempts.failed(address.into(), now, LONGEST);
        }
        assert_eq!(attempts.by_address.len(), ADDRESSES);
        assert_eq!(attempts.failed(ip("10.0.0.1"), now, LONGEST), LONGEST);
        attempts.failed(ip("12.0.0.1"), now + seconds(300), LONGEST);
        assert_eq!(attempts.by_address.len(), 1);
    }

    proptest! {
        #[test]
        fn delays_are_bounded(steps in prop::collection::vec((0_u64..20, 0_u8..3), 0..200), longest in 0_u64..10) {
            let (mut attempts, mut now) = (Attempts::new(), Instant::now());
            for (after, last) in steps {
                now += seconds(after);
                let delay = attempts.failed(IpAddr::from([10, 0, 0, last]), now, seconds(longest));
                prop_assert!(delay <= seconds(longest));
            }
            for record in attempts.by_address.values() {
                prop_assert!(record.held.len() <= HELD && record.debt <= MOST);
            }
        }
    }
}
