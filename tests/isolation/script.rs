//! What clients do, one step of one client at a time.

use crate::support::messages::{bind, close_statement, describe_portal, execute, parse, query, sync};

pub(crate) const CLIENTS: usize = 8;

/// A kind of session state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Parameters said at login, which RESET goes back to.
    Startup,
    Parameters,
    Roles,
    Statements,
    Temp,
    Locks,
    Cursors,
    Listen,
    Sequences,
    /// Statements of the protocol used by SQL, and the other way round.
    Mixed,
    /// State made by SQL in a string that a function runs.
    Functions,
    /// State made inside functions whose caller's text doesn't tell.
    Hidden,
}

impl Family {
    pub(crate) const ALL: [Self; 12] = [
        Self::Startup,
        Self::Parameters,
        Self::Roles,
        Self::Statements,
        Self::Temp,
        Self::Locks,
        Self::Cursors,
        Self::Listen,
        Self::Sequences,
        Self::Mixed,
        Self::Functions,
        Self::Hidden,
    ];

    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// `all`, `none`, or names with commas in between.
    pub(crate) fn list(names: &str) -> Vec<Self> {
        match names {
            "all" => return Self::ALL.to_vec(),
            "none" => return Vec::new(),
            _ => {}
        }
        let find = |name: &str| Self::ALL.into_iter().find(|family| family.name() == name);
        names.split(',').map(|n| find(n).unwrap_or_else(|| panic!("no family {n:?}"))).collect()
    }
}

/// What one client does in one step.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Query(String),
    /// Parse, Bind, Describe, Execute, Sync.
    Extended(&'static str, String, Vec<String>),
    /// Parse, Bind, Describe, Execute of each, one Sync.
    Batch(Vec<String>),
    /// Parse, Sync.
    Parse(&'static str, String),
    /// Bind, Describe, Execute, Sync.
    Use(&'static str, Vec<String>),
    CloseStatement(&'static str),
    /// All of them in one write.
    Pipeline(Vec<Self>),
    /// Terminate, and a new login.
    Reconnect,
}

impl Op {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Query(sql) => query(sql),
            Self::Extended(name, sql, values) => [parse(name, sql), run(name, values), sync()].concat(),
            Self::Batch(texts) => {
                let all = texts.iter().flat_map(|sql| [parse("", sql), run("", &[])].concat());
                all.chain(sync()).collect()
            }
            Self::Parse(name, sql) => [parse(name, sql), sync()].concat(),
            Self::Use(name, values) => [run(name, values), sync()].concat(),
            Self::CloseStatement(name) => [close_statement(name), sync()].concat(),
            Self::Pipeline(ops) => ops.iter().flat_map(Self::bytes).collect(),
            Self::Reconnect => Vec::new(),
        }
    }

    /// How many ReadyForQuery it brings.
    pub(crate) fn rounds(&self) -> usize {
        match self {
            Self::Pipeline(ops) => ops.iter().map(Self::rounds).sum(),
            Self::Reconnect => 0,
            _ => 1,
        }
    }

    /// The SQL it sends.
    pub(crate) fn texts(&self) -> Vec<&str> {
        match self {
            Self::Query(sql) | Self::Extended(_, sql, _) | Self::Parse(_, sql) => vec![sql],
            Self::Batch(texts) => texts.iter().map(String::as_str).collect(),
            Self::Pipeline(ops) => ops.iter().flat_map(Self::texts).collect(),
            Self::Use(..) | Self::CloseStatement(_) | Self::Reconnect => Vec::new(),
        }
    }

    /// Whether it executes what was prepared before.
    pub(crate) fn uses(&self) -> bool {
        match self {
            Self::Pipeline(ops) => ops.iter().any(Self::uses),
            _ => matches!(self, Self::Use(..)),
        }
    }

    /// With the client's number where a name is everybody's.
    pub(crate) fn of(self, client: usize) -> Self {
        let client = client.to_string();
        let own = |text: String| text.replace('@', &client);
        let all = |texts: Vec<String>| texts.into_iter().map(own).collect::<Vec<_>>();
        match self {
            Self::Query(sql) => Self::Query(own(sql)),
            Self::Extended(name, sql, values) => Self::Extended(name, own(sql), all(values)),
            Self::Batch(texts) => Self::Batch(all(texts)),
            Self::Parse(name, sql) => Self::Parse(name, own(sql)),
            Self::Use(name, values) => Self::Use(name, all(values)),
            Self::Pipeline(ops) => {
                let number = client.parse().expect("a number");
                Self::Pipeline(ops.into_iter().map(|op| op.of(number)).collect())
            }
            Self::CloseStatement(_) | Self::Reconnect => self,
        }
    }
}

fn run(name: &str, values: &[String]) -> Vec<u8> {
    let values: Vec<_> = values.iter().map(|v| Some(v.as_str())).collect();
    [bind("", name, &values), describe_portal(""), execute("", 0)].concat()
}

/// A client and what it does.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) client: usize,
    pub(crate) op: Op,
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// Whether every transaction is to run on another server than its client's last.
    pub(crate) switch: bool,
    pub(crate) steps: Vec<Step>,
}

/// What a client says at login.
pub(crate) fn startup(client: usize) -> &'static [(&'static str, &'static str)] {
    const STARTUP: [&[(&str, &str)]; CLIENTS] = [
        &[],
        &[("application_name", "one"), ("TimeZone", "Europe/Paris")],
        &[("options", "-c search_path=s2,public -c statement_timeout=61s")],
        &[("application_name", "three"), ("DateStyle", "German, DMY")],
        &[("options", "-c app.tenant_id=four")],
        &[("statement_timeout", "62s"), ("client_encoding", "LATIN1")],
        &[("options", "-c work_mem=2MB -c timezone=Asia/Tokyo"), ("IntervalStyle", "iso_8601")],
        &[("extra_float_digits", "0"), ("default_transaction_isolation", "repeatable read")],
    ];
    STARTUP[client]
}
