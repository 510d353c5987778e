//! Many clients that all come at the same moment, with TLS, and log in: what a fleet of applications does when its pooler or its
//! network is back. One thread, which gives way to the rest of the load.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use rustls::{ClientConfig, ClientConnection};

use super::super::support::messages;
use super::super::support::tunnel;
use super::poller::Poller;

/// The crowd on its way.
pub(crate) struct Storm(JoinHandle<Result<Crowd, String>>);

/// All of them, logged in.
pub(crate) struct Crowd {
    all: Vec<Comer>,
    /// What that took, from the first connection on.
    pub(crate) took: Duration,
}

impl Storm {
    /// So many set out at once; user and database are `app`.
    pub(crate) fn begin(to: SocketAddr, ca: &Path, crowd: usize) -> Self {
        let config = Arc::new(tunnel::config(Some(ca), &[tunnel::V13], &[b"postgresql"]));
        Self(std::thread::spawn(move || {
            give_way()?;
            rush(to, &config, crowd).map_err(|why| format!("a login of the crowd: {why}"))
        }))
    }

    /// Whether some of them are still missing.
    pub(crate) fn goes_on(&self) -> bool {
        !self.0.is_finished()
    }

    /// Waits for the last.
    ///
    /// # Errors
    /// What a client was told instead of being let in.
    pub(crate) fn end(self) -> Result<Crowd, String> {
        self.0.join().map_err(|_| "the crowd has panicked".to_owned())?
    }
}

impl Crowd {
    /// They leave, all at once.
    pub(crate) fn leave(self) -> JoinHandle<Result<(), String>> {
        std::thread::spawn(move || {
            give_way()?;
            drop(self.all);
            Ok(())
        })
    }
}

/// The clients whose time is taken are on the same core: the calling thread runs only while they and the server don't want to. Being
/// nicer isn't enough, since the kernel lets whoever runs go on for milliseconds.
fn give_way() -> Result<(), String> {
    let me = gettid().as_raw_nonzero().to_string();
    let chrt = Command::new("chrt").args(["--idle", "--pid", "0", &me]).stdin(Stdio::null()).status();
    if chrt.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    // Of this thread, to Linux.
    setpriority_process(None, 19).map_err(|e| e.to_string())
}

fn rush(to: SocketAddr, config: &Arc<ClientConfig>, crowd: usize) -> Result<Crowd, String> {
    let mut poller = Poller::new().map_err(|e| e.to_string())?;
    let keys: Result<Vec<_>, _> =
        (0..crowd).map(|_| ClientConnection::new(Arc::clone(config), tunnel::localhost())).collect();
    let keys = keys.map_err(|e| e.to_string())?;
    let since = Instant::now();
    let mut comers = Vec::with_capacity(crowd);
    for tls in keys {
        let comer = Comer::new(to, tls).map_err(|e| e.to_string())?;
        poller.add(&comer.socket, comers.len()).map_err(|e| e.to_string())?;
        comers.push(comer);
    }
    let (mut missing, mut ready) = (crowd, Vec::new());
    while missing > 0 {
        poller.wait(None, &mut ready).map_err(|e| e.to_string())?;
        for comer in &ready {
            missing -= usize::from(comers[*comer].go_on()?);
        }
    }
    Ok(Crowd { all: comers, took: since.elapsed() })
}

/// One of the crowd.
struct Comer {
    socket: TcpStream,
    tls: ClientConnection,
    at: Step,
    scram: Option<ScramSha256>,
    unread: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// TLS has been asked for.
    Asked,
    Handshake,
    /// The StartupMessage is on its way.
    LogsIn,
    In,
}

impl Comer {
    fn new(to: SocketAddr, tls: ClientConnection) -> std::io::Result<Self> {
        let mut socket = TcpStream::connect(to)?;
        socket.set_nodelay(true)?;
        socket.write_all(&messages::ssl_request())?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, tls, at: Step::Asked, scram: None, unread: Vec::new() })
    }

    /// Does what can be done with what has come. Whether it has just been let in.
    fn go_on(&mut self) -> Result<bool, String> {
        if self.at == Step::Asked {
            let mut answer = [0];
            match self.socket.read(&mut answer) {
                Ok(1) if answer == *b"S" => self.at = Step::Handshake,
                Ok(_) => return Err("no TLS".into()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e.to_string()),
            }
            self.flush()?;
            return Ok(false);
        }
        match self.tls.read_tls(&mut self.socket) {
            Ok(0) => return Err("the connection was closed".into()),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e.to_string()),
        }
        let state = self.tls.process_new_packets().map_err(|e| e.to_string())?;
        let at = self.unread.len();
        self.unread.resize(at + state.plaintext_bytes_to_read(), 0);
        self.tls.reader().read_exact(&mut self.unread[at..]).map_err(|e| e.to_string())?;
        if !self.tls.is_handshaking() && self.at == Step::Handshake {
            self.at = Step::LogsIn;
            self.say(&messages::startup(3 << 16, &[("user", "app"), ("database", "app")]))?;
        }
        let before = self.at;
        self.hear()?;
        self.flush()?;
        Ok(self.at == Step::In && before != Step::In)
    }

    /// Deals with all whole messages.
    fn hear(&mut self) -> Result<(), String> {
        while let Some((&[tag, a, b, c, d], rest)) = self.unread.split_first_chunk() {
            let length = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4);
            let Some(body) = rest.get(..length).map(<[u8]>::to_vec) else { break };
            self.unread.drain(..5 + length);
            match tag {
                b'R' => self.authenticate(&body)?,
                b'E' => return Err(messages::Message { tag, body }.to_string()),
                b'Z' => self.at = Step::In,
                _ => {}
            }
        }
        Ok(())
    }

    fn authenticate(&mut self, body: &[u8]) -> Result<(), String> {
        let (kind, rest) = body.split_at_checked(4).ok_or("a short message")?;
        match kind {
            [0, 0, 0, 10] => {
                let scram = ScramSha256::new(b"secret-app", ChannelBinding::unsupported());
                let first = scram.message();
                let mut answer = b"SCRAM-SHA-256\0".to_vec();
                answer.extend((first.len() as u32).to_be_bytes());
                answer.extend(first);
                self.scram = Some(scram);
                self.say(&messages::message(b'p', &answer))
            }
            [0, 0, 0, 11] => {
                let scram = self.scram.as_mut().ok_or("SASL out of order")?;
                scram.update(rest).map_err(|e| e.to_string())?;
                let answer = messages::message(b'p', scram.message());
                self.say(&answer)
            }
            _ => Ok(()),
        }
    }

    fn say(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.tls.writer().write_all(bytes).map_err(|e| e.to_string())
    }

    fn flush(&mut self) -> Result<(), String> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket).map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}
