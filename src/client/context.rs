//! What all sessions of the process share.

use super::in_the_way::Lingering;
use super::intercept::Names;
use super::keys::Secrets;
use super::listening::Hub;
use super::logins::Logins;
use super::lookup::Turns;
use super::opener::{Opener, OpenerHandle};
use super::pins::Pins;
pub use super::pool_context::{PoolContext, Reported};
use super::pool_context::{check_after, current};
use super::turnstile::Turnstile;
use crate::admin::{Desk, Order};
use crate::auth;
use crate::auth::attempts::Attempts;
use crate::auth::hba::Rules;
use crate::auth::secret::Secret;
use crate::clock::Instant;
use crate::config::{self, Config, Database, PoolMode, SessionState, WHOLE_SESSION};
use crate::credentials::issuers::Issuers;
use crate::credentials::lookups::Lookups;
use crate::credentials::store::Store;
use crate::credentials::tokens::{Asking, Tokens};
use crate::lifecycle::Lifecycle;
use crate::metrics::{Metrics, PoolMetrics};
use crate::net::aside::Aside;
use crate::net::options::TcpOptions;
use crate::params::custom::Customs;
use crate::params::routines::Routines;
use crate::params::set::Sets;
use crate::params::statement::Scanner;
use crate::pool::{CapKind, ClientId, CloseReason, Parts, Pool, PoolKey, PoolSet, PoolSettings, SharedCap};
use crate::prepared::registry::Registry;
use crate::prepared::shape::Scope;
use crate::roster::{Kick, Roster};
use crate::server::Server;
use crate::server::connect::ServerIds;
use crate::server::login::ServerSecret;
use crate::tls::Tls;
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

/// One for the process.
pub struct Shared {
    /// All statements.
    pub registry: Registry,
    /// Finds statements that leave session state.
    pub scanner: Scanner,
    /// All parameter sets.
    pub sets: Sets,
    /// How often roles may have been made or renamed: who ran as one before may not be the one of that name any more.
    pub roles_made: AtomicU32,
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
    pub login: ArcSwap<auth::login::Settings>,
    /// Settings in force.
    pub config: ArcSwap<Config>,
    /// TLS as those settings have it.
    pub tls: ArcSwap<Tls>,
    /// Who may come from where, and ident maps; empty unless auth_type is hba.
    pub rules: ArcSwap<Rules>,
    /// TLS with directories and issuers of tokens, if a rule has one asked by it.
    pub directory_tls: ArcSwapOption<rustls::ClientConfig>,
    /// Wrong passwords of late.
    pub attempts: Mutex<Attempts<Arc<Notify>>>,
    /// Users' secrets in force.
    pub store: ArcSwap<Store>,
    /// Secrets of users that PostgreSQL was asked for.
    pub lookups: Arc<Lookups>,
    /// Passwords towards PostgreSQL that are asked for.
    pub tokens: Tokens,
    /// Keys of those who issue tokens.
    pub issuers: Issuers,
    /// Whether pgweir is running or about to stop.
    pub lifecycle: Lifecycle,
    /// Where the work of handshakes is done, by half as many threads as there are cores.
    pub handshakes: Aside,
    /// Where those who log in or leave take turns.
    pub turnstile: Arc<Turnstile>,
    /// Connections that have not logged in yet, to end them.
    pub logins: Logins,
    /// Connections that have not logged in yet.
    pub opening: AtomicUsize,
    /// What is known of functions, by the database they are in.
    pub routines: Mutex<HashMap<String, Arc<Routines>>>,
    /// Counts pools.
    pub scopes: AtomicU64,
    /// How often what statements depend on was seen to change, by the name of the database.
    pub shapes: Mutex<HashMap<String, Arc<AtomicU64>>>,
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

/// Connections that may be logging in at once beyond max_client_conn, unless max_login_conn says something else.
const LOGINS_BEYOND: usize = 100;

impl Shared {
    /// Whether so many connections are too many to log in, so that the last is only dropped: they cost descriptors and memory.
    pub fn is_crowd(&self, opening: usize) -> bool {
        let general = &self.config.load().general;
        opening
            > match general.max_login_conn {
                0 => general.max_client_conn as usize + LOGINS_BEYOND,
                most => most as usize,
            }
    }

