//! A throwaway PostgreSQL on 127.0.0.1 and on a Unix socket, without durability, gone with the test process.
//! Users: `app` (scram), `md5user`, `plainuser` (password), `trusty`; each password is `secret-` and the name.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::PATIENCE;
use super::process::{self, Watchdog};
use super::raw::{Address, Client, Target};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Debian's; any other version it packages when 15 is not there.
    V15,
    /// Protocol 3.2 and long cancel keys.
    V18,
}

const HBA: &str = "\
local all all trust
host all postgres 127.0.0.1/32 trust
host all app 127.0.0.1/32 scram-sha-256
host all md5user 127.0.0.1/32 md5
host all plainuser 127.0.0.1/32 password
host all trusty 127.0.0.1/32 trust
";

const SCHEMA: &str = "\
CREATE ROLE app LOGIN PASSWORD 'secret-app';
CREATE ROLE plainuser LOGIN PASSWORD 'secret-plainuser';
CREATE ROLE trusty LOGIN PASSWORD 'secret-trusty';
SET client_min_messages = error;
SET password_encryption = 'md5';
CREATE ROLE md5user LOGIN PASSWORD 'secret-md5user'";

pub struct Cluster {
    pub port: u16,
    dir: PathBuf,
    bin: PathBuf,
    postmaster: Option<Child>,
    extra: Vec<String>,
    _watchdog: Watchdog,
}

impl Cluster {
    pub fn start(version: Version) -> Self {
        Self::with_settings(version, &[])
    }

