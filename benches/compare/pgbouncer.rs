//! A PgBouncer of this machine: where it is, its version, and a running one with pgweir's settings in its own words.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Setup;
use super::support::PATIENCE;
use super::support::process::{self, Watchdog};

/// The first version that keeps prepared statements in transaction mode.
const WITH_STATEMENTS: (u32, u32) = (1, 21);

/// An installed PgBouncer.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// As it says itself: `PgBouncer 1.26.1`.
    pub(crate) version: String,
}

impl Program {
    /// `$PGBOUNCER`, else the one in PATH, else Debian's.
    ///
    /// # Errors
    /// When there is none: how to get one.
    pub(crate) fn find() -> Result<Self, String> {
        let named = std::env::var_os("PGBOUNCER").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = std::env::split_paths(&path).map(|dir| dir.join("pgbouncer"));
        let mut places: Vec<PathBuf> = usual.chain(["/usr/sbin/pgbouncer".into()]).collect();
        if let Some(named) = named {
            places = vec![named];
        }
        let found = places.iter().find(|place| place.is_file()).ok_or(
            "PgBouncer is not here: apt-get install pgbouncer, or name another one's path in $PGBOUNCER",
        )?;
        let told = Command::new(found).arg("--version").output();
        let told = told.map_err(|e| format!("{}: {e}", found.display()))?;
        let version = String::from_utf8_lossy(&told.stdout).lines().next().unwrap_or_default().to_owned();
        Ok(Self { path: found.clone(), version })
    }

    /// Whether it knows max_prepared_statements.
    pub(crate) fn keeps_statements(&self) -> bool {
        let number = self.version.rsplit(' ').next().unwrap_or_default();
        let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= WITH_STATEMENTS
    }
}

/// A running PgBouncer; dropping it stops it at once.
pub(crate) struct PgBouncer {
    pub(crate) port: u16,
    child: Child,
    dir: PathBuf,
    watchdog: Option<Watchdog>,
}

impl PgBouncer {
    /// Starts it, not as root, and waits until it listens.
    pub(crate) fn start(program: &Program, setup: &Setup<'_>) -> Self {
        let dir =
            tempfile::Builder::new().prefix("pgbouncer-").tempdir().expect("a temporary directory").keep();
        let port = process::free_port();
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).expect("our directory");
            process::give_to_unprivileged(&path);
            path
        };
        file("userlist.txt", &format!("\"app\" \"{}\"\n", setup.verifier));
        let users = dir.join("userlist.txt").display().to_string();
        let ini = file("pgbouncer.ini", &configuration(program, setup, port, &users));
        process::give_to_unprivileged(&dir);
        let log = File::create(dir.join("log")).expect("our directory");
        let child = process::unprivileged_command(&program.path)
            .arg(&ini)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", program.path.display()));
        fs::write(dir.join("pid"), child.id().to_string()).expect("our directory");
        let watchdog = Some(Watchdog::over(&dir.join("pid"), &dir));
        let mut started = Self { port, child, dir, watchdog };
        started.wait_until_it_listens();
        started
    }

    fn wait_until_it_listens(&mut self) {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let ended = self.child.try_wait().expect("our child").is_some();
            let log = || fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(!ended && Instant::now() < deadline, "PgBouncer does not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        self.watchdog = None;
        fs::remove_dir_all(&self.dir).ok();
    }
}

fn configuration(program: &Program, setup: &Setup<'_>, port: u16, users: &str) -> String {
    let Setup { cluster, clients, .. } = setup;
    let servers = super::SERVERS;
    let statements = if program.keeps_statements() {
        format!("max_prepared_statements = {}", super::STATEMENTS)
    } else {
        String::new()
    };
    format!(
        "[databases]
app = host=127.0.0.1 port={} dbname=app
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {servers}
max_client_conn = {clients}
server_idle_timeout = 0
server_lifetime = {}
log_connections = 0
log_disconnections = 0
log_stats = 0
{statements}
",
        cluster.port,
        super::LIFETIME,
    )
}
