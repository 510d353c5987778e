//! TLS towards servers.

use super::channel::Channel;
use super::distrust::Source;
use super::error::TlsError;
use super::verify::{ByName, Verifier};
use super::{ALPN, FileError, files, provider, time, versions};
use crate::clock::Instant;
use crate::config::{Roots, ServerTls, SslMode, SslNegotiation};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Begins TLS with servers, by the settings it was made from.
#[derive(Debug)]
pub struct Connector {
    mode: SslMode,
    negotiation: SslNegotiation,
    config: Arc<ClientConfig>,
    failures: Mutex<HashMap<String, Failure>>,
    /// What a reload has made of the same settings.
    successor: OnceLock<Arc<Self>>,
}

/// Between two words about one server that is spoken to in clear.
const SAY_AGAIN: Duration = Duration::from_secs(10 * 60);

#[derive(Debug)]
struct Failure {
    said: Instant,
    why: String,
}

impl Connector {
    /// Reads the files of the settings. Blocks; meant for start and reload. `None` when there is to be no TLS.
    ///
    /// # Errors
    /// A file that can't be used, and why.
    pub fn new(settings: &ServerTls) -> Result<Option<Self>, FileError> {
        if settings.sslmode == SslMode::Disable {
            return Ok(None);
        }
        let roots = match (&settings.ca, settings.sslmode.verifies()) {
            // Read in any case: a file that can't be used is told before somebody relies on it.
            (Some(Roots::File(path)), verifies) => {
                let roots = files::roots(("server_tls_ca_file", path))?;
                verifies.then_some((roots, Source::File))
            }
            (_, false) => None,
            (Some(Roots::System) | None, true) => Some((files::system_roots()?, Source::System)),
        };
        let by_name = if settings.sslmode == SslMode::VerifyFull { ByName::Yes } else { ByName::No };
        let verifier: Arc<dyn ServerCertVerifier> =
            Arc::new(Verifier { provider: provider(), roots, by_name });
        let builder = ClientConfig::builder_with_details(provider(), Arc::new(time::Clock))
            .with_protocol_versions(versions(settings.protocols))
            .expect("the provider has ciphers for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&settings.cert_file, &settings.key_file) {
            (Some(certificate), Some(key)) => {
                let certificate = ("server_tls_cert_file", certificate.as_path());
                let identity = files::identity(certificate, ("server_tls_key_file", key))?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        // PostgreSQL resumes no sessions.
        config.resumption = Resumption::disabled();
        Ok(Some(Self {
            mode: settings.sslmode,
            negotiation: settings.negotiation,
            config: Arc::new(config),
            failures: Mutex::default(),
            successor: OnceLock::new(),
        }))
    }

    /// From now on `newer` stands for these settings, their files having been read again.
    pub(super) fn is_followed_by(&self, newer: &Arc<Self>) {
        // Only one reload replaces it; what comes later replaces that one.
        let _ = self.successor.set(Arc::clone(newer));
    }

    /// What the last reload has made of these settings: whom to trust now, with a server that may have another certificate by now.
    pub fn latest(self: &Arc<Self>) -> Arc<Self> {
        let mut latest = self;
        while let Some(newer) = latest.successor.get() {
            latest = newer;
        }
        Arc::clone(latest)
    }

    /// A handshake with this server has failed, and TLS is only preferred; whether it is time to say so (again).
    pub fn note_failure(&self, server: &str, why: &str, now: Instant) -> bool {
        let mut failures = self.failures.lock();
        let before = failures.get(server).map(|failure| failure.said);
        let is_time = before.is_none_or(|said| now.saturating_duration_since(said) >= SAY_AGAIN);
        let said = before.filter(|_| !is_time).unwrap_or(now);
        failures.insert(server.to_owned(), Failure { said, why: why.to_owned() });
        is_time
    }

    /// Why the last handshake with this server that failed did, if one has.
    pub fn failure(&self, server: &str) -> Option<String> {
        self.failures.lock().get(server).map(|failure| failure.why.clone())
    }

    /// Whether a server without TLS won't do.
    pub fn is_required(&self) -> bool {
        self.mode.is_required()
    }

    /// Whether TLS begins at once, without asking for it.
    pub fn is_direct(&self) -> bool {
        self.negotiation == SslNegotiation::Direct
    }

    /// A connection to `host` that has not begun.
    ///
    /// # Errors
    /// The host's name can't be in a certificate.
    pub fn channel(&self, host: &str) -> Result<Channel, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?;
        Ok(Channel::client(UnbufferedClientConnection::new(Arc::clone(&self.config), name)?))
    }
}
