//! Connections that have not logged in yet: what ends them when they take too long, when pgweir stops, or when others want their
//! places. No timer each: the janitor looks at all of them, a lock at the beginning and at the end of a login is all they cost.

use super::report::Trouble;
use crate::auth::attempts::net;
use crate::clock::Instant;
use crate::roster::{ClientAddress, Kick};
use parking_lot::Mutex;
use slab::Slab;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

/// A deadline this close is to be looked for more often.
const SOON: Duration = Duration::from_secs(2);

/// All of the process.
#[derive(Debug, Default)]
pub struct Logins {
    pending: Mutex<Book>,
    /// Counts the occasions on which somebody was woken to look at its deadline.
    rung: AtomicU64,
    stopping: AtomicBool,
}

/// Whom a connection counts as: an address (of IPv6, its /64), or this machine by Unix-domain socket.
type Origin = Option<IpAddr>;

fn origin(address: ClientAddress) -> Origin {
    match address {
        ClientAddress::Tcp(address) => Some(net(address.ip())),
        ClientAddress::Unix => None,
    }
}

#[derive(Debug, Default)]
struct Book {
    all: Slab<Pending>,
    /// How many there are of each, those left out that have been crowded out.
    counts: BTreeMap<Origin, usize>,
}

#[derive(Debug)]
struct Pending {
    until: Option<Instant>,
    waker: Waker,
    from: Origin,
    /// Its place is another's.
    crowded_out: bool,
}

impl Book {
    fn enter(&mut self, pending: Pending) -> usize {
        *self.counts.entry(pending.from).or_default() += 1;
        self.all.insert(pending)
    }

    fn discount(&mut self, from: Origin) {
        if let Some(count) = self.counts.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&from);
            }
        }
    }

    fn leave(&mut self, key: usize) {
        let pending = self.all.remove(key);
        if !pending.crowded_out {
            self.discount(pending.from);
        }
    }

    /// Who has to make room for one more from there: of the address that has most, if that is fair: one whose answer is
    /// only held back, else the one that has taken longest.
    fn crowd_out(&mut self, newcomer: Origin) -> Option<&Waker> {
        let own = self.counts.get(&newcomer).copied().unwrap_or(0);
        let (&crowd, &most) = self.counts.iter().max_by_key(|(_, count)| **count)?;
        if most <= own + 1 {
            return None;
        }
        let of_crowd = self.all.iter().filter(|(_, p)| p.from == crowd && !p.crowded_out);
        let (key, _) = of_crowd.min_by_key(|(_, p)| p.until)?;
        self.discount(crowd);
        let pending = &mut self.all[key];
        pending.crowded_out = true;
        Some(&pending.waker)
    }
}

impl Logins {
    /// The janitor's turn: wakes those whose time is over. Returns whether somebody's is over soon.
    pub fn tick(&self, now: Instant) -> bool {
        let pending = self.pending.lock();
        let next = pending.all.iter().filter_map(|(_, p)| p.until).min();
        if next.is_some_and(|until| until <= now) {
            self.rung.fetch_add(1, Ordering::Release);
            let over = |p: &&Pending| p.until.is_some_and(|until| until <= now);
            pending.all.iter().map(|(_, p)| p).filter(over).for_each(|p| p.waker.wake_by_ref());
        }
        next.is_some_and(|until| until <= now + SOON)
    }

    /// pgweir stops: ends all, and those that begin from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.rung.fetch_add(1, Ordering::Release);
        self.pending.lock().all.iter().for_each(|(_, p)| p.waker.wake_by_ref());
    }

    /// There are as many as may be, and one more from there: ends one of the address that has most of them, so that nobody keeps
    /// the others out. Returns whether there was one to end; not where the newcomer's own address has about as many.
    pub fn make_room(&self, newcomer: ClientAddress) -> bool {
        let mut pending = self.pending.lock();
        let Some(waker) = pending.crowd_out(origin(newcomer)) else { return false };
        self.rung.fetch_add(1, Ordering::Release);
        waker.wake_by_ref();
        true
    }

    /// A login by the task that polls this, which may take so long in all. To be awaited at once.
    pub async fn begin(&self, limit: Option<Duration>, address: ClientAddress) -> Patience<'_> {
        let until = limit.map(|limit| Instant::now() + limit);
        let from = origin(address);
        std::future::poll_fn(|cx| {
            let pending = Pending { until, waker: cx.waker().clone(), from, crowded_out: false };
            let key = self.pending.lock().enter(pending);
            Poll::Ready(Patience { logins: self, key, until, heard: None })
        })
        .await
    }
}

/// How long a connection may take to log in: client_login_timeout, or until pgweir stops.
#[derive(Debug)]
pub struct Patience<'a> {
    logins: &'a Logins,
    key: usize,
    until: Option<Instant>,
    /// What had been rung when it looked last.
    heard: Option<u64>,
}

