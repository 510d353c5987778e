//! pgweir as a service of the machine: what systemd is told and hands over, where the log goes, what is listened on.

mod support;

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::certificates::{Certificates, Kind, text};
use support::cluster::Cluster;
use support::pgweir::{Config, Pgweir};
use support::raw::{Client, Target};
use support::{PATIENCE, eventually};

/// The next message to systemd, `WATCHDOG=1` left out.
fn told(systemd: &UnixDatagram) -> String {
    let mut bytes = [0; 512];
    loop {
        let n = systemd.recv(&mut bytes).expect("a message in time");
        let text = String::from_utf8_lossy(&bytes[..n]).trim_end().to_owned();
        if text != "WATCHDOG=1" {
            return text;
        }
    }
}

#[test]
fn systemd_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notify");
    let systemd = UnixDatagram::bind(&path).expect("bound");
    systemd.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
    let config = Config::new(Cluster::shared())
        .environment("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))
        .environment("WATCHDOG_USEC", "100000");
    let pgweir = Pgweir::start(&config);
    assert_eq!(told(&systemd), "READY=1");
    let mut bytes = [0; 64];
    let n = systemd.recv(&mut bytes).expect("in time");
    assert_eq!(String::from_utf8_lossy(&bytes[..n]).trim_end(), "WATCHDOG=1");
    pgweir.reload(&config);
    let reloading = told(&systemd);
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(&systemd), "READY=1");
    assert!(pgweir.stop().success());
    assert_eq!(told(&systemd), "STOPPING=1");
}

/// Puts listening sockets where systemd would, and becomes the program it is given.
const HANDS_OVER: &str = "
import os, socket, sys
tcp = socket.create_server(('127.0.0.1', int(sys.argv[1])))
unix = socket.socket(socket.AF_UNIX); unix.bind(sys.argv[2]); unix.listen()
metrics = socket.create_server(('127.0.0.1', int(sys.argv[3])))
kept = [os.dup(s.fileno()) for s in (tcp, unix, metrics)]
for at, fd in enumerate(kept): os.dup2(fd, 20 + at)
for at in range(3): os.dup2(20 + at, 3 + at, inheritable=True)
os.environ.update(LISTEN_FDS='3', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='pgweir.socket:pgweir.socket:metrics')
os.execv(sys.argv[4], sys.argv[4:])
";

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn sockets_are_taken_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let (socket, file) = (dir.path().join(".s.PGSQL.6432"), dir.path().join("pgweir.toml"));
    let config = Config::new(Cluster::shared()).set("listen_port", 1).set("unix_socket_dir", "");
    std::fs::write(&file, config.put("metrics", "listen", "").render()).expect("written");
    let free = || {
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port").port()
    };
    let (port, metrics) = (free(), free());
    let mut python = Command::new("python3");
    python.args(["-c", HANDS_OVER, &port.to_string()]).arg(&socket).arg(metrics.to_string());
    python.arg(env!("CARGO_BIN_EXE_pgweir")).arg(&file).stderr(Stdio::null());
    let _pgweir = Ended(python.spawn().expect("python3"));
    eventually("answers", || std::net::TcpStream::connect(("127.0.0.1", metrics)).is_ok());
    let mut by_tcp = Client::connect(&Target::tcp(([127, 0, 0, 1], port).into(), "app", "app"));
    assert_eq!(by_tcp.value("SELECT 1"), "1");
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).expect("it listens there, too");
    std::io::Write::write_all(&mut stream, &[0, 0, 0, 8, 4, 210, 22, 47]).expect("an SSLRequest");
    let mut answer = [0];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"N");
}

#[test]
fn the_log_file_is_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, old) = (dir.path().join("pgweir.log"), dir.path().join("pgweir.log.1"));
    let config = Config::new(Cluster::shared()).set("logfile", file.to_str().expect("UTF-8"));
    let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let pgweir = Pgweir::start(&config);
    eventually("told there", || text(&file).contains("listens on"));
    assert!(pgweir.log().is_empty(), "{}", pgweir.log());
    std::fs::rename(&file, &old).expect("rotated");
    pgweir.reload(&config);
    eventually("a new file", || text(&file).contains("configuration reloaded"));
    std::fs::rename(&file, dir.path().join("pgweir.log.2")).expect("rotated");
    pgweir.reload(&config.clone().set("logfile", "/nowhere/log").set("log_level", "error"));
    eventually("told", || {
        text(&file).contains("reload failed, nothing was changed: cannot log to logfile /nowhere/log")
    });
    let _client = pgweir.client();
    eventually("logged as before", || text(&file).contains("login"));
    assert!(!text(&old).contains("reload failed"));
}

#[test]
fn addresses_and_the_socket_file_are_as_configured() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config::new(Cluster::shared()).set("listen_addr", "127.0.0.1, 127.0.0.2");
    let config =
        config.set("unix_socket_dir", dir.path().to_str().expect("UTF-8")).set("unix_socket_mode", "0660");
    let group = if rustix::process::getuid().is_root() { 12_345 } else { rustix::process::getgid().as_raw() };
    let pgweir = Pgweir::start(&config.set("unix_socket_group", group.to_string().as_str()));
    for host in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        let mut client = Client::connect(&Target::tcp((host, pgweir.port).into(), "app", "app"));
        assert_eq!(client.value("SELECT 1"), "1");
    }
    let path = dir.path().join(format!(".s.PGSQL.{}", pgweir.port));
    let about = std::fs::metadata(&path).expect("the socket");
    assert_eq!((about.permissions().mode() & 0o777, about.gid()), (0o660, group));
    assert!(pgweir.stop().success());
    assert!(!path.exists());
}

/// The log and the metrics tell of a certificate that has ended, and of the one that takes its place.
#[test]
fn certificates_that_end_are_told() {
    const NAME: &str = "pgweir_tls_certificate_expiry_timestamp_seconds";
    let own = Certificates::new();
    let old = own.issue("server", &Kind::of(&["localhost"]).expired());
    let config = Config::new(Cluster::shared())
        .set("client_tls_sslmode", "allow")
        .set("client_tls_cert_file", text(&old.certificate))
        .set("client_tls_key_file", text(&old.key));
    let pgweir = Pgweir::start(&config);
    let warning =
        format!("{}: the certificate of client_tls_cert_file has expired ", old.certificate.display());
    eventually("a warning", || pgweir.log().matches(&warning).count() == 1);
    let until = || pgweir.metric(NAME, &["setting=\"client_tls_cert_file\"", "server.pem"]);
    assert_eq!(until(), 978_307_200.0);
    own.issue("server", &Kind::of(&["localhost"]));
    pgweir.reload(&config);
    eventually("the new one", || until() > 4e9);
    assert_eq!(pgweir.log().matches(&warning).count(), 1);
    pgweir.reload(&Config::new(Cluster::shared()));
    eventually("none", || until() == 0.0);
}
