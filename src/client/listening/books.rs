//! Who listens to what, what the listening server has to be told next, and what each client is still to be told. Pure.
//!
//! A channel of a client goes through three stages:
//!
//! ```text
//! wanted ── the listening server listens to it too ──▶ cutting ── the marker has come by the listening server ──▶ live
//! told by the client's own server                      the marker is on its way        told by the listening server
//! ```
//! PostgreSQL delivers notifications to everybody in one order. So a notification of pgweir's own, the marker, cuts that order in
//! two: what is before it the client gets from its own server, what is behind it from the listening server.

use crate::metrics::Notifications;
use crate::params::difference::identifier;
use crate::params::inspection::MARKER;
use crate::pool::ClientId;
use crate::wire::backend::{Notification, Report, Severity};
use crate::wire::frame;
use crate::wire::sqlstate;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;

/// Most bytes of notifications that wait for one client; what comes when there are more is dropped and the client told.
pub const MAILBOX: usize = 256 * 1024;

/// What one client has to do with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its own server listens for it.
    Wanted,
    /// The marker with this number was sent.
    Cutting(u64),
    /// The listening server does.
    Live,
}

/// What the listening server has to do with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ear {
    /// Nothing.
    Deaf,
    /// It was told to listen.
    Asked,
    /// It listens.
    Listens,
}

#[derive(Debug)]
struct Channel {
    ear: Ear,
    clients: BTreeSet<ClientId>,
}

impl Default for Channel {
    fn default() -> Self {
        Self { ear: Ear::Deaf, clients: BTreeSet::new() }
    }
}

/// A notification that a client has been told by its own server, and that the listening server is still to bring.
type Told = (u32, Box<[u8]>, Box<[u8]>);

#[derive(Debug)]
struct Subscriber<W> {
    waker: W,
    channels: BTreeMap<Box<str>, Stage>,
    /// Whole messages that wait for the client.
    mail: Vec<u8>,
    /// Notifications that found no room behind them.
    dropped: u64,
    told: Vec<Told>,
    /// The listening server was lost, and the client doesn't know yet.
    missed: bool,
}

impl<W> Subscriber<W> {
    fn is_live(&self, channel: &str) -> bool {
        self.channels.get(channel) == Some(&Stage::Live)
    }

    /// Whether the listening server brings what was told already; then it is so no longer.
    fn was_told(&mut self, heard: &Notification<'_>) -> bool {
        let same = |(pid, channel, payload): &Told| {
            *pid == heard.pid && **channel == *heard.channel && **payload == *heard.payload
        };
        let at = self.told.iter().position(same);
        at.map(|at| self.told.remove(at)).is_some()
    }

    fn names(&self) -> String {
        let live = self.channels.iter().filter(|(_, stage)| **stage == Stage::Live);
        let mut names = String::new();
        for (name, _) in live {
            names.push_str(if names.is_empty() { "\"" } else { ", \"" });
            names.push_str(name);
            names.push('"');
        }
        names
    }

    /// Says behind the mail that something is missing there.
    fn tell_gap(&mut self, detail: &str) {
        let message = format!("notifications may have been lost on channels {}", self.names());
        let report = Report {
            severity: Severity::Warning,
            code: sqlstate::WARNING,
            message: &message,
            detail: Some(detail),
            hint: Some("Later notifications will come: look now for what the lost ones may have told."),
        };
        report.encode(&mut self.mail);
    }
}

/// The books of one listening server. `W` is what wakes a client.
#[derive(Debug)]
pub struct Books<W> {
    clients: HashMap<ClientId, Subscriber<W>>,
    channels: HashMap<Box<str>, Channel>,
    /// Markers on their way, by number.
    cuts: HashMap<u64, ClientId>,
    /// Tells this process's markers from those of others.
    instance: u64,
    last_cut: u64,
    /// Whether the listening server is there; and whether it was told something that it hasn't confirmed.
    connected: bool,
    asked: bool,
    marker: Ear,
    totals: Notifications,
}

impl<W: Clone> Books<W> {
    /// Nobody listens. `instance` is a random number.
    pub fn new(instance: u64) -> Self {
        Self {
            clients: HashMap::new(),
            channels: HashMap::new(),
            cuts: HashMap::new(),
            instance,
            last_cut: 0,
            connected: false,
            asked: false,
            marker: Ear::Deaf,
            totals: Notifications::default(),
        }
    }

    /// The client listens to these channels and no others. Those that are new it gets from its own server until
    /// [`Self::begin_cut`].
    pub fn set(&mut self, client: ClientId, waker: &W, channels: &[String]) {
        if channels.is_empty() {
            return self.leave(client);
        }
        let subscriber = self.clients.entry(client).or_insert_with(|| Subscriber {
            waker: waker.clone(),
            channels: BTreeMap::new(),
            mail: Vec::new(),
            dropped: 0,
            told: Vec::new(),
            missed: false,
        });
        let gone = |name: &str| !channels.iter().any(|channel| channel == name);
        let left: Vec<_> = subscriber.channels.extract_if(.., |name, _| gone(name)).collect();
        if !left.is_empty() {
            subscriber
                .told
                .retain(|(_, channel, _)| !left.iter().any(|(name, _)| name.as_bytes() == &**channel));
            let kept =
                |heard: &Notification<'_>| !left.iter().any(|(name, _)| name.as_bytes() == heard.channel);
            retain(&mut subscriber.mail, kept);
        }
        for channel in channels {
            subscriber.channels.entry(channel.as_str().into()).or_insert(Stage::Wanted);
            self.channels.entry(channel.as_str().into()).or_default().clients.insert(client);
        }
        left.iter().for_each(|(name, _)| self.unsubscribe(client, name));
    }

