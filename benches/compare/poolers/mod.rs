//! What is measured, as the measurements see it: processes behind a port, all with the same settings.

mod floor;
mod haproxy;
mod pgbouncer;
mod program;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use program::{Program, Running};

use super::counters;
use super::support::certificates::{Files, text};
use super::support::pgweir::{As, Config, Pgweir};
use super::support::raw::Target;

/// max_prepared_statements
const STATEMENTS: u32 = 200;
/// listen_backlog: a crowd is to wait for the pooler, not for its own kernel's next try a second later.
const BACKLOG: u32 = 4096;
/// server_lifetime in seconds: no server is replaced meanwhile.
const LIFETIME: u32 = 86_400;
/// Clients beyond those of the measurement: whoever asks one thing beside it.
const BESIDE: u32 = 100;

/// What a pooler is started with.
pub(crate) struct Setup {
    /// Port of PostgreSQL, or of who plays it.
    pub(crate) server: u16,
    /// The directory of its Unix socket, if that is to be used.
    pub(crate) socket: Option<PathBuf>,
    /// Databases, so pools.
    pub(crate) databases: u32,
    /// Server connections of each pool, at most.
    pub(crate) servers: u32,
    pub(crate) workers: u32,
    /// max_client_conn
    pub(crate) clients: u32,
    /// The SCRAM secret of user `app` as PostgreSQL stores it: no pooler knows the password.
    pub(crate) verifier: String,
    /// pgweir's metrics_compat; its numbers are served only if it is set.
    pub(crate) metrics: Option<&'static str>,
    pub(crate) tls: Tls,
}

/// Who uses TLS; the certificate is the pooler's.
#[derive(Clone)]
pub(crate) enum Tls {
    Nobody,
    /// Clients that want to.
    SomeClients(Files),
    /// All clients have to, and PostgreSQL.
    Everybody(Files),
}

impl Tls {
    fn certificate(&self) -> Option<&Files> {
        match self {
            Self::Nobody => None,
            Self::SomeClients(files) | Self::Everybody(files) => Some(files),
        }
    }

    /// client_tls_sslmode and server_tls_sslmode
    fn modes(&self) -> (&'static str, &'static str) {
        match self {
            Self::Nobody => ("disable", "disable"),
            Self::SomeClients(_) => ("allow", "disable"),
            Self::Everybody(_) => ("require", "require"),
        }
    }
}

impl Setup {
    fn databases(&self) -> impl Iterator<Item = String> {
        (0..self.databases).map(database)
    }
}

/// The name of a database; all are `app` to the server.
fn database(number: u32) -> String {
    if number == 0 { "app".to_owned() } else { format!("app{number}") }
}

/// What can be measured.
#[derive(Clone)]
pub(crate) enum Kind {
    PgBouncer(Program),
    Haproxy(Program),
    /// A relay that looks at nothing, if it is asked for.
    Floor(Program),
    /// The path of the binary.
    Pgweir(PathBuf),
}

impl Kind {
    /// All there are, pgweir last, and a word about each that is missing.
    ///
    /// # Errors
    /// When pgweir itself is missing, or the floor that is wanted.
    pub(crate) fn all(with_floor: bool) -> Result<(Vec<Self>, Vec<String>), String> {
        let (mut kinds, mut missing) = (Vec::new(), Vec::new());
        for found in [pgbouncer::find().map(Self::PgBouncer), haproxy::find().map(Self::Haproxy)] {
            match found {
                Ok(kind) => kinds.push(kind),
                Err(why) => missing.push(why),
            }
        }
        if with_floor {
            kinds.push(Self::Floor(floor::find()?));
        }
        kinds.push(Self::own()?);
        Ok((kinds, missing))
    }

    /// `$PGWEIR_BINARY`, else the binary beside the directory this program was built into.
    fn own() -> Result<Self, String> {
        let built = std::env::current_exe().map_err(|e| e.to_string())?;
        let directory = built.parent().and_then(Path::parent).unwrap_or(Path::new("target/release"));
        let named = std::env::var_os("PGWEIR_BINARY").map(PathBuf::from);
        let binary = named.unwrap_or_else(|| directory.join("pgweir"));
        match binary.exists() {
            true => Ok(Self::Pgweir(binary)),
            false => Err(format!("{} is not there; run make build", binary.display())),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::PgBouncer(_) => "PgBouncer",
            Self::Haproxy(_) => "haproxy",
            Self::Floor(_) => "floor",
            Self::Pgweir(_) => "pgweir",
        }
    }

    /// With its version.
    pub(crate) fn full_name(&self) -> String {
        match self {
            Self::PgBouncer(program) | Self::Haproxy(program) => {
                format!("{} {}", self.name(), program.number())
            }
            Self::Floor(_) => "floor (a relay that looks at nothing)".to_owned(),
            Self::Pgweir(_) => format!("{} {}", self.name(), env!("CARGO_PKG_VERSION")),
        }
    }

    /// Whether clients share servers.
    pub(crate) fn pools(&self) -> bool {
        !matches!(self, Self::Haproxy(_) | Self::Floor(_))
    }

