//! What goes wrong with TLS, in words for people.

use super::distrust::Distrust;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
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
    /// A message of a server, or its certificate, is wrong.
    #[error("{}", explain(.0))]
    Protocol(#[from] Error),
    /// The same of a client.
    #[error("{}", explain_of_client(.0))]
    OfClient(Error),
    /// The other side closed within the handshake.
    #[error("the other side closed the connection within the handshake")]
    Closed,
    /// It did so where TLS began without being asked for, and has it for who asks.
    #[error("the server takes no direct TLS, which PostgreSQL does since 17 (server_tls_sslnegotiation)")]
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

    /// An error of a connection that somebody else made by rustls, in words.
    pub fn told(error: std::io::Error) -> std::io::Error {
        let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).cloned();
        of_tls.map_or(error, |of_tls| Self::Protocol(of_tls).into())
    }

    /// Whether trying again can't help: certificates don't fit, or the two sides have nothing in common.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Protocol(error) | Self::OfClient(error) => matches!(
                error,
                Error::InvalidCertificate(_)
                    | Error::NoCertificatesPresented
                    | Error::PeerIncompatible(_)
                    | Error::AlertReceived(_)
            ),
            Self::Name(_) | Self::NoAlpn | Self::NotDirect => true,
            Self::Closed | Self::Endless => false,
        }
    }
}

impl From<TlsError> for std::io::Error {
    fn from(error: TlsError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// The settings that matter differ.
fn explain_of_client(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the client's certificate is of no CA in client_tls_ca_file".to_owned()
        }
        Error::InvalidCertificate(why) if is_of_a_ca(why) => {
            "the client's certificate is self-signed, or a CA's own, not one that a CA in client_tls_ca_file has signed"
                .to_owned()
        }
        Error::InvalidCertificate(why) => format!("the client's certificate: {}", certificate(why)),
        Error::NoCertificatesPresented => {
            "the client showed no certificate, which client_tls_sslmode asks for".to_owned()
        }
        Error::AlertReceived(AlertDescription::UnknownCA) => "the client doesn't trust the certificate in \
             client_tls_cert_file: it wants the CA's (sslrootcert), and those between in client_tls_cert_file"
            .to_owned(),
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "the client says that the certificate in client_tls_cert_file has expired".to_owned()
        }
        Error::AlertReceived(why @ (AlertDescription::BadCertificate | AlertDescription::CertificateUnknown)) => {
            format!("the client refused the certificate in client_tls_cert_file: {}", alerted(*why))
        }
        other => explain(other),
    }
}

fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => format!("certificate verify failed: {}", certificate(why)),
        Error::NoCertificatesPresented => "the other side showed no certificate".to_owned(),
        Error::AlertReceived(alert) => format!("the other side refused: {}", alerted(*alert)),
        Error::PeerIncompatible(why) => incompatible(why),
        Error::PeerMisbehaved(why) => format!("the other side broke the protocol: {}", words(why)),
        Error::InvalidMessage(_) => "what the other side sent is not TLS".to_owned(),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the other side sent a message out of turn".to_owned()
        }
        Error::NoApplicationProtocol => "no common application protocol".to_owned(),
        other => other.to_string(),
    }
}

fn incompatible(why: &PeerIncompatible) -> String {
    use PeerIncompatible as P;
    match why {
        P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled
        | P::SupportedVersionsExtensionRequired => "no common version of TLS".to_owned(),
        P::NoCipherSuitesInCommon => "no common cipher suite".to_owned(),
        P::NoKxGroupsInCommon => "no common group for the key exchange".to_owned(),
        P::NoSignatureSchemesInCommon | P::NoCertificateRequestSignatureSchemesInCommon => {
            "no common kind of signature".to_owned()
        }
        other => format!("no common ground: {}", words(other)),
    }
}

