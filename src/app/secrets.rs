//! Users' secrets from the configuration and auth_file.

use super::error::AppError;
use crate::config::{Config, Password};
use crate::credentials::store::{Configured, Store};
use crate::credentials::users_file;
use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;

/// Reads auth_file, if there is one, and puts both sources together.
pub(super) fn store(config: &Config) -> Result<Store, AppError> {
    let users = match &config.general.auth_file {
        None => HashMap::new(),
        Some(path) => {
            let name = path.display().to_string();
            let text =
                crate::config::load::read_named(path).map_err(|e| AppError::AuthFile(name.clone(), e))?;
            if std::fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0) {
                tracing::warn!(file = name, "auth_file can be read by others than its owner; chmod 600 it");
            }
            users_file::parse(&name, &text)?
        }
    };
    let configured = config.users.iter().map(|(name, user)| Configured {
        user: name,
        password: user.password.as_ref().map(Password::expose),
        second_password: user.second_password.as_ref().map(Password::expose),
    });
    Ok(Store::new(users, configured)?)
}
