//! What keeps a pool from opening what its line asks for, and how often it was that. Pure; data only.

use super::limits::CapKind;

/// What is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// The pool has as many servers as it may.
    Size,
    /// A cap that it shares with others has no place.
    Cap(CapKind),
    /// The pool is paused.
    Paused,
    /// Opens fail.
    Failing,
}

/// How often clients waited for what; the numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hindered {
    /// For a server of a full pool.
    pub by_size: u64,
    /// For a place under a shared cap.
    pub by_caps: u64,
    /// For the end of a pause, or for an open to succeed.
    pub by_outage: u64,
    /// What it was when that was looked at last; `None`: nothing.
    pub last: Option<Hindrance>,
    /// The cap that was in the way last.
    pub cap: Option<CapKind>,
}

impl Hindered {
    /// Somebody waits, and this is why.
    pub(super) fn note(&mut self, what: Option<Hindrance>) {
        self.last = what;
        match what {
            None => {}
            Some(Hindrance::Size) => self.by_size += 1,
            Some(Hindrance::Cap(kind)) => {
                self.by_caps += 1;
                self.cap = Some(kind);
            }
            Some(Hindrance::Paused | Hindrance::Failing) => self.by_outage += 1,
        }
    }
}
