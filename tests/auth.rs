//! Who gets in: every method towards clients × every stored secret × every method of the server, the words of each
//! refusal, and bytes no honest client sends before it is let in.
#![expect(clippy::too_many_lines, reason = "tables")]

mod support;

use std::fmt::Write as _;

use support::cluster::Cluster;
use support::eventually;
use support::messages::{self, Message};
use support::pgweir::{Config, Pgweir};
use support::raw::{Client, Refusal, V3_0, V3_2};

const METHODS: [&str; 4] = ["trust", "plain", "md5", "scram-sha-256"];
const SECRETS: [&str; 3] = ["clear", "md5", "scram"];
/// Users by the method PostgreSQL asks them for.
const USERS: [(&str, &str); 4] =
    [("trusty", "trust"), ("plainuser", "password"), ("md5user", "md5"), ("app", "scram-sha-256")];

#[derive(Debug, PartialEq)]
enum Outcome {
    Works,
    /// The client's own proof is refused.
    Refused,
    /// The client is fine, but what is stored can't log in to PostgreSQL.
    NoWayIn,
    /// Not promised: the client sent its password in clear, which may be used for the server or not.
    Open,
}

/// What PgBouncer's rules give.
fn outcome(method: &str, secret: &str, server: &str) -> Outcome {
    if method == "scram-sha-256" && secret == "md5" {
        return Outcome::Refused;
    }
    let proved_by_scram = method == "scram-sha-256" || method == "md5";
    let enough = match (secret, server) {
        (_, "trust") | ("clear", _) | ("md5", "md5") => true,
        ("scram", "scram-sha-256") => proved_by_scram,
        _ => false,
    };
    match enough {
        true => Outcome::Works,
        false if method == "plain" => Outcome::Open,
        false => Outcome::NoWayIn,
    }
}

fn stored(cluster: &Cluster, user: &str, secret: &str) -> String {
    match secret {
        "clear" => format!("secret-{user}"),
        "md5" => cluster.value("postgres", &format!("SELECT 'md5' || md5('secret-{user}{user}')")),
        _ => {
            let verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = ";
            let own = cluster.value("postgres", &format!("{verifier}'{user}'"));
            if own.starts_with("SCRAM") {
                return own;
            }
            cluster.sql("postgres", &format!("CREATE ROLE tmp_{user} PASSWORD 'secret-{user}'"));
            let made = cluster.value("postgres", &format!("{verifier}'tmp_{user}'"));
            cluster.sql("postgres", &format!("DROP ROLE tmp_{user}"));
            made
        }
    }
}

#[test]
fn method_by_secret_by_server_method() {
    let cluster = Cluster::shared();
    let mut problems = String::new();
    for secret in SECRETS {
        let users = USERS.map(|(user, _)| (format!("users.{user}"), stored(cluster, user, secret)));
        for method in METHODS {
            let config = users.iter().fold(Config::new(cluster), |config, (table, secret)| {
                config.put(table, "password", secret.as_str())
            });
            let pgweir = Pgweir::start(&config.set("auth_type", method).set("query_wait_timeout", 5));
            for (user, server) in USERS {
                let right = Client::try_connect(&pgweir.target(user, "app"))
                    .map(|mut c| c.value("SELECT current_user"));
                let expected = outcome(method, secret, server);
                let as_expected = match (&expected, &right) {
                    (Outcome::Works, Ok(name)) => name == user,
                    (Outcome::Refused, Err(Refusal::Server(error))) => error.sqlstate() == "28P01",
                    (Outcome::NoWayIn, Err(Refusal::Server(_))) | (Outcome::Open, _) => true,
                    _ => false,
                };
                if !as_expected {
                    writeln!(
                        problems,
                        "{method}, {secret} stored, server {server}: {expected:?}, but {right:?}"
                    )
                    .unwrap();
                }
                let wrong = Client::try_connect(&pgweir.target(user, "app").password("wrong")).map(drop);
                let refused = matches!(&wrong, Err(Refusal::Server(error)) if error.sqlstate() == "28P01");
                if method != "trust" && !refused {
                    writeln!(problems, "{method}, {secret} stored, {user} with a wrong password: {wrong:?}")
                        .unwrap();
                }
            }
        }
    }
    assert!(problems.is_empty(), "{problems}");
}

