//! Wrong passwords by address: who guesses is answered later and later, and no more passwords are looked at together than may
//! be wrong together. Bounded in memory whoever guesses; the clock is the caller's.

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

/// Failed logins of late, and passwords being looked at. `Line` is what those of one address wait in.
#[derive(Debug, Default)]
pub struct Attempts<Line = ()> {
    by_address: HashMap<IpAddr, Record<Line>>,
}

/// Whether a password is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn<Line> {
    /// Yes: it has its place, until [`Attempts::end`].
    Look,
    /// As many as may be wrong are being looked at: when one of them has ended.
    Wait(Line),
    /// No: too many answers are held back.
    Refuse,
}

#[derive(Debug)]
struct Record<Line> {
    /// What was owed at this time.
    debt: Duration,
    at: Instant,
    /// When answers that are held back go out.
    held: Vec<Instant>,
    /// Passwords being looked at, each of which may turn out wrong.
    looking: usize,
    /// Where others wait for these.
    line: Option<Line>,
}

impl<Line> Record<Line> {
    fn new(now: Instant) -> Self {
        Self { debt: Duration::ZERO, at: now, held: Vec::new(), looking: 0, line: None }
    }

    fn debt(&self, now: Instant) -> Duration {
        self.debt.saturating_sub(now.saturating_duration_since(self.at))
    }

    fn held(&self, now: Instant) -> usize {
        self.held.iter().filter(|until| **until > now).count()
    }

    /// How many more answers would be held back if so many were wrong now.
    fn beyond_free(&self, guesses: usize, now: Instant) -> usize {
        let free = FREE.saturating_sub(self.debt(now)).as_secs() / EACH.as_secs();
        guesses.saturating_sub(usize::try_from(free).unwrap_or(usize::MAX))
    }
}

impl<Line: Clone + Default> Attempts<Line> {
    /// Nobody has failed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is anybody to remember.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// Somebody there has said a password.
    pub fn begin(&mut self, address: IpAddr, now: Instant) -> Turn<Line> {
        let record = self.record(net(address), now);
        let held = record.held(now);
        if held >= HELD {
            return Turn::Refuse;
        }
        if held + record.beyond_free(record.looking + 1, now) > HELD {
            return Turn::Wait(record.line.get_or_insert_default().clone());
        }
        record.looking += 1;
        Turn::Look
    }

    /// A password has been looked at; [`Self::failed`] is to be told first if it was wrong. Returns where one more may go on.
    pub fn end(&mut self, address: IpAddr, now: Instant) -> Option<Line> {
        let address = net(address);
        let record = self.by_address.get_mut(&address)?;
        record.looking = record.looking.saturating_sub(1);
        let line = record.line.clone();
        if record.looking == 0 {
            record.line = None;
            if record.debt(now).is_zero() {
                self.by_address.remove(&address);
            }
        }
        line
    }

    fn record(&mut self, address: IpAddr, now: Instant) -> &mut Record<Line> {
        if self.by_address.len() >= ADDRESSES && !self.by_address.contains_key(&address) {
            self.forget(now);
        }
        self.by_address.entry(address).or_insert_with(|| Record::new(now))
    }

    /// A login from this address has failed: how long its answer is to be held back, at most `longest`.
    pub fn failed(&mut self, address: IpAddr, now: Instant, longest: Duration) -> Duration {
        let record = self.record(net(address), now);
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
        record.is_some_and(|record| record.held(now) >= HELD)
    }

    /// Makes room: those who owe nothing go, or else who owes least. Those whose passwords are being looked at stay; they are
    /// no more than there are connections.
    fn forget(&mut self, now: Instant) {
        self.by_address.retain(|_, record| record.looking > 0 || !record.debt(now).is_zero());
        let idle = self.by_address.iter().filter(|(_, record)| record.looking == 0);
        if self.by_address.len() >= ADDRESSES
            && let Some(least) = idle.min_by_key(|(_, record)| record.debt(now)).map(|(address, _)| *address)
        {
            self.by_address.remove(&least);
        }
    }
}

/// Whom an address counts as: whoever has an IPv6 address has all of its /64.
pub fn net(address: IpAddr) -> IpAddr {
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
        let (mut attempts, now) = (Attempts::<()>::new(), Instant::now());
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
        let (mut attempts, now) = (Attempts::<()>::new(), Instant::now());
        assert!((0..99).all(|_| attempts.failed(ip("::1"), now, Duration::ZERO).is_zero()));
        assert!(!attempts.is_full(ip("::1"), now));
    }

    #[test]
    fn no_more_is_looked_at_while_many_answers_are_held_back() {
        let (mut attempts, now) = (Attempts::<()>::new(), Instant::now());
        for n in 0..10 + HELD {
            assert!(!attempts.is_full(ip("10.0.0.1"), now), "{n}");
            attempts.failed(ip("10.0.0.1"), now, LONGEST);
        }
        assert!(attempts.is_full(ip("10.0.0.1"), now));
        assert!(!attempts.is_full(ip("10.0.0.2"), now));
        assert!(!attempts.is_full(ip("10.0.0.1"), now + Duration::from_millis(101)), "the first is answered");
    }

    /// However many come together, and whenever they learn that they were wrong.
    #[test]
    fn no_more_are_looked_at_together_than_may_be_wrong() {
        let (mut attempts, now) = (Attempts::<()>::new(), Instant::now());
        let address = ip("10.0.0.1");
        let together = (0..1000).filter(|_| attempts.begin(address, now) == Turn::Look).count();
        assert_eq!(together, 10 + HELD);
        assert_eq!(attempts.begin(address, now), Turn::Wait(()), "the others' outcome isn't known yet");
        assert_eq!(attempts.begin(ip("10.0.0.2"), now), Turn::Look);
        assert_eq!(attempts.end(address, now), Some(()), "it was right: another may go on");
        assert_eq!(attempts.begin(address, now), Turn::Look);
        for _ in 0..together {
            assert_ne!(attempts.begin(address, now), Turn::Look);
            attempts.failed(address, now, LONGEST);
            attempts.end(address, now);
        }
        assert_eq!(attempts.begin(address, now), Turn::Refuse);
        assert_eq!(
            attempts.begin(address, now + Duration::from_millis(101)),
            Turn::Look,
            "the first is answered"
        );
    }

    #[test]
    fn who_is_right_leaves_nothing_behind() {
        let (mut attempts, now) = (Attempts::<()>::new(), Instant::now());
        (0..5).for_each(|_| assert_eq!(attempts.begin(ip("::1"), now), Turn::Look));
        assert_eq!([0; 5].map(|_| attempts.end(ip("::1"), now)), [None; 5], "nobody waits");
        assert!(attempts.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_who_owes_most_is_remembered() {
        let (mut attempts, now) = (Attempts::<()>::new(), Instant::now());
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
            let (mut attempts, mut now) = (Attempts::<()>::new(), Instant::now());
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
