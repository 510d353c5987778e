//! The protocol's side of a console session: what each message asks to be run, and how the outcome is told, for simple
//! queries and for statements and portals. Pure: bytes in, bytes out.

use super::command::{Command, Failure};
use super::table::{Column, Formats, Table, data_row, row_description};
use crate::wire::backend::{CLOSE_COMPLETE, PARSE_COMPLETE, Report, Severity};
use crate::wire::cursor::Cursor;
use crate::wire::encode::{cstr, message};
use crate::wire::error::WireError;
use crate::wire::frontend::{Parse, Target};
use crate::wire::sqlstate::{self, SqlState};
use crate::wire::tag::{backend as b, frontend as f};
use std::collections::HashMap;

/// Statements and portals a session may have; drivers keep some hundreds.
const MOST: usize = 1000;

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// Nothing was asked.
    Empty,
    /// Rows to show.
    Rows(Table),
    /// Done, under this tag, with a notice.
    Done(String, Option<Notice>),
}

impl Reply {
    pub(super) fn done(tag: impl Into<String>) -> Self {
        Self::Done(tag.into(), None)
    }
}

/// A NoticeResponse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) message: &'static str,
    pub(super) detail: Option<&'static str>,
}

/// What a message asks for beyond an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing.
    Answered,
    /// To be run; the outcome goes to [`Dialogue::answer`].
    Run(Job),
    /// The client says goodbye.
    End,
}

/// A command to run, and who is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) command: Command,
    asker: Asker,
}

#[derive(Debug, PartialEq, Eq)]
enum Asker {
    Query,
    /// Execute of the portal, with a limit on rows; 0 is none.
    Portal(Vec<u8>, usize),
}

#[derive(Debug)]
struct Portal {
    command: Command,
    formats: Formats,
    /// Rows not told yet; `None`: it has not been run.
    left: Option<Table>,
}

/// A session's statements and portals.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    statements: HashMap<Vec<u8>, Command>,
    portals: HashMap<Vec<u8>, Portal>,
    /// Something failed: messages are ignored up to the next Sync.
    skips: bool,
    in_transaction: bool,
}

/// Why a message of the extended protocol fails.
enum Wrong {
    Wire(WireError),
    Failed(Failure),
}

