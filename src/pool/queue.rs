//! The clients that wait for a server, first come first served. Pure: holds wake handles and granted servers, and hands
//! them back to be woken or given on; it never wakes, drops or closes one itself.
use crate::clock::Instant;
use std::task::Poll;

use slab::Slab;

use super::{
    ClientId, SlotIndex,
    error::WaitError,
    links::{self, Linked, Links, List},
};

/// Names a waiter until its ticket has been resolved or has left.
pub(super) type WaiterId = u32;

#[derive(Debug)]
enum Place<S> {
    /// In line.
    Queued,
    /// Out of the line with a server that it has not fetched yet.
    Granted(SlotIndex, S),
    /// Out of the line without one.
    Refused(WaitError),
}

#[derive(Debug)]
struct Waiter<S, W> {
    client: ClientId,
    since: Instant,
    waker: Option<W>,
    place: Place<S>,
    links: Links,
}

impl<S, W> Linked for Waiter<S, W> {
    fn links(&self) -> &Links {
        &self.links
    }
    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// What can be seen of a waiter in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InLine {
    pub(super) client: ClientId,
    pub(super) since: Instant,
}

/// The waiting line.
#[derive(Debug)]
pub(super) struct Queue<S, W> {
    waiters: Slab<Waiter<S, W>>,
    line: List,
}

impl<S, W> Queue<S, W> {
    pub(super) fn new() -> Self {
        Self { waiters: Slab::new(), line: List::default() }
    }

    /// Those in line; the granted and refused no longer count.
    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// The waiter `position` places behind the front one. Costs `position` steps.
    pub(super) fn in_line(&self, position: usize) -> Option<InLine> {
        self.all().nth(position)
    }

    /// Those in line, the front one first.
    pub(super) fn all(&self) -> impl Iterator<Item = InLine> {
        let waiters = self.line().map(|id| &self.waiters[id as usize]);
        waiters.map(|w| InLine { client: w.client, since: w.since })
    }

    pub(super) fn join(&mut self, who: InLine, waker: W) -> WaiterId {
        let InLine { client, since } = who;
        let waiter =
            Waiter { client, since, waker: Some(waker), place: Place::Queued, links: Links::default() };
        let id = index(self.waiters.insert(waiter));
        self.line.push(&mut self.waiters, id);
        id
    }

    /// Whose turn it is when a server comes.
    pub(super) fn next(&self) -> Option<WaiterId> {
        self.line.oldest()
    }

    /// Who a waiter is.
    pub(super) fn client(&self, id: WaiterId) -> ClientId {
        self.waiters[id as usize].client
    }

    /// Gives a waiter in line a server; returns its wake handle.
    pub(super) fn grant(&mut self, id: WaiterId, slot: SlotIndex, server: S) -> Option<W> {
        self.resolve(id, Place::Granted(slot, server))
    }

    /// Sends the front waiter away; returns its wake handle. `None` when nobody is in line.
    pub(super) fn refuse(&mut self, why: WaitError) -> Option<Option<W>> {
        self.line.oldest().map(|id| self.resolve(id, Place::Refused(why)))
    }

    /// What became of a waiter: a server once, a refusal once, or still in line (`refresh` renews its wake handle).
    /// After `Ready` the id is free for others and must not be used again.
    pub(super) fn poll(
        &mut self,
        id: WaiterId,
        refresh: impl FnOnce(&mut Option<W>),
    ) -> Poll<Result<(SlotIndex, S), WaitError>> {
        let waiter = &mut self.waiters[id as usize];
        if matches!(waiter.place, Place::Queued) {
            refresh(&mut waiter.waker);
            return Poll::Pending;
        }
        Poll::Ready(match self.waiters.remove(id as usize).place {
            Place::Granted(slot, server) => Ok((slot, server)),
            Place::Refused(why) => Err(why),
            Place::Queued => unreachable!("seen above not to be in line"),
        })
    }

    /// A ticket is dropped: the waiter leaves. Returns its wake handle, which may own a task and so is not dropped here,
    /// and a server that it had been granted.
    pub(super) fn leave(&mut self, id: WaiterId) -> (Option<W>, Option<(SlotIndex, S)>) {
        if matches!(self.waiters[id as usize].place, Place::Queued) {
            self.line.remove(&mut self.waiters, id);
        }
        let waiter = self.waiters.remove(id as usize);
        match waiter.place {
            Place::Granted(slot, server) => (waiter.waker, Some((slot, server))),
            Place::Queued | Place::Refused(_) => (waiter.waker, None),
        }
    }

    /// The waiter of this client, in line or with a server that it has not fetched. Costs a walk over all.
    pub(super) fn find(&self, client: ClientId) -> Option<WaiterId> {
        self.waiters
            .iter()
            .find(|(_, w)| w.client == client && !matches!(w.place, Place::Refused(_)))
            .map(|(id, _)| index(id))
    }

    /// Sends one waiter away from wherever it is; returns its wake handle and the server it had been granted.
    pub(super) fn revoke(&mut self, id: WaiterId, why: WaitError) -> (Option<W>, Option<(SlotIndex, S)>) {
        let waiter = &mut self.waiters[id as usize];
        match std::mem::replace(&mut waiter.place, Place::Refused(why)) {
            Place::Queued => {
                let waker = waiter.waker.take();
                self.line.remove(&mut self.waiters, id);
                (waker, None)
            }
            Place::Granted(slot, server) => (waiter.waker.take(), Some((slot, server))),
            Place::Refused(_) => (None, None),
        }
    }

    fn line(&self) -> impl Iterator<Item = WaiterId> {
        std::iter::successors(self.line.oldest(), |&id| links::newer(&self.waiters, id))
    }

    fn resolve(&mut self, id: WaiterId, place: Place<S>) -> Option<W> {
        self.line.remove(&mut self.waiters, id);
        let waiter = &mut self.waiters[id as usize];
        waiter.place = place;
        waiter.waker.take()
    }
}

fn index(key: usize) -> u32 {
    u32::try_from(key).expect("fewer waiters than four thousand million")
}
