//! The key a client is told at login and a CancelRequest has to bring.

use std::fmt;
use subtle::ConstantTimeEq as _;

/// How long the secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretSize {
    /// 4 bytes: protocol 3.0.
    Short,
    /// 32 bytes: protocol 3.2.
    Long,
}

/// Process ID and secret, both random and never a server's.
pub struct ClientKey {
    /// Process ID, positive as an Int32.
    pub pid: u32,
    secret: Box<[u8]>,
}

impl ClientKey {
    /// A new key from the thread's cryptographic generator.
    pub fn random(size: SecretSize) -> Self {
        let secret: [u8; 32] = rand::random();
        let length = if size == SecretSize::Short { 4 } else { 32 };
        Self { pid: (rand::random::<u32>() >> 1).max(1), secret: secret[..length].into() }
    }

    /// The secret, for BackendKeyData.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Whether this is the secret, in constant time.
    pub fn is(&self, secret: &[u8]) -> bool {
        self.secret.ct_eq(secret).into()
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey").field("pid", &self.pid).finish_non_exhaustive()
    }
}
