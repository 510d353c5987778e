//! OAuth 2.0 bearer tokens as proof of who a client is: SASL's mechanism OAUTHBEARER (RFC 7628) as PostgreSQL 18 speaks it, and
//! tokens that are JSON Web Tokens signed by a key of their issuer's. Where the keys are got is the caller's to do.

mod keys;
mod message;
mod token;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::path::PathBuf;

use url::Url;
use zeroize::Zeroizing;

use super::login::Request;
pub use keys::{Algorithm, BrokenKeys, KeySet, LARGEST_SET};
pub use message::Malformed;
pub use token::{Names, Rejection, Token};

/// The mechanism's name.
pub const MECHANISM: &str = "OAUTHBEARER";

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// At an address: https, or http of this machine.
    At(Url),
}

impl KeySource {
    /// Whether they are in a file.
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

/// What a rule says of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth {
    /// Who has to have issued them; it may be the address of what it publishes of itself.
    pub issuer: Box<str>,
    /// What they have to be good for, in words between blanks.
    pub scope: Box<str>,
    /// Whom they have to be for, one of these; none: that isn't looked at.
    pub audience: Vec<Box<str>>,
    /// The claim that names the user.
    pub claim: Box<str>,
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    /// Where the issuer's keys are.
    pub keys: KeySource,
    /// Whether that claim lists all the users that the client may be, and no map is asked.
    pub is_delegated: bool,
    /// Whether a client of this machine may send one in clear.
    pub is_loopback_allowed: bool,
}

impl OAuth {
    /// Whether the keys come over TLS.
    pub fn is_fetched_by_tls(&self) -> bool {
        matches!(&self.keys, KeySource::At(url) if url.scheme() == "https")
    }

    /// What tokens have to have as their issuer.
    pub(super) fn issuer_claim(&self) -> Cow<'_, str> {
        issuer_at(&self.issuer).unwrap_or(Cow::Borrowed(&self.issuer))
    }
}

/// The issuer that publishes of itself at an address, which is the address without its well-known part (RFC 8414, OpenID Connect
/// Discovery); one without such a part is the issuer's own. `None`: there is such a part, and clients like libpq wouldn't know it.
pub fn issuer_at(address: &str) -> Option<Cow<'_, str>> {
    let Some((before, behind)) = address.split_once(message::WELL_KNOWN) else {
        return Some(Cow::Borrowed(address));
    };
    let (name, behind) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
    let is_first = before.split_once("://").is_some_and(|(_, authority)| !authority.contains('/'));
    let is_known = ["openid-configuration", "oauth-authorization-server"].contains(&name);
    let is_whole = !address.contains(['?', '#']);
    let is_right = is_known && is_whole && (is_first || behind.is_empty());
    is_right.then(|| Cow::Owned(format!("{before}{behind}")))
}

/// An exchange that waits for the client's next `p` message.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// For a SASLInitialResponse.
    Initial,
    /// For the SASLResponse with what the SASLInitialResponse left out.
    First,
    /// For the SASLResponse that says that the failure was heard.
    Failed,
}

/// What a message means.
#[derive(Debug)]
pub enum Heard {
    /// Send this, then take the next one.
    Ask(Exchange, Request),
    /// This token is to be looked at.
    Token(Zeroizing<String>),
    /// There is no token that could be looked at. The client wants to know where to get one, or doesn't know how to say it.
    NoToken,
    /// It has heard that it failed.
    Over,
}

impl Exchange {
    /// Begins one.
    pub fn start() -> (Self, Request) {
        (Self(State::Initial), Request::Sasl(&[MECHANISM]))
    }

    /// Tells the client that it failed, and where it might get a token that is good.
    pub fn fail(oauth: &OAuth) -> (Self, Request) {
        (Self(State::Failed), Request::SaslContinue(message::failure(&oauth.issuer, &oauth.scope)))
    }

    /// Takes the body of a `p` message, without the tag and the length.
    ///
    /// # Errors
    /// It isn't what the mechanism has next.
    pub fn on_response(self, body: &[u8]) -> Result<Heard, Malformed> {
        match self.0 {
            State::Initial => match message::initial(body)? {
                None => Ok(Heard::Ask(Self(State::First), Request::SaslContinue(Vec::new()))),
                Some(data) => first(data),
            },
            State::First => first(body),
            State::Failed if body == message::HEARD => Ok(Heard::Over),
            State::Failed => Err(Malformed::Message("Client did not send a kvsep response.")),
        }
    }
}

fn first(data: &[u8]) -> Result<Heard, Malformed> {
    let value = message::auth(data)?;
    Ok(message::bearer(value).map_or(Heard::NoToken, |token| Heard::Token(Zeroizing::new(token.to_owned()))))
}
