//! What a text sent to the console asks for. Pure; the texts of its errors are PgBouncer's, since people's tools match them.

use super::select::{self, Select};
use super::show::Show;
use super::transaction;
use crate::config::Config;
use crate::lifecycle::Shutdown;
use crate::wire::sqlstate::{self, SqlState};
use std::fmt;

/// What somebody may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Look: stats_users.
    Stats,
    /// Everything: admin_users.
    Admin,
}

/// What to do.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Nothing: an empty text.
    Empty,
    /// Something to look at.
    Show(Show),
    /// A setting that drivers ask for.
    ShowSession(&'static Session),
    /// A SELECT from the same tables.
    Select(Box<Select>),
    /// A setting that drivers set, which means nothing here.
    SetSession,
    /// BEGIN or START TRANSACTION, of drivers that can't do without; the tag to answer.
    Begin(&'static str),
    /// COMMIT or ROLLBACK; the tag to answer.
    End(&'static str),
    /// DEALLOCATE of one or all, or DISCARD ALL, of drivers that prepare.
    Deallocate(Option<String>),
    Set {
        key: String,
        value: String,
    },
    Reload,
    Pause(Option<String>),
    Resume(Option<String>),
    Disable(Option<String>),
    Enable(Option<String>),
    Reconnect(Option<String>),
    Kill(Option<String>),
    KillClient(Option<u64>),
    WaitClose(Option<String>),
    Shutdown(Shutdown),
}

/// For logs: without the values of settings that may hold secrets.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut one = |name: &str, argument: &dyn fmt::Debug| f.debug_tuple(name).field(argument).finish();
        match self {
            Self::Set { key, value } => {
                let value = if Config::may_be_secret(key) { "(secret)" } else { value };
                f.debug_struct("Set").field("key", key).field("value", &value).finish()
            }
            Self::Show(what) => one("Show", what),
            Self::ShowSession(what) => one("ShowSession", what),
            Self::Select(what) => one("Select", what),
            Self::Begin(tag) => one("Begin", tag),
            Self::End(tag) => one("End", tag),
            Self::Deallocate(name) => one("Deallocate", name),
            Self::Pause(name) => one("Pause", name),
            Self::Resume(name) => one("Resume", name),
            Self::Disable(name) => one("Disable", name),
            Self::Enable(name) => one("Enable", name),
            Self::Reconnect(name) => one("Reconnect", name),
            Self::Kill(name) => one("Kill", name),
            Self::KillClient(id) => one("KillClient", id),
            Self::WaitClose(name) => one("WaitClose", name),
            Self::Shutdown(how) => one("Shutdown", how),
            Self::Empty => f.write_str("Empty"),
            Self::SetSession => f.write_str("SetSession"),
            Self::Reload => f.write_str("Reload"),
        }
    }
}

/// A command that is not done, as an error of this SQLSTATE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: SqlState,
    pub(super) message: String,
    pub(super) detail: Option<String>,
}

impl Failure {
    /// With the SQLSTATE that PgBouncer has for nearly everything.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { code: sqlstate::PROTOCOL_VIOLATION, message: message.into(), detail: None }
    }
}

/// A setting of the session that drivers ask for or set: its name, its value, and the column it is shown in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) name: &'static str,
    pub(super) value: &'static str,
    pub(super) columns: [super::table::Column; 1],
}

const fn session(name: &'static str, value: &'static str) -> Session {
    Session { name, value, columns: [(name, super::table::Type::Text)] }
}

/// PgBouncer knows the first five, and to set the sixth; the others are what drivers of today set.
static SESSION: [Session; 11] = [
    session("client_encoding", "UTF8"),
    session("default_transaction_isolation", "read committed"),
    session("standard_conforming_strings", "on"),
    session("datestyle", "ISO"),
    session("timezone", "GMT"),
    session("extra_float_digits", "1"),
    session("application_name", ""),
    session("transaction_isolation", "read committed"),
    session("default_transaction_read_only", "off"),
    session("transaction_read_only", "off"),
    session("intervalstyle", "postgres"),
];

const LONGEST_COMMAND: usize = 15;
const LONGEST_ARGUMENT: usize = 63;
const LONGEST_VALUE: usize = 255;

