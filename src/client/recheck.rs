//! What a login went by may have been changed while the client took its time: who is let in is let in by what is in force.

use super::context::Shared;
use super::entry::{Entry, Way};
use super::login::{LoginEnd, is_known, look_up};
use super::lookup::Known;
use super::report::Trouble;
use super::startup::Wish;
use crate::auth::hba::Rules;
use crate::auth::login::{LoginError, Method};
use crate::auth::secret::StoredSecret;
use crate::credentials::store::Store;
use crate::net::stream::Stream;
use crate::roster::ClientAddress;
use std::sync::Arc;

/// What was in force at a moment. Each reload puts others in their place, the rules first and the secrets last.
#[derive(Debug)]
pub(super) struct Begun {
    store: Arc<Store>,
    rules: Arc<Rules>,
}

impl Begun {
    pub(super) fn now(shared: &Shared) -> Self {
        // The other way round than they are replaced, so that neither is newer than what is read behind.
        let store = shared.store.load_full();
        Self { store, rules: shared.rules.load_full() }
    }

    /// Whether it still is.
    pub(super) fn is_in_force(&self, shared: &Shared) -> bool {
        Arc::ptr_eq(&self.store, &shared.store.load()) && Arc::ptr_eq(&self.rules, &shared.rules.load())
    }
}

/// Whether the connection is encrypted, and its client vouched for, as far as is demanded now; a new one is held against that as it
/// begins.
pub(super) fn check_encryption(
    shared: &Shared,
    stream: &Stream,
    address: ClientAddress,
) -> Result<(), Trouble> {
    let acceptor = shared.tls.load().acceptor();
    match (acceptor.filter(|_| matches!(address, ClientAddress::Tcp(_))), stream.tls()) {
        (Some(acceptor), None) if acceptor.is_required() => Err(Trouble::TlsRequired),
        (Some(acceptor), Some(tls))
            if acceptor.requires_certificate() && tls.peer_certificate().is_none() =>
        {
            Err(Trouble::CertificateRequired)
        }
        _ => Ok(()),
    }
}

/// Whether what is in force now asks for the same, and what was held against the user's secret still would be right.
///
/// # Errors
/// As for a wrong password, or in the words for who isn't meant by the rules.
pub(super) async fn recheck(
    stream: &mut Stream,
    shared: &Arc<Shared>,
    (wish, address): (&Wish, ClientAddress),
    (entry, known): (&Entry, Option<&Known>),
) -> Result<(), LoginEnd> {
    let outdated = || match entry.way {
        Way::Peer | Way::Certificate | Way::Bearer(_) => Trouble::Entry(entry.unknown(wish)),
        _ => Trouble::Login(LoginError::outdated(&wish.user)),
    };
    let now = Entry::find(shared, stream, address, wish).map_err(Trouble::Entry)?;
    if !now.asks_the_same(entry) {
        return Err(outdated().into());
    }
    now.check_shown(stream, wish).map_err(Trouble::Entry)?;
    now.check_name(stream, wish).map_err(Trouble::Entry)?;
    match (&now.way, known) {
        (&Way::Secret(method), Some(known)) => {
            let newer = look_up(stream, shared, wish).await?;
            let is_right = match method {
                Method::Trust => is_known(shared, &newer, wish),
                _ => still_has(newer.secret.as_deref(), known.secret.as_deref()),
            };
            if is_right { Ok(()) } else { Err(outdated().into()) }
        }
        (Way::Peer, _) => now.check_peer(stream, wish).await,
        _ => Ok(()),
    }
}

/// Whether all that may have been proved is still the user's.
fn still_has(now: Option<&StoredSecret>, before: Option<&StoredSecret>) -> bool {
    let (Some(now), Some(before)) = (now, before) else { return false };
    let all = |stored: &StoredSecret| [Some(stored.secret().clone()), stored.second().cloned()];
    let now = all(now);
    let has = |secret| now.iter().flatten().any(|one| one.is_same(secret));
    all(before).iter().flatten().all(has)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::secret::Secret;

    #[test]
    fn all_that_may_have_been_proved_has_to_be_there() {
        let stored = |text: &str| {
            let mut all = text.split(' ').map(|text| Secret::parse(text).expect("a secret"));
            let first = StoredSecret::new(all.next().expect("one"));
            all.fold(first, |first, second| first.with_second(second).expect("both"))
        };
        for (before, now, expected) in [
            ("a", Some("a"), true),
            ("a", Some("b a"), true),
            ("a b", Some("b a"), true),
            ("a b", Some("b"), false),
            ("a", Some("b"), false),
            ("a", None, false),
        ] {
            let now = now.map(stored);
            assert_eq!(still_has(now.as_ref(), Some(&stored(before))), expected, "{before} {now:?}");
        }
        assert!(!still_has(None, None));
    }
}
