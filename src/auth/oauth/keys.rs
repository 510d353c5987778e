//! The public keys of an issuer: a JSON Web Key Set (RFC 7517), and signatures by them (RFC 7518). Nothing secret is one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use thiserror::Error;

/// Largest set taken, in bytes.
pub const LARGEST_SET: usize = 1 << 20;
/// Most keys of a set that are looked at.
const MOST_KEYS: usize = 100;

/// How a token may be signed. None without a key, and none by a key that both sides know: who can check one could make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are RFC 7518's and RFC 8037's")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// All of them, by name.
    pub const ALL: [(&str, Self); 9] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    /// For keys of RSA: from 2,048 bits.
    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }
}

/// Why there are no keys.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BrokenKeys {
    /// It isn't JSON, or not a set of keys.
    #[error("it is no JSON Web Key Set")]
    NoSet,
    /// There is no key of a kind that signs tokens here.
    #[error("it has no key of RSA, P-256, P-384 or Ed25519 for signatures")]
    NoKey,
}

/// The keys of an issuer.
#[derive(Debug)]
pub struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<Box<str>>,
    algorithm: Option<Algorithm>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Written {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct WrittenKey {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl KeySet {
    /// Reads a set. Keys for something else, or of an unknown kind, are left out; none may be left, which is an answer, too.
    ///
    /// # Errors
    /// It is no set.
    pub fn read(text: &[u8]) -> Result<Self, BrokenKeys> {
        let Written { keys } = serde_json::from_slice(text).map_err(|_| BrokenKeys::NoSet)?;
        let keys = keys.into_iter().filter_map(|key| Key::read(serde_json::from_value(key).ok()?));
        Ok(Self(keys.take(MOST_KEYS).collect()))
    }

    /// What is wrong with the set for who expects tokens to be taken.
    ///
    /// # Errors
    /// There is no key in it.
    pub fn has_any(&self) -> Result<(), BrokenKeys> {
        if self.0.is_empty() { Err(BrokenKeys::NoKey) } else { Ok(()) }
    }

    /// Whether a token that names this key could be of one of these.
    pub(super) fn may_have(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        self.fitting(id, algorithm).next().is_some()
    }

    /// Whether one of them made this signature.
    pub(super) fn verify(&self, id: Option<&str>, algorithm: Algorithm, signed: &[u8], by: &[u8]) -> bool {
        self.fitting(id, algorithm).any(|key| key.kind.verify(algorithm, signed, by))
    }

    fn fitting(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| {
            (id.is_none() || key.id.as_deref() == id)
                && key.algorithm.is_none_or(|only| only == algorithm)
                && key.kind.is_for(algorithm)
        })
    }
}

impl Key {
    fn read(written: WrittenKey) -> Option<Self> {
        // Two ways to say what a key is for (RFC 7517, 4.2 and 4.3); one that isn't for both is for neither.
        let verifies = |operations: &Vec<String>| operations.iter().any(|operation| operation == "verify");
        if written.usage.is_some_and(|usage| usage != "sig")
            || written.key_ops.is_some_and(|operations| !verifies(&operations))
        {
            return None;
        }
        let algorithm = match &written.alg {
            Some(name) => Some(Algorithm::named(name)?),
            None => None,
        };
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let point = |length| {
            let (x, y) = (bytes(&written.x)?, bytes(&written.y)?);
            (x.len() == length && y.len() == length).then(|| [&[4], &*x, &*y].concat())
        };
        let kind = match (&*written.kty, written.crv.as_deref()) {
            ("RSA", _) => Kind::Rsa { n: bytes(&written.n)?, e: bytes(&written.e)? },
            ("EC", Some("P-256")) => Kind::P256(point(32)?),
            ("EC", Some("P-384")) => Kind::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Kind::Ed25519(bytes(&written.x)?),
            _ => return None,
        };
        Some(Self { id: written.kid.map(Into::into), algorithm, kind })
    }
}

impl Kind {
    fn is_for(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa { .. } => algorithm.rsa().is_some(),
            Self::P256(_) => algorithm == Algorithm::Es256,
            Self::P384(_) => algorithm == Algorithm::Es384,
            Self::Ed25519(_) => algorithm == Algorithm::EdDsa,
        }
    }

    fn verify(&self, algorithm: Algorithm, signed: &[u8], by: &[u8]) -> bool {
        let plain = |algorithm: &'static dyn VerificationAlgorithm, key: &Vec<u8>| {
            UnparsedPublicKey::new(algorithm, key).verify(signed, by).is_ok()
        };
        match self {
            Self::Rsa { n, e } => algorithm
                .rsa()
                .is_some_and(|rsa| RsaPublicKeyComponents { n, e }.verify(rsa, signed, by).is_ok()),
            Self::P256(key) => plain(&signature::ECDSA_P256_SHA256_FIXED, key),
            Self::P384(key) => plain(&signature::ECDSA_P384_SHA384_FIXED, key),
            Self::Ed25519(key) => plain(&signature::ED25519, key),
        }
    }
}
