//! CancelRequest to PostgreSQL, on a connection of its own.

use super::connect::{self, Address};
use crate::timer::sleep;
use crate::tls::Connector;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// What a cancel would hit, told by the session that has the server.
#[derive(Debug, Default)]
pub struct Aim(AtomicU8);

/// Most bytes read of what a server says to the request: PostgreSQL says nothing.
const MOST_SAID: usize = 4 * 1024;

/// Between two looks at what a cancel would hit.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl Aim {
    const NOBODY: u8 = 0;
    const PRELUDE: u8 = 1;
    const CLIENT: u8 = 2;

    /// Nothing of a client's is there.
    #[inline]
    pub fn at_nobody(&self) {
        self.0.store(Self::NOBODY, Ordering::Release);
    }

    /// pgweir's own statements: to cancel them would let the client's run in a session that isn't made fit.
    pub fn at_prelude(&self) {
        self.0.store(Self::PRELUDE, Ordering::Release);
    }

    /// The client's statements.
    #[inline]
    pub fn at_client(&self) {
        self.0.store(Self::CLIENT, Ordering::Release);
    }

    /// The session is about to end: nothing will run behind a prelude, and nobody has to wait for one.
    pub fn at_last(&self) {
        let _ = self.0.compare_exchange(Self::PRELUDE, Self::CLIENT, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Waits until the prelude is over; whether there is something of the client's to cancel then.
    async fn is_client(&self) -> bool {
        loop {
            match self.0.load(Ordering::Acquire) {
                Self::PRELUDE => sleep(LOOK_AGAIN).await,
                now => return now == Self::CLIENT,
            }
        }
    }
}

/// What it takes to cancel what a server runs.
#[derive(Debug, Clone)]
pub struct CancelKey {
    /// Where the server is.
    pub address: Address,
    /// What TLS was begun with, if the server's connection has it: then the request has it, too, or isn't sent. It goes by
    /// the files as they were read last.
    pub tls: Option<Arc<Connector>>,
    /// Process ID of BackendKeyData.
    pub pid: u32,
    /// Secret of BackendKeyData.
    pub secret: Vec<u8>,
    /// What it would hit.
    pub aim: Arc<Aim>,
}

/// Sends the request, unless there is nothing of a client's to cancel, and waits until PostgreSQL closes the connection: then the signal has been sent, and can't reach a
/// later query. Cancel safe; dropped early, the signal may still come.
pub async fn cancel(key: &CancelKey) -> io::Result<()> {
    let tls = key.tls.as_ref().map(Connector::latest);
    let reached = connect::reach(&key.address, tls.as_deref()).await;
    let mut stream = reached.map_err(|e| io::Error::other(e.to_string()))?;
    if key.tls.is_some() && stream.tls().is_none() {
        return Err(io::Error::other("the server has no TLS any more"));
    }
    let mut packet = Vec::with_capacity(16);
    let len = u32::try_from(12 + key.secret.len()).unwrap_or(u32::MAX);
    packet.extend_from_slice(&len.to_be_bytes());
    packet.extend_from_slice(&80_877_102_u32.to_be_bytes());
    packet.extend_from_slice(&key.pid.to_be_bytes());
    packet.extend_from_slice(&key.secret);
    if !key.aim.is_client().await {
        return Ok(());
    }
    stream.write_all(&packet).await?;
    let mut rest = Vec::new();
    while rest.len() < MOST_SAID && stream.read_some(&mut rest, 256).await? > 0 {}
    Ok(())
}
