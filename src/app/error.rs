//! Why pgweir doesn't start, in words that say what to do.

use crate::config;
use crate::credentials::store::StoreError;
use crate::credentials::users_file::UsersFileError;
use std::io;

/// Anything that keeps pgweir from starting.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] config::Errors),
    /// The database URL or the command line is wrong.
    #[error("{0}")]
    Url(#[from] config::Error),
    /// auth_file can't be read.
    #[error("cannot read auth_file {0}: {1}")]
    AuthFile(String, io::Error),
    /// auth_file is wrong.
    #[error("{0}")]
    Users(#[from] UsersFileError),
    /// auth_hba_file or auth_ident_file is wrong.
    #[error("{0}")]
    Rules(#[from] crate::auth::hba::Problems),
    /// A user's secret is wrong.
    #[error("{0}")]
    Secrets(#[from] StoreError),
    /// A file of TLS can't be used.
    #[error("{0}")]
    Tls(#[from] crate::tls::FileError),
    /// An address can't be listened on.
    #[error("cannot listen on {0}: {1}\n{2}")]
    Listen(String, io::Error, &'static str),
    /// A running pgweir can't be shown.
    #[error("nothing to show from {0}: {1}")]
    Top(String, io::Error),
    /// The configuration file turns metrics off.
    #[error("listen in [metrics] is \"\": without it there is nothing to show")]
    NoMetrics,
    /// The group of the Unix socket isn't known.
    #[error("unix_socket_group {0:?} is no group of this machine")]
    Group(String),
    /// The log can't be written.
    #[error("cannot log to {0}: {1}")]
    Log(String, io::Error),
    /// A runtime or a signal handler can't be had.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
}