    /// The client listens to nothing any more, or is gone.
    pub fn leave(&mut self, client: ClientId) {
        let Some(subscriber) = self.clients.remove(&client) else { return };
        self.cuts.retain(|_, whose| *whose != client);
        subscriber.channels.keys().for_each(|name| self.unsubscribe(client, name));
    }

    fn unsubscribe(&mut self, client: ClientId, name: &str) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        channel.clients.remove(&client);
        if channel.clients.is_empty() && channel.ear == Ear::Deaf {
            self.channels.remove(name);
        }
    }

    /// The payload of the marker that takes the client's wanted channels over, if the listening server listens to all of them.
    pub fn begin_cut(&mut self, client: ClientId) -> Option<String> {
        let subscriber = self.clients.get_mut(&client)?;
        let heard = |name: &str| self.channels.get(name).is_some_and(|c| c.ear == Ear::Listens);
        let mut wanted = subscriber.channels.iter().filter(|(_, stage)| **stage == Stage::Wanted).peekable();
        let ready = self.connected && self.marker == Ear::Listens && wanted.peek().is_some();
        if !ready || !wanted.all(|(name, _)| heard(name)) {
            return None;
        }
        self.last_cut += 1;
        for stage in subscriber.channels.values_mut().filter(|stage| **stage == Stage::Wanted) {
            *stage = Stage::Cutting(self.last_cut);
        }
        self.cuts.insert(self.last_cut, client);
        Some(self.payload(self.last_cut))
    }

    fn payload(&self, cut: u64) -> String {
        format!("{:016x} {cut}", self.instance)
    }

    /// The marker could not be sent: the client's own server goes on to tell it of these channels.
    pub fn cut_failed(&mut self, client: ClientId, channels: &[String]) {
        let Some(subscriber) = self.clients.get_mut(&client) else { return };
        for channel in channels {
            let stage = subscriber.channels.get_mut(channel.as_str());
            if let Some(Stage::Cutting(cut)) = stage.map(|stage| mem::replace(stage, Stage::Wanted)) {
                self.cuts.remove(&cut);
            }
        }
    }

    /// The client's own server has told it a notification of its own on a live channel: the listening server's is not for it.
    pub fn told(&mut self, client: ClientId, heard: &Notification<'_>) {
        let Some(subscriber) = self.clients.get_mut(&client) else { return };
        let mut found = false;
        retain(&mut subscriber.mail, |waits| {
            let first = !found && waits == heard;
            found |= first;
            !first
        });
        let comes = str::from_utf8(heard.channel).ok().and_then(|name| self.channels.get(name));
        let comes = comes.is_some_and(|channel| channel.ear == Ear::Listens);
        if !found && self.connected && comes && subscriber.dropped == 0 {
            subscriber.told.push((heard.pid, heard.channel.into(), heard.payload.into()));
        }
    }

    /// The listening server has brought a notification. Whom to wake is added to `wake`.
    pub fn heard(&mut self, heard: &Notification<'_>, wake: &mut Vec<W>) {
        let (Ok(name), payload) = (str::from_utf8(heard.channel), heard.payload) else { return };
        if name == MARKER {
            return self.marker_came(payload);
        }
        let Some(channel) = self.channels.get(name) else { return };
        for client in &channel.clients {
            let Some(subscriber) = self.clients.get_mut(client) else { continue };
            if !subscriber.is_live(name) {
                continue;
            }
            if subscriber.was_told(heard) {
                self.totals.delivered += 1;
                continue;
            }
            if subscriber.dropped > 0 || subscriber.mail.len() + heard.payload.len() > MAILBOX {
                subscriber.dropped += 1;
                self.totals.dropped += 1;
                continue;
            }
            if subscriber.mail.is_empty() {
                wake.push(subscriber.waker.clone());
            }
            heard.encode(&mut subscriber.mail);
            self.totals.delivered += 1;
        }
    }

    fn marker_came(&mut self, payload: &[u8]) {
        let cut = self.cuts.keys().copied().find(|cut| self.payload(*cut).as_bytes() == payload);
        let Some(client) = cut.and_then(|cut| self.cuts.remove(&cut)) else { return };
        let stages = self.clients.get_mut(&client).map(|subscriber| subscriber.channels.values_mut());
        let cutting = stages.into_iter().flatten().filter(|stage| cut.map(Stage::Cutting) == Some(**stage));
        cutting.for_each(|stage| *stage = Stage::Live);
    }

    /// What waits for a client, whole messages, none of which it will get again.
    pub fn take_mail(&mut self, client: ClientId) -> Vec<u8> {
        let Some(subscriber) = self.clients.get_mut(&client) else { return Vec::new() };
        let dropped = mem::take(&mut subscriber.dropped);
        if dropped > 0 {
            subscriber
                .tell_gap(&format!("{dropped} were dropped because the client was slow to read others."));
            self.totals.gaps += 1;
        }
        mem::take(&mut subscriber.mail)
    }

    /// The listening server is there, and listens to nothing yet.
    pub fn connected(&mut self) {
        self.connected = true;
    }

    /// The server of a client who alone wants something of it is the listening server from now on.
    pub fn adopted(&mut self, client: ClientId, channels: &[String]) {
        self.connected = true;
        let Some(subscriber) = self.clients.get_mut(&client) else { return };
        for name in channels {
            if let (Some(stage), Some(channel)) =
                (subscriber.channels.get_mut(name.as_str()), self.channels.get_mut(name.as_str()))
            {
                (*stage, channel.ear) = (Stage::Live, Ear::Listens);
            }
        }
    }

    /// Those whose own server listens for them.
    pub fn wanting(&self) -> impl Iterator<Item = &W> {
        let wants = |subscriber: &&Subscriber<W>| subscriber.channels.values().any(|s| *s == Stage::Wanted);
        self.clients.values().filter(wants).map(|subscriber| &subscriber.waker)
    }

    /// What to tell the listening server next; `None` while it hasn't confirmed the last, or when there is nothing.
    pub fn next_statement(&mut self) -> Option<String> {
        if !self.connected || self.asked {
            return None;
        }
        let mut sql = String::new();
        let mut tell = |word: &str, name: &str| {
            sql.push_str(if sql.is_empty() { "" } else { "; " });
            sql.push_str(word);
            identifier(&mut sql, name);
        };
        if self.marker == Ear::Deaf {
            self.marker = Ear::Asked;
            tell("LISTEN ", MARKER);
        }
        self.channels.retain(|name, channel| {
            let (wanted, listens) = (!channel.clients.is_empty(), channel.ear == Ear::Listens);
            if wanted && channel.ear == Ear::Deaf {
                channel.ear = Ear::Asked;
                tell("LISTEN ", name);
            } else if !wanted && listens {
                tell("UNLISTEN ", name);
            }
            wanted
        });
        self.asked = !sql.is_empty();
        self.asked.then_some(sql)
    }

    /// The listening server has done what it was told. Those who may begin their cut, or have missed something, are added to `wake`.
    pub fn confirmed(&mut self, wake: &mut Vec<W>) {
        self.asked = false;
        self.marker = Ear::Listens;
        let asked = self.channels.values_mut().filter(|channel| channel.ear == Ear::Asked);
        asked.for_each(|channel| channel.ear = Ear::Listens);
        for subscriber in self.clients.values_mut() {
            let heard = |name: &str| self.channels.get(name).is_some_and(|c| c.ear == Ear::Listens);
            if !subscriber.channels.keys().all(|name| heard(name)) {
                continue;
            }
            if mem::take(&mut subscriber.missed) {
                subscriber
                    .tell_gap("The connection that listens for the client had been lost; it listens again.");
                self.totals.gaps += 1;
                wake.push(subscriber.waker.clone());
            } else if subscriber.channels.values().any(|stage| *stage == Stage::Wanted) {
                wake.push(subscriber.waker.clone());
            }
        }
    }

    /// The listening server is gone.
    pub fn lost(&mut self) {
        (self.connected, self.asked, self.marker) = (false, false, Ear::Deaf);
        self.cuts.clear();
        self.channels.retain(|_, channel| !channel.clients.is_empty());
        self.channels.values_mut().for_each(|channel| channel.ear = Ear::Deaf);
        for subscriber in self.clients.values_mut() {
            subscriber.told.clear();
            for stage in subscriber.channels.values_mut().filter(|stage| **stage != Stage::Wanted) {
                subscriber.missed = true;
                *stage = Stage::Live;
            }
        }
    }

    /// Whether nobody listens.
    pub fn is_idle(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether the listening server is there, and how many subscriptions (client and channel) there are.
    pub fn numbers(&self) -> (bool, usize) {
        (self.connected, self.clients.values().map(|subscriber| subscriber.channels.len()).sum())
    }

    /// What happened so far.
    pub fn totals(&self) -> Notifications {
        self.totals
    }
}

/// Keeps those notifications, and everything else.
fn retain(mail: &mut Vec<u8>, mut keeps: impl FnMut(&Notification<'_>) -> bool) {
    let mut kept = Vec::with_capacity(mail.len());
    let mut rest = &mail[..];
    while let Ok(Some(header)) = frame::header(rest)
        && let Some((message, behind)) = rest.split_at_checked(header.size)
    {
        let notification = Notification::parse(&message[frame::HEADER..]);
        let is_notice = message[0] == crate::wire::tag::backend::NOTICE;
        if is_notice || !notification.is_ok_and(|heard| !keeps(&heard)) {
            kept.extend_from_slice(message);
        }
        rest = behind;
    }
    *mail = kept;
}
