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

/// Above any process ID of a server (Linux ends at 2^22), so that `pg_cancel_backend` with
/// what a client was told ends nobody's query; positive as an Int32.
const NO_PROCESS: u32 = 1 << 30;

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
            pid: NO_PROCESS | rand::random::<u32>() >> 2,
            short: rand::random(),
            long: (size == SecretSize::Long).then(|| LongSecret(rand::random())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_ids_are_nobodys_and_positive() {
        for _ in 0..10_000 {
            let pid = Key::random(SecretSize::Short).pid;
            assert!(i32::try_from(pid).is_ok_and(|pid| pid > 1 << 22), "{pid}");
        }
    }
}
