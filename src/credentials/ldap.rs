//! Checking a password with a directory: a connection for each login, as PostgreSQL does.

mod connection;

use std::sync::Arc;

use rustls::ClientConfig;
use thiserror::Error;

use self::connection::{Connection, Fault};
use crate::auth::hba::ldap::{Ldap, Search, Spelling, Way};
use crate::wire::ldap::answer::{Entry, Outcome};
use crate::wire::ldap::request::{Query, Scope};

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
        error: Fault,
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
    let mut directory = Directory { ldap, tls, from: 0 };
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
fn is_spelled(entry: &Entry<'_>, spellings: &[Spelling]) -> bool {
    let mut told = entry.values().peekable();
    told.peek().is_none() || told.any(|value| spellings.iter().any(|it| it.value.as_bytes() == value))
}

fn attributes(spellings: &[Spelling]) -> Vec<String> {
    // "1.1": none.
    let named: Vec<_> = spellings.iter().map(|it| it.attribute.clone()).collect();
    if named.is_empty() { vec!["1.1".to_owned()] } else { named }
}

struct Directory<'a> {
    ldap: &'a Ldap,
    tls: Option<Arc<ClientConfig>>,
    /// The servers before it are out of order.
    from: usize,
}

impl Directory<'_> {
    /// The first server that can be connected to.
    async fn connect(&mut self) -> Result<(Connection, &str), DirectoryError> {
        let mut failed = None;
        for (at, server) in self.ldap.servers.iter().enumerate().skip(self.from) {
            match Connection::open(server, self.ldap.starttls, self.tls.clone()).await {
                Ok(connection) => {
                    self.from = at;
                    return Ok((connection, server));
                }
                Err(error) => failed = Some(refused(server)(error)),
            }
        }
        Err(failed.unwrap_or(DirectoryError::Name))
    }

    /// Whether the next server is to be asked instead.
    fn moves_on<T>(&mut self, outcome: &Result<T, DirectoryError>) -> bool {
        let is_out_of_order =
            matches!(outcome, Err(DirectoryError::Server { error, .. }) if error.is_of_the_server());
        let moves = is_out_of_order && self.from + 1 < self.ldap.servers.len();
        self.from += usize::from(moves);
        moves
    }

    async fn bind(
        &mut self,
        name: &str,
        password: &str,
        spellings: &[Spelling],
    ) -> Result<(), DirectoryError> {
        loop {
            let (connection, server) = self.connect().await?;
            let bound = bind(connection, server, (name, password), spellings).await;
            if !self.moves_on(&bound) {
                return bound;
            }
        }
    }

    async fn find(
        &mut self,
        search: &Search,
        user: &str,
        spellings: &[Spelling],
    ) -> Result<String, DirectoryError> {
        loop {
            let (connection, server) = self.connect().await?;
            let found = find(connection, server, search, (user, spellings)).await;
            if !self.moves_on(&found) {
                return found;
            }
        }
    }
}

/// Whether that is the password of that name.
async fn bind(
    mut connection: Connection,
    server: &str,
    (name, password): (&str, &str),
    spellings: &[Spelling],
) -> Result<(), DirectoryError> {
    let outcome = connection.bind(name, password).await.map_err(refused(server))?;
    let bound = match outcome.code {
        INVALID_CREDENTIALS => Err(DirectoryError::WrongPassword),
        _ => success(outcome).map_err(refused(server)),
    };
    let mut is_spelled_so = true;
    if bound.is_ok() && !spellings.is_empty() {
        let own = Query {
            base: name,
            scope: Scope::Base,
            most: 0,
            filter: "(objectClass=*)",
            attributes: &attributes(spellings),
        };
        let see = |entry: Entry<'_>| is_spelled_so &= is_spelled(&entry, spellings);
        connection.search(&own, see).await.map_err(refused(server))?;
    }
    connection.unbind().await;
    if is_spelled_so { bound } else { Err(DirectoryError::Spelling) }
}

