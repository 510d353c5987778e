//! Files with secrets that others than their owner can read: told, as PostgreSQL does of keys.

use super::rules;
use crate::cli::Source;
use crate::config::Config;
use crate::config::load::read_named;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// One warning for each such file.
pub(super) fn warnings(config: &Config, source: Option<&Path>) -> Vec<String> {
    let mut files: BTreeMap<PathBuf, &str> = BTreeMap::new();
    let mut add = |path: Option<&Path>, what| files.extend(path.map(|path| (path.to_owned(), what)));
    let mut databases = config.databases.values().chain(&config.fallback);
    let has_passwords = config.users.values().any(|u| u.password.is_some() || u.second_password.is_some())
        || databases.any(|database| database.password.is_some())
        || config.general.auth_ldap_options.is_some();
    add(source.filter(|_| has_passwords), "the configuration has passwords and");
    add(config.general.auth_file.as_deref(), "auth_file");
    add(config.client_tls().files().map(|(_, key)| key), "client_tls_key_file");
    for path in rules::sources(config).iter().filter(|path| has_password(path)) {
        add(Some(path), "ldapbindpasswd in a rule");
    }
    for path in config.server_password_files() {
        add(Some(path), "server_password_file");
    }
    for tls in config.all_server_tls() {
        add(tls.key_file.as_deref(), "server_tls_key_file");
    }
    files.iter().filter(|(path, _)| is_open(path)).map(|(path, what)| told(path, what)).collect()
}

/// The same of where a configuration came from.
pub(super) fn warnings_of(config: &Config, source: &Source) -> Vec<String> {
    match source {
        Source::File(path) => warnings(config, Some(path)),
        Source::Url(_) => warnings(config, None),
    }
}

/// Whether a file of rules has one for a directory. What can't be read is told elsewhere.
fn has_password(path: &Path) -> bool {
    const OPTION: &str = "ldapbindpasswd";
    read_named(path).is_ok_and(|text| text.windows(OPTION.len()).any(|part| part == OPTION.as_bytes()))
}

fn told(path: &Path, what: &str) -> String {
    format!("{}: {what} can be read or written by others than its owner; chmod 600 it", path.display())
}

fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| is_too_open(file.mode(), file.uid()))
}

/// As PostgreSQL judges its keys: a file of root's may be readable by a group.
fn is_too_open(mode: u32, owner: u32) -> bool {
    let others = if owner == 0 { 0o027 } else { 0o077 };
    mode & others != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights() {
        for (mode, owner, expected) in [
            (0o100_600, 1000, false),
            (0o100_400, 1000, false),
            (0o100_640, 1000, true),
            (0o100_604, 1000, true),
            (0o100_640, 0, false),
            (0o100_644, 0, true),
            (0o100_660, 0, true),
        ] {
            assert_eq!(is_too_open(mode, owner), expected, "{mode:o} {owner}");
        }
    }

    #[test]
    fn files_with_secrets_are_told() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let text = format!(
            "[pgweir]\nauth_file = {:?}\n[databases.a]\n[users.u]\npassword = 'x'",
            path("users").display().to_string()
        );
        for (name, mode) in [("conf", 0o644), ("users", 0o600)] {
            std::fs::write(path(name), "").unwrap();
            std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let (config, _) = crate::config::parse(&text, "t").unwrap();
        let told = warnings(&config, Some(&path("conf")));
        assert!(told.len() == 1 && told[0].contains("conf: the configuration has passwords"), "{told:?}");
        std::fs::set_permissions(path("users"), std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(warnings(&config, Some(&path("conf"))).len(), 2);
        assert_eq!(warnings(&config, None).len(), 1);
        let rule = "host all all all ldap ldapserver=a ldapbasedn=x ldapbinddn=y ldapbindpasswd=z\n";
        for (name, text) in [("rules", "include more\n"), ("more", rule)] {
            std::fs::write(path(name), text).unwrap();
            std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        let text = format!(
            "[pgweir]\nauth_type = 'hba'\nauth_hba_file = {:?}\n[databases.a]",
            path("rules").display().to_string()
        );
        let (config, _) = crate::config::parse(&text, "t").unwrap();
        let told = warnings(&config, None);
        assert!(told.len() == 1 && told[0].contains("more: ldapbindpasswd in a rule can"), "{told:?}");
        let text =
            "[pgweir]\nauth_type = 'ldap'\nauth_ldap_options = 'ldapserver=a ldapprefix=x'\n[databases.a]";
        let (config, _) = crate::config::parse(text, "t").unwrap();
        assert_eq!(warnings(&config, Some(&path("conf"))).len(), 1);
        let (config, _) = crate::config::parse("[databases.a]", "t").unwrap();
        assert!(warnings(&config, Some(&path("conf"))).is_empty(), "it has no secrets");
    }
}
