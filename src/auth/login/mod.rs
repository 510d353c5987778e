//! A client's login as a state machine: what to ask, what the answer means, what it proves.
//! The identity is fixed at the start and nothing a client sends afterwards changes it. Never panics on any bytes.

mod error;
mod response;
mod table;

#[cfg(test)]
mod tests;

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::md5;
use super::scram::ScramError;
use super::scram::messages::{EndPoint, Nonce};
use super::scram::secret::{MockKey, PassThrough, ScramSecret};
use super::scram::server::{Offer, ServerExchange, WaitsForFinal};
use super::scram::{MECHANISM, MECHANISM_PLUS};
use super::secret::{Form, Secret, StoredSecret};
pub use error::{Detail, LoginError};
use response::Mechanism;
use table::{Challenge, Plan};
pub use table::{Method, Mock};

/// The most bytes in the body of a response. The shell should refuse longer messages by their header already.
pub const MAX_RESPONSE: usize = 16 * 1024;

/// What all logins of the process share.
#[derive(Debug)]
pub struct Settings {
    /// PBKDF2 iterations of verifiers made from plain passwords, and shown to users who have no secret.
    pub scram_iterations: u32,
    /// Makes the salts of users without a SCRAM secret.
    pub mock_key: MockKey,
    /// How a user without a usable secret is asked, where the method alone doesn't say.
    pub unknown: Mock,
}

impl Settings {
    /// The same with another way to ask users without a secret.
    pub fn asking(&self, unknown: Mock) -> Self {
        Self { mock_key: self.mock_key.clone(), unknown, ..*self }
    }
}

/// What is each login's own: random bytes of a cryptographic source, and what it can be bound to.
#[derive(Clone, Copy)]
pub struct Circumstances {
    /// The server's share of the SCRAM nonce, before base64.
    pub nonce: [u8; 18],
    /// The MD5 challenge.
    pub md5_salt: [u8; 4],
    /// The certificate that the client was shown, if there is TLS.
    pub end_point: Option<EndPoint>,
}

/// The Authentication message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// AuthenticationCleartextPassword.
    CleartextPassword,
    /// AuthenticationMD5Password with its salt.
    Md5Password([u8; 4]),
    /// AuthenticationSASL offering these mechanisms.
    Sasl(&'static [&'static str]),
    /// AuthenticationSASLContinue with its data.
    SaslContinue(Vec<u8>),
    /// AuthenticationSASLFinal with its data.
    SaslFinal(Vec<u8>),
}

/// How a login goes on.
#[derive(Debug)]
pub enum Step {
    /// Send the request; give the body of the next `p` message to the login.
    Continue(Login, Request),
    /// The client is who it says. AuthenticationOk, which goes after `last`, is left to the caller, who may still have
    /// reasons to refuse.
    Done {
        /// To be sent before AuthenticationOk.
        last: Option<Request>,
        /// What a server login can use.
        proof: Proof,
    },
}

/// What the client gave away by logging in, beyond what is stored.
pub enum Proof {
    /// Nothing: server logins use the stored secret.
    Nothing,
    /// Its password, in clear.
    Password(Zeroizing<Vec<u8>>),
    /// Its key with the stored SCRAM secret; never with one made up from a plain password.
    PassThrough(PassThrough),
    /// Nothing; but its stored secret, which only this login knows, will do.
    Stored(Secret),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Password(_) => "Password(..)",
            Self::PassThrough(_) => "PassThrough(..)",
            Self::Stored(_) => "Stored(..)",
        })
    }
}

/// A login that waits for the client's next `p` message.
#[derive(Debug)]
pub struct Login {
    user: Box<str>,
    /// Set if the login only goes through the motions: why it fails, whatever the client answers.
    doomed: Option<Detail>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Waits for a PasswordMessage with the password; a wrong one costs these iterations at least.
    Clear(Arc<StoredSecret>, u32),
    /// Waits for a PasswordMessage with the answer to the salt.
    Md5(Arc<StoredSecret>, [u8; 4]),
    /// Waits for a SASLInitialResponse, which may choose to be bound to this.
    SaslInitial(Verifier, Option<EndPoint>),
    /// Waits for a SASLResponse with the client-first-message, which the SASLInitialResponse left out.
    SaslFirst(Verifier),
    /// Waits for a SASLResponse with the client-final-message. What is stored of the secret may be worth passing through.
    SaslFinal(WaitsForFinal, Arc<StoredSecret>),
}

