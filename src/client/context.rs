//! What sessions share: per process, and per pool.

use super::greeting::Canonical;
use super::intercept::{Looks, Names, Refuses};
use super::listening::Hub;
use super::logins::Logins;
use super::opener::{Opener, OpenerHandle, Secrets};
use super::pins::Pins;
use crate::admin::{Desk, Order};
use crate::auth;
use crate::auth::secret::Secret;
use crate::clock::Instant;
use crate::config::{self, Config, Database, PoolMode, SessionState};
use crate::credentials::store::Store;
use crate::lifecycle::Lifecycle;
use crate::metrics::{Cells, Gauges, Metrics, PoolGauges, PoolMetrics};
use crate::net::options::TcpOptions;
use crate::net::worker;
use crate::params::custom::Customs;
use crate::params::routines::Routines;
use crate::params::set::{Set, Sets};
use crate::params::statement::Scanner;
use crate::params::traces::Traces;
use crate::pool::{CapKind, CloseReason, Parts, Pool, PoolKey, PoolSet, PoolSettings, SharedCap};
use crate::prepared::registry::Registry;
use crate::roster::{Place, Roster};
use crate::server::Server;
use crate::server::connect::ServerIds;
use crate::server::login::ServerSecret;
use crate::tls::Tls;
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;

/// One for the process.
pub struct Shared {
    /// All statements.
    pub registry: Registry,
    /// Finds statements that leave session state.
    pub scanner: Scanner,
    /// All parameter sets.
    pub sets: Sets,
    /// Who is connected.
    pub roster: Arc<Roster>,
    /// Who is connected to the console; they count for no limit.
    pub consoles: Arc<Roster>,
    /// What the console keeps.
    pub desk: Desk,
    /// Takes what the console asks of the process.
    pub orders: UnboundedSender<Order>,
    /// All pools.
    pub pools: PoolSet<Server>,
    /// What is known beside each pool, by the same keys.
    pub contexts: Mutex<HashMap<PoolKey, Arc<PoolContext>>>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// What all logins share.
    pub login: auth::login::Settings,
    /// Settings in force.
    pub config: ArcSwap<Config>,
    /// TLS as those settings have it.
    pub tls: ArcSwap<Tls>,
    /// Users' secrets in force.
    pub store: ArcSwap<Store>,
    /// Whether pgweir is running or about to stop.
    pub lifecycle: Lifecycle,
    /// Each for one handshake's work, as many as there are cores.
    pub handshakes: Arc<Semaphore>,
    /// Connections that have not logged in yet, to end them.
    pub logins: Logins,
    /// Connections that have not logged in yet.
    pub opening: AtomicUsize,
    /// What is known of functions, by the database they are in.
    pub routines: Mutex<HashMap<String, Arc<Routines>>>,
    /// Counts servers.
    pub server_ids: ServerIds,
    /// The workers' runtime.
    pub runtime: Handle,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Connections that may be logging in at once beyond max_client_conn.
const LOGINS_BEYOND: usize = 100;

impl Shared {
    /// Whether so many connections are too many to log in, so that the last is only dropped: they cost descriptors and memory.
    pub fn is_crowd(&self, opening: usize) -> bool {
        opening > self.config.load().general.max_client_conn as usize + LOGINS_BEYOND
    }

    /// Drops the pool of a fallback database that turned out not to exist, so that invented names leave nothing behind.
    pub fn forget_invented(&self, context: &PoolContext) {
        let key = context.pool.key();
        let unused = context.clients.load(Ordering::Relaxed) == 0 && context.welcome.load().is_none();
        if !unused || self.config.load().databases.contains_key(&*key.database) {
            return;
        }
        self.contexts.lock().remove(key);
        self.pools.remove(key, CloseReason::Removed);
        self.metrics.remove(&key.database, &key.user);
    }

    /// What kept the pool of a database and a user from opening its last server, if the last try failed.
    pub fn last_open_error(&self, database: &str, user: &str) -> Option<String> {
        let config = self.config.load();
        let forced = config.database(database).and_then(|database| database.user.clone());
        let key = PoolKey::new(database, forced.as_deref().unwrap_or(user));
        self.pools.find(&key)?.last_open_error().map(|error| error.to_string())
    }

    /// The numbers of a pool, if it exists.
    pub fn known_metrics(&self, database: &str, user: &str) -> Option<Arc<PoolMetrics>> {
        self.contexts.lock().get(&PoolKey::new(database, user)).map(|context| Arc::clone(&context.metrics))
    }

