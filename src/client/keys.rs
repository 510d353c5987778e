//! What is known to prove a pool's user to PostgreSQL, and in which order it is tried.

use crate::auth::login::Proof;
use crate::auth::secret::Secret;
use crate::credentials::tokens::Provider;
use crate::server::error::ConnectError;
use crate::server::login::ServerSecret;
use crate::wire::sqlstate;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Most that is kept of what clients have proved: with two passwords during a change, and one more from before.
const KEPT: usize = 3;

/// What is known to prove a user to PostgreSQL.
#[derive(Debug)]
pub struct Secrets {
    /// By the configuration.
    pub configured: ServerSecret,
    /// By the configuration, too, should PostgreSQL refuse the other one.
    pub second: Option<ServerSecret>,
    /// By clients that have logged in, in the order in which it is tried.
    pub learned: Vec<Learned>,
    /// Who is asked for it; then nothing else counts.
    pub provider: Option<Arc<Provider>>,
}

/// What a client has proved.
#[derive(Debug)]
pub struct Learned {
    secret: ServerSecret,
    /// PostgreSQL has let the user in by it, when it was tried last.
    is_taken: bool,
}

impl Secrets {
    /// A configured password answers everything; else what clients knew is worth more than what is stored. One at least.
    pub(super) fn in_order(&self) -> Vec<ServerSecret> {
        let learned = self.learned.iter().filter(|_| !self.has_password()).map(|learned| &learned.secret);
        let all = learned.chain([&self.configured]).chain(&self.second);
        let mut known: Vec<_> = all.filter(|it| !matches!(it, ServerSecret::None)).cloned().collect();
        if known.is_empty() {
            known.push(ServerSecret::None);
        }
        known
    }

    /// A client has proved this. What is new is tried first; what isn't stays where PostgreSQL's answers have put it, so that
    /// clients with two passwords don't displace each other's.
    pub(super) fn learn(&mut self, secret: ServerSecret) {
        if self.place_of(&secret).is_none() {
            self.learned.insert(0, Learned { secret, is_taken: false });
            self.learned.truncate(KEPT);
        }
    }

    /// Whether what clients prove is what PostgreSQL sees.
    pub(super) fn rest_on_clients(&self) -> bool {
        self.provider.is_none() && !self.has_password()
    }

    /// Whether PostgreSQL has let the user in by this.
    pub(super) fn has_taken(&self, secret: &ServerSecret) -> bool {
        self.place_of(secret).is_some_and(|at| self.learned[at].is_taken)
    }

    /// This is tried where all else is refused, until [`Self::forget`] or PostgreSQL takes it.
    pub(super) fn consider(&mut self, secret: ServerSecret) {
        if self.place_of(&secret).is_none() {
            self.learned.push(Learned { secret, is_taken: false });
        }
    }

    /// Forgets what PostgreSQL hasn't taken.
    pub(super) fn forget(&mut self, secret: &ServerSecret) {
        self.learned.retain(|learned| learned.is_taken || !learned.secret.is_same(secret));
    }

    /// They are tried elsewhere from now on.
    pub(super) fn doubt_all(&mut self) {
        self.learned.iter_mut().for_each(|learned| learned.is_taken = false);
    }

    /// PostgreSQL has let the user in by this, or hasn't.
    pub(super) fn tried(&mut self, secret: &ServerSecret, is_taken: bool) {
        let Some(at) = self.place_of(secret) else { return };
        let learned = Learned { is_taken, ..self.learned.remove(at) };
        self.learned.insert(if is_taken { 0 } else { self.learned.len() }, learned);
        self.learned.truncate(KEPT);
    }

    fn has_password(&self) -> bool {
        matches!(&self.configured, ServerSecret::Stored(secret) if matches!(**secret, Secret::Plain(_)))
    }

    fn place_of(&self, secret: &ServerSecret) -> Option<usize> {
        self.learned.iter().position(|learned| learned.secret.is_same(secret))
    }
}

