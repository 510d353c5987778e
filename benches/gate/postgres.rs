//! A PostgreSQL that needs no time: knows one table, keeps prepared statements and portals for each connection, and raises
//! PostgreSQL's errors for names it doesn't have. It holds its answers back until it is told to give them.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::support::PATIENCE;
use super::support::fake_server::{Conn, FakeServer};
use super::support::messages::{Message, backend, message};
use super::workload::{SELECT, found, literal};

/// The running server.
pub(crate) struct Postgres {
    server: FakeServer,
    requests: Receiver<Request>,
}

/// A whole request, up to its Query or Sync, that has come through pgweir and waits for its answer.
pub(crate) struct Request(Sender<()>);

impl Request {
    /// Has it answered.
    pub(crate) fn answer(self) {
        self.0.send(()).expect("its connection waits");
    }
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let (sender, requests) = channel();
        let sender = Mutex::new(sender);
        let server = FakeServer::start(move |conn| {
            let sender = sender.lock().expect("nobody panics with it").clone();
            serve(conn, &sender)
        });
        Self { server, requests }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Waits until the next request has come.
    pub(crate) fn request(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).expect("pgweir passes the request on")
    }

    /// Fails if anything went wrong on any connection.
    pub(crate) fn finish(self) {
        self.server.finish();
    }
}

fn serve(conn: &mut Conn, requests: &Sender<Request>) -> io::Result<()> {
    conn.welcome()?;
    let mut session = Session::default();
    loop {
        let received = conn.read()?;
        session.take(&received);
        if matches!(received.tag, b'Q' | b'S') {
            let (sender, go) = channel();
            requests.send(Request(sender)).map_err(io::Error::other)?;
            go.recv().map_err(io::Error::other)?;
            conn.send(&std::mem::take(&mut session.out))?;
        }
    }
}

/// One connection's state, and the reply so far.
#[derive(Default)]
struct Session {
    in_transaction: bool,
    /// An error: everything up to Sync is skipped.
    failed: bool,
    statements: HashMap<Vec<u8>, Vec<u8>>,
    /// The account the unnamed portal reads.
    portal: Option<u32>,
    out: Vec<u8>,
}

impl Session {
    fn take(&mut self, received: &Message) {
        let body = &received.body[..];
        match received.tag {
            b'Q' => {
                self.query(strings(body)[0]);
                self.ready();
            }
            b'S' => {
                self.failed = false;
                self.ready();
            }
            _ if self.failed => {}
            b'P' => self.parse(body),
            b'B' => self.bind(body),
            b'D' if body == b"P\0" && self.portal.is_some() => self.out.extend(backend::row_description(1)),
            b'D' if body.first() == Some(&b'S') && self.statements.contains_key(strings(&body[1..])[0]) => {
                self.out.extend(message(b't', &[0, 1, 0, 0, 0, 23]));
                self.out.extend(backend::row_description(1));
            }
            b'E' => match self.portal {
                Some(aid) => self.out.extend(found(aid).concat()),
                None => self.error("34000", "there is no portal"),
            },
            other => self.error("08P01", &format!("message {} is not in the script", other.escape_ascii())),
        }
    }

    fn query(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        match &*text {
            "BEGIN" if !self.in_transaction => self.in_transaction = true,
            "COMMIT" if self.in_transaction => self.in_transaction = false,
            _ => {
                let number: Option<u32> =
                    text.rsplit(' ').next().and_then(|word| word.trim_end_matches(';').parse().ok());
                match number {
                    Some(aid) if text == literal(&aid.to_string()) => {
                        self.out.extend(backend::row_description(1));
                        self.out.extend(found(aid).concat());
                    }
                    _ => self.error("42601", &format!("not in the script: {text}")),
                }
                return;
            }
        }
        self.out.extend(backend::command_complete(&text));
    }

    fn parse(&mut self, body: &[u8]) {
        let parts = strings(body);
        let (name, text) = (parts[0].to_vec(), parts[1].to_vec());
        if text != SELECT.as_bytes() {
            self.error("42601", "not in the script");
        } else if !name.is_empty() && self.statements.contains_key(&name) {
            self.error("42P05", "the statement is there already");
        } else {
            self.statements.insert(name, text);
            self.out.extend(message(b'1', &[]));
        }
    }

    /// The unnamed portal, one parameter in text form.
    fn bind(&mut self, body: &[u8]) {
        let parts = strings(body);
        let (portal, statement) = (parts[0], parts[1]);
        let rest = &body[portal.len() + statement.len() + 2..];
        let aid = rest.strip_prefix(&[0, 0, 0, 1]).and_then(|rest| rest.split_first_chunk::<4>()).and_then(
            |(length, rest)| {
                let text = rest.get(..u32::from_be_bytes(*length) as usize)?;
                (rest.len() == text.len() + 2).then_some(text)
            },
        );
        let aid = aid.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        if !self.statements.contains_key(statement) {
            self.error("26000", "there is no such statement");
        } else if !portal.is_empty() || aid.is_none() {
            self.error("08P01", "not in the script");
        } else {
            self.portal = aid;
            self.out.extend(message(b'2', &[]));
        }
    }

    fn error(&mut self, sqlstate: &str, text: &str) {
        self.failed = true;
        self.out.extend(backend::error("ERROR", sqlstate, text));
    }

    fn ready(&mut self) {
        self.failed = false;
        self.out.extend(backend::ready(if self.in_transaction { b'T' } else { b'I' }));
        if !self.in_transaction {
            self.portal = None;
        }
    }
}

/// What the NULs of a body divide, and always at least two parts.
fn strings(body: &[u8]) -> Vec<&[u8]> {
    body.split(|byte| *byte == 0).chain([&b""[..]]).collect()
}