    /// The pool of a database and a user, and what goes with it; made on first use.
    pub fn context(self: &Arc<Self>, database: &Arc<Database>, user: &str) -> Arc<PoolContext> {
        let pool_user = database.user.as_deref().unwrap_or(user);
        let key = PoolKey::new(&database.name, pool_user);
        let mut contexts = self.contexts.lock();
        if let Some(context) = contexts.get(&key) {
            return Arc::clone(context);
        }
        let context = self.make_context(database, &key);
        contexts.insert(key, Arc::clone(&context));
        context
    }

    fn make_context(self: &Arc<Self>, database: &Arc<Database>, key: &PoolKey) -> Arc<PoolContext> {
        let config = self.config.load_full();
        let general = &config.general;
        let settings = config.pool_settings(database, &key.user);
        let statements = general.max_prepared_statements;
        let metrics = self.metrics.pool(&key.database, &key.user);
        let routines = self.routines(database, settings.pool_mode);
        let (defaults, welcome) = (self.sets.empty(), Arc::<ArcSwapOption<_>>::default());
        let opener = Arc::new(Opener {
            database: ArcSwap::new(Arc::clone(database)),
            tls: ArcSwap::from_pointee(config.server_tls(database)),
            user: Arc::clone(&key.user),
            secrets: Mutex::new(Secrets {
                configured: self.server_secret(database, &key.user),
                learned: None,
            }),
            max_prepared_statements: statements
                .and_then(|n| NonZeroUsize::new(n.get() as usize))
                .unwrap_or(NonZeroUsize::MIN),
            defaults: Arc::clone(&defaults),
            welcome: Arc::clone(&welcome),
            routines: Arc::clone(&routines),
            metrics: Arc::clone(&metrics),
            shared: Arc::downgrade(self),
            runtime: self.runtime.clone(),
        });
        let caps = self.caps(key, &settings);
        let parts = Parts {
            key: key.clone(),
            settings: pool_settings(&config, database, &key.user),
            caps,
            connector: Arc::new(OpenerHandle(Arc::clone(&opener))),
            observer: Arc::clone(&opener) as Arc<dyn crate::pool::Observer>,
        };
        let pool = self.pools.obtain(key, || Pool::new(parts, Instant::now()));
        let kept = settings.pool_mode != PoolMode::Session && statements.is_some();
        let context = Arc::new(PoolContext {
            shared: Arc::clone(self),
            pool,
            places: Mutex::default(),
            opener,
            mode: settings.pool_mode,
            names: if kept { Names::Kept } else { Names::Passed },
            reset_query: general.server_reset_query.clone(),
            reset_always: general.server_reset_query_always.is_on(),
            metrics: Arc::clone(&metrics),
            defaults,
            session_state: general.session_state,
            max_pins: general.max_pins.max(),
            may_refuse: general.max_pins.max().is_some() || general.session_state == SessionState::Strict,
            pins: Pins::default(),
            hub: Hub::default(),
            customs: Customs::default(),
            routines,
            welcome,
            canonical: Mutex::default(),
            clients: AtomicUsize::new(0),
            keeps_minimum_always: AtomicBool::new(false),
        });
        metrics.observe(Arc::downgrade(&context) as Weak<PoolContext>);
        context
    }

    /// What is known of the functions of a database, whatever it is called here.
    fn routines(&self, database: &Database, mode: PoolMode) -> Arc<Routines> {
        if mode == PoolMode::Session {
            return Arc::new(Routines::nothing());
        }
        let place = format!("{}:{}/{}", database.host, database.port, database.dbname());
        Arc::clone(self.routines.lock().entry(place).or_default())
    }

    /// It is time to look at the catalogs again: some were changed by others, for all that is known.
    pub fn remind_routines(&self) {
        let mut known = self.routines.lock();
        known.retain(|_, routines| Arc::strong_count(routines) > 1);
        known.values().for_each(|routines| routines.remind());
    }

    fn caps(&self, key: &PoolKey, settings: &config::PoolSettings) -> Vec<Arc<SharedCap>> {
        vec![
            self.pools.cap(CapKind::Database, &key.database, settings.max_db_connections.max()),
            self.pools.cap(CapKind::User, &key.user, settings.max_user_connections.max()),
        ]
    }

