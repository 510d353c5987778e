//! The pgweir under test: a generated configuration, a process, its log and its numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::PATIENCE;
use super::cluster::Cluster;
use super::process::{self, Watchdog};
use super::raw::{Client, Target};

/// A value of the configuration, written as TOML.
pub struct Value(String);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(format!("{text:?}"))
    }
}

impl Value {
    /// A TOML array.
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        let items: Vec<_> = items.into_iter().map(|item| item.0).collect();
        Self(format!("[{}]", items.join(", ")))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self(number.to_string())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self(truth.to_string())
    }
}

/// Table name → key → value.
#[derive(Clone, Default)]
pub struct Config(BTreeMap<String, BTreeMap<String, String>>);

/// No table of the file.
const ENVIRONMENT: &str = "(environment)";

impl Config {
    /// Transaction mode, scram, databases `app` and `other`, all the users of [`Cluster`], nothing logged but events.
    pub fn new(cluster: &Cluster) -> Self {
        Self::to(cluster.address())
    }

    pub fn to(server: SocketAddr) -> Self {
        let mut config = Self::default()
            .set("listen_addr", "127.0.0.1")
            .set("unix_socket_dir", "")
            .set("auth_type", "scram-sha-256")
            .set("pool_mode", "transaction")
            .set("max_client_conn", 1000);
        for database in ["app", "other"] {
            config = config.database(database, server);
        }
        for user in ["app", "md5user", "plainuser", "trusty"] {
            config = config.put(&format!("users.{user}"), "password", format!("secret-{user}").as_str());
        }
        config
    }

    /// A database of that name on a server.
    #[must_use]
    pub fn database(self, name: &str, server: SocketAddr) -> Self {
        let table = format!("databases.{name}");
        let host = server.ip().to_string();
        self.put(&table, "host", host.as_str()).put(&table, "port", i64::from(server.port()))
    }

    /// A key of `[pgweir]`.
    #[must_use]
    pub fn set(self, key: &str, value: impl Into<Value>) -> Self {
        self.put("pgweir", key, value)
    }

    #[must_use]
    pub fn put(mut self, table: &str, key: &str, value: impl Into<Value>) -> Self {
        self.0.entry(table.to_owned()).or_default().insert(key.to_owned(), value.into().0);
        self
    }

    #[must_use]
    pub fn without(mut self, table: &str) -> Self {
        self.0.remove(table);
        self
    }

    /// A variable of the process's environment.
    #[must_use]
    pub fn environment(self, name: &str, value: &str) -> Self {
        self.put(ENVIRONMENT, name, value)
    }

    fn variables(&self) -> impl Iterator<Item = (&String, String)> {
        let variables = self.0.get(ENVIRONMENT).into_iter().flatten();
        variables.map(|(name, value)| (name, value.trim_matches('"').to_owned()))
    }

    pub fn render(&self) -> String {
        let mut text = String::new();
        for (table, keys) in self.0.iter().filter(|(table, _)| **table != ENVIRONMENT) {
            writeln!(text, "[{table}]").expect("strings take everything");
            for (key, value) in keys {
                writeln!(text, "{key} = {value}").expect("strings take everything");
            }
        }
        text
    }
}

/// How to run the binary.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// The user the tests run as, with their environment.
    Ourselves,
    /// Not root, and no environment at all.
    Nobody,
}

/// Whether a process listens on a port of 127.0.0.1. Not asked by a connection, which would be one that pgweir has.
fn listens(port: u16) -> bool {
    let (table, listener) =
        (std::fs::read_to_string("/proc/net/tcp"), format!(" 0100007F:{port:04X} 00000000:0000 0A "));
    table.expect("Linux").contains(&listener)
}

/// A running pgweir; dropping it stops it at once.
pub struct Pgweir {
    pub port: u16,
    pub metrics_port: u16,
    dir: PathBuf,
    child: Option<Child>,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    watchdog: Option<Watchdog>,
}

impl Pgweir {
    /// The binary cargo built with the tests, or what `PGWEIR_BINARY` names.
    #[track_caller]
    pub fn start(config: &Config) -> Self {
        let named = std::env::var_os("PGWEIR_BINARY").map(PathBuf::from);
        let Some(binary) = named.or(option_env!("CARGO_BIN_EXE_pgweir").map(PathBuf::from)) else {
            panic!("only integration tests know the binary");
        };
        Self::start_binary(&binary, config, As::Ourselves)
    }

    #[track_caller]
    pub fn start_binary(binary: &Path, config: &Config, user: As) -> Self {
        Self::start_at(binary, config, user, (process::free_port(), process::free_port()))
    }

