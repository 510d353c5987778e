//! SELECT from the console's tables, which are the words of SHOW: a small subset of SQL, and a clear error for the rest. Pure;
//! `compile` reads the text with sqlparser, `condition` is WHERE, this runs it over the rows of a SHOW.

mod compile;
mod condition;
mod literal;

pub(super) use compile::compile;

use super::command::Failure;
use super::show::Show;
use super::table::{Columns, Table, Type, Value};
use crate::wire::sqlstate;
use condition::Condition;
use std::cmp::Ordering;
use std::collections::HashMap;

/// A SELECT that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Select {
    /// From what; `None`: constants only.
    pub(super) show: Option<Show>,
    pub(super) columns: Columns,
    items: Vec<Item>,
    filter: Option<Condition>,
    /// Columns of GROUP BY; `None`: every row is its own.
    groups: Option<Vec<usize>>,
    order: Vec<Order>,
    limit: Option<usize>,
    offset: usize,
}

/// One column of the result, from columns of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Column(usize),
    Constant(Value),
    /// Of rows where the column isn't null, or of all.
    Count(Option<usize>),
    Sum(usize),
    Average(usize),
    Least(usize),
    Greatest(usize),
}

/// One key of ORDER BY: a column of the result, or of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Order {
    key: Key,
    descending: bool,
    nulls_first: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Result(usize),
    Input(usize),
}

type Row = Vec<Value>;

impl Item {
    fn is_aggregate(&self) -> bool {
        !matches!(self, Self::Column(_) | Self::Constant(_))
    }

    fn of(&self, rows: &[Row]) -> Value {
        let values = |at: usize| rows.iter().map(move |row| &row[at]).filter(|value| **value != Value::Null);
        let numbers =
            |at: usize| values(at).filter_map(|v| if let Value::Number(n) = v { Some(*n) } else { None });
        match self {
            Self::Column(at) => rows.first().map_or(Value::Null, |row| row[*at].clone()),
            Self::Constant(value) => value.clone(),
            Self::Count(None) => Value::from(rows.len()),
            Self::Count(Some(at)) => Value::from(values(*at).count()),
            Self::Sum(at) => numbers(*at).reduce(u64::saturating_add).map_or(Value::Null, Value::Number),
            Self::Average(at) => match numbers(*at).count() {
                0 => Value::Null,
                count => Value::Ratio(numbers(*at).fold(0, u64::saturating_add), count as u64),
            },
            Self::Least(at) => values(*at).min_by(|a, b| compare(a, b)).cloned().unwrap_or(Value::Null),
            Self::Greatest(at) => values(*at).max_by(|a, b| compare(a, b)).cloned().unwrap_or(Value::Null),
        }
    }
}

/// Values that any result may have.
const MANY: usize = 100_000;

impl Select {
    /// What comes of the rows of its table; an error if that is more than twice what SHOW itself would tell, which memory has to
    /// do for.
    pub(super) fn run(&self, rows: Vec<Row>) -> Result<Table, Failure> {
        let bound = (2 * rows.len() * rows.first().map_or(0, Vec::len)).max(MANY);
        let kept = rows.into_iter().filter(|row| self.filter.as_ref().is_none_or(|it| it.holds(row)));
        let groups: Vec<Vec<Row>> = match &self.groups {
            None => kept.map(|row| vec![row]).collect(),
            Some(by) => grouped(kept, by),
        };
        if groups.len() * self.items.len() > bound {
            let message = format!("the result has more than {bound} values");
            return Err(compile::failure(sqlstate::PROGRAM_LIMIT_EXCEEDED, message));
        }
        let mut all: Vec<(Row, Vec<Row>)> = groups
            .into_iter()
            .map(|rows| (self.items.iter().map(|it| it.of(&rows)).collect(), rows))
            .collect();
        all.sort_by(|a, b| {
            let each = self.order.iter().map(|key| key.compare(a, b));
            each.fold(Ordering::Equal, Ordering::then)
        });
        let page = all.into_iter().skip(self.offset).take(self.limit.unwrap_or(usize::MAX));
        let shown = |(mut row, _): (Row, Vec<Row>)| {
            // What is only sorted by stays behind.
            row.truncate(self.columns.len());
            row
        };
        Ok(Table { columns: self.columns.clone(), rows: page.map(shown).collect() })
    }
}