/// What a server login can use of what a client gave away.
pub(super) fn given_by(proof: Proof) -> Option<ServerSecret> {
    match proof {
        Proof::Nothing => None,
        Proof::PassThrough(proof) => Some(ServerSecret::PassThrough(proof)),
        Proof::Stored(secret) => Some(ServerSecret::Stored(Arc::new(secret))),
        Proof::Password(password) => {
            let text = str::from_utf8(&password).ok()?;
            Some(ServerSecret::Stored(Arc::new(Secret::Plain(Zeroizing::new(text.to_owned())))))
        }
    }
}

/// Whether another secret may do better.
pub(super) fn is_of_the_secret(error: &ConnectError) -> bool {
    is_wrong_password(error) || matches!(error, ConnectError::Credentials(_))
}

pub(super) fn is_wrong_password(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Refused(refusal) if refusal.sqlstate == sqlstate::INVALID_PASSWORD)
}

/// As LDAP and PAM have it, by which AWS RDS looks at tokens.
pub(super) fn is_wrong_token(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Refused(refusal) if refusal.sqlstate == sqlstate::INVALID_AUTHORIZATION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scram::secret::{PassThrough, ScramSecret};

    fn key(password: &str) -> ServerSecret {
        let secret = Arc::new(ScramSecret::from_password(password.as_bytes(), 1, b"salt"));
        ServerSecret::PassThrough(
            PassThrough::of_password(password.as_bytes(), secret).expect("its password"),
        )
    }

    fn stored(text: &str) -> ServerSecret {
        ServerSecret::Stored(Arc::new(Secret::parse(text).expect("a secret")))
    }

    fn secrets(configured: ServerSecret) -> Secrets {
        Secrets { configured, second: None, learned: Vec::new(), provider: None }
    }

    #[track_caller]
    fn assert_order(secrets: &Secrets, expected: &[&ServerSecret]) {
        let order = secrets.in_order();
        let same = order.iter().zip(expected).all(|(one, other)| one.is_same(other));
        assert!(same && order.len() == expected.len(), "{order:?}");
    }

    #[test]
    fn what_postgresql_takes_stays_in_front() {
        let (old, new) = (key("old"), key("new"));
        let mut known = secrets(ServerSecret::None);
        assert!(matches!(known.in_order()[..], [ServerSecret::None]));
        known.learn(old.clone());
        known.tried(&old, true);
        known.learn(new.clone());
        assert_order(&known, &[&new, &old]);
        known.tried(&new, false);
        known.tried(&old, true);
        for _ in 0..3 {
            known.learn(new.clone());
            known.learn(old.clone());
            assert_order(&known, &[&old, &new]);
        }
        known.tried(&old, false);
        known.tried(&new, true);
        assert_order(&known, &[&new, &old]);
    }

    #[test]
    fn few_are_kept() {
        let mut known = secrets(ServerSecret::None);
        let keys = ["1", "2", "3", "4"].map(key);
        keys.iter().for_each(|key| known.learn(key.clone()));
        assert_order(&known, &[&keys[3], &keys[2], &keys[1]]);
    }

    #[test]
    fn what_is_on_trial_is_tried_last() {
        let (known_to, other) = (key("alice's"), key("mallory's"));
        let mut known = secrets(ServerSecret::None);
        known.learn(known_to.clone());
        known.tried(&known_to, true);
        known.consider(other.clone());
        assert_order(&known, &[&known_to, &other]);
        assert!(known.has_taken(&known_to) && !known.has_taken(&other));
        known.forget(&other);
        assert_order(&known, &[&known_to]);
        known.consider(other.clone());
        known.tried(&known_to, false);
        known.tried(&other, true);
        known.forget(&other);
        assert_order(&known, &[&other, &known_to]);
        assert!(known.has_taken(&other) && !known.has_taken(&known_to));
        known.doubt_all();
        assert!(!known.has_taken(&other));
    }

    #[test]
    fn a_configured_password_answers_everything() {
        let (password, digits, learned) =
            (stored("x"), stored("md5e10adc3949ba59abbe56e057f20f883e"), key("x"));
        for (configured, expected) in
            [(&password, &[&password, &digits][..]), (&digits, &[&learned, &digits, &digits])]
        {
            let mut known = Secrets { second: Some(digits.clone()), ..secrets(configured.clone()) };
            known.learn(learned.clone());
            assert_order(&known, expected);
        }
    }
}
