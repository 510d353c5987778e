//! The four SCRAM messages: strict parsers and their encoders.
//! A parser accepts what PostgreSQL accepts and RFC 5802 allows; it never panics and never allocates more than its input.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{MAX_CLIENT_NONCE, MAX_ITERATIONS, MAX_MESSAGE, MAX_NONCE, MAX_SALT, ScramError};

/// Names a message in an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The client's first.
    ClientFirst,
    /// The server's first.
    ServerFirst,
    /// The client's second and last.
    ClientFinal,
    /// The server's second and last.
    ServerFinal,
}

impl Message {
    fn malformed(self, what: &'static str) -> ScramError {
        ScramError::Malformed { message: self, what }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientFirst => "client-first-message",
            Self::ServerFirst => "server-first-message",
            Self::ClientFinal => "client-final-message",
            Self::ServerFinal => "server-final-message",
        })
    }
}

/// The hash of a server's certificate: what `tls-server-end-point` (RFC 5929) binds to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EndPoint {
    hash: [u8; LONGEST_HASH],
    size: u8,
}

/// SHA-512's, in bytes.
const LONGEST_HASH: usize = 64;

impl EndPoint {
    /// From a hash of at most 64 bytes; `None` for a longer one.
    pub fn new(hash: &[u8]) -> Option<Self> {
        let mut this = Self { hash: [0; LONGEST_HASH], size: u8::try_from(hash.len()).ok()? };
        this.hash.get_mut(..hash.len())?.copy_from_slice(hash);
        Some(this)
    }

    /// The hash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.hash[..usize::from(self.size)]
    }
}

impl fmt::Debug for EndPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndPoint(..)")
    }
}

/// What a client says about channel binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// `n`: the client can't.
    Unsupported,
    /// `y`: the client could, but was not offered it.
    NotOffered,
    /// `p=tls-server-end-point`: this is what it sees.
    EndPoint(EndPoint),
}

impl ChannelBinding {
    /// How a client-first-message begins.
    pub fn flag(self) -> Flag {
        match self {
            Self::Unsupported => Flag::Unsupported,
            Self::NotOffered => Flag::NotOffered,
            Self::EndPoint(_) => Flag::EndPoint,
        }
    }

    /// The decoded value of `c=` in a client-final-message.
    pub fn input(self) -> Vec<u8> {
        let header = self.flag().gs2_header().as_bytes();
        match self {
            Self::EndPoint(end_point) => [header, end_point.as_bytes()].concat(),
            Self::Unsupported | Self::NotOffered => header.to_vec(),
        }
    }
}

/// The channel binding flag of a client-first-message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// `n`
    Unsupported,
    /// `y`
    NotOffered,
    /// `p=tls-server-end-point`
    EndPoint,
}

impl Flag {
    /// The header that opens a client-first-message.
    pub(super) fn gs2_header(self) -> &'static str {
        match self {
            Self::Unsupported => "n,,",
            Self::NotOffered => "y,,",
            Self::EndPoint => "p=tls-server-end-point,,",
        }
    }
}

/// One side's share of the nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// From 18 bytes of a cryptographic random source; 24 characters on the wire, as PostgreSQL's.
    pub fn from_random(raw: [u8; 18]) -> Self {
        Self(STANDARD.encode(raw))
    }

    /// As it appears on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[cfg(test)]
    pub(super) fn literal(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// `n,,n=user,r=nonce`.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientFirst<'a> {
    /// What the client says about channel binding.
    pub flag: Flag,
    /// Everything after the header: part of what both sides sign.
    pub bare: &'a [u8],
    /// The client's share of the nonce.
    pub nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    /// The user name inside is ignored, as in PostgreSQL: the startup packet has fixed it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ScramError> {
        const M: Message = Message::ClientFirst;
        let header = |b: &'a [u8]| split(b).ok_or(M.malformed("the channel binding header is cut short"));
        let (flag, rest) = header(checked(M, bytes)?)?;
        let flag = match flag {
            b"n" => Flag::Unsupported,
            b"y" => Flag::NotOffered,
            b"p=tls-server-end-point" => Flag::EndPoint,
            [b'p', b'=', ..] => return Err(M.malformed("this kind of channel binding is not supported")),
            _ => return Err(M.malformed("the channel binding flag is none of n, y and p=")),
        };
        let (identity, bare) = header(rest)?;
        match identity {
            [] => {}
            [b'a', b'=', ..] => return Err(ScramError::Unsupported("an authorization identity")),
            _ => return Err(M.malformed("expected an authorization identity or nothing")),
        }
        let mut attributes = Attributes::new(M, bare);
        attributes.expect(b'n', "the user name (n=) is missing or out of place")?;
        let nonce = attributes.expect(b'r', "the nonce (r=) is missing or out of place")?;
        attributes.extensions_only()?;
        Ok(Self { flag, bare, nonce: nonce_text(M, nonce, MAX_CLIENT_NONCE)? })
    }

    /// With an empty user name, as libpq sends it.
    pub fn encode(binding: ChannelBinding, nonce: &Nonce) -> Vec<u8> {
        format!("{}n=,r={}", binding.flag().gs2_header(), nonce.as_str()).into_bytes()
    }
}

