//! Against a PostgreSQL of a few lines: a queue of notifications that every session reads in the same order, as late as it likes.

use super::Told;
use super::books::{Books, MAILBOX};
use crate::clock::Instant;
use crate::params::inspection::MARKER;
use crate::pool::ClientId;
use crate::wire::backend::Notification;
use crate::wire::frame::{self, HEADER};
use crate::wire::tag::backend as b;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

const CHANNELS: [&str; 3] = ["a", "B", "c\""];

/// The server process of every client, so that process IDs don't help.
const PID: u32 = 7;

fn named(channels: &[&str]) -> Vec<String> {
    channels.iter().map(|name| (*name).to_owned()).collect()
}

fn note<'a>(pid: u32, channel: &'a str, payload: &'a str) -> Notification<'a> {
    Notification { pid, channel: channel.as_bytes(), payload: payload.as_bytes() }
}

/// Payloads in order, `!` for a notice.
fn read(mail: &[u8]) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), mail);
    while let Some(header) = frame::header(rest).expect("a message") {
        let body = &rest[HEADER..header.size];
        words.push(match header.tag {
            b::NOTICE => "!".to_owned(),
            _ => {
                let heard = Notification::parse(body).expect("a notification");
                String::from_utf8_lossy(heard.payload).into_owned()
            }
        });
        rest = &rest[header.size..];
    }
    words
}

const ONE: ClientId = ClientId(1);

/// A listening server, and a client whose channel it has taken over.
fn live(channels: &[&str]) -> Books<u64> {
    let mut books = Books::new(9);
    books.set(ONE, &1, &named(channels));
    books.connected();
    let (mut wake, statement) = (Vec::new(), books.next_statement());
    assert!(statement.is_some_and(|sql| sql.starts_with("LISTEN \"pgweir_marker\"; LISTEN ")));
    assert_eq!(books.next_statement(), None, "one at a time");
    assert_eq!(books.begin_cut(ONE), None, "not confirmed");
    books.confirmed(&mut wake);
    assert_eq!(wake, [1]);
    let marker = books.begin_cut(ONE).expect("it listens");
    books.heard(&note(PID, channels[0], "before"), &mut wake);
    books.heard(&note(PID, MARKER, "somebody else's"), &mut wake);
    books.heard(&note(PID, channels[0], "before, too"), &mut wake);
    books.heard(&note(PID, MARKER, &marker), &mut wake);
    assert_eq!((wake, books.take_mail(ONE)), (vec![1], Vec::new()));
    books
}

/// A reason is told once, again when it has lasted, when it is another, and when there was a listening server in between.
#[test]
fn a_reason_is_told_once() {
    let (mut told, begun) = (Told::default(), Instant::now());
    let later = |seconds| begun + Duration::from_secs(seconds);
    assert!(told.is_news("no place", begun));
    assert!(!told.is_news("no place", later(1)) && !told.is_news("no place", later(59)));
    assert!(told.is_news("no place", later(60)));
    assert!(!told.is_news("no place", later(119)));
    assert!(told.is_news("refused", later(119)));
    told.forget();
    assert!(told.is_news("refused", later(119)));
}

#[test]
fn from_wanted_to_live() {
    let (mut books, mut wake) = (live(&["a"]), Vec::new());
    books.heard(&note(PID, "a", "x"), &mut wake);
    books.heard(&note(PID, "b", "-"), &mut wake);
    books.heard(&note(PID, "a", "y"), &mut wake);
    assert_eq!((wake, read(&books.take_mail(ONE))), (vec![1], vec!["x".to_owned(), "y".to_owned()]));
    assert_eq!(books.begin_cut(ONE), None, "nothing is wanted");
    books.set(ONE, &1, &named(&["b"]));
    let sql = books.next_statement().expect("something to say");
    assert!(["LISTEN \"b\"; UNLISTEN \"a\"", "UNLISTEN \"a\"; LISTEN \"b\""].contains(&&*sql), "{sql}");
    books.confirmed(&mut Vec::new());
    books.leave(ONE);
    assert_eq!(books.next_statement().as_deref(), Some("UNLISTEN \"b\""));
    assert!(books.is_idle() && books.numbers() == (true, 0));
}

#[test]
fn own_notifications_are_told_once() {
    let (mut books, mut wake) = (live(&["a"]), Vec::new());
    books.told(ONE, &note(PID, "a", "first here"));
    books.heard(&note(PID, "a", "first there"), &mut wake);
    books.heard(&note(PID, "a", "first here"), &mut wake);
    books.told(ONE, &note(PID, "a", "first there"));
    books.heard(&note(8, "a", "first here"), &mut wake);
    books.heard(&note(PID, "a", "first here"), &mut wake);
    assert_eq!(read(&books.take_mail(ONE)), ["first here", "first here"]);
    books.told(ONE, &note(PID, "a", "gone"));
    books.set(ONE, &1, &named(&["b"]));
    books.set(ONE, &1, &named(&["a", "b"]));
    books.lost();
    books.told(ONE, &note(PID, "a", "nobody brings it"));
    books.connected();
    drop(books.next_statement());
    books.confirmed(&mut wake);
}

