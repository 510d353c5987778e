//! A server's certificate that leads to nobody who is trusted: what is wrong, and which setting mends it.

use super::{der, subject};
use rustls::{CertificateError, Error, OtherError};
use std::sync::Arc;

/// Where those who are trusted were read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// `server_tls_ca_file`.
    File,
    /// This machine.
    System,
}

/// Why nobody who is trusted vouches for a certificate.
#[derive(Debug)]
pub(super) struct Distrust {
    trusted: Source,
    signer: Signer,
}

#[derive(Debug)]
enum Signer {
    /// The server's own key.
    Itself,
    /// Somebody else, by that common name, if any.
    Other(Option<String>),
}

/// Longest common name that is told, in characters: X.520's bound.
const LONGEST_NAME: usize = 64;

impl Distrust {
    /// In place of rustls's error about a certificate that was shown.
    pub(super) fn of(certificate: &[u8], trusted: Source) -> Error {
        let signer = if der::is_for_its_own_issuer(certificate) == Some(true) {
            Signer::Itself
        } else {
            let short = |name: &str| name.chars().take(LONGEST_NAME).collect();
            Signer::Other(subject::issuer_name(certificate).map(short))
        };
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Self { trusted, signer }))))
    }
}

impl std::error::Error for Distrust {}

impl std::fmt::Display for Distrust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.signer, self.trusted) {
            (Signer::Itself, Source::File) => {
                f.write_str("it is self-signed, and not in server_tls_ca_file")?;
            }
            (Signer::Itself, Source::System) => {
                f.write_str("it is self-signed, and this machine doesn't trust it")?;
            }
            (Signer::Other(name), trusted) => {
                match name {
                    Some(name) => write!(f, "it is signed by {name:?}, ")?,
                    None => f.write_str("it is signed by somebody without a name, ")?,
                }
                f.write_str(match trusted {
                    Source::File => "which leads to no CA in server_tls_ca_file",
                    Source::System => "which leads to no CA that this machine trusts",
                })?;
            }
        }
        let what =
            if matches!(self.signer, Signer::Itself) { "a copy of it" } else { "its CA's certificate" };
        match self.trusted {
            Source::File => write!(f, "; if it is the right server, put {what} there")?,
            Source::System => write!(f, "; if it is the right server, name {what} as server_tls_ca_file")?,
        }
        f.write_str(" (server_tls_sslmode \"require\" takes any certificate)")
    }
}
