//! Opens the servers of one pool: knows the database's address and what proves the user.

use super::context::{Shared, tcp_options};
use super::hosts::Hosts;
use super::keys::{Secrets, given_by, is_of_the_secret, is_wrong_password, is_wrong_token};
use super::report::printable;
use super::routines;
use crate::auth::login::Proof;
use crate::auth::secret::Secret;
use crate::clock;
use crate::config::Database;
use crate::config::{Host, RequireAuth, ServerTls};
use crate::credentials::tokens::Provider;
use crate::metrics::{self, PoolMetrics};
use crate::net::options::TcpOptions;
use crate::params::routines::Routines;
use crate::params::set::Set;
use crate::pool::{
    BoxFuture, CloseReason, Connector, Event, Observer, OpenError, Pool, PoolKey, ServerError,
};
use crate::server::Server;
use crate::server::connect::{Address, Target, connect};
use crate::server::error::ConnectError;
use crate::server::login::ServerSecret;
use crate::timer::{sleep, timeout};
use crate::tls::{self, Channel, TlsError};
use crate::wire::sqlstate;
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::runtime::Handle;

/// How to open servers for one (database, user).
pub struct Opener {
    /// Where.
    pub database: ArcSwap<Database>,
    /// How TLS is spoken there.
    pub tls: ArcSwap<ServerTls>,
    /// As whom.
    pub user: Arc<str>,
    /// What is known to prove it.
    pub secrets: Mutex<Secrets>,
    /// Held while PostgreSQL is asked whether it agrees to one.
    pub(super) agreeing: tokio::sync::Mutex<()>,
    /// Which hosts have failed, and whose turn it is.
    pub(super) hosts: Mutex<Hosts>,
    /// max_prepared_statements
    pub max_prepared_statements: NonZeroUsize,
    /// The parameters of a session that changed nothing.
    pub defaults: Arc<Set>,
    /// Parameters of the last server that logged in.
    pub welcome: Arc<ArcSwapOption<Vec<(String, String)>>>,
    /// What is known of the database's functions.
    pub routines: Arc<Routines>,
    /// Its numbers.
    pub metrics: Arc<PoolMetrics>,
    /// The process.
    pub shared: Weak<Shared>,
    /// The workers' runtime.
    pub runtime: Handle,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener")
            .field("database", &self.database.load().name)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Opener {
    /// A client has logged in and given away what a server login can use. What rests on a looked up secret is returned instead:
    /// PostgreSQL has to agree to it first.
    #[must_use]
    pub(super) fn learn(&self, proof: Proof, is_looked_up: bool) -> Option<ServerSecret> {
        if self.database.load().user.is_some() {
            return None;
        }
        let secret = given_by(proof)?;
        let mut secrets = self.secrets.lock();
        if is_looked_up && secrets.rest_on_clients() {
            return Some(secret);
        }
        secrets.learn(secret);
        None
    }

    /// The configuration was read again. Returns whether servers opened so far are at another place than those to come.
    pub fn follow(&self, database: &Arc<Database>, tls: ServerTls, configured: Secrets) -> bool {
        let old = self.database.swap(Arc::clone(database));
        let mut secrets = self.secrets.lock();
        let learned = std::mem::take(&mut secrets.learned);
        *secrets = Secrets { learned, ..configured };
        drop(secrets);
        let same_tls = *self.tls.load_full() == tls;
        self.tls.store(Arc::new(tls));
        let place = |it: &Database| {
            let parameters: Vec<_> =
                it.startup_parameters().into_iter().map(|(name, value)| (name, value.to_owned())).collect();
            (it.host.clone(), it.port, it.dbname().to_owned(), it.connect_query.clone(), parameters)
        };
        let is_elsewhere = !same_tls || place(&old) != place(database);
        if is_elsewhere {
            self.secrets.lock().doubt_all();
        }
        is_elsewhere
    }

    /// Where its servers are.
    pub fn places(&self) -> String {
        let all = addresses_of(&self.database.load());
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    fn target(&self, at: &At<'_>, secret: ServerSecret) -> Target {
        let database = self.database.load();
        Target {
            address: at.address.clone(),
            tls: at.tls.clone(),
            tcp: at.tcp,
            database: database.dbname().to_owned(),
            user: self.user.to_string(),
            secret,
            require_auth: at.require_auth,
            parameters: database
                .startup_parameters()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            connect_query: database.connect_query.clone(),
            max_prepared_statements: self.max_prepared_statements,
            defaults: Arc::clone(&self.defaults),
        }
    }

    /// Opens a server. Cancel safe.
    pub(super) async fn open(self: Arc<Self>) -> Result<Server, OpenError> {
        let Some(shared) = self.shared.upgrade() else {
            return Err(OpenError::Transient("pgweir is stopping".into()));
        };
        let mut server = self.log_in(&shared, None, &|target| target).await?;
        let learning = routines::learn(&mut server, &self.routines, &self.database.load().name.clone()).await;
        learning.map_err(|error| OpenError::Transient(error.to_string().into()))?;
        self.welcome.store(Some(Arc::new(server.welcome.clone())));
        Ok(server)
    }

    /// Opens a server for one client alone, with these startup parameters; it may not take statements. Cancel safe.
    pub(super) async fn open_apart(
        &self,
        shared: &Shared,
        parameters: Vec<(String, String)>,
    ) -> Result<Server, OpenError> {
        let apart = |target| Target { parameters: parameters.clone(), connect_query: None, ..target };
        self.log_in(shared, None, &apart).await
    }

    /// Opens a server by this secret and no other, to see whether PostgreSQL takes it. Cancel safe.
    pub(super) async fn open_by(&self, shared: &Shared, secret: &ServerSecret) -> Result<Server, OpenError> {
        let bare = |target| Target { parameters: Vec::new(), connect_query: None, ..target };
        self.log_in(shared, Some(secret), &bare).await
    }

    async fn log_in(
        &self,
        shared: &Shared,
        by: Option<&ServerSecret>,
        with: &Changes<'_>,
    ) -> Result<Server, OpenError> {
        let begun = Instant::now();
        let config = shared.config.load_full();
        let Ok(tls) = shared.tls.load().connector(&self.tls.load()) else {
            return Err(OpenError::Transient("the configuration is just being reloaded".into()));
        };
        let keys = match by {
            Some(secret) => Keys::Known(vec![secret.clone()]),
            None => Keys::get(self, shared).await.inspect_err(|_| self.metrics.server_connect_failed())?,
        };
        let (addresses, balance, require_auth) = {
            let database = self.database.load();
            (addresses_of(&database), database.load_balance_hosts, config.require_auth(&database))
        };
        let order = self.hosts.lock().order(addresses.len(), balance, begun);
        let mut opened = Err(ConnectError::Timeout);
        for host in order {
            let tcp = tcp_options(&config);
            let at = At { address: &addresses[host], tls: tls.clone(), tcp, require_auth, with };
            let connecting = self.log_in_at(shared, &at, &keys);
            opened = match config.general.server_connect_timeout {
                Some(limit) => timeout(limit, connecting).await.unwrap_or(Err(ConnectError::Timeout)),
                None => connecting.await,
            };
            match &opened {
                Err(error) if is_of_the_host(error) => {
                    let until = Instant::now().checked_add(config.general.server_login_retry);
                    self.hosts.lock().failed(host, balance, until);
                }
                _ => {
                    self.hosts.lock().succeeded(host, balance);
                    break;
                }
            }
        }
        let server = opened.map_err(|error| {
            self.metrics.server_connect_failed();
            open_error(error)
        })?;
        self.metrics.server_connected(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let database = self.database.load();
        let (database, user) = (&*database.name, &*self.user);
        let tls = server.stream.tls().map(Channel::version);
        tracing::info!(database, user, server = server.id, pid = server.key.pid, address = %server.address(), tls, "server connected");
        Ok(server)
    }

    /// There is no such database. Whoever has waited to hear it forgets the pool; but all may have left by now.
    fn forget_invented(&self, pool: PoolKey) {
        let Some(shared) = self.shared.upgrade() else { return };
        // By a task of its own: the pool is at work.
        self.runtime.spawn(async move {
            let context = shared.contexts.lock().get(&pool).cloned();
            context.iter().for_each(|context| shared.forget_invented(context));
        });
    }

    async fn log_in_at(&self, shared: &Shared, at: &At<'_>, keys: &Keys) -> Result<Server, ConnectError> {
        let target = |secret| (at.with)(self.target(at, secret));
        match keys {
            Keys::Known(known) => {
                let mut refused = None;
                for secret in known {
                    match connect(target(secret.clone()), &shared.server_ids).await {
                        Ok(server) => {
                            self.secrets.lock().tried(secret, true);
                            return Ok(server);
                        }
                        Err(error) if is_of_the_secret(&error) => {
                            self.secrets.lock().tried(secret, false);
                            // What the best of them was refused for says most.
                            refused.get_or_insert(error);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(refused.unwrap_or(ConnectError::Timeout))
            }
            Keys::Given(given, provider) => {
                let stored = |secret: &Arc<Secret>| target(ServerSecret::Stored(Arc::clone(secret)));
                let error = match connect(stored(given), &shared.server_ids).await {
                    Err(error) if is_wrong_password(&error) || is_wrong_token(&error) => error,
                    opened => return opened,
                };
                match provider.another(given, &shared.asking()).await {
                    Some(another) => connect(stored(&another), &shared.server_ids).await,
                    None => Err(error),
                }
            }
        }
    }
}

/// One host, and how a server is spoken to there.
struct At<'a> {
    address: &'a Address,
    tls: Option<Arc<tls::Connector>>,
    tcp: TcpOptions,
    require_auth: RequireAuth,
    with: &'a Changes<'a>,
}

/// What a login tries.
enum Keys {
    /// What is known, in this order; one at least.
    Known(Vec<ServerSecret>),
    /// What was asked for, and who can be asked for another.
    Given(Arc<Secret>, Arc<Provider>),
}

impl Keys {
    async fn get(opener: &Opener, shared: &Shared) -> Result<Self, OpenError> {
        let (provider, known) = {
            let secrets = opener.secrets.lock();
            (secrets.provider.clone(), secrets.in_order())
        };
        let Some(provider) = provider else { return Ok(Self::Known(known)) };
        match provider.password(&shared.asking()).await {
            Ok(secret) => Ok(Self::Given(secret, provider)),
            Err(error) => Err(open_error(ConnectError::Credentials(error.to_string()))),
        }
    }
}

/// What is different for some servers.
type Changes<'a> = dyn Fn(Target) -> Target + Send + Sync + 'a;

/// Where the servers of a database are; one at least.
pub fn addresses_of(database: &Database) -> Vec<Address> {
    let address = |host: &Host| match host {
        Host::Tcp(name) => Address::Tcp(name.as_str().into(), database.port),
        Host::Unix(directory) => Address::Unix(directory.join(format!(".s.PGSQL.{}", database.port))),
    };
    database.host.all().iter().map(address).collect()
}

/// Whether another host may do better: this one isn't to be reached, or isn't ready. What PostgreSQL says of the user or the
/// database counts for all.
pub fn is_of_the_host(error: &ConnectError) -> bool {
    match error {
        ConnectError::Refused(refusal) => refusal.sqlstate == sqlstate::CANNOT_CONNECT_NOW,
        ConnectError::Credentials(_) => false,
        _ => true,
    }
}

fn open_error(error: ConnectError) -> OpenError {
    match error {
        ConnectError::Refused(r) => OpenError::from(ServerError {
            sqlstate: r.sqlstate,
            message: r.message,
            detail: r.detail,
            hint: r.hint,
        }),
        ConnectError::Credentials(message) => OpenError::Final(Arc::new(ServerError {
            sqlstate: sqlstate::UNABLE_TO_CONNECT.to_owned(),
            message: format!("server login failed: {message}"),
            detail: None,
            hint: None,
        })),
        refused @ ConnectError::NoTls(_) => lost_for_good(&refused),
        ConnectError::Tls(address, error) => {
            let is_final = TlsError::of(&error).is_some_and(TlsError::is_final);
            let error = ConnectError::Tls(address, error);
            if is_final { lost_for_good(&error) } else { OpenError::Transient(error.to_string().into()) }
        }
        other => OpenError::Transient(other.to_string().into()),
    }
}

/// For who waits no longer, whatever another try could bring.
pub(super) fn told(error: OpenError) -> Arc<ServerError> {
    match error {
        OpenError::Final(error) => error,
        passing @ (OpenError::Transient(_) | OpenError::Passing(_)) => {
            let (sqlstate, message) = (sqlstate::UNABLE_TO_CONNECT.to_owned(), passing.to_string());
            Arc::new(ServerError { sqlstate, message, detail: None, hint: None })
        }
    }
}

/// Waiting can't help: whoever waits is told.
fn lost_for_good(error: &ConnectError) -> OpenError {
    OpenError::Final(Arc::new(ServerError {
        sqlstate: sqlstate::CONNECTION_FAILURE.to_owned(),
        message: error.to_string(),
        detail: None,
        hint: None,
    }))
}

/// Makes an [`Opener`] the pool's connector.
#[derive(Debug)]
pub struct OpenerHandle(pub Arc<Opener>);

impl Connector<Server> for OpenerHandle {
    fn connect(&self, _: &Arc<Pool<Server>>) -> BoxFuture<Result<Server, OpenError>> {
        Box::pin(Arc::clone(&self.0).open())
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.0.runtime.spawn(task);
    }

    fn later(&self, at: clock::Instant, then: Box<dyn FnOnce(clock::Instant) + Send>) {
        self.0.runtime.spawn(async move {
            sleep(at.saturating_duration_since(clock::Instant::now())).await;
            then(clock::Instant::now());
        });
    }
}

impl Observer for Opener {
    fn event(&self, pool: &PoolKey, event: Event<'_>) {
        let (database, user) = (&*pool.database, &*pool.user);
        match event {
            Event::Opened => {}
            Event::OpenFailed { error, retry_in } => {
                let to = self.database.load();
                let retry_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(database, user, host = %to.host, port = to.port, retry_ms, "cannot open a server: {}", printable(&error.to_string()));
                if matches!(error, OpenError::Final(error) if error.sqlstate == sqlstate::INVALID_CATALOG_NAME)
                {
                    self.forget_invented(pool.clone());
                }
            }
            Event::ReserveTaken => tracing::info!(database, user, "taking connection from reserve_pool"),
            Event::Blocked(cap) => tracing::debug!(database, user, "no place under {cap}"),
            Event::Closed { server, reason } => {
                self.metrics.server_closed(counted(reason));
                tracing::info!(database, user, server, "server closed: {reason}");
            }
        }
    }
}

fn counted(reason: CloseReason) -> metrics::CloseReason {
    use metrics::CloseReason as M;
    match reason {
        CloseReason::Lifetime => M::Lifetime,
        CloseReason::IdleTimeout => M::IdleTimeout,
        CloseReason::Evicted(_) => M::Evicted,
        CloseReason::Excess => M::Shrunk,
        CloseReason::Dead | CloseReason::Lost => M::ServerLost,
        CloseReason::Obsolete | CloseReason::ConfigChanged => M::Reconnect,
        CloseReason::Removed | CloseReason::Paused => M::Command,
        CloseReason::Shutdown => M::Shutdown,
        CloseReason::CheckFailed => M::CheckFailed,
        CloseReason::ResetFailed => M::ResetFailed,
        CloseReason::ClientGone | CloseReason::Dropped => M::ClientLost,
        CloseReason::ClientTimeout => M::Timeout,
        CloseReason::Doubt => M::Doubt,
    }
}