fn refusal(pgweir: &Pgweir, user: &str, password: &str, database: &str) -> Message {
    let target = pgweir.target(user, database).password(password);
    let error = Client::try_connect(&target).map(|_| ()).expect_err("it must be refused").error();
    assert_eq!(error.field(b'S').as_deref(), Some("FATAL"), "{error}");
    assert_eq!(error.field(b'V').as_deref(), Some("FATAL"), "{error}");
    error
}

#[test]
fn refusals_have_postgresql_s_form() {
    let cluster = Cluster::shared();
    for method in ["plain", "md5", "scram-sha-256"] {
        let pgweir = Pgweir::start(&Config::new(cluster).set("auth_type", method));
        let wrong = refusal(&pgweir, "app", "wrong", "app");
        assert_eq!(wrong.sqlstate(), "28P01");
        assert!(wrong.field(b'M').expect("a text").contains("password authentication failed"), "{wrong}");
        let empty = refusal(&pgweir, "app", "", "app");
        assert_eq!(empty.sqlstate(), "28P01");
        let missing = refusal(&pgweir, "app", "secret-app", "missing");
        assert_eq!(missing.sqlstate(), "3D000");
        assert!(missing.field(b'M').expect("a text").contains("missing"), "{missing}");
    }
}

/// Who takes his time over the password gets in by what is in force when he has sent it.
#[test]
fn a_login_that_a_reload_overtakes() {
    let cluster = Cluster::shared();
    let base = Config::new(cluster).set("auth_type", "plain").set("failed_login_delay", 0);
    let other = |password: &str| base.clone().put("users.app", "password", password);
    let both =
        base.clone().put("users.app", "password", "new").put("users.app", "second_password", "secret-app");
    let pgweir = Pgweir::start(&base);
    let reload = |config: &Config| {
        let reloads = || pgweir.log().matches("configuration reloaded").count();
        let before = reloads();
        pgweir.reload(config);
        eventually("it is in force", || reloads() > before);
    };
    for (name, changed, refused) in [
        ("nothing of it", base.clone().set("server_lifetime", 1000), None),
        ("two passwords", both, None),
        ("gone", base.clone().without("users.app"), Some("28P01")),
        ("another password", other("other"), Some("28P01")),
        ("another method", base.clone().set("auth_type", "scram-sha-256"), Some("28P01")),
    ] {
        let mut client = Client::open(&pgweir.target("app", "app").address).expect("a connection");
        client.send(&messages::startup(V3_0, &[("user", "app"), ("database", "app")]));
        assert_eq!(client.read().body, [0, 0, 0, 3], "it is asked for the password");
        reload(&changed);
        client.send(&messages::password("secret-app"));
        let answer = client.read();
        let told = (answer.tag == b'E').then(|| answer.sqlstate());
        assert_eq!(told.as_deref(), refused, "{name}: {answer}\n{}", pgweir.log());
        reload(&base);
    }
}

/// Before the password is proved nobody learns which users and databases there are.
#[test]
fn unknown_names_are_not_told_apart() {
    let cluster = Cluster::shared();
    for method in ["plain", "md5", "scram-sha-256"] {
        let pgweir = Pgweir::start(&Config::new(cluster).set("auth_type", method));
        let known = refusal(&pgweir, "app", "wrong", "app").to_string();
        for (user, database) in [("nobody", "app"), ("app", "missing"), ("nobody", "missing")] {
            let unknown = refusal(&pgweir, user, "wrong", database).to_string();
            assert_eq!(unknown.replace(user, "app"), known, "{method}: {user} in {database}");
        }
    }
}

#[test]
fn one_client_too_many() {
    let cluster = Cluster::shared();
    let pgweir = Pgweir::start(&Config::new(cluster).set("max_client_conn", 3));
    let mut clients: Vec<Client> = (0..3).map(|_| pgweir.client()).collect();
    let error = refusal(&pgweir, "app", "secret-app", "app");
    assert_eq!(error.sqlstate(), "53300");
    assert_eq!(error.field(b'M').as_deref(), Some("sorry, too many clients already"));
    clients.iter_mut().for_each(|client| assert_eq!(client.value("SELECT 1"), "1"));
    clients.pop();
    eventually("room for one again", || Client::try_connect(&pgweir.target("app", "app")).is_ok());
}

