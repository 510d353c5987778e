//! What texts have mentioned that PostgreSQL tells nobody of: names of custom parameters (`prefix.name`), and that there are clients
//! that want to know the last values they had of sequences.

use super::custom_names::{self, Where};
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

    /// Remembers the custom parameters in a text. Whether it sets no others.
    #[cold]
    pub fn learn(&self, text: &[u8], searched: Where) -> bool {
        let mut kept = true;
        custom_names::in_text(text, searched, |name| kept &= self.remember(name)) && kept
    }

    /// Remembers those in a piece of a text too long to be read word by word. Whether it sets no others.
    #[cold]
    pub fn learn_piece(&self, piece: &[u8]) -> bool {
        let mut kept = true;
        custom_names::in_piece(piece, |name| kept &= self.remember(name)) && kept
    }

    /// Remembers those the values of a Bind of this text name. Whether it sets no others.
    #[cold]
    pub fn learn_bound(&self, text: &[u8], bind: &[u8]) -> bool {
        let mut kept = true;
        custom_names::in_values(text, bind, |name| kept &= self.remember(name)) && kept
    }

    fn remember(&self, name: &str) -> bool {
        let mut names = self.names.lock();
        if names.iter().any(|known| **known == *name) {
            return true;
        }
        let has_room = names.len() < LIMIT;
        if has_room {
            names.push(name.into());
        }
        has_room
    }

    /// All that were learned.
    pub fn names(&self) -> Vec<Box<str>> {
        self.names.lock().clone()
    }
}