impl Patience<'_> {
    /// A load balancer has told whom it connects for.
    pub fn is_for(&mut self, address: ClientAddress) {
        let (mut book, from) = (self.logins.pending.lock(), origin(address));
        let pending = &mut book.all[self.key];
        let before = std::mem::replace(&mut pending.from, from);
        if !pending.crowded_out {
            book.discount(before);
            *book.counts.entry(from).or_default() += 1;
        }
    }

    /// The outcome of `work`, unless it takes too long; polled by the task that began the login.
    pub async fn bound<T, E: From<Trouble>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Pending => {
                self.exhausted().map_or(Poll::Pending, |trouble| Poll::Ready(Err(trouble.into())))
            }
            ready => ready,
        })
        .await
    }

    /// Why the login has to end now, if it has to.
    fn exhausted(&mut self) -> Option<Trouble> {
        let rung = self.logins.rung.load(Ordering::Acquire);
        if self.heard == Some(rung) {
            return None;
        }
        self.heard = Some(rung);
        if self.logins.stopping.load(Ordering::Acquire) {
            return Some(Trouble::Kicked(Kick::Shutdown));
        }
        if self.logins.pending.lock().all[self.key].crowded_out {
            return Some(Trouble::TooManyLogins);
        }
        let over = self.until.is_some_and(|until| until <= Instant::now());
        over.then_some(Trouble::LoginTimeout(None))
    }
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        self.logins.pending.lock().leave(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, poll_fn};
    use std::sync::Arc;
    use tokio::task::yield_now;

    async fn endless(logins: Arc<Logins>, limit: Option<Duration>) -> Trouble {
        endless_of(logins, limit, ClientAddress::Unix).await
    }

    async fn endless_of(logins: Arc<Logins>, limit: Option<Duration>, from: ClientAddress) -> Trouble {
        let mut patience = logins.begin(limit, from).await;
        patience.bound(pending::<Result<(), Trouble>>()).await.unwrap_err()
    }

    #[tokio::test]
    async fn deadlines_are_the_janitors() {
        let (logins, start) = (Arc::new(Logins::default()), Instant::now());
        let none = tokio::spawn(endless(Arc::clone(&logins), None));
        let late = tokio::spawn(endless(Arc::clone(&logins), Some(Duration::from_secs(60))));
        let now = tokio::spawn(endless(Arc::clone(&logins), Some(Duration::ZERO)));
        assert!(matches!(now.await.unwrap(), Trouble::LoginTimeout(None)), "it looks once by itself");
        assert!(!logins.tick(start), "a minute is not soon");
        assert!(logins.tick(start + Duration::from_secs(59)));
        yield_now().await;
        assert!(!late.is_finished() && !none.is_finished());
        assert_eq!(logins.pending.lock().all.len(), 2);
        late.abort();
        assert!(late.await.is_err());
        assert_eq!(logins.pending.lock().all.len(), 1, "one that is dropped is not looked after");
        none.abort();
    }

    #[tokio::test]
    async fn a_deadline_that_passes_wakes() {
        let logins = Arc::new(Logins::default());
        let login = tokio::spawn(endless(Arc::clone(&logins), Some(Duration::from_millis(1))));
        let told = poll_fn(|cx| {
            logins.tick(Instant::now());
            cx.waker().wake_by_ref();
            if login.is_finished() { Poll::Ready(()) } else { Poll::Pending }
        });
        told.await;
        assert!(matches!(login.await.unwrap(), Trouble::LoginTimeout(None)));
    }

    #[tokio::test]
    async fn a_stop_ends_logins_under_way_and_to_come() {
        let logins = Arc::new(Logins::default());
        let login = tokio::spawn(endless(Arc::clone(&logins), None));
        yield_now().await;
        assert!(!login.is_finished());
        logins.stop();
        assert!(matches!(login.await.unwrap(), Trouble::Kicked(Kick::Shutdown)));
        assert!(matches!(endless(Arc::clone(&logins), None).await, Trouble::Kicked(Kick::Shutdown)));
        assert!(logins.pending.lock().all.is_empty());
    }

    fn at(ip: &str) -> ClientAddress {
        ClientAddress::Tcp((ip.parse::<IpAddr>().unwrap(), 1).into())
    }

    #[tokio::test]
    async fn who_has_most_makes_room() {
        let logins = Arc::new(Logins::default());
        let minutes = |n: u64| Some(Duration::from_secs(60 * n));
        let begin = |limit, from| tokio::spawn(endless_of(Arc::clone(&logins), limit, at(from)));
        // One /64 is one address.
        let crowd = [begin(minutes(2), "2001:db8::1"), begin(minutes(1), "2001:db8::2")];
        let crowd = [&crowd[0], &crowd[1], &begin(None, "2001:db8::3")];
        let single = begin(minutes(1), "192.0.2.1");
        yield_now().await;
        assert!(!logins.make_room(at("2001:db8::4")), "its own have the places");
        assert!(logins.make_room(at("192.0.2.2")), "3 to none");
        yield_now().await;
        assert_eq!(crowd.map(|login| login.is_finished()), [false, false, true], "whose answer is held back");
        assert!(logins.make_room(ClientAddress::Unix), "2 to none");
        assert!(
            !logins.make_room(at("192.0.2.2")),
            "1, another's 1, and none: nobody has more than a place too many"
        );
        yield_now().await;
        assert_eq!(crowd.map(|login| login.is_finished()), [false, true, true], "who has been there longest");
        assert!(!single.is_finished());
        assert_eq!(logins.pending.lock().counts.values().sum::<usize>(), 2);
    }

    #[tokio::test]
    async fn who_comes_by_a_balancer_counts_for_himself() {
        let logins = Logins::default();
        let mut balanced = Vec::new();
        for n in 1..4 {
            let mut patience = logins.begin(None, at("198.51.100.1")).await;
            patience.is_for(at(&format!("192.0.2.{n}")));
            balanced.push(patience);
        }
        assert!(!logins.make_room(at("192.0.2.9")));
        balanced.clear();
        assert!(logins.pending.lock().counts.is_empty());
    }
}