/// The distinguished name of the one entry for the user.
async fn find(
    mut connection: Connection,
    server: &str,
    search: &Search,
    (user, spellings): (&str, &[Spelling]),
) -> Result<String, DirectoryError> {
    if !search.bind_dn.is_empty() {
        let bound = connection.bind(&search.bind_dn, &search.bind_password.0).await;
        let outcome = bound.map_err(refused(server))?;
        if outcome.code == INVALID_CREDENTIALS {
            return Err(DirectoryError::Searcher);
        }
        success(outcome).map_err(refused(server))?;
    }
    let (filter, attributes) = (search.filter(user), attributes(spellings));
    let query =
        Query { base: &search.base, scope: search.scope, most: 2, filter: &filter, attributes: &attributes };
    // Of several the names don't matter.
    let mut names = Vec::new();
    let found = connection.search(&query, |entry| {
        if names.len() < 2 && is_spelled(&entry, spellings) {
            names.push(entry.name.to_owned());
        }
    });
    let outcome = found.await.map_err(refused(server))?;
    connection.unbind().await;
    if outcome.code == SIZE_LIMIT_EXCEEDED {
        return Err(DirectoryError::Entries("several"));
    }
    success(outcome).map_err(refused(server))?;
    match (names.pop(), names.is_empty()) {
        (Some(name), true) if !name.is_empty() => Ok(name),
        (None, _) => Err(DirectoryError::Entries("no")),
        _ => Err(DirectoryError::Entries("several")),
    }
}

fn success(outcome: Outcome) -> Result<(), Fault> {
    if outcome.code == 0 { Ok(()) } else { Err(Fault::Refused(outcome)) }
}

fn refused(server: &str) -> impl Fn(Fault) -> DirectoryError {
    move |error| DirectoryError::Server { server: server.to_owned(), error }
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

    /// The options that ask whoever listens there.
    async fn listen(host: &str) -> (TcpListener, Rules) {
        let listener = TcpListener::bind(format!("{host}:0")).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let options = format!("ldapserver={host} ldapport={port} ldapbasedn=dc=x");
        (listener, Rules::of_method("x", "ldap", &options).unwrap())
    }

    /// A user whom the search finds costs a search and a bind, and so does one whom it doesn't.
    #[tokio::test]
    async fn an_unknown_user_costs_what_a_known_one_does() {
        for host in ["127.0.0.1", "[::1]"] {
            let (listener, rules) = listen(host).await;
            let ldap = rules.directories().next().unwrap();
            let (asked, checked) = tokio::join!(serve(listener), check(ldap, None, "joe", b"secret"));
            assert!(matches!(checked, Err(DirectoryError::Entries("no"))), "{checked:?}");
            assert_eq!(asked, [SEARCH, BIND]);
        }
    }

    /// A server that takes connections and ends them is no reason not to ask the next.
    #[tokio::test]
    async fn a_server_that_is_out_of_order_is_passed_over() {
        let broken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (listener, _) = listen("127.0.0.1").await;
        let [first, second] = [&broken, &listener].map(|it| it.local_addr().unwrap());
        let options = format!("\"ldapserver={first} {second}\" ldapbasedn=dc=x");
        let rules = Rules::of_method("x", "ldap", &options).unwrap();
        let ldap = rules.directories().next().unwrap();
        let broken = async {
            while let Ok((client, _)) = broken.accept().await {
                drop(client);
            }
        };
        let answered = async { tokio::join!(serve(listener), check(ldap, None, "joe", b"secret")) };
        let (asked, checked) = tokio::select! {
            answered = answered => answered,
            () = broken => panic!("it goes on"),
        };
        assert!(matches!(checked, Err(DirectoryError::Entries("no"))), "{checked:?}");
        assert_eq!(asked, [SEARCH, BIND]);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_no_connection_behind() {
        let (listener, rules) = listen("127.0.0.1").await;
        let ldap = rules.directories().next().unwrap();
        let (mut message, mut asking) = ([0; 1024], Box::pin(check(ldap, None, "joe", b"secret")));
        let asked = async {
            let (mut client, _) = listener.accept().await.unwrap();
            assert_ne!(client.read(&mut message).await.unwrap(), 0);
            client
        };
        let mut client = tokio::select! {
            client = asked => client,
            checked = &mut asking => panic!("nobody has answered: {checked:?}"),
        };
        drop(asking);
        assert_eq!(client.read(&mut message).await.unwrap(), 0);
    }
}
