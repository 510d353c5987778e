//! Everything that a pool's mutex guards: the ledger, the places of the pool's own, and why no more servers are being
//! opened. Decides which opens to begin; never spawns, wakes or closes anything.
use crate::clock::Instant;
use std::{
    sync::{Arc, Weak},
    task::Waker,
    time::Duration,
};

use super::{
    PoolSettings, Pooled, SlotIndex,
    backoff::{Backoff, HANGING},
    entry::{Circumstances, Counts, Rules},
    error::{CloseReason, OpenError, OpenFailure, WaitError},
    hindrance::{Hindered, Hindrance},
    lease::Seat,
    ledger::Ledger,
    limits::{CapName, Claim, Member, NoPlace, Returned, SharedCap, take_all},
    permit::{Permit, Slots},
    pool::Known,
    share::Share,
};

/// What was in the way when opens were last looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// Nothing.
    None,
    /// All places of the pool are taken, but for a reserve that isn't due.
    Full,
    /// The cap at this index has no place; the pool is among its starving, or about to be offered a place.
    Cap(usize),
}

/// Who makes the pool look whether it can open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Push<'a> {
    /// A new waiter. What was in the way is taken to be so still: whoever removes it makes the pool look again.
    Newcomer,
    /// Something may have changed.
    Again,
    /// A place under this cap is offered.
    Offer(&'a CapName),
}

/// Opens to begin once the lock is released.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) opens: Vec<(SlotIndex, Permit)>,
    /// How many of them are from the reserve.
    pub(super) reserve: usize,
    /// The cap on which the pool starves, and whether it has just begun to.
    pub(super) starving_on: Option<(usize, bool)>,
}

/// What never changes about a pool's bounds.
pub(super) struct Bounds {
    /// Sorted by name.
    pub(super) caps: Arc<[Arc<SharedCap>]>,
    pub(super) pool: Weak<dyn Member>,
    /// What the pool has under them.
    pub(super) share: Arc<Share>,
}

impl Bounds {
    fn claim<'a>(&'a self, first_on: Option<&'a CapName>, urgent: bool) -> Claim<'a> {
        Claim { pool: &self.pool, share: &self.share, first_on, urgent }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// No server is handed out; those there were are obsolete.
    Paused,
    /// For good.
    Shutdown,
}

/// One pool's state.
pub(super) struct Books<S: Pooled> {
    pub(super) ledger: Ledger<Box<Seat<S>>, Known<S>, Waker>,
    pub(super) settings: PoolSettings,
    pub(super) open_failure: Option<OpenFailure>,
    pub(super) keep_min: bool,
    normal: Slots,
    reserve: Slots,
    backoff: Backoff,
    obstacle: Obstacle,
    pub(super) hindered: Hindered,
    phase: Phase,
    /// More servers than the settings allow may be live.
    shrinking: bool,
    /// The latest time that anybody told.
    clock: Instant,
}

/// Why no server may idle while a shared cap has too many.
#[cold]
fn excess(bounds: &Bounds) -> Option<CloseReason> {
    let over = bounds.caps.iter().find(|cap| cap.surplus_if_pressed() > 0);
    over.map(|cap| CloseReason::Evicted(cap.name().kind))
}

fn rules(settings: &PoolSettings) -> Rules {
    Rules { lifetime: settings.lifetime, round_robin: settings.round_robin, switch: settings.switch }
}

impl<S: Pooled> Books<S> {
    pub(super) fn new(settings: PoolSettings, now: Instant) -> Self {
        Self {
            ledger: Ledger::new(rules(&settings)),
            normal: Slots::new(settings.size.map(u32::from)),
            reserve: Slots::new(Some(settings.reserve_size)),
            settings,
            open_failure: None,
            keep_min: false,
            backoff: Backoff::default(),
            obstacle: Obstacle::None,
            hindered: Hindered::default(),
            phase: Phase::Running,
            shrinking: false,
            clock: now,
        }
    }

