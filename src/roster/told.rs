//! What only a session itself knows of its client, asked for when an operator wants to see it: nothing of it is kept while
//! nobody asks.

use super::names::Names;
use super::{Entry, Kick, Roster};
use crate::timer::sleep;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long sessions may take to answer. They do at once, unless their worker has no time for them.
const PATIENCE: Duration = Duration::from_millis(250);
/// Between two looks whether all have.
const LOOK: Duration = Duration::from_millis(1);

/// A session's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// application_name as it is now.
    pub application_name: String,
    /// Statements it has prepared by the protocol.
    pub prepared_statements: usize,
    /// This end of its TCP connection.
    pub local: Option<SocketAddr>,
    /// The version of TLS it is spoken to with; empty without.
    pub tls: &'static str,
    /// How it replicates; empty: it doesn't.
    pub replication: &'static str,
    /// The server it has.
    pub server: Option<ServerTold>,
}

/// What a session says of the server it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerTold {
    /// Its number.
    pub id: u64,
    /// application_name there.
    pub application_name: String,
    /// Statements prepared there.
    pub prepared_statements: usize,
}

/// What sessions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Everything,
    Names,
}

#[derive(Debug, Default)]
pub(super) struct Answers {
    /// One operator asks at a time.
    turn: tokio::sync::Mutex<()>,
    given: Mutex<HashMap<u64, Told>>,
    pub(super) names_only: AtomicBool,
    pub(super) names: Names,
}

impl Answers {
    /// When it is the asker's turn, which lasts as long as what is returned.
    pub(super) async fn begin(&self, asked: Asked) -> tokio::sync::MutexGuard<'_, ()> {
        let turn = self.turn.lock().await;
        // Seen by who is kicked after it.
        self.names_only.store(asked == Asked::Names, Ordering::Relaxed);
        turn
    }
}

/// Wakes those sessions, and waits until all have answered, for so long as there is patience.
pub(super) async fn until_answered(asked: &[Arc<Entry>]) {
    asked.iter().for_each(|entry| entry.kick(Kick::Ask));
    let until = Instant::now() + PATIENCE;
    // One that ends is asked no more.
    while Instant::now() < until && asked.iter().any(|entry| entry.kicked() == Some(Kick::Ask)) {
        sleep(LOOK).await;
    }
}

impl Roster {
    /// Asks all sessions. Who doesn't answer in time, for having just come or gone, is missing. Wakes every session, so it
    /// costs some microseconds each.
    pub async fn ask(self: &Arc<Self>) -> HashMap<u64, Told> {
        let _turn = self.answers.begin(Asked::Everything).await;
        self.answers.given.lock().clear();
        until_answered(&self.list()).await;
        std::mem::take(&mut *self.answers.given.lock())
    }

    /// A session's answer to [`Self::ask`].
    pub fn tell(&self, id: u64, told: Told) {
        self.answers.given.lock().insert(id, told);
    }
}
