//! Logging in to PostgreSQL as its client. Pure: messages in, messages out.

use super::connect::refusal;
use super::error::ConnectError;
use crate::auth::md5;
use crate::auth::scram;
use crate::auth::scram::client::{ClientExchange, ClientSecret, WaitsForFinal};
use crate::auth::scram::messages::{ChannelBinding, EndPoint, Nonce};
use crate::auth::scram::secret::PassThrough;
use crate::auth::secret::Secret;
use crate::config::{RequireAuth, ServerAuth};
use crate::wire::backend::{self, Authentication};
use crate::wire::cursor::Cursor;
use crate::wire::tag::backend as b;
use bytes::BytesMut;
use postgres_protocol::message::frontend;
use zeroize::{Zeroize as _, Zeroizing};

/// Most parameters a server may report during its login.
pub const MOST_PARAMETERS: usize = 256;

/// Most bytes that their names and values may take together.
pub const LONGEST_PARAMETERS: usize = 64 * 1024;

/// Longest secret of a cancel key, in bytes: protocol 3.2's.
const LONGEST_SECRET: usize = 256;

/// Most messages of a login: its notices, too, have an end.
const MOST_MESSAGES: usize = 2_000;

/// More than is around what a message of a login says, in bytes.
const AROUND: usize = 64;
/// How it begins, in libpq's words, that a server asks for what `server_require_auth` forbids.
pub const REQUIREMENT: &str = "authentication method requirement";

/// What proves the user to PostgreSQL.
#[derive(Debug, Clone)]
pub enum ServerSecret {
    /// Nothing is known: only trust will do.
    None,
    /// A stored secret: a password answers everything, md5 digits only md5.
    Stored(std::sync::Arc<Secret>),
    /// What a client proved with the same SCRAM secret as the server has.
    PassThrough(PassThrough),
}

impl ServerSecret {
    /// Whether both prove the same to any server.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Stored(one), Self::Stored(other)) => one.is_same(other),
            (Self::PassThrough(one), Self::PassThrough(other)) => one.is_same(other),
            _ => false,
        }
    }
}

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Take the next message.
    Wait,
    /// Send this, which may be a password, then take the next message.
    Send(Zeroizing<Vec<u8>>),
    /// The server is ready for a query.
    Done,
}

/// What a login can be bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// There is no TLS.
    None,
    /// There is, with a certificate that nothing can be bound to.
    Unbindable,
    /// There is, with this certificate.
    EndPoint(EndPoint),
}

/// A login in progress, and what it has brought so far.
#[derive(Debug)]
pub struct Login {
    user: String,
    secret: ServerSecret,
    encryption: Encryption,
    scram: Scram,
    require: RequireAuth,
    /// It has been asked for something.
    is_asked: bool,
    authenticated: bool,
    /// BackendKeyData.
    pub key: (u32, Vec<u8>),
    /// ParameterStatus, in order.
    pub parameters: Vec<(String, String)>,
    /// Bytes of them.
    reported: usize,
    /// Messages so far.
    heard: usize,
}

#[derive(Debug)]
enum Scram {
    None,
    First(ClientExchange),
    Final(WaitsForFinal),
    Verified,
}

