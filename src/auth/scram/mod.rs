//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it, both sides, also bound to TLS by the server's certificate.
//! Bytes in, bytes out; it never trusts a length, a count or a nonce of the peer.

pub mod client;
pub mod messages;
pub mod secret;
pub mod server;

#[cfg(test)]
mod tests;

use thiserror::Error;

use messages::Message;

/// The SASL mechanism without channel binding.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// The one with channel binding, only used over TLS.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The most PBKDF2 iterations accepted from a server, a stored secret or the configuration. At this bound one
/// derivation takes a good part of a second.
pub const MAX_ITERATIONS: u32 = 1_000_000;

/// The most bytes in one SCRAM message.
pub const MAX_MESSAGE: usize = 16_384;

/// The most bytes in the nonce a client starts with.
pub const MAX_CLIENT_NONCE: usize = 512;

/// The most bytes in the nonce of both sides together.
pub const MAX_NONCE: usize = 1024;

/// The most bytes in a salt, decoded.
pub const MAX_SALT: usize = 1024;

/// Why an exchange ended. None of the texts holds anything secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ScramError {
    /// The peer's message isn't one.
    #[error("malformed SCRAM {message}: {what}")]
    Malformed {
        /// Which message.
        message: Message,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The peer asks for something that exists and isn't supported.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The peer's nonce isn't the one agreed, or doesn't extend ours.
    #[error("the SCRAM nonce doesn't match")]
    NonceMismatch,
    /// The client repeats another channel binding header than it began with.
    #[error("the SCRAM channel binding header doesn't match")]
    BindingMismatch,
    /// The client is bound to TLS with another server than this, or to none: somebody may sit between.
    #[error("SCRAM channel binding check failed")]
    BindingFailed,
    /// The client could bind to TLS and believes that it wasn't offered: somebody has taken the offer away.
    #[error("SCRAM channel binding negotiation error")]
    Downgrade,
    /// The client's proof is wrong: wrong password, or an exchange that was never meant to succeed.
    #[error("wrong proof")]
    WrongProof,
    /// The server ended the exchange with this error value (printable, shortened).
    #[error("the server refused: {0}")]
    Refused(String),
    /// The server doesn't know our secret: whoever it is, it isn't the server we know.
    #[error("wrong server signature")]
    WrongSignature,
    /// Pass-through can't work: the server's secret has another salt or iteration count than the one the client
    /// proved to know.
    #[error("the server's SCRAM secret has another salt or iteration count than the stored one")]
    SecretDiffers,
}
