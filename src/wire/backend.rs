//! Messages a server sends: the parts the relay has to understand, and those pgweir sends to clients itself.

use super::cursor::Cursor;
use super::encode::{cstr, message};
use super::error::WireError;
use super::tag::backend as b;

/// ParseComplete, whole.
pub const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";
/// CloseComplete, whole.
pub const CLOSE_COMPLETE: &[u8] = b"3\0\0\0\x04";
/// ReadyForQuery outside a transaction, whole.
pub const READY_IDLE: &[u8] = b"Z\0\0\0\x05I";

/// How bad an ErrorResponse or NoticeResponse is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The session ends.
    Fatal,
    /// Nothing failed, but it may matter.
    Warning,
    /// Nothing failed.
    Notice,
}

impl Severity {
    fn text(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
        }
    }
}

/// An error or notice as pgweir writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<'a> {
    /// Severity, sent as S and V.
    pub severity: Severity,
    /// SQLSTATE.
    pub code: &'a str,
    /// Primary message, PostgreSQL's style: lower case, no full stop.
    pub message: &'a str,
    /// Detail, a sentence.
    pub detail: Option<&'a str>,
    /// Hint, a sentence.
    pub hint: Option<&'a str>,
}

impl Report<'_> {
    /// Appends ErrorResponse or NoticeResponse.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let is_notice = matches!(self.severity, Severity::Notice | Severity::Warning);
        let tag = if is_notice { b::NOTICE } else { b::ERROR };
        message(out, tag, |out| {
            let mut field = |kind: u8, text: &str| {
                out.push(kind);
                cstr(out, text.as_bytes());
            };
            field(b'S', self.severity.text());
            field(b'V', self.severity.text());
            field(b'C', self.code);
            field(b'M', self.message);
            if let Some(detail) = self.detail {
                field(b'D', detail);
            }
            if let Some(hint) = self.hint {
                field(b'H', hint);
            }
            out.push(0);
        });
    }
}

/// The fields of an ErrorResponse or NoticeResponse body, in order; a malformed body ends early.
pub fn fields(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut c = Cursor::new(body);
    std::iter::from_fn(move || {
        let kind = c.u8().ok().filter(|&k| k != 0)?;
        Some((kind, c.cstr().ok()?))
    })
}

/// One field of an ErrorResponse.
pub fn field(body: &[u8], kind: u8) -> Option<&[u8]> {
    fields(body).find(|f| f.0 == kind).map(|f| f.1)
}

/// SQLSTATE of an ErrorResponse; `XX000` (internal_error) when it has none that is well formed.
pub fn sqlstate(body: &[u8]) -> [u8; 5] {
    let code = field(body, b'C').and_then(|c| <[u8; 5]>::try_from(c).ok());
    code.filter(|c| c.iter().all(u8::is_ascii_alphanumeric)).unwrap_or(*b"XX000")
}

/// Whether an ErrorResponse ends the server's session (V, or S of servers before 9.6).
pub fn is_fatal(body: &[u8]) -> bool {
    let severity = field(body, b'V').or_else(|| field(body, b'S')).unwrap_or_default();
    matches!(severity, b"FATAL" | b"PANIC")
}

/// Name and value of a ParameterStatus body.
pub fn parameter(body: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let mut c = Cursor::new(body);
    let pair = (c.cstr()?, c.cstr()?);
    c.end()?;
    Ok(pair)
}

/// A NotificationResponse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification<'a> {
    /// The process that sent it.
    pub pid: u32,
    /// Its channel.
    pub channel: &'a [u8],
    /// What it says; may be empty.
    pub payload: &'a [u8],
}

impl<'a> Notification<'a> {
    /// Reads a body.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut c = Cursor::new(body);
        let pid = u32::from_be_bytes(c.i32()?.to_be_bytes());
        let notification = Self { pid, channel: c.cstr()?, payload: c.cstr()? };
        c.end()?;
        Ok(notification)
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(out, b::NOTIFICATION, |out| {
            out.extend_from_slice(&self.pid.to_be_bytes());
            cstr(out, self.channel);
            cstr(out, self.payload);
        });
    }
}