#[test]
fn a_loss_is_told_when_it_is_over() {
    let (mut books, mut wake) = (live(&["a"]), Vec::new());
    books.set(ONE, &1, &named(&["a", "b"]));
    books.set(ClientId(2), &2, &named(&["a"]));
    books.lost();
    assert_eq!(
        (books.next_statement(), books.begin_cut(ONE), books.take_mail(ONE)),
        (None, None, Vec::new())
    );
    books.connected();
    assert!(books.next_statement().is_some());
    books.confirmed(&mut wake);
    wake.sort_unstable();
    assert_eq!(wake, [1, 2], "one has missed something, the other may hand over");
    assert_eq!((read(&books.take_mail(ONE)), books.take_mail(ClientId(2))), (vec!["!".to_owned()], vec![]));
    books.heard(&note(PID, "a", "x"), &mut wake);
    books.heard(&note(PID, "b", "still from its own server"), &mut wake);
    assert_eq!(read(&books.take_mail(ONE)), ["x"]);
    assert_eq!((books.totals().gaps, books.totals().delivered), (1, 1));
}

#[test]
fn a_marker_that_failed() {
    let (mut books, mut wake) = (live(&["a"]), Vec::new());
    books.set(ONE, &1, &named(&["a", "b"]));
    drop(books.next_statement());
    books.confirmed(&mut wake);
    let marker = books.begin_cut(ONE).expect("it listens");
    books.cut_failed(ONE, &named(&["b"]));
    books.heard(&note(PID, MARKER, &marker), &mut wake);
    books.heard(&note(PID, "b", "-"), &mut wake);
    books.heard(&note(PID, "a", "x"), &mut wake);
    assert_eq!(read(&books.take_mail(ONE)), ["x"]);
    assert!(books.begin_cut(ONE).is_some(), "another try");
}

#[test]
fn a_given_server_goes_on_listening() {
    let (mut books, mut wake) = (Books::new(9), Vec::new());
    books.set(ONE, &1, &named(&["a"]));
    books.set(ClientId(2), &2, &named(&["a", "b"]));
    assert_eq!(books.wanting().count(), 2);
    books.adopted(ONE, &named(&["a"]));
    assert_eq!(books.wanting().collect::<Vec<_>>(), [&2]);
    books.heard(&note(PID, "a", "x"), &mut wake);
    assert_eq!(books.next_statement().as_deref(), Some("LISTEN \"pgweir_marker\"; LISTEN \"b\""));
    books.confirmed(&mut wake);
    assert_eq!(
        (wake, read(&books.take_mail(ONE)), books.take_mail(ClientId(2))),
        (vec![1, 2], vec!["x".to_owned()], vec![])
    );
}

#[test]
fn a_mailbox_has_its_bound() {
    let (mut books, mut wake) = (live(&["a"]), Vec::new());
    let payload = "x".repeat(7000);
    (0..100).for_each(|_| books.heard(&note(PID, "a", &payload), &mut wake));
    let mail = books.take_mail(ONE);
    assert!(mail.len() < MAILBOX + 8000, "{} bytes", mail.len());
    let told = read(&mail);
    assert_eq!(
        (told.last().map(String::as_str), told.len() as u64),
        (Some("!"), 101 - books.totals().dropped)
    );
    books.heard(&note(PID, "a", "x"), &mut wake);
    assert_eq!(read(&books.take_mail(ONE)), ["x"]);
}

/// What may happen next; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody notifies a channel: a client from its own server, or another session.
    Notify(usize, Option<usize>),
    /// A client changes a channel in a transaction of its own.
    Toggle(usize, usize),
    /// A client's server is read up to the end.
    Cut(usize),
    /// The listening server reads that much of the queue, and does what it was told.
    Read(usize),
    Take(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let n = || 0usize..3;
    prop_oneof![
        4 => (n(), prop::option::of(n())).prop_map(|(a, b)| Step::Notify(a, b)),
        2 => (n(), n()).prop_map(|(a, b)| Step::Toggle(a, b)),
        3 => n().prop_map(Step::Cut),
        4 => n().prop_map(Step::Read),
        1 => n().prop_map(Step::Take),
    ]
}

/// A client as it is in truth.
#[derive(Default)]
struct Truth {
    channels: BTreeSet<&'static str>,
    /// Those the listening server has taken over.
    live: BTreeSet<&'static str>,
    /// What PostgreSQL would have told it by now, and what it was told.
    due: Vec<String>,
    told: Vec<String>,
}

