//! Whose secret is what: PgBouncer's auth_file and the passwords of the configuration, in one store.
//! An error here names the user, never the secret.

pub mod store;
pub mod users_file;
