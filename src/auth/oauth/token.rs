//! A JSON Web Token (RFC 7519) and what it has to be to let somebody in. Time is passed in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;
use zeroize::Zeroizing;

use super::OAuth;
use super::keys::{Algorithm, KeySet};

/// How far the issuer's clock may be from this one, in seconds.
const SKEW: f64 = 30.0;

/// Why a token lets nobody in. For the log: the client isn't told. Quotes nothing but names.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Rejection {
    /// It isn't three parts, or a part can't be read.
    #[error("the token is no JSON Web Token")]
    NoToken,
    /// Its header has what has to be understood, and isn't.
    #[error("the token's header has crit")]
    Critical,
    /// It isn't signed as it has to be.
    #[error("the token is signed by {0:?}, which algorithms= doesn't have")]
    Algorithm(String),
    /// No key of the issuer's fits.
    #[error("the issuer has no key {0:?} for that algorithm")]
    UnknownKey(Option<String>),
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim isn't there, or of the wrong kind.
    #[error("the token has no claim {0}, or of another kind")]
    Claim(String),
    /// Somebody else issued it.
    #[error("the token is of another issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// It doesn't count yet.
    #[error("the token doesn't count yet")]
    Early,
    /// It isn't good for what it has to be.
    #[error("the token lacks scope {0}")]
    Scope(String),
}

/// Whom a token is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Somebody known by this name elsewhere.
    KnownAs(String),
    /// Somebody who may be any of these users.
    MayBe(Vec<String>),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// A token that has been read, and whose claims are as they have to be; its signature is still to be looked at.
#[derive(Debug)]
pub struct Token {
    algorithm: Algorithm,
    key: Option<String>,
    signed: Zeroizing<Vec<u8>>,
    signature: Vec<u8>,
    names: Names,
}

impl Token {
    /// Reads a token and looks at all but its signature, which comes last because keys may have to be fetched for it. `now` is
    /// in seconds since 1970.
    ///
    /// # Errors
    /// Why it can't be good whoever signed it.
    pub fn read(text: &str, oauth: &OAuth, now: u64) -> Result<Self, Rejection> {
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Rejection::NoToken);
        };
        let bytes = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejection::NoToken);
        let parsed: Header = serde_json::from_slice(&bytes(header)?).map_err(|_| Rejection::NoToken)?;
        if parsed.crit.is_some() {
            return Err(Rejection::Critical);
        }
        let algorithm =
            Algorithm::named(&parsed.alg).filter(|algorithm| oauth.algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or(Rejection::Algorithm(parsed.alg))?;
        let contents = Zeroizing::new(bytes(claims)?);
        let contents: Map<String, Value> =
            serde_json::from_slice(&contents).map_err(|_| Rejection::NoToken)?;
        let names = Claims(&contents).check(oauth, now)?;
        let signed = Zeroizing::new(text.as_bytes()[..header.len() + 1 + claims.len()].to_vec());
        Ok(Self { algorithm, key: parsed.kid, signed, signature: bytes(signature)?, names })
    }

    /// Whether a key like the one it is signed by is among these; else newer ones may have it.
    pub fn may_be_of(&self, keys: &KeySet) -> bool {
        keys.may_have(self.key.as_deref(), self.algorithm)
    }

    /// Looks at the signature. Whom it is about.
    ///
    /// # Errors
    /// None of these keys made it.
    pub fn verify(self, keys: &KeySet) -> Result<Names, Rejection> {
        if !self.may_be_of(keys) {
            return Err(Rejection::UnknownKey(self.key));
        }
        let is_right = keys.verify(self.key.as_deref(), self.algorithm, &self.signed, &self.signature);
        if is_right { Ok(self.names) } else { Err(Rejection::Signature) }
    }
}

struct Claims<'a>(&'a Map<String, Value>);

impl Claims<'_> {
    fn check(&self, oauth: &OAuth, now: u64) -> Result<Names, Rejection> {
        if self.text("iss")? != oauth.issuer_claim() {
            return Err(Rejection::Issuer);
        }
        let is_meant = |name: &String| oauth.audience.iter().any(|meant| **meant == **name);
        if !oauth.audience.is_empty() && !self.list("aud", &[])?.iter().any(is_meant) {
            return Err(Rejection::Audience);
        }
        // Exact for as long as anybody cares.
        let now = now as f64;
        if now >= self.time("exp")?.ok_or_else(|| missing("exp"))? + SKEW {
            return Err(Rejection::Expired);
        }
        if self.time("nbf")?.is_some_and(|from| now + SKEW < from) {
            return Err(Rejection::Early);
        }
        self.check_scope(&oauth.scope)?;
        if oauth.is_delegated {
            return self.list(&oauth.claim, &[]).map(Names::MayBe);
        }
        let name = Some(self.text(&oauth.claim)?).filter(|name| !name.is_empty());
        name.map(|name| Names::KnownAs(name.to_owned())).ok_or_else(|| missing(&oauth.claim))
    }

    /// `scope` in one text (RFC 8693), or `scp`, as a text or a list, of issuers who were there before it.
    fn check_scope(&self, wanted: &str) -> Result<(), Rejection> {
        let claim = if self.0.contains_key("scope") { "scope" } else { "scp" };
        let has = match self.0.get(claim) {
            Some(_) => self.list(claim, &[' '])?,
            None => Vec::new(),
        };
        let lacks = wanted.split(' ').find(|word| !word.is_empty() && !has.iter().any(|it| it == word));
        lacks.map_or(Ok(()), |word| Err(Rejection::Scope(word.to_owned())))
    }

    fn text(&self, claim: &str) -> Result<&str, Rejection> {
        self.0.get(claim).and_then(Value::as_str).ok_or_else(|| missing(claim))
    }

    /// A moment; of another kind it isn't none, but wrong.
    fn time(&self, claim: &str) -> Result<Option<f64>, Rejection> {
        self.0.get(claim).map(|value| value.as_f64().ok_or_else(|| missing(claim))).transpose()
    }

    /// A text, cut at these signs, or a list of texts.
    fn list(&self, claim: &str, cut: &[char]) -> Result<Vec<String>, Rejection> {
        match self.0.get(claim) {
            Some(Value::String(text)) if cut.is_empty() => Ok(vec![text.clone()]),
            Some(Value::String(text)) => Ok(text.split(cut).map(str::to_owned).collect()),
            Some(Value::Array(items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or_else(|| missing(claim))
            }
            _ => Err(missing(claim)),
        }
    }
}

fn missing(claim: &str) -> Rejection {
    Rejection::Claim(claim.to_owned())
}
