//! A SCRAM secret as PostgreSQL stores it, how it is made from a password, and the keys of pass-through.
//! Nothing here prints a key; keys are wiped when dropped.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use thiserror::Error;
use zeroize::Zeroizing;

use super::MAX_ITERATIONS;
use super::messages::{decode_iterations, decode_key, decode_salt};

/// What a stored SCRAM secret begins with.
pub const PREFIX: &str = "SCRAM-SHA-256$";

/// Why a text that begins with [`PREFIX`] is no secret. Never quotes any of it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SecretError {
    /// Not four parts.
    #[error("a SCRAM secret must read SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>")]
    Shape,
    /// Not a number, or out of bounds.
    #[error("the SCRAM secret's iteration count must be a number from 1 to {MAX_ITERATIONS}")]
    Iterations,
    /// Not base64, empty or too long.
    #[error("the SCRAM secret's salt must be base64 of 1 to {} bytes", super::MAX_SALT)]
    Salt,
    /// StoredKey isn't base64 of 32 bytes.
    #[error("the SCRAM secret's StoredKey must be base64 of 32 bytes")]
    StoredKey,
    /// ServerKey isn't base64 of 32 bytes.
    #[error("the SCRAM secret's ServerKey must be base64 of 32 bytes")]
    ServerKey,
}

/// What a server keeps of a password. Enough to check a client's proof and to sign; not enough to log in elsewhere.
#[derive(Clone)]
pub struct ScramSecret {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Zeroizing<[u8; 32]>,
    server_key: Zeroizing<[u8; 32]>,
}

impl ScramSecret {
    /// Runs PBKDF2: about a millisecond for 4096 iterations, proportional to them, on the calling thread.
    /// `iterations` is brought into 1 to [`MAX_ITERATIONS`]. The password goes through SASLprep first, or is
    /// taken as it is if it isn't UTF-8 or SASLprep forbids it, as PostgreSQL does.
    pub fn from_password(password: &[u8], iterations: u32, salt: &[u8]) -> Self {
        let iterations = iterations.clamp(1, MAX_ITERATIONS);
        let keys = Derived::new(password, iterations, salt);
        Self { iterations, salt: salt.to_vec(), stored_key: keys.stored_key, server_key: keys.server_key }
    }

    /// A secret no password fits, for users who have none: it looks like an ordinary one from outside.
    pub fn mock(key: &MockKey, user: &str, iterations: u32) -> Self {
        Self {
            iterations: iterations.clamp(1, MAX_ITERATIONS),
            salt: key.salt(user).to_vec(),
            stored_key: Zeroizing::new([0; 32]),
            server_key: Zeroizing::new([0; 32]),
        }
    }

    /// From the text PostgreSQL shows in `pg_authid.rolpassword`, its prefix included.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let rest = text.strip_prefix(PREFIX).ok_or(SecretError::Shape)?;
        let (head, keys) = rest.split_once('$').ok_or(SecretError::Shape)?;
        let (iterations, salt) = head.split_once(':').ok_or(SecretError::Shape)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or(SecretError::Shape)?;
        let key = |base64: &str| decode_key(base64.as_bytes()).map(Zeroizing::new);
        Ok(Self {
            iterations: decode_iterations(iterations.as_bytes()).ok_or(SecretError::Iterations)?,
            salt: decode_salt(salt.as_bytes()).ok_or(SecretError::Salt)?,
            stored_key: key(stored_key).ok_or(SecretError::StoredKey)?,
            server_key: key(server_key).ok_or(SecretError::ServerKey)?,
        })
    }

    /// The inverse of [`Self::parse`]. Not `Display`, so that it can't slip into a log line.
    pub fn stored_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "{PREFIX}{}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(*self.stored_key),
            STANDARD.encode(*self.server_key)
        ))
    }

    /// PBKDF2 iterations, 1 to [`MAX_ITERATIONS`].
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The salt, decoded.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// H(ClientKey).
    pub fn stored_key(&self) -> &[u8; 32] {
        &self.stored_key
    }

    /// The key the server signs with.
    pub fn server_key(&self) -> &[u8; 32] {
        &self.server_key
    }

    /// Whether clients are shown the same for both.
    pub fn shows_as(&self, other: &Self) -> bool {
        self.iterations == other.iterations && self.salt == other.salt
    }

    /// Whether this is the secret of `password`. Costs what [`Self::from_password`] costs.
    pub fn is_of(&self, password: &[u8]) -> bool {
        self.same_as(&Self::from_password(password, self.iterations, &self.salt))
    }

    /// Whether both are the same secret, not merely secrets of the same password. Takes constant time over the keys.
    pub fn same_as(&self, other: &Self) -> bool {
        let keys = self.stored_key.ct_eq(&*other.stored_key) & self.server_key.ct_eq(&*other.server_key);
        self.shows_as(other) && bool::from(keys)
    }
}

