//! What holds for TLS: with clients, and with one database's servers, where the database's word goes before `[pgweir]`'s.
use std::path::{Path, PathBuf};

use super::database::Database;
use super::general::General;
use super::units::{AuthType, Roots, SslMode, SslNegotiation, TlsProtocols};

/// How to speak TLS with clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// How much to insist.
    pub sslmode: SslMode,
    /// Versions spoken.
    pub protocols: TlsProtocols,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    /// Whether it depends on rules who needs a certificate.
    by_rules: bool,
}

/// What clients' certificates are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trusted<'a> {
    /// The CAs that have to have signed them.
    pub ca_file: &'a Path,
    /// Whether every client has to show one.
    pub is_required: bool,
}

impl ClientTls {
    pub(super) fn of(general: &General) -> Self {
        Self {
            sslmode: general.client_tls_sslmode,
            protocols: general.client_tls_protocols,
            cert_file: general.client_tls_cert_file.clone(),
            key_file: general.client_tls_key_file.clone(),
            ca_file: general.client_tls_ca_file.clone(),
            by_rules: general.auth_type == AuthType::Hba,
        }
    }

    /// The certificate to show and its key, if TLS is spoken at all.
    pub fn files(&self) -> Option<(&Path, &Path)> {
        if self.sslmode == SslMode::Disable {
            return None;
        }
        Some((self.cert_file.as_deref()?, self.key_file.as_deref()?))
    }

    /// The CAs that are named, whether they count or not.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// What clients' certificates are held against; `None`: they aren't asked for any.
    pub fn trusted(&self) -> Option<Trusted<'_>> {
        let is_required = self.sslmode.verifies();
        let ca_file = self.ca_file.as_deref().filter(|_| is_required || self.by_rules)?;
        Some(Trusted { ca_file, is_required })
    }

    /// What is wrong with the settings together, after "… ".
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.sslmode == SslMode::Disable {
            return None;
        }
        if self.cert_file.is_none() || self.key_file.is_none() {
            return Some("needs client_tls_cert_file and client_tls_key_file");
        }
        let blind = self.sslmode.verifies() && self.ca_file.is_none();
        blind.then_some("needs client_tls_ca_file, to know whose certificates to trust")
    }
}

/// How to speak TLS with servers. Equal ones can share what is made of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// How much to insist.
    pub sslmode: SslMode,
    /// How to begin.
    pub negotiation: SslNegotiation,
    /// Whose signature counts when certificates are verified.
    pub ca: Option<Roots>,
    /// Certificate to show, with the key below.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Versions spoken.
    pub protocols: TlsProtocols,
}

impl ServerTls {
    pub(super) fn of(general: &General, database: &Database) -> Self {
        // A file that is given for the database, even as "", is all there is.
        let own_certificate =
            database.server_tls_cert_file.is_some() || database.server_tls_key_file.is_some();
        let (cert_file, key_file) = if own_certificate {
            (database.server_tls_cert_file.clone().flatten(), database.server_tls_key_file.clone().flatten())
        } else {
            (general.server_tls_cert_file.clone(), general.server_tls_key_file.clone())
        };
        Self {
            sslmode: database.server_tls_sslmode.unwrap_or(general.server_tls_sslmode),
            negotiation: database.server_tls_sslnegotiation.unwrap_or(general.server_tls_sslnegotiation),
            ca: database.server_tls_ca_file.clone().unwrap_or_else(|| general.server_tls_ca_file.clone()),
            cert_file,
            key_file,
            protocols: database.server_tls_protocols.unwrap_or(general.server_tls_protocols),
        }
    }

    /// What is wrong with the settings together, after "… ".
    pub(super) fn problem(&self) -> Option<&'static str> {
        match (self.sslmode, &self.ca) {
            _ if self.cert_file.is_some() != self.key_file.is_some() => {
                Some("needs both server_tls_cert_file and server_tls_key_file, or neither")
            }
            // Who begins so can't be told that there is no TLS.
            (mode, _) if self.negotiation == SslNegotiation::Direct && !mode.is_required() => Some(
                "with server_tls_sslnegotiation \"direct\" needs server_tls_sslmode \"require\", \"verify-ca\" or \"verify-full\"",
            ),
            (SslMode::VerifyCa, None) => Some(
                "with server_tls_sslmode \"verify-ca\" needs server_tls_ca_file; for a public CA use \"verify-full\"",
            ),
            // Anybody can have a certificate of a public CA: only the name in it tells who it is.
            (SslMode::VerifyCa, Some(Roots::System)) => {
                Some("with server_tls_ca_file \"system\" needs server_tls_sslmode \"verify-full\"")
            }
            _ => None,
        }
    }
}
