//! The key a client is told at login and a CancelRequest has to bring.

use std::fmt;

/// How long the secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretSize {
    /// 4 bytes: protocol 3.0.
    Short,
    /// 32 bytes: protocol 3.2.
    Long,
}

/// The secret of a client of protocol 3.2.
pub(super) struct LongSecret([u8; 32]);

impl LongSecret {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for LongSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LongSecret")
    }
}

/// A new key: process ID and secret, both random.
pub(super) struct Key {
    pub(super) pid: u32,
    pub(super) short: [u8; 4],
    pub(super) long: Option<LongSecret>,
}

impl Key {
    /// From the thread's cryptographic generator.
    pub(super) fn random(size: SecretSize) -> Self {
        Self {
            pid: (rand::random::<u32>() >> 1).max(1),
            short: rand::random(),
            long: (size == SecretSize::Long).then(|| LongSecret(rand::random())),
        }
    }
}
