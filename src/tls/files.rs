//! Certificates and keys from PEM files. Blocks; meant for start and reload.

use super::{FileError, error, provider};
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A setting's name and the file it names.
pub(super) type Named<'a> = (&'static str, &'a Path);

pub(super) fn refuse((setting, path): Named<'_>, why: impl ToString) -> FileError {
    FileError { setting, path: path.to_owned(), why: why.to_string() }
}

fn read(file: Named<'_>) -> Result<Zeroizing<Vec<u8>>, FileError> {
    crate::config::load::read_named(file.1).map(Zeroizing::new).map_err(|e| refuse(file, e))
}

pub(super) fn certificates(file: Named<'_>) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match all {
        Ok(all) if all.is_empty() => Err(refuse(file, "no certificate in PEM form is in it")),
        Ok(all) => Ok(all),
        Err(e) => Err(refuse(file, malformed(&e))),
    }
}

/// What is wrong with a file that should be PEM.
fn malformed(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section of it has no end (-----END …-----)".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a section of it begins with a malformed line".to_owned(),
        pem::Error::Base64Decode(why) => format!("a section of it is no base64: {why}"),
        other => other.to_string(),
    }
}

/// Whoever is shown one that can't be read gives up, whatever it verifies. The first is looked at with its key.
fn check_issuers(file: Named<'_>, chain: &[CertificateDer<'_>]) -> Result<(), FileError> {
    for (number, certificate) in chain.iter().enumerate().skip(1) {
        match ParsedCertificate::try_from(certificate) {
            Ok(_) => {}
            Err(rustls::Error::InvalidCertificate(why)) if error::is_version_1(&why) => {}
            Err(rustls::Error::InvalidCertificate(why)) => {
                let why = error::certificate(&why);
                return Err(refuse(file, format!("certificate {} in it can't be read: {why}", number + 1)));
            }
            Err(e) => return Err(refuse(file, e)),
        }
    }
    Ok(())
}

/// A certificate, those that lead to its CA, and its key.
pub(super) fn identity(certificate: Named<'_>, key: Named<'_>) -> Result<Arc<CertifiedKey>, FileError> {
    let chain = certificates(certificate)?;
    check_issuers(certificate, &chain)?;
    let text = read(key)?;
    let der = PrivateKeyDer::from_pem_slice(&text).map_err(|e| match e {
        pem::Error::NoItemsFound if text.windows(9).any(|w| w == b"ENCRYPTED") => {
            refuse(key, "the key is encrypted; take the passphrase off, nobody is there to type it")
        }
        pem::Error::NoItemsFound => refuse(key, "no private key in PEM form is in it"),
        e => refuse(key, malformed(&e)),
    })?;
    let pair = CertifiedKey::from_der(chain, der, &provider()).map_err(|e| match e {
        rustls::Error::InconsistentKeys(_) => {
            refuse(key, format!("it is not the key of the certificate in {}", certificate.1.display()))
        }
        rustls::Error::InvalidCertificate(why) => refuse(certificate, error::certificate(&why)),
        e => refuse(key, e),
    })?;
    Ok(Arc::new(pair))
}

/// The CAs in a file.
pub(super) fn roots(file: Named<'_>) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|e| match e {
            rustls::Error::InvalidCertificate(why) => refuse(file, error::certificate(&why)),
            e => refuse(file, e),
        })?;
    }
    Ok(roots)
}

/// The CAs this machine trusts.
pub(super) fn system_roots() -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Some systems have certificates that can't be read; those that can are what counts.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(
            || "this machine has no CA certificates; install ca-certificates".to_owned(),
            ToString::to_string,
        );
        return Err(FileError { setting: "server_tls_ca_file", path: "system".into(), why });
    }
    Ok(roots)
}
