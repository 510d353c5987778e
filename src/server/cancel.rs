//! CancelRequest to PostgreSQL, on a connection of its own.

use super::connect::{self, Address};
use std::io;

/// What it takes to cancel what a server runs.
#[derive(Debug, Clone)]
pub struct CancelKey {
    /// Where the server is.
    pub address: Address,
    /// Process ID of BackendKeyData.
    pub pid: u32,
    /// Secret of BackendKeyData.
    pub secret: Vec<u8>,
}

/// Sends the request and waits until PostgreSQL closes the connection: then the signal has been sent, and can't reach a
/// later query. Cancel safe; dropped early, the signal may still come.
pub async fn cancel(key: &CancelKey) -> io::Result<()> {
    let mut stream = connect::dial(&key.address).await.map_err(|e| io::Error::other(e.to_string()))?;
    let mut packet = Vec::with_capacity(16);
    let len = u32::try_from(12 + key.secret.len()).unwrap_or(u32::MAX);
    packet.extend_from_slice(&len.to_be_bytes());
    packet.extend_from_slice(&80_877_102_u32.to_be_bytes());
    packet.extend_from_slice(&key.pid.to_be_bytes());
    packet.extend_from_slice(&key.secret);
    stream.write_all(&packet).await?;
    let mut rest = Vec::new();
    while stream.read_some(&mut rest, 256).await? > 0 {
        rest.clear();
    }
    Ok(())
}
