//! The queue of replies owed. A handful is the rule, so the front ones lie in place; what a long pipeline adds goes behind.

use super::{Action, Reply};
use std::collections::VecDeque;

/// Entries in place; a power of two.
const NEAR: usize = 16;

/// What a request brings and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) reply: Reply,
    pub(super) action: Action,
}

/// First in, first out.
#[derive(Debug)]
pub(super) struct OwedQueue {
    near: [Owed; NEAR],
    head: u8,
    near_len: u8,
    /// Empty unless all places in `near` are taken.
    far: VecDeque<Owed>,
}

impl Default for OwedQueue {
    fn default() -> Self {
        let nothing = Owed { reply: Reply::Nothing, action: Action::Forward };
        Self { near: [nothing; NEAR], head: 0, near_len: 0, far: VecDeque::new() }
    }
}

impl OwedQueue {
    fn place(&self, at: usize) -> usize {
        (usize::from(self.head) + at) % NEAR
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.near_len) + self.far.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.near_len == 0
    }

    #[inline]
    pub(super) fn front(&self) -> Option<Owed> {
        (self.near_len > 0).then(|| self.near[usize::from(self.head) % NEAR])
    }

    #[inline]
    pub(super) fn push(&mut self, owed: Owed) {
        if usize::from(self.near_len) < NEAR {
            self.near[self.place(usize::from(self.near_len))] = owed;
            self.near_len += 1;
        } else {
            self.far.push_back(owed);
        }
    }

    #[inline]
    pub(super) fn pop(&mut self) {
        if self.near_len > 0 {
            self.head = (self.head + 1) % NEAR as u8;
            self.near_len -= 1;
            if !self.far.is_empty() {
                self.refill();
            }
        }
    }

    #[cold]
    fn refill(&mut self) {
        if let Some(owed) = self.far.pop_front() {
            self.push(owed);
        }
    }

    pub(super) fn drop_front(&mut self, n: usize) {
        (0..n).for_each(|_| self.pop());
    }

    pub(super) fn clear(&mut self) {
        self.near_len = 0;
        self.far.clear();
    }

    /// The reply of the front entry goes nowhere.
    pub(super) fn swallow_front(&mut self) {
        if self.near_len > 0 {
            self.near[usize::from(self.head) % NEAR].action = Action::Swallow;
        }
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Owed> {
        (0..usize::from(self.near_len)).map(|at| self.near[self.place(at)]).chain(self.far.iter().copied())
    }

    /// Replaces the reply of the entry `at` places behind the front.
    pub(super) fn set_reply(&mut self, at: usize, reply: Reply) {
        let place = self.place(at);
        let owed = match at.checked_sub(NEAR) {
            None => Some(&mut self.near[place]),
            Some(far) => self.far.get_mut(far),
        };
        if let Some(owed) = owed {
            owed.reply = reply;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_like_a_queue(ops in prop::collection::vec((0u8..8, 0usize..40), 0..200)) {
            let (mut queue, mut model) = (OwedQueue::default(), VecDeque::new());
            let replies = [Reply::Query, Reply::Sync, Reply::Parse, Reply::Bind, Reply::Execute];
            for (op, n) in ops {
                let owed = Owed { reply: replies[n % 5], action: Action::Forward };
                match op {
                    0 => {
                        queue.pop();
                        model.pop_front();
                    }
                    1 => {
                        queue.drop_front(n % 5);
                        model.drain(..(n % 5).min(model.len()));
                    }
                    2 if n == 0 => {
                        queue.clear();
                        model.clear();
                    }
                    3 => {
                        queue.set_reply(n, Reply::Nothing);
                        model.get_mut(n).into_iter().for_each(|o: &mut Owed| o.reply = Reply::Nothing);
                    }
                    _ => {
                        queue.push(owed);
                        model.push_back(owed);
                    }
                }
                prop_assert_eq!(queue.front(), model.front().copied());
                prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
                prop_assert!(queue.iter().eq(model.iter().copied()));
                prop_assert!(queue.iter().rev().eq(model.iter().rev().copied()));
            }
        }
    }
}