    /// Drops the pool of a fallback database that turned out not to exist, so that invented names leave nothing behind. One
    /// that lookups go on in, or that somebody waits in, stays: the last of them asks for this, too.
    pub fn forget_invented(&self, context: &Arc<PoolContext>) {
        let key = context.pool.key();
        let unused = context.clients.load(Ordering::Relaxed) == 0 && context.welcome.load().is_none();
        let is_asked = context.is_asked() || context.pool.numbers().waiting > 0;
        if !unused || is_asked || self.config.load().databases.contains_key(&*key.database) {
            return;
        }
        // Held until all is gone, so that who makes the next one of that name finds nothing of this one.
        let mut contexts = self.contexts.lock();
        // The next one may be there already, and be of use.
        if contexts.get(key).is_some_and(|known| Arc::ptr_eq(known, context)) {
            contexts.remove(key);
            self.pools.remove(key, CloseReason::Removed);
            self.metrics.remove(&key.database, &key.user);
        }
    }

    /// A reload has taken a pool's database or user away: its clients are told and end, also within a transaction, and nothing
    /// of it is left for one that is configured later.
    pub fn let_go(&self, context: &Arc<PoolContext>, why: Kick) {
        let key = context.pool.key();
        let mut contexts = self.contexts.lock();
        contexts.retain(|_, known| !Arc::ptr_eq(known, context));
        self.metrics.remove(&key.database, &key.user);
        drop(contexts);
        let mut clients = self.roster.list();
        clients.retain(|entry| entry.place.database == key.database && entry.place.user == key.user);
        clients.iter().for_each(|entry| entry.kick(why));
        self.pools.remove(key, CloseReason::Removed);
        context.hub.retire();
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

    /// The pool of a database and a user, and what goes with it; made on first use. If a reload has taken it away since the
    /// caller looked, one that is shut down and that nobody else gets.
    pub fn context(self: &Arc<Self>, database: &Arc<Database>, user: &str) -> Arc<PoolContext> {
        let pool_user = database.user.as_deref().unwrap_or(user);
        let key = PoolKey::new(&database.name, pool_user);
        let mut contexts = self.contexts.lock();
        if let Some(context) = contexts.get(&key) {
            return Arc::clone(context);
        }
        // Under the lock: a reload has either been seen here, or finds the new pool among the others.
        let current = current(&self.config.load(), &key);
        let fits = |found: &Arc<Database>| found.user.as_deref().is_none_or(|forced| *forced == *key.user);
        let Some(current) = current.filter(fits) else {
            let context = self.make_context(database, &key);
            self.metrics.remove(&key.database, &key.user);
            self.pools.remove(&key, CloseReason::Removed);
            return context;
        };
        let context = self.make_context(&current, &key);
        contexts.insert(key, Arc::clone(&context));
        context
    }

    fn make_context(self: &Arc<Self>, database: &Arc<Database>, key: &PoolKey) -> Arc<PoolContext> {
        let config = self.config.load_full();
        let general = &config.general;
        let settings = config.pool_settings(database, &key.user);
        let metrics = self.metrics.pool(&key.database, &key.user);
        let routines = self.routines(database, settings.pool_mode);
        let (defaults, welcome) = (self.sets.empty(), Arc::<ArcSwapOption<_>>::default());
        let opener = Arc::new(Opener {
            database: ArcSwap::new(Arc::clone(database)),
            tls: ArcSwap::from_pointee(config.server_tls(database)),
            user: Arc::clone(&key.user),
            secrets: Mutex::new(self.server_secrets(database, &key.user)),
            agreeing: Default::default(),
            hosts: Mutex::default(),
            max_prepared_statements: statements_kept(general.max_prepared_statements),
            defaults: Arc::clone(&defaults),
            welcome: Arc::clone(&welcome),
            routines: Arc::clone(&routines),
            metrics: Arc::clone(&metrics),
            shared: Arc::downgrade(self),
            runtime: self.runtime.clone(),
        });
        let parts = Parts {
            key: key.clone(),
            settings: pool_settings(&config, database, &key.user),
            caps: self.caps(key, &settings),
            connector: Arc::new(OpenerHandle(Arc::clone(&opener))),
            observer: Arc::clone(&opener) as Arc<dyn crate::pool::Observer>,
        };
        let pool = self.pools.obtain(key, || Pool::new(parts, Instant::now()));
        let context = Arc::new(PoolContext {
            shared: Arc::clone(self),
            pool,
            places: Mutex::default(),
            opener,
            scope: self.scope(database),
            mode: settings.pool_mode,
            names: names(settings.pool_mode, general.max_prepared_statements),
            reset_query: general.server_reset_query.clone(),
            reset_always: general.server_reset_query_always.is_on(),
            metrics: Arc::clone(&metrics),
            defaults,
            session_state: general.session_state,
            max_pins: general.max_pins.max(),
            pins_reached: general.max_pins_reached,
            may_refuse: general.max_pins.max().is_some() || general.session_state == SessionState::Strict,
            pins: Pins::default(),
            hub: Hub::default(),
            sequence_hold: general.sequence_hold,
            customs: customs(general.sequence_hold, &routines),
            routines,
            welcome,
            canonical: Mutex::default(),
            check_after: AtomicU64::new(check_after(&config)),
            clients: AtomicUsize::new(0),
            keeps_minimum_always: AtomicBool::new(false),
            lingering: Lingering::default(),
            lookups: Turns::default(),
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
        let mut known = self.routines.lock();
        if !known.contains_key(&place) {
            // Those of pools that are gone: clients of a fallback choose names, and may invent any number of them.
            known.retain(|_, routines| Arc::strong_count(routines) > 1);
        }
        Arc::clone(known.entry(place).or_default())
    }

    /// By whom statements are shared: a new pool of this database. Another host's of the same name may be a standby of it.
    fn scope(&self, database: &Database) -> Arc<Scope> {
        let mut shapes = self.shapes.lock();
        shapes.retain(|_, changes| Arc::strong_count(changes) > 1);
        let changes = Arc::clone(shapes.entry(database.dbname().to_owned()).or_default());
        Arc::new(Scope::new(self.scopes.fetch_add(1, Ordering::Relaxed), changes))
    }

    /// Has those who wait for others to let go of their servers look at the clock. Whether there are any.
    pub fn wake_crowds(&self) -> bool {
        self.crowds().iter().filter(|context| context.pins.wake_all()).count() > 0
    }

    /// The pools in which who would keep one server more waits.
    fn crowds(&self) -> Vec<Arc<PoolContext>> {
        self.contexts.lock().values().filter(|c| c.waits_for_pins()).map(Arc::clone).collect()
    }

    /// Who has waited in those lines since then or before, and since when.
    pub fn crowded_since(&self, since: Instant) -> Vec<(ClientId, Instant)> {
        let crowds = self.crowds();
        let late = crowds.iter().flat_map(|context| context.pins.line()).filter(|who| who.since <= since);
        late.map(|waiter| (waiter.client, waiter.since)).collect()
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
            self.pools.cap(CapKind::All, "", settings.max_server_connections.max()),
        ]
    }

    /// How passwords towards PostgreSQL are asked for.
    pub fn asking(&self) -> Asking {
        Asking { runtime: self.runtime.clone(), limit: asking_limit(&self.config.load()) }
    }

    /// What is configured to prove a user to PostgreSQL.
    pub(super) fn server_secrets(&self, database: &Database, user: &str) -> Secrets {
        let store = self.store.load();
        let configured = configured_secret(&store, database, user);
        let both = store.secret(user).filter(|_| database.password.is_none());
        let second = both.and_then(|both| both.second().map(usable));
        let asked = self.config.load().server_password(database, user);
        let provider = asked.map(|asked| self.tokens.provider(asked));
        Secrets { configured, second, learned: Vec::new(), provider }
    }
}

/// What is configured to prove a user to PostgreSQL, in the first place.
pub fn configured_secret(store: &Store, database: &Database, user: &str) -> ServerSecret {
    match (&database.password, store.secret(user)) {
        (Some(password), _) => Secret::parse(password.expose()).map_or(ServerSecret::None, |s| usable(&s)),
        (None, Some(stored)) => usable(stored.secret()),
        (None, None) => ServerSecret::None,
    }
}

/// How long a provider of passwords may take when server_connect_timeout doesn't say.
const ASKING: Duration = Duration::from_secs(15);

/// How long a provider of passwords may take.
pub fn asking_limit(config: &Config) -> Duration {
    config.general.server_connect_timeout.unwrap_or(ASKING)
}

fn usable(secret: &Secret) -> ServerSecret {
    match secret {
        Secret::Scram(_) => ServerSecret::None,
        secret => ServerSecret::Stored(Arc::new(secret.clone())),
    }
}

/// How many statements a server keeps prepared: one at least.
fn statements_kept(setting: Option<NonZeroU32>) -> NonZeroUsize {
    setting.and_then(|n| NonZeroUsize::new(n.get() as usize)).unwrap_or(NonZeroUsize::MIN)
}

/// Who keeps the names of statements.
fn names(mode: PoolMode, max_prepared_statements: Option<NonZeroU32>) -> Names {
    match max_prepared_statements {
        Some(_) if mode != PoolMode::Session => Names::Kept,
        _ => Names::Passed,
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
        socket_buffer: Some(general.tcp_socket_buffer as usize).filter(|size| *size > 0),
    }
}

/// A host that is down isn't tried more often, whatever server_login_retry says.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);

/// A pool's settings in the pool's own terms.
pub fn pool_settings(config: &Config, database: &Database, user: &str) -> PoolSettings {
    let (general, settings) = (&config.general, config.pool_settings(database, user));
    PoolSettings {
        size: settings.pool_size.max(),
        min_size: settings.min_pool_size,
        weight: settings.weight,
        reserve_size: settings.reserve_pool_size,
        reserve_timeout: settings.reserve_pool_timeout.unwrap_or(Duration::ZERO),
        lifetime: Some(settings.server_lifetime),
        idle_timeout: general.server_idle_timeout,
        query_wait_timeout: config.longest_query_wait(database, user),
        login_retry: general.server_login_retry.max(SHORTEST_RETRY),
        round_robin: general.server_round_robin.is_on(),
        switch: std::env::var_os("PGWEIR_SWITCH_SERVERS").is_some(),
        ..PoolSettings::default()
    }
}

/// None yet; whether somebody asks for last values of sequences is known where they are kept for the session.
fn customs(sequence_hold: Option<Duration>, routines: &Routines) -> Customs {
    let keeps = sequence_hold == Some(WHOLE_SESSION);
    if keeps {
        routines.want_sequences();
    }
    Customs::asking(keeps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_down_is_not_tried_without_a_pause() {
        let text = "[pgweir]\nserver_login_retry = 0\n[databases.d]\nhost = \"127.0.0.1\"\n";
        let (config, _) = config::parse(text, "x.toml").unwrap_or_else(|errors| panic!("{errors}"));
        let database = config.database("d").expect("configured");
        assert_eq!(pool_settings(&config, &database, "u").login_retry, SHORTEST_RETRY);
    }
}
