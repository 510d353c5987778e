//! The life of the process: start, serve, reload, stop.

use super::error::AppError;
use super::operator::{Ending, Operator};
use super::reload::{self, Change};
use super::workers::Workers;
use super::{accept, certificates, listeners, load, logging, rights, rules, secrets, systemd};
use crate::admin::{Desk, Order, Realm};
use crate::auth;
use crate::auth::hba::Rules;
use crate::auth::scram::secret::MockKey;
use crate::cli::Source;
use crate::client::context::Shared;
use crate::client::turnstile::Turnstile;
use crate::config::load::read_named;
use crate::config::{Config, Overrides};
use crate::credentials::store::Store;
use crate::http;
use crate::lifecycle::{Lifecycle, Phase, Shutdown};
use crate::metrics::Metrics;
use crate::net::aside::Aside;
use crate::net::files;
use crate::net::listen::Listener;
use crate::params::set::Sets;
use crate::params::statement::Scanner;
use crate::pool::PoolSet;
use crate::prepared::registry::Registry;
use crate::roster::Kick;
use crate::server::connect::ServerIds;
use crate::tasks::signals::Signals;
use crate::tasks::{averages, janitor};
use crate::timer::{self, sleep};
use crate::tls::Tls;
use arc_swap::ArcSwap;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use zeroize::Zeroizing;

/// How often the end of a drain is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// How long clients may take to hear that pgweir stops.
const PARTING: Duration = Duration::from_secs(1);

