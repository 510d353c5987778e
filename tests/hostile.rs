//! What has broken other poolers, and what else strangers may try: floods, stalls, lengths that lie, servers that can't be trusted.
//! What comes in before a login is in `auth`, `tls` and `corpus`, too; servers that fail in `faults`.

mod support;

use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use support::cluster::Cluster;
use support::fake_server::{Conn, FakeServer};
use support::messages::{self, backend, query, startup};
use support::pgweir::{As, Config, Pgweir};
use support::raw::{Client, V3_0};
use support::{PATIENCE, eventually};

fn hello() -> Vec<u8> {
    startup(V3_0, &[("user", "app"), ("database", "app")])
}

fn header(tag: u8, length: u32) -> Vec<u8> {
    [&[tag][..], &length.to_be_bytes()].concat()
}

fn sasl_initial(data: &str) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("short").to_be_bytes();
    messages::message(b'p', &[b"SCRAM-SHA-256\0", &length[..], data.as_bytes()].concat())
}

fn open(pgweir: &Pgweir) -> Client {
    Client::open(&pgweir.target("app", "app").address).expect("the backlog has room")
}

/// Says one part after the other, each but the last answered by a message.
fn say(client: &mut Client, parts: &[&[u8]]) {
    for (nth, part) in parts.iter().enumerate() {
        if nth > 0 {
            assert_eq!(client.read().tag, b'R');
        }
        client.try_send(part).ok();
    }
}

/// What is said to the last of these parts, which is followed by the end.
fn answer(pgweir: &Pgweir, parts: &[&[u8]]) -> Vec<u8> {
    let mut client = open(pgweir);
    say(&mut client, parts);
    client.shutdown_write_quietly();
    client.drain()
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Whether pgweir has taken all that was sent to it.
fn is_all_read(pgweir: &Pgweir) -> bool {
    let port = format!(":{:04X}", pgweir.port);
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    table.lines().skip(1).all(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, remote, state, queues) = (words[1], words[2], words[3], words[4]);
        match state {
            // A listening socket's is its backlog.
            "01" | "0A" if local.ends_with(&port) => queues.ends_with(":00000000"),
            "01" if remote.ends_with(&port) => queues.starts_with("00000000:"),
            _ => true,
        }
    })
}

/// How many clients pgweir has not closed yet.
fn connections(pgweir: &Pgweir) -> usize {
    let port = format!(":{:04X}", pgweir.port);
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|words| words[1].ends_with(&port) && ["01", "08"].contains(&words[3])).count()
}

fn resident_kib(pid: u32) -> u64 {
    kib_of(pid, "VmRSS:")
}

fn kib_of(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with(what)).expect("Linux has it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// CPU time of a process so far, in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let words: Vec<&str> = stat.rsplit(") ").next().expect("a name").split(' ').collect();
    [words[11], words[12]].iter().map(|word| word.parse::<u64>().expect("ticks")).sum()
}

/// CVE-2012-4575: a database that is made by being asked for, with a name at and past PostgreSQL's limit.
#[test]
fn names_at_and_past_the_limit() {
    let cluster = Cluster::shared();
    let longest = "n".repeat(63);
    cluster.create_database(&longest);
    let config = Config::new(cluster).database("\"*\"", cluster.address()).set("auth_type", "trust");
    let mut pgweir = Pgweir::start(&config);
    assert_eq!(Client::connect(&pgweir.target("app", &longest)).value("SELECT 1"), "1");
    for (size, character) in [(62, "n"), (64, "x"), (1_000, "x"), (9_900, "x"), (3_300, "\u{20ac}")] {
        let name = character.repeat(size);
        let refused =
            Client::try_connect(&pgweir.target("app", &name)).map(drop).expect_err("no such database");
        let error = refused.error();
        assert!(["3D000", "08P01"].contains(&&*error.sqlstate()), "{size}: {error}");
        let user = Client::try_connect(&pgweir.target(&name, "app")).map(drop).expect_err("no such user");
        assert_eq!(user.error().field(b'S').as_deref(), Some("FATAL"), "{size}");
    }
    assert!(pgweir.is_alive());
}

