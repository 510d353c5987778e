//! Passwords that expire: asked of a command or a file, towards PostgreSQL.

mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::cluster::Cluster;
use support::eventually;
use support::pgweir::{Config, Pgweir, Value};
use support::raw::{Client, Target};
use tempfile::TempDir;

/// A program that gives passwords: the first line of `answers` that is left, the last again and again; `fails` makes it fail.
struct Provider(TempDir);

impl Provider {
    fn new(answers: &[&str]) -> Self {
        let this = Self(TempDir::new().expect("a directory of ours"));
        let script = "cd \"$(dirname \"$0\")\" && echo \"$@\" >> runs\n\
                      if [ -e fails ]; then echo leaked-by-output; echo leaked-by-error >&2; exit 3; fi\n\
                      head -n 1 answers && [ $(wc -l < answers) -lt 2 ] || sed -i 1d answers\n";
        fs::write(this.path("give"), script).expect("a directory of ours");
        fs::write(this.path("answers"), answers.join("\n") + "\n").expect("a directory of ours");
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn runs(&self) -> Vec<String> {
        let runs = fs::read_to_string(self.path("runs")).unwrap_or_default();
        runs.lines().map(str::to_owned).collect()
    }

    /// `server_password_command` of a user in that configuration.
    fn give(&self, config: Config, user: &str) -> Config {
        let script = self.path("give").display().to_string();
        let command = ["sh", &script, "%u", "%p", "%d"].map(Value::from);
        config.put(&format!("users.{user}"), "server_password_command", Value::list(command))
    }
}

/// A role of its own, by password in clear, which its clients don't know.
fn role(cluster: &Cluster, name: &str) {
    cluster.hba(&format!("host all {name} 127.0.0.1/32 password"));
    cluster.sql("postgres", &format!("CREATE ROLE {name} LOGIN PASSWORD 'token-1'"));
}

fn config(cluster: &Cluster, name: &str) -> Config {
    Config::new(cluster).put(&format!("users.{name}"), "password", "the-client's")
}

fn target(pgweir: &Pgweir, name: &str) -> Target {
    pgweir.target(name, "app").password("the-client's")
}

#[test]
fn a_command_is_asked_once_for_all_and_again_when_refused() {
    let (cluster, provider) = (Cluster::shared(), Provider::new(&["stale", "token-1"]));
    role(cluster, "iam1");
    let pgweir = Pgweir::start(&provider.give(config(cluster, "iam1"), "iam1"));
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let target = target(&pgweir, "iam1");
            std::thread::spawn(move || {
                let mut client = Client::connect(&target);
                client.query("BEGIN");
                client.value("SELECT current_user")
            })
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap() == "iam1"));
    let run = format!("iam1 {} app", cluster.address().port());
    assert_eq!(provider.runs(), [run.clone(), run], "{}", pgweir.log());
    assert!(!pgweir.log().contains("stale") && !pgweir.log().contains("token-1"));
}

#[test]
fn without_a_password_clients_are_told() {
    let (cluster, provider) = (Cluster::shared(), Provider::new(&["token-1"]));
    role(cluster, "iam2");
    fs::write(provider.path("fails"), "").unwrap();
    let pgweir = Pgweir::start(&provider.give(config(cluster, "iam2"), "iam2"));
    let error = Client::try_connect(&target(&pgweir, "iam2")).unwrap_err().error();
    let text = "server login failed: server_password_command \"sh\" ended with exit status: 3";
    assert_eq!((error.sqlstate(), error.field(b'M').unwrap()), ("08001".to_owned(), text.to_owned()));
    assert!(pgweir.log().contains("ended with exit status: 3"), "{}", pgweir.log());
    assert!(!pgweir.log().contains("leaked"), "{}", pgweir.log());
    fs::remove_file(provider.path("fails")).unwrap();
    eventually("it is asked again", || Client::try_connect(&target(&pgweir, "iam2")).is_ok());
}

#[test]
fn a_password_is_renewed_before_it_ends() {
    let (cluster, provider) = (Cluster::shared(), Provider::new(&["token-1"]));
    role(cluster, "iam3");
    let config = config(cluster, "iam3").put("users.iam3", "server_password_lifetime", 1);
    let pgweir = Pgweir::start(&provider.give(config, "iam3"));
    let mut client = Client::connect(&target(&pgweir, "iam3"));
    let before = provider.runs().len();
    eventually("nobody needs it, and it is renewed", || provider.runs().len() > before + 1);
    fs::write(provider.path("fails"), "").unwrap();
    eventually("a failure is told", || pgweir.log().contains("no new password for servers"));
    assert_eq!(client.value("SELECT 1"), "1", "servers stay");
}

#[test]
fn a_file_is_read_at_each_login() {
    let (cluster, dir) = (Cluster::shared(), TempDir::new().unwrap());
    role(cluster, "iam4");
    let file = dir.path().join("password");
    fs::write(&file, "token-1\n").unwrap();
    let config = config(cluster, "iam4").put(
        "users.iam4",
        "server_password_file",
        file.display().to_string().as_str(),
    );
    let pgweir = Pgweir::start(&config);
    let mut first = Client::connect(&target(&pgweir, "iam4"));
    first.query("BEGIN");
    cluster.sql("postgres", "ALTER ROLE iam4 PASSWORD 'token-2'");
    fs::write(&file, "token-2").unwrap();
    let mut second = Client::connect(&target(&pgweir, "iam4"));
    second.query("BEGIN");
    assert_eq!(second.value("SELECT current_user"), "iam4");
    let told = login_test(&config, dir.path(), "iam4");
    assert!(told.contains("ok      as \"iam4\" by the password of server_password_file;"), "{told}");
    fs::remove_file(&file).expect("it works");
    let told = login_test(&config, dir.path(), "iam4");
    assert!(
        told.contains("FAILED  server_password_file") && told.contains("can't be read: No such file"),
        "{told}"
    );
}

fn login_test(config: &Config, dir: &Path, user: &str) -> String {
    let file = dir.join("pgweir.toml");
    fs::write(&file, config.render()).expect("it works");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
    command.args(["login-test", file.to_str().expect("it works"), "--user", user, "--database", "app"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it works");
    child.stdin.take().expect("it works").write_all(b"the-client's\n").expect("it works");
    String::from_utf8(child.wait_with_output().expect("it works").stdout).expect("it works")
}