impl From<WireError> for Wrong {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn failed(code: SqlState, message: String) -> Wrong {
    Wrong::Failed(Failure { code, message, detail: None })
}

impl Dialogue {
    /// Takes a message; what can be answered at once is appended to `out`. An error ends the session.
    pub(super) fn hear(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Result<Heard, WireError> {
        if self.skips && !matches!(tag, f::SYNC | f::TERMINATE) {
            return Ok(Heard::Answered);
        }
        let heard = match tag {
            f::QUERY => return self.query(body, out),
            f::SYNC => {
                self.skips = false;
                self.ready(out);
                Ok(Heard::Answered)
            }
            f::TERMINATE => return Ok(Heard::End),
            f::FLUSH | f::COPY_DATA | f::COPY_DONE | f::COPY_FAIL => Ok(Heard::Answered),
            f::PARSE => self.parse(body, out),
            f::BIND => self.bind(body, out),
            f::DESCRIBE => self.describe(body, out),
            f::EXECUTE => self.execute(body, out),
            f::CLOSE => self.close(body, out),
            _ => Err(failed(
                sqlstate::FEATURE_NOT_SUPPORTED,
                "function calls are not supported by the console".to_owned(),
            )),
        };
        heard.or_else(|wrong| match wrong {
            Wrong::Wire(error) => Err(error),
            Wrong::Failed(failure) => {
                self.skips = true;
                report(out, &failure);
                if tag == f::FUNCTION_CALL {
                    self.skips = false;
                    self.ready(out);
                }
                Ok(Heard::Answered)
            }
        })
    }

    /// Appends what a job came to.
    pub(super) fn answer(&mut self, job: Job, outcome: Result<Reply, Failure>, out: &mut Vec<u8>) {
        match &job.command {
            Command::Transaction(tag) => self.in_transaction = *tag == "BEGIN",
            Command::Deallocate(None) => self.statements.clear(),
            Command::Deallocate(Some(name)) => drop(self.statements.remove(name.as_bytes())),
            _ => {}
        }
        match job.asker {
            Asker::Query => {
                match outcome {
                    Ok(Reply::Rows(table)) => {
                        row_description(out, table.columns, &Formats::default());
                        rows(out, &table, &Formats::default());
                        complete(out, "SHOW");
                    }
                    Ok(reply) => told(out, &reply),
                    Err(failure) => report(out, &failure),
                }
                self.ready(out);
            }
            Asker::Portal(name, limit) => match outcome {
                Ok(Reply::Rows(table)) => {
                    if let Some(portal) = self.portals.get_mut(&name) {
                        portal.left = Some(table);
                        portal.tell(limit, out);
                    }
                }
                Ok(reply) => told(out, &reply),
                Err(failure) => {
                    self.skips = true;
                    report(out, &failure);
                }
            },
        }
    }

    fn query(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<Heard, WireError> {
        let mut cursor = Cursor::new(body);
        let text = cursor.cstr()?;
        cursor.end()?;
        match Command::parse(&String::from_utf8_lossy(text)) {
            Ok(command) => Ok(Heard::Run(Job { command, asker: Asker::Query })),
            Err(failure) => {
                report(out, &failure);
                self.ready(out);
                Ok(Heard::Answered)
            }
        }
    }

    fn parse(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<Heard, Wrong> {
        let parse = Parse::read(body)?;
        if !parse.name.is_empty() && self.statements.contains_key(parse.name) {
            let name = String::from_utf8_lossy(parse.name);
            return Err(failed("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        if self.statements.len() >= MOST {
            return Err(failed(sqlstate::PROGRAM_LIMIT_EXCEEDED, "too many prepared statements".to_owned()));
        }
        let command = Command::parse(&String::from_utf8_lossy(parse.query))?;
        self.statements.insert(parse.name.to_vec(), command);
        out.extend_from_slice(PARSE_COMPLETE);
        Ok(Heard::Answered)
    }

    fn bind(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<Heard, Wrong> {
        let mut cursor = Cursor::new(body);
        let (portal, statement) = (cursor.cstr()?, cursor.cstr()?);
        let formats = cursor.u16()?;
        cursor.bytes(usize::from(formats) * 2)?;
        let parameters = cursor.u16()?;
        let name = String::from_utf8_lossy(statement);
        let Some(command) = self.statements.get(statement) else { return Err(no_statement(&name)) };
        if parameters > 0 {
            let words = format!(
                "bind message supplies {parameters} parameters, but prepared statement \"{name}\" requires 0"
            );
            return Err(failed(sqlstate::PROTOCOL_VIOLATION, words));
        }
        let results = cursor.u16()?;
        let formats = (0..results).map(|_| cursor.u16()).collect::<Result<_, _>>()?;
        cursor.end()?;
        let formats = Formats(formats);
        if !formats.fit(command.columns().map_or(formats.0.len(), <[_]>::len)) {
            return Err(failed(
                sqlstate::PROTOCOL_VIOLATION,
                "result formats don't fit the result".to_owned(),
            ));
        }
        if self.portals.len() >= MOST {
            return Err(failed(sqlstate::PROGRAM_LIMIT_EXCEEDED, "too many portals".to_owned()));
        }
        let bound = Portal { command: command.clone(), formats, left: None };
        self.portals.insert(portal.to_vec(), bound);
        message(out, b::BIND_COMPLETE, |_| ());
        Ok(Heard::Answered)
    }

    fn describe(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<Heard, Wrong> {
        let none = Formats::default();
        let (command, formats) = match Target::read(body)? {
            Target::Statement(name) => {
                let command = self.statements.get(name);
                let command = command.ok_or_else(|| no_statement(&String::from_utf8_lossy(name)))?;
                message(out, b::PARAMETER_DESCRIPTION, |out| out.extend_from_slice(&[0, 0]));
                (command, &none)
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (&portal.command, &portal.formats)
            }
        };
        match command.columns() {
            Some(columns) => row_description(out, columns, formats),
            None => message(out, b::NO_DATA, |_| ()),
        }
        Ok(Heard::Answered)
    }

    fn execute(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<Heard, Wrong> {
        let mut cursor = Cursor::new(body);
        let name = cursor.cstr()?;
        let limit = usize::try_from(cursor.i32()?).unwrap_or(0);
        cursor.end()?;
        let portal = self.portals.get_mut(name).ok_or_else(|| no_portal(name))?;
        if portal.left.is_some() {
            portal.tell(limit, out);
            return Ok(Heard::Answered);
        }
        let asker = Asker::Portal(name.to_vec(), limit);
        Ok(Heard::Run(Job { command: portal.command.clone(), asker }))
    }

    fn close(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<Heard, Wrong> {
        match Target::read(body)? {
            Target::Statement(name) => drop(self.statements.remove(name)),
            Target::Portal(name) => drop(self.portals.remove(name)),
        }
        out.extend_from_slice(CLOSE_COMPLETE);
        Ok(Heard::Answered)
    }

    /// The end of a query or batch; portals live until then, or as long as the transaction.
    fn ready(&mut self, out: &mut Vec<u8>) {
        if !self.in_transaction {
            self.portals.clear();
        }
        message(out, b::READY, |out| out.push(if self.in_transaction { b'T' } else { b'I' }));
    }
}

impl Portal {
    /// At most so many more rows; 0 is all.
    fn tell(&mut self, limit: usize, out: &mut Vec<u8>) {
        let Some(table) = &mut self.left else { return };
        let rest =
            if limit == 0 || limit >= table.rows.len() { Vec::new() } else { table.rows.split_off(limit) };
        rows(out, table, &self.formats);
        if rest.is_empty() {
            complete(out, "SHOW");
        } else {
            message(out, b::PORTAL_SUSPENDED, |_| ());
        }
        table.rows = rest;
    }
}

impl Command {
    /// The columns of its answer, if it has rows.
    fn columns(&self) -> Option<&'static [Column]> {
        match self {
            Self::Show(show) => show.columns(),
            Self::ShowSession(session) => Some(&session.columns),
            _ => None,
        }
    }
}

fn no_statement(name: &str) -> Wrong {
    failed("26000", format!("prepared statement \"{name}\" does not exist"))
}

fn no_portal(name: &[u8]) -> Wrong {
    failed("34000", format!("portal \"{}\" does not exist", String::from_utf8_lossy(name)))
}

fn rows(out: &mut Vec<u8>, table: &Table, formats: &Formats) {
    table.rows.iter().for_each(|row| data_row(out, table.columns, row, formats));
}

fn complete(out: &mut Vec<u8>, tag: &str) {
    message(out, b::COMMAND_COMPLETE, |out| cstr(out, tag.as_bytes()));
}

fn told(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::Empty => message(out, b::EMPTY_QUERY, |_| ()),
        Reply::Rows(_) => {}
        Reply::Done(tag, notice) => {
            if let Some(Notice { message, detail }) = *notice {
                let (severity, code) = (Severity::Notice, sqlstate::SUCCESSFUL_COMPLETION);
                Report { severity, code, message, detail, hint: None }.encode(out);
            }
            complete(out, tag);
        }
    }
}

fn report(out: &mut Vec<u8>, failure: &Failure) {
    let Failure { code, message, detail } = failure;
    let (severity, detail) = (Severity::Error, detail.as_deref());
    Report { severity, code, message, detail, hint: None }.encode(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::table::Type::Int4;
    use crate::admin::table::row;
    use proptest::prelude::*;

    type Sent = (u8, &'static [u8]);

    fn table() -> Table {
        const COLUMNS: &[Column] = &[("n", Int4)];
        Table { columns: COLUMNS, rows: (1..=3_u32).map(|n| row![n]).collect() }
    }

    /// Plays messages; what is to be run gives three rows. Returns the tags of the answers, and the session's end.
    fn play(dialogue: &mut Dialogue, messages: &[Sent]) -> Result<String, WireError> {
        let (mut out, mut tags) = (Vec::new(), String::new());
        for (tag, body) in messages {
            match dialogue.hear(*tag, body, &mut out)? {
                Heard::Run(job) => {
                    let rows = matches!(job.command, Command::Show(_));
                    let reply = if rows { Reply::Rows(table()) } else { Reply::done("X") };
                    let outcome = match job.command {
                        Command::Reload => Err(Failure::new("no")),
                        _ => Ok(reply),
                    };
                    dialogue.answer(job, outcome, &mut out);
                }
                Heard::Answered => {}
                Heard::End => tags.push('.'),
            }
        }
        let mut rest = &out[..];
        while let Some((head, _)) = rest.split_first_chunk::<5>() {
            tags.push(char::from(head[0]));
            let size = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize + 1;
            if head[0] == b'Z' {
                tags.push(char::from(rest[5]));
            }
            rest = &rest[size..];
        }
        Ok(tags)
    }

    proptest! {
        #[test]
        fn any_messages_are_survived(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            known in "[QPBDECSHFXdcf]{8}",
        ) {
            let (mut dialogue, mut out) = (Dialogue::default(), Vec::new());
            for (body, tag) in bodies.into_iter().zip(known.bytes()) {
                match dialogue.hear(tag, &body, &mut out) {
                    Ok(Heard::Run(job)) => dialogue.answer(job, Ok(Reply::done("X")), &mut out),
                    Ok(Heard::Answered) => {}
                    Ok(Heard::End) | Err(_) => break,
                }
            }
        }
    }

    #[test]
    fn messages_and_their_answers() {
        const PARSE: Sent = (b'P', b"s\0SHOW POOLS\0\0\0");
        const BIND: Sent = (b'B', b"\0s\0\0\0\0\0\0\0");
        const EXECUTE: Sent = (b'E', b"\0\0\0\0\0");
        const SYNC: Sent = (b'S', b"");
        let table: &[(&[Sent], &str)] = &[
            (&[(b'Q', b"SHOW POOLS;\0")], "TDDDCZI"),
            (&[(b'Q', b"\0")], "CZI"),
            (&[(b'Q', b"RELOAD\0"), (b'Q', b"PAUSE\0")], "EZICZI"),
            (&[(b'Q', b"nonsense\0")], "EZI"),
            (&[(b'Q', b"BEGIN\0"), (b'Q', b"ROLLBACK\0")], "CZTCZI"),
            (&[PARSE, (b'D', b"Ss\0"), SYNC, BIND, (b'D', b"P\0"), EXECUTE, SYNC], "1tTZI2TDDDCZI"),
            (&[PARSE, BIND, (b'E', b"\0\0\0\0\x02"), EXECUTE, SYNC], "12DDsDCZI"),
            (&[PARSE, BIND, (b'E', b"\0\0\0\0\x03"), SYNC], "12DDDCZI"),
            (&[(b'P', b"\0PAUSE\0\0\0"), (b'D', b"S\0"), SYNC], "1tnZI"),
            (&[(b'P', b"\0nonsense\0\0\0"), BIND, EXECUTE, SYNC, SYNC], "EZIZI"),
            (&[PARSE, PARSE, SYNC], "1EZI"),
            (&[PARSE, (b'C', b"Ss\0"), PARSE, SYNC], "131ZI"),
            (
                &[PARSE, (b'Q', b"DEALLOCATE s\0"), PARSE, (b'Q', b"DISCARD ALL\0"), PARSE, SYNC],
                "1CZI1CZI1ZI",
            ),
            (&[BIND, EXECUTE, SYNC], "EZI"),
            (&[PARSE, BIND, SYNC, EXECUTE, SYNC], "12ZIEZI"),
            (&[PARSE, (b'B', b"\0s\0\0\0\0\x01\0\0\0\0\0\0"), SYNC], "1EZI"),
            (&[PARSE, (b'B', b"\0s\0\0\0\0\0\0\x01\0\x02"), SYNC], "1EZI"),
            (&[PARSE, (b'B', b"\0s\0\0\0\0\0\0\x01\0\x01"), EXECUTE, SYNC], "12DDDCZI"),
            (&[(b'P', b"\0RELOAD\0\0\0"), (b'B', b"\0\0\0\0\0\0\0\0"), EXECUTE, EXECUTE, SYNC], "12EZI"),
            (&[(b'F', b"")], "EZI"),
            (&[(b'H', b""), (b'd', b"late"), (b'c', b""), (b'X', b"")], "."),
        ];
        for (messages, tags) in table {
            assert_eq!(play(&mut Dialogue::default(), messages).as_deref(), Ok(*tags), "{messages:?}");
        }
        for broken in [(b'Q', &b"SHOW"[..]), (b'P', b"x"), (b'B', b"\0"), (b'E', b"\0\0"), (b'D', b"Xs\0")] {
            assert!(play(&mut Dialogue::default(), &[broken]).is_err(), "{broken:?}");
        }
    }
}
