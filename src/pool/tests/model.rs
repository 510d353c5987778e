//! The ledger against a plain model: no server lost or given twice, first come first served, none idle while clients wait,
//! choice among idle servers, counts that add up.
use crate::clock::Instant;
use std::{collections::VecDeque, task::Poll, time::Duration};

use proptest::prelude::*;

use crate::pool::{
    ClientId, CloseReason, SlotIndex, WaitError,
    entry::{Arrival, Circumstances, Counts, Found, Rules, Settled},
    ledger::Ledger,
    queue::{InLine, WaiterId},
};

#[derive(Clone, Debug)]
enum Step {
    Take { client: u64, hint: usize },
    BeginOpen,
    Opened { nth: usize },
    AbortOpen { nth: usize },
    Give { nth: usize, dirty: bool },
    Close { nth: usize },
    Poll { nth: usize },
    Leave { nth: usize },
    Cancel { client: u64 },
    CancelSettled { nth: usize },
    Expire,
    RefuseAll,
    Retire,
    EvictLongestIdle,
    Pressure(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let nth = || 0usize..6;
    prop_oneof![
        8 => (0u64..5, 0usize..6).prop_map(|(client, hint)| Step::Take { client, hint }),
        5 => Just(Step::BeginOpen),
        5 => nth().prop_map(|nth| Step::Opened { nth }),
        1 => nth().prop_map(|nth| Step::AbortOpen { nth }),
        8 => (nth(), any::<bool>()).prop_map(|(nth, dirty)| Step::Give { nth, dirty }),
        1 => nth().prop_map(|nth| Step::Close { nth }),
        6 => nth().prop_map(|nth| Step::Poll { nth }),
        2 => nth().prop_map(|nth| Step::Leave { nth }),
        3 => (0u64..5).prop_map(|client| Step::Cancel { client }),
        3 => nth().prop_map(|nth| Step::CancelSettled { nth }),
        1 => Just(Step::Expire),
        1 => Just(Step::RefuseAll),
        1 => Just(Step::Retire),
        1 => Just(Step::EvictLongestIdle),
        1 => any::<bool>().prop_map(Step::Pressure),
    ]
}

#[derive(Clone, Debug)]
struct Server {
    id: u32,
    slot: SlotIndex,
    dirty: bool,
    last: Option<u64>,
    obsolete: bool,
    guards: usize,
}

#[derive(Clone, Debug)]
struct Waiter {
    id: WaiterId,
    client: u64,
    token: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Timeout,
    Canceled,
    Shutdown,
}

struct World {
    ledger: Ledger<u32, u32, u32>,
    round_robin: bool,
    now: Instant,
    pressure: bool,
    next: u32,
    /// Each with whether it is obsolete.
    opening: Vec<(SlotIndex, bool)>,
    /// Oldest first.
    idle: Vec<Server>,
    leased: Vec<(Server, u64)>,
    parked: Vec<Server>,
    line: VecDeque<Waiter>,
    granted: Vec<(Waiter, Server)>,
    refused: Vec<(Waiter, Refusal)>,
    guards: Vec<(SlotIndex, u64, u32)>,
}

impl World {
    fn new(round_robin: bool) -> Self {
        Self {
            ledger: Ledger::new(Rules { lifetime: None, round_robin, switch: false }),
            round_robin,
            now: Instant::now(),
            pressure: false,
            next: 0,
            opening: Vec::new(),
            idle: Vec::new(),
            leased: Vec::new(),
            parked: Vec::new(),
            line: VecDeque::new(),
            granted: Vec::new(),
            refused: Vec::new(),
            guards: Vec::new(),
        }
    }

    fn circumstances(&self) -> Circumstances {
        let pressure = self.pressure.then_some(CloseReason::Paused);
        Circumstances { now: self.now, replaceable: true, surplus: None, pressure }
    }

