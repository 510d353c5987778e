//! Passwords towards PostgreSQL that expire: asked of a command or a file, kept while they are good, asked for again before
//! they end. One is asked for at a time for each provider, by a task of its own, so that whoever leaves ends nobody else's.

mod command;
mod source;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

pub use self::source::TokenError;
use self::source::Why;
use super::renewal::{Fresh, Look, State, Told, answer};
use crate::auth::secret::Secret;
use crate::clock::Instant;
use crate::config::{PasswordSource, ServerPassword};

/// How long a provider is kept that nobody uses: who comes back by then, again and again perhaps, finds its password, or its pause
/// after a failure.
const KEPT: Duration = Duration::from_secs(60);
/// With so many, those that nobody uses go at once: their names may be invented.
const MANY: usize = 4096;

/// Who asks, and how long that may take.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Where the asking is done.
    pub runtime: Handle,
    /// After that it is given up.
    pub limit: Duration,
}

/// All providers that are in use, or were a short time ago.
#[derive(Debug, Default)]
pub struct Tokens {
    providers: Mutex<HashMap<ServerPassword, Kept>>,
}

#[derive(Debug)]
struct Kept {
    provider: Arc<Provider>,
    /// When somebody was last seen to use it.
    used: Instant,
}

impl Kept {
    /// Only whoever holds the lock of all can make it used again.
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.provider) > 1
    }
}

impl Tokens {
    /// The provider that is asked like that: the same one for all who ask the same.
    pub fn provider(&self, password: ServerPassword) -> Arc<Provider> {
        let mut providers = self.providers.lock();
        if let Some(kept) = providers.get(&password) {
            return Arc::clone(&kept.provider);
        }
        if providers.len() >= MANY {
            providers.retain(|_, kept| kept.is_used());
        }
        let provider = Arc::new(Provider { password: password.clone(), state: Mutex::default() });
        let kept = Kept { provider: Arc::clone(&provider), used: Instant::now() };
        providers.insert(password, kept);
        provider
    }

    /// Has those asked for again that are about to end, and forgets those that nobody has used for long.
    pub fn upkeep(&self, now: Instant, asking: impl FnOnce() -> Asking) {
        let mut providers = self.providers.lock();
        if providers.is_empty() {
            return;
        }
        providers.retain(|_, kept| {
            if kept.is_used() {
                kept.used = now;
            }
            now.saturating_duration_since(kept.used) < KEPT
        });
        let due: Vec<_> = providers
            .values()
            .filter(|kept| kept.is_used())
            .filter_map(|kept| {
                let told = kept.provider.state.lock().upkeep(now)?;
                Some((Arc::clone(&kept.provider), told))
            })
            .collect();
        drop(providers);
        if !due.is_empty() {
            let asking = asking();
            due.into_iter().for_each(|(provider, told)| provider.begin(told, &asking));
        }
    }
}

/// Where one password comes from, and the one there is.
#[derive(Debug)]
pub struct Provider {
    password: ServerPassword,
    state: Mutex<State<Secret, TokenError>>,
}

impl Provider {
    /// The password to log in with now. Cancel safe: the asking goes on for others.
    ///
    /// # Errors
    /// When there is none, or none that is still good.
    pub async fn password(self: &Arc<Self>, asking: &Asking) -> Result<Arc<Secret>, TokenError> {
        // A file is read at every login, so that a change is never missed.
        let anew = matches!(self.password.source, PasswordSource::File(_));
        let look = self.state.lock().look(Instant::now(), anew);
        self.obey(look, asking).await
    }

    /// PostgreSQL has refused this one: another, if there is one. Cancel safe, as before.
    pub async fn another(self: &Arc<Self>, refused: &Arc<Secret>, asking: &Asking) -> Option<Arc<Secret>> {
        let look = self.state.lock().doubt(refused, Instant::now())?;
        let found = self.obey(look, asking).await.ok()?;
        match (&*found, &**refused) {
            (Secret::Plain(found), Secret::Plain(refused)) if found == refused => None,
            _ => Some(found),
        }
    }

    async fn obey(
        self: &Arc<Self>,
        look: Look<Secret, TokenError>,
        asking: &Asking,
    ) -> Result<Arc<Secret>, TokenError> {
        match look {
            Look::Use(secret, told) => {
                told.into_iter().for_each(|told| self.begin(told, asking));
                Ok(secret)
            }
            Look::Wait(waiting, told) => {
                told.into_iter().for_each(|told| self.begin(told, asking));
                let given_up = || Err(TokenError::new(&self.password.source, Why::GivenUp));
                answer(waiting).await.unwrap_or_else(given_up)
            }
            Look::Fail(error) => Err(error),
        }
    }

    fn begin(self: &Arc<Self>, told: Told<Secret, TokenError>, asking: &Asking) {
        let (this, limit) = (Arc::clone(self), asking.limit);
        asking.runtime.spawn(async move {
            let ServerPassword { source, lifetime } = &this.password;
            let answer = source::ask(source, limit, *lifetime).await;
            let now = Instant::now();
            let mut state = this.state.lock();
            let failure = answer.as_ref().err().cloned();
            let outcome = state.land(answer, now);
            let left = state.left(now).as_secs();
            drop(state);
            match failure {
                Some(error) => {
                    tracing::warn!(old_good_for = left, "no new password for servers: {error}");
                }
                None => {
                    tracing::debug!(good_for = left, "new password for servers from {}", source.setting());
                }
            }
            told.send_replace(Some(outcome));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: usize) -> ServerPassword {
        let source = PasswordSource::Command(vec!["get".to_owned(), name.to_string()]);
        ServerPassword { source, lifetime: Duration::from_secs(1) }
    }

    #[test]
    fn providers_outlive_their_last_use_for_a_while() {
        let (tokens, start) = (Tokens::default(), Instant::now());
        let never = || panic!("there is nothing to renew");
        let used = tokens.provider(named(0));
        let left = Arc::downgrade(&tokens.provider(named(1)));
        assert!(Arc::ptr_eq(&used, &tokens.provider(named(0))));
        tokens.upkeep(start + KEPT / 2, never);
        assert!(left.upgrade().is_some());
        tokens.upkeep(start + KEPT * 2, never);
        assert!(left.upgrade().is_none());
        let was_used = Arc::downgrade(&used);
        drop(used);
        tokens.upkeep(start + KEPT * 2 + KEPT / 2, never);
        assert!(was_used.upgrade().is_some(), "it was in use until then");
    }

    #[test]
    fn invented_names_are_forgotten_when_there_are_many() {
        let tokens = Tokens::default();
        let used = tokens.provider(named(0));
        (1..2 * MANY).for_each(|name| drop(tokens.provider(named(name))));
        assert!(tokens.providers.lock().len() <= MANY);
        assert!(Arc::ptr_eq(&used, &tokens.provider(named(0))));
    }
}
