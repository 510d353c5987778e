//! Names of custom parameters (`prefix.name`) that texts have mentioned: PostgreSQL tells nobody which there are.

use super::traces;
use parking_lot::Mutex;

/// Most names remembered.
const LIMIT: usize = 256;

/// The names one pool's clients have mentioned.
#[derive(Debug, Default)]
pub struct Customs {
    names: Mutex<Vec<Box<str>>>,
}

impl Customs {
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
