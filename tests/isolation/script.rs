//! What clients do: session state changed and looked at in every form there is, in and out of transactions, one step of
//! one client at a time.

use proptest::prelude::*;

use crate::support::messages::{bind, close_statement, describe_portal, execute, parse, query, sync};
use crate::texts;

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
    /// State made inside functions whose caller's text doesn't tell.
    Hidden,
}

impl Family {
    pub(crate) const ALL: [Self; 10] = [
        Self::Startup,
        Self::Parameters,
        Self::Roles,
        Self::Statements,
        Self::Temp,
        Self::Locks,
        Self::Cursors,
        Self::Listen,
        Self::Sequences,
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

/// What one client does in one step; every step ends with one ReadyForQuery.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Query(String),
    /// Parse, Bind, Describe, Execute, Sync.
    Extended(&'static str, String, Vec<String>),
    /// Parse, Sync.
    Parse(&'static str, String),
    /// Bind, Describe, Execute, Sync.
    Use(&'static str, Vec<String>),
    CloseStatement(&'static str),
    /// Terminate, and a new login.
    Reconnect,
}

impl Op {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Query(sql) => query(sql),
            Self::Extended(name, sql, values) => [parse(name, sql), run(name, values)].concat(),
            Self::Parse(name, sql) => [parse(name, sql), sync()].concat(),
            Self::Use(name, values) => run(name, values),
            Self::CloseStatement(name) => [close_statement(name), sync()].concat(),
            Self::Reconnect => Vec::new(),
        }
    }

    /// The SQL it sends.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Query(sql) | Self::Extended(_, sql, _) | Self::Parse(_, sql) => sql,
            Self::Use(..) | Self::CloseStatement(_) | Self::Reconnect => "",
        }
    }
}

fn run(name: &str, values: &[String]) -> Vec<u8> {
    let values: Vec<_> = values.iter().map(|v| Some(v.as_str())).collect();
    [bind("", name, &values), describe_portal(""), execute("", 0), sync()].concat()
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

/// What fills a placeholder.
fn fill(template: &str, client: usize, at: usize) -> String {
    const ZONES: [&str; 3] = ["Europe/Berlin", "Asia/Tokyo", "America/New_York"];
    const SCHEMAS: [&str; 3] = ["s1", "s2, public", "s2"];
    const VALUES: [&str; 3] = ["blue", "it is long, so to speak", ""];
    let text = template.replace("%d", &(at + 1).to_string()).replace("%z", ZONES[at]);
    text.replace("%s", SCHEMAS[at]).replace("%v", VALUES[at]).replace('@', &client.to_string())
}

fn filled(templates: &'static [&'static str], client: usize) -> BoxedStrategy<String> {
    (prop::sample::select(templates), 0..3usize).prop_map(move |(t, at)| fill(t, client, at)).boxed()
}

/// Any one statement.
fn text(families: &[Family], client: usize) -> BoxedStrategy<String> {
    let mut choices = vec![(12, filled(texts::TRANSACTIONS, client))];
    let holding = [Family::Temp, Family::Locks, Family::Cursors, Family::Hidden];
    if families.iter().any(|f| holding.contains(f)) {
        choices.push((4, Just(texts::LET_GO.to_owned()).boxed()));
    }
    let each = 30 / u32::try_from(families.len()).expect("few").max(1);
    for family in families {
        choices.push((each + 1, filled(texts::changes(*family), client)));
        if !texts::looks(*family).is_empty() {
            choices.push((each + 1, filled(texts::looks(*family), client)));
        }
    }
    prop::strategy::Union::new_weighted(choices).boxed()
}

fn bound(families: &[Family], client: usize) -> BoxedStrategy<Op> {
    let own = families.iter().flat_map(|f| texts::bound(*f));
    let templates: Vec<_> = texts::PREPARED.iter().chain(own).collect();
    let filled = move |(name, (sql, values), at): (_, &(&str, &[&str]), usize)| {
        let values = values.iter().map(|v| fill(v, client, at)).collect();
        Op::Extended(name, fill(sql, client, at), values)
    };
    (name(), prop::sample::select(templates), 0..3usize).prop_map(filled).boxed()
}

/// Mostly unnamed; the others are names of SQL's PREPARE, too.
fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just(""), 2 => Just("p1"), 1 => Just("p2"), 1 => Just("a")]
}

/// No name for transaction control: SQL's EXECUTE of `ROLLBACK TO` is an internal error of PostgreSQL's, and fatal.
fn fit(name: &'static str, sql: &str) -> &'static str {
    let word = sql.split(' ').next().unwrap_or_default();
    let control = word != "SELECT" && texts::TRANSACTIONS.iter().any(|t| t.split(' ').next() == Some(word));
    if control { "" } else { name }
}

/// A statement as plpgsql has it.
fn performed(sql: &str) -> String {
    match sql.strip_prefix("SELECT ") {
        Some(rest) => format!("PERFORM {rest}"),
        None => sql.to_owned(),
    }
}

fn op(families: &[Family], client: usize) -> BoxedStrategy<Op> {
    let text = || text(families, client);
    let several = prop::collection::vec(text(), 2..4).prop_map(|texts| Op::Query(texts.join("; ")));
    let block = text().prop_map(|sql| Op::Query(format!("DO $do$BEGIN {}; END$do$", performed(&sql))));
    let function =
        text().prop_map(|sql| Op::Query(format!("SELECT public.f_run('{}')", sql.replace('\'', "''"))));
    let values = prop_oneof![3 => Just(vec![]), 1 => Just(vec!["7".to_owned()])];
    prop_oneof![
        12 => text().prop_map(Op::Query),
        3 => several,
        1 => block,
        1 => function,
        4 => (name(), text()).prop_map(|(name, sql)| Op::Extended(fit(name, &sql), sql, vec![])),
        3 => bound(families, client),
        1 => (name(), text()).prop_map(|(name, sql)| Op::Parse(fit(name, &sql), sql)),
        2 => (name(), values).prop_map(|(name, values)| Op::Use(name, values)),
        1 => name().prop_map(Op::CloseStatement),
        1 => Just(Op::Reconnect),
    ]
    .boxed()
}

/// Some steps of one client in a row.
fn burst(families: &[Family]) -> impl Strategy<Value = Vec<Step>> + use<> {
    let ops: Vec<_> = (0..CLIENTS)
        .map(|client| prop::collection::vec(op(families, client), 1..5).prop_map(move |ops| (client, ops)))
        .collect();
    prop::strategy::Union::new(ops)
        .prop_map(|(client, ops)| ops.into_iter().map(|op| Step { client, op }).collect())
}

/// Interleaved steps of all clients.
pub(crate) fn script(families: &[Family]) -> impl Strategy<Value = Script> + use<> {
    (any::<bool>(), prop::collection::vec(burst(families), 4..30))
        .prop_map(|(switch, bursts)| Script { switch, steps: bursts.concat() })
}

/// What each client is asked when all is over: every trace there could be.
pub(crate) fn last_looks(families: &[Family], client: usize) -> Vec<Op> {
    let mut looks = vec![Op::Query("ROLLBACK".to_owned())];
    let mut all: Vec<_> = families.iter().filter_map(|family| texts::last_look(*family)).collect();
    all.dedup();
    looks.extend(all.into_iter().map(|template| Op::Query(fill(template, client, 0))));
    looks
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
