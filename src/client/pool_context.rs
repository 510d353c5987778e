//! What the sessions of one pool share.

use super::context::{Shared, pool_settings};
use super::greeting::Canonical;
use super::hosts::Hosts;
use super::in_the_way::{InTheWay, Lingering};
use super::intercept::{Admits, Looks, Names, Refuses};
use super::listening::Hub;
use super::lookup::Turns;
use super::opener::Opener;
use super::outage::Outage;
use super::pins::Pins;
use crate::config::{Config, Database, PinsReached, PoolMode, SessionState};
use crate::metrics::{Cells, Gauges, HeldUp, PoolGauges, PoolMetrics};
use crate::net::worker;
use crate::params::custom::Customs;
use crate::params::routines::Routines;
use crate::params::set::Set;
use crate::params::traces::Traces;
use crate::pool::{CapKind, CloseReason, Pool, PoolKey};
use crate::prepared::shape::Scope;
use crate::roster::{Kick, Place};
use crate::server::Server;
use crate::server::conversation::{Conversation, Sequences};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// ParameterStatus values by name.
pub type Reported = Arc<[(String, String)]>;

/// One for each pool.
pub struct PoolContext {
    /// The process.
    pub shared: Arc<Shared>,
    /// The pool.
    pub pool: Arc<Pool<Server>>,
    /// What its clients have in common for others, by the user they logged in as.
    pub(super) places: Mutex<HashMap<Box<str>, Arc<Place>>>,
    /// Opens its servers.
    pub opener: Arc<Opener>,
    /// By whom statements are shared.
    pub scope: Arc<Scope>,
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
    /// What becomes of who would be one more.
    pub pins_reached: PinsReached,
    /// Whether some statements may be refused.
    pub may_refuse: bool,
    /// Clients tied to their servers.
    pub pins: Pins,
    /// Listens for them.
    pub hub: Hub,
    /// How long a server is kept for a client that may ask for the last value of a sequence.
    pub sequence_hold: Option<Duration>,
    /// Custom parameters its clients have mentioned.
    pub customs: Customs,
    /// Functions that leave session state.
    pub routines: Arc<Routines>,
    /// Parameters of the last server that logged in.
    pub welcome: Arc<ArcSwapOption<Vec<(String, String)>>>,
    /// Parameter sets as servers see them, by the sets' addresses.
    pub canonical: Mutex<HashMap<usize, Canonical>>,
    /// Nanoseconds that a server may be out of use before it is checked; the largest is for ever.
    pub(super) check_after: AtomicU64,
    pub(super) clients: AtomicUsize,
    pub(super) keeps_minimum_always: AtomicBool,
    pub(super) lingering: Lingering,
    /// Lookups by auth_query.
    pub(super) lookups: Turns,
}

impl PoolContext {
    /// The counters of the worker that this is called on.
    #[inline]
    pub fn cells(&self) -> &Cells {
        self.metrics.worker(worker::index())
    }

