//! The protocol's side of a console session: what each message asks to be run, and how the outcome is told, for simple
//! queries and for statements and portals. Pure: bytes in, bytes out.

use super::command::{Command, Failure};
use super::parameters::Statement;
use super::portal::Portal;
use super::replies::{complete, rows, told};
use super::said::said;
use super::table::{Formats, Table, row_description};
use super::transaction::Transaction;
use crate::wire::backend::{CLOSE_COMPLETE, PARSE_COMPLETE, Report, Severity};
use crate::wire::cursor::Cursor;
use crate::wire::encode::message;
use crate::wire::error::WireError;
use crate::wire::frontend::{Parse, Target};
use crate::wire::sqlstate::{self, SqlState};
use crate::wire::tag::{backend as b, frontend as f};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Statements and portals a session may have; drivers keep some hundreds.
const MOST: usize = 1000;
/// Longest name of a statement or portal.
const LONGEST_NAME: usize = 255;
/// Bytes of rows that may wait in portals besides those of one: a driver that fetches in parts has one open.
const MOST_HELD: usize = 1024 * 1024;

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
    pub(super) detail: Option<Cow<'static, str>>,
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
    /// Its text, for logs.
    pub(super) text: Arc<str>,
    asker: Asker,
}

#[derive(Debug, PartialEq, Eq)]
enum Asker {
    Query,
    /// Execute of the portal, with a limit on rows; 0 is none.
    Portal(Vec<u8>, usize),
}