/// CVE-2015-4054, CVE-2026-6664, CVE-2026-107350: whatever comes where SCRAM's last message is due is no step forward.
#[test]
fn nothing_else_where_the_proof_is_due() {
    let mut pgweir = Pgweir::start(&Config::new(Cluster::shared()).set("client_login_timeout", 5));
    let first = sasl_initial("n,,n=,r=abcdefghijklmnop");
    let mut cases: Vec<Vec<u8>> =
        (0..=255).map(|tag| messages::message(tag, b"c=biws,r=abcdefghijklmnop")).collect();
    for length in [0, 1, 3, 4, 10_001, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        cases.push(header(b'p', length));
    }
    cases.push(hello());
    cases.push(startup(V3_0, &[("user", "trusty"), ("database", "app")]));
    cases.push(messages::ssl_request());
    cases.push(sasl_initial("n,,n=,r=abcdefghijklmnop"));
    cases.push(messages::password("secret-app"));
    for case in cases {
        let said = answer(&pgweir, &[&hello(), &first, &case]);
        let what = case[..case.len().min(40)].escape_ascii().to_string();
        assert!(!has(&said, b"R\0\0\0\x08\0\0\0\0") && !has(&said, b"Z\0\0\0\x05"), "let in by {what}");
        assert!(pgweir.is_alive(), "ended by {what}:\n{}", pgweir.log());
    }
    assert_eq!(pgweir.client().value("SELECT 1"), "1");
}

/// CVE-2026-6668, CVE-2026-107348: who has proved nothing holds at most 16 KiB and a task, whatever it announces and sends.
#[test]
fn logins_that_stall_hold_little() {
    const CLIENTS: usize = 400;
    let parameters: Vec<(String, &str)> = (0..1_300).map(|n| (format!("a.{n}"), "")).collect();
    let mut many = vec![("user", "app"), ("database", "app")];
    many.extend(parameters.iter().map(|(name, value)| (name.as_str(), *value)));
    let many = startup(V3_0, &many);
    assert!((9_000..10_000).contains(&many.len()), "{}", many.len());
    let flags = startup(V3_0, &[("user", "app"), ("options", &"-ca=b ".repeat(1_600))]);
    let unknown = startup(V3_0, &[&[("user", "app")][..], &[("_pq_.", ""); 1_400]].concat());
    let part = |bytes: &[u8], size: usize| [bytes, &vec![b'x'; size]].concat();
    let response = part(&header(b'p', 16_000), 15_990);
    let first = sasl_initial(&format!("n,,n=,r={}", "n".repeat(500)));
    let shapes: [(&str, Vec<Vec<u8>>); 6] = [
        ("nearly a StartupMessage", vec![part(&10_000u32.to_be_bytes(), 9_995)]),
        ("many parameters", vec![many]),
        ("many settings", vec![flags]),
        ("many unknown options", vec![unknown]),
        ("nearly a response", vec![hello(), response.clone()]),
        ("nearly a last response", vec![hello(), first, response]),
    ];
    for (name, parts) in shapes {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let pgweir = Pgweir::start(&Config::new(Cluster::shared()).set("max_client_conn", 1000));
        let stall = |n: usize| -> Vec<Client> {
            let clients = (0..n).map(|_| open(&pgweir));
            let sent = clients.map(|mut client| {
                say(&mut client, &parts);
                client
            });
            let clients = sent.collect();
            eventually("all is read", || is_all_read(&pgweir));
            clients
        };
        drop(pgweir.client());
        let first = stall(40);
        let before = resident_kib(pgweir.pid());
        let clients = stall(CLIENTS);
        let each = (resident_kib(pgweir.pid()) - before) as f64 / CLIENTS as f64;
        println!("{name}: {each:.1} KiB each");
        // A build without optimization has large tasks.
        assert!(each < 40.0, "{name}: {each:.1} KiB each: 16, a task and what the allocator keeps");
        assert_eq!(pgweir.client().value("SELECT 1"), "1", "{name}");
        drop((first, clients));
    }
}

