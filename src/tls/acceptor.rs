//! TLS towards clients.

use super::channel::Channel;
use super::end_point;
use super::error::TlsError;
use super::{ALPN, FileError, files, provider, time, versions};
use crate::auth::scram::messages::EndPoint;
use crate::config::{ClientTls, SslMode};
use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::{
    NoClientAuth, NoServerSessionStorage, UnbufferedServerConnection, WebPkiClientVerifier,
    danger::ClientCertVerifier,
};
use rustls::sign::SingleCertAndKey;
use std::sync::Arc;

/// Answers clients that want TLS, by the settings it was made from.
#[derive(Debug)]
pub struct Acceptor {
    mode: SslMode,
    config: Arc<ServerConfig>,
    end_point: Option<EndPoint>,
    verifies: bool,
}

impl Acceptor {
    /// Reads the files of the settings. Blocks; meant for start and reload. `None` when there is to be no TLS.
    ///
    /// # Errors
    /// A file that can't be used, and why.
    pub fn new(settings: &ClientTls) -> Result<Option<Self>, FileError> {
        let Some((certificate, key)) = settings.files() else { return Ok(None) };
        let identity = files::identity(("client_tls_cert_file", certificate), ("client_tls_key_file", key))?;
        let end_point = identity.cert.first().and_then(|certificate| end_point::of(certificate));
        let verifies = settings.trusted().is_some();
        let verifier: Arc<dyn ClientCertVerifier> = match settings.trusted() {
            None => {
                // Read all the same, as a server's.
                settings.ca_file().map(|path| files::roots(("client_tls_ca_file", path))).transpose()?;
                Arc::new(NoClientAuth)
            }
            Some(trusted) => {
                let file = ("client_tls_ca_file", trusted.ca_file);
                let roots = Arc::new(files::roots(file)?);
                let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
                // One that is shown is verified all the same.
                let builder = if trusted.is_required { builder } else { builder.allow_unauthenticated() };
                builder.build().map_err(|e| files::refuse(file, e))?
            }
        };
        let mut config = ServerConfig::builder_with_details(provider(), Arc::new(time::Clock))
            .with_protocol_versions(versions(settings.protocols))
            .expect("the provider has ciphers for TLS 1.2 and 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        // A resumed session's certificate isn't verified again: it would be good for longer than it is valid.
        if !verifies && time::is_sane() {
            // What a session needs to be resumed is in the client's hands, encrypted; the keys change with every reload.
            config.send_tls13_tickets = 1;
            let keys = Ticketer::new().map_err(|e| {
                files::refuse(("client_tls_key_file", key), format!("no randomness for tickets: {e}"))
            })?;
            config.ticketer = Arc::new(time::Tickets(keys));
        }
        Ok(Some(Self { mode: settings.sslmode, config: Arc::new(config), end_point, verifies }))
    }

    /// Whether there is no session without TLS.
    pub fn is_required(&self) -> bool {
        self.mode.is_required()
    }

    /// Whether there is no session without a client's certificate.
    pub fn requires_certificate(&self) -> bool {
        self.mode.verifies()
    }

    /// Whether clients are asked for certificates.
    pub fn verifies(&self) -> bool {
        self.verifies
    }

    /// A connection that has not begun.
    ///
    /// # Errors
    /// Not with the settings there are.
    pub fn channel(&self) -> Result<Channel, TlsError> {
        let connection = UnbufferedServerConnection::new(Arc::clone(&self.config))?;
        Ok(Channel::server(connection, self.end_point, self.verifies))
    }
}
