//! Checking a password with this machine's PAM modules. They block, so each check is one of few on the runtime's blocking threads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use crate::auth::attempts::net;

/// Checks at the same time, those included that nobody waits for any more: a module can't be interrupted.
const AT_ONCE: usize = 16;

/// Those of them that one address may have, so that a few that guess slowly leave the others room.
const OF_ONE: usize = 4;

static PLACES: Places = Places { all: Semaphore::const_new(AT_ONCE), shares: Mutex::new(BTreeMap::new()) };

/// Who may check.
struct Places {
    all: Semaphore,
    /// By address, while anybody there has a place or waits for one: how many do, and the line they wait in.
    shares: Mutex<BTreeMap<IpAddr, (usize, Arc<Semaphore>)>>,
}

/// A place for a check. Given back in this order.
struct Place<'a> {
    _one: SemaphorePermit<'a>,
    _of_address: Option<OwnedSemaphorePermit>,
    _member: Option<Member<'a>>,
}

/// One of an address's that have a place or wait for one.
struct Member<'a> {
    places: &'a Places,
    net: IpAddr,
}

impl Places {
    /// A place, once there is one and those of the same address have no more than their share. Who is on this machine has no
    /// address, and shares with nobody. Cancel safe.
    async fn take(&self, address: Option<IpAddr>) -> Result<Place<'_>, AcquireError> {
        let (member, of_address) = match address {
            None => (None, None),
            Some(address) => {
                let (member, line) = self.enter(net(address));
                (Some(member), Some(line.acquire_owned().await?))
            }
        };
        Ok(Place { _one: self.all.acquire().await?, _of_address: of_address, _member: member })
    }

    fn enter(&self, net: IpAddr) -> (Member<'_>, Arc<Semaphore>) {
        let mut shares = self.shares.lock();
        let (members, line) = shares.entry(net).or_insert_with(|| (0, Arc::new(Semaphore::new(OF_ONE))));
        *members += 1;
        (Member { places: self, net }, Arc::clone(line))
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        let mut shares = self.places.shares.lock();
        if let Some((members, _)) = shares.get_mut(&self.net) {
            *members -= 1;
            if *members == 0 {
                shares.remove(&self.net);
            }
        }
    }
}

/// Why a password wasn't found right.
#[derive(Debug, Error)]
pub enum PamError {
    /// The modules that check it say so.
    #[error("PAM: {0}")]
    Refused(String),
    /// They could not be asked, or the password is right and the user may not.
    #[error("PAM: {0}")]
    Failed(String),
}

impl PamError {
    /// Whether it could be one of many tries to find out a password.
    pub fn is_wrong_guess(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// Who wants to log in.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer<'a> {
    /// As whom; without a zero byte.
    pub user: &'a str,
    /// From where; `None`: from this machine.
    pub address: Option<IpAddr>,
}

/// Whether it is the user's password, and the account is in order, by the modules of a service. Cancel safe; a check that has
/// begun goes on and keeps its place. The caller bounds the time.
pub async fn check(
    service: Arc<str>,
    newcomer: Newcomer<'_>,
    password: Zeroizing<Vec<u8>>,
) -> Result<(), PamError> {
    let lost = |error: String| PamError::Failed(error);
    let place = PLACES.take(newcomer.address).await.map_err(|error| lost(error.to_string()))?;
    let (user, address) = (newcomer.user.to_owned(), newcomer.address);
    let work = tokio::task::spawn_blocking(move || {
        let _place = place;
        modules::ask(&service, &user, address, password)
    });
    work.await.map_err(|error| lost(error.to_string()))?
}

#[cfg(feature = "pam")]
mod modules {
    use super::PamError;
    use nonstick::items::ItemsMut as _;
    use nonstick::{
        AuthnFlags, ConversationAdapter, ErrorCode, PamShared as _, Result, Transaction as _,
        TransactionBuilder,
    };
    use std::ffi::{OsStr, OsString};
    use std::net::IpAddr;
    use std::os::unix::ffi::OsStringExt as _;
    use zeroize::Zeroizing;

    /// Answers what isn't to be shown with the password, and nothing else: there is nobody to ask.
    struct Password(Zeroizing<Vec<u8>>);

    impl ConversationAdapter for Password {
        fn prompt(&self, _: impl AsRef<OsStr>) -> Result<OsString> {
            Err(ErrorCode::ConversationError)
        }

        // The binding takes no other type and drops it as it is: this copy isn't wiped.
        fn masked_prompt(&self, _: impl AsRef<OsStr>) -> Result<OsString> {
            Ok(OsString::from_vec(self.0.to_vec()))
        }

        fn error_msg(&self, _: impl AsRef<OsStr>) {}

        fn info_msg(&self, _: impl AsRef<OsStr>) {}
    }

    pub(super) fn ask(
        service: &str,
        user: &str,
        address: Option<IpAddr>,
        password: Zeroizing<Vec<u8>>,
    ) -> std::result::Result<(), PamError> {
        let failed = |error: ErrorCode| PamError::Failed(error.to_string());
        let conversation = Password(password).into_conversation();
        let mut modules = TransactionBuilder::new_with_service(service)
            .username(user)
            .build(conversation)
            .map_err(failed)?;
        if let Some(address) = address {
            let address = address.to_string();
            modules.items_mut().set_remote_host(Some(OsStr::new(&address))).map_err(failed)?;
        }
        // Whatever they call it: pam_exec has no other word for a wrong password than a system error.
        let asked = modules.authenticate(AuthnFlags::empty());
        asked.map_err(|error| PamError::Refused(error.to_string()))?;
        modules.account_management(AuthnFlags::empty()).map_err(failed)
    }
}

#[cfg(not(feature = "pam"))]
mod modules {
    use super::PamError;
    use std::net::IpAddr;
    use zeroize::Zeroizing;

    /// No rule by pam is read by a pgweir without it.
    pub(super) fn ask(_: &str, _: &str, _: Option<IpAddr>, _: Zeroizing<Vec<u8>>) -> Result<(), PamError> {
        Err(PamError::Failed("this pgweir was built without it".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    #[tokio::test]
    async fn an_address_has_its_share() {
        let places = Places { all: Semaphore::new(AT_ONCE), shares: Mutex::default() };
        let at = |address: &str| Some(address.parse().expect("an address"));
        let mut taken = Vec::new();
        for host in 1..=OF_ONE {
            taken.push(places.take(at(&format!("2001:db8::{host}"))).await.expect("a place"));
        }
        let mut late = pin!(places.take(at("2001:db8::ff")));
        assert!(poll_fn(|cx| Poll::Ready(late.as_mut().poll(cx).is_pending())).await, "it has its share");
        for address in [at("2001:db8:0:1::1"), at("10.0.0.1"), None, None, None, None, None] {
            drop(places.take(address).await.expect("the others have room"));
        }
        taken.pop();
        drop(late.await.expect("a place has become free"));
        taken.clear();
        assert!(places.shares.lock().is_empty(), "nothing is kept of who has gone");
        assert_eq!(places.all.available_permits(), AT_ONCE);
    }
}
