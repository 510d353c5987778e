//! A byte-level client: sends what it is told, reads whole messages with a deadline, hides nothing.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use super::PATIENCE;
use super::messages::{self, Message};

pub const V3_0: u32 = 3 << 16;
pub const V3_2: u32 = (3 << 16) | 2;

#[derive(Clone, Debug)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Where to log in and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: Address,
    pub user: String,
    pub password: String,
    pub database: String,
    pub parameters: Vec<(String, String)>,
    pub version: u32,
}

impl Target {
    /// With the password every test user has: `secret-` and the name.
    pub fn tcp(address: SocketAddr, user: &str, database: &str) -> Self {
        Self {
            address: Address::Tcp(address),
            user: user.to_owned(),
            password: format!("secret-{user}"),
            database: database.to_owned(),
            parameters: Vec::new(),
            version: V3_0,
        }
    }

    #[must_use]
    pub fn password(self, password: &str) -> Self {
        Self { password: password.to_owned(), ..self }
    }

    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    pub fn url(&self) -> String {
        match &self.address {
            Address::Tcp(to) => {
                format!("postgresql://{}:{}@{to}/{}", self.user, self.password, self.database)
            }
            Address::Unix(path) => panic!("no URL for {}", path.display()),
        }
    }
}

/// Why there is no session.
#[derive(Debug)]
pub enum Refusal {
    /// The server said so in an ErrorResponse.
    Server(Message),
    /// The connection failed or ended, or something unexpected came.
    Connection(String),
}