/// What is longer than that is refused by its header.
#[test]
fn what_is_too_long_before_a_login_is_refused() {
    let pgweir = Pgweir::start(&Config::new(Cluster::shared()).set("auth_type", "plain"));
    let refused = |parts: &[&[u8]], why: &str| {
        let said = answer(&pgweir, parts);
        assert!(has(&said, b"Minvalid"), "{why}: {}", said.escape_ascii());
        assert!(has(&said, b"C08P01"), "{why}: {}", said.escape_ascii());
    };
    refused(&[&10_001u32.to_be_bytes()], "a startup packet's length");
    refused(&[&hello(), &header(b'p', 16_385)], "a response's length");
    let long = startup(V3_0, &[("user", "app"), ("options", &"-ca=b ".repeat(1_600))]);
    refused(&[&long, &header(b'p', 12_000)], "both together");
    let said = answer(&pgweir, &[&hello(), &messages::password(&"x".repeat(15_000))]);
    assert!(has(&said, b"C28P01"), "a long password is only wrong: {}", said.escape_ascii());
}

/// Connections that aren't logged in are bounded by themselves; sessions don't count.
#[test]
fn max_login_conn_is_exact() {
    let pgweir = Pgweir::start(&Config::new(Cluster::shared()).set("max_login_conn", 5));
    let mut inside = pgweir.client();
    let begun = |_| {
        let mut client = open(&pgweir);
        client.send(&hello());
        client.read();
        client
    };
    let mut stalled: Vec<Client> = (0..5).map(begun).collect();
    let refused = Client::try_connect(&pgweir.target("app", "app")).map(drop).expect_err("no room");
    assert_eq!(refused.error().sqlstate(), "53300");
    assert_eq!(inside.value("SELECT 1"), "1");
    drop(stalled.pop());
    eventually("room for one", || Client::try_connect(&pgweir.target("app", "app")).is_ok());
}

/// Whoever has all places of max_login_conn from one address gives one of them to who comes from another.
#[test]
fn one_address_can_t_keep_the_others_out() {
    let pgweir = Pgweir::start(&Config::new(Cluster::shared()).set("max_login_conn", 5));
    let elsewhere = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).expect("all of 127.0.0.0/8 is here");
        socket.connect(&pgweir.address().into()).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        TcpStream::from(socket)
    };
    let mut silent: Vec<TcpStream> = (0..5).map(|_| elsewhere()).collect();
    eventually("all are accepted", || connections(&pgweir) == silent.len());
    for n in 0..3 {
        assert_eq!(pgweir.client().value("SELECT 1"), "1", "{n}");
    }
    let told = |socket: &mut TcpStream| {
        socket.set_nonblocking(true).expect("a socket");
        let mut said = [0; 1024];
        socket.read(&mut said).is_ok_and(|n| has(&said[..n], b"C53300"))
    };
    let gone = silent.iter_mut().map(told).filter(|gone| *gone).count();
    assert!((1..=3).contains(&gone), "{gone} had to go");
}

