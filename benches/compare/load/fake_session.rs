//! What the fake server answers on one connection. It keeps names and portals as PostgreSQL does, and each row echoes the
//! key of its request, so a pooler that mixes up sessions or answers gets errors instead of figures.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::super::support::fake_server;
use super::super::support::messages::{backend, message};

/// What every request of the load is answered with, made once.
static COLUMNS: LazyLock<Vec<u8>> = LazyLock::new(|| backend::row_description(1));
static COMPLETE: LazyLock<Vec<u8>> = LazyLock::new(|| backend::command_complete("SELECT 1"));
const READY: &[u8] = b"Z\0\0\0\x05I";

/// A reply to make sense of, or the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fed {
    /// Nobody waits for an answer yet, or only for that of a login.
    More,
    /// A Query or a Sync was among it.
    Request,
    /// Terminate, a CancelRequest, or nonsense.
    End,
}

#[derive(Default)]
pub(crate) struct Session {
    unread: Vec<u8>,
    logged_in: bool,
    /// After an error, up to Sync.
    skips: bool,
    names: HashSet<Vec<u8>>,
    /// The unnamed portal: the key it was bound with.
    portal: Option<Vec<u8>>,
}

impl Session {
    /// Takes in what has arrived; answers go to `out`.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Fed {
        let held = (!self.unread.is_empty()).then(|| {
            self.unread.extend_from_slice(bytes);
            std::mem::take(&mut self.unread)
        });
        let mut rest = held.as_deref().unwrap_or(bytes);
        let mut outcome = Fed::More;
        while let Some((tag, body, after)) = next(rest, self.logged_in) {
            let fed = if self.logged_in { self.answer(tag, body, out) } else { self.log_in(body, out) };
            match fed {
                Fed::End => return Fed::End,
                Fed::Request => outcome = Fed::Request,
                Fed::More => {}
            }
            rest = after;
        }
        self.unread = rest.to_vec();
        outcome
    }

    fn log_in(&mut self, body: &[u8], out: &mut Vec<u8>) -> Fed {
        match body {
            // SSLRequest, GSSENCRequest
            [4, 210, 22, 47 | 48] => out.push(b'N'),
            [0, 3, ..] => {
                out.extend(fake_server::welcome(0));
                self.logged_in = true;
            }
            _ => return Fed::End,
        }
        Fed::More
    }

    fn answer(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Fed {
        if self.skips && !matches!(tag, b'S' | b'X') {
            return Fed::More;
        }
        match tag {
            b'Q' => {
                self.query(first_string(body), out);
                out.extend_from_slice(READY);
                return Fed::Request;
            }
            b'S' => {
                (self.skips, self.portal) = (false, None);
                out.extend_from_slice(READY);
                return Fed::Request;
            }
            b'P' => self.parse(first_string(body), out),
            b'B' => self.bind(body, out),
            b'D' => self.describe(body, out),
            b'E' => match &self.portal {
                Some(key) => row(key, out),
                None => self.refuse("34000", "there is no such portal", out),
            },
            b'C' => {
                if body.first() == Some(&b'S') {
                    self.names.remove(first_string(&body[1..]));
                }
                out.extend(message(b'3', &[]));
            }
            b'H' => {}
            _ => return Fed::End,
        }
        Fed::More
    }

    fn query(&mut self, sql: &[u8], out: &mut Vec<u8>) {
        let word = sql.split(|b| !b.is_ascii_alphabetic()).next().unwrap_or_default().to_ascii_uppercase();
        match &word[..] {
            b"SELECT" | b"SHOW" => {
                out.extend_from_slice(&COLUMNS);
                row(last_number(sql), out);
            }
            b"" => out.extend(message(b'I', &[])),
            b"DISCARD" | b"DEALLOCATE" => {
                self.names.clear();
                out.extend(backend::command_complete("DISCARD ALL"));
            }
            _ => out.extend(backend::command_complete("SET")),
        }
    }

    fn parse(&mut self, name: &[u8], out: &mut Vec<u8>) {
        if self.names.insert(name.to_vec()) || name.is_empty() {
            out.extend(message(b'1', &[]));
        } else {
            self.refuse("42P05", "a prepared statement of that name exists", out);
        }
    }

    fn bind(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let portal = first_string(body);
        let name = first_string(&body[portal.len() + 1..]);
        if !self.names.contains(name) {
            return self.refuse("26000", "there is no prepared statement of that name", out);
        }
        // Formats of the parameters, their number, the length of the first.
        let at = portal.len() + name.len() + 2;
        let formats = body.get(at..at + 2).map_or(0, |n| usize::from(u16::from_be_bytes([n[0], n[1]])));
        let value = body.get(at + 2 + 2 * formats + 2..).unwrap_or_default();
        let key = match value.split_first_chunk::<4>() {
            Some((length, rest)) => rest.get(..u32::from_be_bytes(*length) as usize).unwrap_or(b"1"),
            None => b"1",
        };
        self.portal = Some(key.to_vec());
        out.extend(message(b'2', &[]));
    }

    fn describe(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let statement = body.first() == Some(&b'S');
        if statement && !self.names.contains(first_string(&body[1..])) {
            return self.refuse("26000", "there is no prepared statement of that name", out);
        }
        if statement {
            out.extend(message(b't', &[0, 1, 0, 0, 0, 25]));
        }
        out.extend_from_slice(&COLUMNS);
    }

    fn refuse(&mut self, sqlstate: &str, text: &str, out: &mut Vec<u8>) {
        out.extend(backend::error("ERROR", sqlstate, text));
        self.skips = true;
    }
}

/// The first message, 0 as its tag if it has none, and what follows it; none if it isn't whole.
fn next(bytes: &[u8], tagged: bool) -> Option<(u8, &[u8], &[u8])> {
    let (tag, sized) = if tagged { bytes.split_first()? } else { (&0, bytes) };
    let (length, rest) = sized.split_first_chunk::<4>()?;
    let length = (u32::from_be_bytes(*length) as usize).saturating_sub(4);
    let (body, after) = rest.split_at_checked(length)?;
    Some((*tag, body, after))
}

fn row(key: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(key.len()).expect("short");
    out.push(b'D');
    out.extend_from_slice(&(length + 10).to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&COMPLETE);
}

fn first_string(body: &[u8]) -> &[u8] {
    body.split(|b| *b == 0).next().unwrap_or_default()
}

/// The digits a query ends with.
pub(super) fn last_number(sql: &[u8]) -> &[u8] {
    let digits = sql.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 { b"1" } else { &sql[sql.len() - digits..] }
}
