//! The rules of auth_hba_file and auth_ident_file.

use super::error::AppError;
use crate::auth::hba::{Encryption, Files, Place, Problem, Rules};
use crate::auth::oauth::KeySet;
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

/// Reads both files if auth_type goes by them. Also what can't have been meant, though it is allowed. Blocks; meant for start
/// and reload.
pub(super) fn rules(config: &Config) -> Result<(Rules, Vec<Problem>), AppError> {
    let (rules, mut warnings) = read(config)?;
    warnings.extend(keyless(&rules));
    Ok((rules, warnings))
}

fn read(config: &Config) -> Result<(Rules, Vec<Problem>), AppError> {
    let general = &config.general;
    let alone = |setting, method, options| Ok((Rules::of_method(setting, method, options)?, Vec::new()));
    // Also of no use yet they are to be right: who turns to that auth_type later would be surprised.
    if let (true, Some(options)) = (general.auth_type != AuthType::Ldap, &general.auth_ldap_options) {
        Rules::of_method("auth_ldap_options", "ldap", options.expose())?;
    }
    if let (true, Some(options)) = (general.auth_type != AuthType::OAuth, &general.auth_oauth_options) {
        Rules::of_method("auth_oauth_options", "oauth", options)?;
    }
    if let (AuthType::Ldap, Some(options)) = (general.auth_type, &general.auth_ldap_options) {
        return alone("auth_ldap_options", "ldap", options.expose());
    }
    if let (AuthType::OAuth, Some(options)) = (general.auth_type, &general.auth_oauth_options) {
        let rules = Rules::of_method("auth_oauth_options", "oauth", options)?;
        // With Unix sockets somebody can.
        let all_tcp = general.unix_socket_dir.is_none();
        let warnings = if all_tcp { rules.futile(encryption(config)) } else { Vec::new() };
        return Ok((rules, warnings));
    }
    if general.auth_type == AuthType::Pam {
        return alone("auth_type", "pam", "");
    }
    let (AuthType::Hba, Some(hba)) = (general.auth_type, &general.auth_hba_file) else {
        return Ok((Rules::default(), Vec::new()));
    };
    Ok(Rules::read(&Disk, hba, general.auth_ident_file.as_deref(), encryption(config))?)
}

fn encryption(config: &Config) -> Encryption {
    let tls = config.client_tls();
    match (tls.files(), tls.trusted()) {
        (None, _) => Encryption::None,
        (Some(_), None) => Encryption::Anonymous,
        (Some(_), Some(_)) => Encryption::Verifying,
    }
}

/// One for each file of keys that is of no use now. It may be by the time of a login: all are read anew then.
fn keyless(rules: &Rules) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    let told = |(place, path): (&Place, &Path)| {
        if !seen.insert(path.to_owned()) {
            return None;
        }
        let why = match read_named(path) {
            Ok(text) => KeySet::read(&text).and_then(|keys| keys.has_any()).err()?.to_string(),
            Err(error) => format!("can't be read: {error}"),
        };
        Some(Problem { place: place.clone(), what: format!("jwks={}: {why}", path.display()) })
    };
    rules.key_files().filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn warnings(text: &str) -> Vec<String> {
        let (config, _) = parse(text, "t").unwrap_or_else(|e| panic!("{e}"));
        let (_, warnings) = rules(&config).unwrap_or_else(|e| panic!("{e}"));
        warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn options_of_another_auth_type_are_read() {
        for setting in [
            "auth_ldap_options = 'ldapserver=a nonsense=b'",
            "auth_oauth_options = 'issuer=https://i nonsense=b'",
        ] {
            let (config, _) =
                parse(&format!("[pgweir]\n{setting}\n[databases.a]"), "t").unwrap_or_else(|e| panic!("{e}"));
            let error = rules(&config).map(|_| ()).expect_err("a mistake");
            assert!(error.to_string().contains("nonsense"), "{error}");
        }
    }

    #[test]
    fn tokens_that_nobody_can_send_are_told() {
        let text = |more: &str, sockets: &str| {
            format!(
                "[pgweir]\nauth_type = 'oauth'\nunix_socket_dir = '{sockets}'\nauth_oauth_options = 'issuer=https://i scope=a \
                 audience=p jwks=https://i/k {more}'\n[databases.a]"
            )
        };
        let told = warnings(&text("", ""));
        assert!(told.len() == 1 && told[0].contains("nobody can log in by oauth over TCP"), "{told:?}");
        for (more, sockets) in [("cleartext=loopback", ""), ("", "/tmp")] {
            assert_eq!(warnings(&text(more, sockets)), [""; 0]);
        }
    }

    #[test]
    fn files_of_keys_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let rule = "local all all oauth issuer=https://i scope=a audience=p jwks=keys.json\n";
        std::fs::write(path("hba"), rule.repeat(2)).unwrap();
        let text = format!("[pgweir]\nauth_type = 'hba'\nauth_hba_file = {:?}\n[databases.a]", path("hba"));
        let told = warnings(&text);
        let expected = format!("{}:1: jwks={}: can't be read: ", path("hba"), path("keys.json"));
        assert!(told.len() == 1 && told[0].starts_with(&expected), "{told:?}");
        std::fs::write(path("keys.json"), "{}").unwrap();
        let told = warnings(&text);
        assert!(told.len() == 1 && !told[0].contains("can't be read"), "{told:?}");
        let key = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        std::fs::write(path("keys.json"), key).unwrap();
        assert_eq!(warnings(&text), [""; 0]);
    }
}
