//! What clients send: messages in batches that mostly make sense, strung together and cut at random.

use proptest::prelude::*;

use crate::support::messages::{
    bind, close_portal, close_statement, copy_data, copy_done, copy_fail, describe_portal,
    describe_statement, execute, flush, function_call, parse, query, sync,
};

/// The letter of a table no other client uses.
pub(crate) type Table = char;

/// Where a write ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Not here.
    None,
    /// Here.
    After,
    /// Here, and what PostgreSQL answers so far is read before more is sent.
    Wait,
    /// So many bytes before the end of the last message.
    Within(usize),
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Query(String),
    Parse(&'static str, String),
    Bind(&'static str, &'static str, Vec<&'static str>),
    DescribeStatement(&'static str),
    DescribePortal(&'static str),
    Execute(&'static str, u32),
    CloseStatement(&'static str),
    ClosePortal(&'static str),
    Flush,
    Sync,
    Call(&'static str),
    Data(&'static str),
    Done,
    Fail,
}

impl Op {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Query(sql) => query(sql),
            Self::Parse(name, sql) => parse(name, sql),
            Self::Bind(portal, name, values) => {
                bind(portal, name, &values.iter().map(|v| Some(*v)).collect::<Vec<_>>())
            }
            Self::DescribeStatement(name) => describe_statement(name),
            Self::DescribePortal(name) => describe_portal(name),
            Self::Execute(portal, rows) => execute(portal, *rows),
            Self::CloseStatement(name) => close_statement(name),
            Self::ClosePortal(name) => close_portal(name),
            Self::Flush => flush(),
            Self::Sync => sync(),
            Self::Call(argument) => function_call(if argument.is_empty() { 1 } else { 1257 }, &[argument]),
            Self::Data(line) => copy_data(line.as_bytes()),
            Self::Done => copy_done(),
            Self::Fail => copy_fail("no more"),
        }
    }
}

/// Messages that go together, and the cut behind them.
pub(crate) type Step = (Vec<Op>, Cut);

/// What one client sends.
pub(crate) type Script = Vec<Step>;

/// What scripts may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// BEGIN and its like too.
    Any,
    /// Every statement its own transaction.
    None,
}

/// Two names PostgreSQL takes for one: they differ behind the 63rd byte.
const LONG: [&str; 2] = [
    "a_name_that_is_seventy_bytes_long_of_which_only_sixty_three_count_tail",
    "a_name_that_is_seventy_bytes_long_of_which_only_sixty_three_count_TAIL",
];

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        6 => Just(""),
        5 => Just("a"),
        5 => Just("b"),
        2 => Just("c"),
        1 => prop::sample::select(&LONG[..]),
        1 => prop::sample::select(&["pgweir_1", "pgweir_2", "nobody"][..]),
    ]
}

fn portal() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => Just("p"), 1 => Just("q")]
}

fn values() -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![6 => Just(vec![]), 3 => Just(vec!["1"]), 1 => Just(vec!["0"]), 1 => Just(vec!["word"]), 1 => Just(vec!["1", "2"])]
}

/// A statement both protocols take; `None` from the list of [`Blocks::Any`] only.
fn text(table: Table, blocks: Blocks) -> impl Strategy<Value = String> {
    let plain = prop_oneof![
        6 => Just("SELECT 1"),
        3 => Just("SELECT n, 'row' FROM generate_series(1, 7) n"),
        2 => Just("SELECT 1/0"),
        1 => Just("SELEKT"),
        1 => Just(""),
        1 => Just("SELECT * FROM no_such_table"),
        1 => Just("SELECT current_setting('TimeZone')"),
        1 => Just("DO $$BEGIN RAISE NOTICE 'noted'; END$$"),
        3 => Just("INSERT INTO t@ VALUES (1)"),
        2 => Just("SELECT count(*), sum(id) FROM t@"),
        1 => Just("DELETE FROM t@"),
        1 => Just("COPY t@ TO STDOUT"),
    ];
    let blocked = prop_oneof![
        4 => Just("BEGIN"),
        3 => Just("COMMIT"),
        3 => Just("ROLLBACK"),
        1 => Just("SAVEPOINT s"),
        1 => Just("ROLLBACK TO s"),
    ];
    let weight = if blocks == Blocks::Any { 1 } else { 0 };
    prop_oneof![3 => plain, weight => blocked].prop_map(move |sql| sql.replace('@', &table.to_string()))
}

