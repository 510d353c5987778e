//! A user's secret in any of the forms PostgreSQL and PgBouncer store: plain, `md5…`, `SCRAM-SHA-256$…`.
//! Never printed; wiped when dropped.

use std::fmt;
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

pub use super::scram::secret::{ScramSecret, SecretError};
use super::{md5, scram};

/// The secret, as stored.
#[derive(Clone)]
pub enum Secret {
    /// The password itself. An empty one never lets anybody in.
    Plain(Zeroizing<String>),
    /// The 32 hexadecimal digits of md5(password + user), without their `md5`.
    Md5(Zeroizing<[u8; 32]>),
    /// What PostgreSQL keeps by default.
    Scram(Arc<ScramSecret>),
}

/// The forms of a [`Secret`] that logins distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A plain password of no characters.
    Empty,
    /// A plain password.
    Plain,
    /// An MD5 hash.
    Md5,
    /// A SCRAM-SHA-256 secret.
    Scram,
}

impl Secret {
    /// From the stored text. `md5` followed by 32 lower-case hexadecimal digits is a hash; `SCRAM-SHA-256$` begins a
    /// SCRAM secret or an error; everything else is the password itself.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if text.starts_with(scram::secret::PREFIX) {
            return ScramSecret::parse(text).map(|secret| Self::Scram(Arc::new(secret)));
        }
        let hash = text.strip_prefix("md5").and_then(|digits| <[u8; 32]>::try_from(digits.as_bytes()).ok());
        match hash {
            Some(digits) if digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')) => {
                Ok(Self::Md5(Zeroizing::new(digits)))
            }
            _ => Ok(Self::Plain(Zeroizing::new(text.to_owned()))),
        }
    }

    /// Which form it has.
    pub fn form(&self) -> Form {
        match self {
            Self::Plain(password) if password.is_empty() => Form::Empty,
            Self::Plain(_) => Form::Plain,
            Self::Md5(_) => Form::Md5,
            Self::Scram(_) => Form::Scram,
        }
    }

    /// Whether both are the same as stored. Takes constant time over what is secret of the same length.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(one), Self::Plain(other)) => one.as_bytes().ct_eq(other.as_bytes()).into(),
            (Self::Md5(one), Self::Md5(other)) => one.ct_eq(&**other).into(),
            (Self::Scram(one), Self::Scram(other)) => one.same_as(other),
            _ => false,
        }
    }

    /// Whether `password` is this secret's; never true of an empty one. Runs PBKDF2 for a SCRAM secret: about a
    /// millisecond for 4096 iterations.
    pub fn is_of(&self, user: &str, password: &[u8]) -> bool {
        if password.is_empty() {
            return false;
        }
        match self {
            // Hashed first, so that the time tells nothing about the stored password's length.
            Self::Plain(stored) => Sha256::digest(stored.as_bytes()).ct_eq(&Sha256::digest(password)).into(),
            Self::Md5(stored) => md5::stored_digits(user, password).ct_eq(&**stored).into(),
            Self::Scram(stored) => stored.is_of(password),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}(..)", self.form())
    }
}

/// One or two [`Secret`]s of a user, together with the SCRAM secrets made of those that are plain, once.
#[derive(Debug)]
pub struct StoredSecret {
    secret: Secret,
    /// As good as the first while a password is being changed.
    second: Option<Secret>,
    /// Set only for plain secrets, on first use.
    derived: OnceLock<Arc<ScramSecret>>,
    second_derived: OnceLock<Arc<ScramSecret>>,
}

/// Two secrets that no login could be checked against both of.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Mismatch {
    /// A client is asked either for SCRAM or for MD5.
    #[error("can't be used beside password: one is md5, the other SCRAM-SHA-256")]
    Forms,
    /// A client is shown one salt.
    #[error(
        "has another salt or another number of iterations than password: make it with pgweir hash --like"
    )]
    Salt,
}

impl StoredSecret {
    /// Nothing is derived yet.
    pub fn new(secret: Secret) -> Self {
        Self { secret, second: None, derived: OnceLock::new(), second_derived: OnceLock::new() }
    }

    /// The same with a second secret, which is as good towards clients.
    ///
    /// # Errors
    /// When no client could be asked so that both answers would do.
    pub fn with_second(self, second: Secret) -> Result<Self, Mismatch> {
        match (&self.secret, &second) {
            (Secret::Md5(_), Secret::Scram(_)) | (Secret::Scram(_), Secret::Md5(_)) => Err(Mismatch::Forms),
            (Secret::Scram(one), Secret::Scram(other)) if !one.shows_as(other) => Err(Mismatch::Salt),
            _ => Ok(Self { second: Some(second), ..self }),
        }
    }