/// By the values of these columns, in the order in which they first appear; without columns, one group even of nothing.
fn grouped(rows: impl Iterator<Item = Row>, by: &[usize]) -> Vec<Vec<Row>> {
    let mut groups: Vec<Vec<Row>> = if by.is_empty() { vec![Vec::new()] } else { Vec::new() };
    let mut places: HashMap<Vec<Value>, usize> = HashMap::new();
    for row in rows {
        let key: Vec<Value> = by.iter().map(|at| row[*at].clone()).collect();
        let new = groups.len();
        let at = if by.is_empty() { 0 } else { *places.entry(key).or_insert(new) };
        if at == new {
            groups.push(Vec::new());
        }
        groups[at].push(row);
    }
    groups
}

impl Order {
    fn compare(&self, (a, of_a): &(Row, Vec<Row>), (b, of_b): &(Row, Vec<Row>)) -> Ordering {
        let (a, b) = match self.key {
            Key::Result(at) => (Some(&a[at]), Some(&b[at])),
            Key::Input(at) => (of_a.first().map(|row| &row[at]), of_b.first().map(|row| &row[at])),
        };
        let null = |value: Option<&Value>| value.is_none_or(|value| *value == Value::Null);
        match (null(a), null(b)) {
            (true, true) => Ordering::Equal,
            (true, false) => {
                if self.nulls_first {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (false, true) => {
                if self.nulls_first {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            (false, false) => {
                let order = a.zip(b).map_or(Ordering::Equal, |(a, b)| compare(a, b));
                if self.descending { order.reverse() } else { order }
            }
        }
    }
}

/// Of one column's values; texts by their bytes, as PostgreSQL in the C locale.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Ratio(a, n), Value::Ratio(b, m)) => {
            (u128::from(*a) * u128::from(*m)).cmp(&(u128::from(*b) * u128::from(*n)))
        }
        _ => Ordering::Equal,
    }
}

fn is_number(kind: Type) -> bool {
    kind != Type::Text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::table::row;

    /// database text, user text, cl_active int4 … as SHOW POOLS has them, here (database, user, cl_active, pool_mode).
    fn pools() -> Vec<Row> {
        let columns = Show::Pools.columns().expect("columns");
        let at = |name: &str| columns.iter().position(|(n, _)| *n == name).expect("a column");
        let row = |(database, user, active, mode): (&str, &str, u32, Option<&str>)| {
            let mut row = vec![Value::Number(0); columns.len()];
            (row[at("database")], row[at("user")]) = (database.into(), user.into());
            (row[at("cl_active")], row[at("pool_mode")]) = (active.into(), mode.into());
            row
        };
        [
            ("app", "alice", 5, Some("session")),
            ("app", "bob", 2, Some("transaction")),
            ("shop", "bob", 7, None),
            ("x_y", "carol", 0, Some("transaction")),
        ]
        .map(row)
        .to_vec()
    }

    fn rows(sql: &str) -> Vec<Row> {
        let select = compile(sql).unwrap_or_else(|failure| panic!("{sql}: {failure:?}"));
        let rows = if select.show.is_some() { pools() } else { vec![Vec::new()] };
        select.run(rows).expect("a small result").rows
    }

    #[test]
    fn what_a_select_gives() {
        for (sql, expected) in [
            ("SELECT user FROM pools WHERE cl_active > 2", vec![row!["alice"], row!["bob"]]),
            ("select \"user\", database from pools p where p.cl_active = 0;", vec![row!["carol", "x_y"]]),
            ("SELECT user FROM pools ORDER BY cl_active DESC LIMIT 2", vec![row!["bob"], row!["alice"]]),
            ("SELECT user AS u FROM pools ORDER BY u DESC, database LIMIT 1 OFFSET 1", vec![row!["bob"]]),
            ("SELECT user, cl_active FROM pools ORDER BY 2 LIMIT 1", vec![row!["carol", 0_u32]]),
            ("SELECT user FROM pools WHERE NOT (cl_active >= 5 OR user = 'bob')", vec![row!["carol"]]),
            ("SELECT user FROM pools WHERE database LIKE 'x\\_y'", vec![row!["carol"]]),
            ("SELECT user FROM pools WHERE user NOT LIKE '%o_' AND user ILIKE 'A%'", vec![row!["alice"]]),
            ("SELECT user FROM pools WHERE database IN ('shop', 'y') ", vec![row!["bob"]]),
            ("SELECT user FROM pools WHERE cl_active NOT IN (5, 2, '7')", vec![row!["carol"]]),
            ("SELECT database FROM pools WHERE pool_mode IS NULL", vec![row!["shop"]]),
            (
                "SELECT database FROM pools WHERE pool_mode <> 'session' AND cl_active BETWEEN 1 AND 2.5",
                vec![row!["app"]],
            ),
            ("SELECT pool_mode FROM pools ORDER BY pool_mode DESC LIMIT 1", vec![vec![Value::Null]]),
            (
                "SELECT pool_mode FROM pools ORDER BY pool_mode DESC NULLS LAST LIMIT 1",
                vec![row!["transaction"]],
            ),
            (
                "SELECT count(*), count(pool_mode), sum(cl_active), max(user), min(cl_active) FROM pools",
                vec![row![4_u32, 3_u32, 14_u32, "carol", 0_u32]],
            ),
            (
                "SELECT user FROM pools WHERE database = ('shop'::varchar) AND cl_active > ('6'::int4) LIMIT ('5'::int8)",
                vec![row!["bob"]],
            ),
            ("SELECT user FROM pools WHERE user LIKE NULL OR cl_active = NULL LIMIT '1'", vec![]),
            ("SELECT avg(cl_active) FROM pools", vec![vec![Value::Ratio(14, 4)]]),
            (
                "SELECT count(*), sum(cl_active) FROM pools WHERE user = 'nobody'",
                vec![vec![Value::Number(0), Value::Null]],
            ),
            (
                "SELECT database, sum(cl_active) AS n FROM pools GROUP BY database ORDER BY n DESC, database LIMIT 2",
                vec![row!["app", 7_u32], row!["shop", 7_u32]],
            ),
            ("SELECT user FROM pools GROUP BY user ORDER BY count(*) DESC, user LIMIT 1", vec![row!["bob"]]),
            ("SELECT 1", vec![row![1_u32]]),
            ("SELECT 1 AS one, 'x'", vec![row![1_u32, "x"]]),
            ("SELECT current_database()", vec![row!["pgweir"]]),
        ] {
            assert_eq!(rows(sql), expected, "{sql}");
        }
        assert_eq!(rows("SELECT * FROM pools").len(), 4);
        let select =
            compile("SELECT database, sum(cl_active), avg(cl_active) a, count(*) FROM pools GROUP BY 1")
                .unwrap();
        let named: Vec<_> = select.columns.iter().map(|(name, kind)| (name.to_owned(), kind)).collect();
        let expected =
            [("database", Type::Text), ("sum", Type::Int8), ("a", Type::Float8), ("count", Type::Int8)];
        assert_eq!(named, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }

    #[test]
    fn what_is_refused() {
        for (sql, code) in [
            ("SELECT * FROM nothing", "42P01"),
            ("SELECT * FROM help", "42P01"),
            ("SELECT nothing FROM pools", "42703"),
            ("SELECT user FROM pools WHERE nothing = 1", "42703"),
            ("SELECT q.user FROM pools p", "42P01"),
            ("SELECT user FROM pools WHERE user = 1", "42883"),
            ("SELECT user FROM pools WHERE cl_active = 'x'", "22P02"),
            ("SELECT sum(user) FROM pools", "42883"),
            ("SELECT user, count(*) FROM pools", "42803"),
            ("SELECT cl_active FROM pools GROUP BY user", "42803"),
            ("SELECT user FROM pools ORDER BY 2", "42P10"),
            ("SELECT user FROM", "42601"),
            ("SELECT 1; SELECT 2", "42601"),
            ("SELECT DISTINCT user FROM pools", "0A000"),
            ("SELECT user FROM pools, clients", "0A000"),
            ("SELECT user FROM pools JOIN clients ON true", "0A000"),
            ("SELECT user FROM (SELECT 1) x", "0A000"),
            ("SELECT user FROM pools UNION SELECT user FROM clients", "0A000"),
            ("WITH x AS (SELECT 1) SELECT * FROM x", "0A000"),
            ("SELECT count(*) FROM pools GROUP BY user HAVING count(*) > 1", "0A000"),
            ("SELECT cl_active + 1 FROM pools", "0A000"),
            ("SELECT upper(user) FROM pools", "0A000"),
            ("SELECT user FROM pools WHERE user ~ 'x'", "0A000"),
            ("SELECT user FROM pools WHERE cl_active IN (SELECT 1)", "0A000"),
            ("SELECT user FROM pools FOR UPDATE", "0A000"),
            ("SELECT user FROM pools LIMIT 1 + 1", "0A000"),
            ("SELECT user FROM pools WHERE CASE WHEN true THEN true END", "0A000"),
            ("SELECT now()", "0A000"),
        ] {
            let failure = compile(sql).expect_err(sql);
            assert_eq!(failure.code, code, "{sql}: {failure:?}");
            assert!(failure.code != "0A000" || failure.detail.is_some(), "what is allowed is told");
        }
        let long = format!("SELECT user FROM pools WHERE {}", "cl_active = 1 OR ".repeat(1000));
        assert_eq!(compile(&long).expect_err("too long").code, "54000");
        let stars = |n: usize| format!("SELECT {} FROM pools", vec!["*"; n].join(","));
        assert_eq!(compile(&stars(500)).expect_err("too wide").code, "54011");
        let wide = compile(&stars(40)).expect("not too wide");
        let of = |rows: usize| wide.run(pools().into_iter().cycle().take(rows).collect()).map_err(|f| f.code);
        assert!(of(4).is_ok() && of(100).is_ok());
        assert_eq!(of(10_000).expect_err("too much"), "54000");
        for (deep, fits) in [
            (format!("{}true", "NOT ".repeat(400)), false),
            (format!("{}true{}", "(".repeat(900), ")".repeat(900)), false),
            (format!("{}true", "true OR ".repeat(240)), true),
            (format!("{}cl_active=1", "NOT cl_active=1 OR ".repeat(100)), true),
            (format!("cl_active={}1", "1+".repeat(900)), false),
            (format!("cl_active={}1", "-".repeat(900)), false),
        ] {
            let sql = format!("SELECT user FROM pools WHERE {deep}");
            assert_eq!(compile(&sql).and_then(|select| select.run(pools())).is_ok(), fits, "{deep}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in "SELECT (\\*|user|count\\(\\*\\)|,|FROM|pools|WHERE|=|1|'x'|AND|NOT|\\(|\\)|LIMIT|ORDER BY| ){0,14}") {
            if let Ok(select) = compile(&text) {
                let rows = if select.show.is_some() { pools() } else { vec![Vec::new()] };
                let _ = select.run(rows);
            }
        }
    }
}
