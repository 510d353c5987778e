//! A scripted PostgreSQL: says on request what a real one would not. One thread per connection; a script that fails
//! is reported by [`FakeServer::finish`].

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{SockFilter, SockRef};

use super::PATIENCE;
use super::messages::{Message, backend};

/// The script's view of one connection. `Err` from any step ends the script; hanging up is no failure.
pub struct Conn {
    socket: TcpStream,
    /// 0 for the first connection that logs in (cancel requests are not counted).
    pub number: usize,
    pub startup: Vec<(String, String)>,
    seen: Arc<Mutex<Vec<String>>>,
}

type Script = dyn Fn(&mut Conn) -> io::Result<()> + Send + Sync;

pub struct FakeServer {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    problems: Arc<Mutex<Vec<String>>>,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeServer {
    /// Runs `script` for each connection after its StartupMessage has been read.
    pub fn start(script: impl Fn(&mut Conn) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    /// Each connection plays `act` for every query that contains `marker`, and is good otherwise.
    pub fn scripted(act: impl Fn(&mut Conn) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::start(move |conn| {
            conn.welcome()?;
            loop {
                conn.serve_until("marker")?;
                act(conn)?;
            }
        })
    }

    /// The same as [`Self::start`] at an address; port 0 is any free one.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(&mut Conn) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let mut server = Self {
            address: listener.local_addr().expect("bound"),
            closing: Arc::default(),
            problems: Arc::default(),
            seen: Arc::default(),
            connections: Arc::default(),
            acceptor: None,
        };
        let shared = Shared {
            script: Arc::new(script),
            closing: Arc::clone(&server.closing),
            problems: Arc::clone(&server.problems),
            seen: Arc::clone(&server.seen),
            connections: Arc::clone(&server.connections),
        };
        server.acceptor = Some(std::thread::spawn(move || shared.accept(&listener)));
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Words of every message received, over all connections; `cancel` for a CancelRequest.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many connections have logged in or tried to.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What scripts have failed with.
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops and fails if a script did.
    #[track_caller]
    pub fn finish(mut self) {
        self.close();
        let problems = self.problems();
        assert!(problems.is_empty(), "the fake server's script: {problems:#?}\nseen: {:#?}", self.seen());
    }

    fn close(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().ok();
        }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.close();
    }
}

struct Shared {
    script: Arc<Script>,
    closing: Arc<AtomicBool>,
    problems: Arc<Mutex<Vec<String>>>,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Shared {
    fn accept(&self, listener: &TcpListener) {
        for socket in listener.incoming().map_while(Result::ok) {
            if self.closing.load(Ordering::SeqCst) {
                return;
            }
            socket.set_nodelay(true).ok();
            socket.set_read_timeout(Some(PATIENCE)).ok();
            let mut conn = Conn { socket, number: 0, startup: Vec::new(), seen: Arc::clone(&self.seen) };
            let (script, problems) = (Arc::clone(&self.script), Arc::clone(&self.problems));
            let connections = Arc::clone(&self.connections);
            std::thread::spawn(move || {
                let mut play = || {
                    if conn.read_startup()? {
                        conn.number = connections.fetch_add(1, Ordering::SeqCst);
                        script(&mut conn)?;
                    }
                    io::Result::Ok(())
                };
                let hung_up =
                    [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
                match play() {
                    Err(error) if !hung_up.contains(&error.kind()) => {
                        problems.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
                    }
                    _ => {}
                }
            });
        }
    }
}

impl Conn {
    /// False for a CancelRequest. SSLRequest and GSSENCRequest are answered N.
    fn read_startup(&mut self) -> io::Result<bool> {
        loop {
            let body = self.read_sized()?;
            match u32::from_be_bytes([body[0], body[1], body[2], body[3]]) {
                80_877_103 | 80_877_104 => self.socket.write_all(b"N")?,
                80_877_102 => {
                    self.note(format!("cancel {}", body[4..].escape_ascii()));
                    return Ok(false);
                }
                _ => {
                    let text = String::from_utf8_lossy(&body[4..]).into_owned();
                    let parts: Vec<&str> = text.split('\0').collect();
                    let pairs = parts.chunks_exact(2).filter(|pair| !pair[0].is_empty());
                    self.startup = pairs.map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
                    return Ok(true);
                }
            }
        }
    }

    fn read_sized(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length)?;
        let mut body = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
        self.socket.read_exact(&mut body)?;
        Ok(body)
    }

    fn note(&self, words: String) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(words);
    }

