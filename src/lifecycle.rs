//! Which phase of its life the process is in.

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
