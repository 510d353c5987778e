//! What the operator asks for by signal.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// TERM: let running transactions finish, then stop.
    Drain,
    /// INT, QUIT: stop now.
    Stop,
    /// HUP: read the configuration again.
    Reload,
    /// USR1, as in PgBouncer: PAUSE.
    Pause,
    /// USR2, as in PgBouncer: RESUME.
    Resume,
}

/// Listens to the process's signals.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    quit: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
}

impl Signals {
    /// From now on signals are requests.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next request. Cancel safe.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.term.recv() => Request::Drain,
            _ = self.int.recv() => Request::Stop,
            _ = self.quit.recv() => Request::Stop,
            _ = self.hup.recv() => Request::Reload,
            _ = self.usr1.recv() => Request::Pause,
            _ = self.usr2.recv() => Request::Resume,
        }
    }
}
