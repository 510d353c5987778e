//! Turning clients away at once while there are too few descriptors left for anything else.

use crate::client::context::Shared;
use crate::client::report::Trouble;
use crate::clock::Instant;
use crate::metrics::{LoginFailure, Refusal};
use crate::net::files;
use crate::net::listen::Accepted;
use crate::wire::backend::Severity;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Between two lines of the log about it.
const TOLD: Duration = Duration::from_secs(60);
/// What a client may have said already, in bytes: what isn't read by the close makes it lose the answer.
const SAID: usize = 1024;

/// Who has been turned away at a listener.
#[derive(Debug, Default)]
pub(super) struct Door {
    told: Option<Instant>,
    /// Since then.
    refused: u64,
}

impl Door {
    /// The connection, unless it takes a descriptor that clients have to leave to others: then it is told so and closed, before it is
    /// asked for anything, so that no more than one such is ever open.
    pub(super) fn admit(&mut self, accepted: Accepted, shared: &Shared) -> Option<Accepted> {
        let socket: BorrowedFd<'_> = match &accepted {
            Accepted::Tcp(socket, _) => socket.as_fd(),
            Accepted::Unix(socket) => socket.as_fd(),
        };
        if files::has_room_for_client(&socket) {
            return Some(accepted);
        }
        self.turn_away(accepted, shared);
        None
    }

    #[cold]
    fn turn_away(&mut self, accepted: Accepted, shared: &Shared) {
        shared.metrics.client_accepted();
        shared.metrics.client_refused(Refusal::Resources);
        shared.metrics.login_failed(LoginFailure::Limit);
        self.refused += 1;
        let now = Instant::now();
        if self.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD) {
            self.told = Some(now);
            let (limit, refused) = (files::limit(), std::mem::take(&mut self.refused));
            tracing::error!(
                limit,
                refused,
                "clients are refused: nearly all files that this process may open are open, and the last are kept for servers and for \
                 /livez, /readyz and /metrics; raise LimitNOFILE or ulimit -n, or lower max_client_conn"
            );
        }
        let mut out = Vec::new();
        Trouble::TooManyFiles.encode(&mut out, Severity::Fatal);
        // It doesn't block, and nothing has been sent before.
        match accepted {
            Accepted::Tcp(mut socket, _) => {
                say(&mut socket, &out);
                let _ = socket.shutdown(Shutdown::Write);
            }
            Accepted::Unix(mut socket) => {
                say(&mut socket, &out);
                let _ = socket.shutdown(Shutdown::Write);
            }
        }
    }
}

fn say(socket: &mut (impl Read + Write), bytes: &[u8]) {
    let _ = socket.write(bytes);
    let _ = socket.read(&mut [0; SAID]);
}
