//! The session of one client, from its first byte to its last.
pub mod intercept;