    /// Where the model says that a server goes must be where the ledger put it.
    fn settle(&mut self, server: Server, outcome: Settled<u32, u32>) {
        match outcome {
            Settled::Close(id, reason) => {
                assert_eq!(id, server.id);
                if !server.obsolete {
                    assert!(self.pressure && self.line.is_empty());
                    assert_eq!(reason, CloseReason::Paused);
                }
            }
            Settled::Granted(waker) => {
                assert!(!server.obsolete);
                let next = self.line.pop_front().expect("granted to somebody in line");
                assert_eq!(waker, Some(next.token), "not the one whose turn it was");
                self.granted.push((next, server));
            }
            Settled::Kept => {
                assert!(!server.obsolete && !self.pressure && self.line.is_empty());
                self.idle.push(server);
            }
        }
    }

    fn expected_choice(&self, client: u64, hint: Option<SlotIndex>) -> Option<u32> {
        let own =
            |s: &&Server| Some(s.slot) == hint && s.last == Some(client) && (s.dirty || !self.round_robin);
        let mut clean = self.idle.iter().filter(|s| !s.dirty);
        let next = if self.round_robin { clean.next() } else { clean.next_back() };
        let chosen = self.idle.iter().find(own).or(next);
        chosen.or_else(|| self.idle.iter().find(|s| s.dirty)).map(|s| s.id)
    }

    fn take(&mut self, client: u64, hint: SlotIndex) {
        let expected = self.expected_choice(client, Some(hint));
        let taken = self.ledger.take(ClientId(client), Some(hint));
        assert_eq!(taken.map(|(_, id)| id), expected);
        match taken {
            Some((slot, id)) => {
                let at = self.idle.iter().position(|s| s.id == id).unwrap();
                assert_eq!(self.idle[at].slot, slot);
                let server = self.idle.remove(at);
                self.leased.push((server, client));
            }
            None => {
                self.next += 1;
                let token = self.next;
                let since = self.now;
                let id = self.ledger.enqueue(InLine { client: ClientId(client), since }, token);
                self.line.push_back(Waiter { id, client, token });
            }
        }
    }

    fn step(&mut self, step: Step) {
        self.now += Duration::from_secs(1);
        match step {
            Step::Take { client, hint } => self.take(client, SlotIndex(hint as u32)),
            Step::BeginOpen if self.ledger.wanted() > 0 => {
                assert_eq!(
                    self.ledger.next_in_need().unwrap().client.0,
                    self.line[self.opening.len()].client
                );
                self.opening.push((self.ledger.begin_open(self.now), false));
            }
            Step::Opened { nth } if !self.opening.is_empty() => self.opened(nth),
            Step::AbortOpen { nth } if !self.opening.is_empty() => {
                let (slot, _) = self.opening.remove(nth % self.opening.len());
                self.ledger.abort_open(slot);
            }
            Step::Give { nth, dirty } if !self.leased.is_empty() => self.give(nth, dirty),
            Step::Close { nth } if !self.leased.is_empty() => {
                let (server, _) = self.leased.remove(nth % self.leased.len());
                self.ledger.remove(server.slot);
            }
            Step::Poll { nth } => self.poll(nth),
            Step::Leave { nth } => self.leave(nth),
            Step::Cancel { client } => self.cancel(client),
            Step::CancelSettled { nth } if !self.guards.is_empty() => self.cancel_settled(nth),
            Step::Pressure(on) => self.pressure = on,
            step => self.upkeep(step),
        }
    }