/// `r=nonce,s=salt,i=iterations`.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerFirst<'a> {
    /// Both sides' nonce.
    pub nonce: &'a str,
    /// 1 to [`MAX_SALT`] bytes.
    pub salt: Vec<u8>,
    /// 1 to [`MAX_ITERATIONS`].
    pub iterations: u32,
}

impl<'a> ServerFirst<'a> {
    /// Nothing may follow the iteration count: PostgreSQL sends no extensions and its own client refuses them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ScramError> {
        const M: Message = Message::ServerFirst;
        let mut attributes = Attributes::new(M, checked(M, bytes)?);
        let nonce = attributes.expect(b'r', "the nonce (r=) is missing or out of place")?;
        let nonce = nonce_text(M, nonce, MAX_NONCE)?;
        let salt = attributes.expect(b's', "the salt (s=) is missing or out of place")?;
        let salt = decode_salt(salt).ok_or(M.malformed("the salt isn't base64 of an acceptable length"))?;
        let count = attributes.expect(b'i', "the iteration count (i=) is missing or out of place")?;
        let iterations =
            decode_iterations(count).ok_or(M.malformed("the iteration count is out of bounds"))?;
        attributes.end()?;
        Ok(Self { nonce, salt, iterations })
    }

    /// The message.
    pub fn encode(nonce: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut message = Vec::with_capacity(nonce.len() + salt.len().div_ceil(3) * 4 + 20);
        message.extend_from_slice(b"r=");
        message.extend_from_slice(nonce.as_bytes());
        message.extend_from_slice(b",s=");
        append_base64(&mut message, salt);
        message.extend_from_slice(b",i=");
        message.extend_from_slice(iterations.to_string().as_bytes());
        message
    }
}

/// `c=header,r=nonce,p=proof`.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientFinal<'a> {
    /// The channel binding header and data, decoded.
    pub binding: Vec<u8>,
    /// Both sides' nonce, repeated.
    pub nonce: &'a str,
    /// Everything before `,p=`: part of what both sides sign.
    pub without_proof: &'a [u8],
    /// ClientKey XOR ClientSignature.
    pub proof: [u8; 32],
}

impl<'a> ClientFinal<'a> {
    /// Unknown optional extensions are allowed before the proof, nothing after it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ScramError> {
        const M: Message = Message::ClientFinal;
        let mut attributes = Attributes::new(M, checked(M, bytes)?);
        let binding = attributes.expect(b'c', "the channel binding (c=) is missing or out of place")?;
        let binding =
            STANDARD.decode(binding).map_err(|_| M.malformed("the channel binding isn't base64"))?;
        let nonce = attributes.expect(b'r', "the nonce (r=) is missing or out of place")?;
        let nonce = nonce_text(M, nonce, MAX_NONCE)?;
        let (without_proof, proof) = attributes.up_to_proof(bytes)?;
        let proof = decode_key(proof).ok_or(M.malformed("the proof isn't base64 of 32 bytes"))?;
        Ok(Self { binding, nonce, without_proof, proof })
    }

    /// The part that is signed.
    pub fn encode_without_proof(binding: ChannelBinding, nonce: &str) -> Vec<u8> {
        format!("c={},r={nonce}", STANDARD.encode(binding.input())).into_bytes()
    }

    /// Completes the signed part.
    pub fn append_proof(message: &mut Vec<u8>, proof: &[u8; 32]) {
        message.extend_from_slice(b",p=");
        message.extend_from_slice(STANDARD.encode(proof).as_bytes());
    }
}

/// `v=signature` or `e=error`.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerFinal {
    /// HMAC(ServerKey, AuthMessage).
    Signature([u8; 32]),
    /// The server's reason: printable ASCII, at most 64 characters of it.
    Error(String),
}

impl ServerFinal {
    /// Nothing may follow.
    pub fn parse(bytes: &[u8]) -> Result<Self, ScramError> {
        const M: Message = Message::ServerFinal;
        let mut attributes = Attributes::new(M, checked(M, bytes)?);
        let this = match attributes.take()? {
            Some((b'v', value)) => Self::Signature(
                decode_key(value).ok_or(M.malformed("the signature isn't base64 of 32 bytes"))?,
            ),
            Some((b'e', value)) => Self::Error(printable(value)),
            _ => return Err(M.malformed("expected a signature (v=) or an error (e=)")),
        };
        attributes.end()?;
        Ok(this)
    }

    /// The message of a server that accepts the proof.
    pub fn encode_signature(signature: &[u8; 32]) -> Vec<u8> {
        let mut message = Vec::with_capacity(46);
        message.extend_from_slice(b"v=");
        append_base64(&mut message, signature);
        message
    }
}

