//! A server that answers at once, or exactly so long after the request, on a thread of its own: what the pooler
//! costs and how fast it is shows better when PostgreSQL takes no part.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::fake_session::{Fed, Session, last_number};
use super::poller::Poller;
use super::stamps::{self, Visit, Visits};

const LISTENER: usize = usize::MAX - 1;

/// Dropping it ends the thread and all connections.
pub(crate) struct FakeServer {
    pub(crate) port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeServer {
    /// Lets everybody in without a password; tells `visits` of each request, if it is given.
    ///
    /// # Errors
    /// When there is no port or no epoll.
    pub(crate) fn start(delay: Duration, visits: Option<Arc<Visits>>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER)?;
        let port = listener.local_addr()?.port();
        let stop = Arc::new(AtomicBool::new(false));
        let mut serving = Serving {
            listener,
            poller,
            delay,
            visits,
            connections: Vec::new(),
            later: VecDeque::new(),
            stop: Arc::clone(&stop),
        };
        let thread = Some(std::thread::spawn(move || {
            if let Err(why) = serving.serve() {
                eprintln!("the fake server has ended: {why}");
            }
        }));
        Ok(Self { port, stop, thread })
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct Serving {
    listener: TcpListener,
    poller: Poller,
    delay: Duration,
    visits: Option<Arc<Visits>>,
    /// By token; a token is never used twice.
    connections: Vec<Option<(TcpStream, Session)>>,
    /// Answers and when they are due, in that order.
    later: VecDeque<(Instant, usize, Vec<u8>)>,
    stop: Arc<AtomicBool>,
}

impl Serving {
    fn serve(&mut self) -> io::Result<()> {
        let (mut ready, mut chunk, mut out) = (Vec::new(), vec![0; 65536], Vec::new());
        while !self.stop.load(Ordering::SeqCst) {
            self.poller.wait(self.later.front().map(|(due, ..)| *due), &mut ready)?;
            for token in &ready {
                match *token {
                    LISTENER => self.accept()?,
                    token => self.hear(token, &mut chunk, &mut out),
                }
            }
            while self.later.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
                let Some((_, token, answer)) = self.later.pop_front() else { break };
                self.say(token, &answer);
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((socket, _)) = self.listener.accept() {
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            if self.visits.is_some() {
                stamps::ask_for(&socket)?;
            }
            self.poller.add(&socket, self.connections.len())?;
            self.connections.push(Some((socket, Session::default())));
        }
        Ok(())
    }

    fn hear(&mut self, token: usize, chunk: &mut [u8], out: &mut Vec<u8>) {
        let Some(Some((socket, session))) = self.connections.get_mut(token) else { return };
        out.clear();
        let read = match self.visits {
            Some(_) => stamps::read(socket, chunk),
            None => socket.read(chunk).map(|n| (n, None)),
        };
        let fed = match read {
            Ok((0, _)) => Fed::End,
            Ok((n, came)) => {
                let fed = session.feed(&chunk[..n], out);
                if let (Some(visits), Some(came), Fed::Request) = (&self.visits, came, &fed) {
                    // A Query, whose key is its text's last word.
                    let key =
                        str::from_utf8(last_number(&chunk[..n - 1])).ok().and_then(|key| key.parse().ok());
                    key.into_iter().for_each(|key| visits.note(key, Visit { came, left: stamps::now() }));
                }
                fed
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Fed::More,
            Err(_) => Fed::End,
        };
        match fed {
            Fed::End => self.connections[token] = None,
            Fed::Request if !self.delay.is_zero() => {
                self.later.push_back((Instant::now() + self.delay, token, out.clone()));
            }
            Fed::Request | Fed::More => self.say(token, out),
        }
    }

    /// Answers are short: a socket that doesn't take one at once belongs to nobody who reads.
    fn say(&mut self, token: usize, answer: &[u8]) {
        let Some(Some((socket, _))) = self.connections.get_mut(token) else { return };
        if !answer.is_empty() && socket.write_all(answer).is_err() {
            self.connections[token] = None;
        }
    }
}