/// 10,000 connections at every stage before a login, and those who are or get in notice nothing.
#[test]
fn ten_thousand_half_open_logins() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("our own");
    let room = limit.maximum.unwrap_or(u64::MAX).saturating_sub(1_000).min(10_000) as usize;
    let config = Config::new(Cluster::shared()).set("max_client_conn", 11_000);
    let mut pgweir = Pgweir::start(&config.set("default_pool_size", 2));
    let mut inside = pgweir.client();
    let (hello, first) = (hello(), sasl_initial("n,,n=,r=abcdefghijklmnop"));
    let stages: [&[&[u8]]; 6] =
        [&[], &[&hello[..1]], &[&hello[..20]], &[&hello], &[&hello, &first[..20]], &[&hello, &first]];
    let mut half_open = Vec::new();
    for n in 0..room {
        let mut client = open(&pgweir);
        say(&mut client, stages[n % stages.len()]);
        half_open.push(client);
        if n % 1_000 == 999 {
            assert_eq!(inside.value("SELECT 1"), "1", "after {n}");
            assert_eq!(pgweir.client().value("SELECT 2"), "2", "after {n}");
        }
    }
    eventually("all is read", || is_all_read(&pgweir));
    assert_eq!(pgweir.client().value("SELECT 3"), "3");
    drop(half_open);
    assert_eq!(inside.value("SELECT 4"), "4");
    assert!(pgweir.is_alive());
}

/// CancelRequests of keys nobody has, of the right process with a wrong secret, and of no length at all.
#[test]
fn a_flood_of_cancels_hits_nobody() {
    let mut pgweir = Pgweir::start(&Config::new(Cluster::shared()).set("default_pool_size", 1));
    let mut client = pgweir.client();
    client.send(&query("SELECT 'slept' FROM pg_sleep(1)"));
    let (pid, key) = (client.pid, client.key.clone());
    for n in 0..600u32 {
        let mut wrong = key.clone();
        wrong[(n % 4) as usize] ^= 1 << (n % 8);
        let packet = match n % 3 {
            0 => messages::cancel_request(pid, &wrong),
            1 => messages::cancel_request(n.wrapping_mul(0x9e37_79b9), &key),
            _ => messages::cancel_request(pid, &wrong.repeat(1 + n as usize % 70)),
        };
        let mut canceller = open(&pgweir);
        canceller.try_send(&packet).ok();
        canceller.shutdown_write_quietly();
        canceller.drain();
    }
    client.expect(&["T…", "D [Some(\"slept\")]", "C SELECT 1", "Z I"]);
    assert!(pgweir.is_alive());
}

/// Clients have all descriptors they may: the others are told, and what an operator asks, a server more and a reload have theirs.
#[test]
fn descriptors_are_kept_for_others() {
    const LIMIT: usize = 120;
    let script = tempfile::NamedTempFile::new().expect("a file").into_temp_path();
    let text = format!("#!/bin/sh\nulimit -n {LIMIT}\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_pgweir"));
    std::fs::write(&script, text).expect("our file");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("our file");
    let config = Config::new(Cluster::shared()).set("client_login_timeout", 0).set("default_pool_size", 20);
    let pgweir = Pgweir::start_binary(&script, &config, As::Ourselves);
    let mut inside: Vec<Client> = (0..20).map(|_| pgweir.client()).collect();
    let mut many: Vec<Client> = (0..LIMIT).map(|_| open(&pgweir)).collect();
    let told = many.pop().expect("the last").read();
    let what = [b'S', b'C', b'M', b'D'].map(|field| told.field(field).unwrap_or_default());
    let detail = "no more connections allowed (limit on open files)";
    assert_eq!(what, ["FATAL", "53300", "sorry, too many clients already", detail]);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(pgweir.http(path).0, 200, "{path}");
    }
    assert!(pgweir.metric("pgweir_client_connections_refused_total", &["reason=\"resources\""]) > 0.0);
    inside.iter_mut().for_each(|client| client.send(&query("BEGIN")));
    eventually("servers leave some, too", || pgweir.log().contains("Too many open files"));
    let connected = || pgweir.log().matches("server connected").count();
    assert!(connected() > 1, "some had room: {}", pgweir.log());
    assert_eq!(pgweir.http("/livez").0, 200);
    pgweir.reload(&config.set("max_client_conn", 777));
    eventually("the file is read", || pgweir.log().contains("max_client_conn in [pgweir] changed"));
    assert_eq!(pgweir.log().matches("clients are refused: nearly all files").count(), 1, "{}", pgweir.log());
    drop(many);
    eventually("there is room", || Client::try_connect(&pgweir.target("app", "app")).is_ok());
}