/// Serves until told to stop.
pub(super) fn run(source: Source, overrides: &Overrides) -> Result<(), AppError> {
    let (config, warnings) = load(&source)?;
    let config = config.with(overrides)?;
    let log = logging::start(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anything tells that it runs: a HUP nobody listens to would end it.
    let signals = {
        let _entered = runtime.enter();
        Signals::new()?
    };
    warnings.iter().for_each(|w| tracing::warn!("{w}"));
    rights::warnings_of(&config, &source).iter().for_each(|w| tracing::warn!("{w}"));
    let store = secrets::store(&config)?;
    let tls = Tls::new(&config)?;
    let (rules, doubts) = rules::rules(&config)?;
    doubts.iter().for_each(|w| tracing::warn!("{w}"));
    let directory_tls = rules::directory_tls(&rules)?;
    raise_file_limit(&config);
    let inherited = systemd::sockets(&config)?;
    let own = inherited.clients.is_empty();
    let listeners = if own { listeners::open(&config)? } else { inherited.clients };
    let metrics_listener = match (inherited.metrics, config.metrics_listen) {
        (Some(inherited), _) => Some(inherited),
        (None, None) => None,
        (None, Some(address)) => {
            let listener = std::net::TcpListener::bind(address);
            Some(listener.map_err(|e| listeners::metrics_refused(&address.to_string(), e))?)
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    timer::keep(runtime.handle());
    let workers = Workers::start(config.general.workers.map_or(cores, |n| n.get() as usize))?;
    let (orders, taken) = unbounded_channel();
    let shared = Arc::new(share(config, (store, tls, rules), &workers, orders)?);
    shared.directory_tls.store(directory_tls);
    certificates::note(&shared.config.load(), &shared.metrics);
    announce(&shared.config.load(), &listeners, metrics_listener.as_ref());
    let change = Change { shared: &shared, source: &source, overrides, log: &log };
    let operator = Operator::new(signals, taken, change);
    runtime.block_on(serve(listeners, metrics_listener, &shared, operator));
    workers.stop();
    Ok(())
}

/// By the key of our certificate, if there is one, else by this machine's own number, so that a restart doesn't show who exists: no
/// password is good enough to be shown to strangers, however hashed.
fn mock_key(config: &Config) -> MockKey {
    let tls = config.client_tls();
    let key = tls.files().and_then(|(_, key)| read_named(key).ok());
    let key =
        key.or_else(|| std::fs::read(MACHINE_ID).ok().filter(|id| is_machine_id(id))).map(Zeroizing::new);
    key.map_or_else(|| MockKey::new(rand::random()), |key| MockKey::of_key(&key))
}

/// 128 random bits of this installation (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// Not of an image that gets its own when it is booted.
fn is_machine_id(text: &[u8]) -> bool {
    let text = text.trim_ascii_end();
    text.len() == 32 && text.iter().all(u8::is_ascii_hexdigit) && text.iter().any(|digit| *digit != text[0])
}

fn share(
    config: Config,
    (store, tls, rules): (Store, Tls, Rules),
    workers: &Workers,
    orders: UnboundedSender<Order>,
) -> io::Result<Shared> {
    let login = auth::login::Settings {
        scram_iterations: config.general.scram_iterations,
        mock_key: mock_key(&config),
        unknown: store.most_look_like(),
    };
    Ok(Shared {
        registry: Registry::default(),
        scanner: Scanner::default(),
        sets: Sets::default(),
        roles_made: AtomicU32::new(0),
        roster: Arc::default(),
        consoles: Arc::default(),
        desk: Desk::default(),
        orders,
        pools: PoolSet::new(),
        contexts: Default::default(),
        metrics: Arc::new(Metrics::new(workers.count)),
        login: ArcSwap::from_pointee(login),
        config: ArcSwap::from_pointee(config),
        tls: ArcSwap::from_pointee(tls),
        rules: ArcSwap::from_pointee(rules),
        directory_tls: Default::default(),
        attempts: Default::default(),
        store: ArcSwap::from_pointee(store),
        lookups: Default::default(),
        tokens: Default::default(),
        issuers: Default::default(),
        handshakes: Aside::new(handshakes_at_once())?,
        turnstile: Turnstile::new(workers.runtime.metrics()),
        lifecycle: Lifecycle::default(),
        logins: Default::default(),
        opening: AtomicUsize::new(0),
        routines: Default::default(),
        scopes: Default::default(),
        shapes: Default::default(),
        server_ids: ServerIds::default(),
        runtime: workers.runtime.clone(),
    })
}

async fn serve(
    listeners: Vec<Listener>,
    metrics: Option<std::net::TcpListener>,
    shared: &Arc<Shared>,
    mut operator: Operator<'_>,
) {
    tokio::spawn(janitor::run(Arc::clone(shared) as Arc<dyn janitor::House>));
    tokio::spawn(averages::run(Arc::clone(shared) as Arc<dyn Realm>));
    let (stop_http, http_stopped) = tokio::sync::oneshot::channel::<()>();
    if let Some(listener) = metrics {
        let health = Arc::clone(shared) as Arc<dyn http::Health>;
        let state = http::State::new(Arc::clone(&shared.metrics), Arc::clone(&shared.desk.advice), health)
            .with(Arc::clone(shared) as Arc<dyn http::More>);
        tokio::spawn(async move {
            let stopped = async { drop(http_stopped.await) };
            if let Err(error) = http::serve(listener, state, stopped).await {
                tracing::error!("metrics are not served: {error}");
            }
        });
    }
    reload::keep_minimums(shared);
    shared.lifecycle.advance(Phase::Running);
    let acceptors: Vec<_> =
        listeners.into_iter().map(|l| shared.runtime.spawn(accept::accept(l, Arc::clone(shared)))).collect();
    systemd::ready();
    tokio::spawn(systemd::watchdog(Arc::clone(shared)));
    let ending = operator.ending().await;
    systemd::stopping();
    shared.lifecycle.advance(Phase::Draining);
    shared.logins.stop();
    acceptors.iter().for_each(tokio::task::JoinHandle::abort);
    end(shared, ending, &mut operator).await;
    stop(shared).await;
    drop(stop_http);
}

/// Waits for whom `ending` says. Another signal ends the wait, another SHUTDOWN changes it.
async fn end(shared: &Shared, mut ending: Ending, operator: &mut Operator<'_>) {
    loop {
        tokio::select! {
            () = drain(shared, ending) => return,
            next = operator.ending() => match next {
                Ending::Drain => return,
                next => ending = next,
            },
        }
    }
}

/// Lets running transactions, or clients, finish.
async fn drain(shared: &Shared, ending: Ending) {
    let limit = match ending {
        Ending::By(Shutdown::Immediate) => return,
        Ending::By(_) => None,
        Ending::Drain => Some(shared.config.load().general.shutdown_timeout),
    };
    let clients = shared.roster.connected();
    if ending == Ending::By(Shutdown::WaitForClients) {
        tracing::info!(clients, "stopping: waiting for clients to leave");
        while shared.roster.connected() > 0 {
            sleep(LOOK).await;
        }
        return;
    }
    tracing::info!(clients, seconds = limit.map(|l| l.as_secs()), "stopping: letting transactions finish");
    let until = limit.map(|limit| Instant::now() + limit);
    while shared.roster.connected() > 0 && until.is_none_or(|until| Instant::now() < until) {
        shared.roster.kick_all(Kick::Shutdown);
        sleep(LOOK).await;
    }
}

/// Tells everybody who is left, then lets go of the servers.
async fn stop(shared: &Shared) {
    let rosters = [&shared.roster, &shared.consoles];
    rosters.iter().for_each(|roster| roster.kick_all(Kick::Now));
    let until = Instant::now() + PARTING;
    let is_told = || {
        rosters.iter().all(|roster| roster.connected() == 0) && shared.opening.load(Ordering::Relaxed) == 0
    };
    while !is_told() && Instant::now() < until {
        sleep(LOOK).await;
    }
    shared.pools.shutdown();
    tracing::info!(clients_left = shared.roster.connected(), "stopped");
}

fn announce(config: &Config, listeners: &[Listener], metrics: Option<&std::net::TcpListener>) {
    let mut on: Vec<String> = listeners.iter().map(|l| l.address().to_string()).collect();
    if let Some(Ok(address)) = metrics.map(std::net::TcpListener::local_addr) {
        on.push(format!("{address} (metrics)"));
    }
    let fallback = if config.fallback.is_some() { " and a fallback for others" } else { "" };
    tracing::info!(
        "pgweir {} listens on {}: {} databases{fallback}, {} users",
        env!("CARGO_PKG_VERSION"),
        on.join(", "),
        config.databases.len(),
        config.users.len(),
    );
}

/// Every client and every server is an open file.
fn raise_file_limit(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let wanted = files_foreseen(config);
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        tracing::warn!(
            "max_client_conn is {}, but this process may open only {} files: raise LimitNOFILE or ulimit -n",
            config.general.max_client_conn,
            limit.maximum.unwrap_or(0),
        );
    }
    // While there is one thread this costs nothing.
    files::make_room(wanted);
}

/// Files that are open when all clients are there.
pub(super) fn files_foreseen(config: &Config) -> u64 {
    u64::from(config.general.max_client_conn) + 512
}

/// Whose work is done at the same time: transactions have the other cores.
fn handshakes_at_once() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(text: &str, workers: &Workers) -> Arc<Shared> {
        let (config, _) = crate::config::parse(text, "x.toml").expect("a configuration");
        let store = secrets::store(&config).expect("secrets");
        let tls = Tls::new(&config).expect("no files");
        let (rules, _) = rules::rules(&config).expect("no rules");
        Arc::new(share(config, (store, tls, rules), workers, unbounded_channel().0).expect("threads"))
    }

    /// Entries of all that is kept by a name that clients choose.
    fn kept(shared: &Shared) -> [usize; 6] {
        [
            shared.contexts.lock().len(),
            shared.pools.list().len(),
            shared.pools.caps().len(),
            shared.metrics.pools().len(),
            shared.routines.lock().len(),
            shared.shapes.lock().len(),
        ]
    }

    #[test]
    fn a_machine_id() {
        for (text, expected) in [
            ("4f7202a9bdcfcffb5130c457e999e801\n", true),
            ("4f7202a9bdcfcffb5130c457e999e80\n", false),
            ("00000000000000000000000000000000\n", false),
            ("uninitialized\n", false),
            ("", false),
        ] {
            assert_eq!(is_machine_id(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn invented_databases_leave_nothing_behind() {
        let workers = Workers::start(1).expect("a worker");
        let shared =
            shared("[databases.\"*\"]\nhost = \"127.0.0.1\"\n[users.app]\npassword = \"x\"\n", &workers);
        let forget = |name: &str| {
            let database = shared.config.load().database(name).expect("the fallback's");
            shared.forget_invented(&shared.context(&database, "app"));
        };
        forget("first");
        let before = kept(&shared);
        (0..20).for_each(|n| forget(&format!("invented{n}")));
        assert_eq!(kept(&shared), before);
        drop(shared);
        workers.stop();
    }
}
