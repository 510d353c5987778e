//! A model of PostgreSQL's statements and skipping, asked directly and behind the relay: the client must see the same.

use super::*;
use crate::params::set::Sets;
use crate::wire::encode::message;
use crate::wire::frontend::{
    BindNames, Parse, Target, bind_names, close_statement, describe_statement, query,
};
use crate::wire::tag::backend as b;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;

/// One PostgreSQL session without transactions. Texts: `bad` can't be parsed, `fail` can't be run.
#[derive(Debug, Default)]
struct Model {
    statements: BTreeMap<Vec<u8>, Vec<u8>>,
    portal: Option<Vec<u8>>,
    skipping: bool,
}

impl Model {
    /// The replies to whole messages.
    fn answer(&mut self, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut replies = Vec::new();
        while let Some(header) = frame::header(bytes).unwrap() {
            let (message, rest) = bytes.split_at(header.size);
            self.message(header.tag, &message[HEADER..], &mut replies);
            bytes = rest;
        }
        replies
    }

    fn message(&mut self, tag: u8, body: &[u8], out: &mut Vec<Vec<u8>>) {
        if tag == f::SYNC {
            (self.skipping, self.portal) = (false, None);
            out.push(reply(b::READY, b"I"));
        } else if !self.skipping {
            match self.request(tag, body) {
                Ok(replies) => out.extend(replies),
                Err(code) => {
                    out.push(reply(b::ERROR, &[b"SERROR\0C", code.as_slice(), b"\0\0"].concat()));
                    self.skipping = tag != f::QUERY;
                }
            }
            if tag == f::QUERY {
                out.push(reply(b::READY, b"I"));
            }
        }
    }

    fn request(&mut self, tag: u8, body: &[u8]) -> Result<Vec<Vec<u8>>, [u8; 5]> {
        let text = |body: &[u8]| body.split(|&b| b == 0).next().unwrap().to_vec();
        let run = |text: Vec<u8>| match &*text {
            b"fail" => Err(*b"22012"),
            text => Ok(vec![reply(b::COMMAND_COMPLETE, &[b"SELECT ", text, b"\0"].concat())]),
        };
        match tag {
            f::PARSE => {
                let parse = Parse::read(body).unwrap();
                self.statements
                    .remove(&b""[..])
                    .filter(|_| !parse.name.is_empty())
                    .map(|unnamed| self.statements.insert(Vec::new(), unnamed));
                if parse.query == b"bad" {
                    return Err(*b"42601");
                }
                if self.statements.contains_key(parse.name) {
                    return Err(*b"42P05");
                }
                self.statements.insert(parse.name.to_vec(), parse.query.to_vec());
                Ok(vec![reply(b::PARSE_COMPLETE, b"")])
            }
            f::BIND => {
                let names = BindNames::read(body).unwrap();
                self.portal = Some(self.statements.get(names.statement).ok_or(*b"26000")?.clone());
                Ok(vec![reply(b::BIND_COMPLETE, b"")])
            }
            f::DESCRIBE => {
                let Ok(Target::Statement(name)) = Target::read(body) else { panic!("only statements") };
                let text = self.statements.get(name).ok_or(*b"26000")?;
                let columns =
                    if text == b"select" { (b::ROW_DESCRIPTION, &[0, 0][..]) } else { (b::NO_DATA, &[][..]) };
                Ok(vec![reply(b::PARAMETER_DESCRIPTION, &[0, 0]), reply(columns.0, columns.1)])
            }
            f::CLOSE => {
                self.statements.remove(&text(&body[1..]));
                Ok(vec![reply(b::CLOSE_COMPLETE, b"")])
            }
            f::FLUSH => Ok(Vec::new()),
            f::EXECUTE => run(self.portal.clone().ok_or(*b"34000")?),
            f::QUERY => {
                self.portal = None;
                self.statements.remove(&b""[..]);
                run(text(body))
            }
            other => panic!("{other}"),
        }
    }
}

fn reply(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, tag, |v| v.extend_from_slice(body));
    out
}

/// A client's request, by kind, name and text.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(&["", "", "a", "b", "c"][..]);
    let text = prop::sample::select(&["one", "two", "select", "bad", "fail"][..]);
    (prop::sample::select(&b"PPPBBBBECSQYYYY"[..]), name, text).prop_map(|(kind, name, text)| {
        let mut out = Vec::new();
        match kind {
            b'P' => Parse::encode(&mut out, name.as_bytes(), &[text.as_bytes(), b"\0\0\0"].concat()),
            b'B' => {
                bind_names(&mut out, b"", name.as_bytes(), 6);
                out.extend_from_slice(&[0; 6]);
                message(&mut out, f::EXECUTE, |v| v.extend_from_slice(&[0; 5]));
            }
            b'E' => message(&mut out, f::EXECUTE, |v| v.extend_from_slice(&[0; 5])),
            b'C' => close_statement(&mut out, name.as_bytes()),
            b'S' => describe_statement(&mut out, name.as_bytes()),
            b'Q' => query(&mut out, text.as_bytes()),
            _ => message(&mut out, f::SYNC, |_| ()),
        }
        out
    })
}

