//! The server's side of one SCRAM exchange, towards pgweir's clients. Each step consumes the state before it.
//! A mock exchange takes the same steps and the same hashing as a real one and never succeeds.

use std::fmt;
use std::sync::Arc;

use subtle::Choice;
use zeroize::Zeroizing;

use super::ScramError;
use super::messages::Message;
use super::messages::{
    ChannelBinding, ClientFinal, ClientFirst, EndPoint, Flag, Nonce, ServerFinal, ServerFirst,
};
use super::secret::{ScramSecret, hmac, is_client_key, xor};

/// Waits for the client-first-message.
#[derive(Debug)]
pub struct ServerExchange {
    secret: Arc<ScramSecret>,
    second: Option<Arc<ScramSecret>>,
    kind: Kind,
    nonce: Nonce,
    offer: Offer,
}

/// What became of the offer to bind to TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// There was none.
    None,
    /// The client chose the mechanism without it.
    Declined,
    /// The client chose the mechanism with it; this is what it has to see.
    Taken(EndPoint),
}

impl Offer {
    /// What the client binds to, if its flag goes with the mechanism it chose.
    fn binding(self, flag: Flag) -> Result<ChannelBinding, ScramError> {
        let malformed = |what| ScramError::Malformed { message: Message::ClientFirst, what };
        match (self, flag) {
            (Self::Taken(end_point), Flag::EndPoint) => Ok(ChannelBinding::EndPoint(end_point)),
            (Self::Taken(_), _) => Err(malformed("it has no channel binding, for SCRAM-SHA-256-PLUS")),
            (_, Flag::EndPoint) => Err(malformed("it has channel binding, for SCRAM-SHA-256")),
            (Self::Declined, Flag::NotOffered) => Err(ScramError::Downgrade),
            (Self::None, Flag::NotOffered) => Ok(ChannelBinding::NotOffered),
            (_, Flag::Unsupported) => Ok(ChannelBinding::Unsupported),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Real,
    Mock,
}

impl ServerExchange {
    /// Succeeds for a client that knows the secret's password. `nonce` must be fresh.
    pub fn new(secret: Arc<ScramSecret>, nonce: Nonce) -> Self {
        Self { secret, second: None, kind: Kind::Real, nonce, offer: Offer::None }
    }

    /// Never succeeds, whatever the proof; from outside like any other. `secret` gives the salt and the count
    /// to show, see [`ScramSecret::mock`].
    pub fn mock(secret: Arc<ScramSecret>, nonce: Nonce) -> Self {
        Self { secret, second: None, kind: Kind::Mock, nonce, offer: Offer::None }
    }

    /// The same for a client that knows this secret's password instead. Without effect if clients are shown something else for it.
    pub fn or(self, second: Option<Arc<ScramSecret>>) -> Self {
        Self { second: second.filter(|second| second.shows_as(&self.secret)), ..self }
    }

    /// The same over TLS.
    pub fn offering(self, offer: Offer) -> Self {
        Self { offer, ..self }
    }

    /// Takes the client-first-message; gives the server-first-message to send.
    pub fn client_first(self, message: &[u8]) -> Result<(WaitsForFinal, Vec<u8>), ScramError> {
        let first = ClientFirst::parse(message)?;
        let binding = self.offer.binding(first.flag)?;
        let nonce = [first.nonce, self.nonce.as_str()].concat();
        let answer = ServerFirst::encode(&nonce, self.secret.salt(), self.secret.iterations());
        let state = WaitsForFinal {
            secret: self.secret,
            second: self.second,
            kind: self.kind,
            binding,
            said: [first.bare, &answer].join(&b','),
            nonce,
        };
        Ok((state, answer))
    }
}

/// Waits for the client-final-message.
#[derive(Debug)]
pub struct WaitsForFinal {
    secret: Arc<ScramSecret>,
    second: Option<Arc<ScramSecret>>,
    kind: Kind,
    binding: ChannelBinding,
    /// What has been said so far of what both sides sign.
    said: Vec<u8>,
    nonce: String,
}

impl WaitsForFinal {
    /// Takes the client-final-message. A wrong proof and a mock exchange are both [`ScramError::WrongProof`].
    pub fn client_final(self, message: &[u8]) -> Result<Proven, ScramError> {
        let last = ClientFinal::parse(message)?;
        if last.binding != self.binding.input() {
            return Err(match self.binding {
                ChannelBinding::EndPoint(_) => ScramError::BindingFailed,
                ChannelBinding::Unsupported | ChannelBinding::NotOffered => ScramError::BindingMismatch,
            });
        }
        if last.nonce != self.nonce {
            return Err(ScramError::NonceMismatch);
        }
        let signed = [&self.said, last.without_proof].join(&b',');
        let of_first = self.proven_by(&self.secret, &last.proof, &signed);
        let of_second = self.second.as_ref().and_then(|second| self.proven_by(second, &last.proof, &signed));
        of_first.or(of_second).ok_or(ScramError::WrongProof)
    }

    fn proven_by(&self, secret: &Arc<ScramSecret>, proof: &[u8; 32], signed: &[u8]) -> Option<Proven> {
        let client_key = Zeroizing::new(xor(proof, &hmac(secret.stored_key(), signed)));
        let server_signature = hmac(secret.server_key(), signed);
        let real = Choice::from(u8::from(matches!(self.kind, Kind::Real)));
        bool::from(is_client_key(&client_key, secret.stored_key()) & real).then(|| Proven {
            server_final: ServerFinal::encode_signature(&server_signature),
            client_key,
            secret: Arc::clone(secret),
        })
    }
}

/// The client knows the password.
pub struct Proven {
    /// The server-final-message to send.
    pub server_final: Vec<u8>,
    /// As good as the password towards servers with the same secret.
    pub client_key: Zeroizing<[u8; 32]>,
    /// The secret it was proved against.
    pub secret: Arc<ScramSecret>,
}

impl fmt::Debug for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proven").finish_non_exhaustive()
    }
}