struct World {
    books: Books<u64>,
    clients: [Truth; 3],
    queue: Vec<(String, String)>,
    /// What of the queue the listening server has read, and to what it listens.
    read: usize,
    listens: BTreeSet<String>,
    asked: Option<String>,
}

impl World {
    fn id(client: usize) -> ClientId {
        ClientId(client as u64)
    }

    fn notify(&mut self, channel: &str, by: Option<usize>) {
        let payload = format!("{}{channel} {}", by.unwrap_or(9), self.queue.len());
        self.queue.push((channel.to_owned(), payload.clone()));
        for (at, truth) in self.clients.iter_mut().enumerate().filter(|(_, t)| t.channels.contains(channel)) {
            truth.due.push(payload.clone());
            // Its own server tells it what it alone listens to, and what it has sent itself.
            if !truth.live.contains(channel) {
                truth.told.push(payload.clone());
            } else if by == Some(at) {
                truth.told.push(payload.clone());
                self.books.told(Self::id(at), &note(PID, channel, &payload));
            }
        }
    }

    fn toggle(&mut self, client: usize, channel: &'static str) {
        self.take(client);
        let truth = &mut self.clients[client];
        if !truth.channels.remove(channel) {
            truth.channels.insert(channel);
        } else if truth.live.remove(channel) {
            // What the listening server hasn't brought yet comes no more, as with PostgreSQL what hasn't been read.
            let queue = &self.queue;
            let is_due = |payload: &String| {
                truth.told.contains(payload) || !queue.iter().any(|(c, p)| c == channel && p == payload)
            };
            truth.due.retain(is_due);
        }
        let now: Vec<_> = truth.channels.iter().copied().collect();
        self.books.set(Self::id(client), &(client as u64), &named(&now));
    }

    fn cut(&mut self, client: usize) {
        let Some(marker) = self.books.begin_cut(Self::id(client)) else { return };
        self.queue.push((MARKER.to_owned(), marker));
        let truth = &mut self.clients[client];
        truth.live = truth.channels.clone();
    }

    /// With one statement at a time PostgreSQL has delivered what was there before it does it.
    fn listening_server(&mut self, count: usize) {
        let mut wake = Vec::new();
        let end =
            if self.asked.is_some() { self.queue.len() } else { (self.read + count).min(self.queue.len()) };
        for (channel, payload) in &self.queue[self.read..end] {
            if self.listens.contains(channel) {
                self.books.heard(&note(PID, channel, payload), &mut wake);
            }
        }
        self.read = end;
        if let Some(sql) = self.asked.take() {
            for statement in sql.split("; ") {
                let (word, name) = statement.split_once(' ').expect("two words");
                let name = name[1..name.len() - 1].replace("\"\"", "\"");
                assert!(if word == "LISTEN" {
                    self.listens.insert(name)
                } else {
                    self.listens.remove(&name)
                });
            }
            self.books.confirmed(&mut wake);
        } else {
            self.asked = self.books.next_statement();
        }
    }

    fn take(&mut self, client: usize) {
        let mail = read(&self.books.take_mail(Self::id(client)));
        self.clients[client].told.extend(mail);
    }
}

/// Of each sender and channel in order; a client's own may overtake others', and what its own server alone listens to the rest.
fn by_sender(payloads: &[String]) -> Vec<String> {
    let mut sorted = payloads.to_vec();
    sorted.sort_by_key(|payload| payload.split(' ').next().map(str::to_owned));
    sorted
}

proptest! {
    #[test]
    fn everything_is_told_once_and_in_order(steps in prop::collection::vec(step(), 0..60)) {
        let mut books = Books::new(5);
        books.connected();
        let (queue, listens) = (Vec::new(), BTreeSet::new());
        let mut world = World { books, clients: Default::default(), queue, read: 0, listens, asked: None };
        for step in steps {
            match step {
                Step::Notify(channel, by) => world.notify(CHANNELS[channel], by),
                Step::Toggle(client, channel) => world.toggle(client, CHANNELS[channel]),
                Step::Cut(client) => world.cut(client),
                Step::Read(count) => world.listening_server(count),
                Step::Take(client) => world.take(client),
            }
        }
        (0..4).for_each(|_| world.listening_server(usize::MAX / 2));
        for client in 0..3 {
            world.take(client);
            let truth = &world.clients[client];
            prop_assert_eq!(by_sender(&truth.told), by_sender(&truth.due), "client {}", client);
        }
        let wanted: BTreeSet<_> = world.clients.iter().flat_map(|c| c.channels.iter().map(|n| (*n).to_owned())).collect();
        let listened: BTreeSet<_> = world.listens.iter().filter(|n| *n != MARKER).cloned().collect();
        prop_assert_eq!(listened, wanted);
    }
}