    fn upkeep(&mut self, step: Step) {
        match step {
            Step::Expire => {
                let front = self.line.front().cloned();
                assert_eq!(self.ledger.expire_front(self.now), front.as_ref().map(|w| Some(w.token)));
                self.line.pop_front();
                self.refused.extend(front.map(|w| (w, Refusal::Timeout)));
            }
            Step::RefuseAll => {
                let tokens: Vec<u32> = self.line.iter().map(|w| w.token).collect();
                assert_eq!(self.ledger.refuse_all(&WaitError::Shutdown), tokens);
                self.refused.extend(self.line.drain(..).map(|w| (w, Refusal::Shutdown)));
            }
            Step::Retire => {
                let idle: Vec<u32> = self.idle.drain(..).map(|s| s.id).collect();
                assert_eq!(self.ledger.retire(CloseReason::Obsolete), idle);
                let granted = self.granted.iter_mut().map(|(_, s)| s);
                let leased = self.leased.iter_mut().map(|(s, _)| s).chain(granted);
                leased.chain(&mut self.parked).for_each(|s| s.obsolete = true);
                self.opening.iter_mut().for_each(|(_, obsolete)| *obsolete = true);
            }
            Step::EvictLongestIdle => {
                let seen = self.ledger.longest_idle();
                assert_eq!(seen.map(|i| i.slot), self.idle.first().map(|s| s.slot));
                if let Some(seen) = seen {
                    assert_eq!(self.ledger.remove_idle(seen.slot), self.idle.remove(0).id);
                }
            }
            _ => {}
        }
    }

    fn opened(&mut self, nth: usize) {
        let (slot, obsolete) = self.opening.remove(nth % self.opening.len());
        self.next += 1;
        let id = self.next;
        let arrival = Arrival { server: id, dirty: false, cancel_key: id, random: 0 };
        let outcome = self.ledger.opened(slot, arrival, &self.circumstances());
        self.settle(Server { id, slot, dirty: false, last: None, obsolete, guards: 0 }, outcome);
    }

    fn give(&mut self, nth: usize, dirty: bool) {
        let (mut server, client) = self.leased.remove(nth % self.leased.len());
        server.dirty = dirty;
        server.last = Some(client);
        let outcome = self.ledger.give(server.slot, server.id, dirty, &self.circumstances());
        if server.guards > 0 {
            assert!(matches!(outcome, Settled::Kept), "a server being cancelled went on");
            self.parked.push(server);
        } else {
            self.settle(server, outcome);
        }
    }

    fn poll(&mut self, nth: usize) {
        let queued = self.line.len();
        let all = queued + self.granted.len() + self.refused.len();
        if all == 0 {
            return;
        }
        let nth = nth % all;
        if let Some(waiter) = self.line.get(nth) {
            assert!(self.ledger.poll(waiter.id, |_| {}).is_pending());
        } else if nth - queued < self.granted.len() {
            let (waiter, server) = self.granted.remove(nth - queued);
            let Poll::Ready(Ok((slot, id))) = self.ledger.poll(waiter.id, |_| {}) else {
                panic!("granted {server:?}")
            };
            assert_eq!((slot, id), (server.slot, server.id));
            self.leased.push((server, waiter.client));
        } else {
            let (waiter, why) = self.refused.remove(nth - queued - self.granted.len());
            let Poll::Ready(Err(error)) = self.ledger.poll(waiter.id, |_| {}) else { panic!("refused") };
            let told = match error {
                WaitError::Timeout => Refusal::Timeout,
                WaitError::Canceled => Refusal::Canceled,
                WaitError::Shutdown => Refusal::Shutdown,
                WaitError::Pins | WaitError::Open(_) => panic!("nothing failed to open, nobody is tied"),
            };
            assert_eq!(told, why);
        }
    }

    fn leave(&mut self, nth: usize) {
        let c = self.circumstances();
        if !self.line.is_empty() {
            let waiter = self.line.remove(nth % self.line.len()).unwrap();
            assert!(matches!(self.ledger.leave(waiter.id, &c), (Some(token), None) if token == waiter.token));
        } else if !self.granted.is_empty() {
            let (waiter, server) = self.granted.remove(nth % self.granted.len());
            let outcome = self.ledger.leave(waiter.id, &c).1.expect("its server goes on");
            self.settle(server, outcome);
        } else if let Some((waiter, _)) = self.refused.pop() {
            assert!(self.ledger.leave(waiter.id, &c).1.is_none());
        }
    }

