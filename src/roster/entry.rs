//! One client as others see it: what it is doing since when, and how to make it stop.

use super::key::ClientKey;
use parking_lot::Mutex;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Waker;

/// Where a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix-domain socket.
    Unix,
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// What a client is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing.
    Idle = 0,
    /// In line for a server.
    Waiting = 1,
    /// It has a server, which works for it.
    Active = 2,
    /// It has a server, which waits for it.
    IdleInTransaction = 3,
}

/// Why a session is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kick {
    /// pgweir stops; what runs may finish.
    Shutdown = 1,
    /// pgweir stops at once.
    Now = 2,
    /// client_idle_timeout
    ClientIdle = 3,
    /// idle_transaction_timeout
    IdleInTransaction = 4,
}

/// Who a client is.
#[derive(Debug, Clone)]
pub struct Who {
    /// Never reused.
    pub id: u64,
    /// Where it comes from.
    pub address: ClientAddress,
    /// Database by its name here.
    pub database: Arc<str>,
    /// User of its pool.
    pub user: Arc<str>,
}

/// A client's entry.
#[derive(Debug)]
pub struct Entry {
    /// Who it is.
    pub who: Who,
    /// What cancels it.
    pub key: ClientKey,
    kicked: AtomicU8,
    /// Phase in the low two bits, milliseconds of the roster's clock above.
    phase: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Entry {
    pub(super) fn new(who: Who, key: ClientKey) -> Self {
        Self { who, key, kicked: AtomicU8::new(0), phase: AtomicU64::new(0), waker: Mutex::default() }
    }

    /// What the client does now; written by its session only.
    #[inline]
    pub fn set_phase(&self, phase: Phase, now: u64) {
        self.phase.store(now << 2 | phase as u64, Ordering::Relaxed);
    }

    /// What the client does, and since when by the roster's clock.
    pub fn phase(&self) -> (Phase, u64) {
        let packed = self.phase.load(Ordering::Relaxed);
        let phase = match packed & 3 {
            0 => Phase::Idle,
            1 => Phase::Waiting,
            2 => Phase::Active,
            _ => Phase::IdleInTransaction,
        };
        (phase, packed >> 2)
    }

    /// Asks the session to end. The first asks; only [`Kick::Now`] overrides.
    pub fn kick(&self, kick: Kick) {
        if kick == Kick::Now {
            self.kicked.store(kick as u8, Ordering::Release);
        } else {
            let _ = self.kicked.compare_exchange(0, kick as u8, Ordering::Release, Ordering::Relaxed);
        }
        if let Some(waker) = self.waker.lock().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Whether the session is asked to end.
    #[inline]
    pub fn kicked(&self) -> Option<Kick> {
        match self.kicked.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Kick::Shutdown),
            2 => Some(Kick::Now),
            3 => Some(Kick::ClientIdle),
            _ => Some(Kick::IdleInTransaction),
        }
    }

    /// A timeout that no longer applies when the session gets to hear of it.
    pub fn forgive(&self) {
        let timeouts = [Kick::ClientIdle as u8, Kick::IdleInTransaction as u8];
        for kick in timeouts {
            let _ = self.kicked.compare_exchange(kick, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// How to wake the session's task; once, when it starts.
    pub fn set_waker(&self, waker: Waker) {
        *self.waker.lock() = Some(waker);
    }
}