fn append_base64(message: &mut Vec<u8>, bytes: &[u8]) {
    let at = message.len();
    message.resize(at + bytes.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(bytes, &mut message[at..]).expect("base64 has four characters for three bytes");
}

/// What both sides sign.
pub fn auth_message(
    client_first_bare: &[u8],
    server_first: &[u8],
    client_final_without_proof: &[u8],
) -> Vec<u8> {
    [client_first_bare, server_first, client_final_without_proof].join(&b',')
}

/// A salt of 1 to [`MAX_SALT`] bytes from its base64.
pub(super) fn decode_salt(base64: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(base64).ok().filter(|salt| (1..=MAX_SALT).contains(&salt.len()))
}

/// An iteration count from 1 to [`MAX_ITERATIONS`], digits only.
pub(super) fn decode_iterations(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (1..=MAX_ITERATIONS).contains(&count).then_some(count)
}

/// 32 bytes from their base64.
pub(super) fn decode_key(base64: &[u8]) -> Option<[u8; 32]> {
    STANDARD.decode(base64).ok()?.try_into().ok()
}

/// The message itself, if it is neither empty nor too long.
fn checked(message: Message, bytes: &[u8]) -> Result<&[u8], ScramError> {
    match bytes.len() {
        0 => Err(message.malformed("it is empty")),
        1..=MAX_MESSAGE => Ok(bytes),
        _ => Err(message.malformed("it is too long")),
    }
}

fn nonce_text(message: Message, nonce: &[u8], max: usize) -> Result<&str, ScramError> {
    if nonce.is_empty() || nonce.len() > max {
        return Err(message.malformed("the nonce is empty or too long"));
    }
    // Commas can't occur: they have split the attributes.
    std::str::from_utf8(nonce)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_graphic()))
        .ok_or(message.malformed("the nonce has characters that aren't printable"))
}

fn printable(value: &[u8]) -> String {
    value.iter().filter(|b| b.is_ascii_graphic() || **b == b' ').take(64).map(|b| char::from(*b)).collect()
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let comma = bytes.iter().position(|b| *b == b',')?;
    Some((&bytes[..comma], &bytes[comma + 1..]))
}

/// Walks `x=value,y=value`. Each name may come once; bit `name - b'A'` of `seen` is set once it has.
struct Attributes<'a> {
    message: Message,
    rest: Option<&'a [u8]>,
    seen: u64,
}

impl<'a> Attributes<'a> {
    fn new(message: Message, bytes: &'a [u8]) -> Self {
        Self { message, rest: Some(bytes), seen: 0 }
    }

    /// The next attribute, `None` at the end. `m=`, whatever it demands, isn't supported.
    fn take(&mut self) -> Result<Option<(u8, &'a [u8])>, ScramError> {
        let Some(rest) = self.rest else { return Ok(None) };
        let (attribute, rest) = split(rest).map_or((rest, None), |(first, rest)| (first, Some(rest)));
        let (name, value) = match attribute {
            [name, b'=', value @ ..] if name.is_ascii_alphabetic() => (*name, value),
            _ => return Err(self.message.malformed("expected a letter, an equals sign and a value")),
        };
        if value.contains(&0) {
            return Err(self.message.malformed("it holds a zero byte"));
        }
        if name == b'm' {
            return Err(ScramError::Unsupported("a mandatory SCRAM extension"));
        }
        let bit = 1 << (name - b'A');
        if self.seen & bit != 0 {
            return Err(self.message.malformed("an attribute is given twice"));
        }
        self.seen |= bit;
        self.rest = rest;
        Ok(Some((name, value)))
    }

    fn expect(&mut self, name: u8, otherwise: &'static str) -> Result<&'a [u8], ScramError> {
        match self.take()? {
            Some((found, value)) if found == name => Ok(value),
            _ => Err(self.message.malformed(otherwise)),
        }
    }

    fn end(&self) -> Result<(), ScramError> {
        match self.rest {
            None => Ok(()),
            Some(_) => Err(self.message.malformed("something follows its end")),
        }
    }

    /// The rest must be optional extensions, whose names RFC 5802 doesn't use itself.
    fn extensions_only(&mut self) -> Result<(), ScramError> {
        while let Some((name, _)) = self.take()? {
            self.check_extension(name)?;
        }
        Ok(())
    }

    /// Skips extensions up to the proof, which must be last; gives what precedes it in `whole`, and its value.
    fn up_to_proof(&mut self, whole: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), ScramError> {
        loop {
            let before = whole.len() - self.rest.map_or(0, <[u8]>::len);
            match self.take()? {
                Some((b'p', value)) => {
                    self.end()?;
                    // At least `c=` and a comma come first, so the subtraction can't wrap.
                    return Ok((&whole[..before - 1], value));
                }
                Some((name, _)) => self.check_extension(name)?,
                None => return Err(self.message.malformed("the proof (p=) is missing")),
            }
        }
    }

    fn check_extension(&self, name: u8) -> Result<(), ScramError> {
        if b"anrcsipve".contains(&name) {
            return Err(self.message.malformed("an attribute is out of place"));
        }
        Ok(())
    }
}