    /// Times come from several threads; the books' own never goes back.
    pub(super) fn advance(&mut self, now: Instant) {
        self.clock = self.clock.max(now);
    }

    pub(super) fn clock(&self) -> Instant {
        self.clock
    }

    pub(super) fn is_shutdown(&self) -> bool {
        self.phase == Phase::Shutdown
    }

    pub(super) fn is_paused(&self) -> bool {
        self.phase == Phase::Paused
    }

    /// No server is handed out until [`Self::resume`]. Returns the idle ones, to be closed; others close when they come
    /// back, and whoever wants one waits.
    pub(super) fn pause(&mut self, bounds: &Bounds) -> Vec<Box<Seat<S>>> {
        if self.phase == Phase::Running {
            self.phase = Phase::Paused;
        }
        self.face(bounds, Obstacle::None);
        self.ledger.retire(CloseReason::Paused)
    }

    /// Ends a pause.
    pub(super) fn resume(&mut self) {
        if self.phase == Phase::Paused {
            self.phase = Phase::Running;
        }
    }

    /// Connections that count, those that are being opened and closed included.
    pub(super) fn connections(&self) -> usize {
        self.lent()
    }

    pub(super) fn reconfigure(&mut self, settings: PoolSettings) {
        self.normal.resize(settings.size.map(u32::from));
        self.reserve.resize(Some(settings.reserve_size));
        self.ledger.set_rules(rules(&settings));
        self.settings = settings;
        self.shrinking = true;
    }

    /// What decides about a server that is looking for its next place now, and whether a shared cap is short: then a server that
    /// comes back is to be [weighed](Self::weigh), and one that idles is looked at again.
    #[inline(always)]
    pub(super) fn circumstances(&mut self, bounds: &Bounds) -> (Circumstances, bool) {
        let surplus = self.shrinking && self.surplus() > 0;
        self.shrinking = surplus;
        let pressed = bounds.caps.iter().any(|cap| cap.presses(&bounds.pool));
        let circumstances = Circumstances {
            now: self.clock,
            replaceable: self.may_replace(),
            surplus: surplus.then_some(CloseReason::Excess),
            pressure: if pressed { excess(bounds) } else { None },
        };
        (circumstances, pressed)
    }

    /// A server comes back while a shared cap is short or has become smaller: whether it goes, whoever waits for it here. If
    /// clients of this pool do, they get the place instead when it is this pool's turn. One that is being cancelled stays, so
    /// nothing is promised.
    #[cold]
    pub(super) fn weigh(&self, slot: SlotIndex, bounds: &Bounds, circumstances: &mut Circumstances) {
        let Some(opened) = self.ledger.opened_at(slot) else { return };
        let waited_for = self.ledger.front().is_some();
        let back = Returned { pool: &bounds.pool, share: &bounds.share, opened, now: self.clock, waited_for };
        let due = |cap: &&Arc<SharedCap>| {
            cap.is_pressed()
                && match cap.surplus() {
                    0 => cap.owes(&back),
                    surplus => cap.takes_back(surplus, &bounds.share),
                }
        };
        let reason = bounds.caps.iter().find(due).map(|cap| CloseReason::Evicted(cap.name().kind));
        match waited_for {
            true => circumstances.surplus = circumstances.surplus.or(reason),
            false => circumstances.pressure = circumstances.pressure.or(reason),
        }
    }

    /// False while opens fail: then old servers are worth keeping.
    pub(super) fn may_replace(&self) -> bool {
        !self.backoff.is_pausing(self.clock)
    }

    /// True if the pool waits for a place under the cap at this index.
    pub(super) fn starves_on(&self, cap: usize) -> bool {
        self.obstacle == Obstacle::Cap(cap)
    }

    /// Servers above pool size and reserve. Those that are being closed already don't count, however long that takes.
    pub(super) fn surplus(&self) -> usize {
        let most = |size: u32| size as usize + self.settings.reserve_size as usize;
        self.settings.size.map_or(0, |size| self.ledger.live().saturating_sub(most(size.get())))
    }

