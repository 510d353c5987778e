//! What is counted once for the process: clients at the door, before they belong to a pool.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::cell::{Count, Shared};
use super::reasons::{ByLabel, LoginFailure, Refusal};

/// Process-wide counters; written at connect and login, so any thread may.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) accepted: Shared,
    pub(super) refused: ByLabel<Shared, { Refusal::ALL.len() }>,
    pub(super) login_failures: ByLabel<Shared, { LoginFailure::ALL.len() }>,
    pub(super) cancel_requests: Shared,
    ready: AtomicBool,
}

impl Process {
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.value()
    }

    pub(super) fn cancel_requests(&self) -> u64 {
        self.cancel_requests.value()
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL.iter().copied().zip(self.refused.values())
    }

    pub(super) fn login_failures(&self) -> impl Iterator<Item = (LoginFailure, u64)> {
        LoginFailure::ALL.iter().copied().zip(self.login_failures.values())
    }

    pub(super) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    pub(super) fn ready(&self) -> bool {
        self.ready.load(Relaxed)
    }
}
