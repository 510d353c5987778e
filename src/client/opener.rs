//! Opens the servers of one pool: knows the database's address and what proves the user.

use super::context::Shared;
use crate::auth::login::Proof;
use crate::auth::secret::Secret;
use crate::config::Database;
use crate::config::Host;
use crate::metrics::{self, PoolMetrics};
use crate::net::options::TcpOptions;
use crate::params::set::Set;
use crate::pool::{
    BoxFuture, CloseReason, Connector, Event, Observer, OpenError, Pool, PoolKey, ServerError,
};
use crate::server::Server;
use crate::server::connect::{Address, Target, connect};
use crate::server::error::ConnectError;
use crate::server::login::ServerSecret;
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How to open servers for one (database, user).
pub struct Opener {
    /// Where.
    pub database: Arc<Database>,
    /// As whom.
    pub user: Arc<str>,
    /// What is known to prove it.
    pub secret: Mutex<ServerSecret>,
    /// Socket options.
    pub tcp: TcpOptions,
    /// server_connect_timeout
    pub limit: Option<Duration>,
    /// max_prepared_statements
    pub max_prepared_statements: NonZeroUsize,
    /// The parameters of a session that changed nothing.
    pub defaults: Arc<Set>,
    /// Parameters of the last server that logged in.
    pub welcome: Arc<ArcSwapOption<Vec<(String, String)>>>,
    /// Its numbers.
    pub metrics: Arc<PoolMetrics>,
    /// The process.
    pub shared: Weak<Shared>,
    /// The workers' runtimes.
    pub workers: Box<[Handle]>,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener")
            .field("database", &self.database.name)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Opener {
    /// A client has logged in and given away what a server login can use.
    pub fn learn(&self, proof: Proof) {
        if self.database.user.is_some() {
            return;
        }
        let mut secret = self.secret.lock();
        match proof {
            Proof::Nothing => {}
            Proof::PassThrough(proof) if !matches!(*secret, ServerSecret::Stored(_)) => {
                *secret = ServerSecret::PassThrough(proof);
            }
            Proof::Password(password) if !matches!(*secret, ServerSecret::Stored(ref s) if matches!(**s, Secret::Plain(_))) => {
                if let Ok(text) = str::from_utf8(&password) {
                    *secret = ServerSecret::Stored(Arc::new(Secret::Plain(zeroize::Zeroizing::new(
                        text.to_owned(),
                    ))));
                }
            }
            Proof::PassThrough(_) | Proof::Password(_) => {}
        }
    }

    fn target(&self, worker: usize) -> Target {
        let address = match &self.database.host {
            Host::Tcp(name) => Address::Tcp(name.as_str().into(), self.database.port),
            Host::Unix(directory) => {
                Address::Unix(directory.join(format!(".s.PGSQL.{}", self.database.port)))
            }
        };
        Target {
            address,
            tcp: self.tcp,
            database: self.database.dbname().to_owned(),
            user: self.user.to_string(),
            secret: self.secret.lock().clone(),
            connect_query: self.database.connect_query.clone(),
            max_prepared_statements: self.max_prepared_statements,
            defaults: Arc::clone(&self.defaults),
            worker,
        }
    }

    async fn open(self: Arc<Self>, worker: usize) -> Result<Server, OpenError> {
        let Some(shared) = self.shared.upgrade() else {
            return Err(OpenError::Transient("pgweir is stopping".into()));
        };
        let begun = Instant::now();
        let connecting = connect(self.target(worker), &shared.server_ids);
        let opened = match self.limit {
            Some(limit) => timeout(limit, connecting).await.unwrap_or(Err(ConnectError::Timeout)),
            None => connecting.await,
        };
        match opened {
            Ok(server) => {
                self.metrics.server_connected(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
                self.welcome.store(Some(Arc::new(server.welcome.clone())));
                let (database, user) = (&*self.database.name, &*self.user);
                tracing::info!(database, user, server = server.id, pid = server.key.pid, address = %server.address(), "server connected");
                Ok(server)
            }
            Err(error) => {
                self.metrics.server_connect_failed();
                Err(open_error(error))
            }
        }
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
            sqlstate: crate::wire::sqlstate::UNABLE_TO_CONNECT.to_owned(),
            message: format!("server login failed: {message}"),
            detail: None,
            hint: None,
        })),
        other => OpenError::Transient(other.to_string().into()),
    }
}

/// Makes an [`Opener`] the pool's connector.
#[derive(Debug)]
pub struct OpenerHandle(pub Arc<Opener>);

impl Connector<Server> for OpenerHandle {
    fn connect(&self, _: &Arc<Pool<Server>>, worker: usize) -> BoxFuture<Result<Server, OpenError>> {
        Box::pin(Arc::clone(&self.0).open(worker))
    }

    fn spawn(&self, worker: usize, task: BoxFuture<()>) {
        if let Some(worker) = self.0.workers.get(worker) {
            worker.spawn(task);
        }
    }
}

impl Observer for Opener {
    fn event(&self, pool: &PoolKey, event: Event<'_>) {
        let (database, user) = (&*pool.database, &*pool.user);
        match event {
            Event::Opened => {}
            Event::OpenFailed { error, retry_in } => {
                let retry_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(database, user, host = %self.database.host, port = self.database.port, retry_ms, "cannot open a server: {error}");
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
        CloseReason::Removed | CloseReason::Killed => M::Command,
        CloseReason::Shutdown => M::Shutdown,
        CloseReason::ResetFailed => M::ResetFailed,
        CloseReason::ClientGone | CloseReason::Dropped => M::ClientLost,
        CloseReason::ClientTimeout => M::Timeout,
        CloseReason::Doubt => M::Doubt,
    }
}