    pub(super) fn reserve_in_use(&self) -> usize {
        self.settings.size.map_or(0, |size| self.lent().saturating_sub(size.get() as usize))
    }

    fn lent(&self) -> usize {
        self.normal.lent() + self.reserve.lent()
    }

    /// Begins the opens that the line asks for and the bounds allow.
    pub(super) fn fill(&mut self, bounds: &Bounds, push: Push<'_>) -> Plan {
        let mut plan = Plan::default();
        if push == Push::Newcomer && self.obstacle != Obstacle::None {
            self.tell_lack(bounds);
            self.note_hindrance(bounds);
            return plan;
        }
        let mut first_on = match push {
            Push::Offer(cap) => Some(cap),
            Push::Newcomer | Push::Again => None,
        };
        bounds.share.set_failing(self.backoff.is_failing(self.clock) || self.hangs());
        let mut obstacle = Obstacle::None;
        while self.may_open(bounds)
            && self.ledger.wanted() > 0
            && let Some(waiter) = self.ledger.next_in_need()
        {
            let patience = self.settings.reserve_timeout;
            let overdue = !patience.is_zero() && self.clock - waiter.since >= patience;
            let claim = bounds.claim(first_on.take(), true);
            match self.permit(bounds, &claim, overdue) {
                Ok((permit, reserve)) => {
                    plan.reserve += usize::from(reserve);
                    plan.opens.push((self.ledger.begin_open(self.clock), permit));
                }
                Err(None) => {
                    obstacle = Obstacle::Full;
                    break;
                }
                Err(Some(NoPlace { cap, newly })) => {
                    obstacle = Obstacle::Cap(cap);
                    plan.starving_on = Some((cap, newly));
                    break;
                }
            }
        }
        self.face(bounds, obstacle);
        self.note_hindrance(bounds);
        plan
    }

    fn note_hindrance(&mut self, bounds: &Bounds) {
        if self.ledger.wanted() == 0 {
            return;
        }
        self.hindered.note(match self.obstacle {
            _ if self.phase == Phase::Paused => Some(Hindrance::Paused),
            Obstacle::Full => Some(Hindrance::Size),
            Obstacle::Cap(at) => Some(Hindrance::Cap(bounds.caps[at].name().kind)),
            Obstacle::None => self.backoff.has_failed().then_some(Hindrance::Failing),
        });
    }

    /// Begins opens up to min_pool_size, only where there is room: it makes nobody else close a server.
    pub(super) fn fill_minimum(&mut self, bounds: &Bounds) -> Plan {
        let mut plan = Plan::default();
        while self.may_open(bounds) && self.ledger.live() < self.minimum() {
            let claim = bounds.claim(None, false);
            let Ok((permit, _)) = self.permit(bounds, &claim, false) else { break };
            plan.opens.push((self.ledger.begin_open(self.clock), permit));
        }
        plan
    }

    /// Servers to keep however idle.
    pub(super) fn minimum(&self) -> usize {
        if self.keep_min { self.settings.min_size as usize } else { 0 }
    }

    /// Call after the line may have become shorter: a pool that needs nothing doesn't starve.
    pub(super) fn relent(&mut self, bounds: &Bounds) {
        match self.obstacle {
            Obstacle::None => {}
            _ if self.ledger.wanted() == 0 => self.face(bounds, Obstacle::None),
            _ => self.tell_lack(bounds),
        }
    }

    /// How many servers others close for the pool while it starves: no more than it would open at once.
    fn tell_lack(&self, bounds: &Bounds) {
        if let Obstacle::Cap(_) = self.obstacle {
            bounds.share.set_lacking(self.ledger.wanted().min(self.more_at_once(bounds)).min(self.room()));
        }
    }