    /// Whether lookups are under way in this pool, or wait for their turn.
    pub(super) fn is_asked(&self) -> bool {
        self.lookups.is_asked()
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
            ..Place::default()
        });
        self.limit(&self.shared.config.load(), &place);
        places.insert(login.into(), Arc::clone(&place));
        place
    }

    /// How long clients of this place may take from now on.
    fn limit(&self, config: &Config, place: &Place) {
        if let Some(database) = config.database(&place.database) {
            place.limits.set(&config.timeouts(&database, &place.user, &place.login));
        }
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
    /// at another place end with their lease. The error says why clients can't go on here: see [`Shared::let_go`].
    pub fn follow(&self, config: &Config) -> Result<(), Kick> {
        let key = self.pool.key();
        let database = current(config, key).ok_or(Kick::Killed)?;
        if database.user.as_ref().is_some_and(|user| **user != *key.user) {
            return Err(Kick::Moved);
        }
        self.pool.reconfigure(pool_settings(config, &database, &key.user));
        self.places.lock().values().for_each(|place| self.limit(config, place));
        self.check_after.store(check_after(config), Ordering::Relaxed);
        let secrets = self.shared.server_secrets(&database, &key.user);
        if self.opener.follow(&database, config.server_tls(&database), secrets) {
            self.canonical.lock().clear();
            // Other hosts than those that have failed, perhaps as many.
            *self.opener.hosts.lock() = Hosts::default();
            self.routines.outdate();
            self.pool.retire(CloseReason::ConfigChanged);
            self.hub.retire();
        }
        if !self.pool.may_stand_beside() {
            self.hub.retire();
        }
        Ok(())
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

    /// What is refused of a client to whose server this is known.
    #[inline]
    pub fn refuses(&self, talk: &Conversation, client: u64) -> Refuses<'_> {
        if self.may_refuse { self.refuses_now(talk, client) } else { Refuses::Nothing }
    }

    fn refuses_now(&self, talk: &Conversation, client: u64) -> Refuses<'_> {
        match self.session_state {
            _ if self.mode == PoolMode::Session => Refuses::Nothing,
            SessionState::Strict => Refuses::All,
            _ if self.max_pins.is_some() && !talk.held.has(Traces::PINS) => Refuses::Pins(self, client),
            _ => Refuses::Nothing,
        }
    }

    /// A client was found tied to its server by what its statements didn't show: tells if that makes more than may be.
    #[cold]
    pub fn tell_if_crowded(&self, client: u64, by: Traces) {
        let Some(max_pins) = self.max_pins.map(|max| max.get() as usize) else { return };
        let pinned = self.pins.bounded();
        if pinned > max_pins && self.mode != PoolMode::Session {
            let (key, reason) = (self.pool.key(), super::pins::reasons(by).join(", "));
            let (database, user) = (&*key.database, &*key.user);
            tracing::warn!(
                client,
                database,
                user,
                pinned,
                max_pins,
                reason,
                "one more client keeps its server than max_pins allows: its statement didn't tell"
            );
        }
    }

    /// Whether who would be one more waits.
    pub fn waits_for_pins(&self) -> bool {
        self.pins_reached == PinsReached::Wait && self.max_pins.is_some() && self.mode != PoolMode::Session
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

    /// How closely the client of a server just taken is watched for what it does with sequences.
    #[inline]
    pub fn sequences_at_begin(&self) -> Sequences {
        let watched = self.customs.asks_sequences() && self.sequence_hold.is_some() && self.is_transparent();
        if watched { Sequences::Untouched } else { Sequences::Unwatched }
    }

    /// Whether a prelude that has to succeed may be sent with the client's bytes behind it.
    pub fn may_chain(&self) -> bool {
        self.is_transparent()
    }

    /// The value a parameter has on a server nobody changed.
    pub fn default_of(&self, name: &str) -> Option<String> {
        let welcome = self.welcome.load();
        let found = welcome.iter().flat_map(|w| w.iter()).find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }

    /// Idle servers are closed, others when they come back.
    pub(super) fn replace_servers(&self) {
        self.canonical.lock().clear();
        self.pool.retire(CloseReason::Obsolete);
    }

    /// Servers were found to have another default of a parameter (in any case) than at login.
    #[cold]
    pub fn default_changed(&self, name: &str, value: &str) {
        let Some(mut welcome) = self.welcome.load_full() else { return };
        let known = |(n, v): &(String, String)| n.eq_ignore_ascii_case(name) && v != value;
        if let Some(at) = welcome.iter().position(known) {
            value.clone_into(&mut Arc::make_mut(&mut welcome)[at].1);
            self.welcome.store(Some(welcome));
        }
    }
}

/// The database of a pool as this configuration has it, if it does.
pub(super) fn current(config: &Config, key: &PoolKey) -> Option<Arc<Database>> {
    config.lookups_of(&key.database, &key.user).or_else(|| config.database(&key.database))
}

/// server_check_delay in nanoseconds, if there is a query.
pub(super) fn check_after(config: &Config) -> u64 {
    let delay = config.general.server_check().and_then(|(_, delay)| u64::try_from(delay.as_nanos()).ok());
    delay.unwrap_or(u64::MAX)
}

impl Admits for PoolContext {
    fn admit(&self, client: u64) -> bool {
        self.max_pins.is_none_or(|max| self.pins.admit(client, max.get() as usize))
    }
}

impl std::fmt::Debug for PoolContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolContext").field("pool", self.pool.key()).finish_non_exhaustive()
    }
}

impl Gauges for PoolContext {
    fn in_the_way(&self) -> Option<String> {
        InTheWay::now(self).map(|found| found.sentence())
    }

    fn outage(&self) -> Option<String> {
        Outage::now(self).map(|found| found.sentence(&self.pool.key().database))
    }

    fn gauges(&self) -> PoolGauges {
        let numbers = self.pool.numbers();
        let settings = self.pool.settings();
        let (listens, subscriptions) = self.hub.numbers();
        let clients = self.clients.load(Ordering::Relaxed);
        let (clients_pinned, pins) = self.pins.count();
        let oldest_wait = numbers.oldest_wait_since.into_iter().chain(self.pins.oldest_wait_since()).min();
        PoolGauges {
            clients_active: numbers.active,
            clients_waiting: numbers.waiting + self.pins.waiting(),
            clients_idle: clients.saturating_sub(numbers.active + numbers.waiting + self.pins.waiting()),
            servers_active: numbers.active,
            servers_idle: numbers.idle,
            servers_used: numbers.dirty_idle,
            servers_login: numbers.opening,
            servers_being_canceled: numbers.canceling,
            reserve_in_use: numbers.reserve_in_use,
            clients_pinned,
            pins,
            waiting_for_pins: self.pins.waiting(),
            mode: self.mode.name(),
            paused: numbers.paused,
            max_wait: oldest_wait.map(|since| since.elapsed()).unwrap_or_default(),
            size_limit: settings.size.map(|n| n.get() as usize),
            reserve_limit: settings.reserve_size as usize,
            listening_servers: usize::from(listens),
            subscriptions,
            notifications: self.hub.totals(),
            held_up: HeldUp {
                by_size: numbers.hindered.by_size,
                by_limits: numbers.hindered.by_caps,
                by_outage: numbers.hindered.by_outage,
                limit: numbers.hindered.cap.map_or("", CapKind::setting),
            },
        }
    }
}
