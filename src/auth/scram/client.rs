//! The client's side of one SCRAM exchange, towards PostgreSQL. Each step consumes the state before it.
//! What the server sends is bounded before any of it is worked with, and its signature is always checked.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::ScramError;
use super::messages::{
    ChannelBinding, ClientFinal, ClientFirst, Nonce, ServerFinal, ServerFirst, auth_message,
};
use super::secret::{Derived, PassThrough, hmac, xor};

/// What to log in with.
pub enum ClientSecret {
    /// In clear.
    Password(Zeroizing<Vec<u8>>),
    /// What a client proved; fits only a server with the same secret.
    PassThrough(PassThrough),
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(..)",
            Self::PassThrough(_) => "PassThrough(..)",
        })
    }
}

/// Waits for the server-first-message.
#[derive(Debug)]
pub struct ClientExchange {
    secret: ClientSecret,
    nonce: Nonce,
    binding: ChannelBinding,
}

impl ClientExchange {
    /// Gives the client-first-message to send. `nonce` must be fresh.
    pub fn new(secret: ClientSecret, nonce: Nonce, binding: ChannelBinding) -> (Self, Vec<u8>) {
        let message = ClientFirst::encode(binding, &nonce);
        (Self { secret, nonce, binding }, message)
    }

    /// Whether [`Self::server_first`] runs PBKDF2.
    pub fn must_derive(&self) -> bool {
        matches!(self.secret, ClientSecret::Password(_))
    }

    /// Takes the server-first-message; gives the client-final-message to send.
    ///
    /// With a password this runs PBKDF2 on the calling thread: about a millisecond for PostgreSQL's default of 4096
    /// iterations, and up to a good part of a second for [`super::MAX_ITERATIONS`], which is the server's choice.
    /// With pass-through it costs next to nothing.
    pub fn server_first(self, message: &[u8]) -> Result<(WaitsForFinal, Vec<u8>), ScramError> {
        let first = ServerFirst::parse(message)?;
        match first.nonce.strip_prefix(self.nonce.as_str()) {
            Some(servers) if !servers.is_empty() => {}
            _ => return Err(ScramError::NonceMismatch),
        }
        let keys = keys(self.secret, &first)?;
        let client_first = ClientFirst::encode(self.binding, &self.nonce);
        let bare = &client_first[self.binding.flag().gs2_header().len()..];
        let mut answer = ClientFinal::encode_without_proof(self.binding, first.nonce);
        let signed = auth_message(bare, message, &answer);
        let proof = xor(&keys.client_key, &hmac(&keys.stored_key, &signed));
        ClientFinal::append_proof(&mut answer, &proof);
        Ok((WaitsForFinal { signature: hmac(&keys.server_key, &signed) }, answer))
    }
}

/// Waits for the server-final-message.
#[derive(Debug)]
pub struct WaitsForFinal {
    signature: [u8; 32],
}

impl WaitsForFinal {
    /// Takes the server-final-message; `Ok` means that the server knows the secret too.
    pub fn server_final(self, message: &[u8]) -> Result<(), ScramError> {
        match ServerFinal::parse(message)? {
            ServerFinal::Error(reason) => Err(ScramError::Refused(reason)),
            ServerFinal::Signature(theirs) if bool::from(theirs.ct_eq(&self.signature)) => Ok(()),
            ServerFinal::Signature(_) => Err(ScramError::WrongSignature),
        }
    }
}

fn keys(secret: ClientSecret, first: &ServerFirst<'_>) -> Result<Derived, ScramError> {
    match secret {
        ClientSecret::Password(password) => Ok(Derived::new(&password, first.iterations, &first.salt)),
        ClientSecret::PassThrough(proved) => {
            let stored = proved.secret();
            if stored.salt() != first.salt || stored.iterations() != first.iterations {
                return Err(ScramError::SecretDiffers);
            }
            Ok(Derived {
                client_key: Zeroizing::new(*proved.client_key()),
                stored_key: Zeroizing::new(*stored.stored_key()),
                server_key: Zeroizing::new(*stored.server_key()),
            })
        }
    }
}
