//! One TLS connection without its socket: ciphertext in, plaintext out, and back. It holds no buffer while nothing waits,
//! so that an idle connection costs its keys and little more.

use super::error::TlsError;
use super::status::{Heard, take_up};
use super::{end_point, subject};
use crate::auth::scram::messages::EndPoint;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncryptError, UnbufferedStatus};
use rustls::{CommonState, HandshakeKind, ProtocolVersion};
use zeroize::Zeroize as _;

/// Most plaintext in a record, in bytes.
const RECORD: usize = 16 * 1024;
/// What a handshake's records begin with.
const HANDSHAKE: u8 = 0x16;
/// Most that a record's header, nonce, padding and tag add, in bytes.
const AROUND: usize = 256;
/// Most bytes of a handshake that are held until a message is whole; rustls takes none longer than 64 KiB. Of servers, which we have
/// chosen.
const MOST_OF_SERVER: usize = 128 * 1024;
/// The same of clients, who may be anybody.
const MOST_OF_CLIENT: usize = RECORD + 2 * AROUND;
/// The same of clients that may show certificates.
const MOST_OF_SHOWN: usize = 2 * MOST_OF_CLIENT;

/// A TLS connection.
pub struct Channel {
    side: Side,
    /// Ciphertext not dealt with: the beginning of a record, or records there was no room for.
    incoming: Vec<u8>,
    /// Plaintext there was no room for.
    plain: Vec<u8>,
    /// TLS's own messages: they go in front of what is sent next.
    control: Vec<u8>,
    /// The other side has said that nothing more comes.
    ended: bool,
    /// After an error rustls isn't asked again: it would look at the same bytes.
    failed: Option<rustls::Error>,
    /// Our own certificate, as a server.
    own: Option<EndPoint>,
    /// Most of a handshake that is held.
    most: usize,
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// Calls rustls for either side; the status is of a different type for each.
macro_rules! process {
    ($side:expr, $bytes:expr, $status:ident => $then:expr) => {
        match $side {
            Side::Client(connection) => {
                let $status = connection.process_tls_records($bytes);
                $then
            }
            Side::Server(connection) => {
                let $status = connection.process_tls_records($bytes);
                $then
            }
        }
    };
}

/// How far a handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It needs more from the other side; what there is to be sent comes first.
    Waits,
    /// It is over: plaintext may flow.
    Done,
}

impl Channel {
    pub(super) fn client(connection: UnbufferedClientConnection) -> Self {
        Self::new(Side::Client(connection), MOST_OF_SERVER)
    }

    /// `verifies`: clients may show certificates.
    pub(super) fn server(
        connection: UnbufferedServerConnection,
        own: Option<EndPoint>,
        verifies: bool,
    ) -> Self {
        let most = if verifies { MOST_OF_SHOWN } else { MOST_OF_CLIENT };
        Self { own, ..Self::new(Side::Server(connection), most) }
    }