/// A session's statements and portals.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    statements: HashMap<Vec<u8>, Statement>,
    portals: HashMap<Vec<u8>, Portal>,
    /// Something failed: messages are ignored up to the next Sync.
    skips: bool,
    transaction: Transaction,
    /// Columns that PgBouncer had once are there, too.
    has_old_columns: bool,
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
                self.report(&failure, out);
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
            Command::Begin(_) if self.transaction == Transaction::None => {
                self.transaction = Transaction::Open;
            }
            Command::End(_) => self.transaction = Transaction::None,
            Command::Deallocate(None) => self.statements.clear(),
            Command::Deallocate(Some(name)) => drop(self.statements.remove(name.as_bytes())),
            _ => {}
        }
        match job.asker {
            Asker::Query => {
                match outcome {
                    Ok(Reply::Rows(table)) => {
                        let tag = job.command.rows_tag(table.rows.len());
                        row_description(out, &table.columns, &Formats::default());
                        rows(out, &table, &Formats::default());
                        complete(out, &tag);
                    }
                    Ok(reply) => told(out, &reply),
                    Err(failure) => self.report(&failure, out),
                }
                self.ready(out);
            }
            Asker::Portal(name, limit) => match outcome {
                Ok(Reply::Rows(table)) => self.tell(&name, table, limit, out),
                Ok(reply) => told(out, &reply),
                Err(failure) => {
                    self.skips = true;
                    self.report(&failure, out);
                }
            },
        }
    }

    /// With columns that PgBouncer had once where `has_old_columns`.
    pub(super) fn new(has_old_columns: bool) -> Self {
        Self { has_old_columns, ..Self::default() }
    }

    fn command(&self, text: &str) -> Result<Command, Failure> {
        let command = Command::parse(text)?;
        Ok(match command {
            Command::Show(show) if self.has_old_columns => Command::Show(show.with_old_columns()),
            command => command,
        })
    }

    fn query(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<Heard, WireError> {
        let mut cursor = Cursor::new(body);
        let text = cursor.cstr()?;
        cursor.end()?;
        let text = String::from_utf8_lossy(text);
        match self.command(&text) {
            Ok(command) if self.runs(&command) => {
                let said = said(&text, &command);
                Ok(Heard::Run(self.job(command, said, Asker::Query)))
            }
            Ok(_) => self.refuse(&aborted(), out),
            Err(failure) => self.refuse(&failure, out),
        }
    }

    fn refuse(&mut self, failure: &Failure, out: &mut Vec<u8>) -> Result<Heard, WireError> {
        self.report(failure, out);
        self.ready(out);
        Ok(Heard::Answered)
    }

    /// After an error only the end of the transaction is awaited.
    fn runs(&self, command: &Command) -> bool {
        self.transaction != Transaction::Failed || matches!(command, Command::End(_) | Command::Empty)
    }

    /// Who commits what has failed is told that it was rolled back.
    fn job(&self, command: Command, text: Arc<str>, asker: Asker) -> Job {
        let command = match command {
            Command::End(_) if self.transaction == Transaction::Failed => Command::End("ROLLBACK"),
            command => command,
        };
        Job { command, text, asker }
    }

    fn report(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        self.transaction.fail();
        let Failure { code, message, detail } = failure;
        let (severity, detail) = (Severity::Error, detail.as_deref());
        Report { severity, code, message, detail, hint: None }.encode(out);
    }

    /// The first rows of a portal; the others wait in it.
    fn tell(&mut self, name: &[u8], table: Table, limit: usize, out: &mut Vec<u8>) {
        let waits = limit > 0 && limit < table.rows.len();
        let held = self.portals.values().filter_map(|portal| portal.left.as_ref());
        let (portals, bytes) = held.fold((0, table.bytes()), |(n, sum), left| {
            if left.rows.is_empty() { (n, sum) } else { (n + 1, sum + left.bytes()) }
        });
        if waits && portals > 0 && bytes > MOST_HELD {
            self.skips = true;
            let (code, message) =
                (sqlstate::PROGRAM_LIMIT_EXCEEDED, "too many rows wait in portals".to_owned());
            let detail =
                format!("{bytes} bytes would wait in {} portals; fetch or close some first.", portals + 1);
            return self.report(&Failure { code, message, detail: Some(detail) }, out);
        }
        if let Some(portal) = self.portals.get_mut(name) {
            portal.left = Some(table);
            portal.tell(limit, out);
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
        short(parse.name)?;
        let text = String::from_utf8_lossy(parse.query);
        let statement = Statement::of(&text, &parse.kinds()?, |text| self.command(text))?;
        if !self.runs(&statement.command) {
            return Err(aborted().into());
        }
        self.statements.insert(parse.name.to_vec(), statement);
        out.extend_from_slice(PARSE_COMPLETE);
        Ok(Heard::Answered)
    }

    fn bind(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<Heard, Wrong> {
        let mut cursor = Cursor::new(body);
        let (portal, statement) = (cursor.cstr()?, cursor.cstr()?);
        let formats = cursor.u16()?;
        let formats = (0..formats).map(|_| cursor.u16()).collect::<Result<Vec<_>, _>>()?;
        let parameters = usize::from(cursor.u16()?);
        let name = String::from_utf8_lossy(statement);
        let Some(statement) = self.statements.get(statement) else { return Err(no_statement(&name)) };
        let wanted = statement.kinds().len();
        if parameters != wanted {
            let words = format!(
                "bind message supplies {parameters} parameters, but prepared statement \"{name}\" requires {wanted}"
            );
            return Err(failed(sqlstate::PROTOCOL_VIOLATION, words));
        }
        let values = statement.values(&mut cursor, &formats)??;
        let command = statement.with(&values, |text| self.command(text))?;
        let results = cursor.u16()?;
        let formats = (0..results).map(|_| cursor.u16()).collect::<Result<_, _>>()?;
        cursor.end()?;
        let mut formats = Formats(formats);
        if !formats.fit(command.columns().map_or(formats.0.len(), |columns| columns.len())) {
            return Err(failed(
                sqlstate::PROTOCOL_VIOLATION,
                "result formats don't fit the result".to_owned(),
            ));
        }
        short(portal)?;
        if !portal.is_empty() && self.portals.contains_key(portal) {
            let name = String::from_utf8_lossy(portal);
            return Err(failed("42P03", format!("cursor \"{name}\" already exists")));
        }
        if self.portals.len() >= MOST {
            return Err(failed(sqlstate::PROGRAM_LIMIT_EXCEEDED, "too many portals".to_owned()));
        }
        if !self.runs(&command) {
            return Err(aborted().into());
        }
        if command.columns().is_none() {
            formats = Formats::default();
        }
        let bound = Portal { command, text: Arc::clone(&statement.said), formats, left: None };
        self.portals.insert(portal.to_vec(), bound);
        message(out, b::BIND_COMPLETE, |_| ());
        Ok(Heard::Answered)
    }

    fn describe(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<Heard, Wrong> {
        let none = Formats::default();
        let (command, formats) = match Target::read(body)? {
            Target::Statement(name) => {
                let statement = self.statements.get(name);
                let statement = statement.ok_or_else(|| no_statement(&String::from_utf8_lossy(name)))?;
                message(out, b::PARAMETER_DESCRIPTION, |out| {
                    let kinds = statement.kinds();
                    out.extend_from_slice(&(kinds.len() as u16).to_be_bytes());
                    kinds.iter().for_each(|kind| out.extend_from_slice(&kind.to_be_bytes()));
                });
                (&statement.command, &none)
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (&portal.command, &portal.formats)
            }
        };
        match command.columns() {
            Some(columns) => row_description(out, &columns, formats),
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
        let (command, text) = (portal.command.clone(), Arc::clone(&portal.text));
        if !self.runs(&command) {
            return Err(aborted().into());
        }
        Ok(Heard::Run(self.job(command, text, Asker::Portal(name.to_vec(), limit))))
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
        if self.transaction == Transaction::None {
            self.portals.clear();
        }
        message(out, b::READY, |out| out.push(self.transaction.status()));
    }
}

fn aborted() -> Failure {
    let words = "current transaction is aborted, commands ignored until end of transaction block";
    Failure { code: "25P02", message: words.to_owned(), detail: None }
}

fn short(name: &[u8]) -> Result<(), Wrong> {
    if name.len() <= LONGEST_NAME {
        return Ok(());
    }
    let words = format!("a name has {LONGEST_NAME} bytes at most here, not {}", name.len());
    Err(failed(sqlstate::PROGRAM_LIMIT_EXCEEDED, words))
}

fn no_statement(name: &str) -> Wrong {
    failed("26000", format!("prepared statement \"{name}\" does not exist"))
}

fn no_portal(name: &[u8]) -> Wrong {
    failed("34000", format!("portal \"{}\" does not exist", String::from_utf8_lossy(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::table::Columns;
    use crate::admin::table::Type::Int4;
    use crate::admin::table::row;
    use proptest::prelude::*;

    type Sent = (u8, &'static [u8]);

    fn table() -> Table {
        const COLUMNS: &[crate::admin::table::Column] = &[("n", Int4)];
        Table { columns: Columns::Fixed(COLUMNS), rows: (1..=3_u32).map(|n| row![n]).collect() }
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

    /// SQLSTATEs of the errors that messages come to.
    fn codes(messages: &[Sent]) -> Vec<String> {
        let (mut dialogue, mut out) = (Dialogue::default(), Vec::new());
        for (tag, body) in messages {
            if let Ok(Heard::Run(job)) = dialogue.hear(*tag, body, &mut out) {
                let failed = matches!(job.command, Command::Reload);
                let outcome = if failed { Err(Failure::new("no")) } else { Ok(Reply::done("X")) };
                dialogue.answer(job, outcome, &mut out);
            }
        }
        let text = String::from_utf8_lossy(&out).into_owned();
        text.split("\0C")
            .skip(1)
            .filter(|rest| rest[5..].starts_with("\0M"))
            .map(|rest| rest[..5].to_owned())
            .collect()
    }

    /// Statements are small; portals hold rows, and only one may hold many.
    #[test]
    fn what_portals_hold_is_bounded() {
        const COLUMNS: &[crate::admin::table::Column] = &[("t", crate::admin::table::Type::Text)];
        let big = || Table {
            columns: Columns::Fixed(COLUMNS),
            rows: (0..2).map(|_| row!["x".repeat(MOST_HELD / 2)]).collect(),
        };
        let (mut dialogue, mut out) = (Dialogue::default(), Vec::new());
        let mut say = |dialogue: &mut Dialogue, tag, body: &[u8]| {
            out.clear();
            if let Ok(Heard::Run(job)) = dialogue.hear(tag, body, &mut out) {
                dialogue.answer(job, Ok(Reply::Rows(big())), &mut out);
            }
            out[0]
        };
        assert_eq!(say(&mut dialogue, b'P', b"s\0SHOW CLIENTS\0\0\0"), b'1');
        assert_eq!(say(&mut dialogue, b'B', b"a\0s\0\0\0\0\0\0\0"), b'2');
        assert_eq!(say(&mut dialogue, b'B', b"b\0s\0\0\0\0\0\0\0"), b'2');
        assert_eq!(say(&mut dialogue, b'E', b"a\0\0\0\0\x01"), b'D', "one may be as big as it is");
        assert_eq!(say(&mut dialogue, b'E', b"b\0\0\0\0\0"), b'D', "what doesn't wait isn't held");
        assert_eq!(say(&mut dialogue, b'B', b"c\0s\0\0\0\0\0\0\0"), b'2');
        assert_eq!(say(&mut dialogue, b'E', b"c\0\0\0\0\x01"), b'E');
        assert!(
            dialogue.portals.values().filter_map(|p| p.left.as_ref()).map(Table::bytes).sum::<usize>()
                < 2 * MOST_HELD
        );
        let long = [&[b'x'; LONGEST_NAME + 1][..], b"\0SHOW POOLS\0\0\0"].concat();
        assert_eq!(say(&mut Dialogue::default(), b'P', &long), b'E');
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
    fn statements_with_parameters() {
        let table: &[(&[Sent], &str)] = &[
            (
                &[
                    (b'P', b"s\0SELECT user FROM pools WHERE database = $1 LIMIT $2\0\0\x01\0\0\x04\x13"),
                    (b'D', b"Ss\0"),
                    (b'B', b"\0s\0\0\0\0\x02\0\0\0\x03app\0\0\0\x011\0\0"),
                    (b'E', b"\0\0\0\0\0"),
                    (b'S', b""),
                ],
                "1tT2CZI",
            ),
            (
                &[
                    (b'P', b"s\0SELECT * FROM pools LIMIT $1\0\0\0"),
                    (b'B', b"\0s\0\0\0\0\0\0\0"),
                    (b'S', b""),
                ],
                "1EZI",
            ),
            (&[(b'P', b"s\0SET query_timeout = $1\0\0\0"), (b'S', b"")], "EZI"),
            (
                &[
                    (b'P', b"s\0SELECT * FROM pools WHERE maxwait > $1\0\0\0"),
                    (b'B', b"\0s\0\0\0\0\x01\0\0\0\x01x\0\0"),
                    (b'S', b""),
                ],
                "1EZI",
            ),
        ];
        for (messages, tags) in table {
            assert_eq!(play(&mut Dialogue::default(), messages).as_deref(), Ok(*tags), "{messages:?}");
        }
    }

    #[test]
    fn messages_and_their_answers() {
        const PARSE: Sent = (b'P', b"s\0SHOW POOLS\0\0\0");
        const BIND: Sent = (b'B', b"\0s\0\0\0\0\0\0\0");
        const NAMED: Sent = (b'B', b"p\0s\0\0\0\0\0\0\0");
        const EXECUTE: Sent = (b'E', b"\0\0\0\0\0");
        const SYNC: Sent = (b'S', b"");
        let table: &[(&[Sent], &str)] = &[
            (&[(b'Q', b"SHOW POOLS;\0")], "TDDDCZI"),
            (&[(b'Q', b"\0")], "CZI"),
            (&[(b'Q', b"RELOAD\0"), (b'Q', b"PAUSE\0")], "EZICZI"),
            (&[(b'Q', b"nonsense\0")], "EZI"),
            (&[(b'Q', b"BEGIN\0"), (b'Q', b"ROLLBACK\0")], "CZTCZI"),
            (
                &[(b'Q', b"BEGIN\0"), (b'Q', b"RELOAD\0"), (b'Q', b"PAUSE\0"), (b'Q', b"END\0")],
                "CZTEZEEZECZI",
            ),
            (&[(b'Q', b"BEGIN\0"), PARSE, PARSE, SYNC, BIND, SYNC, (b'Q', b"ABORT\0")], "CZT1EZEEZECZI"),
            (
                &[(b'Q', b"BEGIN\0"), PARSE, NAMED, NAMED, SYNC, (b'Q', b"COMMIT\0"), NAMED, SYNC],
                "CZT12EZECZI2ZI",
            ),
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
        assert_eq!(codes(&[PARSE, NAMED, NAMED, SYNC]), ["42P03"]);
        assert_eq!(codes(&[(b'Q', b"BEGIN\0"), (b'Q', b"RELOAD\0"), (b'Q', b"PAUSE\0")]), ["08P01", "25P02"]);
        for broken in [(b'Q', &b"SHOW"[..]), (b'P', b"x"), (b'B', b"\0"), (b'E', b"\0\0"), (b'D', b"Xs\0")] {
            assert!(play(&mut Dialogue::default(), &[broken]).is_err(), "{broken:?}");
        }
    }
}
