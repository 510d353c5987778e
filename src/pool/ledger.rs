//! Which server is opening, idle, leased or parked, and who waits. Pure: every transition is a method that returns what is
//! to be done (wake, close), for the caller to do after its lock is released. It never wakes, drops or opens anything.
use crate::clock::Instant;
use std::{task::Poll, time::Duration};

use slab::Slab;

use super::{
    ClientId, SlotIndex,
    entry::{Arrival, Circumstances, Counts, Entry, Found, IdleServer, Rules, Settled, State},
    error::{CloseReason, WaitError},
    links::List,
    queue::{InLine, Queue, WaiterId},
};

/// The books of one pool.
///
/// While anyone is in line no server is idle, so a newcomer never overtakes a waiter.
#[derive(Debug)]
pub(super) struct Ledger<S, K, W> {
    entries: Slab<Entry<S, K>>,
    clean: List,
    dirty: List,
    queue: Queue<S, W>,
    rules: Rules,
    opening: usize,
    leased: usize,
    parked: usize,
    next_serial: u64,
    /// Servers with a lower serial are not used again, for this reason.
    obsolete: (u64, CloseReason),
}

impl<S, K: Clone, W> Ledger<S, K, W> {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            entries: Slab::new(),
            clean: List::default(),
            dirty: List::default(),
            queue: Queue::new(),
            rules,
            opening: 0,
            leased: 0,
            parked: 0,
            next_serial: 0,
            obsolete: (0, CloseReason::Obsolete),
        }
    }

    pub(super) fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
        for (_, entry) in &mut self.entries {
            entry.expires = rules.expiry(entry.opened, entry.lifetime_share);
        }
    }

    // Opening

    /// How many more opens the line asks for: one per waiter, less those under way.
    pub(super) fn wanted(&self) -> usize {
        self.queue.len().saturating_sub(self.opening)
    }

    /// The waiter that the next open would be for.
    pub(super) fn next_in_need(&self) -> Option<InLine> {
        self.queue.in_line(self.opening)
    }

    /// An open begins.
    pub(super) fn begin_open(&mut self, now: Instant) -> SlotIndex {
        self.opening += 1;
        self.next_serial += 1;
        let entry = Entry::opening(self.next_serial, now);
        SlotIndex(
            u32::try_from(self.entries.insert(entry)).expect("fewer servers than four thousand million"),
        )
    }

    /// The open that `begin_open` noted came to nothing. Returns when it began.
    pub(super) fn abort_open(&mut self, slot: SlotIndex) -> Instant {
        debug_assert_eq!(self.entries[slot.at()].state, State::Opening);
        self.opening -= 1;
        self.entries.remove(slot.at()).opened
    }

    /// Since when the oldest open has been under way.
    pub(super) fn opening_since(&self) -> Option<Instant> {
        if self.opening == 0 {
            return None;
        }
        let opening = self.entries.iter().filter(|(_, entry)| entry.state == State::Opening);
        opening.map(|(_, entry)| entry.opened).min()
    }

    /// The open that `begin_open` noted brought a server.
    pub(super) fn opened(
        &mut self,
        slot: SlotIndex,
        arrival: Arrival<S, K>,
        c: &Circumstances,
    ) -> Settled<S, W> {
        let entry = &mut self.entries[slot.at()];
        debug_assert_eq!(entry.state, State::Opening);
        entry.dirty = arrival.dirty;
        entry.cancel_key = Some(arrival.cancel_key);
        entry.opened = c.now;
        // Between nine and ten tenths, so that servers opened together are not replaced together.
        entry.lifetime_share = 65_536 - u32::from(arrival.random) / 10;
        entry.expires = self.rules.expiry(entry.opened, entry.lifetime_share);
        self.opening -= 1;
        self.settle(slot, arrival.server, c)
    }

    // Leasing

    /// An idle server for this client: its own last one, else a clean one, else a dirty one. With round robin a clean server
    /// is not preferred for having been the client's own.
    #[inline(always)]
    pub(super) fn take(&mut self, client: ClientId, hint: Option<SlotIndex>) -> Option<(SlotIndex, S)> {
        let switched = if self.rules.switch { self.other_than(hint) } else { None };
        let slot = switched
            .or_else(|| self.own_last(client, hint))
            .or_else(|| self.next_clean())
            .or_else(|| self.dirty.oldest().map(SlotIndex))?;
        debug_assert!(self.queue.is_empty(), "a server was idle while clients waited");
        let server = self.unlist(slot);
        self.lease(slot, client);
        Some((slot, server))
    }

    /// Takes one idle server that was seen earlier, if it has stayed idle since.
    pub(super) fn take_seen(&mut self, seen: &IdleServer, client: ClientId) -> Option<S> {
        let entry = self.entries.get(seen.slot.at())?;
        if entry.serial != seen.serial || entry.state != State::Idle(seen.since) {
            return None;
        }
        let server = self.unlist(seen.slot);
        self.lease(seen.slot, client);
        Some(server)
    }

    /// A leased server comes back.
    #[inline(always)]
    pub(super) fn give(
        &mut self,
        slot: SlotIndex,
        server: S,
        dirty: bool,
        c: &Circumstances,
    ) -> Settled<S, W> {
        let entry = &mut self.entries[slot.at()];
        let State::Leased(client) = entry.state else { unreachable!("only a leased server is given back") };
        entry.last_client = Some(client);
        entry.dirty = dirty;
        self.leased -= 1;
        if entry.cancels > 0 {
            entry.state = State::Parked;
            entry.server = Some(server);
            self.parked += 1;
            return Settled::Kept;
        }
        self.settle(slot, server, c)
    }

    /// A leased server is being closed by its holder.
    pub(super) fn remove(&mut self, slot: SlotIndex) {
        debug_assert!(matches!(self.entries[slot.at()].state, State::Leased(_)));
        self.entries.remove(slot.at());
        self.leased -= 1;
    }

    // Waiting

    /// Joins the line; only after `take` found nothing.
    pub(super) fn enqueue(&mut self, who: InLine, waker: W) -> WaiterId {
        debug_assert!(self.idle_len() == 0, "a client waits while a server is idle");
        self.queue.join(who, waker)
    }

    /// See [`Queue::poll`].
    pub(super) fn poll(
        &mut self,
        id: WaiterId,
        refresh: impl FnOnce(&mut Option<W>),
    ) -> Poll<Result<(SlotIndex, S), WaitError>> {
        self.queue.poll(id, refresh)
    }

    /// A ticket is dropped: its wake handle, to be dropped, and where a server went that it had been granted.
    pub(super) fn leave(&mut self, id: WaiterId, c: &Circumstances) -> (Option<W>, Option<Settled<S, W>>) {
        let (waker, granted) = self.queue.leave(id);
        let settled = granted.map(|(slot, server)| {
            self.leased -= 1;
            self.settle(slot, server, c)
        });
        (waker, settled)
    }

    /// Sends the front waiter away if it has waited since `latest` or longer.
    pub(super) fn expire_front(&mut self, latest: Instant) -> Option<Option<W>> {
        self.queue.in_line(0).filter(|front| front.since <= latest)?;
        self.queue.refuse(WaitError::Timeout)
    }

    /// Sends everybody in line away; returns their wake handles.
    pub(super) fn refuse_all(&mut self, why: &WaitError) -> Vec<W> {
        std::iter::from_fn(|| self.queue.refuse(why.clone())).flatten().collect()
    }

    pub(super) fn front(&self) -> Option<InLine> {
        self.queue.in_line(0)
    }

    // Cancel

    /// Sends the client away if it waits, for this reason.
    pub(super) fn give_up(&mut self, client: ClientId, why: WaitError, c: &Circumstances) -> Found<S, K, W> {
        let Some(id) = self.queue.find(client) else { return Found::Nothing };
        let (waker, granted) = self.queue.revoke(id, why);
        let settled = granted.map(|(slot, server)| {
            self.leased -= 1;
            self.settle(slot, server, c)
        });
        Found::Waiting(waker, settled)
    }

    /// Refuses the client if it waits, else keeps its server from others until the cancel is settled.
    pub(super) fn cancel(&mut self, client: ClientId, c: &Circumstances) -> Found<S, K, W> {
        if let waiting @ Found::Waiting(..) = self.give_up(client, WaitError::Canceled, c) {
            return waiting;
        }
        let Some((at, entry)) = self.entries.iter_mut().find(|(_, e)| e.state == State::Leased(client))
        else {
            return Found::Nothing;
        };
        let Some(key) = entry.cancel_key.clone() else { return Found::Nothing };
        entry.cancels += 1;
        Found::Running(SlotIndex(at as u32), entry.serial, key)
    }

    /// A cancel that `cancel` began may still come: the server is not used again.
    pub(super) fn doubt(&mut self, slot: SlotIndex, serial: u64) {
        if let Some(entry) = self.entries.get_mut(slot.at()).filter(|e| e.serial == serial) {
            entry.doubtful = true;
        }
    }

    /// One cancel that `cancel` began is over; a parked server may go on. Nothing if the server is gone since.
    pub(super) fn cancel_settled(
        &mut self,
        slot: SlotIndex,
        serial: u64,
        c: &Circumstances,
    ) -> Option<Settled<S, W>> {
        let entry = self.entries.get_mut(slot.at()).filter(|e| e.serial == serial)?;
        entry.cancels -= 1;
        if entry.cancels > 0 || entry.state != State::Parked {
            return None;
        }
        let server = entry.server.take()?;
        self.parked -= 1;
        Some(self.settle(slot, server, c))
    }

    // Upkeep

    /// Existing servers, opening ones too, are not used again: idle ones are returned, others close when given back.
    pub(super) fn retire(&mut self, reason: CloseReason) -> Vec<S> {
        if self.obsolete.0 < u64::MAX {
            self.obsolete = (self.next_serial + 1, reason);
        }
        self.idle_servers().into_iter().map(|idle| self.remove_idle(idle.slot)).collect()
    }

    /// As `retire`, for all servers to come as well.
    pub(super) fn retire_forever(&mut self, reason: CloseReason) -> Vec<S> {
        self.obsolete = (u64::MAX, reason);
        self.retire(reason)
    }

    /// All idle servers, longest idle first.
    pub(super) fn idle_servers(&self) -> Vec<IdleServer> {
        let mut idle: Vec<IdleServer> =
            self.entries.iter().filter_map(|(at, e)| e.idle(SlotIndex(at as u32))).collect();
        idle.sort_by_key(|i| (i.since, i.serial));
        idle
    }

    /// Idle servers that carry the state of their last client, longest idle first.
    pub(super) fn dirty_idle_servers(&self) -> Vec<IdleServer> {
        let mut idle = self.idle_servers();
        idle.retain(|i| self.entries[i.slot.at()].dirty);
        idle
    }

    /// Since when the dirty server that was used last has been idle.
    pub(super) fn dirty_idle_since(&self) -> Option<Instant> {
        let at = self.dirty.newest()?;
        self.entries[at as usize].idle(SlotIndex(at)).map(|idle| idle.since)
    }

    /// The server of an idle entry, to look at.
    pub(super) fn idle_server_mut(&mut self, slot: SlotIndex) -> Option<&mut S> {
        self.entries.get_mut(slot.at()).filter(|e| matches!(e.state, State::Idle(_)))?.server.as_mut()
    }

    /// Takes an idle server out of the ledger, to be closed.
    pub(super) fn remove_idle(&mut self, slot: SlotIndex) -> S {
        let server = self.unlist(slot);
        self.entries.remove(slot.at());
        server
    }

    /// Since when the longest-idle server has been idle.
    pub(super) fn longest_idle(&self) -> Option<IdleServer> {
        let oldest = [&self.clean, &self.dirty].into_iter().filter_map(List::oldest);
        oldest
            .filter_map(|at| self.entries[at as usize].idle(SlotIndex(at)))
            .min_by_key(|i| (i.since, i.serial))
    }

    /// True when the server has reached its share of server_lifetime.
    #[inline(always)]
    pub(super) fn is_over_age(&self, slot: SlotIndex, now: Instant) -> bool {
        self.entries[slot.at()].expires.is_some_and(|expires| now >= expires)
    }

    /// When a server was connected; `None`: a cancel aimed at it is under way, and it would be parked if it came back.
    pub(super) fn opened_at(&self, slot: SlotIndex) -> Option<Instant> {
        let entry = &self.entries[slot.at()];
        (entry.cancels == 0).then_some(entry.opened)
    }

    /// Servers in whatever state, opening ones included.
    pub(super) fn live(&self) -> usize {
        self.entries.len()
    }

    /// All servers, each with whether it is to be closed when it comes back.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&Entry<S, K>, bool)> {
        self.entries.iter().map(|(_, entry)| (entry, entry.serial < self.obsolete.0))
    }

    /// Those in line, the front one first.
    pub(super) fn in_line(&self) -> impl Iterator<Item = InLine> {
        self.queue.all()
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            opening: self.opening,
            leased: self.leased,
            parked: self.parked,
            idle: self.idle_len() - self.dirty.len(),
            dirty_idle: self.dirty.len(),
            waiting: self.queue.len(),
        }
    }

    // Within

    #[inline(always)]
    fn own_last(&self, client: ClientId, hint: Option<SlotIndex>) -> Option<SlotIndex> {
        let slot = hint?;
        let entry = self.entries.get(slot.at())?;
        let own = matches!(entry.state, State::Idle(_)) && entry.last_client == Some(client);
        (own && (entry.dirty || !self.rules.round_robin)).then_some(slot)
    }

    /// The longest idle server that isn't this one.
    #[cold]
    fn other_than(&self, hint: Option<SlotIndex>) -> Option<SlotIndex> {
        let idle = self.entries.iter().filter_map(|(slot, entry)| match entry.state {
            State::Idle(since) => Some((since, SlotIndex(slot as u32))),
            _ => None,
        });
        idle.filter(|(_, slot)| Some(*slot) != hint).min_by_key(|(since, _)| *since).map(|(_, slot)| slot)
    }

    fn next_clean(&self) -> Option<SlotIndex> {
        if self.rules.round_robin { self.clean.oldest() } else { self.clean.newest() }.map(SlotIndex)
    }

    fn idle_len(&self) -> usize {
        self.clean.len() + self.dirty.len()
    }

    #[inline(always)]
    fn lease(&mut self, slot: SlotIndex, client: ClientId) {
        let entry = &mut self.entries[slot.at()];
        entry.state = State::Leased(client);
        self.leased += 1;
    }

    /// Takes an idle server out of its list; its entry is left for the caller to change or remove.
    #[inline(always)]
    fn unlist(&mut self, slot: SlotIndex) -> S {
        let list = if self.entries[slot.at()].dirty { &mut self.dirty } else { &mut self.clean };
        list.remove(&mut self.entries, slot.0);
        self.entries[slot.at()].server.take().expect("an idle entry holds its server")
    }

    /// A usable server looks for its next place.
    #[inline(always)]
    fn settle(&mut self, slot: SlotIndex, server: S, c: &Circumstances) -> Settled<S, W> {
        if let Some(reason) = self.must_close(slot, c) {
            self.entries.remove(slot.at());
            return Settled::Close(server, reason);
        }
        if let Some(next) = self.queue.next() {
            self.lease(slot, self.queue.client(next));
            return Settled::Granted(self.queue.grant(next, slot, server));
        }
        if let Some(reason) = c.pressure {
            self.entries.remove(slot.at());
            return Settled::Close(server, reason);
        }
        let entry = &mut self.entries[slot.at()];
        entry.state = State::Idle(c.now);
        entry.server = Some(server);
        let list = if entry.dirty { &mut self.dirty } else { &mut self.clean };
        list.push(&mut self.entries, slot.0);
        Settled::Kept
    }

    /// An old server goes only if it can be replaced, and while clients wait one replacement at a time.
    #[inline(always)]
    fn must_close(&self, slot: SlotIndex, c: &Circumstances) -> Option<CloseReason> {
        let entry = &self.entries[slot.at()];
        if entry.serial < self.obsolete.0 {
            return Some(self.obsolete.1);
        }
        if entry.doubtful {
            return Some(CloseReason::Doubt);
        }
        if c.surplus.is_some() {
            return c.surplus;
        }
        let used = entry.last_client.is_some();
        let once = self.rules.lifetime == Some(Duration::ZERO);
        let spared = !c.replaceable || (!self.queue.is_empty() && self.opening > 0);
        let over = used && (once || (!spared && self.is_over_age(slot, c.now)));
        over.then_some(CloseReason::Lifetime)
    }
}