    fn new(side: Side, most: usize) -> Self {
        Self {
            side,
            most,
            incoming: Vec::new(),
            plain: Vec::new(),
            control: Vec::new(),
            ended: false,
            failed: None,
            own: None,
        }
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Client(connection) => connection,
            Side::Server(connection) => connection,
        }
    }

    /// The version spoken, as PostgreSQL names it.
    pub fn version(&self) -> &'static str {
        match self.common().protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLS",
        }
    }

    /// Whether what is left of a server's handshake after its first step is little work, unless certificates are to be verified:
    /// with TLS 1.2 the half of the key exchange is still to come, and all of it once a first ClientHello had no key of use.
    pub fn is_hard_at_first_only(&self) -> bool {
        let common = self.common();
        common.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            && common.handshake_kind() != Some(HandshakeKind::FullWithHelloRetryRequest)
    }

    /// The application protocol that was agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.common().alpn_protocol()
    }

    /// The certificate that the other side has shown, which is verified if it is a client's.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.common().peer_certificates()?.first().map(|certificate| &**certificate)
    }

    /// The common name in that certificate.
    pub fn peer_name(&self) -> Option<&str> {
        subject::common_name(self.peer_certificate()?)
    }

    /// Whether the common name in that certificate has a zero byte.
    pub fn peer_name_has_zero_byte(&self) -> bool {
        self.peer_certificate().is_some_and(subject::has_zero_byte)
    }

    /// What SCRAM can bind to: the server's certificate, whichever side that is.
    pub fn end_point(&self) -> Option<EndPoint> {
        match &self.side {
            Side::Server(_) => self.own,
            Side::Client(connection) => end_point::of(connection.peer_certificates()?.first()?),
        }
    }

    /// Goes on with the handshake, with more bytes from the other side.
    ///
    /// # Errors
    /// The handshake failed. What [`Self::take_control`] gives then tells the other side.
    pub fn shake_hands(&mut self, more: &[u8]) -> Result<Progress, TlsError> {
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.reserve_exact(more.len());
        incoming.extend_from_slice(more);
        let mut at = 0;
        let outcome = loop {
            let (used, heard) = self.hear(&mut incoming[at..], &mut []);
            at += used;
            match heard {
                Err(error) => break Err(error),
                Ok((Heard::Again, _)) if self.common().is_handshaking() => {}
                Ok((Heard::End, _)) => break Err(TlsError::Closed),
                Ok(_) if self.common().is_handshaking() => break Ok(Progress::Waits),
                Ok((Heard::Again, _)) => {}
                Ok((Heard::Enough, _)) => break Ok(Progress::Done),
            }
        };
        let progress = outcome?;
        if progress == Progress::Waits && incoming.len() - at > self.most {
            return Err(TlsError::Endless);
        }
        self.hold_incoming(&incoming[at..]);
        Ok(progress)
    }

    /// Whether `bytes`, which nothing has been done with, are the beginning of a handshake's first record, and not all of it. What is
    /// too long for one has nothing to be waited for.
    pub fn is_begun_only(&self, bytes: &[u8]) -> bool {
        matches!(bytes.first(), None | Some(&HANDSHAKE))
            && !self.has_record_with(bytes)
            && bytes.get(3..5).is_none_or(|size| usize::from(size[0]) << 8 <= RECORD)
    }

    /// Whether a whole record is there to go on with, were `more` added.
    pub fn has_record_with(&self, more: &[u8]) -> bool {
        let byte = |i: usize| self.incoming.get(i).or_else(|| more.get(i.wrapping_sub(self.incoming.len())));
        match (byte(3), byte(4)) {
            (Some(&high), Some(&low)) => {
                let size = 5 + usize::from(u16::from_be_bytes([high, low]));
                self.incoming.len() + more.len() >= size
            }
            _ => false,
        }
    }

    /// TLS's own messages that are to be sent.
    pub fn take_control(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.control)
    }

    /// Whether plaintext, or what could be, is held.
    pub fn holds(&self) -> bool {
        !self.plain.is_empty() || !self.incoming.is_empty()
    }

    /// Whether plaintext is held.
    pub fn holds_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Whether the other side has said that nothing more comes.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes plaintext that is held.
    pub fn take_plain(&mut self, into: &mut [u8]) -> usize {
        let n = self.plain.len().min(into.len());
        into[..n].copy_from_slice(&self.plain[..n]);
        // It may be a password.
        self.plain[..n].zeroize();
        if n == self.plain.len() {
            self.plain = Vec::new();
        } else {
            self.plain.drain(..n);
        }
        n
    }

    /// Moves the ciphertext that is held to the front of `into`, which has room for it; returns its length.
    pub fn take_incoming(&mut self, into: &mut Vec<u8>) -> usize {
        let incoming = std::mem::take(&mut self.incoming);
        if into.len() < incoming.len() {
            into.resize(incoming.len(), 0);
        }
        into[..incoming.len()].copy_from_slice(&incoming);
        incoming.len()
    }

    /// Decrypts all of `bytes`, which begin with what [`Self::take_incoming`] gave, until `into` is full; what is left of
    /// them is held. Returns how much plaintext is in `into`. Plaintext of a record that didn't fit is held, too.
    ///
    /// # Errors
    /// The other side broke the protocol.
    pub fn open(&mut self, bytes: &mut [u8], into: &mut [u8]) -> Result<usize, TlsError> {
        let (mut at, mut filled) = (0, 0);
        let outcome = loop {
            if filled == into.len() {
                break Ok(filled);
            }
            let (used, heard) = self.hear(&mut bytes[at..], &mut into[filled..]);
            at += used;
            match heard {
                Err(error) => break Err(error),
                Ok((heard, n)) => {
                    filled += n;
                    if heard != Heard::Again {
                        break Ok(filled);
                    }
                }
            }
        };
        self.hold_incoming(&bytes[at..]);
        outcome
    }

    /// Holds ciphertext that has been read: all there is.
    pub fn hold_incoming(&mut self, rest: &[u8]) {
        self.incoming = rest.to_vec();
    }

    /// Holds plaintext that was taken, in front of what is held.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.plain.splice(..0, bytes.iter().copied());
    }

    /// Encrypts `bytes` to the front of `out`, which grows as needed and isn't cut; returns the length. TLS's own messages
    /// go first. Nothing is held back.
    ///
    /// # Errors
    /// The keys are used up, or the handshake isn't over.
    pub fn seal(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        loop {
            // What has been read and not dealt with has to be there: a message of TLS's own may be begun in it.
            let mut incoming = std::mem::take(&mut self.incoming);
            let mut plain = std::mem::take(&mut self.plain);
            let control = &mut self.control;
            let mut sealed = None;
            let (used, heard) = process!(&mut self.side, &mut incoming, status => {
                let used = status.discard;
                match status.state {
                    Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                        let first = std::mem::take(control);
                        let at = first.len();
                        let room = at + bytes.len() + (bytes.len() / RECORD + 1) * AROUND;
                        make_room(out, room);
                        out[..at].copy_from_slice(&first);
                        sealed = Some(loop {
                            match traffic.encrypt(bytes, &mut out[at..]) {
                                Ok(n) => break Ok(at + n),
                                Err(EncryptError::InsufficientSize(e)) => make_room(out, at + e.required_size),
                                Err(EncryptError::EncryptExhausted) => break Err(rustls::Error::EncryptError),
                            }
                        });
                        (used, Ok((Heard::Enough, 0)))
                    }
                    state => take_up(UnbufferedStatus { discard: used, state }, control, &mut plain, &mut []),
                }
            });
            if used > 0 {
                incoming = incoming.split_off(used);
            }
            (self.incoming, self.plain) = (incoming, plain);
            let heard = heard.inspect_err(|error| self.failed = Some(error.clone()))?;
            match (sealed, heard.0) {
                (Some(sealed), _) => return Ok(sealed?),
                (None, Heard::Again) => {}
                (None, Heard::End) => self.ended = true,
                (None, Heard::Enough) => return Err(rustls::Error::HandshakeNotComplete.into()),
            }
        }
    }

    /// Appends to `out` that nothing more will be sent.
    pub fn say_goodbye(&mut self, out: &mut Vec<u8>) {
        self.collect_control();
        out.append(&mut self.control);
        if self.failed.is_some() {
            return;
        }
        process!(&mut self.side, &mut self.incoming, status => {
            if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state {
                let at = out.len();
                out.resize(at + AROUND, 0);
                let n = traffic.queue_close_notify(&mut out[at..]).unwrap_or(0);
                out.truncate(at + n);
            }
        });
    }

    /// One look of rustls at the bytes; plaintext goes to `into`, and is held where that is full.
    fn hear(&mut self, bytes: &mut [u8], into: &mut [u8]) -> (usize, Result<(Heard, usize), TlsError>) {
        if let Some(error) = &self.failed {
            return (0, Err(self.told(error.clone())));
        }
        let (control, plain) = (&mut self.control, &mut self.plain);
        let (used, heard) = process!(&mut self.side, bytes, status => take_up(status, control, plain, into));
        match &heard {
            Ok((Heard::End, _)) => self.ended = true,
            Ok(_) => {}
            Err(error) => {
                self.failed = Some(error.clone());
                self.collect_control();
            }
        }
        (used, heard.map_err(|error| self.told(error)))
    }

    /// An error in the words for those whom the other side matters to.
    fn told(&self, error: rustls::Error) -> TlsError {
        match self.side {
            Side::Client(_) => TlsError::Protocol(error),
            Side::Server(_) => TlsError::OfClient(error),
        }
    }

    /// What rustls has to say to the other side, be it about an error. Nothing of the other side's is looked at.
    fn collect_control(&mut self) {
        while self.common().wants_write() {
            let (control, plain) = (&mut self.control, &mut self.plain);
            let (_, heard) =
                process!(&mut self.side, &mut [], status => take_up(status, control, plain, &mut []));
            if heard.is_err() {
                return;
            }
        }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("version", &self.version()).finish_non_exhaustive()
    }
}

fn make_room(out: &mut Vec<u8>, room: usize) {
    if out.len() < room {
        out.resize(room, 0);
    }
}

#[cfg(test)]
impl Channel {
    /// Bytes of room in its buffers.
    pub(super) fn room(&self) -> usize {
        self.incoming.capacity() + self.plain.capacity() + self.control.capacity()
    }
}