#[test]
fn startup_parameters_become_the_session_s() {
    let cluster = Cluster::shared();
    let pgweir = Pgweir::start(&Config::new(cluster).set("default_pool_size", 1));
    let target = pgweir.target("app", "app");
    let mut special = Client::connect(
        &target
            .clone()
            .parameter("application_name", "special")
            .parameter("TimeZone", "Asia/Tokyo")
            .parameter("extra_float_digits", "3")
            .parameter("options", "-c statement_timeout=4321 -csearch_path=a,b --work_mem=5MB"),
    );
    let mut plain = Client::connect(&target);
    for _ in 0..2 {
        for (name, value) in [
            ("application_name", "special"),
            ("TimeZone", "Asia/Tokyo"),
            ("extra_float_digits", "3"),
            ("statement_timeout", "4321ms"),
            ("search_path", "a,b"),
            ("work_mem", "5MB"),
        ] {
            assert_eq!(special.value(&format!("SHOW {name}")).replace(", ", ","), value, "{name}");
        }
        assert_eq!(plain.value("SHOW statement_timeout"), "0");
        assert_eq!(plain.value("SHOW application_name"), "");
    }
    assert_eq!(special.parameter("TimeZone"), Some("Asia/Tokyo"));
    let wrong =
        Client::try_connect(&target.clone().parameter("statement_timeout", "soon")).expect_err("no number");
    assert_eq!(wrong.error().sqlstate(), "22023");
    let unknown = Client::try_connect(&target.parameter("nonsense", "1")).expect_err("no such parameter");
    assert_eq!(unknown.error().sqlstate(), "42704");
}

/// A StartupMessage of user `app`.
fn hello() -> Vec<u8> {
    messages::startup(V3_0, &[("user", "app"), ("database", "app")])
}

fn sized(length: u32, rest: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], rest].concat()
}

fn sasl_initial(mechanism: &str, data: &str) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("short").to_be_bytes();
    messages::message(b'p', &[mechanism.as_bytes(), b"\0", &length, data.as_bytes()].concat())
}

