//! Users' secrets from the configuration and auth_file.

use super::error::AppError;
use crate::config::{Config, Password};
use crate::credentials::store::{Configured, Store};
use crate::credentials::users_file;
use std::collections::HashMap;

/// Reads auth_file, if there is one, and puts both sources together.
pub(super) fn store(config: &Config) -> Result<Store, AppError> {
    let users = match &config.general.auth_file {
        None => HashMap::new(),
        Some(path) => {
            let name = path.display().to_string();
            let text =
                crate::config::load::read_named(path).map_err(|e| AppError::AuthFile(name.clone(), e))?;
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
