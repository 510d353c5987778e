//! Passwords that expire, asked of a command or a file, towards PostgreSQL; and clients' tokens (OAUTHBEARER).

mod support;

use std::fs;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use support::certificates::{self, Certificates, Kind};
use support::cluster::Cluster;
use support::eventually;
use support::messages::{self, Message};
use support::pgweir::{Config, Pgweir, Value};
use support::raw::{Address, Client, Target};
use support::tunnel::{self, Tunnel};
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
    eventually("the log says why", || {
        pgweir.log().contains("no new password for servers: server_password_command")
    });
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

/// Who issues tokens, and serves its keys on this machine.
struct Issuer {
    url: String,
    keys: Arc<Mutex<Vec<(String, EcdsaKeyPair)>>>,
    /// How often they were asked for.
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    /// In clear.
    fn start() -> Self {
        Self::serve(None)
    }

    /// By https, with a certificate for localhost.
    fn encrypted(shown: &certificates::Files) -> Self {
        let certificate = CertificateDer::from_pem_file(&shown.certificate).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&shown.key).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("they fit");
        Self::serve(Some(Arc::new(config)))
    }

    fn serve(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let url = match tls {
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let this = Self { url, keys: Arc::default(), asked: Arc::default() };
        this.rotate("one");
        let (keys, asked) = (Arc::clone(&this.keys), Arc::clone(&this.asked));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let set = || {
                    asked.fetch_add(1, Ordering::Relaxed);
                    set(&keys.lock().expect("no panic"))
                };
                match &tls {
                    None => tell(socket, set),
                    Some(tls) => {
                        let connection = rustls::ServerConnection::new(Arc::clone(tls)).expect("TLS");
                        tell(rustls::StreamOwned::new(connection, socket), set);
                    }
                }
            }
        });
        this
    }

    /// From now on this is the key.
    fn rotate(&self, name: &str) {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pair = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pair.as_ref(), &random).expect("its own");
        *self.keys.lock().expect("no panic") = vec![(name.to_owned(), pair)];
    }

    fn options(&self) -> String {
        let url = &self.url;
        format!("issuer={url} scope=\"openid db\" audience=pgweir jwks={url}/keys?v=1")
    }

    fn token(&self, user: &str, lasts: i64) -> String {
        let keys = self.keys.lock().expect("no panic");
        let (name, pair) = keys.last().expect("a key");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_secs();
        let exp = i64::try_from(now).expect("it fits") + lasts;
        let claims = serde_json::json!({
            "iss": self.url, "aud": "pgweir", "scope": "db openid", "sub": user, "exp": exp,
        });
        let header = serde_json::json!({"alg": "ES256", "kid": name});
        let body = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = pair.sign(&SystemRandom::new(), body.as_bytes()).expect("signed");
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Answers the one request, if there is one.
fn tell(mut socket: impl io::Read + io::Write, set: impl FnOnce() -> String) {
    let mut request = [0; 1024];
    let Ok(length @ 1..) = socket.read(&mut request) else { return };
    assert!(request[..length].starts_with(b"GET /keys?v=1 HTTP/1.1\r\n"));
    let set = set();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", set.len());
    socket.write_all((head + &set).as_bytes()).ok();
}

fn set(keys: &[(String, EcdsaKeyPair)]) -> String {
    let keys = keys.iter().map(|(name, pair)| {
        let point = pair.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
        serde_json::json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": name, "x": x, "y": y})
    });
    serde_json::json!({"keys": keys.collect::<Vec<_>>()}).to_string()
}

/// Says that to the server, which has offered the mechanism.
fn offer(address: SocketAddr, user: &str, data: &str) -> Result<Client, Message> {
    let mut client = Client::open(&Address::Tcp(address)).expect("it listens");
    client.send(&messages::startup(196_608, &[("user", user), ("database", "app")]));
    let first = client.read();
    if first.tag != b'R' {
        return Err(first);
    }
    assert_eq!(first.body, b"\0\0\0\x0aOAUTHBEARER\0\0");
    let length = u32::try_from(data.len()).expect("short").to_be_bytes();
    client.send(&messages::message(b'p', &[b"OAUTHBEARER\0", &length[..], data.as_bytes()].concat()));
    Ok(client)
}

fn said(token: &str) -> String {
    format!("n,,\x01auth=Bearer {token}\x01\x01")
}

/// Logs in by a token; what became of it.
fn by_token(address: SocketAddr, user: &str, token: &str) -> String {
    let mut client = match offer(address, user, &said(token)) {
        Ok(client) => client,
        Err(error) => return format!("{} {}", error.sqlstate(), error.field(b'M').unwrap_or_default()),
    };
    let answer = client.read();
    match &answer.body[..] {
        [0, 0, 0, 0] => {
            client.read_until_ready();
            client.value("SELECT current_user")
        }
        [0, 0, 0, 11, json @ ..] if answer.tag == b'R' => {
            assert!(json.starts_with(b"{ \"status\": \"invalid_token\", \"openid-configuration\": \"http"));
            client.send(&messages::message(b'p', b"\x01"));
            let end = client.read_to_end();
            let [error] = &end[..] else { panic!("{end:?}") };
            assert_eq!(error.field(b'S').as_deref(), Some("FATAL"));
            format!("{} {}", error.sqlstate(), error.field(b'M').unwrap_or_default())
        }
        _ => format!("{} {}", answer.sqlstate(), answer.field(b'M').unwrap_or_default()),
    }
}

const REFUSED: &str = "28000 OAuth bearer authentication failed for user \"app\"";

#[test]
fn clients_by_their_tokens() {
    let (cluster, issuer) = (Cluster::shared(), Issuer::start());
    let options = issuer.options() + " cleartext=loopback";
    let config = Config::new(cluster).set("auth_type", "oauth").set("auth_oauth_options", options.as_str());
    let pgweir = Pgweir::start(&config);
    let (address, token) = (pgweir.address(), issuer.token("app", 60));
    assert_eq!(by_token(address, "app", &token), "app", "{}", pgweir.log());
    assert_eq!(by_token(address, "app", &token), "app");
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 1, "keys are kept");
    assert_eq!(by_token(address, "app", &issuer.token("trusty", 60)), REFUSED);
    assert_eq!(by_token(address, "app", &issuer.token("app", -60)), REFUSED);
    assert_eq!(by_token(address, "app", &token.replace('.', "")), REFUSED);
    assert_eq!(by_token(address, "app", ""), REFUSED, "it only asks where to get one");
    assert!(by_token(address, "nobody", &issuer.token("nobody", 60)).starts_with("28000 OAuth bearer"));
    for why in
        ["the token is \"trusty\"'s", "expired", "no JSON Web Token", "where to get a token", "unknown user"]
    {
        eventually(why, || pgweir.log().contains(why));
    }
    issuer.rotate("two");
    assert_eq!(by_token(address, "app", &issuer.token("app", 60)), "app", "a key not heard of is asked for");
    assert_eq!(by_token(address, "app", &token), REFUSED, "the old one is gone");
    issuer.rotate("three");
    assert_eq!(by_token(address, "app", &issuer.token("app", 60)), REFUSED, "but not that often");
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 2);
    assert!(!pgweir.log().contains(token.split('.').nth(1).unwrap()), "no token in the log");
}

