//! What goes wrong with TLS, in words for people.

use rustls::{AlertDescription, CertificateError, Error};
use std::path::PathBuf;

/// A file of the configuration that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {setting} {}: {why}", .path.display())]
pub struct FileError {
    /// The setting that names it.
    pub setting: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// Why there is no TLS with the other side, or no more.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// A message, or the other side's certificate, is wrong.
    #[error("{}", explain(.0))]
    Protocol(#[from] Error),
    /// The other side closed within the handshake.
    #[error("the other side closed the connection within the handshake")]
    Closed,
    /// It did so where TLS began without being asked for.
    #[error(
        "the other side closed the connection within the handshake: PostgreSQL takes direct TLS since 17"
    )]
    NotDirect,
    /// It doesn't say that PostgreSQL is spoken within.
    #[error("direct SSL connection was established without ALPN protocol negotiation extension")]
    NoAlpn,
    /// The host's name can't be in a certificate.
    #[error("{0:?} is no name that a certificate could be for")]
    Name(String),
    /// Bytes after the last.
    #[error("the other side sends without end within the handshake")]
    Endless,
}

impl TlsError {
    /// The one that an error of a connection is about, if it is about one.
    pub fn of(error: &std::io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether trying again can't help: certificates don't fit, or the two sides have nothing in common.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Protocol(error) => matches!(
                error,
                Error::InvalidCertificate(_)
                    | Error::NoCertificatesPresented
                    | Error::PeerIncompatible(_)
                    | Error::AlertReceived(_)
            ),
            Self::Name(_) | Self::NoAlpn => true,
            Self::Closed | Self::NotDirect | Self::Endless => false,
        }
    }
}

impl From<TlsError> for std::io::Error {
    fn from(error: TlsError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => format!("certificate verify failed: {}", certificate(why)),
        Error::NoCertificatesPresented => "the other side showed no certificate".to_owned(),
        Error::AlertReceived(alert) => format!("the other side refused: {}", alerted(*alert)),
        Error::PeerIncompatible(why) => format!("no common ground: {why:?}"),
        Error::InvalidMessage(_) => "what the other side sent is not TLS".to_owned(),
        other => other.to_string(),
    }
}

/// What is wrong with a certificate.
pub(super) fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not yet valid".to_owned()
        }
        CertificateError::UnknownIssuer => "no trusted CA has signed the certificate".to_owned(),
        CertificateError::BadSignature => "certificate signature failure".to_owned(),
        // webpki's error, whose type isn't to be had through rustls.
        CertificateError::Other(why) if why.to_string() == "CaUsedAsEndEntity" => {
            "it is a CA's own certificate, not one that a CA has signed for a server".to_owned()
        }
        CertificateError::Other(why) if why.to_string() == "UnsupportedCertVersion" => {
            "it is of X.509 version 1; make one of version 3 (openssl x509 -req … -extfile)".to_owned()
        }
        other => other.to_string(),
    }
}

fn alerted(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "it wants a certificate".to_owned(),
        AlertDescription::ProtocolVersion => "no common version of TLS".to_owned(),
        AlertDescription::UnknownCA => "it doesn't trust the CA of our certificate".to_owned(),
        AlertDescription::NoApplicationProtocol => "no common application protocol".to_owned(),
        AlertDescription::HandshakeFailure => "handshake failure".to_owned(),
        other => format!("{other:?}"),
    }
}
