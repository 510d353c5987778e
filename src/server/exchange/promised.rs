//! What requests under way promise, in the order of their replies.

use super::Exchange;

/// Most promises of requests in front of the last Sync: what follows waits until some are settled, since nearly every message of a
/// pipeline has to look through them.
const CROWD: usize = 256;

impl<P> Exchange<P> {
    /// Ties a promise to the request expected last.
    #[inline]
    pub fn promise(&mut self, promise: P) {
        self.promises.push_back((self.newest(), promise));
    }

    /// The number of the newest request, of those owed.
    #[inline]
    pub fn newest(&self) -> u64 {
        self.front + self.owed.len() as u64 - 1
    }

    /// The number of the request that is answered next.
    pub fn oldest(&self) -> u64 {
        self.front
    }

    /// Promises of requests up to the last Sync or Query: whether they are kept isn't known yet, and what follows may
    /// depend on it.
    #[inline]
    pub fn unsettled(&self) -> impl Iterator<Item = &P> {
        self.promises.iter().take_while(|(number, _)| *number <= self.batch).map(|(_, p)| p)
    }

    /// Whether the newest of these promises is one of a request in front of the last Sync.
    #[inline]
    pub fn is_newest_unsettled(&self, which: impl Fn(&P) -> bool) -> bool {
        self.promises.iter().rev().find(|(_, p)| which(p)).is_some_and(|(number, _)| *number < self.batch)
    }

    /// The promises of the request whose reply comes next.
    pub fn front_promises(&self) -> impl Iterator<Item = &P> {
        self.promises.iter().take_while(|(number, _)| *number == self.front).map(|(_, p)| p)
    }

    /// Promises neither kept nor broken yet, oldest first.
    pub fn promises(&mut self) -> impl Iterator<Item = &mut P> {
        self.promises.iter_mut().map(|(_, p)| p)
    }

    /// Whether so much is unsettled that no more should be sent. What is comes to be settled without it.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.promises.len() > CROWD && self.unsettled().nth(CROWD).is_some()
    }
}
