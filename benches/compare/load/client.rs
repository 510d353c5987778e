//! One client of the load: asks for a row by its key, again and again, and believes nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::super::support::messages::{self, Message};
use super::super::support::raw::{self, Target};
use super::stamps::{self, Visits};

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A simple query.
    Simple,
    /// Bind, Describe, Execute and Sync of a statement it has prepared.
    Prepared,
}

/// Where the key goes: digits, as many as every key has.
const PLACE: &str = "000000";
/// The key of the first request.
const KEY: &str = "123456";
/// The name of the one statement each client prepares, as drivers do.
const NAME: &str = "S_1";
/// When the load was woken too late to keep its rate.
const LATE: Duration = Duration::from_micros(200);
const SELECT: &str = "SELECT aid FROM pgbench_accounts WHERE aid = ";

/// Logs in; with `shape` Prepared also prepares the statement and runs it once.
///
/// # Errors
/// What the pooler or the connection said.
pub(crate) fn log_in(target: &Target, shape: Shape) -> Result<raw::Client, String> {
    let mut client = raw::Client::try_connect(target).map_err(|why| format!("login failed: {why}"))?;
    if shape == Shape::Prepared {
        let parse = messages::parse(NAME, &format!("{SELECT}$1"));
        ask(&mut client, &[parse, request(shape, KEY)].concat())?;
    }
    Ok(client)
}

/// A request with [`KEY`] and its one row.
fn ask(client: &mut raw::Client, request: &[u8]) -> Result<(), String> {
    client.try_send(request).map_err(|e| e.to_string())?;
    let mut rows = 0;
    loop {
        let message =
            client.try_read().map_err(|e| e.to_string())?.ok_or("the connection ended".to_owned())?;
        match message.tag {
            b'D' if message.body.get(6..) == Some(KEY.as_bytes()) => rows += 1,
            b'D' | b'E' => return Err(message.to_string()),
            b'Z' if rows == 1 => return Ok(()),
            b'Z' => return Err(format!("{rows} rows instead of one")),
            _ => {}
        }
    }
}

/// The bytes that ask for the row with that key of six digits.
fn request(shape: Shape, key: &str) -> Vec<u8> {
    match shape {
        Shape::Simple => messages::query(&format!("{SELECT}{key}")),
        Shape::Prepared => [
            messages::bind("", NAME, &[Some(key)]),
            messages::describe_portal(""),
            messages::execute("", 0),
            messages::sync(),
        ]
        .concat(),
    }
}

pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    /// A request, and where its key is.
    request: Vec<u8>,
    key_at: usize,
    /// The beginning of a message whose end hasn't come.
    unread: Vec<u8>,
    rows: u32,
    /// When the answer that is missing was asked for, or should have been.
    pub(crate) since: Option<Instant>,
    /// Of who has asked for stamps.
    stamped: Option<Stamped>,
}

/// The last request by the clock of the stamps.
#[derive(Default)]
struct Stamped {
    key: u32,
    sent: Duration,
    /// The last of its answer.
    came: Duration,
    /// It was sent later than [`LATE`] after it was due.
    late: bool,
}

impl Client {
    pub(crate) fn new(target: &Target, shape: Shape) -> Result<Self, String> {
        let socket = log_in(target, shape)?.into_tcp();
        socket.set_nonblocking(true).map_err(|e| e.to_string())?;
        let request = request(shape, PLACE);
        let key_at =
            request.windows(PLACE.len()).position(|part| part == PLACE.as_bytes()).expect("a key in each");
        Ok(Self { socket, request, key_at, unread: Vec::new(), rows: 0, since: None, stamped: None })
    }

    /// From now on [`Self::within`] can tell.
    pub(crate) fn ask_for_stamps(&mut self) -> Result<(), String> {
        self.stamped = Some(Stamped::default());
        stamps::ask_for(&self.socket).map_err(|e| format!("the kernel stamps nothing: {e}"))
    }

    /// What of the last request's time was spent between this client and the server, both ways; `None` if it was sent late, and so
    /// with others that wait for each other.
    pub(crate) fn within(&self, visits: &Visits) -> Option<Duration> {
        let Stamped { key, sent, came, late } = self.stamped.as_ref()?;
        let visit = visits.take(*key).filter(|_| !late)?;
        Some(visit.came.saturating_sub(*sent) + came.saturating_sub(visit.left))
    }

    /// Asks for the row with that key.
    pub(crate) fn send(&mut self, key: u32, since: Instant) -> Result<(), String> {
        let mut rest = key;
        for digit in self.request[self.key_at..self.key_at + PLACE.len()].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        (self.rows, self.since) = (0, Some(since));
        if let Some(stamped) = &mut self.stamped {
            let late = since.elapsed() > LATE;
            *stamped = Stamped { key, sent: stamps::now(), came: Duration::ZERO, late };
        }
        self.socket.write_all(&self.request).map_err(|e| format!("a request was not taken: {e}"))
    }

    /// Takes in what has come; since when it was asked for, if the answer is complete and right.
    pub(crate) fn receive(&mut self, chunk: &mut [u8]) -> Result<Option<Instant>, String> {
        let read = match self.stamped {
            Some(_) => stamps::read(&self.socket, chunk),
            None => self.socket.read(chunk).map(|n| (n, None)),
        };
        let got = match read {
            Ok((0, _)) => return Err("a connection was closed".into()),
            Ok((n, came)) => {
                if let (Some(stamped), Some(came)) = (&mut self.stamped, came) {
                    stamped.came = came;
                }
                &chunk[..n]
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        let held = (!self.unread.is_empty()).then(|| {
            self.unread.extend_from_slice(got);
            std::mem::take(&mut self.unread)
        });
        let mut rest = held.as_deref().unwrap_or(got);
        let mut answered = None;
        while let Some((&[tag, a, b, c, d], after)) = rest.split_first_chunk() {
            let length = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4);
            let Some((body, after)) = after.split_at_checked(length) else { break };
            if self.message(tag, body)? {
                answered = self.since.take();
            }
            rest = after;
        }
        if !rest.is_empty() {
            self.unread = rest.to_vec();
        }
        Ok(answered)
    }

    /// Whether it ends the answer.
    fn message(&mut self, tag: u8, body: &[u8]) -> Result<bool, String> {
        let key = &self.request[self.key_at..self.key_at + PLACE.len()];
        match tag {
            b'D' if self.since.is_some() && body.get(6..) == Some(key) => self.rows += 1,
            b'D' => return Err("a row that was not asked for".into()),
            b'E' => return Err(Message { tag, body: body.to_vec() }.to_string()),
            b'Z' if self.since.is_none() => return Err("an answer nobody waits for".into()),
            b'Z' if self.rows != 1 => return Err(format!("{} rows instead of one", self.rows)),
            b'Z' if body != b"I" => return Err(format!("transaction status {}", body.escape_ascii())),
            b'Z' => return Ok(true),
            _ => {}
        }
        Ok(false)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.socket.write_all(&messages::terminate()).ok();
    }
}
