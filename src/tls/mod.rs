//! TLS without sockets: what a connection is made with, and the machine that turns plaintext into ciphertext and back.

mod acceptor;
pub mod channel;
pub mod connector;
mod date;
mod der;
mod distrust;
mod end_point;
mod error;
pub mod expiry;
mod files;
mod public_key;
mod status;
mod subject;
#[cfg(test)]
mod tests;
mod time;
mod verify;
mod version_1;

pub use acceptor::Acceptor;
pub use channel::Channel;
pub use connector::Connector;
pub use error::{FileError, TlsError};

use crate::config::{Config, Database, Roots, ServerTls, SslMode, TlsProtocols};
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, LazyLock};

/// The name of PostgreSQL's protocol in ALPN.
pub const ALPN: &[u8] = b"postgresql";

/// All that the configuration says of TLS, its files read.
#[derive(Debug)]
pub struct Tls {
    acceptor: Option<Arc<Acceptor>>,
    connectors: HashMap<ServerTls, Option<Arc<Connector>>>,
}

/// Settings that were not among those of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

impl Tls {
    /// Reads the files. Blocks; meant for start and reload.
    ///
    /// # Errors
    /// The first file that can't be used, and why.
    pub fn new(config: &Config) -> Result<Self, FileError> {
        let acceptor = Acceptor::new(&config.client_tls())?.map(Arc::new);
        let mut connectors = HashMap::new();
        // Perhaps no database goes by it.
        let general = config.server_tls(&Database::default());
        if let (Some(Roots::File(path)), true) = (&general.ca, general.sslmode != SslMode::Disable) {
            files::roots(("server_tls_ca_file", path))?;
        }
        for settings in config.all_server_tls() {
            if let Entry::Vacant(place) = connectors.entry(settings) {
                let connector = Connector::new(place.key())?.map(Arc::new);
                place.insert(connector);
            }
        }
        Ok(Self { acceptor, connectors })
    }

    /// Tells what was made before that this counts now. For a reload.
    pub fn follows(&self, before: &Self) {
        for (settings, older) in &before.connectors {
            if let (Some(older), Some(Some(newer))) = (older, self.connectors.get(settings)) {
                older.is_followed_by(newer);
            }
        }
    }

    /// What answers clients that want TLS; `None`: they are told that there is none.
    pub fn acceptor(&self) -> Option<Arc<Acceptor>> {
        self.acceptor.clone()
    }

    /// What TLS is begun with by these settings; `None`: there is to be none.
    ///
    /// # Errors
    /// The configuration had no such settings.
    pub fn connector(&self, settings: &ServerTls) -> Result<Option<Arc<Connector>>, Unknown> {
        self.connectors.get(settings).cloned().ok_or(Unknown)
    }
}

/// TLS with servers of another kind: of the CAs this machine trusts, for the name they are asked by. Blocks.
///
/// # Errors
/// There are no such CAs.
pub fn for_directories() -> Result<Arc<rustls::ClientConfig>, FileError> {
    let config = rustls::ClientConfig::builder_with_details(provider(), Arc::new(time::Clock))
        .with_protocol_versions(versions(TlsProtocols::Secure))
        .expect("the provider has ciphers for TLS 1.2 and 1.3")
        .with_root_certificates(files::system_roots()?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

fn versions(protocols: TlsProtocols) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match protocols {
        TlsProtocols::Secure => &BOTH,
        TlsProtocols::V13 => &BOTH[..1],
        TlsProtocols::V12 => &BOTH[1..],
    }
}