    /// With the listening and the metrics port chosen by the caller.
    #[track_caller]
    pub fn start_at(binary: &Path, config: &Config, user: As, ports: (u16, u16)) -> Self {
        let dir =
            tempfile::Builder::new().prefix("pgweir-run-").tempdir().expect("a temporary directory").keep();
        let mut pgweir = Self {
            port: ports.0,
            metrics_port: ports.1,
            dir,
            child: None,
            log: Arc::default(),
            readers: Vec::new(),
            watchdog: None,
        };
        pgweir.write_config(config);
        let file = pgweir.config_file();
        let mut command = if user == As::Nobody {
            process::give_to_unprivileged(&pgweir.dir);
            process::give_to_unprivileged(&file);
            let mut command = process::unprivileged_command(binary);
            command.env_clear().env("PATH", "/usr/bin:/bin");
            command
        } else {
            Command::new(binary)
        };
        command
            .process_group(0)
            .envs(config.variables())
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", binary.display()));
        std::fs::write(pgweir.dir.join("pid"), child.id().to_string()).expect("our directory");
        pgweir.watchdog = Some(Watchdog::over(&pgweir.dir.join("pid"), &pgweir.dir));
        pgweir.collect(child.stdout.take().expect("piped"));
        pgweir.collect(child.stderr.take().expect("piped"));
        pgweir.child = Some(child);
        pgweir.wait_until_it_listens();
        pgweir
    }

    fn config_file(&self) -> PathBuf {
        self.dir.join("pgweir.toml")
    }

    /// Writes a new configuration, for whoever reads it.
    pub fn write_config(&self, config: &Config) {
        let mut config = config.clone().set("listen_port", i64::from(self.port));
        if !config.0.contains_key("metrics") {
            config = config.put("metrics", "listen", format!("127.0.0.1:{}", self.metrics_port).as_str());
        }
        std::fs::write(self.config_file(), config.render()).expect("our directory");
    }

    fn collect(&mut self, pipe: impl Read + Send + 'static) {
        let log = Arc::clone(&self.log);
        self.readers.push(std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        }));
    }

    #[track_caller]
    fn wait_until_it_listens(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        // The metrics' listener opens behind the other; if another process has that one, pgweir ends.
        let has_metrics = self.config_text().contains(&format!("127.0.0.1:{}", self.metrics_port));
        while TcpStream::connect(self.address()).is_err() || has_metrics && !listens(self.metrics_port) {
            let ended = self.child.as_mut().expect("just started").try_wait().expect("our child");
            if let Some(status) = ended {
                self.join_readers();
                panic!("pgweir ended with {status}:\n{}\n{}", self.log(), self.config_text());
            }
            assert!(Instant::now() < deadline, "pgweir does not listen:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn config_text(&self) -> String {
        std::fs::read_to_string(self.config_file()).unwrap_or_default()
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn target(&self, user: &str, database: &str) -> Target {
        Target::tcp(self.address(), user, database)
    }

    /// A session of user `app` in database `app`.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(&self.target("app", "app"))
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// What it has written to stdout and stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes a new configuration and sends HUP; returns at once.
    pub fn reload(&self, config: &Config) {
        self.write_config(config);
        process::signal(self.pid(), Signal::HUP);
    }

    /// Sends TERM and waits for the end.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        process::signal(self.pid(), Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.as_mut().expect("it runs").try_wait().expect("our child") {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < deadline, "pgweir does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Clients in a state: `active`, `waiting` or `idle`, over all pools.
    #[track_caller]
    pub fn clients(&self, state: &str) -> usize {
        self.metric("pgweir_pool_clients", &[&format!("state=\"{state}\"")]).round() as usize
    }

    /// Waits until exactly so many clients are queued.
    #[track_caller]
    pub fn wait_for_waiting(&self, clients: usize) {
        super::eventually(&format!("{clients} clients wait"), || self.clients("waiting") == clients);
    }

    /// True while the process lives.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// An HTTP GET: status and body.
    #[track_caller]
    pub fn http(&self, path: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(("127.0.0.1", self.metrics_port)).expect("the metrics port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("an answer");
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        (status, body)
    }

    /// `/metrics`: name with labels → value.
    #[track_caller]
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let (status, body) = self.http("/metrics");
        assert_eq!(status, 200, "{body}");
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        samples
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, v)| (name.to_owned(), v.parse().unwrap_or(f64::NAN)))
            .collect()
    }

    /// The sum over all samples of that name whose labels contain each of `labels`, such as `database="app"`.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let matches =
            |key: &str| key.split('{').next() == Some(name) && labels.iter().all(|label| key.contains(label));
        self.metrics().iter().filter(|(key, _)| matches(key)).map(|(_, value)| value).sum()
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().ok();
        }
    }
}

impl Drop for Pgweir {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- pgweir's log\n{}---", self.log());
        }
        self.watchdog = None;
        std::fs::remove_dir_all(&self.dir).ok();
    }
}
