//! Which of a database's hosts a new connection is tried at, and in which order. Pure: it is told what became of tries, and when.

use crate::config::LoadBalanceHosts;
use std::time::{Duration, Instant};

/// How long others keep away from a host where one connection tries whether it is up again.
const PROBE: Duration = Duration::from_secs(15);

/// What one pool knows of the hosts of its database.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// Where the next connection begins, by place in the list.
    next: usize,
    /// Of each, until when it is tried after the others only, since it has failed.
    down: Vec<Option<Instant>>,
}

impl Hosts {
    /// The places in a list of `count` hosts, those to be tried first in front. Every host is among them: where all have
    /// failed, there is nothing better than to try those again.
    pub(super) fn order(&mut self, count: usize, balance: LoadBalanceHosts, now: Instant) -> Vec<usize> {
        // A list of another length is another list.
        if self.down.len() != count {
            *self = Self { next: 0, down: vec![None; count] };
        }
        let mut order: Vec<_> = (0..count).map(|at| (self.next + at) % count).collect();
        order.sort_by_key(|at| self.down[*at].filter(|until| *until > now));
        if balance == LoadBalanceHosts::RoundRobin
            && let Some(first) = order.first()
        {
            self.next = (first + 1) % count;
        }
        // One connection finds out whether a host is up again, which may take it long.
        if let Some(down) = order.first().and_then(|first| self.down[*first].as_mut()) {
            *down = now + PROBE;
        }
        order
    }

    /// A connect failed there, for a reason of the host's; it is not to be tried there first until then.
    pub(super) fn failed(&mut self, at: usize, balance: LoadBalanceHosts, until: Option<Instant>) {
        let count = self.down.len();
        let Some(down) = self.down.get_mut(at) else { return };
        *down = until;
        // The one behind has this connection now, and it is the turn of the one behind that.
        if balance == LoadBalanceHosts::RoundRobin && self.next == (at + 1) % count {
            self.next = (self.next + 1) % count;
        }
    }

    /// A connect went well there; without load balancing the next ones begin there, too.
    pub(super) fn succeeded(&mut self, at: usize, balance: LoadBalanceHosts) {
        if let Some(down) = self.down.get_mut(at) {
            *down = None;
        }
        if balance == LoadBalanceHosts::Disable {
            self.next = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LoadBalanceHosts::{Disable, RoundRobin};

    const PAUSE: Duration = Duration::from_secs(15);

    #[test]
    fn each_in_turn() {
        let (mut hosts, now) = (Hosts::default(), Instant::now());
        let firsts: Vec<_> = (0..4).map(|_| hosts.order(3, RoundRobin, now)[0]).collect();
        assert_eq!(firsts, [0, 1, 2, 0]);
        assert_eq!(hosts.order(3, RoundRobin, now), [1, 2, 0]);
        assert_eq!(hosts.order(1, RoundRobin, now), [0]);
        let mut hosts = Hosts::default();
        hosts.order(3, RoundRobin, now);
        hosts.failed(0, RoundRobin, now.checked_add(PAUSE));
        let firsts: Vec<_> = (0..4).map(|_| hosts.order(3, RoundRobin, now)[0]).collect();
        assert_eq!(firsts, [2, 1, 2, 1], "1 has had the connection that 0 could not take");
    }

    #[test]
    fn who_has_failed_is_last_for_a_while() {
        let (mut hosts, now) = (Hosts::default(), Instant::now());
        hosts.order(3, RoundRobin, now);
        hosts.failed(1, RoundRobin, Some(now + PAUSE));
        assert_eq!(hosts.order(3, RoundRobin, now), [2, 0, 1], "the next is passed over");
        assert_eq!(hosts.order(3, RoundRobin, now)[0], 0);
        assert_eq!(hosts.order(3, RoundRobin, now)[0], 2);
        hosts.failed(2, RoundRobin, Some(now + PAUSE * 3 / 2));
        hosts.failed(0, RoundRobin, Some(now + PAUSE * 4 / 3));
        assert_eq!(hosts.order(3, RoundRobin, now + PAUSE / 2), [1, 0, 2], "the longest down first");
        assert_eq!(hosts.order(3, RoundRobin, now + PAUSE * 2).len(), 3);
        hosts.succeeded(1, RoundRobin);
        assert_eq!(hosts.down[1], None);
        let later = now + PAUSE * 2;
        let mut hosts = Hosts { next: 0, down: vec![Some(now + PAUSE), None] };
        let firsts: Vec<_> = (0..3).map(|_| hosts.order(2, RoundRobin, later)[0]).collect();
        assert_eq!(firsts, [0, 1, 1], "one at a time tries whether it is up again");
    }

    #[test]
    fn without_load_balancing_the_one_that_works_is_kept() {
        let (mut hosts, now) = (Hosts::default(), Instant::now());
        assert_eq!((0..3).map(|_| hosts.order(3, Disable, now)[0]).collect::<Vec<_>>(), [0, 0, 0]);
        hosts.failed(0, Disable, Some(now + PAUSE));
        assert_eq!(hosts.order(3, Disable, now), [1, 2, 0]);
        hosts.succeeded(1, Disable);
        assert_eq!(hosts.order(3, Disable, now + PAUSE * 2), [1, 2, 0], "also when the first is up again");
        assert_eq!(hosts.order(2, Disable, now), [0, 1], "another list");
    }
}
