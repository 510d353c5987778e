//! Plays one client's script over one session and keeps every reply; never judges.

use std::io;
use std::time::Duration;

use crate::script::{Cut, Op, Script};
use crate::support::PATIENCE;
use crate::support::messages::{Message, copy_fail, query, sync};
use crate::support::raw::{Client, Target};

/// How long PostgreSQL, asked directly, has to be silent to count as having said all. Too short only makes waits shorter.
const QUIET: Duration = Duration::from_millis(3);

/// One session's replies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Played {
    pub(crate) replies: Vec<String>,
    /// How many replies there were at each wait.
    pub(crate) waits: Vec<usize>,
    /// How many there were when all but the end had been sent.
    pub(crate) before_end: usize,
}

impl Played {
    /// Whether PostgreSQL gave up on itself, which leaves nothing to compare with. Seen in 18.4: `unexpected state STARTED`
    /// once a simple query has followed an unsynced Execute, and at every statement from there on.
    pub(crate) fn broke_postgresql(&self) -> bool {
        self.replies.iter().any(|reply| reply.contains("|CXX000|"))
    }
}

/// What ends every script, whatever state it left the session in.
fn end() -> Vec<u8> {
    [copy_fail("the end"), sync(), query("ROLLBACK; SELECT 'the end'")].concat()
}

/// Number of replies [`end`] brings to a session that was neither in a transaction nor in a batch.
pub(crate) const END_REPLIES: usize = 7;

/// The writes of a script, and whether each is waited for.
pub(crate) fn writes(script: &Script) -> Vec<(Vec<u8>, bool)> {
    let (mut writes, mut current) = (Vec::new(), Vec::new());
    for (ops, cut) in script {
        current.extend(ops.iter().flat_map(Op::bytes));
        let keep = match *cut {
            Cut::None => continue,
            Cut::After | Cut::Wait => 0,
            Cut::Within(bytes) => bytes.min(current.len() - 1),
        };
        let rest = current.split_off(current.len() - keep);
        writes.push((std::mem::replace(&mut current, rest), *cut == Cut::Wait));
    }
    writes.push((current, false));
    writes
}

/// A session being played.
pub(crate) struct Session {
    client: Client,
    played: Played,
}

impl Session {
    pub(crate) fn open(target: &Target) -> Self {
        Self { client: Client::connect(target), played: Played::default() }
    }

    /// All but the end. At a wait, reads as many replies as `expected` had; without it, whatever comes.
    pub(crate) fn play(&mut self, script: &Script, expected: Option<&Played>) -> Result<(), String> {
        for (at, (bytes, wait)) in writes(script).into_iter().enumerate() {
            self.client.try_send(&bytes).ok();
            if !wait {
                self.played.waits.push(self.played.replies.len());
                std::thread::yield_now();
                continue;
            }
            self.read(expected.map(|e| e.waits[at])).map_err(|e| format!("at write {at}: {e}"))?;
            self.played.waits.push(self.played.replies.len());
        }
        self.read(expected.map(|e| e.before_end)).map_err(|e| format!("before the end: {e}"))?;
        self.played.before_end = self.played.replies.len();
        Ok(())
    }

    /// The end, and all replies up to its own.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        self.client.try_send(&end()).ok();
        self.client.set_timeout(PATIENCE);
        loop {
            match self.client.try_read() {
                Ok(None) => {
                    self.played.replies.push("(closed)".to_owned());
                    return Ok(());
                }
                Ok(Some(message)) => self.played.replies.push(comparable(&message)),
                Err(error) => return Err(format!("at the end: {error}")),
            }
            let last = &self.played.replies[self.played.replies.len().saturating_sub(END_REPLIES)..];
            let said_all = last.iter().any(|r| r.contains("the end")) || self.played.broke_postgresql();
            if said_all && last.last().is_some_and(|r| r.starts_with('Z')) {
                return Ok(());
            }
        }
    }

    /// Says goodbye.
    pub(crate) fn close(self) -> Played {
        self.client.terminate();
        self.played
    }

    pub(crate) fn so_far(&self) -> &Played {
        &self.played
    }

    fn read(&mut self, up_to: Option<usize>) -> Result<(), String> {
        self.client.set_timeout(if up_to.is_some() { PATIENCE } else { QUIET });
        while up_to.is_none_or(|count| self.played.replies.len() < count) {
            match self.client.try_read() {
                Ok(Some(message)) => self.played.replies.push(comparable(&message)),
                Ok(None) => return Ok(()),
                Err(error) if up_to.is_none() && is_timeout(&error) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// A message in words. Where in PostgreSQL's source an error was raised is not compared: pgweir may have a missing
/// statement parsed, and the same error comes from Parse instead of Bind.
fn comparable(message: &Message) -> String {
    if !matches!(message.tag, b'E' | b'N') {
        return message.to_string();
    }
    let fields = message.body.split(|b| *b == 0).filter(|f| !f.is_empty() && !b"FLR".contains(&f[0]));
    let fields: Vec<_> = fields.map(String::from_utf8_lossy).collect();
    format!("{} {}", char::from(message.tag), fields.join("|"))
}