    fn cancel(&mut self, client: u64) {
        match self.ledger.cancel(ClientId(client), &self.circumstances()) {
            Found::Waiting(waker, outcome) => {
                let waiter = if let Some(token) = waker {
                    let at = self.line.iter().position(|w| w.token == token).expect("it was in line");
                    assert!(outcome.is_none());
                    self.line.remove(at).unwrap()
                } else {
                    let outcome = outcome.expect("not in line, so it had been granted a server");
                    let at = self.granted.iter().position(|(w, _)| w.client == client).unwrap();
                    let (waiter, server) = self.granted.remove(at);
                    self.settle(server, outcome);
                    waiter
                };
                assert_eq!(waiter.client, client);
                self.refused.push((waiter, Refusal::Canceled));
            }
            Found::Running(slot, serial, key) => {
                let (server, holder) = self.leased.iter_mut().find(|(s, _)| s.slot == slot).unwrap();
                assert_eq!((*holder, server.id), (client, key), "the cancel aims at another's server");
                server.guards += 1;
                self.guards.push((slot, serial, key));
            }
            Found::Nothing => {
                assert!(self.line.iter().all(|w| w.client != client));
                assert!(self.granted.iter().all(|(w, _)| w.client != client));
                assert!(self.leased.iter().all(|(_, holder)| *holder != client));
            }
        }
    }

    fn cancel_settled(&mut self, nth: usize) {
        let (slot, serial, id) = self.guards.remove(nth % self.guards.len());
        let outcome = self.ledger.cancel_settled(slot, serial, &self.circumstances());
        if let Some((server, _)) = self.leased.iter_mut().find(|(s, _)| s.id == id) {
            server.guards -= 1;
            assert!(outcome.is_none());
        } else if let Some(at) = self.parked.iter().position(|s| s.id == id) {
            self.parked[at].guards -= 1;
            if self.parked[at].guards == 0 {
                let server = self.parked.remove(at);
                self.settle(server, outcome.expect("nothing keeps it any more"));
            } else {
                assert!(outcome.is_none());
            }
        } else {
            assert!(outcome.is_none(), "a closed server's guard moved another");
        }
    }

    fn check(&self) {
        let dirty_idle = self.idle.iter().filter(|s| s.dirty).count();
        let counts = Counts {
            opening: self.opening.len(),
            leased: self.leased.len() + self.granted.len(),
            parked: self.parked.len(),
            idle: self.idle.len() - dirty_idle,
            dirty_idle,
            waiting: self.line.len(),
        };
        assert_eq!(self.ledger.counts(), counts);
        assert_eq!(self.ledger.live(), self.opening.len() + counts.leased + counts.parked + self.idle.len());
        assert!(self.line.is_empty() || self.idle.is_empty(), "idle while clients wait");
        assert_eq!(self.ledger.wanted(), self.line.len().saturating_sub(self.opening.len()));
        assert_eq!(self.ledger.front().map(|f| f.client.0), self.line.front().map(|w| w.client));
        let idle: Vec<SlotIndex> = self.ledger.idle_servers().iter().map(|i| i.slot).collect();
        assert_eq!(idle, self.idle.iter().map(|s| s.slot).collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_model(round_robin in any::<bool>(), steps in prop::collection::vec(step(), 0..150)) {
        let mut world = World::new(round_robin);
        for step in steps {
            // One wait or lease per client, as sessions have it.
            if let Step::Take { client, .. } = step {
                let busy = world.line.iter().any(|w| w.client == client)
                    || world.granted.iter().any(|(w, _)| w.client == client)
                    || world.refused.iter().any(|(w, _)| w.client == client)
                    || world.leased.iter().any(|(_, holder)| *holder == client);
                if busy {
                    continue;
                }
            }
            world.step(step);
            world.check();
        }
    }
}