    /// As stored: the first one, which goes to PostgreSQL.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The second one.
    pub fn second(&self) -> Option<&Secret> {
        self.second.as_ref()
    }

    /// Whether `password` is that of one of them; see [`Secret::is_of`].
    pub fn is_of(&self, user: &str, password: &[u8]) -> bool {
        let second = self.second.as_ref().is_some_and(|second| second.is_of(user, password));
        self.secret.is_of(user, password) | second
    }

    /// What a SCRAM login is checked against: the stored secret, or one made of the plain password. The first
    /// call for a plain password runs PBKDF2 (see [`ScramSecret::from_password`]) while concurrent ones wait for
    /// it; later ones return the same secret whatever their arguments. `None` for MD5 and for an empty password.
    pub fn verifier(&self, iterations: u32, salt: &[u8]) -> Option<Arc<ScramSecret>> {
        match &self.second {
            // A client is shown one salt, and this one is given.
            Some(Secret::Scram(second)) => {
                derive(&self.secret, &self.derived, second.iterations(), second.salt())
            }
            _ => derive(&self.secret, &self.derived, iterations, salt),
        }
    }

    /// The same of the second secret, with the salt and the iterations of `first`, which is the first's.
    pub fn second_verifier(&self, first: &ScramSecret) -> Option<Arc<ScramSecret>> {
        derive(self.second.as_ref()?, &self.second_derived, first.iterations(), first.salt())
    }

    /// Whether [`Self::verifier`] or [`Self::second_verifier`] would run PBKDF2 now.
    pub fn must_derive(&self) -> bool {
        let must =
            |secret: &Secret, derived: &OnceLock<_>| secret.form() == Form::Plain && derived.get().is_none();
        must(&self.secret, &self.derived)
            || self.second.as_ref().is_some_and(|second| must(second, &self.second_derived))
    }
}

