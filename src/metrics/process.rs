//! What is counted once for the process: clients at the door, before they belong to a pool.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

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
    certificates: Mutex<Vec<Certificate>>,
}

/// A certificate that pgweir shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The setting that names it.
    pub setting: &'static str,
    /// Its file.
    pub file: String,
    /// Until when it is valid, in seconds since 1970.
    pub until: i64,
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

    pub(super) fn set_certificates(&self, certificates: Vec<Certificate>) {
        *self.certificates.lock() = certificates;
    }

    pub(super) fn certificates(&self) -> Vec<Certificate> {
        self.certificates.lock().clone()
    }

    pub(super) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    pub(super) fn ready(&self) -> bool {
        self.ready.load(Relaxed)
    }
}
