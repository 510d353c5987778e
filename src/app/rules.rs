//! The rules of auth_hba_file and auth_ident_file.

use super::error::AppError;
use crate::auth::hba::{Encryption, Files, Rules};
use crate::config::load::read_named;
use crate::config::{AuthType, Config};
use rustls::ClientConfig;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Those of the disk.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_named(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
    }
}

/// Everything on the disk that the rules come from.
pub(super) fn sources(config: &Config) -> BTreeSet<PathBuf> {
    let general = &config.general;
    match (general.auth_type, &general.auth_hba_file) {
        (AuthType::Hba, Some(hba)) => Rules::sources(&Disk, hba, general.auth_ident_file.as_deref()),
        _ => BTreeSet::new(),
    }
}

/// TLS with the directories and issuers of the rules, if one is asked by it.
pub(super) fn directory_tls(rules: &Rules) -> Result<Option<Arc<ClientConfig>>, AppError> {
    if !rules.asks_by_tls() {
        return Ok(None);
    }
    Ok(Some(crate::tls::for_directories()?))
}

/// Reads both files if auth_type goes by them. Blocks; meant for start and reload.
pub(super) fn rules(config: &Config) -> Result<Rules, AppError> {
    let general = &config.general;
    if let (AuthType::Ldap, Some(options)) = (general.auth_type, &general.auth_ldap_options) {
        return Ok(Rules::of_method("auth_ldap_options", "ldap", options.expose())?);
    }
    if let (AuthType::OAuth, Some(options)) = (general.auth_type, &general.auth_oauth_options) {
        return Ok(Rules::of_method("auth_oauth_options", "oauth", options)?);
    }
    if general.auth_type == AuthType::Pam {
        return Ok(Rules::of_method("auth_type", "pam", "")?);
    }
    let (AuthType::Hba, Some(hba)) = (general.auth_type, &general.auth_hba_file) else {
        return Ok(Rules::default());
    };
    let tls = config.client_tls();
    let encryption = match (tls.files(), tls.trusted()) {
        (None, _) => Encryption::None,
        (Some(_), None) => Encryption::Anonymous,
        (Some(_), Some(_)) => Encryption::Verifying,
    };
    let (rules, warnings) = Rules::read(&Disk, hba, general.auth_ident_file.as_deref(), encryption)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(rules)
}