fn simple(table: Table, blocks: Blocks) -> impl Strategy<Value = String> {
    let several = prop::sample::select(
        &[
            "SELECT 1; SELECT 2",
            "SELECT 1; SELECT 1/0; SELECT 2",
            "INSERT INTO t@ VALUES (1); INSERT INTO t@ VALUES (1)",
            "SET TimeZone = 'Asia/Tokyo'",
            "RESET TimeZone",
        ][..],
    );
    let several = several.prop_map(move |sql| sql.replace('@', &table.to_string()));
    prop_oneof![5 => text(table, blocks), 1 => several]
}

/// A statement of the extended protocol.
fn prepared(table: Table, blocks: Blocks) -> impl Strategy<Value = String> {
    let parameters =
        prop::sample::select(&["SELECT $1::int", "SELECT 1/$1::int", "INSERT INTO t@ VALUES ($1)"][..]);
    let parameters = parameters.prop_map(move |sql| sql.replace('@', &table.to_string()));
    prop_oneof![3 => text(table, blocks), 1 => parameters]
}

fn one(table: Table, blocks: Blocks) -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => simple(table, blocks).prop_map(Op::Query),
        4 => (name(), prepared(table, blocks)).prop_map(|(name, sql)| Op::Parse(name, sql)),
        4 => (portal(), name(), values()).prop_map(|(portal, name, values)| Op::Bind(portal, name, values)),
        2 => name().prop_map(Op::DescribeStatement),
        1 => portal().prop_map(Op::DescribePortal),
        3 => (portal(), prop_oneof![Just(0u32), 1u32..4]).prop_map(|(portal, rows)| Op::Execute(portal, rows)),
        2 => name().prop_map(Op::CloseStatement),
        1 => portal().prop_map(Op::ClosePortal),
        2 => Just(Op::Flush),
        6 => Just(Op::Sync),
        1 => prop::sample::select(&["four", ""][..]).prop_map(Op::Call),
        1 => prop::sample::select(&[Op::Data("1\n"), Op::Done, Op::Fail][..]),
    ]
}

/// Parse, Bind, Describe, Execute and Sync with any of them missing now and then.
fn batch(table: Table, blocks: Blocks) -> impl Strategy<Value = Vec<Op>> {
    let keep = || prop::bool::weighted(0.85);
    (name(), prepared(table, blocks), values(), (keep(), keep(), keep(), keep()), prop::bool::weighted(0.2))
        .prop_map(|(name, sql, mut values, keep, close)| {
            if keep.0 {
                values = if sql.contains('$') { vec!["1"] } else { vec![] };
            }
            let mut ops = Vec::new();
            ops.extend(keep.0.then_some(Op::Parse(name, sql)));
            ops.push(Op::Bind("", name, values));
            ops.extend(keep.1.then_some(Op::DescribePortal("")));
            ops.extend(keep.2.then_some(Op::Execute("", 0)));
            ops.extend(close.then_some(Op::CloseStatement(name)));
            ops.extend(keep.3.then_some(Op::Sync));
            ops
        })
}

/// COPY FROM with its data in the right place, or too late because it failed before.
fn copy(table: Table) -> impl Strategy<Value = Vec<Op>> {
    let data = prop::collection::vec(
        prop_oneof![6 => Just(Op::Data("1\n")), 4 => Just(Op::Data("2\n")), 1 => Just(Op::Data("x\n")), 1 => Just(Op::Flush)],
        0..4,
    );
    let end = prop_oneof![4 => Just(Op::Done), 1 => Just(Op::Fail)];
    (any::<[bool; 3]>(), name(), data, end).prop_map(
        move |([extended, sync_ahead, flush], name, data, end)| {
            let sql = format!("COPY t{table} FROM STDIN");
            let mut ops = vec![Op::Query(sql.clone())];
            if extended {
                ops = vec![
                    Op::CloseStatement(name),
                    Op::Parse(name, sql),
                    Op::Bind("", name, vec![]),
                    Op::Execute("", 0),
                ];
                ops.extend(flush.then_some(Op::Flush));
                ops.extend(sync_ahead.then_some(Op::Sync));
            }
            ops.extend(data);
            ops.push(end);
            if extended {
                ops.extend([Op::Sync, Op::CloseStatement(name)]);
            }
            ops
        },
    )
}

fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![
        8 => Just(Cut::None),
        2 => Just(Cut::After),
        2 => Just(Cut::Wait),
        1 => (1usize..12).prop_map(Cut::Within),
    ]
}

/// What a client with a table of its own may send.
pub(crate) fn script(table: Table, blocks: Blocks) -> impl Strategy<Value = Script> {
    let ops = prop_oneof![
        10 => one(table, blocks).prop_map(|op| vec![op]),
        6 => batch(table, blocks),
        1 => copy(table),
    ];
    prop::collection::vec((ops, cut()), 1..16)
}