/// Appends ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    message(out, b::PARAMETER_STATUS, |out| {
        cstr(out, name);
        cstr(out, value);
    });
}

/// Appends BackendKeyData; `secret` has 4 bytes in protocol 3.0, up to 256 in 3.2.
pub fn backend_key_data(out: &mut Vec<u8>, pid: u32, secret: &[u8]) {
    message(out, b::BACKEND_KEY_DATA, |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// Appends NegotiateProtocolVersion: the minor version that will be spoken, as PostgreSQL 18 tells it, and the options not known here.
pub fn negotiate_protocol_version<'a>(
    out: &mut Vec<u8>,
    minor: u16,
    options: impl ExactSizeIterator<Item = &'a str>,
) {
    message(out, b::NEGOTIATE, |out| {
        out.extend_from_slice(&(0x0003_0000 | u32::from(minor)).to_be_bytes());
        let count = u32::try_from(options.len()).expect("options come from a startup packet of 10 kB");
        out.extend_from_slice(&count.to_be_bytes());
        options.for_each(|o| cstr(out, o.as_bytes()));
    });
}

/// What an Authentication message asks for or tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// The login succeeded.
    Ok,
    /// Wants the clear password.
    CleartextPassword,
    /// Wants md5 of the password with this salt.
    Md5Password([u8; 4]),
    /// Offers SASL mechanisms (zero-terminated names, ended by an empty one).
    Sasl(&'a [u8]),
    /// Next SASL message.
    SaslContinue(&'a [u8]),
    /// Last SASL message.
    SaslFinal(&'a [u8]),
    /// Something else, by its number.
    Other(i32),
}

impl<'a> Authentication<'a> {
    /// Reads the body of an Authentication message.
    pub fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut c = Cursor::new(body);
        Ok(match c.i32()? {
            0 => Self::Ok,
            3 => Self::CleartextPassword,
            5 => {
                let s = c.bytes(4)?;
                Self::Md5Password([s[0], s[1], s[2], s[3]])
            }
            10 => Self::Sasl(c.rest()),
            11 => Self::SaslContinue(c.rest()),
            12 => Self::SaslFinal(c.rest()),
            other => Self::Other(other),
        })
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (number, data): (i32, &[u8]) = match self {
            Self::Ok => (0, &[]),
            Self::CleartextPassword => (3, &[]),
            Self::Md5Password(salt) => (5, salt),
            Self::Sasl(data) => (10, data),
            Self::SaslContinue(data) => (11, data),
            Self::SaslFinal(data) => (12, data),
            Self::Other(number) => (*number, &[]),
        };
        message(out, b::AUTHENTICATION, |out| {
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(data);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sqlstate;
    use proptest::prelude::*;

    #[test]
    fn a_report_has_every_field() {
        let mut out = Vec::new();
        let report = Report {
            severity: Severity::Fatal,
            code: sqlstate::INVALID_PASSWORD,
            message: "no",
            detail: Some("d"),
            hint: None,
        };
        report.encode(&mut out);
        assert_eq!(out, b"E\0\0\0\x21SFATAL\0VFATAL\0C28P01\0Mno\0Dd\0\0");
        assert_eq!(sqlstate(&out[5..]), *b"28P01");
        assert!(is_fatal(&out[5..]));
    }

    /// A server's ErrorResponse without SQLSTATE (CVE-2026-6666), empty, unterminated.
    #[test]
    fn errors_with_fields_missing() {
        for body in [&b""[..], b"\0", b"SERROR\0", b"C", b"C28P0", b"C28P01", b"Cab\0", b"C28 01\0\0"] {
            assert_eq!(sqlstate(body), *b"XX000", "{body:?}");
            assert!(!is_fatal(body));
        }
    }

    #[test]
    fn notifications_come_back() {
        let notification = Notification { pid: 0x8000_0001, channel: b"news", payload: b"" };
        let mut out = Vec::new();
        notification.encode(&mut out);
        assert_eq!(Notification::parse(&out[5..]), Ok(notification));
        assert!(Notification::parse(&out[5..out.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (fields(&body).count(), parameter(&body), Authentication::parse(&body), sqlstate(&body));
        }
    }
}
