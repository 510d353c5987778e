//! LISTEN in transaction mode: one server of a pool listens for all its clients (`server`), and hands each what is its own
//! (`books`, pure). A client that listens needs no server of the pool meanwhile.

pub mod books;
mod server;
mod session;
#[cfg(test)]
mod tests;

pub use books::MAILBOX;

use super::context::PoolContext;
use crate::clock::Instant;
use crate::metrics::Notifications;
use crate::pool::{ClientId, Lease, Place};
use crate::roster::Entry;
use crate::server::Server;
use crate::wire::backend::Notification;
use books::Books;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The same reason for having no listening server is logged again after so long.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// Who listens to what, and the way to the server that does it for them.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    /// There may be something to tell the listening server.
    news: Notify,
}

#[derive(Debug)]
struct State {
    books: Books<Arc<Entry>>,
    task: Task,
    /// Whether the server is at a place where none should be any more.
    obsolete: bool,
    /// A client's own server that is to be the listening server.
    given: Option<(Server, Place)>,
    /// What was logged of why there is none.
    told: Told,
}

/// What was logged last of why there is no listening server, and when; nothing since there was one.
#[derive(Debug, Default)]
struct Told(Option<(String, Instant)>);

impl Told {
    /// Whether it is worth a line: as long as nothing else goes wrong, once in [`TOLD_AGAIN`].
    fn is_news(&mut self, why: &str, now: Instant) -> bool {
        let known =
            |(told, at): &(String, Instant)| told == why && now.saturating_duration_since(*at) < TOLD_AGAIN;
        let news = !self.0.as_ref().is_some_and(known);
        if news {
            self.0 = Some((why.to_owned(), now));
        }
        news
    }

    /// There is one.
    fn forget(&mut self) {
        self.0 = None;
    }
}

/// What has, opens or keeps the listening server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Nothing.
    None,
    /// It runs.
    Runs,
    /// It runs and has failed: a client's own server would do.
    Wants,
}

impl Default for Hub {
    fn default() -> Self {
        let books = Books::new(rand::random());
        let state = State { books, task: Task::None, obsolete: false, given: None, told: Told::default() };
        Self { state: Mutex::new(state), news: Notify::new() }
    }
}

impl Hub {
    /// The client listens to these channels and no others.
    pub fn set(&self, context: &Arc<PoolContext>, client: &Arc<Entry>, channels: &[String]) {
        let mut state = self.state.lock();
        state.books.set(ClientId(client.id), client, channels);
        let starts = state.task == Task::None && !state.books.is_idle();
        if starts {
            state.task = Task::Runs;
        }
        drop(state);
        if starts {
            context.shared.runtime.spawn(server::run(Arc::clone(context)));
        } else {
            self.news.notify_one();
        }
    }

    /// The client is gone.
    pub fn leave(&self, client: u64) {
        let mut state = self.state.lock();
        if !state.books.is_idle() {
            state.books.leave(ClientId(client));
            self.news.notify_one();
        }
    }

    /// The payload of the marker that takes over what the client's own server listens to for it, if it is time for it.
    pub fn begin_cut(&self, client: u64) -> Option<String> {
        self.state.lock().books.begin_cut(ClientId(client))
    }

    /// Makes the client's own server, which listens to these channels for it and has nothing else of the client's, the listening
    /// server, if there is no place for another; else it comes back.
    pub fn adopt(&self, client: u64, lease: Lease<Server>, channels: &[String]) -> Result<(), Lease<Server>> {
        let mut state = self.state.lock();
        if state.task != Task::Wants {
            return Err(lease);
        }
        // The pool's lock is taken under this one, and never the other way round.
        let (server, place) = lease.detach()?;
        server.key.aim.at_nobody();
        state.books.adopted(ClientId(client), channels);
        (state.task, state.given) = (Task::Runs, Some((server, place)));
        self.news.notify_one();
        Ok(())
    }

    /// The marker was not sent: these channels stay with the client's own server.
    pub fn cut_failed(&self, client: u64, channels: &[String]) {
        self.state.lock().books.cut_failed(ClientId(client), channels);
    }

    /// The client has got a notification of its own from its server.
    pub fn told(&self, client: u64, pid: u32, channel: &[u8], payload: &[u8]) {
        self.state.lock().books.told(ClientId(client), &Notification { pid, channel, payload });
    }

    /// What waits for the client.
    pub fn take_mail(&self, client: u64) -> Vec<u8> {
        self.state.lock().books.take_mail(ClientId(client))
    }

    /// Servers are to be elsewhere from now on.
    pub fn retire(&self) {
        self.state.lock().obsolete = true;
        self.news.notify_one();
    }

    /// Whether the listening server is there, and how many subscriptions there are.
    pub fn numbers(&self) -> (bool, usize) {
        self.state.lock().books.numbers()
    }

    /// What happened so far.
    pub fn totals(&self) -> Notifications {
        self.state.lock().books.totals()
    }
}