/// What rustls names but has no words for: `NoKxGroupsInCommon` as words.
fn words(named: &impl std::fmt::Debug) -> String {
    let text = format!("{named:?}");
    let name: Vec<char> = text.chars().take_while(char::is_ascii_alphanumeric).collect();
    let mut words = String::new();
    for (at, letter) in name.iter().enumerate() {
        let is_small = |at: usize| name.get(at).is_some_and(|letter| !letter.is_ascii_uppercase());
        let is_capital = letter.is_ascii_uppercase();
        if is_capital && at > 0 && (is_small(at - 1) || is_small(at + 1)) {
            words.push(' ');
        }
        let is_abbreviation = is_capital && !is_small(at + 1) && at > 0;
        words.push(if is_abbreviation { *letter } else { letter.to_ascii_lowercase() });
    }
    words
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
        why if is_of_a_ca(why) => {
            "it is a CA's own certificate, not one that a CA has signed for a server".to_owned()
        }
        why if is_version_1(why) => {
            "it is of X.509 version 1; make one of version 3 (openssl x509 -req … -extfile)".to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it is signed in a way that is no longer safe, or not known".to_owned()
        }
        CertificateError::Other(why) if why.0.is::<Distrust>() => why.to_string(),
        CertificateError::Other(why) => words(&format_args!("{why}")),
        // rustls has words for these.
        CertificateError::NotValidForNameContext { .. } | CertificateError::InvalidPurposeContext { .. } => {
            why.to_string()
        }
        other => words(other),
    }
}

/// Whether it is of X.509's first version, which rustls doesn't read.
pub(super) fn is_version_1(why: &CertificateError) -> bool {
    matches!(why, CertificateError::Other(why) if why.to_string() == "UnsupportedCertVersion")
}

/// Whether it is that a CA's own certificate was shown. webpki's error, whose type isn't to be had through rustls.
pub(super) fn is_of_a_ca(why: &CertificateError) -> bool {
    matches!(why, CertificateError::Other(why) if why.to_string() == "CaUsedAsEndEntity")
}

fn alerted(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "it wants a certificate (server_tls_cert_file)".to_owned(),
        AlertDescription::ProtocolVersion => "no common version of TLS".to_owned(),
        AlertDescription::UnknownCA => {
            "it doesn't trust the CA of the certificate in server_tls_cert_file".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "it says that the certificate in server_tls_cert_file has expired".to_owned()
        }
        AlertDescription::NoApplicationProtocol => "no common application protocol".to_owned(),
        AlertDescription::HandshakeFailure => "handshake failure".to_owned(),
        AlertDescription::Unknown(number) => format!("alert {number}"),
        other => words(&other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::PeerMisbehaved;

    #[test]
    fn people_are_told_in_words() {
        let certificate = |why| Error::InvalidCertificate(why);
        for (error, text) in [
            (
                Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon),
                "no common group for the key exchange",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::NullCompressionRequired),
                "no common ground: null compression required",
            ),
            (
                Error::PeerMisbehaved(PeerMisbehaved::IllegalMiddleboxChangeCipherSpec),
                "the other side broke the protocol: illegal middlebox change cipher spec",
            ),
            (Error::AlertReceived(AlertDescription::BadRecordMac), "the other side refused: bad record mac"),
            (
                Error::AlertReceived(AlertDescription::UnknownPSKIdentity),
                "the other side refused: unknown PSK identity",
            ),
            (Error::AlertReceived(AlertDescription::from(7)), "the other side refused: alert 7"),
            (certificate(CertificateError::BadEncoding), "certificate verify failed: bad encoding"),
            (
                certificate(CertificateError::UnknownRevocationStatus),
                "certificate verify failed: unknown revocation status",
            ),
        ] {
            assert_eq!(TlsError::from(error).to_string(), text);
        }
    }

    /// Clients have settings of their own.
    #[test]
    fn what_is_wrong_with_a_client_names_what_mends_it() {
        let alert = Error::AlertReceived;
        for (error, text) in [
            (
                CertificateError::UnknownIssuer.into(),
                "the client's certificate is of no CA in client_tls_ca_file",
            ),
            (CertificateError::Expired.into(), "the client's certificate: certificate has expired"),
            (
                alert(AlertDescription::UnknownCA),
                "the client doesn't trust the certificate in client_tls_cert_file",
            ),
            (alert(AlertDescription::HandshakeFailure), "the other side refused: handshake failure"),
        ] {
            let told = TlsError::OfClient(error).to_string();
            assert!(told.starts_with(text), "{told}");
        }
    }
}
