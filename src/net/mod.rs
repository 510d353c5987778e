//! Sockets and buffers: streams, the buffers a thread lends to whoever is being polled, listeners and their options, and what the machine knows of its users and addresses.
pub mod aside;
pub mod buffers;
pub mod files;
pub mod kept;
pub mod listen;
mod low_water;
pub mod machine;
pub mod options;
mod secured;
mod socket;
pub mod stream;
pub mod worker;
