//! A command in its asker's words, for logs: without what may be secret, and cut where it is long. Pure.

use super::command::Command;
use crate::config::Config;
use std::sync::Arc;

/// Bytes of a text that are told.
const LONGEST: usize = 1024;

/// What `command` was asked for by. Control characters are still in it.
pub(super) fn said(text: &str, command: &Command) -> Arc<str> {
    if let Command::Set { key, .. } = command
        && Config::may_be_secret(key)
    {
        return format!("SET {key} = (secret)").into();
    }
    let text = text.trim();
    match text.len() > LONGEST {
        true => format!("{}…", &text[..text.floor_char_boundary(LONGEST)]).into(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        said(text, &Command::parse(text).unwrap()).to_string()
    }

    #[test]
    fn commands_in_their_askers_words() {
        assert_eq!(told(" kill_client  77;\n"), "kill_client  77;");
        assert_eq!(told("SET max_client_conn TO '7'"), "SET max_client_conn TO '7'");
        assert_eq!(told("set application_name = 'me'"), "set application_name = 'me'");
        let long = said(&format!("x{}", "é".repeat(LONGEST)), &Command::Reload);
        assert_eq!(long.len(), LONGEST - 1 + "…".len(), "a letter isn't cut in two");
    }

    #[test]
    fn secrets_are_hidden() {
        for key in ["auth_ldap_options", "AUTH_LDAP_OPTIONS", "auth_ldap_option"] {
            let shown = format!("SET {key} = (secret)");
            assert_eq!(told(&format!("SET \"{key}\" TO 'ldapbindpasswd=hunter2';")), shown);
        }
    }
}