impl Login {
    /// Begins; the bytes are the StartupMessage, protocol 3.0, with these parameters, of which the user is one.
    pub fn start<'a>(
        user: &str,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
        secret: ServerSecret,
        encryption: Encryption,
    ) -> (Self, Vec<u8>) {
        let mut message = BytesMut::new();
        // Names come from configuration or startup packets and hold no zero byte, the only thing refused here.
        let _ = frontend::startup_message(parameters, &mut message);
        let login = Self {
            user: user.to_owned(),
            secret,
            encryption,
            scram: Scram::None,
            require: RequireAuth::default(),
            is_asked: false,
            authenticated: false,
            key: (0, vec![0; 4]),
            parameters: Vec::new(),
            reported: 0,
            heard: 0,
        };
        (login, message.to_vec())
    }

    /// The server may ask for these only; it gets no other answer.
    #[must_use]
    pub fn requiring(self, require: RequireAuth) -> Self {
        Self { require, ..self }
    }

    /// Whether [`Self::hear`] of a message with this tag may hash as often as the server likes, so that it is not to be done
    /// where others wait for it.
    pub fn is_heavy(&self, tag: u8) -> bool {
        tag == b::AUTHENTICATION && matches!(&self.scram, Scram::First(exchange) if exchange.must_derive())
    }

    /// Takes one message of the server.
    pub fn hear(&mut self, tag: u8, body: &[u8]) -> Result<Next, ConnectError> {
        self.heard += 1;
        if self.heard > MOST_MESSAGES {
            return Err(ConnectError::Protocol("the server's login has no end"));
        }
        match tag {
            b::AUTHENTICATION if self.authenticated => {
                Err(ConnectError::Protocol("the server asks for authentication that is over"))
            }
            b::AUTHENTICATION => self.authenticate(body),
            b::ERROR => Err(ConnectError::Refused(refusal(body))),
            b::NOTICE => Ok(Next::Wait),
            b::PARAMETER_STATUS => self.note_parameter(body),
            b::BACKEND_KEY_DATA => {
                let mut c = Cursor::new(body);
                let pid = c.i32().map_err(|_| ConnectError::Protocol("BackendKeyData is too short"))?;
                if c.rest().len() > LONGEST_SECRET {
                    return Err(ConnectError::Protocol("BackendKeyData is too long"));
                }
                self.key = (u32::from_be_bytes(pid.to_be_bytes()), c.rest().to_vec());
                Ok(Next::Wait)
            }
            b::READY if self.authenticated && body == b"I" => Ok(Next::Done),
            b::NEGOTIATE => Err(ConnectError::Protocol("the server does not speak protocol 3.0")),
            _ => Err(ConnectError::Protocol("unexpected message")),
        }
    }

    /// Whether the server has asked for anything, or let it in.
    pub fn has_begun(&self) -> bool {
        self.is_asked || self.authenticated
    }

    /// They are kept for as long as the server is, so there is an end to them.
    fn note_parameter(&mut self, body: &[u8]) -> Result<Next, ConnectError> {
        if let Ok((name, value)) = backend::parameter(body) {
            self.reported += body.len();
            if self.parameters.len() == MOST_PARAMETERS || self.reported > LONGEST_PARAMETERS {
                return Err(ConnectError::Protocol("the server reports too many parameters"));
            }
            let text = |t: &[u8]| String::from_utf8_lossy(t).into_owned();
            self.parameters.push((text(name), text(value)));
        }
        Ok(Next::Wait)
    }

    fn authenticate(&mut self, body: &[u8]) -> Result<Next, ConnectError> {
        let request =
            Authentication::parse(body).map_err(|_| ConnectError::Protocol("Authentication is too short"))?;
        self.check_allowed(&request)?;
        match request {
            Authentication::Ok => match self.scram {
                Scram::None | Scram::Verified => {
                    self.authenticated = true;
                    Ok(Next::Wait)
                }
                _ => Err(ConnectError::Protocol("the server did not prove that it knows the password")),
            },
            Authentication::CleartextPassword => match &self.secret {
                ServerSecret::Stored(secret) if let Secret::Plain(password) = &**secret => {
                    Ok(answer(password.as_bytes()))
                }
                _ => Err(self.wrong_type("the password in clear")),
            },
            Authentication::Md5Password(salt) => {
                let stored = match &self.secret {
                    ServerSecret::Stored(secret) => md5::answer(secret, &self.user, salt),
                    _ => None,
                };
                stored.map(|text| answer(text.as_bytes())).ok_or_else(|| self.wrong_type("an md5 answer"))
            }
            Authentication::Sasl(mechanisms) => self.scram_first(mechanisms),
            Authentication::SaslContinue(data) => match std::mem::replace(&mut self.scram, Scram::None) {
                Scram::First(exchange) => {
                    let (next, message) = exchange.server_first(data).map_err(|e| scram_failed(&e))?;
                    self.scram = Scram::Final(next);
                    Ok(Next::Send(sent(message.len(), |buf| frontend::sasl_response(&message, buf))))
                }
                _ => Err(ConnectError::Protocol("SASL message out of turn")),
            },
            Authentication::SaslFinal(data) => match std::mem::replace(&mut self.scram, Scram::None) {
                Scram::Final(waits) => {
                    waits.server_final(data).map_err(|e| scram_failed(&e))?;
                    self.scram = Scram::Verified;
                    Ok(Next::Wait)
                }
                _ => Err(ConnectError::Protocol("SASL message out of turn")),
            },
            Authentication::Other(_) => Err(ConnectError::Credentials(
                "the server asks for a kind of authentication that is not supported".to_owned(),
            )),
        }
    }

    /// In libpq's words.
    fn check_allowed(&mut self, request: &Authentication<'_>) -> Result<(), ConnectError> {
        let (way, what) = match request {
            Authentication::Ok if self.is_asked => return Ok(()),
            Authentication::Ok => (ServerAuth::None, "server did not complete authentication"),
            Authentication::CleartextPassword => {
                (ServerAuth::Password, "server requested a cleartext password")
            }
            Authentication::Md5Password(_) => (ServerAuth::Md5, "server requested a hashed password"),
            Authentication::Sasl(_) => (ServerAuth::ScramSha256, "server requested SASL authentication"),
            _ => return Ok(()),
        };
        self.is_asked = true;
        if self.require.allows(way) {
            return Ok(());
        }
        let require = self.require.text();
        Err(ConnectError::Credentials(format!("{REQUIREMENT} \"{require}\" failed: {what}")))
    }

    fn scram_first(&mut self, mechanisms: &[u8]) -> Result<Next, ConnectError> {
        let (mechanism, binding) = self.mechanism(mechanisms)?;
        let secret = match &self.secret {
            ServerSecret::PassThrough(proof) => ClientSecret::PassThrough(proof.clone()),
            ServerSecret::Stored(secret) if let Secret::Plain(password) = &**secret => {
                ClientSecret::Password(Zeroizing::new(password.as_bytes().to_vec()))
            }
            _ => return Err(self.wrong_type("SCRAM")),
        };
        let nonce = Nonce::from_random(rand::random());
        let (exchange, message) = ClientExchange::new(secret, nonce, binding);
        self.scram = Scram::First(exchange);
        let write = |buf: &mut BytesMut| frontend::sasl_initial_response(mechanism, &message, buf);
        Ok(Next::Send(sent(message.len(), write)))
    }

    /// The best of the server's mechanisms, and what is said to it about channel binding. Said that it wasn't offered though
    /// it could be used, a server that did offer it knows that somebody is in between.
    fn mechanism(&self, offered: &[u8]) -> Result<(&'static str, ChannelBinding), ConnectError> {
        let is_offered = |name: &str| offered.split(|&b| b == 0).any(|m| m == name.as_bytes());
        let plus = is_offered(scram::MECHANISM_PLUS);
        match self.encryption {
            Encryption::EndPoint(end_point) if plus => {
                Ok((scram::MECHANISM_PLUS, ChannelBinding::EndPoint(end_point)))
            }
            _ if !is_offered(scram::MECHANISM) => Err(ConnectError::Credentials(
                "none of the server's SASL authentication mechanisms are supported".to_owned(),
            )),
            Encryption::EndPoint(_) => Ok((scram::MECHANISM, ChannelBinding::NotOffered)),
            Encryption::None | Encryption::Unbindable => Ok((scram::MECHANISM, ChannelBinding::Unsupported)),
        }
    }

    fn wrong_type(&self, wanted: &str) -> ConnectError {
        let have = match &self.secret {
            ServerSecret::None => "none is known for this user",
            ServerSecret::Stored(secret) if matches!(**secret, Secret::Md5(_)) => "only md5 digits are known",
            ServerSecret::Stored(_) => "only a SCRAM secret is known, and no client has logged in with it",
            ServerSecret::PassThrough(_) => "only a SCRAM key is known",
        };
        ConnectError::Credentials(format!("wrong password type: the server wants {wanted}, {have}"))
    }
}

