//! PostgreSQL as the oracle: the same bytes straight to it and through pgweir, and the replies message by message.
//! Process ids, and with them BackendKeyData and the sender of a notification, are the only things not compared.

use super::cluster::Cluster;
use super::messages::Message;
use super::raw::{Client, Target};

/// When to stop reading after a piece has been sent.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// That many ReadyForQuery.
    Ready(usize),
    /// That many messages of a type.
    Count(u8, usize),
    /// The end of the connection.
    Closed,
    /// Nothing is read yet.
    Nothing,
}

/// Bytes, and what follows them.
#[derive(Clone, Debug)]
pub struct Piece(pub Vec<u8>, pub Until);

/// Pieces played one after the other over one session.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub name: &'static str,
    /// Run by the superuser before each side.
    pub setup: &'static str,
    pub pieces: Vec<Piece>,
}

impl Pipeline {
    pub fn new(name: &'static str, setup: &'static str, pieces: Vec<Piece>) -> Self {
        Self { name, setup, pieces }
    }

    /// One piece, read up to its only ReadyForQuery.
    pub fn once(name: &'static str, parts: &[Vec<u8>]) -> Self {
        Self::new(name, "", vec![Piece(parts.concat(), Until::Ready(1))])
    }

    #[must_use]
    pub fn setup(self, setup: &'static str) -> Self {
        Self { setup, ..self }
    }
}

/// The replies to a pipeline, in words, as this session gives them.
#[track_caller]
pub fn transcript(cluster: &Cluster, target: &Target, pipeline: &Pipeline) -> Vec<String> {
    if !pipeline.setup.is_empty() {
        cluster.sql(&target.database, pipeline.setup);
    }
    let mut client = Client::connect(target);
    let mut words = Vec::new();
    for Piece(bytes, until) in &pipeline.pieces {
        client.send(bytes);
        words.extend(replies(&mut client, *until).iter().map(comparable));
    }
    client.terminate();
    words
}

#[track_caller]
fn replies(client: &mut Client, until: Until) -> Vec<Message> {
    let mut read_until = |tag: u8, times: usize| {
        (0..times).flat_map(|_| client.read_until(|message| message.tag == tag)).collect::<Vec<_>>()
    };
    match until {
        Until::Ready(times) => read_until(b'Z', times),
        Until::Count(tag, times) => read_until(tag, times),
        Until::Closed => client.read_to_end(),
        Until::Nothing => Vec::new(),
    }
}

fn comparable(message: &Message) -> String {
    match message.tag {
        b'A' => format!("A {}", message.body[4..].escape_ascii()),
        _ => message.to_string(),
    }
}

/// Plays a pipeline on both sides; panics with both transcripts where they differ.
#[track_caller]
pub fn compare(cluster: &Cluster, straight: &Target, pooled: &Target, pipeline: &Pipeline) {
    let expected = transcript(cluster, straight, pipeline);
    let found = transcript(cluster, pooled, pipeline);
    if let Some(difference) = difference(&expected, &found) {
        panic!("{}: pgweir differs from PostgreSQL\n{difference}", pipeline.name);
    }
}

/// Both lists side by side, `None` when they are equal.
pub fn difference(expected: &[String], found: &[String]) -> Option<String> {
    if expected == found {
        return None;
    }
    let mut text = String::new();
    for at in 0..expected.len().max(found.len()) {
        match (expected.get(at), found.get(at)) {
            (Some(a), Some(b)) if a == b => text.push_str(&format!("   {a}\n")),
            (a, b) => {
                text.extend(a.map(|a| format!(" - {a}\n")));
                text.extend(b.map(|b| format!(" + {b}\n")));
            }
        }
    }
    Some(text)
}
