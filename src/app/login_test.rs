//! `pgweir login-test`: a login leg by leg, each with what came of it, and a hint where it fails.

mod asked;

use super::error::AppError;
use super::{prompt, secrets};
use crate::auth::login::Method;
use crate::auth::scram::secret::PassThrough;
use crate::auth::secret::{Form, Secret, StoredSecret};
use crate::cli::LoginTest;
use crate::client::context::{asking_limit, configured_secret, tcp_options};
use crate::client::lookup;
use crate::client::opener::{addresses_of, is_of_the_host};
use crate::config::{self, Config, Database, RESERVED_DATABASES, ServerPassword};
use crate::credentials::ldap;
use crate::credentials::tokens::{Asking, Tokens};
use crate::params::set::Sets;
use crate::server::Server;
use crate::server::connect::{Address, ServerIds, Target, connect, reach};
use crate::server::error::ConnectError;
use crate::server::login::{REQUIREMENT, ServerSecret};
use crate::timer::timeout;
use crate::tls::Tls;
use asked::{Asked, Entrance};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

/// How long a leg may take when server_connect_timeout doesn't say.
const LIMIT: Duration = Duration::from_secs(15);

/// Why a leg failed.
struct Failure {
    why: String,
    hint: String,
}

impl Failure {
    fn new(why: impl fmt::Display, hint: &str) -> Self {
        Self { why: why.to_string(), hint: hint.to_owned() }
    }
}

/// Tells of each leg. False if one failed.
pub(super) fn run(wanted: &LoginTest) -> Result<bool, AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(test(wanted)))
}

/// Prints a leg; what it brought, if it was good.
fn tell<T>(leg: &str, outcome: Result<(T, String), Failure>) -> Option<T> {
    match outcome {
        Ok((value, what)) => {
            println!("{leg:<16} ok      {what}");
            Some(value)
        }
        Err(failure) => {
            println!("{leg:<16} FAILED  {}", failure.why);
            println!("{:24} hint: {}", "", failure.hint);
            None
        }
    }
}

async fn test(wanted: &LoginTest) -> bool {
    let Some(setup) = tell("configuration", Setup::read(wanted)) else { return false };
    let Some(secret) = tell("client's login", setup.client(wanted).await) else { return false };
    if setup.is_console() {
        return tell("console", setup.rights()).is_some();
    }
    let Some(()) = tell("server", setup.server(&setup.database).await) else { return false };
    let user = setup.database.user.clone().unwrap_or_else(|| setup.user.clone());
    tell("server's login", setup.login(&user, secret).await).is_some()
}

/// What the configuration says of the login.
struct Setup {
    config: Config,
    store: crate::credentials::store::Store,
    tls: Tls,
    user: String,
    /// Of the console, one that is nowhere.
    database: Arc<Database>,
    name: String,
    sets: Sets,
}

impl Setup {
    fn read(wanted: &LoginTest) -> Result<(Self, String), Failure> {
        let wrong = |error: AppError| Failure::new(error, "pgweir --check tells all problems of the file");
        let (config, _) = config::load::load(&wanted.config).map_err(|e| wrong(e.into()))?;
        let store = secrets::store(&config).map_err(wrong)?;
        let tls = Tls::new(&config).map_err(|e| wrong(e.into()))?;
        let name = wanted.database.clone().unwrap_or_else(|| wanted.user.clone());
        let missing = || {
            Failure::new(
                format!("there is no database {name:?}"),
                "add [databases.NAME], or [databases.\"*\"] for all that have no section",
            )
        };
        let (database, what) = if RESERVED_DATABASES.contains(&&*name) {
            (Arc::default(), format!("{name:?} is pgweir's console, which no server is behind"))
        } else {
            let database = config.database(&name).ok_or_else(missing)?;
            let places: Vec<_> = addresses_of(&database).iter().map(ToString::to_string).collect();
            let what = format!("database {name:?} is {:?} on {}", database.dbname(), places.join(", "));
            (database, what)
        };
        let user = wanted.user.clone();
        Ok((Self { config, store, tls, user, database, name, sets: Sets::default() }, what))
    }

    /// Whether it is the console that is asked for: all that is to be tested is the client's leg.
    fn is_console(&self) -> bool {
        RESERVED_DATABASES.contains(&&*self.name)
    }

