//! The pages as a scraper, a probe and a nuisance see them, over a real socket.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use super::*;
use crate::metrics::Metrics;

struct Switch(AtomicBool);

impl Health for Switch {
    fn ready(&self) -> Result<(), String> {
        if self.0.load(Ordering::Relaxed) { Ok(()) } else { Err("pgweir is shutting down.".to_owned()) }
    }
}

struct Server {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    health: Arc<Switch>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (metrics, health) = (Arc::new(Metrics::new(1)), Arc::new(Switch(AtomicBool::new(true))));
        let state = State::new(Arc::clone(&metrics), Arc::default(), Arc::clone(&health) as Arc<dyn Health>);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(listener, state, async { drop(stopped.await) }))
        });
        Self { address, metrics, health, stop, thread }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// Status, head and body.
    fn ask(&self, request: &str) -> (u16, String, String) {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        answer(&mut stream)
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: pgweir\r\n\r\n"))
    }

    fn stop(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

fn answer(stream: &mut TcpStream) -> (u16, String, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn pages_answer_as_documented() {
    let server = Server::start();
    for (path, status, part) in [
        ("/advice?text", 200, "0 pools."),
        ("/livez", 200, "ok\n"),
        ("/readyz", 200, "ready\n"),
        ("/metrics", 200, "\npgweir_ready 1\n"),
        ("/metrics?name[]=x", 200, "pgweir_build_info"),
        ("/nothing", 404, "not found"),
        ("/metrics/../../etc/passwd", 404, "not found"),
    ] {
        let (told, head, body) = server.get(path);
        assert_eq!(told, status, "{path}");
        assert!(body.contains(part), "{path}: {body}");
        assert!(head.contains("content-type: text/plain"), "{path}: {head}");
    }
    let (status, head, body) = server.ask("HEAD /metrics HTTP/1.1\r\nHost: pgweir\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert_eq!(server.ask("POST /livez HTTP/1.1\r\nHost: pgweir\r\nContent-Length: 0\r\n\r\n").0, 405);
    server.stop();
}

#[test]
fn the_page_runs_only_its_own_script() {
    let server = Server::start();
    let (status, head, body) = server.get("/");
    assert_eq!(status, 200);
    for header in [
        "content-type: text/html; charset=utf-8",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        assert!(head.contains(header), "{head}");
    }
    let policy = head.lines().find(|line| line.starts_with("content-security-policy: ")).unwrap();
    assert!(
        policy.contains("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    let body = body.replace("http://www.w3.org/2000/svg", "");
    // Nothing from elsewhere, and nothing that could make markup of a name.
    for never in [
        "://",
        "src=",
        "innerHTML",
        "outerHTML",
        "HTML(",
        "document.write",
        "eval(",
        "onclick",
        "onload",
        "style=",
    ] {
        assert!(!body.contains(never), "{never}");
    }
    for once in ["<script>", "</script>", "<style>", "</style>"] {
        assert_eq!(body.matches(once).count(), 1, "{once}");
    }
    server.stop();
}

#[test]
fn pools_as_json_are_looked_at_once_in_a_while() {
    let server = Server::start();
    let hostile = "</script><img src=x>\u{1b}[2J\"\\\u{1}\u{2028}";
    let pool = server.metrics.pool(hostile, "u");
    pool.worker(0).transaction(2_000_000);
    pool.worker(0).wait(50_000_000);
    let (status, head, body) = server.get("/pools.json");
    assert_eq!(status, 200, "{body}");
    assert!(
        head.contains("content-type: application/json") && head.contains("cache-control: no-store"),
        "{head}"
    );
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["pools"][0]["database"], hostile);
    assert_eq!(told["pools"][0]["advice"]["verdict"], "unknown");
    let p99 = told["totals"]["wait_p99"].as_f64().unwrap();
    assert!((p99 - 0.05).abs() < 0.007, "{p99}");
    assert_eq!(told["ready"], true);
    pool.worker(0).transaction(2_000_000);
    let state = server.get("/pools.json").2;
    assert!(
        state == body
            || told["interval"] != serde_json::from_str::<serde_json::Value>(&state).unwrap()["interval"]
    );
    server.stop();
}

#[test]
fn unready_is_503_with_the_reason_and_a_zero() {
    let server = Server::start();
    server.health.0.store(false, Ordering::Relaxed);
    let (status, _, body) = server.get("/readyz");
    assert_eq!((status, body.as_str()), (503, "pgweir is shutting down.\n"));
    assert_eq!(server.get("/livez").0, 200);
    assert!(server.get("/metrics").2.contains("\npgweir_ready 0\n"));
    server.stop();
}

#[test]
fn metrics_follow_what_is_counted() {
    let server = Server::start();
    let series = "\npgweir_pool_transactions_total{database=\"a\\\"b\",user=\"c\\\\d\\ne\"} ";
    let pool = server.metrics.pool("a\"b", "c\\d\ne");
    for n in 1..=3 {
        pool.worker(0).transaction(1_000);
        let (_, _, body) = server.get("/metrics");
        assert!(body.contains(&format!("{series}{n}\n")), "{body}");
    }
    server.stop();
}

#[test]
fn garbage_is_answered_or_dropped_and_the_server_lives() {
    let server = Server::start();
    let long_line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1_000));
    let cases: &[&[u8]] = &[
        b"",
        b"\0",
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        long_line.as_bytes(),
        many_headers.as_bytes(),
    ];
    for case in cases {
        let mut stream = server.connect();
        // The server may hang up before all of it is written or read.
        let _ = stream.write_all(case);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        let shown = String::from_utf8_lossy(&case[..case.len().min(40)]);
        assert_eq!(server.get("/livez").0, 200, "after {shown:?}");
    }
    server.stop();
}

#[test]
fn silent_connections_keep_no_scrape_out() {
    let server = Server::start();
    let silent: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ").unwrap();
            stream
        })
        .collect();
    assert_eq!(server.get("/metrics").0, 200);
    drop(silent);
    server.stop();
}

#[test]
fn one_request_a_connection() {
    let server = Server::start();
    let request = "GET /livez HTTP/1.1\r\nHost: pgweir\r\n\r\n";
    let (status, head, body) = server.ask(&request.repeat(2));
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    assert!(head.contains("connection: close"), "{head}");
    server.stop();
}

#[test]
fn shutdown_closes_the_listener() {
    let server = Server::start();
    assert_eq!(server.get("/livez").0, 200);
    let address = server.address;
    server.stop();
    assert!(TcpStream::connect(address).is_err());
}