impl Command {
    /// What it takes to run this.
    pub(super) fn needs(&self) -> Rights {
        match self {
            Self::Empty
            | Self::Show(_)
            | Self::ShowSession(_)
            | Self::Select(_)
            | Self::SetSession
            | Self::Begin(_)
            | Self::End(_)
            | Self::Deallocate(_) => Rights::Stats,
            _ => Rights::Admin,
        }
    }

    /// One command, with or without a semicolon behind it.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let invalid = || Failure::new(format!("invalid command '{text}', use SHOW HELP;"));
        let mut lexer = Lexer(text.trim());
        lexer.0 = lexer.0.strip_suffix(';').unwrap_or(lexer.0);
        if lexer.is_at_end() {
            return Ok(Self::Empty);
        }
        if let Some(command) = transaction::parse(lexer.0) {
            return Ok(command);
        }
        let word = lexer.word(false).ok_or_else(invalid)?.to_ascii_lowercase();
        if word == "with" || (word == "select" && !lexer.is_one_word()) {
            return select::compile(text).map(|select| Self::Select(Box::new(select)));
        }
        if word == "set" {
            let (key, value) = lexer.assignment().ok_or_else(invalid)?;
            if key.len() > LONGEST_ARGUMENT || value.len() > LONGEST_VALUE {
                return Err(Failure::new("bad arguments"));
            }
            let own = SESSION.iter().any(|session| session.name.eq_ignore_ascii_case(&key));
            return Ok(if own { Self::SetSession } else { Self::Set { key, value } });
        }
        let argument = if lexer.is_at_end() { None } else { Some(lexer.argument().ok_or_else(invalid)?) };
        if !lexer.is_at_end() {
            return Err(invalid());
        }
        if word.len() > LONGEST_COMMAND || argument.as_ref().is_some_and(|a| a.len() > LONGEST_ARGUMENT) {
            return Err(Failure::new("bad arguments"));
        }
        Self::of(&word, argument).unwrap_or_else(|| Err(invalid()))
    }

    /// `None`: there is no such command, or it is called in another way.
    fn of(word: &str, argument: Option<String>) -> Option<Result<Self, Failure>> {
        Some(match word {
            "show" | "select" => {
                let name = argument?;
                let session = SESSION.iter().find(|session| session.name.eq_ignore_ascii_case(&name));
                match session {
                    Some(session) => Ok(Self::ShowSession(session)),
                    None => Ok(Self::Show(Show::of(&name.to_ascii_lowercase())?)),
                }
            }
            "deallocate" | "discard" => {
                let name = argument?;
                let all = name.eq_ignore_ascii_case("all");
                if word == "discard" && !all {
                    return None;
                }
                Ok(Self::Deallocate((!all).then_some(name)))
            }
            "reload" => return argument.is_none().then_some(Ok(Self::Reload)),
            "pause" => Ok(Self::Pause(argument)),
            "resume" => Ok(Self::Resume(argument)),
            "disable" => Ok(Self::Disable(argument)),
            "enable" => Ok(Self::Enable(argument)),
            "kill_client" => Ok(Self::KillClient(argument.and_then(|id| id.parse().ok()))),
            "reconnect" => Ok(Self::Reconnect(argument)),
            "kill" => Ok(Self::Kill(argument)),
            "wait_close" => Ok(Self::WaitClose(argument)),
            "shutdown" => Ok(Self::Shutdown(shutdown(argument.as_deref())?)),
            _ => return None,
        })
    }
}

fn shutdown(argument: Option<&str>) -> Option<Shutdown> {
    match argument.map(str::to_ascii_lowercase).as_deref() {
        None => Some(Shutdown::Immediate),
        Some("wait_for_servers") => Some(Shutdown::WaitForServers),
        Some("wait_for_clients") => Some(Shutdown::WaitForClients),
        Some(_) => None,
    }
}

/// Takes a text apart from its front.
struct Lexer<'a>(&'a str);