    /// What the user may do in the console.
    fn rights(&self) -> Result<((), String), Failure> {
        let (general, user) = (&self.config.general, &self.user);
        let may = match (general.admin_users.contains(user), general.stats_users.contains(user)) {
            (true, _) => "do everything: it is in admin_users",
            (false, true) => "look: it is in stats_users",
            (false, false) => {
                let hint = "add the user to admin_users or stats_users; see docs/console.md";
                return Err(Failure::new(format!("user {user:?} may not enter it"), hint));
            }
        };
        Ok(((), format!("user {user:?} may {may}")))
    }

    /// Whether pgweir would let the client in; and what that gives for the server.
    async fn client(&self, wanted: &LoginTest) -> Result<(ServerSecret, String), Failure> {
        let Entrance { asked, by } = asked::find(&self.config, wanted, (&self.name, &self.database))?;
        match asked {
            Asked::Secret(Method::Trust) => {
                let secret = self.known().await?;
                Ok((self.configured(&self.user, secret.as_ref()), format!("{by}: nothing is asked")))
            }
            Asked::Secret(method) => self.by_secret(method, &by).await,
            Asked::Directory(directory, tls) => {
                let password = typed()?;
                let checked = ldap::check(&directory, tls, &self.user, password.as_bytes()).await;
                let hint = "see ldap in docs/authentication.md";
                checked.map_err(|error| Failure::new(format!("{by}: {error}"), hint))?;
                Ok((self.learned(None, &password, true), by))
            }
            Asked::Nothing => {
                let secret = self.configured(&self.user, None);
                Ok((secret, format!("{by}: nothing is asked, it goes on as the database's user")))
            }
            Asked::Else(what) => {
                let secret = self.known().await?;
                Ok((
                    self.configured(&self.user, secret.as_ref()),
                    format!("not tested: {by} asks for {what}"),
                ))
            }
        }
    }

    /// By a password and a secret that pgweir knows.
    async fn by_secret(&self, method: Method, by: &str) -> Result<(ServerSecret, String), Failure> {
        let password = typed()?;
        let (secret, from) = self.secret().await?;
        let secret = secret.ok_or_else(|| self.unknown(&from))?;
        let form = secret.secret().form();
        if method == Method::ScramSha256 && form == Form::Md5 {
            let hint =
                "set a password anew with password_encryption = 'scram-sha-256', or let clients in by md5";
            return Err(Failure::new(format!("{by} can't use an md5 secret"), hint));
        }
        let told = format!("{by} against a {form:?} secret from {from}");
        if !secret.is_of(&self.user, password.as_bytes()) {
            let hint =
                "the password is another one than that of this secret; was it changed at one place only?";
            return Err(Failure::new(format!("wrong password: {told}"), hint));
        }
        Ok((self.learned(Some(&secret), &password, method == Method::Password), told))
    }

    /// The secret of a user who is asked for none, if there is one; a section of the configuration makes a user, too.
    async fn known(&self) -> Result<Option<Arc<StoredSecret>>, Failure> {
        let (secret, from) = self.secret().await?;
        let is_known = secret.is_some() || self.config.users.contains_key(&self.user);
        if is_known { Ok(secret) } else { Err(self.unknown(&from)) }
    }

    async fn secret(&self) -> Result<(Option<Arc<StoredSecret>>, String), Failure> {
        match self.store.secret(&self.user) {
            Some(secret) => Ok((Some(secret), "the configuration or auth_file".to_owned())),
            None => self.looked_up().await,
        }
    }

    fn unknown(&self, from: &str) -> Failure {
        Failure::new(
            format!("user {:?} isn't known, or may not log in, by {from}", self.user),
            "add [users.NAME] with a password, a line in auth_file, or set auth_user; see docs/authentication.md",
        )
    }