    /// One per test binary; ends with it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(Version::V15))
    }

    /// `settings` as on PostgreSQL's command line: `name=value`.
    pub fn with_settings(version: Version, settings: &[&str]) -> Self {
        let bin = version.bin().unwrap_or_else(|why| panic!("{why}"));
        let dir =
            tempfile::Builder::new().prefix("pgweir-pg-").tempdir_in(scratch()).expect("a directory").keep();
        process::give_to_unprivileged(&dir);
        let watchdog = Watchdog::over(&dir.join("data/postmaster.pid"), &dir);
        copy(&template(&bin), &dir.join("data"));
        let extra = settings.iter().map(|s| (*s).to_owned()).collect();
        let port = process::free_port();
        let mut cluster = Self { port, dir, bin, postmaster: None, extra, _watchdog: watchdog };
        cluster.start_again();
        cluster
    }

    /// A cluster from nothing, to be copied.
    fn first(bin: &Path) -> Self {
        let dir =
            tempfile::Builder::new().prefix("pgweir-pg-").tempdir_in(scratch()).expect("a directory").keep();
        process::give_to_unprivileged(&dir);
        let watchdog = Watchdog::over(&dir.join("data/postmaster.pid"), &dir);
        initdb(bin, &dir);
        let (port, bin) = (process::free_port(), bin.to_owned());
        let mut cluster = Self { port, dir, bin, postmaster: None, extra: Vec::new(), _watchdog: watchdog };
        cluster.start_again();
        cluster.sql("postgres", SCHEMA);
        cluster.create_database("app");
        cluster.create_database("other");
        cluster.stop_fast();
        cluster
    }

    /// A database where every user may do everything.
    pub fn create_database(&self, name: &str) {
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER app"));
        self.sql(name, "GRANT ALL ON SCHEMA public TO PUBLIC");
    }

    /// Starts the stopped postmaster on the same port; ready when this returns.
    pub fn start_again(&mut self) {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log")).expect("log file");
        let mut command = process::unprivileged_command(&self.bin.join("postgres"));
        command.arg("-D").arg(self.data()).arg("-k").arg(&self.dir).args(["-p", &self.port.to_string()]);
        for setting in &self.extra {
            command.args(["-c", setting]);
        }
        let error_log = log.try_clone().expect("a second handle");
        command.stdin(Stdio::null()).stdout(log).stderr(error_log).current_dir("/").process_group(0);
        let mut child = command.spawn().expect("postgres starts");
        let deadline = Instant::now() + PATIENCE;
        while Client::try_connect(&self.superuser("postgres")).is_err() {
            let gone = child.try_wait().expect("our child");
            assert!(gone.is_none(), "postgres ended with {gone:?}:\n{}", self.log());
            assert!(Instant::now() < deadline, "postgres is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.postmaster = Some(child);
    }

    /// Ends it as `pg_ctl stop -m immediate` does: no goodbye to anyone.
    pub fn stop_immediate(&mut self) {
        self.stop_by(Signal::QUIT);
    }

    /// Ends it as `pg_ctl stop -m fast` does: sessions get FATAL 57P01.
    pub fn stop_fast(&mut self) {
        self.stop_by(Signal::INT);
    }

    pub fn restart(&mut self) {
        self.stop_fast();
        self.start_again();
    }

    fn stop_by(&mut self, how: Signal) {
        let Some(mut child) = self.postmaster.take() else { return };
        process::signal(child.id(), Signal::CONT);
        process::signal(child.id(), how);
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().expect("our child").is_none() {
            if Instant::now() > deadline {
                process::signal(child.id(), Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the postmaster in its tracks: connections are accepted by the kernel and never answered.
    pub fn freeze(&self) {
        self.signal_postmaster(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal_postmaster(Signal::CONT);
    }

    fn signal_postmaster(&self, how: Signal) {
        process::signal(self.postmaster.as_ref().expect("it runs").id(), how);
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn socket_dir(&self) -> &Path {
        &self.dir
    }

    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Straight to PostgreSQL over TCP.
    pub fn target(&self, user: &str, database: &str) -> Target {
        Target::tcp(self.address(), user, database)
    }

    fn superuser(&self, database: &str) -> Target {
        let socket = self.dir.join(format!(".s.PGSQL.{}", self.port));
        Target { address: Address::Unix(socket), ..Target::tcp(self.address(), "postgres", database) }
    }

    /// Runs SQL as the superuser over a connection of its own; the rows of all statements, as text.
    #[track_caller]
    pub fn sql(&self, database: &str, sql: &str) -> Vec<Vec<Option<String>>> {
        let mut client = Client::connect(&self.superuser(database));
        client.rows(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The one value such a query gives.
    #[track_caller]
    pub fn value(&self, database: &str, sql: &str) -> String {
        let rows = self.sql(database, sql);
        rows.first()
            .and_then(|row| row.first().cloned().flatten())
            .unwrap_or_else(|| panic!("{sql}: no value"))
    }

    /// Client backends that satisfy `condition` over pg_stat_activity, such as `usename = 'app'`.
    pub fn connections(&self, condition: &str) -> usize {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND \
             pid <> pg_backend_pid() AND ({condition})"
        );
        self.value("postgres", &sql).parse().expect("a count")
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Puts a line in front of pg_hba.conf; PostgreSQL goes by it soon.
    pub fn hba(&self, line: &str) {
        static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock();
        let path = self.data().join("pg_hba.conf");
        let old = fs::read_to_string(&path).expect("a cluster has one");
        fs::write(&path, format!("{line}\n{old}")).expect("our directory");
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_immediate();
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// The data directory every cluster of these programs begins as; made once, whichever test process comes first.
fn template(bin: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (bin, HBA, SCHEMA, SETTINGS).hash(&mut hasher);
    let templates = test_tools().join("templates");
    fs::create_dir_all(&templates).expect("a directory for templates");
    let (ready, part) = (hasher.finish().to_string(), format!("{}.part", hasher.finish()));
    let (ready, part) = (templates.join(ready), templates.join(part));
    let lock = fs::File::create(templates.join("lock")).expect("a lock file");
    lock.lock().expect("locked");
    if !ready.exists() {
        fs::remove_dir_all(&part).ok();
        copy(&Cluster::first(bin).data(), &part);
        fs::rename(&part, &ready).expect("renamed");
    }
    ready
}

/// Memory, where there is enough: a cluster is 1,600 small files.
fn scratch() -> PathBuf {
    const ENOUGH: u64 = 4 << 30;
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |s| s.f_bavail * s.f_frsize);
    if free > ENOUGH { memory.to_owned() } else { std::env::temp_dir() }
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").args([from, to]));
}

const SETTINGS: &str = "\
listen_addresses = '127.0.0.1'
max_connections = 300
fsync = off
synchronous_commit = off
full_page_writes = off
password_encryption = 'scram-sha-256'
shared_buffers = '32MB'
max_wal_size = '1GB'
autovacuum = off
superuser_reserved_connections = 10
";

fn initdb(bin: &Path, dir: &Path) {
    let data = dir.join("data");
    let output = process::unprivileged_command(&bin.join("initdb"))
        .args([
            "--no-sync",
            "--no-instructions",
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "-D",
        ])
        .arg(&data)
        .current_dir("/")
        .output()
        .expect("initdb starts");
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    let conf = data.join("postgresql.conf");
    let packaged = fs::read_to_string(&conf).expect("initdb wrote it");
    fs::write(&conf, packaged + SETTINGS).expect("writable");
    fs::write(data.join("pg_hba.conf"), HBA).expect("writable");
}

impl Version {
    /// Where its programs are, or what to do.
    pub fn bin(self) -> Result<PathBuf, String> {
        let from_environment = match self {
            Self::V15 => std::env::var_os("PGWEIR_PG15"),
            Self::V18 => std::env::var_os("PGWEIR_PG18"),
        };
        let found = match (from_environment, self) {
            (Some(path), _) => Some(PathBuf::from(path)),
            (None, Self::V15) => debian_bin(),
            (None, Self::V18) => fs::canonicalize(test_tools().join("pg18/bin")).ok(),
        };
        let part = if self == Self::V15 { "postgres" } else { "pg18" };
        match found {
            Some(path) if path.join("initdb").exists() => Ok(path),
            _ => Err(format!("PostgreSQL ({self:?}) is not here; run tests/tools/install {part}")),
        }
    }
}

fn debian_bin() -> Option<PathBuf> {
    let root = Path::new("/usr/lib/postgresql");
    let mut versions: Vec<u32> =
        fs::read_dir(root).ok()?.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    versions.sort_by_key(|version| (*version == 15, *version));
    Some(root.join(versions.last()?.to_string()).join("bin"))
}

/// Where `tests/tools/install` puts what is not a system package.
pub fn test_tools() -> PathBuf {
    match std::env::var_os("PGWEIR_TEST_TOOLS") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools"),
    }
}

/// The output of a program that must succeed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}
