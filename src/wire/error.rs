//! What can be wrong with bytes that claim to be protocol.

/// A violation of the protocol by the peer; always SQLSTATE 08P01 when told to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length field below 4, or above what its message type may have.
    #[error("invalid message length")]
    Length,
    /// The type byte is none of the protocol's in this direction.
    #[error("invalid frontend message type {0}")]
    Type(u8),
    /// A field runs past the end of its message.
    #[error("insufficient data left in message")]
    Short,
    /// A string without its terminating zero byte.
    #[error("invalid string in message")]
    Unterminated,
    /// Bytes are left after the last field.
    #[error("invalid message format")]
    Trailing,
}