/// What a SCRAM exchange will be checked against, before anything is derived.
#[derive(Debug)]
struct Verifier {
    secret: Arc<StoredSecret>,
    iterations: u32,
    salt: [u8; 16],
    nonce: Nonce,
    offer: Offer,
}

impl Login {
    /// Begins the login of `user`; `secret` is `None` if there is no such user. Cheap. The error tells the log the
    /// truth and the client what it tells for a wrong password; only `Trust` gives one here.
    pub fn start(
        method: Method,
        user: &str,
        secret: Option<Arc<StoredSecret>>,
        settings: &Settings,
        own: Circumstances,
    ) -> Result<Step, LoginError> {
        let form = secret.as_ref().map(|stored| stored.secret().form());
        let (challenge, doomed) = match table::plan(method, form, settings.unknown) {
            Plan::Admit => return Ok(Step::Done { last: None, proof: Proof::Nothing }),
            Plan::Refuse(detail) => return Err(LoginError::new(user, detail)),
            Plan::Ask(challenge) => (challenge, None),
            Plan::Mock(challenge, detail) => (challenge, Some(detail)),
        };
        let secret = match secret {
            Some(secret) if doomed.is_none() => secret,
            _ => mock_secret(user, challenge, settings),
        };
        let (state, request) = match challenge {
            Challenge::Clear => (State::Clear(secret, settings.scram_iterations), Request::CleartextPassword),
            Challenge::Md5 => (State::Md5(secret, own.md5_salt), Request::Md5Password(own.md5_salt)),
            Challenge::Scram => {
                let verifier = Verifier {
                    secret,
                    iterations: settings.scram_iterations,
                    salt: settings.mock_key.salt(user),
                    nonce: Nonce::from_random(own.nonce),
                    offer: Offer::None,
                };
                let mechanisms: &[&str] =
                    if own.end_point.is_some() { &[MECHANISM_PLUS, MECHANISM] } else { &[MECHANISM] };
                (State::SaslInitial(verifier, own.end_point), Request::Sasl(mechanisms))
            }
        };
        Ok(Step::Continue(Self { user: user.into(), doomed, state }, request))
    }

    /// The user who is logging in, from the startup packet.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether the next response is held against the secret, and not only the way to one that is.
    pub fn is_decisive(&self) -> bool {
        match self.state {
            State::Clear(..) | State::Md5(..) | State::SaslFinal(..) => true,
            State::SaslInitial(..) | State::SaslFirst(_) => false,
        }
    }

    /// Whether the next response may cost a PBKDF2 run (a millisecond per 4096 iterations), so that the caller can
    /// move [`Self::on_response`] off its event loop: a password in clear, which costs that if it is wrong, or the first
    /// SCRAM login of a user with a plain password (which is slower than all others by that much, once per process).
    pub fn is_heavy(&self) -> bool {
        match &self.state {
            State::Clear(..) => true,
            State::SaslInitial(verifier, _) | State::SaslFirst(verifier) => verifier.secret.must_derive(),
            State::Md5(..) | State::SaslFinal(..) => false,
        }
    }

    /// Takes the body of a `p` message: a PasswordMessage, SASLInitialResponse or SASLResponse, without the tag and
    /// the length. See [`Self::is_heavy`] for its cost.
    pub fn on_response(self, body: &[u8]) -> Result<Step, LoginError> {
        let Self { user, doomed, state } = self;
        let outcome = if body.len() > MAX_RESPONSE {
            Err(Detail::Protocol("the response is too long"))
        } else {
            match state {
                State::Clear(secret, iterations) => on_password(&user, &secret, iterations, body),
                State::Md5(secret, salt) => on_md5(&user, &secret, salt, body),
                State::SaslInitial(verifier, end_point) => {
                    on_sasl_initial(verifier, end_point, body, doomed.is_some())
                }
                State::SaslFirst(verifier) => on_client_first(verifier, body, doomed.is_some()),
                State::SaslFinal(exchange, secret) => on_client_final(exchange, &secret, body),
            }
        };
        match (outcome, doomed) {
            (Ok(Next::Ask(state, request)), doomed) => {
                Ok(Step::Continue(Self { user, doomed, state }, request))
            }
            (Ok(Next::Proved(last, proof)), None) => Ok(Step::Done { last, proof }),
            (Ok(Next::Proved(..)), Some(doom)) => Err(LoginError::new(&user, doom)),
            (Err(detail), Some(doom)) if !detail.is_told() => Err(LoginError::new(&user, doom)),
            (Err(detail), _) => Err(LoginError::new(&user, detail)),
        }
    }
}

