//! A client and a server of any bytes, with the relay between them: whatever both say, its framing and its books stay right.

use std::num::NonZeroUsize;

use pgweir::client::intercept::{self, Looks, Names, Pause, Refuses, Rules};
use pgweir::params::custom::Customs;
use pgweir::params::routines::Routines;
use pgweir::params::set::Sets;
use pgweir::params::statement::Scanner;
use pgweir::prepared::client_statements::ClientStatements;
use pgweir::prepared::registry::Registry;
use pgweir::server::conversation::Conversation;
use pgweir::server::exchange::Status;
use pgweir::wire::frame;
use pgweir::wire::outgoing::Outgoing;

/// Everything that passed one way, message by message.
#[derive(Default)]
struct Stream {
    head: Vec<u8>,
    /// Bytes of the message under way still to come.
    left: usize,
    /// Messages that bring a ReadyForQuery, or are one.
    turns: usize,
}

impl Stream {
    fn take(&mut self, mut bytes: &[u8], turn: &[u8]) {
        while !bytes.is_empty() {
            let rest = self.left.min(bytes.len());
            self.left -= rest;
            bytes = &bytes[rest..];
            let missing = (frame::HEADER - self.head.len()).min(bytes.len());
            if self.left > 0 || missing == 0 {
                continue;
            }
            self.head.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if let Some(header) = frame::header(&self.head).expect("what is sent on has true lengths") {
                self.left = header.size - frame::HEADER;
                self.turns += usize::from(turn.contains(&header.tag));
                self.head.clear();
            }
        }
    }

    fn is_between_messages(&self) -> bool {
        self.left == 0 && self.head.is_empty()
    }
}

struct Scene {
    registry: Registry,
    scanner: Scanner,
    names: Names,
    client: ClientStatements,
    server: Conversation,
    /// What each has said and is not dealt with.
    waiting: [Vec<u8>; 2],
    to_server: Stream,
    to_client: Stream,
    asked: Stream,
}

/// Parts of at most 127 bytes, each behind a byte with its length and, in its highest bit, who says it. The first byte of all is
/// the server's number of statements, and in its highest bit who keeps their names.
pub(super) fn exchange(bytes: &[u8]) {
    let Some((&first, mut rest)) = bytes.split_first() else { return };
    let mut scene = Scene {
        registry: Registry::default(),
        scanner: Scanner::default(),
        names: if first & 0x80 == 0 { Names::Kept } else { Names::Passed },
        client: ClientStatements::default(),
        server: Conversation::new(
            NonZeroUsize::new(usize::from(first & 3) + 1).expect("not 0"),
            Sets::default().empty(),
        ),
        waiting: [Vec::new(), Vec::new()],
        to_server: Stream::default(),
        to_client: Stream::default(),
        asked: Stream::default(),
    };
    while let Some((&said, more)) = rest.split_first() {
        let (part, more) = more.split_at(usize::from(said & 0x7f).min(more.len()));
        rest = more;
        let side = usize::from(said >> 7);
        scene.waiting[side].extend_from_slice(part);
        let goes_on = if side == 0 { scene.feed() } else { scene.receive() && scene.feed() };
        if !goes_on {
            return;
        }
        scene.check();
    }
}

impl Scene {
    /// Whether the client may go on.
    fn feed(&mut self) -> bool {
        let input = std::mem::take(&mut self.waiting[0]);
        let mut scratch = Vec::new();
        let mut out = Outgoing::new(&input, &mut scratch);
        let rules = Rules {
            registry: &self.registry,
            scope: &Default::default(),
            looks: Looks {
                scanner: &self.scanner,
                routines: &Routines::nothing(),
                customs: &Customs::default(),
            },
            refuses: Refuses::Nothing,
            names: self.names,
            client: 1,
            parse_context: b"",
        };
        let Ok(fed) = intercept::feed(rules, &mut self.client, &mut self.server, &input, &mut out) else {
            return false;
        };
        self.to_server.take(out.bytes(), b"QSF");
        self.asked.take(&input[..fed.used], b"QSF");
        self.waiting[0] = input[fed.used..].to_vec();
        let (mut own, mut out) = (Vec::new(), Outgoing::new(&[], &mut scratch));
        if fed.flush {
            self.server.answer_locally(&mut out);
            own.extend_from_slice(out.bytes());
        }
        self.to_client.take(&own, b"Z");
        matches!(fed.pause, Pause::More | Pause::Stall)
    }

    /// Whether the server may go on.
    fn receive(&mut self) -> bool {
        let input = std::mem::take(&mut self.waiting[1]);
        let mut scratch = Vec::new();
        let mut out = Outgoing::new(&input, &mut scratch);
        let Ok(used) = self.server.receive(&input, &mut self.client, &mut out) else { return false };
        self.to_client.take(out.bytes(), b"Z");
        self.waiting[1] = input[used..].to_vec();
        self.server.heard = Default::default();
        true
    }

    fn check(&self) {
        let server = &self.server;
        assert_eq!(self.to_server.is_between_messages(), server.sending == 0, "{:?}", server.exchange);
        assert_eq!(self.to_server.left, server.sending, "{:?}", server.exchange);
        assert_eq!(self.to_client.is_between_messages(), !server.is_forwarding_part());
        if server.exchange.doubt().is_none() {
            assert!(self.to_client.turns <= self.asked.turns, "an answer to nothing: {:?}", server.exchange);
        }
        if server.is_free() {
            assert!(server.exchange.is_drained() && server.is_whole());
            assert_eq!(server.exchange.status(), Status::Idle);
            assert!(self.to_server.is_between_messages() && self.to_client.is_between_messages());
        }
    }
}