/// What the file says at that moment counts: who takes a key out of it, whichever way, has revoked it.
#[test]
fn keys_of_a_file_count_while_they_are_in_it() {
    let (issuer, dir) = (Issuer::start(), TempDir::new().unwrap());
    let file = dir.path().join("keys");
    let good = set(&issuer.keys.lock().expect("no panic"));
    fs::write(&file, &good).unwrap();
    let options = format!(
        "issuer={} scope=db audience=pgweir cleartext=loopback jwks={}",
        issuer.url,
        certificates::text(&file)
    );
    let config =
        Config::new(Cluster::shared()).set("auth_type", "oauth").set("auth_oauth_options", options.as_str());
    let pgweir = Pgweir::start(&config);
    let outcome = || by_token(pgweir.address(), "app", &issuer.token("app", 60));
    assert_eq!(outcome(), "app", "{}", pgweir.log());
    for other in ["{\"keys\": []}", "<html>", ""] {
        fs::write(&file, other).unwrap();
        assert_eq!(outcome(), REFUSED, "{other}");
        fs::write(&file, &good).unwrap();
        assert_eq!(outcome(), "app", "it is there again");
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(outcome(), REFUSED);
}

/// The issuer is who its certificate says, by a CA that this machine trusts.
#[test]
fn keys_by_https() {
    let (trusted, others) = (Certificates::new(), Certificates::new());
    let issuer = Issuer::encrypted(&trusted.issue("issuer", &Kind::of(&["localhost"])));
    let options = issuer.options() + " cleartext=loopback";
    let config = Config::new(Cluster::shared()).set("auth_type", "oauth");
    let config = config.set("auth_oauth_options", options.as_str());
    let trusting = |all: &Certificates| {
        Pgweir::start(&config.clone().environment("SSL_CERT_FILE", certificates::text(&all.ca())))
    };
    let token = issuer.token("app", 60);
    let pgweir = trusting(&trusted);
    assert_eq!(by_token(pgweir.address(), "app", &token), "app", "{}", pgweir.log());
    let pgweir = trusting(&others);
    assert_eq!(by_token(pgweir.address(), "app", &token), REFUSED);
    eventually("the log says why", || pgweir.log().contains("no new keys for tokens: "));
    assert!(pgweir.log().contains("no trusted CA has signed the certificate"), "{}", pgweir.log());
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_no_message_of_the_mechanism() {
    let issuer = Issuer::start();
    let options = issuer.options() + " cleartext=loopback";
    let config =
        Config::new(Cluster::shared()).set("auth_type", "oauth").set("auth_oauth_options", options.as_str());
    let pgweir = Pgweir::start(&config);
    let mut client = offer(pgweir.address(), "app", "n,,\x01host=x\x01\x01").unwrap();
    let error = client.read();
    let fields = [b'C', b'M', b'D'].map(|field| error.field(field).unwrap());
    assert_eq!(fields, ["08P01", "malformed OAUTHBEARER message", "Message does not contain an auth value."]);
    let mut client = offer(pgweir.address(), "app", &said("x")).unwrap();
    assert_eq!(client.read().tag, b'R', "the failure");
    client.send(&messages::message(b'p', said(&issuer.token("app", 60)).as_bytes()));
    assert_eq!(client.read().field(b'D').unwrap(), "Client did not send a kvsep response.");
}

#[test]
fn tokens_need_tls_and_rules_map_them() {
    let (issuer, certificates, dir) = (Issuer::start(), Certificates::new(), TempDir::new().unwrap());
    let file = certificates.issue("server", &Kind::of(&["localhost"]));
    let (hba, ident) = (dir.path().join("hba"), dir.path().join("ident"));
    let options = issuer.options();
    fs::write(&hba, format!("hostssl all app all oauth {options} map=people\nhost all all all oauth {options} delegate_ident_mapping=1 claim=aud"))
        .unwrap();
    fs::write(&ident, "people /^(.*)@example[.]com$ \\1\n").unwrap();
    let text = certificates::text;
    let config = Config::new(Cluster::shared())
        .set("auth_type", "hba")
        .set("auth_hba_file", text(&hba))
        .set("auth_ident_file", text(&ident))
        .set("client_tls_sslmode", "allow")
        .set("client_tls_cert_file", text(&file.certificate))
        .set("client_tls_key_file", text(&file.key));
    let pgweir = Pgweir::start(&config);
    assert_eq!(by_token(pgweir.address(), "app", &issuer.token("app@example.com", 60)), REFUSED);
    eventually("the log says why", || pgweir.log().contains("over TLS only"));
    let tunnel = Tunnel::start(pgweir.address(), &certificates.ca(), tunnel::V13);
    assert_eq!(by_token(tunnel.address, "app", &issuer.token("app@example.com", 60)), "app");
    assert_eq!(by_token(tunnel.address, "app", &issuer.token("app", 60)), REFUSED);
    let by_list = by_token(tunnel.address, "trusty", &issuer.token("trusty", 60));
    assert!(by_list.starts_with("28000"), "its claim lists pgweir only: {by_list}");
}
