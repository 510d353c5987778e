//! A secret: wiped from memory when dropped, and never printed.
use std::fmt;

use zeroize::Zeroizing;

/// A password in clear, `md5…` or `SCRAM-SHA-256$…`, as written. `Debug` shows no part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes the secret over; the caller keeps no copy.
    pub fn new(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The secret itself. Not for logs, messages or metrics.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}
