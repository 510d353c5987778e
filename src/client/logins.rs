//! Connections that have not logged in yet: what ends them when they take too long or pgweir stops. No timer each: the
//! janitor looks at all of them, a lock at the beginning and at the end of a login is all they cost.

use super::report::Trouble;
use crate::clock::Instant;
use crate::roster::Kick;
use parking_lot::Mutex;
use slab::Slab;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

/// A deadline this close is to be looked for more often.
const SOON: Duration = Duration::from_secs(2);

/// All of the process.
#[derive(Debug, Default)]
pub struct Logins {
    pending: Mutex<Slab<Pending>>,
    /// Counts the occasions on which somebody was woken to look at its deadline.
    rung: AtomicU64,
    stopping: AtomicBool,
}

#[derive(Debug)]
struct Pending {
    until: Option<Instant>,
    waker: Waker,
}

impl Logins {
    /// The janitor's turn: wakes those whose time is over. Returns whether somebody's is over soon.
    pub fn tick(&self, now: Instant) -> bool {
        let pending = self.pending.lock();
        let next = pending.iter().filter_map(|(_, p)| p.until).min();
        if next.is_some_and(|until| until <= now) {
            self.rung.fetch_add(1, Ordering::Release);
            let over = |p: &&Pending| p.until.is_some_and(|until| until <= now);
            pending.iter().map(|(_, p)| p).filter(over).for_each(|p| p.waker.wake_by_ref());
        }
        next.is_some_and(|until| until <= now + SOON)
    }

    /// pgweir stops: ends all, and those that begin from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.rung.fetch_add(1, Ordering::Release);
        self.pending.lock().iter().for_each(|(_, p)| p.waker.wake_by_ref());
    }

    /// A login by the task that polls this, which may take so long in all. To be awaited at once.
    pub async fn begin(&self, limit: Option<Duration>) -> Patience<'_> {
        let until = limit.map(|limit| Instant::now() + limit);
        std::future::poll_fn(|cx| {
            let pending = Pending { until, waker: cx.waker().clone() };
            let key = self.pending.lock().insert(pending);
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
        let over = self.until.is_some_and(|until| until <= Instant::now());
        over.then_some(Trouble::LoginTimeout(None))
    }
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        self.logins.pending.lock().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, poll_fn};
    use std::sync::Arc;
    use tokio::task::yield_now;

    async fn endless(logins: Arc<Logins>, limit: Option<Duration>) -> Trouble {
        let mut patience = logins.begin(limit).await;
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
        assert_eq!(logins.pending.lock().len(), 2);
        late.abort();
        assert!(late.await.is_err());
        assert_eq!(logins.pending.lock().len(), 1, "one that is dropped is not looked after");
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
        assert!(logins.pending.lock().is_empty());
    }
}