fn derive(
    secret: &Secret,
    derived: &OnceLock<Arc<ScramSecret>>,
    iterations: u32,
    salt: &[u8],
) -> Option<Arc<ScramSecret>> {
    match secret {
        Secret::Scram(secret) => Some(secret.clone()),
        Secret::Plain(password) if !password.is_empty() => {
            let derive = || Arc::new(ScramSecret::from_password(password.as_bytes(), iterations, salt));
            Some(derived.get_or_init(derive).clone())
        }
        Secret::Plain(_) | Secret::Md5(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn stored_texts_have_their_forms() {
        let md5 = "md5e10adc3949ba59abbe56e057f20f883e";
        for (text, form) in [
            ("", Form::Empty),
            ("secret", Form::Plain),
            ("md5", Form::Plain),
            (md5, Form::Md5),
            (&md5[..34], Form::Plain),
            (&format!("{md5}0"), Form::Plain),
            (&md5.to_uppercase().replace("MD5", "md5"), Form::Plain),
            (&format!("{}g", &md5[..34]), Form::Plain),
            (SCRAM, Form::Scram),
            ("scram-sha-256$4096:", Form::Plain),
            ("SCRAM-SHA-256", Form::Plain),
        ] {
            assert_eq!(Secret::parse(text).map(|s| s.form()), Ok(form), "{text}");
        }
    }

    #[test]
    fn a_malformed_scram_secret_is_an_error() {
        let keys =
            "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let long_salt = "AAAA".repeat(400);
        for (rest, error) in [
            (String::new(), SecretError::Shape),
            ("4096:W22Z".to_owned(), SecretError::Shape),
            ("4096$a:b".to_owned(), SecretError::Shape),
            ("4096:W22Z$ab".to_owned(), SecretError::Shape),
            (format!("0:W22Z${keys}"), SecretError::Iterations),
            (format!("-1:W22Z${keys}"), SecretError::Iterations),
            (format!("+1:W22Z${keys}"), SecretError::Iterations),
            (format!(":W22Z${keys}"), SecretError::Iterations),
            (format!("1000001:W22Z${keys}"), SecretError::Iterations),
            (format!("4294967297:W22Z${keys}"), SecretError::Iterations),
            (format!("4096:${keys}"), SecretError::Salt),
            (format!("4096:W2${keys}"), SecretError::Salt),
            (format!("4096:{long_salt}${keys}"), SecretError::Salt),
            (format!("4096:W22Z$x{keys}"), SecretError::StoredKey),
            (format!("4096:W22Z${keys}x"), SecretError::ServerKey),
            (format!("4096:W22Z${keys}:"), SecretError::ServerKey),
        ] {
            let text = format!("SCRAM-SHA-256${rest}");
            assert_eq!(Secret::parse(&text).map(|s| s.form()), Err(error), "{text}");
        }
    }

    #[test]
    fn passwords_are_checked_against_every_form() {
        let md5 = format!("md5{}", md5::stored_digits("joe", b"pencil").escape_ascii());
        for text in ["pencil", &md5, SCRAM] {
            let secret = Secret::parse(text).unwrap();
            assert!(secret.is_of("joe", b"pencil"), "{text}");
            assert!(!secret.is_of("joe", b"pencils"), "{text}");
            assert!(!secret.is_of("joe", b""), "{text}");
        }
        assert!(!Secret::parse(&md5).unwrap().is_of("eve", b"pencil"), "md5 is salted with the user");
        assert!(!Secret::parse("").unwrap().is_of("joe", b""), "empty never authenticates");
    }

    #[test]
    fn debug_shows_no_secret() {
        for text in ["pencil", "md5e10adc3949ba59abbe56e057f20f883e", SCRAM] {
            let stored = StoredSecret::new(Secret::parse(text).unwrap());
            stored.verifier(1, b"salt");
            let shown = format!("{stored:?}");
            for leak in ["pencil", "e10adc", "W22Z", "WG5d", "wfPL"] {
                assert!(!shown.contains(leak), "{shown}");
            }
        }
    }

    #[test]
    fn a_plain_password_is_derived_once() {
        let stored = StoredSecret::new(Secret::parse("pencil").unwrap());
        assert!(stored.must_derive());
        let first = stored.verifier(10, b"salt").unwrap();
        assert!(!stored.must_derive());
        let second = stored.verifier(20, b"other").unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!((first.iterations(), first.salt()), (10, &b"salt"[..]));
    }

    #[test]
    fn two_secrets_can_be_asked_for_at_once_or_not() {
        let other_salt = SCRAM.replacen("W22Z", "W23Z", 1);
        let md5 = "md5e10adc3949ba59abbe56e057f20f883e";
        for (first, second, expected) in [
            ("a", "b", Ok(())),
            ("a", md5, Ok(())),
            ("a", SCRAM, Ok(())),
            (SCRAM, "a", Ok(())),
            (SCRAM, SCRAM, Ok(())),
            (md5, md5, Ok(())),
            (md5, SCRAM, Err(Mismatch::Forms)),
            (SCRAM, md5, Err(Mismatch::Forms)),
            (SCRAM, &other_salt, Err(Mismatch::Salt)),
        ] {
            let secret = |text| Secret::parse(text).unwrap();
            let both = StoredSecret::new(secret(first)).with_second(secret(second));
            assert_eq!(both.as_ref().map(|_| ()).map_err(|e| *e), expected, "{first} {second}");
            let Some(one) = both.as_ref().ok().and_then(|both| both.verifier(10, b"salt")) else { continue };
            let two = both.unwrap().second_verifier(&one);
            assert!(two.is_none_or(|two| two.shows_as(&one)), "{first} {second}");
        }
    }

    #[test]
    fn either_password_will_do() {
        let both = StoredSecret::new(Secret::parse("a").unwrap())
            .with_second(Secret::parse(SCRAM).unwrap())
            .unwrap();
        assert!(both.must_derive() && both.is_of("u", b"a") && both.is_of("u", b"pencil"));
        assert!(!both.is_of("u", b"b") && !both.is_of("u", b""));
        let first = both.verifier(1, b"x").unwrap();
        assert!(
            first.is_of(b"a")
                && both.second_verifier(&first).unwrap().is_of(b"pencil")
                && !both.must_derive()
        );
    }

    #[test]
    fn only_real_and_plain_secrets_have_a_verifier() {
        let verifier = |text| StoredSecret::new(Secret::parse(text).unwrap()).verifier(1, b"s");
        assert!(verifier("").is_none());
        assert!(verifier("md5e10adc3949ba59abbe56e057f20f883e").is_none());
        assert_eq!(*verifier(SCRAM).unwrap().stored_text(), SCRAM);
    }
}