/// The kernel grows its table of descriptors by holding up whoever asks for one more: a worker, with all its transactions.
#[test]
fn no_crowd_grows_the_table_of_descriptors() {
    let config = Config::new(Cluster::shared()).set("max_client_conn", 600);
    let pgweir = Pgweir::start(&config);
    let room = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pgweir.pid())).expect("our child");
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).expect("Linux tells");
        size.trim().parse::<usize>().expect("a number")
    };
    assert!(room() >= 1112, "room for {} before anybody has come", room());
    pgweir.reload(&config.set("max_client_conn", 3000));
    eventually("there is room for more", || room() >= 3512);
}

/// No descriptors left, for clients first and then for servers, by a limit that is lowered while it runs: nobody who is there notices, nothing spins, and all goes on once there
/// are some.
#[test]
fn descriptors_run_out() {
    let pgweir = Pgweir::start(&Config::new(Cluster::shared()).set("server_login_retry", "100ms"));
    let mut inside = pgweir.client();
    inside.value("SELECT 1");
    let pid = Pid::from_raw(pgweir.pid().cast_signed()).expect("a process");
    let whole = prlimit(Some(pid), Resource::Nofile, getrlimit(Resource::Nofile)).expect("our child");
    let used = || -> Vec<u64> {
        let numbers = std::fs::read_dir(format!("/proc/{}/fd", pgweir.pid())).expect("it lives");
        numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    };
    eventually("it is alone", || connections(&pgweir) == 1);
    let usual = used();
    // The limit is one of numbers, and there may be gaps.
    let limit = |free: usize| {
        let first_too_many = (0..).filter(|number| !usual.contains(number)).nth(free);
        let limit = Rlimit { current: first_too_many, ..whole };
        prlimit(Some(pid), Resource::Nofile, limit).expect("our child");
    };
    limit(8);
    let many: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(pgweir.address()).expect("the backlog has room")).collect();
    eventually("it is told", || pgweir.log().contains("cannot accept clients"));
    let before = cpu_ticks(pgweir.pid());
    inside.value("SELECT pg_sleep(1)");
    let spent = cpu_ticks(pgweir.pid()) - before;
    assert!(spent < 30, "{spent} hundredths of a second");
    assert_eq!(pgweir.log().matches("cannot accept clients").count(), 1, "{}", pgweir.log());
    drop(many);
    eventually("there is room", || Client::try_connect(&pgweir.target("app", "app")).is_ok());

    eventually("all others are gone", || connections(&pgweir) == 1 && used().len() == usual.len());
    inside.query("BEGIN");
    let mut waiting = pgweir.client();
    limit(1);
    waiting.send(&query("SELECT 'served'"));
    eventually("it can't connect", || pgweir.log().contains("cannot open a server"));
    inside.query("COMMIT");
    waiting.expect(&["T…", "D [Some(\"served\")]", "C SELECT 1", "Z I"]);
    inside.query("BEGIN");
    waiting.send(&query("SELECT 'again'"));
    prlimit(Some(pid), Resource::Nofile, whole).expect("our child");
    waiting.expect(&["T…", "D [Some(\"again\")]", "C SELECT 1", "Z I"]);
    assert_eq!(inside.value("SELECT 'still there'"), "still there");
}

