//! One side's session of a client: does one step, keeps what came; never judges.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::compare::comparable;
use crate::script::{CLIENTS, Family, Op, startup};
use crate::support::messages::{Message, sync};
use crate::support::raw::{Client, Target};

pub(crate) struct Session {
    client: Client,
    target: Target,
    /// How long a step may take.
    deadline: Duration,
    /// The parameters PostgreSQL reports, as last told.
    pub(crate) reported: BTreeMap<String, String>,
    /// Channels and payloads, one list for the whole life.
    pub(crate) notified: Vec<String>,
    /// Of the last ReadyForQuery.
    pub(crate) status: u8,
}

impl Session {
    fn open(target: Target, deadline: Duration) -> Result<Self, String> {
        let client = login(&target, deadline)?;
        let reported = client.parameters.iter().cloned().collect();
        Ok(Self { client, target, deadline, reported, notified: Vec::new(), status: b'I' })
    }

    /// Does it; the replies in words.
    pub(crate) fn step(&mut self, op: &Op) -> Result<Vec<String>, String> {
        if let Op::Reconnect = op {
            self.leave()?;
            self.client = login(&self.target, self.deadline)?;
            self.reported = self.client.parameters.iter().cloned().collect();
            return Ok(Vec::new());
        }
        self.client.try_send(&op.bytes()).map_err(|e| e.to_string())?;
        self.read_until_ready(op.rounds())
    }

    /// A round trip that changes nothing: what PostgreSQL had to notify has come afterwards.
    pub(crate) fn fence(&mut self) -> Result<(), String> {
        self.client.try_send(&sync()).map_err(|e| e.to_string())?;
        self.read_until_ready(1).map(|_| ())
    }

    /// Waits for that many notifications in all.
    pub(crate) fn wait_for_notifications(&mut self, count: usize) -> Result<(), String> {
        while self.notified.len() < count {
            let message = self.read().map_err(|e| format!("notification {count}: {e}"))?;
            if let Some(words) = self.take(&message) {
                return Err(format!("nobody asked for {words}"));
            }
        }
        Ok(())
    }

    /// Terminate; returns when the other side has closed.
    pub(crate) fn leave(&mut self) -> Result<(), String> {
        self.client.try_send(&crate::support::messages::terminate()).map_err(|e| e.to_string())?;
        while let Some(message) = self.client.try_read().map_err(|e| format!("at Terminate: {e}"))? {
            self.take(&message);
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Message, String> {
        match self.client.try_read() {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err("the connection ended".to_owned()),
            Err(error) => Err(format!("blocked ({error})")),
        }
    }

    fn read_until_ready(&mut self, mut times: usize) -> Result<Vec<String>, String> {
        let mut words = Vec::new();
        while times > 0 {
            let message = self.read().map_err(|e| format!("{e} after {words:?}"))?;
            words.extend(self.take(&message));
            if message.tag == b'Z' {
                self.status = message.body[0];
                times -= 1;
            }
        }
        Ok(words)
    }

    /// Keeps what may come at any time; everything else in words.
    fn take(&mut self, message: &Message) -> Option<String> {
        let strings = |body: &[u8]| {
            let mut parts = body.split(|b| *b == 0).map(|part| String::from_utf8_lossy(part).into_owned());
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        };
        match message.tag {
            b'A' => {
                let (channel, payload) = strings(&message.body[4..]);
                self.notified.push(format!("{channel} {payload}"));
            }
            b'S' => {
                let (name, value) = strings(&message.body);
                self.reported.insert(name, value);
            }
            _ => return Some(comparable(message)),
        }
        None
    }
}

fn login(target: &Target, deadline: Duration) -> Result<Client, String> {
    let client = Client::try_connect(target).map_err(|why| format!("login: {why}"))?;
    client.set_timeout(deadline);
    Ok(client)
}

/// All clients of one side.
pub(crate) fn open_all(
    target: &Target,
    families: &[Family],
    deadline: Duration,
) -> Result<Vec<Session>, String> {
    let open = |client| {
        let said = if families.contains(&Family::Startup) { startup(client) } else { &[] };
        let target = said.iter().fold(target.clone(), |target, (name, value)| target.parameter(name, value));
        Session::open(target, deadline)
    };
    (0..CLIENTS).map(open).collect()
}