impl Refusal {
    /// The ErrorResponse, which must be what happened.
    #[track_caller]
    pub fn error(self) -> Message {
        match self {
            Self::Server(message) => message,
            Self::Connection(what) => panic!("no ErrorResponse but: {what}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(message) => write!(f, "{message}"),
            Self::Connection(what) => f.write_str(what),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Connection(error.to_string())
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One connection. Dropping it closes the socket without Terminate, as a crashed application would.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    unread: Vec<u8>,
    pub parameters: Vec<(String, String)>,
    pub pid: u32,
    pub key: Vec<u8>,
    address: Address,
}

impl Client {
    /// Connects the socket and says nothing.
    pub fn open(address: &Address) -> io::Result<Self> {
        let stream = match address {
            Address::Tcp(to) => {
                let socket = TcpStream::connect_timeout(to, PATIENCE)?;
                socket.set_nodelay(true)?;
                Stream::Tcp(socket)
            }
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        let address = address.clone();
        let client =
            Self { stream, unread: Vec::new(), parameters: Vec::new(), pid: 0, key: Vec::new(), address };
        client.set_timeout(PATIENCE);
        Ok(client)
    }

    #[track_caller]
    pub fn connect(target: &Target) -> Self {
        Self::try_connect(target).unwrap_or_else(|why| panic!("login to {target:?} failed: {why}"))
    }

    /// Logs in, up to the first ReadyForQuery.
    pub fn try_connect(target: &Target) -> Result<Self, Refusal> {
        let mut client = Self::open(&target.address)?;
        let mut parameters = vec![("user", target.user.as_str()), ("database", target.database.as_str())];
        parameters.extend(target.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        client.try_send(&messages::startup(target.version, &parameters))?;
        client.authenticate(target)?;
        loop {
            let message = client.next()?;
            match message.tag {
                b'S' => client.note_parameter(&message),
                b'K' => {
                    client.pid = u32::from_be_bytes(message.body[..4].try_into().expect("four bytes"));
                    client.key = message.body[4..].to_vec();
                }
                b'Z' => return Ok(client),
                b'E' => return Err(Refusal::Server(message)),
                b'N' => {}
                _ => return Err(Refusal::Connection(format!("unexpected at login: {message}"))),
            }
        }
    }

    fn authenticate(&mut self, target: &Target) -> Result<(), Refusal> {
        let mut scram: Option<ScramSha256> = None;
        loop {
            let message = self.next()?;
            match message.tag {
                b'E' => return Err(Refusal::Server(message)),
                b'N' | b'v' => continue,
                b'R' => {}
                _ => return Err(Refusal::Connection(format!("unexpected in authentication: {message}"))),
            }
            let (kind, rest) = message.body.split_at(4);
            match kind[3] {
                0 => return Ok(()),
                3 => self.try_send(&messages::password(&target.password))?,
                5 => {
                    let salt = rest[..4].try_into().expect("four bytes");
                    let answer = md5_hash(target.user.as_bytes(), target.password.as_bytes(), salt);
                    self.try_send(&messages::password(&answer))?;
                }
                10 => {
                    let state = ScramSha256::new(target.password.as_bytes(), ChannelBinding::unsupported());
                    let first = state.message();
                    let mut body = b"SCRAM-SHA-256\0".to_vec();
                    body.extend(u32::try_from(first.len()).expect("short").to_be_bytes());
                    body.extend(first);
                    self.try_send(&messages::message(b'p', &body))?;
                    scram = Some(state);
                }
                11 => {
                    let state =
                        scram.as_mut().ok_or_else(|| Refusal::Connection("SASL out of order".into()))?;
                    state.update(rest)?;
                    let answer = messages::message(b'p', state.message());
                    self.try_send(&answer)?;
                }
                12 => scram
                    .take()
                    .ok_or_else(|| Refusal::Connection("SASL out of order".into()))?
                    .finish(rest)?,
                other => return Err(Refusal::Connection(format!("authentication method {other}"))),
            }
        }
    }

    fn note_parameter(&mut self, message: &Message) {
        let text = String::from_utf8_lossy(&message.body);
        let mut parts = text.split('\0').map(str::to_owned);
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        self.parameters.retain(|(known, _)| *known != name);
        self.parameters.push((name, value));
    }

    /// The last ParameterStatus of that name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The bare socket, blocking; nothing may be unread.
    pub fn into_tcp(self) -> TcpStream {
        assert!(self.unread.is_empty(), "{} bytes are unread", self.unread.len());
        match self.stream {
            Stream::Tcp(socket) => socket,
            Stream::Unix(_) => panic!("a Unix socket"),
        }
    }

    /// How long [`Self::read`] waits.
    pub fn set_timeout(&self, timeout: Duration) {
        match &self.stream {
            Stream::Tcp(socket) => socket.set_read_timeout(Some(timeout)),
            Stream::Unix(socket) => socket.set_read_timeout(Some(timeout)),
        }
        .expect("a timeout above zero");
    }

    /// How long [`Self::try_send`] waits for room.
    pub fn give_up_sending_after(&self, timeout: Duration) {
        match &self.stream {
            Stream::Tcp(socket) => socket.set_write_timeout(Some(timeout)),
            Stream::Unix(socket) => socket.set_write_timeout(Some(timeout)),
        }
        .expect("a timeout above zero");
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(socket) => socket.write_all(bytes),
            Stream::Unix(socket) => socket.write_all(bytes),
        }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the connection takes what is sent");
    }

    /// The next message; `None` when the connection has ended.
    pub fn try_read(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some((head, rest)) = self.unread.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if length < 4 {
                    return Err(io::Error::other(format!("message {head:?} with an impossible length")));
                }
                if rest.len() >= length - 4 {
                    let message = Message { tag: head[0], body: rest[..length - 4].to_vec() };
                    self.unread.drain(..=length);
                    return Ok(Some(message));
                }
            }
            let mut chunk = [0; 65536];
            let got = match &mut self.stream {
                Stream::Tcp(socket) => socket.read(&mut chunk),
                Stream::Unix(socket) => socket.read(&mut chunk),
            };
            match got {
                Ok(0) if self.unread.is_empty() => return Ok(None),
                Ok(0) => return Err(io::Error::other("the connection ended within a message")),
                Ok(n) => self.unread.extend(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn next(&mut self) -> Result<Message, Refusal> {
        self.try_read()?.ok_or_else(|| Refusal::Connection("the connection ended".into()))
    }

    /// A byte outside any message: the answer to SSLRequest or GSSENCRequest.
    #[track_caller]
    pub fn read_byte(&mut self) -> u8 {
        let mut byte = [0];
        match &mut self.stream {
            Stream::Tcp(socket) => socket.read_exact(&mut byte),
            Stream::Unix(socket) => socket.read_exact(&mut byte),
        }
        .expect("one byte");
        byte[0]
    }

    #[track_caller]
    pub fn read(&mut self) -> Message {
        match self.try_read() {
            Ok(Some(message)) => message,
            Ok(None) => panic!("the connection ended where a message was expected"),
            Err(error) => panic!("no message: {error}"),
        }
    }

    /// All messages up to and with the next ReadyForQuery.
    #[track_caller]
    pub fn read_until_ready(&mut self) -> Vec<Message> {
        self.read_until(|message| message.tag == b'Z')
    }

    /// All messages up to and with the first that `ends` is true for.
    #[track_caller]
    pub fn read_until(&mut self, ends: impl Fn(&Message) -> bool) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            match self.try_read() {
                Ok(Some(message)) => {
                    let last = ends(&message);
                    messages.push(message);
                    if last {
                        return messages;
                    }
                }
                Ok(None) => panic!("the connection ended after {messages:#?}"),
                Err(error) => panic!("{error} after {messages:#?}"),
            }
        }
    }

    /// All messages up to the end of the connection.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            match self.try_read() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return messages,
                Err(error) => panic!("not closed ({error}) after {messages:#?}"),
            }
        }
    }

    /// Reads one message after the other and compares their words, such as `C SELECT 1`; a trailing `…` matches any rest.
    #[track_caller]
    pub fn expect(&mut self, words: &[&str]) {
        let mut seen = Vec::new();
        for expected in words {
            let message = self.read().to_string();
            seen.push(message.clone());
            let same = match expected.strip_suffix('…') {
                Some(start) => message.starts_with(start),
                None => message == *expected,
            };
            assert!(same, "expected {words:#?}\nbut message {} is\n{message}\nseen {seen:#?}", seen.len());
        }
    }

    /// A simple query, all of its replies.
    #[track_caller]
    pub fn query(&mut self, sql: &str) -> Vec<Message> {
        self.send(&messages::query(sql));
        self.read_until_ready()
    }

    /// A simple query, its rows as text, or its first error.
    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Message> {
        let replies = self.query(sql);
        match replies.iter().find(|message| message.tag == b'E') {
            Some(error) => Err(error.clone()),
            None => Ok(replies.iter().filter(|message| message.tag == b'D').map(Message::columns).collect()),
        }
    }

    /// The one value a query gives.
    #[track_caller]
    pub fn value(&mut self, sql: &str) -> String {
        let rows = self.rows(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.first()
            .and_then(|row| row.first().cloned().flatten())
            .unwrap_or_else(|| panic!("{sql}: no value"))
    }

    /// The error a query must give.
    #[track_caller]
    pub fn error(&mut self, sql: &str) -> Message {
        match self.rows(sql) {
            Ok(rows) => panic!("{sql} should fail but gave {rows:?}"),
            Err(error) => error,
        }
    }

    /// Sends a CancelRequest with this session's key over a connection of its own and waits for its end.
    #[track_caller]
    pub fn cancel(&self) {
        let mut canceller = Self::open(&self.address).expect("a second connection");
        canceller.send(&messages::cancel_request(self.pid, &self.key));
        canceller.read_to_end();
    }

    /// Ends the sending direction only.
    pub fn shutdown_write(&self) {
        match &self.stream {
            Stream::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Stream::Unix(socket) => socket.shutdown(Shutdown::Write),
        }
        .expect("an open socket");
    }

    /// The same, when the other side may have closed already.
    pub fn shutdown_write_quietly(&self) {
        match &self.stream {
            Stream::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Stream::Unix(socket) => socket.shutdown(Shutdown::Write),
        }
        .ok();
    }

    /// Bytes up to the end of the connection, whatever they are; panics if it stays open.
    #[track_caller]
    pub fn drain(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.unread);
        let end = match &mut self.stream {
            Stream::Tcp(socket) => socket.read_to_end(&mut bytes),
            Stream::Unix(socket) => socket.read_to_end(&mut bytes),
        };
        let timed_out =
            |e: &io::Error| matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        assert!(!end.as_ref().is_err_and(timed_out), "not closed after {}", bytes.escape_ascii());
        bytes
    }

    /// Ends the session in the polite way.
    pub fn terminate(mut self) {
        self.try_send(&messages::terminate()).ok();
    }
}
