//! Sockets and buffers: streams, the buffers a thread lends to whoever is being polled, listeners and their options.
pub mod buffers;
pub mod kept;
pub mod listen;
pub mod options;
mod secured;
mod socket;
pub mod stream;
pub mod worker;
