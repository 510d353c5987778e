//! A CA of the test's own and certificates of it, as files that PostgreSQL and pgweir can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

use super::process;

/// Files of certificates, gone when dropped.
pub struct Certificates {
    dir: tempfile::TempDir,
    ca: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What a certificate is like.
pub struct Kind {
    pub names: Vec<String>,
    pub subject: String,
    pub expired: bool,
    pub authority: bool,
    pub key: KeyPair,
}

impl Kind {
    /// For these hosts; P-256 and SHA-256.
    pub fn of(names: &[&str]) -> Self {
        Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            subject: names.first().map_or("somebody", |name| name).to_owned(),
            expired: false,
            authority: false,
            key: KeyPair::generate().expect("a key"),
        }
    }

    #[must_use]
    pub fn expired(self) -> Self {
        Self { expired: true, ..self }
    }

    #[must_use]
    pub fn authority(self) -> Self {
        Self { authority: true, ..self }
    }

    #[must_use]
    pub fn with_key(self, key: KeyPair) -> Self {
        Self { key, ..self }
    }
}

impl Certificates {
    /// A new CA; its certificate is in [`Self::ca`].
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("pgweir-tls-").tempdir().expect("a temporary directory");
        process::give_to_unprivileged(dir.path());
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("CA of {}", dir.path().display());
        params.distinguished_name.push(DnType::CommonName, name);
        let own = params.self_signed(&key).expect("a certificate");
        fs::write(dir.path().join("ca.pem"), own.pem()).expect("our directory");
        Self { dir, ca: Issuer::new(params, key) }
    }

    /// The certificate of the CA.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A certificate of the CA, for hosts and for clients.
    pub fn issue(&self, file: &str, kind: &Kind) -> Files {
        let mut params = CertificateParams::new(kind.names.clone()).expect("names");
        params.distinguished_name.push(DnType::CommonName, kind.subject.as_str());
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if kind.expired {
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let certificate = params.signed_by(&kind.key, &self.ca).expect("a certificate");
        self.write(file, &certificate.pem(), &kind.key)
    }

    /// Puts both into files, in place of those of that name.
    pub fn write(&self, file: &str, certificate: &str, key: &KeyPair) -> Files {
        let files =
            Files { certificate: self.path(&format!("{file}.pem")), key: self.path(&format!("{file}.key")) };
        fs::write(&files.certificate, certificate).expect("our directory");
        fs::write(&files.key, key.serialize_pem()).expect("our directory");
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).expect("our file");
        process::give_to_unprivileged(&files.key);
        files
    }
}

impl Files {
    /// As settings of PostgreSQL.
    pub fn settings(&self) -> [String; 3] {
        let setting = |name: &str, path: &Path| format!("{name}={}", path.display());
        ["ssl=on".to_owned(), setting("ssl_cert_file", &self.certificate), setting("ssl_key_file", &self.key)]
    }
}

/// A path as the configuration wants it.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

impl Certificates {
    /// A certificate of nobody but itself.
    pub fn issue_signed_by_itself(&self, file: &str, kind: &Kind) -> Files {
        let mut params = CertificateParams::new(kind.names.clone()).expect("names");
        if kind.authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        if kind.expired {
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        self.write(file, &params.self_signed(&kind.key).expect("a certificate").pem(), &kind.key)
    }

    /// The same with the files among those of `other`, who outlives this CA.
    pub fn issue_in(self, other: &Self, file: &str, kind: &Kind) -> Files {
        let files = self.issue(file, kind);
        let certificate = fs::read_to_string(files.certificate).expect("just written");
        other.write(file, &certificate, &kind.key)
    }
}
