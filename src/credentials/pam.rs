//! Checking a password with this machine's PAM modules. They block, so each check is one of few on the runtime's blocking threads.

use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Checks at the same time, those included that nobody waits for any more: a module can't be interrupted.
const AT_ONCE: usize = 16;

static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

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
    let place = PLACES.acquire().await.map_err(|error| lost(error.to_string()))?;
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
