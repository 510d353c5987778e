//! What texts have mentioned that PostgreSQL tells nobody of: names of custom parameters (`prefix.name`), and that there are clients
//! that want to know the last values they had of sequences.

use super::traces;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most names remembered.
const LIMIT: usize = 256;

/// The names one pool's clients have mentioned.
#[derive(Debug, Default)]
pub struct Customs {
    sequences: AtomicBool,
    names: Mutex<Vec<Box<str>>>,
}

impl Customs {
    /// None yet; whether last values of sequences are wanted from the start.
    pub fn asking(sequences: bool) -> Self {
        Self { sequences: AtomicBool::new(sequences), names: Mutex::default() }
    }

    /// A text asks for the session's own last value of a sequence.
    pub fn ask_sequences(&self) {
        self.sequences.store(true, Ordering::Relaxed);
    }

    /// Whether one ever did.
    #[inline]
    pub fn asks_sequences(&self) -> bool {
        self.sequences.load(Ordering::Relaxed)
    }

    /// Remembers the custom parameters a text sets, resets or quotes.
    #[cold]
    pub fn learn(&self, text: &[u8]) {
        traces::custom_names(text, |name| self.remember(name));
    }

    /// Remembers what the values of a Bind may name.
    #[cold]
    pub fn learn_bound(&self, body: &[u8]) {
        traces::bound_names(body, |name| self.remember(name));
    }

    fn remember(&self, name: &str) {
        let mut names = self.names.lock();
        if names.len() < LIMIT && !names.iter().any(|known| **known == *name) {
            names.push(name.into());
        }
    }

    /// All that were learned.
    pub fn names(&self) -> Vec<Box<str>> {
        self.names.lock().clone()
    }
}