    async fn looked_up(&self) -> Result<(Option<Arc<StoredSecret>>, String), Failure> {
        let Some(asking) = self.config.auth_query(&self.name) else {
            return Ok((None, "the configuration and auth_file".to_owned()));
        };
        let from = format!("auth_query as {:?} in {:?}", asking.user, asking.database.name);
        let within = |failure: Failure| Failure::new(format!("{from}: {}", failure.why), &failure.hint);
        let (mut server, _) = self
            .log_in(
                &asking.database,
                &asking.user,
                configured_secret(&self.store, &asking.database, &asking.user),
            )
            .await
            .map_err(within)?;
        let answer = lookup::run(&mut server, &self.sets.empty(), &asking.query, &self.user).await;
        let hint = "auth_user must be allowed to run auth_query, which gives name and secret; see docs/authentication.md";
        let answer = answer.map_err(|error| within(Failure::new(error, hint)))?;
        let secret = answer.map(|answer| Secret::parse(&answer.text)).transpose();
        let hint = "the role's password can't be used here; set it anew";
        let secret = secret.map_err(|error| within(Failure::new(error, hint)))?;
        let secret = secret.filter(|secret| secret.form() != Form::Empty);
        Ok((secret.map(|secret| Arc::new(StoredSecret::new(secret))), from))
    }

    /// What a login by `password`, known in clear or not, gives for the server, as in a running pgweir.
    fn learned(&self, secret: Option<&Arc<StoredSecret>>, password: &str, clear: bool) -> ServerSecret {
        let configured = self.configured(&self.user, secret);
        match (&configured, secret.map(|secret| secret.secret())) {
            _ if self.database.user.is_some() => configured,
            (ServerSecret::None, _) if clear => {
                ServerSecret::Stored(Arc::new(Secret::Plain(Zeroizing::new(password.to_owned()))))
            }
            (ServerSecret::None, Some(Secret::Scram(stored))) => {
                let proof = PassThrough::of_password(password.as_bytes(), Arc::clone(stored));
                proof.map_or(ServerSecret::None, ServerSecret::PassThrough)
            }
            _ => configured,
        }
    }

    fn configured(&self, user: &str, found: Option<&Arc<StoredSecret>>) -> ServerSecret {
        let user = self.database.user.as_deref().unwrap_or(user);
        let configured = configured_secret(&self.store, &self.database, user);
        match (&configured, found.map(|found| found.secret())) {
            (ServerSecret::None, Some(secret @ (Secret::Plain(_) | Secret::Md5(_))))
                if self.database.user.is_none() =>
            {
                ServerSecret::Stored(Arc::new(secret.clone()))
            }
            _ => configured,
        }
    }

    fn limit(&self) -> Duration {
        self.config.general.server_connect_timeout.unwrap_or(LIMIT)
    }

    /// TCP and TLS, to each of its hosts: one that answers will do, as for logins.
    async fn server(&self, database: &Database) -> Result<((), String), Failure> {
        let tls = self.tls.connector(&self.config.server_tls(database)).ok().flatten();
        let (mut told, mut failed, mut is_there) = (Vec::new(), None, false);
        for address in addresses_of(database) {
            let reached = timeout(self.limit(), reach(&address, tls.as_deref())).await;
            let stream = match reached.unwrap_or(Err(ConnectError::Timeout)) {
                Ok(stream) => stream,
                Err(error) => {
                    told.push(error.to_string());
                    failed.get_or_insert_with(|| explain(&error));
                    continue;
                }
            };
            is_there = true;
            let failure = tls.as_ref().and_then(|tls| tls.failure(&address.to_string()));
            let tls = match (stream.tls(), failure) {
                (Some(tls), _) => tls.version().to_owned(),
                (None, Some(why)) => format!("without TLS, which failed: {why}"),
                (None, None) => "without TLS".to_owned(),
            };
            told.push(format!("connected to {address}, {tls}"));
        }
        match failed.filter(|_| !is_there) {
            Some(failure) => Err(failure),
            None => Ok(((), told.join("; "))),
        }
    }

    async fn login(&self, user: &str, secret: ServerSecret) -> Result<((), String), Failure> {
        let (server, by) = self.log_in(&self.database, user, secret).await?;
        let version = server.welcome.iter().find(|(name, _)| name == "server_version");
        let version = version.map_or("PostgreSQL", |(_, version)| version);
        Ok(((), format!("as {user:?} by {by}; server_version {version}")))
    }

