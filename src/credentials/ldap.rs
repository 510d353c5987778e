//! Checking a password with a directory: a connection for each login, as PostgreSQL does.

use std::sync::Arc;
use std::time::Duration;

use ldap3::{LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, SearchOptions};
use rustls::ClientConfig;
use thiserror::Error;

use crate::auth::hba::ldap::{Ldap, Scope as Reach, Search, Spelling, Way};

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
    /// What is no text can't be one.
    #[error("the password is not UTF-8")]
    NotText,
    /// The name can't be one in a directory, or could be read as another's.
    #[error("the user's name has signs in it that a directory would misread")]
    Name,
    /// There isn't exactly one such user.
    #[error("the directory has {0} entries for the user")]
    Entries(&'static str),
    /// The password is right, but of a name that is another to PostgreSQL.
    #[error("the directory spells the user's name differently")]
    Spelling,
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
        matches!(self, Self::WrongPassword | Self::NotText | Self::Name | Self::Entries(_))
    }
}

/// Whether it is the user's password, which is not empty: a bind without one succeeds for anybody. `tls` is for servers that
/// are asked encrypted. Cancel safe. The caller bounds the time for all servers together.
pub async fn check(
    ldap: &Ldap,
    tls: Option<Arc<ClientConfig>>,
    user: &str,
    password: &[u8],
) -> Result<(), DirectoryError> {
    let password = std::str::from_utf8(password).map_err(|_| DirectoryError::NotText)?;
    if password.is_empty() {
        return Err(DirectoryError::WrongPassword);
    }
    let directory = Directory { ldap, tls };
    let spellings = ldap.way.spellings(user);
    match &ldap.way {
        Way::Bind { .. } => {
            let name = ldap.way.bound_name(user).ok_or(DirectoryError::Name)?;
            directory.bind(&name, password, &spellings).await
        }
        Way::Search(search) => match directory.find(search, user, &spellings).await {
            Ok(name) => directory.bind(&name, password, &[]).await,
            Err(error @ DirectoryError::Entries(_)) => {
                // Who tries names shall not know them by the time an answer takes.
                let _ = directory.bind(&search.nobody(), password, &[]).await;
                Err(error)
            }
            Err(error) => Err(error),
        },
    }
}

/// Whether an entry is of the very name: one of its values is, or it tells none.
fn is_spelled(entry: &SearchEntry, spellings: &[Spelling]) -> bool {
    let mut told = entry.attrs.values().flatten().peekable();
    told.peek().is_none() || told.any(|value| spellings.iter().any(|it| it.value == *value))
}

fn attributes(spellings: &[Spelling]) -> Vec<String> {
    // "1.1": none.
    let named: Vec<_> = spellings.iter().map(|it| it.attribute.clone()).collect();
    if named.is_empty() { vec!["1.1".to_owned()] } else { named }
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

    async fn bind(&self, name: &str, password: &str, spellings: &[Spelling]) -> Result<(), DirectoryError> {
        let (mut ldap, server) = self.connect().await?;
        let answer = ldap.with_timeout(LIMIT).simple_bind(name, password).await.map_err(refused(server))?;
        let bound = match answer.rc {
            INVALID_CREDENTIALS => Err(DirectoryError::WrongPassword),
            _ => answer.success().map(drop).map_err(refused(server)),
        };
        let mut is_spelled_so = true;
        if bound.is_ok() && !spellings.is_empty() {
            let own =
                ldap.with_timeout(LIMIT).search(name, Scope::Base, "(objectClass=*)", attributes(spellings));
            let ldap3::SearchResult(entries, _) = own.await.map_err(refused(server))?;
            let mut entries = entries.into_iter().filter(|it| !it.is_ref()).map(SearchEntry::construct);
            is_spelled_so = entries.all(|entry| is_spelled(&entry, spellings));
        }
        let _ = ldap.unbind().await;
        if is_spelled_so { bound } else { Err(DirectoryError::Spelling) }
    }

    /// The distinguished name of the one entry for the user.
    async fn find(
        &self,
        search: &Search,
        user: &str,
        spellings: &[Spelling],
    ) -> Result<String, DirectoryError> {
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
        let found = ldap.search(&search.base, scope, &search.filter(user), attributes(spellings)).await;
        let ldap3::SearchResult(entries, answer) = found.map_err(refused(server))?;
        let _ = ldap.unbind().await;
        if answer.rc == SIZE_LIMIT_EXCEEDED {
            return Err(DirectoryError::Entries("several"));
        }
        answer.success().map_err(refused(server))?;
        let entries = entries.into_iter().filter(|it| !it.is_ref()).map(SearchEntry::construct);
        let mut names = entries.filter(|entry| is_spelled(entry, spellings)).map(|entry| entry.dn);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::hba::Rules;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const BIND: u8 = 0x60;
    const SEARCH: u8 = 0x63;

    /// Takes no password and finds nothing; tells the operations it was asked for.
    async fn serve(listener: TcpListener) -> Vec<u8> {
        let mut asked = Vec::new();
        while asked.last() != Some(&BIND) {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut message = [0; 1024];
            while let Ok(n @ 1..) = client.read(&mut message).await {
                assert!(n < 128, "lengths are of one byte");
                let (id, operation) = (message[4], message[5]);
                let (answer, code) = match operation {
                    BIND => (0x61, 49),
                    SEARCH => (0x65, 0),
                    _ => continue,
                };
                asked.push(operation);
                client.write_all(&[0x30, 12, 2, 1, id, answer, 7, 10, 1, code, 4, 0, 4, 0]).await.unwrap();
            }
        }
        asked
    }

    /// A user whom the search finds costs a search and a bind, and so does one whom it doesn't.
    #[tokio::test]
    async fn an_unknown_user_costs_what_a_known_one_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let options = format!("ldapserver=127.0.0.1 ldapport={port} ldapbasedn=dc=x");
        let rules = Rules::of_method("x", "ldap", &options).unwrap();
        let ldap = rules.directories().next().unwrap();
        let (asked, checked) = tokio::join!(serve(listener), check(ldap, None, "joe", b"secret"));
        assert!(matches!(checked, Err(DirectoryError::Entries("no"))), "{checked:?}");
        assert_eq!(asked, [SEARCH, BIND]);
    }
}
