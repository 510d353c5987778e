//! What becomes of clients whose address has sent wrong passwords.

use super::context::Shared;
use super::login::LoginEnd;
use super::report::Trouble;
use crate::auth::attempts::Turn;
use crate::clock::Instant;
use crate::net::stream::Stream;
use crate::roster::ClientAddress;
use crate::timer::sleep;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A password that is being looked at has one place among those of its address, given back by drop.
#[derive(Debug)]
pub(super) struct Guess<'a> {
    shared: &'a Shared,
    /// Whose place it is; `None`: it needs none.
    address: Option<IpAddr>,
}

impl Guess<'_> {
    /// The password was wrong, or its message: what becomes of the login. Counts before another has this place.
    pub(super) fn refused(self, trouble: Trouble) -> LoginEnd {
        let longest = self.shared.config.load().general.failed_login_delay;
        match (self.address, longest) {
            (Some(address), Some(longest)) if is_guess(&trouble) => {
                let delay = self.shared.attempts.lock().failed(address, Instant::now(), longest);
                LoginEnd::Guessed(Box::new(trouble), delay)
            }
            _ => trouble.into(),
        }
    }
}

impl Drop for Guess<'_> {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let next = self.shared.attempts.lock().end(address, Instant::now());
        next.iter().for_each(|line| line.notify_one());
    }
}

/// A wait behind others of the same address. Whoever goes on has the next one look, too: there may be room for several.
#[derive(Default)]
struct Queued(Option<Arc<Notify>>);

impl Queued {
    async fn wait(&mut self, stream: &mut Stream, line: Arc<Notify>) -> io::Result<()> {
        if self.0.as_ref().is_some_and(|old| !Arc::ptr_eq(old, &line)) {
            self.ring();
        }
        let line = self.0.insert(line);
        tokio::select! {
            biased;
            () = line.notified() => Ok(()),
            () = stream.hung_up() => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn ring(&self) {
        self.0.iter().for_each(|line| line.notify_one());
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.ring();
    }
}

impl Shared {
    /// A place for looking at a password from there, if there is one now: else [`Self::guess`] has to be asked. What doesn't
    /// count as a guess needs none.
    pub(super) fn guess_at_once(&self, address: ClientAddress, counts: bool) -> Option<Guess<'_>> {
        let is_on = counts && self.config.load().general.failed_login_delay.is_some();
        let address = counted(address).filter(|_| is_on);
        let has_place = |address| matches!(self.attempts.lock().begin(address, Instant::now()), Turn::Look);
        address.is_none_or(has_place).then(|| Guess { shared: self, address })
    }

    /// The same; while those before it might all be wrong, it waits.
    pub(super) async fn guess(
        &self,
        stream: &mut Stream,
        address: ClientAddress,
    ) -> Result<Guess<'_>, LoginEnd> {
        let is_on = self.config.load().general.failed_login_delay.is_some();
        let Some(address) = counted(address).filter(|_| is_on) else {
            return Ok(Guess { shared: self, address: None });
        };
        let mut queued = Queued::default();
        loop {
            let turn = self.attempts.lock().begin(address, Instant::now());
            match turn {
                Turn::Look => return Ok(Guess { shared: self, address: Some(address) }),
                Turn::Refuse => return Err(Trouble::TooManyFailures.into()),
                Turn::Wait(line) => queued.wait(stream, line).await?,
            }
        }
    }

    /// Whether passwords from there aren't looked at for now.
    pub(super) fn guesses_too_much(&self, address: ClientAddress) -> bool {
        let Some(address) = counted(address) else { return false };
        let attempts = self.attempts.lock();
        !attempts.is_empty() && attempts.is_full(address, Instant::now())
    }

    /// How long a client has to wait for this answer, if it was a guess that nothing had to be looked at for.
    pub(super) fn delay_after(&self, trouble: &Trouble, address: ClientAddress) -> Option<Duration> {
        if !is_guess(trouble) {
            return None;
        }
        let longest = self.config.load().general.failed_login_delay?;
        let delay = self.attempts.lock().failed(counted(address)?, Instant::now(), longest);
        Some(delay)
    }
}

fn is_guess(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Login(error) => error.is_wrong_guess(),
        Trouble::Entry(error) => error.is_wrong_guess(),
        _ => false,
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
pub(super) async fn hold_back(stream: &mut Stream, address: ClientAddress, shared: &Shared, delay: Duration) {
    let mut patience = shared.logins.begin(None, address).await;
    let held = async {
        tokio::select! {
            () = sleep(delay) => {}
            () = stream.hung_up() => {}
        }
        Ok::<(), Trouble>(())
    };
    let _ = patience.bound(held).await;
}
