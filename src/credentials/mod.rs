//! Whose secret is what: PgBouncer's auth_file and the passwords of the configuration, in one store; what PostgreSQL says
//! of everybody else, in a cache; passwords that expire, asked of a command or a file; the keys of who issues tokens; and directories, which know whether a password is right. An error here names the user,
//! never the secret.

pub mod auth_query;
pub mod cache;
pub mod issuers;
pub mod ldap;
pub mod lookups;
pub mod pam;
mod renewal;
pub mod store;
pub mod tokens;
pub mod users_file;