impl Lexer<'_> {
    fn is_at_end(&mut self) -> bool {
        self.0 = self.0.trim_start();
        self.0.is_empty()
    }

    /// Whether the rest is a name by itself.
    fn is_one_word(&self) -> bool {
        let mut ahead = Lexer(self.0);
        ahead.argument().is_some_and(|word| !word.starts_with(|c: char| c.is_ascii_digit()))
            && ahead.is_at_end()
    }

    /// A bare word; as a value it may also look like a number.
    fn word(&mut self, is_value: bool) -> Option<String> {
        self.0 = self.0.trim_start();
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (is_value && matches!(c, '.' | '-'));
        let end = self.0.find(|c| !fits(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    /// Something between two of these, where two in a row stand for one.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut rest = self.0.strip_prefix(quote)?;
        let mut text = String::new();
        loop {
            let (before, behind) = rest.split_once(quote)?;
            text.push_str(before);
            match behind.strip_prefix(quote) {
                Some(more) => {
                    text.push(quote);
                    rest = more;
                }
                None => {
                    self.0 = behind;
                    return Some(text);
                }
            }
        }
    }

    fn argument(&mut self) -> Option<String> {
        self.0 = self.0.trim_start();
        if self.0.starts_with('"') { self.quoted('"') } else { self.word(false) }
    }

    /// `key = value` or `key TO value`, and nothing behind it.
    fn assignment(&mut self) -> Option<(String, String)> {
        let key = self.argument()?;
        self.0 = self.0.trim_start();
        match self.0.strip_prefix('=') {
            Some(rest) => self.0 = rest,
            None => self.word(false).filter(|to| to.eq_ignore_ascii_case("to")).map(drop)?,
        }
        self.0 = self.0.trim_start();
        let value = if self.0.starts_with('\'') { self.quoted('\'')? } else { self.word(true)? };
        self.is_at_end().then_some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_text_asks_for() {
        let db = |name: &str| Some(name.to_owned());
        let set = |key: &str, value: &str| Command::Set { key: key.to_owned(), value: value.to_owned() };
        for (text, command) in [
            ("", Command::Empty),
            (" ; ", Command::Empty),
            ("SHOW POOLS", Command::Show(Show::Pools)),
            ("show\n\tpools ;", Command::Show(Show::Pools)),
            ("Select Stats_Totals;", Command::Show(Show::StatsTotals)),
            ("SHOW \"pools\"", Command::Show(Show::Pools)),
            ("SHOW client_encoding", Command::ShowSession(&SESSION[0])),
            ("SHOW TimeZone;", Command::ShowSession(&SESSION[4])),
            ("SET client_encoding TO 'UTF8'", Command::SetSession),
            ("SET extra_float_digits = 3", Command::SetSession),
            ("set DateStyle='ISO, MDY';", Command::SetSession),
            ("SET max_client_conn=7", set("max_client_conn", "7")),
            ("SET \"max_client_conn\" to 7 ;", set("max_client_conn", "7")),
            ("SET log_level = 'it''s'", set("log_level", "it's")),
            ("SET query_wait_timeout = 1.5", set("query_wait_timeout", "1.5")),
            ("SET auth_file = ''", set("auth_file", "")),
            ("BEGIN", Command::Begin("BEGIN")),
            ("begin read only;", Command::Begin("BEGIN")),
            ("START TRANSACTION ISOLATION LEVEL SERIALIZABLE", Command::Begin("START TRANSACTION")),
            ("COMMIT WORK", Command::End("COMMIT")),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Command::SetSession),
            ("DEALLOCATE ALL", Command::Deallocate(None)),
            ("DISCARD ALL;", Command::Deallocate(None)),
            ("DEALLOCATE \"s 1\"", Command::Deallocate(db("s 1"))),
            ("RELOAD", Command::Reload),
            ("PAUSE", Command::Pause(None)),
            ("PAUSE app", Command::Pause(db("app"))),
            ("PAUSE App;", Command::Pause(db("App"))),
            ("PAUSE \"my \"\"db\"\"\"", Command::Pause(db("my \"db\""))),
            ("RESUME", Command::Resume(None)),
            ("resume app", Command::Resume(db("app"))),
            ("DISABLE app", Command::Disable(Some("app".to_owned()))),
            ("ENABLE app", Command::Enable(Some("app".to_owned()))),
            ("RECONNECT", Command::Reconnect(None)),
            ("KILL app", Command::Kill(db("app"))),
            ("KILL_CLIENT 12", Command::KillClient(Some(12))),
            ("KILL_CLIENT x", Command::KillClient(None)),
            ("DISABLE", Command::Disable(None)),
            ("WAIT_CLOSE", Command::WaitClose(None)),
            ("SHUTDOWN", Command::Shutdown(Shutdown::Immediate)),
            ("SHUTDOWN wait_for_servers", Command::Shutdown(Shutdown::WaitForServers)),
            ("SHUTDOWN WAIT_FOR_CLIENTS;", Command::Shutdown(Shutdown::WaitForClients)),
        ] {
            assert_eq!(Command::parse(text), Ok(command), "{text}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        for (text, shown) in [
            ("SET auth_ldap_options = 'ldapbindpasswd=hunter2'", "(secret)"),
            ("SET AUTH_LDAP_OPTIONS = 'ldapbindpasswd=hunter2'", "(secret)"),
            ("SET auth_ldap_option = 'ldapbindpasswd=hunter2'", "(secret)"),
            ("SET max_client_conn = 7", "\"7\""),
        ] {
            let debug = format!("{:?}", Command::parse(text).unwrap());
            assert!(debug.contains(shown) && !debug.contains("hunter2"), "{debug}");
        }
    }

    #[test]
    fn what_is_no_command() {
        let long = |n: usize| "x".repeat(n);
        let invalid = |text: &str| format!("invalid command '{text}', use SHOW HELP;");
        for text in [
            "FOO",
            "DISCARD plans",
            "DEALLOCATE",
            "SHOW",
            "SHOW nothing",
            " FOO bar ; ",
            "SHUTDOWN now",
            "SHOW FDS",
            "SUSPEND",
            "SHOW POOLS; SHOW STATS",
            "SHOW POOLS foo",
            "SELECT nothing",
            "RELOAD now",
            "PAUSE 'app'",
            "PAUSE \"app",
            "PAUSE my-db",
            "-- x",
            "SET",
            "SET x",
            "SET x = ",
            "SET x = 'y",
            "SET x == y",
            "SET x = 1 2",
            "KILL_CLIENT -1",
            "KILL_CLIENT 1 2",
            "é",
        ] {
            assert_eq!(Command::parse(text).unwrap_err().message, invalid(text), "{text}");
        }
        for (text, message) in [
            (long(16), "bad arguments"),
            (format!("PAUSE {}", long(64)), "bad arguments"),
            (format!("SET {} = 1", long(64)), "bad arguments"),
            (format!("SET x = '{}'", long(256)), "bad arguments"),
        ] {
            let failure = Command::parse(&text).unwrap_err();
            assert_eq!((failure.message.as_str(), failure.code), (message, "08P01"), "{text}");
        }
    }

    proptest! {
        /// What isn't a command is told as it came.
        #[test]
        fn any_text_is_survived(text in "(SHOW|SET|PAUSE|pools|x|=|TO|'|\"|;| |é|\\\\|[a-z0-9_]){0,12}") {
            if let Err(failure) = Command::parse(&text) {
                let words = [format!("invalid command '{text}', use SHOW HELP;"), "bad arguments".to_owned()];
                prop_assert!(words.contains(&failure.message), "{}", failure.message);
            }
        }

        #[test]
        fn quoted_names_come_back(name in "[^\0]{1,63}") {
            prop_assume!(name.len() <= LONGEST_ARGUMENT);
            let quoted = format!("PAUSE \"{}\"", name.replace('"', "\"\""));
            prop_assert_eq!(Command::parse(&quoted), Ok(Command::Pause(Some(name))));
        }
    }

    /// Looking is for everybody who gets in, the rest for admin_users.
    #[test]
    fn rights() {
        for text in
            ["", "SHOW POOLS", "SHOW CONFIG", "SHOW datestyle", "SET timezone = 'UTC'", "BEGIN", "COMMIT"]
        {
            assert_eq!(Command::parse(text).unwrap().needs(), Rights::Stats, "{text}");
        }
        for text in [
            "SET max_client_conn = 1",
            "RELOAD",
            "PAUSE",
            "PAUSE a",
            "RESUME",
            "DISABLE a",
            "ENABLE a",
            "RECONNECT",
            "KILL",
            "KILL_CLIENT 1",
            "WAIT_CLOSE",
            "SHUTDOWN",
            "SHUTDOWN WAIT_FOR_CLIENTS",
        ] {
            assert_eq!(Command::parse(text).unwrap().needs(), Rights::Admin, "{text}");
        }
    }
}
