//! The test harness: a throwaway PostgreSQL, a pgweir in front of it, a byte-level client, a scripted fake server and
//! the oracle that compares them. All of it is blocking and panics with what it saw; nothing outlives the test process.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of the harness")]

pub mod certificates;
pub mod cluster;
pub mod directory;
pub mod fake_server;
pub mod messages;
pub mod oracle;
pub mod pgweir;
pub mod process;
pub mod raw;
pub mod tunnel;

use std::time::{Duration, Instant};

/// How long anything that should happen may take before a test fails. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `condition` holds; panics with `what` when [`PATIENCE`] is over.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "did not happen within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