fn scram_failed(error: &scram::ScramError) -> ConnectError {
    ConnectError::Credentials(error.to_string())
}

fn answer(password: &[u8]) -> Next {
    Next::Send(sent(password.len(), |buf| frontend::password_message(password, buf)))
}

/// `size` is that of what is said, so that none of it is left where it has grown out of.
fn sent(size: usize, write: impl FnOnce(&mut BytesMut) -> std::io::Result<()>) -> Zeroizing<Vec<u8>> {
    let mut buf = BytesMut::with_capacity(size + AROUND);
    // Fails only for a zero byte within a password, which no stored secret has; the server then refuses the empty answer.
    let _ = write(&mut buf);
    let message = Zeroizing::new(buf.to_vec());
    buf.as_mut().zeroize();
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(secret: ServerSecret) -> Login {
        Login::start("app", [("user", "app")], secret, Encryption::None).0
    }

    #[test]
    fn parameters_are_bounded_in_number_and_size() {
        let flood = |body: &[u8]| {
            let mut login = login(ServerSecret::None);
            let taken = (0..1_000_000).take_while(|_| login.hear(b::PARAMETER_STATUS, body).is_ok()).count();
            assert_eq!(taken, login.parameters.len());
            taken
        };
        assert_eq!(flood(b"a\0b\0"), MOST_PARAMETERS);
        let long = [b"name\0", &[b'x'; 10_000][..], b"\0"].concat();
        assert_eq!(flood(&long), LONGEST_PARAMETERS / long.len());
    }

    #[test]
    fn what_no_login_of_postgresql_has() {
        let key = |length| (b::BACKEND_KEY_DATA, vec![1; 4 + length]);
        let ok = || (b::AUTHENTICATION, vec![0; 4]);
        let ready = |status: &[u8]| (b::READY, status.to_vec());
        let notices = |count| vec![(b::NOTICE, b"SNOTICE\0\0".to_vec()); count];
        for (said, why) in [
            (vec![ok(), key(LONGEST_SECRET), ready(b"I")], None),
            ([vec![ok()], notices(MOST_MESSAGES - 2), vec![ready(b"I")]].concat(), None),
            (vec![ready(b"I")], Some("unexpected message")),
            (vec![ok(), ready(b"T")], Some("unexpected message")),
            (vec![ok(), ready(b"Q")], Some("unexpected message")),
            (vec![ok(), ready(b"")], Some("unexpected message")),
            (vec![ok(), key(LONGEST_SECRET + 1)], Some("BackendKeyData is too long")),
            (vec![ok(), ok()], Some("the server asks for authentication that is over")),
            (notices(MOST_MESSAGES + 1), Some("the server's login has no end")),
        ] {
            let mut login = login(ServerSecret::None);
            let (last, before) = said.split_last().expect("one at least");
            assert!(
                before.iter().all(|(tag, body)| matches!(login.hear(*tag, body), Ok(Next::Wait))),
                "{why:?}"
            );
            match (login.hear(last.0, &last.1), why) {
                (Ok(Next::Done), None) => {}
                (Err(ConnectError::Protocol(error)), Some(why)) => assert_eq!(error, why),
                (other, _) => panic!("{other:?}, not {why:?}"),
            }
        }
    }

    #[test]
    fn servers_get_no_answer_but_those_required() {
        use ServerAuth::{Md5, None, Password, ScramSha256};
        let asks = [
            (&b"\0\0\0\x03"[..], Password),
            (b"\0\0\0\x05salt", Md5),
            (b"\0\0\0\x0aSCRAM-SHA-256\0\0", ScramSha256),
            (b"\0\0\0\0", None),
        ];
        let required = |text: &str| {
            let config = format!("[pgweir]\nserver_require_auth = {text:?}\n[databases.a]");
            let (config, _) = crate::config::parse(&config, "t").unwrap_or_else(|e| panic!("{e}"));
            config.require_auth(&config.database("a").expect("it"))
        };
        for (text, allowed) in [
            ("", &[Password, Md5, ScramSha256, None][..]),
            ("scram-sha-256", &[ScramSha256]),
            ("!password", &[Md5, ScramSha256, None]),
        ] {
            for (body, way) in asks {
                let secret = ServerSecret::Stored(std::sync::Arc::new(Secret::parse("x").expect("a secret")));
                let said = login(secret).requiring(required(text)).hear(b::AUTHENTICATION, body);
                assert_eq!(said.is_ok(), allowed.contains(&way), "{text} {way:?} {said:?}");
            }
        }
        let secret = ServerSecret::Stored(std::sync::Arc::new(Secret::parse("x").expect("a secret")));
        let mut login = login(secret).requiring(required("password"));
        assert!(matches!(login.hear(b::AUTHENTICATION, b"\0\0\0\x03"), Ok(Next::Send(_))));
        assert!(login.hear(b::AUTHENTICATION, b"\0\0\0\0").is_ok(), "it has been asked");
    }

    /// CVE-2026-6669: only what may have to be hashed with the server's iteration count is told to be much work.
    #[test]
    fn hashing_is_told_beforehand() {
        let secret = || ServerSecret::Stored(std::sync::Arc::new(Secret::parse("pencil").expect("a secret")));
        let offer = b"\0\0\0\x0aSCRAM-SHA-256\0\0";
        let mut plain = login(secret());
        assert!(!plain.is_heavy(b::AUTHENTICATION));
        assert!(matches!(plain.hear(b::AUTHENTICATION, offer), Ok(Next::Send(_))));
        assert!(plain.is_heavy(b::AUTHENTICATION) && !plain.is_heavy(b::PARAMETER_STATUS));
        let stored = std::sync::Arc::new(scram::secret::ScramSecret::from_password(b"pencil", 1, b"salt"));
        let proof = PassThrough::of_password(b"pencil", stored).expect("its password");
        let mut passed = login(ServerSecret::PassThrough(proof));
        assert!(matches!(passed.hear(b::AUTHENTICATION, offer), Ok(Next::Send(_))));
        assert!(!passed.is_heavy(b::AUTHENTICATION));
    }
}