    /// What is configured to prove a user to PostgreSQL.
    fn server_secret(&self, database: &Database, user: &str) -> ServerSecret {
        if let Some(password) = &database.password {
            return Secret::parse(password.expose())
                .map_or(ServerSecret::None, |s| ServerSecret::Stored(Arc::new(s)));
        }
        match self.store.load().secret(user) {
            Some(stored) => match stored.secret() {
                Secret::Scram(_) => ServerSecret::None,
                secret => ServerSecret::Stored(Arc::new(secret.clone())),
            },
            None => ServerSecret::None,
        }
    }
}

/// Socket options of the configuration.
pub fn tcp_options(config: &Config) -> TcpOptions {
    let general = &config.general;
    TcpOptions {
        keepalive: general.tcp_keepalive.is_on(),
        keepidle: general.tcp_keepidle,
        keepintvl: general.tcp_keepintvl,
        keepcnt: general.tcp_keepcnt.map(NonZeroU32::get),
        user_timeout: general.tcp_user_timeout,
    }
}

/// A pool's settings in the pool's own terms.
pub fn pool_settings(config: &Config, database: &Database, user: &str) -> PoolSettings {
    let (general, settings) = (&config.general, config.pool_settings(database, user));
    PoolSettings {
        size: settings.pool_size.max(),
        min_size: settings.min_pool_size,
        reserve_size: settings.reserve_pool_size,
        reserve_timeout: settings.reserve_pool_timeout.unwrap_or(Duration::ZERO),
        lifetime: Some(settings.server_lifetime),
        idle_timeout: general.server_idle_timeout,
        query_wait_timeout: general.query_wait_timeout,
        login_retry: general.server_login_retry,
        round_robin: general.server_round_robin.is_on(),
        switch: std::env::var_os("PGWEIR_SWITCH_SERVERS").is_some(),
        ..PoolSettings::default()
    }
}

/// ParameterStatus values by name.
pub type Reported = Arc<[(String, String)]>;

/// One for each pool.
pub struct PoolContext {
    /// The process.
    pub shared: Arc<Shared>,
    /// The pool.
    pub pool: Arc<Pool<Server>>,
    /// What its clients have in common for others, by the user they logged in as.
    places: Mutex<HashMap<Box<str>, Arc<Place>>>,
    /// Opens its servers.
    pub opener: Arc<Opener>,
    /// When servers go back.
    pub mode: PoolMode,
    /// Whether statement names are kept by pgweir.
    pub names: Names,
    /// What makes a used server clean; `None`: nothing is done.
    pub reset_query: Option<String>,
    /// Whether to reset even what looks clean.
    pub reset_always: bool,
    /// Its numbers.
    pub metrics: Arc<PoolMetrics>,
    /// The parameters of a session that changed nothing.
    pub defaults: Arc<Set>,
    /// What becomes of session state.
    pub session_state: SessionState,
    /// Most clients tied to their servers; `None`: as many as there are servers.
    pub max_pins: Option<NonZeroU32>,
    /// Whether some statements may be refused.
    pub may_refuse: bool,
    /// Clients tied to their servers.
    pub pins: Pins,
    /// Listens for them.
    pub hub: Hub,
    /// Custom parameters its clients have mentioned.
    pub customs: Customs,
    /// Functions that leave session state.
    pub routines: Arc<Routines>,
    /// Parameters of the last server that logged in.
    pub welcome: Arc<ArcSwapOption<Vec<(String, String)>>>,
    /// Parameter sets as servers see them, by the sets' addresses.
    pub canonical: Mutex<HashMap<usize, Canonical>>,
    clients: AtomicUsize,
    keeps_minimum_always: AtomicBool,
}

impl PoolContext {
    /// The counters of the worker that this is called on.
    #[inline]
    pub fn cells(&self) -> &Cells {
        self.metrics.worker(worker::index())
    }

    /// What the clients that log in as this user have in common.
    pub fn place(&self, login: &str) -> Arc<Place> {
        let mut places = self.places.lock();
        if let Some(place) = places.get(login) {
            return Arc::clone(place);
        }
        let key = self.pool.key();
        let user = Arc::clone(&key.user);
        let place = Arc::new(Place {
            database: Arc::clone(&key.database),
            login: if *user == *login { Arc::clone(&user) } else { login.into() },
            user,
            roster: Arc::clone(&self.shared.roster),
        });
        places.insert(login.into(), Arc::clone(&place));
        place
    }

    /// Clients that have logged in.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// A client has logged in, or left: min_pool_size holds while one is connected.
    pub fn count_client(&self, came: bool) {
        let before = if came {
            self.clients.fetch_add(1, Ordering::Relaxed)
        } else {
            self.clients.fetch_sub(1, Ordering::Relaxed)
        };
        let last_or_first = before == usize::from(!came);
        if last_or_first && !self.keeps_minimum_always.load(Ordering::Relaxed) {
            self.pool.keep_minimum(came);
        }
    }