    /// Opens that may be begun beside those under way. One that hangs is warning enough for pools that share places.
    fn more_at_once(&self, bounds: &Bounds) -> usize {
        let shared = bounds.caps.iter().any(|cap| cap.limit().is_some());
        let most = match shared && self.hangs() {
            true => 1,
            false => self.backoff.at_once(self.settings.max_opening, shared, self.clock),
        };
        most.saturating_sub(self.ledger.counts().opening)
    }

    fn hangs(&self) -> bool {
        self.ledger
            .opening_since()
            .is_some_and(|since| self.clock.saturating_duration_since(since) >= HANGING)
    }

    /// Places of its own that are left; those of the reserve only if all others are taken.
    fn room(&self) -> usize {
        let lent = self.lent();
        self.settings.size.map_or(usize::MAX, |size| (size.get() as usize).saturating_sub(lent).max(1))
    }

    fn face(&mut self, bounds: &Bounds, obstacle: Obstacle) {
        if let Obstacle::Cap(cap) = self.obstacle
            && !matches!(obstacle, Obstacle::Cap(_))
        {
            bounds.caps[cap].forget(&bounds.pool);
        }
        self.obstacle = obstacle;
        self.tell_lack(bounds);
    }

    fn may_open(&self, bounds: &Bounds) -> bool {
        self.phase == Phase::Running && !self.backoff.is_pausing(self.clock) && self.more_at_once(bounds) > 0
    }

    /// The right to open one more and whether it is from the reserve; else the cap in the way, or none: the pool is full.
    /// Above pool size, counting normal and reserve servers alike, only what is overdue may open.
    fn permit(
        &self,
        bounds: &Bounds,
        claim: &Claim<'_>,
        overdue: bool,
    ) -> Result<(Permit, bool), Option<NoPlace>> {
        let size = self.settings.size.map(|size| size.get() as usize);
        let lent = self.lent();
        let above = size.is_some_and(|size| lent >= size);
        let most = size.map(|size| size + self.settings.reserve_size as usize);
        if (above && !overdue) || most.is_some_and(|most| lent >= most) {
            return Err(None);
        }
        let reserve = || above.then(|| self.reserve.take()).flatten();
        let own = self.normal.take().or_else(reserve).ok_or(None)?;
        let shared = take_all(&bounds.caps, claim).map_err(Some)?;
        Ok((Permit::new(own, shared, bounds), above))
    }

    pub(super) fn open_succeeded(&mut self) {
        self.backoff.succeeded(self.clock);
        self.open_failure = None;
    }

    /// Returns the pause before the next try, and whom to wake.
    pub(super) fn open_failed(
        &mut self,
        slot: SlotIndex,
        error: &OpenError,
        random: u16,
    ) -> (Duration, Vec<Waker>) {
        let took = self.clock.saturating_duration_since(self.ledger.abort_open(slot));
        let pause = self.backoff.failed(self.clock, took, self.settings.login_retry, random);
        let since = self.open_failure.as_ref().map_or(self.clock, |failure| failure.since);
        self.open_failure = Some(OpenFailure { error: error.clone(), since });
        let wakers = match error {
            OpenError::Final(error) => self.ledger.refuse_all(&WaitError::Open(Arc::clone(error))),
            OpenError::Transient(_) | OpenError::Passing(_) => Vec::new(),
        };
        (pause, wakers)
    }

    /// No server is handed out any more. Returns the idle ones, to be closed, and whom to wake.
    pub(super) fn shut_down(
        &mut self,
        bounds: &Bounds,
        reason: CloseReason,
    ) -> (Vec<Box<Seat<S>>>, Vec<Waker>) {
        self.phase = Phase::Shutdown;
        let wakers = self.ledger.refuse_all(&WaitError::Shutdown);
        self.face(bounds, Obstacle::None);
        (self.ledger.retire_forever(reason), wakers)
    }

    pub(super) fn counts(&self) -> Counts {
        self.ledger.counts()
    }
}