    /// Whether prepared statements work in transaction mode.
    pub(crate) fn keeps_statements(&self) -> bool {
        match self {
            Self::PgBouncer(program) => pgbouncer::keeps_statements(program),
            Self::Haproxy(_) | Self::Floor(_) | Self::Pgweir(_) => true,
        }
    }

    /// Fresh processes that listen; panics with their log if they don't.
    pub(crate) fn start(&self, setup: &Setup) -> Pooler {
        let setup = &Setup {
            clients: setup.clients + BESIDE,
            socket: setup.socket.clone(),
            verifier: setup.verifier.clone(),
            tls: setup.tls.clone(),
            ..*setup
        };
        let (port, held) = match self {
            Self::PgBouncer(program) => {
                let (port, processes) = pgbouncer::start(program, setup);
                (port, Held::Others(processes))
            }
            Self::Haproxy(program) => {
                let (port, processes) = haproxy::start(program, setup);
                (port, Held::Others(processes))
            }
            Self::Floor(program) => {
                let (port, processes) = floor::start(program, setup);
                (port, Held::Others(processes))
            }
            Self::Pgweir(binary) => {
                let started = Pgweir::start_binary(binary, &configuration(setup), As::Ourselves);
                (started.port, Held::Own(Box::new(started)))
            }
        };
        Pooler { port, encrypts: matches!(setup.tls, Tls::Everybody(_)), held }
    }
}

enum Held {
    Own(Box<Pgweir>),
    Others(Vec<Running>),
}

/// A running pooler; dropping it stops it.
pub(crate) struct Pooler {
    pub(crate) port: u16,
    /// Whether clients have to use TLS.
    pub(crate) encrypts: bool,
    held: Held,
}

impl Pooler {
    pub(crate) fn pids(&self) -> Vec<u32> {
        match &self.held {
            Held::Own(pooler) => vec![pooler.pid()],
            Held::Others(processes) => processes.iter().map(Running::pid).collect(),
        }
    }

    /// CPU time so far.
    ///
    /// # Errors
    /// When it has died.
    pub(crate) fn cpu_time(&self) -> Result<Duration, String> {
        counters::cpu_time(&self.pids())
    }

    /// Its threads go before whatever else wants their core from now on, the machine's own daemons above all, which would hold them up
    /// for milliseconds; those it makes later don't. Whether that was allowed.
    pub(crate) fn put_first(&self) -> bool {
        let threads =
            self.pids().into_iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
        threads.flatten().flatten().all(|thread| {
            let mut chrt = Command::new("chrt");
            chrt.args(["--reset-on-fork", "--fifo", "--pid", "1"]).arg(thread.file_name());
            chrt.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        })
    }

    /// For how long its busiest thread has waited for a core so far.
    pub(crate) fn waited(&self) -> Duration {
        counters::waited(&self.pids())
    }

    /// Resident memory in KiB.
    ///
    /// # Errors
    /// When it has died.
    pub(crate) fn resident(&self) -> Result<f64, String> {
        Ok(counters::resident(&self.pids())? as f64)
    }

    /// What a GET of `path` brings at the port of pgweir's numbers.
    ///
    /// # Errors
    /// When it is no pgweir, or the answer is none.
    pub(crate) fn http(&self, path: &str) -> Result<String, String> {
        let Held::Own(pooler) = &self.held else { return Err("it has no numbers by HTTP".into()) };
        match pooler.http(path) {
            (200, body) => Ok(body),
            (status, body) => Err(format!("{path}: {status} {body}")),
        }
    }

    /// User `app` in the database of that number.
    pub(crate) fn target(&self, number: u32) -> Target {
        Target::tcp(([127, 0, 0, 1], self.port).into(), "app", &database(number))
    }
}

fn configuration(setup: &Setup) -> Config {
    let server = SocketAddr::from(([127, 0, 0, 1], setup.server));
    let mut config = Config::to(server)
        .without("databases.other")
        .set("workers", i64::from(setup.workers))
        .set("default_pool_size", i64::from(setup.servers))
        .set("max_client_conn", i64::from(setup.clients))
        .set("listen_backlog", i64::from(BACKLOG))
        .set("max_prepared_statements", i64::from(STATEMENTS))
        .set("server_idle_timeout", 0)
        .set("client_login_timeout", 0)
        .set("server_lifetime", i64::from(LIFETIME))
        .set("log_connections", false)
        .set("log_disconnections", false)
        .put("users.app", "password", &*setup.verifier);
    config = match setup.metrics {
        Some(names) => config.set("metrics_compat", names),
        None => config.put("metrics", "listen", ""),
    };
    let (clients, servers) = setup.tls.modes();
    config = config.set("server_tls_sslmode", servers).set("client_tls_sslmode", clients);
    if let Some(files) = setup.tls.certificate() {
        config = config
            .set("client_tls_cert_file", text(&files.certificate))
            .set("client_tls_key_file", text(&files.key));
    }
    for name in setup.databases() {
        let section = format!("databases.{name}");
        config = config.database(&name, server).put(&section, "dbname", "app");
        if let Some(directory) = &setup.socket {
            config = config.put(&section, "host", text(directory));
        }
    }
    for other in ["md5user", "plainuser", "trusty"] {
        config = config.without(&format!("users.{other}"));
    }
    config
}
