//! What the relay computes between its system calls: scanning rows and texts, and whole exchanges of a
//! request and its replies.

use criterion::{Criterion, Throughput};
use pgweir::client::intercept::{self, Looks, Names, Pause, Refuses, Rules};
use pgweir::net::buffers::READ_SIZE;
use pgweir::params::custom::Customs;
use pgweir::params::routines::Routines;
use pgweir::params::set::Sets;
use pgweir::params::statement::Scanner;
use pgweir::prepared::client_statements::ClientStatements;
use pgweir::prepared::registry::Registry;
use pgweir::server::conversation::Conversation;
use pgweir::wire::encode::{cstr, message};
use pgweir::wire::frontend::{self, Parse, SYNC};
use pgweir::wire::outgoing::Outgoing;
use pgweir::wire::scan;
use pgweir::wire::tag::{backend as b, frontend as f};
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Duration;

const TEXT: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = 123456";
const TEXT_WITH_PARAMETER: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = $1";
const CHUNK: usize = 16 * 1024;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    scans(&mut criterion);
    exchanges(&mut criterion);
    criterion.final_summary();
}

fn scans(criterion: &mut Criterion) {
    let rows = row().repeat(CHUNK / row().len() + 1);
    let copied = copy_line().repeat(READ_SIZE / copy_line().len() + 1);
    let reply = selected(&[b::ROW_DESCRIPTION]);
    let mut group = criterion.benchmark_group("scan");
    for (name, bytes) in [
        ("16 KiB of rows", &rows[..CHUNK]),
        ("a full read of COPY data", &copied[..READ_SIZE]),
        ("one row's reply", &reply[..]),
    ] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| messages_in(black_box(bytes))));
    }
    let scanner = Scanner::default();
    group.throughput(Throughput::Bytes(TEXT.len() as u64));
    group.bench_function("a statement's text", |bencher| {
        bencher.iter(|| scanner.traces(black_box(TEXT)));
    });
    group.finish();
}

/// Goes on behind every message that needs a decision, as the relay does. Returns how many there were.
fn messages_in(bytes: &[u8]) -> usize {
    let (mut at, mut decisions) = (0, 0);
    loop {
        match scan::backend(bytes, at).expect("well-formed messages") {
            (end, scan::Stop::Decision(header)) => {
                at = end + header.size;
                decisions += 1;
            }
            _ => return decisions,
        }
    }
}

fn exchanges(criterion: &mut Criterion) {
    let mut simple = Vec::new();
    frontend::query(&mut simple, TEXT);

    let mut unnamed = Vec::new();
    Parse::encode(&mut unnamed, b"", &definition());
    unnamed.extend(executed(b""));

    let mut group = criterion.benchmark_group("exchange");
    for (name, request, reply) in [
        ("simple query", simple, selected(&[b::ROW_DESCRIPTION])),
        ("unnamed statement", unnamed, selected(&[b::PARSE_COMPLETE, b::BIND_COMPLETE, b::ROW_DESCRIPTION])),
        ("renamed statement", executed(b"P0_0"), selected(&[b::BIND_COMPLETE, b::ROW_DESCRIPTION])),
    ] {
        let mut scene = Scene::new();
        scene.prepare(b"P0_0");
        group.bench_function(name, |bencher| {
            bencher.iter(|| scene.exchange(black_box(&request), black_box(&reply)));
        });
        assert!(scene.server.is_free(), "{name}: the server owes something");
    }
    group.finish();
}

/// A client with a server, and the buffer both directions share.
struct Scene {
    registry: Registry,
    scanner: Scanner,
    customs: Customs,
    routines: Routines,
    client: ClientStatements,
    server: Conversation,
    scratch: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let limit = NonZeroUsize::new(200).expect("not zero");
        Self {
            registry: Registry::default(),
            scanner: Scanner::default(),
            customs: Customs::default(),
            routines: Routines::nothing(),
            client: ClientStatements::default(),
            server: Conversation::new(limit, Sets::default().empty()),
            scratch: Vec::new(),
        }
    }

    fn prepare(&mut self, name: &[u8]) {
        let mut request = Vec::new();
        Parse::encode(&mut request, name, &definition());
        request.extend_from_slice(SYNC);
        let mut reply = Vec::new();
        message(&mut reply, b::PARSE_COMPLETE, |_| ());
        message(&mut reply, b::READY, |v| v.push(b'I'));
        self.exchange(&request, &reply);
    }

    /// A request, then all of its replies. Returns the bytes sent both ways.
    fn exchange(&mut self, request: &[u8], reply: &[u8]) -> usize {
        let rules = Rules {
            registry: &self.registry,
            scope: &Default::default(),
            looks: Looks { scanner: &self.scanner, routines: &self.routines, customs: &self.customs },
            refuses: Refuses::Nothing,
            names: Names::Kept,
            client: 1,
            parse_context: b"",
        };
        let mut out = Outgoing::new(request, &mut self.scratch);
        let fed = intercept::feed(rules, &mut self.client, &mut self.server, request, &mut out)
            .expect("well-formed requests");
        assert_eq!((fed.used, fed.pause), (request.len(), Pause::More));
        let sent = black_box(out.bytes()).len();

        let mut out = Outgoing::new(reply, &mut self.scratch);
        let used = self.server.receive(reply, &mut self.client, &mut out).expect("well-formed replies");
        assert_eq!((used, self.server.is_free()), (reply.len(), true));
        sent + black_box(out.bytes()).len()
    }
}

/// What follows a statement's name in its Parse.
fn definition() -> Vec<u8> {
    [TEXT_WITH_PARAMETER, b"\0\0\0"].concat()
}

/// Bind of a statement with one parameter, Describe of the portal, Execute, Sync: what libpq sends.
fn executed(name: &[u8]) -> Vec<u8> {
    let parameters = b"\0\0\0\x01\0\0\0\x06123456\0\x01\0\0";
    let mut request = Vec::new();
    frontend::bind_names(&mut request, b"", name, parameters.len());
    request.extend_from_slice(parameters);
    message(&mut request, f::DESCRIBE, |v| v.extend_from_slice(b"P\0"));
    message(&mut request, f::EXECUTE, |v| v.extend_from_slice(&[0; 5]));
    request.extend_from_slice(SYNC);
    request
}

/// The reply to a SELECT of one row: these messages, then DataRow, CommandComplete, ReadyForQuery.
fn selected(tags: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    for &tag in tags {
        message(&mut reply, tag, |v| {
            if tag == b::ROW_DESCRIPTION {
                v.extend_from_slice(b"\0\x01abalance\0");
                v.extend_from_slice(&[0; 18]);
            }
        });
    }
    reply.extend(row());
    message(&mut reply, b::COMMAND_COMPLETE, |v| cstr(v, b"SELECT 1"));
    message(&mut reply, b::READY, |v| v.push(b'I'));
    reply
}

/// CopyData with a line of 100 bytes.
fn copy_line() -> Vec<u8> {
    let mut line = Vec::new();
    message(&mut line, b::COPY_DATA, |v| v.extend_from_slice(&[b'x'; 100]));
    line
}

fn row() -> Vec<u8> {
    let mut row = Vec::new();
    message(&mut row, b::DATA_ROW, |v| v.extend_from_slice(b"\0\x01\0\0\0\x04-123"));
    row
}
