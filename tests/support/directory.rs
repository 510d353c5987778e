//! A throwaway slapd on 127.0.0.1. Below `dc=example`: `ou=people` with `app` and `twin`, `ou=robots` with `twin`, and
//! `cn=search`; each password is `secret-` and the name.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use super::PATIENCE;
use super::certificates::Files;
use super::cluster::{run, test_tools};
use super::process::{self, Watchdog};

pub struct Directory {
    pub port: u16,
    /// For `ldaps`.
    pub tls_port: u16,
    child: Child,
    dir: tempfile::TempDir,
    _watchdog: Watchdog,
}

fn people() -> String {
    let mut text = "dn: dc=example\nobjectClass: domain\ndc: example\n\n".to_owned();
    for unit in ["people", "robots"] {
        writeln!(text, "dn: ou={unit},dc=example\nobjectClass: organizationalUnit\nou: {unit}\n")
            .expect("text");
    }
    for (uid, unit) in [("app", "people"), ("twin", "people"), ("twin", "robots")] {
        writeln!(
            text,
            "dn: uid={uid},ou={unit},dc=example\nobjectClass: account\nobjectClass: simpleSecurityObject\n\
             uid: {uid}\nuserPassword: secret-{uid}\n"
        )
        .expect("text");
    }
    text + "dn: cn=search,dc=example\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\n\
            cn: search\nuserPassword: secret-search\n"
}

/// Where `tests/tools/install slapd` has unpacked it.
fn programs() -> PathBuf {
    let place = test_tools().join("slapd");
    assert!(place.join("usr/sbin/slapd").exists(), "slapd is not here; run tests/tools/install slapd");
    place
}

fn slapd(programs: &Path, dir: &Path, first: &[&str]) -> Command {
    let libraries = fs::read_dir(programs.join("usr/lib")).expect("libraries");
    let paths: Vec<_> = libraries.map(|entry| entry.expect("an entry").path()).collect();
    let mut command = Command::new(programs.join("usr/sbin/slapd"));
    command.env("LD_LIBRARY_PATH", std::env::join_paths(paths).expect("paths"));
    command.args(first).arg("-f").arg(dir.join("slapd.conf")).stdin(Stdio::null());
    command
}

impl Directory {
    pub fn start(certificate: &Files) -> Self {
        let (programs, dir) =
            (programs(), tempfile::Builder::new().prefix("pgweir-ldap-").tempdir().expect("a directory"));
        let path = dir.path();
        fs::create_dir(path.join("data")).expect("our directory");
        fs::write(path.join("people.ldif"), people()).expect("our directory");
        let schemas = programs.join("etc/ldap/schema");
        let conf = format!(
            "include {0}/core.schema\ninclude {0}/cosine.schema\npidfile {1}/pid\nmodulepath {2}/usr/lib/ldap\n\
             moduleload back_mdb\nTLSCertificateFile {3}\nTLSCertificateKeyFile {4}\ndatabase mdb\nmaxsize 10485760\n\
             suffix dc=example\ndirectory {1}/data\naccess to attrs=userPassword by anonymous auth\n\
             access to * by dn.exact=cn=search,dc=example read by self read by anonymous auth\n",
            schemas.display(),
            path.display(),
            programs.display(),
            certificate.certificate.display(),
            certificate.key.display(),
        );
        fs::write(path.join("slapd.conf"), conf).expect("our directory");
        run(slapd(&programs, path, &["-Tadd"]).arg("-l").arg(path.join("people.ldif")));
        let (port, tls_port) = (process::free_port(), process::free_port());
        let watchdog = Watchdog::over(&path.join("pid"), path);
        let mut command = slapd(&programs, path, &[]);
        command.args([
            "-d",
            "0",
            "-h",
            &format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port} ldaps://[::1]:{tls_port}"),
        ]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("slapd starts");
        let mut directory = Self { port, tls_port, child, dir, _watchdog: watchdog };
        directory.wait();
        directory
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while [self.port, self.tls_port].iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_err())
        {
            let ended = self.child.try_wait().expect("our child");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "slapd in {:?}: {ended:?}",
                self.dir.path()
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A directory that says nothing but this, whatever it is asked first; then it says no more. Ends with the process.
pub struct Liar {
    pub port: u16,
    /// How many bytes of it were taken, once the connection is over.
    pub taken: mpsc::Receiver<usize>,
}

impl Liar {
    /// `lie` is made for the question.
    pub fn start(lie: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (tell, taken) = mpsc::channel();
        std::thread::spawn(move || {
            while let Ok((mut asks, _)) = listener.accept() {
                let mut question = [0; 4096];
                let size = asks.read(&mut question).unwrap_or(0);
                let lie = lie(&question[..size]);
                let sent = lie.chunks(4096).take_while(|part| asks.write_all(part).is_ok());
                let sent = sent.map(<[u8]>::len).sum();
                // Until the other side has had enough.
                let _ = asks.read(&mut question);
                if tell.send(sent).is_err() {
                    return;
                }
            }
        });
        Self { port, taken }
    }
}