    /// The next message from pgweir, but its questions for functions, to which there are none.
    pub fn read(&mut self) -> io::Result<Message> {
        loop {
            let mut tag = [0];
            self.socket.read_exact(&mut tag)?;
            let message = Message { tag: tag[0], body: self.read_sized()? };
            if message.tag == b'Q' && message.body.starts_with(b"/* pgweir routines */") {
                self.send(&[backend::command_complete("SELECT 0"), backend::ready(b'I')].concat())?;
                continue;
            }
            self.note(message.to_string());
            return Ok(message);
        }
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Sends each byte in a segment of its own.
    pub fn dribble(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            self.socket.write_all(&[*byte])?;
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Lets the client in without a password.
    pub fn welcome(&mut self) -> io::Result<()> {
        self.send(&welcome(self.number))
    }

    /// Answers everything as an agreeable server would until a Query or Parse contains `marker`, which it returns.
    pub fn serve_until(&mut self, marker: &str) -> io::Result<Message> {
        loop {
            let message = self.read()?;
            let text = String::from_utf8_lossy(&message.body);
            if matches!(message.tag, b'Q' | b'P') && text.contains(marker) {
                return Ok(message);
            }
            self.agree(&message)?;
        }
    }

    /// Answers as an agreeable server would.
    pub fn agree(&mut self, message: &Message) -> io::Result<()> {
        self.send(&agreeable(message))
    }

    /// The same without end.
    pub fn serve(&mut self) -> io::Result<()> {
        self.serve_until("\u{1}never\u{1}").map(drop)
    }

    /// Goes behind a partition for good: nothing that is sent to it arrives, which nobody tells the sender, and it says nothing more.
    pub fn vanish(&mut self) -> io::Result<()> {
        // BPF's "ret #0": the kernel drops each segment before it looks at it, so that there is neither ACK nor FIN nor RST.
        SockRef::from(&self.socket).attach_filter(&[SockFilter::new(0x06, 0, 0, 0)])?;
        loop {
            std::thread::park();
        }
    }

    /// Says nothing more until the other side hangs up.
    pub fn stall(&mut self) -> io::Result<()> {
        self.socket.set_read_timeout(None)?;
        io::copy(&mut self.socket, &mut io::sink()).map(drop)
    }
}

/// AuthenticationOk up to ReadyForQuery, with what PostgreSQL reports.
pub fn welcome(number: usize) -> Vec<u8> {
    let mut bytes = backend::authentication_ok();
    for (name, value) in [
        ("server_version", "15.18"),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("application_name", ""),
        ("default_transaction_read_only", "off"),
        ("in_hot_standby", "off"),
        ("is_superuser", "off"),
        ("session_authorization", "app"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
    ] {
        bytes.extend(backend::parameter_status(name, value));
    }
    let pid = u32::try_from(number + 1).expect("few connections");
    bytes.extend(backend::key_data(pid, &[7; 4]));
    bytes.extend(backend::ready(b'I'));
    bytes
}

fn agreeable(request: &Message) -> Vec<u8> {
    let sql = String::from_utf8_lossy(&request.body).to_uppercase();
    match request.tag {
        b'Q' if sql.contains("SELECT") => backend::one_value("1"),
        b'Q' if sql.contains("DISCARD") => {
            [backend::command_complete("DISCARD ALL"), backend::ready(b'I')].concat()
        }
        b'Q' if sql.contains("BEGIN") => [backend::command_complete("BEGIN"), backend::ready(b'T')].concat(),
        b'Q' if sql.contains("ROLLBACK") => {
            [backend::command_complete("ROLLBACK"), backend::ready(b'I')].concat()
        }
        b'Q' => [backend::command_complete("SET"), backend::ready(b'I')].concat(),
        b'P' => super::messages::message(b'1', &[]),
        b'B' => super::messages::message(b'2', &[]),
        b'C' => super::messages::message(b'3', &[]),
        b'D' => super::messages::message(b'n', &[]),
        b'E' => backend::command_complete("DISCARD ALL"),
        b'S' => backend::ready(b'I'),
        _ => Vec::new(),
    }
}
