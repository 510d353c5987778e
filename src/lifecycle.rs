//! Which phase of its life the process is in, and what it can be told to do as a whole.

use std::sync::atomic::{AtomicU8, Ordering};

/// Phases, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Not listening yet.
    Starting = 0,
    /// Clients are welcome.
    Running = 1,
    /// No new clients; running transactions finish.
    Draining = 2,
}

/// What the console asks of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Read the configuration again.
    Reload,
    /// Change one setting of `[pgweir]` until the next reload.
    Set {
        /// The setting.
        key: String,
        /// Its value as text.
        value: String,
    },
    /// End.
    Shutdown(Shutdown),
}

/// How to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// At once.
    Immediate,
    /// When no transaction runs any more.
    WaitForServers,
    /// When all clients have left.
    WaitForClients,
}

/// The phase, readable from any thread.
#[derive(Debug, Default)]
pub struct Lifecycle(AtomicU8);

impl Lifecycle {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Running,
            _ => Phase::Draining,
        }
    }

    /// Goes on to a later phase; never back.
    pub fn advance(&self, to: Phase) {
        self.0.fetch_max(to as u8, Ordering::AcqRel);
    }
}
