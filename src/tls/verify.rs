//! How far a server's certificate is verified, by `server_tls_sslmode`.

use super::der::{self, SEQUENCE, expect};
use super::distrust::{Distrust, Source};
use super::{error, public_key, version_1};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// Verifies what the mode asks for. That the server has the key of its certificate is always verified.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) provider: Arc<CryptoProvider>,
    /// Who may have signed, and where they are from; `None`: anybody, also the server itself.
    pub(super) roots: Option<(RootCertStore, Source)>,
    /// Whether the certificate has to be for the host.
    pub(super) by_name: ByName,
}

/// Whether a certificate has to be for the host that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByName {
    /// It has.
    Yes,
    /// It may be for any.
    No,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some((roots, source)) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let algorithms = self.provider.signature_verification_algorithms.all;
        if let Some(certificate) = of_version_1(end_entity, *source) {
            certificate.verify(roots, now, algorithms)?;
            if self.by_name == ByName::Yes {
                certificate.verify_name(server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let verified =
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms);
        match verified {
            // Told behind the look at its dates. Whoever has the key of a CA may be anybody that CA may sign for.
            Err(Error::InvalidCertificate(why)) if error::is_of_a_ca(&why) && is_among(end_entity, roots) => {
            }
            Err(Error::InvalidCertificate(why)) if is_distrust(&why, end_entity) => {
                return Err(Distrust::of(end_entity, *source));
            }
            verified => verified?,
        }
        if self.by_name == ByName::Yes {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        if self.can_be_read(cert) {
            verify_tls12_signature(message, cert, dss, algorithms)
        } else {
            verify_by_key(message, key_of(cert)?, dss, algorithms)
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        if self.can_be_read(cert) {
            verify_tls13_signature(message, cert, dss, algorithms)
        } else {
            let key = SubjectPublicKeyInfoDer::from(key_of(cert)?);
            verify_tls13_signature_with_raw_key(message, &key, dss, algorithms)
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl Verifier {
    /// Whether rustls itself can read a certificate: where one is verified it is of version 3, or has been verified by us.
    fn can_be_read(&self, certificate: &CertificateDer<'_>) -> bool {
        self.roots.as_ref().is_some_and(|(_, source)| of_version_1(certificate, *source).is_none())
    }
}

/// No public CA makes such certificates.
fn of_version_1<'a>(
    certificate: &'a CertificateDer<'_>,
    trusted: Source,
) -> Option<version_1::Certificate<'a>> {
    if trusted == Source::File { version_1::read(certificate) } else { None }
}

/// The key of a certificate that may be of any kind and version: where nobody asks who the server is, all that counts is its key. What
/// rustls can read is of version 3 only, and `openssl x509 -req` has long made others.
fn key_of<'a>(certificate: &'a CertificateDer<'_>) -> Result<&'a [u8], Error> {
    public_key::of(certificate).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// What rustls does for TLS 1.2, by the key alone.
fn verify_by_key(
    message: &[u8],
    key: &[u8],
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let refuse = |why| Error::InvalidCertificate(why);
    let (key, _) = expect(key, SEQUENCE).ok_or_else(|| refuse(CertificateError::BadEncoding))?;
    let (kind, bits) = public_key::parts(key).ok_or_else(|| refuse(CertificateError::BadEncoding))?;
    let candidates = algorithms.mapping.iter().filter(|(scheme, _)| *scheme == dss.scheme);
    let fitting = candidates.flat_map(|(_, all)| *all).find(|one| one.public_key_alg_id().as_ref() == kind);
    let valid = fitting.is_some_and(|one| one.verify_signature(bits, message, dss.signature()).is_ok());
    valid.then(HandshakeSignatureValid::assertion).ok_or_else(|| refuse(CertificateError::BadSignature))
}

/// Whether nobody who is trusted has signed it; not so of a CA's certificate that another has signed, which is no server's.
fn is_distrust(why: &CertificateError, certificate: &CertificateDer<'_>) -> bool {
    let is_its_own = || der::is_for_its_own_issuer(certificate) == Some(true);
    *why == CertificateError::UnknownIssuer || error::is_of_a_ca(why) && is_its_own()
}

/// Whether the certificate's key is that of one of these, as where `openssl req -x509` made a certificate that is its own CA.
fn is_among(certificate: &CertificateDer<'_>, roots: &RootCertStore) -> bool {
    let key = public_key::of(certificate).and_then(|key| expect(key, SEQUENCE));
    key.is_some_and(|(key, _)| roots.roots.iter().any(|root| &*root.subject_public_key_info == key))
}
