//! What becomes of clients whose address has sent wrong passwords.

use super::context::Shared;
use super::report::Trouble;
use crate::clock::Instant;
use crate::net::stream::Stream;
use crate::roster::ClientAddress;
use crate::timer::sleep;
use std::net::IpAddr;
use std::time::Duration;

impl Shared {
    /// Whether passwords from there aren't looked at for now.
    pub(super) fn guesses_too_much(&self, address: ClientAddress) -> bool {
        let Some(address) = counted(address) else { return false };
        let attempts = self.attempts.lock();
        !attempts.is_empty() && attempts.is_full(address, Instant::now())
    }

    /// How long a client has to wait for this answer, if it was a guess.
    pub(super) fn delay_after(&self, trouble: &Trouble, address: ClientAddress) -> Option<Duration> {
        let is_guess = match trouble {
            Trouble::Login(error) => error.is_wrong_guess(),
            Trouble::Entry(error) => error.is_wrong_guess(),
            _ => false,
        };
        if !is_guess {
            return None;
        }
        let longest = self.config.load().general.failed_login_delay?;
        let delay = self.attempts.lock().failed(counted(address)?, Instant::now(), longest);
        (!delay.is_zero()).then_some(delay)
    }
}

/// Who is on this machine and comes by a Unix-domain socket isn't counted: there is a way in whatever happens.
fn counted(address: ClientAddress) -> Option<IpAddr> {
    match address {
        ClientAddress::Tcp(address) => Some(address.ip()),
        ClientAddress::Unix => None,
    }
}

/// Waits before a guess is answered, unless nobody waits for the answer or pgweir stops. The connection keeps its place among
/// those that log in.
pub(super) async fn hold_back(stream: &mut Stream, shared: &Shared, delay: Duration) {
    let mut patience = shared.logins.begin(None).await;
    let held = async {
        tokio::select! {
            () = sleep(delay) => {}
            () = stream.hung_up() => {}
        }
        Ok::<(), Trouble>(())
    };
    let _ = patience.bound(held).await;
}
