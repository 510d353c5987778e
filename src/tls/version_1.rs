//! Certificates of X.509 version 1, which webpki doesn't read: a server's, signed by a CA of `server_tls_ca_file` itself. They have no
//! extensions, so there is nothing in one that could forbid what it is used for; as libpq with OpenSSL has it, they are good for any
//! purpose, and for the host in their common name.

use super::date;
use super::der::{BIT_STRING, INTEGER, SEQUENCE, expect};
use super::distrust::{Distrust, Source};
use super::subject;
use rustls::pki_types::{ServerName, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// What counts of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Certificate<'a> {
    whole: &'a [u8],
    /// What the signature is of.
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    validity: &'a [u8],
}

/// `None`: it is no certificate, or not of that version. Strict, so that what a later version would have to heed is never passed over.
pub(super) fn read(whole: &[u8]) -> Option<Certificate<'_>> {
    let parts = all_of(whole, SEQUENCE)?;
    let (fields, behind) = expect(parts, SEQUENCE)?;
    let signed = &parts[..parts.len() - behind.len()];
    let (algorithm, behind) = expect(behind, SEQUENCE)?;
    let signature = all_of(behind, BIT_STRING)?.strip_prefix(&[0])?;
    let (_serial, rest) = expect(fields, INTEGER)?;
    let (same_algorithm, rest) = expect(rest, SEQUENCE)?;
    let (issuer, rest) = expect(rest, SEQUENCE)?;
    let (validity, rest) = expect(rest, SEQUENCE)?;
    let (_subject, rest) = expect(rest, SEQUENCE)?;
    let _key = all_of(rest, SEQUENCE)?;
    (algorithm == same_algorithm).then_some(Certificate {
        whole,
        signed,
        algorithm,
        signature,
        issuer,
        validity,
    })
}

fn all_of(der: &[u8], tag: u8) -> Option<&[u8]> {
    expect(der, tag).filter(|(_, behind)| behind.is_empty()).map(|(contents, _)| contents)
}

impl Certificate<'_> {
    /// That one of these has signed it, and that it is valid.
    ///
    /// # Errors
    /// It isn't.
    pub(super) fn verify(
        &self,
        roots: &RootCertStore,
        now: UnixTime,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), Error> {
        self.verify_dates(now)?;
        // Names that a CA is bound to are for webpki to judge.
        let named =
            |root: &&TrustAnchor<'_>| &*root.subject == self.issuer && root.name_constraints.is_none();
        let mut issuers = roots.roots.iter().filter(named).peekable();
        if issuers.peek().is_none() {
            return Err(Distrust::of(self.whole, Source::File));
        }
        let known: Vec<_> =
            algorithms.iter().filter(|one| one.signature_alg_id().as_ref() == self.algorithm).collect();
        if known.is_empty() {
            let why = CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: self.algorithm.to_vec(),
                supported_algorithms: Vec::new(),
            };
            return Err(why.into());
        }
        let has_signed = |root: &TrustAnchor<'_>| {
            super::public_key::parts(&root.subject_public_key_info).is_some_and(|(kind, bits)| {
                let mut fitting = known.iter().filter(|one| one.public_key_alg_id().as_ref() == kind);
                fitting.any(|one| one.verify_signature(bits, self.signed, self.signature).is_ok())
            })
        };
        if issuers.any(has_signed) { Ok(()) } else { Err(CertificateError::BadSignature.into()) }
    }

    fn verify_dates(&self, now: UnixTime) -> Result<(), Error> {
        let (from, until) = date::validity(self.validity).ok_or(CertificateError::BadEncoding)?;
        let time = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if time < from {
            Err(CertificateError::NotValidYet.into())
        } else if time > until {
            Err(CertificateError::Expired.into())
        } else {
            Ok(())
        }
    }

    /// That it is for this host.
    ///
    /// # Errors
    /// It is for another, or for none.
    pub(super) fn verify_name(&self, host: &ServerName<'_>) -> Result<(), Error> {
        let name = subject::common_name(self.whole);
        if name.is_some_and(|name| is_for(name, host)) {
            return Ok(());
        }
        let presented = name.map(|name| format!("CommonName({name:?})")).into_iter().collect();
        Err(CertificateError::NotValidForNameContext { expected: host.to_owned(), presented }.into())
    }
}

/// As libpq: letters of any case, and an asterisk stands for what is before the first dot.
fn is_for(name: &str, host: &ServerName<'_>) -> bool {
    match host {
        ServerName::IpAddress(address) => name.parse() == Ok(IpAddr::from(*address)),
        host => {
            let host = host.to_str();
            let beyond = |name: &str| name.find('.').map(|dot| name[dot..].to_ascii_lowercase());
            match name.strip_prefix('*') {
                Some(rest) if rest.len() > 1 => {
                    !host.starts_with('.') && beyond(&host) == Some(rest.to_ascii_lowercase())
                }
                Some(_) => false,
                None => host.eq_ignore_ascii_case(name),
            }
        }
    }
}