/// What happens between two portions of the client's bytes.
#[derive(Debug, Clone, Copy)]
struct Portion {
    bytes: usize,
    /// How many of the replies under way arrive.
    replies: usize,
    /// Whether the client, if its server is free, goes on with another, where somebody else has been.
    moves: bool,
}

fn portion() -> impl Strategy<Value = Portion> {
    (1usize..60, 0usize..6, any::<bool>()).prop_map(|(bytes, replies, moves)| Portion {
        bytes,
        replies,
        moves,
    })
}

/// The relay between a client and one of two servers.
struct Relay {
    registry: Registry,
    scanner: Scanner,
    client: ClientStatements,
    servers: [(Conversation, Model); 2],
    at: usize,
    waiting: Vec<u8>,
    /// What the server was sent but for the end of its last message.
    sent: Vec<u8>,
    under_way: VecDeque<Vec<u8>>,
    got: Vec<u8>,
}

impl Relay {
    fn new(limit: usize) -> Self {
        let limit = NonZeroUsize::new(limit).unwrap();
        let server = || (Conversation::new(limit, Sets::default().empty()), Model::default());
        Self {
            registry: Registry::default(),
            scanner: Scanner::default(),
            client: ClientStatements::default(),
            servers: [server(), server()],
            at: 0,
            waiting: Vec::new(),
            sent: Vec::new(),
            under_way: VecDeque::new(),
            got: Vec::new(),
        }
    }

    /// Passes on what it can; whether it waits for replies.
    fn feed(&mut self, bytes: &[u8]) -> bool {
        self.waiting.extend_from_slice(bytes);
        let (server, model) = &mut self.servers[self.at];
        let mut scratch = Vec::new();
        let mut out = Outgoing::new(&self.waiting, &mut scratch);
        let (registry, scanner) = (&self.registry, &self.scanner);
        let rules = Rules {
            registry,
            scope: &Default::default(),
            looks: Looks { scanner, routines: &Routines::nothing(), customs: &Customs::default() },
            refuses: Refuses::Nothing,
            names: Names::Kept,
            client: 1,
            parse_context: b"",
        };
        let fed = feed(rules, &mut self.client, server, &self.waiting, &mut out).unwrap();
        self.sent.extend_from_slice(out.bytes());
        if server.sending == 0 {
            self.under_way.extend(model.answer(&std::mem::take(&mut self.sent)));
        }
        self.waiting.drain(..fed.used);
        fed.pause == Pause::Stall
    }

    fn receive(&mut self, replies: usize) {
        let replies = replies.min(self.under_way.len());
        let bytes = self.under_way.drain(..replies).flatten().collect::<Vec<u8>>();
        let (mut scratch, server) = (Vec::new(), &mut self.servers[self.at].0);
        let mut out = Outgoing::new(&bytes, &mut scratch);
        assert_eq!(server.receive(&bytes, &mut self.client, &mut out).unwrap(), bytes.len());
        self.got.extend_from_slice(out.bytes());
    }

    /// Another server, whose unnamed statement is somebody else's.
    fn change_server(&mut self) {
        if self.waiting.is_empty() && self.under_way.is_empty() && self.servers[self.at].0.is_free() {
            self.at = 1 - self.at;
            let (server, model) = &mut self.servers[self.at];
            server.unnamed = Some((9, 1));
            model.statements.insert(Vec::new(), b"somebody's".to_vec());
        }
    }
}

proptest! {
    #[test]
    fn the_client_sees_what_it_would_see_alone(
        requests in prop::collection::vec(request(), 1..30),
        portions in prop::collection::vec(portion(), 1..12),
        limit in 1usize..4,
    ) {
        let mut input = requests.concat();
        message(&mut input, f::SYNC, |_| ());
        let expected = Model::default().answer(&input).concat();
        let (mut relay, mut rest, mut portions) = (Relay::new(limit), &*input, portions.iter().cycle());
        while !rest.is_empty() {
            let portion = portions.next().unwrap();
            let (now, later) = rest.split_at(portion.bytes.min(rest.len()));
            rest = later;
            let mut stalls = relay.feed(now);
            relay.receive(if stalls { usize::MAX } else { portion.replies });
            while stalls {
                let before = relay.waiting.len();
                stalls = relay.feed(b"");
                let comes = relay.waiting.len() < before || !relay.under_way.is_empty();
                prop_assert!(!stalls || comes, "it waits for a reply that never comes");
                relay.receive(usize::MAX);
            }
            if portion.moves {
                relay.change_server();
            }
        }
        relay.receive(usize::MAX);
        prop_assert_eq!(relay.got.escape_ascii().to_string(), expected.escape_ascii().to_string());
        let server = &relay.servers[relay.at].0;
        prop_assert!(server.is_free() && server.exchange.doubt().is_none(), "{:?}", server.exchange);
    }
}