/// As much address space as it has and 64 MiB: what passes through is larger, both ways, and so are crowds.
#[test]
fn little_memory_is_enough() {
    const LONG: usize = 80_000_000;
    let pgweir = Pgweir::start(&Config::new(Cluster::shared()).set("max_client_conn", 1000));
    let mut inside = pgweir.client();
    inside.value("SELECT 1");
    let pid = Pid::from_raw(pgweir.pid().cast_signed()).expect("a process");
    let most = Some((kib_of(pgweir.pid(), "VmSize:") + 64 * 1024) * 1024);
    prlimit(Some(pid), Resource::As, Rlimit { current: most, maximum: most }).expect("our child");
    let (mut reads, mut writes) = (pgweir.client(), pgweir.client());
    let text = format!("SELECT length('{}')", "x".repeat(LONG));
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(writes.value(&text), LONG.to_string()));
        scope.spawn(|| assert_eq!(reads.value(&format!("SELECT repeat('x', {LONG})")).len(), LONG));
        let half_open: Vec<Client> = (0..500).map(|_| open(&pgweir)).collect();
        let crowd: Vec<Client> = (0..100).map(|_| pgweir.client()).collect();
        assert_eq!(inside.value("SELECT 'meanwhile'"), "meanwhile");
        drop((half_open, crowd));
    });
    assert_eq!(pgweir.client().value("SELECT 'behind it'"), "behind it");
}