/// Bytes that must end in an error or a closed connection, never in a session, a crash or a loop.
fn hostile() -> Vec<(String, Vec<u8>)> {
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    let mut case = |name: &str, bytes: Vec<u8>| cases.push((name.to_owned(), bytes));
    for length in [0, 1, 3, 4, 7, 8, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 20_000] {
        case(&format!("startup length {length}"), sized(length, &V3_0.to_be_bytes()));
        case(&format!("password length {length}"), [hello(), b"p".to_vec(), sized(length, b"")].concat());
    }
    case("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec());
    case("TLS garbage", [&[0x16, 3, 1, 2, 0][..], &[0xaa; 600]].concat());
    case("protocol 2.0", messages::startup(2 << 16, &[("user", "app")]));
    case("no terminator", sized(17, &[&V3_0.to_be_bytes()[..], b"user\0app\0"].concat()));
    case("name without value", sized(14, &[&V3_0.to_be_bytes()[..], b"user\0\0"].concat()));
    case("no user", messages::startup(V3_0, &[("database", "app")]));
    case("a name of 100 kB", messages::startup(V3_0, &[("user", &"u".repeat(100_000))]));
    case("a name of 5 kB", messages::startup(V3_0, &[("user", &"u".repeat(5_000)), ("database", "app")]));
    case("a database of 5 kB", messages::startup(V3_0, &[("user", "app"), ("database", &"d".repeat(5_000))]));
    for options in
        ["-c", "-c=", "-c =", "--", "--=", "-", "\\", "-c a", "-c a\\", "x", "-c -c -c", "-c=x -c=y"]
    {
        let startup = messages::startup(V3_0, &[("user", "app"), ("database", "app"), ("options", options)]);
        case(&format!("options {options:?}"), startup);
    }
    case("password first", messages::password("secret-app"));
    case("query first", messages::query("SELECT 1"));
    for tag in 0..=255u8 {
        let early = [hello(), messages::message(tag, b"\0\0\0\0\0\0\0\0")].concat();
        case(&format!("message {tag:#x} where a password is due"), early);
    }
    case("a second startup in SCRAM", [hello(), messages::startup(V3_0, &[("user", "trusty")])].concat());
    case("startup again after SASLInitialResponse", {
        [hello(), sasl_initial("SCRAM-SHA-256", "n,,n=,r=abcdefgh"), hello()].concat()
    });
    case("unknown mechanism", [hello(), sasl_initial("PLAIN", "x")].concat());
    case(
        "channel binding not offered",
        [hello(), sasl_initial("SCRAM-SHA-256-PLUS", "p=tls-unique,,n=,r=x")].concat(),
    );
    for first in [
        "",
        "n",
        "n,,",
        "n,,n=",
        "n,,r=",
        "n,,n=,r=",
        "y,,",
        "p=x,,n=,r=a",
        "n,a=app,n=,r=a",
        "n,,m=x,n=,r=a",
    ] {
        case(&format!("client-first {first:?}"), [hello(), sasl_initial("SCRAM-SHA-256", first)].concat());
    }
    let first = sasl_initial("SCRAM-SHA-256", "n,,n=,r=abcdefghijklmnop");
    for last in [
        "",
        "c=",
        "c=biws",
        "c=biws,r=",
        "c=biws,p=",
        "r=x,p=x",
        "c=biws,r=x,p=",
        "c=biws,r=x,r=x,p=eA==",
        ",,,,",
    ] {
        let last = messages::message(b'p', last.as_bytes());
        cases.push((
            format!("client-final {:?}", last.escape_ascii().to_string()),
            [hello(), first.clone(), last].concat(),
        ));
    }
    let mut case = |name: &str, bytes: Vec<u8>| cases.push((name.to_owned(), bytes));
    case(
        "a long nonce",
        [hello(), sasl_initial("SCRAM-SHA-256", &format!("n,,n=,r={}", "n".repeat(60_000)))].concat(),
    );
    case("an endless password", [hello(), messages::message(b'p', &vec![b'x'; 200_000])].concat());
    case("SSLRequest with data behind it", [messages::ssl_request(), hello()].concat());
    case("GSSENCRequest with data behind it", [messages::gssenc_request(), hello()].concat());
    case("SSLRequest for ever", messages::ssl_request().repeat(2_000));
    case("a cancel without key", sized(12, &[80_877_102u32.to_be_bytes(), [0; 4]].concat()));
    case("a cancel with an endless key", messages::cancel_request(1, &[7; 9_000]));
    case("a cancel with a random key", messages::cancel_request(0x7fff_0001, &[7; 4]));
    cases
}

#[test]
fn hostile_bytes_before_login_come_to_nothing() {
    let cluster = Cluster::shared();
    for method in ["scram-sha-256", "md5"] {
        let mut pgweir =
            Pgweir::start(&Config::new(cluster).set("auth_type", method).set("client_login_timeout", 5));
        for (name, bytes) in hostile() {
            let mut client = Client::open(&pgweir.target("app", "app").address).unwrap();
            // What follows a StartupMessage has to come after its answer, to be taken for what it is.
            let hello = hello();
            let (first, rest) = bytes.split_at(if bytes.starts_with(&hello) { hello.len() } else { 0 });
            client.try_send(first).ok();
            if !first.is_empty() {
                assert_eq!(client.read().tag, b'R', "{name}");
            }
            // A reset while we are still sending is an answer too.
            client.try_send(rest).ok();
            client.shutdown_write_quietly();
            let replies = client.drain();
            let in_session = replies.windows(5).any(|w| w == [b'Z', 0, 0, 0, 5]);
            assert!(!in_session, "{method}: {name} led to a session: {}", replies.escape_ascii());
            assert!(pgweir.is_alive(), "{method}: {name} ended pgweir:\n{}", pgweir.log());
        }
        assert_eq!(pgweir.client().value("SELECT 1"), "1", "{method}");
    }
}

#[test]
fn startup_may_come_byte_by_byte() {
    let cluster = Cluster::shared();
    let pgweir = Pgweir::start(&Config::new(cluster).set("auth_type", "trust"));
    let mut client = Client::open(&pgweir.target("app", "app").address).unwrap();
    for byte in hello() {
        client.send(&[byte]);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(client.read_until_ready().last().unwrap().to_string(), "Z I");
}

#[test]
fn encryption_requests_are_answered() {
    let cluster = Cluster::shared();
    let pgweir = Pgweir::start(&Config::new(cluster).set("auth_type", "trust"));
    let mut client = Client::open(&pgweir.target("app", "app").address).unwrap();
    for request in [messages::gssenc_request(), messages::ssl_request()] {
        client.send(&request);
        assert_eq!(client.read_byte(), b'N');
    }
    client.send(&hello());
    assert_eq!(client.read_until_ready().last().unwrap().to_string(), "Z I");
}

#[test]
fn newer_protocols_are_negotiated() {
    let cluster = Cluster::shared();
    let pgweir = Pgweir::start(&Config::new(cluster).set("auth_type", "trust"));
    for (version, minor) in [(V3_2 + 7, 2), (V3_0, 0)] {
        let mut client = Client::open(&pgweir.target("app", "app").address).unwrap();
        client
            .send(&messages::startup(version, &[("user", "app"), ("database", "app"), ("_pq_.future", "1")]));
        let replies = client.read_until_ready();
        let negotiation =
            replies.iter().find(|message| message.tag == b'v').expect("NegotiateProtocolVersion");
        assert_eq!(*negotiation.body, [&[0, 3, 0, minor], &b"\0\0\0\x01_pq_.future\0"[..]].concat());
        assert_eq!(replies.last().unwrap().to_string(), "Z I");
    }
}

/// Connections that say nothing are bounded, told why, and in nobody's way once they are gone.
#[test]
fn silent_connections_are_bounded() {
    use std::io::Read as _;
    let pgweir = Pgweir::start(&Config::new(Cluster::shared()).set("max_client_conn", 1));
    // By the end of a login, the connection that looked whether pgweir listens is gone and no longer counted.
    drop(pgweir.client());
    let silent: Vec<_> = (0..130)
        .map(|_| std::net::TcpStream::connect(("127.0.0.1", pgweir.port)).expect("the backlog has room"))
        .collect();
    eventually("29 of 130 are refused", || {
        let refused = silent.iter().filter(|stream| {
            stream.set_nonblocking(true).expect("a socket");
            let mut peek = [0; 1];
            stream.peek(&mut peek).is_ok_and(|n| n == 1)
        });
        refused.count() == 29
    });
    let mut text = Vec::new();
    let told = silent.iter().find_map(|mut stream| stream.read_to_end(&mut text).ok());
    assert!(told.is_some() && String::from_utf8_lossy(&text).contains("C53300"));
    drop(silent);
    eventually("room again", || Client::try_connect(&pgweir.target("app", "app")).is_ok());
}

/// Answers that no client sends, beside PostgreSQL. To an impossible length where a password is due PostgreSQL says nothing, pgweir why.
#[test]
fn answers_of_impossible_lengths() {
    let cluster = Cluster::shared();
    let announced = |length: u32| [&b"p"[..], &length.to_be_bytes()].concat();
    for (user, method) in [("plainuser", "plain"), ("md5user", "md5"), ("app", "scram-sha-256")] {
        let pgweir = Pgweir::start(&Config::new(cluster).set("auth_type", method));
        let mut cases = [0, 3, 0x0001_0004, 0x7fff_ffff, 0x8000_0000, u32::MAX].map(announced).to_vec();
        let bodies: [&[u8]; 6] = [b"", b"\0", b"secret", b"sec\0ret\0", b"secret\0\0", b"\0\0"];
        cases.extend(bodies.map(|body| messages::message(b'p', body)));
        for case in cases {
            let [postgresql, ours] =
                [cluster.target(user, "app"), pgweir.target(user, "app")].map(|target| {
                    let mut client = Client::open(&target.address).expect("it listens");
                    client.send(&messages::startup(V3_0, &[("user", user), ("database", "app")]));
                    assert_eq!(client.read().tag, b'R');
                    client.send(&case);
                    client.shutdown_write_quietly();
                    let said = client.read_to_end();
                    said.iter().map(|m| [m.field(b'S').unwrap_or_default(), m.sqlstate()]).collect::<Vec<_>>()
                });
            let says_nothing = method != "scram-sha-256" && case.len() == 5 && case[1..] != [0, 0, 0, 4];
            let expected =
                if says_nothing { vec![["FATAL", "08P01"].map(str::to_owned)] } else { postgresql.clone() };
            let what = format!("{method}: {}", case.escape_ascii());
            assert_eq!(postgresql.is_empty(), says_nothing, "{what}");
            assert_eq!(ours, expected, "{what}");
        }
    }
}