    /// What a command or a file gives.
    async fn asked(&self, asked: ServerPassword) -> Result<(ServerSecret, String), Failure> {
        let by = format!("the password of {}", asked.source.setting());
        let asking = Asking { runtime: Handle::current(), limit: asking_limit(&self.config) };
        let given = Tokens::default().provider(asked).password(&asking).await;
        let hint = "try it by hand, as the user that runs pgweir; see docs/server-passwords.md";
        let given = given.map_err(|error| Failure::new(error, hint))?;
        Ok((ServerSecret::Stored(given), by))
    }

    async fn log_in(
        &self,
        database: &Database,
        user: &str,
        secret: ServerSecret,
    ) -> Result<(Server, String), Failure> {
        let (secret, by) = match self.config.server_password(database, user) {
            Some(asked) => self.asked(asked).await?,
            None => {
                let by = match &secret {
                    ServerSecret::None => "nothing (trust, or a certificate)",
                    ServerSecret::Stored(_) => "the password or secret at hand",
                    ServerSecret::PassThrough(_) => "the key of the client's SCRAM login",
                };
                (secret, by.to_owned())
            }
        };
        let tls = self.tls.connector(&self.config.server_tls(database)).ok().flatten();
        let target = |address: &Address| Target {
            address: address.clone(),
            tls: tls.clone(),
            tcp: tcp_options(&self.config),
            database: database.dbname().to_owned(),
            user: user.to_owned(),
            secret: secret.clone(),
            require_auth: self.config.require_auth(database),
            parameters: Vec::new(),
            connect_query: database.connect_query.clone(),
            max_prepared_statements: NonZeroUsize::MIN,
            defaults: self.sets.empty(),
        };
        let mut opened = Err(ConnectError::Timeout);
        for address in addresses_of(database) {
            let connecting = timeout(self.limit(), connect(target(&address), &ServerIds::default())).await;
            opened = connecting.unwrap_or(Err(ConnectError::Timeout));
            if !matches!(&opened, Err(error) if is_of_the_host(error)) {
                break;
            }
        }
        let server = opened.map_err(|error| explain(&error))?;
        let failure = tls.filter(|_| server.stream.tls().is_none());
        Ok(match failure.and_then(|tls| tls.failure(&server.address().to_string())) {
            Some(why) => (server, format!("{by}, without TLS: {why}")),
            None => (server, by),
        })
    }
}

/// A password that is asked for.
fn typed() -> Result<Zeroizing<String>, Failure> {
    let hint = "type it, or give it as a line of standard input";
    prompt::password("Password").map_err(|error| Failure::new(error, hint))
}

fn explain(error: &ConnectError) -> Failure {
    let hint = match error {
        ConnectError::Lookup(..) => "check host in [databases.NAME]",
        ConnectError::Io(..) | ConnectError::Timeout => {
            "does PostgreSQL run there and listen (listen_addresses, port), and does no firewall stand between?"
        }
        ConnectError::Tls(..) => "see server_tls_sslmode and server_tls_ca_file in docs/tls.md",
        ConnectError::NoTls(_) => "turn ssl on in PostgreSQL, or set server_tls_sslmode = \"prefer\"",
        ConnectError::Credentials(why) if why.starts_with(REQUIREMENT) => {
            "see server_require_auth: PostgreSQL's pg_hba.conf asks this role for something else"
        }
        ConnectError::Credentials(_) => {
            "pgweir has nothing to answer with: put the password in [users.NAME], or store the very SCRAM secret that \
             PostgreSQL has"
        }
        ConnectError::Protocol(_) => "is that PostgreSQL?",
        ConnectError::Refused(refusal) => match &*refusal.sqlstate {
            "28P01" => "PostgreSQL has another password for this user",
            "28000" => {
                "pg_hba.conf has no line for this user, database and pgweir's address, or the role may not log in"
            }
            "3D000" => "PostgreSQL has no such database: check dbname in [databases.NAME]",
            "53300" => {
                "PostgreSQL has no connection left for this role (CONNECTION LIMIT), this database, or at all (max_connections): \
                 lower pgweir's own limits, or raise that one"
            }
            "57P03" => "PostgreSQL is starting, stopping or in recovery",
            _ => "PostgreSQL's log tells more",
        },
    };
    Failure::new(error, hint)
}