/// CVE-2026-6669: a server that wants much hashing has it done where nobody waits for it.
#[test]
fn hashing_for_a_server_holds_up_nobody() {
    let hashing = Arc::new(Mutex::new(None::<Duration>));
    let (asked, done) = (Arc::new(AtomicBool::new(false)), Arc::clone(&hashing));
    let has_asked = Arc::clone(&asked);
    let greedy = FakeServer::start(move |conn| {
        conn.send(&messages::message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"))?;
        let first = conn.read()?;
        let text = String::from_utf8_lossy(&first.body).into_owned();
        let nonce = text.rsplit("r=").next().unwrap_or_default().to_owned();
        let words = format!("r={nonce}server,s=c2FsdHNhbHQ=,i=200000");
        let began = Instant::now();
        conn.send(&messages::message(b'R', &[b"\0\0\0\x0b", words.as_bytes()].concat()))?;
        has_asked.store(true, Ordering::SeqCst);
        conn.read()?;
        done.lock().expect("no panic").get_or_insert(began.elapsed());
        conn.stall()
    });
    let config = Config::new(Cluster::shared()).set("workers", 1).database("greedy", greedy.address());
    let pgweir = Pgweir::start(&config);
    let mut inside = pgweir.client();
    inside.value("SELECT 1");
    let mut victim = open(&pgweir);
    let target = pgweir.target("app", "greedy");
    let login = std::thread::spawn(move || Client::try_connect(&target).is_ok());
    eventually("it wants hashes", || asked.load(Ordering::SeqCst));
    let mut slowest = Duration::ZERO;
    while hashing.lock().expect("no panic").is_none() {
        let began = Instant::now();
        inside.value("SELECT 1");
        slowest = slowest.max(began.elapsed());
    }
    let hashing = hashing.lock().expect("no panic").expect("done");
    assert!(slowest < hashing / 2, "a query took {slowest:?} while {hashing:?} were hashed");
    victim.try_send(&hello()).ok();
    assert_eq!(victim.read().tag, b'R');
    drop(pgweir);
    assert!(!login.join().expect("no panic"));
}

/// pgweir with two server connections, to a scripted server.
fn scripted(act: impl Fn(&mut Conn) -> io::Result<()> + Send + Sync + 'static) -> (FakeServer, Pgweir) {
    let server = FakeServer::scripted(act);
    let config = Config::to(server.address()).set("default_pool_size", 2).set("server_login_retry", "100ms");
    let pgweir = Pgweir::start(&config);
    (server, pgweir)
}

/// CVE-2026-6666: ErrorResponses without fields, without an end, with fields of no name.
#[test]
fn errors_without_fields() {
    let bodies: [&[u8]; 7] = [b"", b"\0", b"SERROR", b"SERROR\0", b"C\0\0", b"\0\0\0", b"MC\0VFATAL"];
    let (server, pgweir) = scripted(move |conn| {
        for body in bodies {
            conn.send(&[messages::message(b'E', body), backend::ready(b'I')].concat())?;
            conn.serve_until("marker")?;
        }
        conn.send(&backend::one_value("done"))
    });
    let mut client = pgweir.client();
    for body in bodies {
        client.send(&query("SELECT 'marker'"));
        let (error, ready) = (client.read(), client.read());
        assert_eq!((error.tag, &*error.body, ready.tag), (b'E', body, b'Z'));
    }
    assert_eq!(client.value("SELECT 'marker'"), "done");
    assert_eq!(pgweir.client().value("SELECT 'next'"), "1");
    server.finish();
}

/// A server that says no more in the middle of a row: its client waits and may leave, the others have theirs, and it is never
/// used again.
#[test]
fn a_server_that_stops_within_a_row() {
    let (server, pgweir) = scripted(|conn| {
        let row = backend::data_row(&["a value whose end never comes"]);
        conn.send(&[backend::row_description(1), row[..12].to_vec()].concat())?;
        conn.stall()
    });
    let mut stuck = pgweir.client();
    stuck.send(&query("SELECT 'marker'"));
    stuck.expect(&["T…"]);
    assert_eq!(pgweir.client().value("SELECT 'others'"), "1");
    drop(stuck);
    for _ in 0..3 {
        assert_eq!(pgweir.client().value("SELECT 'next'"), "1");
    }
    server.finish();
}

/// CVE-2024-27304 (and CVE-2026-6664 behind the login): a length that PostgreSQL wouldn't take is refused before a byte of its message
/// goes on.
#[test]
fn lengths_that_lie_in_a_session() {
    let pgweir = Pgweir::start(&Config::new(Cluster::shared()).set("default_pool_size", 1));
    for tag in *b"QPBEDCFHSXdcfp" {
        let small = !b"QPBFd".contains(&tag);
        let lengths =
            [0, 3, 0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, if small { 10_001 } else { 1 }];
        for length in lengths {
            let mut client = pgweir.client();
            client.send(&[header(tag, length), b"SELECT 1\0".to_vec()].concat());
            let said = client.drain();
            let what = format!("{:?} of {length:#x}: {}", char::from(tag), said.escape_ascii());
            assert!(said.is_empty() || has(&said, b"C08P01"), "{what}");
            assert!(!has(&said, b"SELECT 1\0") && !has(&said, b"Z\0\0\0\x05"), "{what}");
        }
    }
    assert_eq!(pgweir.client().value("SELECT 'next'"), "next");
}

/// Parameters of ever new names, without end, as the answer to a question of pgweir's own: they take no memory to speak of, and the
/// server is given up as soon as there are too many.
#[test]
fn parameters_without_end_behind_our_own_question() {
    let server = FakeServer::start(|conn| {
        conn.welcome()?;
        if conn.number > 0 {
            return conn.serve();
        }
        conn.serve_until("DISCARD ALL")?;
        for nth in 0..256 {
            let flood = |n| backend::parameter_status(&format!("made.up_{nth}_{n}"), &"v".repeat(2_000));
            conn.send(&(0..512).flat_map(flood).collect::<Vec<_>>())?;
        }
        Err(io::Error::other("all 256 MiB were read"))
    });
    let config = Config::to(server.address())
        .set("pool_mode", "session")
        .set("default_pool_size", 1)
        .set("workers", 1);
    let pgweir = Pgweir::start(&config);
    assert_eq!(pgweir.client().value("SELECT 'first'"), "1");
    assert_eq!(pgweir.client().value("SELECT 'next'"), "1");
    assert_eq!(server.connections(), 2);
    let kib = resident_kib(pgweir.pid());
    assert!(kib < 100 * 1024, "{kib} KiB");
    server.finish();
}