impl fmt::Debug for ScramSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramSecret").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// A process-wide key from which the salts of users without a secret of their own are made, so that a user
/// who doesn't exist shows the same salt each time, as one who does.
#[derive(Clone)]
pub struct MockKey(Zeroizing<[u8; 32]>);

impl MockKey {
    /// From 32 bytes of a cryptographic random source. A new key shows who exists to somebody who compares salts
    /// before and after, so it should live as long as the process.
    pub fn new(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(random))
    }

    /// From something secret that stays, so that a restart and other processes show the same. It has to be as good as random: who sees
    /// the salts could find out a password by trying.
    pub fn of_key(secret: &[u8]) -> Self {
        let secret = Zeroizing::new(Sha256::digest(secret).into());
        Self(Zeroizing::new(hmac(&secret, b"salts of users without a secret")))
    }

    /// 16 bytes, as PostgreSQL's salts.
    pub fn salt(&self, user: &str) -> [u8; 16] {
        let mut salt = [0; 16];
        salt.copy_from_slice(&hmac(&self.0, user.as_bytes())[..16]);
        salt
    }
}

impl fmt::Debug for MockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MockKey(..)")
    }
}

/// What a client proved to us, and can be proved on to a server that has the very same secret: the client's key with
/// that secret.
#[derive(Clone)]
pub struct PassThrough {
    client_key: Zeroizing<[u8; 32]>,
    secret: Arc<ScramSecret>,
}

impl PassThrough {
    /// `None` if the key isn't that secret's.
    pub fn new(client_key: Zeroizing<[u8; 32]>, secret: Arc<ScramSecret>) -> Option<Self> {
        bool::from(is_client_key(&client_key, &secret.stored_key)).then_some(Self { client_key, secret })
    }

    /// Of somebody who knows the password. Costs what [`ScramSecret::from_password`] costs. `None` if it isn't that secret's.
    pub fn of_password(password: &[u8], secret: Arc<ScramSecret>) -> Option<Self> {
        let keys = Derived::new(password, secret.iterations, &secret.salt);
        Self::new(keys.client_key, secret)
    }

    /// As good as the password towards servers with the same secret.
    pub fn client_key(&self) -> &[u8; 32] {
        &self.client_key
    }

    /// Whether both prove the same. Takes constant time over the keys.
    pub fn is_same(&self, other: &Self) -> bool {
        bool::from(self.client_key.ct_eq(&*other.client_key)) & self.secret.same_as(&other.secret)
    }

    /// The secret it was proved against.
    pub fn secret(&self) -> &Arc<ScramSecret> {
        &self.secret
    }
}

impl fmt::Debug for PassThrough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PassThrough(..)")
    }
}

#[cfg(test)]
thread_local! {
    /// How often this thread has run PBKDF2.
    pub(in crate::auth) static DERIVATIONS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// The three keys that follow from a password, a salt and an iteration count.
pub(super) struct Derived {
    pub(super) client_key: Zeroizing<[u8; 32]>,
    pub(super) stored_key: Zeroizing<[u8; 32]>,
    pub(super) server_key: Zeroizing<[u8; 32]>,
}

impl Derived {
    pub(super) fn new(password: &[u8], iterations: u32, salt: &[u8]) -> Self {
        #[cfg(test)]
        DERIVATIONS.set(DERIVATIONS.get() + 1);
        let password = prepared(password);
        let salted = Zeroizing::new(pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(&password, salt, iterations));
        let client_key = Zeroizing::new(hmac(&salted, b"Client Key"));
        let stored_key = Zeroizing::new(Sha256::digest(*client_key).into());
        Self { stored_key, server_key: Zeroizing::new(hmac(&salted, b"Server Key")), client_key }
    }
}

/// SASLprep, or the password itself where PostgreSQL falls back to it: not UTF-8, forbidden, or nothing left.
fn prepared(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let text = std::str::from_utf8(password).ok();
    let prepared = text.and_then(|text| stringprep::saslprep(text).ok()).filter(|text| !text.is_empty());
    Zeroizing::new(prepared.map_or_else(|| password.to_vec(), |text| text.into_owned().into_bytes()))
}

pub(super) fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

pub(super) fn xor(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|i| a[i] ^ b[i])
}

/// Whether `client_key` hashes to `stored_key`, in constant time.
pub(super) fn is_client_key(client_key: &[u8; 32], stored_key: &[u8; 32]) -> Choice {
    Sha256::digest(client_key).ct_eq(stored_key)
}
