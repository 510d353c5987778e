//! Accepts clients. Runs in the workers' runtime.

use super::door::Door;
use crate::client::connection::Arrival;
use crate::client::context::Shared;
use crate::client::task::Connection;
use crate::net::files;
use crate::net::listen::{Accepted, Listener};
use crate::net::stream::Stream;
use crate::roster::ClientAddress;
use crate::timer::sleep;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// After an accept that failed, for want of file descriptors mostly: no busy loop.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections accepted in a row before others have their turn: of a crowd that comes at once no more are begun at a time, so
/// that neither transactions nor those who log in wait for all of it.
const IN_A_ROW: u32 = 4;

/// Accepts until dropped.
pub(super) async fn accept(listener: Listener, shared: Arc<Shared>) {
    #[expect(
        deprecated,
        reason = "its replacement is unsafe to call; this listener owns one descriptor for its whole life"
    )]
    let watched = AsyncFd::new(listener);
    let listener = match watched {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("cannot watch a listening socket: {error}");
            return;
        }
    };
    let (mut door, mut failing) = (Door::default(), false);
    let mut accepted_in_a_row = 0;
    loop {
        let Ok(mut ready) = listener.readable().await else { return };
        match ready.try_io(|listener| listener.get_ref().accept()) {
            Err(_would_block) => {}
            Ok(Ok(accepted)) => {
                failing = false;
                if let Some(accepted) = door.admit(accepted, &shared) {
                    begin(accepted, &shared);
                }
                // One that comes after this look makes the socket ready again.
                if !listener.get_ref().has_more() {
                    ready.clear_ready();
                    accepted_in_a_row = 0;
                    continue;
                }
                accepted_in_a_row += 1;
                if accepted_in_a_row % IN_A_ROW == 0 {
                    shared.turnstile.turn().await;
                }
            }
            Ok(Err(error)) if is_peers(&error) => {}
            Ok(Err(error)) => {
                if !std::mem::replace(&mut failing, true) {
                    // Where it was lowered meanwhile, clients are to be told from now on.
                    files::limit();
                    tracing::error!(
                        "cannot accept clients: {error}; trying on (raise the limit on open files?)"
                    );
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// The connection was gone before it was accepted.
fn is_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn begin(accepted: Accepted, shared: &Arc<Shared>) {
    match register(accepted) {
        Ok((stream, address)) => {
            let arrival = Arrival { stream, address, shared: Arc::clone(shared) };
            tokio::spawn(Connection::new(arrival));
        }
        Err(error) => tracing::warn!("a client was lost on arrival: {error}"),
    }
}

fn register(accepted: Accepted) -> io::Result<(Stream, ClientAddress)> {
    Ok(match accepted {
        Accepted::Tcp(socket, peer) => (Stream::new(socket)?, ClientAddress::Tcp(peer)),
        Accepted::Unix(socket) => (Stream::new(socket)?, ClientAddress::Unix),
    })
}