/// The password in a PasswordMessage's body, for who checks it elsewhere; never an empty one.
pub fn clear_password(user: &str, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, LoginError> {
    let password = response::password(body).map_err(|detail| LoginError::new(user, detail))?;
    Ok(Zeroizing::new(password.to_vec()))
}

/// What a response led to, before it is known whether the login is doomed.
enum Next {
    Ask(State, Request),
    Proved(Option<Request>, Proof),
}

fn on_password(user: &str, secret: &StoredSecret, iterations: u32, body: &[u8]) -> Result<Next, Detail> {
    let password = response::password(body)?;
    if !secret.is_of(user, password) {
        let is_scram = |secret: &Secret| secret.form() == Form::Scram;
        // Else time would tell what kind of secret there is, and whether there is one.
        if !is_scram(secret.secret()) && !secret.second().is_some_and(is_scram) {
            black_box(ScramSecret::from_password(password, iterations, &[0; 16]));
        }
        return Err(Detail::WrongPassword);
    }
    Ok(Next::Proved(None, Proof::Password(Zeroizing::new(password.to_vec()))))
}

fn on_md5(user: &str, secret: &StoredSecret, salt: [u8; 4], body: &[u8]) -> Result<Next, Detail> {
    let answer = response::password(body)?;
    let is_answer = |secret: &Secret| md5::is_answer(secret, user, salt, answer);
    if !(is_answer(secret.secret()) | secret.second().is_some_and(is_answer)) {
        return Err(Detail::WrongPassword);
    }
    Ok(Next::Proved(None, Proof::Nothing))
}

fn on_sasl_initial(
    mut verifier: Verifier,
    end_point: Option<EndPoint>,
    body: &[u8],
    doomed: bool,
) -> Result<Next, Detail> {
    let (mechanism, client_first) = response::sasl_initial(body)?;
    verifier.offer = match (mechanism, end_point) {
        (Mechanism::Plus, Some(end_point)) => Offer::Taken(end_point),
        (Mechanism::Plus, None) => return Err(Detail::Mechanism),
        (Mechanism::Bare, Some(_)) => Offer::Declined,
        (Mechanism::Bare, None) => Offer::None,
    };
    match client_first {
        Some(client_first) => on_client_first(verifier, client_first, doomed),
        // RFC 4422: without an initial response the server begins with an empty challenge.
        None => Ok(Next::Ask(State::SaslFirst(verifier), Request::SaslContinue(Vec::new()))),
    }
}

fn on_client_first(verifier: Verifier, body: &[u8], doomed: bool) -> Result<Next, Detail> {
    let Verifier { secret, iterations, salt, nonce, offer } = verifier;
    let scram = secret.verifier(iterations, &salt).ok_or(Detail::WrongPassword)?;
    let exchange = if doomed {
        ServerExchange::mock(scram.clone(), nonce)
    } else {
        ServerExchange::new(scram.clone(), nonce).or(secret.second_verifier(&scram))
    };
    let (exchange, server_first) = exchange.offering(offer).client_first(body).map_err(Detail::Scram)?;
    Ok(Next::Ask(State::SaslFinal(exchange, secret), Request::SaslContinue(server_first)))
}

fn on_client_final(exchange: WaitsForFinal, stored: &StoredSecret, body: &[u8]) -> Result<Next, Detail> {
    let proven = exchange.client_final(body).map_err(|error| match error {
        ScramError::WrongProof => Detail::WrongPassword,
        other => Detail::Scram(other),
    })?;
    let is_stored = |secret: &Secret| matches!(secret, Secret::Scram(s) if Arc::ptr_eq(s, &proven.secret));
    let is_real = is_stored(stored.secret()) || stored.second().is_some_and(is_stored);
    let pass = is_real.then(|| PassThrough::new(proven.client_key, proven.secret)).flatten();
    let proof = pass.map_or(Proof::Nothing, Proof::PassThrough);
    Ok(Next::Proved(Some(Request::SaslFinal(proven.server_final)), proof))
}

/// A secret nobody has, in the form that makes the login cost what that of an ordinary user costs.
fn mock_secret(user: &str, challenge: Challenge, settings: &Settings) -> Arc<StoredSecret> {
    Arc::new(StoredSecret::new(match challenge {
        Challenge::Scram | Challenge::Clear => {
            let mock = ScramSecret::mock(&settings.mock_key, user, settings.scram_iterations);
            Secret::Scram(Arc::new(mock))
        }
        Challenge::Md5 => Secret::Md5(Zeroizing::new([b'0'; 32])),
    }))
}