    /// min_pool_size holds also without clients.
    pub fn keep_minimum_always(&self) {
        self.keeps_minimum_always.store(true, Ordering::Relaxed);
        self.pool.keep_minimum(true);
    }

    /// The configuration was read again: servers go where it says now, and are opened with the secret it has now. Those
    /// at another place end with their lease.
    pub fn follow(&self, config: &Config) {
        let key = self.pool.key();
        let Some(database) = config.database(&key.database) else {
            return self.pool.retire(CloseReason::Removed);
        };
        if database.user.as_ref().is_some_and(|user| **user != *key.user) {
            return self.pool.retire(CloseReason::ConfigChanged);
        }
        self.pool.reconfigure(pool_settings(config, &database, &key.user));
        let secret = self.shared.server_secret(&database, &key.user);
        if self.opener.follow(&database, config.server_tls(&database), secret) {
            self.canonical.lock().clear();
            self.routines.outdate();
            self.pool.retire(CloseReason::ConfigChanged);
            self.hub.retire();
        }
        if !self.pool.may_stand_beside() {
            self.hub.retire();
        }
    }

    /// What tells from a text which session state it leaves.
    #[inline]
    pub fn looks(&self) -> Looks<'_> {
        Looks { scanner: &self.shared.scanner, customs: &self.customs, routines: &self.routines }
    }

    /// Whether a client finds its session state on every server.
    #[inline]
    pub fn is_transparent(&self) -> bool {
        self.session_state != SessionState::Discard && self.mode != PoolMode::Session
    }

    /// What is refused of a client whose server holds this for it.
    #[inline]
    pub fn refuses(&self, held: Traces) -> Refuses {
        if self.may_refuse { self.refuses_now(held) } else { Refuses::Nothing }
    }

    fn refuses_now(&self, held: Traces) -> Refuses {
        let pins = self.pins.count();
        let crowded = !held.has(Traces::PINS) && self.max_pins.is_some_and(|max| pins >= max.get() as usize);
        match self.session_state {
            _ if self.mode == PoolMode::Session => Refuses::Nothing,
            SessionState::Strict => Refuses::All,
            _ if crowded => Refuses::Pins,
            _ => Refuses::Nothing,
        }
    }

    /// Whether the listening server can listen for a client that wants these parameters: what it hears is in the database's
    /// encoding, which has to be the client's.
    pub fn may_listen_for(&self, wanted: &Set) -> bool {
        let is_utf8 = |encoding: &str| {
            let letters: String = encoding.chars().filter(char::is_ascii_alphanumeric).collect();
            letters.eq_ignore_ascii_case("utf8") || letters.eq_ignore_ascii_case("unicode")
        };
        wanted.value("client_encoding").is_none_or(is_utf8)
            && self.default_of("client_encoding").is_some_and(|encoding| is_utf8(&encoding))
    }

    /// Whether a prelude that has to succeed may be sent with the client's bytes behind it.
    pub fn may_guard(&self) -> bool {
        self.is_transparent()
    }

    /// The value a parameter has on a server nobody changed.
    pub fn default_of(&self, name: &str) -> Option<String> {
        let welcome = self.welcome.load();
        let found = welcome.iter().flat_map(|w| w.iter()).find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }
}

impl std::fmt::Debug for PoolContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolContext").field("pool", self.pool.key()).finish_non_exhaustive()
    }
}

impl Gauges for PoolContext {
    fn gauges(&self) -> PoolGauges {
        let numbers = self.pool.numbers();
        let settings = self.pool.settings();
        let (listens, subscriptions) = self.hub.numbers();
        let clients = self.clients.load(Ordering::Relaxed);
        PoolGauges {
            clients_active: numbers.active,
            clients_waiting: numbers.waiting,
            clients_idle: clients.saturating_sub(numbers.active + numbers.waiting),
            servers_active: numbers.active,
            servers_idle: numbers.idle,
            servers_used: numbers.dirty_idle,
            servers_login: numbers.opening,
            servers_being_canceled: numbers.canceling,
            max_wait: numbers.oldest_wait_since.map(|since| since.elapsed()).unwrap_or_default(),
            size_limit: settings.size.map(|n| n.get() as usize),
            reserve_limit: settings.reserve_size as usize,
            listening_servers: usize::from(listens),
            subscriptions,
            notifications: self.hub.totals(),
        }
    }
}
