//! Checking a password with a directory: a connection for each login, as PostgreSQL does.

use std::sync::Arc;
use std::time::Duration;

use ldap3::{LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, SearchOptions};
use rustls::ClientConfig;
use thiserror::Error;

use crate::auth::hba::ldap::{Ldap, Scope as Reach, Search, Way};

/// How long a server may take to be connected to, and then for each of its answers.
const LIMIT: Duration = Duration::from_secs(5);
/// LDAP's result codes that say something of the user, not of the server.
const INVALID_CREDENTIALS: u32 = 49;
const SIZE_LIMIT_EXCEEDED: u32 = 4;

/// Why a password wasn't found right.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// It isn't.
    #[error("the directory doesn't take the password")]
    WrongPassword,
    /// The name can't be one in a directory, or could be read as another's.
    #[error("the user's name has signs in it that a directory would misread")]
    Name,
    /// There isn't exactly one such user.
    #[error("the directory has {0} entries for the user")]
    Entries(&'static str),
    /// The account that searches may not.
    #[error("the directory doesn't take ldapbinddn and its password")]
    Searcher,
    /// No server answers as it should.
    #[error("{server}: {error}")]
    Server {
        /// The last that was tried.
        server: String,
        /// What it, or the way to it, had to say.
        error: LdapError,
    },
}

impl DirectoryError {
    /// Whether it could be one of many tries to find out a password.
    pub fn is_wrong_guess(&self) -> bool {
        matches!(self, Self::WrongPassword | Self::Name | Self::Entries(_))
    }
}

/// Whether it is the user's password, which is not empty: a bind without one succeeds for anybody. `tls` is for servers that
/// are asked encrypted. Cancel safe. The caller bounds the time for all servers together.
pub async fn check(
    ldap: &Ldap,
    tls: Option<Arc<ClientConfig>>,
    user: &str,
    password: &str,
) -> Result<(), DirectoryError> {
    if password.is_empty() {
        return Err(DirectoryError::WrongPassword);
    }
    let directory = Directory { ldap, tls };
    let name = match &ldap.way {
        Way::Bind { .. } => ldap.way.bound_name(user).ok_or(DirectoryError::Name)?,
        Way::Search(search) => directory.find(search, user).await?,
    };
    directory.bind(&name, password).await
}

struct Directory<'a> {
    ldap: &'a Ldap,
    tls: Option<Arc<ClientConfig>>,
}

impl Directory<'_> {
    /// The first server that can be connected to.
    async fn connect(&self) -> Result<(ldap3::Ldap, &str), DirectoryError> {
        let mut failed = None;
        for server in &self.ldap.servers {
            let mut settings =
                LdapConnSettings::new().set_conn_timeout(LIMIT).set_starttls(self.ldap.starttls);
            if let Some(tls) = &self.tls {
                settings = settings.set_config(Arc::clone(tls));
            }
            match LdapConnAsync::with_settings(settings, server).await {
                Ok((connection, ldap)) => {
                    // It ends when the handle is dropped; what it fails by is the handle's to tell.
                    tokio::spawn(async move { drop(connection.drive().await) });
                    return Ok((ldap, server));
                }
                Err(error) => failed = Some(refused(server)(error)),
            }
        }
        Err(failed.unwrap_or(DirectoryError::Name))
    }

    async fn bind(&self, name: &str, password: &str) -> Result<(), DirectoryError> {
        let (mut ldap, server) = self.connect().await?;
        let answer = ldap.with_timeout(LIMIT).simple_bind(name, password).await.map_err(refused(server))?;
        let bound = match answer.rc {
            INVALID_CREDENTIALS => Err(DirectoryError::WrongPassword),
            _ => answer.success().map(drop).map_err(refused(server)),
        };
        let _ = ldap.unbind().await;
        bound
    }

    /// The distinguished name of the one entry for the user.
    async fn find(&self, search: &Search, user: &str) -> Result<String, DirectoryError> {
        let (mut ldap, server) = self.connect().await?;
        if !search.bind_dn.is_empty() {
            let bound = ldap.with_timeout(LIMIT).simple_bind(&search.bind_dn, &search.bind_password.0).await;
            let bound = bound.map_err(refused(server))?;
            if bound.rc == INVALID_CREDENTIALS {
                return Err(DirectoryError::Searcher);
            }
            bound.success().map_err(refused(server))?;
        }
        let scope = match search.scope {
            Reach::Base => Scope::Base,
            Reach::One => Scope::OneLevel,
            Reach::Sub => Scope::Subtree,
        };
        ldap.with_search_options(SearchOptions::new().sizelimit(2)).with_timeout(LIMIT);
        // "1.1": no attributes, the name is all that counts.
        let found = ldap.search(&search.base, scope, &search.filter(user), vec!["1.1"]).await;
        let ldap3::SearchResult(entries, answer) = found.map_err(refused(server))?;
        let _ = ldap.unbind().await;
        if answer.rc == SIZE_LIMIT_EXCEEDED {
            return Err(DirectoryError::Entries("several"));
        }
        answer.success().map_err(refused(server))?;
        let mut names = entries.into_iter().filter(|it| !it.is_ref()).map(|it| SearchEntry::construct(it).dn);
        match (names.next(), names.next()) {
            (Some(name), None) if !name.is_empty() => Ok(name),
            (None, _) => Err(DirectoryError::Entries("no")),
            _ => Err(DirectoryError::Entries("several")),
        }
    }
}

fn refused(server: &str) -> impl Fn(LdapError) -> DirectoryError {
    let server = server.to_owned();
    move |error| DirectoryError::Server { server: server.clone(), error }
}
