//! Who is let in by which rule: files as PostgreSQL reads them, over TCP, IPv6, Unix sockets and TLS, and what becomes of
//! those who are not.

#[path = "fuzz/harness/hba.rs"]
mod harness;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use support::certificates::{Certificates, Files, Kind, text};
use support::cluster::{Cluster, Version};
use support::directory::{Directory, Liar};
use support::eventually;
use support::messages;
use support::pgweir::{Config, Pgweir};
use support::raw::{Address, Client, Refusal, Target, V3_0};

/// A directory for rules and sockets.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("pgweir-hba-").tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("our directory");
        Self(dir)
    }

    fn path(&self) -> &str {
        text(self.0.path())
    }

    fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, contents).expect("our directory");
        path
    }

    /// All listeners, by these rules and maps.
    fn config(&self, rules: &str, maps: &str) -> Config {
        let (hba, ident) = (self.write("hba.conf", rules), self.write("ident.conf", maps));
        Config::new(Cluster::shared())
            .set("listen_addr", "127.0.0.1,::1")
            .set("unix_socket_dir", self.path())
            .set("auth_type", "hba")
            .set("auth_hba_file", text(&hba))
            .set("auth_ident_file", text(&ident))
    }

    fn socket(&self, pgweir: &Pgweir) -> Address {
        Address::Unix(self.0.path().join(format!(".s.PGSQL.{}", pgweir.port)))
    }
}

/// Who runs this.
fn ourselves() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let output = Command::new("id").arg("-un").output().expect("id starts");
        String::from_utf8(output.stdout).expect("a name").trim().to_owned()
    })
}

/// SQLSTATE and text of the refusal, or nothing.
fn refusal(target: &Target) -> Option<(String, String)> {
    match Client::try_connect(target) {
        Ok(_) => None,
        Err(Refusal::Server(error)) => Some((error.sqlstate(), error.field(b'M').unwrap_or_default())),
        Err(Refusal::Connection(what)) => panic!("{target:?}: {what}"),
    }
}

/// Rules for databases of which most don't exist: who is told so was let in. PostgreSQL's own superuser needs the first.
const RULES: &str = r#"
local all postgres trust
host d1 app 127.0.0.1/32 trust
host d1 all 127.0.0.0/8 reject   # the first line counts
host d2,d3 app,trusty 127.0.0.0 255.0.0.0 trust
host "d4" "app" all trust
host D4 trusty all trust
host "/^d5\d{1,2}$" /^t all trust
host sameuser all samehost trust
host "sameuser" app all trust
host d6 \
 app \
samenet trust
host d7 all ::/0 trust
hostssl d8 all all trust
hostnossl d9 all all trust
hostgssenc d10 all all trust
hostnogssenc d11 all all trust
host replication app all trust
host d12 "all" all trust
host /a.$ app all reject
local d1 app peer map=direct
local d2 app peer map=keyword
local d3 app peer map=quoted
local d4 app peer map=captured
local d5 app peer map=expression
local d6 app peer map=both
local d7 app peer map=nobody
local d8 app peer
local d9 @users trust
local d13 all reject
"#;

fn maps() -> String {
    let us = ourselves();
    let (first, rest) = us.split_at(1);
    format!(
        "direct {us} app\nkeyword {us} all\nquoted {us} \"all\"\ncaptured /^{first}({rest})$ \"{rest}\"\n\
         captured \"/^({first})\" \\1pp\ncaptured /^.*()$ app\\1\nexpression /^{first} /^a\nboth /x app\nboth {us} /^x\n\
         nobody somebody app\n"
    )
}

/// The same files for both, and both say the same, word by word.
#[test]
fn postgresql_decides_alike() {
    let place = Place::new();
    let cluster = Cluster::start(Version::V18);
    for (name, contents) in
        [("pg_hba.conf", RULES.to_owned()), ("pg_ident.conf", maps()), ("users", "app,\n\"trusty\"".into())]
    {
        fs::write(cluster.data().join(name), &contents).expect("its directory");
        place.write(name, &contents);
    }
    let wrong =
        cluster.sql("postgres", "SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL");
    // Those that only need what neither has.
    let unusable: Vec<_> = wrong.iter().filter_map(|row| row[1].as_deref()).collect();
    assert!(unusable.iter().all(|error| error.contains("cannot match")), "{unusable:?}");
    let loaded = cluster.value("postgres", "SELECT pg_conf_load_time()");
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    eventually("the rules are loaded", || cluster.value("postgres", "SELECT pg_conf_load_time()") != loaded);
    // Without the database that does exist: what its server says of replication is not what is compared.
    let pgweir = Pgweir::start(&place.config(RULES, &maps()).without("databases.app"));
    let local = Address::Unix(cluster.socket_dir().join(format!(".s.PGSQL.{}", cluster.port)));
    let bases = (1..=13).map(|n| format!("d{n}"));
    let others =
        ["D4", "d512", "d5123", "app", "trusty", "sameuser", "replication", "ab", "all"].map(str::to_owned);
    let mut problems = Vec::new();
    let mut let_in = 0;
    for database in bases.chain(others) {
        for user in ["app", "trusty"] {
            for (over_unix, replication) in [(false, ""), (true, ""), (false, "true"), (false, "database")] {
                let ask = |unix: Address, tcp: Target| {
                    let target = if over_unix { Target { address: unix, ..tcp } } else { tcp };
                    let target = if replication.is_empty() {
                        target
                    } else {
                        target.parameter("replication", replication)
                    };
                    // Let in: there is no such database, or something else is wrong.
                    refusal(&target).filter(|(code, _)| code == "28000").map(|(_, words)| words)
                };
                let theirs = ask(local.clone(), cluster.target(user, &database));
                let ours = ask(place.socket(&pgweir), pgweir.target(user, &database));
                let_in += usize::from(ours.is_none());
                // What PostgreSQL says of who is let in and isn't allowed to replicate.
                let theirs = theirs.filter(|words| !words.contains("permission denied"));
                // A line of replication alone is for one section only, which PostgreSQL has none of.
                let is_stricter = replication == "true" && database != "replication" && theirs.is_none();
                if ours != theirs && !(is_stricter && ours.is_some()) {
                    problems.push(format!(
                        "{user} {database} {over_unix} {replication}: {theirs:?}, but {ours:?}"
                    ));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(let_in > 20, "{let_in}");
}

/// The CA of clients, and certificates by it.
fn certificates() -> &'static (Certificates, Files) {
    static ALL: OnceLock<(Certificates, Files)> = OnceLock::new();
    ALL.get_or_init(|| {
        let all = Certificates::new();
        let localhost = all.issue("localhost", &Kind::of(&["localhost", "::1"]));
        (all, localhost)
    })
}

fn with_tls(config: Config, mode: &str) -> Config {
    let (all, localhost) = certificates();
    config
        .set("client_tls_sslmode", mode)
        .set("client_tls_cert_file", text(&localhost.certificate))
        .set("client_tls_key_file", text(&localhost.key))
        .set("client_tls_ca_file", text(&all.ca()))
}

/// What psql says, with the password of `app` whoever logs in.
fn psql(pgweir: &Pgweir, parameters: &str) -> String {
    let output = Command::new(Version::V15.bin().expect("psql").join("psql"))
        .args(["-XAtc", "SELECT current_user"])
        .env("PGUSER", "app")
        .env("PGPASSWORD", "secret-app")
        .arg(format!("port={} dbname=app {parameters}", pgweir.port))
        .output()
        .expect("psql starts");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
}

#[track_caller]
fn told(said: &str, expected: &str) {
    assert!(said == expected || (expected.len() > 5 && said.contains(expected)), "{expected}: {said}");
}

#[test]
fn every_way_in() {
    let place = Place::new();
    let (all, _) = certificates();
    let named = |name: &str| {
        let files =
            all.issue(&name.replace('\0', "-"), &Kind { subject: name.to_owned(), ..Kind::of(&["client"]) });
        format!("sslcert={} sslkey={}", text(&files.certificate), text(&files.key))
    };
    let (own, mapped, stranger) = (named("app"), named("app@example.com"), named("eve"));
    let half = named("app\0.example.com");
    let elsewhere = Certificates::new();
    let foreign = elsewhere.issue("app", &Kind { subject: "app".to_owned(), ..Kind::of(&["client"]) });
    let foreign = format!("sslcert={} sslkey={}", text(&foreign.certificate), text(&foreign.key));
    let rules = "hostssl app app ::1/128 cert map=mail\nhostssl app app samehost scram-sha-256 clientcert=verify-full\n\
                 hostnossl app app 127.0.0.1/32 md5\nhostssl other app all password clientcert=verify-ca\n\
                 local app app,ghost peer map=us\nlocal other app scram-sha-256\n";
    let maps = format!("us {0} app\nus {0} ghost\nmail /^(.*)@example\\.com$ \\1\n", ourselves());
    let pgweir = Pgweir::start(&with_tls(place.config(rules, &maps), "prefer"));
    let v6 = "host=::1 sslmode=require";
    let v4 = "host=127.0.0.1 sslmode=require";
    let other = "host=127.0.0.1 dbname=other sslmode=require";
    let unix = format!("host={}", place.path());
    for (parameters, expected) in [
        (format!("{v6} {mapped} password=none"), "app"),
        (format!("{v6} {own}"), "FATAL:  certificate authentication failed for user \"app\""),
        (format!("{v6} {stranger}"), "FATAL:  certificate authentication failed for user \"app\""),
        (v6.to_owned(), "FATAL:  connection requires a valid client certificate"),
        (format!("{v6} {mapped} user=md5user"), "no pg_hba.conf entry for host \"::1\", user \"md5user\""),
        (format!("{v4} {own}"), "app"),
        (format!("{v4} {own} password=wrong"), "FATAL:  password authentication failed for user \"app\""),
        (format!("{v4} {mapped}"), "FATAL:  certificate authentication failed for user \"app\""),
        (v4.to_owned(), "FATAL:  connection requires a valid client certificate"),
        ("host=127.0.0.1 sslmode=disable".to_owned(), "app"),
        ("host=127.0.0.1 sslmode=disable password=x".to_owned(), "FATAL:  password authentication failed"),
        (
            "host=::1 sslmode=disable".to_owned(),
            "FATAL:  no pg_hba.conf entry for host \"::1\", user \"app\", database \"app\", no encryption",
        ),
        (format!("{other} {stranger}"), "app"),
        (other.to_owned(), "FATAL:  connection requires a valid client certificate"),
        (format!("{other} {half}"), "FATAL:  certificate authentication failed for user \"app\""),
        (format!("{other} {foreign}"), "alert unknown ca"),
        (unix.clone(), "app"),
        (format!("{unix} user=ghost"), "FATAL:  Peer authentication failed for user \"ghost\""),
        (format!("{unix} user=md5user"), "no pg_hba.conf entry for host \"[local]\", user \"md5user\""),
        (format!("{unix} dbname=other"), "app"),
    ] {
        let said = psql(&pgweir, &parameters);
        told(&said, expected);
        if said.contains("pg_hba.conf") {
            told(&said, "HINT:  The file meant is pgweir's auth_hba_file.");
        }
    }
    for why in [
        "the certificate is \"eve\"'s, which map \"mail\" has not for this user",
        "the common name in the certificate has a zero byte",
        "unknown user",
    ] {
        eventually(why, || pgweir.log().contains(why));
    }
}

/// RELOAD's answer, from whom rules always let in.
fn reload(pgweir: &Pgweir, place: &Place) -> Result<(), String> {
    let target = Target { address: place.socket(pgweir), ..pgweir.target("app", "pgweir") };
    let mut console = Client::connect(&target);
    console.rows("RELOAD").map(drop).map_err(|error| error.to_string())
}

#[test]
fn rules_are_reloaded_whole_or_not_at_all() {
    let place = Place::new();
    let console = "local pgweir app trust\n";
    let config =
        place.config(&format!("{console}host app app 127.0.0.1/32 trust\n"), "").set("admin_users", "app");
    let pgweir = Pgweir::start(&config);
    let target = pgweir.target("app", "app");
    let mut stays = Client::connect(&target);
    place.write(
        "hba.conf",
        &format!("{console}host app app 127.0.0.1/32 reject\nhost all +staff all md5\nhost x\n"),
    );
    let told = reload(&pgweir, &place).expect_err("two lines are wrong");
    assert!(told.contains("hba.conf:3: +staff"), "{told}");
    for line in ["hba.conf:3: +staff: pgweir doesn't know", "hba.conf:4: the users are missing"] {
        eventually(line, || pgweir.log().contains(line));
    }
    assert_eq!(refusal(&target), None);
    place.write("hba.conf", &format!("{console}host app app 127.0.0.1/32 reject\n"));
    reload(&pgweir, &place).expect("it is right");
    let (code, words) = refusal(&target).expect("rejected");
    assert_eq!(code, "28000");
    assert_eq!(
        words,
        "pg_hba.conf rejects connection for host \"127.0.0.1\", user \"app\", database \"app\", no encryption"
    );
    eventually("the line is named", || pgweir.log().contains("hba.conf:2)"));
    assert_eq!(stays.value("SELECT 1"), "1", "who is in stays in");
}

/// auth_type without rules: by certificate, by the system's user, or whoever it is.
#[test]
fn other_types() {
    let place = Place::new();
    let (all, _) = certificates();
    let files = all.issue("by-type", &Kind { subject: "app".to_owned(), ..Kind::of(&["client"]) });
    let config = Config::new(Cluster::shared()).set("unix_socket_dir", place.path());
    let pgweir = Pgweir::start(&with_tls(config.clone().set("auth_type", "cert"), "verify-full"));
    let shown =
        format!("host=127.0.0.1 password=x sslcert={} sslkey={}", text(&files.certificate), text(&files.key));
    told(&psql(&pgweir, &shown), "app");
    told(
        &psql(&pgweir, &format!("{shown} user=trusty")),
        "certificate authentication failed for user \"trusty\"",
    );
    drop(pgweir);

    // A user without a password is a user.
    let us = ourselves();
    let peer =
        config.clone().put(&format!("users.{us}"), "pool_size", 1).put("databases.app", "user", "trusty");
    let pgweir = Pgweir::start(&peer.set("auth_type", "peer"));
    told(&psql(&pgweir, &format!("host={} user={us}", place.path())), "trusty");
    told(&psql(&pgweir, &format!("host={}", place.path())), "Peer authentication failed for user \"app\"");
    told(&psql(&pgweir, "host=127.0.0.1"), "Peer authentication failed for user \"app\"");
    drop(pgweir);

    let any =
        config.set("auth_type", "any").put("databases.app", "user", "trusty").set("admin_users", "boss");
    let pgweir = Pgweir::start(&any);
    told(&psql(&pgweir, "host=127.0.0.1 user=whoever"), "trusty");
    told(
        &psql(&pgweir, "host=127.0.0.1 user=whoever dbname=other"),
        "\"any\" authentication needs a user in the settings of database \"other\"",
    );
    told(&psql(&pgweir, "host=127.0.0.1 user=whoever dbname=none"), "database \"none\" does not exist");
    told(&psql(&pgweir, "host=127.0.0.1 user=whoever dbname=pgweir"), "not allowed");
    let mut console = Client::connect(&pgweir.target("boss", "pgweir"));
    let users: Vec<_> =
        console.rows("SHOW POOLS").expect("pools").into_iter().map(|row| row[1].clone()).collect();
    assert!(!users.contains(&Some("whoever".to_owned())), "{users:?}");
}

/// Who guesses waits for the answers, then isn't listened to; others, and who comes by the Unix socket, don't notice.
#[test]
fn guesses_are_slowed_by_address() {
    let place = Place::new();
    let config =
        place.config("host all all all password\nlocal all all password\n", "").set("failed_login_delay", 60);
    let pgweir = Pgweir::start(&config);
    let target = pgweir.target("app", "app");
    let wrong = target.clone().password("wrong");
    let held = || pgweir.log().matches("held_ms").count();
    for _ in 0..10 {
        assert_eq!(refusal(&wrong).expect("refused").0, "28P01");
    }
    assert_eq!(held(), 0, "a few are free");
    assert_eq!(refusal(&wrong).expect("refused").0, "28P01");
    eventually("the answer was held back", || pgweir.log().contains("held_ms=100"));
    assert_eq!(refusal(&target), None, "the right password isn't delayed");
    let v6 =
        Target { address: Address::Tcp(([0, 0, 0, 0, 0, 0, 0, 1], pgweir.port).into()), ..target.clone() };
    assert_eq!(refusal(&v6.clone().password("wrong")).expect("refused").0, "28P01");
    assert_eq!(held(), 1, "another address has its own count");
    let guessers: Vec<_> = (0..60)
        .map(|_| {
            let mut guesser = Client::open(&target.address).expect("a connection");
            guesser.send(&messages::startup(V3_0, &[("user", "nobody"), ("database", "app")]));
            if guesser.read().tag == b'R' {
                guesser.send(&messages::password("wrong"));
            }
            guesser
        })
        .collect();
    let too_many = ("53300".to_owned(), "too many failed logins from your address".to_owned());
    eventually("no more guesses are looked at", || refusal(&target).as_ref() == Some(&too_many));
    drop(guessers);
    assert_eq!(refusal(&target), Some(too_many), "who doesn't wait for the answer has it waited for");
    assert_eq!(refusal(&v6), None);
    assert_eq!(refusal(&Target { address: place.socket(&pgweir), ..target }), None);
}

/// A file that isn't named in the configuration but in another, or wasn't there yet, counts as soon as it changes.
#[test]
fn included_files_are_watched() {
    let place = Place::new();
    fs::create_dir(place.0.path().join("rules.d")).expect("our directory");
    place.write("guests", "nobody\n");
    let rules = "host app @guests all trust\ninclude_if_exists later.conf\ninclude_dir rules.d\n";
    let config = place.config(rules, "").set("reload_on_change", true);
    let pgweir = Pgweir::start(&config);
    let admits = |user: &str| refusal(&pgweir.target(user, "app").password("")).is_none();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(!["app", "trusty", "md5user"].into_iter().any(admits));
    place.write("guests", "trusty\n");
    eventually("a changed list", || admits("trusty"));
    place.write("later.conf", "host app app all trust\n");
    eventually("a new file", || admits("app"));
    place.write("rules.d/1.conf", "host app md5user all nonsense\n");
    eventually("the bad file is told", || pgweir.log().contains("reload failed, nothing was changed"));
    place.write("rules.d/1.conf", "host app md5user all trust\n");
    eventually("one in a directory, mended", || admits("md5user"));
}

/// Guesses that come together are no more than those that come one after the other.
#[test]
fn guesses_that_come_together_are_bounded() {
    let place = Place::new();
    let config = place.config("host all all all password\n", "").set("failed_login_delay", 60);
    let pgweir = Pgweir::start(&config);
    let target = pgweir.target("app", "app");
    let mut guessers: Vec<_> = (0..150)
        .map(|n| {
            let mut guesser = Client::open(&target.address).expect("a connection");
            let user = if n % 2 == 0 { "app" } else { "nobody" };
            guesser.send(&messages::startup(V3_0, &[("user", user), ("database", "app")]));
            assert_eq!(guesser.read().tag, b'R');
            guesser
        })
        .collect();
    guessers.iter_mut().for_each(|guesser| guesser.send(&messages::password("wrong")));
    let count = |what: &str| pgweir.log().matches(what).count();
    let looked_at = || count("wrong password") + count("unknown user");
    eventually("all are answered", || looked_at() + count("too many failed logins") == 150);
    // Ten that are free and 32 that are held back; the first of these not for long.
    assert!((42..55).contains(&looked_at()), "{}", looked_at());
}

/// What the fuzzer has found worth keeping.
#[test]
fn the_corpus_is_survived() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus/hba");
    let files: Vec<_> =
        fs::read_dir(corpus).expect("the corpus").map(|file| file.expect("a file").path()).collect();
    assert!(files.len() > 5);
    for file in files {
        harness::run(&fs::read(file).expect("a file"));
    }
}

const BIND: &str = "ldapprefix=uid= ldapsuffix=\",ou=people,dc=example\"";

/// Options by the names of databases; the first eight are right.
fn ways(directory: &Directory) -> Vec<(&'static str, String)> {
    let (port, tls_port) = (directory.port, directory.tls_port);
    let bind = BIND;
    let search = "ldapbasedn=dc=example ldapbinddn=\"cn=search,dc=example\" ldapbindpasswd";
    let address = format!("ldapserver=127.0.0.1 ldapport={port}");
    vec![
        ("simple", format!("{address} {bind}")),
        ("search", format!("{address} {search}=secret-search")),
        (
            "url",
            format!(
                "\"ldapurl=ldap://127.0.0.1:{port}/ou=people,dc=example?uid?one\" \
                 \"ldapbinddn=cn=search,dc=example\" ldapbindpasswd=secret-search"
            ),
        ),
        (
            "filter",
            format!(
                "{address} {search}=secret-search \"ldapsearchfilter=(&(uid=$username)(objectClass=account))\""
            ),
        ),
        ("second", format!("\"ldapserver=127.0.0.1:1 127.0.0.1\" ldapport={port} {bind}")),
        ("starttls", format!("ldapserver=localhost ldapport={port} ldaptls=1 {bind}")),
        ("ldaps", format!("ldapserver=localhost ldapport={tls_port} ldapscheme=ldaps {bind}")),
        ("six", format!("ldapserver=[::1] ldapport={tls_port} ldapscheme=ldaps {bind}")),
        ("unnamed", format!("ldapserver=127.0.0.1 ldapport={tls_port} ldapscheme=ldaps {bind}")),
        ("searcher", format!("{address} {search}=wrong")),
        ("dead", format!("ldapserver=127.0.0.1 ldapport=1 {bind}")),
    ]
}

/// Passwords that a directory knows, and who is looked for there.
#[test]
fn a_directory_is_asked() {
    let place = Place::new();
    let (all, localhost) = certificates();
    let directory = Directory::start(localhost);
    let ways = ways(&directory);
    let rules: String =
        ways.iter().map(|(name, options)| format!("host {name} all all ldap {options}\n")).collect();
    let trusting = |config: Config| config.environment("SSL_CERT_FILE", text(&all.ca())).without("users.app");
    let mut config = trusting(place.config(&rules, ""));
    for (name, _) in &ways {
        config = config.database(name, Cluster::shared().address()).put(
            &format!("databases.{name}"),
            "dbname",
            "app",
        );
    }
    let pgweir = Pgweir::start(&config);
    let denied =
        |user: &str| Some(("28000".to_owned(), format!("LDAP authentication failed for user \"{user}\"")));
    for (name, _) in &ways[..8] {
        // What was typed is what servers are opened with.
        assert_eq!(refusal(&pgweir.target("app", name)), None, "{name}: {}", pgweir.log());
    }
    for (user, password, database, why) in [
        ("app", "wrong", "simple", "the directory doesn't take the password"),
        ("app", "wrong", "search", "the directory doesn't take the password"),
        ("nobody", "x", "simple", "the directory doesn't take the password"),
        ("nobody", "x", "search", "the directory has no entries for the user"),
        ("twin", "secret-twin", "search", "the directory has several entries for the user"),
        ("App", "secret-app", "search", "the directory has no entries for the user"),
        ("App", "secret-app", "simple", "the directory spells the user's name differently"),
        ("*", "secret-app", "search", "the directory has no entries for the user"),
        ("app,ou=people,dc=example", "x", "simple", "the user's name has signs in it"),
        ("app", "secret-app", "searcher", "the directory doesn't take ldapbinddn and its password"),
        ("app", "secret-app", "unnamed", &format!("ldaps://127.0.0.1:{}: ", directory.tls_port)),
        ("app", "secret-app", "dead", "ldap://127.0.0.1:1: "),
    ] {
        assert_eq!(
            refusal(&pgweir.target(user, database).password(password)),
            denied(user),
            "{user} {database}"
        );
        eventually(why, || pgweir.log().contains(why));
    }
    // An empty password would bind as nobody in particular.
    let empty = refusal(&pgweir.target("app", "simple").password("")).expect("refused");
    assert_eq!(empty.0, "28P01");
    assert!(!pgweir.log().contains("secret-"), "{}", pgweir.log());
    drop(pgweir);
    let simple = format!("ldapserver=127.0.0.1 ldapport={} {BIND}", directory.port);
    let config =
        Config::new(Cluster::shared()).set("auth_type", "ldap").set("auth_ldap_options", simple.as_str());
    let pgweir = Pgweir::start(&trusting(config));
    assert_eq!(refusal(&pgweir.target("app", "app")), None);
    assert_eq!(refusal(&pgweir.target("app", "app").password("wrong")), denied("app"));
}

/// So many sequences in each other.
fn nested(depth: u32) -> Vec<u8> {
    let header = |within: u32| [&[0x30, 0x84][..], &(within * 6).to_be_bytes()].concat();
    (0..depth).rev().flat_map(header).collect()
}

/// An answer that is this operation, well done, to the request of this ID.
fn done(operation: u8, question: &[u8]) -> Vec<u8> {
    let id = question.get(4).copied().unwrap_or_default();
    vec![0x30, 12, 2, 1, id, operation, 7, 10, 1, 0, 4, 0, 4, 0]
}

/// Nothing a directory says, or who is between, ends more than the login it is said to; before StartTLS neither.
#[test]
fn a_directory_that_lies_ends_a_login_at_most() {
    const MUCH: usize = 64 << 20;
    type Lie = fn(&[u8]) -> Vec<u8>;
    let lies: [(&str, Lie, &str); 8] = [
        ("deep", |_| nested(15_000), "its answer is not one of LDAP"),
        ("deeper", |_| nested(50_000), "its answer is longer than 256 KiB"),
        (
            "long",
            |_| [vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff], vec![0; MUCH]].concat(),
            "longer than 256 KiB",
        ),
        ("kind", |asked| done(0x65, asked), "its answer is not one to what was asked"),
        ("other", |_| done(0x61, &[9; 5]), "its answer is not one to what was asked"),
        // Behind a StartTLS that succeeds, a bind that does: not a word of it counts.
        (
            "early",
            |asked| [done(0x78, asked), done(0x61, &[1; 5])].concat(),
            "its answer is not one to what was asked",
        ),
        ("empty", |_| vec![0x30, 3, 2, 1, 1], "its answer is not one of LDAP"),
        (
            "text",
            |_| b"\x30\x0d\x02\x01\x01\x61\x08\x0a\x01\x35\x04\x00\x04\x01\xff".to_vec(),
            "it answers 53",
        ),
    ];
    let liars: Vec<_> = lies.into_iter().map(|(name, lie, why)| (name, Liar::start(lie), why)).collect();
    // Who searches as nobody in particular is told of a bind.
    let bound = Liar::start(|asked| done(0x61, asked));
    let (place, mut rules) = (Place::new(), String::new());
    for (name, liar, _) in &liars {
        let options = format!("ldapserver=127.0.0.1 ldapport={} {BIND}", liar.port);
        rules += &format!(
            "host {name} all all ldap {options}\nhost {name}-tls all all ldap ldaptls=1 {options}\n"
        );
    }
    rules +=
        &format!("host bound all all ldap ldapserver=127.0.0.1 ldapport={} ldapbasedn=dc=x\n", bound.port);
    rules += "host app all all trust\n";
    let pgweir = Pgweir::start(&place.config(&rules, ""));
    let mut other = Client::connect(&pgweir.target("app", "app"));
    let denied = Some(("28000".to_owned(), "LDAP authentication failed for user \"app\"".to_owned()));
    for (name, liar, why) in &liars {
        for database in [name.to_string(), format!("{name}-tls")] {
            assert_eq!(refusal(&pgweir.target("app", &database)), denied, "{database}");
            let why = format!("ldap://127.0.0.1:{}: ", liar.port);
            eventually(&why, || pgweir.log().contains(&why));
            assert!(liar.taken.recv().expect("it lives") < MUCH, "{database}");
            assert_eq!(other.value("SELECT 1"), "1");
        }
        assert!(pgweir.log().contains(why), "{name}: {}", pgweir.log());
    }
    assert_eq!(refusal(&pgweir.target("app", "bound")), denied);
    let told = format!("ldap://127.0.0.1:{}: its answer is not one to what was asked", bound.port);
    eventually(&told, || pgweir.log().contains(&told));
    assert_eq!(other.value("SELECT 1"), "1");
    assert!(!pgweir.log().contains("panicked"), "{}", pgweir.log());
}

/// A service of PAM for as long as the test runs; its modules take what the script says.
#[cfg(feature = "pam")]
struct Service(PathBuf);

#[cfg(feature = "pam")]
impl Drop for Service {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Only root can run it, since PAM looks for services in /etc/pam.d only.
#[cfg(feature = "pam")]
#[test]
fn modules_of_pam_are_asked() {
    let place = Place::new();
    let script = "#!/bin/sh\npassword=$(tr -d '\\0')\n\
                  [ \"$PAM_USER $PAM_RHOST $password\" = \"app 127.0.0.1 secret-app\" ]\n";
    let script = place.write("check", script);
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our file");
    let name = format!("pgweir-test-{}", std::process::id());
    let service = Service(PathBuf::from("/etc/pam.d").join(&name));
    let modules = format!(
        "auth required pam_exec.so quiet expose_authtok {}\naccount required pam_permit.so\n",
        text(&script)
    );
    if let Err(why) = fs::write(&service.0, modules) {
        eprintln!("not tested: {}: {why}", service.0.display());
        return;
    }
    let rules = format!("host app all all pam pamservice={name}\nhost all all all pam pamservice=missing\n");
    let config = place.config(&rules, "").set("failed_login_delay", 60);
    let pgweir = Pgweir::start(&config.without("users.app"));
    let denied =
        |user: &str| Some(("28000".to_owned(), format!("PAM authentication failed for user \"{user}\"")));
    // What was typed is what servers are opened with.
    assert_eq!(refusal(&pgweir.target("app", "app")), None, "{}", pgweir.log());
    assert_eq!(refusal(&pgweir.target("app", "other")), denied("app"));
    for (user, password) in [("app", "wrong"), ("nobody", "secret-app")] {
        assert_eq!(refusal(&pgweir.target(user, "app").password(password)), denied(user));
    }
    for _ in 0..9 {
        assert_eq!(refusal(&pgweir.target("app", "app").password("wrong")), denied("app"));
    }
    eventually("guesses are counted", || pgweir.log().contains("held_ms=100"));
    assert!(!pgweir.log().contains("secret-"), "{}", pgweir.log());
}
